"""Building through the Docker SDK for Python.

The SDK speaks the engine's own API and with it to the classic builder, not to BuildKit: there a named build context is
an image of its own, built first, from which the Dockerfile's stage of that name then starts.
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from textwrap import indent, shorten
from typing import Any

from docker.api import APIClient
from docker.context import ContextAPI
from docker.errors import APIError, DockerException, StreamParseError
from docker.utils import kwargs_from_env, match_tag
from requests.exceptions import RequestException
from urllib3.exceptions import HTTPError

from pragmatiq_builder.image.context import checkout_files, folder_files, tar_stream
from pragmatiq_builder.image.dockerfile import for_classic_builder
from pragmatiq_builder.image.plan import ImagePlan
from pragmatiq_builder.image.source import DOCKERFILE
from pragmatiq_builder.progress import Progress, Silent
from pragmatiq_triton.errors import ConfigError, MissingDependencyError, PragmatiqError, ServerError

DEFAULT_ENGINE = "unix:///var/run/docker.sock"
KEPT_LINES = 20
KEPT_CHARACTERS = 4000

_STEP = re.compile(r"Step (\d+)/(\d+) : (.*)", re.DOTALL)
_BUILT = re.compile(r"Successfully built ([0-9a-f]+)")
_COLOUR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_ENGINE_LINE = re.compile(r" ---> |Removing intermediate container |\s*$")
_CONTEXT = "context"
_CONTEXT_DOCKERFILE = f"FROM scratch\nCOPY {_CONTEXT} /\n"


@dataclass(frozen=True, slots=True)
class BuiltImage:
    """An image that the engine has now."""

    id: str
    tags: list[str]
    size_bytes: int
    base: str
    extras: str
    version: str
    revision: str


def build_image(source: Path, plan: ImagePlan, progress: Progress = Silent()) -> BuiltImage:
    """Build ``docker/Dockerfile`` of the checkout ``source`` as ``plan`` says, on the engine that DOCKER_HOST names.

    Without DOCKER_HOST the current Docker context names it, else it is the local one. The images of build contexts
    stay there untagged, as the classic builder's other intermediate images do: the next build finds them.

    Raises:
        ConfigError: The image's name is none.
        ArtifactError: A file cannot be read, or the Dockerfile lacks the stage of a build context.
        MissingDependencyError: No engine answers.
        ServerError: The engine failed.
        PragmatiqError: A build step failed; the message has the step and the last lines of its output.
    """
    if not match_tag(plan.name):
        raise ConfigError(f"--tag {plan.name!r}: expected NAME[:TAG], the name in lower case")
    dockerfile = (source / DOCKERFILE).read_text(encoding="utf-8")
    arguments = plan.build_args()
    with closing(_connect()) as engine, _engine_failures():
        contexts = {}
        for name, folder in plan.contexts().items():
            archive = tar_stream(_CONTEXT_DOCKERFILE, folder_files(folder, _CONTEXT), f"Sending {name}", progress)
            contexts[name] = _build(engine, archive, f"Adding {name}", progress)
        text = for_classic_builder(dockerfile, arguments, contexts)
        archive = tar_stream(text, checkout_files(source), "Sending the checkout", progress)
        options = {"tag": plan.name, "buildargs": arguments, "labels": plan.labels()}
        built = _build(engine, archive, "Building the image", progress, **options)
        about = engine.inspect_image(built)
    return BuiltImage(
        id=about["Id"],
        tags=about["RepoTags"],
        size_bytes=about["Size"],
        base=plan.base.value,
        extras=plan.extras.value,
        version=plan.version,
        revision=plan.revision,
    )


def _connect() -> APIClient:
    address = os.environ.get("DOCKER_HOST") or DEFAULT_ENGINE
    try:
        where = kwargs_from_env()
        if "base_url" not in where:
            where = {**ContextAPI.kwargs_from_context(), **where}
            address = where.get("base_url", address).removeprefix("http+")
        return APIClient(**where)
    except (DockerException, OSError) as error:
        raise MissingDependencyError(
            f"no Docker engine answers at {address} ({_root_cause(error)}): start one, name it in DOCKER_HOST, or "
            "build without one: make image ENGINE=buildah"
        ) from None


def _root_cause(error: BaseException) -> str:
    while cause := error.__cause__ or error.__context__:
        error = cause
    return getattr(error, "strerror", None) or str(error)


@contextmanager
def _engine_failures() -> Iterator[None]:
    try:
        yield
    except APIError as error:
        raise ServerError(f"the Docker engine refused the build: {error.explanation or error}") from None
    except (DockerException, StreamParseError, RequestException, HTTPError) as error:
        raise ServerError(f"the Docker engine broke off the build: {_root_cause(error)}") from None


def _build(engine: APIClient, archive: Iterator[bytes], title: str, progress: Progress, **options: Any) -> str:
    """Build from ``archive`` and return the image's id."""
    events = engine.build(
        fileobj=archive, custom_context=True, dockerfile=DOCKERFILE, rm=True, forcerm=True, decode=True, **options
    )
    return _follow(events, title, progress)


def _follow(events: Iterable[Mapping[str, Any]], title: str, progress: Progress) -> str:
    """Tell of the steps while they run; the id of the image that they made."""
    step = output = image = ""
    for event in events:
        if "error" in event:
            raise PragmatiqError(_failure(step, event, output))
        text = event.get("stream", "")
        if started := _STEP.match(text):
            number, total, instruction = started.groups()
            if number == "1":
                progress.stage(title, int(total))
            else:
                progress.advance(1)
            progress.advance(0, shorten(instruction, 60, placeholder=" ..."))
            step, output = shorten(text, 160, placeholder=" ..."), ""
            continue
        output = (output + text)[-KEPT_CHARACTERS:]
        if built := _BUILT.match(text):
            image = built[1]
    if not image:
        raise ServerError("the Docker engine ended the build without an image and without an error")
    progress.advance(1)
    return image


def _failure(step: str, event: Mapping[str, Any], output: str) -> str:
    code = event.get("errorDetail", {}).get("code")
    failed = f"{step or 'the build'} failed: {f'exit code {code}' if code else event['error']}"
    lines = [line for line in _COLOUR.sub("", output).splitlines() if not _ENGINE_LINE.match(line)][-KEPT_LINES:]
    return f"{failed}\nthe last lines of its output:\n{indent(chr(10).join(lines), '  ')}" if lines else failed
