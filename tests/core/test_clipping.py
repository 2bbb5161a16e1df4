"""What a host says at length is shortened where it enters, and keeps its meaning."""

from __future__ import annotations

from coordinator.core.clipping import ITEMS_MAX, REASONS_MAX, ROOMY_BYTES, TEXT_MAX, clipped
from moonraker_component import wire
from moonraker_component.wire import (
    AttemptReport,
    Heat,
    Klipper,
    Link,
    Outcome,
    Phase,
    Reason,
    Report,
    Telemetry,
)

ENDED = AttemptReport("attempt-0001", "copy", "job", Phase.ENDED, Outcome.COMPLETE)


def test_an_ordinary_report_is_taken_as_it_is() -> None:
    report = Report("session", 1, klipper=Klipper(Link.READY, "x" * 600), attempts=(ENDED,))
    payload = wire.encode(report)
    assert len(payload) < ROOMY_BYTES
    assert clipped(report, len(payload)) is report


def test_a_report_of_endless_texts_keeps_what_decides_and_loses_what_floods_pages() -> None:
    report = Report(
        "session",
        7,
        klipper=Klipper(Link.SHUTDOWN, "m" * 50_000, "error", "f" * 50_000),
        refusals=tuple(Reason("code", "t" * 10_000) for _ in range(5000)),
        attempts=(ENDED,),
        local_print="\N{PILE OF POO}" * 50_000,
    )
    kept = clipped(report, 200_000)
    assert len(wire.encode(kept)) < 4 * TEXT_MAX * 4 + REASONS_MAX * (TEXT_MAX + 100)
    assert (kept.session, kept.sequence, kept.attempts) == ("session", 7, (ENDED,))
    assert kept.klipper.link is Link.SHUTDOWN
    assert (len(kept.klipper.message), kept.klipper.message[-1]) == (TEXT_MAX, "…")


def test_no_end_gets_lost_that_an_honest_host_tells() -> None:
    many = tuple(
        AttemptReport(f"attempt-{n:04}", "copy", "job", Phase.ENDED) for n in range(wire.ENDED_MAX)
    )
    assert clipped(Report("session", 1, attempts=many), 100_000).attempts == many


def test_a_reading_has_no_endless_heaters() -> None:
    reading = Telemetry(heaters={f"heater {n}": Heat(20.0) for n in range(5000)})
    assert len(clipped(reading, 200_000).heaters) == ITEMS_MAX
