"""The rules of one print, on the host's side. Each test names what would go wrong without it."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from moonraker_component import decisions
from moonraker_component.attempt import (
    Cancel,
    CleanUp,
    Feed,
    Fetch,
    Forget,
    LookUp,
    Pause,
    Relink,
    Resume,
    Save,
    Say,
    Start,
)
from moonraker_component.wire import (
    Bed,
    Command,
    CommandKind,
    Desired,
    Echo,
    Link,
    Outcome,
    Phase,
    Want,
)
from tests.component.build import (
    ATTEMPT,
    FILE,
    IDLE,
    LEASE_S,
    OTHER,
    PATH,
    SESSION,
    Story,
    fired,
    printing,
    record,
)


def phase(story: Story) -> Phase:
    attempt = story.host.attempt(ATTEMPT)
    assert attempt is not None
    return attempt.phase


def outcome(story: Story) -> tuple[Outcome, str]:
    attempt = story.host.attempt(ATTEMPT)
    assert attempt is not None
    return attempt.outcome, attempt.cause


# ---- rule 3: the lease -----------------------------------------------------------------------


def test_a_desired_without_an_echo_prepares_nothing() -> None:
    story = Story()
    story.want(Want.PREPARE, echo=False)
    assert story.count(Fetch) == 0
    story.echo()
    assert story.count(Fetch) == 1


def test_a_retained_echo_grants_no_lease() -> None:
    story = Story().prepare()
    story.want(Want.START, echo=False)
    story.echo(retained=True)
    assert story.count(Start) == 0
    story.echo()
    assert story.count(Start) == 1


def test_an_echo_of_another_session_grants_no_lease() -> None:
    story = Story().prepare()
    story.want(Want.START, echo=False)
    story.step(decisions.on_desired, story.desired(Echo("session-0", 1)), story.now_s)
    assert story.count(Start) == 0


def test_the_lease_counts_from_the_sending_of_the_echoed_report() -> None:
    story = Story().prepare()
    told = story.report()
    story.want(Want.START, echo=False)
    story.now_s += LEASE_S  # the echo was on its way for a whole lease
    story.echo(told)
    assert story.count(Start) == 0


def test_a_delayed_echo_sets_the_deadline_by_the_sending() -> None:
    story = Story().prepare()
    told = story.report()
    sent_s = story.now_s
    story.want(Want.START, echo=False)
    story.now_s += LEASE_S - 1
    story.echo(told)
    (start,) = [effect for effect in story.effects if isinstance(effect, Start)]
    assert start.deadline_s == sent_s + LEASE_S


def test_a_new_generation_needs_its_own_echo() -> None:
    story = Story().prepare()
    assert story.host.leased(story.now_s)
    story.want(Want.START, echo=False)
    assert not story.host.leased(story.now_s)
    assert story.count(Start) == 0


def test_a_suspended_clock_ends_the_lease() -> None:
    story = Story(view=replace(IDLE, idle_state="Printing")).prepare()
    story.want(Want.START)
    assert story.count(Start) == 0  # a macro runs
    story.now_s += 3600.0  # the host slept; CLOCK_BOOTTIME went on
    story.see(IDLE)
    assert story.count(Start) == 0


def test_an_older_echo_never_shortens_the_lease() -> None:
    story = Story()
    old = story.report()
    story.now_s += 5
    story.want(Want.PREPARE)
    until_s = story.host.lease_until_s
    story.echo(old)
    assert story.host.lease_until_s == until_s


def test_an_echo_of_a_report_never_sent_grants_nothing() -> None:
    story = Story()
    story.want(Want.PREPARE, echo=False)
    story.step(decisions.on_desired, story.desired(Echo(SESSION, 99)), story.now_s)
    assert story.count(Fetch) == 0


# ---- rule 6: numbers, once per generation ----------------------------------------------------


def test_an_older_number_changes_nothing() -> None:
    story = Story().print()
    story.now_s += 5
    sequence = story.report().sequence
    before = story.host
    late = Desired(1, 1, LEASE_S, None, Echo(SESSION, sequence))
    story.step(decisions.on_desired, late, story.now_s)
    assert story.host == before  # not even the lease


def test_a_higher_term_wins_over_a_higher_generation() -> None:
    story = Story().prepare()
    story.step(decisions.on_desired, Desired(2, 1, LEASE_S), story.now_s)
    assert (story.host.term, story.host.generation) == (2, 1)


@pytest.mark.parametrize("attempt", [None, OTHER])
def test_no_order_and_another_attempts_name_stop_no_print(attempt: str | None) -> None:
    story = Story().print()
    story.want(Want.CANCEL if attempt else None, attempt or ATTEMPT)
    assert phase(story) is Phase.PRINTING
    assert story.count(Cancel) == 0


def test_a_repeated_run_does_not_resume_another_pause() -> None:
    story = Story().print()
    story.want(Want.PAUSE)
    story.see(printing("paused"))
    first = story.told()
    assert first is not None
    story.want(Want.RUN, resume=first.pause)
    assert story.count(Resume) == 1
    story.see(printing())
    story.see(printing("paused"))  # a runout, or a person
    second = story.told()
    assert second is not None
    assert second.pause not in ("", first.pause)
    story.echo()
    story.want(Want.RUN, resume=first.pause)  # a new generation that still names the old pause
    assert story.count(Resume) == 1


def test_pause_is_applied_once_per_generation() -> None:
    story = Story().print()
    story.want(Want.PAUSE)
    assert story.count(Pause) == 1
    story.see(printing("paused"))
    story.see(printing())  # a person resumed at the printer
    story.echo()
    assert story.count(Pause) == 1


def test_a_running_print_is_not_withdrawn_but_cancelled() -> None:
    story = Story().print()
    story.want(Want.WITHDRAW)
    assert story.count(Cancel) == 0
    story.want(Want.CANCEL)
    assert story.count(Cancel) == 1
    story.echo()
    assert story.count(Cancel) == 1


def test_cancel_waits_while_print_stats_names_another_file() -> None:
    story = Story().print()
    story.host = replace(story.host, view=replace(story.host.view, path="somebodys.gcode"))
    story.want(Want.CANCEL)
    assert story.count(Cancel) == 0


# ---- rule 7: the start -----------------------------------------------------------------------


def test_start_is_saved_before_klipper_is_asked() -> None:
    story = Story().start()
    kinds = story.kinds()
    assert kinds.index("Save") < kinds.index("Start")
    (saved,) = [effect.attempt for effect in story.effects if isinstance(effect, Save)]
    assert saved.phase is Phase.STARTING


def test_a_start_bound_to_another_session_starts_nothing() -> None:
    story = Story().prepare()
    story.want(Want.START, session="session-0")
    assert story.count(Start) == 0


def test_a_start_is_asked_for_once() -> None:
    story = Story().start()
    story.echo()
    story.see(IDLE)
    story.wait(1)
    assert story.count(Start) == 1


def test_a_closed_gate_holds_the_start_until_it_opens() -> None:
    story = Story(view=replace(IDLE, bed=Bed(False, "bed-1")))
    story.start()
    assert story.count(Start) == 0
    story.see(IDLE)
    assert story.count(Start) == 1


def test_a_new_session_ends_what_was_only_prepared() -> None:
    old = Story().prepare()
    row = old.host.attempt(ATTEMPT)
    assert row is not None
    story = Story(rows=(row,))
    assert outcome(story) == (Outcome.NOT_STARTED, "restarted")
    story.want(Want.START)
    assert story.count(Start) == 0


def test_a_row_that_cannot_be_saved_starts_nothing() -> None:
    story = Story().start()
    story.step(decisions.on_save_failed, ATTEMPT, "disk full")
    assert outcome(story) == (Outcome.NOT_STARTED, "not_saved")


def test_a_refused_start_ends_and_is_not_tried_again() -> None:
    story = Story().start()
    story.step(decisions.on_asked, ATTEMPT, "deadline", "late", story.now_s)
    assert outcome(story) == (Outcome.NOT_STARTED, "deadline")
    story.want(Want.START)
    assert story.count(Start) == 1


def test_the_watchdog_settles_a_silent_start_only_after_the_deadline() -> None:
    story = Story().start()
    story.wait(LEASE_S + 9)
    assert phase(story) is Phase.STARTING
    story.wait(2)
    assert outcome(story) == (Outcome.NOT_STARTED, "start_not_seen")


def test_without_the_section_silence_settles_no_start() -> None:
    story = Story(view=replace(IDLE, section=False)).start()
    story.wait(3600)
    assert phase(story) is Phase.STARTING
    story.see(replace(IDLE, section=False, boot=2))  # only Klipper's restart does
    assert story.count(LookUp) == 1


# ---- rule 8: taking back ---------------------------------------------------------------------


def test_withdraw_while_starting_waits_for_klipper() -> None:
    story = Story().start()
    story.want(Want.WITHDRAW)
    assert phase(story) is Phase.STARTING
    story.see(printing())
    assert phase(story) is Phase.PRINTING


def test_withdraw_while_downloading_ends_it_and_removes_the_file() -> None:
    story = Story()
    story.want(Want.PREPARE)
    story.want(Want.WITHDRAW)
    assert outcome(story) == (Outcome.NOT_STARTED, "withdrawn")
    assert story.count(CleanUp) == 1
    story.fetched()  # the download ended all the same
    assert outcome(story) == (Outcome.NOT_STARTED, "withdrawn")
    assert story.kinds() == ["CleanUp"]


def test_a_new_link_reaches_the_download_that_runs_and_no_other() -> None:
    story = Story()
    story.want(Want.PREPARE)
    story.want(Want.PREPARE)
    assert story.count(Relink) == 0
    assert story.order is not None
    renewed = replace(story.order, file=replace(story.order.file, url="http://127.0.0.1/renewed"))
    story.generation, story.order = story.generation + 1, renewed
    story.echo()
    assert story.effects == (Say(), Relink(ATTEMPT, "http://127.0.0.1/renewed"))
    story.echo()
    assert story.count(Relink) == 1
    assert story.count(Fetch) == 1
    story.fetched()
    story.want(Want.PREPARE)
    assert story.count(Relink) == 1


def test_taking_back_needs_a_lease() -> None:
    story = Story().prepare()
    story.want(Want.WITHDRAW, echo=False)
    assert phase(story) is Phase.PREPARED


def test_a_second_answer_of_the_download_removes_no_file_in_use() -> None:
    story = Story().print()
    story.fetched("download", "late")
    assert story.effects == ()
    assert phase(story) is Phase.PRINTING


# ---- rule 11: the fence ----------------------------------------------------------------------


def test_the_fence_is_armed_and_fed_from_the_sending() -> None:
    story = Story().print(fence_s=120.0)
    (start,) = [effect for effect in story.all if isinstance(effect, Start)]
    assert start.fence_until_s == 100.0 + 120.0
    story.now_s += 5
    told = story.report()
    story.now_s += 5
    story.echo(told)
    (fed,) = [effect for effect in story.effects if isinstance(effect, Feed)]
    assert fed.until_s == 105.0 + 120.0


def test_withdraw_and_cancel_feed_no_fence() -> None:
    story = Story().print(fence_s=120.0)
    fed = story.count(Feed)
    story.now_s += 5
    story.want(Want.CANCEL, fence_s=120.0)
    assert story.count(Feed) == fed


def test_only_a_run_that_names_the_fence_pause_lifts_it() -> None:
    story = Story().print(fence_s=120.0)
    story.see(printing("paused", fence=fired()))
    told = story.told()
    assert told is not None
    assert (told.pause, told.fenced) == ("fence-1", True)
    story.want(Want.RUN, fence_s=120.0)
    assert story.count(Resume) == 0
    story.want(Want.RUN, fence_s=120.0, resume="fence-1")
    (resume,) = [effect for effect in story.all if isinstance(effect, Resume)]
    assert resume.lift == "fence-1"


def test_a_fence_that_fires_in_a_pause_takes_the_pause_over() -> None:
    story = Story().print(fence_s=120.0)
    story.see(printing("paused"))
    runout = story.told()
    story.see(printing("paused", fence=fired()))
    fenced = story.told()
    assert runout is not None
    assert fenced is not None
    assert runout.pause != fenced.pause == "fence-1"


def test_a_person_who_releases_the_fence_lifts_it() -> None:
    story = Story().print(fence_s=120.0)
    story.see(printing("paused", fence=fired()))
    story.see(printing("printing", fence=fired(released="fence-1")))
    told = story.told()
    assert told is not None
    assert (told.phase, told.fenced) == (Phase.PRINTING, False)


# ---- rule 12: outcomes -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("complete", (Outcome.COMPLETE, "")),
        ("cancelled", (Outcome.CANCELLED, "cancelled_at_printer")),
        ("error", (Outcome.FAILED, "klipper_error")),
        ("interrupted", (Outcome.FAILED, "klipper_restarted")),
    ],
)
def test_the_record_settles_what_the_host_did_not_see(
    written: str, expected: tuple[Outcome, str]
) -> None:
    story = Story().print()
    story.see(replace(IDLE, boot=2, records=(record("ended", written),)))
    assert outcome(story) == expected


def test_print_stats_alone_proves_nothing_where_the_section_has_no_record() -> None:
    """A person may print the same path from the file list, long after its attempt."""
    story = Story().start()
    story.see(printing(records=()))
    assert phase(story) is Phase.STARTING


def test_a_print_that_vanished_is_looked_up_once_and_settled_by_history() -> None:
    story = Story().print()
    story.see(IDLE)
    story.wait(1)
    assert story.count(LookUp) == 1
    story.step(decisions.on_history, ATTEMPT, "completed", story.now_s)
    assert outcome(story) == (Outcome.COMPLETE, "")


def test_what_nobody_knows_is_unknown() -> None:
    row = Story().print().host.attempt(ATTEMPT)
    assert row is not None
    story = Story(rows=(row,), view=replace(IDLE, section=False))
    assert story.count(LookUp) == 1
    story.step(decisions.on_history, ATTEMPT, "server_exit", story.now_s)
    assert outcome(story) == (Outcome.UNKNOWN, "vanished")


def test_a_lost_database_adopts_the_print_from_the_record() -> None:
    story = Story(view=printing())
    told = story.told()
    assert told is not None
    assert (told.phase, told.copy, told.job) == (Phase.PRINTING, "copy-1", "job-1")
    assert story.count(Start) == 0


def test_a_lost_database_tells_ended_records_too() -> None:
    story = Story(view=replace(IDLE, records=(record("ended", "complete"),)))
    told = story.told()
    assert told is not None
    assert (told.phase, told.outcome) == (Phase.ENDED, Outcome.COMPLETE)


def test_a_lost_database_prepares_nothing_before_klippers_records_were_seen() -> None:
    story = Story(view=replace(IDLE, link=Link.DISCONNECTED))
    story.want(Want.PREPARE)
    assert story.told() is None
    story.see(replace(IDLE, records=(record("ended", "complete"),)))
    told = story.told()
    assert told is not None
    assert (told.phase, told.outcome) == (Phase.ENDED, Outcome.COMPLETE)
    assert story.count(Fetch) == 0


def test_an_ended_attempt_is_told_until_it_is_echoed() -> None:
    story = Story().print()
    story.see(printing("complete"))
    assert story.told() is not None
    assert story.told() is not None
    story.echo()
    assert story.told() is None


def test_an_echo_of_a_report_before_the_end_acknowledges_nothing() -> None:
    story = Story().print()
    before = story.report()
    story.see(printing("complete"))
    story.report()
    story.echo(before)
    assert story.told() is not None


def test_an_ended_attempt_is_told_again_to_a_new_term() -> None:
    story = Story().print()
    story.see(printing("complete"))
    story.echo()
    assert story.told() is None
    story.term += 1
    story.want(None, echo=False)
    assert story.told() is not None
    assert story.count(Forget) == 0


def test_a_new_term_that_echoes_an_old_report_has_not_heard_of_the_end() -> None:
    story = Story().print()
    story.see(printing("complete"))
    story.echo()
    silent = story.report()  # tells it no more
    assert silent.attempts == ()
    story.term += 1
    story.want(None, echo=False)
    story.echo(silent)
    assert story.told() is not None


def test_an_ended_attempt_never_starts_again() -> None:
    story = Story().print()
    story.see(printing("complete"))
    story.see(IDLE)
    story.want(Want.PREPARE)
    story.want(Want.START)
    assert story.count(Start) == 1
    assert story.count(Fetch) == 1


def test_klipper_gone_ends_nothing() -> None:
    story = Story().print()
    story.see(replace(printing(), link=Link.DISCONNECTED))
    story.wait(3600)
    assert phase(story) is Phase.PRINTING


def test_a_shutdown_ends_the_print_with_klippers_message() -> None:
    story = Story().print()
    story.see(replace(printing(), link=Link.SHUTDOWN, message="Heater extruder not heating"))
    assert outcome(story) == (Outcome.FAILED, "klipper_shutdown")
    told = story.told()
    assert told is not None
    assert told.message == "Heater extruder not heating"


def test_a_local_print_is_told_and_is_no_attempt() -> None:
    story = Story()
    story.see(replace(printing(records=()), path="mine.gcode"))
    assert story.report().local_print == "mine.gcode"
    story.want(Want.PREPARE)
    story.fetched()
    story.want(Want.START)
    assert story.count(Start) == 0


# ---- rule 14: commands -----------------------------------------------------------------------


def command(story: Story, session: str = SESSION, attempt: str = "") -> Command:
    sequence = story.report().sequence
    return Command("c1", CommandKind.EMERGENCY_STOP, session, sequence, attempt)


def test_a_command_lives_one_lease_from_its_report() -> None:
    story = Story()
    stop = command(story)
    assert decisions.refuse_command(story.host, stop, story.now_s + LEASE_S - 0.1) == ""
    assert "was sent" in decisions.refuse_command(story.host, stop, story.now_s + LEASE_S)


def test_a_command_for_another_session_or_print_is_dropped() -> None:
    story = Story().print()
    other = command(story, session="session-0")
    assert "session-0" in decisions.refuse_command(story.host, other, story.now_s)
    late = command(story, attempt=OTHER)
    assert OTHER in decisions.refuse_command(story.host, late, story.now_s)
    meant = command(story, attempt=ATTEMPT)
    assert decisions.refuse_command(story.host, meant, story.now_s) == ""


def test_a_command_for_an_attempt_that_is_over_does_not_hit_a_print_of_a_person() -> None:
    story = Story()
    meant = command(story, attempt=ATTEMPT)
    assert decisions.refuse_command(story.host, meant, story.now_s) == ""
    story.see(replace(IDLE, print_state="printing", path="own.gcode", active=True))
    assert "own.gcode" in decisions.refuse_command(story.host, meant, story.now_s)


# ---- names -----------------------------------------------------------------------------------


def test_the_start_names_everything_that_klipper_checks() -> None:
    story = Story().start(fence_s=60.0)
    (start,) = [effect for effect in story.effects if isinstance(effect, Start)]
    assert (start.attempt, start.copy, start.job, start.path) == (
        ATTEMPT,
        "copy-1",
        "job-1",
        PATH,
    )
    assert (start.bed_token, start.fence_s) == ("bed-1", 60.0)
    assert FILE.name in start.path


def test_an_echo_that_is_too_old_to_act_upon_still_feeds_the_fence() -> None:
    """The fence stands at the echoed sending + fence_s, not at the last echo that was in time."""
    story = Story().print(fence_s=120.0)
    story.wait(5.0)
    told = story.report()
    sent_s = story.now_s
    story.wait(LEASE_S + 1.0)
    story.echo(told)
    (fed,) = [effect for effect in story.effects if isinstance(effect, Feed)]
    assert fed.until_s == sent_s + 120.0


def test_an_answer_that_waited_through_a_standstill_does_not_end_a_print() -> None:
    """It is heard before the first tick and before the view that shows the print."""
    story = Story().start()
    story.wait(1.0)
    story.now_s += 60.0  # the component stands still, Klipper prints
    story.step(decisions.on_asked, ATTEMPT, "", "", story.now_s)
    told = story.told()
    assert told is not None
    assert told.phase is Phase.STARTING
    story.see(printing())
    told = story.told()
    assert told is not None
    assert told.phase is Phase.PRINTING
