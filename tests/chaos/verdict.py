"""The verdict on a run: what was promised, against what was physically extruded.

Owns what counts as completed, lost, doubled, traced, harmed and dirty. Pure: evidence in, verdict
out. The ledgers are believed, the database is judged; the only thing that is asked of the database
is which copy an attempt was of, and what the farm says it did.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass

from demo.mcu.ledger import Start
from tests.chaos.evidence import Copy, Done, Evidence, Try
from tests.chaos.schedule import Kind, Rule

TOLERANCE = 0.02
LOST_STEPS_MM = 1.5
"""What may be missing of the filament that a file asks for: that share of it or these mm, whichever
is more. A virtual board that was asleep loses steps of its extruder; up to 0.9 mm were seen."""

DEADLY = frozenset({Kind.KILL_KLIPPER, Kind.KILL_HOST, Kind.SUSPEND_HOST})
"""Faults that may end the print on their printer. No other may end any."""

SILENCING = frozenset(
    {
        Kind.CUT, Kind.CUT_UP, Kind.CUT_DOWN, Kind.REFUSE, Kind.SLOW, Kind.KILL_MOONRAKER,
        Kind.KILL_KLIPPER, Kind.KILL_HOST, Kind.SUSPEND_HOST, Kind.FREEZE_MOONRAKER,
        Kind.DISK_FULL,
    }
)  # fmt: skip
"""Faults that can make a printer silent: of its own, not of the centre, whose gaps start anew."""

AFTERMATH_S = 15.0
"""After a killed or suspended Klipper is back its idea of the board's clock may still be wrong,
and a print that began on it may fail. That is the demo's, and real boards are spared it."""

UPSETS = (
    "Lost communication with MCU",
    "Missed scheduling of next",
    "No trigger on",
    "Rescheduled timer in the past",
    "Timer too close",
    "not heating at expected rate",
    "still triggered after retract",
)
"""What Klipper says of a board whose answers come late. Here a busy computer makes them late: at 15
times real time a delay of 7 ms is a tenth of a second. Such prints are counted by themselves."""

EDGE_S = 3.0
"""Between a fault's effect and its being noted, on a busy machine."""

RECONNECT_S = 25.0
"""After a fault a host may be silent for as long again: its longest wait between two tries."""


@dataclass(frozen=True)
class Finding:
    """One thing that must not be. `copy` is "" where it is of no copy."""

    what: str
    copy: str
    printer: str
    text: str


@dataclass(frozen=True)
class Verdict:
    """`wanted` copies; `completed`: accepted in the database and whole in a ledger; `lost`: the
    others. `doubled`: copies that were extruded whole more than once, by their rule; `traced`:
    those of them under the default rule that a silence longer than the grace explains. `harmed`:
    prints that ended or stood still for no reason that may end or stop them. `dirty_starts`: starts
    on an uncleared bed. `moved`: copies that left a silent printer. `killed`: prints that a fault
    ended; `upset`: that Klipper ended because of the virtual board (see UPSETS)."""

    wanted: int
    completed: int
    lost: int
    doubled_never: int
    doubled_fence: int
    doubled_default: int
    traced: int
    harmed: int
    dirty_starts: int
    moved: int
    killed: int
    upset: int
    findings: tuple[Finding, ...] = ()

    @property
    def is_good(self) -> bool:
        """Whether the farm kept its word."""
        return not self.findings

    @property
    def figures(self) -> dict[str, int]:
        """The counts by name."""
        counts = asdict(self)
        del counts["findings"]
        return counts


@dataclass(frozen=True)
class Print:
    """One start in a ledger, with the attempt and copy that it was of."""

    printer: str
    start: Start
    attempt: Try
    copy: Copy

    @property
    def is_whole(self) -> bool:
        """A finished print, physically; an accepted one also if its end was not written down."""
        if self.start.outcome != "complete" and not self.attempt.accepted:
            return False
        missing_mm = abs(self.copy.expected_mm - self.start.extruded_mm)
        return missing_mm <= max(TOLERANCE * self.copy.expected_mm, LOST_STEPS_MM)


