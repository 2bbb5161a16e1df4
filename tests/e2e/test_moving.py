"""Hosts that fall silent, come back, lose power: one copy, once, whatever happens."""

from __future__ import annotations

import asyncio

import pytest

from demo.farm import DemoFarm, is_online
from tests.e2e.conftest import GRACE_S
from tests.e2e.story import BOX, DEADLINE_S, TILE, completed, phase, state, verdict

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]


async def test_a_host_cut_off_before_its_start_loses_its_attempt_within_a_lease(
    farm: DemoFarm,
) -> None:
    await farm.proxies["one"].cut()
    job = await farm.submit(TILE, copies=2)
    taken = await farm.until_attempt(
        job, lambda a: a["printer"] == "one" and a["state"] == "ended", "its end", DEADLINE_S
    )
    assert (taken["outcome"], taken["cause"]) == ("not_started", "host_silent")
    await completed(farm, job)
    judged = await verdict(farm, job, TILE)
    assert (judged.completed, judged.doubled, judged.moved) == (2, 0, 1)
    await farm.proxies["one"].heal()
    await farm.until_online("one")


async def test_a_host_without_power_loses_its_print_after_the_grace(farm: DemoFarm) -> None:
    job = await farm.submit(TILE)
    attempt = await farm.until_attempt(job, state("started"), "a print", DEADLINE_S)
    dark = farm.printers[attempt["printer"]]
    await dark.kill_host()
    await completed(farm, job)
    judged = await verdict(farm, job, TILE)
    assert (judged.completed, judged.doubled, judged.moved) == (1, 0, 1)
    # It comes back, says what became of its attempt, and gives its printer free.
    await dark.start()
    ended = await farm.until_attempt(
        job, lambda a: a["id"] == attempt["id"] and a["state"] == "ended", "its end", DEADLINE_S
    )
    assert ended["outcome"] in ("failed", "unknown")
    assert not ended["accepted"]


async def test_a_lost_print_that_comes_back_before_its_replacement_starts_is_adopted(
    farm: DemoFarm,
) -> None:
    job = await farm.submit(BOX)
    first = await farm.until_attempt(job, state("started"), "a print", DEADLINE_S)
    other = "two" if first["printer"] == "one" else "one"
    # The other printer is in maintenance: its copy waits, and nothing has started elsewhere.
    await farm.post(f"/printers/{other}/maintenance")
    await farm.proxies[first["printer"]].cut()
    await farm.until_attempt(job, state("lost"), "the print to be given up", GRACE_S * 6)
    await farm.proxies[first["printer"]].heal()
    await farm.until_attempt(
        job, lambda a: a["id"] == first["id"] and a["state"] in ("started", "ended"), "its return",
        DEADLINE_S,
    )  # fmt: skip
    await farm.post(f"/printers/{other}/service")
    await completed(farm, job)
    attempts = (await farm.job(job))["attempts"]
    assert [(a["id"], a["accepted"]) for a in attempts] == [(first["id"], True)]
    assert (await verdict(farm, job, BOX)).doubled == 0


async def test_when_both_print_one_is_kept_and_the_other_cancelled(farm: DemoFarm) -> None:
    job = await farm.submit(BOX)
    first = await farm.until_attempt(job, state("started"), "a print", DEADLINE_S)
    await farm.proxies[first["printer"]].cut()
    await farm.until_attempt(
        job, lambda a: a["id"] != first["id"] and a["state"] == "started", "its replacement",
        DEADLINE_S,
    )  # fmt: skip
    await farm.proxies[first["printer"]].heal()
    await completed(farm, job)

    async def all_ended() -> bool:
        return all(a["state"] == "ended" for a in (await farm.job(job))["attempts"])

    await farm.until(all_ended, "both attempts to end", DEADLINE_S)
    judged = await verdict(farm, job, BOX)
    attempts = (await farm.job(job))["attempts"]
    assert sum(a["accepted"] for a in attempts) == 1
    assert sorted(a["outcome"] for a in attempts) == ["cancelled", "complete"]
    assert (judged.completed, judged.doubled) == (1, 0)


async def test_under_a_fence_the_silent_printer_pauses_and_goes_on_when_it_is_heard(
    farm: DemoFarm,
) -> None:
    job = await farm.submit(BOX, printers=["one"], fence=True)
    await farm.until_attempt(job, state("started"), "a print", DEADLINE_S)
    printer = farm.printers["one"]
    await farm.proxies["one"].cut()

    async def fenced() -> bool:
        status = await printer.query("moonfleet", "print_stats")
        return bool(
            status["moonfleet"]["fence"]["fired"] and status["print_stats"]["state"] == "paused"
        )

    await farm.until(fenced, "the fence to pause the print")
    with pytest.raises(OSError, match="silent"):
        await printer.post("/printer/print/resume")
    await farm.proxies["one"].heal()
    await farm.until_attempt(job, phase("printing"), "the print to go on", DEADLINE_S)
    await completed(farm, job)


async def test_a_job_that_no_printer_can_take_waits_with_its_reasons(farm: DemoFarm) -> None:
    job = await farm.submit(TILE, material="PA-CF")
    why = await farm.get(f"/jobs/{job}/why")
    await asyncio.sleep(0)
    codes = {
        (printer["printer"], reason["code"])
        for printer in why["printers"]
        for reason in printer["reasons"]
    }
    assert {("one", "material"), ("two", "material"), ("six", "material")} <= codes
    assert (await farm.job(job))["job"]["state"] == "active"
    assert all([is_online(await farm.printer(name)) for name in farm.printers])
    await farm.post(f"/jobs/{job}/cancel")
