"""Mutants: the product with one rule removed, which the invariants must notice.

Owns the catalogue: which words of which function are the rule, and the trace that asks for it.
How a mutant is put in place is turns.py's. A rule that is kept in two places is removed in both,
or the other place would hide that this one is gone.
"""

from __future__ import annotations

from coordinator import hearing
from coordinator.core import outcomes, printers, reports
from coordinator.core import reconcile as rounds
from coordinator.core.attempts import Attempt
from coordinator.engine import Engine
from klipper_extras import rules
from moonraker_component import acting, clock, decisions, gate, host
from tests.sim.turns import Mutant, Turn

NO_SESSION_IN_START = Turn(acting._start, " or order.session != host.session", "")
ANY_SESSIONS_ECHO = Turn(
    decisions.on_desired,
    "echo is not None and echo.session == host.session",
    "echo is not None",
)

TRACES = (
    Mutant(
        "silence-is-not-started",
        1,
        "What was told to start and falls silent is taken back as if it had not started.",
        "taken_back_never_starts",
        (
            Turn(
                rounds._limit_s,
                "attempt.state is State.ASSIGNED",
                "attempt.state in (State.ASSIGNED, State.ARMED)",
            ),
            Turn(
                rounds._silences,
                "attempt.state is State.ASSIGNED",
                "attempt.state in (State.ASSIGNED, State.ARMED)",
            ),
        ),
    ),
    Mutant(
        "lease-from-receipt",
        2,
        "A host counts its lease from the arrival of a permission, however long it was under way.",
        "starts_under_a_lease",
        (
            Turn(
                decisions.on_desired,
                "host, more = note_echo(host, echo.sequence)",
                "host, more = note_echo(host, echo.sequence)\n"
                "        lease_until_s = now_s + host.lease_s\n"
                "        host = msgspec.structs.replace(host, lease_until_s=lease_until_s)",
            ),
        ),
    ),
    Mutant(
        "clock-stops-in-sleep",
        3,
        "Leases are measured by a clock that stands still while the computer sleeps.",
        "starts_under_a_lease",
        (Turn(clock.boottime_s, "read(time.CLOCK_BOOTTIME)", "read(time.CLOCK_MONOTONIC)"),),
    ),
    Mutant(
        "no-deadline-in-klipper",
        4,
        "Klipper starts what it was asked for in time, however long that waited behind a macro.",
        "starts_under_a_lease",
        (Turn(rules.refuse_start, "now_boottime_s >= ask.deadline_boottime_s", "False"),),
    ),
    Mutant(
        "prepared-outlives-restart",
        5,
        "A restarted host starts what its last life has prepared.",
        "starts_under_a_lease",
        (Turn(decisions.new_session, "row.phase in UNSTARTED", "False"), NO_SESSION_IN_START),
    ),
    Mutant(
        "session-at-its-word",
        6,
        "A session is current once it is heard, and the late report of a dead one is believed.",
        "over_is_over",
        (
            Turn(
                reports._is_current,
                "if report.session != printer.pending_session:",
                "if True:\n"
                "        return _prove(draft, printer, report, now)\n"
                "    if report.session != printer.pending_session:",
            ),
            Turn(reports._prove, "report.session in printer.superseded", "False"),
            Turn(printers.settled, ">= SETTLE_LEASES * lease_s", ">= 0.0"),
        ),
    ),
    Mutant(
        "forgotten-is-waited-for",
        7,
        "The coordinator waits for ever for an attempt that its host no longer knows.",
        "no_copy_lost",
        (Turn(reports._conclude_lacks, "attempt is None or", "True or"),),
    ),
    Mutant(
        "lost-frees-printer",
        8,
        "An attempt that is lost no longer holds its printer.",
        "one_live_per_printer",
        (Turn(Attempt.live, "is not State.ENDED", "not in (State.LOST, State.ENDED)"),),
    ),
    Mutant(
        "one-slot-in-report",
        9,
        "A report has one slot: an end that nobody heard is overwritten by a local print.",
        "ends_are_told_as_they_were",
        (
            Turn(
                host.make_report,
                "tuple(told + ended[-wire.ENDED_MAX :])",
                "() if local_print(host) else tuple((ended + told)[-1:])",
            ),
        ),
    ),
    Mutant(
        "run-as-pure-level",
        10,
        "Each repetition of a run resumes whatever pause a person or a runout has made.",
        "resumed_for_a_reason",
        (
            Turn(acting._steer, "host.applied == number or ", ""),
            Turn(acting._steer, " and order.resume == attempt.pause", ""),
        ),
    ),
    Mutant(
        "fence-above-klipper",
        11,
        "The fence lives above Klipper: where that is gone, nothing pauses the print.",
        "fence_holds",
        (Turn(rules.is_expired, 'fence.attempt != "" and', "False and"),),
    ),
    Mutant(
        "resume-passes-fence",
        12,
        "RESUME at the printer goes on with a print that the fence has paused.",
        "fence_holds",
        (Turn(rules.refuse_resume, "not fence.fired", "True"),),
    ),
    Mutant(
        "fence-never-lifted",
        13,
        "Nothing lifts the pause of a fence.",
        "no_copy_lost",
        (Turn(rounds._lift_fence, "if draft.alone(attempt):", "if False:"),),
    ),
    Mutant(
        "withdrawal-outlives-start",
        14,
        "A withdrawal that came too late stays, and starves the fence of the print.",
        "no_copy_lost",
        (Turn(reports._wanted_after_all, "attempt.take_back != Want.WITHDRAW", "True"),),
    ),
    Mutant(
        "clear-without-token",
        15,
        "A late or doubled clear says that the bed is clear below the next print.",
        "bed_is_clear",
        (Turn(rules.refuse_clear, "token is not None and token != latch.token", "False"),),
    ),
    Mutant(
        "old-database-unnoticed",
        16,
        "A coordinator with a restored database goes on below the numbers that hosts have seen.",
        "no_copy_lost",
        (Turn(reports.fold, "_note_outranked(draft, printer, report, now)", "pass"),),
    ),
    Mutant(
        "own-absence-is-silence",
        17,
        "A coordinator that was away takes its own absence for the silence of the farm.",
        "lost_after_its_grace",
        (Turn(rounds._heard_s, "max(heard_s, draft.reign.connected_s or 0.0)", "heard_s"),),
    ),
    Mutant(
        "will-is-believed",
        18,
        "The will of a host's old connection, which comes after the new one stands, is believed.",
        "lost_after_its_grace",
        (
            Turn(
                hearing.hand_over,
                'if leaf == "report":',
                'if leaf == "online":\n'
                "        engine.farm.contacts.pop(printer_id, None)\n"
                '    elif leaf == "report":',
            ),
        ),
    ),
    Mutant(
        "one-permission-two-hosts",
        19,
        "A permission for one session is taken by every host of that printer's name.",
        "taken_back_never_starts",
        (ANY_SESSIONS_ECHO, NO_SESSION_IN_START),
    ),
    Mutant(
        "command-never-late",
        20,
        "A command is carried out however late it comes, and whatever prints by then.",
        "stops_hit_what_was_meant",
        (
            Turn(decisions.refuse_command, "now_s >= sent_s + host.lease_s", "False"),
            Turn(decisions.refuse_command, "command.attempt and prints", "False"),
        ),
    ),
    Mutant(
        "term-unconfirmed",
        21,
        "A superseded coordinator with nothing to commit goes on renewing leases.",
        "only_who_reigns_speaks",
        (Turn(Engine._round, "await self._store.confirm(self.farm.reign.term)", "pass"),),
    ),
)

