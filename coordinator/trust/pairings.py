"""Pairing: codes made by admins, and spent by hosts, once each.

Owns how long a code lives, how many there may be, how fast they may be tried, and what is said of
one that does not do. Must not know HTTP, SQL or what a host gets for its code.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from msgspec import Struct

from coordinator.core.farm import History
from coordinator.core.requests import Who
from coordinator.people.limits import Ledger
from coordinator.ports import Clock
from coordinator.trust import codes

TRIES_FREE = 5
"""Wrong codes from one address before it has to wait."""

ID_LENGTH = 8


class CodeRefused(Exception):
    """The code is not one of this coordinator's, has expired, or was used."""


class TooManyTries(Exception):
    """Too many wrong codes from one address: they are not even looked at for a while."""

    def __init__(self, wait_s: float) -> None:
        super().__init__(f"too many wrong codes; try again in {max(1, round(wait_s))} s")


class Pairing(Struct, frozen=True):
    """One code. `printer`: the only one it is good for; empty: whatever is new to the farm.

    Times are epoch seconds. `who` made it. `used_at` None: not used yet.
    """

    id: str
    digest: str
    printer: str
    who: str
    created_at: float
    expires_at: float
    used_at: float | None = None


class PairingStore(Protocol):
    """Codes that last. Every method raises StoreError; a change and its history are one."""

    async def add(self, pairing: Pairing, codes_max: int, line: History) -> None:
        """Raises Conflict if as many are good already. Forgets those of yesterday."""

    async def by_digest(self, digest: str) -> Pairing | None: ...

    async def good(self, now_s: float) -> list[Pairing]:
        """Neither used nor expired, oldest first."""

    async def use(self, pairing_id: str, now_s: float) -> bool:
        """False if somebody else was faster, or it has expired."""

    async def give_back(self, pairing_id: str) -> None: ...

    async def remove(self, pairing_id: str, line: History) -> bool: ...


class Pairings:
    """`ca_pem` gives the CA that hosts will fetch."""

    def __init__(self, store: PairingStore, clock: Clock, ca_pem: Callable[[], bytes]) -> None:
        self._store = store
        self._clock = clock
        self._ca_pem = ca_pem
        self._tries = Ledger(TRIES_FREE)

    async def make(self, printer: str, who: Who) -> tuple[str, Pairing]:
        """A new code as it is told once, and what is kept of it; raises Conflict."""
        secret, now_s = codes.new_secret(), self._clock.now().wall_s
        digest = codes.digest_of(secret)
        pairing = Pairing(
            id=digest[:ID_LENGTH],
            digest=digest,
            printer=printer,
            who=who.name,
            created_at=now_s,
            expires_at=now_s + codes.LIFETIME_S,
        )
        line = self._line("pairing_made", who, pairing)
        await self._store.add(pairing, codes.CODES_MAX, line)
        return codes.code_of(secret, self._ca_pem()), pairing

    async def good(self) -> list[Pairing]:
        """Codes that can still be used."""
        return await self._store.good(self._clock.now().wall_s)

    async def cancel(self, pairing_id: str, who: Who) -> bool:
        """Let a code be good for nothing; False if there is none of this id."""
        now_s = self._clock.now().wall_s
        known = [p for p in await self._store.good(now_s) if p.id == pairing_id]
        if not known:
            return False
        return await self._store.remove(pairing_id, self._line("pairing_cancelled", who, known[0]))

    async def check(self, secret: str, address: str) -> Pairing:
        """The pairing of this secret, still unused; raises CodeRefused or TooManyTries.

        `address`: where the try comes from. A right one costs no try.
        """
        now = self._clock.now()
        wait_s = self._tries.wait_s(address, now.boot_s)
        if wait_s:
            raise TooManyTries(wait_s)
        self._tries.count(address, now.boot_s)
        found = None
        if codes.is_secret(secret):
            found = await self._store.by_digest(codes.digest_of(secret))
        if found is None:
            raise CodeRefused(
                "the code is not known: mistyped, cancelled, or of another coordinator"
            )
        self._tries.take_back(address)
        if found.used_at is not None:
            raise CodeRefused("the code was used already; each joins one host, once")
        if found.expires_at <= now.wall_s:
            raise CodeRefused(
                f"the code has expired; it was good for {codes.LIFETIME_S / 60:.0f} minutes"
            )
        return found

    async def use(self, pairing: Pairing) -> None:
        """Spend it; raises CodeRefused if somebody else has meanwhile."""
        if not await self._store.use(pairing.id, self._clock.now().wall_s):
            raise CodeRefused("the code was used or expired in this very moment")

    async def give_back(self, pairing: Pairing) -> None:
        """What it was spent for failed: it may be tried again while it lives."""
        await self._store.give_back(pairing.id)

    def _line(self, kind: str, who: Who, pairing: Pairing) -> History:
        text = f"code {pairing.id}"
        return History(
            self._clock.now().wall_s,
            kind,
            who=who.name,
            origin=who.origin,
            printer=pairing.printer,
            text=text,
        )
