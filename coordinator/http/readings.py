"""What a page gets of telemetry: what it shows, no finer than it shows it, and when.

Owns the rounding and what is worth sending. Pure. Must not know the feed or its clients.

Two hundred printers say four things a second that no page shows: where the nozzle is, hundredths
of a degree, seconds of hours that are left.
"""

from __future__ import annotations

from msgspec.structs import replace

from coordinator.http.printer_view import Readings
from moonraker_component.wire import Heat, Telemetry

TOLD_S = 1.0
"""A printer's readings are sent no more often."""

REPEAT_S = 8.0
"""Readings that stay the same are sent this often, for a page takes older ones for stale."""

PROGRESS_DIGITS = 3
LEFT_STEP_S = 10.0


def shown(readings: Readings) -> Readings:
    """The readings as pages get them."""
    telemetry = readings.telemetry
    left_s = telemetry.left_s
    if left_s is not None and left_s > LEFT_STEP_S:
        left_s = round(left_s / LEFT_STEP_S) * LEFT_STEP_S
    progress = telemetry.progress
    return Readings(
        printer=readings.printer,
        at=round(readings.at),
        telemetry=Telemetry(
            heaters={
                name: Heat(round(heat.temperature_c), heat.target_c)
                for name, heat in telemetry.heaters.items()
            },
            progress=None if progress is None else round(progress, PROGRESS_DIGITS),
            layer=telemetry.layer,
            layers=telemetry.layers,
            left_s=left_s,
        ),
    )


def worth_sending(before: Readings | None, after: Readings) -> bool:
    """Whether a page that has `before` should get `after`, both as they are shown."""
    if before is None or after.at - before.at >= REPEAT_S:
        return True
    return replace(after, at=before.at) != before
