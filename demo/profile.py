"""What kind of printer a virtual printer is.

Owns the figures that its config and its simulation are made of. Values only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from demo.mcu.wiring import KinematicsName, Machine

_NAME = re.compile(r"[A-Za-z0-9_-]{1,32}")


@dataclass(frozen=True)
class Profile:
    """One virtual printer. `name` is also its folder's name: `[A-Za-z0-9_-]{1,32}`."""

    name: str
    bed_x_mm: float = 220.0
    bed_y_mm: float = 220.0
    bed_z_mm: float = 250.0
    nozzle_mm: float = 0.4
    nozzle_max_c: float = 260.0
    bed_max_c: float = 110.0
    material: str = "PLA"
    color: str = "black"
    kinematics: KinematicsName = "cartesian"
    max_velocity_mm_s: float = 300.0
    max_accel_mm_s2: float = 3000.0
    speed: float = 1.0
    """Times faster than real time: Klipper and its micro-controller, never Moonraker."""

    wall_offset_s: int = 0
    """How wrong the wall clock of the host is (Moonraker's), as on a board without a battery."""

    bed_sensor: bool = True
    """Whether a sensor under the bed lets the ejection macro notice that the part stayed."""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"name {self.name!r}: allowed are 1 to 32 of A-Z a-z 0-9 _ -")
        if not 0.1 <= self.speed <= 50:
            raise ValueError(f"speed {self.speed}: allowed is 0.1 to 50 (25 is reliable)")
        for field in ("bed_x_mm", "bed_y_mm", "bed_z_mm", "nozzle_mm", "nozzle_max_c"):
            if not getattr(self, field) > 0:
                raise ValueError(f"{field} {getattr(self, field)}: must be above 0")

    @property
    def machine(self) -> Machine:
        """What the simulation needs of it."""
        return Machine(self.bed_x_mm, self.bed_y_mm, self.bed_z_mm, self.kinematics)
