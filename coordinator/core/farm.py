"""The farm as one value: what is known, a draft of changes on it, and the plan that results.

Owns the indexes (who lives on a printer, what waits of a job) and the rule that nobody changes
the farm but its own methods, which the engine calls after it has committed a plan. Core functions
take a `Draft`, read through it and put new rows into it; the farm below stays as it was.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar, overload

from msgspec import Struct
from msgspec.structs import replace

from coordinator.core.attempts import Attempt, State
from coordinator.core.jobs import Copy, CopyState, Job, JobState
from coordinator.core.links import LinkKey
from coordinator.core.order import Line, Place, place_of
from coordinator.core.printers import Contact, Printer

TOO_FAR = float("inf")
"""A wake-up time that never comes."""

K = TypeVar("K")
V = TypeVar("V")
T = TypeVar("T")


class Now(Struct, frozen=True):
    """`boot_s`: the coordinator's CLOCK_BOOTTIME, decides. `wall_s`: epoch, written and shown."""

    boot_s: float
    wall_s: float


class Settings(Struct, frozen=True):
    """Settings of the farm that decisions depend on.

    `fence_margin_s`: the longest pause macro and the longest single line (M190, PRINT_START),
    which a grace under fence must outlast as well.
    """

    lease_s: float = 15.0
    fence_s: float = 120.0
    fence_margin_s: float = 120.0
    offline_grace_s: float = 300.0
    prepare_s: float = 1800.0
    express_patience_s: float = 7200.0
    rest_s: float = 30.0
    file_url: str = "http://127.0.0.1:8008/api/v1/attempts/{attempt}/file"
    link_key: LinkKey = LinkKey()


class Reign(Struct, frozen=True):
    """This coordinator's term, and since when it has heard its own beacon (None: it does not).

    `risen_for`: printers on whose word this process has already taken a higher term.
    """

    term: int = 1
    connected_s: float | None = None
    risen_for: frozenset[str] = frozenset()


class History(Struct, frozen=True):
    """One transition or act, as it goes into the audit table and out as an event."""

    at: float
    kind: str
    who: str = "farm"
    origin: str = ""
    job: str = ""
    copy: str = ""
    attempt: str = ""
    printer: str = ""
    text: str = ""


class Layer(Mapping[K, V], Generic[K, V]):
    """A mapping with changes laid over it; the base is only read."""

    def __init__(self, base: Mapping[K, V]) -> None:
        self._base = base
        self.changed: dict[K, V] = {}

    def __getitem__(self, key: K) -> V:
        return self.changed[key] if key in self.changed else self._base[key]

    @overload
    def get(self, key: K, /) -> V | None: ...
    @overload
    def get(self, key: K, /, default: V | T) -> V | T: ...

    def get(self, key: K, /, default: V | T | None = None) -> V | T | None:
        """As any mapping does it, but a key that is missing costs no exception per layer."""
        return self.changed[key] if key in self.changed else self._base.get(key, default)

    def __iter__(self) -> Iterator[K]:
        yield from self._base
        yield from (key for key in self.changed if key not in self._base)

    def __len__(self) -> int:
        return len(self._base) + sum(key not in self._base for key in self.changed)

    def __contains__(self, key: object) -> bool:
        return key in self.changed or key in self._base

    def put(self, key: K, value: V) -> None:
        self.changed[key] = value


class Plan(Struct, frozen=True):
    """What is to be committed in one transaction, and then published.

    `outranked`: a host has observed this term, which is above what this coordinator ever issued;
    `outranked_by`: which hosts. `wake_s`: CLOCK_BOOTTIME at which time alone changes something.
    """

    jobs: dict[str, Job]
    copies: dict[str, Copy]
    attempts: dict[str, Attempt]
    printers: dict[str, Printer]
    contacts: dict[str, Contact]
    history: tuple[History, ...] = ()
    notes: tuple[str, ...] = ()
    outranked: int = 0
    outranked_by: frozenset[str] = frozenset()
    wake_s: float | None = None

    @property
    def durable(self) -> bool:
        """Whether there is anything to write; contacts are memory only."""
        return bool(self.jobs or self.copies or self.attempts or self.printers or self.history)


class LastRound(Struct, frozen=True):
    """What a round leaves to the next one, which then looks only at what may have changed.

    `touched`: printers of which something changed in it. `wake_s`: CLOCK_BOOTTIME from which on
    time alone may have changed something, so that everything is looked at.
    """

    reign: Reign
    touched: frozenset[str]
    wake_s: float


