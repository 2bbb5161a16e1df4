"""The Klipper section in a real Klipper on a virtual machine: starts, latch, fence, ends, faults.

MOONFLEET_TEST_KLIPPER chooses the host as `demo.printer --klipper` does; Kalico by default.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import resource
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from demo.printer import VirtualPrinter
from demo.profile import Profile

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

SPEED = 10.0
DEADLINE_S = 120.0
SHORT = "G28\nG1 X20 F6000\nG1 X50\n"
# The dwell lets the sensor under the bed be heard before the ejection looks at it.
PART = "M104 S200\nG28\nM109 S200\nM83\nG1 X50 E8 F1200\nM400\nG4 P20000\nM104 S0\n"
LONG = "G28\n" + "G1 X20 F1200\nG1 X80 F1200\n" * 200
# Four seconds of real time, which nothing can interrupt.
MACROS = f"""
[gcode_macro LONG_MACRO]
gcode:
  G4 P{int(4000 * SPEED)}
[gcode_macro PAUSE]
rename_existing: BASE_PAUSE
gcode:
  BASE_PAUSE
[gcode_macro RESUME]
rename_existing: BASE_RESUME
gcode:
  BASE_RESUME
"""
_ids = itertools.count(1)


def boottime() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def printer() -> AsyncIterator[VirtualPrinter]:
    choice = os.environ.get("MOONFLEET_TEST_KLIPPER", "kalico")
    with tempfile.TemporaryDirectory(prefix="mf") as folder:
        async with VirtualPrinter(
            Profile("p", speed=SPEED), Path(folder), klipper=choice,
            with_section=True, klipper_section=MACROS,
        ) as running:  # fmt: skip
            yield running


async def moonfleet(printer: VirtualPrinter) -> dict[str, Any]:
    status: dict[str, Any] = (await printer.query("moonfleet"))["moonfleet"]
    return status


async def eventually(what: str, check: Callable[[], Awaitable[Any]]) -> Any:
    """Wait until check is true; what Klipper says meanwhile may be an error (a restart)."""
    end = time.monotonic() + DEADLINE_S
    last: object = None
    while time.monotonic() < end:
        try:
            last = await check()
            if last:
                return last
        except OSError as error:
            last = error
        await asyncio.sleep(0.05)
    raise AssertionError(f"never: {what}; last: {last}")


async def until_state(printer: VirtualPrinter, state: str) -> None:
    async def reached() -> bool:
        return bool((await printer.query("print_stats"))["print_stats"]["state"] == state)

    await eventually(f"print_stats {state}", reached)


async def until_outcome(printer: VirtualPrinter, attempt: str) -> dict[str, Any]:
    async def ended() -> dict[str, Any] | None:
        found = [r for r in (await moonfleet(printer))["records"] if r["attempt"] == attempt]
        return found[0] if found and found[0]["state"] == "ended" else None

    record: dict[str, Any] = await eventually(f"{attempt} ended", ended)
    return record


async def until_paused(printer: VirtualPrinter) -> None:
    async def paused() -> bool:
        return bool((await printer.query("pause_resume"))["pause_resume"]["is_paused"])

    await eventually("paused", paused)


async def until_fired(printer: VirtualPrinter) -> str:
    async def fired() -> str:
        fence = (await moonfleet(printer))["fence"]
        return fence["pause"] if fence["fired"] else ""

    return str(await eventually("fence fired", fired))


def put(printer: VirtualPrinter, name: str, text: str) -> None:
    target = printer.gcodes_dir / name
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text)


async def clear_bed(printer: VirtualPrinter) -> None:
    async def free() -> bool:
        return not (await moonfleet(printer))["ejecting"]

    await eventually("not ejecting", free)
    token = (await moonfleet(printer))["bed_token"]
    await printer.post("/printer/moonfleet/clear", {"token": token})


async def new_ask(printer: VirtualPrinter, text: str, **changes: Any) -> dict[str, Any]:
    """What moonfleet/start takes, for a new attempt whose file is there."""
    attempt = f"a{next(_ids)}"
    name = f"moonfleet/{attempt}/part.gcode"
    put(printer, name, text)
    token = (await moonfleet(printer))["bed_token"]
    return {
        "attempt": attempt, "copy": "c1", "job": "j1", "filename": name, "bed_token": token,
        "deadline_boottime_s": boottime() + DEADLINE_S, "fence_s": 0.0,
        "fence_until_boottime_s": 0.0, **changes,
    }  # fmt: skip


async def start(printer: VirtualPrinter, ask: dict[str, Any]) -> None:
    await printer.post("/printer/moonfleet/start", ask)


async def started(printer: VirtualPrinter, text: str = LONG, **changes: Any) -> str:
    """Clear the bed and start a new attempt; return its id."""
    await clear_bed(printer)
    ask = await new_ask(printer, text, **changes)
    await start(printer, ask)
    return str(ask["attempt"])


async def refused(printer: VirtualPrinter, name: str, body: dict[str, Any]) -> str:
    """The code with which an endpoint of the section refuses."""
    with pytest.raises(OSError, match="moonfleet: refused: ") as caught:
        await printer.post(f"/printer/moonfleet/{name}", body)
    return str(caught.value).split("moonfleet: refused: ")[1].split(":")[0]


async def klipper_is_ready(printer: VirtualPrinter) -> bool:
    return bool((await printer.get("/printer/info"))["state"] == "ready")


def on_disk(printer: VirtualPrinter) -> Path:
    return printer.data_dir / "moonfleet"


def record_on_disk(printer: VirtualPrinter, attempt: str) -> dict[str, Any]:
    text = (on_disk(printer) / "records" / f"{attempt}.json").read_text()
    record: dict[str, Any] = json.loads(text)
    return record


async def test_a_new_printer_is_not_clear_and_refuses(printer: VirtualPrinter) -> None:
    assert not (await moonfleet(printer))["bed_clear"]
    ask = await new_ask(printer, SHORT)
    assert await refused(printer, "start", ask) == "bed_not_clear"
    assert (await moonfleet(printer))["records"] == []


async def test_a_start_prints_to_complete_and_the_ejection_clears_the_bed(
    printer: VirtualPrinter,
) -> None:
    await clear_bed(printer)
    ask = await new_ask(printer, SHORT)
    await start(printer, ask)
    status = await moonfleet(printer)
    assert not status["bed_clear"]
    assert status["bed_token"] != ask["bed_token"]
    assert record_on_disk(printer, ask["attempt"])["copy"] == "c1"
    record = await until_outcome(printer, ask["attempt"])
    assert record == {
        "attempt": ask["attempt"], "copy": "c1", "job": "j1", "filename": ask["filename"],
        "state": "ended", "outcome": "complete", "reason": "",
    }  # fmt: skip
    assert record_on_disk(printer, ask["attempt"])["outcome"] == "complete"

    async def ejected() -> bool:
        return bool((await moonfleet(printer))["bed_clear"])

    await eventually("ejected", ejected)
    assert (await moonfleet(printer))["eject_error"] == ""
    again = {**ask, "bed_token": (await moonfleet(printer))["bed_token"]}
    assert await refused(printer, "start", again) == "used"


async def test_a_failed_ejection_leaves_the_bed_not_clear_and_says_why(
    printer: VirtualPrinter,
) -> None:
    printer.ctl.ejector(True)
    record = await until_outcome(printer, await started(printer, PART))
    assert record["outcome"] == "complete", record

    async def failed() -> str:
        status = await moonfleet(printer)
        return "" if status["ejecting"] else str(status["eject_error"])

    assert await eventually("eject_error", failed)
    printer.ctl.ejector(False)
    assert not (await moonfleet(printer))["bed_clear"]
    assert await klipper_is_ready(printer)
    await clear_bed(printer)
    assert (await moonfleet(printer))["eject_error"] == ""


async def test_a_wrong_token_and_an_unsafe_name_are_refused(printer: VirtualPrinter) -> None:
    await clear_bed(printer)
    ask = await new_ask(printer, LONG)
    assert await refused(printer, "start", {**ask, "bed_token": "old"}) == "bed_token"
    bad = {**ask, "filename": "moonfleet/../part.gcode"}
    assert await refused(printer, "start", bad) == "unsafe_name"
    gone = {**ask, "filename": f"moonfleet/{ask['attempt']}/gone.gcode"}
    assert await refused(printer, "start", gone) == "not_started"
    assert (await moonfleet(printer))["bed_clear"]
    await start(printer, ask)
    await until_state(printer, "printing")
    assert await refused(printer, "start", await new_ask(printer, SHORT)) == "printing"
    await printer.gcode("CANCEL_PRINT")
    assert (await until_outcome(printer, ask["attempt"]))["outcome"] == "cancelled"


async def test_a_deadline_that_passes_behind_a_macro_is_refused_and_the_bed_stays_clear(
    printer: VirtualPrinter,
) -> None:
    await clear_bed(printer)
    macro = asyncio.create_task(printer.gcode("LONG_MACRO"))

    async def runs() -> bool:
        return bool((await printer.query("idle_timeout"))["idle_timeout"]["state"] == "Printing")

    await eventually("the macro runs", runs)
    ask = await new_ask(printer, SHORT, deadline_boottime_s=boottime() + 1.0)
    assert await refused(printer, "start", ask) == "deadline"
    assert not macro.done() or boottime() > ask["deadline_boottime_s"]
    await macro
    status = await moonfleet(printer)
    assert status["bed_clear"]
    assert status["bed_token"] == ask["bed_token"]
    assert await klipper_is_ready(printer)
    await start(printer, {**ask, "deadline_boottime_s": boottime() + DEADLINE_S})
    assert (await until_outcome(printer, ask["attempt"]))["outcome"] == "complete"


async def test_a_local_start_is_respected_and_drops_the_latch(printer: VirtualPrinter) -> None:
    await clear_bed(printer)
    before = await moonfleet(printer)
    put(printer, "moonfleet/by_hand/part.gcode", LONG)
    await printer.start_print("moonfleet/by_hand/part.gcode")
    await until_state(printer, "printing")
    status = await moonfleet(printer)
    assert not status["bed_clear"]
    assert status["bed_token"] != before["bed_token"]
    assert status["records"] == before["records"]
    assert not (on_disk(printer) / "bed_clear").exists()
    stale = {"token": before["bed_token"]}
    assert await refused(printer, "clear", {"token": status["bed_token"]}) == "printing"
    with pytest.raises(OSError, match="a print is active"):
        await printer.gcode("MOONFLEET_BED_CLEAR")
    await printer.gcode("CANCEL_PRINT")
    await until_state(printer, "cancelled")
    assert await refused(printer, "clear", stale) == "bed_token"
    with pytest.raises(OSError, match="not the current one"):
        await printer.gcode(f"MOONFLEET_BED_CLEAR TOKEN={before['bed_token']}")
    await printer.gcode("MOONFLEET_BED_CLEAR")
    await printer.gcode("MOONFLEET_STATUS")
    assert (await moonfleet(printer))["bed_clear"]


async def test_a_clear_within_the_file_is_refused_but_does_not_fail_the_print(
    printer: VirtualPrinter,
) -> None:
    attempt = await started(printer, SHORT + "MOONFLEET_BED_CLEAR\n")
    assert (await until_outcome(printer, attempt))["outcome"] == "complete"
    said = (await printer.get("/server/gcode_store?count=1000"))["gcode_store"]
    file_name = f"moonfleet/{attempt}/part.gcode"
    refusal = f"!! Moonfleet: not set to clear, a print is active ({file_name})"
    assert refusal in [line["message"] for line in said]


async def test_a_print_that_fails_ends_with_klippers_cause(printer: VirtualPrinter) -> None:
    attempt = await started(printer, "G28\nG1 X9999\n")
    record = await until_outcome(printer, attempt)
    assert record["outcome"] == "error"
    assert "Move out of range" in record["reason"]
    assert not (await moonfleet(printer))["bed_clear"]


async def test_the_fence_pauses_refuses_resume_and_is_lifted_by_its_pause(
    printer: VirtualPrinter,
) -> None:
    until = boottime() + DEADLINE_S
    attempt = await started(printer, fence_s=60.0, fence_until_boottime_s=until)
    feed = {"attempt": attempt, "until_boottime_s": until - 1.0}
    await printer.post("/printer/moonfleet/fence", feed)
    assert (await moonfleet(printer))["fence"]["until_boottime_s"] == until
    await printer.gcode("CANCEL_PRINT")
    assert await refused(printer, "fence", feed) == "fence"

    attempt = await started(printer, fence_s=60.0, fence_until_boottime_s=boottime() + 3.0)
    pause = await until_fired(printer)
    assert boottime() >= (await moonfleet(printer))["fence"]["until_boottime_s"]
    await until_paused(printer)
    for command in ("RESUME", "M24"):
        with pytest.raises(OSError, match="FENCE_RELEASE"):
            await printer.gcode(command)
    with pytest.raises(OSError, match="FENCE_RELEASE"):
        await printer.post("/printer/print/resume")
    fed = {"attempt": attempt, "until_boottime_s": boottime() + DEADLINE_S}
    assert await refused(printer, "fence", fed) == "fence"
    assert await refused(printer, "lift", {"attempt": attempt, "pause": "other"}) == "fence"
    assert await refused(printer, "lift", {"attempt": "other", "pause": pause}) == "fence"
    for _ in range(2):
        await printer.post("/printer/moonfleet/lift", {"attempt": attempt, "pause": pause})
    await printer.gcode("RESUME")
    await until_state(printer, "printing")
    fence = (await moonfleet(printer))["fence"]
    assert (fence["fired"], fence["pause"], fence["released"]) == (False, "", "")
    assert fence["until_boottime_s"] > boottime()
    await printer.gcode("CANCEL_PRINT")
    assert (await until_outcome(printer, attempt))["outcome"] == "cancelled"


async def test_a_fence_over_a_pause_of_another_cause_is_released_by_name(
    printer: VirtualPrinter,
) -> None:
    attempt = await started(printer, fence_s=2.0, fence_until_boottime_s=boottime() + 2.0)
    await printer.gcode("PAUSE")
    await until_paused(printer)
    pause = await until_fired(printer)
    with pytest.raises(OSError, match="FENCE_RELEASE"):
        await printer.gcode("RESUME")
    with pytest.raises(OSError, match="not other"):
        await printer.gcode("FENCE_RELEASE ATTEMPT=other")
    await printer.gcode(f"FENCE_RELEASE ATTEMPT={attempt}")
    await printer.gcode("RESUME")
    await until_state(printer, "printing")
    fence = (await moonfleet(printer))["fence"]
    assert (fence["attempt"], fence["fired"], fence["released"]) == (attempt, False, pause)
    await printer.gcode("CANCEL_PRINT")
    assert (await until_outcome(printer, attempt))["outcome"] == "cancelled"


async def test_a_fenced_print_outlasts_the_idle_timeout_and_can_be_cancelled(
    printer: VirtualPrinter,
) -> None:
    own = "Timeout set to 777.00 s"
    await printer.gcode("SET_IDLE_TIMEOUT TIMEOUT=777")
    attempt = await started(printer, fence_s=2.0, fence_until_boottime_s=boottime() + 2.0)
    await until_fired(printer)
    log = printer.data_dir / "logs" / "klippy.log"

    async def raised() -> bool:
        # Behind our own setting: earlier fences have raised it too.
        return "Timeout set to 86400.00 s" in log.read_text().split(own)[-1]

    await eventually("idle timeout raised", raised)
    await printer.gcode("CANCEL_PRINT")
    assert (await until_outcome(printer, attempt))["outcome"] == "cancelled"

    async def put_back() -> bool:
        return log.read_text().count(own) == 2

    await eventually("idle timeout put back", put_back)
    assert not (await moonfleet(printer))["fence"]["fired"]


async def test_another_file_over_a_paused_attempt_ends_it(printer: VirtualPrinter) -> None:
    attempt = await started(printer)
    await printer.gcode("PAUSE")
    await until_paused(printer)
    put(printer, "other.gcode", SHORT)
    await printer.gcode("CLEAR_PAUSE")
    await printer.start_print("other.gcode")
    record = await until_outcome(printer, attempt)
    assert (record["outcome"], record["reason"]) == (
        "cancelled", "its file was unloaded at the printer",
    )  # fmt: skip
    await until_state(printer, "complete")


async def test_a_firmware_restart_in_mid_print_leaves_it_interrupted(
    printer: VirtualPrinter,
) -> None:
    attempt = await started(printer)
    await until_state(printer, "printing")
    await printer.post("/printer/firmware_restart")
    record = await until_outcome(printer, attempt)
    assert record["outcome"] == "interrupted"
    await printer.wait_ready()
    assert not (await moonfleet(printer))["bed_clear"]


async def test_an_emergency_stop_ends_the_attempt_with_its_cause(printer: VirtualPrinter) -> None:
    attempt = await started(printer)
    await until_state(printer, "printing")
    await printer.post("/printer/emergency_stop")
    record = await until_outcome(printer, attempt)
    assert record["outcome"] == "error"
    assert record["reason"].startswith("Shutdown due to webhooks request")
    await printer.post("/printer/firmware_restart")
    await eventually("ready", lambda: klipper_is_ready(printer))
    assert (await until_outcome(printer, attempt))["outcome"] == "error"


async def test_a_restart_of_klipper_keeps_latch_and_records(printer: VirtualPrinter) -> None:
    await clear_bed(printer)
    before = await moonfleet(printer)
    await printer.kill_klippy()
    await printer.start_klippy()
    await eventually("ready", lambda: klipper_is_ready(printer))
    after = await moonfleet(printer)
    assert after["bed_clear"]
    assert (after["bed_token"], after["records"]) == (before["bed_token"], before["records"])


async def test_klippy_killed_in_mid_print_leaves_it_interrupted(printer: VirtualPrinter) -> None:
    attempt = await started(printer)
    await until_state(printer, "printing")
    await printer.kill_klippy()
    await printer.start_klippy()
    assert (await until_outcome(printer, attempt))["outcome"] == "interrupted"
    await eventually("ready", lambda: klipper_is_ready(printer))


async def test_without_a_folder_to_write_starts_are_refused_and_local_prints_go_on(
    printer: VirtualPrinter,
) -> None:
    await clear_bed(printer)
    shutil.rmtree(on_disk(printer))
    on_disk(printer).write_text("in the way")
    ask = await new_ask(printer, SHORT)
    assert await refused(printer, "start", ask) == "record"
    assert (await moonfleet(printer))["bed_clear"]
    put(printer, "local.gcode", LONG)
    await printer.start_print("local.gcode")
    await until_state(printer, "printing")
    assert not (await moonfleet(printer))["bed_clear"]
    await printer.gcode("CANCEL_PRINT")
    token = (await moonfleet(printer))["bed_token"]
    assert await refused(printer, "clear", {"token": token}) == "record"
    assert await klipper_is_ready(printer)
    await printer.gcode("RESTART")
    await eventually("ready", lambda: klipper_is_ready(printer))
    assert not (await moonfleet(printer))["bed_clear"]
    on_disk(printer).unlink()
    attempt = await started(printer, SHORT)
    assert (await until_outcome(printer, attempt))["outcome"] == "complete"


async def test_on_a_full_disk_the_latch_still_drops_and_the_end_is_written_later(
    printer: VirtualPrinter,
) -> None:
    attempt = await started(printer)
    pid = printer.klippy.pid
    unlimited = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, unlimited[1]))
    await printer.gcode("CANCEL_PRINT")
    assert (await until_outcome(printer, attempt))["outcome"] == "cancelled"
    assert record_on_disk(printer, attempt)["state"] == "started"
    token = (await moonfleet(printer))["bed_token"]
    assert await refused(printer, "clear", {"token": token}) == "record"
    resource.prlimit(pid, resource.RLIMIT_FSIZE, unlimited)
    await clear_bed(printer)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, unlimited[1]))
    assert await refused(printer, "start", await new_ask(printer, SHORT)) == "record"
    assert (on_disk(printer) / "bed_clear").exists()
    put(printer, "local.gcode", LONG)
    await printer.start_print("local.gcode")
    await until_state(printer, "printing")
    assert not (on_disk(printer) / "bed_clear").exists()
    await printer.gcode("CANCEL_PRINT")
    assert record_on_disk(printer, attempt)["state"] == "started"
    resource.prlimit(pid, resource.RLIMIT_FSIZE, unlimited)
    assert await klipper_is_ready(printer)

    async def saved() -> bool:
        return bool(record_on_disk(printer, attempt)["state"] == "ended")

    # By itself, before anything else starts: a power cut now must not find a print in mid-air.
    await eventually("the end is on disk", saved)
    assert record_on_disk(printer, attempt)["outcome"] == "cancelled"
