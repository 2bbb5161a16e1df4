"""Printers over HTTP: adding, acts, commands, and the words of their states."""

from __future__ import annotations

import pytest

from moonraker_component.wire import Bed, CommandKind, Heat, Reason, Telemetry

from .house import House, eventually, told


async def test_a_new_printer_comes_with_credentials_once(house: House) -> None:
    answer = await house.post("/printers", {"id": "voron-1", "tags": ["pei"]}, 201)
    credentials = answer["credentials"]
    assert (credentials["username"], credentials["password"]) == ("voron-1", "password of voron-1")
    printer = (await house.get("/printers/voron-1"))["printer"]
    assert (printer["state"], printer["tags"]) == ("offline", ["pei"])
    assert "password" not in str(await house.get("/printers"))
    await house.post("/printers", {"id": "voron-1"}, 409)
    assert (await house.post("/printers", {"id": "a/b"}, 400))["field"] == "id"
    assert (await house.post("/printers/voron-1/credentials", status=201))["credentials"]
    await house.post("/printers/none/credentials", status=404)


async def test_states_in_words(house: House) -> None:
    host = await house.add_host("one")

    async def state() -> str:
        word: str = (await house.get("/printers/one"))["printer"]["state"]
        return word

    assert await state() == "idle"
    assert (await house.get("/printers/one"))["printer"]["reasons"][0]["code"] == "no_jobs"
    await house.post("/printers/one/maintenance")
    assert await state() == "maintenance"
    await house.post("/printers/one/service")
    assert (await house.post("/printers/one/hold", {"reason": " "}, 400))["field"] == "reason"
    await house.post("/printers/one/hold", {"reason": "smells odd"})
    assert await state() == "held"
    await house.post("/printers/one/release", {})
    await house.post("/printers/one/release", status=409)
    assert await state() == "idle"
    host.say(local_print="benchy.gcode", refusals=(Reason("printing", "prints benchy.gcode"),))
    await eventually(lambda: house.engine.farm.printers["one"].report.local_print)  # type: ignore[union-attr]
    assert await state() == "busy"
    assert len((await house.get("/printers?state=busy,idle"))["printers"]) == 1
    assert (await house.get("/printers?state=idle"))["printers"] == []


async def test_a_name_and_tags_can_be_changed(house: House) -> None:
    await house.post("/printers", {"id": "p"}, 201)
    answer = told(
        await house.ask("PATCH", "/printers/p", {"name": "Left", "tags": ["a", "a"]}), 200
    )
    assert (answer["printer"]["name"], answer["printer"]["tags"]) == ("Left", ["a"])
    told(await house.ask("PATCH", "/printers/p", {"id": "q"}), 400)
    told(await house.ask("PATCH", "/printers/q", {"name": "x"}), 404)
    kinds = [line["kind"] for line in (await house.get("/history?printer=p"))["history"]]
    assert kinds == ["printer_changed", "printer_added"]


async def test_bed_clear_names_the_bed_that_was_seen(house: House) -> None:
    host = await house.add_host(
        "one", bed=Bed(clear=False, token="bed-2"), refusals=(Reason("bed", "not clear"),)
    )
    await house.post("/printers/one/bed-clear", {"token": "bed-1"}, 409)
    await house.post("/printers/one/bed-clear", {"token": "bed-2"}, 202)
    assert host.commands[0].token == "bed-2"
    await eventually(lambda: house.engine.farm.printers["one"].report.bed.clear)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("act", "kind"),
    [
        ("emergency-stop", CommandKind.EMERGENCY_STOP),
        ("firmware-restart", CommandKind.FIRMWARE_RESTART),
    ],
)
async def test_commands_are_sent_to_those_who_are_there(
    house: House, act: str, kind: CommandKind
) -> None:
    host = await house.add_host("one")
    assert (await house.post(f"/printers/one/{act}", status=202))["command"] == kind.value
    assert host.commands[0].kind is kind
    await house.post("/printers", {"id": "away"}, 201)
    assert "offline" in (await house.post(f"/printers/away/{act}", status=409))["error"]
    await house.post(f"/printers/none/{act}", status=404)


async def test_readings_come_with_their_time(house: House) -> None:
    await house.add_host("one")
    house.engine.hear_telemetry(
        "one", Telemetry(heaters={"extruder": Heat(210.0, 210.0)}, progress=0.5, layer=3, layers=9)
    )
    readings = (await house.get("/printers/one"))["printer"]["readings"]
    assert readings["telemetry"]["heaters"]["extruder"]["target_c"] == 210.0
    assert readings["at"] > 1e9


async def test_the_farm_counts(house: House) -> None:
    await house.add_host("one")
    await house.submit(copies=3, material="PETG")
    farm = (await house.get("/farm"))["farm"]
    assert (farm["version"], farm["connected"], farm["term"]) == ("1.2.3", True, 1)
    assert farm["counts"]["printers"] == {"idle": 1}
    assert farm["counts"]["copies_waiting"] == 3
    assert (await house.get("/history?kind=job_queued"))["history"][0]["text"].startswith("3 x")
    assert (await house.get("/history?limit=0", 400))["field"] == "limit"
