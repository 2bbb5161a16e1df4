"""People, put together: logins, accounts, and who is told when somebody's way in may have ended.

Owns the wiring, and `record` for what people do that no other part writes down.
"""

from __future__ import annotations

from collections.abc import Callable

from coordinator.core.farm import History
from coordinator.core.requests import Who
from coordinator.people.accounts import Accounts
from coordinator.people.logins import Logins
from coordinator.people.passwords import HashCost, Passwords
from coordinator.people.ports import PeopleStore
from coordinator.people.rules import Lifetimes
from coordinator.ports import Clock


class People:
    """`close()` gives its threads back. `listeners` are called when a session or key may have
    ended; what they hold they ask after with `logins.still`."""

    def __init__(
        self,
        store: PeopleStore,
        clock: Clock,
        cost: HashCost | None = None,
        lifetimes: Lifetimes | None = None,
    ) -> None:
        self.listeners: set[Callable[[], None]] = set()
        self._store = store
        self._clock = clock
        self._passwords = Passwords(cost or HashCost())
        self.logins = Logins(
            store, clock, self._passwords, lifetimes or Lifetimes(), self._tell_ended
        )
        self.accounts = Accounts(store, clock, self._passwords, self._tell_ended)

    def close(self) -> None:
        self._passwords.close()

    async def record(self, kind: str, who: Who, text: str) -> None:
        """Keep an act of a person in the history."""
        at = self._clock.now().wall_s
        line = History(at, kind, who=who.name, origin=who.origin, text=text)
        await self._store.note(line)

    def _tell_ended(self) -> None:
        for listener in list(self.listeners):
            listener()
