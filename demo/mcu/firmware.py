"""The virtual micro-controller: connects protocol, devices, plant, bookkeeper and control.

Owns the life cycle (plugged in, configured, shut down, reset), the oids and the main loop. The
commands of the protocol are in demo.mcu.commands.
"""

from __future__ import annotations

import contextlib
import os
import pty
import select
import tty
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from . import commands, faults, pins
from .bookkeeper import Bookkeeper
from .clock import FREQ_HZ, Clock
from .control import ControlSocket
from .faults import RequestError, field_choice
from .ledger import LedgerWriter, read_ledger
from .motion import Stepper, Trsync
from .physics import Plant
from .pins import Buttons
from .protocol import FrameReader, ProtocolError, encode_frame, vlq_decode
from .wiring import BED_SENSOR_PIN, EJECTOR_PIN, FILAMENT_SWITCH_PIN, HEATERS, MOTORS, Machine

STATS_S = 5
BOOKKEEPING_S = 1
LONGEST_WAIT_S = 1.0
SLACK_S = 2.0
"""Real seconds that a late host is forgiven before a heater's watchdog fires, unless strict."""

Device = TypeVar("Device")


@dataclass(frozen=True)
class Options:
    """How one virtual micro-controller is started. `link` is where klippy finds its port."""

    link: Path
    control: Path
    ledger: Path
    machine: Machine
    speed: float = 1.0
    strict: bool = False
    """Enforce the firmware's deadlines (late steps, homing time-out): only on a quiet machine."""


