"""Golden vectors: what each message is as JSON, in bytes that other versions have written."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from moonraker_component import wire
from tests.wire.vectors import CASES, FULL, LEAST, parts_of

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize("name", sorted(CASES))
def test_golden_bytes_decode_to_the_value_and_the_value_encodes_to_them(name: str) -> None:
    text = (GOLDEN / f"{name}.json").read_bytes()
    assert wire.decode(type(CASES[name]), text) == CASES[name]
    assert json.loads(wire.encode(CASES[name])) == json.loads(text)


def test_every_golden_file_is_looked_at_and_every_type_has_two() -> None:
    assert {path.stem for path in GOLDEN.glob("*.json")} == set(CASES)
    on_topics = {type(value) for value in FULL}
    inside = {type(part) for value in FULL for part in parts_of(value)}
    assert inside == set(wire.Message.__subclasses__())
    assert {type(value) for value in LEAST} == on_topics


def test_full_vectors_set_every_field_to_something_else_than_its_default() -> None:
    seen: dict[str, bool] = {}
    for value in FULL:
        for part in parts_of(value):
            for field in msgspec.structs.fields(type(part)):
                default = field.default
                if field.default_factory is not msgspec.NODEFAULT:
                    default = field.default_factory()
                name = f"{type(part).__name__}.{field.name}"
                seen[name] = seen.get(name, False) or getattr(part, field.name) != default
    assert [name for name, is_set in seen.items() if not is_set] == []


@pytest.mark.parametrize("value", LEAST, ids=lambda value: type(value).__name__)
def test_least_vectors_hold_nothing_that_has_a_default(value: wire.Message) -> None:
    needed = {field.encode_name for field in msgspec.structs.fields(type(value)) if field.required}
    assert set(json.loads(wire.encode(value))) == needed
