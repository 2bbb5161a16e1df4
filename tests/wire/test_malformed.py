"""Payloads that no peer of ours writes: each is refused with its field named, none breaks us."""

from __future__ import annotations

import json
from typing import Any

import pytest

from moonraker_component import wire
from moonraker_component.wire import Desired, Heat, Report, Telemetry, Topics, WireError
from tests.wire.vectors import FULL, ORDER, SHA

LEAST = '{"session":"s","sequence":1'


def report(more: str) -> bytes:
    return (LEAST + more + "}").encode()


REFUSED_REPORTS = {
    "empty": (b"", "truncated"),
    "null": (b"null", "Expected `object`, got `null`"),
    "array": (b"[]", "Expected `object`, got `array`"),
    "not JSON": (b"hello", "malformed"),
    "two values": (b'{"session":"s","sequence":1}{}', "trailing"),
    "a byte order mark": (b"\xff\xfe{}", "malformed"),
    "no session": (b'{"sequence":1}', "session"),
    "no sequence": (b'{"session":"s"}', "sequence"),
    "an empty session": (b'{"session":"","sequence":1}', "session: 1 to 64"),
    "a long session": (b'{"session":"' + b"s" * 65 + b'","sequence":1}', "session: 1 to 64"),
    "a number as text": (b'{"session":"s","sequence":"1"}', "sequence"),
    "a number as truth": (b'{"session":"s","sequence":true}', "sequence"),
    "a whole number with a point": (b'{"session":"s","sequence":1.0}', "sequence"),
    "a negative number": (b'{"session":"s","sequence":-1}', "sequence"),
    "no number of JSON": (b'{"session":"s","sequence":NaN}', "malformed"),
    "a number past every float": (b'{"session":"s","sequence":1e400}', "sequence"),
    "a number of 5000 digits": (b'{"session":"s","sequence":' + b"9" * 5000 + b"}", "sequence"),
    "a number past 2^53": (report(f', "observed_term": {2**53 + 1}'), "observed_term"),
    "a generation past 2^53": (report(f', "observed_generation": {2**63}'), "observed_generation"),
    "text of half a character": (b'{"session":"\\ud800","sequence":1}', "malformed"),
    "a surrogate in UTF-8": (b'{"session":"\xed\xa0\x80","sequence":1}', "decode"),
    "another state of Klipper": (report(', "klipper": {"link": "asleep"}'), "asleep"),
    "another phase": (
        report(', "attempts": [{"attempt":"a","copy":"c","job":"j","phase":"dreaming"}]'),
        "dreaming",
    ),
    "attempts as object": (report(', "attempts": {}'), "attempts"),
    "an infinite nozzle": (report(', "profile": {"nozzle_mm": 1e999}'), "nozzle_mm"),
    "nested lists": (report(', "new": ' + "[" * 50_000 + "]" * 50_000), "recursion"),
    "nested objects": (report(', "new": ' + '{"a":' * 9_000 + "1" + "}" * 9_000), "recursion"),
    "open nested lists": (b"[" * 100_000, "Report"),
}


@pytest.mark.parametrize("case", REFUSED_REPORTS)
def test_a_report_of_wrong_shape_is_refused(case: str) -> None:
    payload, said = REFUSED_REPORTS[case]
    with pytest.raises(WireError, match="Report") as caught:
        wire.decode(Report, payload)
    assert said in str(caught.value)


def test_a_payload_is_measured_before_it_is_decoded() -> None:
    most = wire.PAYLOAD_MAX_BYTES
    text = '{"session":"s","sequence":1,"machine":"%s"}'
    fits = text % ("m" * (most - len(text) + 2))
    assert len(fits) == most
    assert wire.decode(Report, fits.encode()).session == "s"
    with pytest.raises(WireError, match=f"{most + 1} bytes, at most {most}"):
        wire.decode(Report, fits.encode() + b" ")


def changed(**fields: Any) -> bytes:
    """A good desired with these fields of its order (or `file.NAME`) put in."""
    order = json.loads(wire.encode(ORDER))
    for name, value in fields.items():
        where = order["file"] if name in order["file"] else order
        where[name] = value
    return json.dumps({"term": 1, "generation": 1, "order": order}).encode()


REFUSED_ORDERS: dict[str, tuple[dict[str, Any], str]] = {
    "a way up in the name": ({"name": "../../printer.cfg"}, "order.file.name"),
    "a folder in the name": ({"name": "a/b.gcode"}, "order.file.name"),
    "an absolute name": ({"name": "/etc/passwd"}, "order.file.name"),
    "a hidden name": ({"name": ".bashrc"}, "order.file.name"),
    "no name": ({"name": ""}, "order.file.name"),
    "a blank in the name": ({"name": "a b.gcode"}, "order.file.name"),
    "a line end after the name": ({"name": "a.gcode\n"}, "order.file.name"),
    "a NUL in the name": ({"name": "a\0.gcode"}, "order.file.name"),
    "a name of 101": ({"name": "a" * 101}, "order.file.name"),
    "a way up in the attempt": ({"attempt": "../../../x"}, "order.attempt"),
    "a dot in the attempt": ({"attempt": "1234.5678"}, "order.attempt"),
    "a short attempt": ({"attempt": "1234567"}, "order.attempt"),
    "a long attempt": ({"attempt": "a" * 65}, "order.attempt"),
    "a digest in capitals": ({"sha256": SHA.upper()}, "order.file.sha256"),
    "a digest with a line end": ({"sha256": SHA + "\n"}, "order.file.sha256"),
    "a short digest": ({"sha256": SHA[:-1]}, "order.file.sha256"),
    "a negative size": ({"size_bytes": -1}, "size_bytes"),
    "a negative fence": ({"fence_s": -0.5}, "fence_s"),
    "another want": ({"want": "explode"}, "explode"),
    "no attempt": ({"attempt": None}, "attempt"),
}


