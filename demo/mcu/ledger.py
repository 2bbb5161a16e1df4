"""The ledger: what was physically extruded, start by start, whatever anybody else claims.

Owns the file format (append-only, one JSON object per line, written with one os.write each) and
its reading. The writer runs inside the virtual micro-controller; demo, e2e and chaos read. It
must not know Klipper, Moonraker or the coordinator.

Kinds of lines (all carry `kind`, `wall_s` (Unix time), `sim_s` (simulated seconds since the
micro-controller's process started)):

    boot     {speed}                    the process started; what was open before was cut off
    begin    {start, path}              a file began; `start` is an id that is never reused
    extruded {start, path, mm, on_bed}  plastic since the last such line, mm of filament
    dirty    {start, path, part, part_path}   it began to extrude onto another print's part
    pause    {start}    resume {start}
    end      {start, outcome}           complete, cancelled, error, shutdown, reset, superseded
    clear    {by}                       the part left the bed: "person" or "ejector"
    eject_failed {}                     the ejector moved and the part stayed
    fault    {fault, ...}               a fault was switched, see demo.mcu.faults
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

CUT_OFF = "cut_off"
"""The outcome of a start that the ledger does not see the end of: power or process died."""


class LedgerError(Exception):
    """The ledger's file is not a ledger."""


class LedgerWriter:
    """Appends lines; each is on its way to the disk before `write` returns.

    os.write without a buffer: a SIGKILL of this process loses nothing that was written.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        self._drop_torn_line()

    def _drop_torn_line(self) -> None:
        size = os.fstat(self._file).st_size
        tail = os.pread(self._file, min(size, 4096), max(0, size - 4096))
        if tail and not tail.endswith(b"\n"):
            os.ftruncate(self._file, size - len(tail) + tail.rfind(b"\n") + 1)

    def write(self, kind: str, sim_s: float, fields: Mapping[str, object]) -> None:
        """Append one line."""
        line = {"kind": kind, "wall_s": round(time.time(), 3), "sim_s": round(sim_s, 3), **fields}
        data = (json.dumps(line, separators=(",", ":")) + "\n").encode()
        written = os.write(self._file, data)
        if written != len(data):
            raise LedgerError(f"only {written} of {len(data)} bytes written: is the disk full?")

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


@dataclass(frozen=True)
class Start:
    """One start of one file, as it physically went."""

    start: str
    path: str
    begun_wall_s: float
    begun_sim_s: float
    extruded_mm: float = 0.0
    pauses: int = 0
    outcome: str | None = None
    """None while it goes on; else an outcome of an `end` line, or `CUT_OFF`."""
    ended_wall_s: float | None = None
    ended_sim_s: float | None = None
    dirty_on: str | None = None
    """The path of the part that lay on the bed when it began to extrude."""


@dataclass(frozen=True)
class PathTotal:
    """All starts of one path together."""

    path: str
    extruded_mm: float
    begins: int
    ends: int
    completed: int
    dirty: int


@dataclass(frozen=True)
class PartOnBed:
    """What lies on the bed: `start` is "" for plastic that no file extruded."""

    start: str
    path: str
    mm: float


@dataclass(frozen=True)
class Ledger:
    """A ledger that was read, in the order of its file."""

    starts: tuple[Start, ...] = ()
    part: PartOnBed | None = None
    stray_mm: float = 0.0
    """Extruded while no file ran: by hand, or in a pause."""
    clears: int = 0
    failed_ejections: int = 0
    faults: tuple[Mapping[str, object], ...] = field(default=())

    @property
    def dirty_starts(self) -> tuple[Start, ...]:
        """Starts that extruded onto another print's part."""
        return tuple(start for start in self.starts if start.dirty_on is not None)

    @property
    def open(self) -> Start | None:
        """The start that has not ended, if any (only the last one can be)."""
        return self.starts[-1] if self.starts and self.starts[-1].outcome is None else None

    @property
    def totals(self) -> dict[str, PathTotal]:
        """Sums per path."""
        sums: dict[str, PathTotal] = {}
        for start in self.starts:
            so_far = sums.get(start.path, PathTotal(start.path, 0.0, 0, 0, 0, 0))
            sums[start.path] = PathTotal(
                start.path,
                so_far.extruded_mm + start.extruded_mm,
                so_far.begins + 1,
                so_far.ends + (start.outcome is not None),
                so_far.completed + (start.outcome == "complete"),
                so_far.dirty + (start.dirty_on is not None),
            )
        return sums

    def finished(self, path: str, expected_mm: float, tolerance: float = 0.02) -> int:
        """How many starts of `path` are finished prints: see `is_finished`."""
        return sum(
            start.path == path and is_finished(start, expected_mm, tolerance)
            for start in self.starts
        )


