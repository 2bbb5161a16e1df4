"""Tasks with an owner: kept until they end, their failures told, all of them ended at the close.

Owns nothing else; asyncio keeps only weak references to tasks and swallows what they raise.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

TASKS_MAX = 64


class Tasks:
    """The tasks of one owner, at most TASKS_MAX at a time."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        """Run it; one too many is dropped and told."""
        if len(self._tasks) >= TASKS_MAX:
            coroutine.close()
            logging.error("moonfleet: %d tasks wait already, one was dropped", TASKS_MAX)
            return
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(log_failure)

    async def close(self) -> None:
        """Cancel all and wait until they are gone."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def log_failure(task: asyncio.Task[Any]) -> None:
    """Say what ended a task, if it was not its own end."""
    if not task.cancelled() and task.exception() is not None:
        logging.error("moonfleet: a task failed", exc_info=task.exception())
