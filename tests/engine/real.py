"""The real engine, bus, store and Mosquitto together, and a host that speaks plain JSON.

Owns the wiring of parts for tests. The host knows nothing of our wire types: it is what another
version of the component would look like from here.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from coordinator.broker import HOST, Broker
from coordinator.bus import BrokerAddress, MqttBus
from coordinator.clock import SystemClock, fresh_ids
from coordinator.core.farm import Settings
from coordinator.engine import Engine
from coordinator.store.sql import SqlStore

DEADLINE_S = 60.0
POLL_S = 0.02
PREFIX = "moonfleet/v1"
VERSION = "test"
# Short enough to wait for, long enough that a busy machine keeps it.
SETTINGS = Settings(lease_s=3.0, fence_s=60.0, offline_grace_s=60.0, rest_s=0.0)

Json = dict[str, Any]


async def until(true: Callable[[], object], what: str, deadline_s: float = DEADLINE_S) -> None:
    """Wait for a condition; fails with `what` was waited for."""
    clock = asyncio.get_running_loop().time
    ends_s = clock() + deadline_s
    while not true():
        assert clock() < ends_s, f"not within {deadline_s:g} s: {what}"
        await asyncio.sleep(POLL_S)


class Client:
    """A plain MQTT client: what it hears is in `heard`, newest last."""

    def __init__(self, port: int, username: str, password: str) -> None:
        self.heard: list[tuple[str, bytes]] = []
        self.news = asyncio.Event()
        self.subscribed = False
        self._topics: list[tuple[str, int]] = []
        self._loop = asyncio.get_running_loop()
        self._port = port
        self._client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv311)
        self._client.username_pw_set(username, password)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message

    async def start(self, *topics: str) -> None:
        """Connect and wait until the topics are granted."""
        self._topics = [(topic, 1) for topic in topics]
        await asyncio.to_thread(self._client.connect, HOST, self._port)
        self._client.loop_start()
        await until(lambda: self.subscribed, f"subscribed to {topics}")

    async def stop(self) -> None:
        self._client.disconnect()
        await asyncio.to_thread(self._client.loop_stop)

    async def say(self, topic: str, payload: bytes | Json, *, retain: bool = False) -> None:
        """Publish at QoS 1 and wait for the broker's acknowledgement."""
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        info = self._client.publish(topic, body, qos=1, retain=retain)
        await until(info.is_published, f"published on {topic}")

    def _on_connect(
        self, client: paho.Client, _u: Any, _f: Any, reason: ReasonCode, _p: Properties | None
    ) -> None:
        assert not reason.is_failure, str(reason)
        client.subscribe(self._topics)

    def _on_subscribe(
        self, _c: paho.Client, _u: Any, _m: int, reasons: list[ReasonCode], _p: Properties | None
    ) -> None:
        self.subscribed = not any(reason.is_failure for reason in reasons)

    def _on_message(self, _c: paho.Client, _u: Any, message: paho.MQTTMessage) -> None:
        got = (message.topic, bytes(message.payload))
        self._loop.call_soon_threadsafe(self._hear, got)

    def _hear(self, got: tuple[str, bytes]) -> None:
        self.heard.append(got)
        self.news.set()


class Coordinator:
    """Engine, bus and store on a broker; the engine's loop runs from `start` on."""

    def __init__(self, path: Path, address: BrokerAddress) -> None:
        self.store = SqlStore(f"sqlite+aiosqlite:///{path}")
        self.bus = MqttBus(address, VERSION, PREFIX)
        self.engine = Engine(self.store, self.bus, SystemClock(), SETTINGS, fresh_ids())
        self.task: asyncio.Task[None]

    async def start(self) -> None:
        await self.store.open()
        await self.engine.start()
        self.bus.attach(self.engine)
        await self.bus.start()
        self.task = asyncio.create_task(self.engine.run())

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        await self.bus.stop()
        await self.store.close()

    @property
    def hears_itself(self) -> bool:
        return self.engine.farm.reign.connected_s is not None


def address_of(broker: Broker, password: str | None = None) -> BrokerAddress:
    login = broker.coordinator_credentials
    chosen = login.password if password is None else password
    return BrokerAddress(HOST, broker.port, login.username, chosen)


@contextlib.asynccontextmanager
async def coordinator_on(broker: Broker, path: Path) -> AsyncIterator[Coordinator]:
    """A coordinator that is connected and hears itself."""
    coordinator = Coordinator(path, address_of(broker))
    await coordinator.start()
    try:
        await until(lambda: coordinator.hears_itself, "own beacon heard")
        yield coordinator
    finally:
        await coordinator.stop()


@contextlib.asynccontextmanager
async def client_of(broker: Broker, printer: str, *topics: str) -> AsyncIterator[Client]:
    """A host's connection, with an account of its own made by the broker."""
    password = f"password-of-{printer}"
    async with broker.rights() as rights:
        await rights.ensure_printer(printer, password)
    client = Client(broker.port, printer, password)
    await client.start(*topics)
    try:
        yield client
    finally:
        await client.stop()


class JsonHost:
    """A host that obeys its desired state. `dress` changes each report before it is sent.

    It prints in no time: as soon as a run is wanted of what it prints, it has completed it.
    """

    def __init__(self, printer: str, client: Client, dress: Callable[[Json], Json]) -> None:
        self.session = f"session-{printer}"
        self.phases: list[str] = []
        self.orders: list[Json] = []
        self._base = f"{PREFIX}/printers/{printer}"
        self._client = client
        self._dress = dress
        self._sequence = 0
        self._observed = (0, 0)
        self._attempt: Json | None = None

    @staticmethod
    def topics(printer: str) -> tuple[str, str]:
        return f"{PREFIX}/printers/{printer}/desired", f"{PREFIX}/coordinator"

    async def run(self) -> None:
        """Answer every desired, and report three times a lease, until cancelled."""
        taken = 0
        while True:
            self._client.news.clear()
            heard, taken = self._client.heard[taken:], len(self._client.heard)
            for topic, payload in heard:
                if topic.endswith("/desired"):
                    self._obey(json.loads(payload))
            await self._report()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._client.news.wait(), SETTINGS.lease_s / 3)

    def _obey(self, desired: Json) -> None:
        self._observed = max(self._observed, (desired["term"], desired["generation"]))
        order = desired.get("order")
        if order is None:
            self._attempt = None
            return
        self.orders.append(order)
        known = self._attempt
        if known is None or known["attempt"] != order["attempt"]:
            known = self._attempt = {k: order[k] for k in ("attempt", "copy", "job")}
            self._to("preparing")
        phase, want = known["phase"], order["want"]
        if phase == "preparing":
            self._to("prepared")
        elif want == "start" and phase == "prepared" and order["session"] == self.session:
            self._to("printing")
        elif want == "run" and phase == "printing":
            known["outcome"] = "complete"
            self._to("ended")

    def _to(self, phase: str) -> None:
        assert self._attempt is not None
        self._attempt["phase"] = phase
        self.phases.append(phase)

    async def _report(self) -> None:
        self._sequence += 1
        report = {
            "session": self.session,
            "sequence": self._sequence,
            "observed_term": self._observed[0],
            "observed_generation": self._observed[1],
            "attempts": [dict(self._attempt)] if self._attempt else [],
        }
        await self._client.say(f"{self._base}/report", self._dress(report), retain=True)
