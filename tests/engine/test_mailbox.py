"""The box between the MQTT thread and the loop: its order, its pace, its bounds."""

from __future__ import annotations

import pytest

from coordinator.core import pacing
from coordinator.core.pacing import BURST, RATE_PER_S
from coordinator.mailbox import OTHERS, TELL_S, WAITING_MAX, Letter, Mailbox

FARM = ("a", "b")


@pytest.fixture
def box() -> Mailbox:
    return Mailbox(lambda printer: printer in FARM)


def said(printer: str, leaf: str, payload: object = b"") -> Letter:
    body = payload if isinstance(payload, bytes) else str(payload).encode()
    return Letter(f"p/{printer}/{leaf}", body, printer, leaf)


def payloads(letters: list[Letter], printer: str) -> list[bytes]:
    return [letter.payload for letter in letters if letter.printer == printer]


def test_messages_of_a_well_behaved_host_come_in_order_and_wake_once(box: Mailbox) -> None:
    told = [box.put(said("a", leaf, leaf), 1.0) for leaf in ("report", "telemetry", "event")]
    assert told == [True, False, False]
    assert box.take(2, 1.0)[1] == 0.0
    letters, again_s = box.take(10, 1.0)
    assert [letter.leaf for letter in letters] == ["event"]
    assert again_s is None
    assert box.put(said("a", "report"), 2.0) is True


def test_a_flood_of_reports_leaves_the_newest_and_takes_it_soon(box: Mailbox) -> None:
    for number in range(10_000):
        box.put(said("a", "report", number), 1.0)
    letters, again_s = box.take(100_000, 1.0)
    assert len(letters) < BURST
    assert again_s is not None
    assert again_s <= 2 / RATE_PER_S
    assert box.take(10, 1.0)[0] == []
    (last,), _ = box.take(10, 1.0 + again_s)
    assert last.payload == b"9999"


def test_a_newer_report_replaces_the_one_that_was_held(box: Mailbox) -> None:
    for number in range(1_000):
        box.put(said("a", "report", number), 1.0)
    box.take(10_000, 1.0)
    box.put(said("a", "report", "newest"), 60.0)
    assert payloads(box.take(10, 60.0)[0], "a") == [b"newest"]


def test_telemetry_is_dropped_before_events_and_events_before_reports(box: Mailbox) -> None:
    for leaf in ("telemetry", "event", "report"):
        for _ in range(1_000):
            box.put(said("a", leaf), 1.0)
    letters, _ = box.take(10_000, 1.0)
    counts = [sum(x.leaf == leaf for x in letters) for leaf in ("telemetry", "event", "report")]
    assert counts == [pytest.approx(n, abs=2) for n in (BURST / 2, BURST / 4, BURST / 4)]


def test_a_flood_of_one_host_costs_no_other_anything(box: Mailbox) -> None:
    for number in range(10_000):
        box.put(said("a", "event", number), 1.0)
        if number % 1_000 == 0:
            box.put(said("b", "report", number), 1.0)
            box.put(said("b", "telemetry", number), 1.0)
    assert len(payloads(box.take(100_000, 1.0)[0], "b")) == 20


def test_large_messages_cost_more(box: Mailbox) -> None:
    large = b"x" * 256 * 1024
    for _ in range(1_000):
        box.put(said("a", "report", large), 1.0)
    letters, _ = box.take(10_000, 1.0)
    assert sum(len(x.payload) for x in letters) < 2 * BURST * pacing.COST_BYTES


def test_invented_printers_share_one_bucket(box: Mailbox) -> None:
    for number in range(10_000):
        box.put(said(f"invented-{number}", "report"), 1.0)
    assert len(box.take(100_000, 1.0)[0]) <= BURST
    assert list(box.floods(1.0)) == [OTHERS]


def test_a_loop_that_stands_still_fills_no_memory(box: Mailbox) -> None:
    now_s = 0.0
    for number in range(3 * WAITING_MAX):
        now_s += 1.0
        box.put(said("a", "report", number), now_s)
        box.put(said("a", "telemetry", number), now_s)
    taken = []
    while letters := box.take(500, now_s)[0]:
        taken += letters
    assert len(taken) <= WAITING_MAX + 1
    assert taken[-1].payload == str(3 * WAITING_MAX - 1).encode()


def test_what_was_not_taken_is_told_at_once_and_then_once_a_minute(box: Mailbox) -> None:
    assert box.floods(1.0) == {}
    for number in range(1_000):
        box.put(said("a", "telemetry", number), 1.0)
    (text,) = box.floods(1.0).values()
    dropped = int(text.partition(": ")[2].partition(" ")[0])
    assert dropped == pytest.approx(1_000 - BURST / 2, abs=2)
    for number in range(1_000):
        box.put(said("a", "telemetry", number), 1.0)
    assert box.floods(TELL_S) == {}
    assert list(box.floods(1.0 + TELL_S)) == ["a"]
    assert box.floods(1.0 + 3 * TELL_S) == {}
