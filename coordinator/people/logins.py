"""Setting up, logging in and out, and telling who asks.

Owns when a session or a key is good, and what of it is written into the history. Must not know
HTTP: tokens and addresses come in as text.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from coordinator.core.farm import History
from coordinator.core.requests import Conflict, Who
from coordinator.people import rules, tokens
from coordinator.people.limits import LoginLimits
from coordinator.people.passwords import Passwords
from coordinator.people.ports import PeopleStore
from coordinator.people.records import Identity, Session, User, UserChange
from coordinator.people.roles import Role
from coordinator.people.rules import SESSIONS_MAX, Lifetimes
from coordinator.ports import Clock, StoreError

log = logging.getLogger("moonfleet.people")

UNKNOWN = "an unknown name"
"""Who failed to log in, where nobody is called so: people type passwords into the wrong field."""


class LoginRefused(Exception):
    """Name or password is wrong. Which of them is not told."""


class TooSoon(Exception):
    """Too many failures: `wait_s` has to pass before the next try is looked at."""

    def __init__(self, wait_s: float) -> None:
        super().__init__(f"too many failed logins; try again in {max(1, round(wait_s))} s")
        self.wait_s = wait_s


class Opened(NamedTuple):
    """A new session: its token, told this once, and who it stands for."""

    token: str
    identity: Identity


class Logins:
    """Who may come in. `on_ended` is called whenever a session or key may have ended."""

    def __init__(
        self,
        store: PeopleStore,
        clock: Clock,
        passwords: Passwords,
        lifetimes: Lifetimes,
        on_ended: Callable[[], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._passwords = passwords
        self.lifetimes = lifetimes
        self._on_ended = on_ended
        self._limits = LoginLimits()
        self._is_set_up = False

    # ---- who asks -----------------------------------------------------------------------------

    async def is_set_up(self) -> bool:
        """Whether there is a user. Once there is one, one remains."""
        self._is_set_up = self._is_set_up or await self._store.any_user()
        return self._is_set_up

    async def by_session(self, token: str) -> Identity | None:
        """Who a session's token stands for now; notes now and then that it was used."""
        if not tokens.is_token(token):
            return None
        found = await self._of_session(tokens.digest_of(token))
        if found is None:
            return None
        session, identity = found
        now_s = self._now_s()
        if rules.is_due(session.seen_at, now_s, self.lifetimes.idle_s):
            await self._noted(self._store.note_session, session.digest, now_s)
        return identity

    async def by_key(self, text: str) -> Identity | None:
        """Who an API key stands for now."""
        parted = tokens.parted_key(text)
        found = await self._store.key(parted[0]) if parted else None
        if parted is None or found is None or not tokens.same(found[0].digest, parted[1]):
            return None
        key, user = found
        now_s = self._now_s()
        identity = rules.by_key(key, user, now_s)
        if identity is not None and rules.is_due(key.used_at, now_s):
            await self._noted(self._store.note_key, key.id, now_s)
        return identity

    async def still(self, identity: Identity) -> Identity | None:
        """The same one as it is now; None when its session or key has ended."""
        if identity.session:
            found = await self._of_session(identity.session)
            return found[1] if found else None
        key = await self._store.key(identity.key)
        return rules.by_key(*key, self._now_s()) if key else None

    # ---- coming in and going out ----------------------------------------------------------------

    async def set_up(self, name: str, password: str, who: Who) -> Opened:
        """Make the first user, an admin, and log them in. Raises Conflict if there is a user."""
        name = rules.checked_name(name)
        password_hash = await self._passwords.hash(rules.checked_password(name, password))
        user = User(name, Role.ADMIN, password_hash, self._now_s())
        line = self._line("user_set_up", Who(name, who.origin), f"{name}: admin, the first user")
        if not await self._store.add_first_user(user, line):
            raise Conflict("set-up is over: there is a user already; log in")
        opened = await self._open(user, who.origin)
        if opened is None:
            raise Conflict(f"{name} was changed meanwhile; log in")
        return opened

    async def log_in(self, name: str, password: str, address: str, origin: str) -> Opened:
        """Open a session. Raises LoginRefused, TooSoon, TooManyLogins."""
        user = await self._checked(name.strip().lower(), password, address, origin)
        opened = await self._open(user, origin)
        if opened is None:  # changed or disabled while the password was being checked
            raise LoginRefused("name or password is wrong")
        return opened

    async def log_out(self, identity: Identity, origin: str) -> None:
        """End a session."""
        line = self._line("logout", Who(identity.name, origin), "")
        await self._store.end_session(identity.session, line)
        self._on_ended()

    async def change_password(
        self, identity: Identity, current: str, new: str, address: str, origin: str
    ) -> Opened | None:
        """Set one's own password; all sessions of the user end, and whoever had one gets another.

        Raises as `log_in` does, and PasswordRefused.
        """
        user = await self._checked(identity.user, current, address, origin)
        new_hash = await self._passwords.hash(rules.checked_password(user.name, new))
        who = Who(identity.name, origin)
        line = self._line("user_changed", who, f"{user.name}: password")
        await self._store.change_user(user.name, UserChange(password_hash=new_hash), line)
        self._on_ended()
        if not identity.session:
            return None
        now = User(user.name, user.role, new_hash, user.created_at)
        return await self._open(now, origin)

    # ---- inside -------------------------------------------------------------------------------

    async def _checked(self, name: str, password: str, address: str, origin: str) -> User:
        """The user of this name and password; every try counts towards the limits."""
        boot_s = self._clock.now().boot_s
        limited = name[:64]
        wait_s = self._limits.wait_s(limited, address, boot_s)
        if wait_s > 0:
            raise TooSoon(wait_s)
        waits_now = self._limits.begin(limited, address, boot_s)
        try:
            user = await self._store.user(name) if rules.NAME.fullmatch(name) else None
            password_hash = user.password_hash if user is not None and not user.disabled else None
            typed = rules.normal(password[: rules.PASSWORD_BYTES_MAX + 1])
            is_right = not rules.too_long(typed) and await self._passwords.is_right(
                password_hash, typed
            )
        except BaseException:
            self._limits.take_back(limited, address)
            raise
        if user is None or not is_right:
            who = Who(UNKNOWN if user is None else user.name, origin)
            text = "its logins have to wait now" if waits_now else ""
            await self._store.note(self._line("login_failed", who, text))
            raise LoginRefused("name or password is wrong")
        self._limits.succeeded(limited, address)
        return await self._with_todays_hash(user, typed)

    async def _with_todays_hash(self, user: User, password: str) -> User:
        if not self._passwords.is_outdated(user.password_hash):
            return user
        new_hash = await self._passwords.hash(password)
        await self._store.rehash(user.name, user.password_hash, new_hash)
        return User(user.name, user.role, new_hash, user.created_at)

    async def _open(self, user: User, origin: str) -> Opened | None:
        token, now_s = tokens.new_token(), self._now_s()
        session = Session(tokens.digest_of(token), user.name, now_s, now_s, origin)
        over = (now_s - self.lifetimes.idle_s, now_s - self.lifetimes.max_s)
        line = self._line("login", Who(user.name, origin), "")
        if not await self._store.open_session(
            session, user.password_hash, over, SESSIONS_MAX, line
        ):
            return None
        return Opened(token, Identity(user.name, user.role, session=session.digest))

    async def _of_session(self, digest: str) -> tuple[Session, Identity] | None:
        found = await self._store.session(digest)
        identity = rules.by_session(*found, self.lifetimes, self._now_s()) if found else None
        return (found[0], identity) if found and identity else None

    async def _noted(
        self, note: Callable[[str, float], Awaitable[None]], what: str, now_s: float
    ) -> None:
        """Write when it was used last. Whoever only looks is not refused for a full disk."""
        try:
            await note(what, now_s)
        except StoreError as error:
            log.warning("when it was used last was not written: %s", error)

    def _line(self, kind: str, who: Who, text: str) -> History:
        return History(self._now_s(), kind, who=who.name, origin=who.origin, text=text)

    def _now_s(self) -> float:
        return self._clock.now().wall_s
