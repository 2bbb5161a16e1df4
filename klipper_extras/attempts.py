"""The attempts that `[moonfleet]` knows: the one that prints, and the record of each.

Owns the records in memory and their way to disk. Must not know virtual_sdcard or the latch.
"""
import logging

from . import records, rules

STATUS_RECORDS = 16
# Reactor seconds until an end that the disk refused is written again.
SAVE_AGAIN_S = 15.


class Attempts:
    """Every attempt id this printer was told to start, newest records.KEEP_RECORDS of them."""

    def __init__(self, printer, disk, state_dir, found):
        self.error = printer.command_error
        self.reactor = printer.get_reactor()
        self.disk = disk
        self.state_dir = state_dir
        self.active = None      # the Record of the attempt that prints, or None
        self.unsaved = {}       # attempt -> ended Record that the disk refused
        self.records = {r.attempt: r for r in found}
        self.serial = max([r.serial for r in found] + [0])

    def active_id(self):
        """Return the attempt that prints, "" if none does."""
        return "" if self.active is None else self.active.attempt

    def newest(self, count):
        """Return the newest count records, newest last."""
        return sorted(self.records.values(), key=lambda r: r.serial)[-count:]

    def end_stale(self):
        """End what a former life of Klipper left started. Does not pause."""
        for record in list(self.records.values()):
            if record.state == "started":
                self._save_end(rules.end_record(record, "interrupted",
                                                "Klipper was restarted while it printed"))

    def save_start(self, ask):
        """Write the record of a start durably and return it. Pauses, raises command_error."""
        record = rules.start_record(ask, self.serial + 1)
        try:
            for ended in list(self.unsaved.values()):
                self.disk.run(records.write_record, self.state_dir, ended)
                self.unsaved.pop(ended.attempt, None)
            self.disk.run(records.write_record, self.state_dir, record)
        except self.error:
            self.forget(record)
            raise
        self.serial = record.serial
        self._prune()
        return record

    def forget(self, record):
        """Remove the record of a start that did not happen: its id stays unused."""
        # Should this fail too, the next life of Klipper finds it started and calls it
        # interrupted, which costs a retry and nothing worse.
        self.disk.submit_quietly(records.remove_records, self.state_dir, [record.attempt])

    def begin(self, record):
        """The attempt prints from here on."""
        self.active = self.records[record.attempt] = record

    def end(self, outcome, reason):
        """End the attempt that prints; tell whether there was one. Does not pause."""
        if self.active is None:
            return False
        record, self.active = self.active, None
        self._save_end(rules.end_record(record, outcome, reason))
        return True

    def _prune(self):
        old = sorted(self.records.values(), key=lambda r: r.serial)[:-records.KEEP_RECORDS]
        for record in old:
            del self.records[record.attempt]
            self.unsaved.pop(record.attempt, None)
        if old:
            self.disk.submit_quietly(records.remove_records, self.state_dir,
                                     [r.attempt for r in old])

    def _save_end(self, ended):
        # Queued at once: a restart right behind the end waits for the queue, not for callbacks.
        try:
            completion = self.disk.submit(records.write_record, self.state_dir, ended)
        except self.error as e:
            self._note_unsaved(ended, e)
            return
        self.reactor.register_callback(lambda e: self._await_end(ended, completion))

    def _await_end(self, ended, completion):
        # Told as ended only once the disk has it, so that no restart can contradict it.
        try:
            self.disk.wait(completion)
            self.records[ended.attempt] = ended
        except self.error as e:
            self._note_unsaved(ended, e)

    def _note_unsaved(self, ended, error):
        logging.warning("moonfleet: end of %s not on disk: %s", ended.attempt, error)
        self.records[ended.attempt] = self.unsaved[ended.attempt] = ended
        self._save_again_later(ended)

    # Not left to the next start: a power cut before it would make a finished print, of which the
    # disk knows only the start, an interrupted one, and it would be printed once more.
    def _save_again_later(self, ended):
        waketime = self.reactor.monotonic() + SAVE_AGAIN_S
        self.reactor.register_callback(lambda e: self._save_again(ended), waketime)

    def _save_again(self, ended):
        if self.unsaved.get(ended.attempt) is not ended:
            return      # a start has saved it, or it is one of too many
        try:
            self.disk.run(records.write_record, self.state_dir, ended)
        except self.error:
            self._save_again_later(ended)
            return
        if self.unsaved.pop(ended.attempt, None) is not None:
            logging.info("moonfleet: end of %s is on disk now", ended.attempt)

    def get_status(self):
        """Return the newest records as fresh dicts, newest last."""
        shown = [dict(r._asdict()) for r in self.newest(STATUS_RECORDS)]
        for record in shown:
            del record["serial"]
        return shown
