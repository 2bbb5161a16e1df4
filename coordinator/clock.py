"""The coordinator's clock: the one place that reads the time and draws random ids.

Owns `SystemClock` and `fresh_ids`. Nothing below `core/` may import it.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator

from coordinator.core.farm import Now


class SystemClock:
    """CLOCK_BOOTTIME, which counts suspend, for decisions; the wall clock for people."""

    def now(self) -> Now:
        return Now(boot_s=time.clock_gettime(time.CLOCK_BOOTTIME), wall_s=time.time())


def fresh_ids() -> Iterator[str]:
    """Ids that are never reused: random, 128 bits, as attempt ids must be (rule 1)."""
    while True:
        yield uuid.uuid4().hex
