"""Jobs over HTTP: orders and what is refused, acts, lists, and why something waits."""

from __future__ import annotations

from typing import Any

import pytest

from coordinator.core.jobs import JobState
from coordinator.http.jobs import view_of
from moonraker_component.wire import Filament, Outcome, Reason

from .house import PROFILE, House, eventually, told


async def test_an_order_takes_its_needs_from_the_file(house: House) -> None:
    job = await house.submit(copies=3)
    assert job["counts"] == {
        "waiting": 3, "assigned": 0, "printing": 0, "held": 0, "done": 0, "dropped": 0,
    }  # fmt: skip
    need = job["requirements"]
    assert (need["material"], need["nozzle_mm"], need["extruder_c"]) == ("PLA", 0.4, 210.0)
    assert len(need["max_mm"]) == 3
    assert job["offline_grace_s"] == 30.0
    assert job["title"] == "tile_pla.gcode"


async def test_any_drops_a_need_and_words_add_one(house: House) -> None:
    order = {
        "material": "any", "nozzle_mm": "any", "size": "any", "temperatures": "any",
        "color": "red", "model": "Voron", "kinematics": "corexy", "tags": ["pei", "pei"],
        "offline_grace_s": "never", "name": "lid für oben.gcode",
    }  # fmt: skip
    job = await house.submit(**order)
    need = job["requirements"]
    assert (need["material"], need["nozzle_mm"], need["max_mm"]) == ("", None, [])
    assert (need["extruder_c"], need["color"], need["tags"]) == (None, "red", ["pei"])
    assert job["offline_grace_s"] == "never"
    assert job["file"]["title"] == "lid für oben.gcode"
    assert job["file"]["name"] == "lid_fur_oben.gcode"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("copies", 0), ("copies", 10**9), ("copies", "three"), ("copies", 1.5), ("priority", 101),
        ("nozzle_mm", "abc"), ("nozzle_mm", 99), ("nozzle_mm", []), ("lane", "fast"),
        ("offline_grace_s", 1), ("offline_grace_s", "sometimes"), ("retries", -1),
        ("printers", ["nobody"]), ("tags", [""]), ("tags", "x"), ("size", 5), ("size", "10"),
        ("material", "x" * 101), ("coppies", 2), ("name", "../a.gcode"), ("deadline_at", "soon"),
        ("file", 5),
    ],
)  # fmt: skip
async def test_a_bad_order_names_its_field(house: House, field: str, value: Any) -> None:
    answer = await house.post("/jobs", {"file": await house.upload(), field: value}, 400)
    assert answer["field"] == field
    assert (await house.get("/jobs"))["jobs"] == []


async def test_an_order_without_its_file_is_refused(house: House) -> None:
    assert (await house.post("/jobs", {}, 400))["field"] == "file"
    assert "upload" in (await house.post("/jobs", {"file": "0" * 64}, 404))["error"]


async def test_a_job_that_nobody_can_print_waits_and_says_why(house: House) -> None:
    await house.add_host("big", profile=PROFILE, filament=Filament(material="PETG"))
    await house.add_host("new", filament=Filament())
    job = await house.submit(nozzle_mm=0.6)
    why = await house.get(f"/jobs/{job['id']}/why")
    of = {p["printer"]: p for p in why["printers"]}
    assert of["big"]["verdict"] == "refuses"
    assert {r["code"] for r in of["big"]["reasons"]} == {"nozzle", "material"}
    assert "0.6" in of["big"]["reasons"][0]["text"]
    assert "material_unknown" in {r["code"] for r in of["new"]["reasons"]}
    assert "none of 2 printers" in why["summary"]
    assert why["job"]["counts"]["waiting"] == 1


async def test_why_tells_who_is_busy_and_what_the_score_is_made_of(house: House) -> None:
    host = await house.add_host("one")
    first = await house.submit()
    await house.until_copies(first["id"], printing=1)
    second = await house.submit()
    why = await house.get(f"/jobs/{second['id']}/why")
    assert why["printers"][0]["verdict"] == "busy"
    assert why["printers"][0]["reasons"][0]["code"] == "occupied"
    assert why["printers"][0]["score"]["volume_mm3"] == 250.0**3
    placed = (await house.get(f"/jobs/{first['id']}/why"))["placed"]
    assert placed[0]["printer"] == "one"
    assert "volume" in placed[0]["why"]
    host.finish()
    done = await house.until_copies(first["id"], done=1)
    assert done["state"] == "completed"


