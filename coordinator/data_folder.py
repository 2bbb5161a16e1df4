"""The data folder of a farm: where it is unless told, and the lock of whoever works on it.

Owns these two. Must not know what lies in the folder.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

DEFAULT = Path.home() / ".local" / "share" / "moonfleet"
LOCK = "lock"


class FolderInUse(RuntimeError):
    """Another coordinator runs on this data folder."""


@contextlib.contextmanager
def locked(data_dir: Path) -> Iterator[None]:
    """Hold the data folder: two coordinators on one database would only fight for the term."""
    with open(data_dir / LOCK, "a") as file:  # not "w": it would empty another one's lock
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FolderInUse(f"{data_dir}: another coordinator runs on this folder") from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield
