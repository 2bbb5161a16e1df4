"""Heat, kinematics, filament and bed of the virtual printer."""

import math

import pytest

from demo.mcu.clock import FREQ_HZ
from demo.mcu.physics import (
    AMBIENT_C,
    Bed,
    Carriage,
    Filament,
    Heater,
    Motor,
    thermistor_adc_ratio,
)
from demo.mcu.wiring import HEATERS, MOTORS, Machine


def test_the_thermistor_reads_its_nominal_resistance_at_25_c() -> None:
    assert thermistor_adc_ratio(25.0) == pytest.approx(100_000 / 104_700)


def test_the_thermistor_reads_less_when_it_is_hotter() -> None:
    ratios = [thermistor_adc_ratio(temperature) for temperature in range(0, 300, 10)]
    assert ratios == sorted(ratios, reverse=True)


def test_a_heater_follows_the_exact_curve_however_often_it_is_asked() -> None:
    wiring = HEATERS["extruder"]
    often, once = Heater(wiring), Heater(wiring)
    for heater in (often, once):
        heater.set_duty(0, 0.5)
    for tenth in range(1, 301):
        often.advance(tenth * FREQ_HZ // 10)
    once.advance(30 * FREQ_HZ)
    final_c = AMBIENT_C + 0.5 * wiring.power_w / wiring.loss_w_per_k
    decay = math.exp(-30 * wiring.loss_w_per_k / wiring.heat_capacity_j_per_k)
    assert once.temperature_c == pytest.approx(final_c + (AMBIENT_C - final_c) * decay)
    assert often.temperature_c == pytest.approx(once.temperature_c)


def test_heaters_reach_what_real_files_ask_for() -> None:
    for name, wanted_c in (("extruder", 300.0), ("bed", 120.0)):
        wiring = next(wiring for key, wiring in HEATERS.items() if key == name)
        assert AMBIENT_C + wiring.power_w / wiring.loss_w_per_k > wanted_c


def test_a_dead_heater_stays_cold_and_a_mended_one_warms() -> None:
    heater = Heater(HEATERS["bed"])
    heater.works = False
    heater.set_duty(0, 1.0)
    heater.advance(60 * FREQ_HZ)
    assert heater.temperature_c == AMBIENT_C
    heater.works = True
    heater.advance(120 * FREQ_HZ)
    assert heater.temperature_c > 40


def test_sensor_faults_read_the_ends_of_the_scale() -> None:
    heater = Heater(HEATERS["bed"])
    heater.sensor = "open"
    assert heater.adc_ratio(0) == 1.0
    heater.sensor = "short"
    assert heater.adc_ratio(0) < thermistor_adc_ratio(400.0)
    heater.sensor = "ok"
    assert heater.adc_ratio(0) == thermistor_adc_ratio(AMBIENT_C)


class Steps:
    """A source of steps that stands still."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def position(self, clock: int) -> int:
        return self.steps


def test_a_motor_keeps_its_place_when_its_driver_is_reset() -> None:
    motor = Motor(MOTORS["x"], 10.0)
    motor.attach(Steps(160))
    motor.detach(0)
    assert motor.mm(0) == 12.0
    motor.attach(Steps(-80))
    assert motor.mm(0) == 11.0


@pytest.mark.parametrize("kinematics", ["cartesian", "corexy"])
def test_the_carriage_starts_at_the_same_place_and_moves_along_x(kinematics: str) -> None:
    machine = Machine(kinematics="corexy" if kinematics == "corexy" else "cartesian")
    carriage = Carriage(machine)
    x_mm, y_mm, z_mm = carriage.position_mm(0)
    assert (x_mm, y_mm, z_mm) == (55.0, 44.0, 10.0)
    carriage.motors["x"].attach(Steps(800))  # 10 mm of belt
    if kinematics == "corexy":
        carriage.motors["y"].attach(Steps(800))
    assert carriage.position_mm(0) == (65.0, 44.0, 10.0)
    assert not carriage.endstop_closed("x", 0)
    carriage.motors["x"].attach(Steps(-800 * 7))
    if kinematics == "corexy":
        carriage.motors["y"].attach(Steps(-800 * 7))
    assert carriage.endstop_closed("x", 0)
    assert not carriage.endstop_closed("y", 0)
    assert not carriage.over_bed(0)


def test_retractions_are_paid_back_before_plastic_comes_out() -> None:
    filament = Filament()
    assert [filament.push(mm) for mm in (5, 3, 5, 6)] == [5, 0, 0, 1]


def test_after_a_runout_only_the_tail_comes_out() -> None:
    filament = Filament()
    filament.present = False
    assert filament.push(Filament.TAIL_MM - 1) == Filament.TAIL_MM - 1
    assert filament.push(Filament.TAIL_MM + 50) == 1
    assert filament.push(Filament.TAIL_MM + 60) == 0
    filament.present = True
    assert filament.push(Filament.TAIL_MM + 65) == 5


def test_the_bed_keeps_the_first_owner_of_what_lies_on_it() -> None:
    bed = Bed()
    assert bed.add(1.0, "first", "a.gcode").owner == "first"
    assert bed.add(2.0, "second", "b.gcode").owner == "first"
    bed.clear()
    assert bed.add(1.0, "second", "b.gcode").owner == "second"


def test_a_stuck_ejector_leaves_the_part() -> None:
    bed = Bed()
    bed.add(1.0, "first", "a.gcode")
    bed.ejector_stuck = True
    assert not bed.eject()
    assert bed.part is not None
    bed.ejector_stuck = False
    assert bed.eject()
    assert bed.part is None
