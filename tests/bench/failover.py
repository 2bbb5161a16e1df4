"""failover: from a host's death to the same copy printing elsewhere, not yet armed and printing.

Owns the two deaths and what is counted: from the SIGKILL of a host's process to the first answer of
the API in which the other printer prints the copy. The host of the first is dead when its job is
submitted, and the coordinator does not know that yet: so the attempt is assigned and never armed.
The second prints, and its job has the shortest grace that is allowed.
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

from demo.processes import Child
from demo.waiting import until
from tests.bench.coordinator import REPO, BenchFailed, CoordinatorProcess
from tests.bench.figures import fixed, result
from tests.bench.gcode import write_gcode
from tests.bench.hosts import HostsSpec, Login

GRACE_LEASES = 2.0
"""The shortest grace that a job may have."""

MARGIN_S = 2.0
POLL_S = 0.05
IDLE_MAX_S = 60.0
PRINTING_MAX_S = 60.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What this bench can be told."""
    parser.add_argument("--lease", type=float, default=15.0, help="lease_s of the farm")


async def run(args: argparse.Namespace) -> str:
    """Measure both at once, on printers of their own; return the result's line."""
    lease_s: float = args.lease
    grace_s = GRACE_LEASES * lease_s
    with tempfile.TemporaryDirectory(prefix="moonfleet-bench-") as name:
        folder = Path(name)
        options = (f"farm.lease_s={lease_s}", f"farm.fence_s={max(lease_s, 120.0)}")
        coordinator = CoordinatorProcess(folder / "coordinator", options)
        async with coordinator, AsyncExitStack() as stack:
            bench = Failover(coordinator, folder, stack)
            await bench.start(("a", "b", "c", "d"))
            unstarted_s, printing_s = await asyncio.gather(
                bench.unstarted("a", "b"), bench.printing("c", "d", grace_s)
            )
    return result(
        "failover",
        {
            "unstarted_moved_s": unstarted_s,
            "lease_s": lease_s,
            "printing_moved_s": printing_s,
            "offline_grace_s": grace_s,
        },
        fixed("unstarted_moved_s below", lease_s + MARGIN_S),
        fixed("printing_moved_s below", grace_s + MARGIN_S),
    )


class Failover:
    """A farm whose every host is a process of its own, to be killed."""

    def __init__(self, farm: CoordinatorProcess, folder: Path, stack: AsyncExitStack) -> None:
        self._farm = farm
        self._folder = folder
        self._stack = stack
        self._hosts: dict[str, Child] = {}
        self._sha256 = ""

    async def start(self, names: tuple[str, ...]) -> None:
        """Upload a file, start all hosts and wait until they are idle."""
        file = self._folder / "bench.gcode"
        write_gcode(file, 0.1)
        self._sha256 = await self._farm.upload(file)
        for name in names:
            login = (await self._farm.post("/printers", {"id": name}))["credentials"]
            logins = [Login(name, login["username"], login["password"])]
            spec = HostsSpec(self._farm.mqtt_port, str(self._folder / "hosts"), logins)
            path = self._folder / f"{name}.json"
            path.write_bytes(msgspec.json.encode(spec))
            command = [sys.executable, "-m", "tests.bench.hosts", str(path)]
            host = Child(name, command, path.with_suffix(".log"), {}, REPO)
            self._stack.push_async_callback(host.stop)
            await host.start()
            self._hosts[name] = host

        async def all_idle() -> bool:
            printers: list[dict[str, Any]] = (await self._farm.get("/printers"))["printers"]
            return all(printer["state"] == "idle" for printer in printers)

        await until("all printers are idle", all_idle, IDLE_MAX_S)

    async def unstarted(self, first: str, second: str) -> float:
        """A host dies before it can prepare what it is given."""
        await self._hosts[first].kill()
        died_s = time.monotonic()
        job = await self._submit(first, second, {})
        await self._reaches(job, first, "assigned", PRINTING_MAX_S)
        await self._reaches(job, second, "started", PRINTING_MAX_S)
        moved_s = time.monotonic() - died_s
        await self._check_unarmed(job, first)
        return moved_s

    async def printing(self, first: str, second: str, grace_s: float) -> float:
        """A host dies while it prints."""
        job = await self._submit(first, second, {"offline_grace_s": grace_s})
        await self._reaches(job, first, "started", PRINTING_MAX_S)
        await self._hosts[first].kill()
        died_s = time.monotonic()
        await self._reaches(job, second, "started", grace_s + PRINTING_MAX_S)
        return time.monotonic() - died_s

    async def _submit(self, first: str, second: str, policy: dict[str, object]) -> str:
        order = {"file": self._sha256, "printers": [first, second], **policy}
        return str((await self._farm.post("/jobs", order))["job"]["id"])

    async def _reaches(self, job: str, printer: str, state: str, limit_s: float) -> None:
        async def there() -> bool:
            return any(
                attempt["printer"] == printer and attempt["state"] == state
                for attempt in await self._attempts(job)
            )

        await until(f"an attempt on {printer} is {state}", there, limit_s, POLL_S)

    async def _check_unarmed(self, job: str, printer: str) -> None:
        for attempt in await self._attempts(job):
            if attempt["printer"] == printer and attempt.get("armed_at") is not None:
                raise BenchFailed(f"the attempt on {printer} was armed: another case than wanted")

    async def _attempts(self, job: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await self._farm.get(f"/attempts?job={job}"))["attempts"]
        return found
