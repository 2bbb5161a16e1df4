"""The clock that a lease is measured by.

Owns the choice of the clock. Must not know what is measured.
"""

from __future__ import annotations

import time
from typing import Callable


def boottime_s(read: Callable[[int], float] = time.clock_gettime) -> float:
    """CLOCK_BOOTTIME in seconds: it counts suspend, so that no lease outlives a sleep.

    `read`: time.clock_gettime, or a simulated computer's.
    """
    return read(time.CLOCK_BOOTTIME)
