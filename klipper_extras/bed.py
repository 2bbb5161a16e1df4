"""The bed of this printer for `[moonfleet]`: its latch and its ejection.

Owns the Latch value, its way to disk, and eject_gcode. Must not know attempts or the fence.
"""
import logging
import uuid

from . import records, rules


def refuse(printer, refusal):
    """Raise the command_error that callers of the endpoints can read a code from."""
    if refusal is not None:
        raise printer.command_error("moonfleet: refused: %s: %s" % refusal)


def _new_token():
    return uuid.uuid4().hex[:16]


class Bed:
    """The latch: up when a person or a macro says that the bed is clear, down at each start."""

    def __init__(self, printer, disk, state_dir, state, eject_gcode, busy_reason):
        self.printer = printer
        self.reactor = printer.get_reactor()
        self.gcode = printer.lookup_object("gcode")
        self.disk = disk
        self.state_dir = state_dir
        self.eject_gcode = eject_gcode
        self.busy_reason = busy_reason      # () -> why the printer is busy, "" if it is not
        self.ejecting, self.eject_error = False, ""
        self.drop_failed = False            # the disk may still say clear
        token = state.token_text and rules.plain_text(state.token_text, 64)
        self.latch = rules.read_latch(state.clear_text, token, _new_token(), state.can_drop)

    def drop(self):
        """Take the latch down, in memory at once, then on disk. Pauses, raises command_error."""
        self.latch = rules.Latch(_new_token(), False)
        self.drop_failed = True
        self.disk.run(records.drop_clear, self.state_dir)
        self.drop_failed = False
        # Not awaited: without it the next life of Klipper takes a fresh token, as it should.
        self.disk.submit_quietly(records.write_token, self.state_dir, self.latch.token)

    def set_clear(self):
        """Set the latch, on disk first. Pauses, raises command_error."""
        latch = self.latch
        if latch.clear:
            return
        try:
            self.disk.run(records.set_clear, self.state_dir, latch.token)
        except self.printer.command_error as e:
            refuse(self.printer, rules.Refusal("record", "the latch cannot be written: %s" % (e,)))
        if self.latch is not latch:
            refuse(self.printer, rules.Refusal("bed_token", "a print was started meanwhile"))
        self.latch = latch._replace(clear=True)
        self.drop_failed, self.eject_error = False, ""

    def note_print_ended(self, outcome):
        """A print, attempt or local, has ended. Does not pause."""
        if self.drop_failed:
            self.disk.submit_quietly(records.drop_clear, self.state_dir)
        if outcome == "complete" and self.eject_gcode is not None:
            self.ejecting = True
            self.reactor.register_callback(self._eject)

    def _eject(self, eventtime):
        try:
            with self.gcode.get_mutex():
                self.eject_error = ""
                self._eject_in_command()
        except Exception as e:
            # Also what a broken macro raises: an ejection must never shut Klipper down.
            logging.exception("moonfleet: eject_gcode")
            self.eject_error = rules.plain_text(e, rules.REASON_MAX)
            self.gcode.respond_info("Moonfleet: ejection failed, the bed is not clear")
        finally:
            self.ejecting = False

    def _eject_in_command(self):
        if self.busy_reason():
            raise self.printer.command_error("not ejected: another print was started first")
        token = self.latch.token
        try:
            self.gcode.run_script_from_command(self.eject_gcode.render() + "\nM400")
        except Exception:
            if self.latch.clear:        # the macro had said it itself, too early
                self.drop()
            raise
        refuse(self.printer, rules.refuse_clear(self.latch, token, self.busy_reason()))
        self.set_clear()
