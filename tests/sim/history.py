"""What happened in one history, in order, as values: the invariants judge this and nothing else.

Owns the record. Must not know the world that writes it, nor what should have happened.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import NamedTuple


class Entry(NamedTuple):
    """One fact. `at_s` is the true time, which no clock in the farm shows.

    `kind` of what is physically so: asked, started, paused, resumed, stopped, ended, fenced, bed,
    estop. Of what a coordinator committed: its history's own words (attempt_lost, job_paused, ...),
    and accepted, live, over. Of the surroundings: fault, heal, and whatever is worth reading.
    """

    at_s: float
    kind: str
    host: str = ""
    attempt: str = ""
    copy: str = ""
    job: str = ""
    text: str = ""
    value: float = 0.0
    more: float = 0.0
    good: bool = True


class History:
    """Entries, newest last."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def add(self, entry: Entry) -> None:
        self.entries.append(entry)

    def of(self, *kinds: str) -> Iterator[Entry]:
        """Entries of these kinds, oldest first."""
        return (entry for entry in self.entries if entry.kind in kinds)

    def digest(self) -> str:
        """Two histories with the same digest are the same."""
        return hashlib.sha256(repr(self.entries).encode()).hexdigest()

    def lines(self) -> list[str]:
        """For people: one dense line per entry."""
        return [
            f"{e.at_s:9.2f} {e.kind:20} {e.host:7} a={e.attempt[:6]:6} c={e.copy[:4]:4} "
            f"j={e.job[:4]:4} {e.text}{'' if e.good else ' !'}"
            for e in self.entries
        ]
