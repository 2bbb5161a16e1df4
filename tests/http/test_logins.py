"""Set-up, sessions and CSRF, and logging in: once too often, as nobody, out again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import force_setattr, replace

from coordinator.http.identity import COOKIE, CSRF_HEADER
from coordinator.people import limits, tokens
from coordinator.people.passwords import Passwords
from coordinator.people.rules import SESSIONS_MAX

from .browser import Browser, add_user, change, log_in
from .house import ADMIN, CHEAP, PASSWORD, House, Json, told


async def kinds(house: House) -> list[str]:
    return [line["kind"] for line in (await house.get("/history"))["history"]]


# ---- set-up ----


@pytest.fixture
async def empty(tmp_path: Path) -> AsyncIterator[House]:
    async with House(tmp_path, is_set_up=False) as house:
        yield house


async def test_before_set_up_everything_says_so(empty: House) -> None:
    for method, path in (("GET", "/farm"), ("POST", "/printers"), ("GET", "/nothing")):
        assert "not set up" in told(await empty.ask(method, path), 401)["error"]
    told(await empty.ask("POST", "/login", {"name": "a", "password": PASSWORD}), 409)
    page = await empty._client.fetch(f"{empty.url}/")
    assert page.effective_url == f"{empty.url}/setup"


async def test_set_up_makes_an_admin_once(empty: House) -> None:
    first = {"name": "Ann", "password": PASSWORD}
    made = Browser(empty, await empty.ask("POST", "/setup", first))
    me = told(await made.ask("GET", "/me"), 200)["me"]
    assert (me["name"], me["role"]) == ("ann", "admin")
    told(await empty.ask("POST", "/setup", {"name": "bob", "password": PASSWORD}), 409)
    users = told(await made.ask("GET", "/users"))["users"]
    assert [user["name"] for user in users] == ["ann"]


async def test_of_two_set_ups_at_once_one_wins(empty: House) -> None:
    answers = await asyncio.gather(
        *(
            empty.ask("POST", "/setup", {"name": name, "password": PASSWORD})
            for name in ("ann", "bob", "eve")
        )
    )
    assert sorted(answer.code for answer in answers) == [201, 409, 409]
    assert len(await empty.store.people.users()) == 1


@pytest.mark.parametrize(
    "headers",
    [
        {"X_Forwarded_For": "127.0.0.1"},
        {"Forwarded": "for=127.0.0.1"},
        {"X_Real_Ip": "127.0.0.1"},
        {"Host": "farm.example"},
        {"Origin": "http://evil.example"},
    ],
)
async def test_set_up_is_for_this_computer_alone(empty: House, headers: dict[str, str]) -> None:
    force_setattr(empty.services, "allowed_hosts", ("farm.example",))
    body = {"name": "ann", "password": PASSWORD}
    told(await empty.ask("POST", "/setup", body, **headers), 403)
    assert not await empty.store.people.users()


# ---- logging in and out ----


async def test_a_session_is_a_cookie_that_no_script_and_no_other_site_gets(house: House) -> None:
    ann = await log_in(house, ADMIN, PASSWORD)
    assert ann.cookie["httponly"] is True
    assert (ann.cookie["samesite"], ann.cookie["path"]) == ("Strict", "/")
    assert int(ann.cookie["max-age"]) == 30 * 86400
    assert (await ann.ask("GET", "/me")).code == 200
    stored = await house.store.people.session(tokens.digest_of(ann.cookie.value))
    assert stored is not None
    assert ann.cookie.value not in repr(stored)
    out = await ann.ask("POST", "/logout")
    assert f'{COOKIE}=""' in out.headers["Set-Cookie"]
    told(await ann.ask("GET", "/me"), 401)
    assert (await kinds(house))[:2] == ["logout", "login"]


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ({CSRF_HEADER: ""}, CSRF_HEADER),
        ({CSRF_HEADER: "0" * 64}, CSRF_HEADER),
        ({"Origin": ""}, "Origin"),
        ({"Origin": "http://127.0.0.1:1"}, "Origin"),
        ({"Origin": "null"}, "Origin"),
    ],
)
async def test_a_cookie_alone_changes_nothing(
    house: House, headers: dict[str, str], words: str
) -> None:
    ann = await log_in(house, ADMIN, PASSWORD)
    body: Json = {"id": "p"}
    for method, path in (("POST", "/printers"), ("DELETE", "/users/bob"), ("POST", "/logout")):
        assert words in told(await ann.ask(method, path, body, **headers), 403)["error"]
    assert not house.engine.farm.printers
    told(await ann.ask("POST", "/printers", body), 201)
    told(await ann.ask("GET", "/printers", None, **headers), 200)


async def test_the_csrf_token_of_another_session_is_not_taken(house: House) -> None:
    one, other = [await log_in(house, ADMIN, PASSWORD) for _ in range(2)]
    headers = {CSRF_HEADER: other.csrf}
    told(await one.ask("POST", "/printers", {"id": "p"}, **headers), 403)
    assert one.csrf == told(await one.ask("GET", "/me"))["csrf"] != other.csrf


async def test_a_session_that_came_along_is_not_gone_on_with(house: House) -> None:
    """Neither one that an attacker chose, nor one of somebody else."""
    chosen = tokens.new_token()
    body = {"name": ADMIN, "password": PASSWORD}
    answer = await house.ask("POST", "/login", body, Cookie=f"{COOKIE}={chosen}", Origin=house.url)
    assert Browser(house, answer).cookie.value != chosen
    told(await house.ask("GET", "/me", Cookie=f"{COOKIE}={chosen}"), 401)
    bob = await add_user(house)
    again = await bob.ask("POST", "/login", body)
    assert told(again, 200)["me"]["name"] == ADMIN
    told(await bob.ask("GET", "/me"), 401)


async def test_what_a_page_of_elsewhere_sends_logs_nobody_in(house: House) -> None:
    body = {"name": ADMIN, "password": PASSWORD}
    told(await house.ask("POST", "/login", body, Origin="http://evil.example"), 403)


async def test_an_unknown_name_costs_and_says_the_same(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[str | None] = []
    check = Passwords._check

    def watch(self: Passwords, password_hash: str | None, password: str) -> bool:
        checked.append(password_hash)
        return check(self, password_hash, password)

    monkeypatch.setattr(Passwords, "_check", watch)
    await add_user(house, "bob")
    await change(house, "/users/bob", {"disabled": True})
    checked.clear()
    texts = {
        told(await house.ask("POST", "/login", {"name": name, "password": "wrong"}), 401)["error"]
        for name in (ADMIN, "nobody", "bob", "../no name")
    }
    assert len(texts) == 1
    assert [one is not None for one in checked] == [True, False, False, False]


async def test_a_name_that_failed_too_often_has_to_wait(house: House) -> None:
    wrong = {"name": ADMIN, "password": "not this one"}
    for _ in range(limits.NAME_FREE):
        told(await house.ask("POST", "/login", wrong), 401)
    answer = await house.ask("POST", "/login", {"name": ADMIN, "password": PASSWORD})
    told(answer, 429)
    assert 1 <= int(answer.headers["Retry-After"]) <= limits.WAIT_FIRST_S
    lines = (await house.get("/history?kind=login_failed"))["history"]
    assert len(lines) == limits.NAME_FREE
    assert lines[0]["who"] == ADMIN
    assert "wait" in lines[0]["text"]
    told(await house.ask("GET", "/me"), 200)
    await house.post("/users", {"name": "bob", "password": PASSWORD, "role": "viewer"}, 201)
    await log_in(house, "bob", PASSWORD)


async def test_a_hundred_tries_at_once_are_not_all_looked_at(house: House) -> None:
    wrong = {"name": ADMIN, "password": "not this one"}
    answers = await asyncio.gather(*(house.ask("POST", "/login", wrong) for _ in range(40)))
    assert sum(answer.code == 401 for answer in answers) == limits.NAME_FREE
    assert {answer.code for answer in answers} == {401, 429}


async def test_what_was_typed_as_a_name_by_mistake_is_not_kept(house: House) -> None:
    told(await house.ask("POST", "/login", {"name": PASSWORD, "password": "x"}), 401)
    line = (await house.get("/history?kind=login_failed"))["history"][0]
    assert line["who"] == "an unknown name"
    assert PASSWORD not in str(line)


async def test_a_user_has_so_many_sessions_and_the_oldest_ends(house: House) -> None:
    browsers = [await log_in(house, ADMIN, PASSWORD) for _ in range(SESSIONS_MAX)]
    # The first one is that of set-up, which no browser has.
    codes = [(await browser.ask("GET", "/me")).code for browser in browsers]
    assert codes == [200] * SESSIONS_MAX
    await log_in(house, ADMIN, PASSWORD)
    assert (await browsers[0].ask("GET", "/me")).code == 401
    assert (await browsers[1].ask("GET", "/me")).code == 200


# ---- what ends by itself ----


@pytest.mark.parametrize(("step_s", "steps"), [(8 * 86400.0, 1), (5 * 86400.0, 6)])
async def test_a_session_ends_unused_and_after_its_longest_time(
    house: House, step_s: float, steps: int
) -> None:
    ann = await log_in(house, ADMIN, PASSWORD)
    codes = []
    for step in range(steps):
        house.clock.ahead_s = step_s * (step + 1)
        codes.append((await ann.ask("GET", "/me")).code)
    assert codes == [200] * (steps - 1) + [401]


async def test_looking_often_writes_seldom(house: House) -> None:
    ann = await log_in(house, ADMIN, PASSWORD)
    digest = tokens.digest_of(ann.cookie.value)

    async def seen_at() -> float:
        found = await house.store.people.session(digest)
        assert found is not None
        return found[0].seen_at

    first = await seen_at()
    for ahead_s, is_written in ((1.0, False), (590.0, False), (700.0, True)):
        house.clock.ahead_s = ahead_s
        told(await ann.ask("GET", "/me"), 200)
        assert (await seen_at() > first) is is_written


async def test_a_password_whose_hash_costs_too_little_is_hashed_anew(house: House) -> None:
    user = await house.store.people.user(ADMIN)
    assert user is not None
    house.people._passwords._hasher = Passwords(replace(CHEAP, passes=2))._hasher
    await log_in(house, ADMIN, PASSWORD)
    now = await house.store.people.user(ADMIN)
    assert now is not None
    assert ",t=1," in user.password_hash
    assert ",t=2," in now.password_hash
    await log_in(house, ADMIN, PASSWORD)
