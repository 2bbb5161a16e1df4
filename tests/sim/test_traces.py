"""The traces that the rules of one print were written against, by number, one test each.

Played by hand on the product's own decisions: `Story` is a host, `Bench` a coordinator, rules.py
the Klipper section; where the engine's loop is what the trace is about (17, 21), a whole farm with
the faults of the trace and no others. Real disks and processes (15) have tests beside the parts.
"""

from __future__ import annotations

import dataclasses

from msgspec.structs import replace

from coordinator.core.attempts import State
from coordinator.core.jobs import Policy
from klipper_extras import rules
from moonraker_component import decisions, wire
from moonraker_component.attempt import Feed, Pause, Resume, Start
from moonraker_component.wire import Command, CommandKind, Outcome, Phase, Want
from tests.component.build import (
    ATTEMPT,
    IDLE,
    LEASE_S,
    OTHER,
    SESSION,
    Story,
    fired,
    printing,
    record,
)
from tests.core.build import DEFAULT_POLICY, Bench
from tests.sim.coordinators import TURN_S, SimCoordinator
from tests.sim.invariants import breaches_of
from tests.sim.play import run
from tests.sim.scenario import Fault, Wish, draw
from tests.sim.world import World

FENCE = Policy(offline_grace_s=300.0, fence=True)


def ask_of(start: Start) -> rules.Ask:
    return rules.Ask(
        start.attempt, start.copy, start.job, start.path, start.deadline_s,
        start.bed_token, start.fence_s, start.fence_until_s,
    )  # fmt: skip


def start_of(story: Story) -> Start:
    (start,) = [effect for effect in story.all if isinstance(effect, Start)]
    return start


def farm(policy: Policy = DEFAULT_POLICY) -> tuple[Bench, str, str]:
    """Two printers, one copy: (bench, where it was placed, the other one)."""
    bench = Bench("a", "b", policy=policy)
    bench.hello()
    bench.submit()
    bench.round()
    first = "a" if bench.on("a") is not None else "b"
    return bench, first, "b" if first == "a" else "a"


def moved(policy: Policy = DEFAULT_POLICY) -> tuple[Bench, str, str]:
    """It printed, fell silent, was lost, and its replacement is assigned to the other."""
    bench, first, other = farm(policy)
    bench.start_on(first)
    bench.report(other)
    bench.round(301.0)
    return bench, first, other


def test_trace_1_silence_after_the_order_to_start_is_not_taken_for_not_started() -> None:
    bench, first, other = farm()
    bench.tell(first, Phase.PREPARED)
    bench.round()
    bench.report(other)
    bench.round(60.0)
    assert bench.live(first).state is State.ARMED
    assert bench.on(other) is None
    bench.tell(first, Phase.PRINTING)
    bench.round()
    assert bench.live(first).state is State.STARTED


def test_trace_2_a_permission_that_was_under_way_for_long_starts_nothing() -> None:
    story = Story().prepare()
    told = story.report()
    story.wait(LEASE_S + 1.0)
    story.want(Want.START, echo=False)
    story.echo(told)
    assert story.count(Start) == 0
    story.echo(story.report(), retained=True)
    assert story.count(Start) == 0


def test_trace_3_a_lease_ends_while_its_host_sleeps() -> None:
    story = Story(view=replace(IDLE, idle_state="Printing")).prepare()
    story.want(Want.START)
    story.now_s += 3_600.0  # CLOCK_BOOTTIME went on
    story.see(IDLE)
    assert story.count(Start) == 0


def test_trace_4_a_start_that_waited_behind_a_macro_is_refused_inside_klipper() -> None:
    start = start_of(Story().start())
    latch = rules.Latch(start.bed_token, True)
    in_time = rules.refuse_start(ask_of(start), start.deadline_s - 0.1, latch, "", ())
    late = rules.refuse_start(ask_of(start), start.deadline_s, latch, "", ())
    assert in_time is None
    assert late is not None
    assert late.code == "deadline"


def test_trace_5_a_restarted_host_starts_nothing_that_its_last_life_prepared() -> None:
    row = Story().prepare().host.attempt(ATTEMPT)
    assert row is not None
    story = Story(rows=(row,))
    story.want(Want.START)
    assert story.count(Start) == 0
    lost = Story()
    lost.want(Want.START, session="session-0")
    assert lost.count(Start) == 0


def test_trace_5_an_id_that_klipper_started_once_is_refused() -> None:
    start = start_of(Story().start())
    latch = rules.Latch(start.bed_token, True)
    refused = rules.refuse_start(ask_of(start), start.deadline_s - 1, latch, "", (ATTEMPT,))
    assert refused is not None
    assert refused.code == "used"


