"""A run told in order: faults, what people did, the history of the farm, and what was extruded.

Owns the text of the timeline and its file. It judges nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.chaos.evidence import Evidence
from tests.chaos.verdict import Finding

Event = tuple[float, str, str, str]
"""When (epoch seconds), printer, copy, text; printer and copy may be ""."""


def events(evidence: Evidence) -> list[Event]:
    """All that happened, in order."""
    return sorted(_events(evidence), key=lambda event: event[0])


def _events(evidence: Evidence) -> Iterator[Event]:
    for done in evidence.faults:
        fault = done.fault
        yield done.begun_at, fault.printer, "", f"FAULT {fault.number} {fault.kind} begins"
        yield done.ended_at, fault.printer, "", f"FAULT {fault.number} {fault.kind}: all is back"
    for act in evidence.acts:
        yield act.at, "", "", f"person: {act.what} of job {act.job}"
    for line in evidence.history:
        about = f" {line.attempt}" if line.attempt else ""
        yield line.at, line.printer, line.copy, f"farm: {line.kind}{about} {line.text}".rstrip()
    copy_of = {attempt.id: attempt.copy for attempt in evidence.tries}
    for printer, ledger in evidence.ledgers.items():
        for start in ledger.starts:
            words = start.path.split("/")
            copy = copy_of.get(words[-2], "") if len(words) > 1 else ""
            dirty = f", ONTO {start.dirty_on}" if start.dirty_on else ""
            yield start.begun_wall_s, printer, copy, f"ledger: {start.path} begins{dirty}"
            if start.ended_wall_s is not None:
                text = f"ledger: {start.path} ends as {start.outcome}"
                text += f" with {start.extruded_mm:.1f} mm, {start.pauses} pauses"
                yield start.ended_wall_s, printer, copy, text


def about(told: Iterable[Event], evidence: Evidence, finding: Finding) -> list[Event]:
    """What concerns a finding: its copy, and the printers that had to do with it."""
    printers = {attempt.printer for attempt in evidence.tries if attempt.copy == finding.copy}
    printers.add(finding.printer)
    printers.add("")
    jobs = {copy.job for copy in evidence.copies if copy.id == finding.copy}
    return [
        event
        for event in told
        if (event[2] == finding.copy and finding.copy)
        or (event[1] in printers and event[3].startswith("FAULT"))
        or (event[1] == finding.printer and event[1] and event[3].startswith("ledger"))
        or (not event[2] and any(job in event[3] for job in jobs))
    ]


def as_text(told: Iterable[Event], begun_at: float) -> str:
    """One line for each event, with seconds since the begin."""
    return "".join(
        f"{at - begun_at:8.2f} s  {printer:6} {copy[:8]:8}  {text}\n"
        for at, printer, copy, text in told
    )


def write(path: Path, evidence: Evidence, findings: Iterable[Finding], begun_at: float) -> None:
    """Each finding with what concerns it, then everything."""
    told = events(evidence)
    parts = [
        f"## {finding.what}: {finding.copy} {finding.printer} {finding.text}\n"
        + as_text(about(told, evidence, finding), begun_at)
        for finding in findings
    ]
    path.write_text("\n".join([*parts, "## everything\n" + as_text(told, begun_at)]))
