"""How often somebody may try to log in: a wait that grows with failures and ends by itself.

Owns the rule and the bounded memory of recent failures, by name and by address. Time comes in.

Whoever is made to wait is not checked at all, so that a right password learns as little as a
wrong one. A try counts as failed from its beginning: a hundred tries at once are a hundred.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict

from msgspec import Struct

NAME_FREE = 5
ADDRESS_FREE = 20
"""Failures before the first wait. Several people share an address, nobody shares a name."""

WAIT_FIRST_S = 2.0
WAIT_MAX_S = 900.0
FORGOTTEN_S = 3600.0
"""Without a failure for so long the count begins anew; longer than any wait."""

KEPT_MAX = 10_000
"""Names and addresses that are remembered; beyond it the one that failed longest ago goes."""


class Failures(Struct, frozen=True):
    """Of one name or address: how many, and when the last one was."""

    count: int
    last_s: float


def wait_s(failures: Failures | None, free: int, now_s: float) -> float:
    """How long the next try has to wait; 0: not at all."""
    if failures is None or failures.count < free:
        return 0.0
    # Beyond 2^20 the wait is the longest one anyway, and 2^10000 is no float.
    wait = min(WAIT_MAX_S, WAIT_FIRST_S * 2.0 ** min(failures.count - free, 20))
    return max(0.0, failures.last_s + wait - now_s)


def one_more(failures: Failures | None, now_s: float) -> Failures:
    """After another failure."""
    if failures is None or now_s - failures.last_s > FORGOTTEN_S:
        return Failures(1, now_s)
    return Failures(failures.count + 1, now_s)


def network_of(address: str) -> str:
    """What counts as one address: of IPv6 the first half, for the other is anybody's to choose."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 4:
        return address
    return str(parsed.ipv4_mapped or ipaddress.ip_network((int(parsed), 64), strict=False))


class Ledger:
    """Failures by one thing, the latest at the end."""

    def __init__(self, free: int) -> None:
        self.free = free
        self._kept: OrderedDict[str, Failures] = OrderedDict()

    def wait_s(self, who: str, now_s: float) -> float:
        return wait_s(self._kept.get(who), self.free, now_s)

    def count(self, who: str, now_s: float) -> int:
        """Note a failure; returns how many there are."""
        self._kept[who] = one_more(self._kept.pop(who, None), now_s)
        if len(self._kept) > KEPT_MAX:
            self._kept.popitem(last=False)
        return self._kept[who].count

    def take_back(self, who: str) -> None:
        """One was none."""
        known = self._kept.get(who)
        if known is not None:
            self._kept[who] = Failures(known.count - 1, known.last_s)
            if known.count <= 1:
                del self._kept[who]

    def forget(self, who: str) -> None:
        self._kept.pop(who, None)


class LoginLimits:
    """`wait_s`, then `begin` each try; `succeeded` or `take_back` where it was no failure."""

    def __init__(self) -> None:
        self._names = Ledger(NAME_FREE)
        self._addresses = Ledger(ADDRESS_FREE)

    def wait_s(self, name: str, address: str, now_s: float) -> float:
        """How long to wait before the next try; 0: it may be made."""
        network = network_of(address)
        return max(self._names.wait_s(name, now_s), self._addresses.wait_s(network, now_s))

    def begin(self, name: str, address: str, now_s: float) -> bool:
        """Count a try; True if it is the one after which the name has to wait."""
        self._addresses.count(network_of(address), now_s)
        return self._names.count(name, now_s) == NAME_FREE

    def succeeded(self, name: str, address: str) -> None:
        self._names.forget(name)
        self._addresses.take_back(network_of(address))

    def take_back(self, name: str, address: str) -> None:
        """The try was never made."""
        self._names.take_back(name)
        self._addresses.take_back(network_of(address))
