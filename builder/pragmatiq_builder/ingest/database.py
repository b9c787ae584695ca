"""DuckDB, opened for one piece of work."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pragmatiq_triton.cpus import usable_cpus
from pragmatiq_triton.errors import ConfigError, MissingDependencyError

if TYPE_CHECKING:
    import duckdb


@contextmanager
def connected(work: Path, memory: str | None, threads: int | None) -> Iterator["duckdb.DuckDBPyConnection"]:
    """A database in a file of ``work``, so that what does not fit into memory has a place.

    Raises:
        ConfigError: ``memory`` is no size.
        MissingDependencyError: DuckDB is not installed.
    """
    try:
        import duckdb
    except ModuleNotFoundError:
        raise MissingDependencyError('ingest needs DuckDB; run: pip install "pragmatiq-triton[train]"') from None
    options: dict[str, Any] = {"threads": threads or usable_cpus(), "temp_directory": str(work / "spilled")}
    if memory is not None:
        options["memory_limit"] = memory
    try:
        connection = duckdb.connect(str(work / "ingest.duckdb"), config=options)
    except duckdb.Error as error:
        raise ConfigError(f"--memory {memory}: {str(error).splitlines()[0]}; expected a size such as 2GB") from None
    with connection:
        # Sessions of the machine's own zone would read the same table in another way.
        connection.execute("SET TimeZone = 'UTC'")
        # Without a bar nothing is counted; ours is drawn elsewhere. In a notebook without ipywidgets DuckDB has none.
        with suppress(duckdb.InvalidInputException):
            connection.execute("SET enable_progress_bar = true")
            connection.execute("SET enable_progress_bar_print = false")
        # The file is thrown away.
        connection.execute("PRAGMA disable_checkpoint_on_shutdown")
        connection.execute("SET checkpoint_threshold = '1TB'")
        yield connection
