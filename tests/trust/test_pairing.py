"""Codes by which hosts join: who gets one, what it is good for, and that it is good once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from coordinator.core.farm import Now
from coordinator.core.membership import REVOKED
from coordinator.trust import codes
from coordinator.trust.pairings import Pairings
from tests.cli.test_cli import moonfleet
from tests.http.house import CA_PEM, House

Json = dict[str, Any]


class Clock:
    """The time, as tests set it."""

    def __init__(self) -> None:
        self.s = 1000.0

    def now(self) -> Now:
        return Now(boot_s=self.s, wall_s=self.s)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def house(tmp_path: Path, clock: Clock) -> AsyncIterator[House]:
    house = House(tmp_path)
    trust = house.services.trust
    pairings = Pairings(house.store.pairings, clock, trust.ca_pem)
    house.services = replace(house.services, trust=replace(trust, pairings=pairings))
    async with house:
        yield house


async def new_code(house: House, printer: str = "") -> Json:
    return await house.post("/pairings", {"printer": printer}, 201)


def secret_of(answer: Json) -> str:
    code: str = answer["code"].replace("-", "")
    assert codes.check_of(code[:10], CA_PEM) == code[10:]
    return code[:10]


async def join(house: House, secret: str, *printers: str, status: int = 200) -> Json:
    order: Json = {"secret": secret, "printers": list(printers), "host": "pi4"}
    answer = await house.ask("POST", "/pair", order, Authorization="")
    assert answer.code == status, answer.body
    told: Json = json.loads(answer.body)
    return told


async def test_a_code_joins_the_printers_of_one_host_once(house: House) -> None:
    made = await new_code(house)
    assert made["urls"] == ["https://farm.example:8443"]
    told = await join(house, secret_of(made), "left", "right")
    assert [(p["id"], p["password"]) for p in told["printers"]] == [
        ("left", "password of left"),
        ("right", "password of right"),
    ]
    assert set(house.engine.farm.printers) == {"left", "right"}
    again = await join(house, secret_of(made), "third", status=403)
    assert "used already" in again["error"]
    kinds = [line["kind"] for line in (await house.get("/history?printer=left"))["history"]]
    assert {"printer_added", "printer_paired"} <= set(kinds)


async def test_the_ca_is_open_to_everybody(house: House) -> None:
    answer = await house.ask("GET", "/ca", Authorization="")
    assert (answer.code, answer.body) == (200, CA_PEM)


async def test_codes_are_made_listed_and_cancelled_by_admins_alone(house: House) -> None:
    for method, path in (("GET", "/pairings"), ("POST", "/pairings"), ("DELETE", "/pairings/x")):
        assert (await house.ask(method, path, Authorization="")).code == 401
    made = await new_code(house)
    listed = (await house.get("/pairings"))["pairings"]
    assert [p["id"] for p in listed] == [made["pairing"]["id"]]
    assert made["code"] not in str(listed)
    assert secret_of(made) not in str(listed)
    assert (await house.ask("DELETE", f"/pairings/{listed[0]['id']}")).code == 200
    told = await join(house, secret_of(made), "left", status=403)
    assert "not known" in told["error"]
    assert (await house.ask("DELETE", f"/pairings/{listed[0]['id']}")).code == 404


async def test_a_code_expires(house: House, clock: Clock) -> None:
    secret = secret_of(await new_code(house))
    clock.s += codes.LIFETIME_S
    told = await join(house, secret, "left", status=403)
    assert "has expired; it was good for 15 minutes" in told["error"]
    assert (await house.get("/pairings"))["pairings"] == []


async def test_a_code_for_a_printer_is_for_it_alone_and_renews_it(house: House) -> None:
    await house.post("/printers", {"id": "left"}, 201)
    stranger = secret_of(await new_code(house))
    told = await join(house, stranger, "left", status=409)
    assert "exists already" in told["error"]
    await join(house, stranger, "new")  # the refused try did not spend it
    secret = secret_of(await new_code(house, "left"))
    told = await join(house, secret, "other", status=403)
    assert "for printer left alone" in told["error"]
    assert (await join(house, secret, "left"))["printers"][0]["username"] == "left"


async def test_a_code_for_a_printer_that_is_not_there_yet_makes_it(house: House) -> None:
    await join(house, secret_of(await new_code(house, "left")), "left")
    assert "left" in house.engine.farm.printers


async def test_of_two_that_come_at_once_one_gets_in(house: House) -> None:
    secret = secret_of(await new_code(house))
    orders: list[Json] = [{"secret": secret, "printers": [name]} for name in ("left", "right")]
    answers = await asyncio.gather(
        *(house.ask("POST", "/pair", order, Authorization="") for order in orders)
    )
    assert sorted(answer.code for answer in answers) == [200, 403]
    assert len(house.engine.farm.printers) == 1


async def test_the_store_spends_a_code_once_and_in_time(house: House, clock: Clock) -> None:
    made = (await new_code(house))["pairing"]
    rows = house.store.pairings
    assert not await rows.use(made["id"], clock.s + codes.LIFETIME_S)
    assert await rows.use(made["id"], clock.s)
    assert not await rows.use(made["id"], clock.s)
    await rows.give_back(made["id"])
    assert await rows.use(made["id"], clock.s)


@pytest.mark.parametrize(
    "printers", [[], ["a", "a"], ["moonfleet-x"], ["a/b"], [f"p{n}" for n in range(33)]]
)
async def test_ids_that_cannot_be_are_refused_and_spend_nothing(
    house: House, printers: list[str]
) -> None:
    secret = secret_of(await new_code(house))
    await join(house, secret, *printers, status=400)
    await join(house, secret, "left")


async def test_a_broker_that_is_away_leaves_the_code_good(house: House) -> None:
    secret = secret_of(await new_code(house))
    house.broker_away = True
    await join(house, secret, "left", status=503)
    assert "left" not in house.engine.farm.printers
    house.broker_away = False
    await join(house, secret, "left")


async def test_guessing_has_to_wait_and_a_right_code_costs_no_try(
    house: House, clock: Clock
) -> None:
    secret = secret_of(await new_code(house))
    for _ in range(5):
        await join(house, "A" * 10, "left", status=403)
    told = await join(house, secret, "left", status=429)
    assert "try again in" in told["error"]
    clock.s += 3
    await join(house, secret, "left")


async def test_unused_codes_are_bounded(house: House, clock: Clock) -> None:
    for _ in range(codes.CODES_MAX):
        await new_code(house)
    told = await house.post("/pairings", {}, 409)
    assert "16 unused codes" in told["error"]
    clock.s += codes.LIFETIME_S
    await new_code(house)


async def test_revoking_ends_the_account_and_new_credentials_readmit(house: House) -> None:
    await house.add_host("left")
    printer = (await house.post("/printers/left/revoke"))["printer"]
    assert house.revoked == ["left"]
    assert printer["hold"] == REVOKED
    assert "held" in {reason["code"] for reason in printer["reasons"]}
    printer = (await house.post("/printers/left/credentials", status=201))["printer"]
    assert printer["hold"] == ""


async def test_another_hold_stays(house: House) -> None:
    await house.add_host("left")
    await house.post("/printers/left/hold", {"reason": "smells"})
    await house.post("/printers/left/revoke")
    printer = (await house.post("/printers/left/credentials", status=201))["printer"]
    assert printer["hold"] == "smells"


async def test_the_command_line_makes_lists_and_cancels_codes(house: House) -> None:
    made = await moonfleet(house, "pair", "left")
    assert made.code == 0, made.errors
    code = made.out.split()[0]
    assert f"--coordinator https://farm.example:8443 --code {code} --printer-id left" in made.out
    listed = await moonfleet(house, "pair", "--list")
    assert "for left, until" in listed.out
    cancelled = await moonfleet(house, "pair", "--cancel", listed.out.split()[0])
    assert cancelled.code == 0
    assert (await moonfleet(house, "pair", "--list")).out == "no unused codes\n"
    assert (await moonfleet(house, "pair", "left", "--list")).code == 2
    await house.add_host("left")
    revoked = await moonfleet(house, "printer", "revoke", "left")
    assert "its host is out" in revoked.out


def test_the_check_of_a_code_says_nothing_of_another_ca_or_secret() -> None:
    secret = codes.new_secret()
    assert codes.is_secret(secret)
    assert codes.check_of(secret, CA_PEM) != codes.check_of(secret, CA_PEM + b"\n")
    assert codes.check_of(secret, CA_PEM) != codes.check_of(codes.new_secret(), CA_PEM)
    assert len(codes.code_of(secret, CA_PEM).replace("-", "")) == 20
