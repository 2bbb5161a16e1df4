"""The farm as a whole, and its history.

Owns the answers about them.
"""

from __future__ import annotations

from msgspec import Struct

from coordinator.http.base import Answer, ApiHandler
from coordinator.http.farm_view import FarmView, farm_view
from coordinator.http.job_view import HistoryView, history_view
from coordinator.http.operations import operation
from coordinator.http.printer_view import printer_view
from coordinator.lists import HistoryFilter


class FarmAnswer(Answer):
    """The farm."""

    farm: FarmView


class HistoryAnswer(Answer):
    """One page of history, newest first; `cursor` asks for the next one, empty: the last."""

    history: list[HistoryView]
    cursor: str = ""


class HistoryQuery(Struct, forbid_unknown_fields=True):
    """Each that is given must hold. `kind`: one or more kinds, divided by commas."""

    job: str = ""
    copy: str = ""
    attempt: str = ""
    printer: str = ""
    who: str = ""
    kind: tuple[str, ...] = ()
    limit: int = 100
    cursor: str = ""


class FarmHandler(ApiHandler):
    """/farm."""

    @operation(answer=FarmAnswer)
    async def get(self) -> None:
        """Show the farm: version, term, connection, counts and limits."""
        farm, now = self.services.engine.farm, self.services.clock.now()
        views = [printer_view(farm, printer, now) for printer in farm.printers.values()]
        self.answer(FarmAnswer(farm=farm_view(self.services, views)))


class HistoryHandler(ApiHandler):
    """/history."""

    @operation(answer=HistoryAnswer, query=HistoryQuery)
    async def get(self) -> None:
        """List what happened, and what people asked for, newest first."""
        asked = self.query(HistoryQuery)
        wanted = HistoryFilter(
            job=asked.job,
            copy=asked.copy,
            attempt=asked.attempt,
            printer=asked.printer,
            who=asked.who,
            kinds=asked.kind,
        )
        page = await self.services.store.reads.list_history(wanted, asked.limit, asked.cursor)
        lines = [history_view(entry.number, entry.line) for entry in page.entries]
        self.answer(HistoryAnswer(history=lines, cursor=page.cursor))
