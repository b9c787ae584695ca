"""Where the server is and how to get there: the URL, TLS, and the environment's proxies."""

import ipaddress
import os
import re
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

# typeshed knows the second on Windows and macOS alone.
from urllib.request import getproxies_environment, proxy_bypass_environment  # type: ignore[attr-defined]

Protocol = Literal["grpc", "http"]

_SCHEMES: dict[str, tuple[Protocol, bool]] = {
    "grpc": ("grpc", False),
    "grpcs": ("grpc", True),
    "http": ("http", False),
    "https": ("http", True),
}
_FORMS = "host:port, http://host:port, https://host:port, grpc://host:port or grpcs://host:port"
_PATH = re.compile(r"[!-~]*")
_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9_.])?")


@dataclass(frozen=True, slots=True)
class TLS:
    """Certificates of an encrypted connection, as PEM files; read once, when the client is made.

    Attributes:
        ca: the authorities that may have signed the server's certificate; by default the system's.
        certificate: the client's own certificate and its chain, where the server asks for one (mutual TLS).
        key: the certificate's private key, not encrypted; by default it stands in the certificate's file.
        server_name: the name that the server's certificate has to be for; by default the URL's host.

    Example:
        >>> tls = TLS(ca="ca.pem", certificate="client.pem", key="client.key")
        >>> ScoringClient("grpcs://scoring.bank.example:443", tls=tls)
    """

    ca: str | os.PathLike[str] | None = None
    certificate: str | os.PathLike[str] | None = None
    key: str | os.PathLike[str] | None = None
    server_name: str | None = None

    def __post_init__(self) -> None:
        if self.key is not None and self.certificate is None:
            raise ValueError("tls: a key without its certificate: give both")

    def context(self) -> ssl.SSLContext:
        """For Python's own sockets.

        Raises:
            ValueError: a file that cannot be read, is no PEM, or a key of another certificate; it names the file.
        """
        _readable("ca", self.ca)
        _readable("certificate", self.certificate)
        _readable("key", self.key)
        try:
            context = ssl.create_default_context(cafile=self.ca)
        except ssl.SSLError as error:
            raise ValueError(f"tls: ca: expected certificates in PEM form in {self.ca}: {error}") from error
        if self.certificate is not None:
            try:
                context.load_cert_chain(self.certificate, self.key, password=_no_password)
            except ssl.SSLError as error:
                files = f"{self.certificate} and {self.key}" if self.key is not None else f"{self.certificate}"
                problem = f"expected a certificate and its unencrypted key in PEM form in {files}: {error}"
                raise ValueError(f"tls: certificate, key: {problem}") from error
        return context

    def authorities(self) -> bytes | None:
        """For gRPC, which does not know the system's: the PEM of ``ca``, or of the file that OpenSSL reads."""
        path = self.ca if self.ca is not None else ssl.get_default_verify_paths().cafile
        return Path(path).read_bytes() if path is not None else None

    def identity(self) -> tuple[bytes, bytes] | tuple[None, None]:
        """The client's key and certificate chain, in that order."""
        if self.certificate is None:
            return None, None
        return Path(self.key or self.certificate).read_bytes(), Path(self.certificate).read_bytes()


def _readable(name: str, path: str | os.PathLike[str] | None) -> None:
    if path is not None:
        try:
            Path(path).read_bytes()
        except OSError as error:
            raise ValueError(f"tls: {name}: {path}: {error.strerror}") from error


def _no_password() -> str:
    # Without this OpenSSL asks on the terminal, and a service hangs.
    raise ValueError("tls: key: the key is encrypted: write it without a passphrase")


