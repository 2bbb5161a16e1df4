"""Jobs: submit, list, show, change, and every act on one.

Owns the answers about jobs. What an act means is coordinator/core/requests.py's to say.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from coordinator.core import requests
from coordinator.core.attempts import Attempt
from coordinator.core.farm import Draft, Now
from coordinator.core.jobs import Job
from coordinator.core.requests import NotFound
from coordinator.http import why
from coordinator.http.base import Answer, ApiHandler
from coordinator.http.job_orders import JobOrder, JobPatch, JobsQuery, submission_of
from coordinator.http.job_view import (
    AttemptView,
    CopyView,
    HistoryView,
    JobView,
    attempt_view,
    copy_view,
    history_view,
    job_view,
    live_counts,
    stored_counts,
)
from coordinator.http.operations import operation
from coordinator.http.services import Services
from coordinator.http.why import Placed, PrinterWhy
from coordinator.lists import HistoryFilter

HISTORY_MAX = 100


class JobAnswer(Answer):
    """One job."""

    job: JobView


class JobsAnswer(Answer):
    """One page of jobs; `cursor` asks for the next one, empty: the last."""

    jobs: list[JobView]
    cursor: str = ""


class JobDetailAnswer(Answer):
    """One job with its copies by number, its attempts oldest first, its newest history first."""

    job: JobView
    copies: list[CopyView]
    attempts: list[AttemptView]
    history: list[HistoryView]


class WhyAnswer(Answer):
    """`summary` answers in one line; `printers` each with a verdict, the best first."""

    job: JobView
    summary: str
    printers: list[PrinterWhy]
    placed: list[Placed]


class ReprintOrder(Struct, forbid_unknown_fields=True):
    """`copies`: how many; left out: as many as the job had."""

    copies: int | None = None


class MoveOrder(Struct, forbid_unknown_fields=True):
    """`before`: the id of the job right before which it goes."""

    before: str


class NoFields(Struct, forbid_unknown_fields=True):
    """An empty object, or no body at all."""


class JobsHandler(ApiHandler):
    """/jobs."""

    @operation(status=201, answer=JobAnswer, body=JobOrder)
    async def post(self) -> None:
        """Submit a job for a stored file. One that no printer can take yet waits, and says why."""
        order, engine = self.body(JobOrder), self.services.engine
        who, ids = self.who, self.services.ids
        async with self.filing.kept(order.file) as file:
            wish = submission_of(order, file, engine.farm.settings)
            job = await engine.ask(lambda draft, now: requests.submit(draft, wish, who, now, ids))
        self.answer(JobAnswer(job=known_view(self.services, job)), 201)

    @operation(answer=JobsAnswer, query=JobsQuery)
    async def get(self) -> None:
        """List jobs, by default in the order of the queue, with counts of their copies."""
        asked = self.query(JobsQuery)
        reads = self.services.store.reads
        page = await reads.list_jobs(asked.filter(), asked.sort, asked.limit, asked.cursor)
        farm = self.services.engine.farm
        # Counted before the store is asked: meanwhile a job may finish and be forgotten.
        live = {job.id: live_counts(farm, job.id) for job in page.jobs if job.id in farm.jobs}
        stored = await reads.copy_counts([job.id for job in page.jobs if job.id not in live])
        views = [
            job_view(job, live.get(job.id) or stored_counts(stored.get(job.id, {})))
            for job in page.jobs
        ]
        self.answer(JobsAnswer(jobs=views, cursor=page.cursor))


class JobHandler(ApiHandler):
    """/jobs/{id}."""

    @operation(answer=JobDetailAnswer)
    async def get(self, job_id: str) -> None:
        """Show a job with its copies, attempts and history."""
        reads = self.services.store.reads
        detail = await reads.job_detail(job_id)
        if detail is None:
            raise no_job(job_id)
        page = await reads.list_history(HistoryFilter(job=job_id), HISTORY_MAX)
        numbers = {copy.id: copy.number for copy in detail.copies}
        tries: dict[str, list[Attempt]] = {copy.id: [] for copy in detail.copies}
        for attempt in detail.attempts:
            tries[attempt.copy].append(attempt)
        copies = [copy_view(copy, tries[copy.id]) for copy in detail.copies]
        self.answer(
            JobDetailAnswer(
                job=await view_of(self.services, detail.job),
                copies=copies,
                attempts=[
                    attempt_view(a, detail.job.title, numbers[a.copy]) for a in detail.attempts
                ],
                history=[history_view(e.number, e.line) for e in page.entries],
            )
        )

    @operation(answer=JobAnswer, body=JobPatch)
    async def patch(self, job_id: str) -> None:
        """Change priority, lane or deadline of a job that is not finished."""
        change, who = self.body(JobPatch).change(), self.who
        await act(self, job_id, lambda d, now: requests.change(d, job_id, change, who, now))


class JobHoldHandler(ApiHandler):
    """/jobs/{id}/hold."""

    @operation(answer=JobAnswer, body=NoFields)
    async def post(self, job_id: str) -> None:
        """Start no further copy; what prints goes on."""
        self.body(NoFields)
        who = self.who
        await act(self, job_id, lambda d, now: requests.hold(d, job_id, who, now))


class JobReleaseHandler(ApiHandler):
    """/jobs/{id}/release."""

    @operation(answer=JobAnswer, body=NoFields)
    async def post(self, job_id: str) -> None:
        """Let a held job, or held copies of one, go on; failures are counted anew."""
        self.body(NoFields)
        who = self.who
        await act(self, job_id, lambda d, now: requests.release(d, job_id, who, now))


class JobPauseHandler(ApiHandler):
    """/jobs/{id}/pause."""

    @operation(answer=JobAnswer, body=NoFields)
    async def post(self, job_id: str) -> None:
        """Hold the job and pause what it prints."""
        self.body(NoFields)
        who = self.who
        await act(self, job_id, lambda d, now: requests.pause(d, job_id, who, now))


class JobResumeHandler(ApiHandler):
    """/jobs/{id}/resume."""

    @operation(answer=JobAnswer, body=NoFields)
    async def post(self, job_id: str) -> None:
        """Release the job and resume its paused prints, whatever paused them."""
        self.body(NoFields)
        who = self.who
        await act(self, job_id, lambda d, now: requests.resume(d, job_id, who, now))


class JobCancelHandler(ApiHandler):
    """/jobs/{id}/cancel."""

    @operation(answer=JobAnswer, body=NoFields)
    async def post(self, job_id: str) -> None:
        """End the job: what waits is dropped, what prints is cancelled."""
        self.body(NoFields)
        who = self.who
        await act(self, job_id, lambda d, now: requests.cancel(d, job_id, who, now))


class JobMoveHandler(ApiHandler):
    """/jobs/{id}/move."""

    @operation(answer=JobAnswer, body=MoveOrder)
    async def post(self, job_id: str) -> None:
        """Put a job right before another: it takes over that job's lane and priority."""
        before, who = self.body(MoveOrder).before, self.who
        await act(self, job_id, lambda d, now: requests.move(d, job_id, before, who, now))


