"""Power cuts, full disks and locks: what was committed stays, what was not has changed nothing."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.pool import Pool

from coordinator.core.farm import History
from coordinator.core.printers import Printer
from coordinator.ports import StoreError
from coordinator.store import database
from coordinator.store.sql import SqlStore

from .build import farm, plan, url_of
from .committer import PRINTERS

DEADLINE_S = 120.0


async def commit_until_killed(path: Path, acknowledged: int) -> int:
    """Run a committer, kill it after so many commits (likely within the next), return the last."""
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.store.committer",
        str(path),
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    last = 0
    try:
        assert child.stdout is not None
        async with asyncio.timeout(DEADLINE_S):
            for _ in range(acknowledged):
                last = int(await child.stdout.readline())
    finally:
        child.kill()
        rest = await child.stdout.read() if child.stdout is not None else b""
        await child.wait()
    # What it still got to say before it died was committed as well.
    return max(
        [last, *(int(line) for line in rest.splitlines(keepends=True) if line[-1:] == b"\n")]
    )


async def test_a_killed_coordinator_leaves_whole_rounds(path: Path) -> None:
    draw = random.Random(7)
    for _ in range(4):
        last = await commit_until_killed(path, draw.randint(1, 40))
        store = SqlStore(url_of(path))
        await store.open()
        found = await store.load()
        generations = {printer.generation for printer in found.printers}
        assert len(found.printers) == PRINTERS
        assert len(generations) == 1, "half a round was committed"
        (generation,) = generations
        assert generation in (last, last + 1), "a committed round is gone"
        lines = await store.history(limit=PRINTERS + 1)
        assert [line.text for line in lines[:PRINTERS]] == [str(generation)] * PRINTERS
        await store.close()
        with closing(sqlite3.connect(path)) as raw:
            assert raw.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert raw.execute("PRAGMA foreign_key_check").fetchall() == []
            (count,) = raw.execute("SELECT count(*) FROM history").fetchone()
        assert count == PRINTERS * generation


@contextmanager
def disk_of(pages: list[int]) -> Iterator[None]:
    """Every connection of SQLite may fill this many pages, as long as the number stands."""

    def limit(connection: Any, _record: object, _proxy: object) -> None:
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA max_page_count={pages[0]}")
        cursor.close()

    event.listen(Pool, "checkout", limit)
    try:
        yield
    finally:
        event.remove(Pool, "checkout", limit)


async def test_a_full_disk_loses_nothing_and_the_next_commit_works(path: Path) -> None:
    pages = [1_000_000]
    with disk_of(pages):
        store = SqlStore(url_of(path))
        await store.open()
        term = await store.take_term()
        await store.commit(term, farm())
        before = await store.load()
        pages[0] = 1  # SQLite takes this as: not one page more than there are
        much = [History(at=1.0, kind="noise", text="x" * 4000) for _ in range(200)]
        with pytest.raises(StoreError, match="the disk is full: nothing of this was written"):
            await store.commit(term, plan(Printer(id="p1", name="Changed"), *much))
        assert await store.load() == before
        assert await store.history() == []
        await store.confirm(term)
        pages[0] = 1_000_000
        await store.commit(term, plan(Printer(id="p1", name="Changed"), *much))
        assert (await store.load()).printers[0].name == "Changed"
        assert len(await store.history(limit=500)) == 200
        await store.close()


async def test_a_lock_that_does_not_come_free_is_explained(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_MS", 20)
    store = SqlStore(url_of(path))
    await store.open()
    term = await store.take_term()
    with closing(sqlite3.connect(path, isolation_level=None)) as raw:
        raw.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="another process holds the database"):
            await store.commit(term, farm())
        raw.execute("ROLLBACK")
    await store.commit(term, farm())
    assert len((await store.load()).printers) == 2
    await store.close()


async def test_a_cancelled_commit_is_whole_or_nothing(store: SqlStore) -> None:
    """Whoever waits may give up at any await; the writer must be usable afterwards."""
    term = await store.take_term()
    await store.commit(term, plan(*(Printer(id=f"p{n}", name="P") for n in range(5))))
    for steps in range(30):
        rows = [Printer(id=f"p{n}", name="P", generation=steps + 1) for n in range(5)]
        task = asyncio.ensure_future(store.commit(term, plan(*rows)))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        results = await asyncio.gather(task, return_exceptions=True)
        assert results[0] is None or isinstance(results[0], asyncio.CancelledError)
        assert len({row.generation for row in (await store.load()).printers}) == 1
    await store.commit(term, plan(*rows))
    assert {row.generation for row in (await store.load()).printers} == {30}


async def test_reads_and_writes_at_once(store: SqlStore) -> None:
    term = await store.take_term()

    async def write(number: int) -> None:
        await store.commit(term, plan(Printer(id=f"p{number}", name="P")))

    async def read() -> None:
        await store.reads.list_history()

    async with asyncio.TaskGroup() as tasks:
        for number in range(20):
            tasks.create_task(write(number))
            tasks.create_task(read())
    assert len((await store.load()).printers) == 20
