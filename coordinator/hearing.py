"""Which messages reach the engine: each topic, its type, and the door it goes in by.

Owns the decoding of what comes in. Must not know connections, nor decide anything. Presence of
hosts (`online`, their wills) has no door here: a will of an old connection comes after the new one
stands, so nothing may rest on it (rule 1 of docs/design.md, section 4).
"""

from __future__ import annotations

from coordinator.core.clipping import clipped
from coordinator.engine import Engine
from moonraker_component import wire
from moonraker_component.wire import Beacon, Event, Report, Telemetry, Topics


def hand_over(engine: Engine, topics: Topics, topic: str, payload: bytes) -> None:
    """Decode one live message and give it to the engine; raises WireError for a bad one."""
    if topic == topics.coordinator:
        engine.hear_beacon(wire.decode(Beacon, payload))
        return
    printer_id, leaf = topics.split(topic)
    size_bytes = len(payload)
    if leaf == "report":
        engine.hear_report(printer_id, clipped(wire.decode(Report, payload), size_bytes))
    elif leaf == "telemetry":
        engine.hear_telemetry(printer_id, clipped(wire.decode(Telemetry, payload), size_bytes))
    elif leaf == "event":
        engine.hear_event(printer_id, clipped(wire.decode(Event, payload), size_bytes))
