"""Step arithmetic, homing and the clock, with a clock that only the test moves."""

from dataclasses import dataclass, field

import pytest

from demo.mcu.clock import FREQ_HZ, Clock, nearest64
from demo.mcu.motion import Endstop, Segment, Stepper, Trsync


class RawClock:
    """Stands for CLOCK_MONOTONIC_RAW."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@dataclass
class FakeBoard:
    """A board without protocol: it notes what devices say."""

    raw: RawClock = field(default_factory=RawClock)
    strict: bool = False
    slack_ticks: int = 0
    sent: list[tuple[str, tuple[int | bytes, ...]]] = field(default_factory=list)
    shutdowns: list[str] = field(default_factory=list)
    late: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.clock = Clock(1.0, self.raw)

    def send(self, name: str, *values: int | bytes) -> None:
        self.sent.append((name, values))

    def shutdown(self, reason: str) -> None:
        self.shutdowns.append(reason)

    def note_late_steps(self, late_s: float) -> None:
        self.late.append(late_s)

    def pass_s(self, seconds: float) -> None:
        self.raw.now_s += seconds
        self.clock.run_due()


@pytest.fixture
def board() -> FakeBoard:
    return FakeBoard()


@pytest.mark.parametrize("add", [-3, 0, 7])
def test_a_segment_counts_as_single_steps_would(add: int) -> None:
    segment = Segment(start=1000, interval=200, count=25, add=add, direction=1)
    clocks = []
    clock, interval = 1000, 200
    for _ in range(25):  # the rule of the firmware: step, then lengthen the interval
        clock += interval
        interval += add
        clocks.append(clock)
    assert [segment.step_clock(step) for step in range(1, 26)] == clocks
    assert segment.end == clocks[-1]
    for moment in range(900, segment.end + 50, 13):
        assert segment.steps_by(moment) == sum(clock <= moment for clock in clocks)


def test_segments_follow_each_other_and_directions_add_up(board: FakeBoard) -> None:
    stepper = Stepper(board)
    stepper.reset_clock(FREQ_HZ)
    stepper.direction = 1
    stepper.queue(1000, 100, 0)
    stepper.direction = 0
    stepper.queue(1000, 30, 0)
    assert stepper.position(FREQ_HZ + 50_500) == 50
    assert stepper.position(FREQ_HZ + 110_000) == 90
    board.pass_s(2)
    assert stepper.position(board.clock.now()) == 70


def test_each_finished_segment_is_told_with_its_end(board: FakeBoard) -> None:
    told: list[tuple[int, int]] = []
    stepper = Stepper(board, lambda clock, position: told.append((clock, position)))
    stepper.reset_clock(1000)
    stepper.direction = 1
    stepper.queue(100, 5, 0)
    stepper.direction = 0
    stepper.queue(100, 2, 0)
    board.pass_s(1)
    stepper.position(board.clock.now())
    assert told == [(1500, 5), (1700, 3)]


def test_a_first_interval_after_long_idling_reaches_to_the_near_future(board: FakeBoard) -> None:
    board.pass_s(700)  # more than 2**32 ticks, so that the wire's clock has wrapped
    stepper = Stepper(board)
    stepper.direction = 1
    due = board.clock.now() + 5000
    stepper.queue(due & 0xFFFFFFFF, 1, 0)
    assert stepper.position(due - 1) == 0
    assert stepper.position(due) == 1
    assert board.late == []


def test_late_steps_are_noted_and_fatal_only_when_strict(board: FakeBoard) -> None:
    board.pass_s(1)
    stepper = Stepper(board)
    stepper.reset_clock(100)
    stepper.queue(100, 1, 0)
    assert board.late == [pytest.approx(1, abs=1e-4)]
    assert board.shutdowns == []
    board.strict = True
    late = Stepper(board)
    late.reset_clock(100)
    late.queue(100, 1, 0)
    assert board.shutdowns == ["Timer too close"]


def test_after_a_stop_leftovers_are_ignored_until_the_clock_is_reset(board: FakeBoard) -> None:
    stepper = Stepper(board)
    stepper.reset_clock(0)
    stepper.direction = 1
    stepper.queue(1000, 1000, 0)
    stepper.stop(500_500)
    stepper.queue(1000, 1000, 0)
    board.pass_s(1)
    assert stepper.position(board.clock.now()) == 500
    stepper.reset_clock(board.clock.now())
    stepper.direction = 1
    stepper.queue(1000, 10, 0)
    board.pass_s(1)
    assert stepper.position(board.clock.now()) == 510


def test_homing_stops_at_the_nominal_time_of_the_sample(board: FakeBoard) -> None:
    stepper, trsync = Stepper(board), Trsync(board, 5)
    switch_at = 8 * FREQ_HZ // 1000  # closes between two samples
    endstop = Endstop(board, 6, lambda clock: clock >= switch_at)
    stepper.reset_clock(0)
    stepper.direction = 1
    stepper.queue(FREQ_HZ // 1000, 1000, 0)
    trsync.start(0, 0, 4)
    trsync.add(stepper)
    endstop.home(FREQ_HZ // 2000, 4, FREQ_HZ // 1000, 1, trsync, 1)
    board.pass_s(0.5)  # a loop that comes much too late
    assert stepper.position(board.clock.now()) == 8
    states = [values for name, values in board.sent if name == "trsync_state"]
    assert states == [(5, 0, 1, FREQ_HZ * 17 // 2000)]


def test_a_strict_trsync_gives_up_when_the_host_falls_silent(board: FakeBoard) -> None:
    board.strict = True
    trsync = Trsync(board, 1)
    trsync.start(0, 0, 4)
    trsync.set_timeout(FREQ_HZ // 4)
    board.pass_s(0.3)
    assert [values[1:3] for _, values in board.sent] == [(0, 4)]


@pytest.mark.parametrize("now", [0, 2**31, 2**32 - 1, 2**32, 7 * 2**32 + 12345])
@pytest.mark.parametrize("offset", [-(2**31) + 1, -1, 0, 1, 2**31 - 1])
def test_a_clock_of_32_bits_becomes_the_nearest_of_64(now: int, offset: int) -> None:
    assert nearest64((now + offset) % 2**32, now) == now + offset


def test_timers_run_in_order_and_not_after_being_cancelled() -> None:
    raw = RawClock()
    clock = Clock(1.0, raw)
    ran: list[int] = []
    clock.at(300, ran.append)
    clock.at(100, ran.append)
    clock.at(200, ran.append).cancel()
    raw.now_s += 1
    clock.run_due()
    assert ran == [100, 300]
    assert clock.done == clock.now()


def test_simulated_time_goes_on_over_a_reboot() -> None:
    raw = RawClock()
    clock = Clock(10.0, raw)
    raw.now_s += 3
    clock.reboot()
    raw.now_s += 1
    assert clock.now() == 10 * FREQ_HZ
    assert clock.sim_s(clock.now()) == pytest.approx(40)
