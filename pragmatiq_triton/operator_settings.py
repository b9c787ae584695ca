"""What an operator decides about the models: ``settings.yaml`` and variables, laid over what the repository says.

    scorer: {threads: 2, event_cache_bytes: 536870912}      # PRAGMATIQ_SCORER_THREADS=2
    tokenizer: {instances: 2}                               # PRAGMATIQ_TOKENIZER_INSTANCES=2

A variable wins over the file, and the file over the repository, which is never written. What may be set are the
parameters of each model's config that do not belong to the model (:mod:`pragmatiq_triton.model_config`), and its
instances.
"""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pragmatiq_triton.errors import ConfigError
from pragmatiq_triton.model_config import ADDED_PARAMETERS, FIXED_PARAMETERS, INSTANCES, OF_TOKENIZER, config_facts
from pragmatiq_triton.model_folders import model_names
from pragmatiq_triton.yaml_files import read_yaml

GATEWAY_SECTION = "gateway"
"""The file's part that is not of a model (:mod:`pragmatiq_triton.gateway.policy`)."""

SETTINGS_VARIABLE = "PRAGMATIQ_SETTINGS"
REPOSITORY = "repository"

_PREFIX = "PRAGMATIQ_"
_DEVICE = re.compile(r"cpu|(cuda|hpu|mps|xpu)(:\d+)?")
# What Kubernetes puts into every container where a service is called pragmatiq-something.
_OF_SERVICES = re.compile(r".*_(SERVICE_(HOST|PORT(_\w+)?)|PORT(_\d+_(TCP|UDP|SCTP)(_(ADDR|PORT|PROTO))?)?)")
_OTHERS = (
    "ADDRESS", "API_KEY", "API_KEY_FILE", "CACHE_FOLDER", "DRAIN_SECONDS", "GATEWAY", "HTTP_INPUT_BYTES",
    "METRICS_ADDRESS", "MODEL_REPOSITORY", "PUBLISH_ADDRESS", "REPOSITORY", "SECRETS", "SERVER_ENV", "SETTINGS",
    "SKIP_VERIFICATION", "TAG", "TRITON_EXTRAS", "TRUST_REMOTE_CODE",
)  # fmt: skip
"""Variables that are no settings of models and that something of this project reads, the compose stack among it."""
_OF_GATEWAY = f"{_PREFIX}GATEWAY_"
_WORD = re.compile(r"[ !#-\[\]-~]+")


class Setting(NamedTuple):
    """A setting in force; ``source`` is "repository", the file, or the variable that said it."""

    value: str
    source: str


Settings = Mapping[str, Mapping[str, Setting]]
"""By model, by name."""


def read_settings_file(file: Path | None) -> dict[str, Any]:
    """The parts of ``settings.yaml`` by name; :class:`ConfigError` for what is no such file."""
    if file is None:
        return {}
    found = read_yaml(file, "settings")
    if found is None:
        return {}
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
        raise ConfigError(f"{file}: expected settings by name, got {type(found).__name__}")
    return found


def read_model_settings(
    repository: Path, parts: Mapping[str, Any], variables: Mapping[str, str], where: str = "settings"
) -> dict[str, dict[str, Setting]]:
    """All settings of the models of ``repository`` that are in force.

    Args:
        repository: a model repository.
        parts: what :func:`read_settings_file` gave; ``where`` names the file in errors.
        variables: the environment's.

    Raises:
        ConfigError: a model or setting that does not exist, one that belongs to the model, or a value that cannot be.
    """
    found = {model: _of_repository(repository / model) for model in model_names(repository)}
    models = {model: known for model, known in found.items() if known}
    for model, values in parts.items():
        if model == GATEWAY_SECTION:
            continue
        if model not in models:
            raise ConfigError(f"{where}: {model}: no such model; expected {GATEWAY_SECTION} or {_listed(models)}")
        if not isinstance(values, dict):
            raise ConfigError(f"{where}: {model}: expected settings by name, got {type(values).__name__}")
        for name, value in values.items():
            _lay(models, model, str(name), value, f"{where}: {model}.{name}", where)
    for variable, model, name in _variables(models, variables):
        _lay(models, model, name, variables[variable], variable, variable)
    return models


