"""The MQTT side of the coordinator: one paho connection, in and out of the event loop.

Owns the connection and the subscriptions. Must not decide anything: what comes in is handed to the
engine by hearing.py, and that is all. Levels are repeated by the engine, so a message that cannot
be sent now is dropped here and not queued.
"""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
import time
from collections.abc import Callable
from typing import Any

import paho.mqtt.client as mqtt
from msgspec import Struct
from msgspec.structs import replace
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from coordinator.engine import Engine
from coordinator.hearing import hand_over
from coordinator.mailbox import TELL_S, Letter, Mailbox
from moonraker_component import wire
from moonraker_component.wire import Beacon, Command, Desired, JobEvent, Topics

log = logging.getLogger("moonfleet.bus")

KEEPALIVE_S = 10
BACKOFF_FIRST_S = 0.25
BACKOFF_MAX_S = 15.0
TAKEN_AT_ONCE = 500
"""Messages given to the engine before the loop may do something else."""

FLOOD_SHOWN_S = TELL_S + 10.0
"""How long a printer is shown to say too much after it was told last."""

SAY_AGAIN_S = 60.0
TOLD_MAX = 400
"""A host that sends one bad message after another fills no log; nor does a long one."""


class BrokerAddress(Struct, frozen=True):
    """Where the broker is and how to log in. `tls`: by the system's CAs, or by `tls_ca`, a file.

    Neither: without TLS. The broker's certificate has to be for `host`.
    """

    host: str
    port: int
    username: str = ""
    password: str = ""
    tls_ca: str = ""
    tls: bool = False


