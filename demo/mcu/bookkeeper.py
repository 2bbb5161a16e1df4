"""The bookkeeper: sees plastic, files and the bed, and writes the ledger.

Owns which file the plastic is charged to. It believes only what moves: Klipper's word (by the
demo's Klipper section) is used for when a file begins, pauses and ends, never for how much.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from .clock import Clock
from .ledger import Ledger, LedgerWriter
from .physics import Part, Plant


@dataclass
class _Running:
    start: str
    path: str
    paused: bool = False
    dirty: bool = False


class Bookkeeper:
    """Charges what the nozzle extrudes; see demo.mcu.ledger for the lines."""

    def __init__(self, writer: LedgerWriter, plant: Plant, clock: Clock, before: Ledger) -> None:
        self._writer, self._plant, self._clock = writer, plant, clock
        self._running: _Running | None = None
        self._mm = self._on_bed_mm = 0.0
        if before.part:  # a power cut does not clean the bed
            plant.bed.part = Part(before.part.start, before.part.path, before.part.mm)
        self.write("boot", 0, speed=clock.speed)

    def write(self, kind: str, clock: int, **fields: object) -> None:
        """Append a line; `clock` becomes simulated seconds."""
        self._writer.write(kind, self._clock.sim_s(clock), fields)

    @property
    def running_path(self) -> str:
        """The file that runs or is paused, or ""."""
        return self._running.path if self._running else ""

    def begin(self, clock: int, path: str) -> None:
        """A file starts; one that was never ended was superseded by it."""
        self.end(clock, "superseded")
        self._running = _Running(secrets.token_hex(8), path)
        # Each file is judged by itself: what the last one drew back counts as primed again.
        filament = self._plant.filament
        filament.prime(filament.motor.mm(clock))
        self.write("begin", clock, start=self._running.start, path=path)

    def pause(self, clock: int) -> None:
        """The file is paused: what comes out until it resumes is not the file's."""
        if self._running and not self._running.paused:
            self.settle(clock)
            self._running.paused = True
            self.write("pause", clock, start=self._running.start)

    def resume(self, clock: int) -> None:
        """The file goes on."""
        if self._running and self._running.paused:
            self.settle(clock)
            self._running.paused = False
            self.write("resume", clock, start=self._running.start)

    def end(self, clock: int, outcome: str) -> None:
        """The file is over; without one this changes nothing, so that every witness may tell."""
        self.settle(clock)
        if self._running:
            self.write("end", clock, start=self._running.start, outcome=outcome)
            self._running = None

    def pushed(self, clock: int, position_mm: float) -> None:
        """The filament was moved to `position_mm`, in one direction, by `clock`."""
        plant = self._plant
        out_mm = plant.filament.push(position_mm)
        if out_mm <= 0:
            return
        self._mm += out_mm
        if not plant.carriage.over_bed(clock):
            return
        self._on_bed_mm += out_mm
        running = self._charged()
        owner, path = (running.start, running.path) if running else ("", "")
        bed_was_free = plant.bed.part is None
        part = plant.bed.add(out_mm, owner, path)
        if bed_was_free:
            self.flush(clock)  # at once: a kill within the next second must not unmake the part
        elif running and part.owner != running.start and not running.dirty:
            running.dirty = True
            self.write(
                "dirty", clock, start=running.start, path=running.path,
                part=part.owner, part_path=part.path,
            )  # fmt: skip

    def flush(self, clock: int) -> None:
        """Write down what was extruded since the last time."""
        # A flush within `pushed` must not look at the motor again: it is being settled.
        mm, on_bed_mm = self._mm, self._on_bed_mm
        if mm > 0:
            self._mm = self._on_bed_mm = 0.0
            running = self._charged()
            self.write(
                "extruded", clock,
                start=running.start if running else "", path=running.path if running else "",
                mm=round(mm, 4), on_bed=round(on_bed_mm, 4),
            )  # fmt: skip

    def settle(self, clock: int) -> None:
        """Take in all motion up to `clock`, also of a segment that is not over, and flush."""
        self.pushed(clock, self._plant.filament.motor.mm(clock))
        self.flush(clock)

    def cleared(self, clock: int, by: str) -> None:
        """The part left the bed."""
        self.flush(clock)
        self.write("clear", clock, by=by)

    def eject_failed(self, clock: int) -> None:
        """The ejector moved and the part stayed."""
        self.write("eject_failed", clock)

    def _charged(self) -> _Running | None:
        return self._running if self._running and not self._running.paused else None
