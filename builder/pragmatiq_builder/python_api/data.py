"""Commands that make raw data and tokenize them, as functions.

Imports stay within the functions, so that loading a model for scores needs no training package.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pragmatiq_builder.python_api.arguments import StrPath, path_of, settings_of, shown_if
from pragmatiq_triton.errors import ConfigError

if TYPE_CHECKING:
    from pragmatiq_builder.dataset.tokenize import TokenizeSummary
    from pragmatiq_builder.ingest import IngestReport
    from pragmatiq_builder.raw.validation.report import ValidationReport
    from pragmatiq_builder.synth.generate import SynthSummary


def synth(out: StrPath, *, users: int = 2000, seed: int = 0, progress: bool = True) -> "SynthSummary":
    """Generate customers with habits into the folder ``out``, and labels that their histories explain.

    Example:
        >>> import pragmatiq_triton as pt
        >>> pt.synth(folder / "synth", users=20, progress=False).users
        20
    """
    from pragmatiq_builder.synth import generate

    with shown_if(progress) as shown:
        return generate(Path(out), users, seed, shown)


def ingest(
    settings: StrPath,
    out: StrPath,
    *,
    rejected: StrPath | None = None,
    memory: str | None = None,
    threads: int | None = None,
    progress: bool = True,
) -> "IngestReport":
    """Make a raw data folder ``out`` of the tables that the YAML file ``settings`` names.

    Raises :class:`ConfigError` for settings that do not fit the tables, and
    :class:`~pragmatiq_builder.ingest.LimitsExceededError`, whose ``report`` has the counts, where more rows are bad
    than they allow. ``memory``: most of it for sorting and joining, such as "2GB".

    Example:
        >>> import pragmatiq_triton as pt
        >>> _ = (folder / "cards.csv").write_text("customer,at,amount\\nc1,2026-01-31 09:30,12.50\\n")
        >>> _ = (folder / "ingest.yaml").write_text(
        ...     "events: [{table: cards.csv, source: card, user: customer, time: at, fields: [amount]}]"
        ... )
        >>> pt.ingest(folder / "ingest.yaml", folder / "raw", progress=False).events
        1
    """
    from pragmatiq_builder.ingest import ingest as run

    with shown_if(progress) as shown:
        return run(
            Path(settings), Path(out), rejected=path_of(rejected), memory=memory, threads=threads, progress=shown
        )


def validate(
    data: StrPath,
    *,
    earliest_time: str | None = None,
    tokenizer_dir: StrPath | None = None,
    progress: bool = True,
) -> "ValidationReport":
    """Check a raw data folder against the contract; what is wrong is in the report and raises nothing.

    ``earliest_time`` (a date), or else the fitted tokenizer in ``tokenizer_dir``, says which times are plausible.
    Raises :class:`ConfigError` for both of them.
    """
    from pragmatiq_builder.raw.validation import validate as check
    from pragmatiq_triton.time_range import PLAUSIBLE
    from pragmatiq_triton.tokenizer import Vocabulary

    if earliest_time is not None and tokenizer_dir is not None:
        raise ConfigError("earliest_time and tokenizer_dir exclude each other: a fitted tokenizer says its times")
    fitted = Vocabulary.load(Path(tokenizer_dir)).times if tokenizer_dir is not None else None
    with shown_if(progress) as shown:
        return check(Path(data), shown, fitted or PLAUSIBLE.with_bounds(earliest_time, None))


def tokenize(
    data: StrPath,
    out: StrPath,
    *,
    config: StrPath | Mapping[str, Any] | None = None,
    tokenizer_dir: StrPath | None = None,
    text_model: StrPath | None = None,
    trust_remote_code: bool | None = None,
    progress: bool = True,
) -> "TokenizeSummary":
    """Fit a tokenizer on a raw data folder, or take the one in ``tokenizer_dir``, and encode the data to ``out``.

    ``config`` is a YAML file, the name of a shipped one (``bpe``, ``hash``, ``nemotron``), or the settings themselves;
    ``text_model`` the local folder of the frozen text model.
    Raises :class:`ConfigError` for settings that do not exist, :class:`~pragmatiq_triton.errors.DataError` for data
    that break the contract.
    """
    from pragmatiq_builder.dataset.tokenize import tokenize as run
    from pragmatiq_triton.tokenizer import TokenizerConfig

    if config is not None and tokenizer_dir is not None:
        raise ConfigError("config and tokenizer_dir exclude each other: a fitted tokenizer carries its settings")
    with shown_if(progress) as shown:
        return run(
            Path(data),
            Path(out),
            TokenizerConfig.from_settings(settings_of(config, "data")),
            tokenizer_dir=path_of(tokenizer_dir),
            text_model=path_of(text_model),
            trusted=trust_remote_code,
            progress=shown,
        )
