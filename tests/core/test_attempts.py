"""One print, on one printer, once: the coordinator's half of the rules, one by one."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from coordinator.core import requests
from coordinator.core.attempts import TRANSITIONS, Event, State, advance
from coordinator.core.jobs import CopyState, IllegalTransition, JobState, Policy
from moonraker_component.wire import Klipper, Link, Outcome, Phase, Reason, Want
from tests.core.build import DEFAULT_POLICY, Bench


def bench_with_job(copies: int = 1, *printers: str, policy: Policy = DEFAULT_POLICY) -> Bench:
    bench = Bench(*printers, policy=policy)
    bench.hello()
    bench.submit(copies)
    bench.round()
    return bench


def placed(bench: Bench) -> str:
    return next(name for name in bench.farm.printers if bench.on(name) is not None)


def test_the_table_has_no_way_out_of_ended_and_refuses_what_it_does_not_know() -> None:
    assert TRANSITIONS[State.ENDED] == {}
    with pytest.raises(IllegalTransition, match="assigned: no silent"):
        advance(State.ASSIGNED, Event.SILENT)


def test_a_copy_is_prepared_then_armed_then_started_then_done() -> None:
    bench = bench_with_job(1, "a")
    assert bench.live("a").state is State.ASSIGNED
    order = bench.order("a")
    assert order.want is Want.PREPARE
    bench.tell("a", Phase.PREPARED)
    bench.round()
    order = bench.order("a")
    assert (order.want, order.session) == (Want.START, "session-a")
    bench.tell("a", Phase.PRINTING)
    bench.round()
    assert bench.live("a").state is State.STARTED
    bench.end("a", Outcome.COMPLETE)
    assert bench.on("a") is None
    assert bench.farm.printers["a"].issued is None
    assert next(iter(bench.farm.jobs.values())).state is JobState.COMPLETED


def test_every_changed_desired_raises_the_generation_and_nothing_else_does() -> None:
    bench = bench_with_job(1, "a")
    before = bench.farm.printers["a"].generation
    bench.report("a")
    bench.round()
    assert bench.farm.printers["a"].generation == before
    bench.tell("a", Phase.PREPARED)
    bench.round()
    assert bench.farm.printers["a"].generation == before + 1


def test_silence_takes_back_what_was_only_assigned_within_a_lease() -> None:
    bench = bench_with_job(1, "a", "b")
    first = placed(bench)
    other = "b" if first == "a" else "a"
    bench.report(other)
    bench.round(14.0)
    assert bench.live(first).state is State.ASSIGNED
    bench.report(other)
    bench.round(2.0)
    assert bench.on(first) is None
    assert bench.live(other).state is State.ASSIGNED


def test_silence_proves_nothing_of_what_was_armed() -> None:
    bench = bench_with_job(1, "a", "b")
    first = placed(bench)
    other = "b" if first == "a" else "a"
    bench.tell(first, Phase.PREPARED)
    bench.round()
    bench.report(other)
    bench.round(290.0)
    assert bench.live(first).state is State.ARMED
    assert bench.on(other) is None


def test_lost_after_its_grace_keeps_its_printer_and_its_copy_moves() -> None:
    bench = bench_with_job(1, "a", "b")
    first = placed(bench)
    other = "b" if first == "a" else "a"
    bench.start_on(first)
    bench.report(other)
    bench.round(301.0)
    assert bench.live(first).state is State.LOST
    order = bench.order(first)
    assert order.want is Want.WITHDRAW
    assert bench.live(other).copy == bench.live(first).copy


def test_under_never_nothing_is_lost_by_silence() -> None:
    bench = bench_with_job(1, "a", "b", policy=Policy(offline_grace_s=None))
    first = placed(bench)
    bench.start_on(first)
    bench.round(1e6)
    assert bench.live(first).state is State.STARTED


def test_a_report_without_klipper_says_nothing_of_the_print() -> None:
    bench = bench_with_job(1, "a", "b")
    first = placed(bench)
    bench.start_on(first)
    gone = Klipper(Link.DISCONNECTED, "klippy is away")
    for _ in range(40):
        bench.report(first, klipper=gone, refusals=(Reason("klipper", "away"),))
        bench.round(10.0)
    # It is not lacking the attempt either: a host that cannot see Klipper concludes nothing.
    assert bench.farm.attempts[next(iter(bench.farm.attempts))].state is not State.STARTED


def test_the_coordinators_own_absence_counts_as_nobodys_silence() -> None:
    bench = bench_with_job(1, "a", "b")
    first = placed(bench)
    bench.start_on(first)
    bench.farm.reign = replace(bench.farm.reign, connected_s=None)
    bench.round(10_000.0)
    assert bench.live(first).state is State.STARTED
    bench.farm.reign = replace(bench.farm.reign, connected_s=bench.now_s)
    bench.round(299.0)
    assert bench.live(first).state is State.STARTED
    bench.round(2.0)
    assert bench.live(first).state is State.LOST


def lost_and_replaced() -> tuple[Bench, str, str]:
    bench = bench_with_job(1, "a", "b")
    first = placed(bench)
    other = "b" if first == "a" else "a"
    bench.start_on(first)
    bench.report(other)
    bench.round(301.0)
    assert bench.live(other).state is State.ASSIGNED
    return bench, first, other


def test_return_takes_back_an_assigned_replacement_and_adopts() -> None:
    bench, first, other = lost_and_replaced()
    bench.tell(first, Phase.PRINTING)
    bench.round()
    assert bench.live(first).state is State.STARTED
    assert bench.on(other) is None
    order = bench.order(first)
    assert order.want is Want.RUN


def test_return_waits_for_the_answer_of_an_armed_replacement() -> None:
    bench, first, other = lost_and_replaced()
    bench.tell(other, Phase.PREPARED)
    bench.round()
    bench.tell(first, Phase.PRINTING)
    bench.round()
    assert bench.live(first).state is State.LOST
    order = bench.order(other)
    assert order.want is Want.WITHDRAW
    bench.tell(first, Phase.PRINTING)
    bench.tell(other, Phase.ENDED, outcome=Outcome.NOT_STARTED, cause="withdrawn")
    bench.round()
    assert bench.live(first).state is State.STARTED
    assert bench.on(other) is None


def both_print() -> tuple[Bench, str, str]:
    bench, first, other = lost_and_replaced()
    bench.start_on(other)
    return bench, first, other


def test_when_both_print_the_one_with_less_left_is_kept() -> None:
    bench, first, other = both_print()
    for name, left_s in ((first, 100.0), (other, 900.0)):
        contact = bench.farm.contacts[name]
        bench.farm.contacts[name] = replace(contact, left_s=left_s)
    bench.tell(first, Phase.PRINTING)
    bench.round()
    assert bench.live(first).state is State.STARTED
    order = bench.order(other)
    assert order.want is Want.CANCEL


def test_when_both_print_a_paused_one_gives_way() -> None:
    bench, first, other = both_print()
    bench.tell(first, Phase.PAUSED, pause="f1", fenced=True)
    bench.round()
    order = bench.order(first)
    assert order.want is Want.CANCEL
    assert bench.live(other).state is State.STARTED


def test_the_first_completion_counts_and_the_other_is_surplus() -> None:
    bench, first, other = both_print()
    old = bench.live(first)
    bench.end(other, Outcome.COMPLETE)
    bench.tell(first, Phase.ENDED, old, outcome=Outcome.COMPLETE)
    bench.round()
    accepted = [a for a in bench.farm.attempts.values() if a.accepted]
    assert [a.printer for a in accepted] == [other]
    assert bench.farm.attempts[old.id].outcome is Outcome.COMPLETE


def test_a_withdrawal_that_came_too_late_is_dropped_at_the_start() -> None:
    bench = bench_with_job(1, "a")
    bench.tell("a", Phase.PREPARED)
    bench.round()
    job_id = next(iter(bench.farm.jobs))
    bench.ask(requests.hold, job_id)
    bench.round()
    assert bench.live("a").take_back == "withdraw"
    bench.tell("a", Phase.PRINTING)
    bench.round()
    order = bench.order("a")
    assert bench.live("a").take_back == ""
    assert order.want is Want.RUN


def test_a_fence_pause_is_lifted_by_a_run_that_names_it_when_nobody_else_has_the_copy() -> None:
    policy = Policy(offline_grace_s=300.0, fence=True)
    bench = bench_with_job(1, "a", policy=policy)
    bench.start_on("a")
    bench.tell("a", Phase.PAUSED, pause="f9", fenced=True)
    bench.round()
    order = bench.order("a")
    assert (order.want, order.resume) == (Want.RUN, "f9")


def test_a_runout_pause_is_not_resumed_by_itself() -> None:
    bench = bench_with_job(1, "a")
    bench.start_on("a")
    bench.tell("a", Phase.PAUSED, pause="r1")
    bench.round()
    order = bench.order("a")
    assert (order.want, order.resume) == (Want.RUN, "")


def test_an_unknown_session_counts_only_after_it_observed_the_raised_generation() -> None:
    bench = bench_with_job(1, "a")
    bench.start_on("a")
    before = bench.farm.printers["a"].generation
    old = (bench.farm.reign.term, before)
    bench.report("a", session="second", observed=old)
    bench.round()
    assert bench.farm.printers["a"].generation == before + 1
    bench.report("a", session="second", observed=old)
    bench.round(30.0)
    assert bench.farm.printers["a"].session == "session-a"
    assert bench.live("a").state is State.STARTED
    bench.report("a", session="second")
    bench.round()
    assert bench.farm.printers["a"].session == "second"


def test_a_session_that_lacks_the_print_is_believed_only_when_settled() -> None:
    bench = bench_with_job(1, "a")
    bench.start_on("a")
    for _ in range(2):
        bench.report("a", session="second")
        bench.round()
    bench.report("a", session="second")
    bench.round(20.0)
    assert bench.live("a").state is State.STARTED
    bench.report("a", session="second")
    bench.round(3.0)
    ended = next(iter(bench.farm.attempts.values()))
    assert (ended.outcome, ended.cause) == (Outcome.UNKNOWN, "host_forgot")


def test_a_session_without_its_klipper_is_not_believed_to_know_nothing() -> None:
    """Its database is lost and its Klipper is away, whose record will tell that it completed."""
    bench = bench_with_job(1, "a")
    attempt = bench.start_on("a")
    for _ in range(12):
        bench.report("a", session="second", klipper=Klipper(Link.DISCONNECTED))
        bench.round(3.0)
    assert bench.live("a").id == attempt.id
    bench.tell("a", Phase.ENDED, session="second", outcome=Outcome.COMPLETE)
    bench.round()
    assert bench.farm.attempts[attempt.id].accepted


def test_unknown_under_never_holds_the_copy_and_a_person_may_release_it() -> None:
    bench = bench_with_job(1, "a", policy=Policy(offline_grace_s=None))
    bench.start_on("a")
    bench.end("a", Outcome.UNKNOWN, "vanished")
    copy = next(iter(bench.farm.copies.values()))
    assert copy.state is CopyState.HELD
    assert bench.on("a") is None
    bench.ask(requests.release, copy.job)
    bench.report("a")
    bench.round()
    assert bench.live("a").copy == copy.id


def test_a_superseded_session_that_proves_itself_again_holds_the_printer() -> None:
    bench = Bench("a")
    bench.hello()
    for session in ("second", "second", "session-a", "session-a"):
        bench.report("a", session=session)
        bench.round()
    assert "two hosts claim" in bench.farm.printers["a"].hold


def test_another_machine_holds_the_printer() -> None:
    bench = Bench("a")
    bench.hello()
    for _ in range(2):
        bench.report("a", session="clone", machine="another")
        bench.round()
    assert "another machine" in bench.farm.printers["a"].hold
    assert bench.farm.printers["a"].session == "session-a"


def test_lower_sequences_of_a_session_change_nothing() -> None:
    bench = bench_with_job(1, "a")
    bench.tell("a", Phase.PREPARED)
    bench.round()
    bench.report("a", sequence=1, refusals=(Reason("printing", "late"),))
    bench.round()
    report = bench.farm.printers["a"].report
    assert report is not None
    assert report.refusals == ()


def test_another_printers_attempt_in_a_report_is_ignored() -> None:
    bench = bench_with_job(1, "a", "b")
    first = placed(bench)
    other = "b" if first == "a" else "a"
    started = bench.start_on(first)
    bench.tell(other, Phase.ENDED, started, outcome=Outcome.COMPLETE)
    draft = bench.round()
    assert bench.live(first).state is State.STARTED
    assert any("ignored" in note for note in draft.notes)


def test_a_report_that_observed_more_than_was_issued_outranks() -> None:
    bench = Bench("a")
    bench.hello()
    bench.report("a", observed=(7, 1))
    assert bench.round().outranked == 7


def test_after_a_restore_an_assigned_attempt_is_withdrawn_and_a_running_one_adopted() -> None:
    bench = bench_with_job(1, "a")
    generation = bench.farm.printers["a"].generation
    bench.report("a", observed=(bench.farm.reign.term - 1, generation + 40))
    assert bench.round().outranked == bench.farm.reign.term - 1
    assert bench.farm.printers["a"].generation > generation + 40, "generations only grow"
    order = bench.order("a")
    assert order.want is Want.WITHDRAW
    bench.tell("a", Phase.PRINTING)
    bench.round()
    assert bench.live("a").state is State.STARTED


def test_a_failed_copy_is_tried_again_and_then_its_job_is_held_with_the_cause() -> None:
    bench = bench_with_job(1, "a", policy=Policy(retries=1))
    job_id = next(iter(bench.farm.jobs))
    for left in (1, 0):
        bench.start_on("a")
        bench.end("a", Outcome.FAILED, "klipper_shutdown")
        bench.report("a")
        bench.round()
        assert (bench.on("a") is not None) == bool(left)
    job = bench.farm.jobs[job_id]
    assert job.state is JobState.HELD
    assert "klipper_shutdown" in job.reason


def test_starts_that_come_to_nothing_are_bounded_too() -> None:
    bench = bench_with_job(1, "a")
    for _ in range(30):
        bench.report("a")
        bench.round(700.0)
        bench.report("a")
        bench.round()
        if bench.on("a") is not None:
            bench.end("a", Outcome.NOT_STARTED, "download")
    job = next(iter(bench.farm.jobs.values()))
    assert job.state is JobState.HELD
    assert "could not be started 10 times" in job.reason


def test_a_person_settles_what_no_host_answers_for() -> None:
    bench, first, other = lost_and_replaced()
    lost = bench.live(first)
    bench.ask(requests.settle, lost.id, requests.Settlement.FAILED)
    assert bench.on(first) is None
    with pytest.raises(requests.Conflict, match="already ended"):
        bench.ask(requests.settle, lost.id, requests.Settlement.COMPLETE)
    assert bench.live(other).state is State.ASSIGNED


def test_an_attempt_that_is_never_prepared_is_taken_back_whatever_the_wall_clock_says() -> None:
    bench = bench_with_job(1, "a")
    bench.wall_offset_s = 1e8  # the wall clock jumps by three years
    bench.report("a")
    bench.round(1.0)
    first = bench.live("a")
    for _ in range(200):
        bench.report("a")
        bench.round(10.0)
    assert bench.farm.attempts[first.id].outcome is Outcome.NOT_STARTED
    assert "not prepared within 1800 s" in bench.farm.attempts[first.id].message
