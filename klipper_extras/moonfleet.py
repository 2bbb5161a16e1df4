"""Klipper's `[moonfleet]`: the bed latch, starts with a deadline, the record of each attempt.

Owns the hooks into virtual_sdcard and print_stats, the endpoints, G-codes and status object.
Decisions are in rules.py, files in records.py, the fence in fence.py. Must not know MQTT or
Moonraker: whoever may send G-code may call these endpoints.

An exception other than command_error in a hook shuts Klipper down in mid-print, so that
everything that can fail (the disk) goes through disk.py, which raises nothing else.
"""
import logging
import os
import uuid

from . import records, rules
from .disk import Disk, boottime
from .fence import Watchdog

VERSION = "1"
PREFIX = "moonfleet: refused: "
# Reactor seconds between two looks at the fence; the fence itself counts BOOTTIME.
TICK_S = .25
STATUS_RECORDS = 16
BUSY_STATES = ("printing", "paused")


class Moonfleet:
    """The section. Everything here runs on the reactor; a method that may pause says so."""

    def __init__(self, config):
        self.printer = config.get_printer()
        self.reactor = self.printer.get_reactor()
        self.gcode = self.printer.lookup_object("gcode")
        if not config.has_section("virtual_sdcard"):
            raise config.error("[moonfleet] needs a [virtual_sdcard] section")
        self.sdcard = self.printer.load_object(config, "virtual_sdcard")
        self.print_stats = self.printer.load_object(config, "print_stats")
        self.pause_resume = self.printer.load_object(config, "pause_resume")
        beside = os.path.join(os.path.dirname(self.sdcard.sdcard_dirname), "moonfleet")
        self.state_dir = os.path.abspath(os.path.expanduser(config.get("state_dir", beside)))
        self.eject_gcode = None
        if config.get("eject_gcode", None) is not None:
            gcode_macro = self.printer.load_object(config, "gcode_macro")
            self.eject_gcode = gcode_macro.load_template(config, "eject_gcode")
        self.disk = Disk(self.printer)
        self.watchdog = Watchdog(self.printer, self.sdcard, self.pause_resume)
        self.announced = None       # the Ask that waits for virtual_sdcard, or None
        self.active = None          # the Record of the attempt that prints, or None
        self.starting = False       # between a start's first write and its first line
        self.drop_failed = False    # the disk may still say clear
        self.ejecting, self.eject_error = False, ""
        self.unsaved = {}           # attempt -> ended Record that the disk refused
        self._read_state()
        self.do_resume = None
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

    ######################################################################
    # Life of the host
    ######################################################################

    def _read_state(self):
        # Directly and not on the thread: nothing moves yet while the config is read.
        state = records.read_state(self.state_dir)
        for problem in state.problems:
            logging.warning("moonfleet: %s", problem)
        token = state.token_text and rules.plain_text(state.token_text, 64)
        self.latch = rules.read_latch(state.clear_text, token, _new_token(), state.can_drop)
        self.records = {r.attempt: r for r in state.records}
        self.serial = max([r.serial for r in state.records] + [0])

    def _handle_ready(self):
        # No pause allowed here (mainline asserts it): the disk is only told, not awaited.
        self.do_resume = self.sdcard.do_resume
        self.sdcard.do_resume = self._do_resume
        self.watchdog.wrap_resume()
        for outcome, name in (("complete", "note_complete"), ("error", "note_error"),
                              ("cancelled", "note_cancel")):
            self._follow(outcome, name)
        for record in list(self.records.values()):
            if record.state == "started":
                self._save_end(rules.end_record(record, "interrupted",
                                                "Klipper was restarted while it printed"))

    def _handle_shutdown(self):
        # print_stats goes on saying printing or paused, and dies with the restart that follows.
        self._end_attempt("error", self.printer.get_state_message()[0].strip())

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
                self._handle_print_ended(outcome)
        setattr(self.print_stats, name, note_and_end)

    def _tick(self, eventtime):
        self.watchdog.check()
        # What no note told, such as a file that vanished before its first line.
        stats = self.print_stats
        if self.active is not None and not self.sdcard.is_active() and not self.starting:
            if stats.filename != self.active.filename:
                self._end_attempt("cancelled", "another file was loaded at the printer")
            elif stats.state not in BUSY_STATES:
                self._end_attempt("error", "Klipper stopped reading the file (see klippy.log)")
        return self.reactor.NEVER if self.active is None else eventtime + TICK_S

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
        """Record what is about to print and drop the latch; raise to refuse an announced one."""
        ask, record = self.announced, None
        self.starting = True
        try:
            if ask is not None and ask.filename == self.print_stats.filename:
                # Refused before the latch is dropped: a late start leaves the bed clear.
                self._refuse(self._start_refusal(ask, starting=True))
                record = self._save_start(ask)
            try:
                self._drop_latch()
            except self.printer.command_error as e:
                if record is not None:
                    raise
                # A local print is never refused; the latch in memory is down.
                self.gcode.respond_info("Moonfleet: the bed latch could not be written. %s" % (e,))
            if record is not None:
                self._check_still_due(ask)
        except self.printer.command_error:
            if record is not None:
                self._forget_start(record)
            raise
        finally:
            self.starting = False
        if record is not None:
            self.announced, self.active = None, record
            self.records[record.attempt] = record
            self.watchdog.arm(ask)
            self.reactor.update_timer(self.tick_timer, self.reactor.NOW)

    def _start_refusal(self, ask, starting=False):
        busy = "" if starting else self._busy_reason()
        if not busy and self.pause_resume.is_paused:
            busy = "the printer is paused (CLEAR_PAUSE)"
        return rules.refuse_start(ask, boottime(), self.latch, busy, self.records)

    def _check_still_due(self, ask):
        # The disk may have taken its time, and Klipper may have been shut down meanwhile.
        if boottime() >= ask.deadline_boottime_s:
            self._refuse(rules.Refusal("deadline", "the disk was too slow, the bed latch is down"))
        if self.printer.is_shutdown():
            raise self.printer.command_error("Klipper was shut down")

    def _save_start(self, ask):
        """Write the record durably before anything moves, or refuse. Pauses."""
        record = rules.start_record(ask, self.serial + 1)
        try:
            for ended in list(self.unsaved.values()):
                self.disk.run(records.write_record, self.state_dir, ended)
                self.unsaved.pop(ended.attempt, None)
            self.disk.run(records.write_record, self.state_dir, record)
        except self.printer.command_error as e:
            self._forget_start(record)
            self._refuse(rules.Refusal("record", "the record cannot be written: %s" % (e,)))
        self.serial = record.serial
        self._refuse_late(ask, record)
        self._prune()
        return record

    def _refuse_late(self, ask, record):
        if boottime() >= ask.deadline_boottime_s:
            self._forget_start(record)
            self._refuse(rules.Refusal("deadline", "the permission ended while the record"
                                       " was written"))

    def _forget_start(self, record):
        # Nothing has moved: the id stays unused. Should this fail too, the next life of Klipper
        # finds it started and calls it interrupted, which only costs a retry.
        self._submit_quietly(records.remove_records, self.state_dir, [record.attempt])

    def _prune(self):
        old = sorted(self.records.values(), key=lambda r: r.serial)[:-records.KEEP_RECORDS]
        for record in old:
            del self.records[record.attempt]
            self.unsaved.pop(record.attempt, None)
        if old:
            self._submit_quietly(records.remove_records, self.state_dir,
                                 [r.attempt for r in old])

    def _busy_reason(self):
        if self.sdcard.is_active() or self.print_stats.state in BUSY_STATES:
            return "a print is active (%s)" % (rules.plain_text(self.print_stats.filename, 120),)
        return "a print is being started" if self.starting else ""

    ######################################################################
    # Ends
    ######################################################################

    def _end_attempt(self, outcome, reason):
        """End the attempt that prints, if any. Never pauses: also called in a shutdown."""
        if self.active is None:
            return
        record, self.active = self.active, None
        self.watchdog.end()
        self._save_end(rules.end_record(record, outcome, reason))

    def _save_end(self, ended):
        # Queued at once: a restart right behind the end waits for the queue, not for callbacks.
        try:
            completion = self.disk.submit(records.write_record, self.state_dir, ended)
        except self.printer.command_error as e:
            self._note_unsaved(ended, e)
            return
        self.reactor.register_callback(lambda e: self._await_end(ended, completion))

    def _await_end(self, ended, completion):
        # Told as ended only once the disk has it, so that no restart can contradict it.
        try:
            self.disk.wait(completion)
            self.records[ended.attempt] = ended
        except self.printer.command_error as e:
            self._note_unsaved(ended, e)

    def _note_unsaved(self, ended, error):
        logging.warning("moonfleet: end of %s not on disk: %s", ended.attempt, error)
        self.records[ended.attempt] = ended
        self.unsaved[ended.attempt] = ended

    def _handle_print_ended(self, outcome):
        if self.drop_failed:
            self._submit_quietly(records.drop_clear, self.state_dir)
        if outcome == "complete" and self.eject_gcode is not None:
            self.ejecting = True
            self.reactor.register_callback(self._eject)

    def _eject(self, eventtime):
        """Run eject_gcode behind a complete print and call the bed clear. Pauses."""
        try:
            with self.gcode.get_mutex():
                self.eject_error = ""
                self._eject_in_command()
        except Exception as e:
            # Also what a broken macro raises: an ejection must never shut Klipper down.
            logging.exception("moonfleet: eject_gcode")
            self.eject_error = rules.plain_text(e, rules.REASON_MAX)
        finally:
            self.ejecting = False

    def _eject_in_command(self):
        if self._busy_reason() or self.print_stats.state != "complete":
            raise self.printer.command_error("not ejected: another print was started first")
        token = self.latch.token
        try:
            self.gcode.run_script_from_command(self.eject_gcode.render() + "\nM400")
        except self.printer.command_error:
            if self.latch.clear:
                self._drop_latch()
            raise
        self._refuse(rules.refuse_clear(self.latch, token, self._busy_reason()))
        self._set_clear()

    ######################################################################
    # Latch
    ######################################################################

    def _drop_latch(self):
        """Take the latch down, in memory at once, then on disk. Pauses, raises command_error."""
        self.latch = rules.Latch(_new_token(), False)
        self.drop_failed = True
        self.disk.run(records.drop_clear, self.state_dir)
        self.drop_failed = False
        # Not awaited: without it the next life of Klipper takes a fresh token, as it should.
        self._submit_quietly(records.write_token, self.state_dir, self.latch.token)

    def _set_clear(self):
        """Set the latch, on disk first. Pauses, raises command_error."""
        latch = self.latch
        if latch.clear:
            return
        self.disk.run(records.set_clear, self.state_dir, latch.token)
        if self.latch is not latch:
            self._refuse(rules.Refusal("bed_token", "a print was started meanwhile"))
        self.latch = latch._replace(clear=True)
        self.drop_failed, self.eject_error = False, ""

    def _submit_quietly(self, func, *args):
        # For what may fail without harm; the disk's thread logs its own errors.
        try:
            self.disk.submit(func, *args)
        except self.printer.command_error as e:
            logging.warning("%s", e)

    ######################################################################
    # Endpoints
    ######################################################################

    def _refuse(self, refusal):
        if refusal is not None:
            raise self.printer.command_error(PREFIX + "%s: %s" % refusal)

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
        if ask.attempt in self.records:
            return
        if self.print_stats.filename == ask.filename and not self._busy_reason():
            # Left loaded, the next M24 would print it as a local file.
            self.gcode.run_script_from_command("SDCARD_RESET_FILE")
        if not error.startswith(PREFIX):
            error = PREFIX + "not_started: " + error
        raise self.printer.command_error(error)

    def _handle_fence(self, web_request):
        attempt = web_request.get_str("attempt")
        until = web_request.get_float("until_boottime_s")
        self.watchdog.check()
        self._refuse(rules.refuse_feed(self.watchdog.fence, attempt, until, self._active_id()))
        self.watchdog.feed(until)

    def _handle_lift(self, web_request):
        attempt, pause = web_request.get_str("attempt"), web_request.get_str("pause")
        until = web_request.get_float("until_boottime_s", 0.)
        self._refuse(rules.refuse_lift(self.watchdog.fence, attempt, pause, until))
        self.watchdog.lift(pause, until)

    def _handle_clear(self, web_request):
        token = web_request.get_str("token")
        busy = "the printer is ejecting" if self.ejecting else self._busy_reason()
        self._refuse(rules.refuse_clear(self.latch, token, busy))
        self._set_clear()

    def _active_id(self):
        return "" if self.active is None else self.active.attempt

    ######################################################################
    # G-codes and status
    ######################################################################

    cmd_MOONFLEET_BED_CLEAR_help = "Tell Moonfleet that the bed is clear"
    def cmd_MOONFLEET_BED_CLEAR(self, gcmd):
        # Not refused while ejecting: the ejection macro may say it itself.
        refusal = rules.refuse_clear(self.latch, gcmd.get("TOKEN", None), self._busy_reason())
        if refusal is None:
            self._set_clear()
            gcmd.respond_info("Moonfleet: bed is clear")
        elif self.sdcard.is_cmd_from_sd():
            # In the file itself (an end macro): refused, but no reason to fail a good print.
            gcmd.respond_raw("!! Moonfleet: not set to clear, %s" % (refusal.text,))
        else:
            raise gcmd.error("Moonfleet: not set to clear, %s" % (refusal.text,))
    cmd_MOONFLEET_STATUS_help = "Show Moonfleet's bed latch, fence and last attempt"
    def cmd_MOONFLEET_STATUS(self, gcmd):
        bed = "clear" if self.latch.clear else "not clear"
        lines = ["Moonfleet: bed is %s (token %s)" % (bed, self.latch.token)]
        if self.ejecting or self.eject_error:
            lines.append("ejecting" if self.ejecting else "eject failed: " + self.eject_error)
        for record in self._newest_records(1):
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

    def _newest_records(self, count):
        return sorted(self.records.values(), key=lambda r: r.serial)[-count:]

    def get_status(self, eventtime):
        """Return a fresh dict: Klipper finds what has changed by comparing with the last one."""
        shown = [dict(r._asdict()) for r in self._newest_records(STATUS_RECORDS)]
        for record in shown:
            del record["serial"]
        return {"version": VERSION, "bed_clear": self.latch.clear, "bed_token": self.latch.token,
                "ejecting": self.ejecting, "eject_error": self.eject_error,
                "records": shown, "fence": self.watchdog.get_status()}


def _new_token():
    return uuid.uuid4().hex[:16]


def load_config(config):
    """Load the section."""
    return Moonfleet(config)
