"""Users and API keys: made, changed, ended, and never more than they may."""

from __future__ import annotations

import pytest
from tornado.httpclient import HTTPResponse

from coordinator.core.requests import Who
from coordinator.people import tokens
from coordinator.people.rules import KEYS_MAX

from .browser import Browser, add_user, by, change, log_in
from .house import ADMIN, PASSWORD, House, Json, told

OTHER = "a longer password"


async def kinds(house: House) -> list[str]:
    return [line["kind"] for line in (await house.get("/history"))["history"]]


# ---- users ----


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


# ---- keys ----


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


async def test_a_key_ends_none_that_may_more(house: House) -> None:
    weak = (await house.post("/keys", {"name": "w", "role": "viewer"}, 201))["secret"]
    assert (await by(house, weak, "DELETE", f"/keys/{house.key.split('_')[1]}")).code == 400
    told(await house.ask("GET", "/me"), 200)
    assert (await by(house, weak, "DELETE", f"/keys/{weak.split('_')[1]}")).code == 200


async def test_a_key_that_may_less_makes_none(house: House) -> None:
    weak = (await house.post("/keys", {"name": "w", "role": "viewer"}, 201))["secret"]
    answer = await house.ask("POST", "/keys", {"name": "x"}, Authorization=f"Bearer {weak}")
    told(answer, 409)
    assert len((await house.get("/keys"))["keys"]) == 2


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