MORE = (
    Mutant(
        "copy-counts-twice",
        0,
        "A second completion of a copy is accepted as well.",
        "accepted_once",
        (Turn(outcomes.end, " and copy.state is not CopyState.DONE", ""),),
    ),
    Mutant(
        "bed-not-looked-at",
        0,
        "A print is started on a bed of which nobody has said that it is clear.",
        "bed_is_clear",
        (
            Turn(gate.refusals, "view.bed.clear,", "True,"),
            Turn(rules.refuse_start, "not latch.clear", "False"),
        ),
    ),
    Mutant(
        "end-told-once",
        0,
        "An end is reported once, whether or not the coordinator has committed it.",
        "ends_are_told_as_they_were",
        (
            Turn(
                host._unechoed,
                "attempt.echoed_term < host.term or not attempt.echoed_term",
                "attempt.told_sequence == host.sequence",
            ),
        ),
    ),
    Mutant(
        "older-orders-obeyed",
        0,
        "A host obeys whatever it hears last, also what was said before.",
        "starts_under_a_lease",
        (
            Turn(decisions.on_desired, "number < (host.term, host.generation)", "False"),
            Turn(decisions.on_desired, "number > (host.term, host.generation)", "True"),
        ),
    ),
    Mutant(
        "retained-grants-a-lease",
        0,
        "The copy that the broker has kept counts as a permission heard now.",
        "starts_under_a_lease",
        (
            Turn(decisions.on_desired, " and not retained", ""),
            Turn(
                decisions.on_desired,
                "host, more = note_echo(host, echo.sequence)",
                "host, more = note_echo(host, echo.sequence)\n"
                "        until_s = now_s + host.lease_s if retained else host.lease_until_s\n"
                "        host = msgspec.structs.replace(host, lease_until_s=until_s)",
            ),
        ),
    ),
    Mutant(
        "start-before-row",
        0,
        "Klipper is asked to start before the row that says so is on the disk.",
        "taken_back_never_starts",
        (
            Turn(
                acting._start,
                "(Save(starting), start, Say())",
                "(start, Save(starting), Say())",
            ),
        ),
    ),
    Mutant(
        "fence-lifted-beside-another",
        0,
        "A fence is lifted while another attempt of the copy is armed or prints.",
        "fence_holds",
        (Turn(rounds._lift_fence, "if draft.alone(attempt):", "if True:"),),
    ),
    Mutant(
        "said-before-committed",
        0,
        "What a round wants is published before it is committed.",
        "no_copy_lost",
        (
            Turn(
                Engine._round,
                "    try:\n",
                "    self.farm.apply(draft)\n    await self._publish(plan, now)\n    try:\n",
            ),
        ),
    ),
)

MUTANTS = {mutant.name: mutant for mutant in TRACES + MORE}
