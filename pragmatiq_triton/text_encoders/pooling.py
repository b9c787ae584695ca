"""How a text model's folder says that a string's tokens become one vector, as sentence-transformers writes it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pragmatiq_triton.errors import ArtifactError

MODES = ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")

_FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
"""The older spelling's, in the order in which several are put side by side."""

_OWN_MODULES = ("sentence_transformers.",)
_ADAPTER = "adapter_config.json"


@dataclass(frozen=True, slots=True)
class Pooling:
    """``modes`` of :data:`MODES`, side by side where there are several; then, if ``normalize``, the vector's length
    is 1. Strings are lower-cased first if ``lowercase``, and cut at ``max_length`` tokens, None for the encoder's own
    limit.
    """

    modes: tuple[str, ...] = ("mean",)
    normalize: bool = False
    lowercase: bool = False
    max_length: int | None = None

    def __str__(self) -> str:
        flags = [name for name in ("normalize", "lowercase") if getattr(self, name)]
        length = [f"max_length={self.max_length}"] if self.max_length else []
        return ",".join(["+".join(self.modes), *flags, *length])

    @classmethod
    def parse(cls, text: str) -> "Pooling":
        """What :meth:`__str__` wrote; :class:`ArtifactError` for anything else."""
        modes, *rest = text.split(",")
        lengths = [int(part[11:]) for part in rest if part.startswith("max_length=") and part[11:].isdecimal()]
        pooling = cls(tuple(modes.split("+")), "normalize" in rest, "lowercase" in rest, *lengths[:1])
        if str(pooling) != text or not set(pooling.modes) <= set(MODES):
            raise ArtifactError(f"text_encoder.pooling: {text!r} is no pooling of this version; tokenize again")
        return pooling


PLAIN = Pooling()
"""Of a plain transformers folder, which says nothing: the mean of the last hidden states."""


def with_pooling(revision: str, pooling: Pooling) -> str:
    """A model's revision with the pooling that its vectors also depend on; the plain one goes without saying."""
    return revision if pooling == PLAIN else f"{revision};{pooling}"


def pooling_of(revision: str | None) -> str:
    """The pooling in what :func:`with_pooling` made; before there was one, and upstream, it was the plain one."""
    return (revision or "").partition(";")[2] or str(PLAIN)


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """What a folder says of itself.

    ``transformer``: where the weights and the tokenizer lie. ``prompts``: what may stand before a string, by name;
    ``default_prompt`` does where nothing else is asked for. ``pools_prompt``: whether its tokens are pooled too.
    """

    transformer: Path
    pooling: Pooling = PLAIN
    prompts: Mapping[str, str] | None = None
    default_prompt: str = ""
    pools_prompt: bool = True


def read_model_folder(folder: Path, most_tokens: int) -> ModelFolder:
    """Read ``modules.json`` and what it names; a folder without it is a plain one.

    ``most_tokens``: of a string, whatever the folder says. Raises :class:`ArtifactError` for what is damaged, and for
    modules and settings that are not known here, which would make other vectors than the folder's own library.
    """
    if not (folder / "modules.json").is_file():
        return _plain(folder)
    modules = _read(folder / "modules.json", list)
    try:
        kinds = [_kind(folder, module["type"]) for module in modules]
        paths = [folder / module["path"] for module in modules]
    except (KeyError, TypeError):
        raise ArtifactError(f"{folder / 'modules.json'}: expected a list of modules with type and path") from None
    if kinds[:2] != ["Transformer", "Pooling"] or any(kind != "Normalize" for kind in kinds[2:]):
        raise ArtifactError(
            f"{folder / 'modules.json'}: its modules are {', '.join(kinds)}, but only Transformer, Pooling and then "
            "Normalize can be followed here; take another model, or give its vectors as a table"
        )
    for path in paths[2:]:
        _expect(path / "config.json", _optional(path / "config.json"), {"module_input_name": "sentence_embedding"})
    modes, pools_prompt = _modes(paths[1] / "config.json")
    lowercase, max_length = _transformer(paths[0], most_tokens)
    about = _optional(folder / "config_sentence_transformers.json")
    prompts = {str(name): str(prompt or "") for name, prompt in (about.get("prompts") or {}).items()}
    return ModelFolder(
        paths[0],
        Pooling(modes, len(kinds) > 2, lowercase, max_length),
        prompts,
        prompts.get(about.get("default_prompt_name") or "", ""),
        pools_prompt,
    )


def _plain(folder: Path) -> ModelFolder:
    for path in sorted(folder.glob("*_Pooling/config.json")):
        if _modes(path)[0] != PLAIN.modes:
            raise ArtifactError(f"{folder}: {path.parent.name} without modules.json: copy the model's whole folder")
    if (folder / _ADAPTER).is_file():
        raise ArtifactError(f"{folder / _ADAPTER}: an adapter of a model that lies elsewhere; merge it into its model")
    return ModelFolder(folder)


def _kind(folder: Path, name: str) -> str:
    """A module's class; one that is not sentence-transformers' own keeps its full name, which nothing here follows."""
    return name.rpartition(".")[2] if name.startswith(_OWN_MODULES) else name


def _modes(path: Path) -> tuple[tuple[str, ...], bool]:
    """The pooling modes of either spelling, and whether a prompt's tokens are pooled."""
    config = _read(path, dict)
    modes = config.get("pooling_mode")
    if modes is None:
        modes = [mode for flag, mode in _FLAGS.items() if config.get(flag)] or ["mean"]
    modes = [modes] if isinstance(modes, str) else list(modes)
    unknown = [mode for mode in modes if mode not in MODES]
    unknown += [key for key in config if key.startswith("pooling_mode_") and key not in _FLAGS and config[key]]
    if unknown or not modes:
        raise ArtifactError(f"{path}: pooling {unknown or 'none'}, expected {', '.join(MODES)}; take another model")
    return tuple(modes), bool(config.get("include_prompt", True))


def _transformer(path: Path, most_tokens: int) -> tuple[bool, int | None]:
    """Whether strings are lower-cased, and where they are cut if before ``most_tokens``."""
    files = sorted(path.glob("sentence_*_config.json"))
    config = _read(files[0], dict) if files else {}
    if files:
        _expect(files[0], config, {"transformer_task": "feature-extraction", "module_output_name": "token_embeddings"})
        text = (config.get("modality_config") or {}).get("text") or {}
        _expect(files[0], text, {"method": "forward", "method_output_name": "last_hidden_state"})
    if (path / _ADAPTER).is_file():
        raise ArtifactError(f"{path / _ADAPTER}: an adapter of a model that lies elsewhere; merge it into its model")
    limit = config.get("max_seq_length") or _optional(path / "tokenizer_config.json").get("model_max_length")
    cut = int(limit) if isinstance(limit, int | float) and 0 < limit < most_tokens else None
    return bool(config.get("do_lower_case")), cut


def _expect(path: Path, config: Mapping[str, Any], expected: Mapping[str, str]) -> None:
    for name, value in expected.items():
        if config.get(name, value) != value:
            raise ArtifactError(f"{path}: {name} is {config[name]!r}, expected {value!r}; take another model")


def _optional(path: Path) -> dict[str, Any]:
    return dict(_read(path, dict)) if path.is_file() else {}


def _read(path: Path, kind: type) -> Any:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path}: cannot be read: {error}; copy the model's whole folder") from None
    if not isinstance(found, kind):
        raise ArtifactError(f"{path}: expected a JSON {kind.__name__}, got a {type(found).__name__}")
    return found
