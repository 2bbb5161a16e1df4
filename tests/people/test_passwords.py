"""argon2id off the event loop: right, wrong, nobody's, and too many at once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from coordinator.people import passwords
from coordinator.people.passwords import THREADS, WAITING_MAX, HashCost, Passwords, TooManyLogins


@pytest.fixture
def cheap() -> Iterator[Passwords]:
    made = Passwords(HashCost(memory_kib=8, passes=1))
    yield made
    made.close()


async def test_right_and_wrong(cheap: Passwords) -> None:
    kept = await cheap.hash("correct horse")
    assert kept.startswith("$argon2id$")
    assert kept != await cheap.hash("correct horse"), "the salt is the same"
    assert await cheap.is_right(kept, "correct horse")
    assert not await cheap.is_right(kept, "correct house")
    assert not await cheap.is_right("no hash", "correct horse")


async def test_without_a_user_a_hash_is_checked_all_the_same(
    cheap: Passwords, monkeypatch: pytest.MonkeyPatch
) -> None:
    verified: list[str] = []
    verify = cheap._hasher.verify

    class Watched:
        def verify(self, password_hash: str, password: str) -> bool:
            verified.append(password_hash)
            return verify(password_hash, password)

    nobodys = cheap._nobodys
    monkeypatch.setattr(cheap, "_hasher", Watched())
    assert not await cheap.is_right(None, "anything")
    assert verified == [nobodys]


def test_another_cost_is_noticed(cheap: Passwords) -> None:
    other = Passwords(HashCost(memory_kib=16, passes=1))
    kept = other._hasher.hash("x")
    assert cheap.is_outdated(kept)
    assert not other.is_outdated(kept)
    other.close()


async def test_only_so_many_at_once_and_only_so_many_wait(
    cheap: Passwords, monkeypatch: pytest.MonkeyPatch
) -> None:
    go, running, most = threading.Event(), 0, 0
    lock = threading.Lock()

    def slow(password: str) -> str:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        assert go.wait(60)
        with lock:
            running -= 1
        return password

    class Slow:
        hash = staticmethod(slow)

    monkeypatch.setattr(cheap, "_hasher", Slow())
    tasks = [asyncio.create_task(cheap.hash("x")) for _ in range(WAITING_MAX)]
    await asyncio.sleep(0)
    with pytest.raises(TooManyLogins):
        await cheap.hash("x")
    go.set()
    assert await asyncio.gather(*tasks) == ["x"] * WAITING_MAX
    assert most <= THREADS
    assert passwords.THREADS < WAITING_MAX
