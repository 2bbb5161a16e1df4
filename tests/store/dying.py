"""A farm in small whose coordinator is killed at every step of its commits, again and again.

Owns the story (a job of two copies on one printer), its host, and the points of death. The real
engine and store run in forked processes, each a life of one coordinator, that die by SIGKILL at
their n-th point; the next life goes on with the same files. The host has a disk of its own: what it
has started and what has ended survives, as the machine does.

Run as a program with an empty folder: ends with one line of JSON about the deaths.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import os
import shutil
import signal
import sqlite3
import sys
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace
from sqlalchemy import event
from sqlalchemy.engine import Engine as SqlEngine
from sqlalchemy.pool import Pool

from coordinator.clock import SystemClock, fresh_ids
from coordinator.core import requests
from coordinator.core.farm import Settings
from coordinator.engine import Engine
from coordinator.store import upkeep
from coordinator.store.sql import SqlStore
from moonraker_component.wire import (
    AttemptReport,
    Beacon,
    Bed,
    Command,
    Desired,
    JobEvent,
    Klipper,
    Link,
    Outcome,
    Phase,
    Reason,
    Report,
    Want,
)
from tests.engine.bench import FILE, WHO, adding

SETTINGS = Settings(lease_s=15.0, fence_s=120.0, offline_grace_s=300.0, rest_s=0.0)
COPIES = 2
DEATHS_MAX = 300
LIFE_S = 60.0


class Deaths:
    """Kills this process at its n-th point, and tells afterwards (by a file) which that was."""

    def __init__(self, at: int, note: Path) -> None:
        self._at = at
        self._note = note
        self._count = itertools.count(1)

    def point(self, kind: str) -> None:
        if next(self._count) == self._at:
            self._note.write_text(kind)
            os.kill(os.getpid(), signal.SIGKILL)

    def listen(self) -> None:
        """Before each transaction, around each statement of one, before and after its commit."""

        def before(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
            if statement.startswith("BEGIN IMMEDIATE"):
                self.point("before begin")
            elif not statement.startswith(("SELECT", "BEGIN", "PRAGMA")):
                self.point("before a statement")

        def after(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
            if not statement.startswith(("SELECT", "BEGIN", "PRAGMA")):
                self.point("after a statement")

        event.listen(SqlEngine, "before_cursor_execute", before)
        event.listen(SqlEngine, "after_cursor_execute", after)
        event.listen(SqlEngine, "commit", lambda _c: self.point("before commit"))
        # The connection goes back right after its commit, and before anybody hears of it.
        event.listen(Pool, "checkin", lambda *_: self.point("after commit"))


class Host:
    """One printer that obeys, prints in no time, and writes down each step before the next."""

    def __init__(self, disk: Path) -> None:
        self._disk = disk
        self.hear: Callable[[Report], None] = lambda _report: None
        self.starts: list[str] = []
        self.report = Report(
            session="session",
            sequence=0,
            klipper=Klipper(Link.READY, "", "standby"),
            bed=Bed(True, "token"),
            section=True,
        )
        if disk.exists():
            self.starts, self.report = msgspec.json.decode(
                disk.read_bytes(), type=tuple[list[str], Report]
            )

    def say(self, **changes: Any) -> None:
        self.report = replace(self.report, sequence=self.report.sequence + 1, **changes)
        draft = self._disk.with_suffix(".new")
        draft.write_bytes(msgspec.json.encode((self.starts, self.report)))
        draft.rename(self._disk)
        self.hear(self.report)

    def take(self, desired: Desired) -> None:
        """Higher numbers only; what has ended is told until the next attempt comes."""
        seen = (self.report.observed_term, self.report.observed_generation)
        if (desired.term, desired.generation) < seen:
            return
        order, tries = desired.order, self.report.attempts
        now = tries[0] if tries else None
        if order is not None and (now is None or now.attempt != order.attempt):
            now = AttemptReport(order.attempt, order.copy, order.job, Phase.PREPARED)
        elif order is not None and now is not None:
            if order.want is Want.START and now.phase is Phase.PREPARED:
                self.starts.append(order.attempt)
                now = replace(now, phase=Phase.PRINTING)
            elif order.want is Want.RUN and now.phase is Phase.PRINTING:
                now = replace(now, phase=Phase.ENDED, outcome=Outcome.COMPLETE)
            elif order.want in (Want.WITHDRAW, Want.CANCEL) and now.phase is not Phase.ENDED:
                now = replace(now, phase=Phase.ENDED, outcome=Outcome.NOT_STARTED)
        prints = now is not None and now.phase is Phase.PRINTING
        self.say(
            observed_term=desired.term,
            observed_generation=desired.generation,
            attempts=(now,) if now is not None else (),
            refusals=(Reason("printing"),) if prints else (),
        )


class Bus:
    """Straight to the host, and beacons back."""

    def __init__(self, host: Host, deaths: Deaths) -> None:
        self.host, self.deaths = host, deaths
        self.engine: Engine | None = None

    async def publish_desired(self, printer_id: str, desired: Desired) -> None:
        self.deaths.point("before publish")
        self.host.take(desired)

    async def publish_command(self, printer_id: str, command: Command) -> None:
        raise AssertionError("nobody commands here")

    async def publish_job_event(self, event: JobEvent) -> None:
        return None

    async def publish_beacon(self, beacon: Beacon) -> None:
        assert self.engine is not None
        self.engine.hear_beacon(beacon)


async def live(folder: Path, deaths: Deaths) -> None:
    """One life of the coordinator: asks for what is not there yet, ends when the job is done."""
    store = SqlStore(f"sqlite+aiosqlite:///{folder}/moonfleet.db")
    host = Host(folder / "host.json")
    bus = Bus(host, deaths)
    deaths.listen()
    await store.open()
    engine = Engine(store, bus, SystemClock(), SETTINGS, fresh_ids())
    bus.engine = engine
    host.hear = lambda report: engine.hear_report("p", report)
    await engine.start()
    running = asyncio.create_task(engine.run())
    if "p" not in engine.farm.printers:
        await engine.ask(adding("p"))
    if not (await store.reads.list_jobs()).jobs:
        wish = requests.Submission(file=FILE, copies=COPIES)
        ids = fresh_ids()
        await engine.ask(lambda draft, now: requests.submit(draft, wish, WHO, now, ids))
    host.say()
    while not (await store.reads.list_jobs()).jobs[0].finished:
        assert not running.done(), running
        await asyncio.sleep(0.005)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await store.close()


def fork(folder: Path, at: int) -> str:
    """A life that dies at its n-th point; returns the kind of point, empty if it lived on.

    Forked, for importing everything anew would take longer than the life. No thread runs here.
    """
    note = folder / "death"
    note.unlink(missing_ok=True)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            asyncio.run(asyncio.wait_for(live(folder, Deaths(at, note)), LIFE_S))
            code = 0
        except BaseException:  # whatever it is, the parent's code must not go on in the child
            traceback.print_exc()
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    assert killed or os.WEXITSTATUS(status) == 0, f"a life failed: {status}"
    return note.read_text() if killed else ""


def look(folder: Path) -> None:
    """What must hold between any two lives."""
    path = folder / "moonfleet.db"
    if not path.exists():
        return
    upkeep.look_at(path)
    with closing(sqlite3.connect(path)) as raw:
        assert raw.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert raw.execute("PRAGMA foreign_key_check").fetchall() == []
        one = "SELECT count(*) FROM attempts WHERE {} GROUP BY {} HAVING count(*) > 1"
        assert raw.execute(one.format("state <> 'ended'", "printer")).fetchall() == []
        assert raw.execute(one.format("accepted", "copy")).fetchall() == []
        jobs = raw.execute("SELECT copies, state FROM jobs").fetchall()
        (copies,) = raw.execute("SELECT count(*) FROM copies").fetchone()
        done = raw.execute("SELECT count(*) FROM copies WHERE state = 'done'").fetchone()[0]
        accepted = raw.execute("SELECT count(*) FROM attempts WHERE accepted").fetchone()[0]
    assert copies == sum(wanted for wanted, _ in jobs), "a job without its copies"
    assert done == accepted, "a copy that is done without an attempt that made it so"
    assert [state for _, state in jobs] in ([], ["active"], ["completed"])
    assert (jobs != [] and jobs[0][1] == "completed") == (done == COPIES)


def tell(base: Path) -> None:
    """Stories with ever later deaths, until a whole one in one life has no point that late."""
    asyncio.run(make(base / "made.db"))
    kinds: Counter[str] = Counter()
    at = 1
    for number in itertools.count():
        folder = base / f"story-{number}"
        folder.mkdir()
        shutil.copy(base / "made.db", folder / "moonfleet.db")
        first = at
        while (kind := fork(folder, at)) != "":
            kinds[kind] += 1
            look(folder)
            at += 1
            assert at < DEATHS_MAX
        look(folder)
        host = Host(folder / "host.json")
        assert set(Counter(host.starts).values()) == {1}, "an id was started twice"
        assert len(host.starts) == COPIES, "a copy was printed more often than wanted"
        if at == first:
            break
    print(json.dumps({"stories": number, "deaths": at - 1, "kinds": kinds}), flush=True)


async def make(path: Path) -> None:
    """An empty farm; a death while it is made is told in test_first_schema.py."""
    store = SqlStore(f"sqlite+aiosqlite:///{path}")
    await store.open()
    await store.close()


if __name__ == "__main__":
    gc.freeze()
    tell(Path(sys.argv[1]))
