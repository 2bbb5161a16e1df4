"""The embedded broker as a process: restarts, stale children, trouble at the start."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from coordinator.broker import (
    RESTART_FIRST_S,
    RESTART_LONGEST_S,
    Broker,
    BrokerFailed,
    restart_delay_s,
)
from coordinator.broker_config import Credentials

from .conftest import DEADLINE_S, Connect

BEACON = "moonfleet/v1/coordinator"


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110 (another process's state has no event)
            await asyncio.sleep(0.02)


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


async def test_it_comes_back_from_sigkill_with_accounts_and_retained_messages(
    broker: Broker, connect: Connect, tmp_path: Path
) -> None:
    async with broker.rights() as rights:
        await rights.ensure_printer("a", "secret")
    first = await connect(broker, broker.coordinator_credentials)
    await first.publish(BEACON, "still known", retain=True)
    await until(lambda: b"still known" in saved(tmp_path / "broker"))
    pid = broker.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    await until(lambda: broker.pid not in (None, pid) and answers(broker.port))
    async with broker.rights() as rights:
        assert await rights.list_printers() == ("a",)
    a = await connect(broker, Credentials("a", "secret"))
    assert await a.subscribe(BEACON)
    assert await a.next() == (BEACON, b"still known", True)


def saved(folder: Path) -> bytes:
    store = folder / "data" / "mosquitto.db"
    return store.read_bytes() if store.exists() else b""


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def test_a_stop_keeps_retained_messages_and_accounts_without_autosave(
    tmp_path: Path, connect: Connect
) -> None:
    broker = Broker(tmp_path / "broker", jitter=lambda: 0.0)
    await broker.start()
    async with broker.rights() as rights:
        await rights.ensure_printer("a", "secret")
    coordinator = await connect(broker, broker.coordinator_credentials)
    await coordinator.publish(BEACON, "kept", retain=True)
    await broker.stop()
    assert not answers(broker.port)

    again = Broker(tmp_path / "broker", port=broker.port, jitter=lambda: 0.0)
    await again.start()
    try:
        assert again.coordinator_credentials == broker.coordinator_credentials
        a = await connect(again, Credentials("a", "secret"))
        assert await a.subscribe(BEACON)
        assert await a.next() == (BEACON, b"kept", True)
    finally:
        await again.stop()


async def test_a_stale_broker_of_a_former_run_is_ended(tmp_path: Path, broker: Broker) -> None:
    """Only the process changes hands: the second start finds the first one's child."""
    stale = broker.pid
    assert stale is not None
    assert broker._keeper is not None
    broker._keeper.cancel()
    successor = Broker(tmp_path / "broker", port=broker.port, jitter=lambda: 0.0)
    await successor.start()
    try:
        assert successor.pid != stale
        assert not is_running(stale)
    finally:
        await successor.stop()


async def test_a_process_that_only_mentions_the_configuration_is_left_alone(
    tmp_path: Path,
) -> None:
    broker = Broker(tmp_path / "broker", jitter=lambda: 0.0)
    config = str(tmp_path / "broker" / "mosquitto.conf")
    reader = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "input()", config, stdin=asyncio.subprocess.PIPE
    )
    try:
        await broker.start()
        assert reader.returncode is None
        assert is_running(reader.pid)
    finally:
        await broker.stop()
        await reader.communicate(b"\n")
    assert reader.returncode == 0


async def test_it_ends_with_a_killed_coordinator(tmp_path: Path) -> None:
    program = textwrap.dedent(
        f"""
        import asyncio, pathlib
        from coordinator.broker import Broker
        async def main():
            broker = Broker(pathlib.Path({str(tmp_path / "broker")!r}), jitter=lambda: 0.0)
            await broker.start()
            print(broker.pid, flush=True)
            await broker.failed()
        asyncio.run(main())
        """
    )
    coordinator = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE
    )
    assert coordinator.stdout is not None
    pid = int(await coordinator.stdout.readline())
    assert is_running(pid)
    coordinator.kill()
    await coordinator.wait()
    await until(lambda: not is_running(pid))


async def test_a_taken_port_is_told(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        broker = Broker(tmp_path / "broker", port=port, jitter=lambda: 0.0)
        with pytest.raises(BrokerFailed, match=rf"port {port}.*Address already in use"):
            await broker.start()
    assert broker.pid is None


async def test_another_broker_on_the_port_is_not_taken_for_ours(
    tmp_path: Path, broker: Broker
) -> None:
    second = Broker(tmp_path / "second", port=broker.port, jitter=lambda: 0.0)
    with pytest.raises(BrokerFailed, match=f"{broker.port}"):
        await second.start()
    assert second.pid is None
    assert answers(broker.port)


async def test_a_damaged_file_of_accounts_is_told_and_kept(tmp_path: Path) -> None:
    accounts = tmp_path / "broker" / "dynamic-security.json"
    accounts.parent.mkdir()
    accounts.write_text('{"clients": [')
    with pytest.raises(BrokerFailed, match=r"dynamic-security\.json is damaged"):
        await Broker(tmp_path / "broker", jitter=lambda: 0.0).start()
    assert accounts.read_text() == '{"clients": ['


async def test_lost_secrets_are_made_anew_and_printers_stay(
    tmp_path: Path, connect: Connect
) -> None:
    folder = tmp_path / "broker"
    first = Broker(folder, jitter=lambda: 0.0)
    await first.start()
    async with first.rights() as rights:
        await rights.ensure_printer("a", "secret")
    await first.stop()
    (folder / "secrets.json").unlink()
    second = Broker(folder, jitter=lambda: 0.0)
    await second.start()
    try:
        assert second.admin_credentials != first.admin_credentials
        async with second.rights() as rights:
            assert await rights.list_printers() == ("a",)
        await connect(second, Credentials("a", "secret"))
    finally:
        await second.stop()


async def test_no_password_is_logged_or_readable_by_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, connect: Connect
) -> None:
    folder = tmp_path / "broker"
    with caplog.at_level(logging.DEBUG):
        broker = Broker(folder, jitter=lambda: 0.0)
        await broker.start()
        async with broker.rights() as rights:
            await rights.ensure_printer("a", "a-secret-of-a-printer")
        await connect(broker, broker.coordinator_credentials)
        await broker.stop()
    told = caplog.text + repr(broker.admin_credentials) + repr(broker.coordinator_credentials)
    for password in (
        broker.admin_credentials.password,
        broker.coordinator_credentials.password,
        "a-secret-of-a-printer",
    ):
        assert password not in told
    assert "mosquitto: " in caplog.text
    readable = [path.name for path in folder.glob("*.*") if path.stat().st_mode & 0o077]
    assert readable == []
    assert json.loads((folder / "secrets.json").read_text())


async def test_a_broker_that_cannot_come_back_is_given_up_and_told(
    tmp_path: Path, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("coordinator.broker.RESTARTS_MAX", 2)
    (tmp_path / "broker" / "mosquitto.conf").write_text("no_such_option true\n")
    assert broker.pid is not None
    os.kill(broker.pid, signal.SIGKILL)
    with pytest.raises(BrokerFailed, match="given up after 2 starts"):
        async with asyncio.timeout(DEADLINE_S):
            await broker.failed()


def test_restarts_wait_longer_each_time_and_never_too_long() -> None:
    waits = [restart_delay_s(failures, 0.5) for failures in range(40)]
    assert waits == sorted(waits)
    assert waits[0] < RESTART_FIRST_S
    assert max(waits) < RESTART_LONGEST_S
    assert restart_delay_s(3, 0.0) < restart_delay_s(3, 0.9)
