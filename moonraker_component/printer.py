"""What is asked of Klipper for one attempt: start, pause, resume, cancel, fence, latch.

Owns the requests and what their answers prove. Each waits as long as Klipper needs, for a request
waits behind whatever G-code runs; whoever calls gives it a task of its own. What it must not
know: why something is asked.
"""

from __future__ import annotations

import re
from typing import Any, Callable, NamedTuple, Optional

from .attempt import Start

REFUSED = re.compile(r"moonfleet: refused: ([a-z_]+): (.*)", re.DOTALL)


class Answer(NamedTuple):
    """What a start came to. `refused` is a code, or empty for "started"."""

    refused: str
    message: str


class Printer:
    """Requests to Klipper by way of Moonraker. Raises Moonraker's ServerError."""

    def __init__(self, server: Any, boottime_s: Callable[[], float]) -> None:
        self._server = server
        self._boottime_s = boottime_s

    async def start(self, start: Start, section: bool) -> Optional[Answer]:
        """Ask once. None: nobody can say whether it started, and the watchdog settles it."""
        return await (self._start_by_section(start) if section else self._start_alone(start))

    async def pause(self) -> None:
        """Pause, by way of the user's PAUSE macro."""
        await self._apis().pause_print()

    async def resume(self, attempt: str, lift: str) -> None:
        """Resume, by way of the user's RESUME macro; `lift` names a fence pause to end first."""
        if lift:
            await self._ask("moonfleet/lift", attempt=attempt, pause=lift)
        await self._apis().resume_print()

    async def cancel(self, path: str) -> None:
        """Cancel, by way of the user's CANCEL_PRINT macro, if this path still is what prints."""
        if await self._shown_path() == path:
            await self._apis().cancel_print()

    async def feed(self, attempt: str, until_s: float) -> None:
        """Feed the fence of this attempt until a CLOCK_BOOTTIME."""
        await self._ask("moonfleet/fence", attempt=attempt, until_boottime_s=until_s)

    async def clear(self, token: str) -> None:
        """Say that the bed named by `token` is clear."""
        await self._ask("moonfleet/clear", token=token)

    async def emergency_stop(self) -> None:
        """Stop at once: goes around the G-code queue."""
        await self._apis().emergency_stop()

    async def firmware_restart(self) -> None:
        """Restart Klipper and its MCUs."""
        await self._apis().do_restart("FIRMWARE_RESTART")

    async def history(self, path: str) -> str:
        """The status of the last job with this path in Moonraker's history, or empty."""
        history = self._server.lookup_component("history", None)
        table = getattr(history, "history_table", None)
        if table is None:
            return ""
        cursor = await table.execute(
            "SELECT status FROM job_history WHERE filename = ? ORDER BY job_id DESC LIMIT 1",
            (path,),
        )
        row = await cursor.fetchone()
        return str(row["status"]) if row is not None else ""

    # ---- inside ------------------------------------------------------------------------------

    def _apis(self) -> Any:
        return self._server.lookup_component("klippy_apis")

    async def _ask(self, endpoint: str, **body: Any) -> None:
        # As JSON, not as a query string: Klipper tells numbers from texts.
        await self._apis()._send_klippy_request(endpoint, body)

    async def _start_by_section(self, start: Start) -> Optional[Answer]:
        try:
            await self._ask(
                "moonfleet/start",
                attempt=start.attempt,
                copy=start.copy,
                job=start.job,
                filename=start.path,
                deadline_boottime_s=start.deadline_s,
                bed_token=start.bed_token,
                fence_s=start.fence_s,
                fence_until_boottime_s=start.fence_until_s,
            )
        except self._server.error as error:
            refused = REFUSED.search(str(error))
            return Answer(refused.group(1), refused.group(2)) if refused else None
        return Answer("", "")

    async def _start_alone(self, start: Start) -> Optional[Answer]:
        """Without the section nobody but this line holds the deadline."""
        if self._boottime_s() >= start.deadline_s:
            return Answer("deadline", "the permission to start ended before Klipper was asked")
        try:
            await self._apis().start_print(start.path)
        except self._server.error as error:
            return await self._disproved(start.path, str(error))
        return Answer("", "")

    async def _disproved(self, path: str, message: str) -> Optional[Answer]:
        """An error proves that nothing started only if print_stats does not name the path."""
        try:
            shown = await self._shown_path()
        except self._server.error:
            return None
        return Answer("not_started", message) if shown != path else None

    async def _shown_path(self) -> str:
        status = await self._apis().query_objects({"print_stats": ["filename"]})
        return str(status.get("print_stats", {}).get("filename", ""))
