"""Every operation of the API, fuzzed by its own OpenAPI document with the credentials of each role.

A real coordinator process answers. Nothing that is sent may make it fail (5xx), answer in another
shape than it promises, or log a traceback; who may not, changes nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
)

from demo.login import Login, bearer
from tests.engine.test_process import ROOT, Served, served

TIMEOUT_S = 60.0
EXAMPLES = {"admin": 6, "operator": 3, "viewer": 3, "nobody": 1}
"""Per operation and way of making them: right by the document, wrong by it, about what exists."""

CHECKS = [not_a_server_error, response_schema_conformance, content_type_conformance]
RANKS = ("nobody", "viewer", "operator", "admin")
Operation = Any
"""schemathesis' own types are generic over what nobody here needs."""

NOT_JSON = frozenset({"/api/v1/live"})
"""A WebSocket: what it answers to other requests is its own test's."""


class Fuzzed:
    """A coordinator's process with one of each thing in it, and a session for each role."""

    def __init__(self, process: Served, folder: Path) -> None:
        self.process = process
        self.url = process.url()
        self.sessions = {"nobody": requests.Session()}
        admin = Login(folder).key(self.url)
        self.sessions["admin"] = self._session(admin)
        for role in ("operator", "viewer"):
            told = self.post("/keys", {"name": f"fuzz {role}", "role": role})
            self.sessions[role] = self._session(told["secret"])
        tile = (ROOT / "demo" / "gcode" / "tile_pla.gcode").read_bytes()
        sha256 = self.post("/files?name=tile.gcode", tile)["file"]["sha256"]
        self.post("/printers", {"id": "left"})
        self.job = self.post("/jobs", {"file": sha256, "copies": 2})["job"]["id"]
        self.ids = {"sha256": sha256, "number": "0"}
        document = self.sessions["admin"].get(f"{self.url}/api/v1/openapi.json").json()
        self.schema = schemathesis.openapi.from_dict(document)

    @property
    def operations(self) -> list[Operation]:
        results: Iterable[Any] = self.schema.get_all_operations()
        found = [result.ok() for result in results]
        return [operation for operation in found if operation.full_path not in NOT_JSON]

    def ids_of(self, path: str) -> dict[str, str]:
        """Ids of what exists, for the parameters of this path."""
        known = self.ids | {"id": "left" if path.startswith("/api/v1/printers") else self.job}
        return {name: known[name] for name in re.findall(r"{(\w+)}", path) if name in known}

    def post(self, path: str, body: dict[str, Any] | bytes) -> dict[str, Any]:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        answer = self.sessions["admin"].post(f"{self.url}/api/v1{path}", raw, timeout=TIMEOUT_S)
        told: dict[str, Any] = answer.json()
        assert answer.ok, told
        return told

    def state(self) -> list[Any]:
        """All that people see of the farm, but for times and the log of what they did."""
        read = self.sessions["admin"]
        paths = ("jobs", "files", "printers", "attempts", "users", "keys")
        told = [read.get(f"{self.url}/api/v1/{path}", timeout=TIMEOUT_S).json() for path in paths]
        return [_without_times(one) for one in told]

    @staticmethod
    def _session(key: str) -> requests.Session:
        session = requests.Session()
        session.headers.update(bearer(key))
        return session


def _without_times(told: Any) -> Any:
    if isinstance(told, dict):
        return {k: _without_times(v) for k, v in told.items() if not k.endswith("_at")}
    return [_without_times(one) for one in told] if isinstance(told, list) else told


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fuzzed]:
    folder = tmp_path_factory.mktemp("fuzzed")
    with served(folder / "data") as process:
        yield Fuzzed(process, folder)


def fuzz(farm: Fuzzed, role: str, operation: Operation) -> set[int]:
    """Send an operation's share of requests; returns the statuses that were answered."""
    statuses: set[int] = set()
    ways: list[st.SearchStrategy[Any]] = [
        operation.as_strategy(generation_mode=GenerationMode.POSITIVE)
    ]
    if operation.body or operation.query or operation.path_parameters:
        ways.append(operation.as_strategy(generation_mode=GenerationMode.NEGATIVE))
    ids = farm.ids_of(operation.full_path)
    if ids:
        ways.append(operation.as_strategy(path_parameters=ids))

    for way in ways:

        @settings(
            max_examples=EXAMPLES[role],
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=way)
        def ask(case: Any) -> None:
            answer = case.call(base_url=farm.url, session=farm.sessions[role], timeout=TIMEOUT_S)
            case.validate_response(answer, checks=CHECKS)
            statuses.add(answer.status_code)

        ask()
    return statuses


def test_the_document_is_valid(fuzzed: Fuzzed) -> None:
    fuzzed.schema.validate()
    assert len(fuzzed.operations) > 40


@pytest.mark.slow
@pytest.mark.parametrize("role", ["nobody", "viewer", "operator"])
def test_who_may_not_changes_nothing(fuzzed: Fuzzed, role: str) -> None:
    before = fuzzed.state()
    for operation in fuzzed.operations:
        needs = operation.definition.raw["x-role"]
        may = RANKS.index(role) >= RANKS.index(needs)
        if may and needs != "nobody" and operation.method not in ("get", "head"):
            continue  # that is the admin's part of the test
        statuses = fuzz(fuzzed, role, operation)
        refused = {401} if role == "nobody" else {403}
        # 404: the id is none that could be one. 400, 411, 413: no request of ours at all.
        assert may or statuses <= refused | {400, 404, 405, 411, 413}, (operation.label, statuses)
    assert fuzzed.state() == before


@pytest.mark.slow
def test_nothing_makes_it_fail(fuzzed: Fuzzed) -> None:
    taken = 0
    for operation in fuzzed.operations:
        statuses = fuzz(fuzzed, "admin", operation)
        taken += any(status < 300 for status in statuses)
    said = fuzzed.process.said
    assert "Traceback" not in said
    assert not re.findall(r"^\S+ \S+ ERROR .*", said, re.MULTILINE)
    assert taken >= len(fuzzed.operations) / 2, "what is refused at the door is not tested"
