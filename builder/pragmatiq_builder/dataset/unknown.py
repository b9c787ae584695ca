"""What a tokenizer does not know of records that it was not fitted to, by field."""

from collections import Counter

import numpy as np
import numpy.typing as npt

from pragmatiq_builder.dataset.field_warnings import unknown_fields
from pragmatiq_triton.batch import Int32, Token, UserFeatures
from pragmatiq_triton.records import RecordLimits, decode_record, text_of
from pragmatiq_triton.tokenizer.vocabulary import UNK, Vocabulary

NO_LIMITS = RecordLimits(**dict.fromkeys(RecordLimits.__struct_fields__, 1 << 62))
"""For records that have passed a server's."""
MOST_NAMES = 1_000
"""Names of fields that fitting never saw, of which so many are kept."""


class UnknownValues:
    """Counts the values of tokenized records, and those that are [UNK]."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.values: Counter[str] = Counter()
        self.unknown: Counter[str] = Counter()
        self.strange_values = 0
        self.strange: set[str] = set()
        """Names of fields that fitting never saw."""
        self._vocabulary = vocabulary
        self._names = {number: name for name, number in vocabulary.state["key_vocab"].items()}

    def add(self, raw: bytes, user: UserFeatures) -> None:
        """Count a record that was read from ``raw``."""
        n_strange = self._count(user.tokens, user.tokens[:, Token.TEXT] >= 0)
        n_strange += self._count(user.profile, np.zeros(len(user.profile), np.bool_))
        self.strange_values += n_strange
        if n_strange and len(self.strange) < MOST_NAMES:
            record = decode_record(raw, NO_LIMITS)
            pairs = [(item.key, item.key) for item in record.lifelong]
            for fields in (record.attributes, *(event.fields for event in record.events)):
                pairs += [(name, text_of(value)) for name, value in fields.items()]
            self.strange.update(name for name, value in pairs if self._is_strange(name, value))

    @property
    def n_values(self) -> int:
        return sum(self.values.values()) + self.strange_values

    @property
    def n_unknown(self) -> int:
        return sum(self.unknown.values()) + self.strange_values

    def shares(self) -> dict[str, float]:
        """The unknown share of each field's values, the largest first; only of fields that have one."""
        shares = {name: count / self.values[name] for name, count in self.unknown.items()}
        return dict(sorted(shares.items(), key=lambda item: (-item[1], item[0])))

    def warnings(self) -> list[str]:
        """A line each about what is too much to be chance."""
        known = [(name, self.unknown[name], self.values[name]) for name in sorted(self.unknown)]
        return [*unknown_fields(known, sorted(self.strange))]

    def _is_strange(self, name: str, value: str) -> bool:
        rules = self._vocabulary.rules
        return self._vocabulary.kind(name) is None and (rules is None or rules.read_field(name, value) is not None)

    def _count(self, tokens: Int32, is_text: npt.NDArray[np.bool_]) -> int:
        """Count the values by field; returns how many are of fields that fitting never saw."""
        first = tokens[:, Token.POSITION] == 0
        keys = tokens[:, Token.KEY]
        unknown = first & (tokens[:, Token.VALUE] == UNK) & ~is_text
        for into, rows in ((self.values, first & (keys != UNK)), (self.unknown, unknown & (keys != UNK))):
            numbers, counts = np.unique(keys[rows], return_counts=True)
            into.update(dict(zip(map(self._names.__getitem__, numbers.tolist()), counts.tolist(), strict=True)))
        return int(np.count_nonzero(first & (keys == UNK)))
