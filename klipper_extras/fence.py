"""The fence of `[moonfleet]` inside Klipper: fires, pauses, refuses RESUME, keeps heaters on.

Owns the Fence value, the pause it causes and the idle timeout meanwhile. Must not know the
disk, the latch or how a print is started. What is allowed is decided in rules.py.
"""
import logging
import uuid

from . import rules
from .disk import boottime

# As filament_switch_sensor: the pause portion first, PAUSE once the moves have settled.
PAUSE_DELAY_S = .5
# While fenced, heaters and motors stay on so that the print can go on; a day, not for ever.
FENCED_IDLE_TIMEOUT_S = 86400.


class Watchdog:
    """Pause the print whose coordinator fell silent, whatever lives above Klipper."""

    def __init__(self, printer, sdcard, pause_resume):
        self.printer = printer
        self.sdcard = sdcard
        self.pause_resume = pause_resume
        self.reactor = printer.get_reactor()
        self.gcode = printer.lookup_object("gcode")
        self.fence = rules.NO_FENCE
        self.resume_handler = None
        self.idle_timeout_before_s = None

    # Called at klippy:ready: macros have renamed their commands by then
    def wrap_resume(self):
        self.resume_handler = self.gcode.register_command("RESUME", None)
        if self.resume_handler is not None:
            self.gcode.register_command("RESUME", self.cmd_RESUME, desc=self.cmd_RESUME_help)
    cmd_RESUME_help = "Resumes the print from a pause"
    def cmd_RESUME(self, gcmd):
        # Before the original: it moves the head before it reaches virtual_sdcard.
        self.check_resume()
        self.resume_handler(gcmd)

    def check_resume(self):
        """Raise command_error while the fence stands."""
        self.check()
        refusal = rules.refuse_resume(self.fence)
        if refusal is not None:
            raise self.printer.command_error("Moonfleet: " + refusal.text)

    def arm(self, ask):
        """Take the fence that comes with a start."""
        self.fence = rules.arm_fence(ask, boottime())

    def feed(self, until_boottime_s):
        """Move the fence's end; the caller has asked rules.refuse_feed."""
        self.fence = rules.feed_fence(self.fence, until_boottime_s, boottime())

    def lift(self, pause, until_boottime_s):
        """Lift for the coordinator; the print stays paused until somebody resumes it."""
        self.fence = rules.lift_fence(self.fence, pause, until_boottime_s, boottime())
        self.reactor.register_callback(self._restore_idle_timeout)

    def release(self):
        """Lift for a person. Runs in a command."""
        self.fence = rules.release_fence(self.fence)
        self.reactor.register_callback(self._restore_idle_timeout)

    def end(self):
        """The print has ended: nothing to fence. May not pause: also called in a shutdown."""
        was_fired, self.fence = self.fence.fired, rules.end_fence(self.fence)
        if was_fired:
            self.reactor.register_callback(self._restore_idle_timeout)

    def check(self):
        """Fire if the time has come. Short and without a pause: called from a timer."""
        if not rules.is_expired(self.fence, boottime()):
            return
        self.fence = rules.fire_fence(self.fence, uuid.uuid4().hex)
        pause = self.fence.pause
        self.reactor.register_callback(lambda e: self._pause_print(pause))

    def _pause_print(self, pause):
        # Anything but a command_error that left here would shut Klipper down in mid-print.
        try:
            # A print that stands already (runout, M25) needs no second PAUSE: after M25 that
            # would even make Klipper forget that there is a file to cancel.
            was_active = self.sdcard.is_active()
            if was_active:
                self.pause_resume.send_pause_command()
                self.reactor.pause(self.reactor.monotonic() + PAUSE_DELAY_S)
            with self.gcode.get_mutex():
                # A cancel or a lift may have been waiting in front of us.
                if self.fence.pause == pause:
                    self._pause_in_command(was_active)
        except Exception:
            logging.exception("moonfleet: fence pause")
            self.gcode.respond_info("Moonfleet: the fence has stopped the print,"
                                    " but PAUSE failed (see klippy.log)")

    def _pause_in_command(self, run_pause):
        self.gcode.respond_info(
            "Moonfleet: no word from the farm, print paused. It resumes when the farm says so"
            " (or FENCE_RELEASE ATTEMPT=%s)" % (self.fence.attempt,))
        try:
            if run_pause and not self.pause_resume.is_paused:
                self.gcode.run_script_from_command("PAUSE\nM400")
        finally:
            # After PAUSE: macros often set their own timeout there, and restore it in RESUME.
            self._raise_idle_timeout()

    def _raise_idle_timeout(self):
        idle_timeout = self.printer.lookup_object("idle_timeout", None)
        if idle_timeout is None or self.idle_timeout_before_s is not None:
            return
        before_s = idle_timeout.idle_timeout
        if 0. < before_s < FENCED_IDLE_TIMEOUT_S:     # Kalico: 0 is never
            self.gcode.run_script_from_command(
                "SET_IDLE_TIMEOUT TIMEOUT=%.3f" % (FENCED_IDLE_TIMEOUT_S,))
            self.idle_timeout_before_s = before_s

    def _restore_idle_timeout(self, eventtime):
        try:
            with self.gcode.get_mutex():
                before_s, self.idle_timeout_before_s = self.idle_timeout_before_s, None
                idle_timeout = self.printer.lookup_object("idle_timeout", None)
                if before_s is None or idle_timeout.idle_timeout != FENCED_IDLE_TIMEOUT_S:
                    return       # not raised, or somebody has set their own meanwhile
                self.gcode.run_script_from_command("SET_IDLE_TIMEOUT TIMEOUT=%.3f" % (before_s,))
        except self.printer.command_error as e:
            logging.warning("moonfleet: idle_timeout was not put back: %s", e)

    def get_status(self):
        """Return the public part of the fence, a fresh dict."""
        fence = self.fence
        return {"attempt": fence.attempt, "until_boottime_s": fence.until_boottime_s,
                "fired": fence.fired, "pause": fence.pause, "released": fence.released}
