"""What a batch must hold before its numbers index a model's tables.

ONNX's ``Gather`` reads a negative id from the table's end without a word, so ids are checked here.
Every function raises :class:`~pragmatiq_triton.errors.DataError`.
"""

import numpy as np
import numpy.typing as npt

from pragmatiq_triton.batch import Batch, Int32, Int64, Token
from pragmatiq_triton.errors import DataError


def check_events(batch: Batch, vocab_size: int, text_dim: int) -> None:
    """The events' tokens and texts fit a model of ``vocab_size`` ids and, unless ``text_dim`` is 0, a text branch."""
    check_event_lengths(batch, text_dim)
    check_tokens(batch.tokens, vocab_size, len(batch.text_vectors))


def check_event_lengths(batch: Batch, text_dim: int) -> None:
    """There are as many tokens as the events say, and text vectors of the length that the model takes."""
    _check_rows("tokens", len(batch.tokens), "the events' token counts", batch.token_counts)
    n_texts, width = batch.text_vectors.shape
    if n_texts and width != text_dim:
        takes = f"vectors of {text_dim} numbers" if text_dim else "none: it has no text branch"
        raise DataError(f"text_vectors: {n_texts} vectors of {width} numbers, but the model takes {takes}")


def check_tokens(tokens: Int32, vocab_size: int, n_texts: int) -> None:
    """Tokens int32 [n, 4] have ids of the model's and texts that are there."""
    _check_ids("tokens", tokens, vocab_size)
    _check_range("tokens", "text index", tokens[:, Token.TEXT], -1, n_texts)


def check_profiles(batch: Batch, vocab_size: int) -> None:
    """The profiles' tokens fit a model of ``vocab_size`` ids."""
    lengths = np.diff(batch.profile_cu_seqlens)
    _check_rows("profile", len(batch.profile), "profile_cu_seqlens", lengths)
    _check_rows("profile_times", len(batch.profile_times), "profile_cu_seqlens", lengths)
    _check_rows("events", len(batch.events), "event_cu_seqlens", np.diff(batch.event_cu_seqlens))
    _check_ids("profile", batch.profile, vocab_size)


def check_event_keys(batch: Batch) -> None:
    """Every event has a fingerprint."""
    if len(batch.event_keys) != len(batch.events):
        raise DataError(f"event_keys: expected one for each of {len(batch.events)} events, got {len(batch.event_keys)}")


def _check_rows(name: str, rows: int, source: str, lengths: Int64) -> None:
    least, total = lengths.min(initial=0), lengths.sum()
    if least < 0 or rows != total:
        raise DataError(f"{name}: {rows} rows, but {source} say {total} (shortest {least})")


def _check_ids(name: str, table: npt.NDArray[np.int32], vocab_size: int) -> None:
    _check_range(name, "key id", table[:, Token.KEY], 0, vocab_size)
    _check_range(name, "value id", table[:, Token.VALUE], 0, vocab_size)
    _check_range(name, "position", table[:, Token.POSITION], 0, np.iinfo(np.int32).max)


def _check_range(name: str, column: str, values: npt.NDArray[np.int32], low: int, stop: int) -> None:
    wrong = np.flatnonzero((values < low) | (values >= stop))
    if len(wrong):
        raise DataError(
            f"{name}[{wrong[0]}]: {column} {values[wrong[0]]}, expected {low} to {stop - 1}; "
            "use the tokenizer that the model was trained with"
        )
