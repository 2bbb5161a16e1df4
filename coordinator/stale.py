"""Ending a child of a former run that outlived it.

Owns the finding of processes by what they were started with, and their end. A process is held
by a pidfd before it is judged, so a pid that is reused meanwhile is never signalled.
"""

from __future__ import annotations

import asyncio
import logging
import os
import select
import signal
from collections.abc import Sequence
from pathlib import Path

logger = logging.getLogger("moonfleet.broker")


class StaleProcess(Exception):
    """A process of a former run could not be ended."""


async def end_stale(command: Sequence[str], timeout_s: float) -> int:
    """End every process of this user whose command line ends like `command`; return how many.

    `command` is the program's name and arguments that name one run and nothing else, such as
    the path of its own configuration. A process is asked with SIGTERM first, so that it can
    write what it holds, and killed after `timeout_s`. Raises StaleProcess if that fails too.
    """
    ended = 0
    for pid in await asyncio.to_thread(_pids_of, command):
        ended += await asyncio.to_thread(_end, pid, command, timeout_s)
    return ended


def _pids_of(command: Sequence[str]) -> list[int]:
    pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return [pid for pid in pids if _runs(pid, command)]


def _runs(pid: int, command: Sequence[str]) -> bool:
    folder = Path("/proc", str(pid))
    try:
        # What belongs to another user is no child of ours, and not ours to end.
        if folder.stat().st_uid != os.geteuid():
            return False
        words = (folder / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")[:-1]
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        # It ended while we looked at it.
        return False
    last = words[-len(command) :]
    # Not any mention of the path: a person may be reading that file in an editor.
    return [os.path.basename(last[0]), *last[1:]] == list(command) if last else False


def _end(pid: int, command: Sequence[str], timeout_s: float) -> bool:
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        if not _runs(pid, command):
            return False
        logger.warning("ending process %d of a former run", pid)
        for number in (signal.SIGTERM, signal.SIGKILL):
            signal.pidfd_send_signal(handle, number)
            if select.select([handle], [], [], timeout_s)[0]:
                return True
    except ProcessLookupError:
        return True
    finally:
        os.close(handle)
    raise StaleProcess(f"process {pid} of a former run does not end")
