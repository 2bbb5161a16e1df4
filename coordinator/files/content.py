"""The content of G-code files, kept once by its sha256 on one disk.

Owns the folder it is given: `files/ab/<sha256>.gcode` for what is complete and `intake/` for
what is still arriving. Both lie in one file system, so that completing a file is one rename.
Knows nothing of names, jobs or HTTP. Disk work happens in a small pool of threads of its own
and never on the event loop; of a file no more than a few chunks are in memory at a time.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import os
import re
import secrets
import shutil
import threading
from collections.abc import AsyncGenerator, AsyncIterable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, ParamSpec, TypeVar

import msgspec

from coordinator.files.disk import NoRoom, OpenFile, no_room_told, sync_folder

P = ParamSpec("P")
R = TypeVar("R")

FILE_BYTES_MAX = 1024**3
RESERVE_BYTES = 256 * 1024**2
INTAKES_MAX = 16
THREADS = 4
# Network chunks (64 KiB in Tornado) are gathered to this size before a thread is asked: the
# hop costs more than the write. It also bounds what one upload holds in memory.
BLOCK_BYTES = 1024**2
READ_BYTES = 256 * 1024

_SHA256 = re.compile(r"[0-9a-f]{64}")


class FilesError(Exception):
    """A G-code file could not be taken in or found."""

    def __init__(self, detail: str = "") -> None:
        message = (type(self).__doc__ or "").split("\n", maxsplit=1)[0]
        super().__init__(f"{message} {detail}".strip())


class EmptyFile(FilesError):
    """The file is empty: it holds 0 bytes, at least one G-code command is needed."""


class FileTooLarge(FilesError):
    """The file is larger than this farm accepts."""


class DiskFull(FilesError):
    """The coordinator's disk has no room for this file; nothing of it was kept."""


class NotGcode(FilesError):
    """The file is not G-code text: it holds binary data. Export plain G-code from the slicer."""


class Incomplete(FilesError):
    """The file did not arrive as announced; nothing of it was kept."""


class TooManyIntakes(FilesError):
    """Too many files are arriving at once; send this one again in a moment."""


class NoSuchContent(FilesError):
    """No file with this sha256 is stored."""


class StoredFile(msgspec.Struct, frozen=True):
    """What became of an upload. `is_new` is False when the same bytes were there before."""

    sha256: str
    size_bytes: int
    is_new: bool


