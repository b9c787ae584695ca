"""TLS for callers: one context for HTTP and metrics, and gRPC's own credentials; new files are taken while serving."""

import ssl
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import grpc

from pragmatiq_triton.errors import ConfigError
from pragmatiq_triton.gateway.auth.files import Reread
from pragmatiq_triton.gateway.auth.settings import CERTIFICATE_KINDS, Tls


class Certificates:
    """A certificate with its key, and whose client certificates are asked for."""

    def __init__(self, settings: Tls) -> None:
        """Read them; :class:`ConfigError` names a file that is not as it should be."""
        self._settings = settings
        files = [Path(each) for each in (settings.certificate, settings.key, settings.client_ca) if each]
        self._read = Reread(self._load, *files)
        self._given_to_grpc = self._read()
        self.context = self._latest
        self.context.sni_callback = self._take_latest

    @property
    def unreadable_seconds(self) -> float:
        """For how long the files have not been readable, or have not fitted together; 0 where they are and do."""
        return self._read.unreadable_seconds

    def look(self) -> None:
        """Take in new files: connections made from now on get them."""
        self._read()

    def for_grpc(self) -> Any:
        """Credentials of a gRPC server that asks for new files at every handshake."""

        def newer() -> Any:
            latest = self._read()
            if latest is self._given_to_grpc:
                return None
            self._given_to_grpc = latest
            return latest

        return grpc.dynamic_ssl_server_credentials(
            self._given_to_grpc, newer, require_client_authentication=bool(self._settings.client_ca)
        )

    def _load(self) -> Any:
        """Make a context of the files, and give them as gRPC takes them."""
        settings = self._settings
        latest = _context(settings)
        pair = (Path(settings.key).read_bytes(), Path(settings.certificate).read_bytes())
        authorities = Path(settings.client_ca).read_bytes() if settings.client_ca else None
        self._latest = latest
        return grpc.ssl_server_certificate_configuration([pair], authorities)

    def _take_latest(self, connection: ssl.SSLObject, _: str | None, __: ssl.SSLContext) -> None:
        """Go on with the latest files, as each handshake begins: a context forgets no authority that it once took."""
        connection.context = self._latest


def _context(settings: Tls) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(settings.certificate, settings.key)
        if settings.client_ca:
            context.load_verify_locations(settings.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
            # A resumed session would not be checked against the authorities of now.
            context.options |= ssl.OP_NO_TICKET
            context.num_tickets = 0
    except (OSError, ssl.SSLError) as error:
        files = " or ".join(each for each in (settings.certificate, settings.key, settings.client_ca) if each)
        raise ConfigError(f"TLS: {files}: {error.strerror or error}: expected PEM files that fit together") from None
    return context


_KINDS_OF_SSL = {"URI": "uri", "DNS": "dns", "email": "email"}
_KINDS_OF_GRPC = {"peer_uri": "uri", "peer_dns": "dns", "peer_email": "email", "x509_common_name": "cn"}


def names_of(certificate: Any) -> tuple[str, ...]:
    """The names in a client certificate as ``ssl`` gives it, as :func:`_by_kind` has them."""
    if not certificate:
        return ()
    found = [(_KINDS_OF_SSL.get(kind, ""), value) for kind, value in certificate.get("subjectAltName", ())]
    common = [value for part in certificate.get("subject", ()) for kind, value in part if kind == "commonName"]
    return _by_kind([*found, *(("cn", value) for value in common[:1])])


def names_in(context: Mapping[str, Iterable[bytes]]) -> tuple[str, ...]:
    """The same of what gRPC says of a connection (``auth_context``)."""
    return _by_kind(
        [
            (kind, value.decode("utf-8", "replace"))
            for name, kind in _KINDS_OF_GRPC.items()
            for value in context.get(name, ())
        ]
    )


def _by_kind(found: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    """Each name behind its kind, ``dns:a.example``, in the same order over both protocols.

    Who may write an e-mail address into a certificate may not be who may write a host's name, so equal text is not one
    caller. Kinds that name no caller, as addresses, are left out.
    """
    return tuple(f"{kind}:{value}" for wanted in CERTIFICATE_KINDS for kind, value in found if kind == wanted)
