"""Attempts: list, show, settle, and the file that a host fetches for one.

Owns the answers about attempts.
"""

from __future__ import annotations

from msgspec import Struct

from coordinator.core import links, requests
from coordinator.core.attempts import Attempt, State
from coordinator.core.links import Verdict
from coordinator.core.requests import NotFound, Settlement
from coordinator.http import downloads
from coordinator.http.base import Answer, ApiHandler
from coordinator.http.errors import ApiError
from coordinator.http.job_view import AttemptView, HistoryView, attempt_view, history_view
from coordinator.http.operations import operation
from coordinator.lists import AttemptFilter, HistoryFilter
from coordinator.people.roles import Role

HISTORY_MAX = 100


class AttemptAnswer(Answer):
    """One attempt, and its history, newest first."""

    attempt: AttemptView
    history: list[HistoryView]


class AttemptsAnswer(Answer):
    """One page of attempts, newest first; `cursor` asks for the next one, empty: the last."""

    attempts: list[AttemptView]
    cursor: str = ""


class AttemptsQuery(Struct, forbid_unknown_fields=True):
    """`state`: one or more of assigned, armed, started, lost, ended, divided by commas."""

    state: tuple[State, ...] = ()
    job: str = ""
    printer: str = ""
    limit: int = 100
    cursor: str = ""


class SettleOrder(Struct, forbid_unknown_fields=True):
    """`outcome`: what a person saw: complete, failed or not_started."""

    outcome: Settlement


class AttemptsHandler(ApiHandler):
    """/attempts."""

    @operation(answer=AttemptsAnswer, query=AttemptsQuery)
    async def get(self) -> None:
        """List attempts, newest first."""
        asked = self.query(AttemptsQuery)
        wanted = AttemptFilter(printer=asked.printer, job=asked.job, states=asked.state)
        page = await self.services.store.reads.list_attempts(wanted, asked.limit, asked.cursor)
        views = [await view_of(self, attempt) for attempt in page.attempts]
        self.answer(AttemptsAnswer(attempts=views, cursor=page.cursor))


class AttemptHandler(ApiHandler):
    """/attempts/{id}."""

    @operation(answer=AttemptAnswer)
    async def get(self, attempt_id: str) -> None:
        """Show an attempt and what happened to it."""
        await answer_attempt(self, await attempt_of(self, attempt_id))


class SettleHandler(ApiHandler):
    """/attempts/{id}/settle."""

    @operation(answer=AttemptAnswer, body=SettleOrder)
    async def post(self, attempt_id: str) -> None:
        """Say how an attempt ended of which its host says nothing. The printer is free then."""
        outcome, who = self.body(SettleOrder).outcome, self.who
        try:
            attempt = await self.services.engine.ask(
                lambda draft, now: requests.settle(draft, attempt_id, outcome, who, now)
            )
        except NotFound:
            # The farm remembers what is not finished; the store remembers all.
            stored = await attempt_of(self, attempt_id)
            raise requests.Conflict(
                f"attempt {attempt_id} has already ended: {stored.outcome.value}"
            ) from None
        await answer_attempt(self, attempt)


class LinkQuery(Struct, forbid_unknown_fields=True):
    """The proof of a download link, as the host was given it in its desired state."""

    until: str = ""
    signature: str = ""


class AttemptFileHandler(ApiHandler):
    """/attempts/{id}/file. Whoever has the link may have the file, and nothing else."""

    @operation(media="text/x.gcode", query=LinkQuery, needs=Role.NOBODY)
    async def get(self, attempt_id: str) -> None:
        """Fetch the G-code of a live attempt by its signed link, whole or by range.

        ETag is its sha256.
        """
        await downloads.send(self, self.services.content, self._sha256(attempt_id))

    @operation(media="text/x.gcode", query=LinkQuery, needs=Role.NOBODY)
    async def head(self, attempt_id: str) -> None:
        """Size and ETag of an attempt's G-code, by its signed link."""
        sha256 = self._sha256(attempt_id)
        await downloads.send(self, self.services.content, sha256, head_only=True)

    def _sha256(self, attempt_id: str) -> str:
        """Answered from memory: fifty hosts that were told to prepare ask at once.

        The proof is looked at first, so that without one nobody learns which attempts there are.
        """
        farm, link = self.services.engine.farm, self.query(LinkQuery)
        verdict = links.judge(
            farm.settings.link_key,
            attempt_id,
            link.until,
            link.signature,
            self.services.clock.now().wall_s,
            links.life_s(farm.settings.prepare_s),
        )
        if verdict is Verdict.FORGED:
            raise ApiError(403, "this link was not made by this farm for this attempt")
        attempt = farm.attempts.get(attempt_id)
        if attempt is None or not attempt.live:
            raise ApiError(410, f"attempt {attempt_id}: it has ended, and its link with it")
        if verdict is Verdict.EXPIRED:
            raise ApiError(410, "this link has expired; the host is sent a new one if it needs it")
        return farm.jobs[attempt.job].file.sha256


async def attempt_of(handler: ApiHandler, attempt_id: str) -> Attempt:
    """The attempt of this id, from memory or the store; raises NotFound."""
    found = handler.services.engine.farm.attempts.get(attempt_id)
    found = found or await handler.services.store.reads.attempt(attempt_id)
    if found is None:
        raise NotFound(f"attempt {attempt_id[:80]!r}: there is none of this id")
    return found


async def view_of(handler: ApiHandler, attempt: Attempt) -> AttemptView:
    """The view of any attempt."""
    farm = handler.services.engine.farm
    job, copy = farm.jobs.get(attempt.job), farm.copies.get(attempt.copy)
    if job is not None and copy is not None:
        return attempt_view(attempt, job.title, copy.number)
    detail = await handler.services.store.reads.job_detail(attempt.job)
    if detail is None:
        return attempt_view(attempt, "", 0)
    numbers = {copy.id: copy.number for copy in detail.copies}
    return attempt_view(attempt, detail.job.title, numbers.get(attempt.copy, 0))


async def answer_attempt(handler: ApiHandler, attempt: Attempt) -> None:
    """Answer with an attempt and its history."""
    page = await handler.services.store.reads.list_history(
        HistoryFilter(attempt=attempt.id), HISTORY_MAX
    )
    handler.answer(
        AttemptAnswer(
            attempt=await view_of(handler, attempt),
            history=[history_view(entry.number, entry.line) for entry in page.entries],
        )
    )
