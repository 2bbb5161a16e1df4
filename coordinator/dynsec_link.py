"""A connection to the control topic of Mosquitto's dynamic-security plugin.

Owns one login as the broker's admin, the asking of commands and the matching of answers. What
is asked is dynsec.py's.

Protocol: `{"commands": [...]}` to `$CONTROL/dynamic-security/v1`, answers on `.../response`,
matched by `correlationData` (Mosquitto 2.0, plugin README). paho runs in a thread of its own
and hands everything over to the event loop.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Sequence
from typing import Any

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from coordinator.broker_config import Credentials

# All commands of one message are answered together, and a message has a size limit.
COMMANDS_PER_MESSAGE = 100
_KEEPALIVE_S = 60
_CONTROL = "$CONTROL/dynamic-security/v1"
_RESPONSE = f"{_CONTROL}/response"

Command = dict[str, Any]
Answer = dict[str, Any]


class DynsecError(Exception):
    """The broker's rights could not be read or changed."""


class BrokerUnreachable(DynsecError):
    """No MQTT broker answers at this address."""


class LoginRefused(DynsecError):
    """The MQTT broker refuses this user name and password."""


class ControlLink:
    """Asks one broker's plugin as its admin, between `open` and `close`."""

    def __init__(self, host: str, port: int, admin: Credentials, timeout_s: float) -> None:
        self._host = host
        self._port = port
        self._admin = admin
        self._timeout_s = timeout_s
        self._numbers = itertools.count(1)
        self._waiting: dict[str, asyncio.Future[Answer]] = {}

    async def open(self) -> None:
        """Connect, log in, listen; raises BrokerUnreachable or LoginRefused."""
        self._loop = asyncio.get_running_loop()
        self._ready: asyncio.Future[None] = self._loop.create_future()
        self._client = self._new_client()
        try:
            await asyncio.to_thread(self._client.connect, self._host, self._port, _KEEPALIVE_S)
        except OSError as error:
            raise BrokerUnreachable(f"{self._host}:{self._port}: {error}") from error
        self._client.loop_start()
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._ready
        except TimeoutError:
            await self.close()
            raise BrokerUnreachable(f"{self._host}:{self._port} does not answer") from None
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Leave the broker; what still waits for an answer is told so."""
        self._client.disconnect()
        # Waits for paho's thread.
        await asyncio.to_thread(self._client.loop_stop)
        self._note_ended("closed")

    async def ask(self, commands: Sequence[Command]) -> list[Answer]:
        """Send commands and return their answers in the same order."""
        answers: list[Answer] = []
        for start in range(0, len(commands), COMMANDS_PER_MESSAGE):
            answers += await self._ask_once(commands[start : start + COMMANDS_PER_MESSAGE])
        return answers

    async def _ask_once(self, commands: Sequence[Command]) -> list[Answer]:
        numbered = {str(next(self._numbers)): command for command in commands}
        waiting = {number: self._loop.create_future() for number in numbered}
        self._waiting.update(waiting)
        payload = {
            "commands": [
                {**command, "correlationData": number} for number, command in numbered.items()
            ]
        }
        try:
            self._client.publish(_CONTROL, json.dumps(payload), qos=1)
            async with asyncio.timeout(self._timeout_s):
                return list(await asyncio.gather(*waiting.values()))
        except TimeoutError:
            raise DynsecError(
                f"the broker did not answer {len(commands)} commands within {self._timeout_s:g} s"
            ) from None
        finally:
            for number in numbered:
                self._waiting.pop(number).cancel()

    def _new_client(self) -> paho.Client:
        client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv311)
        client.username_pw_set(self._admin.username, self._admin.password)
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        return client

    # The four callbacks run in paho's thread and only hand over to the event loop.

    def _on_connect(
        self,
        client: paho.Client,
        userdata: Any,
        flags: paho.ConnectFlags,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        if reason.is_failure:
            self._loop.call_soon_threadsafe(self._note_refused, str(reason))
        else:
            client.subscribe(_RESPONSE, qos=1)

    def _on_subscribe(
        self,
        client: paho.Client,
        userdata: Any,
        mid: int,
        reasons: list[ReasonCode],
        properties: Properties | None,
    ) -> None:
        if any(reason.is_failure for reason in reasons):
            self._loop.call_soon_threadsafe(self._note_refused, "not the admin of its rights")
        else:
            self._loop.call_soon_threadsafe(self._note_ready)

    def _on_disconnect(
        self,
        client: paho.Client,
        userdata: Any,
        flags: paho.DisconnectFlags,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._note_ended, str(reason))

    def _on_message(self, client: paho.Client, userdata: Any, message: paho.MQTTMessage) -> None:
        self._loop.call_soon_threadsafe(self._note_answers, bytes(message.payload))

    def _note_ready(self) -> None:
        if not self._ready.done():
            self._ready.set_result(None)

    def _note_refused(self, reason: str) -> None:
        if not self._ready.done():
            self._ready.set_exception(
                LoginRefused(f"{self._admin.username} at {self._host}:{self._port}: {reason}")
            )

    def _note_ended(self, reason: str) -> None:
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(DynsecError(f"the connection ended: {reason}"))

    def _note_answers(self, payload: bytes) -> None:
        for answer in json.loads(payload).get("responses", ()):
            # An answer to somebody else's question bears no number of ours.
            waiting = self._waiting.get(answer.get("correlationData", ""))
            if waiting is not None and not waiting.done():
                waiting.set_result(answer)
