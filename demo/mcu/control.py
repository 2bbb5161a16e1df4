"""The control socket of a virtual printer: a unix datagram socket, one JSON object each way.

Owns both ends of it: `ControlSocket` inside the micro-controller, `Control` for demo and tests.
A request is {"do": ..., fields}; the answer is {"ok": true, ...} or {"ok": false, "error": text}.
What a request does is decided in demo.mcu.firmware and demo.mcu.faults.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .faults import RequestError
from .physics import SensorFault
from .wiring import HeaterName

DATAGRAM_MAX = 65_536
SOCKET_PATH_MAX = 107  # sun_path holds 108 bytes with its closing zero
ANSWER_DEADLINE_S = 10.0

Handler = Callable[[Mapping[str, object]], Mapping[str, object]]


class ControlError(Exception):
    """The virtual micro-controller refused a request or did not answer."""


class ControlSocket:
    """The micro-controller's end."""

    def __init__(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.setblocking(False)

    def fileno(self) -> int:
        """For select."""
        return self._socket.fileno()

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()

    def serve(self, handler: Handler) -> None:
        """Answer what has arrived; a request that is refused changes nothing."""
        while True:
            try:
                data, sender = self._socket.recvfrom(DATAGRAM_MAX)
            except BlockingIOError:
                return
            answer = self._answer(data, handler)
            if sender:  # the section inside Klipper does not wait for an answer
                try:
                    self._socket.sendto(json.dumps(answer).encode(), sender)
                except (ConnectionError, BlockingIOError, FileNotFoundError) as error:
                    print(f"control: the asker is gone: {error}", flush=True)

    @staticmethod
    def _answer(data: bytes, handler: Handler) -> dict[str, object]:
        try:
            request = json.loads(data)
            if not isinstance(request, dict):
                raise RequestError(f"{request!r} is no JSON object")
            return {"ok": True, **handler(request)}
        except ValueError as error:  # RequestError and JSONDecodeError are ValueErrors
            print(f"control: refused {data!r}: {error}", flush=True)
            return {"ok": False, "error": str(error)}


class Control:
    """Switches faults of one virtual printer; every call is answered within milliseconds.

    Raises ControlError if the printer's micro-controller is not there or refuses.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def ask(self, do: str, **fields: object) -> dict[str, Any]:
        """Send one request and return the answer's fields."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.bind("")  # Linux picks an abstract address: nothing to clean up
            sock.settimeout(ANSWER_DEADLINE_S)
            try:
                sock.sendto(json.dumps({"do": do, **fields}).encode(), os.fspath(self._path))
                answer: dict[str, Any] = json.loads(sock.recv(DATAGRAM_MAX))
            except OSError as error:
                raise ControlError(f"{self._path}: no answer to {do!r}: {error}") from error
        if not answer.pop("ok"):
            raise ControlError(f"{do!r} was refused: {answer['error']}")
        return answer

    def status(self) -> dict[str, Any]:
        """What is physically so: position_mm, temperatures_c, bed, file, faults, late steps."""
        return self.ask("status")

    def filament(self, present: bool) -> None:
        """Take the filament out (False: runout) or put it in."""
        self.ask("fault", fault="filament", present=present)

    def thermistor(self, heater: HeaterName, state: SensorFault) -> None:
        """Break ("open", "short") or mend ("ok") the thermistor of "extruder" or "bed"."""
        self.ask("fault", fault="thermistor", heater=heater, state=state)

    def heating(self, heater: HeaterName, works: bool) -> None:
        """Whether the heater of "extruder" or "bed" gives heat when it is switched on."""
        self.ask("fault", fault="heating", heater=heater, works=works)

    def ejector(self, stuck: bool) -> None:
        """Whether the ejector leaves the part where it is."""
        self.ask("fault", fault="ejector", stuck=stuck)

    def unplug(self) -> None:
        """Pull the USB cable."""
        self.ask("unplug")

    def replug(self) -> None:
        """Put the USB cable in again; the micro-controller restarts."""
        self.ask("replug")

    def shutdown(self) -> None:
        """Make the micro-controller shut down by itself ("Timer too close")."""
        self.ask("shutdown")

    def clear_bed(self) -> None:
        """A person takes the part off."""
        self.ask("bed_clear")
