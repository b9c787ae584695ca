"""Who calls."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Caller:
    """A caller by the name that limits and log know it by."""

    name: str = "anonymous"


class Authentication(Protocol):
    """Finds out who calls."""

    def caller_of(self, headers: Mapping[str, str], certificate_names: tuple[str, ...], address: str) -> Caller:
        """The caller that sent ``headers`` (lower-case names; gRPC's metadata alike) from ``address``.

        ``certificate_names`` are those of the client certificate that the connection was made with.

        Raises:
            UnauthenticatedError: nobody that is known.
            ForbiddenError: somebody who may not call.
        """
        ...


class Open:
    """Everybody may call."""

    def caller_of(self, headers: Mapping[str, str], certificate_names: tuple[str, ...], address: str) -> Caller:
        """Nobody in particular."""
        return Caller()
