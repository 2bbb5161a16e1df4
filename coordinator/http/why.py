"""Why a job waits where it waits, printer by printer, and why it is where it is.

Owns the verdicts and the one-line answer. Pure: it asks the very functions that placing asks, so
that what it says is what happens. Must not know HTTP.
"""

from __future__ import annotations

from collections import Counter
from enum import StrEnum

from msgspec import Struct

from coordinator.core import matching, printers
from coordinator.core.farm import Farm, Now
from coordinator.core.jobs import Copy, Job, JobState
from coordinator.core.matching import Score
from coordinator.core.printers import Printer
from coordinator.http.printer_view import stable
from moonraker_component.wire import Reason

UNKNOWN_SUFFIX = "_unknown"


class Verdict(StrEnum):
    """`REFUSES`: it cannot print this job. `UNKNOWN`: something about it is not known, which is
    not taken for granted. `BUSY`: it could, but not now. `FITS`: it could, now."""

    FITS = "fits"
    BUSY = "busy"
    UNKNOWN = "unknown"
    REFUSES = "refuses"


class ScoreView(Struct, frozen=True):
    """What ranks a printer for this job, compared from top to bottom; less is better.

    `volume_mm3`: the smallest printer that fits goes first. `printed_s`: then the least used.
    `failure_share`: then the better record, from 0 to 1.
    """

    failed_here: int
    volume_mm3: float
    printed_s: float
    failure_share: float


class PrinterWhy(Struct, frozen=True):
    """What one printer says to a job. `score` stands where nothing hard refuses."""

    printer: str
    name: str
    verdict: Verdict
    reasons: tuple[Reason, ...] = ()
    score: ScoreView | None = None


class Placed(Struct, frozen=True):
    """A copy that a printer has. `why`: what the choice was made of when it was made."""

    copy_number: int
    attempt: str
    printer: str
    why: str


def printer_why(farm: Farm, job: Job, now: Now) -> list[PrinterWhy]:
    """Every printer's verdict, the best first."""
    waiting = farm.waiting_of.get(job.id, ())
    copy = farm.copies[waiting[0]] if waiting else None
    found = [_of_printer(farm, job, copy, printer, now) for printer in farm.printers.values()]
    return sorted(found, key=_place)


def summary(farm: Farm, job: Job, verdicts: list[PrinterWhy]) -> str:
    """One line that answers why the job's next copy does not print."""
    if job.finished:
        return f"the job is {job.state}"
    if job.state is JobState.HELD:
        return f"the job is held: {job.reason or 'no reason was given'}"
    if not farm.waiting_of.get(job.id):
        return "no copy waits: every copy is printed, being printed, or held"
    if farm.reign.connected_s is None:
        return "the coordinator has no connection to its broker: nothing is placed"
    if not verdicts:
        return "there is no printer yet: add one with `moonfleet printer add NAME`"
    fits = sum(v.verdict is Verdict.FITS for v in verdicts)
    busy = sum(v.verdict is Verdict.BUSY for v in verdicts)
    if fits:
        return f"{_printers(fits)} could take it now: it is placed next, after what goes first"
    if busy:
        return f"{_printers(busy)} could print it, none is free now"
    codes = Counter(reason.code for v in verdicts for reason in v.reasons)
    told = ", ".join(f"{code} ({number})" for code, number in codes.most_common(5))
    return f"none of {_printers(len(verdicts))} can print it: {told}"


def _of_printer(farm: Farm, job: Job, copy: Copy | None, printer: Printer, now: Now) -> PrinterWhy:
    hard = matching.refusals(job, printer)
    lease_s = farm.settings.lease_s
    soft = tuple(
        stable(reason, lease_s)
        for reason in printers.refusals(printer, farm.contacts.get(printer.id), now.boot_s, lease_s)
    )
    live = farm.live_on.get(printer.id, "")
    if live:
        title = farm.jobs[farm.attempts[live].job].title
        soft = (Reason("occupied", f"it has {title}"), *soft)
    if hard:
        unknown = all(reason.code.endswith(UNKNOWN_SUFFIX) for reason in hard)
        verdict = Verdict.UNKNOWN if unknown else Verdict.REFUSES
        return PrinterWhy(printer.id, printer.name, verdict, (*hard, *soft))
    score = matching.score(printer, _failed_here(farm, copy, printer))
    verdict = Verdict.BUSY if soft else Verdict.FITS
    return PrinterWhy(printer.id, printer.name, verdict, soft, _score_view(score))


def _failed_here(farm: Farm, copy: Copy | None, printer: Printer) -> int:
    """How often the next copy came to nothing on this printer."""
    if copy is None or not (copy.failures or copy.misses):
        return 0
    tries = [farm.attempts[a] for a in farm.tries_of.get(copy.id, ())]
    return sum(a.printer == printer.id and not a.live for a in tries)


def _score_view(score: Score) -> ScoreView:
    return ScoreView(
        failed_here=score.failed_here,
        volume_mm3=score.volume_mm3,
        printed_s=score.printed_s,
        failure_share=score.record,
    )


def _place(why: PrinterWhy) -> tuple[int, tuple[float, ...], str]:
    order = list(Verdict).index(why.verdict)
    score = why.score
    parts = (
        (score.failed_here, score.volume_mm3, score.printed_s, score.failure_share)
        if score is not None
        else ()
    )
    return order, parts, why.printer


def _printers(number: int) -> str:
    return f"{number} printer" if number == 1 else f"{number} printers"
