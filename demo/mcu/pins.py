"""Devices on single pins: timed outputs, analog inputs and buttons.

Owns their queues, watchdogs and reports. What a level does to the world is a callback.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from .clock import Timer
from .motion import Board

ADC_MAX = 4095
PWM_MAX = 255


def _cancel(timer: Timer | None) -> None:
    if timer:
        timer.cancel()


class Output:
    """A digital, soft-PWM or hardware-PWM pin with a queue of timed changes.

    `on_level(clock, level)` is told each level, 0 .. 1.
    """

    def __init__(
        self, board: Board, full_scale: int, default: int, max_duration: int,
        on_level: Callable[[int, float], None],
    ) -> None:  # fmt: skip
        self._board, self._default, self._max_duration = board, default, max_duration
        self._on_level = on_level
        self._queue: deque[tuple[int, int]] = deque()
        self._guard: Timer | None = None
        self.full_scale = full_scale

    def set(self, clock: int, value: int) -> None:
        """Change the level now."""
        self._on_level(clock, min(1.0, value / self.full_scale))
        _cancel(self._guard)
        if value != self._default and self._max_duration:
            limit = clock + self._max_duration + self._board.slack_ticks
            self._guard = self._board.clock.at(limit, self._expired)

    def push(self, clock: int, value: int) -> None:
        """Change the level at `clock`."""
        self._queue.append((clock, value))
        self._board.clock.at(clock, self._load)

    def release(self, clock: int) -> None:
        """Fall back to the safe level and forget the queue (shutdown)."""
        self._queue.clear()
        self.set(clock, self._default)

    def _load(self, clock: int) -> None:
        if self._queue:
            self.set(clock, self._queue.popleft()[1])

    def _expired(self, clock: int) -> None:
        # The firmware's own safety net: a heater must be renewed every max_duration.
        if not self._queue:
            self._board.shutdown("Missed scheduling of next digital out event")


class AnalogIn:
    """An analog input; `ratio(clock)` is the physical voltage, 0 .. 1 of full scale."""

    def __init__(self, board: Board, oid: int, ratio: Callable[[int], float]) -> None:
        self._board, self._oid, self._ratio = board, oid, ratio
        self._timer: Timer | None = None
        self._samples = 0
        self._rest_ticks = 0
        self._lowest, self._highest = 0, 0
        self._bad, self._bad_allowed = 0, 0

    def query(
        self, clock: int, samples: int, rest_ticks: int, lowest: int, highest: int, bad_allowed: int
    ) -> None:
        """`query_analog_in`: report the sum of `samples` every `rest_ticks`; 0 samples ends."""
        self._samples, self._rest_ticks = samples, rest_ticks
        self._lowest, self._highest, self._bad_allowed = lowest, highest, bad_allowed
        _cancel(self._timer)
        if samples:
            self._timer = self._board.clock.at(clock, self._sample)

    def keep_reporting(self, clock: int) -> None:
        """After a shutdown: go on without the range check, as the firmware does."""
        self._bad_allowed = 0
        if self._samples:
            self._timer = self._board.clock.at(clock + self._rest_ticks, self._sample)

    def _sample(self, clock: int) -> None:
        value = int(self._ratio(clock) * ADC_MAX * self._samples)
        self._bad = 0 if self._lowest <= value <= self._highest else self._bad + 1
        if self._bad_allowed and self._bad >= self._bad_allowed:
            self._board.shutdown("ADC out of range")
            return
        following = clock + self._rest_ticks
        self._board.send("analog_in_state", self._oid, following, value)
        self._timer = self._board.clock.at(following, self._sample)


class Buttons:
    """Up to 8 inputs, reported on change and again until the host acknowledges.

    Repeating matters: the host drops reports that arrive before its start-up is complete.
    """

    HISTORY = 8

    def __init__(self, board: Board, oid: int, count: int, level: Callable[[str], bool]) -> None:
        self._board, self._oid, self._level = board, oid, level
        self._pins = [""] * count
        self._timer: Timer | None = None
        self._last = 0
        self._acked = 0
        self._pending = b""
        self._repeat_ticks = 0
        self._active = False

    def wire(self, index: int, pin: str) -> None:
        """`buttons_add`."""
        self._pins[index] = pin

    def query(self, clock: int, rest_ticks: int, retransmit: int, invert: int) -> None:
        """`buttons_query`: start reporting; `invert` is the state that the host takes as known."""
        self._last, self._acked, self._pending = invert, 0, b""
        self._repeat_ticks = rest_ticks * retransmit
        self._active = rest_ticks > 0
        _cancel(self._timer)
        if self._active:
            self._timer = self._board.clock.at(clock, self.check)

    def check(self, clock: int) -> None:
        """Look at the inputs; called when one of them may have changed."""
        state = sum(self._level(pin) << index for index, pin in enumerate(self._pins))
        if self._active and state != self._last:
            self._last = state
            self._pending = (self._pending + bytes([state]))[-self.HISTORY :]
            self._report(clock)

    def ack(self, count: int) -> None:
        """`buttons_ack`: the host has taken this many states."""
        self._acked += count
        self._pending = self._pending[count:]

    def _report(self, clock: int) -> None:
        _cancel(self._timer)
        if self._pending:
            self._board.send("buttons_state", self._oid, self._acked & 0xFF, self._pending)
            self._timer = self._board.clock.at(clock + self._repeat_ticks, self._report)


def release_all(devices: Sequence[object], clock: int) -> None:
    """What a shutdown does to pins: outputs fall back, sensors go on reporting."""
    for device in devices:
        if isinstance(device, Output):
            device.release(clock)
        elif isinstance(device, AnalogIn):
            device.keep_reporting(clock)
