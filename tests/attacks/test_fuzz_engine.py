"""Rubbish on every topic of a host, into the real engine with its database: the farm goes on."""

from __future__ import annotations

import json
import logging
import random
from pathlib import Path
from typing import Any

import pytest

from coordinator.hearing import hand_over
from moonraker_component import wire
from moonraker_component.wire import Topics, WireError
from tests.http.house import House, eventually

ROUNDS = 60
MESSAGES_PER_ROUND = 25
JUNK: tuple[Any, ...] = (
    None, True, 0, -1, 2**53, 2**53 + 1, 10**400, 0.5, 1e308, "", "x" * 70_000, "\x00", "\ud800",
    "../../x", [], {}, [[]], {"": None}, "started", "ended", "complete",
)  # fmt: skip


def broken(valid: Any, dice: random.Random) -> Any:
    """A JSON value with some part of it replaced, removed or doubled."""
    if isinstance(valid, dict) and valid and dice.random() < 0.9:
        key = dice.choice(sorted(valid))
        if dice.random() < 0.1:
            return {name: value for name, value in valid.items() if name != key}
        return valid | {key: broken(valid[key], dice)}
    if isinstance(valid, list) and valid and dice.random() < 0.9:
        at = dice.randrange(len(valid))
        return [*valid[:at], broken(valid[at], dice), *valid[at:]]
    return dice.choice(JUNK)


def payload(valid: dict[str, Any], dice: random.Random) -> bytes:
    raw = json.dumps(broken(valid, dice)).encode("utf-8", "surrogatepass")
    if dice.random() < 0.2:
        at = dice.randrange(len(raw))
        raw = raw[:at] + dice.randbytes(dice.randrange(4)) + raw[at + 1 :]
    return raw


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_rubbish_fails_no_round_and_touches_no_other_printer(
    tmp_path: Path, seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    dice, topics = random.Random(seed), Topics()
    async with House(tmp_path) as house:
        engine, liar = house.engine, await house.add_host("a")
        honest = await house.add_host("b")
        job = await house.submit(copies=4)
        await house.until_copies(job["id"], printing=2)
        before = engine.farm.attempts[engine.farm.live_on["b"]]
        report = json.loads(wire.encode(liar.report))
        report["attempts"].append({**json.loads(wire.encode(honest.report.attempts[0]))})
        said = {
            "report": report,
            "telemetry": {"progress": 0.5, "left_s": 5.0, "heaters": {"bed": {"temperature_c": 9}}},
            "event": {"id": "1", "kind": "runout", "attempt": before.id, "data": {"a": "b"}},
            "nothing": {},
        }
        for _ in range(ROUNDS):
            for _ in range(MESSAGES_PER_ROUND):
                leaf = dice.choice(sorted(said))
                report["sequence"] += 1
                try:
                    hand_over(engine, topics, f"{topics.prefix}/printers/a/{leaf}",
                              payload(said[leaf], dice))  # fmt: skip
                except WireError:
                    continue
            await engine.ask(lambda draft, now: None)
            honest.say()
        assert engine.farm.attempts[before.id] == before
        assert not engine.farm.printers["b"].hold
        honest.finish()
        await eventually(lambda: engine.farm.live_on.get("b") != before.id)
        ended = await house.get(f"/attempts/{before.id}")
        assert ended["attempt"]["accepted"] is True
        for path in ("/printers", "/jobs", "/attempts", "/history", "/farm"):
            await house.get(path)
    assert caplog.records == []
