"""A model repository as a server sees it: the operator's settings in its configs, all else by links to the artifact."""

import re
from collections.abc import Mapping
from pathlib import Path

from pragmatiq_triton.errors import ConfigError
from pragmatiq_triton.model_config import INSTANCES, ConfigFacts, config_facts
from pragmatiq_triton.model_folders import passed_over

VIEW = "repository"
CONFIG = "config.pbtxt"

# The Python backend hands paths to a shell without quotes: a space, an umlaut or a bracket breaks, or does worse.
UNSAFE = re.compile(r"[^A-Za-z0-9_./+,@:-]")
_COUNT = re.compile(r"(instance_group\s*:?\s*\[?\s*\{[^{}]*?\bcount\s*:\s*)\d+")


def view_of(repository: Path, folder: Path, settings: Mapping[str, Mapping[str, str]]) -> Path:
    """What Triton is given: ``repository`` itself, or a view of it in ``folder``.

    A view is needed where ``settings`` (by model and name) change something, where Triton cannot use the path, and
    where a folder is no model (:func:`~pragmatiq_triton.model_folders.passed_over`), which Triton would take for one.
    Nothing of the repository is written.

    Raises:
        ConfigError: a setting cannot be laid over a config.
    """
    others = passed_over(repository)
    if not settings and not others and not UNSAFE.search(str(repository)):
        return repository
    view = folder / VIEW
    if not settings and not others:
        view.symlink_to(repository, target_is_directory=True)
        return view
    view.mkdir(mode=0o700)
    for entry in sorted(repository.iterdir()):
        if entry.name in others:
            continue
        if entry.name in settings:
            _lay_model(entry, view / entry.name, settings[entry.name])
        else:
            (view / entry.name).symlink_to(entry, target_is_directory=entry.is_dir())
    return view


def _lay_model(model: Path, place: Path, settings: Mapping[str, str]) -> None:
    place.mkdir(mode=0o700)
    for entry in sorted(model.iterdir()):
        if entry.name != CONFIG:
            (place / entry.name).symlink_to(entry, target_is_directory=entry.is_dir())
    text = (model / CONFIG).read_text(encoding="utf-8")
    laid = lay_over(text, settings)
    was, got = config_facts(text), config_facts(laid)
    if got != ConfigFacts(was.fixed, {**was.settings, **settings}):
        told = ", ".join(sorted(settings))
        raise ConfigError(f"{model / CONFIG}: {told} cannot be set in it; export the run again")
    (place / CONFIG).write_text(laid, encoding="utf-8")


def lay_over(text: str, settings: Mapping[str, str]) -> str:
    """A config's text with ``settings`` in place of its own.

    Of a parameter that stands there twice the last counts, so those are added at the end; the count of instances, of
    which every one counts, is replaced.
    """
    added = [
        f'parameters {{ key: "{name}" value {{ string_value: "{value}" }} }}\n'
        for name, value in settings.items()
        if name != INSTANCES
    ]
    if INSTANCES in settings:
        text = _COUNT.sub(rf"\g<1>{settings[INSTANCES]}", text)
    return text.rstrip("\n") + "\n" + "".join(added)
