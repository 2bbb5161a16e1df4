"""What the pins do to the world: heat, motion, plastic, and the bed that it lands on.

Owns the physical state of one printer, which outlives resets of its micro-controller. Knows
clocks only as numbers and nothing of the protocol, of files or of who is told.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Protocol

from .clock import FREQ_HZ
from .wiring import (
    HEATERS,
    MOTORS,
    PULLUP_OHM,
    THERMISTOR_BETA_K,
    THERMISTOR_OHM_AT_25C,
    HeaterName,
    HeaterWiring,
    Machine,
    MotorWiring,
)

AMBIENT_C = 22.0
SHORTED_ADC_RATIO = 0.001
"""A short has the few ohms of its wires; at none at all the beta formula turns to frost."""
SensorFault = Literal["ok", "open", "short"]


def thermistor_adc_ratio(temperature_c: float) -> float:
    """The share of full scale that the ADC reads: an NTC below a pull-up (beta formula)."""
    kelvin = temperature_c + 273.15
    ohm = THERMISTOR_OHM_AT_25C * math.exp(THERMISTOR_BETA_K * (1 / kelvin - 1 / 298.15))
    return ohm / (ohm + PULLUP_OHM)


class Heater:
    """A lump of metal with a heater, a loss to the room and a thermistor (first order)."""

    def __init__(self, wiring: HeaterWiring) -> None:
        self._wiring = wiring
        self._clock = 0
        self.temperature_c = AMBIENT_C
        self.duty = 0.0
        self.works = True
        self.sensor: SensorFault = "ok"

    def advance(self, clock: int) -> None:
        """Integrate up to `clock`: the exact solution while the duty is constant."""
        wiring = self._wiring
        elapsed_s = (clock - self._clock) / FREQ_HZ
        if elapsed_s <= 0:
            return
        self._clock = clock
        power_w = wiring.power_w * self.duty if self.works else 0.0
        final_c = AMBIENT_C + power_w / wiring.loss_w_per_k
        decay = math.exp(-elapsed_s * wiring.loss_w_per_k / wiring.heat_capacity_j_per_k)
        self.temperature_c = final_c + (self.temperature_c - final_c) * decay

    def set_duty(self, clock: int, duty: float) -> None:
        """Change the power (0 .. 1) from `clock` on."""
        self.advance(clock)
        self.duty = min(1.0, max(0.0, duty))

    def adc_ratio(self, clock: int) -> float:
        """What the sensor's pin reads at `clock`, 0 .. 1."""
        self.advance(clock)
        if self.sensor == "open":
            return 1.0
        if self.sensor == "short":
            return SHORTED_ADC_RATIO
        return thermistor_adc_ratio(self.temperature_c)

    def reboot(self) -> None:
        """The board starts counting at zero: power is off, the metal stays warm."""
        self.duty, self._clock = 0.0, 0


class StepSource(Protocol):
    """Whatever counts the steps of a motor (demo.mcu.motion.Stepper)."""

    def position(self, clock: int) -> int:
        """Signed steps since the source was attached."""


class Motor:
    """A motor's true position, whoever drives it at the moment."""

    def __init__(self, wiring: MotorWiring, position_mm: float) -> None:
        self._steps_per_mm = wiring.steps_per_mm
        self._base_mm = position_mm
        self._source: StepSource | None = None

    def attach(self, source: StepSource) -> None:
        """From now on `source` counts the steps, beginning at its zero."""
        self._source = source

    def detach(self, clock: int) -> None:
        """Keep the place where the motor stands; its driver was reset."""
        self._base_mm = self.mm(clock)
        self._source = None

    def from_steps(self, steps: int) -> float:
        """Millimetres at `steps` of the attached source."""
        return self._base_mm + steps / self._steps_per_mm

    def mm(self, clock: int) -> float:
        """Millimetres at `clock`."""
        return self.from_steps(self._source.position(clock)) if self._source else self._base_mm


