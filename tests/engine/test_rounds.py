"""A round: what is asked and reported is committed, then said, or it never happened."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Literal

import msgspec
import pytest

from coordinator import engine as engine_module
from coordinator.core import printer_requests, requests
from coordinator.core.attempts import State
from coordinator.core.farm import Draft, Now
from coordinator.engine import EngineBusy
from coordinator.ports import StoreError, TermLost
from coordinator.store.sql import SqlStore
from moonraker_component.wire import (
    Beacon,
    CommandKind,
    Desired,
    Event,
    JobEvent,
    Message,
    Order,
    Outcome,
    Phase,
    Report,
)
from tests.engine.bench import DEADLINE_S, WHO, Bench, adding, rows

FULL_DISK = """
CREATE TRIGGER full_disk BEFORE INSERT ON jobs BEGIN SELECT RAISE(ABORT, 'disk is full'); END
"""


async def test_whatever_is_said_was_committed_before(bench: Bench) -> None:
    checked: list[type[Message]] = []

    def committed(to: str, message: Message) -> None:
        if isinstance(message, Desired):
            sql = "SELECT generation, issued, term FROM printers, reign WHERE printers.id = ?"
            ((generation, issued, term),) = bench.rows(sql, to)
            order = msgspec.json.decode(issued, type=Order) if issued else None
            assert (message.generation, message.order, message.term) == (generation, order, term)
        elif isinstance(message, JobEvent):
            assert bench.rows("SELECT 1 FROM history WHERE job = ?", to)
        elif isinstance(message, Beacon):
            assert bench.rows("SELECT term FROM reign") == [(message.term,)]
        checked.append(type(message))

    bench.bus.before = committed
    await bench.add("a")
    job = await bench.submit()
    await bench.turn()
    attempt = await bench.printing("a")
    bench.tell("a", Phase.ENDED, attempt, outcome=Outcome.COMPLETE)
    await bench.turn()
    assert bench.rows("SELECT state FROM jobs WHERE id = ?", job.id) == [("completed",)]
    assert {Desired, JobEvent, Beacon} <= set(checked)
    assert not bench.task.done()


async def test_a_round_that_cannot_be_stored_changes_nothing_and_the_asker_is_told(
    bench: Bench,
) -> None:
    await bench.add("a")
    rows(bench.path, FULL_DISK)
    said = len(bench.bus.events())
    with pytest.raises(StoreError, match="disk is full"):
        await bench.submit()
    assert bench.engine.farm.jobs == {}
    assert bench.engine.farm.live_on == {}
    assert bench.bus.events()[said:] == []
    rows(bench.path, "DROP TRIGGER full_disk")
    job = await bench.submit()
    await bench.turn()
    assert bench.live("a").job == job.id


async def test_a_report_in_a_round_that_failed_is_not_echoed_and_counts_when_it_comes_again(
    bench: Bench,
) -> None:
    await bench.add("a")
    await bench.submit()
    await bench.turn()
    rows(bench.path, FULL_DISK.replace("INSERT ON jobs", "UPDATE ON attempts"))
    rows(bench.path, FULL_DISK.replace("full_disk", "full_too").replace("jobs", "attempts"))
    prepared = bench.tell("a", Phase.PREPARED, bench.live("a"))
    with pytest.raises(StoreError):
        await bench.turn()
    rows(bench.path, "DROP TRIGGER full_disk")
    rows(bench.path, "DROP TRIGGER full_too")
    await bench.turn(5.0)
    echoes = [m.echo.sequence for m in bench.bus.desired("a") if m.echo is not None]
    assert prepared.sequence not in echoes
    assert bench.live("a").state is State.ASSIGNED
    again = bench.tell("a", Phase.PREPARED, bench.live("a"))
    await bench.turn()
    assert bench.live("a").state is State.ARMED
    newest = bench.bus.desired("a")[-1].echo
    assert newest is not None
    assert newest.sequence == again.sequence


async def test_a_request_that_raises_leaves_nothing_of_what_it_had_begun(bench: Bench) -> None:
    await bench.add("a")

    def half_done(draft: Draft, now: Now) -> None:
        printer_requests.set_maintenance(draft, "a", True, WHO, now)
        raise requests.Conflict("changed my mind")

    def done(draft: Draft, now: Now) -> None:
        printer_requests.add_printer(draft, "b", "b", (), WHO, now)

    outcome = await asyncio.gather(
        bench.engine.ask(half_done), bench.engine.ask(done), return_exceptions=True
    )
    assert isinstance(outcome[0], requests.Conflict)
    assert outcome[1] is None
    assert bench.engine.farm.printers["a"].maintenance is False
    assert "b" in bench.engine.farm.printers
    assert bench.rows("SELECT id, maintenance FROM printers ORDER BY id") == [("a", 0), ("b", 0)]
    assert bench.rows("SELECT 1 FROM history WHERE kind = 'printer_maintenance'") == []


async def test_an_error_that_nobody_foresaw_goes_to_whoever_asked_and_the_engine_goes_on(
    bench: Bench,
) -> None:
    def broken(_draft: Draft, _now: Now) -> None:
        raise ZeroDivisionError("nobody foresaw this")

    with pytest.raises(ZeroDivisionError):
        await bench.ask(broken)
    await bench.add("a")
    assert not bench.task.done()


async def test_a_full_inbox_refuses_people_and_drops_reports_which_come_again(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(engine_module, "INBOX_MAX", 3)
    bench = Bench(path)
    await bench.store.open()
    await bench.engine.start()
    for number in range(5):
        bench.engine.hear_report("a", Report(session="s", sequence=number + 1))
    with pytest.raises(EngineBusy, match="try again"):
        await bench.engine.ask(lambda _draft, _now: None)
    caplog.set_level(logging.WARNING)
    bench.task = asyncio.create_task(bench.engine.run())
    await bench.turn()
    assert "2 reports dropped" in caplog.text
    await bench.add("a")
    assert bench.engine.farm.printers["a"].session == "session-a"
    await bench.__aexit__()


async def test_more_than_one_round_can_hold_is_taken_in_the_next(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "ROUND_MAX", 2)
    names = [f"p{n}" for n in range(9)]
    await asyncio.gather(*(bench.engine.ask(adding(name)) for name in names))
    assert sorted(bench.engine.farm.printers) == names


async def test_who_lost_its_term_stops_and_says_so(bench: Bench) -> None:
    await bench.add("a")
    other = SqlStore(f"sqlite+aiosqlite:///{bench.path}")
    await other.open()
    higher = await other.take_term()
    await other.close()
    said = len(bench.bus.said)
    with pytest.raises(TermLost, match=f"term {higher}"):
        await bench.ask(lambda d, now: printer_requests.set_maintenance(d, "a", True, WHO, now))
    assert isinstance(await bench.ended(), TermLost)
    assert bench.bus.said[said:] == []
    assert bench.rows("SELECT maintenance FROM printers") == [(0,)]


async def test_an_idle_round_also_notices_a_lost_term(bench: Bench) -> None:
    other = SqlStore(f"sqlite+aiosqlite:///{bench.path}")
    await other.open()
    await other.take_term()
    await other.close()
    assert isinstance(await bench.ended(), TermLost)


async def test_only_what_is_committed_is_echoed_and_only_to_the_session_that_counts(
    bench: Bench,
) -> None:
    await bench.ask(adding("a"))
    bench.report("a", session="one")
    await bench.turn()
    assert bench.bus.desired("a")[-1].echo is None, "an unproven session was echoed"
    report = bench.report("a", session="one")
    await bench.turn()
    echo = bench.bus.desired("a")[-1].echo
    assert echo is not None
    assert (echo.session, echo.sequence) == ("one", report.sequence)
    bench.report("a", session="one", sequence=1)
    await bench.turn(5.0)
    assert bench.bus.desired("a")[-1].echo == echo, "an older report was echoed"
    bench.report("a", session="two")
    await bench.turn(5.0)
    assert bench.bus.desired("a")[-1].echo == echo, "a session that proved nothing was echoed"


async def test_a_report_that_changes_nothing_is_echoed_without_a_write(bench: Bench) -> None:
    await bench.add("a")
    await bench.turn()
    before = bench.rows("SELECT count(*) FROM history")
    report = bench.report("a")
    ((version,),) = bench.rows("PRAGMA data_version")
    await bench.turn(5.0)
    echo = bench.bus.desired("a")[-1].echo
    assert echo is not None
    assert echo.sequence == report.sequence
    assert bench.rows("SELECT count(*) FROM history") == before
    assert bench.rows("PRAGMA data_version") == [(version,)]


async def test_events_of_a_job_are_told_in_order(bench: Bench) -> None:
    await bench.add("a")
    await bench.submit()
    await bench.turn()
    attempt = await bench.printing("a")
    bench.tell("a", Phase.PAUSED, attempt, pause="runout-1")
    await bench.turn()
    bench.tell("a", Phase.ENDED, attempt, outcome=Outcome.COMPLETE)
    await bench.turn()
    assert bench.bus.events() == [
        "JobQueued",
        "JobAssigned",
        "JobStarted",
        "JobPaused",
        "JobCopyCompleted",
        "JobCompleted",
    ]
    told = [m for _, m in bench.bus.said if isinstance(m, JobEvent)]
    assert len({event.id for event in told}) == len(told)
    assert {event.printer for event in told[1:5]} == {"a"}


async def test_a_fact_of_a_host_is_kept_once_and_cannot_pass_for_a_decision_of_the_farm(
    bench: Bench,
) -> None:
    await bench.add("a")
    await bench.submit()
    await bench.turn()
    attempt = await bench.printing("a")
    said = bench.bus.events()
    for kind in ("runout", "attempt_completed", "job_completed"):
        fact = Event(id=f"fact-{kind}", kind=kind, attempt=attempt.id, text="as the host says")
        bench.engine.hear_event("a", fact)
        bench.engine.hear_event("a", fact)
    bench.engine.hear_event("stranger", Event(id="x", kind="runout"))
    await bench.turn()
    assert bench.bus.events() == said
    kept = bench.rows("SELECT kind, attempt FROM history WHERE who = 'a' ORDER BY number")
    assert kept == [
        ("host_runout", attempt.id),
        ("host_attempt_completed", attempt.id),
        ("host_job_completed", attempt.id),
    ]


async def test_a_command_names_the_session_and_its_newest_report(bench: Bench) -> None:
    await bench.add("a")
    report = bench.report("a")
    await bench.turn()
    command = await bench.engine.command("a", CommandKind.BED_CLEAR, WHO, token="token")
    assert (command.session, command.sequence) == (report.session, report.sequence)
    assert ("a", command) in bench.bus.said
    assert bench.rows("SELECT who FROM history WHERE kind = 'command_bed_clear'") == [("tester",)]
    await bench.turn(20.0)
    with pytest.raises(requests.Conflict, match="offline"):
        await bench.engine.command("a", CommandKind.BED_CLEAR, WHO)
    with pytest.raises(requests.NotFound):
        await bench.engine.command("b", CommandKind.BED_CLEAR, WHO)


@pytest.mark.parametrize("bad_id", ["", "x", "../../../etc", "a" * 65])
async def test_what_a_host_calls_an_attempt_cannot_stop_the_rounds(
    bench: Bench, bad_id: str
) -> None:
    await bench.add("a", "b")
    job = await bench.submit()
    await bench.turn()
    free = next(name for name in "ab" if not bench.engine.farm.live_on.get(name))
    live = bench.live("ab".replace(free, ""))
    stranger = msgspec.structs.replace(live, id=bad_id)
    bench.tell(free, Phase.PRINTING, stranger)
    await bench.turn()
    assert bad_id not in bench.engine.farm.attempts
    assert bench.rows("SELECT count(*) FROM attempts WHERE job = ?", job.id) == [(1,)]


class WatchedEvent(asyncio.Event):
    """Tells when somebody begins to wait for it."""

    def __init__(self) -> None:
        super().__init__()
        self.awaited = asyncio.Event()

    async def wait(self) -> Literal[True]:
        self.awaited.set()
        return await super().wait()


async def test_a_stop_that_comes_with_a_wake_up_is_a_stop(bench: Bench) -> None:
    """A coordinator that loses it runs on, and whoever told it to end waits for ever."""
    await bench.turn()
    wake = bench.engine._wake = WatchedEvent()
    await asyncio.wait_for(wake.awaited.wait(), DEADLINE_S)
    bench.engine.hear_connected()
    bench.task.cancel()
    done, _ = await asyncio.wait({bench.task}, timeout=DEADLINE_S)
    assert done == {bench.task}
    assert bench.task.cancelled()
