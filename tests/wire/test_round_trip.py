"""Whatever a message can hold comes out of the wire as it went in."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moonraker_component import wire
from tests.wire.vectors import FULL

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
SESSION = st.text(st.characters(codec="utf-8"), min_size=1, max_size=64)
NUMBER = st.floats(allow_nan=False, allow_infinity=False)
FLOATS = st.lists(NUMBER, max_size=4).map(tuple)
COUNT = st.integers(0, wire.NUMBER_MAX)

FILE_REF = st.builds(
    wire.FileRef,
    name=st.from_regex(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}", fullmatch=True),
    sha256=st.text("0123456789abcdef", min_size=64, max_size=64),
    size_bytes=COUNT,
    url=TEXT,
)
ORDER = st.builds(
    wire.Order,
    attempt=st.from_regex(r"[A-Za-z0-9-]{8,64}", fullmatch=True),
    copy=TEXT,
    job=TEXT,
    file=FILE_REF,
    session=TEXT,
    fence_s=st.floats(0, 1e6),
    resume=TEXT,
)
REPORT = st.builds(
    wire.Report,
    session=SESSION,
    sequence=COUNT,
    observed_term=COUNT,
    observed_generation=COUNT,
    attempts=st.lists(st.builds(wire.AttemptReport), max_size=3).map(tuple),
    refusals=st.lists(st.builds(wire.Reason), max_size=3).map(tuple),
    profile=st.builds(wire.Profile, size_min_mm=FLOATS, size_max_mm=FLOATS, nozzle_mm=NUMBER),
)
MESSAGES: dict[type[wire.Message], st.SearchStrategy[Any]] = {
    wire.Desired: st.builds(
        wire.Desired,
        term=COUNT,
        generation=COUNT,
        lease_s=st.floats(0.001, 3600),
        order=st.none() | ORDER,
        echo=st.none() | st.builds(wire.Echo, session=TEXT, sequence=COUNT),
    ),
    wire.Report: REPORT,
    wire.Online: st.builds(wire.Online, wire=COUNT),
    wire.Beacon: st.builds(wire.Beacon, term=COUNT, lease_s=NUMBER, sequence=COUNT),
    wire.Telemetry: st.builds(
        wire.Telemetry,
        heaters=st.dictionaries(
            TEXT, st.builds(wire.Heat, temperature_c=NUMBER, target_c=st.none() | NUMBER)
        ),
        progress=st.none() | NUMBER,
        position_mm=FLOATS,
    ),
    wire.Event: st.builds(wire.Event, data=st.dictionaries(TEXT, TEXT)),
    wire.Command: st.builds(wire.Command, sequence=COUNT),
    wire.JobReady: st.builds(wire.JobReady, copies=COUNT, nozzle_mm=st.none() | NUMBER),
    wire.JobEvent: st.builds(wire.JobEvent),
}


def test_every_type_that_stands_on_a_topic_is_drawn() -> None:
    assert set(MESSAGES) == {type(value) for value in FULL}


@pytest.mark.parametrize("kind", MESSAGES, ids=lambda kind: kind.__name__)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_message_comes_out_as_it_went_in(kind: type[wire.Message], data: st.DataObject) -> None:
    message = data.draw(MESSAGES[kind])
    assert wire.decode(kind, wire.encode(message)) == message


@settings(max_examples=200, deadline=None)
@given(payload=st.binary(max_size=64))
def test_any_bytes_are_a_message_or_a_wire_error(payload: bytes) -> None:
    for kind in MESSAGES:
        _decodes_or_is_refused(kind, payload)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(value=JSON, data=st.data())
def test_any_value_in_any_field_is_taken_or_a_wire_error(value: Any, data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(list(MESSAGES)))
    fields = json.loads(wire.encode(next(v for v in FULL if type(v) is kind)))
    fields[data.draw(st.sampled_from(sorted(fields)))] = value
    _decodes_or_is_refused(kind, json.dumps(fields).encode())


def _decodes_or_is_refused(kind: type[wire.Message], payload: bytes) -> None:
    try:
        message = wire.decode(kind, payload)
    except wire.WireError:
        return
    assert wire.decode(kind, wire.encode(message)) == message
