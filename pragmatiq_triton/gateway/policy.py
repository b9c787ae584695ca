"""What an operator decides about the gateway: limits, callers, TLS; from ``settings.yaml`` and the environment.

The file has it under ``gateway``; a variable is named after the way to its setting, and wins:

    gateway:
      limits: {max_body_bytes: 1000000}         # PRAGMATIQ_GATEWAY_LIMITS_MAX_BODY_BYTES=1000000
      auth: {api_keys: /etc/pragmatiq/keys}     # PRAGMATIQ_GATEWAY_AUTH_API_KEYS=/etc/pragmatiq/keys
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from pragmatiq_triton.errors import ConfigError
from pragmatiq_triton.gateway.auth.settings import Auth, Jwt, Tls, check_opening
from pragmatiq_triton.gateway.caller_limits import CallerLimits
from pragmatiq_triton.gateway.limits import Limits
from pragmatiq_triton.gateway.seen.settings import OFF, OUTPUT, AccessLog, Traces
from pragmatiq_triton.operator_settings import GATEWAY_SECTION, read_settings_file

PREFIX = "PRAGMATIQ_GATEWAY_"
# What Kubernetes puts into every container where a service is called pragmatiq-gateway.
_OF_SERVICES = re.compile(r"SERVICE_(HOST|PORT(_\w+)?)|PORT(_\d+_(TCP|UDP|SCTP)(_(ADDR|PORT|PROTO))?)?")


_EXPECTED: dict[Any, str] = {
    bool: "1 or 0", int: "a whole number", float: "a number", str: "a word", tuple[str, ...]: "words between commas"
}  # fmt: skip


class GatewayPolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All that an operator decides; each part says what it holds."""

    limits: Limits = Limits()
    auth: Auth = Auth()
    tls: Tls = Tls()
    callers: CallerLimits = CallerLimits()
    access_log: AccessLog = AccessLog()
    traces: Traces = Traces()

    def with_access_log(self, file: str) -> "GatewayPolicy":
        """The same with the access log in ``file``, if it does not say where."""
        if self.access_log.file:
            return self
        return msgspec.structs.replace(self, access_log=msgspec.structs.replace(self.access_log, file=file))

    def with_absolute_paths(self) -> "GatewayPolicy":
        """The same with files named from the root on: the gateway runs in another folder than who starts it."""
        auth = _absolute(self.auth, "api_keys")
        if auth.jwt:
            auth = msgspec.structs.replace(auth, jwt=_absolute(auth.jwt, "keys"))
        log = self.access_log if self.access_log.file in (OFF, OUTPUT) else _absolute(self.access_log, "file")
        tls = _absolute(self.tls, "certificate", "key", "client_ca")
        return msgspec.structs.replace(self, auth=auth, tls=tls, access_log=log)


def _absolute(struct: Any, *names: str) -> Any:
    paths = {name: str(Path(getattr(struct, name)).absolute()) for name in names if getattr(struct, name)}
    return msgspec.structs.replace(struct, **paths)


def read_policy(section: Any, variables: Mapping[str, str], where: str = "settings") -> GatewayPolicy:
    """The policy of a file's ``section`` (None: it has none) with the environment's ``variables`` laid over.

    Raises:
        ConfigError: a setting that does not exist or cannot be so, by its name in ``where`` or its variable.
    """
    try:
        policy = msgspec.convert({} if section is None else section, GatewayPolicy)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{where}: {GATEWAY_SECTION}: {_words(error)}") from None
    names = {_variable(path): (path, kind) for path, kind in _settings(GatewayPolicy, ())}
    laid = msgspec.to_builtins(policy)
    for name in sorted(variables):
        if not name.startswith(PREFIX) or _OF_SERVICES.fullmatch(name, len(PREFIX)):
            continue
        if name not in names:
            raise ConfigError(f"{name}: no such setting; expected one of {', '.join(sorted(names))}")
        path, kind = names[name]
        _lay(laid, path, _parse(name, variables[name], kind))
    try:
        return msgspec.convert(laid, GatewayPolicy).with_absolute_paths()
    except msgspec.ValidationError as error:
        raise ConfigError(f"{PREFIX}…: {_words(error)}") from None


def read_policy_file(file: Path | None, variables: Mapping[str, str]) -> GatewayPolicy:
    """As :func:`read_policy`, of a ``settings.yaml``."""
    return read_policy(read_settings_file(file).get(GATEWAY_SECTION), variables, str(file))


def describe_callers(policy: GatewayPolicy) -> str:
    """Who may call and over what, in a line for the operator."""
    ways = [
        *(["API keys"] if policy.auth.api_keys else []),
        *(["tokens"] if policy.auth.jwt else []),
        *(["client certificates"] if policy.auth.certificates else []),
    ]
    return f"{' or '.join(ways) or 'everybody'}, {'over TLS' if policy.tls.certificate else 'in plain text'}"


def check_policy(policy: GatewayPolicy, host: str) -> None:
    """:class:`ConfigError` where parts do not go together, or open more on ``host`` than they say."""
    check_opening(host, policy.auth, policy.tls)


def _settings(struct: type[msgspec.Struct], above: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The way to each setting that one word can say, and its type."""
    for each in msgspec.structs.fields(struct):
        way = (*above, each.name)
        inner = Jwt if each.type == Jwt | None else each.type
        if isinstance(inner, type) and issubclass(inner, msgspec.Struct):
            yield from _settings(inner, way)
        elif inner in (str, bool, int, float, tuple[str, ...]):
            yield way, inner


def _variable(path: tuple[str, ...]) -> str:
    return PREFIX + "_".join(path).upper()


def _parse(name: str, word: str, kind: Any) -> Any:
    if not word.strip():
        # Taken as a word it would take what the file says away: its keys, for example.
        raise ConfigError(f"{name} is set but empty: expected {_EXPECTED[kind]}; give it a value, or unset it")
    if kind is bool:
        if word not in ("0", "1"):
            raise ConfigError(f"{name}: expected 1 or 0, got {word!r}")
        return word == "1"
    if kind == tuple[str, ...]:
        return [each.strip() for each in word.split(",") if each.strip()]
    try:
        return msgspec.convert(word, kind, strict=False)
    except msgspec.ValidationError:
        raise ConfigError(f"{name}: expected {_EXPECTED[kind]}, got {word!r}") from None


def _lay(into: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for step in path[:-1]:
        if into.get(step) is None:
            into[step] = {}
        into = into[step]
    into[path[-1]] = value


def _words(error: msgspec.ValidationError) -> str:
    return str(error).replace("`", "").replace(" - at ", " at ")
