"""transfer: one large file to one host, beside plain curl of the same URL in the same run.

Owns what is counted: for the component from the order to the file's name below the gcodes root,
so download, sha256, hard link and hand-over; for curl from its start to its end. Rounds
alternate, and medians are compared.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import sqlite3
import statistics
import tempfile
import time
from contextlib import closing
from pathlib import Path

from coordinator.core.links import LinkKey, url_of
from coordinator.link_key import SETTING
from demo.waiting import until
from moonraker_component.files import HostFiles
from moonraker_component.wire import FileRef
from tests.bench.agents import Agents
from tests.bench.coordinator import BenchFailed, CoordinatorProcess
from tests.bench.figures import fixed, measured, result, spread
from tests.bench.gcode import write_gcode
from tests.component.mosquitto import find_program
from tests.component.stub_moonraker import StubServer

BAR_RATIO = 0.8
CURL_MAX_S = 120
QUOTA_MB = 4096
START_MAX_S = 300.0
LINK_S = 2000.0
"""Longer than any run, and not longer than the farm's own links live."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What this bench can be told."""
    parser.add_argument("--size-mb", type=float, default=100.0)
    parser.add_argument("--rounds", type=int, default=7)


async def run(args: argparse.Namespace) -> str:
    """Measure; return the result's line."""
    with tempfile.TemporaryDirectory(prefix="moonfleet-bench-") as name:
        folder = Path(name)
        async with CoordinatorProcess(folder / "coordinator") as coordinator:
            path = folder / "bench.gcode"
            size_bytes = write_gcode(path, args.size_mb)
            sha256 = await coordinator.upload(path)
            component_s: list[float] = []
            curl_s: list[float] = []
            # One host prints it, so that there is an attempt whose link holds.
            async with Agents(coordinator, folder / "hosts", 1) as agents:
                await coordinator.post("/jobs", {"file": sha256})
                await until("the print starts", agents.starts_s, START_MAX_S)
                attempt = (await coordinator.get("/attempts"))["attempts"][0]["id"]
                url = _link(folder / "coordinator" / "moonfleet.db", coordinator.base, attempt)
                file = FileRef("bench.gcode", sha256, size_bytes, url)
                print(f"{size_bytes} bytes, one round to warm up, {args.rounds} rounds", flush=True)
                for _ in range(args.rounds + 1):
                    curl_s.append(await _curl_s(file, folder / "round"))
                    component_s.append(await _component_s(file, folder / "round"))
    print(f"component, s: {spread(component_s[1:])}")
    print(f"curl, s:      {spread(curl_s[1:])}")
    mb = size_bytes / 1e6
    mb_s, curl_mb_s = (mb / statistics.median(found[1:]) for found in (component_s, curl_s))
    return result(
        "transfer",
        {"ratio_to_curl": mb_s / curl_mb_s, "mb_s": mb_s, "curl_mb_s": curl_mb_s},
        measured("curl -o of the same URL, MB/s", curl_mb_s),
        fixed("ratio_to_curl at least", BAR_RATIO),
    )


def _link(database: Path, base: str, attempt: str) -> str:
    """The signed link to a live attempt's file, as its host is told it."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        wanted = "SELECT value FROM settings WHERE key = ?"
        (text,) = connection.execute(wanted, (SETTING,)).fetchone()
    key = LinkKey(bytes.fromhex(json.loads(text)))
    ends_at = int(time.time() + LINK_S)
    return url_of(f"{base}/attempts/{{attempt}}/file", key, attempt, ends_at)


async def _component_s(file: FileRef, folder: Path) -> float:
    """Fetch it as a host that never saw it does; the folder is gone again afterwards."""
    server = StubServer(folder)
    files = HostFiles(server, folder, QUOTA_MB, 0, "")
    begin_s = time.monotonic()
    await files.fetch("bench-attempt", file, frozenset())
    took_s = time.monotonic() - begin_s
    files.close()
    server.database.connection.close()
    arrived = folder / "gcodes" / server.files.uploads[0]
    if arrived.stat().st_size != file.size_bytes or arrived.stat().st_nlink != 2:
        raise BenchFailed(f"{arrived}: not the whole file, or no hard link of the cached one")
    await asyncio.to_thread(shutil.rmtree, folder)
    return took_s


async def _curl_s(file: FileRef, folder: Path) -> float:
    await asyncio.to_thread(folder.mkdir)
    target = folder / "curl.gcode"
    words = ["-sS", "--fail", "--max-time", str(CURL_MAX_S), "-o", str(target), file.url]
    begin_s = time.monotonic()
    curl = await asyncio.create_subprocess_exec(find_program("curl"), *words)
    status = await curl.wait()
    took_s = time.monotonic() - begin_s
    if status != 0 or target.stat().st_size != file.size_bytes:
        raise BenchFailed(f"curl ended with {status}")
    await asyncio.to_thread(shutil.rmtree, folder)
    return took_s
