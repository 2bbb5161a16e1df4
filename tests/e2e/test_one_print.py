"""A print from upload to complete, and the faults that happen at one printer."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from demo.farm import DemoFarm
from tests.e2e.conftest import WRONG_CLOCK_S
from tests.e2e.story import BOX, DEADLINE_S, TILE, completed, kill_broker, phase, state, verdict

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]


async def test_a_file_goes_in_and_a_real_klipper_prints_it(farm: DemoFarm) -> None:
    job = await farm.submit(TILE, copies=2)
    await completed(farm, job)
    judged = await verdict(farm, job, TILE)
    assert (judged.completed, judged.lost, judged.doubled, judged.dirty_starts) == (2, 0, 0, 0)
    detail = await farm.job(job)
    used = {attempt["printer"] for attempt in detail["attempts"]}
    assert used == {"one", "two"}  # at once on both that fit; the third has another nozzle


async def test_a_host_with_a_wrong_clock_prints_like_any_other(farm: DemoFarm) -> None:
    begun_s = time.time()
    job = await farm.submit(TILE, printers=["two"])
    await completed(farm, job)
    history = await farm.printers["two"].get("/server/history/list?limit=1&order=desc")
    assert history["jobs"][0]["start_time"] < begun_s - WRONG_CLOCK_S / 2  # it is wrong indeed
    judged = await verdict(farm, job, TILE)
    assert (judged.completed, judged.doubled) == (1, 0)


async def test_files_of_ended_attempts_are_removed_from_the_printer(farm: DemoFarm) -> None:
    job = await farm.submit(TILE, printers=["one"])
    await completed(farm, job)
    folder = farm.printers["one"].gcodes_dir / "moonfleet"

    async def gone() -> bool:
        return not folder.exists() or not list(folder.iterdir())

    await farm.until(gone, "the attempt's folder to be removed")
    assert await gone()


async def test_moonraker_killed_in_mid_print_and_back(farm: DemoFarm) -> None:
    printer = farm.printers["one"]
    job = await farm.submit(BOX, printers=["one"])
    attempt = await farm.until_attempt(job, state("started"), "a print on one", DEADLINE_S)
    await printer.kill_moonraker()
    await printer.start_moonraker()
    await completed(farm, job)
    assert [a["id"] for a in (await farm.job(job))["attempts"]] == [attempt["id"]]


async def test_coordinator_killed_in_mid_print_and_back(farm: DemoFarm) -> None:
    job = await farm.submit(BOX, printers=["one"])
    attempt = await farm.until_attempt(job, state("started"), "a print on one", DEADLINE_S)
    await farm.coordinator.kill()
    await farm.start_coordinator()
    await completed(farm, job)
    assert [a["id"] for a in (await farm.job(job))["attempts"]] == [attempt["id"]]


async def test_broker_killed_in_mid_print_and_back(farm: DemoFarm) -> None:
    job = await farm.submit(BOX, printers=["one"])
    attempt = await farm.until_attempt(job, state("started"), "a print on one", DEADLINE_S)
    kill_broker(farm)
    await completed(farm, job)
    assert [a["id"] for a in (await farm.job(job))["attempts"]] == [attempt["id"]]


async def test_runout_pauses_is_reported_and_goes_on_when_a_person_says_so(farm: DemoFarm) -> None:
    printer = farm.printers["one"]
    job = await farm.submit(BOX, printers=["one"])
    await farm.until_attempt(job, state("started"), "a print on one", DEADLINE_S)
    printer.ctl.filament(False)
    await farm.until_attempt(job, phase("paused"), "the pause to be reported", DEADLINE_S)

    async def reported() -> bool:
        seen = await farm.printer("one")
        return (seen.get("filament") or {}).get("detected") is False

    await farm.until(reported, "the runout to be reported")
    printer.ctl.filament(True)
    await farm.post(f"/jobs/{job}/resume")
    await completed(farm, job)


async def test_a_thermistor_fault_fails_with_its_cause_and_the_copy_completes_elsewhere(
    farm: DemoFarm,
) -> None:
    job = await farm.submit(BOX)
    attempt = await farm.until_attempt(job, state("started"), "a print", DEADLINE_S)
    broken = farm.printers[attempt["printer"]]
    broken.ctl.thermistor("extruder", "open")
    failed = await farm.until_attempt(
        job, lambda a: a["id"] == attempt["id"] and a["state"] == "ended", "its end", DEADLINE_S
    )
    assert failed["outcome"] == "failed"
    assert failed["cause"] in ("klipper_shutdown", "klipper_error")
    assert failed["message"]
    await completed(farm, job)
    accepted = [a for a in (await farm.job(job))["attempts"] if a["accepted"]]
    assert accepted[0]["printer"] != attempt["printer"]
    broken.ctl.thermistor("extruder", "ok")
    await broken.post("/printer/firmware_restart")
    await broken.wait_ready()


async def test_a_print_started_at_the_printer_is_respected_and_drops_the_latch(
    farm: DemoFarm,
) -> None:
    printer = farm.printers["one"]
    name = printer.put_file(TILE, "by-hand.gcode")
    await printer.start_print(name)

    async def busy() -> bool:
        seen = await farm.printer("one")
        return bool(seen["state"] == "busy" and not seen["bed"]["clear"])

    await farm.until(busy, "the local print to be seen")
    job = await farm.submit(TILE, printers=["one"])

    assert (await farm.job(job))["job"]["counts"]["waiting"] == 1
    await completed(farm, job)  # the ejection macro clears the bed, then its turn comes
    by_hand = printer.ledger().totals[name]
    assert (by_hand.begins, by_hand.completed) == (1, 1)


async def test_a_long_macro_around_the_start_ends_in_one_print(farm: DemoFarm) -> None:
    """Gate, coordinator or Klipper: whoever meets the macro refuses, and one print comes of it.

    That Klipper itself refuses a start whose deadline passed behind a macro is shown, without a
    race for the right moment, in tests/klipper/test_section_e2e.py.
    """
    printer = farm.printers["one"]
    before = len(printer.ledger().starts)
    wait_ms = int(4 * 3_000 * printer.profile.speed)  # four leases of real time
    job = await farm.submit(TILE, printers=["one"], copies=1)
    await farm.until_attempt(job, phase("preparing", "prepared", "starting"), "its preparation")
    dwell = asyncio.create_task(printer.gcode(f"G4 P{wait_ms}"))
    await dwell
    await completed(farm, job)
    attempts = (await farm.job(job))["attempts"]
    assert len(printer.ledger().starts) == before + 1
    assert sum(a["accepted"] for a in attempts) == 1
    for attempt in attempts:
        assert attempt["accepted"] or attempt["outcome"] == "not_started"


async def test_cancel_pause_and_resume_reach_the_printer(farm: DemoFarm) -> None:
    printer = farm.printers["one"]
    job = await farm.submit(BOX, printers=["one"])
    await farm.until_attempt(job, state("started"), "a print on one", DEADLINE_S)
    await farm.post(f"/jobs/{job}/pause")
    await farm.until_attempt(job, phase("paused"), "the pause", DEADLINE_S)
    assert (await printer.query("print_stats"))["print_stats"]["state"] == "paused"
    await farm.post(f"/jobs/{job}/resume")
    await farm.until_attempt(job, phase("printing"), "the print to go on", DEADLINE_S)
    await farm.post(f"/jobs/{job}/cancel")
    ended = await farm.until_attempt(job, state("ended"), "the end", DEADLINE_S)
    assert (ended["outcome"], ended["cause"]) == ("cancelled", "cancelled")
    assert (await printer.query("print_stats"))["print_stats"]["state"] == "cancelled"


async def test_the_file_on_the_printer_is_what_was_uploaded(farm: DemoFarm) -> None:
    job = await farm.submit(BOX, printers=["one"])
    attempt = await farm.until_attempt(job, state("started"), "a print on one", DEADLINE_S)
    assert stored_bytes(farm, attempt["id"]) == [BOX.read_bytes()]
    await farm.post(f"/jobs/{job}/cancel")
    await farm.until_attempt(job, state("ended"), "the end", DEADLINE_S)


def stored_bytes(farm: DemoFarm, attempt: str) -> list[bytes]:
    """Every file in the folder of an attempt on printer one."""
    folder: Path = farm.printers["one"].gcodes_dir / "moonfleet" / attempt
    return [path.read_bytes() for path in folder.glob("*.gcode")]
