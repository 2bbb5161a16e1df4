"""The coordinator's MQTT connection on a real Mosquitto: it comes back, and takes no rubbish."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
from pathlib import Path

import pytest

from coordinator.broker import Broker
from coordinator.core import printer_requests, requests
from tests.engine.real import (
    PREFIX,
    SETTINGS,
    Client,
    Coordinator,
    address_of,
    client_of,
    coordinator_on,
    until,
)

WHO = requests.Who("tester")
BEACON = f"{PREFIX}/coordinator"
DESIRED = f"{PREFIX}/printers/a/desired"
REPORT = f"{PREFIX}/printers/a/report"


async def add_a(coordinator: Coordinator) -> None:
    await coordinator.engine.ask(
        lambda d, now: printer_requests.add_printer(d, "a", "A", (), WHO, now)
    )


def current(coordinator: Coordinator) -> str:
    """The session that counts or wants to."""
    printer = coordinator.engine.farm.printers["a"]
    return printer.session or printer.pending_session


async def test_a_wrong_password_is_told_once_and_tried_again_until_it_is_right(
    broker: Broker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    coordinator = Coordinator(tmp_path / "moonfleet.db", address_of(broker, "wrong for now"))
    await coordinator.start()
    try:
        await until(lambda: "refused the connection" in caplog.text, "the refusal told")
        assert not coordinator.hears_itself
        login = broker.coordinator_credentials
        async with broker.rights() as rights:
            await rights.ensure_coordinator(type(login)(login.username, "wrong for now"))
        await until(lambda: coordinator.hears_itself, "connected after all")
        assert caplog.text.count("refused the connection") == 1
        assert "wrong for now" not in caplog.text
    finally:
        await coordinator.stop()


async def test_a_broker_that_is_not_there_yet_is_waited_for(broker: Broker, tmp_path: Path) -> None:
    address = address_of(broker)
    await broker.stop()
    coordinator = Coordinator(tmp_path / "moonfleet.db", address)
    await coordinator.start()
    try:
        await add_a(coordinator)
        assert not coordinator.bus.connected
        await broker.start()
        await until(lambda: coordinator.hears_itself, "connected once it is there")
    finally:
        await coordinator.stop()


async def test_a_killed_broker_is_noticed_and_everything_is_said_again(
    broker: Broker, tmp_path: Path
) -> None:
    async with (
        coordinator_on(broker, tmp_path / "moonfleet.db") as coordinator,
        client_of(broker, "a", DESIRED, BEACON) as client,
    ):
        heard_lost: list[bool] = []
        lost = coordinator.engine.hear_disconnected

        def note_lost() -> None:
            heard_lost.append(True)
            lost()

        coordinator.engine.hear_disconnected = note_lost  # type: ignore[method-assign]
        await add_a(coordinator)
        await until(lambda: any(t == DESIRED for t, _ in client.heard), "desired heard")
        assert broker.pid is not None
        client.subscribed = False
        os.kill(broker.pid, signal.SIGKILL)
        await until(lambda: heard_lost, "the engine told that it is deaf")
        client.heard.clear()
        await until(lambda: coordinator.hears_itself, "own beacon heard again")
        await until(lambda: client.subscribed, "the host is back as well")
        client.heard.clear()
        await until(lambda: {t for t, _ in client.heard} == {DESIRED, BEACON}, "both said again")


async def test_retained_reports_and_beacons_prove_nothing(broker: Broker, tmp_path: Path) -> None:
    """What a broker has kept of a host that died, and of a reign that ended, is not news."""
    path = tmp_path / "moonfleet.db"
    async with coordinator_on(broker, path) as first:
        await add_a(first)
        generation = first.engine.farm.printers["a"].generation
    login = broker.coordinator_credentials
    reign = Client(broker.port, login.username, login.password)
    await reign.start(BEACON)
    await reign.say(BEACON, {"online": True, "term": 99, "sequence": 1}, retain=True)
    await reign.stop()
    async with client_of(broker, "a", DESIRED) as client:
        await client.say(REPORT, {"session": "kept", "sequence": 1}, retain=True)
        async with coordinator_on(broker, path) as second:
            await client.say(REPORT, {"session": "live", "sequence": 1})
            await until(
                lambda: second.task.done() or current(second) == "live", "the live report heard"
            )
            assert not second.task.done(), "stood down before a reign that had ended"
            assert second.engine.farm.printers["a"].generation == generation + 1


async def test_rubbish_is_told_once_and_breaks_nothing(
    broker: Broker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    async with (
        coordinator_on(broker, tmp_path / "moonfleet.db") as coordinator,
        client_of(broker, "a", DESIRED) as client,
    ):
        await add_a(coordinator)
        for _ in range(3):
            await client.say(REPORT, b"")
            await client.say(REPORT, b"")
            await client.say(f"{PREFIX}/printers/a/event", b"\xff{")
        for payload in (b"[" * 200_000, b'{"session":"\\ud800","sequence":1}', b"x" * 300_000):
            await client.say(REPORT, payload)
        await client.say(f"{PREFIX}/printers/b/report", b'{"session":"forged","sequence":1}')
        await client.say(REPORT, {"session": "good", "sequence": 1})
        await until(lambda: current(coordinator) == "good", "a good report after all that")
        assert caplog.text.count("Report: Input data was truncated") == 1
        assert caplog.text.count("printers/a/event: message refused") == 1
        assert "forged" not in caplog.text
        assert not coordinator.task.done()


async def test_a_stop_says_offline_and_so_does_the_will(broker: Broker, tmp_path: Path) -> None:
    path = tmp_path / "moonfleet.db"
    async with client_of(broker, "a", BEACON) as client:

        def newest() -> dict[str, object]:
            said = [json.loads(payload) for _, payload in client.heard]
            return said[-1] if said else {}

        async with coordinator_on(broker, path) as coordinator:
            await until(lambda: newest().get("online") is True, "online told")
            told = newest()
            assert (told["lease_s"], told["version"]) == (SETTINGS.lease_s, "test")
            assert told["term"] == coordinator.engine.farm.reign.term
        await until(lambda: newest() == {"online": False, "version": "test"}, "goodbye")
        async with coordinator_on(broker, path) as coordinator:
            await until(lambda: newest().get("online") is True, "online again")
            seen = len(client.heard)
            connection = coordinator.bus._client.socket()
            assert isinstance(connection, socket.socket)
            connection.shutdown(socket.SHUT_RDWR)  # it breaks without a goodbye
            offline = {"online": False, "version": "test"}
            await until(
                lambda: offline in [json.loads(p) for _, p in client.heard[seen:]], "the will"
            )
            await until(lambda: newest().get("online") is True, "and back")
