"""One value of every message type with each field set, and one with only what it must have.

Owns the values that tests/wire/golden/ holds as JSON. A change of a golden file is a change of
the protocol: another version of us wrote those bytes, and must be understood.
"""

from __future__ import annotations

from typing import Any

from moonraker_component.wire import (
    AttemptReport,
    Beacon,
    Bed,
    Command,
    CommandKind,
    Desired,
    Echo,
    Event,
    Filament,
    FileRef,
    Heat,
    JobEvent,
    JobReady,
    Klipper,
    Link,
    Message,
    Online,
    Order,
    Outcome,
    Phase,
    Profile,
    Reason,
    Report,
    Telemetry,
    Want,
)

SHA = "0123456789abcdef" * 4

ORDER = Order(
    attempt="1f0c7a52b1d84d0e",
    copy="copy-1",
    job="job-1",
    want=Want.RUN,
    file=FileRef("bracket.gcode", SHA, 4_096, "http://127.0.0.1:8008/api/v1/attempts/1f0c/file"),
    session="session-1",
    fence_s=120.0,
    resume="pause-1",
)
ATTEMPT = AttemptReport(
    attempt="1f0c7a52b1d84d0e",
    copy="copy-1",
    job="job-1",
    phase=Phase.ENDED,
    outcome=Outcome.FAILED,
    cause="klipper_shutdown",
    message="MCU 'mcu' shutdown: Timer too close",
    pause="pause-1",
    fenced=True,
)

FULL: tuple[Message, ...] = (
    Desired(term=7, generation=42, lease_s=10.0, order=ORDER, echo=Echo("session-1", 311)),
    Report(
        session="session-1",
        sequence=312,
        observed_term=7,
        observed_generation=42,
        klipper=Klipper(Link.READY, "Printer is ready", "printing", "moonfleet/1f0c/b.gcode"),
        attempts=(ATTEMPT,),
        refusals=(Reason("bed_not_clear", "nobody has said that the bed is clear"),),
        bed=Bed(True, "token-1"),
        profile=Profile(
            kinematics="corexy",
            model="Voron 2.4",
            size_min_mm=(0.0, -2.5, 0.0),
            size_max_mm=(350.0, 350.0, 340.5),
            nozzle_mm=0.4,
            extruder_max_c=300.0,
            bed_max_c=120.0,
        ),
        filament=Filament("PETG", "jet black", True),
        machine="10000000a1b2c3d4",
        section=True,
        local_print="calibration cube.gcode",
    ),
    Online(online=True, session="session-1", version="0.1.0", wire=9),
    Beacon(online=True, term=7, lease_s=10.0, version="0.1.0", sequence=99, id="c0ffee0123456789"),
    Telemetry(
        heaters={"extruder": Heat(214.8, 215.0), "temperature_sensor case": Heat(31.5)},
        progress=0.5,
        layer=12,
        layers=240,
        position_mm=(10.5, 20.25, 2.4),
        print_s=1800.0,
        left_s=1790.5,
        filament_mm=1234.5,
        attempt="1f0c7a52b1d84d0e",
        filename="moonfleet/1f0c/b.gcode",
    ),
    Event(
        id="event-1",
        kind="runout",
        attempt="1f0c7a52b1d84d0e",
        text="filament sensor 'spool' sees none",
        data={"sensor": "spool"},
    ),
    Command(
        id="command-1",
        kind=CommandKind.BED_CLEAR,
        session="session-1",
        sequence=312,
        attempt="1f0c7a52b1d84d0e",
        token="token-1",
    ),
    JobReady(
        url="https://slicer.example/out/bracket.gcode",
        sha256=SHA,
        name="bracket.gcode",
        copies=3,
        material="PETG",
        color="jet black",
        nozzle_mm=0.6,
    ),
    JobEvent(
        id="event-2",
        kind="JobStarted",
        job="job-1",
        copy="copy-1",
        attempt="1f0c7a52b1d84d0e",
        printer="voron-1",
        cause="grüße ✓",
    ),
)

LEAST: tuple[Message, ...] = (
    Desired(term=1, generation=1),
    Report(session="s", sequence=1),
    Online(online=False),
    Beacon(online=False),
    Telemetry(),
    Event(id="event-1", kind="layer"),
    Command(id="command-1", kind=CommandKind.EMERGENCY_STOP, session="s", sequence=1),
    JobReady(url="https://slicer.example/a.gcode", sha256=SHA),
    JobEvent(id="event-1", kind="JobQueued", job="job-1"),
)

CASES: dict[str, Message] = {
    **{f"{type(value).__name__}.full": value for value in FULL},
    **{f"{type(value).__name__}.least": value for value in LEAST},
}


def parts_of(value: Any) -> list[Message]:
    """The message and every message inside it."""
    if isinstance(value, Message):
        inner = [getattr(value, name) for name in value.__struct_fields__]
        return [value, *(part for field in inner for part in parts_of(field))]
    if isinstance(value, tuple | list):
        return [part for item in value for part in parts_of(item)]
    if isinstance(value, dict):
        return [part for item in value.values() for part in parts_of(item)]
    return []
