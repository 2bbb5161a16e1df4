"""A farm goes on from a backup that is older than its prints: nothing twice, nothing lost."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

from coordinator.broker import Broker
from coordinator.core import requests
from coordinator.core.attempts import State
from coordinator.core.jobs import Job, JobFile, Requirements
from coordinator.core.requests import Who
from tests.engine.bench import adding
from tests.engine.real import Coordinator, client_of, coordinator_on, until

from .folder import WANTED, moonfleet, sha256_of
from .host import LedgerHost

FILE = JobFile(sha256_of(WANTED), "part.gcode", "Part.gcode", len(WANTED))
COPIES = 6


@contextlib.asynccontextmanager
async def broker_in(folder: Path, port: int) -> AsyncIterator[Broker]:
    broker = Broker(folder / "broker", port=port, jitter=lambda: 0.0)
    await broker.start()
    try:
        yield broker
    finally:
        await broker.stop()


@contextlib.asynccontextmanager
async def host_on(broker: Broker, printer: str) -> AsyncIterator[LedgerHost]:
    async with client_of(broker, printer, *LedgerHost.topics(printer)) as client:
        host = LedgerHost(printer, client)
        running = asyncio.create_task(host.run())
        try:
            yield host
        finally:
            running.cancel()
            (ended,) = await asyncio.gather(running, return_exceptions=True)
            assert isinstance(ended, asyncio.CancelledError), ended


async def submit(farm: Coordinator, name: str, copies: int, *printers: str) -> Job:
    wish = requests.Submission(
        file=FILE, copies=copies, requirements=Requirements(printers=printers)
    )
    ids = (f"{name}-{n}" for n in itertools.count())
    return await farm.engine.ask(
        lambda draft, now: requests.submit(draft, wish, Who("tester"), now, ids)
    )


async def print_one(host: LedgerHost) -> str:
    """Let it finish what it prints, and wait until it prints the next."""
    before = host.printing
    host.finish()
    await until(lambda: host.printing not in ("", before), f"{host.printer} prints the next")
    return before


def started_in(farm: Coordinator) -> set[str]:
    attempts = farm.engine.farm.attempts.values()
    return {attempt.id for attempt in attempts if attempt.state is State.STARTED}


def rows(path: Path, sql: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as raw:
        return raw.execute(sql).fetchall()


async def test_what_was_printed_after_the_backup_counts_once_and_what_prints_goes_on(
    tmp_path: Path,
) -> None:
    folder, file = tmp_path / "farm", tmp_path / "farm.tar"
    folder.mkdir(mode=0o700)
    async with contextlib.AsyncExitStack() as hosts_end:
        async with broker_in(folder, 0) as broker:
            port = broker.port
            async with coordinator_on(broker, folder / "moonfleet.db") as farm:
                for name in "abc":
                    await farm.engine.ask(adding(name))
                a, b, c = [
                    await hosts_end.enter_async_context(host_on(broker, name)) for name in "abc"
                ]
                job = await submit(farm, "kept", COPIES, "a", "b")
                await until(lambda: a.printing and b.printing, "both print")
                await print_one(a)
                ran = await asyncio.to_thread(moonfleet, "backup", file, "--data-dir", folder)
                assert ran.code == 0, ran.errors
                # What the backup does not know: three prints ended, two begun, a job submitted.
                await print_one(b)
                await print_one(a)
                await print_one(a)
                await submit(farm, "later", 1, "c")
                await until(lambda: c.printing, "the later job prints")
                going_on = {a.printing, b.printing}
                unnamed = c.printing
        ran = await asyncio.to_thread(moonfleet, "restore", file, "--data-dir", folder, "--replace")
        assert ran.code == 0, ran.errors
        accepted = "SELECT copy FROM attempts WHERE accepted"
        assert len(rows(folder / "moonfleet.db", accepted)) == 1
        async with (
            broker_in(folder, port) as broker,
            coordinator_on(broker, folder / "moonfleet.db") as farm,
        ):
            await until(lambda: started_in(farm) == going_on, "what prints is adopted")
            assert (a.harmed, b.harmed, c.harmed) == ([], [], [])
            assert c.printing == unnamed, "a print of a job that nobody remembers goes on"
            a.hurry = b.hurry = True
            await until(lambda: job.id not in farm.engine.farm.jobs, "the job is done")
    starts = Counter([*a.starts, *b.starts, *c.starts])
    assert set(starts.values()) == {1}, "no id was started twice"
    assert (a.harmed, b.harmed, c.harmed) == ([], [], [])
    counted = Counter(rows(folder / "moonfleet.db", accepted))
    assert len(counted) == COPIES, "no copy was lost"
    assert set(counted.values()) == {1}, "no copy counts twice"
    printed = Counter([*a.completed.values(), *b.completed.values()])
    assert {copy for (copy,) in counted} == set(printed), "what counts was printed"
    assert len(a.starts) + len(b.starts) == COPIES, "and nothing was printed for nothing"
