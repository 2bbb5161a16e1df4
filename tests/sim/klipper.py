"""One simulated Klipper with a printer below it: what extrudes, what lies on the bed, what dies.

Owns the physics and its own disk; latch, deadline and fence are decided by the product's
klipper_extras/rules.py. Must not know hosts, attempts' lives or the network.

Without a section there is no record and no fence, and the latch is the host's: it is kept here
all the same, for it is one bed.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf

from klipper_extras import rules
from moonraker_component import gate
from moonraker_component.attempt import Start
from moonraker_component.wire import Bed, Link

PRINT_S = 60.0
MACHINE_WORDS = {"estop": "Emergency stop"}


@dataclass
class Printed:
    """One physical print: when it ran and how far it came. Written by the physics alone."""

    attempt: str
    copy: str
    job: str
    host: str
    begun_s: float
    ended_s: float | None = None
    done_s: float = 0.0
    how: str = ""
    runs: list[tuple[float, float]] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        return self.done_s >= PRINT_S


class SimKlipper:
    """`tell(kind, **words)` records what is physically so; `now` is the true time in seconds."""

    def __init__(
        self,
        host: str,
        section: bool,
        rng: random.Random,
        now: Callable[[], float],
        tell: Callable[..., None],
    ) -> None:
        self.host = host
        self.section = section
        self.rng = rng
        self.now = now
        self.tell = tell
        self.latch = rules.Latch("t0", True)
        self.last_token = ""
        self.records: dict[str, rules.Record] = {}
        self.prints: list[Printed] = []
        self.link = Link.READY
        self.boot = 1
        self.state = "standby"
        self.path = ""
        self.printed: Printed | None = None
        self.fence: rules.Fence = rules.NO_FENCE
        self.macro_until_s = 0.0
        self.own_until_s = 0.0
        self.dirty = False
        self.asleep = False

    # ---- what is asked of it ----------------------------------------------------------------

    def start(self, ask: Start, clock_s: float) -> rules.Refusal | None:
        """Start a print, or say why not. `clock_s`: CLOCK_BOOTTIME of this computer."""
        asked = rules.Ask(
            ask.attempt, ask.copy, ask.job, ask.path, ask.deadline_s,
            ask.bed_token, ask.fence_s, ask.fence_until_s,
        )  # fmt: skip
        busy = "a print is active" if self.printed is not None else ""
        if self.section:
            refused = rules.refuse_start(asked, clock_s, self.latch, busy, tuple(self.records))
            if refused is not None:
                return refused
            self.records[ask.attempt] = rules.start_record(asked, len(self.records))
            self.fence = rules.arm_fence(asked, clock_s)
            self.drop_latch()
        elif busy:
            return rules.Refusal("not_started", busy)
        else:
            self.drop_latch()  # the host sees a print begin, and drops its own once more
        self.tell("bed", attempt=ask.attempt, good=not self.dirty, text="dirty" * self.dirty)
        self.dirty = True
        self.path = ask.path
        self.printed = Printed(ask.attempt, ask.copy, ask.job, self.host, self.now())
        self.prints.append(self.printed)
        self._set_state("printing")
        return None

    def print_own(self, waits_s: float) -> None:
        """A person takes the part off the bed and prints a file of their own.

        While something prints they wait for its end, for so long.
        """
        self.own_until_s = self.now() + waits_s
        if self.link is not Link.READY or self.printed is not None:
            return
        self.own_until_s = 0.0
        self.drop_latch()
        self.dirty = True
        self.path = "own.gcode"
        self.printed = Printed(f"own-{len(self.prints)}", "own", "", self.host, self.now())
        self._set_state("printing")

    def pause(self, by: str) -> bool:
        if self.state != "printing":
            return False
        self._set_state("paused")
        self.tell("paused", attempt=self.printing, text=by)
        return True

    def resume(self, by: str) -> bool:
        """RESUME; refused by the section while its fence has fired."""
        if self.state != "paused" or self.printed is None or rules.refuse_resume(self.fence):
            return False
        self._set_state("printing")
        self.tell("resumed", attempt=self.printing, text=by)
        return True

    def feed(self, attempt: str, until_s: float, clock_s: float) -> None:
        if not rules.refuse_feed(self.fence, attempt, until_s, self.printing):
            self.fence = rules.feed_fence(self.fence, until_s, clock_s)

    def lift(self, attempt: str, pause: str, clock_s: float) -> None:
        if not rules.refuse_lift(self.fence, attempt, pause, 0.0):
            self.fence = rules.lift_fence(self.fence, pause, 0.0, clock_s)

    def clear(self, token: str | None) -> bool:
        """Somebody says that the bed is clear; None: typed at the printer."""
        if self.link is not Link.READY:
            return False
        busy = "a print is active" if self.printed is not None else ""
        if rules.refuse_clear(self.latch, token, busy) is not None:
            return False
        self.latch = rules.Latch(self.latch.token, True)
        return True

    def drop_latch(self) -> None:
        self.last_token = self.latch.token
        self.latch = rules.Latch(f"t{self.rng.getrandbits(32):08x}", False)

    # ---- what happens to it -------------------------------------------------------------------

    def pass_time(self, seconds: float, clock_s: float) -> bool:
        """Print on; whether the fence has fired."""
        if self.printed is not None and self.state == "printing":
            self.printed.done_s += seconds
            if self.printed.whole:
                self.end("complete", "complete")
                if self.now() < self.own_until_s:
                    self.print_own(0.0)
        if not rules.is_expired(self.fence, clock_s):
            return False
        self.fence = rules.fire_fence(self.fence, f"f{self.rng.getrandbits(32):08x}")
        if self.state == "printing":
            self._set_state("paused")
            self.tell("paused", attempt=self.printing, text="fence")
        return True

    def end(self, state: str, how: str) -> None:
        """The print is over, and the section writes down how."""
        printed = self.printed
        self._stop(how)
        self.state = state
        if printed is not None and printed.attempt in self.records:
            record = self.records[printed.attempt]
            self.records[printed.attempt] = rules.end_record(record, state, how)
        self.fence = rules.end_fence(self.fence)

    def die(self, why: str) -> None:
        """Its memory is gone; records and latch are on disk."""
        self._stop(why)
        self.state, self.path = "standby", ""
        self.fence = rules.NO_FENCE
        self.link = Link.DISCONNECTED

    def shut_down(self) -> None:
        """M112: everything stops at once, and Klipper says so until it is restarted."""
        if self.link is Link.READY:
            if self.printed is not None:
                self.end("error", "estop")
            self.link = Link.SHUTDOWN

    def come_back(self) -> None:
        """A new life of Klipper; what its records call started has been interrupted."""
        if self.link is Link.READY:
            return
        self.link = Link.READY
        self.boot += 1
        self.state, self.path = "standby", ""
        for record in list(self.records.values()):
            if record.state == "started":
                ended = rules.end_record(record, "interrupted", "restart")
                self.records[record.attempt] = ended

    def sleep(self) -> None:
        self.asleep = True
        self._end_run()

    def wake(self) -> None:
        """After a sleep the fence has looked at the clock before anything moves."""
        self.asleep = False
        if self.printed is not None and self.state == "printing":
            self._end_run()
            self.printed.runs.append((self.now(), inf))

    # ---- what is seen of it -------------------------------------------------------------------

    @property
    def printing(self) -> str:
        """The attempt whose print is not over, or empty."""
        return self.printed.attempt if self.printed is not None else ""

    def view(self) -> gate.View:
        if self.link is Link.DISCONNECTED:
            return gate.View(link=self.link, boot=self.boot, section=self.section)
        busy = self.printed is not None or self.macro_until_s > self.now()
        fence = self.fence
        return gate.View(
            link=self.link,
            boot=self.boot,
            print_state=self.state,
            path=self.path,
            active=self.state == "printing",
            paused=self.state == "paused",
            idle_state="Printing" if busy else "Idle",
            queue_state="ready",
            section=self.section,
            bed=Bed(clear=self.latch.clear, token=self.latch.token),
            records=tuple(
                gate.Record(r.attempt, r.state, r.copy, r.job, r.filename, r.outcome, r.reason)
                for r in list(self.records.values())[-16:]
            ),
            fence=gate.Fence(fence.attempt, fence.fired, fence.pause, fence.released),
        )

    def _set_state(self, state: str) -> None:
        if self.printed is not None and self.state != state:
            if state == "printing" and not self.asleep:
                self.printed.runs.append((self.now(), inf))
            else:
                self._end_run()
        self.state = state

    def _end_run(self) -> None:
        """Nothing moves from here on."""
        printed = self.printed
        if printed is not None and printed.runs and printed.runs[-1][1] == inf:
            printed.runs[-1] = (printed.runs[-1][0], self.now())

    def _stop(self, how: str) -> None:
        printed = self.printed
        if printed is None:
            return
        self._end_run()
        printed.ended_s, printed.how = self.now(), how
        self.tell("ended", attempt=printed.attempt, copy=printed.copy, text=how)
        self.printed = None