def judge(evidence: Evidence) -> Verdict:
    """Judge a run whose faults are over and whose jobs had their time to end."""
    prints = tuple(_prints(evidence))
    lost = tuple(_lost(evidence, prints))
    doubled = _doubled(prints)
    untraced = tuple(_untraced(evidence, prints, doubled))
    harmed = tuple(_harmed(evidence, prints))
    dirty = tuple(_dirty(evidence))
    by_rule = Counter(copy.rule for copy in doubled)
    forbidden = tuple(
        Finding("doubled", copy.id, "", f"printed whole more than once under {copy.rule}")
        for copy in doubled
        if copy.rule is not Rule.DEFAULT
    )
    missing = _missing(evidence)
    return Verdict(
        wanted=len(evidence.copies) + len(missing),
        completed=len(evidence.copies) - len(lost),
        lost=len(lost) + len(missing),
        doubled_never=by_rule[Rule.NEVER],
        doubled_fence=by_rule[Rule.FENCE],
        doubled_default=by_rule[Rule.DEFAULT],
        traced=by_rule[Rule.DEFAULT] - len(untraced),
        harmed=len(harmed),
        dirty_starts=len(dirty),
        moved=len({attempt.copy for attempt in evidence.tries if attempt.lost_at}),
        killed=sum(_is_killed(evidence, done) for done in prints),
        upset=sum(_is_upset(done) and not _is_killed(evidence, done) for done in prints),
        findings=(*lost, *missing, *forbidden, *untraced, *harmed, *dirty),
    )


def _prints(evidence: Evidence) -> Iterator[Print]:
    """Every start of an attempt of this farm; what somebody printed locally is not judged."""
    tries = {attempt.id: attempt for attempt in evidence.tries}
    copies = {copy.id: copy for copy in evidence.copies}
    for printer, ledger in evidence.ledgers.items():
        for start in ledger.starts:
            words = start.path.split("/")
            attempt = tries.get(words[-2]) if len(words) > 1 else None
            if attempt is not None:
                yield Print(printer, start, attempt, copies[attempt.copy])


# ---- lost and doubled ----------------------------------------------------------------------------


def _lost(evidence: Evidence, prints: Iterable[Print]) -> Iterator[Finding]:
    accepted = {attempt.copy: attempt for attempt in evidence.tries if attempt.accepted}
    whole = {done.attempt.id for done in prints if done.is_whole}
    for copy in evidence.copies:
        attempt = accepted.get(copy.id)
        if attempt is None:
            yield Finding("lost", copy.id, "", "no attempt of it was accepted")
        elif attempt.id not in whole:
            text = f"attempt {attempt.id} was accepted, and its part is not whole"
            yield Finding("lost", copy.id, attempt.printer, text)


def _missing(evidence: Evidence) -> tuple[Finding, ...]:
    """Copies of jobs that were confirmed to whoever submitted them, and then forgotten."""
    known = Counter(copy.job for copy in evidence.copies)
    return tuple(
        Finding("lost", "", "", f"copy of job {job}, which was confirmed, is not in the database")
        for job, copies in evidence.promised.items()
        for _ in range(copies - known[job])
    )


def _doubled(prints: Iterable[Print]) -> tuple[Copy, ...]:
    whole = Counter(done.copy for done in prints if done.is_whole)
    return tuple(copy for copy, parts in whole.items() if parts > 1)


def _untraced(
    evidence: Evidence, prints: Iterable[Print], doubled: Iterable[Copy]
) -> Iterator[Finding]:
    """Doubled under the default rule, and no silence longer than the grace explains it."""
    prints = tuple(prints)
    for copy in doubled:
        if copy.rule is not Rule.DEFAULT:
            continue
        whole = [done for done in prints if done.copy == copy and done.is_whole]
        # All parts but one need a reason to have been given up while they were made.
        explained = sum(_was_silent(evidence, done.attempt) for done in whole)
        if explained < len(whole) - 1:
            yield Finding("untraced", copy.id, "", "doubled, and no silence longer than the grace")


