"""From what a call brings to the name of its caller."""

import ssl
from collections.abc import Callable, Mapping
from pathlib import Path

from pragmatiq_triton.errors import ConfigError
from pragmatiq_triton.gateway.auth.api_keys import hash_of, read_keys
from pragmatiq_triton.gateway.auth.files import Reread
from pragmatiq_triton.gateway.auth.settings import ANY_CERTIFICATE, Auth, Tls
from pragmatiq_triton.gateway.auth.tokens import Tokens
from pragmatiq_triton.gateway.errors import ForbiddenError, UnauthenticatedError, UnavailableError

ANONYMOUS = "anonymous"


class Authentication:
    """Finds out who calls; ``is_open``: everybody may, and nobody is asked."""

    def __init__(self, settings: Auth, tls: Tls | None = None) -> None:
        """Read the keys that ``settings`` name; :class:`~pragmatiq_triton.errors.ConfigError` where they cannot be."""
        file = Path(settings.api_keys)
        authorities = Path(tls.client_ca if tls else "")
        lasts = settings.stale_seconds
        self.is_open = settings.is_open
        self._keys = Reread(lambda: read_keys(file), file, lasts=lasts) if settings.api_keys else None
        self._tokens = Tokens(settings.jwt, lasts) if settings.jwt else None
        self._certificates = frozenset(settings.certificates)
        # Connections are made by a context that keeps what it read; here it is known how old that is.
        self._authorities = (
            Reread(lambda: _require_authorities(authorities), authorities, lasts=lasts)
            if tls and tls.client_ca
            else None
        )

    @property
    def unreadable(self) -> dict[str, Callable[[], float]]:
        """By setting: for how many seconds what it names has not been readable; 0 where it is."""
        found = {}
        if (keys := self._keys) is not None:
            found["auth.api_keys"] = lambda: keys.unreadable_seconds
        if (tokens := self._tokens) is not None:
            found[tokens.setting] = lambda: tokens.unreadable_seconds
        if (authorities := self._authorities) is not None:
            found["tls.client_ca"] = lambda: authorities.unreadable_seconds
        return found

    def look(self) -> None:
        """Take in new files, and say what is wrong with them, whether somebody calls or not."""
        for each in (self._keys, self._tokens, self._authorities):
            if each is not None:
                each.look()

    def caller_of(self, headers: Mapping[str, str], certificate_names: tuple[str, ...]) -> str:
        """The caller that sent ``headers`` (lower-case names; gRPC's metadata alike).

        ``certificate_names`` are those of the client certificate that the connection was made with.

        Raises:
            UnauthenticatedError: nobody that is known.
            ForbiddenError: a client certificate that is good, but not one of those that may call.
            UnavailableError: what would tell who calls has not been readable for too long.
        """
        if self._authorities is not None:
            self._authorities()
            if self._authorities.is_stale:
                raise UnavailableError("whose client certificates hold cannot be told here at present")
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
        keys_are_known = True
        if self._keys is not None and word:
            caller = self._keys().get(hash_of(word))
            keys_are_known = not self._keys.is_stale
            if caller and keys_are_known:
                return caller
        if self._tokens is not None and word.count(".") == 2:
            return self._tokens.caller_of(word)
        if not keys_are_known:
            raise UnavailableError("whose API keys hold cannot be told here at present")
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


def make_authentication(settings: Auth, tls: Tls) -> Authentication:
    """What ``settings`` ask for."""
    return Authentication(settings, tls)


def _require_authorities(file: Path) -> None:
    try:
        ssl.create_default_context(cafile=str(file))
    except OSError as error:
        raise ConfigError(
            f"{file}: authorities of client certificates cannot be read: {error.strerror or error}"
        ) from None
