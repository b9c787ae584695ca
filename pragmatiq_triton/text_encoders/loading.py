"""A transformers model and its tokenizer from a folder: what is not whole, or would run code unasked, is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pragmatiq_triton.errors import ArtifactError, ConfigError

_VOCABULARIES = ("tokenizer.json", "vocab.txt", "vocab.json", "tekken.json")


def load_transformer(folder: Path, trust_remote_code: bool) -> tuple[Any, Any]:
    """The model, float32, and its tokenizer.

    Raises :class:`ArtifactError` for a folder without a tokenizer, with weights that lack tensors, or of a kind of
    model that gives no vectors of a text, and :class:`ConfigError` for code that may not run. Others are
    transformers'.
    """
    import torch
    from transformers import CONFIG_MAPPING, AutoModel, AutoTokenizer, PreTrainedConfig

    settings, _ = PreTrainedConfig.get_config_dict(folder, local_files_only=True)
    _require_encoder(folder, settings)
    _require_tokenizer(folder)
    arguments: dict[str, Any] = {"local_files_only": True, "trust_remote_code": trust_remote_code}
    if trust_remote_code:
        _refuse_code_from_elsewhere(folder)
    elif settings.get("model_type") == "llama_bidirec":
        arguments["config"] = _bidirectional_llama(folder, settings)
    elif "auto_map" in settings and settings.get("model_type") not in CONFIG_MAPPING:
        raise ConfigError(
            f"{folder}: this model brings its own code; to run it, set text_encoder.trust_remote_code: true "
            "and pin text_encoder.revision"
        )
    model, report = AutoModel.from_pretrained(
        folder, dtype=torch.float32, use_safetensors=True, output_loading_info=True, **arguments
    )
    # A pooler's output is not read, and many checkpoints leave its weights out.
    missing = sorted(key for key in report["missing_keys"] if not key.startswith("pooler."))
    if missing:
        raise ArtifactError(f"{folder}: the weights lack {len(missing)} tensors of the model, {missing[0]} among them")
    if not getattr(model.config, "is_causal", True):
        # The mask heeds the config; the attention kernels ask each layer.
        for module in model.modules():
            if hasattr(module, "is_causal"):
                module.is_causal = False
    model.config.use_cache = False
    return model, AutoTokenizer.from_pretrained(folder, **arguments)


def _bidirectional_llama(folder: Path, settings: dict[str, Any]) -> Any:
    """``llama_bidirec`` as transformers' own Llama without the causal mask, so that no code beside the weights runs."""
    from transformers import LlamaConfig

    if settings.get("pooling", "avg") != "avg":
        raise ArtifactError(f"{folder}: config.json: expected pooling 'avg', got {settings['pooling']!r}")
    rope = settings.get("rope_scaling")
    if rope and "rope_theta" in settings:
        settings["rope_scaling"] = {"rope_theta": settings["rope_theta"], **rope}
    foreign = {"architectures", "auto_map", "model_type", "pooling", "temperature"}
    known = {key: value for key, value in settings.items() if key not in foreign}
    return LlamaConfig.from_dict(known | {"is_causal": False})


def _require_encoder(folder: Path, settings: dict[str, Any]) -> None:
    from transformers import CONFIG_MAPPING

    kind = settings.get("model_type")
    default = getattr(CONFIG_MAPPING[kind](), "is_encoder_decoder", False) if kind in CONFIG_MAPPING else False
    if settings.get("is_encoder_decoder", default):
        raise ArtifactError(
            f"{folder}: an encoder-decoder model ({kind}), whose hidden states are not one text's; take an encoder or "
            "a decoder, such as a sentence-transformers model"
        )


def _require_tokenizer(folder: Path) -> None:
    """Without its files transformers makes an empty tokenizer, to which every string is the same."""
    if not any((folder / name).is_file() for name in _VOCABULARIES) and not any(folder.glob("*.model")):
        own = folder / "tokenizer_config.json"
        if own.is_file() and "AutoTokenizer" in json.loads(own.read_text(encoding="utf-8")).get("auto_map", {}):
            return
        raise ArtifactError(
            f"{folder}: the tokenizer is missing: expected {', '.join(_VOCABULARIES)} or a *.model file beside "
            "config.json; copy the model's whole folder"
        )


def _refuse_code_from_elsewhere(folder: Path) -> None:
    """``owner/name--module.Class`` in an auto_map runs another repository's code, which no revision here pins."""
    for path in sorted(folder.glob("*config.json")):
        auto_map = json.loads(path.read_text(encoding="utf-8")).get("auto_map", {})
        if "--" in str(auto_map):
            raise ConfigError(f"{path}: auto_map names code outside this folder, which its revision does not pin")