def unread_variables(settings: Settings, variables: Mapping[str, str]) -> list[str]:
    """A line for each variable that looks like a setting and that nothing reads, with what may be meant."""
    known = [f"{_PREFIX}{name}" for name in _OTHERS]
    of_models = [f"{prefix}{name.upper()}" for prefix, model in _prefixes(settings).items() for name in settings[model]]
    found = []
    for variable in sorted(variables):
        mine = variable.startswith(_PREFIX) and not variable.startswith(_OF_GATEWAY)
        if not mine or variable in known or variable in of_models or _OF_SERVICES.fullmatch(variable):
            continue
        near = difflib.get_close_matches(variable, [*known, *of_models], 1, 0.8)
        found.append(f"warning: {variable}: nothing reads this variable{f'; is {near[0]} meant?' if near else ''}")
    return found


def changed(settings: Settings) -> dict[str, dict[str, str]]:
    """The values that are other than the repository's, by model and name."""
    laid = {
        model: {name: each.value for name, each in values.items() if each.source != REPOSITORY}
        for model, values in settings.items()
    }
    return {model: values for model, values in laid.items() if values}


def lines(settings: Settings) -> list[str]:
    """What an operator should know: each setting that is not the repository's, and who said it."""
    return [
        f"{model}: {name} = {each.value} ({each.source})"
        for model, values in settings.items()
        for name, each in values.items()
        if each.source != REPOSITORY
    ]


def _of_repository(folder: Path) -> dict[str, Setting]:
    try:
        settings = config_facts((folder / "config.pbtxt").read_text(encoding="utf-8")).settings
    except (OSError, ValueError):
        return {}
    found = {name: Setting(value, REPOSITORY) for name, value in settings.items()}
    if OF_TOKENIZER in found:
        found |= {name: Setting("", REPOSITORY) for name in ADDED_PARAMETERS if name not in found}
    return found


def _lay(models: dict[str, dict[str, Setting]], model: str, name: str, value: Any, what: str, source: str) -> None:
    known = models[model]
    if name in FIXED_PARAMETERS:
        raise ConfigError(f"{what}: belongs to the model; export it again to change it")
    if name not in known:
        raise ConfigError(f"{what}: no such setting; expected one of {_listed(known)}")
    default = known[name].value
    if value == "" and source == what:
        expected = "a whole number" if default.isdecimal() else "a date" if name in ADDED_PARAMETERS else "a word"
        rest = f", which leaves {default} ({known[name].source})" if default else ""
        raise ConfigError(f"{what} is set but empty: expected {expected}; give it a value, or unset it{rest}")
    known[name] = Setting(_checked(name, default, value, what), source)


def _checked(name: str, default: str, value: Any, what: str) -> str:
    """The value as a config holds it."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ConfigError(f"{what}: expected {'a whole number' if default.isdecimal() else 'a word'}, got {value!r}")
    word = str(value).strip()
    if default.isdecimal() or name == INSTANCES:
        least = 1 if name == INSTANCES else 0
        if not word.isdecimal() or int(word) < least or int(word) >= 2**63:
            raise ConfigError(f"{what}: expected a whole number of at least {least}, got {value!r}")
        return str(int(word))
    if not _WORD.fullmatch(word):
        raise ConfigError(f"{what}: expected a word of printable ASCII without quotes, got {value!r}")
    if name == "device" and not _DEVICE.fullmatch(word):
        raise ConfigError(f"{what}: expected cpu, cuda, hpu, mps or xpu, or one of several as cuda:1, got {value!r}")
    return word


def _variables(
    models: Mapping[str, Mapping[str, Setting]], variables: Mapping[str, str]
) -> Iterator[tuple[str, str, str]]:
    """Variables that are settings of models: each with its model and the setting's name."""
    prefixes = _prefixes(models)
    names = {name.upper() for known in models.values() for name in known}
    for variable in sorted(variables):
        if not variable.startswith(_PREFIX) or variable.startswith(_OF_GATEWAY) or _OF_SERVICES.fullmatch(variable):
            continue
        # `scorer_loan` is a model beside `scorer`.
        prefix = max((each for each in prefixes if variable.startswith(each)), key=len, default=None)
        if prefix is not None:
            yield variable, prefixes[prefix], variable.removeprefix(prefix).lower()
        elif any(variable.endswith(f"_{name}") for name in names):
            raise ConfigError(f"{variable}: no model of that name; expected one of {_listed(models)}")


def _prefixes(models: Iterable[str]) -> dict[str, str]:
    """The models by what their variables begin with."""
    return {f"{_PREFIX}{re.sub(r'[^A-Za-z0-9]', '_', model).upper()}_": model for model in models}


def _listed(names: Mapping[str, Any]) -> str:
    return ", ".join(sorted(names))