class VirtualMcu:
    """One micro-controller on a pty, with the printer that it drives. Implements motion.Board."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.strict = options.strict
        self.slack_ticks = 0 if options.strict else int(SLACK_S * options.speed * FREQ_HZ)
        self.clock = Clock(options.speed)
        self.plant = Plant(options.machine)
        before = read_ledger(options.ledger)
        self._ledger = LedgerWriter(options.ledger)
        self.books = Bookkeeper(self._ledger, self.plant, self.clock, before)
        for line in before.faults:  # what is broken stays broken over a power cut
            faults.switch(self.plant, line)
        self.control = ControlSocket(options.control)
        self.late_steps, self.worst_late_s = 0, 0.0
        self._master: int | None = None
        self._slave: int | None = None
        self._start_life()
        self._plug_in()

    # Life cycle

    def _start_life(self) -> None:
        self.oids: dict[int, object] = {}
        self.config_crc, self.configured, self.shutdown_reason = 0, False, ""
        self._frames, self._output = FrameReader(), bytearray()
        self._ejector_level = 0.0
        self._introduced = False
        self.clock.at(STATS_S * FREQ_HZ, self._send_stats)
        self.clock.at(BOOKKEEPING_S * FREQ_HZ, self._keep_books)

    def reboot(self) -> None:
        """A reset of the chip: everything configured is forgotten, nothing moves any more."""
        clock = self.clock.now()
        self.books.end(clock, "reset")
        self.plant.reboot(clock)
        self.clock.reboot()
        self._start_life()

    def _plug_in(self) -> None:
        # Holding the other end open too avoids hang-ups and EIO between two klippys.
        self._master, self._slave = pty.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.options.link.unlink(missing_ok=True)
        self.options.link.symlink_to(os.ttyname(self._slave))

    def _unplug(self) -> None:
        if self._master is None or self._slave is None:
            raise RequestError("unplug: it is unplugged already")
        self.options.link.unlink(missing_ok=True)
        os.close(self._master)
        os.close(self._slave)
        self._master = self._slave = None

    def _replug(self) -> None:
        if self._master is not None:
            raise RequestError("replug: it is plugged in")
        self.reboot()
        self._plug_in()

    def close(self) -> None:
        """Write down the last motion and give back the port and the files."""
        self.books.settle(self.clock.now())
        if self._master is not None:
            self._unplug()
        self.control.close()
        self._ledger.close()

    def shutdown(self, reason: str) -> None:
        """Stop everything and tell the host, once."""
        if self.shutdown_reason:
            return
        clock = self.clock.now()
        self.shutdown_reason = reason
        self.books.end(clock, "shutdown")
        self.clock.forget()
        for device in self.oids.values():
            if isinstance(device, Stepper):
                device.stop(clock)
            elif isinstance(device, Trsync):
                device.disarm()
        pins.release_all(list(self.oids.values()), clock)
        self.clock.at(clock + STATS_S * FREQ_HZ, self._send_stats)
        self.clock.at(clock + BOOKKEEPING_S * FREQ_HZ, self._keep_books)
        self.send("shutdown", clock, commands.STATIC_STRINGS[reason])

    def _send_stats(self, clock: int) -> None:
        # The host wants them regularly; the figures themselves are not simulated.
        self.send("stats", 1, 1, 1)
        self.clock.at(clock + STATS_S * FREQ_HZ, self._send_stats)

    def _keep_books(self, clock: int) -> None:
        self.books.settle(clock)
        self.clock.at(clock + BOOKKEEPING_S * FREQ_HZ, self._keep_books)

    def note_late_steps(self, late_s: float) -> None:
        """Steps arrived after their time: the host is too slow for this speed."""
        self.late_steps += 1
        self.worst_late_s = max(self.worst_late_s, late_s)

    # Pins and the plant

    def device(self, oid: int, kind: type[Device]) -> Device:
        """The device behind an oid, if it is of that kind."""
        device = self.oids.get(oid)
        if not isinstance(device, kind):
            raise ProtocolError(f"oid {oid} is a {type(device).__name__}, not a {kind.__name__}")
        return device

    def new_stepper(self, step_pin: str) -> Stepper:
        """A stepper that drives whatever is wired to its pin."""
        motor = self.plant.motor_at(step_pin)
        filament = self.plant.filament.motor
        on_moved = None
        if motor is filament:

            def on_moved(clock: int, steps: int) -> None:
                self.books.pushed(clock, filament.from_steps(steps))

        stepper = Stepper(self, on_moved)
        if motor:
            motor.attach(stepper)
        return stepper

    def endstop_closed(self, pin: str, clock: int) -> bool:
        """The physical state of the switch on `pin`."""
        for axis, wiring in MOTORS.items():
            if wiring.endstop_pin == pin:
                return self.plant.carriage.endstop_closed(axis, clock)
        return False

    def adc_ratio(self, pin: str, clock: int) -> float:
        """The physical voltage on `pin`; open where nothing is wired."""
        for name, wiring in HEATERS.items():
            if wiring.sensor_pin == pin:
                return self.plant.heaters[name].adc_ratio(clock)
        return 1.0

    def input_level(self, pin: str) -> bool:
        """The level of a switch that the host watches as a button."""
        if pin == FILAMENT_SWITCH_PIN:
            return self.plant.filament.present
        return pin == BED_SENSOR_PIN and self.plant.bed.part is not None

    def output_level(self, pin: str, clock: int, level: float) -> None:
        """An output changed."""
        for name, wiring in HEATERS.items():
            if wiring.heater_pin == pin:
                self.plant.heaters[name].set_duty(clock, level)
        if pin == EJECTOR_PIN:
            if level > 0 and self._ejector_level == 0:
                self._eject(clock)
            self._ejector_level = level

    def _eject(self, clock: int) -> None:
        self.books.settle(clock)
        if self.plant.bed.eject():
            self.books.cleared(clock, "ejector")
        else:
            self.books.eject_failed(clock)

    def _check_buttons(self) -> None:
        for device in list(self.oids.values()):
            if isinstance(device, Buttons):
                device.check(self.clock.now())

    # Control requests

    def handle_request(self, request: Mapping[str, object]) -> Mapping[str, object]:
        """Carry out a request of the control socket; RequestError if it cannot be."""
        known = (
            "status", "fault", "unplug", "replug", "shutdown", "bed_clear", "file",
        )  # fmt: skip
        do = field_choice(request, "do", known)
        if do == "fault":
            faults.switch(self.plant, request)
            told = {key: value for key, value in request.items() if key != "do"}
            self.books.write("fault", self.clock.now(), **told)
        elif do == "unplug":
            self._unplug()
        elif do == "replug":
            self._replug()
        elif do == "shutdown":
            self.shutdown("Timer too close")
        elif do == "bed_clear":
            self.books.settle(self.clock.now())
            self.plant.bed.clear()
            self.books.cleared(self.clock.now(), "person")
        elif do == "file":
            self._note_file(request)
        return self._status() if do == "status" else {}

    def _note_file(self, request: Mapping[str, object]) -> None:
        """The demo's section in Klipper tells of a file; `print_time_s` is when it takes effect.

        A host that died cannot have a clock in this life, so that times past are now.
        """
        event = field_choice(request, "event", ("begin", "pause", "resume", "end"))
        path, outcome = str(request.get("path", "")), str(request.get("outcome", ""))
        actions = {
            "begin": lambda clock: self.books.begin(clock, path),
            "pause": self.books.pause,
            "resume": self.books.resume,
            "end": lambda clock: self.books.end(clock, outcome),
        }
        print_time_s = request.get("print_time_s")
        done = self.clock.done
        clock = int(print_time_s * FREQ_HZ) if isinstance(print_time_s, int | float) else done
        self.clock.at(max(clock, done), actions[event])

    def _status(self) -> dict[str, object]:
        clock = self.clock.now()
        plant = self.plant
        for heater in plant.heaters.values():
            heater.advance(clock)
        part = plant.bed.part
        return {
            "sim_s": round(self.clock.sim_s(clock), 3),
            "speed": self.clock.speed,
            "plugged_in": self._master is not None,
            "shutdown": self.shutdown_reason,
            "position_mm": [round(mm, 3) for mm in plant.carriage.position_mm(clock)],
            "filament_mm": round(plant.filament.motor.mm(clock), 3),
            "temperatures_c": {n: round(h.temperature_c, 1) for n, h in plant.heaters.items()},
            "duties": {n: round(h.duty, 2) for n, h in plant.heaters.items()},
            "file": self.books.running_path,
            "bed": {"path": part.path, "mm": round(part.mm, 2)} if part else None,
            "late_steps": self.late_steps,
            "worst_late_s": round(self.worst_late_s, 4),
            **faults.switched(plant),
        }

    # Frames and the loop

    def send(self, name: str, *values: int | bytes) -> None:
        """Queue a response for the host."""
        payload = commands.DICTIONARY.responses[name].encode(
            [value if isinstance(value, bytes) else value & 0xFFFFFFFF for value in values]
        )
        self._output += encode_frame(self._frames.next_sequence, payload)

    def _receive(self, data: bytes) -> None:
        frames = self._frames
        payloads, answer = frames.feed(data)
        for payload in payloads:
            if self._frames is not frames:
                return  # reset: what came behind it was lost with the chip's buffers
            pos = 0
            while pos < len(payload):
                msgid, pos = vlq_decode(payload, pos)
                command = commands.BY_MSGID.get(msgid)
                if command is None:
                    raise ProtocolError(f"message number {msgid} is none of the dictionary's")
                values, pos = command.format.decode(payload, pos)
                # A host of before the reset may still be sending; a new one introduces itself.
                self._introduced = self._introduced or command.format.name == "identify"
                if not self._introduced:
                    continue
                if self.shutdown_reason and not command.in_shutdown:
                    self.send("is_shutdown", commands.STATIC_STRINGS[self.shutdown_reason])
                else:
                    command.run(self, *values)
        if answer:
            self._output += encode_frame(self._frames.next_sequence)

    def _write(self) -> None:
        # Never block: what nobody reads is lost on a serial line, too.
        if self._output and self._master is not None:
            with contextlib.suppress(BlockingIOError):
                os.write(self._master, self._output)
        self._output.clear()

    def step(self) -> None:
        """One round: wait, requests, frames, and then timers, since a frame that is here
        already may cancel a timer that is due; then write.
        """
        sources: list[int] = [self.control.fileno()]
        if self._master is not None:
            sources.append(self._master)
        ready = select.select(sources, [], [], self.clock.wait_s(LONGEST_WAIT_S))[0]
        if self.control.fileno() in ready:
            self.control.serve(self.handle_request)
            self._check_buttons()
        if self._master is not None and self._master in ready:
            try:
                self._receive(os.read(self._master, 4096))
            except ProtocolError as error:
                print(f"protocol: {error}", flush=True)
                self.shutdown("Invalid command")
        part = self.plant.bed.part
        self.clock.run_due()
        if (part is None) != (self.plant.bed.part is None):
            self._check_buttons()
        self._write()

    def run(self) -> None:
        """Serve until the process is ended."""
        while True:
            self.step()
