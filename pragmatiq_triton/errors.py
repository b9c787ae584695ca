"""Every error that this project raises on purpose.

A message says what was wrong, where, what was expected and what to do; the class says whose mistake it is,
and its ``exit_code`` is what the command line ends with.
"""

MOST_CHARACTERS = 80
"""Of a name or a value that a message repeats."""


def printable(text: str, most: int = MOST_CHARACTERS) -> str:
    """``text`` as a message repeats it: on one line, what cannot be printed escaped, cut to ``most`` characters."""
    shown = text[: most + 1]
    if not shown.isprintable():
        shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in shown)
    return shown if len(shown) <= most else shown[:most] + "..."


class PragmatiqError(Exception):
    """Base of all errors raised on purpose; anything else that escapes is a bug."""

    exit_code = 1


class ConfigError(PragmatiqError):
    """A setting (YAML, option, encoder name) that does not exist or does not fit."""

    exit_code = 2


class DataError(PragmatiqError):
    """Input data that breaks the raw contract."""

    exit_code = 3


class RecordError(DataError):
    """One user record that cannot be read; ``path`` is where in the record, as ``$.events[3].ts``."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path
        self.problem = problem


class LimitError(RecordError):
    """A record over one of the configured limits; the message names the limit."""


class ArtifactError(PragmatiqError):
    """A run, tokenizer, tokenized data set or model repository that is incomplete, damaged or does not match."""

    exit_code = 4


class NotFiniteError(ArtifactError):
    """A number that is NaN or infinite where a vector or a score should be: damaged weights, tables or vectors.

    The message names what is not finite; a server answers with it, so there it holds nothing of a caller's data.
    """


class MissingDependencyError(PragmatiqError):
    """A package, model or system library that is not here; the message names what to install."""

    exit_code = 5


class StoppingError(PragmatiqError):
    """A request that comes when the server is about to stop; another server, or a later attempt, will do."""

    exit_code = 6


class GivenUpError(PragmatiqError):
    """A request whose answer nobody waits for any more."""

    exit_code = 6


class UnsealedError(DataError):
    """Tensors that do not come from the models before."""


class ServerError(PragmatiqError):
    """A server that did not start, died, or cannot be reached."""

    exit_code = 6


class OutputError(PragmatiqError):
    """A place that could not be written to: full, read-only, not permitted, or in use by another process."""
