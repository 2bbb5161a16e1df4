"""The store of contents, on a real disk."""

from __future__ import annotations

import asyncio
import hashlib
import resource
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from coordinator.files.content import (
    BLOCK_BYTES,
    ContentStore,
    DiskFull,
    EmptyFile,
    FilesError,
    FileTooLarge,
    Incomplete,
    NoSuchContent,
    NotGcode,
    TooManyIntakes,
)

GCODE = b"G28\nG1 X10 Y10 E1\n" * 1000
SHA256 = hashlib.sha256(GCODE).hexdigest()


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[ContentStore]:
    store = ContentStore(tmp_path, reserve_bytes=0, file_bytes_max=4 * BLOCK_BYTES)
    await store.start()
    yield store
    await store.close()


async def pieces(data: bytes, size: int = 1000) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


def kept(root: Path) -> list[Path]:
    """Every file below the store's folder, complete or not."""
    return [path for path in root.rglob("*") if path.is_file()]


async def test_content_is_kept_by_its_digest(store: ContentStore, tmp_path: Path) -> None:
    stored = await store.receive(pieces(GCODE), expected_bytes=len(GCODE))
    assert (stored.sha256, stored.size_bytes, stored.is_new) == (SHA256, len(GCODE), True)
    assert store.path_of(SHA256) == tmp_path / "files" / SHA256[:2] / f"{SHA256}.gcode"
    assert store.path_of(SHA256).read_bytes() == GCODE
    assert await store.size_of(SHA256) == len(GCODE)
    assert store.used_bytes == len(GCODE)


async def test_the_same_content_is_kept_once(store: ContentStore, tmp_path: Path) -> None:
    await store.receive(pieces(GCODE))
    again = await store.receive(pieces(GCODE, 77))
    assert (again.sha256, again.is_new) == (SHA256, False)
    assert len(kept(tmp_path)) == 1
    assert store.used_bytes == len(GCODE)


async def test_the_same_content_at_the_same_time_is_kept_once(
    store: ContentStore, tmp_path: Path
) -> None:
    results = await asyncio.gather(*(store.receive(pieces(GCODE)) for _ in range(8)))
    assert sorted(result.is_new for result in results) == [False] * 7 + [True]
    assert len(kept(tmp_path)) == 1
    assert store.used_bytes == len(GCODE)


async def test_a_damaged_content_is_healed_by_the_next_upload(store: ContentStore) -> None:
    await store.receive(pieces(GCODE))
    store.path_of(SHA256).write_bytes(GCODE[:100])
    assert (await store.receive(pieces(GCODE))).is_new
    assert store.path_of(SHA256).read_bytes() == GCODE


@pytest.mark.parametrize(
    ("data", "announced", "error", "text"),
    [
        (b"", None, EmptyFile, "The file is empty"),
        (b"GCDE\x01\0\0\0", None, NotGcode, "binary"),
        (b"G28\n" * 500_000 + b"\0", None, NotGcode, "binary"),
        (GCODE, len(GCODE) + 1, Incomplete, f"{len(GCODE)} of {len(GCODE) + 1} bytes came"),
        (GCODE, len(GCODE) - 1, Incomplete, "more came"),
        (b"G28\n", 2 * 1024**3, FileTooLarge, f"allowed are {4 * BLOCK_BYTES}"),
        (b"G28\n" * (BLOCK_BYTES + 1), None, FileTooLarge, f"allowed are {4 * BLOCK_BYTES}"),
    ],
)
async def test_a_refused_file_leaves_nothing(
    store: ContentStore,
    tmp_path: Path,
    data: bytes,
    announced: int | None,
    error: type[FilesError],
    text: str,
) -> None:
    with pytest.raises(error) as refused:
        await store.receive(pieces(data, 65536), expected_bytes=announced)
    assert text in str(refused.value)
    assert kept(tmp_path) == []
    assert store.used_bytes == 0


async def test_a_broken_off_upload_leaves_nothing(store: ContentStore, tmp_path: Path) -> None:
    async def breaks_off() -> AsyncIterator[bytes]:
        yield b"G28\n" * BLOCK_BYTES
        raise ConnectionResetError("gone")

    with pytest.raises(ConnectionResetError):
        await store.receive(breaks_off())
    assert kept(tmp_path) == []


async def test_a_cancelled_upload_leaves_nothing_and_gives_its_place_back(
    tmp_path: Path,
) -> None:
    store = ContentStore(tmp_path, reserve_bytes=0, intakes_max=1)
    await store.start()
    arrived = asyncio.Event()

    async def stalls() -> AsyncIterator[bytes]:
        yield b"G28\n" * BLOCK_BYTES
        arrived.set()
        await asyncio.Event().wait()

    upload = asyncio.create_task(store.receive(stalls()))
    await arrived.wait()
    assert len(kept(tmp_path)) == 1
    with pytest.raises(TooManyIntakes, match="1 are allowed"):
        await store.begin()
    upload.cancel()
    with pytest.raises(asyncio.CancelledError):
        await upload
    assert kept(tmp_path) == []
    assert (await store.receive(pieces(GCODE))).is_new
    await store.close()


