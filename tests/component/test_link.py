"""The MQTT connection against a real Mosquitto: refused, killed, back."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

from demo.waiting import until
from moonraker_component.link import INFLIGHT_MAX, QUEUED_MAX, Address, Connection, Message
from tests.component.mosquitto import PASSWORD, USER, Mosquitto

WILL = Message("farm/p1/online", b"gone", retain=True)
WANTED = "farm/p1/desired"


class Heard:
    """A listener that writes down."""

    def __init__(self) -> None:
        self.connects = 0
        self.faults: list[str] = []
        self.messages: list[tuple[str, bytes, bool]] = []

    def note_connected(self) -> None:
        self.connects += 1

    def note_lost(self, fault: str) -> None:
        self.faults.append(fault)

    def note_message(self, topic: str, payload: bytes, retained: bool) -> None:
        self.messages.append((topic, payload, retained))


def connection(broker: Mosquitto, heard: Heard, password: str = PASSWORD) -> Connection:
    address = Address("127.0.0.1", broker.port, USER, password)
    return Connection(address, "test-" + str(id(heard)), WILL, (WANTED,), heard)


async def test_a_refused_password_is_told_and_tried_again(broker: Mosquitto) -> None:
    heard = Heard()
    link = connection(broker, heard, "wrong-password")
    link.start()
    try:
        await until("refused twice", lambda: len(heard.faults) >= 2)
        assert all("refuses the connection" in fault for fault in heard.faults)
        assert "wrong-password" not in str(heard.faults) + repr(link.address)
        assert heard.connects == 0
        assert link.publish(Message("farm/p1/report", b"1")) is False
    finally:
        await link.stop(WILL)


async def test_it_comes_back_after_the_broker_was_killed(broker: Mosquitto) -> None:
    heard, other = Heard(), Heard()
    link, teller = connection(broker, heard), connection(broker, other)
    link.start()
    teller.start()
    try:
        await until("both are connected", lambda: heard.connects == 1 and other.connects == 1)
        await broker.kill()
        await until("noticed", lambda: not link.connected and not teller.connected)
        assert link.publish(Message(WANTED, b"lost")) is False
        await broker.start()
        await until("both are back", lambda: heard.connects == 2 and other.connects == 2)
        assert teller.publish(Message(WANTED, b"again"))
        await until("subscribed anew", lambda: (WANTED, b"again", False) in heard.messages)
        assert (WANTED, b"lost", False) not in heard.messages
    finally:
        await link.stop(WILL)
        await teller.stop(WILL)


async def test_it_waits_for_a_broker_that_is_not_there_yet(tmp_path: Path) -> None:
    broker, heard = Mosquitto(tmp_path / "late"), Heard()
    link = connection(broker, heard)
    link.start()
    try:
        await until("told why", lambda: any("refused" in fault for fault in heard.faults))
        await broker.start()
        await until("connected", lambda: heard.connects == 1)
    finally:
        await link.stop(WILL)
        await broker.kill()


async def test_a_retained_message_is_told_as_retained(broker: Mosquitto) -> None:
    heard, other = Heard(), Heard()
    teller = connection(broker, other)
    teller.start()
    await until("connected", lambda: other.connects == 1)
    assert teller.publish(Message(WANTED, b"kept", retain=True))
    await until("the broker has it", lambda: (WANTED, b"kept", False) in other.messages)
    link = connection(broker, heard)
    link.start()
    await until("told", lambda: heard.messages)
    assert heard.messages == [(WANTED, b"kept", True)]
    await link.stop(WILL)
    await teller.stop(WILL)


DYING = """
import asyncio, sys
from moonraker_component.link import INFLIGHT_MAX, QUEUED_MAX, Address, Connection, Message

class Silent:
    def note_connected(self): print("connected", flush=True)
    def note_lost(self, fault): pass
    def note_message(self, topic, payload, retained): pass

async def main():
    address = Address("127.0.0.1", int(sys.argv[1]), sys.argv[2], sys.argv[3])
    will = Message("farm/p1/online", b"gone", retain=True)
    Connection(address, "dying", will, ("farm/p1/desired",), Silent()).start()
    await asyncio.Event().wait()

asyncio.run(main())
"""


def watch(broker: Mosquitto, heard: Heard) -> Connection:
    """A connection that hears `online`."""
    address = Address("127.0.0.1", broker.port, USER, PASSWORD)
    return Connection(address, "watcher", Message("farm/watcher", b""), (WILL.topic,), heard)


async def test_the_will_is_told_when_a_host_dies(broker: Mosquitto) -> None:
    heard = Heard()
    watcher = watch(broker, heard)
    watcher.start()
    await until("watching", lambda: heard.connects == 1)
    host = await asyncio.create_subprocess_exec(
        sys.executable, "-c", DYING, str(broker.port), USER, PASSWORD,
        stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert host.stdout is not None
    assert await asyncio.wait_for(host.stdout.readline(), 60) == b"connected\n"
    host.kill()
    await host.wait()
    await until("the will", lambda: (WILL.topic, WILL.payload, False) in heard.messages)
    await watcher.stop(Message("farm/watcher", b""))


async def test_a_host_that_ends_says_farewell(broker: Mosquitto) -> None:
    heard = Heard()
    watcher, link = watch(broker, heard), connection(broker, Heard())
    watcher.start()
    link.start()
    await until("connected", lambda: heard.connects == 1 and link.connected)
    await link.stop(Message(WILL.topic, b"away", retain=True))
    await until("the farewell", lambda: (WILL.topic, b"away", False) in heard.messages)
    assert (WILL.topic, WILL.payload, False) not in heard.messages
    await watcher.stop(Message("farm/watcher", b""))


async def test_what_waits_for_a_hanging_broker_is_bounded(broker: Mosquitto) -> None:
    link = connection(broker, Heard())
    link.start()
    await until("connected", lambda: link.connected)
    broker.signal(signal.SIGSTOP)
    try:
        taken = sum(link.publish(Message("farm/p1/report", b"x")) for _ in range(500))
        assert 0 < taken <= QUEUED_MAX + INFLIGHT_MAX
    finally:
        broker.signal(signal.SIGCONT)
        await link.stop(WILL)
