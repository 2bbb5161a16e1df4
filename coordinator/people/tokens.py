"""Secrets that are drawn at random and kept only as their sha256: sessions' tokens and API keys.

Owns their forms. 256 random bits need no slow hash: nobody can try them all.

    a session's token    43 characters
    an API key           mf_<id>_<secret>    the id finds it, the secret proves it
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from typing import NamedTuple

TOKEN_BYTES = 32
KEY_ID_BYTES = 6
_KEY = re.compile(r"mf_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")


class NewKey(NamedTuple):
    """A key as it is told once, and what is kept of it."""

    text: str
    id: str
    digest: str


def new_token() -> str:
    """A session's token."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def new_key() -> NewKey:
    key_id, secret = secrets.token_hex(KEY_ID_BYTES), secrets.token_urlsafe(TOKEN_BYTES)
    return NewKey(f"mf_{key_id}_{secret}", key_id, digest_of(secret))


def digest_of(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def parted_key(text: str) -> tuple[str, str] | None:
    """The id of a key and the digest of its secret; None if it is no key."""
    found = _KEY.fullmatch(text)
    return (found[1], digest_of(found[2])) if found else None


def is_token(text: str) -> bool:
    return _TOKEN.fullmatch(text) is not None


def csrf_of(token: str) -> str:
    """What a page has to send along with a session's cookie to change something.

    It follows from the token, which no page can read, and does not lead back to it.
    """
    return digest_of(f"csrf {token}")


def same(one: str, other: str) -> bool:
    """Compare in a time that does not tell how far they agree."""
    return hmac.compare_digest(one.encode(), other.encode())
