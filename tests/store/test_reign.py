"""The term: one coordinator writes, and who has lost it learns so before it changes anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from coordinator.core.farm import History
from coordinator.ports import Store, StoreError, TermLost
from coordinator.store.sql import SqlStore
from coordinator.store.writing import TERM_MAX

from .build import attempt, farm, plan, url_of


async def test_terms_only_grow(store: SqlStore) -> None:
    assert await store.take_term() == 1
    assert await store.take_term() == 2
    assert await store.take_term(above=40) == 41
    assert await store.take_term(above=7) == 42


async def test_a_term_survives_a_restart(path: Path, store: SqlStore) -> None:
    await store.take_term(above=8)
    await store.close()
    await store.open()
    await store.confirm(9)
    assert await store.take_term() == 10


async def test_who_lost_the_term_changes_nothing(path: Path, store: SqlStore) -> None:
    old = await store.take_term()
    await store.commit(old, farm())
    other = SqlStore(url_of(path))
    await other.open()
    new = await other.take_term()
    before = await store.load()
    with pytest.raises(TermLost, match=f"term {old} is over: the database holds term {new}"):
        await store.commit(old, plan(attempt("a1"), History(at=1.0, kind="attempt_assigned")))
    with pytest.raises(TermLost):
        await store.confirm(old)
    with pytest.raises(TermLost):
        await store.commit(old, plan())
    assert await store.load() == before
    assert await store.history() == []
    await other.commit(new, plan(attempt("a1")))
    await other.close()


async def test_a_term_that_does_not_fit_is_refused(store: SqlStore) -> None:
    """A host may claim to have observed any number."""
    with pytest.raises(StoreError, match=f"at most {TERM_MAX}"):
        await store.take_term(above=2**63)
    assert await store.take_term() == 1


async def test_an_idle_round_writes_nothing(path: Path, store: SqlStore) -> None:
    term = await store.take_term()
    before = on_disk(path)
    for _ in range(5):
        await store.confirm(term)
        await store.commit(term, plan())
    assert on_disk(path) == before


def on_disk(path: Path) -> dict[str, bytes]:
    """What a power cut would leave: the database and its log (-shm is memory only)."""
    return {part: Path(f"{path}{part}").read_bytes() for part in ("", "-wal")}


async def test_it_is_the_store_of_the_ports(store: SqlStore) -> None:
    port: Store = store
    assert await port.take_term() == 1


async def test_a_closed_store_says_so(path: Path) -> None:
    store = SqlStore(url_of(path))
    with pytest.raises(StoreError, match="not open"):
        await store.take_term()
    with pytest.raises(StoreError, match="not open"):
        await store.reads.job("job")
    await store.open()
    with pytest.raises(StoreError, match="open already"):
        await store.open()
    await store.close()