class Farm:
    """Everything the core decides from, with its indexes. Changed by its own methods alone.

    `last_round` is None where the next round has to look at everything. `offered`: free printers
    as they were when every waiting job was found not to fit them.
    """

    def __init__(self, settings: Settings, reign: Reign) -> None:
        self.settings = settings
        self.reign = reign
        self.jobs: dict[str, Job] = {}
        self.copies: dict[str, Copy] = {}
        self.attempts: dict[str, Attempt] = {}
        self.printers: dict[str, Printer] = {}
        self.contacts: dict[str, Contact] = {}
        self.copies_of: dict[str, tuple[str, ...]] = {}
        self.live_on: dict[str, str] = {}
        self.live_of: dict[str, tuple[str, ...]] = {}
        self.waiting_of: dict[str, tuple[str, ...]] = {}
        self.back_of: dict[str, tuple[str, ...]] = {}
        self.tries_of: dict[str, tuple[str, ...]] = {}
        self.line = Line()
        self.last_round: LastRound | None = None
        self.offered: dict[str, Printer] = {}

    def load(
        self,
        jobs: list[Job],
        copies: list[Copy],
        attempts: list[Attempt],
        printers: list[Printer],
    ) -> None:
        """Fill an empty farm from the store."""
        draft = Draft(self)
        for printer in printers:
            draft.put_printer(printer)
        for job in jobs:
            draft.put_job(job)
        by_job: dict[str, list[str]] = {}
        for copy in copies:
            draft.copies.put(copy.id, copy)
            by_job.setdefault(copy.job, []).append(copy.id)
        for job_id, ids in by_job.items():
            draft.copies_of.put(job_id, tuple(ids))
        for attempt in attempts:
            draft.put_attempt(attempt)
        for job_id, ids in by_job.items():
            waiting = tuple(c for c in ids if draft.waits(c))
            draft.waiting_of.put(job_id, waiting)
            back = tuple(c for c in waiting if draft.copies[c].front_at is not None)
            draft.back_of.put(job_id, back)
        self.apply(draft)

    def apply(self, draft: Draft) -> None:
        """Make the changes of a committed draft the farm's own."""
        self.line.update(draft.moves(), draft.horizon_at)
        self.jobs.update(draft.jobs.changed)
        self.copies.update(draft.copies.changed)
        self.attempts.update(draft.attempts.changed)
        self.printers.update(draft.printers.changed)
        self.contacts.update(draft.contacts.changed)
        self.copies_of.update(draft.copies_of.changed)
        for index, changed in (
            (self.live_of, draft.live_of.changed),
            (self.waiting_of, draft.waiting_of.changed),
            (self.back_of, draft.back_of.changed),
        ):
            for key, ids in changed.items():
                if ids:
                    index[key] = ids
                else:
                    index.pop(key, None)
        self.tries_of.update(draft.tries_of.changed)
        for printer, attempt in draft.live_on.changed.items():
            if attempt:
                self.live_on[printer] = attempt
            else:
                self.live_on.pop(printer, None)
        for printer, offered in draft.offered.changed.items():
            if offered is not None:
                self.offered[printer] = offered
            else:
                self.offered.pop(printer, None)
        self.last_round = draft.this_round

    def forget_finished(self, plan: Plan) -> None:
        """Drop the jobs that this committed plan has finished, once nothing holds a printer.

        All of a job goes at once: what a host still says of an attempt of it then names a copy that
        is unknown here, and changes nothing (reports.py). The same is not loaded at a start.
        """
        touched = {attempt.job for attempt in plan.attempts.values()}
        for job_id in touched.union(plan.jobs):
            copies = self.copies_of.get(job_id, ())
            job = self.jobs.get(job_id)
            if job is None or not job.finished or any(c in self.live_of for c in copies):
                continue
            for copy_id in copies:
                for attempt_id in self.tries_of.pop(copy_id, ()):
                    del self.attempts[attempt_id]
                del self.copies[copy_id]
            self.copies_of.pop(job_id, None)
            self.waiting_of.pop(job_id, None)
            self.back_of.pop(job_id, None)
            del self.jobs[job_id]