class Carriage:
    """Where the nozzle is, from the motors' positions and the kinematics."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        x_mm, y_mm, z_mm = machine.bed_x_mm / 4, machine.bed_y_mm / 5, 10.0
        if machine.kinematics == "corexy":
            first_mm, second_mm = x_mm + y_mm, x_mm - y_mm
        else:
            first_mm, second_mm = x_mm, y_mm
        self.motors = {
            "x": Motor(MOTORS["x"], first_mm),
            "y": Motor(MOTORS["y"], second_mm),
            "z": Motor(MOTORS["z"], z_mm),
        }

    def position_mm(self, clock: int) -> tuple[float, float, float]:
        """The nozzle's x, y, z at `clock`."""
        first_mm, second_mm = self.motors["x"].mm(clock), self.motors["y"].mm(clock)
        z_mm = self.motors["z"].mm(clock)
        if self.machine.kinematics == "corexy":
            return (first_mm + second_mm) / 2, (first_mm - second_mm) / 2, z_mm
        return first_mm, second_mm, z_mm

    def endstop_closed(self, axis: str, clock: int) -> bool:
        """Whether the switch at the zero end of `axis` ("x", "y" or "z") is pressed."""
        return self.position_mm(clock)["xyz".index(axis)] <= 0.0

    def over_bed(self, clock: int) -> bool:
        """Whether plastic that leaves the nozzle lands on the bed (or on the part there)."""
        x_mm, y_mm, _ = self.position_mm(clock)
        return 0 <= x_mm <= self.machine.bed_x_mm and 0 <= y_mm <= self.machine.bed_y_mm


class Filament:
    """The filament: its switch, what is left behind the switch, and what came out of the nozzle.

    Plastic leaves the nozzle only where the filament is pushed further than it ever was: a
    retraction leaves a void that must be filled first. So the sum of what came out is the
    rise of a high-water mark, and retractions need no booking of their own.
    """

    TAIL_MM = 400.0
    """Between the switch and the nozzle: what still prints after a runout."""

    def __init__(self) -> None:
        self.motor = Motor(MOTORS["e"], 0.0)
        self._present = True
        self._tail_mm = self.TAIL_MM
        self._high_water_mm = 0.0

    @property
    def present(self) -> bool:
        """Whether the switch sees filament."""
        return self._present

    @present.setter
    def present(self, present: bool) -> None:
        self._present = present
        self._tail_mm = self.TAIL_MM

    def prime(self, position_mm: float) -> None:
        """Take the nozzle as full at this position, as after a purge."""
        self._high_water_mm = position_mm

    def push(self, position_mm: float) -> float:
        """Move the filament to `position_mm`; return the mm that came out of the nozzle."""
        out_mm = max(0.0, position_mm - self._high_water_mm)
        self._high_water_mm = max(self._high_water_mm, position_mm)
        if not self._present:
            out_mm = min(out_mm, self._tail_mm)
            self._tail_mm -= out_mm
        return out_mm


@dataclass
class Part:
    """What lies on the bed: `owner` tells prints apart, "" is plastic of no print."""

    owner: str
    path: str
    mm: float = 0.0


class Bed:
    """The bed with at most one heap of plastic on it, and the ejector that pushes it off."""

    def __init__(self) -> None:
        self.part: Part | None = None
        self.ejector_stuck = False

    def add(self, mm: float, owner: str, path: str) -> Part:
        """Put plastic down; return what it came to lie on (a new part, if the bed was free)."""
        if self.part is None:
            self.part = Part(owner, path)
        self.part.mm += mm
        return self.part

    def clear(self) -> None:
        """Take the part off."""
        self.part = None

    def eject(self) -> bool:
        """Push the part off; return False if the ejector is stuck."""
        if not self.ejector_stuck:
            self.part = None
        return not self.ejector_stuck


class Plant:
    """One whole physical printer."""

    def __init__(self, machine: Machine) -> None:
        self.heaters: dict[HeaterName, Heater] = {
            name: Heater(wiring) for name, wiring in HEATERS.items()
        }
        self.carriage = Carriage(machine)
        self.filament = Filament()
        self.bed = Bed()

    def motor_at(self, step_pin: str) -> Motor | None:
        """The motor that is wired to a step pin, if any."""
        for name, wiring in MOTORS.items():
            if wiring.step_pin == step_pin:
                return self.filament.motor if name == "e" else self.carriage.motors[name]
        return None

    def reboot(self, clock: int) -> None:
        """The micro-controller restarts at `clock`: everything stays where it is."""
        for motor in (*self.carriage.motors.values(), self.filament.motor):
            motor.detach(clock)
        for heater in self.heaters.values():
            heater.advance(clock)
            heater.reboot()
