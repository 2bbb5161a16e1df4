"""SQLite's write-ahead log, read to find damage that SQLite itself passes over in silence.

Owns the format of the -wal file (https://www.sqlite.org/fileformat2.html#the_write_ahead_log).
Only reads. Must not know what the pages hold.

SQLite takes the frames up to the first one whose checksum is wrong and forgets the rest: it has to,
for a power cut leaves a transaction half written. But every commit is synced before the next one
begins, so only the last transaction in the log can be half written. Where two or more commits
stand behind a wrong frame, what was committed is damaged, and SQLite would go on without it.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO, NamedTuple

HEADER = struct.Struct(">IIIIIIII")
FRAME = struct.Struct(">IIIIII")
MAGIC_LITTLE, MAGIC_BIG = 0x377F0682, 0x377F0683
PAGE_BYTES = frozenset(1 << power for power in range(9, 17))
MASK = 0xFFFFFFFF

LOOKS_MAX = 3
"""Another process may be writing: damage is what stays the same while it is looked at."""


class _Sums(NamedTuple):
    """A running checksum, and the byte order in which it reads words."""

    first: int
    second: int
    order: str

    def over(self, data: bytes) -> _Sums:
        """Taken on over `data`, whose length is a multiple of 8 bytes."""
        one, two = self.first, self.second
        words = iter(struct.unpack(f"{self.order}{len(data) // 4}I", data))
        for word in words:
            one = (one + word + two) & MASK
            two = (two + next(words) + one) & MASK
        return _Sums(one, two, self.order)

    @property
    def pair(self) -> tuple[int, int]:
        return self.first, self.second


def damage(wal: Path) -> str:
    """What is damaged in a log that nobody writes, in words; empty if nothing is, or no log."""
    for _ in range(LOOKS_MAX):
        try:
            before = wal.stat()
            with wal.open("rb") as file:
                found = _damage(file)
            after = wal.stat()
        except FileNotFoundError:
            return ""
        if (before.st_mtime_ns, before.st_size) == (after.st_mtime_ns, after.st_size):
            return found
    return ""


def _damage(file: BinaryIO) -> str:
    header = file.read(HEADER.size)
    if len(header) < HEADER.size:
        return ""
    magic, _version, page_bytes, _sequence, *salts, one, two = HEADER.unpack(header)
    sums = _Sums(0, 0, ">" if magic == MAGIC_BIG else "<").over(header[:24])
    known = magic in (MAGIC_LITTLE, MAGIC_BIG) and page_bytes in PAGE_BYTES
    if not known or sums.pair != (one, two):
        # It is synced before the first frame is written: no power cut leaves frames behind it.
        return "its header is not readable" if any(iter(lambda: file.read(65536), b"")) else ""
    behind = _commits_behind_damage(file, page_bytes, tuple(salts), sums)
    return f"{behind} commits stand behind a damaged page" if behind > 1 else ""


def _commits_behind_damage(
    file: BinaryIO, page_bytes: int, salts: tuple[int, ...], sums: _Sums
) -> int:
    """Commits of this log's round that SQLite does not reach, the one that is broken included."""
    commits, reached = 0, True
    while True:
        head, page = file.read(FRAME.size), file.read(page_bytes)
        if len(page) < page_bytes:
            return commits
        number, size_pages, *rest = FRAME.unpack(head)
        if reached:
            next_sums = sums.over(head[:8] + page)
            reached = bool(number) and (*salts, *next_sums.pair) == tuple(rest)
            sums = next_sums
        if not reached and number and size_pages and tuple(rest[:2]) == salts:
            commits += 1
