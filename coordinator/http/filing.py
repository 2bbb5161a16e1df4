"""From stored bytes to a file that jobs can name, and back to nothing.

Owns that a file's row and its content come and go together, and that a file which cannot be a
print is refused where it comes in. Must not know HTTP.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec

from coordinator.core.requests import Conflict, NotFound
from coordinator.files import names
from coordinator.files.content import ContentStore, FilesError
from coordinator.files.content import StoredFile as Arrived
from coordinator.files.extents import Analysis
from coordinator.files.inspection import Inspection, InspectionFailed, Inspector
from coordinator.files.metadata import Metadata
from coordinator.lists import StoredFile
from coordinator.ports import Archive


class Unprintable(FilesError):
    """The file cannot be printed:"""


class Filing:
    """Takes in, looks up and forgets files."""

    def __init__(self, store: Archive, content: ContentStore, inspector: Inspector) -> None:
        self._store = store
        self._content = content
        self._inspector = inspector
        # Between "nobody needs it" and its deletion, nobody may begin to need a file.
        self._lock = asyncio.Lock()

    async def take_in(self, arrived: Arrived, raw_name: str) -> tuple[StoredFile, bool]:
        """Inspect an arrived content and note it; the file, and whether it was new.

        Raises BadFileName, Unprintable or InspectionFailed; then nothing of a new content stays.
        """
        known = await self._store.reads.get_file(arrived.sha256)
        if known is not None:
            return known, False
        try:
            title = names.display_name(raw_name)
            inspection = await self._inspector.inspect(self._content.path_of(arrived.sha256))
            if inspection.unprintable:
                raise Unprintable("; ".join(found.text for found in inspection.unprintable))
            file = _file_of(arrived, title, inspection)
            async with self._lock:
                await self._content.size_of(arrived.sha256)  # NoSuchContent: deleted meanwhile
                is_new = await self._store.add_file(file)
        except (names.BadFileName, Unprintable, InspectionFailed):
            await self._drop_unnoted(arrived.sha256)
            raise
        return file, is_new

    async def forget(self, sha256: str) -> None:
        """Remove a file that no unfinished job needs; raises NotFound or Conflict."""
        async with self._lock:
            if not await self._store.remove_file(sha256):
                if await self._store.reads.get_file(sha256) is None:
                    raise no_file(sha256)
                raise Conflict(f"file {sha256}: a job that is not finished needs it")
            await self._content.delete(sha256)

    @asynccontextmanager
    async def kept(self, sha256: str) -> AsyncIterator[StoredFile]:
        """The file, which is not forgotten while this lasts; raises NotFound."""
        async with self._lock:
            file = await self._store.reads.get_file(sha256)
            if file is None:
                raise no_file(sha256)
            yield file

    async def _drop_unnoted(self, sha256: str) -> None:
        async with self._lock:
            if await self._store.reads.get_file(sha256) is None:
                await self._content.delete(sha256)


def no_file(sha256: str) -> NotFound:
    """What whoever names an unknown file is told."""
    return NotFound(f"file {sha256[:80]!r}: there is none of this sha256; upload it first")


def metadata_of(file: StoredFile) -> Metadata | None:
    """What the slicer says, as it was noted."""
    return None if file.metadata is None else msgspec.json.decode(file.metadata, type=Metadata)


def analysis_of(file: StoredFile) -> Analysis | None:
    """What the moves say, as it was noted."""
    return None if file.analysis is None else msgspec.json.decode(file.analysis, type=Analysis)


def _file_of(arrived: Arrived, title: str, inspection: Inspection) -> StoredFile:
    return StoredFile(
        sha256=arrived.sha256,
        size_bytes=arrived.size_bytes,
        name=names.host_name(title),
        title=title,
        metadata=msgspec.Raw(msgspec.json.encode(inspection.metadata)),
        analysis=msgspec.Raw(msgspec.json.encode(inspection.analysis)),
        created_at=time.time(),
    )
