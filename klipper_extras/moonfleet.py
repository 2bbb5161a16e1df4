"""Klipper's `[moonfleet]`: bed latch, starts with a deadline, a record per attempt, fence.

Owns the hooks into virtual_sdcard and print_stats, the endpoints, G-codes and status object.
Decisions are in rules.py, files in records.py. Must not know MQTT or Moonraker: whoever may
send G-code may call these endpoints.

An exception other than command_error in a hook shuts Klipper down in mid-print, so that
everything that can fail (the disk) goes through disk.py, which raises nothing else.
"""
import logging
import os

from . import records, rules
from .attempts import Attempts
from .bed import Bed, refuse
from .disk import Disk, boottime
from .fence import Watchdog

VERSION = "1"
REFUSED = "moonfleet: refused: "
# Reactor seconds between two looks at the fence; the fence itself counts BOOTTIME.
TICK_S = .25
BUSY_STATES = ("printing", "paused")


class Moonfleet:
    """The section. Everything runs on the reactor; a method that may pause says so."""

    def __init__(self, config):
        self.printer = config.get_printer()
        self.reactor = self.printer.get_reactor()
        self.gcode = self.printer.lookup_object("gcode")
        if not config.has_section("virtual_sdcard"):
            raise config.error("[moonfleet] needs a [virtual_sdcard] section")
        self.sdcard = self.printer.load_object(config, "virtual_sdcard")
        self.print_stats = self.printer.load_object(config, "print_stats")
        self.pause_resume = self.printer.load_object(config, "pause_resume")
        self.announced = None       # the Ask that waits for virtual_sdcard, or None
        self.starting = False       # between a start's first write and its first line
        self._load_parts(config)
        self.do_resume = None       # virtual_sdcard's own
        self.tick_timer = self.reactor.register_timer(self._tick)
        for event, handler in (("klippy:ready", self._handle_ready),
                               ("klippy:shutdown", self._handle_shutdown),
                               ("virtual_sdcard:reset_file", self._handle_reset_file)):
            self.printer.register_event_handler(event, handler)
        webhooks = self.printer.lookup_object("webhooks")
        for name in ("start", "fence", "lift", "clear"):
            webhooks.register_endpoint("moonfleet/" + name, getattr(self, "_handle_" + name))
        for cmd in ("MOONFLEET_BED_CLEAR", "MOONFLEET_STATUS", "FENCE_RELEASE"):
            self.gcode.register_command(cmd, getattr(self, "cmd_" + cmd),
                                        desc=getattr(self, "cmd_%s_help" % (cmd,)))

    def _load_parts(self, config):
        beside = os.path.join(os.path.dirname(self.sdcard.sdcard_dirname), "moonfleet")
        state_dir = os.path.abspath(os.path.expanduser(config.get("state_dir", beside)))
        eject_gcode = None
        if config.get("eject_gcode", None) is not None:
            gcode_macro = self.printer.load_object(config, "gcode_macro")
            eject_gcode = gcode_macro.load_template(config, "eject_gcode")
        # Directly and not on the thread: nothing moves yet while the config is read.
        state = records.read_state(state_dir)
        for problem in state.problems:
            logging.warning("moonfleet: %s", problem)
        self.disk = Disk(self.printer)
        self.attempts = Attempts(self.printer, self.disk, state_dir, state.records)
        self.bed = Bed(self.printer, self.disk, state_dir, state, eject_gcode, self._busy_reason)
        self.watchdog = Watchdog(self.printer, self.sdcard, self.pause_resume)

    def _refuse(self, refusal):
        refuse(self.printer, refusal)

    ######################################################################
    # What the host tells
    ######################################################################

    def _handle_ready(self):
        # No pause allowed here (mainline asserts it): the disk is only told, not awaited.
        self.do_resume = self.sdcard.do_resume
        self.sdcard.do_resume = self._do_resume
        self.watchdog.wrap_resume()
        for outcome, name in (("complete", "note_complete"), ("error", "note_error"),
                              ("cancelled", "note_cancel")):
            self._follow(outcome, name)
        self.attempts.end_stale()

    def _handle_shutdown(self):
        # print_stats goes on saying printing or paused, and dies with the restart that follows.
        # Below the cause, the message only advises on restarting.
        message = self.printer.get_state_message()[0].strip()
        self._end_attempt("error", message.split("\n")[0])

    def _handle_reset_file(self):
        self._end_attempt("cancelled", "its file was unloaded at the printer")

    def _follow(self, outcome, name):
        # All three hosts call print_stats.note_*; only Kalico sends events for them.
        note = getattr(self.print_stats, name)
        def note_and_end(*args):
            note(*args)
            self._end_attempt(outcome, "".join(str(a) for a in args))
            # A file that cancels itself is noted as cancelled and then as complete.
            if self.print_stats.state == outcome:
                self.bed.note_print_ended(outcome)
        setattr(self.print_stats, name, note_and_end)

    def _end_attempt(self, outcome, reason):
        """End the attempt that prints, if any. Never pauses: also called in a shutdown."""
        if self.attempts.end(outcome, reason):
            self.watchdog.end()

    def _tick(self, eventtime):
        self.watchdog.check()
        # What no note told, such as a file that vanished before its first line.
        active, stats = self.attempts.active, self.print_stats
        if active is None:
            return self.reactor.NEVER
        if not self.sdcard.is_active():
            if stats.filename != active.filename:
                self._end_attempt("cancelled", "another file was loaded at the printer")
            elif stats.state not in BUSY_STATES:
                self._end_attempt("error", "Klipper stopped reading the file (see klippy.log)")
        return eventtime + TICK_S

    def _busy_reason(self):
        if self.sdcard.is_active() or self.print_stats.state in BUSY_STATES:
            return "a print is active (%s)" % (rules.plain_text(self.print_stats.filename, 120),)
        return "a print is being started" if self.starting else ""

    ######################################################################
    # Starts
    ######################################################################

    def _do_resume(self):
        """Stand in for virtual_sdcard.do_resume, which every start and resume calls. Pauses."""
        if not self.sdcard.is_active() and self.sdcard.current_file is not None:
            if self.print_stats.state == "paused":
                self.watchdog.check_resume()      # M24 goes around RESUME
            else:
                self._note_start()
        self.do_resume()

    def _note_start(self):
        """Prepare what is about to print; raise to refuse it. Pauses."""
        ask = self.announced
        self.starting = True
        try:
            if ask is None or ask.filename != self.print_stats.filename:
                self._note_local_start()
                return
            record = self._note_announced_start(ask)
        finally:
            self.starting = False
        self.announced = None
        self.attempts.begin(record)
        self.watchdog.arm(ask)
        self.reactor.update_timer(self.tick_timer, self.reactor.NOW)

    def _note_local_start(self):
        # Never refused for our sake: if the disk fails, the latch in memory is still down.
        try:
            self.bed.drop()
        except self.printer.command_error as e:
            self.gcode.respond_info("Moonfleet: the bed latch could not be written. %s" % (e,))

    def _note_announced_start(self, ask):
        # Refused before the latch is dropped: a late start leaves the bed clear.
        self._refuse(self._start_refusal(ask))
        try:
            record = self.attempts.save_start(ask)
        except self.printer.command_error as e:
            self._refuse(rules.Refusal("record", "the record cannot be written: %s" % (e,)))
        try:
            self._check_still_due(ask)
            self.bed.drop()
            # The disk may have taken its time twice.
            self._check_still_due(ask)
        except self.printer.command_error:
            self.attempts.forget(record)
            raise
        return record

    def _check_still_due(self, ask):
        if boottime() >= ask.deadline_boottime_s:
            self._refuse(rules.Refusal("deadline", "the permission ended while the disk worked"))
        if self.printer.is_shutdown():
            raise self.printer.command_error("Klipper was shut down")

    def _start_refusal(self, ask):
        # From _note_start too: self.starting is then this very start.
        busy = "" if self.announced is ask else self._busy_reason()
        if not busy and self.pause_resume.is_paused:
            busy = "the printer is paused (CLEAR_PAUSE)"
        return rules.refuse_start(ask, boottime(), self.bed.latch, busy, self.attempts.records)

    ######################################################################
    # Endpoints
    ######################################################################

    def _handle_start(self, web_request):
        ask = rules.Ask(
            web_request.get_str("attempt"), web_request.get_str("copy"),
            web_request.get_str("job"), web_request.get_str("filename"),
            web_request.get_float("deadline_boottime_s"), web_request.get_str("bed_token"),
            web_request.get_float("fence_s", 0.),
            web_request.get_float("fence_until_boottime_s", 0.))
        self._refuse(self._start_refusal(ask))
        with self.gcode.get_mutex():
            # The wait may have been long.
            self._refuse(self._start_refusal(ask))
            self._start_in_command(ask)

    def _start_in_command(self, ask):
        # Through the command and not its function: people wrap SDCARD_PRINT_FILE in macros.
        self.announced, error = ask, "SDCARD_PRINT_FILE did not start the file"
        try:
            self.gcode.run_script_from_command("SDCARD_PRINT_FILE FILENAME=%s" % (ask.filename,))
        except self.printer.command_error as e:
            error = str(e)
        finally:
            self.announced = None
        if ask.attempt in self.attempts.records:
            return
        self._unload(ask.filename)
        if not error.startswith(REFUSED):
            # One line: Moonraker's HTTP answer drops a message that has more.
            error = REFUSED + "not_started: " + " ".join(error.split())
        raise self.printer.command_error(error)

    def _unload(self, filename):
        # Left loaded, the next M24 would print it as a local file.
        if self.print_stats.filename != filename or self._busy_reason():
            return
        try:
            self.gcode.run_script_from_command("SDCARD_RESET_FILE")
        except self.printer.command_error as e:
            logging.warning("moonfleet: %s stays loaded: %s", filename, e)

    def _handle_fence(self, web_request):
        attempt = web_request.get_str("attempt")
        until = web_request.get_float("until_boottime_s")
        self.watchdog.check()
        printing = self.attempts.active_id()
        self._refuse(rules.refuse_feed(self.watchdog.fence, attempt, until, printing))
        self.watchdog.feed(until)

    def _handle_lift(self, web_request):
        attempt, pause = web_request.get_str("attempt"), web_request.get_str("pause")
        until = web_request.get_float("until_boottime_s", 0.)
        self._refuse(rules.refuse_lift(self.watchdog.fence, attempt, pause, until))
        self.watchdog.lift(pause, until)

    def _handle_clear(self, web_request):
        token = web_request.get_str("token")
        busy = "the printer is ejecting" if self.bed.ejecting else self._busy_reason()
        self._refuse(rules.refuse_clear(self.bed.latch, token, busy))
        self.bed.set_clear()

    ######################################################################
    # G-codes and status
    ######################################################################

    cmd_MOONFLEET_BED_CLEAR_help = "Tell Moonfleet that the bed is clear"
    def cmd_MOONFLEET_BED_CLEAR(self, gcmd):
        # Not refused while ejecting: the ejection macro may say it itself.
        refusal = rules.refuse_clear(self.bed.latch, gcmd.get("TOKEN", None), self._busy_reason())
        if refusal is None:
            self.bed.set_clear()
            gcmd.respond_info("Moonfleet: bed is clear")
        elif self.sdcard.is_cmd_from_sd():
            # In the file itself (an end macro): refused, but no reason to fail a good print.
            gcmd.respond_raw("!! Moonfleet: not set to clear, %s" % (refusal.text,))
        else:
            raise gcmd.error("Moonfleet: not set to clear, %s" % (refusal.text,))
    cmd_MOONFLEET_STATUS_help = "Show Moonfleet's bed latch, fence and last attempt"
    def cmd_MOONFLEET_STATUS(self, gcmd):
        bed = self.bed
        lines = ["Moonfleet: bed is %s (token %s)" % (
            "clear" if bed.latch.clear else "not clear", bed.latch.token)]
        if bed.ejecting or bed.eject_error:
            lines.append("ejecting" if bed.ejecting else "eject failed: " + bed.eject_error)
        for record in self.attempts.newest(1):
            lines.append("last attempt: %s %s" % (record.attempt, record.outcome or record.state))
        fence = self.watchdog.fence
        if fence.fired:
            lines.append("fenced: FENCE_RELEASE ATTEMPT=%s" % (fence.attempt,))
        gcmd.respond_info("\n".join(lines))
    cmd_FENCE_RELEASE_help = "Allow a fenced print to resume, at the risk of printing it twice"
    def cmd_FENCE_RELEASE(self, gcmd):
        refusal = rules.refuse_release(self.watchdog.fence, gcmd.get("ATTEMPT"))
        if refusal is not None:
            raise gcmd.error("Moonfleet: " + refusal.text)
        self.watchdog.release()
        gcmd.respond_info("Moonfleet: fence released, RESUME goes on with the print")

    def get_status(self, eventtime):
        """Return a fresh dict: Klipper finds what has changed by comparing with the last one."""
        bed = self.bed
        return {"version": VERSION, "bed_clear": bed.latch.clear, "bed_token": bed.latch.token,
                "ejecting": bed.ejecting, "eject_error": bed.eject_error,
                "records": self.attempts.get_status(), "fence": self.watchdog.get_status()}



def load_config(config):
    """Load the section."""
    return Moonfleet(config)