class MqttBus:
    """`start()` connects and keeps connecting; `stop()` says goodbye. One per coordinator."""

    def __init__(self, address: BrokerAddress, version: str, prefix: str = wire.PREFIX) -> None:
        self._address = address
        self._version = version
        self._topics = Topics(prefix)
        self._engine: Engine | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._mailbox = Mailbox(self._knows)
        self._look_again: asyncio.TimerHandle | None = None
        self._refused_s: dict[str, float] = {}
        self._keeper: asyncio.Task[None] | None = None
        self._lost = asyncio.Event()
        self._refused = ""
        self._said: dict[str, str] = {}
        self.connected = False
        self._client = self._new_client()

    def attach(self, engine: Engine) -> None:
        """Hand everything heard to this engine."""
        self._engine = engine

    async def start(self) -> None:
        """Begin connecting; returns at once, for the broker may be away."""
        self._loop = asyncio.get_running_loop()
        self._keeper = asyncio.create_task(self._keep_connected())

    async def stop(self) -> None:
        """Say offline, disconnect, end the network thread."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        if self._look_again is not None:
            self._look_again.cancel()
        if self.connected:
            away = wire.encode(Beacon(online=False, version=self._version))
            info = self._client.publish(self._topics.coordinator, away, qos=1, retain=True)
            await asyncio.to_thread(info.wait_for_publish, 2.0)
        self._client.disconnect()
        await asyncio.to_thread(self._client.loop_stop)

    # ---- out --------------------------------------------------------------------------------

    async def publish_desired(self, printer_id: str, desired: Desired) -> None:
        self._publish(self._topics.desired(printer_id), desired, retain=True)

    async def publish_command(self, printer_id: str, command: Command) -> None:
        self._publish(self._topics.command(printer_id), command, retain=False)

    async def publish_job_event(self, event: JobEvent) -> None:
        self._publish(self._topics.job_event(event.job), event, retain=False)

    async def publish_beacon(self, beacon: Beacon) -> None:
        own = replace(beacon, version=self._version)
        self._publish(self._topics.coordinator, own, retain=True)

    def _publish(self, topic: str, message: wire.Message, retain: bool) -> None:
        if self.connected:
            self._client.publish(topic, wire.encode(message), qos=1, retain=retain)

    # ---- connection ---------------------------------------------------------------------------

    def _new_client(self) -> mqtt.Client:
        client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv311)
        will = Beacon(online=False, version=self._version)
        client.will_set(self._topics.coordinator, wire.encode(will), qos=1, retain=True)
        client.max_inflight_messages_set(200)
        client.max_queued_messages_set(5_000)
        if self._address.username:
            client.username_pw_set(self._address.username, self._address.password)
        if self._address.tls or self._address.tls_ca:
            context = ssl.create_default_context(cafile=self._address.tls_ca or None)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            client.tls_set_context(context)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        return client

    async def _keep_connected(self) -> None:
        """Connect with a growing, jittered wait, for ever: also after a refused password.

        Each connection has a client of its own: paho would send what the last one still held
        once more, and leaves the sockets of its thread behind when that is started again.
        """
        delay_s = BACKOFF_FIRST_S
        while True:
            self._lost.clear()
            self._client = self._new_client()
            try:
                await asyncio.to_thread(
                    self._client.connect, self._address.host, self._address.port, KEEPALIVE_S
                )
                self._client.loop_start()
                await self._lost.wait()
                self._client.disconnect()  # or its thread would connect by itself
                await asyncio.to_thread(self._client.loop_stop)
                why = self._refused or "connection lost"
                if not self._refused:
                    delay_s = BACKOFF_FIRST_S
            except OSError as error:
                why = str(error)
            self._say("broker", f"{self._address.host}:{self._address.port}: {why}")
            await asyncio.sleep(delay_s * random.uniform(0.5, 1.0))
            delay_s = min(delay_s * 2, BACKOFF_MAX_S)

    def _on_connect(
        self,
        client: mqtt.Client,
        _userdata: Any,
        _flags: mqtt.ConnectFlags,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        if reason.is_failure:
            self._refused = f"the broker refused the connection: {reason}"
            self._in_loop(self._lost.set)
            return
        self._refused = ""
        wanted = [
            (f"{self._topics.prefix}/printers/+/{leaf}", qos)
            for leaf, qos in (("report", 1), ("telemetry", 0), ("event", 1))
        ]
        client.subscribe([*wanted, (self._topics.coordinator, 1)])
        self._in_loop(self._note_connected)

    def _on_disconnect(
        self,
        _client: mqtt.Client,
        _userdata: Any,
        _flags: mqtt.DisconnectFlags,
        _reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        self._in_loop(self._note_lost)

    def _on_message(self, _client: mqtt.Client, _userdata: Any, message: mqtt.MQTTMessage) -> None:
        if message.retain:
            # An old copy proves nothing: hosts report again within a third of a lease, and the
            # beacon of a reign that ended must not make this one stand down.
            return
        letter = self._letter(message.topic, bytes(message.payload))
        if self._mailbox.put(letter, time.monotonic()):
            self._in_loop(self._empty_mailbox)

    def _in_loop(self, act: Callable[[], None]) -> None:
        """From paho's thread into ours; the loop may be gone when we are stopping."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(act)

    def _note_connected(self) -> None:
        self.connected = True
        self._said.clear()
        self._refused_s.clear()
        log.info("connected to %s:%d", self._address.host, self._address.port)
        if self._engine is not None:
            self._engine.hear_connected()

    def _note_lost(self) -> None:
        self.connected = False
        if self._engine is not None:
            self._engine.hear_disconnected()
        self._lost.set()

    # ---- in -----------------------------------------------------------------------------------

    def _knows(self, printer_id: str) -> bool:
        return self._engine is not None and printer_id in self._engine.farm.printers

    def _letter(self, topic: str, payload: bytes) -> Letter:
        if topic == self._topics.coordinator:
            return Letter(topic, payload)
        printer_id, _, leaf = topic.removeprefix(f"{self._topics.prefix}/printers/").partition("/")
        return Letter(topic, payload, printer_id, leaf)

    def _empty_mailbox(self) -> None:
        """Give the engine what came in, a bounded part of it at a time."""
        if self._look_again is not None:
            self._look_again.cancel()
        now_s = time.monotonic()
        letters, again_s = self._mailbox.take(TAKEN_AT_ONCE, now_s)
        for letter in letters:
            self._hear(letter, now_s)
        for printer_id, text in self._mailbox.floods(now_s).items():
            log.warning("%s: %s", printer_id or "printers that are not of the farm", text)
            if self._engine is not None and printer_id:
                self._engine.hear_flood(printer_id, FLOOD_SHOWN_S)
        if again_s is not None and self._loop is not None:
            self._look_again = self._loop.call_later(again_s, self._empty_mailbox)

    def _hear(self, letter: Letter, now_s: float) -> None:
        if self._engine is None:
            return
        try:
            hand_over(self._engine, self._topics, letter.topic, letter.payload)
        except wire.WireError as error:
            owner = letter.printer if self._knows(letter.printer) else ""
            key = f"{owner}/{letter.leaf}"
            if now_s - self._refused_s.get(key, float("-inf")) >= SAY_AGAIN_S:
                self._refused_s[key] = now_s
                log.warning(
                    "%s: message refused: %s", letter.topic[:TOLD_MAX], str(error)[:TOLD_MAX]
                )

    def _say(self, key: str, text: str) -> None:
        """Log a trouble once, until it changes or the connection is renewed."""
        if self._said.get(key) != text:
            self._said[key] = text
            log.warning("%s", text)
