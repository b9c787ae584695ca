"""What the values of a raw data folder may not mean: spellings of nothing, and identifiers that were floats once."""

import re
from collections import Counter
from collections.abc import Iterable

import pyarrow as pa

from pragmatiq_builder.raw.arrays import Mask, count_values, null_mask, to_mask
from pragmatiq_builder.raw.validation.report import Finding
from pragmatiq_triton.listing import listed
from pragmatiq_triton.tokenizer.values import ValueRules

EMPTY = ""
_FLOAT = re.compile(r"-?[0-9]+\.0")


class ValueCheck:
    """Counts odd values of one file, field by field; they are put up with, so that all of them are warnings."""

    def __init__(self, file: str, rules: ValueRules = ValueRules()) -> None:
        self._file = file
        self._rules = rules
        self._missing: Counter[tuple[str, str]] = Counter()
        self._float_users: Counter[str] = Counter()

    def add_values(self, keys: pa.Array, values: pa.Array) -> Mask:
        """Count what counts as missing among the values string [n] of the fields ``keys`` string [n].

        Returns where there is a value, bool [n].
        """
        encoded = values.dictionary_encode()
        spelled = encoded.dictionary.to_pylist()
        odd = {code: text.strip() for code, text in enumerate(spelled) if text is not None and self._is_missing(text)}
        if not odd:
            return ~null_mask(values)
        rows = pa.compute.is_in(encoded.indices, pa.array(list(odd), encoded.indices.type))
        for pair, count in Counter(
            zip(keys.filter(rows).to_pylist(), encoded.indices.filter(rows).to_pylist(), strict=True)
        ).items():
            self._missing[pair[0], odd[pair[1]]] += count
        return ~to_mask(rows) & ~null_mask(values)

    def add_users(self, user_ids: pa.Array | Iterable[str | None]) -> None:
        """Count user ids that a float column spelled."""
        counts = count_values(user_ids) if isinstance(user_ids, pa.Array) else Counter(user_ids)
        self._float_users += Counter({name: n for name, n in counts.items() if name and _FLOAT.fullmatch(name)})

    def findings(self) -> list[Finding]:
        """At most one warning of each kind, with the fields that have most of it."""
        found = []
        empty = Counter({key: n for (key, spelling), n in self._missing.items() if spelling == EMPTY})
        spelled = Counter({pair: n for pair, n in self._missing.items() if pair[1] != EMPTY})
        if empty:
            fields = listed([f"{key!r} ({n:,})" for key, n in empty.most_common()])
            what = f"values are null or empty, so they count as missing and leave no token: {fields}"
            found.append(Finding(self._file, what, empty.total()))
        if spelled:
            fields = listed([f"{spelling!r} of {key!r} ({n:,})" for (key, spelling), n in spelled.most_common()])
            what = (
                f"values spell a missing one, so they leave no token: {fields}; if they mean something, change "
                "missing_values in the tokenizer's config"
            )
            found.append(Finding(self._file, what, spelled.total()))
        if self._float_users:
            names = sorted(self._float_users)
            what = (
                f"user_id ends in '.0', as floats spell whole numbers: {listed([*map(repr, names)])}; from 16 "
                "digits on it has lost some, and the id without it is another user: export it as Int64 or as a string"
            )
            found.append(Finding(self._file, what, self._float_users.total(), {"user_id": names[0]}))
        return found

    def _is_missing(self, text: str) -> bool:
        return text.strip() in self._rules.missing