@dataclass(frozen=True, slots=True)
class Address:
    """A server's address; ``path`` is what stands before ``/v2`` behind a gateway."""

    protocol: Protocol
    host: str
    port: int
    secure: bool
    path: str = ""

    @property
    def netloc(self) -> str:
        """``host:port``, an IPv6 host in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """With the scheme that says protocol and encryption."""
        return f"{self.protocol}{'s' if self.secure else ''}://{self.netloc}{self.path}"

    @property
    def is_loopback(self) -> bool:
        """Whether it is this machine, by name or number."""
        name = self.host.rstrip(".").lower()
        if name == "localhost" or name.endswith(".localhost"):
            return True
        try:
            number = ipaddress.ip_address(self.host)
        except ValueError:
            return False
        number = getattr(number, "ipv4_mapped", None) or number
        return number.is_loopback or number.is_unspecified


def parse_address(url: str, protocol: Protocol | None, tls: TLS | None) -> Address:
    """Read a URL; the scheme decides what ``protocol`` and ``tls`` leave open.

    Raises:
        ValueError: what is wrong with the URL, or that it and the other two contradict each other.
    """
    if not isinstance(url, str):
        raise TypeError(f"url: expected a string, got {type(url).__name__}")
    scheme, separator, rest = url.partition("://")
    scheme = scheme.lower()
    if separator and scheme not in _SCHEMES:
        raise ValueError(f"url: expected {_FORMS}, got {url!r}")
    if not separator:
        scheme, rest = "", url
    try:
        parts = urlsplit(f"//{rest}")
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"url: expected {_FORMS}, got {url!r}: {error}") from None
    if parts.username is not None or parts.password is not None:
        raise ValueError("url: expected no user and password in it: send them by headers={'authorization': ...}")
    known = host and (_HOST.fullmatch(host) or _is_ipv6(host)) and _PATH.fullmatch(parts.path)
    if not host or not known or parts.query or parts.fragment:
        raise ValueError(f"url: expected {_FORMS}, got {url!r}")
    if not port:
        usual = "Triton's are usually 8001 for gRPC and 8000 for HTTP, a gateway's 443"
        raise ValueError(f"url: expected {_FORMS}, got {url!r}: the port is missing; {usual}")
    said, secure = _SCHEMES.get(scheme, (protocol or "grpc", tls is not None))
    # gRPC travels over HTTP/2, so its URLs are often written with http and https.
    if protocol is not None and scheme.startswith("http"):
        said = protocol
    if protocol is not None and protocol != said:
        raise ValueError(f"url: {url!r} is a URL for the protocol {said!r}, not {protocol!r}")
    if tls is not None and not secure:
        raise ValueError(f"url: {url!r} asks for a connection without TLS, but tls= is given: write {scheme}s://")
    path = parts.path.rstrip("/")
    if path and said == "grpc":
        raise ValueError(f"url: expected no path for gRPC, got {url!r}")
    return Address(said, host, port, secure, path)


def _is_ipv6(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.partition("%")[0]).version == 6
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy of the environment; ``variable`` is the one that names it."""

    variable: str
    url: str

    @property
    def shown(self) -> str:
        """Without a password that it may hold."""
        return f"{self.variable}={self.url.rpartition('@')[2]}"

    @property
    def cause(self) -> str:
        """What to say when the connection fails."""
        return (
            f"{self.shown} is set, so the connection goes through that proxy: "
            "add the host to no_proxy, or make the client with use_proxy=False"
        )


def find_proxy(address: Address) -> Proxy | None:
    """The proxy that the environment has for this address; none for this machine and for what ``no_proxy`` names.

    gRPC reads ``grpc_proxy``, ``https_proxy`` and ``http_proxy``, in that order and in lower case; HTTP reads the
    variable of its scheme.
    """
    if address.is_loopback:
        return None
    if address.protocol == "grpc":
        names = ["grpc_proxy", "https_proxy", "http_proxy"]
        found = {name: value for name in names if (value := os.environ.get(name))}
        direct = next((value for name in ("no_grpc_proxy", "no_proxy") if (value := os.environ.get(name))), "")
        bypass = bool(proxy_bypass_environment(address.netloc, {"no": direct}))
    else:
        environment = getproxies_environment()
        names = [scheme for scheme in ("https" if address.secure else "http", "all") if environment.get(scheme)]
        found = {_spelling(f"{scheme}_proxy"): environment[scheme] for scheme in names}
        bypass = bool(proxy_bypass_environment(address.netloc, environment))
    if not found or bypass:
        return None
    variable, url = next(iter(found.items()))
    return Proxy(variable, url)


def _spelling(variable: str) -> str:
    return variable if os.environ.get(variable) else variable.upper()
