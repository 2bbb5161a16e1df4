"""Malformed and hostile messages: a WireError or a valid value, and never a failed round.

First the decoding alone, by raw bytes and by broken valid messages; then a farm of two printers, of
which one says whatever hypothesis comes up with, and the other must not notice.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coordinator.core.farm import Draft
from moonraker_component import wire
from moonraker_component.wire import Message, Phase, Report, WireError
from tests.core.build import Bench
from tests.wire.vectors import FULL

KINDS = [type(value) for value in FULL]
QUICK = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

texts = st.one_of(
    st.text(max_size=20),
    st.sampled_from(["", "a", "../../x", "x" * 5000, "\x00", "\ud800", "moonfleet/id00000003/x"]),
)
scalars = st.one_of(
    st.none(), st.booleans(), texts,
    st.integers(), st.sampled_from([2**53, 2**53 + 1, 2**63, -1, 10**400]), st.floats(),
)  # fmt: skip
junk = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(texts, inner, max_size=4)),
    max_leaves=8,
)


@st.composite
def broken(draw: st.DrawFn, valid: Any) -> Any:
    """A valid JSON value with some part of it replaced, removed, doubled or added to."""
    if isinstance(valid, dict) and valid and draw(st.integers(0, 9)):
        key = draw(st.sampled_from(sorted(valid)))
        how = draw(st.sampled_from(["inside", "inside", "replace", "remove", "add"]))
        if how == "inside":
            return valid | {key: draw(broken(valid[key]))}
        if how == "replace":
            return valid | {key: draw(junk)}
        if how == "remove":
            return {name: value for name, value in valid.items() if name != key}
        return valid | {draw(texts): draw(junk)}
    if isinstance(valid, list) and valid and draw(st.integers(0, 9)):
        index = draw(st.integers(0, len(valid) - 1))
        return [*valid[:index], draw(broken(valid[index])), *valid[index + 1 :], *valid[:index]]
    return draw(junk)


def encoded(value: Any) -> bytes:
    """As JSON, also what JSON does not have: NaN, half surrogate pairs."""
    return json.dumps(value).encode("utf-8", "surrogatepass")


def taken(kind: type[Message], payload: bytes) -> Message | None:
    """What decode makes of it; whatever it takes, it can send on unchanged."""
    try:
        message = wire.decode(kind, payload)
    except WireError:
        return None
    assert isinstance(message, kind)
    assert wire.decode(kind, wire.encode(message)) == message
    return message


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@QUICK
@given(payload=st.binary(max_size=200))
def test_raw_bytes_are_refused_or_taken(kind: type[Message], payload: bytes) -> None:
    taken(kind, payload)


@pytest.mark.parametrize("valid", FULL, ids=lambda value: type(value).__name__)
@QUICK
@given(data=st.data())
def test_broken_messages_are_refused_or_taken(valid: Message, data: st.DataObject) -> None:
    payload = encoded(data.draw(broken(msgspec.json.decode(wire.encode(valid)))))
    taken(type(valid), payload)
    cut = data.draw(st.integers(0, len(payload)))
    taken(type(valid), payload[:cut] + data.draw(st.binary(max_size=4)) + payload[cut + 1 :])


# ---- a farm in which one host lies ---------------------------------------------------------------


def printing_farm() -> Bench:
    """Printers a and b, each with an attempt; what is b's must stay as it is."""
    bench = Bench("a", "b")
    bench.hello()
    bench.submit(4)
    bench.round()
    bench.start_on("b")
    bench.start_on("a")
    return bench


def of_b(bench: Bench) -> list[Any]:
    """Everything that the farm knows of b."""
    farm = bench.farm
    attempts = [a for a in farm.attempts.values() if a.printer == "b"]
    copies = [farm.copies[a.copy] for a in attempts]
    return [farm.printers["b"], farm.contacts["b"], attempts, copies]


def honest(bench: Bench) -> dict[str, Any]:
    """What a would say next, with b's attempt among its own: the best start for a liar."""
    mine, others = bench.live("a"), bench.live("b")
    bench.tell("a", Phase.PRINTING)
    ((_, report),) = bench._inbox
    bench._inbox.clear()
    told: dict[str, Any] = msgspec.json.decode(wire.encode(report))
    stolen = {"attempt": others.id, "copy": others.copy, "job": others.job}
    told["attempts"].append(stolen | {"phase": "ended", "outcome": "complete"})
    told["attempts"].append(
        {"attempt": "never-issued-1", "copy": mine.copy, "job": mine.job, "phase": "printing"}
    )
    return told


@settings(deadline=None, max_examples=300, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_host_that_says_anything_changes_nothing_of_another(data: st.DataObject) -> None:
    bench = printing_farm()
    before = of_b(bench)
    said = honest(bench)
    for _ in range(data.draw(st.integers(1, 4))):
        said["sequence"] = said.get("sequence", 0) + 1 if isinstance(said, dict) else 1
        payload = encoded(data.draw(broken(said)))
        report = taken(Report, payload)
        if isinstance(report, Report):
            bench._inbox.append(("a", report))
            bench.round(1.0)
            assert_plan_can_be_kept(bench.draft)
    assert of_b(bench) == before


def assert_plan_can_be_kept(draft: Draft) -> None:
    """What a round would commit goes through the codec of the database's JSON columns."""
    plan = draft.plan()
    for rows in (plan.jobs, plan.copies, plan.attempts, plan.printers):
        for row in rows.values():
            msgspec.json.encode(row)
