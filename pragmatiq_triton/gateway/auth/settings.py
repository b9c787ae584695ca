"""Who may call and over what, as an operator sets it."""

import msgspec

from pragmatiq_triton.errors import ConfigError
from pragmatiq_triton.exposure import is_loopback
from pragmatiq_triton.gateway.limits import MOST_SECONDS

CERTIFICATE_KINDS = ("uri", "dns", "email", "cn")
"""Of names in client certificates, in the order in which they are looked at; `cn` is the subject's common name."""
ANY_CERTIFICATE = "*"


class Jwt(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """JSON web tokens: whose signature holds, and what they have to say.

    ``keys``: a file of public keys, PEM or a JWKS. ``jwks_url``: where the issuer has its JWKS, read at the start,
    every five minutes, and when a token names a key that is not known yet. One of the two. ``audience`` and ``issuer``
    have to be in the token; ``caller_claim`` is the claim that names the caller; ``leeway_seconds`` is how far clocks
    may differ.
    """

    audience: str
    issuer: str
    keys: str = ""
    jwks_url: str = ""
    caller_claim: str = "sub"
    leeway_seconds: float = 30.0


class Auth(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who may call; whoever satisfies one of what is set.

    ``api_keys``: a file that ``pragmatiq api-key`` writes, read anew when it changes. ``certificates``: names that a
    client certificate may have, each behind its kind (``dns:``, ``uri:``, ``email:``, ``cn:``), which needs
    ``client_ca`` in the settings of TLS;
    "*" is any that the authority has signed. ``jwt``: JSON web tokens. ``allow_anonymous``: everybody may, on whatever
    address. ``stale_seconds``: how long keys and authorities that were read before count once their file is gone or
    cannot be read; 0: not at all.
    """

    api_keys: str = ""
    certificates: tuple[str, ...] = ()
    jwt: Jwt | None = None
    allow_anonymous: bool = False
    stale_seconds: float = 300.0

    def __post_init__(self) -> None:
        for name in self.certificates:
            kind, _, rest = name.partition(":")
            if name != ANY_CERTIFICATE and (kind not in CERTIFICATE_KINDS or not rest):
                raise ValueError(
                    f"certificates: {name!r}: expected a name behind its kind, {', '.join(CERTIFICATE_KINDS)}, such as "
                    f"'dns:{rest or name}', or '{ANY_CERTIFICATE}'"
                )
        if not 0 <= self.stale_seconds <= MOST_SECONDS:
            raise ValueError(f"stale_seconds: expected from 0 to {MOST_SECONDS:,}, got {self.stale_seconds:g}")

    @property
    def is_open(self) -> bool:
        """Whether nobody is asked who it is."""
        return not (self.api_keys or self.certificates or self.jwt)


class Tls(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """TLS 1.2 or newer for HTTP and gRPC; metrics and health, on a port of their own, stay in plain text.

    ``certificate`` (with its chain) and ``key`` are PEM files; ``client_ca`` names the authority whose client
    certificates are asked for. All are read anew when they change. ``allow_plaintext``: no TLS, on whatever address.
    """

    certificate: str = ""
    key: str = ""
    client_ca: str = ""
    allow_plaintext: bool = False


def check_opening(host: str, auth: Auth, tls: Tls) -> None:
    """:class:`ConfigError` where settings do not go together, or open more than they say.

    Off loopback each protection that is missing has to be given up by its own setting.
    """
    if bool(tls.certificate) != bool(tls.key):
        raise ConfigError("gateway.tls: expected certificate and key, got one of them")
    if tls.client_ca and not tls.certificate:
        raise ConfigError("gateway.tls.client_ca: client certificates need TLS: set certificate and key")
    if auth.certificates and not tls.client_ca:
        raise ConfigError("gateway.auth.certificates: set gateway.tls.client_ca, the authority that signs them")
    if auth.jwt and bool(auth.jwt.keys) == bool(auth.jwt.jwks_url):
        raise ConfigError("gateway.auth.jwt: expected keys or jwks_url, and not both")
    if is_loopback(host):
        return
    if auth.is_open and not auth.allow_anonymous:
        raise ConfigError(
            f"{host} is open to the network, and everybody who reaches it could call: set gateway.auth (api_keys, "
            "certificates or jwt) in settings.yaml, or say that this is meant: gateway.auth.allow_anonymous: true, or "
            "PRAGMATIQ_GATEWAY_AUTH_ALLOW_ANONYMOUS=1"
        )
    if not tls.certificate and not tls.allow_plaintext:
        raise ConfigError(
            f"{host} is open to the network, and what customers did would pass in plain text: set gateway.tls "
            "(certificate and key) in settings.yaml, or, where a proxy or a mesh in front does it, say "
            "gateway.tls.allow_plaintext: true, or PRAGMATIQ_GATEWAY_TLS_ALLOW_PLAINTEXT=1"
        )
