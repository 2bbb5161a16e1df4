"""Devices that move: steppers, endstops and the trigger that stops the one by the other.

Owns step arithmetic and homing. Steps are never simulated singly: a queued segment is an
arithmetic series, asked by bisection. Knows neither frames nor what the motors move.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from .clock import FREQ_HZ, Clock, Timer


class Board(Protocol):
    """What a device needs of the micro-controller that it sits on."""

    clock: Clock
    strict: bool
    slack_ticks: int

    def send(self, name: str, *values: int | bytes) -> None:
        """Queue a response for the host."""

    def shutdown(self, reason: str) -> None:
        """Stop everything, as the firmware does after a fatal condition."""

    def note_late_steps(self, late_s: float) -> None:
        """Steps arrived after their time."""


@dataclass(frozen=True)
class Segment:
    """`count` steps in one direction; step i (from 1) is at
    start + i * interval + add * i * (i - 1) / 2 (all in ticks).
    """

    start: int
    interval: int
    count: int
    add: int
    direction: int

    def step_clock(self, step: int) -> int:
        """The clock of one step."""
        return self.start + self.interval * step + self.add * step * (step - 1) // 2

    @property
    def end(self) -> int:
        """The clock of the last step."""
        return self.step_clock(self.count)

    def steps_by(self, clock: int) -> int:
        """How many of its steps have happened by `clock`."""
        low, high = 0, self.count
        while low < high:
            middle = (low + high + 1) // 2
            if self.step_clock(middle) <= clock:
                low = middle
            else:
                high = middle - 1
        return low


class Stepper:
    """One stepper motor driver. `on_moved(clock, position)` is told the end of each segment."""

    def __init__(self, board: Board, on_moved: Callable[[int, int], None] | None = None) -> None:
        self._board = board
        self._on_moved = on_moved
        self._segments: deque[Segment] = deque()
        self._position = 0
        self._next_start = 0
        self._needs_reset = False
        self.direction = 0

    def queue(self, interval: int, count: int, add: int) -> None:
        """`queue_step`: append a segment behind the last one."""
        if self._needs_reset:  # an endstop stopped it: these are leftovers of the host's queue
            return
        clock = self._board.clock
        # Not up to "now": an endstop sample that is due may still stop this motor before.
        self._settle(clock.done)
        start = self._next_start
        if not self._segments:
            # After idling the first interval reaches from a clock long ago to the near future,
            # counted modulo 2**32.
            first = clock.extend(start + interval)
            start = first - interval
            late_s = (clock.now() - first) / FREQ_HZ
            if late_s > 0:
                self._board.note_late_steps(late_s)
                if self._board.strict:
                    self._board.shutdown("Timer too close")
                    return
        segment = Segment(start, interval, count, add, 1 if self.direction else -1)
        self._segments.append(segment)
        self._next_start = segment.end

    def reset_clock(self, clock: int) -> None:
        """`reset_step_clock`: the next segment starts at `clock`; ends the state after a stop."""
        self._next_start, self._needs_reset = clock, False

    def _settle(self, clock: int) -> None:
        while self._segments and self._segments[0].end <= clock:
            segment = self._segments.popleft()
            self._position += segment.count * segment.direction
            if self._on_moved:
                self._on_moved(segment.end, self._position)

    def position(self, clock: int) -> int:
        """Signed steps since it was configured, as of `clock`."""
        self._settle(min(clock, self._board.clock.done))
        position = self._position
        for segment in self._segments:
            steps = segment.steps_by(clock)
            position += steps * segment.direction
            if steps < segment.count:
                break
        return position

    def stop(self, clock: int) -> None:
        """Halt at once and ignore what was queued until `reset_clock`."""
        position = self.position(clock)
        self._segments.clear()
        self._position = position
        self._needs_reset, self.direction = True, 0
        if self._on_moved:
            self._on_moved(clock, position)


class Trsync:
    """Stops its steppers when an endstop fires, the host asks, or the host falls silent."""

    def __init__(self, board: Board, oid: int) -> None:
        self._board, self._oid = board, oid
        self._report: Timer | None = None
        self._expire: Timer | None = None
        self._report_ticks = 0
        self._expire_reason = 0
        self._armed = False
        self._reason = 0
        self._steppers: list[Stepper] = []

    def add(self, stepper: Stepper) -> None:
        """`stepper_stop_on_trigger`."""
        self._steppers.append(stepper)

    def start(self, report_clock: int, report_ticks: int, expire_reason: int) -> None:
        """Arm it; report the state every `report_ticks`."""
        self._cancel_timers()
        self._armed, self._reason, self._steppers = True, 0, []
        self._report_ticks, self._expire_reason = report_ticks, expire_reason
        if report_ticks:
            self._report = self._board.clock.at(report_clock, self._report_due)

    def set_timeout(self, clock: int) -> None:
        """Fire at `clock` unless this is called again before (enforced only when strict)."""
        if self._armed and self._board.strict:
            if self._expire:
                self._expire.cancel()
            self._expire = self._board.clock.at(
                clock, lambda due: self.trigger(due, self._expire_reason)
            )

    def trigger(self, clock: int, reason: int) -> None:
        """Stop the steppers and tell the host, once."""
        if not self._armed:
            return
        self._armed, self._reason = False, reason
        for stepper in self._steppers:
            stepper.stop(clock)
        self._send(clock)

    def finish(self, reason: int) -> None:
        """`trsync_trigger`: the host ends it; answered in any case."""
        self.trigger(self._board.clock.now(), reason)
        self._cancel_timers()
        self._send(0)

    def disarm(self) -> None:
        """The micro-controller shut down."""
        self._armed = False

    def _cancel_timers(self) -> None:
        for timer in (self._report, self._expire):
            if timer:
                timer.cancel()

    def _report_due(self, clock: int) -> None:
        self._send(self._board.clock.now())
        self._report = self._board.clock.at(clock + self._report_ticks, self._report_due)

    def _send(self, clock: int) -> None:
        self._board.send("trsync_state", self._oid, int(self._armed), self._reason, clock)


class Endstop:
    """A switch that is sampled while homing; `closed(clock)` is the physical switch."""

    SHORTEST_REST = FREQ_HZ // 2000
    """A bound of the work per simulated second, finer than the host's usual 1 ms."""

    def __init__(self, board: Board, oid: int, closed: Callable[[int], bool]) -> None:
        self._board, self._oid, self._closed = board, oid, closed
        self._timer: Timer | None = None
        self._homing = False
        self._next_clock = 0
        self._rest_ticks = 0
        self._wanted = 0
        self._reason = 0
        self._trsync: Trsync | None = None

    def home(
        self, clock: int, count: int, rest_ticks: int, wanted: int, trsync: Trsync | None,
        reason: int,
    ) -> None:  # fmt: skip
        """`endstop_home`: sample from `clock` on until the switch reads `wanted`; count 0 ends."""
        if self._timer:
            self._timer.cancel()
        self._homing = count > 0
        if self._homing:
            self._rest_ticks, self._wanted = rest_ticks, wanted
            self._trsync, self._reason = trsync, reason
            self._timer = self._board.clock.at(clock, self._sample)

    def _sample(self, clock: int) -> None:
        # `clock` is the nominal time of the sample, so that a late loop does not move zero.
        if int(self._closed(clock)) == self._wanted:
            self._next_clock = clock + self._rest_ticks
            if self._trsync:
                self._trsync.trigger(clock, self._reason)
        else:
            rest = max(self._rest_ticks, self.SHORTEST_REST)
            self._timer = self._board.clock.at(clock + rest, self._sample)

    def report(self) -> None:
        """`endstop_query_state`."""
        value = int(self._closed(self._board.clock.now()))
        self._board.send("endstop_state", self._oid, int(self._homing), self._next_clock, value)
