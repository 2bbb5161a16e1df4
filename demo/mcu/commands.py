"""The commands of the virtual firmware, as Klipper's src/ declares them for real boards.

Owns the table of commands and responses, from which the data dictionary is made: adding a
command is adding a function. The commands themselves only translate to calls of devices.
The older forms of query_analog_in and analog_in_state are declared on purpose: newer hosts fall
back to them, so that one dictionary serves hosts of 2023 and of today.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .clock import FREQ_HZ
from .motion import Endstop, Stepper, Trsync
from .pins import ADC_MAX, PWM_MAX, AnalogIn, Buttons, Output
from .protocol import Dictionary, Format
from .wiring import PINS

if TYPE_CHECKING:
    from .firmware import VirtualMcu

MOVE_QUEUE_LENGTH = 1024
STATIC_STRINGS = {
    text: number
    for number, text in enumerate(
        (
            "Command request",
            "ADC out of range",
            "Timer too close",
            "Invalid command",
            "Missed scheduling of next digital out event",
        )
    )
}
RESPONSES = (
    "identify_response offset=%u data=%.*s",
    "uptime high=%u clock=%u",
    "clock clock=%u",
    "stats count=%u sum=%u sumsq=%u",
    "config is_config=%c crc=%u is_shutdown=%c move_count=%hu",
    "shutdown clock=%u static_string_id=%hu",
    "is_shutdown static_string_id=%hu",
    "starting",
    "stepper_position oid=%c pos=%i",
    "endstop_state oid=%c homing=%c next_clock=%u pin_value=%c",
    "trsync_state oid=%c can_trigger=%c trigger_reason=%c clock=%u",
    "analog_in_state oid=%c next_clock=%u value=%hu",
    "buttons_state oid=%c ack_count=%c state=%*s",
)

# The arguments of a command are what its text says; that is beyond mypy.
Run = Callable[..., None]


@dataclass(frozen=True)
class Command:
    """One command: what it does, its format, and whether it works after a shutdown."""

    run: Run
    format: Format
    in_shutdown: bool


_declared: dict[str, tuple[Run, bool]] = {}


def _command(text: str, *, in_shutdown: bool = False) -> Callable[[Run], Run]:
    def declare(run: Run) -> Run:
        _declared[text] = (run, in_shutdown)
        return run

    return declare


# Infrastructure


@_command("identify offset=%u count=%c", in_shutdown=True)
def _identify(mcu: VirtualMcu, offset: int, count: int) -> None:
    mcu.send("identify_response", offset, DICTIONARY.compressed[offset : offset + count])


@_command("get_uptime", in_shutdown=True)
def _get_uptime(mcu: VirtualMcu) -> None:
    now = mcu.clock.now()
    mcu.send("uptime", now >> 32, now)


@_command("get_clock", in_shutdown=True)
def _get_clock(mcu: VirtualMcu) -> None:
    mcu.send("clock", mcu.clock.now())


@_command("get_config", in_shutdown=True)
def _get_config(mcu: VirtualMcu) -> None:
    is_shutdown = bool(mcu.shutdown_reason)
    mcu.send("config", mcu.configured, mcu.config_crc, is_shutdown, MOVE_QUEUE_LENGTH)


@_command("allocate_oids count=%c")
def _allocate_oids(mcu: VirtualMcu, count: int) -> None:
    mcu.oids.clear()


@_command("finalize_config crc=%u")
def _finalize_config(mcu: VirtualMcu, crc: int) -> None:
    mcu.config_crc, mcu.configured = crc, True


@_command("emergency_stop", in_shutdown=True)
def _emergency_stop(mcu: VirtualMcu) -> None:
    mcu.shutdown("Command request")


@_command("clear_shutdown", in_shutdown=True)
def _clear_shutdown(mcu: VirtualMcu) -> None:
    mcu.shutdown_reason = ""


@_command("reset", in_shutdown=True)
def _reset(mcu: VirtualMcu) -> None:
    mcu.reboot()


# Motion


@_command("config_stepper oid=%c step_pin=%c dir_pin=%c invert_step=%c step_pulse_ticks=%u")
def _config_stepper(
    mcu: VirtualMcu, oid: int, step_pin: int, dir_pin: int, invert: int, pulse: int
) -> None:
    mcu.oids[oid] = mcu.new_stepper(PINS[step_pin])


@_command("queue_step oid=%c interval=%u count=%hu add=%hi")
def _queue_step(mcu: VirtualMcu, oid: int, interval: int, count: int, add: int) -> None:
    mcu.device(oid, Stepper).queue(interval, count, add)


@_command("set_next_step_dir oid=%c dir=%c")
def _set_next_step_dir(mcu: VirtualMcu, oid: int, direction: int) -> None:
    mcu.device(oid, Stepper).direction = direction


@_command("reset_step_clock oid=%c clock=%u")
def _reset_step_clock(mcu: VirtualMcu, oid: int, clock: int) -> None:
    mcu.device(oid, Stepper).reset_clock(mcu.clock.extend(clock))


@_command("stepper_get_position oid=%c")
def _stepper_get_position(mcu: VirtualMcu, oid: int) -> None:
    position = mcu.device(oid, Stepper).position(mcu.clock.now())
    mcu.send("stepper_position", oid, position)


@_command("stepper_stop_on_trigger oid=%c trsync_oid=%c")
def _stepper_stop_on_trigger(mcu: VirtualMcu, oid: int, trsync: int) -> None:
    mcu.device(trsync, Trsync).add(mcu.device(oid, Stepper))


@_command("config_endstop oid=%c pin=%c pull_up=%c")
def _config_endstop(mcu: VirtualMcu, oid: int, pin: int, pull_up: int) -> None:
    name = PINS[pin]
    mcu.oids[oid] = Endstop(mcu, oid, lambda clock: mcu.endstop_closed(name, clock))


@_command(
    "endstop_home oid=%c clock=%u sample_ticks=%u sample_count=%c"
    " rest_ticks=%u pin_value=%c trsync_oid=%c trigger_reason=%c"
)
def _endstop_home(
    mcu: VirtualMcu, oid: int, clock: int, sample_ticks: int, count: int,
    rest: int, value: int, trsync: int, reason: int,
) -> None:  # fmt: skip
    # Ending the sampling (count 0) names no trsync.
    sync = mcu.device(trsync, Trsync) if count else None
    endstop = mcu.device(oid, Endstop)
    endstop.home(mcu.clock.extend(clock), count, rest, value, sync, reason)


@_command("endstop_query_state oid=%c")
def _endstop_query_state(mcu: VirtualMcu, oid: int) -> None:
    mcu.device(oid, Endstop).report()


@_command("config_trsync oid=%c")
def _config_trsync(mcu: VirtualMcu, oid: int) -> None:
    mcu.oids[oid] = Trsync(mcu, oid)


@_command("trsync_start oid=%c report_clock=%u report_ticks=%u expire_reason=%c")
def _trsync_start(mcu: VirtualMcu, oid: int, clock: int, ticks: int, reason: int) -> None:
    mcu.device(oid, Trsync).start(mcu.clock.extend(clock), ticks, reason)


@_command("trsync_set_timeout oid=%c clock=%u")
def _trsync_set_timeout(mcu: VirtualMcu, oid: int, clock: int) -> None:
    mcu.device(oid, Trsync).set_timeout(mcu.clock.extend(clock))


@_command("trsync_trigger oid=%c reason=%c")
def _trsync_trigger(mcu: VirtualMcu, oid: int, reason: int) -> None:
    mcu.device(oid, Trsync).finish(reason)


# Pins


def _new_output(
    mcu: VirtualMcu, oid: int, pin: int, full_scale: int, value: int, default: int, longest: int
) -> None:
    name = PINS[pin]
    output = Output(
        mcu, full_scale, default, longest,
        lambda clock, level: mcu.output_level(name, clock, level),
    )  # fmt: skip
    mcu.oids[oid] = output
    output.set(mcu.clock.now(), value)


@_command("config_digital_out oid=%c pin=%u value=%c default_value=%c max_duration=%u")
def _config_digital_out(
    mcu: VirtualMcu, oid: int, pin: int, value: int, default: int, longest: int
) -> None:
    _new_output(mcu, oid, pin, 1, value, default, longest)


@_command("set_digital_out_pwm_cycle oid=%c cycle_ticks=%u")
def _set_pwm_cycle(mcu: VirtualMcu, oid: int, cycle_ticks: int) -> None:
    # From now on levels are given in ticks of this cycle.
    mcu.device(oid, Output).full_scale = cycle_ticks


@_command("queue_digital_out oid=%c clock=%u on_ticks=%u")
def _queue_digital_out(mcu: VirtualMcu, oid: int, clock: int, on_ticks: int) -> None:
    mcu.device(oid, Output).push(mcu.clock.extend(clock), on_ticks)


@_command("update_digital_out oid=%c value=%c")
def _update_digital_out(mcu: VirtualMcu, oid: int, value: int) -> None:
    mcu.device(oid, Output).set(mcu.clock.now(), value)


@_command("set_digital_out pin=%u value=%c")
def _set_digital_out(mcu: VirtualMcu, pin: int, value: int) -> None:
    mcu.output_level(PINS[pin], mcu.clock.now(), float(value))


@_command("config_pwm_out oid=%c pin=%u cycle_ticks=%u value=%hu default_value=%hu max_duration=%u")
def _config_pwm_out(
    mcu: VirtualMcu, oid: int, pin: int, cycle: int, value: int, default: int, longest: int
) -> None:
    _new_output(mcu, oid, pin, PWM_MAX, value, default, longest)


@_command("queue_pwm_out oid=%c clock=%u value=%hu")
def _queue_pwm_out(mcu: VirtualMcu, oid: int, clock: int, value: int) -> None:
    mcu.device(oid, Output).push(mcu.clock.extend(clock), value)


@_command("config_analog_in oid=%c pin=%u")
def _config_analog_in(mcu: VirtualMcu, oid: int, pin: int) -> None:
    name = PINS[pin]
    mcu.oids[oid] = AnalogIn(mcu, oid, lambda clock: mcu.adc_ratio(name, clock))


@_command(
    "query_analog_in oid=%c clock=%u sample_ticks=%u sample_count=%c"
    " rest_ticks=%u min_value=%hu max_value=%hu range_check_count=%c"
)
def _query_analog_in(
    mcu: VirtualMcu, oid: int, clock: int, sample_ticks: int, count: int,
    rest: int, lowest: int, highest: int, bad_allowed: int,
) -> None:  # fmt: skip
    sensor = mcu.device(oid, AnalogIn)
    sensor.query(mcu.clock.extend(clock), count, rest, lowest, highest, bad_allowed)


@_command("config_buttons oid=%c button_count=%c")
def _config_buttons(mcu: VirtualMcu, oid: int, count: int) -> None:
    mcu.oids[oid] = Buttons(mcu, oid, count, mcu.input_level)


@_command("buttons_add oid=%c pos=%c pin=%u pull_up=%c")
def _buttons_add(mcu: VirtualMcu, oid: int, index: int, pin: int, pull_up: int) -> None:
    mcu.device(oid, Buttons).wire(index, PINS[pin])


@_command("buttons_query oid=%c clock=%u rest_ticks=%u retransmit_count=%c invert=%c")
def _buttons_query(
    mcu: VirtualMcu, oid: int, clock: int, rest: int, retransmit: int, invert: int
) -> None:
    mcu.device(oid, Buttons).query(mcu.clock.extend(clock), rest, retransmit, invert)


@_command("buttons_ack oid=%c count=%c")
def _buttons_ack(mcu: VirtualMcu, oid: int, count: int) -> None:
    mcu.device(oid, Buttons).ack(count)


_CONSTANTS: dict[str, Any] = {
    "MCU": "virtual",
    "CLOCK_FREQ": FREQ_HZ,
    "STATS_SUMSQ_BASE": 256,
    "ADC_MAX": ADC_MAX,
    "PWM_MAX": PWM_MAX,
}
DICTIONARY = Dictionary(
    commands=_declared,
    responses=RESPONSES,
    enumerations={
        "pin": {name: number for number, name in enumerate(PINS)},
        "static_string_id": STATIC_STRINGS,
    },
    constants=_CONSTANTS,
    version="moonfleet-virtual-mcu",
)
BY_MSGID = {
    msgid: Command(_declared[fmt.text][0], fmt, _declared[fmt.text][1])
    for msgid, fmt in DICTIONARY.commands.items()
}
