"""The thread on which `[moonfleet]` touches the disk.

Owns one worker and its queue: jobs run one by one in the order given, so that a later drop of
the latch always wins over an earlier clear. Must not know what the jobs do. A reactor that
stands still for seconds while an SD card syncs would trip Klipper's heater checks.
"""
import logging
import queue
import threading
import time

QUEUE_MAX = 64
WAIT_S = 20.       # BOOTTIME: the reactor's clock is not the disk's
POLL_S = .1
CLOSE_S = 5.


def boottime():
    """Return CLOCK_BOOTTIME in seconds: the clock shared with what runs above Klipper."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Disk:
    """Run blocking functions away from the reactor; errors are the printer's command_error."""

    def __init__(self, printer):
        self.error = printer.command_error
        self.reactor = printer.get_reactor()
        self.queue = queue.Queue(QUEUE_MAX)
        self.closed = False
        self.thread = threading.Thread(target=self._work, name="moonfleet disk", daemon=True)
        self.thread.start()
        printer.register_event_handler("klippy:disconnect", self.close)

    def _work(self):
        while True:
            job = self.queue.get()
            if job is None:
                return
            func, args, completion = job
            try:
                result = (func(*args), None)
            except Exception as e:
                logging.warning("moonfleet: disk: %s", e)
                result = (None, e)
            if not self.closed:
                self.reactor.async_complete(completion, result)

    def submit(self, func, *args):
        """Queue func(*args) and return its completion at once. Raises command_error when full."""
        completion = self.reactor.completion()
        try:
            self.queue.put_nowait((func, args, completion))
        except queue.Full:
            raise self.error("moonfleet: the disk is too slow, %d writes are waiting"
                             % (QUEUE_MAX,)) from None
        return completion

    def wait(self, completion):
        """Wait for a completion from submit; return its value or raise command_error."""
        limit = boottime() + WAIT_S
        while not completion.test():
            if boottime() >= limit:
                raise self.error("moonfleet: the disk did not answer within %d s" % (WAIT_S,))
            completion.wait(self.reactor.monotonic() + POLL_S)
        value, fault = completion.wait()
        if fault is not None:
            raise self.error("moonfleet: disk: %s" % (fault,)) from fault
        return value

    def run(self, func, *args):
        """Submit and wait."""
        return self.wait(self.submit(func, *args))

    def submit_quietly(self, func, *args):
        """Queue what may fail without harm; the thread logs its errors."""
        try:
            self.submit(func, *args)
        except self.error as e:
            logging.warning("%s", e)

    def close(self):
        """Finish what is queued (the end of a print may be in it), then end the thread."""
        self.closed = True
        try:
            self.queue.put_nowait(None)
        except queue.Full:
            logging.warning("moonfleet: disk: gave up on %d writes", QUEUE_MAX)
            return
        self.thread.join(CLOSE_S)
