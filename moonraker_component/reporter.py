"""Telling: reports, telemetry, events and `online`, and hearing what comes back.

Owns the connection to the broker and when something is told: a report at once on a change, a few
a second at most, and every third of a lease; telemetry once a second at most. What it must not
know: what is decided from a message.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from typing import TYPE_CHECKING, Optional

from . import __version__, wire
from .attempt import Effects
from .cache import TransferError
from .gate import View
from .host import Host, make_report
from .link import Address, Connection, Message
from .telemetry import LayerTrack, make_telemetry, track_layer, worth_telling
from .view import PRINTING_STATES
from .wire import Command, Desired, Event, Link, Online, Reason, Telemetry, WireError

if TYPE_CHECKING:
    from .agent import Agent

REPORT_GAP_S = 0.2
TELEMETRY_GAP_S = 1.0
TELEMETRY_REPEAT_S = 30.0
"""Telemetry is told again this often although nothing changed: a coordinator may be new."""

DISK_LOOK_S = 30.0
UNREACHABLE_WARN_S = 30.0
WARNING_ID = "moonfleet_broker"


class Reporter:
    """Everything that goes out over MQTT, and the door for what comes in."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        options = agent.options
        topics = wire.Topics(options.topic_prefix)
        printer = options.printer_id
        self._report_topic = topics.report(printer)
        self._online_topic = topics.online(printer)
        self._telemetry_topic = topics.telemetry(printer)
        self._event_topic = topics.event(printer)
        self._desired_topic = topics.desired(printer)
        self._command_topic = topics.command(printer)
        self.connection = Connection(
            Address(
                options.mqtt_address,
                options.mqtt_port,
                options.mqtt_username,
                options.mqtt_password,
                options.mqtt_tls_ca,
                options.mqtt_tls,
            ),
            f"moonfleet-{printer}-{agent.session[:8]}",
            self._online(False),
            (self._desired_topic, self._command_topic),
            self,
        )
        self.disk: dict[str, int] = {}
        self._disk_seen_s = 0.0
        self._reported_s = 0.0
        self._said = False
        self._warned = False
        self._told: Optional[Telemetry] = None
        self._told_s = 0.0
        self._track = LayerTrack()
        self._timer: Optional[asyncio.TimerHandle] = None

    def start(self) -> None:
        """Begin to connect."""
        self.connection.start()

    async def close(self) -> None:
        """Say offline and disconnect."""
        if self._timer is not None:
            self._timer.cancel()
        await self.connection.stop(self._online(False))

    # ---- out ---------------------------------------------------------------------------------

    def say(self) -> None:
        """A report is due. Several at once become one, and a burst becomes a few a second."""
        if self._said or not self.connection.connected:
            return
        self._said = True
        wait_s = self._reported_s + REPORT_GAP_S - time.monotonic()
        if wait_s <= 0:
            self._queue_report()
        else:
            self._timer = asyncio.get_running_loop().call_later(wait_s, self._queue_report)

    def _queue_report(self) -> None:
        # What did not fit is due again with the next tick, not for ever on its way.
        self._said = self._agent.decide("report", self._report)

    def event(self, kind: str, attempt: str, text: str = "", **data: str) -> None:
        """Tell one fact, once."""
        event = Event(id=os.urandom(8).hex(), kind=kind, attempt=attempt, text=text, data=data)
        self.connection.publish(Message(self._event_topic, wire.encode(event)))

    def note_view(self, before: View, after: View, host: Host) -> None:
        """Tell the facts that lie between two views."""
        attempt = host.running.id if host.running is not None else ""
        if before.link is not after.link and after.link in (Link.SHUTDOWN, Link.ERROR):
            self.event("klipper_" + after.link.value, attempt, after.message)
        ran_out = before.filament.detected and after.filament.detected is False
        if ran_out and after.print_state in PRINTING_STATES:
            self.event("runout", attempt, "a filament sensor sees no filament")
        if after.print_state == "error" and before.print_state in PRINTING_STATES:
            self.event("print_error", attempt, after.message)

    async def tick(self) -> None:
        """Time went by: heartbeat, telemetry, a look at the disk, a warning that is due."""
        now_s = time.monotonic()
        if now_s - self._reported_s >= self._agent.host.lease_s / 3 - REPORT_GAP_S:
            self.say()
        if now_s - self._told_s >= TELEMETRY_GAP_S - REPORT_GAP_S:
            self._tell_telemetry(now_s)
        if not self._disk_seen_s or now_s - self._disk_seen_s >= DISK_LOOK_S:
            self._disk_seen_s = now_s
            self._agent.tasks.start(self._look_at_disk())
        lost_for_s = now_s - self.connection.lost_s
        if not self.connection.connected and lost_for_s > UNREACHABLE_WARN_S:
            self._warn(self.connection.fault)

    def _report(self, host: Host, now_s: float) -> tuple[Host, Effects]:
        """Runs in the worker's turn, so that a report never tells what is not yet saved."""
        self._said = False
        if not self.connection.connected:
            return host, ()
        agent = self._agent
        reported, report = make_report(
            host, now_s, agent.klippy.profile, agent.machine, self._extra_reasons()
        )
        message = Message(self._report_topic, wire.encode(report), retain=True)
        self._reported_s = time.monotonic()
        # Whether or not it left: a number is never used again, for paho may still send this one
        # after a reconnect, and the lease would count from the later of two sendings.
        self.connection.publish(message)
        return reported, ()

    def _extra_reasons(self) -> tuple[Reason, ...]:
        free = self.disk.get("free_bytes", 0)
        if free >= 0:
            return ()
        return (Reason("disk", f"the disk is full: {-free / 1e6:.0f} MB below the reserve"),)

    def _tell_telemetry(self, now_s: float) -> None:
        agent = self._agent
        status, running = agent.klippy.status, agent.host.running
        path = agent.host.view.path
        metadata = agent.klippy.metadata(path) if path else {}
        self._track = track_layer(self._track, status, metadata)
        telemetry = make_telemetry(status, metadata, self._track, running.id if running else "")
        repeat = now_s - self._told_s >= TELEMETRY_REPEAT_S
        if not repeat and not worth_telling(self._told, telemetry):
            return
        message = Message(self._telemetry_topic, wire.encode(telemetry), qos=0)
        if self.connection.publish(message):
            self._tell_layer(self._told, telemetry)
            self._told, self._told_s = telemetry, now_s

    def _tell_layer(self, before: Optional[Telemetry], after: Telemetry) -> None:
        if after.layer is None or not after.filename:
            return
        if before is None or before.layer != after.layer or before.filename != after.filename:
            kind = "first_layer" if after.layer == 1 else "layer"
            layers = "" if after.layers is None else str(after.layers)
            self.event(kind, after.attempt, layer=str(after.layer), layers=layers)

    async def _look_at_disk(self) -> None:
        try:
            self.disk = await self._agent.files.disk()
        except (OSError, TransferError) as error:
            logging.info("moonfleet: the disk cannot be looked at: %s", error)

    def _online(self, online: bool) -> Message:
        told = Online(online=online, session=self._agent.session, version=__version__)
        return Message(self._online_topic, wire.encode(told), retain=True)

    # ---- in, always on the event loop --------------------------------------------------------

    def note_connected(self) -> None:
        """Both levels again: the broker may have forgotten everything."""
        logging.info("moonfleet: connected to %r", self.connection.address)
        if self._warned:
            self._agent.server.remove_warning(WARNING_ID)
            self._warned = False
        self.connection.publish(self._online(True))
        self._told = None
        self.say()

    def note_lost(self, fault: str) -> None:
        """No connection: tried again for ever; a refusal is worth a word at once."""
        logging.info("moonfleet: %r: %s", self.connection.address, fault)
        if "refuses" in fault:
            self._warn(fault)

    def note_message(self, topic: str, payload: bytes, retained: bool) -> None:
        """Decode once, hand it on."""
        if not payload:
            return  # a deleted retained message says nothing and stops nothing
        try:
            if topic == self._desired_topic:
                self._agent.note_desired(wire.decode(Desired, payload), retained)
            elif topic == self._command_topic and not retained:
                self._agent.note_command(wire.decode(Command, payload))
        except WireError as error:
            logging.warning("moonfleet: %s: %s", topic, error)

    def _warn(self, fault: str) -> None:
        if self._warned:
            return
        self._warned = True
        address = self.connection.address
        self._agent.server.add_warning(
            f"Moonfleet cannot reach its broker {address.host}:{address.port}: {fault}. It goes on"
            " trying, and prints go on. Check mqtt_address, mqtt_port, mqtt_username and"
            " mqtt_password of [moonfleet], and that the coordinator runs.",
            WARNING_ID,
        )
