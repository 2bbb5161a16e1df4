"""One simulated host: its disk, its clock, and a component that runs the product's decisions.

Owns the component's life: rows on disk, effects carried out as agent.py does, crashes between any
two of them. What Klipper does is klipper.py's; what a host decides is the product's.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from moonraker_component import attempt as life
from moonraker_component import decisions, gate, wire
from moonraker_component import host as hosting
from moonraker_component.clock import boottime_s
from moonraker_component.wire import Command, CommandKind, Link, Want
from tests.sim.klipper import Printed, SimKlipper

if TYPE_CHECKING:
    from tests.sim.world import World

TICK_S = 1.0
PROFILE = wire.Profile()


class Seen:
    """What this session has heard, kept apart from the product: what a start is judged by."""

    def __init__(self) -> None:
        self.number = (0, 0)
        self.order: wire.Order | None = None
        self.sent_s: dict[int, float] = {}
        self.echoed_s = float("-inf")

    def hear(self, desired: wire.Desired, session: str, retained: bool) -> None:
        number = (desired.term, desired.generation)
        if number < self.number:
            return
        if number > self.number:
            self.number, self.order, self.echoed_s = number, desired.order, float("-inf")
        echo = desired.echo
        if echo is not None and echo.session == session and not retained:
            self.echoed_s = max(self.echoed_s, self.sent_s.get(echo.sequence, float("-inf")))


class SimHost:
    """A host of printer `name`. `host` is None while its component is down.

    `key`: its own name, for a clone has the printer's. `section`: whether its Klipper has ours.
    `machine`: what names it beside its printer id. `rate`: how fast its clock goes.
    """

    def __init__(
        self, world: World, name: str, section: bool, rate: float, machine: str = "", key: str = ""
    ) -> None:
        self.world = world
        self.name = name
        self.key = key or name
        self.rng = random.Random(f"{world.scenario.seed}/{self.key}")
        self.machine = machine or f"machine-{name}"
        self.section = section
        self.rate = rate
        self.offset_s = self.rng.uniform(0.0, 1e6)
        self.klipper = SimKlipper(self.key, section, self.rng, lambda: world.now_s, self.tell)
        self.rows: dict[str, life.Attempt] = {}
        self.host: hosting.Host | None = None
        self.seen = Seen()
        self.powered = True
        self.sessions = 0
        self.stalled_until_s = 0.0
        self.asleep = False
        self.asleep_since_s = self.slept_s = 0.0
        self.disk_full_until_s = 0.0
        self.mute_until_s = 0.0
        self.crash_in: int | None = None
        self.crash_at_start = ""
        self.crash_s = 0.0
        self._viewed: tuple[str, gate.View] | None = None
        self._reported_s = 0.0
        world.at(self.rng.uniform(0.0, TICK_S), self.tick)

    @property
    def prints(self) -> list[Printed]:
        return self.klipper.prints

    def clock_s(self) -> float:
        """The clock that the product has chosen, of this computer and of the Klipper on it."""
        return boottime_s(self._clock_gettime)

    def _clock_gettime(self, clock: int) -> float:
        """Both clocks drift and begin anew at a boot; CLOCK_BOOTTIME goes on during sleep."""
        slept_s = self.slept_s
        if self.asleep:
            slept_s += self.world.now_s - self.asleep_since_s
        awake_s = self.world.now_s - (slept_s if clock == time.CLOCK_MONOTONIC else 0.0)
        return awake_s * self.rate + self.offset_s

    def tell(self, kind: str, **words: object) -> None:
        """Record what is physically so, or what this component does."""
        self.world.tell(kind, host=self.key, **words)

    # ---- life -----------------------------------------------------------------------------------

    def boot(self) -> None:
        """The component starts, with whatever rows the disk has."""
        self.sessions += 1
        session = f"{self.key}-s{self.sessions}-{self.rng.getrandbits(32):08x}"
        self.stalled_until_s = 0.0
        self.crash_in, self.crash_at_start = None, ""
        self.seen = Seen()
        self._viewed = None
        if not self.section:  # its own latch begins each session not clear
            self.klipper.drop_latch()
        self.host, effects = decisions.new_session(
            session, tuple(self.rows.values()), self.clock_s(), self.world.lease_s
        )
        self._carry_out(effects)
        self.world.network.subscribe(self)

    def die(self, for_s: float, why: str) -> None:
        """The component is gone, for so long."""
        if self.host is not None:
            self.world.tell("crash", host=self.key, text=why)
            self.world.network.will(self, 0.0)
        self.host = None
        self.world.at(for_s, self.come_back)

    def lose_power(self, for_s: float) -> None:
        """Everything on it dies; its clock begins anew."""
        self.powered = False
        self.klipper.die("power")
        self.offset_s = self.rng.uniform(0.0, 1e6) - self.world.now_s * self.rate
        self.die(for_s, "power")

    def come_back(self) -> None:
        if not self.powered:
            self.powered = True
            self.klipper.come_back()
        if self.host is None:
            self.boot()

    def klipper_comes_back(self) -> None:
        if self.powered:
            self.klipper.come_back()

    def stand_still(self, for_s: float, asleep: bool) -> None:
        """Its component does nothing for a while; asleep, Klipper does nothing either."""
        self.stalled_until_s = max(self.stalled_until_s, self.world.now_s + for_s)
        if asleep and not self.asleep:
            self.asleep, self.asleep_since_s = True, self.world.now_s
            self.klipper.sleep()

    def heal(self) -> None:
        """Whatever was done to it is over."""
        self.stalled_until_s = self.disk_full_until_s = self.mute_until_s = 0.0
        self.crash_in, self.crash_at_start = None, ""
        self.come_back()
        self.klipper.come_back()
        self.klipper.macro_until_s = 0.0

    # ---- time -----------------------------------------------------------------------------------

    def tick(self) -> None:
        self.world.at(TICK_S, self.tick)
        if self.asleep and self._stalled():
            return
        if self.asleep:
            if self.klipper.pass_time(0.0, self.clock_s()):
                self._note_fence()
            self.asleep = False
            self.slept_s += self.world.now_s - self.asleep_since_s
            self.klipper.wake()
        elif self.klipper.pass_time(TICK_S, self.clock_s()):
            self._note_fence()
        self._visit()
        if self.host is None or self._stalled():
            return
        view = self.klipper.view()
        if self._viewed != (self.host.session, view):
            self._viewed = (self.host.session, view)
            self._apply(*decisions.on_view(self.host, view, self.clock_s()))
        if self.host is not None:
            self._apply(*decisions.on_tick(self.host, self.clock_s()))
        if self.host is not None and self.clock_s() - self._reported_s >= self.world.lease_s / 3:
            self.report()

    def _note_fence(self) -> None:
        """A fence may only fire where nothing was heard that should have fed it."""
        order = self.seen.order
        fed = order is not None and order.attempt == self.klipper.fence.attempt
        wanted = fed and order is not None and order.want in (Want.RUN, Want.PAUSE, Want.START)
        quiet_s = self.world.now_s - self.seen.echoed_s
        live = self.host is not None and not self._stalled() and not self.asleep
        # A tick of the component and one of Klipper may lie between the echo and the feeding.
        unfed = not (wanted and live) or quiet_s > self.world.fence_s * 0.98 - 3 * TICK_S
        self.tell("fenced", attempt=self.klipper.fence.attempt, value=quiet_s, good=unfed)

    def _visit(self) -> None:
        """A person comes by now and then, takes the part off the bed, and says that it is clear."""
        klipper = self.klipper
        used = klipper.dirty or not klipper.latch.clear
        if not used or klipper.printed is not None or self.rng.random() >= 0.08:
            return
        klipper.dirty = False
        if self.rng.random() < 0.5 or self.world.healed:
            klipper.clear(None if self.section else klipper.latch.token)
        else:
            self.world.people.clear_from_afar(self.name)

    # ---- what it hears --------------------------------------------------------------------------

    def hear(self, payload: bytes, retained: bool) -> None:
        """A desired, from the wire."""
        if self.host is None:
            return
        if self._stalled():  # what lies in its socket is read when it wakes
            self._when_awake(lambda: self.hear(payload, retained))
            return
        desired = wire.decode(wire.Desired, payload)
        self.seen.hear(desired, self.host.session, retained)
        self._apply(*decisions.on_desired(self.host, desired, self.clock_s(), retained))

    def hear_command(self, command: Command) -> None:
        """A command, from the wire."""
        if self.host is None:
            return
        if self._stalled():
            self._when_awake(lambda: self.hear_command(command))
            return
        if decisions.refuse_command(self.host, command, self.clock_s()):
            return
        if command.kind is CommandKind.BED_CLEAR:
            self.klipper.clear(command.token)
        elif command.kind is CommandKind.EMERGENCY_STOP:
            hit = self.klipper.printing
            late_s = self.world.now_s - self.seen.sent_s.get(command.sequence, 0.0)
            in_time = late_s <= self.world.lease_s * 1.02
            meant = not hit or not command.attempt or hit == command.attempt
            self.tell("estop", attempt=hit, text=command.attempt, good=in_time and meant)
            self.klipper.shut_down()
            self.world.at(self.rng.uniform(2.0, 20.0), self.klipper_comes_back)

    # ---- effects --------------------------------------------------------------------------------

    def _apply(self, host: hosting.Host, effects: life.Effects) -> None:
        self.host = host
        if effects:
            self._carry_out(effects)

    def _carry_out(self, effects: life.Effects) -> None:
        for effect in effects:
            if self.host is None:
                return
            if isinstance(effect, life.Save) and self.world.now_s < self.disk_full_until_s:
                attempt = effect.attempt
                if attempt.phase in life.UNSTARTED or attempt.phase is wire.Phase.STARTING:
                    self._apply(*decisions.on_save_failed(self.host, attempt.id, "disk full"))
                    return
                continue  # the print goes on, whatever the disk says
            if self._crashes_before(effect):
                return
            self._carry_out_one(effect)

    def _crashes_before(self, effect: life.Effect) -> bool:
        """Whether the fault that lies in wait for one of the next effects strikes here."""
        if isinstance(effect, life.Start) and self.crash_at_start:
            if self.crash_at_start == "after":
                self._carry_out_one(effect)
            self.die(self.crash_s, f"{self.crash_at_start} the start")
            return True
        if self.crash_in is None:
            return False
        self.crash_in -= 1
        if self.crash_in >= 0:
            return False
        self.die(self.crash_s, f"before {type(effect).__name__}")
        return True

    def _carry_out_one(self, effect: life.Effect) -> None:
        if isinstance(effect, life.Save):
            self.rows[effect.attempt.id] = effect.attempt
        elif isinstance(effect, life.Forget):
            for attempt in effect.attempts:
                self.rows.pop(attempt, None)
        elif isinstance(effect, life.Say):
            self.report()
        elif isinstance(effect, life.Fetch):
            fetched = effect.order.attempt
            self._later(self.rng.uniform(0.1, 4.0), lambda: self._fetched(fetched))
        elif isinstance(effect, life.LookUp):
            asked = effect.attempt
            self._later(0.3, lambda: self._history(asked))
        else:
            self._ask_klipper(effect)

    def _ask_klipper(self, effect: life.Effect) -> None:
        """What goes to Klipper takes its time; a start waits behind a running macro."""
        klipper = self.klipper
        soon_s = self.rng.uniform(0.0, 1.0)
        boot = klipper.boot
        if isinstance(effect, life.Start):
            self._note_asked(effect)
            wait_s = max(klipper.macro_until_s - self.world.now_s, 0.0)
            if not self.section:
                if self.clock_s() >= effect.deadline_s:
                    self._answer(effect.attempt, "deadline", "the permission to start ended")
                    return
                klipper.drop_latch()
            self.world.at(wait_s + soon_s, lambda: self._start(effect, boot))
        elif isinstance(effect, life.Feed):
            klipper.feed(effect.attempt, effect.until_s, self.clock_s())
        elif isinstance(effect, (life.Pause, life.Resume, life.Cancel)):
            self.world.at(soon_s, lambda: self._steer(effect, boot))

    def _note_asked(self, effect: life.Start) -> None:
        """Judged by what was heard, not by what the product made of it."""
        order, session = self.seen.order, self.host.session if self.host is not None else ""
        wanted = order is not None and (order.attempt, order.want, order.session) == (
            effect.attempt, Want.START, session,
        )  # fmt: skip
        left_s = self.seen.echoed_s + self.world.lease_s * 1.01 - self.world.now_s
        self.tell(
            "asked", attempt=effect.attempt, copy=effect.copy, job=effect.job,
            text=f"{self.seen.number}", value=left_s, good=wanted and left_s > 0,
        )  # fmt: skip

    def _start(self, effect: life.Start, boot: int) -> None:
        klipper = self.klipper
        if self.asleep and self._stalled():
            self._when_awake(lambda: self._start(effect, boot), whoever=True)
            return
        if klipper.link is not Link.READY or klipper.boot != boot:
            return
        refused = klipper.start(effect, self.clock_s())
        if refused is not None:
            self._answer(effect.attempt, refused.code, refused.text)
            return
        late_s = self.clock_s() - effect.deadline_s
        self.tell(
            "started", attempt=effect.attempt, copy=effect.copy, job=effect.job,
            value=late_s, good=late_s < 0 or not self.section,
        )  # fmt: skip
        self._answer(effect.attempt, "", "")

    def _answer(self, attempt: str, refused: str, text: str) -> None:
        if self.host is not None and self._stalled():
            self._when_awake(lambda: self._answer(attempt, refused, text))
        elif self.host is not None and self.world.now_s >= self.mute_until_s:
            self._apply(*decisions.on_asked(self.host, attempt, refused, text, self.clock_s()))

    def _steer(self, effect: life.Pause | life.Resume | life.Cancel, boot: int) -> None:
        klipper = self.klipper
        if klipper.printing != effect.attempt or klipper.boot != boot:
            return
        if isinstance(effect, life.Cancel):
            self.tell("stopped", attempt=effect.attempt, text="farm")
            klipper.end("cancelled", "farm")
        elif isinstance(effect, life.Pause):
            klipper.pause("farm")
        else:
            if effect.lift:
                klipper.lift(effect.attempt, effect.lift, self.clock_s())
            klipper.resume("farm")

    def _fetched(self, attempt: str) -> None:
        if self.host is not None:
            self._apply(*decisions.on_fetched(self.host, attempt, "", "", self.clock_s()))

    def _history(self, attempt: str) -> None:
        if self.host is not None:
            self._apply(*decisions.on_history(self.host, attempt, "", self.clock_s()))

    def report(self) -> None:
        """Send a report now; the sending is what the lease counts from."""
        if self.host is None:
            return
        self._reported_s = self.clock_s()
        self.host, report = hosting.make_report(self.host, self.clock_s(), PROFILE, self.machine)
        self.seen.sent_s[report.sequence] = self.world.now_s
        self.world.network.from_host(self, wire.encode(report))

    # ---- standing still -------------------------------------------------------------------------

    def _stalled(self) -> bool:
        return self.world.now_s < self.stalled_until_s

    def _later(self, delay_s: float, act: Callable[[], None]) -> None:
        """What this component began: it ends with it, and waits while it stands still."""
        session = self.host.session if self.host is not None else ""

        def late() -> None:
            if self.host is None or self.host.session != session:
                return
            if self._stalled():
                self._later(self.stalled_until_s - self.world.now_s + 0.01, act)
                return
            act()

        self.world.at(delay_s, late)

    def _when_awake(self, act: Callable[[], None], whoever: bool = False) -> None:
        """Later; unless the component that was to do it has gone, or `whoever` does it."""
        delay_s = self.stalled_until_s - self.world.now_s + 0.01
        if whoever:
            self.world.at(delay_s, act)
        else:
            self._later(delay_s, act)
