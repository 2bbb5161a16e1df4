"""How much of what a host says is kept: its texts are shown to people, and each page is sent all.

Owns the bounds. Pure. Must not know what any field means; what is refused for its size altogether
is wire's and pacing's.
"""

from __future__ import annotations

from enum import Enum
from typing import Any, TypeVar

from msgspec import Struct
from msgspec.structs import asdict, replace

from moonraker_component.wire import Reason

TEXT_MAX = 500
"""Characters. Klipper's own messages are shorter; what it writes of a crash goes to its log."""

REASONS_MAX = 16
ITEMS_MAX = 128
"""Attempts of a report, heaters of a reading: more than any honest host has."""

ROOMY_BYTES = 4096
"""A payload up to this size is taken as it is: there is no room for much in it."""

S = TypeVar("S", bound=Struct)


def clipped(message: S, payload_bytes: int) -> S:
    """The message with no text and no list in it beyond the bounds; the last character tells."""
    if payload_bytes <= ROOMY_BYTES:
        return message
    return replace(message, **{name: _clip(value) for name, value in asdict(message).items()})


def _clip(value: Any) -> Any:
    if isinstance(value, Enum):
        return value
    if isinstance(value, str):
        return value if len(value) <= TEXT_MAX else value[: TEXT_MAX - 1] + "…"
    if isinstance(value, tuple):
        most = REASONS_MAX if value and isinstance(value[0], Reason) else ITEMS_MAX
        return tuple(_clip(item) for item in value[:most])
    if isinstance(value, dict):
        return {_clip(key): _clip(value[key]) for key in list(value)[:ITEMS_MAX]}
    if isinstance(value, Struct):
        return replace(value, **{name: _clip(item) for name, item in asdict(value).items()})
    return value