async def test_a_failed_job_is_held_with_its_cause(house: House) -> None:
    host = await house.add_host("one")
    job = await house.submit(retries=0)
    await house.until_copies(job["id"], printing=1)
    host.finish(Outcome.FAILED, "klipper_error")
    await house.until_copies(job["id"], printing=0)
    detail = await house.get(f"/jobs/{job['id']}")
    assert detail["job"]["state"] == "held"
    assert "klipper_error" in detail["job"]["reason"]
    assert detail["attempts"][0]["outcome"] == "failed"
    assert detail["attempts"][0]["cause"] == "klipper_error"
    kinds = [line["kind"] for line in detail["history"]]
    assert kinds[0] == "job_held"
    assert kinds[-1] == "job_queued"


async def test_acts_change_the_job_or_conflict(house: House) -> None:
    job = await house.submit(copies=2)
    path = f"/jobs/{job['id']}"
    assert (await house.post(f"{path}/hold"))["job"]["state"] == "held"
    await house.post(f"{path}/hold", status=409)
    assert (await house.post(f"{path}/release", {}))["job"]["state"] == "active"
    patched = told(await house.ask("PATCH", path, {"priority": 7, "lane": "express"}), 200)
    assert (patched["job"]["priority"], patched["job"]["lane"]) == (7, "express")
    told(await house.ask("PATCH", path, {"title": "no"}), 400)
    again = (await house.post(f"{path}/reprint", {"copies": 5}, 201))["job"]
    assert (again["copies"], again["reprint_of"]) == (5, job["id"])
    moved = (await house.post(f"/jobs/{again['id']}/move", {"before": job["id"]}))["job"]
    assert moved["lane"] == "express"
    assert [j["id"] for j in (await house.get("/jobs"))["jobs"]] == [again["id"], job["id"]]
    assert (await house.post(f"{path}/cancel"))["job"]["counts"]["dropped"] == 2
    await house.post(f"{path}/cancel", status=409)


async def test_pause_and_resume_reach_the_printer(house: House) -> None:
    host = await house.add_host("one")
    job = await house.submit()
    await house.until_copies(job["id"], printing=1)
    await house.post(f"/jobs/{job['id']}/pause")
    await eventually(lambda: host.report.attempts[0].phase.value == "paused")
    assert (await house.get("/printers/one"))["printer"]["state"] in ("printing", "paused")
    await house.post(f"/jobs/{job['id']}/resume")
    await eventually(lambda: host.report.attempts[0].phase.value == "printing")
    await house.post(f"/jobs/{job['id']}/cancel")
    await eventually(lambda: not house.engine.farm.live_on)
    attempt = (await house.get(f"/jobs/{job['id']}"))["attempts"][0]
    assert attempt["outcome"] == "cancelled"


@pytest.mark.parametrize(
    "path",
    ["", "/why", "/hold", "/release", "/pause", "/resume", "/cancel", "/move", "/reprint"],
)
async def test_an_unknown_job_is_not_found(house: House, path: str) -> None:
    method = "GET" if path in ("", "/why") else "POST"
    body = {"before": "x"} if path == "/move" else None
    told(await house.ask(method, f"/jobs/nothing{path}", body), 404)


