"""Text to byte-level BPE pieces: no more of a text than can be used, and common texts looked up."""

from collections.abc import Sequence
from sys import getsizeof

import msgspec
import numpy as np
import tokenizers

from pragmatiq_triton.batch import Int64, cu_seqlens
from pragmatiq_triton.cache.records import RecordCache

CACHE_BYTES = 32 * 1024 * 1024
LONGEST_WORD = 256
"""Characters of a word (letters, digits, signs or spaces in a row) beyond which the pieces may depend on the cut."""


class _Pieces(msgspec.Struct, frozen=True, gc=False):
    """Ids int32 [n] of one text."""

    ids: bytes

    @property
    def n_bytes(self) -> int:
        return getsizeof(self) + getsizeof(self.ids)


class BpeEncoder:
    """The pieces of texts, those of the texts that came lately out of ``cache``. One thread at a time.

    Of a text only so many characters are read that its first ``most`` pieces are certain: as many as the longest pieces
    would take, and one word more. So these pieces are those of the whole text where no word of it is longer than
    ``LONGEST_WORD``; of a text with a longer one they are those of its beginning, the same in training and serving.
    """

    def __init__(self, bpe_json: str, lowercase: bool) -> None:
        self.cache: RecordCache[str, _Pieces] = RecordCache(CACHE_BYTES)
        self._tokenizer = tokenizers.Tokenizer.from_str(bpe_json)
        self._lowercase = lowercase
        # In bytes, each of which is one character of the piece's name.
        self._longest_piece = max(map(len, self._tokenizer.get_vocab()), default=1)

    def reach(self, most: int) -> int:
        """Characters that are read of a text of which ``most`` pieces can be used."""
        return most * self._longest_piece + LONGEST_WORD

    def __call__(self, values: Sequence[str], most: int) -> tuple[Int64, Int64, Int64]:
        """Ids of texts end to end, int64 [n_pieces], at least ``most`` of a text or all of them; a text may have none.

        Also their offsets int64 [n + 1], and the characters of each that were not read, int64 [n].
        """
        if self._lowercase:
            values = [value.lower() for value in values]
        reach = self.reach(most)
        unread = np.fromiter((len(value) - reach for value in values), np.int64, len(values)).clip(0)
        texts = [value[:reach] for value in values]
        kept = self.cache.find(texts)
        made: dict[str, _Pieces] = {}
        if not all(kept):
            new = [*dict.fromkeys(text for text, pieces in zip(texts, kept, strict=True) if pieces is None)]
            for text, encoding in zip(
                new, self._tokenizer.encode_batch_fast(new, add_special_tokens=False), strict=True
            ):
                made[text] = _Pieces(np.asarray(encoding.ids, np.int32).tobytes())
                self.cache.put(text, made[text])
        found = [pieces or made[text] for text, pieces in zip(texts, kept, strict=True)]
        offsets = cu_seqlens([len(pieces.ids) // 4 for pieces in found])
        flat = np.frombuffer(b"".join([pieces.ids for pieces in found]), np.int32)
        return flat.astype(np.int64), offsets, unread
