"""Vectors of a frozen transformers model, pooled over a string's tokens as its folder says.

The default is nvidia/llama-nemotron-embed-1b-v2: a Llama 3.2 1B whose attention looks both ways (model type
``llama_bidirec``), 2048 numbers per vector, at the revision that NVIDIA's NeMo Retriever pins as compatible with
transformers 5. It runs as transformers' own Llama without the causal mask; the code beside its weights runs only if
``trust_remote_code`` says so.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tokenizers.normalizers import Lowercase

from pragmatiq_triton.batch import Float32
from pragmatiq_triton.errors import ArtifactError, ConfigError, MissingDependencyError, NotFiniteError, PragmatiqError
from pragmatiq_triton.finite import require_finite
from pragmatiq_triton.text_encoders.known_strings import MOST_SHARE, NAMED_SHARE, PROBES, known_strings
from pragmatiq_triton.text_encoders.loading import load_transformer
from pragmatiq_triton.text_encoders.model_folder import check_revision, first_line, folder_revision, hub_folder
from pragmatiq_triton.text_encoders.pooling import ModelFolder, Pooling, read_model_folder, with_pooling
from pragmatiq_triton.text_encoders.protocol import MAX_LENGTH, TextEncoderSpec
from pragmatiq_triton.text_encoders.registry import register_text_encoder

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

DEFAULT_MODEL = "nvidia/llama-nemotron-embed-1b-v2"
DEFAULT_REVISION = "113abe4acafa848e77ead9c0623205e511932348"

# Bounds the memory of one call of the model; a longer string makes a call of its own.
TOKENS_PER_CALL = 8192


class NemotronEncoder:
    """Last hidden states of ``model`` as ``pooling`` makes one vector of them, float32 and without gradients.

    Strings are grouped by their number of tokens, so no call of the model holds padding and a string's vector does not
    depend on its neighbours, but for float32 rounding (1e-6 of the largest number). A string over ``max_length``
    tokens is cut there and counted in ``n_cut``; one without tokens is the zero vector; lone surrogates, which no
    tokenizer takes, are read as U+FFFD.

    :class:`ArtifactError` where the tokenizer does not fit the model or knows few strings, or a weight is not finite.
    """

    name = "nemotron"

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        spec: TextEncoderSpec,
        revision: str,
        where: str,
        pooling: Pooling,
    ) -> None:
        _require_rows(model, tokenizer, where)
        _require_finite_weights(model, where)
        self.max_length = _max_length(model, spec, pooling)
        self.n_cut = 0
        self.dim = int(model.config.hidden_size) * len(pooling.modes)
        self.revision = with_pooling(revision, pooling)
        self._where = where
        self._model = model.train(False).requires_grad_(False)
        self._tokenizer = tokenizer
        self._prefix = spec.prefix
        self._pooling = pooling
        self.check_texts(PROBES)
        require_finite(where, self.encode(PROBES[:1]), "the model is damaged; restore it")

    def check_texts(self, texts: Sequence[str]) -> None:
        """Refuse ``texts``, all different, where the tokenizer cannot tell most of them apart; tell of a share.

        Raises:
            ArtifactError: Half of them or more are unknown to the tokenizer, or the same as another.
        """
        if not texts:
            return
        encoded = self._tokenizer(
            list(map(self._readable, texts)), add_special_tokens=False, return_attention_mask=False
        )
        found = known_strings(texts, encoded["input_ids"], self._tokenizer.unk_token_id)
        if found.lost_share >= MOST_SHARE:
            raise ArtifactError(
                f"{self._where}: its tokenizer does not know these strings: {found}; take a model whose tokenizer was "
                "made for such text, with all of its tokenizer's files"
            )
        if found.lost_share >= NAMED_SHARE:
            logger.warning("%s: %s", self._where, found)

    def encode(self, texts: Sequence[str]) -> Float32:
        """Vectors of ``texts``: float32 [n, dim]."""
        import torch

        vectors = np.zeros((len(texts), self.dim), np.float32)
        token_ids = self._token_ids(texts)
        with torch.inference_mode():
            for rows in _equally_long(token_ids):
                input_ids = torch.tensor([token_ids[row] for row in rows], device=self._model.device)
                output = self._model(input_ids=input_ids, attention_mask=torch.ones_like(input_ids))
                vectors[rows] = _pooled(output.last_hidden_state, self._pooling).float().cpu().numpy()
        return vectors

    def _token_ids(self, texts: Sequence[str]) -> list[list[int]]:
        if not texts:
            return []
        encoded = self._tokenizer(
            [self._readable(self._prefix + text) for text in texts],
            truncation=True,
            max_length=self.max_length,
            padding=False,
            return_attention_mask=False,
        )
        self.n_cut += sum(bool(each.overflowing) for each in encoded.encodings or ())
        token_ids: list[list[int]] = encoded["input_ids"]
        return token_ids

    def _readable(self, text: str) -> str:
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return Lowercase().normalize_str(text) if self._pooling.lowercase else text


def _pooled(states: Tensor, pooling: Pooling) -> Tensor:
    """One vector [n, dim] of each of n strings' ``states`` [n, n_tokens, hidden], none of which is padding."""
    import torch

    n_tokens = states.shape[1]
    vectors = []
    for mode in pooling.modes:
        if mode == "cls":
            vectors.append(states[:, 0])
        elif mode == "lasttoken":
            vectors.append(states[:, -1])
        elif mode == "max":
            vectors.append(states.amax(dim=1))
        elif mode == "mean":
            vectors.append(states.mean(dim=1))
        elif mode == "mean_sqrt_len_tokens":
            vectors.append(states.sum(dim=1) / n_tokens**0.5)
        else:
            weights = torch.arange(1, n_tokens + 1, device=states.device, dtype=states.dtype)[:, None]
            vectors.append((states * weights).sum(dim=1) / weights.sum())
    joined = torch.cat(vectors, dim=1)
    return torch.nn.functional.normalize(joined, dim=1) if pooling.normalize else joined