async def test_a_crash_in_mid_upload_is_swept_at_the_next_start(tmp_path: Path) -> None:
    first = ContentStore(tmp_path, reserve_bytes=0)
    await first.start()
    await first.receive(pieces(GCODE))
    intake = await first.begin()
    await intake.write(b"G28\n" * BLOCK_BYTES)
    assert len(kept(tmp_path)) == 2

    second = ContentStore(tmp_path, reserve_bytes=0)
    await second.start()
    assert kept(tmp_path) == [second.path_of(SHA256)]
    assert second.used_bytes == len(GCODE)
    await intake.abort()
    await first.close()
    await second.close()


async def test_the_reserve_of_the_disk_is_not_touched(tmp_path: Path) -> None:
    store = ContentStore(tmp_path, reserve_bytes=2**62)
    await store.start()
    with pytest.raises(DiskFull, match="are kept in reserve, wanted 18000"):
        await store.receive(pieces(GCODE), expected_bytes=len(GCODE))
    assert kept(tmp_path) == []
    await store.close()


@contextmanager
def files_limited_to(size_bytes: int) -> Iterator[None]:
    """Let the kernel itself refuse to make a file larger: the disk's end, without a disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_a_disk_that_fills_in_mid_upload_loses_nothing_else(
    store: ContentStore, tmp_path: Path
) -> None:
    await store.receive(pieces(GCODE))
    with files_limited_to(BLOCK_BYTES + 4096), pytest.raises(DiskFull, match="no room"):
        await store.receive(pieces(b"G28\n" * (BLOCK_BYTES // 2), 65536))
    assert kept(tmp_path) == [store.path_of(SHA256)]
    assert store.used_bytes == len(GCODE)
    assert (await store.receive(pieces(b"G28\n" * 10))).is_new


@pytest.mark.parametrize(
    ("start", "end"),
    [(0, None), (5, None), (0, 5), (100, 300), (17_999, 18_000), (5, 5), (99999, None)],
)
async def test_ranges_are_read(store: ContentStore, start: int, end: int | None) -> None:
    await store.receive(pieces(GCODE))
    read = [chunk async for chunk in store.read(SHA256, start, end)]
    assert b"".join(read) == GCODE[start:end]


async def test_a_reader_keeps_its_file_when_it_is_deleted(store: ContentStore) -> None:
    data = b"G1 X1\n" * 200_000
    sha256 = (await store.receive(pieces(data, 65536))).sha256
    reader = store.read(sha256)
    first = await anext(reader)
    assert await store.delete(sha256) is True
    rest = [chunk async for chunk in reader]
    assert first + b"".join(rest) == data
    assert rest


async def test_deleting_frees_and_is_told_once(store: ContentStore, tmp_path: Path) -> None:
    await store.receive(pieces(GCODE))
    assert await store.delete(SHA256) is True
    assert await store.delete(SHA256) is False
    assert store.used_bytes == 0
    assert kept(tmp_path) == []


async def test_what_is_not_there_is_told(store: ContentStore) -> None:
    with pytest.raises(NoSuchContent, match=SHA256):
        await store.size_of(SHA256)
    with pytest.raises(NoSuchContent, match=SHA256):
        await anext(store.read(SHA256))


@pytest.mark.parametrize("digest", ["", "../../etc/passwd", "A" * 64, "0" * 63, "0" * 64 + "\n"])
def test_nothing_but_a_digest_becomes_a_path(tmp_path: Path, digest: str) -> None:
    with pytest.raises(NoSuchContent, match="64 lower-case hex digits"):
        ContentStore(tmp_path).path_of(digest)


async def test_finish_and_abort_after_the_end_are_harmless(store: ContentStore) -> None:
    intake = await store.begin()
    await intake.write(GCODE)
    assert (await intake.finish()).sha256 == SHA256
    await intake.abort()
    assert await store.size_of(SHA256) == len(GCODE)
    with pytest.raises(Incomplete, match="was ended"):
        await intake.finish()


@pytest.mark.slow
def test_half_a_gigabyte_passes_in_both_directions_in_little_memory(tmp_path: Path) -> None:
    program = textwrap.dedent(
        f"""
        import asyncio, hashlib, resource
        from pathlib import Path
        from coordinator.files.content import ContentStore
        CHUNK = b"G1 X10.123 Y20.456 E.01234\\n" * 2400
        COUNT = 500_000_000 // len(CHUNK) + 1
        async def chunks():
            for _ in range(COUNT):
                yield CHUNK
        async def main():
            store = ContentStore(Path({str(tmp_path)!r}), reserve_bytes=0)
            await store.start()
            before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            stored = await store.receive(chunks())
            digest, size = hashlib.sha256(), 0
            async for chunk in store.read(stored.sha256):
                digest.update(chunk)
                size += len(chunk)
            grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib
            assert size == stored.size_bytes >= 500_000_000, size
            assert digest.hexdigest() == stored.sha256
            await store.delete(stored.sha256)
            await store.close()
            print(grown_kib)
        asyncio.run(main())
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 32 * 1024
