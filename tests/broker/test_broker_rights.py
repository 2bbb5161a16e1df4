"""The rights as a real Mosquitto enforces them.

Mosquitto answers a forbidden publish under MQTT 3.1.1 like any other, so refusal is proved by
absence: the forbidden message first, an allowed one after it, and only the second arrives.
"""

from __future__ import annotations

import pytest

from coordinator.broker import HOST, Broker
from coordinator.broker_config import Credentials
from coordinator.dynsec import Dynsec
from coordinator.dynsec_link import LoginRefused

from .conftest import Connect, Mqtt

A = Credentials("a", "password of a")
B = Credentials("b", "password of b")


@pytest.fixture
async def farm(broker: Broker) -> Broker:
    async with broker.rights() as rights:
        await rights.ensure_printers({"a": A.password, "b": B.password})
    return broker


async def test_a_printer_publishes_its_own_topics_to_the_coordinator(
    farm: Broker, connect: Connect
) -> None:
    coordinator = await connect(farm, farm.coordinator_credentials)
    a = await connect(farm, A)
    for topic in ("report", "online", "telemetry", "event"):
        assert await coordinator.subscribe(f"moonfleet/v1/printers/+/{topic}")
        await a.publish(f"moonfleet/v1/printers/a/{topic}", topic)
        assert await coordinator.next() == (
            f"moonfleet/v1/printers/a/{topic}",
            topic.encode(),
            False,
        )


@pytest.mark.parametrize(
    "forbidden",
    [
        "printers/b/report",
        "printers/a/desired",
        "printers/b/desired",
        "coordinator",
        "jobs/1/event",
    ],
)
async def test_a_printer_publishes_nothing_else(
    farm: Broker, connect: Connect, forbidden: str
) -> None:
    coordinator = await connect(farm, farm.coordinator_credentials)
    b = await connect(farm, B)
    for topic in ("printers/+/report", "coordinator"):
        assert await coordinator.subscribe(f"moonfleet/v1/{topic}")
    assert await b.subscribe("moonfleet/v1/printers/b/desired")
    a = await connect(farm, A)
    await a.publish(f"moonfleet/v1/{forbidden}", "forged", retain=True)
    await a.publish("moonfleet/v1/printers/a/report", "marker")
    assert await coordinator.next() == ("moonfleet/v1/printers/a/report", b"marker", False)
    await coordinator.publish("moonfleet/v1/printers/b/desired", "marker")
    assert await b.next() == ("moonfleet/v1/printers/b/desired", b"marker", False)
    assert coordinator.messages.empty()
    # Nor was it kept for whoever comes later.
    assert await retained_below(farm, connect, f"moonfleet/v1/{forbidden}") == []


async def retained_below(farm: Broker, connect: Connect, topic: str) -> list[bytes]:
    """The retained payloads of `topic`, seen by an account that the admin lets hear it all."""
    async with farm.rights() as rights:
        await rights._do(
            [
                {
                    "command": "createRole",
                    "rolename": "everything",
                    "acls": [
                        {"acltype": kind, "topic": "#", "allow": True}
                        for kind in ("subscribePattern", "publishClientReceive")
                    ]
                    + [{"acltype": "publishClientSend", "topic": "marker", "allow": True}],
                },
                {
                    "command": "createClient",
                    "username": "listener",
                    "password": "l",
                    "roles": [{"rolename": "everything"}],
                },
            ]
        )
    listener = await connect(farm, Credentials("listener", "l"))
    assert await listener.subscribe(topic)
    assert await listener.subscribe("marker")
    await listener.publish("marker", "marker")
    payloads = []
    while (message := await listener.next())[0] != "marker":
        payloads.append(message[1])
    return payloads


async def test_a_printer_hears_its_own_desired_and_command_and_the_beacon(
    farm: Broker, connect: Connect
) -> None:
    coordinator = await connect(farm, farm.coordinator_credentials)
    a = await connect(farm, A)
    for topic in ("printers/a/desired", "printers/a/command", "coordinator"):
        await coordinator.publish(f"moonfleet/v1/{topic}", topic, retain=True)
        assert await a.subscribe(f"moonfleet/v1/{topic}")
        assert await a.next() == (f"moonfleet/v1/{topic}", topic.encode(), True)


