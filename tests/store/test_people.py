"""Users, sessions and keys: what one transaction holds together, and what the schema refuses."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from msgspec.structs import replace

from coordinator.core.farm import History
from coordinator.core.requests import Conflict
from coordinator.lists import HistoryFilter
from coordinator.people.ports import LastAdmin
from coordinator.people.records import ApiKey, Session, User, UserChange
from coordinator.people.roles import Role
from coordinator.store.sql import SqlStore

HASH = "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaA"
ANN = User("ann", Role.ADMIN, HASH, 1.0)
EVE = User("eve", Role.ADMIN, HASH, 1.0)
LINE = History(1.0, "test")
FOR_EVER = (0.0, 0.0)


def session(mark: str, user: str = "ann", at: float = 1.0) -> Session:
    return Session(mark * 64, user, at, at)


def key(key_id: str = "0123456789ab") -> ApiKey:
    return ApiKey(key_id, "k", "ann", Role.VIEWER, "f" * 64, 1.0)


async def lines(store: SqlStore) -> int:
    return len((await store.reads.list_history(HistoryFilter())).entries)


async def test_the_first_user_is_one(store: SqlStore) -> None:
    done = await asyncio.gather(*(store.people.add_first_user(u, LINE) for u in (ANN, EVE)))
    assert sorted(done) == [False, True]
    assert len(await store.people.users()) == 1
    assert await lines(store) == 1


@pytest.fixture
async def people(store: SqlStore) -> SqlStore:
    """One admin, with a session and a key."""
    await store.people.add_first_user(ANN, LINE)
    assert await store.people.open_session(session("a"), HASH, FOR_EVER, 3, LINE)
    await store.people.add_key(key(), 3, LINE)
    return store


async def test_rows_come_back_as_they_went(people: SqlStore) -> None:
    assert await people.people.user("ann") == ANN
    assert await people.people.session("a" * 64) == (session("a"), ANN)
    assert await people.people.key("0123456789ab") == (key(), ANN)
    assert await people.people.user("bob") is None
    assert await people.people.session("b" * 64) is None


@pytest.mark.parametrize("change", [UserChange(role=Role.VIEWER), UserChange(disabled=True), None])
async def test_the_last_admin_stays_and_nothing_is_changed(
    people: SqlStore, change: UserChange | None
) -> None:
    before, rows = await lines(people), people.people
    going = rows.change_user("ann", change, LINE) if change else rows.remove_user("ann", LINE)
    with pytest.raises(LastAdmin):
        await going
    assert await people.people.session("a" * 64) == (session("a"), ANN)
    assert await lines(people) == before


async def test_of_two_admins_who_go_at_once_one_stays(people: SqlStore) -> None:
    await people.people.add_user(EVE, 9, LINE)
    done = await asyncio.gather(
        *(people.people.remove_user(name, LINE) for name in ("ann", "eve")), return_exceptions=True
    )
    assert [type(one) for one in done].count(LastAdmin) == 1
    assert len(await people.people.users()) == 1


async def test_a_change_ends_sessions_and_a_removal_takes_all_along(people: SqlStore) -> None:
    await people.people.add_user(EVE, 9, LINE)
    assert await people.people.change_user("ann", UserChange(password_hash=HASH + "x"), LINE)
    assert await people.people.session("a" * 64) is None
    assert await people.people.key("0123456789ab") is not None
    assert await people.people.remove_user("ann", LINE)
    assert await people.people.keys() == []
    assert not await people.people.remove_user("ann", LINE)
    assert not await people.people.change_user("ann", UserChange(disabled=True), LINE)


async def test_no_session_opens_by_a_password_that_was_changed_meanwhile(people: SqlStore) -> None:
    opened = await people.people.open_session(session("b"), HASH + "x", FOR_EVER, 3, LINE)
    assert not opened
    await people.people.add_user(EVE, 9, LINE)
    await people.people.change_user("ann", UserChange(disabled=True), LINE)
    assert not await people.people.open_session(session("b"), HASH, FOR_EVER, 3, LINE)
    assert await people.people.session("b" * 64) is None


async def test_sessions_that_are_over_or_too_many_go(people: SqlStore) -> None:
    for number, mark in enumerate("bcd"):
        await people.people.open_session(session(mark, at=2.0 + number), HASH, FOR_EVER, 3, LINE)
    left = [mark for mark in "abcd" if await people.people.session(mark * 64)]
    assert left == ["b", "c", "d"]
    await people.people.note_session("b" * 64, 50.0)
    await people.people.open_session(session("e", at=60.0), HASH, (40.0, 1.5), 9, LINE)
    assert [mark for mark in "bcde" if await people.people.session(mark * 64)] == ["b", "e"]


async def test_there_is_a_bound_on_users_and_keys(people: SqlStore) -> None:
    with pytest.raises(Conflict):
        await people.people.add_user(EVE, 1, LINE)
    with pytest.raises(Conflict):
        await people.people.add_key(key("ba9876543210"), 1, LINE)
    assert not await people.people.add_user(replace(ANN, role=Role.VIEWER), 9, LINE)
    assert await people.people.user("ann") == ANN


@pytest.mark.parametrize(
    ("statement", "constraint"),
    [
        ("UPDATE users SET role = 'root'", "ck_users_role"),
        ("UPDATE users SET name = 'Ann'", "ck_users_name"),
        ("UPDATE users SET password_hash = 'correct horse'", "ck_users_password_hash"),
        ("UPDATE sessions SET digest = 'token'", "ck_sessions_digest"),
        ("UPDATE api_keys SET digest = 'mf_secret'", "ck_api_keys_digest"),
        ("UPDATE api_keys SET role = 'nobody'", "ck_api_keys_role"),
    ],
)
async def test_what_the_schema_refuses(
    people: SqlStore, path: Path, statement: str, constraint: str
) -> None:
    with (
        closing(sqlite3.connect(path)) as raw,
        pytest.raises(sqlite3.IntegrityError, match=constraint),
    ):
        raw.execute(statement)
