"""How long the store's acts take here: run `python -m tests.store.measure [FOLDER]`.

Prints medians and the 99th percentile in milliseconds. The folder decides about the disk.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from msgspec.structs import replace

from coordinator.core.attempts import State
from coordinator.core.farm import History
from coordinator.core.jobs import Copy
from coordinator.store.sql import SqlStore

from .build import attempt, farm, job, plan, url_of

ROUND = 50


async def timed(name: str, times: int, act: Callable[[int], Awaitable[object]]) -> None:
    taken_ms = []
    for number in range(times):
        begin_s = time.perf_counter()
        await act(number)
        taken_ms.append((time.perf_counter() - begin_s) * 1000)
    taken_ms.sort()
    late = taken_ms[min(len(taken_ms) - 1, int(len(taken_ms) * 0.99))]
    print(f"{name:40} median {statistics.median(taken_ms):8.2f} ms   p99 {late:8.2f} ms")


async def synced(folder: Path) -> None:
    """What one write of 4 KiB with fsync costs on this disk: a commit cannot be faster."""
    handle = os.open(folder / "synced", os.O_CREAT | os.O_WRONLY, 0o600)

    async def write(_number: int) -> None:
        os.write(handle, b"x" * 4096)
        os.fdatasync(handle)

    await timed("4 KiB appended and fdatasynced", 200, write)
    os.close(handle)


async def main(folder: Path) -> None:
    await synced(folder)
    store = SqlStore(url_of(folder / "moonfleet.db"))

    async def open_again(_number: int) -> None:
        await store.close()
        await store.open()

    await timed("open, new file", 1, open_again)
    await timed("open, at this version", 50, open_again)
    term = await store.take_term()
    small = farm(printers=ROUND, copies=ROUND)
    await store.commit(term, small)
    printers = list(small.printers.values())
    tries = [attempt(f"a{n}", f"c{n}", f"p{n}") for n in range(1, ROUND + 1)]

    async def round_of(number: int) -> None:
        lines = [
            History(at=1.0, kind="attempt_armed", attempt=a.id, printer=a.printer) for a in tries
        ]
        moved = [replace(a, state=State.ARMED, armed_at=float(number)) for a in tries]
        raised = [replace(p, generation=number) for p in printers]
        await store.commit(term, plan(*moved, *raised, *lines))

    async def one(number: int) -> None:
        await store.commit(term, plan(replace(printers[0], generation=number)))

    await timed("confirm (an idle round)", 2000, lambda _n: store.confirm(term))
    await timed("commit of one printer", 300, one)
    await timed(f"commit of {ROUND} attempts, printers, lines", 200, round_of)
    copies = [Copy(id=f"m{n}", job="much", number=n) for n in range(1, 10_001)]
    await timed(
        "commit of a job of 10,000 copies",
        1,
        lambda _n: store.commit(term, plan(job("much", copies=10_000), *copies)),
    )
    await timed("load of these", 20, lambda _n: store.load())
    await timed(
        "list of 100 lines of history of a printer", 200, lambda _n: store.history(printer="p1")
    )
    await store.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if sys.argv[1:] else None) as made:
        asyncio.run(main(Path(made)))
