"""Vectors of a frozen transformers model, mean-pooled over a string's tokens.

The default is nvidia/llama-nemotron-embed-1b-v2: a Llama 3.2 1B whose attention looks both ways (model type
``llama_bidirec``), 2048 numbers per vector, at the revision that NVIDIA's NeMo Retriever pins as compatible with
transformers 5. It runs as transformers' own Llama without the causal mask; the code beside its weights runs only if
``trust_remote_code`` says so.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pragmatiq_triton.batch import Float32
from pragmatiq_triton.errors import ArtifactError, ConfigError, MissingDependencyError, PragmatiqError
from pragmatiq_triton.text_encoders.model_folder import check_revision, first_line, folder_revision, hub_folder
from pragmatiq_triton.text_encoders.protocol import TextEncoderSpec
from pragmatiq_triton.text_encoders.registry import register_text_encoder

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

DEFAULT_MODEL = "nvidia/llama-nemotron-embed-1b-v2"
DEFAULT_REVISION = "113abe4acafa848e77ead9c0623205e511932348"

# Bounds the memory of one call of the model; a longer string makes a call of its own.
TOKENS_PER_CALL = 8192


class NemotronEncoder:
    """Mean-pooled last hidden states of ``model``, float32 and without gradients.

    Strings are grouped by their number of tokens, so no call of the model holds padding and a string's vector does not
    depend on its neighbours, but for float32 rounding (1e-6 of the largest number). A string over ``spec.max_length``
    tokens is cut there; one without tokens is the zero vector; lone surrogates, which no tokenizer takes, are read as
    U+FFFD.
    """

    name = "nemotron"

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, spec: TextEncoderSpec, revision: str
    ) -> None:
        limit = getattr(model.config, "max_position_embeddings", None)
        if limit is not None and spec.max_length > limit:
            raise ConfigError(f"text_encoder.max_length: expected at most the model's {limit}, got {spec.max_length}")
        self.dim = int(model.config.hidden_size)
        self.revision = revision
        self._model = model.train(False).requires_grad_(False)
        self._tokenizer = tokenizer
        self._prefix = spec.prefix
        self._max_length = spec.max_length

    def encode(self, texts: Sequence[str]) -> Float32:
        """Vectors of ``texts``: float32 [n, dim]."""
        import torch

        vectors = np.zeros((len(texts), self.dim), np.float32)
        token_ids = self._token_ids(texts)
        with torch.inference_mode():
            for rows in _equally_long(token_ids):
                input_ids = torch.tensor([token_ids[row] for row in rows], device=self._model.device)
                output = self._model(input_ids=input_ids, attention_mask=torch.ones_like(input_ids))
                vectors[rows] = output.last_hidden_state.mean(dim=1).float().cpu().numpy()
        return vectors

    def _token_ids(self, texts: Sequence[str]) -> list[list[int]]:
        if not texts:
            return []
        encoded = self._tokenizer(
            [_readable(self._prefix + text) for text in texts],
            truncation=True,
            max_length=self._max_length,
            padding=False,
            return_attention_mask=False,
        )
        token_ids: list[list[int]] = encoded["input_ids"]
        return token_ids


def _readable(text: str) -> str:
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _equally_long(token_ids: Sequence[Sequence[int]]) -> Iterator[list[int]]:
    """Rows of the same number of tokens, ``TOKENS_PER_CALL`` tokens at a time; rows without tokens are left out."""
    by_length: defaultdict[int, list[int]] = defaultdict(list)
    for row, ids in enumerate(token_ids):
        by_length[len(ids)].append(row)
    by_length.pop(0, None)
    for length, rows in sorted(by_length.items()):
        step = max(1, TOKENS_PER_CALL // length)
        for start in range(0, len(rows), step):
            yield rows[start : start + step]


@register_text_encoder("nemotron")
def _create(spec: TextEncoderSpec, *, device: str, threads: int | None) -> NemotronEncoder:
    try:
        import torch
        import transformers  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            f"the text encoder 'nemotron' needs {error.name}: pip install \"pragmatiq-triton[nemotron]\" "
            '(in a server: "pragmatiq-triton[embedder]"; in the image: build it with PRAGMATIQ_TRITON_EXTRAS=nemotron)'
        ) from error
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"text encoder 'nemotron': device {device!r}: {first_line(error)}") from error
    if threads is not None:
        torch.set_num_threads(threads)
    folder, revision = _pinned_folder(spec)
    try:
        model, tokenizer = _load(folder, spec.trust_remote_code)
    except PragmatiqError:
        raise
    except ImportError as error:
        raise MissingDependencyError(f"{folder}: loading it needs a package: {first_line(error)}") from error
    except Exception as error:
        raise ArtifactError(
            f"{folder}: expected a transformers model with its tokenizer: {type(error).__name__}: {first_line(error)}"
        ) from error
    return NemotronEncoder(model.to(device), tokenizer, spec, revision)


def _pinned_folder(spec: TextEncoderSpec) -> tuple[Path, str]:
    """Where the model lies, and its revision; checked against the pinned one before anything in it is run."""
    model, pinned = spec.text_model or DEFAULT_MODEL, spec.revision
    folder = Path(model)
    if folder.is_dir():
        revision = folder_revision(folder)
        if spec.trust_remote_code and pinned is None:
            raise ConfigError(
                f"{folder}: text_encoder.trust_remote_code runs the code in this folder: read it, then pin it "
                f"with text_encoder.revision: {revision}"
            )
        check_revision(folder, pinned, revision)
        return folder, revision
    if model == DEFAULT_MODEL and pinned is None:
        pinned = DEFAULT_REVISION
    return hub_folder(model, pinned), str(pinned)


def _load(folder: Path, trust_remote_code: bool) -> tuple[Any, Any]:
    import torch
    from transformers import CONFIG_MAPPING, AutoModel, AutoTokenizer, PreTrainedConfig

    settings, _ = PreTrainedConfig.get_config_dict(folder, local_files_only=True)
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


def _refuse_code_from_elsewhere(folder: Path) -> None:
    """``owner/name--module.Class`` in an auto_map runs another repository's code, which no revision here pins."""
    for path in sorted(folder.glob("*config.json")):
        auto_map = json.loads(path.read_text(encoding="utf-8")).get("auto_map", {})
        if "--" in str(auto_map):
            raise ConfigError(f"{path}: auto_map names code outside this folder, which its revision does not pin")