def is_finished(start: Start, expected_mm: float, tolerance: float = 0.02) -> bool:
    """What a finished print means physically: its file was carried out to the end, and the
    filament that came out is what the file asks for (`demo.extrusion.expected_extrusion_mm`),
    within `tolerance` (a share; step rounding is far below it, one lost layer above).
    """
    if start.outcome != "complete":
        return False
    return abs(start.extruded_mm - expected_mm) <= tolerance * expected_mm


class _Reader:
    """Folds lines into a Ledger."""

    def __init__(self) -> None:
        self.starts: dict[str, Start] = {}
        self.part: PartOnBed | None = None
        self.stray_mm = 0.0
        self.clears = 0
        self.failed_ejections = 0
        self.faults: list[Mapping[str, object]] = []

    def take(self, line: Mapping[str, object]) -> None:
        kind, wall_s, sim_s = str(line["kind"]), _number(line, "wall_s"), _number(line, "sim_s")
        start_id = str(line.get("start", ""))
        if kind == "boot":
            for start in self.starts.values():
                if start.outcome is None:
                    self.starts[start.start] = replace(start, outcome=CUT_OFF)
        elif kind == "begin":
            self.starts[start_id] = Start(start_id, str(line["path"]), wall_s, sim_s)
        elif kind == "extruded":
            self._extruded(line, start_id)
        elif kind == "clear":
            self.part, self.clears = None, self.clears + 1
        elif kind == "eject_failed":
            self.failed_ejections += 1
        elif kind == "fault":
            self.faults.append(line)
        elif kind in ("pause", "resume", "end", "dirty"):
            self._about(kind, line, self.starts[start_id], wall_s, sim_s)
        else:
            raise LedgerError(f"kind {kind!r} is none of this ledger's")

    def _extruded(self, line: Mapping[str, object], start_id: str) -> None:
        mm, on_bed_mm = _number(line, "mm"), _number(line, "on_bed")
        if start_id:
            start = self.starts[start_id]
            self.starts[start_id] = replace(start, extruded_mm=start.extruded_mm + mm)
        else:
            self.stray_mm += mm
        if on_bed_mm > 0:
            part = self.part or PartOnBed(start_id, str(line["path"]), 0.0)
            self.part = replace(part, mm=part.mm + on_bed_mm)

    def _about(
        self, kind: str, line: Mapping[str, object], start: Start, wall_s: float, sim_s: float
    ) -> None:
        if kind == "pause":
            start = replace(start, pauses=start.pauses + 1)
        elif kind == "dirty":
            start = replace(start, dirty_on=str(line["part_path"]))
        elif kind == "end":
            start = replace(
                start, outcome=str(line["outcome"]), ended_wall_s=wall_s, ended_sim_s=sim_s
            )
        self.starts[start.start] = start


def _number(line: Mapping[str, object], name: str) -> float:
    value = line[name]
    if not isinstance(value, int | float):
        raise LedgerError(f"{name} is {value!r}: a number is wanted")
    return float(value)


def read_ledger(path: Path | str) -> Ledger:
    """Read a ledger; one that does not exist yet is empty.

    A last line without its end is being written (or was cut by a SIGKILL) and is left out.
    Raises LedgerError, naming the line, for anything else that does not fit.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        return Ledger()
    reader = _Reader()
    complete, _, _ = text.rpartition("\n")
    for number, raw in enumerate(complete.splitlines(), start=1):
        try:
            reader.take(json.loads(raw))
        except (ValueError, KeyError, TypeError, LedgerError) as error:
            raise LedgerError(f"{path}, line {number}: {error!r}") from error
    return Ledger(
        starts=tuple(reader.starts.values()),
        part=reader.part,
        stray_mm=reader.stray_mm,
        clears=reader.clears,
        failed_ejections=reader.failed_ejections,
        faults=tuple(reader.faults),
    )
