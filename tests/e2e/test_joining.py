"""A printer that joins by a code and by TLS alone, is thrown out in mid-print, and comes back."""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from demo.farm import DemoFarm
from demo.printer import VirtualPrinter, free_port
from demo.profile import Profile
from tests.e2e.conftest import SPEED
from tests.e2e.story import BOX, DEADLINE_S, completed, state, verdict

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]

REPO = Path(__file__).parents[2]
PROFILE = Profile("far", speed=SPEED)


@pytest_asyncio.fixture(loop_scope="session")
async def farm() -> AsyncIterator[DemoFarm]:
    """A coordinator with open doors and no printer yet. What orders call it nobody can reach."""
    folder = Path(tempfile.mkdtemp(prefix="mf-join-"))
    options = (
        "farm.lease_s=3",
        "farm.offline_grace_s=240",
        "network.address=127.0.0.1",
        f"network.https_port={free_port()}",
        f"network.mqtt_port={free_port()}",
        "server.public_url=https://nowhere.invalid",
    )
    try:
        async with DemoFarm(folder, [], options) as farm:
            yield farm
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def pair(farm: DemoFarm) -> str:
    """What install.sh host does with a code: the section that it writes."""
    made = await farm.post("/pairings", {"printer": PROFILE.name})
    url = made["urls"][0].replace("127.0.0.1", "localhost")
    folder = Path(tempfile.mkdtemp(dir=farm.run_dir))
    script = REPO / "moonraker_component/install/pair.py"
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(script), url, str(folder), PROFILE.name,
        stdin=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, said = await process.communicate(made["code"].encode())
    assert process.returncode == 0, said.decode()
    options = [line.split(" ") for line in (folder / "options").read_text().splitlines()]
    return "\n".join(
        [
            "[moonfleet]",
            f"printer_id: {PROFILE.name}",
            f"mqtt_username: {PROFILE.name}",
            f"mqtt_password_file: {folder / PROFILE.name}.password",
            f"mqtt_tls_ca: {folder / 'ca.pem'}",
            f"material: {PROFILE.material}",
            *(f"{name}: {value}" for name, value in options if value != "-"),
        ]
    )


async def test_a_printer_joins_by_code_prints_by_tls_and_is_thrown_out(farm: DemoFarm) -> None:
    section = await pair(farm)
    assert "https://localhost" in section
    printer = VirtualPrinter(
        PROFILE, farm.run_dir / "printers", moonraker_section=section, with_section=True
    )
    farm.printers[PROFILE.name] = printer
    async with printer:
        await farm.until_online(PROFILE.name)
        await farm.clear_bed(PROFILE.name)
        job = await farm.submit(BOX)
        attempt = await farm.until_attempt(job, state("started"), "a print", DEADLINE_S)
        status = await component(printer)
        assert status["broker"]["connected"]

        await farm.post(f"/printers/{PROFILE.name}/revoke")
        await farm.until(lambda: refused(printer), "the host to be refused", DEADLINE_S)
        await farm.until(lambda: offline(farm), "no contact to be told", DEADLINE_S)
        stats = await printer.get("/printer/objects/query?print_stats")
        assert stats["status"]["print_stats"]["state"] == "printing"

        await printer.kill_moonraker()
        printer.moonraker_section = await pair(farm)
        await printer.start_moonraker()
        await completed(farm, job)
        assert [a["id"] for a in (await farm.job(job))["attempts"]] == [attempt["id"]]
        judged = await verdict(farm, job, BOX)
        assert (judged.completed, judged.lost, judged.doubled) == (1, 0, 0)


async def component(printer: VirtualPrinter) -> dict[str, Any]:
    status: dict[str, Any] = await printer.get("/server/moonfleet/status")
    return status


async def refused(printer: VirtualPrinter) -> bool:
    broker = (await component(printer))["broker"]
    return not broker["connected"] and "refuses" in broker["fault"]


async def offline(farm: DemoFarm) -> bool:
    reasons = (await farm.printer(PROFILE.name))["reasons"]
    return {"held", "offline"} <= {reason["code"] for reason in reasons}
