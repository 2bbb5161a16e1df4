"""Giving waiting copies to available printers (docs/design.md, section 6).

Owns which printers are available, and the choice among those that fit. Who fits and who is better
is matching.py's, whose turn it is order.py's. Must not know silence, returns or arming.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from coordinator.core import matching, order, printers
from coordinator.core.attempts import Attempt, State
from coordinator.core.farm import TOO_FAR, Draft, Now, active_jobs
from coordinator.core.jobs import Copy, Job, Requirements
from coordinator.core.printers import Printer


def place(draft: Draft, now: Now, fresh_ids: Iterator[str]) -> float:
    """Assign in order of work; returns when the next printer that rests may be asked again."""
    free, wake_s = _available(draft, now)
    if not free:
        return wake_s
    choices = _Choices(draft, free)
    for job in order.in_order(draft, active_jobs(draft), now):
        for copy_id in draft.waiting_of.get(job.id, ()):
            copy = draft.copies[copy_id]
            choice = choices.best(job, copy)
            if choice is None:
                break  # copies of one job want the same printers
            choices.take(choice)
            _assign(draft, job, copy, choice, next(fresh_ids), now)
        if not choices.free:
            break
    return wake_s


class _Choices:
    """The free printers of one round, ranked once for all jobs that need the same.

    With ten thousand jobs and a thousand printers nearly all jobs need what another one needs:
    asking every printer for every job took seconds.
    """

    def __init__(self, draft: Draft, free: list[Printer]) -> None:
        self._draft = draft
        self.free = {printer.id: printer for printer in free}
        self._ranked: dict[tuple[Requirements, bool], list[Printer]] = {}

    def best(self, job: Job, copy: Copy) -> Printer | None:
        """The best free printer that fits; one where this copy came to nothing comes last."""
        ranked = self._rank(job)
        if copy.failures or copy.misses:
            left = [printer for printer in ranked if printer.id in self.free]
            return min(left, key=lambda p: _score(self._draft, job, copy, p).key, default=None)
        while ranked and ranked[-1].id not in self.free:
            ranked.pop()
        return ranked[-1] if ranked else None

    def take(self, printer: Printer) -> None:
        del self.free[printer.id]

    def _rank(self, job: Job) -> list[Printer]:
        """Free printers that fit, the best last, so that it is taken off the end."""
        need = (job.requirements, job.policy.fence)
        if need not in self._ranked:
            fits = [p for p in self.free.values() if not matching.refusals(job, p)]
            fits.sort(key=lambda p: matching.score(job, p, failed_here=0).key, reverse=True)
            self._ranked[need] = fits
        return self._ranked[need]


def _available(draft: Draft, now: Now) -> tuple[list[Printer], float]:
    lease_s = draft.settings.lease_s
    free: list[Printer] = []
    wake_s = TOO_FAR
    for printer in draft.printers.values():
        if draft.live_on.get(printer.id):
            continue
        contact = draft.contacts.get(printer.id)
        if not printers.refusals(printer, contact, now.boot_s, lease_s):
            free.append(printer)
        elif contact is not None and contact.rest_until_s > now.boot_s:
            wake_s = min(wake_s, contact.rest_until_s)
    return free, wake_s


def _score(draft: Draft, job: Job, copy: Copy, printer: Printer) -> matching.Score:
    """With how often this copy came to nothing on this printer."""
    failed_here = 0
    if copy.failures or copy.misses:
        failed_here = sum(
            a.copy == copy.id and a.printer == printer.id and a.state is State.ENDED
            for a in draft.attempts.values()
        )
    return matching.score(job, printer, failed_here)


def _assign(
    draft: Draft, job: Job, copy: Copy, printer: Printer, attempt_id: str, now: Now
) -> None:
    attempt = Attempt(
        id=attempt_id,
        copy=copy.id,
        job=job.id,
        printer=printer.id,
        assigned_at=now.wall_s,
    )
    draft.put_attempt(attempt)
    contact = draft.contacts[printer.id]  # it is available, so it has been heard
    draft.put_contact(printer.id, replace(contact, assigned_s=now.boot_s))
    score = _score(draft, job, copy, printer)
    parts = f"smallest volume {score.volume_mm3:g} mm3, used {score.printed_s:g} s"
    draft.tell(now, "attempt_assigned", attempt, text=parts)
