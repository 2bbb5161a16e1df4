"""With the credentials of printer A, and without any: what a real Mosquitto and coordinator let in.

Mosquitto answers a forbidden publish under MQTT 3.1.1 like any other. So refusal is proved by
absence: the forbidden message first, an allowed one after it on the same connection, and only the
second arrives at somebody who hears everything.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl

import pytest

from coordinator.broker_config import Credentials
from tests.broker.conftest import Mqtt

from .conftest import DEADLINE_S, SPY, Farm, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

P = "moonfleet/v1"
CONTROL = "$CONTROL/dynamic-security/v1"
NOT_AS = [
    *[
        f"{P}/printers/b/{leaf}"
        for leaf in ("report", "telemetry", "event", "online", "desired", "command")
    ],
    f"{P}/printers/a/desired", f"{P}/printers/a/command", f"{P}/printers/a/report/more",
    f"{P}/printers/c/report", f"{P}/coordinator", f"{P}/jobs/ready", f"{P}/jobs/x/event",
    "elsewhere", CONTROL, "$SYS/broker/version", f"$share/g/{P}/printers/b/report",
]  # fmt: skip
NOT_TO = [
    "#", "$SYS/#", "+/+/+/+/+", f"{P}/#", f"{P}/printers/+/desired", f"{P}/printers/b/#",
    f"{P}/printers/b/desired", f"{P}/printers/b/command", f"{P}/printers/+/report",
    f"{P}/printers/b/report", f"{P}/jobs/ready", f"{P}/jobs/+/event", f"{CONTROL}/#", "$CONTROL/#",
    "$share/g/#", f"$share/g/{P}/#", f"$share/g/{P}/printers/b/desired",
    f"$share/g/{P}/printers/+/desired",
]  # fmt: skip
EVIL = {"command": "createClient", "username": "evil", "password": "evil"}


def payload_for(topic: str) -> str:
    """What would do harm there."""
    if topic == CONTROL:
        return json.dumps({"commands": [EVIL]})
    if topic.endswith("/coordinator"):
        return json.dumps({"online": True, "term": 99, "sequence": 1, "coordinator": "forged"})
    return json.dumps({"session": "forged", "sequence": 1, "online": False, "id": "f", "kind": "f"})


async def heard_until(spy: Mqtt, topic: str, payload: bytes) -> list[tuple[str, bytes]]:
    """What the spy heard before this message; beacons, desireds and the like are among it."""
    heard: list[tuple[str, bytes]] = []
    while True:
        got = await spy.next()
        if got[:2] == (topic, payload):
            return heard
        heard.append(got[:2])


async def test_a_says_nothing_but_its_own(farm: Farm) -> None:
    before = farm.state_of("b"), farm.it.engine.farm.reign
    async with farm.mqtt(SPY) as spy, farm.mqtt(farm.logins["a"]) as a:
        assert await spy.subscribe("#")
        for topic in NOT_AS:
            await a.publish(topic, payload_for(topic), retain=True)
        await a.publish(f"{P}/printers/a/online", "marker")
        heard = await heard_until(spy, f"{P}/printers/a/online", b"marker")
    forged = {payload_for(topic).encode() for topic in NOT_AS}
    assert [got for got in heard if got[1] in forged] == []
    async with farm.mqtt(SPY) as spy:  # nor was anything kept for whoever comes later
        assert await spy.subscribe("#")
        await spy.publish("marker", "marker")
        assert not {payload for _, payload in await heard_until(spy, "marker", b"marker")} & forged
    assert (farm.state_of("b"), farm.it.engine.farm.reign) == before
    stranger = Mqtt(farm.it.mqtt_port, Credentials("evil", "evil"))
    assert "ot authori" in await stranger.start()
    await stranger.stop()


async def test_a_hears_nothing_but_its_own(farm: Farm) -> None:
    async with farm.mqtt(farm.logins["a"]) as a, farm.mqtt(SPY) as spy:
        assert await a.subscribe(f"{P}/printers/a/desired")
        assert [topic for topic in NOT_TO if await a.subscribe(topic)] == []
        for topic in (f"{P}/printers/b/desired", f"{P}/printers/b/report", f"{P}/jobs/x/event"):
            await spy.publish(topic, "secret")
        await spy.publish(f"{P}/printers/a/command", "not subscribed")
        await spy.publish(f"{P}/printers/a/desired", "marker")
        heard = await heard_until(a, f"{P}/printers/a/desired", b"marker")
        assert {topic for topic, _ in heard} <= {f"{P}/printers/a/desired"}


async def test_a_cannot_end_the_connection_of_another_by_its_client_id(farm: Farm) -> None:
    async with (
        farm.mqtt(SPY) as spy,
        farm.mqtt(farm.logins["b"], "moonfleet-b-0a1b2c3d") as b,
    ):
        assert await spy.subscribe(f"{P}/printers/+/online")
        for claimed in ("moonfleet-b-0a1b2c3d", "b", "moonfleet-coordinator"):
            async with farm.mqtt(farm.logins["a"], claimed) as a:
                await a.publish(f"{P}/printers/a/online", claimed)
                await b.publish(f"{P}/printers/b/online", claimed)
                await heard_until(spy, f"{P}/printers/b/online", claimed.encode())
        assert b.logins == 1
    assert farm.it.engine.farm.reign.connected_s is not None


async def test_a_leaves_no_will_on_a_foreign_topic(farm: Farm) -> None:
    async with farm.mqtt(SPY) as spy:
        assert await spy.subscribe(f"{P}/#")
        for topic, allowed in (
            (f"{P}/printers/a/online", True),  # so that the way of doing it is known to work
            (f"{P}/printers/b/online", False),
            (f"{P}/printers/b/desired", False),
            (f"{P}/coordinator", False),
        ):
            a = Mqtt(farm.it.mqtt_port, farm.logins["a"])
            a.leave_will(topic, "last words")
            try:
                assert await a.start() == "Success"
                a.cut()
                await until(lambda a=a: a.logins == 2, "back again: the old connection is over")
                await a.publish(f"{P}/printers/a/event", "marker")
                heard = await heard_until(spy, f"{P}/printers/a/event", b"marker")
            finally:
                await a.stop()
            assert ((topic, b"last words") in heard) is allowed


async def test_what_is_too_large_is_not_passed_on_and_then_cut_off(farm: Farm) -> None:
    async with farm.mqtt(SPY) as spy, farm.mqtt(farm.logins["a"]) as a:
        assert await spy.subscribe(f"{P}/printers/a/event")
        await a.publish(f"{P}/printers/a/event", "x" * 300_000)
        await a.publish(f"{P}/printers/a/event", "marker")
        assert await heard_until(spy, f"{P}/printers/a/event", b"marker") == []
        assert a.logins == 1
        a._client.publish(f"{P}/printers/a/event", "x" * 2_000_000)
        await until(lambda: a.logins == 2, "cut off for its size")


@pytest.mark.parametrize("login", [("", ""), ("a", ""), ("a", "guess"), ("spy ", "x")])
async def test_nobody_is_let_in_without_an_account(farm: Farm, login: tuple[str, str]) -> None:
    for port, tls in ((farm.it.mqtt_port, False), (farm.it.mqtt_tls_port, True)):
        stranger = Mqtt(port, Credentials(*login))
        if tls:
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            stranger._client.tls_set_context(context)
        try:
            assert "ot authori" in await stranger.start()
        finally:
            await stranger.stop()


async def test_the_tls_doors_speak_nothing_else(farm: Farm) -> None:
    for port in (farm.it.mqtt_tls_port, farm.it.https_port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        said = b""
        with contextlib.suppress(ConnectionResetError):  # one way of saying no
            async with asyncio.timeout(DEADLINE_S):
                said = await reader.read()
        writer.close()
        assert b"HTTP" not in said
