"""What holds for every path: who may ask, limits, the shape of errors, the OpenAPI document."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest

from coordinator.engine import EngineBusy
from coordinator.http.base import JSON_BYTES_MAX, methods_of
from coordinator.http.headers import HEADERS
from coordinator.http.operations import operation_of, role_needed
from coordinator.http.routes import BASE, ROUTES
from coordinator.ports import StoreError

from .house import House, told

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "[::2]:80", "a b"])
async def test_a_foreign_host_is_refused(house: House, host: str) -> None:
    assert (await house.ask("GET", "/farm", Host=host)).code in (400, 403)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:99", "127.0.0.1:1", "[::1]:8008"])
async def test_loopback_names_are_taken(house: House, host: str) -> None:
    told(await house.ask("GET", "/farm", Host=host), 200)


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1"])
async def test_pages_of_other_origins_change_nothing(house: House, origin: str) -> None:
    answer = told(await house.ask("POST", "/printers", {"id": "p"}, Origin=origin), 403)
    assert "Origin" in answer["error"]
    assert not house.engine.farm.printers
    told(await house.ask("POST", "/printers", {"id": "p"}, Origin=house.url), 201)


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b'"x"', b"\xff\xfe", b"null", b"[" * 100_000, b'{"id": 1}']
)
async def test_wrong_json_is_refused(house: House, body: bytes) -> None:
    assert told(await house.ask("POST", "/printers", body), 400)["error"]


@pytest.mark.parametrize("path", ["/jobs", "/printers", "/nothing", "/jobs/x/cancel"])
async def test_a_huge_body_is_refused_and_not_held(house: House, path: str) -> None:
    body = b" " * (JSON_BYTES_MAX + 1)
    answer = await house.ask("POST", path, body)
    told(answer, 413)


async def test_a_huge_body_without_a_length_is_refused(house: House) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", house.port)
    writer.write(
        b"POST /api/v1/printers HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
        b"Authorization: Bearer " + house.key.encode() + b"\r\nConnection: close\r\n\r\n"
    )
    for _ in range(64):
        writer.write(b"10000\r\n" + b" " * 65536 + b"\r\n")
    writer.write(b"0\r\n\r\n")
    await writer.drain()
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    assert b"413" in head.splitlines()[0]
    assert json.loads(body)["status"] == 413


async def test_an_unknown_path_and_method(house: House) -> None:
    assert "nothing at" in told(await house.ask("GET", "/jobz"), 404)["error"]
    answer = await house.ask("DELETE", "/jobs")
    assert told(answer, 405)["error"]
    assert answer.headers["Allow"] == "GET, POST"
    assert (await house.ask("PUT", "/farm")).headers["Allow"] == "GET"


async def test_every_answer_bears_an_id(house: House) -> None:
    given = await house.ask("GET", "/farm", X_Request_Id="abc-1")
    assert given.headers["X-Request-Id"] == "abc-1"
    made = await house.ask("GET", "/jobs/none", X_Request_Id="<script>")
    assert re.fullmatch("[0-9a-f]{32}", made.headers["X-Request-Id"])


@pytest.mark.parametrize("error", [EngineBusy("too much"), StoreError("the disk is full")])
async def test_a_busy_or_broken_store_is_503(
    house: House, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    async def fail(_act: Any) -> None:
        raise error

    monkeypatch.setattr(house.engine, "ask", fail)
    answer = told(await house.ask("POST", "/printers", {"id": "p"}), 503)
    assert answer["error"] == str(error)


async def test_what_nobody_expected_tells_nothing_of_the_inside(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_act: Any) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(house.engine, "ask", fail)
    answer = told(await house.ask("POST", "/printers", {"id": "p"}), 500)
    assert "secret" not in answer["error"]


async def test_the_document_is_the_routing_table(house: House) -> None:
    raw = (await house.ask("GET", "/openapi.json")).body
    document = json.loads(raw)
    assert document["openapi"].startswith("3.1")
    assert {(path, method.upper()) for path, at in document["paths"].items() for method in at} == {
        (BASE + route.path, method) for route in ROUTES for method in methods_of(route.handler)
    }
    assert b"prefixItems" not in raw
    schemas = document["components"]["schemas"]
    for reference in re.findall(rb'"#/components/schemas/(\w+)"', raw):
        assert reference.decode() in schemas
    for at in document["paths"].values():
        for told_of in at.values():
            assert told_of["summary"]
            assert {p["in"] for p in told_of.get("parameters", [])} <= {"path", "query"}
    ids = [told_of["operationId"] for at in document["paths"].values() for told_of in at.values()]
    assert len(ids) == len(set(ids))


def test_each_method_has_a_heading() -> None:
    headings = set(re.findall(r"^### `(\w+ \S+)`", (DOCS / "api.md").read_text(), re.MULTILINE))
    assert headings == {
        f"{method} {route.path}" for route in ROUTES for method in methods_of(route.handler)
    }


def test_each_role_that_is_not_the_usual_one_is_written() -> None:
    text = (DOCS / "api.md").read_text()
    written = dict(re.findall(r"^### `(\w+ \S+)`\n\nRole: (\w+)\.$", text, re.MULTILINE))
    unusual = {}
    for route in ROUTES:
        for method in methods_of(route.handler):
            needs = role_needed(method, operation_of(getattr(route.handler, method.lower())))
            if needs is not role_needed(method, None):
                unusual[f"{method} {route.path}"] = needs.word
    assert written == unusual


async def test_the_page_is_served_with_its_policy(house: House) -> None:
    page = await house._client.fetch(house.url + "/", headers=house.bearer)
    assert b"Moonfleet" in page.body
    assert "default-src 'self'" in page.headers["Content-Security-Policy"]
    for path in re.findall(rb'(?:src|href)="(/static/[^"]+)"', page.body):
        await house._client.fetch(house.url + path.decode())
    outside = await house._client.fetch(
        house.url + "/static/../templates/farm.html", raise_error=False
    )
    assert outside.code in (403, 404)


@pytest.mark.parametrize(
    ("path", "proof"),
    [
        ("/", True), ("/login", False), ("/static/door.js", False), ("/api/v1/farm", True),
        ("/api/v1/farm", False), ("/api/v1/nothing", True), ("/nothing", False),
        ("/static/nothing", False), ("/api/v1/live", False),
    ],
)  # fmt: skip
async def test_every_answer_tells_browsers_what_not_to_do(
    house: House, path: str, proof: bool
) -> None:
    headers = house.bearer if proof else {}
    answer = await house._client.fetch(house.url + path, headers=headers, raise_error=False)
    policy = answer.headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert {name: answer.headers[name] for name in HEADERS} == HEADERS
    assert "Server" not in answer.headers
    assert "Strict-Transport-Security" not in answer.headers