async def test_lists_filter_sort_and_page(house: House) -> None:
    sha256 = await house.upload()
    for number in range(5):
        await house.submit(file=sha256, name=f"part {number}.gcode", priority=number)
    await house.submit(file=sha256, material="PETG", job_tags=["rush"], name="other.gcode")
    first = await house.get("/jobs?limit=4")
    rest = await house.get(f"/jobs?limit=4&cursor={first['cursor']}")
    titles = [job["title"] for job in first["jobs"] + rest["jobs"]]
    assert titles[:3] == ["part 4.gcode", "part 3.gcode", "part 2.gcode"]
    assert len(titles) == 6
    assert rest["cursor"] == ""
    for query, number in (
        ("material=petg", 1), ("material=PET", 0), ("tag=rush", 1), ("search=PART", 5),
        ("state=held,cancelled", 0), ("state=active", 6), ("owner=nobody", 0),
        (f"search={first['jobs'][0]['id'][:10]}", 1), (f"file={sha256}", 6),
    ):  # fmt: skip
        assert len((await house.get(f"/jobs?{query}"))["jobs"]) == number, query
    for query, field in (
        ("limit=0", "limit"), ("limit=x", "limit"), ("cursor=zz", "cursor"), ("state=odd", "state"),
        ("colour=red", "colour"), ("sort=up", "sort"), ("tag=a&tag=b", "tag"),
    ):  # fmt: skip
        assert (await house.get(f"/jobs?{query}", 400))["field"] == field, query


async def test_finished_jobs_are_shown_after_a_restart(house: House) -> None:
    host = await house.add_host("one")
    job = await house.submit()
    await house.until_copies(job["id"], printing=1)
    host.finish()
    await house.until_copies(job["id"], done=1)
    farm = house.engine.farm  # what a restart forgets: finished jobs
    farm.jobs.clear()
    farm.copies.clear()
    farm.attempts.clear()
    farm.copies_of.clear()
    shown = await house.get(f"/jobs/{job['id']}")
    assert shown["job"]["counts"]["done"] == 1
    assert shown["copies"][0]["printer"] == "one"
    assert (await house.get("/jobs?state=completed"))["jobs"][0]["counts"]["done"] == 1
    assert "completed" in (await house.get(f"/jobs/{job['id']}/why"))["summary"]
    attempt_id = shown["attempts"][0]["id"]
    assert (await house.get(f"/attempts/{attempt_id}"))["attempt"]["copy_number"] == 1
    assert "completed" in (await house.post(f"/jobs/{job['id']}/hold", status=409))["error"]
    await house.post(f"/jobs/{job['id']}/reprint", status=201)


async def test_a_print_that_its_host_forgot_is_settled_by_a_person(house: House) -> None:
    host = await house.add_host("one")
    job = await house.submit(offline_grace_s=4.0)
    await house.until_copies(job["id"], printing=1)
    host.silent = True
    attempt_id = house.engine.farm.live_on["one"]
    await eventually(lambda: house.engine.farm.attempts[attempt_id].state.value == "lost")
    assert (await house.get("/printers/one"))["printer"]["state"] == "unsettled"
    assert (await house.post(f"/attempts/{attempt_id}/settle", {"outcome": "maybe"}, 400))[
        "field"
    ] == "outcome"
    settled = await house.post(f"/attempts/{attempt_id}/settle", {"outcome": "complete"})
    assert settled["attempt"]["accepted"] is True
    assert (await house.job(job["id"]))["state"] == "completed"
    await house.post(f"/attempts/{attempt_id}/settle", {"outcome": "complete"}, 409)
    await house.post("/attempts/none-of-this/settle", {"outcome": "complete"}, 404)


async def test_a_printer_that_is_not_ready_says_so(house: House) -> None:
    host = await house.add_host("one")
    host.say(refusals=(Reason("bed", "the bed is not clear"),))
    await eventually(lambda: house.engine.farm.printers["one"].report.refusals)  # type: ignore[union-attr]
    printer = (await house.get("/printers/one"))["printer"]
    assert (printer["state"], printer["reasons"][0]["code"]) == ("not_ready", "bed")


async def test_a_job_that_finishes_while_it_is_asked_for_is_shown_as_of_one_moment(
    house: House,
) -> None:
    host = await house.add_host("one")
    job_id = (await house.submit())["id"]
    await house.until_copies(job_id, printing=1)
    read_before = house.engine.farm.jobs[job_id]
    host.finish()
    await eventually(lambda: job_id not in house.engine.farm.jobs)
    view = await view_of(house.services, read_before)
    assert (view.state, view.counts.done) == (JobState.COMPLETED, 1)
