"""What is soldered to which pin of the virtual printer, and its mechanics.

The one place that printer.cfg (demo/klipper_config.py) and the simulation share. Values only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

KinematicsName = Literal["cartesian", "corexy"]
HeaterName = Literal["extruder", "bed"]

PINS = tuple(f"P{port}{number}" for port in "ABCDE" for number in range(16))

FULL_STEPS_PER_TURN = 200
MICROSTEPS = 16


@dataclass(frozen=True)
class MotorWiring:
    """One stepper: its pins and the travel of one turn."""

    step_pin: str
    dir_pin: str
    enable_pin: str
    rotation_distance_mm: float
    endstop_pin: str = ""

    @property
    def steps_per_mm(self) -> float:
        """Microsteps per millimetre of travel (or of filament)."""
        return FULL_STEPS_PER_TURN * MICROSTEPS / self.rotation_distance_mm


@dataclass(frozen=True)
class HeaterWiring:
    """One heater: its pins and its thermal figures."""

    heater_pin: str
    sensor_pin: str
    power_w: float
    heat_capacity_j_per_k: float
    loss_w_per_k: float


MOTORS: dict[str, MotorWiring] = {
    "x": MotorWiring("PA0", "PA1", "PA8", 40.0, "PC0"),
    "y": MotorWiring("PA2", "PA3", "PA9", 40.0, "PC1"),
    "z": MotorWiring("PA4", "PA5", "PA10", 8.0, "PC2"),
    "e": MotorWiring("PA6", "PA7", "PA11", 6.4),
}

# The bed is stronger than a real 220 mm one, so that demonstrations do not wait for it.
HEATERS: dict[HeaterName, HeaterWiring] = {
    "extruder": HeaterWiring("PB0", "PE0", 50.0, 6.0, 0.11),
    "bed": HeaterWiring("PB1", "PE1", 350.0, 120.0, 1.6),
}

FAN_PIN = "PB2"
EJECTOR_PIN = "PB3"
FILAMENT_SWITCH_PIN = "PD0"  # reads 1 while filament is present
BED_SENSOR_PIN = "PD1"  # reads 1 while a part lies on the bed

THERMISTOR_BETA_K = 3950.0
THERMISTOR_OHM_AT_25C = 100_000.0
PULLUP_OHM = 4_700.0  # Klipper's default pullup_resistor


@dataclass(frozen=True)
class Machine:
    """Size and kinematics of one printer."""

    bed_x_mm: float = 220.0
    bed_y_mm: float = 220.0
    bed_z_mm: float = 250.0
    kinematics: KinematicsName = "cartesian"
