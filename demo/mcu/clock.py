"""Ticks and timers of the virtual micro-controller.

Owns the 64-bit tick counter, its 32-bit form on the wire, and the heap of timers. Knows nothing
of what the timers do. Time comes from CLOCK_MONOTONIC_RAW times `speed`, as the host's does
under fasttime.c, so that both run equally fast.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable
from dataclasses import dataclass, field

FREQ_HZ = 16_000_000
"""CLOCK_FREQ: ticks per simulated second, the figure of an AVR board."""

_WRAP = 1 << 32


def nearest64(clock32: int, now64: int) -> int:
    """Extend a 32-bit clock from the wire to the 64-bit clock nearest to `now64`."""
    return now64 + ((clock32 - now64 + _WRAP // 2) % _WRAP) - _WRAP // 2


@dataclass(order=True)
class Timer:
    """One callback at one clock; cancelled by `cancel`, never by removal from the heap."""

    clock: int
    order: int
    callback: Callable[[int], None] | None = field(compare=False)

    def cancel(self) -> None:
        """Make sure that the callback does not run any more."""
        self.callback = None


class Clock:
    """The tick counter with its timers; `now` may be replaced by tests."""

    def __init__(self, speed: float, raw_s: Callable[[], float] | None = None) -> None:
        if speed <= 0:
            raise ValueError(f"speed {speed}: must be above 0")
        self.speed = speed
        self._raw_s = raw_s or (lambda: time.clock_gettime(time.CLOCK_MONOTONIC_RAW))
        self._zero_s = self._raw_s()
        self._boot_zero_s = self._zero_s
        self._timers: list[Timer] = []
        self._order = 0
        self.done = 0
        """Timers have run up to this clock; nothing before it may still change."""

    def now(self) -> int:
        """Ticks since the last reboot."""
        return int((self._raw_s() - self._zero_s) * self.speed * FREQ_HZ)

    def sim_s(self, clock: int) -> float:
        """Simulated seconds since this process started, unbroken by reboots."""
        return (self._zero_s - self._boot_zero_s) * self.speed + clock / FREQ_HZ

    def extend(self, clock32: int) -> int:
        """A clock from the wire as a 64-bit clock."""
        return nearest64(clock32, self.now())

    def reboot(self) -> None:
        """Start counting at zero and forget all timers."""
        self._zero_s = self._raw_s()
        self.done = 0
        self.forget()

    def forget(self) -> None:
        """Cancel every timer."""
        for timer in self._timers:
            timer.cancel()
        self._timers = []

    def at(self, clock: int, callback: Callable[[int], None]) -> Timer:
        """Run `callback(clock)` once `clock` has come; it is told its nominal time, not now."""
        self._order += 1
        timer = Timer(clock, self._order, callback)
        heapq.heappush(self._timers, timer)
        return timer

    def wait_s(self, longest_s: float) -> float:
        """Real seconds until the next timer is due, within 0 .. longest_s."""
        while self._timers and self._timers[0].callback is None:
            heapq.heappop(self._timers)
        if not self._timers:
            return longest_s
        ticks = self._timers[0].clock - self.now()
        return min(longest_s, max(0.0, ticks / FREQ_HZ / self.speed))

    def run_due(self) -> None:
        """Run every timer that is due by now, in order of its clock."""
        now = self.now()
        while self._timers and self._timers[0].clock <= now:
            timer = heapq.heappop(self._timers)
            # A timer set in the past must not move `done` back behind what is settled.
            self.done = max(self.done, timer.clock)
            if timer.callback is not None:
                timer.callback(timer.clock)
        # A reboot within a timer starts at zero: `now` is then of the life before.
        self.done = max(self.done, min(now, self.now()))