def test_trace_6_a_late_report_of_a_dead_session_ends_nothing() -> None:
    bench, first, _ = farm()
    bench.start_on(first)
    attempt = bench.live(first)
    for _ in range(2):
        bench.tell(first, Phase.PRINTING, session="second")
        bench.round()
    assert bench.farm.printers[first].session == "second"
    old = (bench.farm.reign.term, 1)
    for _ in range(30):  # it mentions nothing, and comes again and again
        bench.report(first, session=f"session-{first}", observed=old)
        bench.tell(first, Phase.PRINTING, session="second")
        bench.round(2.0)
    assert bench.live(first).id == attempt.id
    assert bench.live(first).state is State.STARTED
    assert bench.farm.printers[first].session == "second"


def test_trace_7_a_host_that_forgot_is_not_waited_for() -> None:
    bench, first, _ = farm()
    bench.start_on(first)
    attempt = bench.live(first)
    for _ in range(12):
        bench.report(first, session="second")
        bench.round(3.0)
    assert bench.farm.attempts[attempt.id].outcome is Outcome.UNKNOWN


def test_trace_7_a_host_that_forgot_is_told_by_the_record_of_its_klipper() -> None:
    told = Story(view=printing()).told()
    assert told is not None
    assert (told.attempt, told.phase) == (ATTEMPT, Phase.PRINTING)


def test_trace_8_a_lost_attempt_keeps_its_printer() -> None:
    bench, first, other = moved()
    bench.submit(2)
    lost = bench.live(first)
    for _ in range(3):  # heard, idle, and its session not settled yet
        bench.report(first, session="second")
        bench.report(other)
        bench.round()
    assert bench.farm.contacts[first].session == "second"
    assert bench.live(first).id == lost.id


def test_trace_9_an_end_is_told_until_it_is_echoed_whatever_prints_next() -> None:
    story = Story().print()
    story.see(replace(IDLE, records=(record("ended", "complete"),)))
    other = replace(printing(), path="somebodys.gcode", records=(record("ended", "complete"),))
    story.see(other)
    story.want(Want.PREPARE, attempt=OTHER, echo=False)
    told = story.told()
    assert told is not None
    assert told.outcome is Outcome.COMPLETE
    story.echo()
    assert story.told() is None


def test_trace_10_a_repeated_run_resumes_no_pause_and_none_stops_no_print() -> None:
    story = Story().print()
    story.want(Want.RUN)
    story.see(printing("paused"))
    for _ in range(3):
        story.echo()
    assert story.count(Resume) == 0
    story.see(printing())
    story.want(None)
    told = story.told()
    assert told is not None
    assert told.phase is Phase.PRINTING
    assert story.count(Pause) == 0


def test_trace_11_the_fence_fires_inside_klipper_counted_from_the_sending() -> None:
    story = Story()
    story.prepare()
    told = story.report()
    story.wait(10.0)
    story.want(Want.START, echo=False, fence_s=120.0)
    story.echo(told)
    start = start_of(story)
    fence = rules.arm_fence(ask_of(start), story.now_s)
    assert fence.until_boottime_s == story.now_s - 10.0 + 120.0
    assert rules.is_expired(fence, fence.until_boottime_s)
    assert not rules.is_expired(fence, fence.until_boottime_s - 0.1)


def test_trace_12_resume_is_refused_once_the_fence_has_fired() -> None:
    fence = rules.fire_fence(rules.Fence(ATTEMPT, 100.0, 20.0, False, "", "", ""), "f1")
    assert rules.refuse_resume(fence) is not None
    assert rules.refuse_feed(fence, ATTEMPT, 500.0, ATTEMPT) is not None


def test_trace_13_only_a_run_that_names_the_fence_pause_lifts_it() -> None:
    story = Story().print()
    story.see(printing("paused", fence=fired("fence-1")))
    for resume, lifted in (("", 0), ("fence-0", 0), ("fence-1", 1)):
        story.want(Want.RUN, resume=resume)
        assert story.count(Resume) == lifted, resume
    story.see(printing())
    story.see(printing("paused", fence=fired("fence-2")))
    story.echo()
    assert story.count(Resume) == 1, "the second pause is another one"


def test_trace_13_the_coordinator_lifts_it_only_while_nobody_else_has_the_copy() -> None:
    bench, first, other = moved(FENCE)
    bench.tell(other, Phase.PREPARED)
    bench.round()
    for _ in range(2):
        bench.tell(first, Phase.PAUSED, pause="f1", fenced=True)
        bench.tell(other, Phase.STARTING)
        bench.round()
    assert bench.order(first).resume == ""
    bench.tell(first, Phase.PAUSED, pause="f1", fenced=True)
    bench.tell(other, Phase.ENDED, outcome=Outcome.NOT_STARTED, cause="deadline")
    bench.round()
    assert (bench.order(first).want, bench.order(first).resume) == (Want.RUN, "f1")


def test_trace_14_a_withdrawal_is_over_once_the_start_is_told_and_the_fence_is_fed() -> None:
    bench, first, _ = moved(FENCE)
    assert bench.order(first).want is Want.WITHDRAW
    bench.tell(first, Phase.PRINTING)
    bench.round()
    assert bench.order(first).want is Want.RUN
    story = Story().print(fence_s=120.0)
    story.want(Want.WITHDRAW, fence_s=120.0)
    fed = story.count(Feed)
    story.wait(5.0)
    story.echo()
    assert story.count(Feed) == fed
    story.want(Want.RUN, fence_s=120.0)
    assert story.count(Feed) == fed + 1


