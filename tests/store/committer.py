"""A coordinator in small, to be killed: commits round after round and tells each on stdout.

Every round sets the generation of all printers to its number and adds a line of history for
each. Run as a program with the database's file as its argument.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from coordinator.core.farm import History
from coordinator.core.printers import Printer
from coordinator.store.sql import SqlStore

from .build import plan, url_of

PRINTERS = 20
ROUNDS_MAX = 100_000


async def main(path: Path) -> None:
    store = SqlStore(url_of(path))
    await store.open()
    term = await store.take_term()
    found = (await store.load()).printers
    first = found[0].generation + 1 if found else 1
    for number in range(first, first + ROUNDS_MAX):
        rows = [Printer(id=f"p{n}", name="P", generation=number) for n in range(PRINTERS)]
        lines = [History(at=1.0, kind="round", text=str(number)) for _ in rows]
        await store.commit(term, plan(*rows, *lines))
        print(number, flush=True)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
