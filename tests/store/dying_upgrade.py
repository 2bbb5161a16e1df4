"""Open a database, and die by SIGKILL before the upgrade's n-th statement that changes it.

Run as a program: the file, n. Ends with 0 if the upgrade has fewer.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import sys
from pathlib import Path
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Engine

from coordinator.store.sql import SqlStore

from .build import url_of

CHANGES = ("ALTER", "CREATE", "DELETE", "DROP", "INSERT", "UPDATE")


def die_before(number: int) -> None:
    """Count the statements of every engine of this process."""
    count = itertools.count(1)

    def listen(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.lstrip().upper().startswith(CHANGES) and next(count) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    event.listen(Engine, "before_cursor_execute", listen)


async def main(path: Path) -> None:
    store = SqlStore(url_of(path))
    await store.open()
    await store.close()


if __name__ == "__main__":
    die_before(int(sys.argv[2]))
    asyncio.run(main(Path(sys.argv[1])))
