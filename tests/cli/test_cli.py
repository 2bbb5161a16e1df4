"""`moonfleet` as scripts see it: words, JSON and exit codes, against a real server."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from coordinator.cli.main import parser
from coordinator.cli.watch import Feed
from moonraker_component.wire import Bed, Outcome, Reason
from tests.http.house import GCODE, House, eventually

ROOT = Path(__file__).parents[2]
TILE = str(GCODE / "tile_pla.gcode")


class Ran(NamedTuple):
    code: int
    out: str
    errors: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


async def start(
    url: str, *arguments: str, stdin: int | None = None, **more: str
) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "coordinator.cli", *arguments, stdin=stdin,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env=os.environ | {"MOONFLEET_URL": url, "PYTHONPATH": str(ROOT)} | more,
    )  # fmt: skip


async def ended(process: asyncio.subprocess.Process) -> Ran:
    async with asyncio.timeout(60):
        out, errors = await process.communicate()
    assert process.returncode is not None
    return Ran(process.returncode, out.decode(), errors.decode())


async def moonfleet(house: House, *arguments: str) -> Ran:
    return await ended(await start(house.url, *arguments, MOONFLEET_KEY=house.key))


async def test_submit_list_show_and_why(house: House) -> None:
    ran = await moonfleet(house, "submit", TILE, "--copies", "2", "--printer", "x")
    assert (ran.code, "no such printer" in ran.errors) == (1, True)
    ran = await moonfleet(
        house, "submit", TILE, "--copies", "2", "--nozzle", "0.6", "--lane", "express",
        "--offline-grace", "never", "--json",
    )  # fmt: skip
    job = ran.json["jobs"][0]
    assert (ran.code, job["copies"], job["lane"]) == (0, 2, "express")
    assert (job["offline_grace_s"], job["requirements"]["nozzle_mm"]) == ("never", 0.6)
    await house.add_host("one")
    short = job["id"][:6]
    assert short in (await moonfleet(house, "jobs")).out
    assert "0/2 done, 2 waiting" in (await moonfleet(house, "job", short)).out
    why = await moonfleet(house, "why", short)
    assert "wants 0.6 mm, has 0.4 mm" in why.out
    assert "idle" in (await moonfleet(house, "printers")).out
    assert (await moonfleet(house, "why", short, "--json")).json["printers"][0]["verdict"] == (
        "refuses"
    )


async def test_acts_by_the_beginning_of_an_id(house: House) -> None:
    first, second = await house.submit(), await house.submit()
    for act, state in (("hold", "held"), ("release", "active"), ("pause", "held"),
                       ("resume", "active")):  # fmt: skip
        ran = await moonfleet(house, act, first["id"][:8], "--json")
        assert (ran.code, ran.json["job"]["state"]) == (0, state), act
    moved = await moonfleet(house, "move", second["id"], "--before", first["id"][:8])
    assert moved.code == 0
    jobs = (await moonfleet(house, "jobs", "--json")).json["jobs"]
    assert [job["id"] for job in jobs] == [second["id"], first["id"]]
    changed = await moonfleet(house, "change", first["id"][:8], "--priority", "9", "--json")
    assert changed.json["job"]["priority"] == 9
    assert (await moonfleet(house, "change", first["id"])).code == 2
    assert (await moonfleet(house, "cancel", first["id"][:8])).code == 0
    assert (await moonfleet(house, "cancel", first["id"])).code == 1
    again = await moonfleet(house, "reprint", first["id"][:8], "--copies", "3", "--json")
    assert again.json["job"]["copies"] == 3


async def test_exit_codes(house: House, tmp_path: Path) -> None:
    assert (await moonfleet(house, "job", "feedbeef")).code == 4
    assert (await moonfleet(house, "job", "f" * 32)).code == 4
    assert (await moonfleet(house, "clear", "nobody")).code == 4
    assert (await moonfleet(house, "submit", str(tmp_path / "none.gcode"))).code == 2
    assert (await moonfleet(house, "submit", str(tmp_path))).code == 2
    assert (await moonfleet(house, "nonsense")).code == 2
    assert (await moonfleet(house, "jobs", "--url", "localhost:1")).code == 2
    away = await ended(await start("http://127.0.0.1:1", "jobs", "--json"))
    assert (away.code, away.json["ok"]) == (3, False)
    empty = tmp_path / "empty.gcode"
    empty.write_bytes(b"")
    refused = await moonfleet(house, "submit", str(empty))
    assert (refused.code, "empty" in refused.errors) == (1, True)
    bad = await moonfleet(house, "submit", TILE, "--nozzle", "abc", "--json")
    assert (bad.code, bad.json["field"]) == (1, "nozzle_mm")
    for number in range(17):
        await house.submit(name=f"{number}.gcode")
    several = await moonfleet(house, "job", "")
    assert (several.code, "give more" in several.errors) == (2, True)


async def test_wait_ends_with_the_job(house: House) -> None:
    host = await house.add_host("one")
    waiting = await start(house.url, "submit", TILE, "--wait", "--json", MOONFLEET_KEY=house.key)
    await eventually(lambda: host.report.attempts)
    await eventually(lambda: host.report.attempts[0].phase.value == "printing")
    host.finish()
    done = await ended(waiting)
    assert (done.code, done.json["jobs"][0]["state"]) == (0, "completed")
    waiting = await start(
        house.url, "submit", TILE, "--wait", "--retries", "0", MOONFLEET_KEY=house.key
    )
    await eventually(lambda: host.report.attempts[0].phase.value == "printing")
    host.finish(Outcome.FAILED, "klipper_error")
    held = await ended(waiting)
    assert (held.code, "klipper_error" in held.errors) == (5, True)


async def test_watch_follows_a_job_to_its_end(house: House) -> None:
    host = await house.add_host("one")
    job = await house.submit()
    await house.until_copies(job["id"], printing=1)
    watching = await start(house.url, "watch", job["id"][:8], MOONFLEET_KEY=house.key)
    assert watching.stdout is not None
    assert b"1 printing" in await watching.stdout.readline()
    host.finish()
    seen = await ended(watching)
    assert (seen.code, "completed, 1/1 done" in seen.out) == (0, True)


def test_a_missed_message_is_noticed() -> None:
    feed = Feed()
    assert feed.take({"type": "snapshot", "sequence": 4, "printers": [{"id": "a"}]})
    assert feed.take({"type": "change", "sequence": 5, "readings": [{"printer": "a", "at": 1}]})
    assert feed.printers["a"]["readings"]["at"] == 1
    assert not feed.take({"type": "change", "sequence": 7})


async def test_printers_are_added_held_and_cleared(house: House) -> None:
    added = await moonfleet(house, "printer", "add", "p1", "--tag", "pei")
    assert "mqtt_password: password of p1" in added.out
    assert (await moonfleet(house, "printer", "add", "p1")).code == 1
    assert (await moonfleet(house, "printer", "credentials", "p1")).code == 0
    assert (await moonfleet(house, "printer", "hold", "p1", "--reason", "smell")).code == 0
    assert "smell" in (await moonfleet(house, "printers")).out
    assert (await moonfleet(house, "printer", "release", "p1")).code == 0
    assert (await moonfleet(house, "maintenance", "p1")).code == 0
    assert (await moonfleet(house, "service", "p1")).code == 0
    host = await house.add_host(
        "two", bed=Bed(clear=False, token="b"), refusals=(Reason("bed", "not clear"),)
    )
    assert (await moonfleet(house, "clear", "two")).out == "two: the bed is clear\n"
    assert host.commands[0].token == "b"
    assert "already" in (await moonfleet(house, "clear", "two")).out
    assert (await moonfleet(house, "farm", "--json")).json["farm"]["version"] == "1.2.3"


def commands(made: argparse.ArgumentParser, prefix: str) -> set[str]:
    """Names of all commands, with those that only hold others left out."""
    found: set[str] = set()
    for action in made._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, inner in action.choices.items():
                found |= commands(inner, f"{prefix} {name}") or {f"{prefix} {name}"}
    return found


def test_each_command_and_option_is_documented() -> None:
    text = (ROOT / "docs" / "cli.md").read_text()
    assert set(re.findall(r"^### `(.+)`$", text, re.MULTILINE)) == commands(parser(), "moonfleet")
    top = next(a for a in parser()._actions if isinstance(a, argparse._SubParsersAction))
    for action in top.choices["submit"]._actions:
        for option in action.option_strings:
            shared = ("-h", "--help", "--url")
            assert option in shared or f"`{option}`" in text, option


@pytest.mark.parametrize("code", range(7))
def test_each_exit_code_is_documented(code: int) -> None:
    assert f"| {code} |" in (ROOT / "docs" / "cli.md").read_text()
