"""Tells the virtual micro-controller which virtual_sdcard file runs, for its ledger

Owns nothing of the print: it listens at print_stats, whose note_* methods are the one place
that every start, pause and end passes in mainline Klipper (2023 and later) and in Kalico.
It must not know the product's section, so that the ledger stays an independent witness.
Demo only. Python 3.7, no libraries: it runs inside klippy.

This file may be distributed under the terms of the GNU GPLv3 license.
"""

import errno
import json
import logging
import socket

RETRY_TIME = 0.050
PENDING_MAX = 64


class MoonfleetDemo:
    def __init__(self, config):
        self.printer = config.get_printer()
        self.reactor = self.printer.get_reactor()
        # Read config
        self.control_path = config.get("control")
        # Internal state
        self.toolhead = None
        self.path = ""
        self.pending = []
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.send_timer = self.reactor.register_timer(self._send_pending)
        # Register event handlers
        self.printer.register_event_handler("klippy:connect", self._handle_connect)
        self.printer.register_event_handler("klippy:shutdown", self._handle_shutdown)
        self.printer.register_event_handler("klippy:disconnect", self._handle_disconnect)

    def _handle_connect(self):
        self.toolhead = self.printer.lookup_object("toolhead")
        stats = self.printer.lookup_object("print_stats")
        self._listen(stats, "note_start", lambda: self._note_start(stats))
        self._listen(stats, "note_pause", self._note_pause)
        self._listen(stats, "note_complete", lambda: self._note_end("complete"))
        self._listen(stats, "note_error", lambda: self._note_end("error"))
        self._listen(stats, "note_cancel", lambda: self._note_end("cancelled"))
        self._listen(stats, "reset", lambda: self._note_end("reset"))
        # A klippy that was killed told no end, and the board may have kept
        # its configuration: nothing runs now.
        self._send("end", "", "reset", None)

    def _listen(self, stats, name, heard):
        original = getattr(stats, name)

        def listener(*args, **kwargs):
            result = original(*args, **kwargs)
            heard()
            return result

        setattr(stats, name, listener)

    def _note_start(self, stats):
        path = stats.get_status(self.reactor.monotonic())["filename"]
        if path == self.path:
            self._tell("resume", path)
            return
        self.path = path
        self._tell("begin", path)

    def _note_pause(self):
        if self.path:
            self._tell("pause", self.path)

    def _note_end(self, outcome):
        if self.path:
            path, self.path = self.path, ""
            self._tell("end", path, outcome)

    def _handle_shutdown(self):
        if self.path:
            path, self.path = self.path, ""
            self._send("end", path, "shutdown", None)

    def _handle_disconnect(self):
        self.socket.close()

    # Events take effect when the moves queued so far are done, which may be
    # seconds from now: lookahead knows the time without a stop of the head.
    def _tell(self, event, path, outcome=""):
        if self.printer.is_shutdown():
            self._send(event, path, outcome, None)
            return
        self.toolhead.register_lookahead_callback(
            lambda print_time: self._send(event, path, outcome, print_time)
        )

    def _send(self, event, path, outcome, print_time):
        message = {
            "do": "file",
            "event": event,
            "path": path,
            "outcome": outcome,
            "print_time_s": print_time,
        }
        if len(self.pending) >= PENDING_MAX:
            logging.error("moonfleet_demo: lost %s", self.pending.pop(0))
        self.pending.append(json.dumps(message).encode())
        waketime = self._send_pending(self.reactor.monotonic())
        self.reactor.update_timer(self.send_timer, waketime)

    def _send_pending(self, eventtime):
        while self.pending:
            try:
                self.socket.sendto(self.pending[0], self.control_path)
            except OSError as e:
                if e.errno not in (errno.EAGAIN, errno.ENOBUFS):
                    logging.error("moonfleet_demo: %s: the ledger lacks %s", e, self.pending)
                    self.pending = []
                    return self.reactor.NEVER
                return eventtime + RETRY_TIME
            self.pending.pop(0)
        return self.reactor.NEVER


def load_config(config):
    return MoonfleetDemo(config)
