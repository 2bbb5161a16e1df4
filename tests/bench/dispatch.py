"""dispatch: copies of one small file to as many idle printers; how long until the last one starts.

Owns what is counted as beginning and end: from just before POST /jobs to the moment in which the
component asks Klipper to start.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from demo.waiting import until
from tests.bench.agents import Agents
from tests.bench.coordinator import CoordinatorProcess
from tests.bench.figures import fixed, result
from tests.bench.gcode import write_gcode

BAR_S = 3.0
BEST_RIVAL_S = 12.15
STARTS_MAX_S = 120.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What this bench can be told."""
    parser.add_argument("--printers", type=int, default=50)
    parser.add_argument("--size-mb", type=float, default=1.0)


async def run(args: argparse.Namespace) -> str:
    """Measure; return the result's line."""
    printers: int = args.printers
    with tempfile.TemporaryDirectory(prefix="moonfleet-bench-") as name:
        folder = Path(name)
        async with CoordinatorProcess(folder / "coordinator") as coordinator:
            file = folder / "bench.gcode"
            size_bytes = write_gcode(file, args.size_mb)
            print(f"{printers} agents join, then {size_bytes} bytes to each", flush=True)
            async with Agents(coordinator, folder / "hosts", printers) as agents:
                sha256 = await coordinator.upload(file)
                begin_s = time.monotonic()
                await coordinator.post("/jobs", {"file": sha256, "copies": printers})
                answered_s = time.monotonic() - begin_s

                def started() -> bool:
                    return len(agents.starts_s()) >= printers

                await until("every printer starts", started, STARTS_MAX_S)
                starts_s = [at_s - begin_s for at_s in agents.starts_s()]
    middle_s = starts_s[len(starts_s) // 2]
    print(f"POST /jobs answered after {answered_s:.3f} s; the middle start was at {middle_s:.3f} s")
    return result(
        "dispatch",
        {"last_start_s": starts_s[-1], "first_start_s": starts_s[0]},
        fixed("last_start_s below", BAR_S),
        fixed("last_start_s of the best rival measured", BEST_RIVAL_S),
    )
