"""What people need of the database, as a Protocol. coordinator/store/people.py keeps it.

Owns only the signatures. Every method raises StoreError, and what failed has changed nothing; a
change and its line of history are one transaction.
"""

from __future__ import annotations

from typing import Protocol

from coordinator.core.farm import History
from coordinator.core.requests import Conflict
from coordinator.people.records import ApiKey, Session, User, UserChange


class LastAdmin(Conflict):
    """It would leave nobody who can make users."""


class PeopleStore(Protocol):
    """Users, sessions and keys that last."""

    async def any_user(self) -> bool: ...

    async def user(self, name: str) -> User | None: ...

    async def users(self) -> list[User]: ...

    async def session(self, digest: str) -> tuple[Session, User] | None: ...

    async def key(self, key_id: str) -> tuple[ApiKey, User] | None: ...

    async def keys(self, user: str = "") -> list[ApiKey]:
        """Newest first; without a user all of them."""

    async def add_first_user(self, user: User, line: History) -> bool:
        """False, changing nothing, if there is any user."""

    async def add_user(self, user: User, users_max: int, line: History) -> bool:
        """False, changing nothing, if the name is taken; raises Conflict if there are too many."""

    async def change_user(self, name: str, change: UserChange, line: History) -> bool:
        """Also ends the user's sessions. False if there is none; raises LastAdmin."""

    async def remove_user(self, name: str, line: History) -> bool:
        """With sessions and keys. False if there is none; raises LastAdmin."""

    async def rehash(self, name: str, old_hash: str, new_hash: str) -> None:
        """Keep the same password by another hash, unless it was changed meanwhile."""

    async def open_session(
        self,
        session: Session,
        password_hash: str,
        ended_before: tuple[float, float],
        sessions_max: int,
        line: History,
    ) -> bool:
        """Keep a session, unless its user's password was changed while it was being checked.

        Drops sessions that were seen before the first or made before the second time, and of this
        user the oldest beyond the number.
        """

    async def end_session(self, digest: str, line: History) -> bool: ...

    async def note_session(self, digest: str, seen_at: float) -> None: ...

    async def add_key(self, key: ApiKey, keys_max: int, line: History) -> None:
        """Raises Conflict if its user has as many already."""

    async def remove_key(self, key_id: str, line: History) -> bool: ...

    async def note_key(self, key_id: str, used_at: float) -> None: ...

    async def note(self, line: History) -> None:
        """Only a line of history."""
