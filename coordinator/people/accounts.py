"""Users and API keys: listing, making, changing, ending them.

Owns who may do that to whom, and the lines of history that tell of it. Must not know HTTP.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import UNSET, Struct, UnsetType

from coordinator.core.farm import History
from coordinator.core.requests import Conflict, NotFound, RequestError, Who
from coordinator.people import rules, tokens
from coordinator.people.passwords import Passwords
from coordinator.people.ports import PeopleStore
from coordinator.people.records import ApiKey, Identity, User, UserChange
from coordinator.people.roles import Role
from coordinator.people.rules import KEYS_MAX, USERS_MAX
from coordinator.ports import Clock


class UserWish(Struct, frozen=True):
    """What an admin changes of a user, as it is asked for."""

    role: str | UnsetType = UNSET
    password: str | UnsetType = UNSET
    disabled: bool | UnsetType = UNSET

    def __repr__(self) -> str:
        return f"UserWish(role={self.role!r}, disabled={self.disabled!r})"


class Accounts:
    """`on_ended` is called whenever a session or key may have ended."""

    def __init__(
        self,
        store: PeopleStore,
        clock: Clock,
        passwords: Passwords,
        on_ended: Callable[[], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._passwords = passwords
        self._on_ended = on_ended

    # ---- users --------------------------------------------------------------------------------

    async def users(self) -> list[User]:
        """By name."""
        return await self._store.users()

    async def user(self, name: str) -> User:
        """Raises NotFound."""
        found = await self._store.user(name)
        if found is None:
            raise NotFound(f"user {name!r}: there is none of this name")
        return found

    async def add_user(self, name: str, password: str, role: str, who: Who) -> User:
        """Raises RequestError, PasswordRefused, and Conflict if the name is taken."""
        name, given = rules.checked_name(name), rules.checked_role(role)
        password_hash = await self._passwords.hash(rules.checked_password(name, password))
        user = User(name, given, password_hash, self._now_s())
        line = self._line("user_made", who, f"{name}: {given.word}")
        if not await self._store.add_user(user, USERS_MAX, line):
            raise Conflict(f"user {name} exists already")
        return user

    async def change_user(self, name: str, wish: UserWish, who: Who) -> User:
        """Change role, password or whether it is disabled; the user's sessions end.

        Raises NotFound, LastAdmin, RequestError, PasswordRefused.
        """
        user = await self.user(name)
        role = UNSET if wish.role is UNSET else rules.checked_role(wish.role)
        password_hash: str | UnsetType = UNSET
        if wish.password is not UNSET:
            password_hash = await self._passwords.hash(rules.checked_password(name, wish.password))
        told = []
        if role is not UNSET and role is not user.role:
            told.append(f"role {user.role.word} to {role.word}")
        if password_hash is not UNSET:
            told.append("password")
        if wish.disabled is not UNSET and wish.disabled != user.disabled:
            told.append("disabled" if wish.disabled else "enabled")
        if told:
            line = self._line("user_changed", who, f"{name}: {', '.join(told)}")
            change = UserChange(role=role, disabled=wish.disabled, password_hash=password_hash)
            if not await self._store.change_user(name, change, line):
                raise NotFound(f"user {name!r}: was removed meanwhile")
            self._on_ended()
        return await self.user(name)

    async def remove_user(self, name: str, who: Who) -> None:
        """With sessions and keys. Raises NotFound, LastAdmin."""
        if not await self._store.remove_user(name, self._line("user_removed", who, name)):
            raise NotFound(f"user {name!r}: there is none of this name")
        self._on_ended()

    # ---- keys ---------------------------------------------------------------------------------

    async def keys(self, identity: Identity) -> list[ApiKey]:
        """One's own, newest first; for an admin everybody's."""
        return await self._store.keys("" if identity.role is Role.ADMIN else identity.user)

    async def make_key(
        self, identity: Identity, name: str, role: str, lifetime_s: float | None, who: Who
    ) -> tuple[str, ApiKey]:
        """The key's text, told this once, and what is kept. Raises RequestError, Conflict.

        `role` empty: one's own. A key that is made by a key does not outlast it.
        """
        given = rules.checked_role(role) if role else identity.role
        if given > identity.role:
            raise RequestError("role", role, f"not above your own ({identity.role.word})")
        now_s = self._now_s()
        expires_at = rules.checked_expiry(lifetime_s, now_s)
        by_key = await self._store.key(identity.key) if identity.key else None
        if by_key is not None:
            if identity.role < by_key[1].role:  # lost, it would live on in keys that it has made
                raise Conflict("a key of a lower role than its user's makes no keys; log in for it")
            expires_at = rules.sooner(expires_at, by_key[0].expires_at)
        made = tokens.new_key()
        key = ApiKey(
            made.id, rules.checked_key_name(name), identity.user, given, made.digest, now_s,
            expires_at,
        )  # fmt: skip
        line = self._line("key_made", who, f"{key.name} ({key.id}) of {key.user}: {given.word}")
        await self._store.add_key(key, KEYS_MAX, line)
        return made.text, key

    async def revoke_key(self, identity: Identity, key_id: str, who: Who) -> None:
        """One's own, or for an admin anybody's; by a key none that may more than that key.

        Raises NotFound, also for somebody else's, and RequestError.
        """
        found = await self._store.key(key_id)
        if found is None or not (identity.role is Role.ADMIN or found[0].user == identity.user):
            raise NotFound(f"key {key_id!r}: there is none of this id")
        key, user = found
        if identity.key and min(key.role, user.role) > identity.role:
            raise RequestError("id", key_id, f"a key that is not above {identity.role.word}")
        line = self._line("key_revoked", who, f"{key.name} ({key.id}) of {key.user}")
        await self._store.remove_key(key_id, line)
        self._on_ended()

    def _line(self, kind: str, who: Who, text: str) -> History:
        return History(self._now_s(), kind, who=who.name, origin=who.origin, text=text)

    def _now_s(self) -> float:
        return self._clock.now().wall_s