class JobReprintHandler(ApiHandler):
    """/jobs/{id}/reprint."""

    @operation(status=201, answer=JobAnswer, body=ReprintOrder)
    async def post(self, job_id: str) -> None:
        """Submit a new job like this one, which may have finished long ago."""
        order, who, ids = self.body(ReprintOrder), self.who, self.services.ids
        old = await known_job(self.services, job_id)
        copies = old.copies if order.copies is None else order.copies
        async with self.filing.kept(old.file.sha256):
            job = await self.services.engine.ask(
                lambda draft, now: requests.reprint(draft, old, copies, who, now, ids)
            )
        self.answer(JobAnswer(job=known_view(self.services, job)), 201)


class JobWhyHandler(ApiHandler):
    """/jobs/{id}/why."""

    @operation(answer=WhyAnswer)
    async def get(self, job_id: str) -> None:
        """Why the job's next copy waits, printer by printer; why its placed copies are there."""
        job = await known_job(self.services, job_id)
        farm, now = self.services.engine.farm, self.services.clock.now()
        verdicts = [] if job.finished else why.printer_why(farm, job, now)
        self.answer(
            WhyAnswer(
                job=await view_of(self.services, job),
                summary=why.summary(farm, job, verdicts),
                printers=verdicts,
                placed=await _placed(self.services, job),
            )
        )


async def act(handler: ApiHandler, job_id: str, change: Callable[[Draft, Now], Job]) -> None:
    """Ask for a change of a job in the next round, and answer with the job after it."""
    services = handler.services
    try:
        job = await services.engine.ask(change)
    except NotFound:
        # The farm remembers what is not finished; the store remembers all.
        stored = (
            None if job_id in services.engine.farm.jobs else await services.store.reads.job(job_id)
        )
        if stored is None:
            raise
        raise requests.Conflict(
            f"job {job_id} is {stored.state}: nothing can be changed of a finished job"
        ) from None
    handler.answer(JobAnswer(job=await view_of(services, job)))


def known_view(services: Services, job: Job) -> JobView:
    """The view of a job that is in memory, as it is by now."""
    farm = services.engine.farm
    return job_view(farm.jobs.get(job.id, job), live_counts(farm, job.id))


async def view_of(services: Services, job: Job) -> JobView:
    """The view of any job.

    One that has left the memory is read once more: it may have finished since `job` was read, and
    its counts are those of its end.
    """
    if job.id in services.engine.farm.jobs:
        return known_view(services, job)
    reads = services.store.reads
    stored, counts = await reads.job(job.id), await reads.copy_counts([job.id])
    return job_view(stored or job, stored_counts(counts.get(job.id, {})))


async def known_job(services: Services, job_id: str) -> Job:
    """The job of this id, from memory or the store; raises NotFound."""
    job = services.engine.farm.jobs.get(job_id) or await services.store.reads.job(job_id)
    if job is None:
        raise no_job(job_id)
    return job


def no_job(job_id: str) -> NotFound:
    """What whoever names an unknown job is told."""
    return NotFound(f"job {job_id[:80]!r}: there is none of this id")


async def _placed(services: Services, job: Job) -> list[Placed]:
    """Copies that a printer has now, with what was written down when it was chosen."""
    farm = services.engine.farm
    live = [farm.attempts[id_] for id_ in farm.live_on.values()]
    numbers = {a.id: farm.copies[a.copy].number for a in live if a.job == job.id}
    lines = await services.store.reads.list_history(
        HistoryFilter(job=job.id, kinds=("attempt_assigned",)), HISTORY_MAX
    )
    told = {entry.line.attempt: entry.line.text for entry in lines.entries}
    return [
        Placed(numbers[a.id], a.id, a.printer, told.get(a.id, "")) for a in live if a.id in numbers
    ]