@pytest.mark.parametrize("case", REFUSED_ORDERS)
def test_an_order_that_could_leave_its_folder_or_mean_nothing_is_refused(case: str) -> None:
    fields, said = REFUSED_ORDERS[case]
    with pytest.raises(WireError, match="Desired") as caught:
        wire.decode(Desired, changed(**fields))
    assert said in str(caught.value)


def test_the_order_that_those_were_made_of_is_taken() -> None:
    desired = wire.decode(Desired, changed())
    assert desired.order == ORDER
    assert wire.host_path(ORDER.attempt, ORDER.file.name) == (
        "moonfleet/1f0c7a52b1d84d0e/bracket.gcode"
    )


@pytest.mark.parametrize("lease", ["0", "-1", "3600.5", "1e400", "null", '"15"'])
def test_a_lease_that_cannot_be_kept_is_refused(lease: str) -> None:
    with pytest.raises(WireError, match="lease_s"):
        wire.decode(Desired, f'{{"term":1,"generation":1,"lease_s":{lease}}}'.encode())


@pytest.mark.parametrize("field", ["term", "generation"])
@pytest.mark.parametrize("number", [-1, 2**53 + 1])
def test_numbers_of_a_desired_have_bounds(field: str, number: int) -> None:
    fields = {"term": 1, "generation": 1, field: number}
    with pytest.raises(WireError, match=f"Desired: {field}"):
        wire.decode(Desired, json.dumps(fields).encode())


def test_what_json_cannot_hold_becomes_unknown_or_is_refused_by_the_reader() -> None:
    nothing = float("nan")
    assert wire.decode(Telemetry, wire.encode(Telemetry(progress=nothing))).progress is None
    heat = Telemetry(heaters={"bed": Heat(nothing)})
    with pytest.raises(WireError, match="temperature_c"):
        wire.decode(Telemetry, wire.encode(heat))


@pytest.mark.parametrize("kind", {type(value) for value in FULL}, ids=lambda kind: kind.__name__)
def test_no_type_takes_an_array_or_a_bare_value(kind: type[wire.Message]) -> None:
    for payload in (b"[]", b"null", b"1", b'"x"', b"true"):
        with pytest.raises(WireError, match=f"{kind.__name__}: Expected `object`"):
            wire.decode(kind, payload)


# ---- topics ---------------------------------------------------------------------------------

ODD_IDS = ("", "a.b", "a/b", "a+b", "+", "#", "a#", "a b", "ä", "a\n", "a\0", "..", "x" * 65)
LEAVES = ("desired", "report", "online", "telemetry", "event", "command")


@pytest.mark.parametrize("printer", ODD_IDS)
def test_no_topic_is_made_of_an_id_that_means_something_to_a_broker(printer: str) -> None:
    for leaf in LEAVES:
        with pytest.raises(WireError, match="printer id"):
            getattr(Topics(), leaf)(printer)


@pytest.mark.parametrize("prefix", ["moonfleet/v1", "farm", "a/b/c", "Ställe"])
def test_split_takes_apart_what_the_topics_of_a_printer_are_made_of(prefix: str) -> None:
    topics = Topics(prefix)
    for leaf in LEAVES:
        assert topics.split(getattr(topics, leaf)("voron-1")) == ("voron-1", leaf)
    assert topics.job_event("job-1") == f"{prefix}/jobs/job-1/event"
    assert (topics.coordinator, topics.jobs_ready) == (
        f"{prefix}/coordinator",
        f"{prefix}/jobs/ready",
    )


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "moonfleet/v1",
        "moonfleet/v1/coordinator",
        "moonfleet/v1/jobs/ready",
        "moonfleet/v1/printers",
        "moonfleet/v1/printers/",
        "moonfleet/v1/printers/a",
        "moonfleet/v1/printers/a/",
        "moonfleet/v1/printers//report",
        "moonfleet/v1/printers/a.b/report",
        "moonfleet/v1/printers/a\n/report",
        "moonfleet/v1/printers/a/report/more",
        "other/moonfleet/v1/printers/a/report",
        "moonfleet/v2/printers/a/report",
    ],
)
def test_split_refuses_every_other_topic(topic: str) -> None:
    with pytest.raises(WireError, match="not a topic of a printer"):
        Topics().split(topic)


@pytest.mark.parametrize("prefix", ["", "/a", "a/", "a+", "+/a", "a/#", "a b", "a\tb", "a\n"])
def test_a_prefix_that_no_topic_can_begin_with_is_refused(prefix: str) -> None:
    with pytest.raises(WireError, match="topic prefix"):
        Topics(prefix)
