"""Giving waiting copies to available printers (docs/design.md, section 6).

Owns which printers are available, and the choice among those that fit. Who fits and who is better
is matching.py's, whose turn it is order.py's. Must not know silence, returns or arming.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from coordinator.core import matching, printers
from coordinator.core.attempts import Attempt
from coordinator.core.farm import TOO_FAR, Draft, Now
from coordinator.core.jobs import Copy, Job
from coordinator.core.order import Need
from coordinator.core.printers import Printer


def place(draft: Draft, now: Now, fresh_ids: Iterator[str]) -> float:
    """Assign in order of work; returns when the next printer that rests may be asked again."""
    fresh, wake_s = _newly_available(draft, now)
    moves = draft.moves()
    new_needs = {p.need for p in moves.values() if p is not None and p.need not in draft.line}
    known = _still_offered(draft, now) if new_needs and not draft.whole else []
    choices = _Choices(draft, fresh, known, new_needs)
    for spot in draft.line.in_order(moves):
        if choices.is_over():
            break
        _place_copies(draft, choices, draft.jobs[spot.job], spot.need, now, fresh_ids)
    for printer in fresh:
        draft.offered.put(printer.id, printer)
    for printer_id in choices.taken:
        draft.offered.put(printer_id, None)
    return wake_s


def _place_copies(
    draft: Draft, choices: _Choices, job: Job, need: Need, now: Now, fresh_ids: Iterator[str]
) -> None:
    if need in choices.unmet:
        return
    for copy_id in draft.waiting_of.get(job.id, ()):
        copy = draft.copies[copy_id]
        choice = choices.best(job, need, copy)
        if choice is None:
            return  # copies of one job, and jobs of one need, want the same printers
        choices.take(choice)
        _assign(draft, job, copy, choice, next(fresh_ids), now)


class _Choices:
    """The free printers of one round, by kind, the best of each kind last.

    With a hundred thousand jobs and ten thousand printers nearly all jobs need what another one
    needs, and nearly all printers are like another one: asking each for each took minutes. `fresh`
    are asked for every need, `known` only for needs that were not there when they were asked
    before. `unmet`: no free printer fits.
    """

    def __init__(
        self, draft: Draft, fresh: list[Printer], known: list[Printer], new_needs: set[Need]
    ) -> None:
        self.taken: set[str] = set()
        self.unmet: set[Need] = set()
        self._draft = draft
        self._fresh_left = {printer.id for printer in fresh}
        self._keys = {p.id: matching.score(p, failed_here=0).key for p in (*fresh, *known)}
        self._fresh = self._by_kind(fresh)
        self._known = self._by_kind(known)
        self._new_needs = new_needs
        self._needs_count = draft.line.needs() + len(new_needs)
        self._fitting: dict[Need, list[list[Printer]]] = {}

    def is_over(self) -> bool:
        """Whether nothing that stands in the line can get a printer any more."""
        if len(self.unmet) >= self._needs_count or len(self.taken) == len(self._keys):
            return True
        return not self._fresh_left and self._new_needs <= self.unmet

    def best(self, job: Job, need: Need, copy: Copy) -> Printer | None:
        """The best free printer that fits; one where this copy came to nothing comes last."""
        kinds = self._kinds_for(job, need)
        for kind in kinds:
            while kind and kind[-1].id in self.taken:
                kind.pop()
        if copy.failures or copy.misses:
            fits = [printer for kind in kinds for printer in kind if printer.id not in self.taken]
            found = min(fits, key=lambda p: _score(self._draft, copy, p).key, default=None)
        else:
            ends = (kind[-1] for kind in kinds if kind)
            found = min(ends, key=lambda p: self._keys[p.id], default=None)
        if found is None:
            self.unmet.add(need)
        return found

    def take(self, printer: Printer) -> None:
        self.taken.add(printer.id)
        self._fresh_left.discard(printer.id)

    def _kinds_for(self, job: Job, need: Need) -> list[list[Printer]]:
        if need not in self._fitting:
            asked = [*self._fresh.values()]
            if need in self._new_needs:
                asked += self._known.values()
            named = need.requirements.printers
            if named:  # then printers of one kind differ
                asked = [[p] for kind in asked for p in kind if p.id in named]
            self._fitting[need] = [
                kind for kind in asked if kind and not matching.refusals(job, kind[-1])
            ]
        return self._fitting[need]

    def _by_kind(self, free: list[Printer]) -> dict[matching.Kind, list[Printer]]:
        kinds: dict[matching.Kind, list[Printer]] = {}
        for printer in sorted(free, key=lambda p: self._keys[p.id], reverse=True):
            kinds.setdefault(matching.kind_of(printer), []).append(printer)
        return kinds


def _newly_available(draft: Draft, now: Now) -> tuple[list[Printer], float]:
    """Free printers, but those that what waits was held against before, as they are now.

    Also returns when the next one that rests may be asked again.
    """
    lease_s = draft.settings.lease_s
    fresh: list[Printer] = []
    wake_s = TOO_FAR
    for printer_id in draft.printers_in_question():
        printer = draft.printers[printer_id]
        contact = draft.contacts.get(printer_id)
        if draft.live_on.get(printer_id):
            draft.withdraw_offer(printer_id)
        elif printers.refusals(printer, contact, now.boot_s, lease_s):
            draft.withdraw_offer(printer_id)
            if contact is not None and contact.rest_until_s > now.boot_s:
                wake_s = min(wake_s, contact.rest_until_s)
        elif draft.whole or draft.offered.get(printer_id) is not printer:
            draft.withdraw_offer(printer_id)
            fresh.append(printer)
    return fresh, wake_s


def _still_offered(draft: Draft, now: Now) -> list[Printer]:
    """Printers that were free before and are so now. One that fell silent counts as newly
    available when it is back, for new needs are not held against it meanwhile."""
    still = []
    for printer in [printer for printer in draft.offered.values() if printer is not None]:
        contact = draft.contacts.get(printer.id)
        if printers.refusals(printer, contact, now.boot_s, draft.settings.lease_s):
            draft.withdraw_offer(printer.id)
        else:
            still.append(printer)
    return still


def _score(draft: Draft, copy: Copy, printer: Printer) -> matching.Score:
    """With how often this copy came to nothing on this printer."""
    failed_here = 0
    if copy.failures or copy.misses:
        tries = [draft.attempts[a] for a in draft.tries_of.get(copy.id, ())]
        failed_here = sum(a.printer == printer.id and not a.live for a in tries)
    return matching.score(printer, failed_here)


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
    score = _score(draft, copy, printer)
    parts = f"smallest volume {score.volume_mm3:g} mm3, used {score.printed_s:g} s"
    draft.tell(now, "attempt_assigned", attempt, text=parts)