@pytest.mark.parametrize(
    "topic",
    ["printers/b/desired", "printers/b/report", "printers/+/desired", "#", "jobs/ready"],
)
async def test_a_printer_cannot_listen_elsewhere(
    farm: Broker, connect: Connect, topic: str
) -> None:
    coordinator = await connect(farm, farm.coordinator_credentials)
    a = await connect(farm, A)
    assert await a.subscribe("moonfleet/v1/printers/a/desired")
    granted = await a.subscribe(topic if topic == "#" else f"moonfleet/v1/{topic}")
    await coordinator.publish("moonfleet/v1/printers/b/desired", "not for a")
    await coordinator.publish("moonfleet/v1/printers/a/desired", "marker")
    assert await a.next() == ("moonfleet/v1/printers/a/desired", b"marker", False)
    assert not granted


async def test_the_coordinator_hears_its_own_beacon(farm: Broker, connect: Connect) -> None:
    coordinator = await connect(farm, farm.coordinator_credentials)
    assert await coordinator.subscribe("moonfleet/v1/coordinator")
    await coordinator.publish("moonfleet/v1/coordinator", "here", retain=True)
    assert (await coordinator.next())[1] == b"here"


@pytest.mark.parametrize(
    "credentials", [Credentials("a", "wrong"), Credentials("nobody", "x"), Credentials("", "")]
)
async def test_a_wrong_or_missing_account_is_refused(
    farm: Broker, credentials: Credentials
) -> None:
    client = Mqtt(farm.port, credentials)
    try:
        assert "ot authori" in await client.start()
    finally:
        await client.stop()


async def test_the_admin_with_a_wrong_password_is_told_so(farm: Broker) -> None:
    wrong = Credentials(farm.admin_credentials.username, "wrong")
    with pytest.raises(LoginRefused, match=f"at {HOST}:{farm.port}"):
        async with Dynsec(HOST, farm.port, wrong):
            pass


async def test_a_printer_is_not_the_admin(farm: Broker) -> None:
    with pytest.raises(LoginRefused, match="not the admin"):
        async with Dynsec(HOST, farm.port, A):
            pass


async def test_ensuring_a_known_printer_changes_its_password(
    farm: Broker, connect: Connect
) -> None:
    async with farm.rights() as rights:
        await rights.ensure_printer("a", "new password")
        assert await rights.list_printers() == ("a", "b")
    await connect(farm, Credentials("a", "new password"))
    old = Mqtt(farm.port, A)
    try:
        assert "ot authori" in await old.start()
    finally:
        await old.stop()


async def test_a_removed_printer_has_no_account_left(farm: Broker) -> None:
    async with farm.rights() as rights:
        assert await rights.remove_printer("a") is True
        assert await rights.remove_printer("a") is False
        assert await rights.list_printers() == ("b",)
    client = Mqtt(farm.port, A)
    try:
        assert "ot authori" in await client.start()
    finally:
        await client.stop()


async def test_more_printers_than_fit_one_message(broker: Broker, connect: Connect) -> None:
    passwords = {f"printer_{number:03}": f"secret {number}" for number in range(230)}
    async with broker.rights() as rights:
        await rights.ensure_printers(passwords)
        assert await rights.list_printers() == tuple(sorted(passwords))
    await connect(broker, Credentials("printer_229", "secret 229"))


async def test_a_foreign_broker_gets_the_coordinators_account(
    broker: Broker, connect: Connect
) -> None:
    chosen = Credentials("farm-7", "chosen by its owner")
    async with broker.rights() as rights:
        await rights.ensure_coordinator(chosen)
        assert await rights.list_printers() == ()
    coordinator = await connect(broker, chosen)
    assert await coordinator.subscribe("moonfleet/v1/printers/+/report")
