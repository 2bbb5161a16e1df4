"""Download links: which attempt's file, until when, and the proof that this farm said so.

Owns the signature, how long a link lives, and when it is made anew. Pure: the key and the time
come in as values. Must not know who asks for a file or how it is sent.

Only the coordinator signs and checks, so only its own wall clock counts. When that jumps, links
that stand too far in the past or in the future are refused, and those still wanted made anew.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from enum import Enum

from msgspec import Struct

MARGIN_S = 600.0
"""A link outlives the time to prepare by this; half of it before the end it is made anew."""

CLOCK_STEP_S = 60.0
"""A wall clock may be set back by this much before links count as made in the future."""

_UNTIL = re.compile(r"[1-9][0-9]{0,11}\Z")
_PURPOSE = "moonfleet download v1"


class LinkKey(Struct, frozen=True):
    """The farm's key for links: 32 random bytes. An empty one signs, but nothing it signed holds.

    It never shows in a repr, so never in a log.
    """

    secret: bytes = b""

    def __repr__(self) -> str:
        return "LinkKey(...)"


class Verdict(Enum):
    """What a link is worth."""

    GOOD = "good"
    FORGED = "forged"
    EXPIRED = "expired"


def signature(key: LinkKey, attempt: str, until: int) -> str:
    """HMAC-SHA256 in hex over the attempt and the epoch second in which its link ends."""
    signed = f"{_PURPOSE}\n{attempt}\n{until}".encode()
    return hmac.new(key.secret, signed, hashlib.sha256).hexdigest()


def judge(
    key: LinkKey, attempt: str, until: str, proof: str, wall_s: float, life_s: float
) -> Verdict:
    """What `until` and `proof` of a request for this attempt's file are worth at `wall_s`.

    `life_s`: how long a link lives, so that one that ends later than that was made before the
    clock was set back.
    """
    known = bool(key.secret) and _UNTIL.match(until) is not None
    expected = signature(key, attempt, int(until) if known else 0)
    if not hmac.compare_digest(expected.encode(), proof.encode()) or not known:
        return Verdict.FORGED
    left_s = int(until) - wall_s
    return Verdict.GOOD if 0 < left_s <= life_s + CLOCK_STEP_S else Verdict.EXPIRED


def life_s(prepare_s: float) -> float:
    """How long a new link lives: as long as a host may take to prepare, and a margin."""
    return prepare_s + MARGIN_S


def until_of(url: str) -> int:
    """The epoch second in which a link ends; 0 for what is no link of ours."""
    until = url.rpartition("?until=")[2].partition("&")[0]
    return int(until) if _UNTIL.match(until) else 0


def is_due(url: str, wall_s: float, prepare_s: float) -> bool:
    """Whether a link has to be made anew to stay usable for a host that still prepares."""
    left_s = until_of(url) - wall_s
    return not MARGIN_S / 2 <= left_s <= life_s(prepare_s) + CLOCK_STEP_S


def url_of(file_url: str, key: LinkKey, attempt: str, until: int) -> str:
    """The link; `file_url` holds `{attempt}`."""
    bare = file_url.replace("{attempt}", attempt)
    return f"{bare}?until={until}&signature={signature(key, attempt, until)}"


def fresh_until(wall_s: float, prepare_s: float) -> int:
    """The epoch second in which a link made now ends."""
    return int(max(wall_s, 0.0) + life_s(prepare_s)) + 1
