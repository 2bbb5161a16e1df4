"""When a printer may start: one reason per condition, and none when all hold."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from moonraker_component import gate
from moonraker_component.view import start_seen
from moonraker_component.wire import Bed, Filament, Link
from tests.component.build import IDLE, printing


def test_an_idle_printer_with_a_clear_bed_may_start() -> None:
    assert gate.refusals(IDLE) == ()


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"link": Link.SHUTDOWN}, "klipper"),
        ({"link": Link.DISCONNECTED}, "klipper"),
        ({"print_state": "printing"}, "printing"),
        ({"print_state": "paused"}, "printing"),
        ({"print_state": ""}, "printing"),
        ({"active": True}, "printing"),
        ({"paused": True}, "paused"),
        ({"idle_state": "Printing"}, "busy"),
        ({"idle_state": ""}, "busy"),
        ({"queue_state": "loading"}, "local_queue"),
        ({"queue_state": "starting"}, "local_queue"),
        ({"maintenance": True}, "maintenance"),
        ({"filament": Filament(detected=False)}, "filament"),
        ({"ejecting": True}, "ejecting"),
        ({"bed": Bed(False, "bed-1")}, "bed_not_clear"),
    ],
)
def test_each_condition_refuses_by_its_own_code(change: dict[str, Any], code: str) -> None:
    assert [reason.code for reason in gate.refusals(replace(IDLE, **change))] == [code]


@pytest.mark.parametrize("state", ["standby", "complete", "cancelled", "error"])
def test_every_ended_print_leaves_the_printer_free(state: str) -> None:
    assert gate.refusals(replace(IDLE, print_state=state)) == ()


def test_all_reasons_are_told_at_once() -> None:
    codes = [reason.code for reason in gate.refusals(printing("paused"))]
    assert codes == ["printing", "paused", "busy", "bed_not_clear"]


@pytest.mark.parametrize(
    ("before", "after", "seen"),
    [
        (IDLE, printing(), True),
        (printing(), printing("paused"), False),
        (printing("paused"), printing(), False),
        (printing(), replace(printing(), path="other.gcode"), True),
        (printing(), replace(printing(), boot=2), True),
        (printing("complete"), printing(), True),
        (IDLE, replace(printing(), link=Link.SHUTDOWN), False),
        (printing(), IDLE, False),
    ],
)
def test_a_start_is_seen_between_two_views(before: Any, after: Any, seen: bool) -> None:
    assert start_seen(before, after) is seen
