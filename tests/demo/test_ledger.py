"""The ledger: what the bookkeeper writes and what is read back from the disk."""

import json
from pathlib import Path

import pytest

from demo.mcu.bookkeeper import Bookkeeper
from demo.mcu.clock import FREQ_HZ, Clock
from demo.mcu.ledger import CUT_OFF, LedgerError, LedgerWriter, is_finished, read_ledger
from demo.mcu.physics import Plant
from demo.mcu.wiring import Machine


class Printer:
    """A bookkeeper over a plant whose filament the test pushes."""

    def __init__(self, path: Path) -> None:
        self.plant = Plant(Machine())
        self.clock = Clock(1.0, lambda: 0.0)
        self.books = Bookkeeper(LedgerWriter(path), self.plant, self.clock, read_ledger(path))
        self.plant.filament.motor.attach(self)
        self.mm = 0.0

    def position(self, clock: int) -> int:
        return round(self.mm * 500)

    def extrude(self, clock: int, mm: float) -> None:
        self.mm += mm
        self.books.pushed(clock, self.mm)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.jsonl"


def test_a_ledger_that_does_not_exist_is_empty(path: Path) -> None:
    assert read_ledger(path).starts == ()


def test_a_print_from_begin_to_end(path: Path) -> None:
    printer = Printer(path)
    printer.books.begin(FREQ_HZ, "a.gcode")
    printer.extrude(2 * FREQ_HZ, 10)
    printer.extrude(3 * FREQ_HZ, -2)
    printer.extrude(4 * FREQ_HZ, 7)
    printer.books.end(5 * FREQ_HZ, "complete")
    (start,) = read_ledger(path).starts
    assert (start.path, start.outcome, start.extruded_mm) == ("a.gcode", "complete", 15)
    assert (start.begun_sim_s, start.ended_sim_s) == (1, 5)
    assert is_finished(start, 15.2)
    assert not is_finished(start, 16)
    assert read_ledger(path).open is None


def test_an_early_end_is_no_finished_print(path: Path) -> None:
    printer = Printer(path)
    printer.books.begin(0, "a.gcode")
    printer.extrude(FREQ_HZ, 10)
    printer.books.end(FREQ_HZ, "cancelled")
    assert read_ledger(path).finished("a.gcode", 10) == 0


def test_a_file_that_begins_on_another_prints_part_is_dirty_once_it_extrudes(path: Path) -> None:
    printer = Printer(path)
    printer.books.begin(0, "a.gcode")
    printer.extrude(FREQ_HZ, 10)
    printer.books.end(FREQ_HZ, "complete")
    printer.books.begin(2 * FREQ_HZ, "b.gcode")
    assert read_ledger(path).dirty_starts == ()
    printer.extrude(3 * FREQ_HZ, 1)
    printer.extrude(4 * FREQ_HZ, 1)
    (dirty,) = read_ledger(path).dirty_starts
    assert (dirty.path, dirty.dirty_on) == ("b.gcode", "a.gcode")


def test_the_same_path_printed_twice_is_two_prints(path: Path) -> None:
    printer = Printer(path)
    for second in (0, 10):
        printer.books.begin(second * FREQ_HZ, "a.gcode")
        printer.extrude((second + 1) * FREQ_HZ, 10)
        printer.books.end((second + 2) * FREQ_HZ, "complete")
    total = read_ledger(path).totals["a.gcode"]
    assert (total.begins, total.completed, total.extruded_mm, total.dirty) == (2, 2, 20, 1)


def test_a_cleared_bed_makes_the_next_start_clean(path: Path) -> None:
    printer = Printer(path)
    printer.books.begin(0, "a.gcode")
    printer.extrude(FREQ_HZ, 10)
    printer.books.end(FREQ_HZ, "complete")
    part = read_ledger(path).part
    assert part is not None
    assert part.path == "a.gcode"
    printer.plant.bed.clear()
    printer.books.cleared(FREQ_HZ, "person")
    printer.books.begin(2 * FREQ_HZ, "b.gcode")
    printer.extrude(3 * FREQ_HZ, 1)
    ledger = read_ledger(path)
    assert ledger.dirty_starts == ()
    assert ledger.clears == 1


def test_what_comes_out_in_a_pause_is_not_the_files(path: Path) -> None:
    printer = Printer(path)
    printer.books.begin(0, "a.gcode")
    printer.extrude(FREQ_HZ, 10)
    printer.books.pause(2 * FREQ_HZ)
    printer.extrude(3 * FREQ_HZ, 4)
    printer.books.resume(4 * FREQ_HZ)
    printer.extrude(5 * FREQ_HZ, 1)
    printer.books.end(6 * FREQ_HZ, "complete")
    ledger = read_ledger(path)
    assert (ledger.starts[0].extruded_mm, ledger.stray_mm, ledger.starts[0].pauses) == (11, 4, 1)
    assert ledger.dirty_starts == ()


def test_plastic_beside_the_bed_puts_no_part_on_it(path: Path) -> None:
    printer = Printer(path)
    printer.plant.carriage.motors["x"].attach(Beside())
    printer.books.begin(0, "a.gcode")
    printer.extrude(FREQ_HZ, 10)
    printer.books.settle(FREQ_HZ)
    assert read_ledger(path).part is None
    assert read_ledger(path).starts[0].extruded_mm == 10


class Beside:
    """A motor source far to the left of the bed."""

    def position(self, clock: int) -> int:
        return -100_000


def test_a_power_cut_leaves_the_start_cut_off_and_the_part_on_the_bed(path: Path) -> None:
    printer = Printer(path)
    printer.books.begin(0, "a.gcode")
    printer.extrude(FREQ_HZ, 10)  # and the process is gone
    assert read_ledger(path).open is not None
    after = Printer(path)
    ledger = read_ledger(path)
    assert ledger.starts[0].outcome == CUT_OFF
    assert after.plant.bed.part is not None
    after.books.begin(0, "b.gcode")
    after.extrude(FREQ_HZ, 1)
    assert [start.path for start in read_ledger(path).dirty_starts] == ["b.gcode"]


def test_a_start_without_an_end_is_superseded_by_the_next(path: Path) -> None:
    printer = Printer(path)
    printer.books.begin(0, "a.gcode")
    printer.books.begin(FREQ_HZ, "b.gcode")
    assert [start.outcome for start in read_ledger(path).starts] == ["superseded", None]


def test_a_line_that_is_being_written_is_left_out_and_dropped_by_the_next_writer(
    path: Path,
) -> None:
    Printer(path).books.begin(0, "a.gcode")
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"kind":"end","wa')
    assert read_ledger(path).open is not None
    Printer(path)
    assert all(json.loads(line) for line in path.read_text().splitlines())


def test_a_broken_line_is_named(path: Path) -> None:
    Printer(path)
    with path.open("a") as file:
        file.write('{"kind":"boot"}\n{"kind":"miracle","wall_s":1,"sim_s":1}\n')
    with pytest.raises(LedgerError, match="line 2"):
        read_ledger(path)


def test_an_unknown_kind_is_refused(path: Path) -> None:
    path.write_text('{"kind":"miracle","wall_s":1,"sim_s":1}\n')
    with pytest.raises(LedgerError, match="miracle"):
        read_ledger(path)
