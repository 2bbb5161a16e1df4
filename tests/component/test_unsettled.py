"""Starts and ends that nobody has settled yet: what a host says of them, and what it waits for."""

from __future__ import annotations

from pathlib import Path

from msgspec.structs import replace

from moonraker_component import agent as agent_module
from moonraker_component import decisions
from moonraker_component.attempt import LookUp
from moonraker_component.wire import Link, Outcome, Phase, Want
from tests.component.build import ATTEMPT, IDLE, Story, printing, record
from tests.component.stub_moonraker import StubServer, make_agent


def test_a_start_that_klipper_calls_used_is_unknown_and_not_unstarted() -> None:
    """It was started once, and whoever knew what came of it has lost it."""
    story = Story().start()
    story.step(decisions.on_asked, ATTEMPT, "used", "started before", story.now_s)
    told = story.told()
    assert told is not None
    assert (told.phase, told.outcome, told.cause) == (Phase.ENDED, Outcome.UNKNOWN, "used")


def test_a_record_that_says_started_is_waited_for_and_not_called_unknown() -> None:
    """After a power cut Klipper is ready before its section has written down the interruption."""
    row = Story().print().host.attempt(ATTEMPT)
    assert row is not None
    story = Story(rows=(row,), view=replace(IDLE, records=(record(),)))
    story.wait(60.0)
    assert story.count(LookUp) == 0
    story.see(replace(IDLE, records=(record("ended", "interrupted"),)))
    told = story.told()
    assert told is not None
    assert (told.outcome, told.cause) == (Outcome.FAILED, "klipper_restarted")


def test_a_start_that_is_not_settled_refuses_other_starts_by_name() -> None:
    """Else the coordinator would place the next attempt on a host that cannot start it."""
    story = Story().prepare()
    assert story.report().refusals == ()
    story.want(Want.START)
    assert [(r.code, ATTEMPT in r.text) for r in story.report().refusals] == [("starting", True)]
    story.see(printing())
    assert "starting" not in {r.code for r in story.report().refusals}


def test_a_full_queue_makes_a_host_neither_blind_nor_dumb(tmp_path: Path) -> None:
    """A disk that stands still lets decisions pile up; what is dropped then is due again."""
    server = StubServer(tmp_path / "host", database=tmp_path / "moonraker.db")
    agent = make_agent(server, "p1", port=1, username="u", password="p")
    for _ in range(agent_module.QUEUE_MAX):
        assert agent.decide("tick", decisions.on_tick)
    agent.reporter.connection.connected = True
    agent.klippy._set_link(Link.SHUTDOWN)
    agent.reporter.say()
    while not agent._queue.empty():
        agent._queue.get_nowait()
    agent.klippy._set_link(Link.ERROR)
    agent.reporter.say()
    waiting = []
    while not agent._queue.empty():
        waiting.append(agent._queue.get_nowait()[0])
    assert waiting == ["view", "report"]


def test_what_was_seen_before_a_sleep_ends_no_start() -> None:
    """Klipper may have started it in the moment before the host fell asleep."""
    story = Story().start()
    row = story.host.attempt(ATTEMPT)
    assert row is not None
    host, _ = decisions.on_tick(story.host, row.deadline_s - 1.0)
    woken_s = row.deadline_s + 3_600.0
    host, _ = decisions.on_tick(host, woken_s)
    assert host.attempts[0].phase is Phase.STARTING
    for second in range(1, 12):
        host, _ = decisions.on_tick(host, woken_s + second)
    assert host.attempts[0].outcome is Outcome.NOT_STARTED
