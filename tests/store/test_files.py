"""Rows of stored files, and settings."""

from __future__ import annotations

import msgspec
import pytest

from coordinator.core.jobs import JobState
from coordinator.lists import References, StoredFile
from coordinator.ports import StoreError
from coordinator.store.sql import SqlStore

from .build import SHA, job, plan


def stored(sha256: str = SHA, title: str = "Part", created_at: float = 1.0) -> StoredFile:
    return StoredFile(
        sha256=sha256, size_bytes=12, name="part.gcode", title=title, created_at=created_at
    )


async def test_the_same_content_is_kept_once(store: SqlStore) -> None:
    assert await store.add_file(stored())
    assert not await store.add_file(stored(title="Another name"))
    assert await store.reads.get_file(SHA) == stored()
    assert await store.reads.get_file("0" * 64) is None


async def test_what_is_learnt_later_is_added(store: SqlStore) -> None:
    await store.add_file(stored())
    assert await store.describe_file(SHA, metadata=b'{"layers":3}')
    assert await store.describe_file(SHA, analysis=b"[1]")
    found = await store.reads.get_file(SHA)
    assert found is not None
    assert (found.metadata, found.analysis) == (msgspec.Raw(b'{"layers":3}'), msgspec.Raw(b"[1]"))
    assert not await store.describe_file("0" * 64, metadata=b"{}")


async def test_what_is_no_json_is_refused(store: SqlStore) -> None:
    await store.add_file(stored())
    with pytest.raises(StoreError, match="metadata: JSON is needed"):
        await store.describe_file(SHA, metadata=b"{layers")
    with pytest.raises(StoreError, match="give metadata, analysis or both"):
        await store.describe_file(SHA)


@pytest.mark.parametrize("sha256", ["", "abc", SHA.upper()])
async def test_a_wrong_sum_is_refused(store: SqlStore, sha256: str) -> None:
    with pytest.raises(StoreError, match="ck_files_sha256"):
        await store.add_file(stored(sha256))


async def test_files_come_newest_first_by_page(store: SqlStore) -> None:
    for n in range(5):
        await store.add_file(stored(f"{n}" * 64, title=f"Part {n}", created_at=float(n // 2)))
    first = await store.reads.list_files(limit=3)
    rest = await store.reads.list_files(limit=3, cursor=first.cursor)
    assert [file.sha256[0] for file in first.files + rest.files] == ["4", "3", "2", "1", "0"]
    assert rest.cursor == ""
    found = await store.reads.list_files(text="pArT 3")
    assert [file.title for file in found.files] == ["Part 3"]


async def test_a_file_is_kept_while_an_unfinished_job_needs_it(store: SqlStore) -> None:
    term = await store.take_term()
    await store.add_file(stored())
    await store.commit(
        term, plan(job("new"), job("old", state=JobState.CANCELLED, finished_at=2.0))
    )
    assert await store.reads.references(SHA) == References(unfinished=1, finished=1)
    assert not await store.remove_file(SHA)
    assert await store.reads.get_file(SHA) is not None
    await store.commit(term, plan(job("new", state=JobState.COMPLETED, finished_at=3.0)))
    assert await store.remove_file(SHA)
    assert await store.reads.get_file(SHA) is None
    assert not await store.remove_file(SHA)
    assert await store.reads.references("0" * 64) == References(unfinished=0, finished=0)


async def test_settings_are_json_under_a_key(store: SqlStore) -> None:
    assert await store.reads.setting("fence_s") is None
    await store.put_setting("fence_s", b"120.5")
    await store.put_setting("fence_s", b"90.5")
    assert await store.reads.setting("fence_s") == msgspec.Raw(b"90.5")
    with pytest.raises(StoreError, match="fence_s: JSON is needed"):
        await store.put_setting("fence_s", b"soon")
