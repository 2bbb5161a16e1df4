"""One real farm for all tests here: three virtual printers, shortened graces.

Each test finds every printer idle with a clear bed and leaves no fault behind: `farm` waits for
that before it hands the farm out.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest_asyncio

from demo.farm import DemoFarm, is_online
from demo.profile import Profile

SPEED = 15.0
LEASE_S = 3.0
GRACE_S = 10.0
FENCE_S = 4.0
OPTIONS = (
    f"farm.lease_s={LEASE_S}",
    f"farm.offline_grace_s={GRACE_S}",
    f"farm.fence_s={FENCE_S}",
    "farm.fence_margin_s=4",
    "farm.rest_s=1",
)
WRONG_CLOCK_S = 400 * 86_400
"""One host believes it is more than a year ago: nothing may depend on it."""

READY_DEADLINE_S = 120.0


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def standing_farm() -> AsyncIterator[DemoFarm]:
    """The farm itself, started once."""
    folder = Path(tempfile.mkdtemp(prefix="mf-e2e-"))  # short: sockets' addresses are
    profiles = [
        Profile("one", speed=SPEED),
        Profile("two", speed=SPEED, wall_offset_s=-WRONG_CLOCK_S),
        Profile("six", speed=SPEED, nozzle_mm=0.6),
    ]
    try:
        async with DemoFarm(folder, profiles, OPTIONS) as farm:
            yield farm
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest_asyncio.fixture(loop_scope="session")
async def farm(standing_farm: DemoFarm) -> AsyncIterator[DemoFarm]:
    """The farm, with every printer able to take a print."""
    await settle(standing_farm)
    yield standing_farm
    for proxy in standing_farm.proxies.values():
        await proxy.heal()


async def settle(farm: DemoFarm) -> None:
    """End what a test left: unfinished jobs, held printers, uncleared beds."""
    await farm.start_coordinator()
    for job in (await farm.get("/jobs?limit=200"))["jobs"]:
        if job["state"] not in ("completed", "cancelled"):
            await farm.post(f"/jobs/{job['id']}/cancel")
    for name, printer in farm.printers.items():
        await farm.proxies[name].heal()
        await printer.start()
        await farm.until_online(name)
        await farm.until(partial(_at_rest, farm, name), f"{name} at rest", READY_DEADLINE_S, 0.5)
        await farm.clear_bed(name)
        await farm.until(partial(_idle, farm, name), f"{name} idle", READY_DEADLINE_S, 0.3)


async def _at_rest(farm: DemoFarm, name: str) -> bool:
    """Nothing of the farm and nothing of its own runs there."""
    printer = await farm.printer(name)
    return is_online(printer) and not printer.get("current") and printer["state"] != "busy"


async def _idle(farm: DemoFarm, name: str) -> bool:
    printer = await farm.printer(name)
    if printer["state"] == "held":
        await farm.post(f"/printers/{name}/release")
    await asyncio.sleep(0)
    return bool(printer["state"] == "idle")
