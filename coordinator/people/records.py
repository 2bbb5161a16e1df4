"""Users, their sessions and their API keys, as they are kept.

Owns the shapes. What could open a door (hashes of passwords, digests of tokens) is left out of
every `repr`, so that no log and no traceback can tell it. Pure.
"""

from __future__ import annotations

from msgspec import UNSET, Struct, UnsetType

from coordinator.people.roles import Role


class User(Struct, frozen=True):
    """A person. Times are epoch seconds. A disabled user keeps the name and can do nothing."""

    name: str
    role: Role
    password_hash: str
    created_at: float
    disabled: bool = False

    def __repr__(self) -> str:
        return f"User({self.name!r}, {self.role.word}, disabled={self.disabled})"


class UserChange(Struct, frozen=True):
    """What is changed of a user; a field left out stays as it is."""

    role: Role | UnsetType = UNSET
    disabled: bool | UnsetType = UNSET
    password_hash: str | UnsetType = UNSET

    def __repr__(self) -> str:
        return f"UserChange(role={self.role!r}, disabled={self.disabled!r})"


class Session(Struct, frozen=True):
    """A browser that has logged in. `digest`: of its token, which is stored nowhere.

    `seen_at` is written now and then only, see logins.py. `origin`: from where it was opened.
    """

    digest: str
    user: str
    created_at: float
    seen_at: float
    origin: str = ""

    def __repr__(self) -> str:
        return f"Session(of {self.user!r}, created_at={self.created_at})"


class ApiKey(Struct, frozen=True):
    """A program's key. `id` stands in the key itself; `digest` is that of its secret part.

    `role` is the most it may do; its user's role caps it again whenever it is used.
    """

    id: str
    name: str
    user: str
    role: Role
    digest: str
    created_at: float
    expires_at: float | None = None
    used_at: float | None = None

    def __repr__(self) -> str:
        return f"ApiKey({self.id!r}, {self.name!r} of {self.user!r}, {self.role.word})"


class Identity(Struct, frozen=True):
    """Who asks, proven: a user by a session or by one of their keys, and what that may do now.

    Exactly one of `session` (its digest) and `key` (its id) is set.
    """

    user: str
    role: Role
    session: str = ""
    key: str = ""
    key_name: str = ""

    @property
    def name(self) -> str:
        """As the audit trail names who acted."""
        return f"key:{self.key_name}" if self.key else self.user

    def __repr__(self) -> str:
        return f"Identity({self.name!r}, {self.role.word})"
