"""JSON web tokens (RFC 7519), read by PyJWT: signed by a key that is known, for this audience, not yet expired."""

import json
import threading
import urllib.request
from collections import OrderedDict
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path
from time import monotonic, time
from typing import Any
from urllib.parse import urlsplit

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from pragmatiq_triton.errors import ConfigError
from pragmatiq_triton.exposure import is_loopback
from pragmatiq_triton.gateway.auth.files import Freshness, Reread
from pragmatiq_triton.gateway.auth.settings import CERTIFICATE_KINDS, Jwt
from pragmatiq_triton.gateway.errors import UnauthenticatedError, UnavailableError

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Asymmetric ones alone: with a shared secret among them a public key would be taken for that secret."""

_FETCH_SECONDS = 5.0
_EVERY_SECONDS = 300.0
_UNKNOWN_KEY_SECONDS = 10.0
_OUTAGE_SECONDS = 86_400.0
"""For so long an issuer that does not answer leaves its keys as they are; tokens themselves end sooner."""
_MOST_BYTES = 1 << 20
_KNOWN_TOKENS = 4096
_LONGEST = 16 * 1024

Keys = Mapping[str, Any]
"""Public keys by their id (``kid``); a PEM file has one, whose id is ""."""


class Tokens:
    """Checks tokens; one that was good is known until it expires, because a signature costs 100 µs."""

    def __init__(self, settings: Jwt, lasts: float | None = None) -> None:
        self._settings = settings
        file = Path(settings.keys)
        self.setting = "auth.jwt.keys" if settings.keys else "auth.jwt.jwks_url"
        self.keys: Reread[Keys] | _Fetched = (
            Reread(lambda: read_keys(file), file, lasts=lasts) if settings.keys else _Fetched(settings.jwks_url)
        )
        self._known: OrderedDict[str, tuple[str, float, Keys]] = OrderedDict()

    def look(self) -> None:
        """Take in new keys, and say what is wrong with them."""
        self.keys.look()

    @property
    def unreadable_seconds(self) -> float:
        """For how long the keys could not be read or fetched; 0 where they could."""
        return self.keys.unreadable_seconds

    def caller_of(self, token: str) -> str:
        """The caller that the token names.

        Raises:
            UnauthenticatedError: it does not hold.
            UnavailableError: the keys have not been readable for too long.
        """
        keys = self.keys()
        if self.keys.is_stale:
            raise UnavailableError("whose tokens hold cannot be told here at present")
        known = self._known.get(token)
        if known is not None and known[1] > time() and known[2] is keys:
            return known[0]
        if len(token) > _LONGEST:
            raise UnauthenticatedError("the token is too long")
        try:
            kid = str(jwt.get_unverified_header(token).get("kid", ""))
            key = keys.get(kid) or (keys.get("") if not kid or len(keys) == 1 else None)
            if key is None:
                if isinstance(self.keys, _Fetched):
                    self.keys.look_again()
                raise UnauthenticatedError("the token is signed by a key that is not known")
            claims = jwt.decode(
                token,
                key,
                algorithms=list(ALGORITHMS),
                audience=self._settings.audience,
                issuer=self._settings.issuer,
                leeway=self._settings.leeway_seconds,
                options={"require": ["exp", "aud", "iss", self._settings.caller_claim]},
            )
        except jwt.PyJWTError as error:
            raise UnauthenticatedError(f"the token does not hold: {error}"[:200]) from None
        except (ValueError, TypeError, RecursionError, UnicodeError):
            raise UnauthenticatedError("the token cannot be read") from None
        caller = claims[self._settings.caller_claim]
        if not isinstance(caller, str) or not caller.isprintable() or not 0 < len(caller) <= 128:
            raise UnauthenticatedError(f"the token's {self._settings.caller_claim} names nobody")
        if caller.partition(":")[0] in CERTIFICATE_KINDS:
            raise UnauthenticatedError(f"the token's {self._settings.caller_claim} names its caller as certificates do")
        self._known[token] = (caller, float(claims["exp"]), keys)
        if len(self._known) > _KNOWN_TOKENS:
            self._known.popitem(last=False)
        return caller


class _Fetched:
    """An issuer's keys, fetched by a thread of their own: no request waits for the issuer."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname or "")):
            raise ConfigError(f"auth.jwt.jwks_url: {url}: expected https://, since these keys decide who may call")
        self._url = url
        self._wanted = threading.Event()
        self._last = monotonic()
        self._value = _parse_jwks(_fetch(url), url)
        self._freshness = Freshness(_OUTAGE_SECONDS)
        threading.Thread(target=self._run, name="jwks", daemon=True).start()

    def __call__(self) -> Keys:
        return self._value

    def look(self) -> None:
        """Say once that the issuer has not answered for too long; a thread of its own fetches."""
        self._freshness.look()

    @property
    def is_stale(self) -> bool:
        """Whether the issuer has not answered for too long."""
        return self._freshness.is_stale

    @property
    def unreadable_seconds(self) -> float:
        """For how long the issuer has not answered; 0 where it does."""
        return self._freshness.unreadable_seconds

    def look_again(self) -> None:
        """Fetch soon, but not more often than every ten seconds, whatever tokens name."""
        if monotonic() - self._last >= _UNKNOWN_KEY_SECONDS:
            self._wanted.set()

    def _run(self) -> None:
        while True:
            self._wanted.wait(_UNKNOWN_KEY_SECONDS if self._freshness.is_failing else _EVERY_SECONDS)
            self._wanted.clear()
            self._last = monotonic()
            try:
                self._value = _parse_jwks(_fetch(self._url), self._url)
            except ConfigError as error:
                self._freshness.failed(error)
            else:
                self._freshness.succeeded()


def read_keys(file: Path) -> Keys:
    """The public keys in a PEM or JWKS file; :class:`ConfigError` where there are none."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise ConfigError(f"{file}: keys of tokens cannot be read: {error.strerror}") from None
    if content.lstrip().startswith(b"{"):
        return _parse_jwks(content, str(file))
    try:
        return {"": load_pem_public_key(content)}
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigError(f"{file}: expected a public key in PEM, or a JWKS") from None


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """An issuer that sends elsewhere, to plain text perhaps, is not followed."""

    def redirect_request(self, *_: Any) -> None:
        return None


_OPENER = urllib.request.build_opener(_NoRedirects)


def _fetch(url: str) -> bytes:
    try:
        with _OPENER.open(url, timeout=_FETCH_SECONDS) as answer:
            content = bytes(answer.read(_MOST_BYTES))
    except (OSError, ValueError, HTTPException) as error:
        # Of what is no HTTP urllib lets the error of its own library through.
        said = " ".join(str(error).split()) or type(error).__name__
        raise ConfigError(f"{url}: keys of tokens cannot be fetched: {said}") from None
    return content


def _parse_jwks(content: bytes, where: str) -> Keys:
    try:
        found = jwt.PyJWKSet.from_dict(json.loads(content))
    except (jwt.PyJWTError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ConfigError(f"{where}: expected a JWKS: {error}") from None
    keys = {each.key_id or "": each.key for each in found.keys if each.key_type != "oct"}
    if not keys:
        raise ConfigError(f"{where}: holds no public key")
    return keys
