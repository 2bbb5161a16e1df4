"""The configuration files of a virtual printer: printer.cfg and moonraker.conf as text.

Pure: profile and paths in, text out. Owns every option that the demo sets.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from demo.mcu.wiring import (
    BED_SENSOR_PIN,
    EJECTOR_PIN,
    FAN_PIN,
    FILAMENT_SWITCH_PIN,
    HEATERS,
    MICROSTEPS,
    MOTORS,
    THERMISTOR_BETA_K,
    THERMISTOR_OHM_AT_25C,
)
from demo.profile import Profile

EJECT_MACRO = "EJECT_PART"

IDLE_TIMEOUT_S = 600
"""Klipper's own default, here in real time: then heaters and motors go off, also in a pause."""


@dataclass(frozen=True)
class Paths:
    """Where the files of one virtual printer are."""

    run_dir: Path

    @property
    def data(self) -> Path:
        """The printer_data folder."""
        return self.run_dir / "printer_data"

    @property
    def printer_cfg(self) -> Path:
        """Klipper's configuration."""
        return self.data / "config" / "printer.cfg"

    @property
    def moonraker_conf(self) -> Path:
        """Moonraker's configuration."""
        return self.data / "config" / "moonraker.conf"

    @property
    def gcodes(self) -> Path:
        """The virtual SD card."""
        return self.data / "gcodes"

    @property
    def logs(self) -> Path:
        """The logs of all processes."""
        return self.data / "logs"

    @property
    def klippy_socket(self) -> Path:
        """Klipper's API socket."""
        return self.data / "comms" / "klippy.sock"

    @property
    def moonraker_socket(self) -> Path:
        """Moonraker's own socket: the longest path that must fit a socket address."""
        return self.data / "comms" / "moonraker.sock"

    @property
    def control(self) -> Path:
        """The micro-controller's control socket."""
        return self.run_dir / "control.sock"

    @property
    def mcu_link(self) -> Path:
        """The link to the pty that klippy opens."""
        return self.run_dir / "mcu.tty"

    @property
    def ledger(self) -> Path:
        """The ledger of what was extruded."""
        return self.run_dir / "ledger.jsonl"


def _motor(section: str, name: str, options: str) -> str:
    motor = MOTORS[name]
    return f"""\
[{section}]
step_pin: {motor.step_pin}
dir_pin: {motor.dir_pin}
enable_pin: !{motor.enable_pin}
microsteps: {MICROSTEPS}
rotation_distance: {motor.rotation_distance_mm:g}
{options}
"""


def _axis(name: str, length_mm: float, homing_mm_s: float) -> str:
    options = f"""\
endstop_pin: {MOTORS[name].endstop_pin}
position_endstop: 0
position_max: {length_mm:g}
homing_speed: {homing_mm_s:g}
"""
    return _motor(f"stepper_{name}", name, options)


def _heaters(profile: Profile) -> str:
    nozzle, bed = HEATERS["extruder"], HEATERS["bed"]
    extruder = f"""\
nozzle_diameter: {profile.nozzle_mm:g}
filament_diameter: 1.75
max_extrude_cross_section: 5
max_extrude_only_distance: 200
heater_pin: {nozzle.heater_pin}
sensor_type: virtual_ntc
sensor_pin: {nozzle.sensor_pin}
control: pid
pid_Kp: 40
pid_Ki: 0.5
pid_Kd: 40
min_temp: 0
max_temp: {profile.nozzle_max_c:g}
"""
    return f"""\
[thermistor virtual_ntc]
temperature1: 25
resistance1: {THERMISTOR_OHM_AT_25C:g}
beta: {THERMISTOR_BETA_K:g}

{_motor("extruder", "e", extruder)}
[heater_bed]
heater_pin: {bed.heater_pin}
sensor_type: virtual_ntc
sensor_pin: {bed.sensor_pin}
control: watermark
min_temp: 0
max_temp: {profile.bed_max_c:g}
"""


def _ejection(profile: Profile) -> str:
    """The macro that pushes the part off; with a sensor it fails when the part stays."""
    text = f"""\
[output_pin ejector]
pin: {EJECTOR_PIN}

[gcode_macro {EJECT_MACRO}]
gcode:
  SET_PIN PIN=ejector VALUE=1
  G4 P500
  SET_PIN PIN=ejector VALUE=0
  G4 P500
  M400
"""
    if not profile.bed_sensor:
        return text
    # A macro is rendered as a whole before it runs: only a second one sees what the first did.
    return f"""\
{text}  _EJECT_CHECK

[gcode_button bed_part]
pin: {BED_SENSOR_PIN}
press_gcode:

[gcode_macro _EJECT_CHECK]
gcode:
  {{% if printer["gcode_button bed_part"].state == "PRESSED" %}}
    {{ action_raise_error("ejection failed: the part is still on the bed") }}
  {{% endif %}}
"""


def printer_cfg(profile: Profile, paths: Paths, section: str) -> str:
    """printer.cfg; `section` is further text, such as the product's section."""
    return f"""\
# Written anew at each start of the virtual printer.
[mcu]
serial: {paths.mcu_link}
restart_method: command

[printer]
kinematics: {profile.kinematics}
max_velocity: {profile.max_velocity_mm_s:g}
max_accel: {profile.max_accel_mm_s2:g}
max_z_velocity: 20
max_z_accel: 200

{_axis("x", profile.bed_x_mm, 50)}
{_axis("y", profile.bed_y_mm, 50)}
{_axis("z", profile.bed_z_mm, 8)}
{_heaters(profile)}
[fan]
pin: {FAN_PIN}

[filament_switch_sensor runout]
switch_pin: {FILAMENT_SWITCH_PIN}
pause_on_runout: True

[virtual_sdcard]
path: {paths.gcodes}

[pause_resume]
[display_status]
[exclude_object]
[respond]

# What a person or the network takes to end a pause is not hurried, so neither is this.
[idle_timeout]
timeout: {IDLE_TIMEOUT_S * profile.speed:g}

[gcode_macro CANCEL_PRINT]
rename_existing: BASE_CANCEL_PRINT
gcode:
  TURN_OFF_HEATERS
  BASE_CANCEL_PRINT

{_ejection(profile)}
[moonfleet_demo]
control: {paths.control}

{section}
"""


def product_section() -> str:
    """The product's section for printers that clear their bed by the ejector."""
    return f"[moonfleet]\neject_gcode:\n  {EJECT_MACRO}\n"


def moonraker_conf(paths: Paths, port: int, section: str) -> str:
    """moonraker.conf; `section` is further text, such as the component's section."""
    return f"""\
# Written anew at each start of the virtual printer.
[server]
host: 127.0.0.1
port: {port}
klippy_uds_address: {paths.klippy_socket}

[authorization]
trusted_clients:
    127.0.0.1

[file_manager]
enable_object_processing: False

[job_queue]
[history]

[machine]
provider: none
validate_service: False

{section}
"""
