"""fleet: what a farm of printing printers costs the coordinator, with one browser that shows it.

Owns what is measured: processor time and memory of the coordinator's process alone, and the bytes
that the live feed sends to one listener, over a steady stretch of printing. The hosts and the
broker are processes of their own.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec
from tornado.httpclient import HTTPRequest
from tornado.websocket import WebSocketClientConnection, websocket_connect

from demo.processes import Child
from demo.waiting import until
from tests.bench.coordinator import REPO, BenchFailed, CoordinatorProcess
from tests.bench.figures import fixed, result
from tests.bench.gcode import write_gcode
from tests.bench.hosts import HostsSpec, Login
from tests.bench.processes import cpu_s, rss_mb

CPU_BAR_PERCENT = 6.0
RSS_BAR_MB = 150.0
BROWSER_BAR_KB_S = 30.0
RIVAL = {"cpu_percent": 8.3, "rss_mb": 235.0, "browser_kb_s": 738.0}
HOSTS_PER_PROCESS = 100
PRINTING_MAX_S = 600.0
POLL_S = 1.0
SAMPLES = 40
ADDED_AT_ONCE = 8
FRAME_BYTES = 4
"""A WebSocket frame's head, for messages from 126 bytes to 64 KiB."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What this bench can be told."""
    parser.add_argument("--printers", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--settle", type=float, default=10.0, help="seconds before measuring")


async def run(args: argparse.Namespace) -> str:
    """Measure; return the result's line."""
    with tempfile.TemporaryDirectory(prefix="moonfleet-bench-") as name:
        folder = Path(name)
        coordinator = CoordinatorProcess(folder / "coordinator")
        async with coordinator, AsyncExitStack() as stack:
            await _print_on_all(coordinator, folder, args.printers, stack)
            figures = await _measured(coordinator, args.settle, args.seconds)
    return result(
        "fleet",
        {"printers": args.printers, **figures},
        fixed("cpu_percent below, at 200 printers", CPU_BAR_PERCENT),
        fixed("rss_mb below, at 200 printers", RSS_BAR_MB),
        fixed("browser_kb_s below, at 200 printers", BROWSER_BAR_KB_S),
        *(fixed(f"{figure} of a rival at 200 printers", was) for figure, was in RIVAL.items()),
    )


async def _print_on_all(
    coordinator: CoordinatorProcess, folder: Path, printers: int, stack: AsyncExitStack
) -> None:
    names = [f"bench-{number:04d}" for number in range(printers)]
    logins = await _added(coordinator, names)
    print(f"{printers} printers added; their hosts start", flush=True)
    for first in range(0, printers, HOSTS_PER_PROCESS):
        some = logins[first : first + HOSTS_PER_PROCESS]
        spec = HostsSpec(coordinator.mqtt_port, str(folder / "hosts"), some)
        file = folder / f"hosts-{first}.json"
        file.write_bytes(msgspec.json.encode(spec))
        command = [sys.executable, "-m", "tests.bench.hosts", str(file)]
        child = Child(f"hosts {first}", command, file.with_suffix(".log"), {}, REPO)
        stack.push_async_callback(child.stop)
        await child.start()
    file = folder / "bench.gcode"
    write_gcode(file, 0.1)
    sha256 = await coordinator.upload(file)
    await coordinator.post("/jobs", {"file": sha256, "copies": printers})

    async def all_print() -> bool:
        farm: dict[str, Any] = (await coordinator.get("/farm"))["farm"]
        return bool(farm["counts"]["printers"] == {"printing": printers})

    await until("all printers print", all_print, PRINTING_MAX_S, POLL_S)


async def _added(coordinator: CoordinatorProcess, names: list[str]) -> list[Login]:
    few = asyncio.Semaphore(ADDED_AT_ONCE)

    async def add(name: str) -> Login:
        async with few:
            login = (await coordinator.post("/printers", {"id": name}))["credentials"]
        return Login(name, login["username"], login["password"])

    return list(await asyncio.gather(*(add(name) for name in names)))


async def _measured(
    coordinator: CoordinatorProcess, settle_s: float, seconds: float
) -> dict[str, float]:
    address = coordinator.base.replace("http", "ws", 1) + "/live"
    request = HTTPRequest(address, headers=await coordinator.headers())
    browser = await websocket_connect(request, max_message_size=64 * 1024 * 1024)
    listener = Listener(browser)
    pid = coordinator.process.pid
    await listener.listen(settle_s)
    print(f"the first message had {listener.first_bytes / 1024:.0f} KiB", flush=True)
    sent_bytes, used_s, begin_s = listener.got_bytes, cpu_s(pid), time.monotonic()
    await listener.listen(seconds)
    took_s = time.monotonic() - begin_s
    figures = {
        "cpu_percent": 100 * (cpu_s(pid) - used_s) / took_s,
        "rss_mb": rss_mb(pid),
        "browser_kb_s": (listener.got_bytes - sent_bytes) / took_s / 1e3,
    }
    browser.close()
    print(
        f"readings were {await _age_s(coordinator):.1f} s old: 0.5 when hosts keep up", flush=True
    )
    return figures


async def _age_s(coordinator: CoordinatorProcess) -> float:
    """How old the readings are of a few printers, as the coordinator has them."""
    listed: list[dict[str, Any]] = (await coordinator.get("/printers"))["printers"]
    ages_s = []
    for one in listed[:: max(len(listed) // SAMPLES, 1)]:
        told = (await coordinator.get(f"/printers/{one['id']}"))["printer"]["readings"]
        ages_s.append(time.time() - float(told["at"]))
    return sum(ages_s) / len(ages_s)


class Listener:
    """Reads the live feed as a page does, and counts."""

    def __init__(self, connection: WebSocketClientConnection) -> None:
        self._connection = connection
        self.first_bytes = 0
        self.got_bytes = 0

    async def listen(self, seconds: float) -> None:
        """Read for so long; raises BenchFailed when the feed ends."""
        try:
            async with asyncio.timeout(seconds):
                while True:
                    await self._read()
        except TimeoutError:
            return

    async def _read(self) -> None:
        message = await self._connection.read_message()
        if message is None:
            raise BenchFailed("the live feed ended")
        text = message if isinstance(message, bytes) else message.encode()
        self.first_bytes = self.first_bytes or len(text)
        self.got_bytes += len(text) + FRAME_BYTES
