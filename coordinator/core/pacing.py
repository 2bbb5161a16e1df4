"""How much one printer may say: a bucket of tokens, and what happens once it is empty.

Owns the numbers and the verdict on one message. Pure: time comes in. Must not know topics or what a
message says.

A host sends a report and a telemetry message a second at most, and a few events. What goes beyond
many times that comes from a broken or stolen host. Then telemetry is dropped first, events next;
of reports the newest is kept and taken as soon as there is a token again: a report is a level, so
nothing is lost by what was between.
"""

from __future__ import annotations

from enum import Enum

from msgspec import Struct

RATE_PER_S = 20.0
BURST = 200.0
COST_BYTES = 8 * 1024
"""A message costs one token, and one more for each so many bytes."""

TELEMETRY_KEEPS = BURST / 2
EVENT_KEEPS = BURST / 4
"""Tokens that have to be left after a message of that kind."""


class Pace(Enum):
    """What becomes of a message."""

    TAKE = "take"
    HOLD = "hold"
    DROP = "drop"


class Bucket(Struct, frozen=True):
    """The tokens that one printer had at `at_s` (a monotonic clock)."""

    tokens: float = BURST
    at_s: float = 0.0


def filled(bucket: Bucket, now_s: float) -> Bucket:
    """The bucket now."""
    gained = max(now_s - bucket.at_s, 0.0) * RATE_PER_S
    return Bucket(min(BURST, bucket.tokens + gained), now_s)


def judge(bucket: Bucket, leaf: str, size_bytes: int, now_s: float) -> tuple[Bucket, Pace]:
    """The bucket after a message on a printer's topic `leaf`, and what becomes of the message."""
    bucket = filled(bucket, now_s)
    left = bucket.tokens - cost_of(size_bytes)
    keeps = {"telemetry": TELEMETRY_KEEPS, "event": EVENT_KEEPS}.get(leaf, 0.0)
    if left >= keeps:
        return Bucket(left, now_s), Pace.TAKE
    return bucket, Pace.HOLD if leaf == "report" else Pace.DROP


def wait_s(bucket: Bucket, size_bytes: int, now_s: float) -> float:
    """How long until a report of this size may be taken."""
    missing = cost_of(size_bytes) - filled(bucket, now_s).tokens
    return max(missing, 0.0) / RATE_PER_S


def cost_of(size_bytes: int) -> float:
    """Tokens that a message costs; never more than a full bucket holds."""
    return min(1.0 + size_bytes / COST_BYTES, BURST)
