"""A host that lies or floods: the farm and the other printers go on as if it were not there."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import pytest

from coordinator.engine import INBOX_MAX
from moonraker_component import wire
from tests.broker.conftest import Mqtt
from tests.http.house import GCODE, PROFILE

from .conftest import DEADLINE_S, Farm, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

P = wire.PREFIX
TILE = (GCODE / "tile_pla.gcode").read_bytes()
FLOOD = 10_000
PAYLOADS = {
    "telemetry": b'{"progress":0.5}',
    "event": b'{"id":"%d","kind":"runout"}',
    "report": b'{"session":"flood","sequence":%d}',
}


class PlainHost:
    """A host as its messages are: it prepares, prints, and completes when told to."""

    def __init__(self, printer: str, client: Mqtt) -> None:
        self.printer, self.client = printer, client
        self.sequence = 0
        self.observed = (0, 0)
        self.order: dict[str, Any] | None = None
        self.phase = ""
        self.outcome = ""
        self.may_finish = True

    async def run(self, *, beat_s: float = 0.5) -> None:
        """Follow desireds and report, until cancelled."""
        assert await self.client.subscribe(f"{P}/printers/{self.printer}/desired")
        while True:
            await self.say()
            try:
                async with asyncio.timeout(beat_s):
                    _, payload, _ = await self.client.messages.get()
            except TimeoutError:
                continue
            self._take(json.loads(payload))

    def _take(self, desired: dict[str, Any]) -> None:
        self.observed = max(self.observed, (desired["term"], desired["generation"]))
        order = desired.get("order")
        if order is None:
            self.order = None
            return
        if self.order is None or order["attempt"] != self.order["attempt"]:
            self.phase, self.outcome = "prepared", ""
        self.order = order
        if order["want"] == "start" and self.phase == "prepared":
            self.phase = "printing"
        elif order["want"] == "run" and self.phase == "printing" and self.may_finish:
            self.phase, self.outcome = "ended", "complete"

    async def say(self, **more: Any) -> None:
        """Report, with whatever else is to be said."""
        self.sequence += 1
        told: list[dict[str, Any]] = []
        if self.order is not None:
            named = {name: self.order[name] for name in ("attempt", "copy", "job")}
            told = [named | {"phase": self.phase, "outcome": self.outcome}]
        report = {
            "session": f"session-{self.printer}",
            "sequence": self.sequence,
            "observed_term": self.observed[0],
            "observed_generation": self.observed[1],
            "klipper": {"link": "ready", "print_state": "standby"},
            "bed": {"clear": True, "token": "t"},
            "profile": json.loads(wire.encode(PROFILE)),
            "filament": {"material": "PLA"},
            "machine": f"machine-{self.printer}",
            "attempts": told,
        }
        topic = f"{P}/printers/{self.printer}/report"
        await self.client.publish(topic, json.dumps(report | more))


async def submit(farm: Farm, copies: int) -> str:
    """Order copies of the tile; returns the job."""
    stored = await farm.ask("POST", "/files?name=tile.gcode", TILE)
    sha256 = json.loads(stored.body)["file"]["sha256"]
    order = json.dumps({"file": sha256, "copies": copies}).encode()
    answer = await farm.ask("POST", "/jobs", order)
    assert answer.code == 201, answer.body
    return str(json.loads(answer.body)["job"]["id"])


async def done(farm: Farm, job: str) -> bool:
    answer = await farm.ask("GET", f"/jobs/{job}")
    return bool(json.loads(answer.body)["job"]["state"] == "completed")


async def test_a_host_that_floods_harms_nobody_else(
    farm: Farm, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    engine = farm.it.engine
    async with farm.mqtt(farm.logins["a"]) as a, farm.mqtt(farm.logins["b"]) as b:
        running = asyncio.create_task(PlainHost("b", b).run())
        turned = asyncio.create_task(PlainHost("a", a).run())
        try:
            for name in "ab":
                await until(lambda name=name: engine.farm.printers[name].session, "both are known")
            turned.cancel()
            job = await submit(farm, 3)
            fullest, said, longest_s = 0, 0, 0.0
            clock = asyncio.get_running_loop().time
            ends_s = clock() + DEADLINE_S
            while said < FLOOD or not await done(farm, job):
                for leaf, payload in PAYLOADS.items() if said < FLOOD else ():
                    for _ in range(100):
                        said += 1
                        body = payload % said if b"%" in payload else payload
                        a._client.publish(f"{P}/printers/a/{leaf}", body, qos=1)
                fullest = max(fullest, engine._inbox.qsize())
                silent_s = engine._clock.now().boot_s - engine.farm.contacts["b"].heard_s
                longest_s = max(longest_s, silent_s)
                assert not running.done()
                await asyncio.sleep(0.01)
                assert clock() < ends_s, "b does not come to an end"
            lease_s = engine.farm.settings.lease_s
            assert longest_s < lease_s, "b was not heard for a lease"
            assert fullest < INBOX_MAX / 10
            shown = json.loads((await farm.ask("GET", "/printers/a")).body)["printer"]
            assert "flooding" in [reason["code"] for reason in shown["reasons"]]
        finally:
            running.cancel()
            await asyncio.gather(running, turned, return_exceptions=True)
    told = [r.message for r in caplog.records if "messages a second" in r.message]
    assert len(told) == 1
    history = json.loads((await farm.ask("GET", "/history?printer=a&limit=500")).body)["history"]
    assert len(history) < 400, "what a flood leaves in the database is bounded"


async def test_a_report_about_anothers_attempt_changes_nothing(farm: Farm) -> None:
    engine = farm.it.engine
    async with farm.mqtt(farm.logins["a"]) as a, farm.mqtt(farm.logins["b"]) as b:
        honest, liar = PlainHost("b", b), PlainHost("a", a)
        honest.may_finish = False
        honest.sequence = liar.sequence = 10_000
        tasks = [asyncio.create_task(honest.run())]
        try:
            await submit(farm, 1)
            await until(
                lambda: (
                    (id_ := engine.farm.live_on.get("b", ""))
                    and engine.farm.attempts[id_].state.value == "started"
                ),
                "b prints",
            )
            victim = engine.farm.attempts[engine.farm.live_on["b"]]
            machine = engine.farm.printers["b"].machine
            stolen = {"attempt": victim.id, "copy": victim.copy, "job": victim.job}
            for claim in (
                {"attempts": [stolen | {"phase": "ended", "outcome": "complete"}]},
                {"attempts": [stolen | {"phase": "ended", "outcome": "failed"}]},
                {"attempts": [stolen | {"phase": "printing"}], "machine": machine},
                {"session": "session-b", "attempts": [stolen | {"phase": "paused"}]},
            ):
                await liar.say(**claim)
            heard = engine.farm.contacts.get("a")
            await liar.say()
            await until(lambda: engine.farm.contacts.get("a") != heard, "all of it was heard")
            now = engine.farm.attempts[victim.id]
            assert (now.state, now.outcome, now.pause, now.printer) == (
                victim.state, victim.outcome, victim.pause, "b",
            )  # fmt: skip
            assert not engine.farm.printers["b"].hold
            honest.may_finish = True
            async with asyncio.timeout(DEADLINE_S):
                while not await done(farm, victim.job):  # noqa: ASYNC110  # nothing tells when
                    await asyncio.sleep(0.02)
            ended = json.loads((await farm.ask("GET", f"/attempts/{victim.id}")).body)["attempt"]
            assert (ended["outcome"], ended["accepted"]) == ("complete", True)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
