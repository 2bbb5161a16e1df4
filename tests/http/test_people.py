"""Who is let in: every operation for every role, sessions and CSRF, keys, set-up, log-ins."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from msgspec.structs import force_setattr, replace
from tornado.httpclient import HTTPResponse

from coordinator.core.requests import Who
from coordinator.http.base import methods_of
from coordinator.http.identity import COOKIE, CSRF_HEADER
from coordinator.http.operations import operation_of, role_needed
from coordinator.http.routes import ROUTES
from coordinator.people import limits, tokens
from coordinator.people.passwords import Passwords
from coordinator.people.roles import GIVEN, Role
from coordinator.people.rules import KEYS_MAX, SESSIONS_MAX

from .browser import Browser, log_in
from .house import ADMIN, CHEAP, PASSWORD, House, Json, told

OTHER = "a longer password"
EXAMPLES = {"id": "x", "sha256": "0" * 64, "number": "0", "name": "nobody"}
"""Of the parameters of paths; nothing of this name exists."""

OPERATIONS = [
    (method, route.path, role_needed(method, operation_of(getattr(route.handler, method.lower()))))
    for route in ROUTES
    for method in sorted(methods_of(route.handler))
]
GUARDED = [(method, path, needs) for method, path, needs in OPERATIONS if needs is not Role.NOBODY]


def example(path: str) -> str:
    return re.sub(r"\{(\w+)\}", lambda found: EXAMPLES[found[1]], path)


async def key_of(house: House, role: Role, name: str = "by test") -> str:
    """A key of the admin that may do no more than this."""
    answer = await house.post("/keys", {"name": name, "role": role.word}, 201)
    secret: str = answer["secret"]
    return secret


async def by(house: House, key: str, method: str, path: str) -> HTTPResponse:
    return await house.ask(method, path, Authorization=f"Bearer {key}")


async def add_user(house: House, name: str = "bob", role: str = "viewer") -> Browser:
    await house.post("/users", {"name": name, "password": PASSWORD, "role": role}, 201)
    return await log_in(house, name, PASSWORD)


async def change(house: House, path: str, wish: Json) -> None:
    told(await house.ask("PATCH", path, wish), 200)


async def kinds(house: House) -> list[str]:
    return [line["kind"] for line in (await house.get("/history"))["history"]]


# ---- every operation, every role ----------------------------------------------------------------


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def every_role(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    async with House(tmp_path_factory.mktemp("roles")) as house:
        yield house


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(("method", "path", "needs"), GUARDED)
async def test_nobody_may_do_what_needs_a_role(
    every_role: House, method: str, path: str, needs: Role
) -> None:
    for proof in ({"Authorization": ""}, {"Cookie": f"{COOKIE}={tokens.new_token()}"}):
        answer = await every_role.ask(method, example(path), **proof)
        assert answer.code == 401
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    answer = await by(every_role, tokens.new_key().text, method, example(path))
    assert answer.code == 401


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(("method", "path", "needs"), GUARDED)
async def test_a_lower_role_is_refused_and_one_that_is_high_enough_is_not(
    every_role: House, method: str, path: str, needs: Role
) -> None:
    for role in GIVEN:
        if not hasattr(every_role, role.word):
            setattr(every_role, role.word, await key_of(every_role, role))
        answer = await by(every_role, getattr(every_role, role.word), method, example(path))
        if role < needs:
            assert answer.code == 403
            assert f"the role {needs.word}" in answer.body.decode() or method == "HEAD"
        else:
            assert answer.code not in (401, 403)


def test_what_is_open_is_this_and_no_more() -> None:
    opened = {f"{method} {path}" for method, path, needs in OPERATIONS if needs is Role.NOBODY}
    assert opened == {
        "GET /attempts/{id}/file",
        "HEAD /attempts/{id}/file",
        "POST /setup",
        "POST /login",
        "GET /ca",
        "POST /pair",
    }


async def test_the_document_tells_who_may(house: House) -> None:
    document = json.loads((await house.ask("GET", "/openapi.json")).body)
    login = document["paths"]["/api/v1/login"]["post"]
    users = document["paths"]["/api/v1/users"]["get"]
    assert (login["security"], login["x-role"]) == ([], "nobody")
    assert (users["security"], users["x-role"]) == ([{"key": []}, {"session": []}], "admin")
    assert set(document["components"]["securitySchemes"]) == {"key", "session"}


# ---- set-up -------------------------------------------------------------------------------------


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


# ---- logging in and out -------------------------------------------------------------------------


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


# ---- users ------------------------------------------------------------------------------------


@pytest.mark.parametrize("wish", [{"role": "operator"}, {"password": OTHER}, {"disabled": True}])
async def test_a_changed_user_is_logged_out(house: House, wish: Json) -> None:
    bob = await add_user(house)
    told(await bob.ask("GET", "/farm"), 200)
    await change(house, "/users/bob", wish)
    told(await bob.ask("GET", "/farm"), 401)
    line = (await house.get("/history?kind=user_changed"))["history"][0]
    assert (line["who"], line["text"].partition(":")[0]) == ("key:test", "bob")
    assert OTHER not in str(line)


async def test_a_change_that_is_none_ends_nothing(house: House) -> None:
    bob = await add_user(house)
    await change(house, "/users/bob", {"role": "viewer", "disabled": False})
    told(await bob.ask("GET", "/farm"), 200)


@pytest.mark.parametrize("wish", [{"role": "operator"}, {"disabled": True}, None])
async def test_an_admin_is_left(house: House, wish: Json | None) -> None:
    async def go() -> HTTPResponse:
        if wish is None:
            return await house.ask("DELETE", f"/users/{ADMIN}")
        return await house.ask("PATCH", f"/users/{ADMIN}", wish)

    await house.post("/users", {"name": "eve", "password": PASSWORD, "role": "admin"}, 201)
    await change(house, "/users/eve", {"disabled": True})
    assert "no admin left" in told(await go(), 409)["error"]
    told(await house.ask("GET", "/me"), 200)
    await change(house, "/users/eve", {"disabled": False})
    told(await go(), 200)


async def test_who_is_removed_is_out_with_keys_and_sessions(house: House) -> None:
    bob = await add_user(house)
    key = told(await bob.ask("POST", "/keys", {"name": "k"}), 201)["secret"]
    assert (await by(house, key, "GET", "/farm")).code == 200
    told(await house.ask("DELETE", "/users/bob"), 200)
    assert (await by(house, key, "GET", "/farm")).code == 401
    told(await bob.ask("GET", "/farm"), 401)
    assert await house.store.people.keys("bob") == []


@pytest.mark.parametrize(
    ("order", "field"),
    [
        ({"name": "-bob", "password": PASSWORD, "role": "viewer"}, "name"),
        ({"name": "key:bob", "password": PASSWORD, "role": "viewer"}, "name"),
        ({"name": "b" * 65, "password": PASSWORD, "role": "viewer"}, "name"),
        ({"name": "bob", "password": "short", "role": "viewer"}, "password"),
        ({"name": "bob-the-long", "password": "bob-the-long", "role": "viewer"}, "password"),
        ({"name": "bob", "password": "ü" * 513, "role": "viewer"}, "password"),
        ({"name": "bob", "password": PASSWORD, "role": "nobody"}, "role"),
    ],
)
async def test_what_a_user_cannot_be(house: House, order: Json, field: str) -> None:
    answer = told(await house.ask("POST", "/users", order), 400)
    assert answer["field"] == field
    assert order["password"] not in answer["error"]


async def test_ones_own_password(house: House) -> None:
    bob, elsewhere = await add_user(house), await log_in(house, "bob", PASSWORD)
    path = "/me/password"
    wrong = told(await bob.ask("POST", path, {"current": "no", "password": OTHER}), 403)
    assert wrong["field"] == "current"
    told(await bob.ask("POST", path, {"current": PASSWORD, "password": "short"}), 400)
    answer = await bob.ask("POST", path, {"current": PASSWORD, "password": OTHER})
    told(await Browser(house, answer).ask("GET", "/me"), 200)
    for old in (bob, elsewhere):
        told(await old.ask("GET", "/me"), 401)
    told(await house.ask("POST", "/login", {"name": "bob", "password": PASSWORD}), 401)
    await log_in(house, "bob", OTHER)


async def test_no_answer_bears_a_hash(house: House) -> None:
    await add_user(house)
    for path in ("/users", "/users/bob", "/keys", "/me", "/history"):
        body = (await house.ask("GET", path)).body
        assert b"argon2" not in body
        assert b"digest" not in body


# ---- keys ---------------------------------------------------------------------------------------


async def test_a_key_never_may_more_than_its_user(house: House) -> None:
    bob = await add_user(house, role="operator")
    order = {"name": "k", "role": "admin"}
    assert told(await bob.ask("POST", "/keys", order), 400)["field"] == "role"
    key = told(await bob.ask("POST", "/keys", {"name": "k", "role": "operator"}), 201)["secret"]
    body = {"file": "0" * 64}
    assert (await house.ask("POST", "/jobs", body, Authorization=f"Bearer {key}")).code == 404
    await change(house, "/users/bob", {"role": "viewer"})
    assert (await house.ask("POST", "/jobs", body, Authorization=f"Bearer {key}")).code == 403
    await change(house, "/users/bob", {"disabled": True})
    assert (await by(house, key, "GET", "/farm")).code == 401


async def test_keys_end_by_time_and_by_revoking(house: House) -> None:
    told(await house.ask("POST", "/keys", {"name": "k", "lifetime_s": 1}), 400)
    key = (await house.post("/keys", {"name": "k", "lifetime_s": 60}, 201))["secret"]
    assert (await by(house, key, "GET", "/farm")).code == 200
    clock = house.clock
    clock.ahead_s = 61.0
    assert (await by(house, key, "GET", "/farm")).code == 401
    clock.ahead_s = 0.0
    key_id = key.split("_")[1]
    assert (await house.get("/keys"))["keys"][0]["used_at"] is not None
    told(await house.ask("DELETE", f"/keys/{key_id}"), 200)
    assert (await by(house, key, "GET", "/farm")).code == 401
    told(await house.ask("DELETE", f"/keys/{key_id}"), 404)


async def test_a_key_made_by_a_key_does_not_outlast_it(house: House) -> None:
    first = (await house.post("/keys", {"name": "k", "lifetime_s": 100}, 201))["secret"]
    answer = await house.ask("POST", "/keys", {"name": "j"}, Authorization=f"Bearer {first}")
    key = told(answer, 201)["key"]
    assert key["expires_at"] - key["created_at"] <= 100


async def test_a_wrong_secret_of_a_known_key_is_refused(house: House) -> None:
    key_id = house.key.split("_")[1]
    assert (await by(house, f"mf_{key_id}_{tokens.new_token()}", "GET", "/farm")).code == 401


async def test_everybody_sees_and_ends_their_own_keys(house: House) -> None:
    bob = await add_user(house)
    mine = told(await bob.ask("POST", "/keys", {"name": "mine"}), 201)["key"]["id"]
    assert [key["id"] for key in told(await bob.ask("GET", "/keys"))["keys"]] == [mine]
    assert len((await house.get("/keys"))["keys"]) == 2
    admins = house.key.split("_")[1]
    told(await bob.ask("DELETE", f"/keys/{admins}"), 404)
    told(await bob.ask("DELETE", f"/keys/{mine}"), 200)
    assert (await kinds(house))[0] == "key_revoked"


async def test_a_user_has_so_many_keys(house: House) -> None:
    who, identity = Who("test"), await house.people.logins.by_key(house.key)
    assert identity is not None
    for number in range(KEYS_MAX - 1):
        await house.people.accounts.make_key(identity, f"k{number}", "", None, who)
    told(await house.ask("POST", "/keys", {"name": "one more"}), 409)


async def test_a_key_has_no_session_to_end(house: House) -> None:
    told(await house.ask("POST", "/logout"), 409)


async def test_acts_bear_the_name_and_the_key(house: House) -> None:
    await house.post("/printers", {"id": "p"}, 201)
    line = (await house.get("/history?kind=printer_added"))["history"][0]
    assert line["who"] == "key:test"
    assert line["origin"].startswith("http 127.0.0.1 ")
    assert line["origin"].endswith(f"key {house.key.split('_')[1]} of {ADMIN}")
    ann = await log_in(house, ADMIN, PASSWORD)
    told(await ann.ask("POST", "/printers", {"id": "q"}), 201)
    assert (await house.get("/history?kind=printer_added"))["history"][0]["who"] == ADMIN


# ---- what ends by itself ------------------------------------------------------------------------


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
