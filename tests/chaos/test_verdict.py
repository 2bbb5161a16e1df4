"""The judge, on made-up evidence: each count must be able to rise, and must not rise by itself."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from demo.mcu.ledger import CUT_OFF, Ledger, Start
from tests.chaos.evidence import Act, Copy, Done, Evidence, Line, Try
from tests.chaos.schedule import Fault, Kind, Rule
from tests.chaos.timeline import about, as_text, events
from tests.chaos.verdict import AFTERMATH_S, Finding, Verdict, judge

MM = 100.0
GRACE_S = 30.0


def copy(rule: Rule = Rule.DEFAULT) -> Copy:
    return Copy("c", "j", rule, MM)


def attempt(name: str, printer: str, **fields: object) -> Try:
    told = Try(name, "c", printer, "ended", "complete", True, "", "")
    return replace(told, **fields)  # type: ignore[arg-type]


def start(name: str, outcome: str | None = "complete", mm: float = MM, at: float = 100.0,
          ended_at: float | None = 150.0, **fields: object) -> Start:  # fmt: skip
    path = f"moonfleet/{name}/tile.gcode"
    begun = Start(f"s-{name}", path, at, at, mm, 0, outcome, ended_at, ended_at)
    return replace(begun, **fields)  # type: ignore[arg-type]


def done(kind: Kind, printer: str, begun_at: float, ended_at: float) -> Done:
    return Done(Fault(1, kind, printer, begun_at, ended_at - begun_at), begun_at, ended_at)


def evidence(
    tries: tuple[Try, ...],
    starts: Mapping[str, tuple[Start, ...]],
    *faults: Done,
    rule: Rule = Rule.DEFAULT,
    acts: tuple[Act, ...] = (),
) -> Evidence:
    ledgers = {printer: Ledger(starts=told) for printer, told in starts.items()}
    return Evidence((copy(rule),), tries, ledgers, faults, acts, promised={"j": 1}, grace_s=GRACE_S)


def whats(verdict: Verdict) -> list[str]:
    return [finding.what for finding in verdict.findings]


GOOD = evidence((attempt("a", "p1"),), {"p1": (start("a"),)})


def test_a_copy_that_was_printed_once_is_good() -> None:
    verdict = judge(GOOD)
    assert verdict.is_good
    assert (verdict.wanted, verdict.completed, verdict.lost) == (1, 1, 0)


# ---- lost ----------------------------------------------------------------------------------------


def test_a_copy_that_nothing_was_accepted_of_is_lost() -> None:
    verdict = judge(evidence((attempt("a", "p1", accepted=False),), {"p1": (start("a"),)}))
    assert (verdict.completed, verdict.lost, whats(verdict)) == (0, 1, ["lost"])


@pytest.mark.parametrize("mm", [90.0, 110.0, 0.0])
def test_an_accepted_copy_whose_part_is_not_whole_is_lost_and_harmed(mm: float) -> None:
    verdict = judge(evidence((attempt("a", "p1"),), {"p1": (start("a", mm=mm),)}))
    assert (verdict.lost, verdict.harmed, verdict.is_good) == (1, 1, False)


def test_an_accepted_copy_that_no_ledger_knows_is_lost() -> None:
    assert judge(evidence((attempt("a", "p1"),), {"p1": ()})).lost == 1


def test_a_job_that_was_confirmed_and_forgotten_is_lost() -> None:
    verdict = judge(replace(GOOD, promised={"j": 1, "other": 2}))
    assert (verdict.wanted, verdict.completed, verdict.lost) == (3, 1, 2)


def test_a_job_that_was_kept_although_its_answer_got_lost_is_wanted_too() -> None:
    assert judge(replace(GOOD, promised={})).is_good


def test_a_power_cut_after_the_last_millimetre_makes_no_copy_lost() -> None:
    cut = start("a", CUT_OFF, ended_at=None)
    fault = done(Kind.KILL_HOST, "p1", 149.0, 160.0)
    assert judge(evidence((attempt("a", "p1"),), {"p1": (cut,)}, fault)).is_good


# ---- doubled -------------------------------------------------------------------------------------

TWICE = (attempt("a", "p1", accepted=False, lost_at=(140.0,)), attempt("b", "p2"))
BOTH_WHOLE = {"p1": (start("a"),), "p2": (start("b", at=160.0, ended_at=200.0),)}
LONG_CUT = done(Kind.CUT, "p1", 105.0, 170.0)


@pytest.mark.parametrize("rule", [Rule.NEVER, Rule.FENCE])
def test_two_whole_parts_are_a_violation_whatever_explains_them(rule: Rule) -> None:
    verdict = judge(evidence(TWICE, BOTH_WHOLE, LONG_CUT, rule=rule))
    assert (verdict.doubled_never, verdict.doubled_fence) == (
        rule is Rule.NEVER,
        rule is Rule.FENCE,
    )
    assert whats(verdict) == ["doubled"]


def test_under_the_default_a_silence_longer_than_the_grace_explains_two_parts() -> None:
    verdict = judge(evidence(TWICE, BOTH_WHOLE, LONG_CUT))
    assert (verdict.doubled_default, verdict.traced, verdict.is_good) == (1, 1, True)


@pytest.mark.parametrize(
    "fault",
    [
        done(Kind.CUT, "p1", 120.0, 170.0),  # 20 s before it was given up: shorter than the grace
        done(Kind.CUT, "p2", 105.0, 170.0),  # another printer
        done(Kind.CUT, "p1", 10.0, 80.0),  # long over
        done(Kind.KILL_BROKER, "", 105.0, 170.0),  # silences nobody: the count starts anew
        done(Kind.STUCK_EJECTOR, "p1", 105.0, 170.0),
    ],
)
def test_nothing_else_explains_two_parts(fault: Done) -> None:
    verdict = judge(evidence(TWICE, BOTH_WHOLE, fault))
    assert (verdict.doubled_default, verdict.traced) == (1, 0)
    assert whats(verdict) == ["untraced"]


def test_two_parts_of_which_none_was_given_up_are_untraced() -> None:
    tries = (replace(TWICE[0], lost_at=()), TWICE[1])
    assert whats(judge(evidence(tries, BOTH_WHOLE, LONG_CUT))) == ["untraced"]


def test_three_parts_need_two_explanations() -> None:
    tries = (*TWICE, attempt("d", "p3", accepted=False))
    starts = {**BOTH_WHOLE, "p3": (start("d"),)}
    verdict = judge(evidence(tries, starts, LONG_CUT))
    assert (verdict.doubled_default, verdict.traced, whats(verdict)) == (1, 0, ["untraced"])


def test_faults_that_follow_each_other_closely_are_one_silence() -> None:
    faults = (done(Kind.KILL_HOST, "p1", 105.0, 121.0), done(Kind.REFUSE, "p1", 123.0, 170.0))
    assert judge(evidence(TWICE, BOTH_WHOLE, *faults)).traced == 1


def test_one_attempt_that_printed_twice_doubles_its_copy() -> None:
    twice = {"p1": (start("a"), start("a", at=160.0, ended_at=190.0))}
    assert judge(evidence((attempt("a", "p1"),), twice)).doubled_default == 1


# ---- harmed --------------------------------------------------------------------------------------

FIRST_FAILED = (attempt("a", "p1", accepted=False, outcome="failed"), attempt("b", "p2"))


def broken(ended_as: str | None, *faults: Done, **fields: object) -> Verdict:
    tries = (replace(FIRST_FAILED[0], **fields), FIRST_FAILED[1])  # type: ignore[arg-type]
    starts = {
        "p1": (start("a", ended_as, mm=40.0, ended_at=None if ended_as is None else 150.0),),
        "p2": (start("b", at=160.0, ended_at=200.0),),
    }
    return judge(evidence(tries, starts, *faults))


@pytest.mark.parametrize("outcome", ["error", "shutdown", "reset", "cancelled", "complete", None])
def test_a_print_that_ended_for_no_reason_is_harmed(outcome: str | None) -> None:
    verdict = broken(outcome)
    assert (verdict.harmed, whats(verdict), verdict.lost) == (1, ["harmed"], 0)


@pytest.mark.parametrize("kind", [Kind.KILL_HOST, Kind.KILL_KLIPPER, Kind.SUSPEND_HOST])
def test_a_print_on_a_printer_that_was_killed_is_not(kind: Kind) -> None:
    verdict = broken("shutdown", done(kind, "p1", 120.0, 130.0))
    assert (verdict.is_good, verdict.killed) == (True, 1)


@pytest.mark.parametrize(
    "fault",
    [
        done(Kind.KILL_HOST, "p2", 120.0, 130.0),  # another one
        done(Kind.KILL_HOST, "p1", 50.0, 99.0 - AFTERMATH_S),  # long before
        done(Kind.KILL_HOST, "p1", 151.0, 160.0),  # after its end
        *(
            done(kind, "p1", 90.0, 170.0)
            for kind in Kind
            if kind not in (Kind.KILL_HOST, Kind.KILL_KLIPPER, Kind.SUSPEND_HOST)
        ),
        done(Kind.KILL_BOTH, "", 90.0, 170.0),
    ],
)
def test_no_other_fault_may_end_a_print(fault: Done) -> None:
    assert broken("error", fault).harmed == 1


def test_an_error_of_the_virtual_board_is_counted_by_itself() -> None:
    verdict = broken("error", message="Endstop x still triggered after retract")
    assert (verdict.is_good, verdict.upset, verdict.killed) == (True, 1, 0)
    assert broken("error", message="Internal error on command: RESUME").harmed == 1
    assert broken("cancelled", message="Timer too close").harmed == 1


def test_a_print_that_never_ended_is_harmed_also_where_something_was_killed() -> None:
    assert broken(None, done(Kind.KILL_HOST, "p1", 120.0, 130.0)).harmed == 1


def test_one_of_two_may_be_cancelled_after_a_silence() -> None:
    cancelled = {"take_back": "cancel", "outcome": "cancelled", "lost_at": (140.0,)}
    assert broken("cancelled", LONG_CUT, **cancelled).is_good
    assert broken("cancelled", **cancelled).harmed == 1
    assert broken("cancelled", LONG_CUT, **{**cancelled, "take_back": ""}).harmed == 1
    assert broken("cancelled", LONG_CUT, **{**cancelled, "lost_at": ()}).harmed == 1


def test_a_pause_that_nobody_made_harms_a_print_without_a_fence() -> None:
    told = {"p1": (start("a", pauses=1),)}
    tries = (attempt("a", "p1"),)
    pause = Act(120.0, "pause", "j")
    assert whats(judge(evidence(tries, told))) == ["harmed"]
    assert whats(judge(evidence(tries, told, acts=(replace(pause, what="resume"),)))) == ["harmed"]
    assert whats(judge(evidence(tries, told, acts=(replace(pause, job="k"),)))) == ["harmed"]
    assert judge(evidence(tries, told, acts=(pause,))).is_good
    assert judge(evidence(tries, told, rule=Rule.FENCE)).is_good


# ---- dirty starts, and the telling ---------------------------------------------------------------


def test_a_start_on_an_uncleared_bed_is_dirty_whoever_started_it() -> None:
    by_hand = Start("s", "by-hand.gcode", 10.0, 10.0, 1.0, 0, "complete", 11.0, 11.0, "x.gcode")
    found = replace(GOOD, ledgers={"p1": Ledger(starts=(by_hand, start("a")))})
    verdict = judge(found)
    assert (verdict.dirty_starts, whats(verdict)) == (1, ["dirty_start"])


def test_the_timeline_of_a_finding_holds_its_copy_and_its_printers_faults_in_order() -> None:
    lines = (
        Line(110.0, "attempt_started", "c", "a", "p1", ""),
        Line(111.0, "attempt_started", "x", "y", "p2", ""),
    )
    found = replace(
        evidence(TWICE, BOTH_WHOLE, LONG_CUT, done(Kind.CUT, "p9", 1.0, 2.0)), history=lines
    )
    told = about(events(found), found, Finding("untraced", "c", "", ""))
    text = as_text(told, begun_at=100.0)
    assert [event[0] for event in told] == sorted(event[0] for event in told)
    assert "FAULT 1 cut begins" in text
    assert "farm: attempt_started a" in text
    assert "ledger: moonfleet/b/tile.gcode ends as complete with 100.0 mm" in text
    assert "p9" not in text
    assert "farm: attempt_started y" not in text
