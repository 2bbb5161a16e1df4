"""A component of the next version and one of the last work with this coordinator.

The real engine, bus, database and Mosquitto; the hosts speak JSON that no type of ours made.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from coordinator.broker import Broker
from coordinator.core import printer_requests, requests
from coordinator.core.jobs import JobFile, JobState
from moonraker_component import wire
from tests.engine.real import (
    PREFIX,
    Coordinator,
    Json,
    JsonHost,
    client_of,
    coordinator_on,
    until,
)
from tests.wire.vectors import FULL, LEAST, SHA, parts_of

WHO = requests.Who("tester")
NEW: Json = {"new_text": "½", "new_list": [1, None, {"deep": [[[]]]}], "new_null": None}


def with_unknown_fields(value: Any) -> Any:
    """The same with fields of the next version in every object."""
    if isinstance(value, list):
        return [with_unknown_fields(item) for item in value]
    if isinstance(value, dict):
        return {**{k: with_unknown_fields(v) for k, v in value.items()}, **NEW}
    return value


def next_version(report: Json) -> Json:
    """Everything that can be reported, and more in every object, lists of objects included."""
    full = json.loads(wire.encode(next(v for v in FULL if isinstance(v, wire.Report))))
    everything = {**full, **report, "refusals": []}
    busy = {"pause": "", "fenced": False, "cause": "", "message": "printing"}
    everything["attempts"] = [{**busy, **told} for told in report["attempts"]]
    return dict(with_unknown_fields(everything))


def last_version(report: Json) -> Json:
    """Only what takes part: nothing of Klipper, the bed, the machine, the filament."""
    return report


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Broker]:
    broker = Broker(tmp_path / "broker", jitter=lambda: 0.0)
    await broker.start()
    yield broker
    await broker.stop()


@pytest.mark.parametrize("dress", [next_version, last_version], ids=lambda dress: dress.__name__)
async def test_a_print_goes_all_the_way_with_a_component_of_another_version(
    broker: Broker, tmp_path: Path, dress: Any
) -> None:
    async with (
        coordinator_on(broker, tmp_path / "moonfleet.db") as coordinator,
        client_of(broker, "other", *JsonHost.topics("other")) as client,
    ):
        host = JsonHost("other", client, dress)
        running = asyncio.create_task(host.run())
        try:
            await _prints_one_copy(coordinator, host)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


async def _prints_one_copy(coordinator: Coordinator, host: JsonHost) -> None:
    engine = coordinator.engine
    await engine.ask(lambda d, now: printer_requests.add_printer(d, "other", "Other", (), WHO, now))
    wish = requests.Submission(file=JobFile(SHA, "part.gcode", "Part", 10))
    ids = iter(("job-1", "copy-1"))
    job = await engine.ask(lambda d, now: requests.submit(d, wish, WHO, now, ids))
    await until(lambda: job.id not in engine.farm.jobs, "the job has left the memory")
    stored = await coordinator.store.reads.job(job.id)
    assert stored is not None
    assert stored.state is JobState.COMPLETED
    assert host.phases == ["preparing", "prepared", "printing", "ended"]
    wants = list(dict.fromkeys(order["want"] for order in host.orders))
    assert wants == ["prepare", "start", "run"]
    bound = {order.get("session", "") for order in host.orders if order["want"] == "start"}
    assert bound == {host.session}
    kinds = [line.kind for line in await coordinator.store.history(job=job.id)][::-1]
    steps = [kind for kind in kinds if kind.startswith(("attempt_a", "attempt_s", "attempt_c"))]
    assert steps == [
        "attempt_assigned",
        "attempt_armed",
        "attempt_started",
        "attempt_completed",
    ]


async def test_other_topics_take_fields_of_the_next_version_too(
    broker: Broker, tmp_path: Path
) -> None:
    full = {type(value): json.loads(wire.encode(value)) for value in FULL}
    async with (
        coordinator_on(broker, tmp_path / "moonfleet.db") as coordinator,
        client_of(broker, "other", *JsonHost.topics("other")) as client,
    ):
        engine = coordinator.engine
        await engine.ask(lambda d, now: printer_requests.add_printer(d, "other", "", (), WHO, now))
        base = f"{PREFIX}/printers/other"
        telemetry = with_unknown_fields(full[wire.Telemetry])
        telemetry["heaters"] = full[wire.Telemetry]["heaters"]
        await client.say(f"{base}/telemetry", telemetry)
        await client.say(f"{base}/event", with_unknown_fields({"id": "e1", "kind": "runout"}))
        await client.say(f"{base}/a_topic_of_the_next_version", {"hello": True})
        await until(lambda: "other" in engine.telemetry and engine.events, "both heard")
        assert engine.telemetry["other"] == next(v for v in FULL if isinstance(v, wire.Telemetry))
        assert [event.kind for _, event in engine.events] == ["runout"]


@pytest.mark.parametrize("value", FULL, ids=lambda value: type(value).__name__)
def test_unknown_fields_at_every_level_change_nothing(value: wire.Message) -> None:
    more = with_unknown_fields(json.loads(wire.encode(value)))
    for free in ("heaters", "data"):  # maps whose keys are names, not fields
        if free in more:
            more[free] = json.loads(wire.encode(value))[free]
    assert wire.decode(type(value), json.dumps(more).encode()) == value


@pytest.mark.parametrize("value", LEAST, ids=lambda value: type(value).__name__)
def test_missing_fields_take_their_defaults(value: wire.Message) -> None:
    needed = {f.encode_name for f in msgspec.structs.fields(type(value)) if f.required}
    bare = {k: v for k, v in json.loads(wire.encode(value)).items() if k in needed}
    assert wire.decode(type(value), json.dumps(bare).encode()) == value


def test_every_part_of_every_message_can_lose_each_of_its_defaulted_fields() -> None:
    for value in FULL:
        for part in parts_of(value):
            text = json.loads(wire.encode(part))
            for field in msgspec.structs.fields(type(part)):
                less = {k: v for k, v in text.items() if k != field.encode_name}
                payload = json.dumps(less).encode()
                if field.required:
                    with pytest.raises(wire.WireError, match=field.encode_name):
                        wire.decode(type(part), payload)
                else:
                    default = field.default
                    if field.default_factory is not msgspec.NODEFAULT:
                        default = field.default_factory()
                    assert getattr(wire.decode(type(part), payload), field.name) == default
