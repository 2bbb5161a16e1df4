"""What the coordinator must not believe: old rows, old databases, hosts that have just booted."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from coordinator.core import printer_requests, requests
from coordinator.core.attempts import Attempt, State
from coordinator.core.jobs import CopyState, JobState, Policy
from moonraker_component.wire import (
    AttemptReport,
    Klipper,
    Link,
    Outcome,
    Phase,
    Reason,
    Want,
    host_path,
)
from tests.core.build import DEFAULT_POLICY, WHO, Bench

NEVER = Policy(offline_grace_s=None)
FENCE = Policy(offline_grace_s=300.0, fence=True)


def with_job(*printers: str, policy: Policy = DEFAULT_POLICY) -> Bench:
    bench = Bench(*printers, policy=policy)
    bench.hello()
    bench.submit()
    bench.round()
    return bench


def placed(bench: Bench) -> tuple[str, str]:
    first = next(name for name in bench.farm.printers if bench.on(name) is not None)
    return first, next(name for name in bench.farm.printers if name != first)


def lost_and_printing_elsewhere() -> tuple[Bench, str, str]:
    bench = with_job("a", "b")
    first, other = placed(bench)
    bench.start_on(first)
    bench.report(other)
    bench.round(301.0)
    bench.start_on(other)
    assert bench.live(first).state is State.LOST
    return bench, first, other


# ---- hosts that have just booted ---------------------------------------------------------------


@pytest.mark.parametrize(
    "klipper",
    [
        Klipper(Link.DISCONNECTED, "Klipper is not connected"),
        Klipper(Link.STARTUP, "starting"),
        Klipper(Link.READY, "", "standby"),
        Klipper(Link.READY, "", "printing", "somebodys/own.gcode"),
    ],
)
def test_a_living_print_is_not_cancelled_for_what_a_booting_hosts_row_says(
    klipper: Klipper,
) -> None:
    """After a power cut the row still says printing, until Klipper is up and shows otherwise."""
    bench, first, other = lost_and_printing_elsewhere()
    for _ in range(3):
        bench.tell(first, Phase.PRINTING, klipper=klipper)
        bench.tell(other, Phase.PRINTING)
        bench.round(1.0)
    assert bench.live(first).state is State.LOST
    assert bench.order(other).want is Want.RUN
    bench.end(first, Outcome.FAILED, "klipper_restarted")
    assert bench.live(other).state is State.STARTED


def test_an_assigned_replacement_stays_until_klipper_shows_the_lost_print() -> None:
    bench = with_job("a", "b")
    first, other = placed(bench)
    bench.start_on(first)
    bench.report(other)
    bench.round(301.0)
    replacement = bench.live(other)
    gone = Klipper(Link.DISCONNECTED, "Klipper is not connected")
    bench.tell(first, Phase.PRINTING, klipper=gone)
    bench.report(other)
    bench.round()
    assert bench.live(other).id == replacement.id
    bench.tell(first, Phase.PRINTING)
    bench.round()
    assert bench.live(first).state is State.STARTED
    assert bench.on(other) is None


def test_what_a_dead_session_prepared_is_not_armed_on_the_word_of_the_next() -> None:
    """The host's database was lost between prepared and armed."""
    bench = with_job("a", policy=NEVER)
    attempt = bench.live("a")
    hearing = bench.farm.reign
    bench.farm.reign = replace(hearing, connected_s=None)  # nothing is armed meanwhile
    bench.tell("a", Phase.PREPARED)
    bench.round()
    assert bench.live("a").phase is Phase.PREPARED
    for _ in range(2):
        bench.report("a", session="second")
        bench.round()
    bench.farm.reign = hearing
    bench.report("a", session="second")
    bench.round()
    assert bench.farm.printers["a"].session == "second"
    assert bench.farm.attempts[attempt.id].state is not State.ARMED


def test_a_machine_that_is_named_only_after_its_session_proved_itself_holds_the_printer() -> None:
    """A fresh card in another computer: its MCUs have no name before Klipper was ready once."""
    bench = Bench("a")
    bench.hello()
    for _ in range(2):
        bench.report("a", session="second", machine="")
        bench.round()
    assert bench.farm.printers["a"].session == "second"
    assert bench.farm.printers["a"].hold == ""
    bench.report("a", session="second", machine="another")
    bench.round()
    assert "another machine" in bench.farm.printers["a"].hold
    bench.ask(printer_requests.release_printer, "a")
    bench.report("a", session="second", machine="another")
    bench.round()
    assert bench.farm.printers["a"].hold == ""
    assert bench.farm.printers["a"].machine == "another"


