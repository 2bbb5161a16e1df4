"""The host's own MQTT connection: made again for ever, told from, published to.

Owns one paho client and its thread. Whatever it hears reaches the listener on the event loop, and
nothing here ever blocks that loop. What it must not know: what the messages mean.

Works with paho-mqtt 1.6 and 2: Moonraker decides which one is there.
"""

from __future__ import annotations

import asyncio
import logging
import random
import socket
import sys
import time
from typing import Any, Callable, Optional, Protocol

import msgspec
import paho.mqtt.client as mqtt

from . import tls

KEEPALIVE_S = 15
"""A cut network is noticed after one and a half of these."""

QUEUED_MAX = 64
"""Messages that wait for the broker at most; what is refused then is told again later."""

INFLIGHT_MAX = 20
BACKOFF_FIRST_S = 0.5
BACKOFF_MAX_S = 20.0
FAREWELL_S = 2.0
CONNECT_TIMEOUT_S = 10.0


class Address(msgspec.Struct, frozen=True):
    """Where the broker is. `tls_ca`: file with the farm's CA; `tls`: the system's CAs serve too.

    Neither: no TLS.
    """

    host: str
    port: int
    username: str = ""
    password: str = ""
    tls_ca: str = ""
    tls: bool = False

    def __repr__(self) -> str:
        # The password must not reach a log by way of a traceback or a debug line.
        return f"Address({self.host}:{self.port}, user {self.username!r})"


class Message(msgspec.Struct, frozen=True):
    """What is said, and how."""

    topic: str
    payload: bytes
    qos: int = 1
    retain: bool = False


class Listener(Protocol):
    """Who is told; always called on the event loop."""

    def note_connected(self) -> None:
        """The connection stands and what was wanted is subscribed to."""

    def note_lost(self, fault: str) -> None:
        """There is no connection; `fault` says why, for people."""

    def note_message(self, topic: str, payload: bytes, retained: bool) -> None:
        """A message came."""


class Connection:
    """One connection to the broker. `start`, then `publish`, then `stop`."""

    def __init__(
        self,
        address: Address,
        client_id: str,
        will: Message,
        subscriptions: tuple[str, ...],
        listener: Listener,
    ) -> None:
        self.address = address
        self.connected = False
        self.fault = "not connected yet"
        self.lost_s = time.monotonic()
        """When the connection was lost last (or first looked for), by time.monotonic."""
        self._subscriptions = subscriptions
        self._listener = listener
        self._loop: Optional[asyncio.AbstractEventLoop] = None
        self._client = self._new_client(client_id, will)

    def start(self) -> None:
        """Begin to connect, in paho's thread; returns at once."""
        self._loop = asyncio.get_running_loop()
        self._client.connect_async(self.address.host, self.address.port, KEEPALIVE_S)
        self._client.loop_start()

    async def stop(self, farewell: Message) -> None:
        """Say farewell if somebody listens, disconnect, end the thread."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, self._stop, farewell)
        self._loop = None

    def publish(self, message: Message) -> bool:
        """Hand a message to the connection; False if it cannot leave now, and then never does."""
        if not self.connected:
            return False
        info = self._client.publish(message.topic, message.payload, message.qos, message.retain)
        return info.rc == mqtt.MQTT_ERR_SUCCESS

    # ---- paho's thread -----------------------------------------------------------------------

    def _new_client(self, client_id: str, will: Message) -> mqtt.Client:
        options: dict[str, Any] = {
            "client_id": client_id,
            "clean_session": True,
            "protocol": mqtt.MQTTv311,
        }
        versions = getattr(mqtt, "CallbackAPIVersion", None)
        if versions is not None:
            options["callback_api_version"] = versions.VERSION2
        client = mqtt.Client(**options)
        if self.address.username:
            client.username_pw_set(self.address.username, self.address.password)
        if self.address.tls_ca or self.address.tls:
            client.tls_set_context(tls.client_context(self.address.tls_ca, self.address.tls))
        client.max_inflight_messages_set(INFLIGHT_MAX)
        client.max_queued_messages_set(QUEUED_MAX)
        client.will_set(will.topic, will.payload, will.qos, will.retain)
        # paho 1.6 waits five seconds for a TCP connection and has no name for it.
        if hasattr(client, "connect_timeout"):
            client.connect_timeout = CONNECT_TIMEOUT_S
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        client.on_socket_open = self._on_socket_open
        _draw_delays(client)
        return client

    def _stop(self, farewell: Message) -> None:
        if self.connected:
            info = self._client.publish(
                farewell.topic, farewell.payload, farewell.qos, farewell.retain
            )
            try:
                info.wait_for_publish(FAREWELL_S)
            except (RuntimeError, ValueError) as error:  # lost meanwhile, or the queue is full
                logging.info("moonfleet: no farewell: %s", error)
        self._client.disconnect()
        self._client.loop_stop()

    def _on_socket_open(self, _client: Any, _userdata: Any, sock: Any) -> None:
        # Small messages that wait for an answer: without this each waits for the last one's ack.
        if hasattr(sock, "setsockopt"):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def _on_connect(
        self, client: mqtt.Client, _userdata: Any, _flags: Any, reason: Any, *_: Any
    ) -> None:
        refused = _refusal(reason)
        if refused:
            self._tell_lost(f"the broker refuses the connection: {refused}")
            return
        client.subscribe([(topic, 1) for topic in self._subscriptions])
        self.connected = True
        self.fault = ""
        self._in_loop(self._listener.note_connected)

    def _on_connect_fail(self, client: mqtt.Client, _userdata: Any) -> None:
        # paho calls this while it handles the error, and tells it in no other way.
        error = sys.exc_info()[1]
        _draw_delays(client)
        self._tell_lost(tls.told(error) if error else "cannot be reached")

    def _on_disconnect(self, client: mqtt.Client, *_: Any) -> None:
        _draw_delays(client)
        if self.connected:
            self.lost_s = time.monotonic()
            self._tell_lost("the connection was lost")

    def _on_message(self, _client: Any, _userdata: Any, message: mqtt.MQTTMessage) -> None:
        topic, payload, retained = message.topic, bytes(message.payload), bool(message.retain)
        self._in_loop(lambda: self._listener.note_message(topic, payload, retained))

    def _tell_lost(self, fault: str) -> None:
        self.connected = False
        self.fault = fault
        self._in_loop(lambda: self._listener.note_lost(fault))

    def _in_loop(self, act: Callable[[], None]) -> None:
        loop = self._loop
        if loop is None or loop.is_closed():
            return
        try:
            loop.call_soon_threadsafe(act)
        except RuntimeError:  # the loop was closed in this very moment: nobody listens any more
            logging.debug("moonfleet: event loop is gone")


def _draw_delays(client: mqtt.Client) -> None:
    """Draw the waits anew: a farm that lost its broker must not come back in one wave."""
    first_s = BACKOFF_FIRST_S * random.uniform(0.5, 1.5)
    client.reconnect_delay_set(min_delay=first_s, max_delay=BACKOFF_MAX_S * random.uniform(0.5, 1))  # type: ignore[arg-type]


def _refusal(reason: Any) -> str:
    """Why a CONNACK refuses, or empty: paho 1 gives a number, paho 2 a ReasonCode."""
    if hasattr(reason, "is_failure"):
        return str(reason) if reason.is_failure else ""
    return mqtt.connack_string(reason) if reason else ""
