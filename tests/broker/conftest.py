"""A real Mosquitto per test, in the test's own folder, and clients of it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from coordinator.broker import HOST, Broker
from coordinator.broker_config import Credentials

DEADLINE_S = 30.0


class Mqtt:
    """A paho client whose answers can be awaited; made by the `connect` fixture."""

    def __init__(self, port: int, credentials: Credentials, client_id: str = "") -> None:
        self.messages: asyncio.Queue[tuple[str, bytes, bool]] = asyncio.Queue()
        self.login: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._loop = asyncio.get_running_loop()
        self._granted: asyncio.Queue[list[bool]] = asyncio.Queue()
        self._port = port
        self.logins = 0
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id, protocol=paho.MQTTv311)
        self._client.username_pw_set(credentials.username, credentials.password)
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message

    async def start(self) -> str:
        """Connect; returns what the broker says to the login ("Success" or why not)."""
        await asyncio.to_thread(self._client.connect, HOST, self._port)
        self._client.loop_start()
        async with asyncio.timeout(DEADLINE_S):
            return await self.login

    async def stop(self) -> None:
        self._client.disconnect()
        await asyncio.to_thread(self._client.loop_stop)

    async def publish(self, topic: str, payload: str, *, retain: bool = False) -> None:
        """Publish at QoS 1 and wait for the broker's acknowledgement."""
        info = self._client.publish(topic, payload, qos=1, retain=retain)
        await asyncio.to_thread(info.wait_for_publish, DEADLINE_S)
        assert info.is_published()

    async def subscribe(self, topic: str) -> bool:
        """Subscribe; tells whether the broker grants it."""
        self._client.subscribe(topic, qos=1)
        async with asyncio.timeout(DEADLINE_S):
            return all(await self._granted.get())

    async def next(self) -> tuple[str, bytes, bool]:
        """The next message: topic, payload, whether it was retained."""
        async with asyncio.timeout(DEADLINE_S):
            return await self.messages.get()

    def _on_connect(
        self, _c: paho.Client, _u: Any, _f: Any, reason: ReasonCode, _p: Properties | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._note_login, str(reason))

    def leave_will(self, topic: str, payload: str) -> None:
        """What the broker is to say, retained, when this client is cut off; before `start`."""
        self._client.will_set(topic, payload, qos=1, retain=True)

    def cut(self) -> None:
        """Break the connection without a goodbye; paho comes back by itself."""
        connection = self._client.socket()
        assert isinstance(connection, socket.socket)
        connection.shutdown(socket.SHUT_RDWR)

    def _note_login(self, reason: str) -> None:
        self.logins += 1
        if not self.login.done():
            self.login.set_result(reason)

    def _on_subscribe(
        self, _c: paho.Client, _u: Any, _m: int, reasons: list[ReasonCode], _p: Properties | None
    ) -> None:
        granted = [not reason.is_failure for reason in reasons]
        self._loop.call_soon_threadsafe(self._granted.put_nowait, granted)

    def _on_message(self, _c: paho.Client, _u: Any, message: paho.MQTTMessage) -> None:
        got = (message.topic, bytes(message.payload), message.retain)
        self._loop.call_soon_threadsafe(self.messages.put_nowait, got)


Connect = Callable[[Broker, Credentials], Awaitable[Mqtt]]


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Broker]:
    broker = Broker(tmp_path / "broker", jitter=lambda: 0.0, autosave_s=1)
    await broker.start()
    yield broker
    await broker.stop()


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    clients: list[Mqtt] = []

    async def connect(broker: Broker, credentials: Credentials) -> Mqtt:
        client = Mqtt(broker.port, credentials)
        clients.append(client)
        assert await client.start() == "Success"
        return client

    yield connect
    for client in clients:
        await client.stop()
