"""A coordinator by hand: publishes a desired, echoes every report, remembers what it heard."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from demo.waiting import until
from moonraker_component import wire
from moonraker_component.wire import (
    AttemptReport,
    Command,
    Desired,
    Echo,
    FileRef,
    Order,
    Phase,
    Report,
    Topics,
    Want,
)
from tests.component.mosquitto import PASSWORD, USER

DEADLINE_S = 60.0
Found = TypeVar("Found")


def file_ref(path: Path, url: str) -> FileRef:
    """A file as a coordinator announces it."""
    content = path.read_bytes()
    return FileRef(path.name, hashlib.sha256(content).hexdigest(), len(content), url)


async def seen(what: str, find: Callable[[], Found | None], deadline_s: float) -> Found:
    """Wait until `find` finds something; return it."""
    await until(what, lambda: find() is not None, deadline_s)
    found = find()
    assert found is not None
    return found


class Hand:
    """`want(...)` raises the generation; every report is echoed unless `mute`."""

    def __init__(self, port: int, printer: str, lease_s: float = 5.0) -> None:
        self.printer = printer
        self.lease_s = lease_s
        self.topics = Topics()
        self.term, self.generation = 1, 0
        self.order: Order | None = None
        self.reports: list[Report] = []
        self.events: list[wire.Event] = []
        self.telemetry: list[wire.Telemetry] = []
        self.online: list[wire.Online] = []
        self.mute = False
        self._loop = asyncio.get_running_loop()
        self._port = port
        self._ready = asyncio.Event()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2)
        self._client.username_pw_set(USER, PASSWORD)
        self._client.on_connect = self._on_connect
        self._client.on_message = self._on_message

    async def __aenter__(self) -> Hand:
        self._client.connect_async("127.0.0.1", self._port)
        self._client.reconnect_delay_set(min_delay=1, max_delay=1)
        self._client.loop_start()
        await asyncio.wait_for(self._ready.wait(), DEADLINE_S)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._client.disconnect()
        await asyncio.to_thread(self._client.loop_stop)

    @property
    def report(self) -> Report | None:
        """The newest report heard."""
        return self.reports[-1] if self.reports else None

    def attempt(self, attempt: str) -> AttemptReport | None:
        """What the newest report that names it says of an attempt."""
        for report in reversed(self.reports):
            for told in report.attempts:
                if told.attempt == attempt:
                    return told
        return None

    def want(self, want: Want, attempt: str, file: FileRef, **more: Any) -> None:
        """Publish a new generation."""
        assert self.report is not None
        self.generation += 1
        self.order = Order(
            attempt, "copy-1", "job-1", want, file, session=self.report.session, **more
        )
        self.publish()

    def publish(self) -> None:
        """Publish the desired, with an echo of the newest report."""
        echo = Echo(self.report.session, self.report.sequence) if self.report else None
        desired = Desired(self.term, self.generation, self.lease_s, self.order, echo)
        self._client.publish(
            self.topics.desired(self.printer), wire.encode(desired), qos=1, retain=True
        )

    def command(self, command: Command) -> None:
        """Send a command."""
        self._client.publish(self.topics.command(self.printer), wire.encode(command), qos=1)

    async def heard(self, deadline_s: float = DEADLINE_S) -> Report:
        """The first report."""
        return await seen("a report came", lambda: self.report, deadline_s)

    async def ready(self, deadline_s: float = DEADLINE_S) -> Report:
        """A report without refusals."""

        def fit() -> Report | None:
            report = self.report
            return report if report is not None and not report.refusals else None

        return await seen("the printer may start", fit, deadline_s)

    async def phase(
        self, attempt: str, phase: Phase, deadline_s: float = DEADLINE_S
    ) -> AttemptReport:
        """Wait until the attempt is told in this phase."""
        return await self.told(attempt, lambda told: told.phase is phase, deadline_s)

    async def told(
        self,
        attempt: str,
        holds: Callable[[AttemptReport], bool],
        deadline_s: float = DEADLINE_S,
    ) -> AttemptReport:
        """Wait until what is told of the attempt is so."""

        def find() -> AttemptReport | None:
            told = self.attempt(attempt)
            return told if told is not None and holds(told) else None

        try:
            return await seen(f"attempt {attempt} as wanted", find, deadline_s)
        except TimeoutError as error:
            raise AssertionError(f"{error}; told was {self.attempt(attempt)}") from error

    def _on_connect(self, client: mqtt.Client, *_: Any) -> None:
        for leaf in ("report", "event", "telemetry", "online"):
            client.subscribe(f"{self.topics.prefix}/printers/{self.printer}/{leaf}", 1)
        self._loop.call_soon_threadsafe(self._ready.set)

    def _on_message(self, _client: Any, _data: Any, message: mqtt.MQTTMessage) -> None:
        self._loop.call_soon_threadsafe(
            self._take, message.topic, bytes(message.payload), message.retain
        )

    def _take(self, topic: str, payload: bytes, retained: bool) -> None:
        leaf = self.topics.split(topic)[1]
        if leaf == "report":
            report = wire.decode(Report, payload)
            if retained:
                return
            self.reports.append(report)
            if not self.mute:
                self.publish()
        elif leaf == "event":
            self.events.append(wire.decode(wire.Event, payload))
        elif leaf == "telemetry":
            self.telemetry.append(wire.decode(wire.Telemetry, payload))
        else:
            self.online.append(wire.decode(wire.Online, payload))
