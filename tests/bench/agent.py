"""agent: what the component adds to a real Moonraker while its real Klipper prints.

Owns what is compared: processor time and memory of Moonraker's process with the component in a farm
and without it, in turns, on one print that goes on meanwhile. Klipper works in real time. What is
added holds the subscription too: nobody else asks Moonraker for what Klipper says.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from demo import hosts
from demo.printer import VirtualPrinter
from demo.profile import Profile
from demo.waiting import until
from tests.bench.coordinator import CoordinatorProcess
from tests.bench.figures import fixed, result, spread
from tests.bench.processes import cpu_s, rss_mb

CPU_BAR_PERCENT = 2.0
RSS_BAR_MB = 30.0
MOVES = 20_000
"""Of 80 mm at 50 mm/s: far longer than the bench."""

FILE = "bench.gcode"
SEEN_MAX_S = 120.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What this bench can be told."""
    parser.add_argument("--seconds", type=float, default=20.0, help="of each turn")
    parser.add_argument("--settle", type=float, default=8.0, help="seconds before each turn")
    parser.add_argument("--turns", type=int, default=2)


async def run(args: argparse.Namespace) -> str:
    """Measure; return the result's line."""
    hosts.link_component(hosts.venvs() / "moonraker")
    found: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
    with tempfile.TemporaryDirectory(prefix="mf-") as name:
        folder = Path(name)
        printer = VirtualPrinter(Profile("p1", speed=1.0), folder)
        async with CoordinatorProcess(folder / "coordinator") as coordinator, printer:
            section = await _section(coordinator)
            (printer.gcodes_dir / FILE).write_text(_gcode())
            await printer.post(f"/printer/print/start?filename={FILE}")
            for turn in range(2 * args.turns):
                has_component = turn % 2 == 1
                await printer.moonraker.stop()
                printer.moonraker_section = section if has_component else ""
                await printer.start_moonraker()
                await printer.wait_ready()
                if has_component:
                    await until("the farm sees the print", _sees(coordinator), SEEN_MAX_S, 0.5)
                await asyncio.sleep(args.settle)
                found[has_component].append(await _measured(printer, args.seconds))
    for has_component, words in ((False, "without"), (True, "with")):
        print(f"{words}: cpu, %: {spread([cpu for cpu, _ in found[has_component]])}")
        print(f"{words}: rss, MB: {spread([rss for _, rss in found[has_component]])}")
    without, having = (
        [statistics.median(part) for part in zip(*found[has], strict=True)] for has in (False, True)
    )
    return result(
        "agent",
        {"cpu_percent_added": having[0] - without[0], "rss_mb_added": having[1] - without[1]},
        fixed("cpu_percent_added below", CPU_BAR_PERCENT),
        fixed("rss_mb_added below", RSS_BAR_MB),
    )


async def _section(coordinator: CoordinatorProcess) -> str:
    login = (await coordinator.post("/printers", {"id": "p1"}))["credentials"]
    return f"""[moonfleet]
printer_id: p1
mqtt_address: 127.0.0.1
mqtt_port: {coordinator.mqtt_port}
mqtt_username: {login["username"]}
mqtt_password: {login["password"]}
disk_reserve_mb: 0
"""


def _gcode() -> str:
    """Moves without heat, so that it prints at once, on every printer."""
    lines = ["G28", "G90"]
    lines += [f"G1 X{70 + 80 * (n % 2)} Y{70 + n % 80} F3000" for n in range(MOVES)]
    return "\n".join(lines) + "\n"


def _sees(coordinator: CoordinatorProcess) -> Callable[[], Awaitable[bool]]:
    async def sees() -> bool:
        printer = (await coordinator.get("/printers/p1"))["printer"]
        return bool(printer["state"] == "busy" and printer["readings"])

    return sees


async def _measured(printer: VirtualPrinter, seconds: float) -> tuple[float, float]:
    pid = printer.moonraker.pid
    used_s, begin_s = cpu_s(pid), time.monotonic()
    await asyncio.sleep(seconds)
    took_s = time.monotonic() - begin_s
    return 100 * (cpu_s(pid) - used_s) / took_s, rss_mb(pid)
