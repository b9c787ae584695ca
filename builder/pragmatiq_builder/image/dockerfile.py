"""A Dockerfile as Docker's classic builder needs it: the builder behind the engine's API builds every stage that it is
sent, whether the last one needs it or not, and knows no named build contexts."""

import re
from collections.abc import Mapping
from string import Template

from pragmatiq_triton.errors import ArtifactError

_FROM = re.compile(r"FROM\s+(?P<image>\S+)(?:\s+AS\s+(?P<name>\S+))?", re.IGNORECASE)
_COPY_FROM = re.compile(r"--from=(\S+)")


def for_classic_builder(dockerfile: str, build_args: Mapping[str, str], contexts: Mapping[str, str]) -> str:
    """``dockerfile`` with only the stages that its last one is made from, as BuildKit chooses them.

    Args:
        build_args: what ``${NAME}`` in a stage's ``FROM`` stands for.
        contexts: image in place of ``scratch`` by the name of the stage, which stands for a named build context.

    Raises :class:`ArtifactError` where a context has no such stage.
    """
    head, *stages = re.split(r"^(?=FROM\s)", dockerfile, flags=re.IGNORECASE | re.MULTILINE)
    named = {_name(stage): position for position, stage in enumerate(stages)}
    for name, image in contexts.items():
        stand_in = f"FROM scratch AS {name}\n"
        if name not in named or not stages[named[name]].startswith(stand_in):
            raise ArtifactError(f"the Dockerfile has no stage for the build context {name}: expected {stand_in!r}")
        stages[named[name]] = stages[named[name]].replace("scratch", image, 1)
    needed = [len(stages) - 1]
    for position in needed:
        for parent in _parents(stages[position], build_args):
            if parent in named and named[parent] not in needed:
                needed.append(named[parent])
    return head + "".join(stages[position] for position in sorted(needed))


def _name(stage: str) -> str | None:
    found = _FROM.match(stage)
    return found and found["name"]


def _parents(stage: str, build_args: Mapping[str, str]) -> list[str]:
    found = _FROM.match(stage)
    images = [found["image"]] if found else []
    return [Template(image).safe_substitute(build_args) for image in (*images, *_COPY_FROM.findall(stage))]
