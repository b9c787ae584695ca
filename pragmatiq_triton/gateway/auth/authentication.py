"""From what a call brings to the name of its caller."""

from collections.abc import Mapping
from pathlib import Path

from pragmatiq_triton.gateway.auth.api_keys import hash_of, read_keys
from pragmatiq_triton.gateway.auth.files import Reread
from pragmatiq_triton.gateway.auth.settings import Auth
from pragmatiq_triton.gateway.auth.tokens import Tokens
from pragmatiq_triton.gateway.errors import ForbiddenError, UnauthenticatedError

ANONYMOUS = "anonymous"
ANY_CERTIFICATE = "*"


class Authentication:
    """Finds out who calls; ``is_open``: everybody may, and nobody is asked."""

    def __init__(self, settings: Auth) -> None:
        """Read the keys that ``settings`` name; :class:`~pragmatiq_triton.errors.ConfigError` where they cannot be."""
        file = Path(settings.api_keys)
        self.is_open = settings.is_open
        self._keys = Reread(lambda: read_keys(file), file) if settings.api_keys else None
        self._tokens = Tokens(settings.jwt) if settings.jwt else None
        self._certificates = frozenset(settings.certificates)

    def caller_of(self, headers: Mapping[str, str], certificate_names: tuple[str, ...]) -> str:
        """The caller that sent ``headers`` (lower-case names; gRPC's metadata alike).

        ``certificate_names`` are those of the client certificate that the connection was made with.

        Raises:
            UnauthenticatedError: nobody that is known.
            ForbiddenError: a client certificate that is good, but not one of those that may call.
        """
        if self.is_open:
            return ANONYMOUS
        if self._certificates and certificate_names:
            if found := next((name for name in certificate_names if name in self._certificates), None):
                return found
            if ANY_CERTIFICATE in self._certificates:
                return certificate_names[0]
        said = headers.get("authorization") or ""
        scheme, _, bearer = said.partition(" ")
        word = headers.get("x-api-key") or (bearer.strip() if scheme.lower() == "bearer" else "")
        if self._keys is not None and word and (caller := self._keys().get(hash_of(word))):
            return caller
        if self._tokens is not None and word.count(".") == 2:
            return self._tokens.caller_of(word)
        if word:
            raise UnauthenticatedError("the key or token is not known here")
        if self._certificates and certificate_names:
            raise ForbiddenError("this client certificate may not call")
        raise UnauthenticatedError(f"say who calls: {self._ways()}")

    def _ways(self) -> str:
        ways = []
        if self._keys is not None:
            ways.append("an API key (authorization: Bearer KEY, or x-api-key)")
        if self._tokens is not None:
            ways.append("a token (authorization: Bearer TOKEN)")
        if self._certificates:
            ways.append("a client certificate")
        return ", or ".join(ways)


def make_authentication(settings: Auth) -> Authentication:
    """What ``settings`` ask for."""
    return Authentication(settings)