class ContentStore:
    """Keep the bytes of G-code files under `root`, each content once.

    `file_bytes_max` limits one file; `reserve_bytes` of the disk are never used, so that the
    database beside the files can still write when uploads no longer can.
    """

    def __init__(
        self,
        root: Path,
        *,
        file_bytes_max: int = FILE_BYTES_MAX,
        reserve_bytes: int = RESERVE_BYTES,
        intakes_max: int = INTAKES_MAX,
    ) -> None:
        self.file_bytes_max = file_bytes_max
        self.reserve_bytes = reserve_bytes
        self._files = root / "files"
        self._arriving = root / "intake"
        self._intakes_max = intakes_max
        self._intakes_open = 0
        self._used_bytes = 0
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="files")

    async def start(self) -> None:
        """Make the folders, remove what a crash left half arrived, count what is stored.

        One process at a time owns the folder: the sweep would take another one's arrivals.
        """
        await self.in_thread(self._prepare)

    async def close(self) -> None:
        """Wait for the disk work under way and end the threads."""
        await asyncio.to_thread(self._pool.shutdown)

    async def in_thread(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run blocking disk work in this store's own threads."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, functools.partial(function, *args, **kwargs))

    @property
    def used_bytes(self) -> int:
        """Bytes of all complete files."""
        return self._used_bytes

    def path_of(self, sha256: str) -> Path:
        """Return where the content with this sha256 (64 lower-case hex digits) is or would be."""
        # The digest comes from outside in URLs: nothing else may become part of a path.
        if not _SHA256.fullmatch(sha256):
            raise NoSuchContent(f"(a sha256 is 64 lower-case hex digits, not {sha256[:80]!r})")
        return self._files / sha256[:2] / f"{sha256}.gcode"

    async def size_of(self, sha256: str) -> int:
        """Return the size in bytes of a stored file, or raise NoSuchContent."""
        path = self.path_of(sha256)
        try:
            return (await self.in_thread(path.stat)).st_size
        except FileNotFoundError:
            raise NoSuchContent(f"({sha256})") from None

    async def receive(
        self, chunks: AsyncIterable[bytes], *, expected_bytes: int | None = None
    ) -> StoredFile:
        """Take in a whole stream; on any error or cancellation nothing of it stays."""
        intake = await self.begin(expected_bytes)
        try:
            async for chunk in chunks:
                await intake.write(chunk)
            return await intake.finish()
        finally:
            await asyncio.shield(intake.abort())

    async def begin(self, expected_bytes: int | None = None) -> Intake:
        """Open an intake for bytes that arrive in pieces, for handlers that are pushed to.

        `expected_bytes` (Content-Length) refuses too large a file before its first byte and
        is checked at the end. Whoever begins must `finish` or `abort`; abort after finish
        does nothing, so `finally: await intake.abort()` is always right.
        """
        if expected_bytes is not None:
            self._check_size(expected_bytes)
        await self.in_thread(self._check_room, expected_bytes or 0)
        with self._lock:
            if self._intakes_open >= self._intakes_max:
                raise TooManyIntakes(f"({self._intakes_max} are allowed)")
            self._intakes_open += 1
        return Intake(self, self._arriving, expected_bytes)

    async def read(
        self, sha256: str, start: int = 0, end: int | None = None
    ) -> AsyncGenerator[bytes]:
        """Yield the bytes [start, end) of a stored file in chunks of at most 256 KiB.

        Reading goes on undisturbed when the file is deleted meanwhile.
        """
        path = self.path_of(sha256)
        try:
            file = await self.in_thread(OpenFile, path)
        except FileNotFoundError:
            raise NoSuchContent(f"({sha256})") from None
        try:
            position = start
            while end is None or position < end:
                wanted = READ_BYTES if end is None else min(READ_BYTES, end - position)
                chunk = await self.in_thread(file.read_at, position, wanted)
                if not chunk:
                    return
                position += len(chunk)
                yield chunk
        finally:
            await asyncio.shield(self.in_thread(file.close))

    async def delete(self, sha256: str) -> bool:
        """Remove a content; tell whether it was there. Who still needs it is not asked here."""
        return await self.in_thread(self._delete, self.path_of(sha256))

    def _prepare(self) -> None:
        self._files.mkdir(parents=True, exist_ok=True)
        self._arriving.mkdir(exist_ok=True)
        for leftover in self._arriving.iterdir():
            leftover.unlink()
        self._used_bytes = sum(
            path.stat().st_size for path in self._files.glob("[0-9a-f][0-9a-f]/*.gcode")
        )

    def _delete(self, path: Path) -> bool:
        with self._lock:
            try:
                size_bytes = path.stat().st_size
                path.unlink()
            except FileNotFoundError:
                return False
            self._used_bytes -= size_bytes
            sync_folder(path.parent)
        return True

    def _check_size(self, size_bytes: int) -> None:
        if size_bytes > self.file_bytes_max:
            raise FileTooLarge(f"({size_bytes} bytes or more, allowed are {self.file_bytes_max})")

    def _check_room(self, wanted_bytes: int) -> None:
        free_bytes = shutil.disk_usage(self._arriving).free
        if free_bytes - wanted_bytes < self.reserve_bytes:
            raise DiskFull(
                f"(free {free_bytes} bytes, of which {self.reserve_bytes} are kept in reserve, "
                f"wanted {wanted_bytes})"
            )

    def _keep(self, arrived: Path, sha256: str, size_bytes: int) -> bool:
        """Give a complete, synced file its name; tell whether its content is new here."""
        target = self.path_of(sha256)
        with self._lock:
            known_bytes = target.stat().st_size if target.exists() else None
            if known_bytes == size_bytes:
                arrived.unlink()
                return False
            if not target.parent.is_dir():
                target.parent.mkdir(exist_ok=True)
                sync_folder(self._files)
            # A content of another size than its digest demands was damaged on this disk:
            # the upload that has just been checked heals it.
            os.replace(arrived, target)
            sync_folder(target.parent)
            self._used_bytes += size_bytes - (known_bytes or 0)
        return True

    def _intake_closed(self) -> None:
        with self._lock:
            self._intakes_open -= 1


class Intake:
    """One file on its way in; made by ContentStore.begin, fed in order by one task."""

    def __init__(self, store: ContentStore, folder: Path, expected_bytes: int | None) -> None:
        self._store = store
        self._expected_bytes = expected_bytes
        self._block: list[bytes] = []
        self._block_bytes = 0
        self._size_bytes = 0
        self._sha256 = hashlib.sha256()
        self._is_open = True
        # An abort may come while a cancelled write is still running in its thread.
        self._lock = threading.Lock()
        self._path = folder / f"{secrets.token_hex(16)}.part"
        self._file: BinaryIO | None = None

    async def write(self, chunk: bytes) -> None:
        """Take the next bytes; raises FileTooLarge, NotGcode, Incomplete or DiskFull."""
        self._size_bytes += len(chunk)
        self._store._check_size(self._size_bytes)
        if self._expected_bytes is not None and self._size_bytes > self._expected_bytes:
            raise Incomplete(f"({self._expected_bytes} bytes announced, more came)")
        # Text of no slicer holds a NUL; binary G-code, archives, meshes and pictures all do.
        if b"\0" in chunk:
            raise NotGcode()
        self._block.append(chunk)
        self._block_bytes += len(chunk)
        if self._block_bytes >= BLOCK_BYTES:
            await self._flush()

    async def finish(self) -> StoredFile:
        """Make the file durable and give it its place; raises EmptyFile or Incomplete too."""
        if self._expected_bytes is not None and self._size_bytes != self._expected_bytes:
            raise Incomplete(f"({self._size_bytes} of {self._expected_bytes} bytes came)")
        if self._size_bytes == 0:
            raise EmptyFile()
        await self._flush()
        return await self._on_disk(self._complete)

    async def abort(self) -> None:
        """Forget what has arrived; does nothing once finished or aborted."""
        await self._store.in_thread(self._discard)

    async def _flush(self) -> None:
        block, self._block, self._block_bytes = b"".join(self._block), [], 0
        if block:
            await self._on_disk(self._append, block)

    async def _on_disk(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return await self._store.in_thread(function, *args, **kwargs)
        except NoRoom as error:
            raise DiskFull(f"({error})") from error

    def _append(self, block: bytes) -> None:
        with self._lock:
            if not self._is_open:
                raise Incomplete("(the upload was ended)")
            self._store._check_room(len(block))
            with no_room_told():
                if self._file is None:
                    self._file = self._path.open("xb", buffering=0)
                rest = memoryview(block)
                while rest:
                    rest = rest[self._file.write(rest) :]
            self._sha256.update(block)

    def _complete(self) -> StoredFile:
        with self._lock:
            if self._file is None or not self._is_open:
                raise Incomplete("(the upload was ended)")
            digest = self._sha256.hexdigest()
            with no_room_told():
                os.fsync(self._file.fileno())
                is_new = self._store._keep(self._path, digest, self._size_bytes)
            self._shut(self._file)
            return StoredFile(digest, self._size_bytes, is_new)

    def _discard(self) -> None:
        with self._lock:
            if not self._is_open:
                return
            self._shut(self._file)
            self._path.unlink(missing_ok=True)

    def _shut(self, file: BinaryIO | None) -> None:
        self._is_open = False
        if file is not None:
            file.close()
        self._store._intake_closed()
