"""The virtual micro-controller over its real pty and control socket, with a host of our own."""

import os
import tty
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from demo.mcu.commands import DICTIONARY
from demo.mcu.control import Control, ControlError
from demo.mcu.firmware import Options, VirtualMcu
from demo.mcu.ledger import read_ledger
from demo.mcu.protocol import Argument, encode_frame, vlq_decode
from demo.mcu.wiring import EJECTOR_PIN, PINS, Machine

ROUNDS = 2000
COMMANDS = {fmt.name: fmt for fmt in DICTIONARY.commands.values()}
RESPONSES = {fmt.msgid: fmt for fmt in DICTIONARY.responses.values()}


class Host:
    """The other end of the pty; each `ask` turns the micro-controller's loop until it answers."""

    def __init__(self, mcu: VirtualMcu) -> None:
        self.mcu = mcu
        self.port = os.open(mcu.options.link, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        tty.setraw(self.port)
        self.sequence = 0
        self.heard: list[tuple[str, list[Argument]]] = []

    def close(self) -> None:
        os.close(self.port)

    def frame(self, name: str, *values: Argument) -> bytes:
        """One command in one frame, in sequence."""
        data = encode_frame(self.sequence, COMMANDS[name].encode(values))
        self.sequence = (self.sequence + 1) & 0x0F
        return data

    def ask(self, answer: str, *frames: bytes) -> list[Argument]:
        """Send frames and return the arguments of the first `answer`."""
        self.heard = []
        os.write(self.port, b"".join(frames))
        buffer = b""
        for _ in range(ROUNDS):
            self.mcu.step()
            try:
                buffer += os.read(self.port, 4096)
            except BlockingIOError:
                continue
            self.heard = list(self._messages(buffer))
            for name, values in self.heard:
                if name == answer:
                    return values
        raise AssertionError(f"no {answer}; heard {self.heard}")

    @staticmethod
    def _messages(buffer: bytes) -> Iterator[tuple[str, list[Argument]]]:
        start = 0
        while start < len(buffer) and start + buffer[start] <= len(buffer):
            frame = buffer[start : start + buffer[start]]
            start += len(frame)
            if len(frame) > 5:
                msgid, pos = vlq_decode(frame, 2)
                yield RESPONSES[msgid].name, RESPONSES[msgid].decode(frame, pos)[0]

    def configure(self) -> None:
        """One output, the ejector, as oid 0."""
        pin = PINS.index(EJECTOR_PIN)
        values = self.ask(
            "config",
            self.frame("identify", 0, 40),
            self.frame("allocate_oids", 1),
            self.frame("config_digital_out", 0, pin, 0, 0, 0),
            self.frame("finalize_config", 77),
            self.frame("get_config"),
        )
        assert values[:3] == [1, 77, 0]


@pytest.fixture
def mcu(tmp_path: Path) -> Iterator[VirtualMcu]:
    paths = tmp_path / "tty", tmp_path / "control", tmp_path / "ledger.jsonl"
    with closing(VirtualMcu(Options(*paths, machine=Machine()))) as mcu:
        yield mcu


@pytest.fixture
def host(mcu: VirtualMcu) -> Iterator[Host]:
    host = Host(mcu)
    yield host
    host.close()


def served(mcu: VirtualMcu, work: Callable[[Control], Any]) -> Any:
    """Run `work` with a control client while the micro-controller serves in a thread."""
    done = Event()

    def serve() -> None:
        while not done.is_set():
            mcu.step()

    thread = Thread(target=serve)
    thread.start()
    try:
        return work(Control(mcu.options.control))
    finally:
        done.set()
        thread.join()


def test_the_host_reads_the_whole_dictionary(host: Host) -> None:
    data = b""
    while True:
        values = host.ask("identify_response", host.frame("identify", len(data), 40))
        assert values[0] == len(data)
        assert isinstance(values[1], bytes)
        if not values[1]:
            break
        data += values[1]
    assert data == DICTIONARY.compressed


def test_it_is_configured_and_keeps_its_configuration(host: Host) -> None:
    host.configure()
    assert host.ask("config", host.frame("get_config"))[:3] == [1, 77, 0]


def test_a_reset_forgets_and_ignores_what_the_old_host_still_sends(host: Host) -> None:
    host.configure()
    reset = host.frame("reset")
    late = [host.frame("update_digital_out", 0, 1) for _ in range(3)]
    os.write(host.port, reset + b"".join(late))
    host.mcu.step()
    # Even one whose number happens to be the one that the fresh chip waits for.
    os.write(host.port, encode_frame(0, COMMANDS["update_digital_out"].encode([0, 1])))
    host.mcu.step()
    host.sequence = 1
    asked = [host.frame("identify", 0, 40), host.frame("get_config")]
    assert host.ask("config", *asked)[:3] == [0, 0, 0]


def test_an_oid_of_another_kind_shuts_it_down(host: Host) -> None:
    host.configure()
    host.ask("shutdown", host.frame("endstop_query_state", 0))
    assert host.mcu.shutdown_reason == "Invalid command"
    assert host.ask("is_shutdown", host.frame("update_digital_out", 0, 1))


def test_the_ejector_pin_takes_the_part_off(host: Host) -> None:
    host.configure()
    host.mcu.plant.bed.add(5.0, "x", "a.gcode")
    host.ask("config", host.frame("update_digital_out", 0, 1), host.frame("get_config"))
    assert host.mcu.plant.bed.part is None
    assert read_ledger(host.mcu.options.ledger).clears == 1


def test_faults_are_switched_and_survive_the_process(mcu: VirtualMcu) -> None:
    def switch(control: Control) -> Any:
        control.filament(False)
        control.thermistor("bed", "open")
        control.heating("extruder", False)
        control.ejector(True)
        return control.status()

    wanted = {
        "filament_present": False,
        "thermistors": {"extruder": "ok", "bed": "open"},
        "heating": {"extruder": False, "bed": True},
        "ejector_stuck": True,
    }
    assert served(mcu, switch).items() >= wanted.items()
    with closing(VirtualMcu(mcu.options)) as again:
        assert served(again, lambda control: control.status()).items() >= wanted.items()


def test_unplugging_removes_the_port_and_replugging_brings_it_back(mcu: VirtualMcu) -> None:
    link = mcu.options.link

    def work(control: Control) -> None:
        control.unplug()
        assert not link.is_symlink()
        with pytest.raises(ControlError, match="unplugged already"):
            control.unplug()
        control.replug()
        assert link.exists()

    served(mcu, work)


def test_nobody_behind_the_socket_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ControlError, match="no answer to 'status'"):
        Control(tmp_path / "nobody").status()
