"""What was not heard: a process that stood still, a database that is old, a report that breaks."""

from __future__ import annotations

import logging

import pytest

from coordinator.core import reports
from coordinator.core.attempts import State
from coordinator.core.jobs import Policy
from coordinator.ports import StoreError
from moonraker_component.wire import Beacon, Phase, Want
from tests.engine.bench import SETTINGS, Bench, rows

LEASE_S = SETTINGS.lease_s
GRACE_S = SETTINGS.offline_grace_s


async def test_what_is_heard_right_after_a_standstill_hides_no_gap(bench: Bench) -> None:
    """A stopped process finds the beacon in its socket before a round can see how late it is."""
    await bench.add("a")
    await bench.submit()
    await bench.turn()
    await bench.printing("a")
    bench.clock.now_s += 10 * GRACE_S
    for beacon in [m for _, m in bench.bus.said if isinstance(m, Beacon)][-1:]:
        bench.engine.hear_beacon(beacon)
    await bench.turn()
    assert bench.live("a").state is State.STARTED
    await bench.turn(GRACE_S + LEASE_S)
    assert bench.live("a").state is State.LOST


async def test_a_report_that_breaks_the_fold_stops_neither_the_round_nor_the_farm(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await bench.add("a", "b")
    keep = reports._keep

    def breaks(draft: object, printer_id: str, report: object) -> None:
        if printer_id == "a":
            raise ZeroDivisionError("nobody foresaw this report")
        keep(draft, printer_id, report)  # type: ignore[arg-type]

    monkeypatch.setattr(reports, "_keep", breaks)
    before = bench.engine.farm.contacts["a"].sequence
    bench.report("a")
    told = bench.report("b")
    caplog.set_level(logging.ERROR)
    await bench.turn()
    assert "nobody foresaw this report" in caplog.text
    assert bench.engine.farm.contacts["a"].sequence == before, "it is not echoed"
    assert bench.engine.farm.contacts["b"].sequence == told.sequence
    assert not bench.task.done()


async def test_an_old_database_places_and_takes_back_nothing_before_it_rises(bench: Bench) -> None:
    """The backup is of the last term: only generations tell that it is old."""
    await bench.add("a", "b")
    await bench.submit(policy=Policy(offline_grace_s=None))
    await bench.turn()
    term = bench.engine.farm.reign.term
    (name,) = bench.engine.farm.live_on
    attempt = bench.live(name)
    other = "b" if name == "a" else "a"
    bench.report(other, observed=(term - 1, 500))
    await bench.turn(3 * LEASE_S)
    assert bench.engine.farm.reign.term == term + 1
    assert bench.live(name).id == attempt.id, "its silence proves nothing"
    assert bench.bus.orders(name)[-1].want is Want.WITHDRAW
    assert bench.bus.desired(other)[-1].generation >= 500
    bench.tell(name, Phase.PRINTING, attempt)
    await bench.turn()
    assert bench.live(name).state is State.STARTED


async def test_what_was_assigned_counts_as_armed_before_the_new_term_is_taken(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash, or a full disk, between the two must not leave it assigned in the new reign."""
    await bench.add("a")
    await bench.submit()
    await bench.turn()

    async def full(above: int = 0) -> int:
        raise StoreError("disk is full")

    monkeypatch.setattr(bench.store, "take_term", full)
    term = bench.engine.farm.reign.term
    bench.report("a", observed=(term + 7, 1))
    await bench.turn(LEASE_S - 1.0)
    assert rows(bench.path, "SELECT state, take_back FROM attempts") == [("armed", "withdraw")]
    assert rows(bench.path, "SELECT term FROM reign") == [(term,)]


async def test_who_hears_no_beacons_does_not_conclude_that_none_come(bench: Bench) -> None:
    await bench.add("a")
    await bench.turn()
    term = bench.engine.farm.reign.term
    bench.report("a", observed=(term + 7, 1))
    await bench.turn()
    bench.bus.loops = False
    bench.engine.hear_disconnected()
    for _ in range(9):
        bench.report("a", observed=(term + 7, 1))
        await bench.turn(5.0)
    assert bench.engine.farm.reign.term == term
    bench.bus.loops = True
    for _ in range(6):
        bench.report("a", observed=(term + 7, 1))
        await bench.turn(5.0)
    assert bench.engine.farm.reign.term == term + 8


async def test_what_was_reported_to_a_round_that_failed_is_no_silence(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk was full for longer than the grace: the hosts have spoken, nobody could listen."""
    await bench.add("a")
    await bench.submit()
    await bench.turn()
    attempt = await bench.printing("a")

    async def refuse(*_: object) -> None:
        raise StoreError("disk is full")

    with monkeypatch.context() as full:
        full.setattr(bench.store, "commit", refuse)
        full.setattr(bench.store, "confirm", refuse)
        bench.clock.now_s += GRACE_S + LEASE_S
        bench.tell("a", Phase.PRINTING, attempt)
        with pytest.raises(StoreError, match="disk is full"):
            await bench.ask(lambda _draft, _now: None)
    await bench.turn()
    assert bench.live("a").state is State.STARTED
    await bench.turn(GRACE_S + LEASE_S)
    assert bench.live("a").state is State.LOST