class Draft:
    """Changes laid over a farm, or over another draft. Reads see them; what is below stays."""

    def __init__(self, farm: Farm | Draft) -> None:
        self.settings: Settings = farm.settings
        self.reign: Reign = farm.reign
        self.jobs: Layer[str, Job] = Layer(farm.jobs)
        self.copies: Layer[str, Copy] = Layer(farm.copies)
        self.attempts: Layer[str, Attempt] = Layer(farm.attempts)
        self.printers: Layer[str, Printer] = Layer(farm.printers)
        self.contacts: Layer[str, Contact] = Layer(farm.contacts)
        self.copies_of: Layer[str, tuple[str, ...]] = Layer(farm.copies_of)
        self.live_on: Layer[str, str] = Layer(farm.live_on)
        self.live_of: Layer[str, tuple[str, ...]] = Layer(farm.live_of)
        self.waiting_of: Layer[str, tuple[str, ...]] = Layer(farm.waiting_of)
        self.back_of: Layer[str, tuple[str, ...]] = Layer(farm.back_of)
        self.tries_of: Layer[str, tuple[str, ...]] = Layer(farm.tries_of)
        self.offered: Layer[str, Printer | None] = Layer(farm.offered)
        self.line: Line = farm.line
        self.horizon_at: float = farm.line.horizon_at
        self.last_round: LastRound | None = farm.last_round
        self.this_round: LastRound | None = None
        self.whole = True
        self.history: list[History] = []
        self.notes: list[str] = []
        self.outranked = 0
        self.outranked_by: set[str] = set()

    def put_job(self, job: Job) -> None:
        self.jobs.put(job.id, job)

    def put_copy(self, copy: Copy) -> None:
        if copy.id not in self.copies:
            self.copies_of.put(copy.job, (*self.copies_of.get(copy.job, ()), copy.id))
        self.copies.put(copy.id, copy)
        self._index_waiting(copy.id)

    def add_copies(self, job_id: str, copies: list[Copy]) -> None:
        """Put many new copies of one job at once."""
        for copy in copies:
            self.copies.put(copy.id, copy)
        ids = tuple(copy.id for copy in copies)
        self.copies_of.put(job_id, (*self.copies_of.get(job_id, ()), *ids))
        waiting = tuple(copy.id for copy in copies if self.waits(copy.id))
        self.waiting_of.put(job_id, (*self.waiting_of.get(job_id, ()), *waiting))

    def put_attempt(self, attempt: Attempt) -> None:
        """Put an attempt; refuses a second live one on a printer, as the schema does."""
        holder = self.live_on.get(attempt.printer, "")
        if attempt.live:
            if holder not in ("", attempt.id):
                raise ValueError(f"printer {attempt.printer} already has live attempt {holder}")
            self.live_on.put(attempt.printer, attempt.id)
        elif holder == attempt.id:
            self.live_on.put(attempt.printer, "")
        if attempt.id not in self.attempts:
            self.tries_of.put(attempt.copy, (*self.tries_of.get(attempt.copy, ()), attempt.id))
        self.attempts.put(attempt.id, attempt)
        others = tuple(a for a in self.live_of.get(attempt.copy, ()) if a != attempt.id)
        self.live_of.put(attempt.copy, (*others, attempt.id) if attempt.live else others)
        if attempt.copy in self.copies:
            self._index_waiting(attempt.copy)

    def put_printer(self, printer: Printer) -> None:
        self.printers.put(printer.id, printer)

    def put_contact(self, printer_id: str, contact: Contact) -> None:
        self.contacts.put(printer_id, contact)

    def waits(self, copy_id: str) -> bool:
        """Whether a copy wants an attempt: open, and nothing stands for it."""
        if self.copies[copy_id].state is not CopyState.OPEN:
            return False
        return not any(self.attempts[a].holds_copy for a in self.live_of.get(copy_id, ()))

    def live_attempts(self) -> list[Attempt]:
        """Every attempt that holds a printer."""
        return [self.attempts[a] for a in self.live_on.values() if a]

    def begin_round(self, now: Now) -> None:
        """Look at everything, or only at what may have changed since the round before.

        What has not been touched since a round decided nothing about it would have nothing decided
        again, until a time comes that this round knew of.
        """
        last = self.last_round
        self.whole = last is None or last.reign != self.reign or now.boot_s >= last.wake_s
        self.horizon_at = max(self.horizon_at, now.wall_s - self.settings.express_patience_s)

    def end_round(self, wake_s: float) -> float:
        """Leave to the next round what it needs; returns when time alone changes something."""
        if self.last_round is not None and not self.whole:
            wake_s = min(wake_s, self.last_round.wake_s)
        self.this_round = LastRound(self.reign, frozenset(self.touched()), wake_s)
        return wake_s

    def printers_in_question(self) -> list[str]:
        """Printers for which something may have to be decided in this round, in a fixed order."""
        if self.whole or self.last_round is None:
            return sorted(self.printers)
        return sorted(self.last_round.touched | self.touched())

    def attempts_in_question(self) -> list[Attempt]:
        """The live attempts of those printers."""
        asked = sorted(self.live_on) if self.whole else self.printers_in_question()
        return [self.attempts[a] for p in asked if (a := self.live_on.get(p, ""))]

    def withdraw_offer(self, printer_id: str) -> None:
        """What waits has to be held against this printer anew once it is free."""
        if self.offered.get(printer_id) is not None:
            self.offered.put(printer_id, None)

    def alone(self, attempt: Attempt) -> bool:
        """Whether no other attempt of its copy is armed or started (rule 11)."""
        others = [self.attempts[a] for a in self.live_of.get(attempt.copy, ()) if a != attempt.id]
        return all(a.state not in (State.ARMED, State.STARTED) for a in others)

    def attempt_on(self, printer_id: str) -> Attempt | None:
        attempt_id = self.live_on.get(printer_id, "")
        return self.attempts[attempt_id] if attempt_id else None

    def note(self, text: str) -> None:
        """Something for the log that changed nothing."""
        self.notes.append(text)

    def tell(self, now: Now, kind: str, of: Attempt | None = None, **words: str) -> None:
        """One line of history; an attempt names its job, copy and printer."""
        line = History(at=now.wall_s, kind=kind)
        if of is not None:
            line = replace(line, job=of.job, copy=of.copy, attempt=of.id, printer=of.printer)
        self.history.append(replace(line, **words))

    def absorb(self, child: Draft) -> None:
        """Take over the changes of a draft that was laid over this one."""
        for mine, its in (
            (self.jobs.changed, child.jobs.changed),
            (self.copies.changed, child.copies.changed),
            (self.attempts.changed, child.attempts.changed),
            (self.printers.changed, child.printers.changed),
            (self.contacts.changed, child.contacts.changed),
            (self.copies_of.changed, child.copies_of.changed),
            (self.live_on.changed, child.live_on.changed),
            (self.live_of.changed, child.live_of.changed),
            (self.waiting_of.changed, child.waiting_of.changed),
            (self.back_of.changed, child.back_of.changed),
            (self.tries_of.changed, child.tries_of.changed),
        ):
            mine.update(its)  # type: ignore[arg-type]  # pairs of equal types, which zip forgets
        self.history.extend(child.history)
        self.notes.extend(child.notes)
        self.outranked = max(self.outranked, child.outranked)
        self.outranked_by |= child.outranked_by

    def plan(self, wake_s: float | None = None) -> Plan:
        return Plan(
            jobs=dict(self.jobs.changed),
            copies=dict(self.copies.changed),
            attempts=dict(self.attempts.changed),
            printers=dict(self.printers.changed),
            contacts=dict(self.contacts.changed),
            history=tuple(self.history),
            notes=tuple(self.notes),
            outranked=self.outranked,
            outranked_by=frozenset(self.outranked_by),
            wake_s=wake_s,
        )

    def touched(self) -> set[str]:
        """Printers for which something may have to be decided anew because of this draft's changes.

        An attempt touches the others of its copy as well, a copy or a job all of its live ones.
        """
        copies = set(self.copies.changed)
        copies.update(attempt.copy for attempt in self.attempts.changed.values())
        for job_id in self.jobs.changed:
            copies.update(self.copies_of.get(job_id, ()))
        found = {a.printer for a in self.attempts.changed.values()}
        found.update(self.printers.changed, self.contacts.changed)
        for copy_id in copies:
            found.update(self.attempts[a].printer for a in self.live_of.get(copy_id, ()))
        return found

    def moves(self) -> dict[str, Place | None]:
        """Jobs whose place in the line may have changed, with their places; None: they left it."""
        jobs = {copy.job for copy in self.copies.changed.values()}
        jobs.update(self.jobs.changed, self.waiting_of.changed, self.line.grown(self.horizon_at))
        return {job_id: self._place(job_id) for job_id in jobs}

    def _place(self, job_id: str) -> Place | None:
        job = self.jobs[job_id]
        if job.state is not JobState.ACTIVE or not self.waiting_of.get(job_id):
            return None
        return place_of(job, bool(self.back_of.get(job_id)), self.horizon_at)

    def _index_waiting(self, copy_id: str) -> None:
        copy = self.copies[copy_id]
        waits = self.waits(copy_id)
        self._index(self.waiting_of, copy, waits)
        self._index(self.back_of, copy, waits and copy.front_at is not None)

    def _index(self, index: Layer[str, tuple[str, ...]], copy: Copy, belongs: bool) -> None:
        """Keep a job's copies of one kind, by number."""
        known = index.get(copy.job, ())
        if belongs == (copy.id in known):
            return
        if not belongs:
            index.put(copy.job, tuple(c for c in known if c != copy.id))
            return
        at = bisect_left(known, copy.number, key=lambda c: self.copies[c].number)
        index.put(copy.job, (*known[:at], copy.id, *known[at:]))
