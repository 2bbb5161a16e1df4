"""Small disk matters that the store of contents rests on.

Owns reading at positions, durable renames, and the ways an operating system says "no room".
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class NoRoom(Exception):
    """The operating system has no room for what was to be written."""


class OpenFile:
    """A file read at positions by several threads in turn.

    The lock keeps a close from freeing the descriptor's number while a read whose caller was
    cancelled is still on its way to the kernel: it would read whatever gets that number next.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._file = path.open("rb", buffering=0)

    def read_at(self, position: int, wanted: int) -> bytes:
        """Return up to `wanted` bytes from `position`; none at the end."""
        with self._lock:
            return os.pread(self._file.fileno(), wanted, position)

    def close(self) -> None:
        """Give the file back."""
        with self._lock:
            self._file.close()


@contextmanager
def no_room_told() -> Iterator[None]:
    """Raise NoRoom for a full disk, a used-up quota and a file over the system's limit."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise NoRoom(error.strerror) from error
        raise


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable."""
    # A rename is durable only once its folder is.
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