def test_a_machine_that_proved_itself_without_a_name_is_known_by_it_later() -> None:
    bench = Bench("a")
    for _ in range(2):
        bench.report("a", machine="")
        bench.round()
    bench.report("a", machine="first")
    bench.round()
    for _ in range(2):
        bench.report("a", session="clone", machine="second")
        bench.round()
    assert "another machine" in bench.farm.printers["a"].hold


# ---- restored databases ------------------------------------------------------------------------


def restored(bench: Bench, name: str = "a") -> None:
    """A host tells of a generation that this database never issued, in a term below ours."""
    generation = bench.farm.printers[name].generation
    bench.report(name, observed=(bench.farm.reign.term - 1, generation + 9))
    bench.round()


def test_a_generation_that_was_never_issued_outranks_also_in_an_older_term() -> None:
    bench = with_job("a", "b")
    name, other = placed(bench)
    attempt = bench.live(name)
    generation = bench.farm.printers[other].generation
    bench.report(other, observed=(bench.farm.reign.term - 1, generation + 9))
    # A lease of silence would take back an assigned attempt at once.
    draft = bench.round(60.0)
    assert draft.outranked == bench.farm.reign.term - 1
    assert bench.live(name).id == attempt.id
    assert bench.live(name).state is State.ARMED
    assert bench.order(name).want is Want.WITHDRAW
    assert bench.on(other) is None, "nothing is placed while it is not clear who reigns"


def test_nothing_is_lost_by_silence_in_the_round_that_learns_of_a_restore() -> None:
    bench = with_job("a", "b")
    name, other = placed(bench)
    bench.start_on(name)
    generation = bench.farm.printers[other].generation
    bench.report(other, observed=(bench.farm.reign.term - 1, generation + 9))
    bench.round(400.0)
    assert bench.live(name).state is State.STARTED


def test_an_order_after_a_restore_is_newer_than_what_the_host_has_seen() -> None:
    bench = with_job("a")
    before = bench.farm.printers["a"].generation
    restored(bench)
    assert bench.farm.printers["a"].generation > before + 9
    assert not bench.round().outranked


def test_what_was_assigned_before_a_restore_does_not_hold_its_printer_for_ever() -> None:
    """The host knows nothing of it: it ends as unknown, once the session is settled."""
    bench = with_job("a")
    attempt = bench.live("a")
    restored(bench)
    for _ in range(6):
        bench.report("a")
        bench.round(5.0)
    ended = bench.farm.attempts[attempt.id]
    assert (ended.state, ended.outcome) == (State.ENDED, Outcome.UNKNOWN)


def test_a_person_may_settle_what_was_assigned_before_a_restore() -> None:
    bench = with_job("a")
    restored(bench)
    bench.ask(requests.settle, bench.live("a").id, requests.Settlement.NOT_STARTED)
    assert bench.on("a") is None


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0), (1, 0, 2)])
def test_what_ended_after_the_backup_counts_in_whatever_order_it_is_told(
    order: tuple[int, ...],
) -> None:
    """It is echoed once, and then the host forgets it: what is passed over is printed again."""
    bench = Bench("a")
    bench.hello()
    bench.submit(copies=3)
    bench.round()
    known = bench.start_on("a")
    copies = [c.id for c in bench.farm.copies.values() if c.id != known.copy]
    told = (
        AttemptReport(known.id, known.copy, known.job, Phase.ENDED, Outcome.COMPLETE),
        AttemptReport("later-one", copies[0], known.job, Phase.ENDED, Outcome.COMPLETE),
        AttemptReport("later-two", copies[1], known.job, Phase.PRINTING),
    )
    bench.report("a", *(told[n] for n in order), refusals=(Reason("printing"),))
    bench.round()
    accepted = {a.copy for a in bench.farm.attempts.values() if a.accepted}
    assert accepted == {known.copy, copies[0]}
    assert bench.live("a").id == "later-two"


def test_under_never_silence_moves_nothing_that_was_assigned_before_a_restore() -> None:
    bench = with_job("a", "b", policy=NEVER)
    name, other = placed(bench)
    restored(bench, name)
    bench.report(other)
    bench.round(1e5)
    assert bench.live(name).state is State.ARMED
    assert bench.on(other) is None


def adopted_beside_a_new_one() -> tuple[Bench, str, str]:
    """a got the copy anew; then b tells that it prints it, from after the backup."""
    bench = with_job("a", "b")
    name, other = placed(bench)
    live = bench.live(name)
    stranger = Attempt(id="from-after", copy=live.copy, job=live.job, printer=other)
    path = host_path(stranger.id, "part.gcode")
    told = AttemptReport(stranger.id, live.copy, live.job, Phase.PRINTING)
    bench.report(other, told, klipper=Klipper(Link.READY, "", "printing", path))
    return bench, name, other


def test_a_copy_that_an_adopted_attempt_prints_is_not_started_again() -> None:
    bench, name, other = adopted_beside_a_new_one()
    bench.round()
    assert bench.live(other).id == "from-after"
    assert bench.on(name) is None


def test_of_two_that_print_without_a_lost_one_one_is_kept() -> None:
    bench, name, other = adopted_beside_a_new_one()
    bench.tell(name, Phase.PREPARED)
    inbox = bench._inbox.pop(0)
    bench.round()
    bench.tell(name, Phase.PRINTING)
    bench.round()
    bench._inbox.append(inbox)
    bench.round()
    wants = {bench.order(p).want for p in (name, other)}
    assert wants == {Want.RUN, Want.CANCEL}


# ---- people ------------------------------------------------------------------------------------


def test_resume_and_pause_that_failed_are_asked_anew_when_a_person_asks_anew() -> None:
    """RESUME refused for want of filament: the second press must reach the host."""
    bench = with_job("a")
    bench.start_on("a")
    job_id = bench.live("a").job
    bench.tell("a", Phase.PAUSED, pause="r1")
    bench.round()
    seen = []
    for _ in range(3):
        bench.ask(requests.resume, job_id)
        seen.append(bench.farm.printers["a"].generation)
        assert (bench.order("a").want, bench.order("a").resume) == (Want.RUN, "r1")
    assert len(set(seen)) == 3
    bench.tell("a", Phase.PRINTING)
    bench.round()
    seen = []
    for _ in range(2):
        bench.ask(requests.pause, job_id)
        seen.append(bench.farm.printers["a"].generation)
        assert bench.order("a").want is Want.PAUSE
    assert len(set(seen)) == 2


def test_a_person_cannot_lift_a_fence_while_another_prints_the_copy() -> None:
    bench = with_job("a", "b", policy=FENCE)
    first, other = placed(bench)
    bench.start_on(first)
    bench.report(other)
    bench.round(301.0)
    bench.start_on(other)
    # The lost one is kept, for the other one stands; the other one has not been cancelled yet.
    bench.tell(other, Phase.PAUSED, pause="z")
    bench.tell(first, Phase.PAUSED, pause="f1", fenced=True)
    contact = bench.farm.contacts[first]
    bench.farm.contacts[first] = replace(contact, left_s=1.0)
    bench.round()
    assert bench.live(first).state is State.STARTED
    assert bench.live(other).take_back == Want.CANCEL
    bench.ask(requests.resume, bench.live(first).job)
    assert bench.order(first).resume == ""
    bench.end(other, Outcome.CANCELLED, "cancelled")
    bench.tell(first, Phase.PAUSED, pause="f1", fenced=True)
    bench.round()
    assert bench.order(first).resume == "f1"


def test_a_person_cannot_settle_what_its_host_says_prints() -> None:
    bench = with_job("a", policy=NEVER)
    attempt = bench.start_on("a")
    with pytest.raises(requests.Conflict, match="is printing"):
        bench.ask(requests.settle, attempt.id, requests.Settlement.NOT_STARTED)
    bench.round(60.0)
    bench.ask(requests.settle, attempt.id, requests.Settlement.COMPLETE)
    assert bench.farm.jobs[attempt.job].state is JobState.COMPLETED


def test_resuming_a_job_prints_no_copy_again_that_waits_for_a_person() -> None:
    bench = with_job("a", policy=NEVER)
    attempt = bench.start_on("a")
    bench.end("a", Outcome.UNKNOWN, "vanished")
    bench.ask(requests.pause, attempt.job)
    bench.ask(requests.resume, attempt.job)
    bench.report("a")
    bench.round()
    assert bench.farm.copies[attempt.copy].state is CopyState.HELD
    assert bench.on("a") is None
    bench.ask(requests.release, attempt.job)
    assert bench.farm.copies[attempt.copy].state is CopyState.OPEN