def test_trace_15_a_late_clear_does_not_clear_the_next_print() -> None:
    dropped = rules.Latch("second", False)
    assert rules.refuse_clear(dropped, "first", "") is not None
    assert rules.refuse_clear(dropped, "second", "a print is active") is not None
    assert rules.refuse_clear(dropped, "second", "") is None
    assert not rules.read_latch(None, "second", "third", True).clear
    assert not rules.read_latch("second", None, "third", True).clear


def test_trace_16_a_restored_backup_is_noticed_and_starts_no_id_twice() -> None:
    bench, first, other = farm()
    attempt = bench.live(first)
    generation = bench.farm.printers[first].generation
    bench.report(first, observed=(bench.farm.reign.term - 1, generation + 20))
    assert bench.round().outranked
    order = bench.order(first)
    assert (order.attempt, order.want) == (attempt.id, Want.WITHDRAW)
    bench.tell(first, Phase.PREPARED)
    bench.report(other)
    bench.round()
    assert bench.order(first).want is Want.WITHDRAW, "prepared there, it is not armed anew"
    assert bench.on(other) is None


def played(kind: str, *faults: Fault) -> World:
    """A farm to which nothing else happens; every promise is kept in it."""
    wishes = (Wish(0.0, 1, kind),)
    calm = dataclasses.replace(draw(0, kind), drop=0.0, double=0.0, delay_max_s=0.3)
    world = run(dataclasses.replace(calm, wishes=wishes, faults=faults))
    assert breaches_of(world) == []
    return world


def test_trace_17_a_coordinator_that_was_away_loses_nothing_of_the_farm_at_once() -> None:
    """Away for longer than the grace, and back while the print of before still runs."""
    away = Fault(at_s=10.0, kind="coordinator", length_s=46.0)
    world = played("default", away)
    (first,) = [e for e in world.history.of("started")][:1]
    back_s = 1_000.0 + away.at_s + away.length_s
    (ended,) = [e for e in world.history.of("ended") if e.attempt == first.attempt]
    assert first.at_s < 1_000.0 + away.at_s < back_s < ended.at_s
    assert not list(world.history.of("attempt_lost"))
    assert first.attempt in {e.attempt for e in world.history.of("accepted")}


def test_trace_18_hosts_decide_nothing_from_presence() -> None:
    """What a host decides has no place for a beacon, a will or an online."""
    heard = [name for name in dir(decisions) if name.startswith("on_")]
    assert not [name for name in heard if "beacon" in name or "online" in name or "will" in name]


def test_trace_19_a_start_reaches_two_hosts_of_one_id_and_one_of_them_takes_it() -> None:
    own, other = Story().prepare(), Story()
    other.host = replace(other.host, session="session-2")
    other.prepare()
    own.want(Want.START, session=SESSION)
    other.want(Want.START, session=SESSION)
    assert (own.count(Start), other.count(Start)) == (1, 0)


def test_trace_20_a_late_emergency_stop_does_not_hit_the_next_print() -> None:
    story = Story().print()
    told = story.report()
    stop = Command("c1", CommandKind.EMERGENCY_STOP, SESSION, told.sequence, attempt=ATTEMPT)
    assert decisions.refuse_command(story.host, stop, story.now_s + LEASE_S - 1.0) == ""
    assert decisions.refuse_command(story.host, stop, story.now_s + LEASE_S) != ""
    again = replace(stop, attempt=OTHER)
    assert decisions.refuse_command(story.host, again, story.now_s) != ""


def test_trace_21_a_superseded_coordinator_with_nothing_to_commit_renews_no_lease() -> None:
    """It hears no beacon of the other: only its own confirming of the term tells it."""
    world = World(dataclasses.replace(draw(0, "rivals"), faults=(), drop=0.0, double=0.0))
    echoed: list[tuple[float, int]] = []
    say = world.network.desired

    def deaf_to_others(payload: bytes) -> None:
        """Of the beacons that it is sent, the first one hears its own."""
        if b'"term":1,' in payload:
            hear(payload)

    def listen(coordinator: SimCoordinator, printer: str, payload: bytes) -> None:
        echoed.append((world.now_s, wire.decode(wire.Desired, payload).term))
        say(coordinator, printer, payload)

    (old,) = world.coordinators
    hear = old.hear_beacon
    old.hear_beacon = deaf_to_others  # type: ignore[method-assign]
    world.network.desired = listen  # type: ignore[method-assign]
    world.at(30.3, lambda: world.start_coordinator(world.store))
    world.play()
    assert breaches_of(world) == []
    (stood_down,) = world.history.of("stood_down")
    reigns_s = [e.at_s for e in world.history.of("reign")]
    assert "term 1 is over" in stood_down.text
    assert stood_down.at_s - reigns_s[-1] <= TURN_S
    assert {term for at_s, term in echoed if at_s > reigns_s[-1]} == {2}
