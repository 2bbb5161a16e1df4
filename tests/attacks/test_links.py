"""Download links: forged, borrowed, replayed, expired, and what else one might try with one."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from coordinator.__main__ import quieten
from coordinator.core import links
from moonraker_component.wire import Outcome
from tests.http.house import GCODE, LINK_KEY, Host, House, eventually, told

TILE = GCODE / "tile_pla.gcode"
OPEN = {"Authorization": ""}
"""A host sends no login: its link has to do."""


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with House(tmp_path) as house:
        yield house


async def printing(house: House, name: str) -> Host:
    """A host that prints, and so has a link."""
    host = await house.add_host(name)
    job = await house.submit(copies=1)
    await house.until_copies(job["id"], printing=1)
    assert "signature=" in host.link
    return host


async def test_a_link_gives_its_file_and_nothing_else(house: House) -> None:
    host = await printing(house, "one")
    path, _, proof = host.link.partition("?")
    answer = await house.ask("GET", host.link, **OPEN)
    assert (answer.code, answer.body) == (200, TILE.read_bytes())
    attempt = path.split("/")[2]
    for other in (
        f"/attempts/{attempt}", "/attempts", "/farm", "/jobs", f"{path}/", f"/attempts/{attempt}/",
        f"/files/{house.engine.farm.jobs[next(iter(house.engine.farm.jobs))].file.sha256}/content",
    ):  # fmt: skip
        refused = await house.ask("GET", f"{other}?{proof}", **OPEN)
        assert refused.code in (401, 404), other
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        refused = await house.ask(method, host.link, b"", **OPEN)
        assert refused.code in (401, 403, 405), method
        assert TILE.read_bytes()[:64] not in refused.body


async def test_nothing_but_the_whole_proof_opens_it(house: House) -> None:
    host = await printing(house, "one")
    path, _, query = host.link.partition("?")
    until, _, proof = query.partition("&signature=")
    until = until.removeprefix("until=")
    forged = [
        "", f"?until={until}", f"?signature={proof}", f"?until={until}&signature=",
        f"?until={int(until) + 3600}&signature={proof}", f"?until={until}&signature={proof[:-1]}",
        f"?until={until}&signature={proof.swapcase()}", f"?until=0{until}&signature={proof}",
        f"?until={until}.0&signature={proof}", f"?until=-1&signature={proof}",
        f"?until={until}&signature={'0' * 64}", f"?until={until}&signature={proof}{proof}",
        f"?until={until}&until={until}&signature={proof}", f"?until={until}%0a&signature={proof}x",
        f"?until={until}&signature={proof}&more=1", f"?until=%FF&signature={proof}",
    ]  # fmt: skip
    for query in forged:
        answer = await house.ask("GET", path + query, **OPEN)
        assert answer.code in (400, 403), query
        assert b"G1" not in answer.body
        head = await house.ask("HEAD", path + query, **OPEN)
        assert head.code == answer.code
        assert "ETag" not in head.headers


async def test_a_link_of_one_attempt_opens_no_other(house: House) -> None:
    one, two = await printing(house, "one"), await printing(house, "two")
    mine, _, proof = one.link.partition("?")
    others, _, _ = two.link.partition("?")
    assert mine != others
    answer = told(await house.ask("GET", f"{others}?{proof}", **OPEN), 403)
    assert "not made by this farm for this attempt" in answer["error"]
    # Nor does it tell which attempts there are.
    assert told(await house.ask("GET", f"/attempts/unheard-of/file?{proof}", **OPEN), 403)


async def test_a_link_ends_with_its_attempt_and_with_its_time(house: House) -> None:
    host = await printing(house, "one")
    attempt = house.engine.farm.live_on["one"]
    now_s = time.time()
    for until in (int(now_s) - 1, int(now_s) + 10**6):
        # The second was made before the clock was set back by days.
        made = links.url_of("/attempts/{attempt}/file", LINK_KEY, attempt, until)
        assert "expired" in told(await house.ask("GET", made, **OPEN), 410)["error"]
    assert (await house.ask("HEAD", host.link, **OPEN)).code == 200
    host.finish(Outcome.COMPLETE)
    await eventually(lambda: "one" not in house.engine.farm.live_on)
    replayed = told(await house.ask("GET", host.link, **OPEN), 410)
    assert "has ended" in replayed["error"]


@pytest.mark.parametrize(
    "asked",
    [
        "bytes=0-", "bytes=-1", "bytes=-0", "bytes=-99999999999999999999", "bytes=5-2",
        "bytes=99999999999999999999-", "bytes=0-0,1-1", "bytes=" + "0-1," * 1000, "bytes=--1",
        "bytes=0x0-", "octets=0-1", "bytes=1-2-3", "bytes= 1-2 ",
    ],
)  # fmt: skip
async def test_no_range_gives_more_than_the_file(house: House, asked: str) -> None:
    host = await printing(house, "one")
    raw = TILE.read_bytes()
    answer = await house.ask("GET", host.link, Range=asked, **OPEN)
    assert answer.code in (200, 206, 416)
    if answer.code != 416:
        assert answer.body in raw
    else:
        assert answer.body == b""


async def test_a_proof_stands_in_no_log_and_no_answer(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    quieten()  # as the program does, whatever is asked for
    host = await printing(house, "one")
    path, _, query = host.link.partition("?")
    proof = query.partition("signature=")[2]
    wrong = proof[:-1] + ("0" if proof[-1] != "0" else "1")
    answers = [
        await house.ask("GET", f"{path}?{asked}", **OPEN)
        for asked in (query, query.replace(proof, wrong), f"{query}&more=1", f"x={proof}")
    ]
    answers += [await house.ask("GET", f"/nothing?{query}", **OPEN)]
    attempt = house.engine.farm.live_on["one"]
    for read in ("/printers/one", f"/attempts/{attempt}", "/history", "/jobs", "/farm"):
        answers.append(await house.ask("GET", read))
    for secret in (proof, wrong):
        assert secret not in caplog.text
        assert not [answer for answer in answers if secret.encode() in answer.body]
    assert "the key of the house" not in caplog.text + repr(house.engine.farm.settings)
