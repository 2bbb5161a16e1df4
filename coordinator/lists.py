"""What people ask of what is stored: filters, orders, pages and their cursors, and stored files.

Owns the values and their checks. Must not know tables or SQL.

A cursor is the place after the last row of a page, in terms of what the list is ordered by. So a
page never repeats or skips a row because others came or went, unlike one counted by offset.
"""

from __future__ import annotations

import base64
import binascii
from enum import StrEnum

import msgspec
from msgspec import Struct

from coordinator.core.attempts import Attempt, State
from coordinator.core.farm import History
from coordinator.core.jobs import Copy, Job, JobState, Lane

PAGE_MAX = 500

Place = tuple[float | int | str, ...]


class StoredFile(Struct, frozen=True):
    """A G-code file that is kept. `name` as hosts call it, `title` as the person called it.

    `metadata` (what its slicer says) and `analysis` (what its moves say) are JSON as it was given;
    None: not known yet. Decode them with the type that they were encoded from.
    """

    sha256: str
    size_bytes: int
    name: str
    title: str
    metadata: msgspec.Raw | None = None
    analysis: msgspec.Raw | None = None
    created_at: float = 0.0


class BadQuery(ValueError):
    """A limit out of range, or a cursor that this list did not give: text names which."""


class JobSort(StrEnum):
    """`QUEUE`: lane, priority, rank (the order of work leaves age and deadline to the moment).

    `CREATED` and `FINISHED` have the newest first; `FINISHED` leaves unfinished jobs out.
    """

    QUEUE = "queue"
    CREATED = "created"
    FINISHED = "finished"
    TITLE = "title"


class JobFilter(Struct, frozen=True):
    """Every field that is set must hold; empty or None asks for nothing.

    `text` is looked for in titles, in any case of letters, or is how the id begins. `material` is
    the one that is required, in any case. `printer`: an attempt was on it.
    Times are epoch seconds, `created_from` included and `created_before` not.
    """

    finished: bool | None = None
    states: tuple[JobState, ...] = ()
    lane: Lane | None = None
    material: str = ""
    owner: str = ""
    tag: str = ""
    text: str = ""
    sha256: str = ""
    printer: str = ""
    reprint_of: str = ""
    created_from: float | None = None
    created_before: float | None = None


class AttemptFilter(Struct, frozen=True):
    """Every field that is set must hold."""

    printer: str = ""
    job: str = ""
    copy: str = ""
    states: tuple[State, ...] = ()


class HistoryFilter(Struct, frozen=True):
    """Every field that is set must hold. `kinds`: one of them."""

    job: str = ""
    copy: str = ""
    attempt: str = ""
    printer: str = ""
    who: str = ""
    kinds: tuple[str, ...] = ()


class JobDetail(Struct, frozen=True):
    """A job with all of its copies (by number) and attempts (oldest first)."""

    job: Job
    copies: list[Copy]
    attempts: list[Attempt]


class HistoryEntry(Struct, frozen=True):
    """A line of history and its number, which only grows."""

    number: int
    line: History


class JobPage(Struct, frozen=True):
    """`cursor` asks for the next page; empty: this was the last."""

    jobs: list[Job]
    cursor: str = ""


class AttemptPage(Struct, frozen=True):
    """`cursor` asks for the next page; empty: this was the last."""

    attempts: list[Attempt]
    cursor: str = ""


class HistoryPage(Struct, frozen=True):
    """`cursor` asks for the next page; empty: this was the last."""

    entries: list[HistoryEntry]
    cursor: str = ""


class FilePage(Struct, frozen=True):
    """`cursor` asks for the next page; empty: this was the last."""

    files: list[StoredFile]
    cursor: str = ""


class References(Struct, frozen=True):
    """How many jobs refer to a file."""

    unfinished: int
    finished: int


def checked_limit(limit: int) -> int:
    """The limit, if a page may be that long."""
    if not 1 <= limit <= PAGE_MAX:
        raise BadQuery(f"limit {limit}: must be from 1 to {PAGE_MAX}")
    return limit


def to_cursor(order: str, place: Place) -> str:
    """A cursor for the rows after `place` in this order."""
    text = msgspec.json.encode([order, *place])
    return base64.urlsafe_b64encode(text).decode().rstrip("=")


def from_cursor(order: str, cursor: str, kinds: tuple[type, ...]) -> Place | None:
    """The place that a cursor names, None for the first page; raises BadQuery."""
    if not cursor:
        return None
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True)
        named, *place = msgspec.json.decode(text, type=list[float | int | str])
        if named == order and len(place) == len(kinds):
            return tuple(
                msgspec.convert(part, kind) for part, kind in zip(place, kinds, strict=True)
            )
    except (binascii.Error, ValueError) as error:
        raise BadQuery(f"cursor {cursor[:80]!r}: not one of this list ({error})") from error
    raise BadQuery(f"cursor {cursor[:80]!r}: not one of this list in this order")
