"""What holds of users, passwords, sessions and keys: checks of values, against a given time.

Owns the bounds and the rules by which somebody is let in. Pure: no clock, no random, no hashing.
"""

from __future__ import annotations

import re
import unicodedata

from msgspec import Struct

from coordinator.core.requests import RequestError
from coordinator.people.records import ApiKey, Identity, Session, User
from coordinator.people.roles import GIVEN, Role, role_of

PASSWORD_MIN = 10
PASSWORD_BYTES_MAX = 1024
KEY_NAME_MAX = 64
KEY_LIFETIME_MIN_S = 60.0
KEY_LIFETIME_MAX_S = 10 * 365 * 86_400.0
USERS_MAX = 1000
SESSIONS_MAX = 20
KEYS_MAX = 100
"""Per user. A new session ends the oldest; a key beyond the number is refused."""

NAME = re.compile(r"[a-z0-9][a-z0-9._@-]{0,63}")
KEY_NAME = re.compile(r"[\w .@:+-]{1,64}")
SEEN_EVERY_S = 600.0
"""How old "last seen" may be before it is written again: an idle farm writes nothing."""

SEEN_PER_IDLE = 10.0


class PasswordRefused(ValueError):
    """A password that cannot be taken. Says why, and never what it was."""


class Lifetimes(Struct, frozen=True):
    """How long a session lasts: without being used, and at all."""

    idle_s: float = 7 * 86_400.0
    max_s: float = 30 * 86_400.0


def checked_name(name: str) -> str:
    """A user's name in the form in which it is kept; raises RequestError."""
    kept = name.strip().lower()
    if not NAME.fullmatch(kept):
        raise RequestError("name", name, "1 to 64 of a-z 0-9 . _ @ -, the first a letter or digit")
    return kept


def checked_role(word: str) -> Role:
    """The role of this word; raises RequestError."""
    role = role_of(word)
    if role is None:
        raise RequestError("role", word, f"one of {', '.join(r.word for r in GIVEN)}")
    return role


def checked_key_name(name: str) -> str:
    """What a key is called; raises RequestError."""
    kept = name.strip()
    if not KEY_NAME.fullmatch(kept):
        raise RequestError(
            "name", name, f"1 to {KEY_NAME_MAX} letters, digits, blanks and . _ @ : + -"
        )
    return kept


def checked_expiry(lifetime_s: float | None, now_s: float) -> float | None:
    """When a key that is made now ends; None: never. Raises RequestError."""
    if lifetime_s is None:
        return None
    if not KEY_LIFETIME_MIN_S <= lifetime_s <= KEY_LIFETIME_MAX_S:
        raise RequestError(
            "lifetime_s", lifetime_s, f"{KEY_LIFETIME_MIN_S:g} to {KEY_LIFETIME_MAX_S:.12g}"
        )
    return now_s + lifetime_s


def sooner(one: float | None, other: float | None) -> float | None:
    """The earlier of two times, of which None never comes."""
    return min((at for at in (one, other) if at is not None), default=None)


def checked_password(name: str, password: str) -> str:
    """A new password as it is hashed; raises PasswordRefused."""
    kept = normal(password)
    if len(kept) < PASSWORD_MIN:
        raise PasswordRefused(f"password: at least {PASSWORD_MIN} characters are needed")
    if too_long(kept):
        raise PasswordRefused(f"password: at most {PASSWORD_BYTES_MAX} bytes are taken")
    if kept.lower() == name.lower():
        raise PasswordRefused("password: must not be the name")
    return kept


def normal(password: str) -> str:
    """The same characters, typed on another keyboard, are the same password (RFC 8265, NFKC)."""
    return unicodedata.normalize("NFKC", password)


def too_long(password: str) -> bool:
    return len(password.encode("utf-8", "replace")) > PASSWORD_BYTES_MAX


def by_session(session: Session, user: User, lifetimes: Lifetimes, now_s: float) -> Identity | None:
    """Who a session stands for; None when it or its user is no longer good."""
    idle_s, age_s = now_s - session.seen_at, now_s - session.created_at
    if user.disabled or idle_s > lifetimes.idle_s or age_s > lifetimes.max_s:
        return None
    return Identity(user.name, user.role, session=session.digest)


def by_key(key: ApiKey, user: User, now_s: float) -> Identity | None:
    """Who a key stands for, never above its user; None when it or its user is no longer good."""
    if user.disabled or (key.expires_at is not None and now_s >= key.expires_at):
        return None
    return Identity(user.name, min(key.role, user.role), key=key.id, key_name=key.name)


def is_due(seen_at: float | None, now_s: float, idle_s: float | None = None) -> bool:
    """Whether "last seen" is old enough to be written again."""
    if seen_at is None:
        return True
    every_s = SEEN_EVERY_S if idle_s is None else min(SEEN_EVERY_S, idle_s / SEEN_PER_IDLE)
    return now_s - seen_at > every_s