def _was_silent(evidence: Evidence, attempt: Try) -> bool:
    """Whether it was given up, and faults had silenced its printer for all of the grace by then.

    Faults that follow each other closely are one silence: a host that is cut off again before it
    has reconnected has said nothing in between.
    """
    silences = _silences(evidence.faults, attempt.printer)
    return any(
        begun_at + evidence.grace_s <= lost_at + EDGE_S and lost_at <= ended_at + RECONNECT_S
        for lost_at in attempt.lost_at
        for begun_at, ended_at in silences
    )


def _silences(faults: Iterable[Done], printer: str) -> list[tuple[float, float]]:
    """When faults of its own kept this printer silent; what overlaps or nearly touches is one."""
    merged: list[tuple[float, float]] = []
    for done in sorted(faults, key=lambda d: d.begun_at):
        if done.fault.printer != printer or done.fault.kind not in SILENCING:
            continue
        if merged and done.begun_at <= merged[-1][1] + RECONNECT_S:
            merged[-1] = (merged[-1][0], max(merged[-1][1], done.ended_at))
        else:
            merged.append((done.begun_at, done.ended_at))
    return merged


# ---- harmed and dirty ----------------------------------------------------------------------------


def _harmed(evidence: Evidence, prints: Iterable[Print]) -> Iterator[Finding]:
    """Prints that ended early, or were paused, with nothing to explain it."""
    pauses = Counter(act.job for act in evidence.acts if act.what == "pause")
    for done in prints:
        why = _why_ended(evidence, done)
        if why:
            yield Finding("harmed", done.copy.id, done.printer, f"{done.attempt.id}: {why}")
        elif done.copy.rule is not Rule.FENCE and done.start.pauses > pauses[done.copy.job]:
            text = f"{done.attempt.id}: paused {done.start.pauses} times, by nobody"
            yield Finding("harmed", done.copy.id, done.printer, text)


def _why_ended(evidence: Evidence, done: Print) -> str:
    """Why this print's end is nothing that may be; "" if it may."""
    start, attempt = done.start, done.attempt
    if done.is_whole or _is_killed(evidence, done) or _is_upset(done):
        return ""
    if start.outcome is None:
        return "it never ended"
    if start.outcome == "complete":
        return f"complete with {start.extruded_mm:.1f} of {done.copy.expected_mm:.1f} mm"
    if start.outcome != "cancelled" or attempt.take_back != "cancel":
        return f"it ended as {start.outcome}, and nothing had been done to its printer"
    # The farm cancelled it as one of two: then there was another, and a reason for having two.
    if not _has_rival(evidence, attempt):
        return f"cancelled ({attempt.why_back}), and no silence explains another attempt"
    return ""


def _has_rival(evidence: Evidence, attempt: Try) -> bool:
    """Whether the copy was given up once for silence, so that two attempts of it could print."""
    return any(
        other.copy == attempt.copy and _was_silent(evidence, other) for other in evidence.tries
    )


def _is_killed(evidence: Evidence, done: Print) -> bool:
    """Whether its printer was killed or suspended while it printed, or just before it began."""
    if done.is_whole or done.start.outcome is None:
        return False
    begun_at, ended_at = done.start.begun_wall_s, done.start.ended_wall_s
    for fault in evidence.faults:
        if fault.fault.printer != done.printer or fault.fault.kind not in DEADLY:
            continue
        if ended_at is None and fault.ended_at < begun_at:
            continue  # cut off, and not by this one
        before_end = ended_at is None or fault.begun_at <= ended_at
        if before_end and fault.ended_at + AFTERMATH_S >= begun_at:
            return True
    return False


def _is_upset(done: Print) -> bool:
    """Whether Klipper itself ended it, and says that it was the board."""
    is_error = done.start.outcome in ("error", "shutdown")
    return is_error and any(text in done.attempt.message for text in UPSETS)


def _dirty(evidence: Evidence) -> Iterator[Finding]:
    for printer, ledger in evidence.ledgers.items():
        for start in ledger.dirty_starts:
            text = f"{start.path} began on the part of {start.dirty_on}"
            yield Finding("dirty_start", "", printer, text)