def _max_length(model: PreTrainedModel, spec: TextEncoderSpec, pooling: Pooling) -> int:
    """Tokens of a string that the model reads: as its folder and its table of positions allow."""
    limit = getattr(model.config, "max_position_embeddings", None) or 0
    for name, module in model.named_modules():
        # RoBERTa's and its like begin to count behind the padding's position.
        if name.endswith("position_embeddings") and hasattr(module, "num_embeddings"):
            rows = module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1)
            limit = min(limit, rows) if limit > 0 else rows
    if 0 < limit < spec.max_length != MAX_LENGTH:
        raise ConfigError(f"text_encoder.max_length: expected at most the model's {limit}, got {spec.max_length}")
    return min(length for length in (spec.max_length, limit, pooling.max_length) if length and length > 0)


def _require_rows(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, where: str) -> None:
    try:
        rows = len(model.get_input_embeddings().weight)
    except (NotImplementedError, AttributeError):
        # A model with code of its own need not say where its table is.
        return
    highest = max(tokenizer.get_vocab().values(), default=-1)
    if highest >= rows:
        raise ArtifactError(
            f"{where}: its tokenizer gives ids up to {highest}, but the model has {rows} token vectors; "
            "the tokenizer is another model's: restore the folder"
        )


def _require_finite_weights(model: PreTrainedModel, where: str) -> None:
    import torch

    for name, weight in model.named_parameters():
        if weight.numel() and not name.startswith("pooler.") and not all(map(torch.isfinite, weight.aminmax())):
            raise NotFiniteError(f"{where}: the weight {name} holds NaN or infinity; restore the model")


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
    about = read_model_folder(folder, MAX_LENGTH)
    pooling = _pooling(spec, about, folder)
    try:
        model, tokenizer = load_transformer(about.transformer, spec.trust_remote_code)
        return NemotronEncoder(model.to(device), tokenizer, spec, revision, str(folder), pooling)
    except PragmatiqError:
        raise
    except ImportError as error:
        raise MissingDependencyError(f"{folder}: loading it needs a package: {first_line(error)}") from error
    except Exception as error:
        raise ArtifactError(
            f"{folder}: expected a transformers model with its tokenizer: {type(error).__name__}: {first_line(error)}"
        ) from error


def _pooling(spec: TextEncoderSpec, about: ModelFolder, folder: Path) -> Pooling:
    """What the encoder was fitted with; when it is fitted now, what the folder says, whose prompts then count too."""
    if spec.pooling is not None:
        pooling = Pooling.parse(spec.pooling)
        if pooling != about.pooling:
            logger.warning(
                "%s says %s; the tokenizer was fitted with vectors that are %s, and stay so: to follow, fit it again",
                folder,
                about.pooling,
                pooling,
            )
        return pooling
    prompts = sorted({prompt for prompt in (about.prompts or {}).values() if prompt})
    listed = ", ".join(map(repr, prompts))
    if about.default_prompt and not spec.prefix:
        raise ConfigError(f"{folder} puts {about.default_prompt!r} before every string: set text_prefix to it")
    if prompts and spec.prefix and spec.prefix.strip() not in map(str.strip, prompts):
        raise ConfigError(
            f"text_prefix {spec.prefix!r} is none of the prompts of {folder} ({listed}): set it to one of them"
        )
    if spec.prefix and not about.pools_prompt:
        raise ConfigError(
            f"{folder} leaves a prompt's tokens out of its vectors, which is not done here: drop text_prefix"
        )
    if spec.prefix and not prompts and spec.text_model not in (None, DEFAULT_MODEL):
        logger.warning("text_prefix %r: %s names no prompts; see that it is this model's", spec.prefix, folder)
    if prompts and not spec.prefix:
        logger.warning("%s knows prompts (%s); strings are embedded without one, as text_prefix says", folder, listed)
    return about.pooling


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
