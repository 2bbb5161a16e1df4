"""What a run left behind, as values: the database, the ledgers, the faults, the acts of a person.

Owns the types of the evidence and its reading. Reads the coordinator's database with plain SQL
and the ledgers of the virtual micro-controllers; it judges nothing.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from demo.extrusion import expected_extrusion_mm
from demo.farm import DemoFarm
from demo.mcu.ledger import Ledger
from tests.chaos.schedule import GRACE_S, Fault, Rule


@dataclass(frozen=True)
class Done:
    """A fault that was done, from when to when: epoch seconds. Its end is when all was back."""

    fault: Fault
    begun_at: float
    ended_at: float


@dataclass(frozen=True)
class Act:
    """What the person did to a job: "pause" or "resume", at epoch seconds."""

    at: float
    what: str
    job: str


@dataclass(frozen=True)
class Copy:
    """One wanted piece, by the database."""

    id: str
    job: str
    rule: Rule
    expected_mm: float
    """What its file asks for."""


@dataclass(frozen=True)
class Try:
    """One attempt, by the database. Times are epoch seconds."""

    id: str
    copy: str
    printer: str
    state: str
    outcome: str
    accepted: bool
    take_back: str
    why_back: str
    message: str = ""
    lost_at: tuple[float, ...] = ()
    """Each time that it was given up, by the history."""


@dataclass(frozen=True)
class Line:
    """One row of the history."""

    at: float
    kind: str
    copy: str
    attempt: str
    printer: str
    text: str


@dataclass(frozen=True)
class Evidence:
    """All of it. `promised`: jobs whose submission was answered, with their copies."""

    copies: tuple[Copy, ...] = ()
    tries: tuple[Try, ...] = ()
    ledgers: Mapping[str, Ledger] = field(default_factory=dict)
    faults: tuple[Done, ...] = ()
    acts: tuple[Act, ...] = ()
    history: tuple[Line, ...] = ()
    promised: Mapping[str, int] = field(default_factory=dict)
    grace_s: float = GRACE_S


def yardsticks(files: Iterable[Path]) -> dict[str, float]:
    """How much filament each file asks for in mm, by its sha256."""
    return {
        hashlib.sha256(file.read_bytes()).hexdigest(): expected_extrusion_mm(file) for file in files
    }


def gather(
    farm: DemoFarm,
    expected_mm: Mapping[str, float],
    faults: Sequence[Done],
    acts: Sequence[Act],
    promised: Mapping[str, int],
) -> Evidence:
    """Read what lies there; everything has to stand still by now. See `yardsticks`."""
    with sqlite3.connect(f"file:{farm.database}?mode=ro", uri=True) as connection:
        connection.row_factory = sqlite3.Row
        copies = _copies(connection, expected_mm)
        history = _history(connection)
        tries = _tries(connection, history)
    return Evidence(
        copies=copies,
        tries=tries,
        ledgers={name: printer.ledger() for name, printer in farm.printers.items()},
        faults=tuple(sorted(faults, key=lambda done: done.begun_at)),
        acts=tuple(acts),
        history=history,
        promised=dict(promised),
    )


def _copies(connection: sqlite3.Connection, expected_mm: Mapping[str, float]) -> tuple[Copy, ...]:
    rows = connection.execute(
        "SELECT copies.id, copies.job, jobs.policy, jobs.file_sha256"
        " FROM copies JOIN jobs ON jobs.id = copies.job ORDER BY jobs.created_at, copies.number"
    )
    return tuple(
        Copy(row["id"], row["job"], _rule(row["policy"]), expected_mm[row["file_sha256"]])
        for row in rows
    )


def _rule(policy_json: str) -> Rule:
    policy = json.loads(policy_json)
    if policy.get("offline_grace_s") is None:
        return Rule.NEVER
    return Rule.FENCE if policy.get("fence") else Rule.DEFAULT


def _tries(connection: sqlite3.Connection, history: Iterable[Line]) -> tuple[Try, ...]:
    lost_at: dict[str, tuple[float, ...]] = {}
    for line in history:
        if line.kind == "attempt_lost":
            lost_at[line.attempt] = (*lost_at.get(line.attempt, ()), line.at)
    return tuple(
        Try(
            row["id"], row["copy"], row["printer"], row["state"], row["outcome"],
            bool(row["accepted"]), row["take_back"], row["why_back"],
            row["message"], lost_at.get(row["id"], ()),
        )
        for row in connection.execute("SELECT * FROM attempts ORDER BY assigned_at")
    )  # fmt: skip


def _history(connection: sqlite3.Connection) -> tuple[Line, ...]:
    rows = connection.execute("SELECT * FROM history ORDER BY number")
    return tuple(
        Line(row["at"], row["kind"], row["copy"], row["attempt"], row["printer"], row["text"])
        for row in rows
    )
