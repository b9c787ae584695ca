"""What one caller may have under way and how many records it may bring, so that it does not take the others' share."""

from dataclasses import dataclass
from time import monotonic

import msgspec

from pragmatiq_triton.gateway.errors import BusyError
from pragmatiq_triton.gateway.limits import MOST

_ROUNDING = 1e-6


class CallerLimit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Of one caller; 0 is no limit.

    ``max_under_way``: requests at once. ``records_per_second``, with ``burst`` records at once (by default as many as
    in a second).
    """

    max_under_way: int = 0
    records_per_second: float = 0.0
    burst: float = 0.0

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            if not 0 <= getattr(self, name) <= MOST:
                raise ValueError(f"{name}: expected from 0 (no limit) to {MOST:,}, got {getattr(self, name):g}")


class OwnLimit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one caller has instead of the default; fields that are not given are the default's, and 0 is no limit.

    A ``burst`` belongs to its rate: where ``records_per_second`` is given alone, it is as many as in a second.
    """

    max_under_way: int | msgspec.UnsetType = msgspec.UNSET
    records_per_second: float | msgspec.UnsetType = msgspec.UNSET
    burst: float | msgspec.UnsetType = msgspec.UNSET

    def __post_init__(self) -> None:
        self.over(CallerLimit())

    def over(self, default: CallerLimit) -> CallerLimit:
        """The whole limit; :class:`ValueError` where a number cannot be."""
        own = {name: value for name in self.__struct_fields__ if (value := getattr(self, name)) is not msgspec.UNSET}
        if "records_per_second" in own:
            own.setdefault("burst", 0.0)
        return msgspec.structs.replace(default, **own)


class CallerLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``default`` is everybody's limit, ``callers`` what callers have instead, by name."""

    default: CallerLimit = CallerLimit()
    callers: dict[str, OwnLimit] = {}

    def of(self, caller: str) -> CallerLimit:
        """The limit that holds for ``caller``."""
        own = self.callers.get(caller)
        return self.default if own is None else own.over(self.default)


@dataclass(slots=True)
class _Account:
    limit: CallerLimit
    under_way: int
    tokens: float
    filled: float


class CallerAccounts:
    """Who has how much under way, and may bring how much more."""

    _MOST = 10_000

    def __init__(self, limits: CallerLimits) -> None:
        self._limits = limits
        self._accounts: dict[str, _Account] = {}
        self._is_off = limits == CallerLimits()

    def enter(self, caller: str, n_records: int) -> None:
        """Count a request of ``n_records``; :meth:`leave` ends it.

        :class:`BusyError` where it is too much for this caller now.
        """
        if self._is_off:
            return
        account = self._account(caller)
        limit = account.limit
        if limit.max_under_way and account.under_way >= limit.max_under_way:
            raise BusyError(f"{caller} has {account.under_way} requests under way, as many as it may", 0.1)
        if limit.records_per_second:
            now = monotonic()
            most = max(limit.burst or limit.records_per_second, 1.0)
            account.tokens = min(most, account.tokens + (now - account.filled) * limit.records_per_second)
            account.filled = now
            # A request larger than the burst passes on a full account and is paid for afterwards.
            missing = min(n_records, most) - account.tokens
            if missing > _ROUNDING:
                wait = missing / limit.records_per_second
                raise BusyError(f"{caller} may bring {limit.records_per_second:g} records a second", wait)
            account.tokens -= n_records
        account.under_way += 1

    def leave(self, caller: str) -> None:
        """A request that entered has ended."""
        if not self._is_off:
            self._accounts[caller].under_way -= 1

    def _account(self, caller: str) -> _Account:
        account = self._accounts.get(caller)
        if account is None:
            if len(self._accounts) >= self._MOST:
                self._accounts = {name: each for name, each in self._accounts.items() if each.under_way}
            limit = self._limits.of(caller)
            burst = max(limit.burst or limit.records_per_second, 1.0)
            account = self._accounts[caller] = _Account(limit, 0, burst, monotonic())
        return account
