"""What people do: they submit, pause, cancel, move, settle, clear beds, and in the end tidy up.

Owns their acts, through the same functions that HTTP calls. They tell the truth about what they
have seen; when they see it and when they say it are two things.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from coordinator.core import printer_requests, requests
from coordinator.core.farm import Draft, Now
from coordinator.core.jobs import JobFile, JobState
from coordinator.core.printers import Contact
from coordinator.core.requests import Conflict, NotFound, Settlement, Who
from moonraker_component.wire import CommandKind
from tests.sim.scenario import POLICIES, Fault

if TYPE_CHECKING:
    from tests.sim.world import World

WHO = Who("person")
LOOK_S = 2.0


class People:
    """Looks at the farm every two seconds; `pending` are wishes that are not in the store yet."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.rng = random.Random(f"{world.scenario.seed}/people")
        self._ids = (f"{self.rng.getrandbits(64):016x}" for _ in iter(int, 1))
        world.at(0.1, self.look)

    # ---- submitting -----------------------------------------------------------------------------

    def all_submitted(self) -> bool:
        titles = {job.title for job in self.world.store.jobs.values()}
        return len(titles) == len(self.world.scenario.wishes)

    def look(self) -> None:
        """Whoever got no answer asks again; and what asks for a person gets one in the end."""
        self.world.at(LOOK_S, self.look)
        coordinator = self.world.reigning()
        if coordinator is None:
            return
        if not self.all_submitted():
            coordinator.ask(self._submit_due)
        elif not self.world.backup:
            self.world.keep_backup()
        if self.world.healed:
            coordinator.ask(self._tidy_up)

    def _submit_due(self, draft: Draft, now: Now) -> None:
        known = {job.title for job in draft.jobs.values()}
        known |= {job.title for job in self.world.store.jobs.values()}
        for name in self.world.hosts:
            if name not in draft.printers:
                printer_requests.add_printer(draft, name, name, (), WHO, now)
        for number, wish in enumerate(self.world.scenario.wishes):
            due = self.world.now_s >= self.world.begun_s + wish.at_s
            if due and f"wish {number}" not in known:
                file = JobFile("0" * 64, "part.gcode", f"wish {number}", 10)
                asked = requests.Submission(
                    file=file, copies=wish.copies, policy=POLICIES[wish.policy]
                )
                requests.submit(draft, asked, WHO, now, self._ids)

    # ---- meddling -------------------------------------------------------------------------------

    def meddle(self, fault: Fault) -> None:
        """One act of a person, on whichever job the fault picks."""
        coordinator = self.world.reigning()
        if coordinator is None:
            return
        if fault.kind == "emergency_stop":
            self.command(fault.host, CommandKind.EMERGENCY_STOP, queued_s=fault.length_s / 2)
            return
        coordinator.ask(lambda draft, now: self._meddle(draft, now, fault))
        if fault.kind == "job_pause":
            back = Fault(fault.at_s, "job_resume", pick=fault.pick)
            self.world.at(fault.length_s, lambda: self.meddle(back))

    def _meddle(self, draft: Draft, now: Now, fault: Fault) -> None:
        jobs = [job for job in draft.jobs.values() if not job.finished]
        if not jobs:
            return
        job = jobs[int(fault.pick * len(jobs))]
        if fault.kind == "job_pause":
            requests.pause(draft, job.id, WHO, now)
        elif fault.kind == "job_resume":
            requests.resume(draft, job.id, WHO, now)
        elif fault.kind == "job_cancel":
            requests.cancel(draft, job.id, WHO, now)
        elif fault.kind == "job_move" and jobs[0] is not job:
            requests.move(draft, job.id, jobs[0].id, WHO, now)
        elif fault.kind == "settle":
            self._settle(draft, now)

    def _settle(self, draft: Draft, now: Now) -> None:
        """Of a printer that is silent, somebody tells what they see on it."""
        ended = {p.attempt: p for h in self.world.all_hosts() for p in h.prints if p.how}
        for attempt in draft.live_attempts():
            silent_s = now.boot_s - draft.contacts.get(attempt.printer, Contact()).heard_s
            if attempt.id in ended and silent_s > self.world.lease_s:
                seen = Settlement.COMPLETE if ended[attempt.id].whole else Settlement.FAILED
                try:
                    requests.settle(draft, attempt.id, seen, WHO, now)
                except Conflict:
                    continue  # it was refused, as a person would read

    # ---- commands -------------------------------------------------------------------------------

    def clear_from_afar(self, printer: str) -> None:
        """At the dashboard, for the bed that it shows."""
        self.command(printer, CommandKind.BED_CLEAR)

    def command(self, printer: str, kind: CommandKind, queued_s: float = 0.0) -> None:
        coordinator = self.world.reigning()
        if coordinator is None or coordinator.engine is None:
            return
        known = coordinator.engine.farm.printers.get(printer)
        token = known.report.bed.token if known is not None and known.report is not None else ""
        coordinator.queued_s = queued_s
        sending = coordinator.engine.command(printer, kind, WHO, token)
        try:
            self.world.asked.append(sending.send(None))
        except (Conflict, NotFound):
            return  # it is offline, and the person is told so
        sending.close()

    # ---- in the end -----------------------------------------------------------------------------

    def _tidy_up(self, draft: Draft, now: Now) -> None:
        """After the healing a person looks at what asks for one."""
        for printer in list(draft.printers.values()):
            if printer.hold:
                printer_requests.release_printer(draft, printer.id, WHO, now)
        stands = {
            a.job for a in draft.live_attempts() if a.pause and not a.fenced and a.resume != a.pause
        }
        for job in list(draft.jobs.values()):
            if job.finished:
                continue
            if job.state is JobState.HELD:
                requests.release(draft, job.id, WHO, now)
            if job.id in stands:
                requests.resume(draft, job.id, WHO, now)
