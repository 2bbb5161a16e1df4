"""start: from `python -m coordinator serve` to the first HTTP 200, on a new and on an old folder.

Owns what is counted as beginning and end: from just before the process is made to the answer of
the page that anybody may see. The embedded Mosquitto is started on the way.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from tests.bench.coordinator import CoordinatorProcess
from tests.bench.figures import fixed, result, spread

BAR_S = 1.0
RIVALS_S = {"faster rival measured": 0.3, "slower rival measured": 1.9}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What this bench can be told."""
    parser.add_argument("--runs", type=int, default=5)


async def run(args: argparse.Namespace) -> str:
    """Measure; return the result's line: the worse of both folders, each by its median run."""
    fresh_s: list[float] = []
    existing_s: list[float] = []
    for _ in range(args.runs):
        with tempfile.TemporaryDirectory(prefix="moonfleet-bench-") as name:
            fresh_s.append(await _first_200_s(Path(name)))
            existing_s.append(await _first_200_s(Path(name)))
    print(f"new folder, s:      {spread(fresh_s)}")
    print(f"existing folder, s: {spread(existing_s)}")
    return result(
        "start",
        {"first_200_s": max(statistics.median(fresh_s), statistics.median(existing_s))},
        fixed("first_200_s below", BAR_S),
        *(fixed(f"first_200_s of the {who}", value_s) for who, value_s in RIVALS_S.items()),
    )


async def _first_200_s(folder: Path) -> float:
    begin_s = time.monotonic()
    async with CoordinatorProcess(folder):
        return time.monotonic() - begin_s
