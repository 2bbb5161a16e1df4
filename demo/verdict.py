"""The verdict on a run: what the database says against what was physically extruded.

Owns the counting of wanted, completed, lost, doubled and moved. Reads the coordinator's database
with plain SQL and the ledgers of the virtual micro-controllers; asks the coordinator nothing.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from demo.mcu.ledger import Ledger, is_finished


@dataclass(frozen=True)
class Verdict:
    """`completed`: accepted in the database and physically finished in a ledger.

    `lost`: wanted, and not completed. `doubled`: whole in the ledgers more than once. `moved`:
    copies that left a printer because its
    host fell silent. `dirty_starts`: starts on an uncleared bed, on any printer.
    """

    wanted: int
    completed: int
    lost: int
    doubled: int
    moved: int
    dirty_starts: int

    @property
    def line(self) -> str:
        return (
            f"demo: {self.wanted} wanted, {self.completed} completed, {self.lost} lost, "
            f"{self.doubled} doubled, {self.moved} moved"
        )


def judge(database: Path, ledgers: Iterable[Ledger], job: str, expected_mm: float) -> Verdict:
    """Judge one job. Every start in a ledger names its attempt in its path."""
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        copies = [row[0] for row in connection.execute("SELECT id FROM copies WHERE job=?", (job,))]
        attempts = connection.execute(
            "SELECT id, copy, accepted, lost_at, cause FROM attempts WHERE job=?", (job,)
        ).fetchall()
    whole: Counter[str] = Counter()
    dirty = 0
    known = {attempt: copy for attempt, copy, *_ in attempts}
    for ledger in ledgers:
        dirty += len(ledger.dirty_starts)
        for start in ledger.starts:
            parts = start.path.split("/")
            copy = known.get(parts[-2], "") if len(parts) > 1 else ""
            if copy and is_finished(start, expected_mm):
                whole[copy] += 1
    accepted = {copy for _, copy, accepted, *_ in attempts if accepted}
    completed = [copy for copy in copies if copy in accepted and whole[copy]]
    moved = {copy for _, copy, _, lost_at, cause in attempts if lost_at or cause == "host_silent"}
    return Verdict(
        wanted=len(copies),
        completed=len(completed),
        lost=len(copies) - len(completed),
        doubled=sum(whole[copy] > 1 for copy in copies),
        moved=len(moved),
        dirty_starts=dirty,
    )
