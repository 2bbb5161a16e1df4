"""Words that the stories of these tests are told in.

Owns shortcuts over DemoFarm; it judges nothing.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from demo.extrusion import expected_extrusion_mm
from demo.farm import DemoFarm
from demo.processes import pids_of
from demo.verdict import Verdict, judge

GCODE = Path(__file__).parents[2] / "demo" / "gcode"
TILE = GCODE / "tile_pla.gcode"
BOX = GCODE / "box5_pla.gcode"
"""Long enough for mishaps in mid-print: 35 s at 15 times real time."""
DEADLINE_S = 240.0

Attempt = dict[str, Any]


def state(*wanted: str) -> Callable[[Attempt], bool]:
    """Whether an attempt is in one of these states."""
    return lambda attempt: attempt["state"] in wanted


def phase(*wanted: str) -> Callable[[Attempt], bool]:
    """Whether its host says one of these phases of it."""
    return lambda attempt: attempt.get("phase") in wanted


async def completed(farm: DemoFarm, job: str, deadline_s: float = DEADLINE_S) -> None:
    """Wait for the job's completion; a held job fails at once, with its reason."""

    async def is_completed() -> bool:
        seen = (await farm.job(job))["job"]
        assert seen["state"] != "held", seen["reason"]
        return bool(seen["state"] == "completed")

    await farm.until(is_completed, f"job {job} to be completed", deadline_s, 0.3)


async def verdict(farm: DemoFarm, job: str, file: Path) -> Verdict:
    """Judge a job when nothing moves any more: "complete" comes before the last moves."""

    async def at_rest() -> bool:
        alive = [p for p in farm.printers.values() if p.mcu.running]
        return all(printer.ledger().open is None for printer in alive)

    await farm.until(at_rest, "the last moves", DEADLINE_S)
    ledgers = [printer.ledger() for printer in farm.printers.values()]
    return judge(farm.database, ledgers, job, expected_extrusion_mm(file))


def kill_broker(farm: DemoFarm) -> None:
    """SIGKILL to the embedded Mosquitto of the farm's coordinator, and to nothing else."""
    pids = pids_of("mosquitto", str(farm.data_dir / "broker"))
    assert len(pids) == 1, pids
    os.kill(pids[0], signal.SIGKILL)