@pytest.mark.parametrize(
    ("seen", "state"),
    [
        (requests.Settlement.COMPLETE, CopyState.DONE),
        (requests.Settlement.FAILED, CopyState.OPEN),
        (requests.Settlement.NOT_STARTED, CopyState.OPEN),
    ],
)
def test_a_person_tells_what_an_unknown_attempt_left_on_the_bed(
    seen: requests.Settlement, state: CopyState
) -> None:
    """Under `never` the copy is held: without this the only way on would be to print it again."""
    bench = with_job("a", policy=NEVER)
    attempt = bench.start_on("a")
    bench.end("a", Outcome.UNKNOWN, "vanished")
    assert bench.farm.copies[attempt.copy].state is CopyState.HELD
    bench.ask(requests.settle, attempt.id, seen)
    assert bench.farm.copies[attempt.copy].state is state
    assert bench.farm.attempts[attempt.id].accepted == (state is CopyState.DONE)
    with pytest.raises(requests.Conflict, match="already ended"):
        bench.ask(requests.settle, attempt.id, seen)
    assert WHO.name in bench.farm.attempts[attempt.id].message


def test_a_restart_takes_nothing_back_before_its_host_was_heard() -> None:
    """The computer is up for days: that is no time in which a host has failed to prepare."""
    bench = with_job("a")
    attempt = bench.live("a")
    bench.farm.contacts.clear()
    bench.farm.reign = replace(bench.farm.reign, connected_s=None)
    bench.round(1e6)
    assert bench.farm.attempts[attempt.id].state is State.ASSIGNED
    bench.report("a")
    bench.round()
    bench.report("a")
    bench.round(bench.farm.settings.prepare_s + 1.0)
    assert "not prepared within" in bench.farm.attempts[attempt.id].message


def test_who_has_just_been_given_up_as_silent_gets_nothing_in_the_same_round() -> None:
    bench = with_job("a")
    attempt = bench.live("a")
    bench.round(bench.farm.settings.lease_s)
    assert bench.farm.attempts[attempt.id].state is State.ENDED
    assert bench.on("a") is None


@pytest.mark.parametrize("policy", [DEFAULT_POLICY, NEVER])
def test_after_a_restart_silence_gives_away_nothing_that_may_print(policy: Policy) -> None:
    """The database may be older than the farm, and the one host that could tell is away."""
    bench = with_job("a", "b", policy=policy)
    first, other = placed(bench)
    attempt = bench.live(first)
    bench.farm.contacts.clear()
    bench.farm.reign = replace(bench.farm.reign, connected_s=bench.now_s)
    for _ in range(30):
        bench.report(other)
        bench.round(9.0)
    assert bench.farm.attempts[attempt.id].state is State.ASSIGNED
    assert bench.on(other) is None
    for _ in range(10):
        bench.report(other)
        bench.round(9.0)
    moved = bench.on(other) is not None
    assert moved == (policy is DEFAULT_POLICY), "after its grace, and under never not at all"
    assert bench.live(first).state is (State.LOST if moved else State.ASSIGNED)
    bench.tell(first, Phase.PRINTING, attempt)
    bench.round()
    bench.tell(first, Phase.PRINTING, attempt)
    bench.round()
    assert bench.live(first).state is State.STARTED


def test_a_job_that_is_cancelled_right_after_a_restart_waits_for_its_hosts_answer() -> None:
    """Its row says assigned; in the database that was lost it may have been started."""
    bench = with_job("a")
    attempt = bench.live("a")
    bench.farm.contacts.clear()
    bench.farm.reign = replace(bench.farm.reign, connected_s=bench.now_s)
    bench.ask(requests.cancel, attempt.job)
    assert bench.live("a").state is State.ARMED
    assert bench.order("a").want is Want.CANCEL
    for _ in range(2):
        bench.tell("a", Phase.PRINTING, attempt)
        bench.round()
    assert bench.live("a").state is State.STARTED
    bench.end("a", Outcome.CANCELLED)
    assert bench.farm.attempts[attempt.id].outcome is Outcome.CANCELLED
