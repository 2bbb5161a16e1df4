"""What can be broken on the virtual printer, and mended, while it runs.

Owns the names and values of the faults and what each does to the plant. Cutting the USB cable
and shutting down are not here: they are done to the micro-controller, not to the printer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from .physics import Plant, SensorFault
from .wiring import HEATERS, HeaterName

SENSOR_FAULTS: tuple[SensorFault, ...] = ("ok", "open", "short")


Word = TypeVar("Word", bound=str)


class RequestError(ValueError):
    """A request names a field or a value that is not allowed."""


def field_bool(request: Mapping[str, object], name: str) -> bool:
    """A field that must be true or false."""
    value = request.get(name)
    if not isinstance(value, bool):
        raise RequestError(f"{name} is {value!r}: allowed are true and false")
    return value


def field_choice(request: Mapping[str, object], name: str, allowed: Sequence[Word]) -> Word:
    """A field that must be one of some words."""
    value = request.get(name)
    for choice in allowed:
        if value == choice:
            return choice
    raise RequestError(f"{name} is {value!r}: allowed are {', '.join(allowed)}")


def switch(plant: Plant, request: Mapping[str, object]) -> None:
    """Break or mend one thing; `request["fault"]` says which.

    filament {present}; thermistor {heater, state}; heating {heater, works}; ejector {stuck}.
    Raises RequestError for anything else.
    """
    fault = field_choice(request, "fault", ("filament", "thermistor", "heating", "ejector"))
    heaters: tuple[HeaterName, ...] = tuple(HEATERS)
    if fault == "filament":
        plant.filament.present = field_bool(request, "present")
    elif fault == "thermistor":
        heater = plant.heaters[field_choice(request, "heater", heaters)]
        heater.sensor = field_choice(request, "state", SENSOR_FAULTS)
    elif fault == "heating":
        heater = plant.heaters[field_choice(request, "heater", heaters)]
        heater.works = field_bool(request, "works")
    else:
        plant.bed.ejector_stuck = field_bool(request, "stuck")


def switched(plant: Plant) -> dict[str, object]:
    """What is broken at the moment, for people."""
    return {
        "filament_present": plant.filament.present,
        "thermistors": {name: heater.sensor for name, heater in plant.heaters.items()},
        "heating": {name: heater.works for name, heater in plant.heaters.items()},
        "ejector_stuck": plant.bed.ejector_stuck,
    }
