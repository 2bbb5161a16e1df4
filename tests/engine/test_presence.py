"""Terms, beacons and restarts: who reigns, and what may be concluded from silence."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from coordinator.core.attempts import State
from coordinator.engine import StoodDown
from moonraker_component.wire import Beacon, Outcome, Phase, Want
from tests.engine.bench import SETTINGS, Bench, HandClock

LEASE_S = SETTINGS.lease_s
GRACE_S = SETTINGS.offline_grace_s


async def test_every_start_takes_a_higher_term(path: Path) -> None:
    terms = []
    for _ in range(3):
        async with Bench(path) as bench:
            terms.append(bench.engine.farm.reign.term)
    assert terms == sorted(set(terms))


async def test_who_hears_beacons_of_a_higher_term_stands_down(bench: Bench) -> None:
    await bench.add("a")
    term = bench.engine.farm.reign.term
    bench.engine.hear_beacon(Beacon(online=True, term=term - 1, sequence=1))
    bench.engine.hear_beacon(Beacon(online=False, term=term + 5, sequence=1))
    await bench.turn()
    bench.engine.hear_beacon(Beacon(online=True, term=term + 5, sequence=1))
    error = await bench.ended()
    assert isinstance(error, StoodDown)
    assert f"term {term + 5}" in str(error)


async def test_a_host_that_has_seen_more_makes_us_rise_above_it(bench: Bench) -> None:
    """The database was restored: nobody else reigns, and a host has observed a lost term."""
    await bench.add("a")
    await bench.submit()
    await bench.turn()
    attempt = bench.live("a")
    lost_term = bench.engine.farm.reign.term + 40
    bench.report("a", observed=(lost_term, 9))
    await bench.turn()
    assert bench.engine.farm.reign.term < lost_term, "a beacon of that term may still come"
    await bench.turn(LEASE_S)
    assert bench.engine.farm.reign.term == lost_term + 1
    assert bench.rows("SELECT term FROM reign") == [(lost_term + 1,)]
    await bench.turn()
    order = bench.bus.orders("a")[-1]
    assert (order.attempt, order.want) == (attempt.id, Want.WITHDRAW)
    # It had been armed after the backup was made, and prints: it is kept, not started again.
    for _ in range(2):
        bench.tell("a", Phase.PRINTING, attempt)
        await bench.turn()
    assert bench.live("a").state is State.STARTED
    assert bench.bus.orders("a")[-1].want is Want.RUN
    assert Want.START not in [order.want for order in bench.bus.orders("a")]
    assert list(bench.engine.farm.attempts) == [attempt.id]


async def test_what_was_assigned_before_a_restore_and_not_started_is_tried_anew(
    bench: Bench,
) -> None:
    await bench.add("a")
    await bench.submit()
    await bench.turn()
    attempt = bench.live("a")
    bench.report("a", observed=(bench.engine.farm.reign.term + 1, 1))
    await bench.turn()
    await bench.turn(LEASE_S)
    told = {"outcome": Outcome.NOT_STARTED, "cause": "withdrawn"}
    bench.tell("a", Phase.ENDED, attempt, **told)
    await bench.turn()
    bench.report("a")
    await bench.turn()
    second = bench.live("a")
    assert second.id != attempt.id
    assert second.state is State.ASSIGNED
    assert not second.restored


async def test_a_host_cannot_drive_the_term_to_where_no_number_is_left(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    await bench.add("a", "b")
    term = bench.engine.farm.reign.term
    caplog.set_level(logging.WARNING)
    bench.report("a", observed=(2**53, 1))
    await bench.turn(2 * LEASE_S)
    assert bench.engine.farm.reign.term == term
    assert "not believed" in caplog.text
    bench.report("b")
    await bench.submit()
    await bench.turn()
    assert bench.live("b").state is State.ASSIGNED


async def test_a_restart_loses_nothing_at_once_and_counts_silence_anew(path: Path) -> None:
    clock = HandClock()
    async with Bench(path, clock) as first:
        await first.add("a")
        await first.submit()
        await first.turn()
        attempt = await first.printing("a")
    clock.now_s += 10 * GRACE_S
    async with Bench(path, clock) as second:
        await second.turn()
        assert second.live("a").id == attempt.id
        assert second.live("a").state is State.STARTED
        await second.turn(GRACE_S - LEASE_S)
        assert second.live("a").state is State.STARTED
        await second.turn(2 * LEASE_S)
        assert second.live("a").state is State.LOST
        assert "JobRequeued" in second.bus.events()


async def test_after_a_restart_the_print_goes_on_with_the_session_that_had_it(path: Path) -> None:
    clock = HandClock()
    async with Bench(path, clock) as first:
        await first.add("a")
        await first.submit()
        await first.turn()
        attempt = await first.printing("a")
        sequence = 100
    async with Bench(path, clock) as second:
        second._sequences["session-a"] = sequence
        second.tell("a", Phase.PRINTING, attempt)
        await second.turn()
        newest = second.bus.desired("a")[-1]
        assert newest.echo is not None
        assert newest.echo.sequence == sequence + 1
        assert newest.order is not None
        assert newest.order.want is Want.RUN
        second.tell("a", Phase.ENDED, attempt, outcome=Outcome.COMPLETE)
        await second.turn()
        assert second.rows("SELECT state FROM jobs") == [("completed",)]


async def test_who_does_not_hear_itself_places_nothing(path: Path) -> None:
    bench = Bench(path)
    bench.bus.loops = False
    async with bench:
        await bench.add("a")
        job = await bench.submit()
        for _ in range(5):
            bench.report("a")
            await bench.turn(3.0)
        assert bench.engine.farm.attempts == {}
        bench.bus.loops = True
        bench.report("a")
        await bench.turn(5.0)
        assert bench.live("a").job == job.id


async def test_who_does_not_hear_itself_concludes_nothing_from_silence(bench: Bench) -> None:
    await bench.add("a")
    await bench.submit()
    await bench.turn()
    attempt = await bench.printing("a")
    bench.bus.loops = False
    await bench.turn(3 * GRACE_S)
    assert bench.live("a") == attempt
    assert bench.engine.farm.reign.connected_s is None
    bench.bus.loops = True
    await bench.turn(GRACE_S - LEASE_S)
    assert bench.live("a") == attempt, "silence is counted from hearing ourselves again"
    await bench.turn(3 * LEASE_S)
    assert bench.live("a").state is State.LOST


async def test_a_cut_starts_the_count_anew_and_everything_is_said_again(bench: Bench) -> None:
    await bench.add("a", "b")
    await bench.submit()
    await bench.turn()
    name = next(iter(bench.engine.farm.live_on))
    attempt = await bench.printing(name)
    await bench.turn(GRACE_S - 2 * LEASE_S)
    bench.engine.hear_disconnected()
    await bench.turn()
    bench.bus.said.clear()
    bench.engine.hear_connected()
    await bench.turn()
    assert bench.bus.desired("a")
    assert bench.bus.desired("b")
    await bench.turn(GRACE_S - 2 * LEASE_S)
    assert bench.live(name).state is attempt.state is State.STARTED


async def test_a_beacon_that_was_never_ours_proves_no_connection(path: Path) -> None:
    bench = Bench(path)
    bench.bus.loops = False
    async with bench:
        await bench.turn()
        term = bench.engine.farm.reign.term
        for beacon in (
            Beacon(online=True, term=term - 1, sequence=1),
            Beacon(online=True, term=term, sequence=10_000),
            Beacon(online=False, term=term, sequence=1),
        ):
            bench.engine.hear_beacon(beacon)
        await bench.turn()
        assert bench.engine.farm.reign.connected_s is None


async def test_desired_states_are_repeated_three_times_a_lease(bench: Bench) -> None:
    await bench.add("a")
    await bench.turn(LEASE_S)
    bench.bus.said.clear()
    await bench.turn(2 * LEASE_S)
    assert len(bench.bus.desired("a")) == 6
