"""Every operation for every role, and what is open to everybody."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from coordinator.http.base import methods_of
from coordinator.http.identity import COOKIE
from coordinator.http.operations import operation_of, role_needed
from coordinator.http.routes import ROUTES
from coordinator.people import tokens
from coordinator.people.roles import GIVEN, Role

from .browser import by
from .house import House

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
