"""The parameters of the three models' ``config.pbtxt``: their names, types and defaults, in one place.

A config holds every value as text. What is read here is checked: a name that a model does not know is an error, since a
misspelt limit would otherwise be no limit.
"""

import difflib
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

import msgspec

from pragmatiq_triton.cpus import usable_cpus
from pragmatiq_triton.errors import ConfigError, printable
from pragmatiq_triton.records import RecordLimits
from pragmatiq_triton.tokenizer.features import FeatureLevel

MEBIBYTE = 1024 * 1024
Count = Annotated[int, msgspec.Meta(ge=0)]
"""A whole number of at least 0."""


class Threads(msgspec.Struct, frozen=True, kw_only=True):
    """``threads``: of one instance; 0 means every core that this process may use."""

    threads: Count = 0

    @property
    def n_threads(self) -> int:
        """The threads to compute with, at least 1."""
        return self.threads or usable_cpus()


class TokenizerParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of the model ``tokenizer``.

    Attributes:
        features: which features of a history the heads read; written by export.
        own_features: names of the caller's own features that the heads read, with commas between; written by export.
        max_record_bytes: limits of one record, as are the next five (:class:`~pragmatiq_triton.records.RecordLimits`).
        record_cache_bytes: memory for events and profiles met before, of each instance; 0 keeps nothing.
        earliest_time: the first plausible moment, a date; None leaves what the training data said.
        latest_time: the last plausible moment, likewise.
    """

    features: FeatureLevel = "none"
    own_features: str = ""
    max_record_bytes: Count = RecordLimits().max_record_bytes
    max_events: Count = RecordLimits().max_events
    max_fields: Count = RecordLimits().max_fields
    max_event_fields: Count = RecordLimits().max_event_fields
    max_profile_items: Count = RecordLimits().max_profile_items
    max_string_bytes: Count = RecordLimits().max_string_bytes
    record_cache_bytes: Count = 128 * MEBIBYTE
    earliest_time: str | None = None
    latest_time: str | None = None

    @property
    def limits(self) -> RecordLimits:
        """What one record may hold."""
        return RecordLimits(**{name: getattr(self, name) for name in RecordLimits.__struct_fields__})


class TextEmbedderParameters(Threads, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of the model ``text_embedder``.

    Attributes:
        threads: torch's, where a text model runs.
        device: where it runs, ``cpu`` or as torch calls it (``cuda:1``).
        text_cache_bytes: memory for the vectors of strings that came lately; 0 keeps nothing.
    """

    device: str = "cpu"
    text_cache_bytes: Count = 64 * MEBIBYTE


class ScorerParameters(Threads, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of the model ``scorer`` and of those beside it (``scorer_TASK``).

    Attributes:
        threads: ONNX Runtime's.
        event_cache_bytes: memory for event vectors, kept for the next request of the same customer; 0 keeps nothing.
        event_vectors: the hash of what event vectors depend on; written by export.
        tasks: the tasks' names as a JSON list; written by export.
        max_events: newest events of a history that the network reads, 0 for all; written by export.
    """

    event_cache_bytes: Count = 256 * MEBIBYTE
    event_vectors: str = ""
    tasks: str = "[]"
    max_events: Count = 0

    @property
    def task_list(self) -> list[str]:
        """The tasks' names, in the order of the scores; :class:`ConfigError` if ``tasks`` is no JSON list of texts."""
        try:
            return msgspec.json.decode(self.tasks, type=list[str])
        except msgspec.DecodeError as error:
            raise ConfigError(f"tasks in config.pbtxt: {error}; expected a JSON list of names") from None


Parameters = TypeVar("Parameters", bound=msgspec.Struct)


def read_parameters(kind: type[Parameters], given: Mapping[str, str]) -> Parameters:
    """The parameters of a config as a ``kind``; names in capitals are Triton's own, and not looked at.

    Raises:
        ConfigError: a name that ``kind`` does not have, with the nearest one, or a value of another type.

    Example:
        >>> read_parameters(ScorerParameters, {"threads": "2", "FORCE_CPU_ONLY_INPUT_TENSORS": "no"}).threads
        2
    """
    types = {field.name: field.type for field in msgspec.structs.fields(kind)}
    values: dict[str, Any] = {}
    for name, value in given.items():
        if name.isupper():
            continue
        if name not in types:
            near = difflib.get_close_matches(name, types, 1, 0.7)
            meant = f"; is {near[0]} meant?" if near else f"; expected one of {', '.join(types)}"
            raise ConfigError(f"config.pbtxt: no parameter is called {printable(name)}{meant}")
        try:
            values[name] = msgspec.convert(value, types[name], strict=False)
        except msgspec.ValidationError:
            raise ConfigError(
                f"{name} in config.pbtxt: expected {_expected(types[name])}, got {printable(value)!r}"
            ) from None
    return kind(**values)


def _expected(kind: Any) -> str:
    if kind == Count:
        return "a whole number of at least 0"
    return f"one of {', '.join(get_args(kind))}" if get_origin(kind) is Literal else "a word"
