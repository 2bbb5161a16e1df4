"""G-code files on this host, each once, by sha256, under a quota.

Owns the cache folder: what is in it, what is evicted, how a verified file gets a name of its own
by a hard link. Everything here blocks and runs on a thread. What it must not know: HTTP,
Moonraker, attempts beyond their name.

A file is hashed again before each use. Moonraker's object processing ends in a rename where its
temporary folder is on the same file system and else in a copy *into* the file, which a hard link
shares with the cache; a power cut can leave anything. The hash costs less than a wrong print.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import time
from pathlib import Path
from typing import Any

CHUNK_BYTES = 1024 * 1024
DISK_FULL_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
NO_LINK_ERRNOS = frozenset(
    {errno.EPERM, errno.EXDEV, errno.EMLINK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EACCES}
)
"""What os.link says where the file system cannot (vfat, exfat, a foreign owner) or may not."""

PART = ".part"
LINK = "link-"


class TransferError(Exception):
    """A file could not be put in place; `cause` is the stable code that is reported."""

    def __init__(self, cause: str, message: str) -> None:
        super().__init__(message)
        self.cause = cause
        self.message = message


class Cache:
    """Verified files below `folder`, named by their sha256; unfinished ones end in `.part`."""

    def __init__(self, folder: Path, quota_bytes: int, reserve_bytes: int) -> None:
        self.folder = folder
        self.quota_bytes = quota_bytes
        self.reserve_bytes = reserve_bytes

    def prepare(self) -> None:
        """Make the folder and drop links that a killed Moonraker left between two moves."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for path in self.folder.glob(LINK + "*"):
            path.unlink()

    def free_bytes(self) -> int:
        """What is left on the file system before the reserve is touched; may be negative."""
        found = os.statvfs(self.folder)
        return found.f_bavail * found.f_frsize - self.reserve_bytes

    def used_bytes(self) -> int:
        """What the cache holds."""
        return sum(size for _, size, _ in self._entries())

    def part(self, sha256: str) -> Path:
        """Where an unfinished file lies."""
        return self.folder / (sha256 + PART)

    def has(self, sha256: str) -> bool:
        """Whether the file is there and is what its name says; a wrong one is removed."""
        path = self.folder / sha256
        try:
            if hash_file(path).hexdigest() == sha256:
                return True
            path.unlink()
        except FileNotFoundError:
            return False
        return False

    def accept(self, sha256: str) -> None:
        """A verified part becomes the file."""
        os.replace(self.part(sha256), self.folder / sha256)

    def make_room(self, size_bytes: int, keep: frozenset[str]) -> None:
        """Evict until `size_bytes` more fit into quota and disk; TransferError("disk_full").

        The files in `keep` (of live attempts, and the one that is fetched) stay. A file larger
        than the quota is taken all the same, alone: it is wanted now.
        """
        entries = [entry for entry in self._entries() if entry[2].name[:64] not in keep]
        used = self.used_bytes()
        while entries and (used + size_bytes > self.quota_bytes or self.free_bytes() < size_bytes):
            _, size, path = entries.pop(0)
            path.unlink()
            used -= size
        free = self.free_bytes()
        if free < size_bytes:
            raise TransferError(
                "disk_full",
                f"{size_bytes / 1e6:.1f} MB are needed and {max(free, 0) / 1e6:.1f} MB are free"
                f" beside the reserve of {self.reserve_bytes / 1e6:.0f} MB",
            )

    def lend(self, sha256: str, attempt: str) -> Path:
        """A second name of the file, to be moved away by a rename; a copy where links fail."""
        source, target = self.folder / sha256, self.folder / (LINK + attempt)
        with contextlib.suppress(FileNotFoundError):
            target.unlink()
        stat = source.stat()
        # The access time orders eviction; the other one is Moonraker's, for its metadata.
        os.utime(source, ns=(time.time_ns(), stat.st_mtime_ns))
        try:
            os.link(source, target)
        except OSError as error:
            if error.errno not in NO_LINK_ERRNOS:
                raise disk_error(error, "linking the file") from error
            self._copy(source, target)
        return target

    def _copy(self, source: Path, target: Path) -> None:
        try:
            shutil.copyfile(source, target)
        except OSError as error:
            with contextlib.suppress(FileNotFoundError):
                target.unlink()
            raise disk_error(error, "copying the file") from error

    def _entries(self) -> list[tuple[int, int, Path]]:
        """(last use in ns, bytes, path) of every file, the longest unused first."""
        found = []
        for path in self.folder.iterdir():
            with contextlib.suppress(FileNotFoundError):
                stat = path.stat()
                if not path.name.startswith(LINK):
                    found.append((stat.st_atime_ns, stat.st_size, path))
        return sorted(found)


def disk_error(error: OSError, doing: str) -> TransferError:
    """What a failed write means: a full disk is told apart, for a person can help that."""
    if error.errno in DISK_FULL_ERRNOS:
        return TransferError("disk_full", f"{doing}: {error.strerror}")
    return TransferError("disk", f"{doing}: {error}")


def hash_file(path: Path) -> Any:
    """The running sha256 of what the file holds (hashlib has no name for its type)."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest
