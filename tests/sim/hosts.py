"""One simulated host: a disk, a Klipper with its section, and the product's host decisions.

Owns the physics (what was extruded, what lies on the bed) and carries out effects as agent.py
does. Crashes may fall between any two effects.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from klipper_extras import rules
from moonraker_component import attempt as life
from moonraker_component import decisions, gate, wire
from moonraker_component import host as hosting
from moonraker_component.wire import Bed, Link, Want

if TYPE_CHECKING:
    from tests.sim.world import World

PRINT_S = 80.0
TICK_S = 0.7


@dataclass
class Printed:
    """One physical print: when it ran and how far it came. Written by the physics alone."""

    attempt: str
    copy: str
    host: str
    begun_s: float
    ended_s: float | None = None
    done_s: float = 0.0
    how: str = ""
    runs: list[tuple[float, float]] = field(default_factory=list)


@dataclass
class SimKlipper:
    """Klipper with the section: memory dies with it, `records`, `latch` are on disk."""

    latch: rules.Latch
    records: dict[str, rules.Record] = field(default_factory=dict)
    link: Link = Link.READY
    boot: int = 1
    state: str = "standby"
    path: str = ""
    printed: Printed | None = None
    fence: rules.Fence = rules.NO_FENCE
    macro_until_s: float = 0.0
    dirty: bool = False


class SimHost:
    """A host named `name`. `host` is None while its component is down.

    `section`: whether its Klipper has ours. `machine`: what names it beside its printer id.
    `stalled_until_s`: its component stands still; `asleep`: Klipper does so too. Clocks go on.
    """

    def __init__(
        self, world: World, name: str, section: bool = True, machine: str = "", key: str = ""
    ) -> None:
        self.world = world
        self.name = name
        self.key = key or name
        self.section = section
        self.machine = machine or f"machine-{name}"
        self.stalled_until_s = 0.0
        self.asleep = False
        self.disk_full_until_s = 0.0
        self.mute_answers_until_s = 0.0
        self.rows: dict[str, life.Attempt] = {}
        self.unsaved: set[str] = set()
        self.host: hosting.Host | None = None
        self.klipper = SimKlipper(rules.Latch("t0", True))
        self.powered = True
        self.sessions = 0
        self.prints: list[Printed] = []
        self.dirty_starts = 0
        self.stops: list[tuple[str, str]] = []
        world.at(TICK_S, self.tick)

    # ---- life -----------------------------------------------------------------------------------

    def boot(self, fresh_machine: bool = False) -> None:
        """The component starts, with whatever rows the disk has."""
        self.sessions += 1
        session = f"{self.key}-s{self.sessions}-{self.world.rng.getrandbits(32):08x}"
        self.stalled_until_s = 0.0
        if not self.section:  # its own latch begins each session not clear
            self.klipper.latch = rules.Latch(f"t{self.world.rng.getrandbits(32):x}", False)
        if fresh_machine:
            self.powered = True
        host, effects = decisions.new_session(
            session, tuple(self.rows.values()), self.world.now_s, 10.0
        )
        self.host = host
        self._carry_out(effects)
        self.world.resubscribe(self)

    def suffer(self, kind: str, length_s: float) -> None:
        """What happens to it, for so long; what has no meaning now does not happen."""
        until_s = self.world.now_s + length_s
        if kind in ("stall", "suspend"):
            self.stalled_until_s = max(self.stalled_until_s, until_s)
            if kind == "suspend" and not self.asleep:
                self.asleep = True
                self._stop_run()
        elif kind == "disk_full":
            self.disk_full_until_s = until_s
        elif kind == "mute_answers":
            self.mute_answers_until_s = until_s
        elif kind.startswith("p") and kind != "power":
            self._suffer_in_print(kind, length_s)
        else:
            self._fail(kind, length_s)

    def _suffer_in_print(self, kind: str, length_s: float) -> None:
        klipper = self.klipper
        if kind == "person_pause" and klipper.state == "printing":
            self._set_state("paused")
            self.world.at(length_s, self._person_resumes)
        elif kind == "person_cancel" and klipper.printed is not None:
            self._end_print("cancelled", "person")
        elif kind == "print_error" and klipper.state == "printing":
            self._end_print("error", "error")

    def _fail(self, kind: str, length_s: float) -> None:
        klipper = self.klipper
        world = self.world
        if kind in ("moonraker", "forget", "forget_all"):
            self.host = None
            if kind != "moonraker":
                self.rows.clear()
            world.at(length_s, self._come_back)
        elif kind == "power":
            self.host = None
            self._klipper_dies("power")
            klipper.link = Link.DISCONNECTED
            self.powered = False
            world.at(length_s, self._come_back)
        elif kind == "klipper":
            self._klipper_dies("klipper")
            klipper.link = Link.DISCONNECTED
            world.at(length_s, self._klipper_back)
        elif kind == "macro":
            klipper.macro_until_s = world.now_s + length_s

    def _come_back(self) -> None:
        if not self.powered:
            self.powered = True
            self._klipper_back()
        if self.host is None:
            self.boot()

    def heal(self) -> None:
        self.stalled_until_s = self.disk_full_until_s = self.mute_answers_until_s = 0.0
        self._come_back()
        if self.klipper.link is not Link.READY:
            self._klipper_back()
        self.klipper.macro_until_s = 0.0

    def _klipper_dies(self, why: str) -> None:
        if self.klipper.printed is not None:
            self._finish_physics(why)
        self.klipper.state, self.klipper.path = "standby", ""
        self.klipper.fence = rules.NO_FENCE

    def _klipper_back(self) -> None:
        klipper = self.klipper
        if not self.powered or klipper.link is Link.READY:
            return
        klipper.link = Link.READY
        klipper.boot += 1
        for record in list(klipper.records.values()):
            if record.state == "started":
                ended = rules.end_record(record, "interrupted", "restart")
                klipper.records[record.attempt] = ended

    # ---- time -----------------------------------------------------------------------------------

    def tick(self) -> None:
        self.world.at(TICK_S, self.tick)
        if self.asleep and self._stalled():
            return
        self._tick_klipper()
        if self.host is None or self._stalled():
            return
        self._apply(*decisions.on_view(self.host, self._view(), self.world.now_s))
        if self.host is not None:
            self._apply(*decisions.on_tick(self.host, self.world.now_s))
        if self.host is not None and self.world.rng.random() < 0.25:
            self._report()

    def _tick_klipper(self) -> None:
        klipper, now_s = self.klipper, self.world.now_s
        if klipper.printed is not None and not self.asleep and klipper.state == "printing":
            klipper.printed.done_s += TICK_S
            if klipper.printed.done_s >= PRINT_S:
                self._end_print("complete", "complete")
        if rules.is_expired(klipper.fence, now_s):
            klipper.fence = rules.fire_fence(klipper.fence, f"f{self.world.rng.getrandbits(32):x}")
            if klipper.state == "printing":
                self._set_state("paused")
        if self.asleep:  # it wakes: the clock has gone on, and the fence looks at it first
            self.asleep = False
            if klipper.printed is not None and klipper.state == "printing":
                klipper.printed.runs.append((now_s, float("inf")))
        used = klipper.dirty or not klipper.latch.clear
        if used and klipper.printed is None and self.world.rng.random() < 0.05:
            klipper.dirty = False
            klipper.latch = rules.Latch(klipper.latch.token, True)

    def hear(self, payload: bytes, retained: bool) -> None:
        if self.host is None:
            return
        if self._stalled():  # what lies in its socket is read when it wakes
            self._when_awake(lambda: self.hear(payload, retained))
            return
        desired = wire.decode(wire.Desired, payload)
        self._apply(*decisions.on_desired(self.host, desired, self.world.now_s, retained))

    # ---- effects --------------------------------------------------------------------------------

    def _apply(self, host: hosting.Host, effects: life.Effects) -> None:
        self.host = host
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
                self.unsaved.add(attempt.id)  # the print goes on, whatever the disk says
                continue
            if not self.world.healed and self.world.rng.random() < 0.002:
                self.world.note(f"H {self.name} crashes before {type(effect).__name__}")
                self.host = None
                self.world.at(self.world.rng.choice((1.0, 20.0, 90.0)), self._come_back)
                return
            self._carry_out_one(effect)

    def _carry_out_one(self, effect: life.Effect) -> None:
        world = self.world
        if isinstance(effect, life.Save):
            self.rows[effect.attempt.id] = effect.attempt
            self.unsaved.discard(effect.attempt.id)
        elif isinstance(effect, life.Forget):
            for attempt in effect.attempts:
                self.rows.pop(attempt, None)
        elif isinstance(effect, life.Say):
            self._report()
        elif isinstance(effect, life.Fetch):
            attempt = effect.order.attempt
            world.at(world.rng.uniform(0.1, 4.0), lambda: self._fetched(attempt))
        elif isinstance(effect, life.LookUp):
            world.at(0.3, lambda: self._history(effect.attempt))
        else:
            self._ask_klipper(effect)

    def _ask_klipper(self, effect: life.Effect) -> None:
        """What goes to Klipper takes its time; a start waits behind a running macro."""
        world, klipper = self.world, self.klipper
        soon_s = world.rng.uniform(0.0, 1.0)
        if isinstance(effect, life.Start):
            wait_s = max(klipper.macro_until_s - world.now_s, 0.0)
            boot = klipper.boot
            if not self.section:
                if world.now_s >= effect.deadline_s:
                    self._answer(effect.attempt, "deadline", "the permission to start ended")
                    return
                klipper.latch = rules.Latch(f"t{world.rng.getrandbits(32):x}", False)
            world.at(wait_s + soon_s, lambda: self._klipper_start(effect, boot))
        elif isinstance(effect, life.Feed):
            if not rules.refuse_feed(
                klipper.fence, effect.attempt, effect.until_s, self._printing_attempt()
            ):
                klipper.fence = rules.feed_fence(klipper.fence, effect.until_s, world.now_s)
        elif isinstance(effect, (life.Pause, life.Resume, life.Cancel)):
            world.at(soon_s, lambda: self._steer(effect))

    def _fetched(self, attempt: str) -> None:
        if self.host is not None:
            self._apply(*decisions.on_fetched(self.host, attempt, "", "", self.world.now_s))

    def _history(self, attempt: str) -> None:
        if self.host is not None:
            self._apply(*decisions.on_history(self.host, attempt, "", self.world.now_s))

    def _klipper_start(self, effect: life.Start, boot: int) -> None:
        klipper = self.klipper
        if self.asleep and self._stalled():
            self._when_awake(lambda: self._klipper_start(effect, boot))
            return
        if klipper.link is not Link.READY or klipper.boot != boot:
            return
        ask = rules.Ask(
            effect.attempt, effect.copy, effect.job, effect.path, effect.deadline_s,
            effect.bed_token, effect.fence_s, effect.fence_until_s,
        )  # fmt: skip
        busy = "a print is active" if klipper.printed is not None else ""
        refused = rules.refuse_start(
            ask, self.world.now_s, klipper.latch, busy, tuple(klipper.records)
        )
        if not self.section:
            refused = rules.Refusal("not_started", busy) if busy else None
        if refused is not None:
            self._answer(effect.attempt, refused.code, refused.text)
            return
        if klipper.dirty:
            self.dirty_starts += 1
        if self.section:
            klipper.records[effect.attempt] = rules.start_record(ask, len(klipper.records))
            klipper.fence = rules.arm_fence(ask, self.world.now_s)
        klipper.latch = rules.Latch(f"t{self.world.rng.getrandbits(32):x}", False)
        klipper.dirty = True
        klipper.path = effect.path
        klipper.printed = Printed(effect.attempt, effect.copy, self.name, self.world.now_s)
        self.prints.append(klipper.printed)
        self.world.note(f"P {self.name} prints {effect.attempt[:6]} of {effect.copy[:4]}")
        self._set_state("printing")
        self._answer(effect.attempt, "", "")

    def _answer(self, attempt: str, refused: str, text: str) -> None:
        if self.host is not None and self._stalled():
            self._when_awake(lambda: self._answer(attempt, refused, text))
        elif self.host is not None and self.world.now_s >= self.mute_answers_until_s:
            self._apply(*decisions.on_asked(self.host, attempt, refused, text, self.world.now_s))

    def _steer(self, effect: life.Pause | life.Resume | life.Cancel) -> None:
        klipper = self.klipper
        if self._printing_attempt() != effect.attempt:
            return
        if isinstance(effect, life.Cancel):
            order = self.host.order if self.host is not None else None
            why = order.want.value if order is not None and order.want is Want.CANCEL else "stray"
            self.stops.append((effect.attempt, why))
            self._end_print("cancelled", "farm")
        elif isinstance(effect, life.Pause) and klipper.state == "printing":
            self._set_state("paused")
        elif isinstance(effect, life.Resume):
            if effect.lift and not rules.refuse_lift(
                klipper.fence, effect.attempt, effect.lift, 0.0
            ):
                klipper.fence = rules.lift_fence(klipper.fence, effect.lift, 0.0, self.world.now_s)
            self._person_resumes()

    def _person_resumes(self) -> None:
        klipper = self.klipper
        if klipper.state == "paused" and klipper.printed is not None and not klipper.fence.fired:
            self._set_state("printing")

    # ---- physics --------------------------------------------------------------------------------

    def _set_state(self, state: str) -> None:
        printed = self.klipper.printed
        if printed is not None and self.klipper.state != state:
            if state == "printing":
                printed.runs.append((self.world.now_s, float("inf")))
            else:
                self._stop_run()
        self.klipper.state = state

    def _stop_run(self) -> None:
        """Nothing moves from here on."""
        printed = self.klipper.printed
        if printed is not None and printed.runs and printed.runs[-1][1] == float("inf"):
            printed.runs[-1] = (printed.runs[-1][0], self.world.now_s)

    def _end_print(self, state: str, how: str) -> None:
        printed = self.klipper.printed
        self._finish_physics(how)
        self.klipper.state = state
        if printed is not None and printed.attempt in self.klipper.records:
            record = self.klipper.records[printed.attempt]
            self.klipper.records[printed.attempt] = rules.end_record(record, state, how)
        self.klipper.fence = rules.end_fence(self.klipper.fence)

    def _finish_physics(self, how: str) -> None:
        printed = self.klipper.printed
        if printed is None:
            return
        self._stop_run()
        printed.ended_s, printed.how = self.world.now_s, how
        self.klipper.printed = None

    def _stalled(self) -> bool:
        return self.world.now_s < self.stalled_until_s

    def _when_awake(self, act: Callable[[], None]) -> None:
        """Later, unless the component that was to do it has gone meanwhile."""
        session = self.host.session if self.host is not None else ""

        def late() -> None:
            if self.host is not None and self.host.session == session:
                act()

        self.world.at(self.stalled_until_s - self.world.now_s + 0.01, late)

    def _printing_attempt(self) -> str:
        return self.klipper.printed.attempt if self.klipper.printed is not None else ""

    def _view(self) -> gate.View:
        klipper = self.klipper
        if klipper.link is not Link.READY:
            return gate.View(link=klipper.link, boot=klipper.boot, section=self.section)
        busy = klipper.printed is not None or klipper.macro_until_s > self.world.now_s
        return gate.View(
            link=klipper.link,
            boot=klipper.boot,
            print_state=klipper.state,
            path=klipper.path,
            active=klipper.state == "printing",
            paused=klipper.state == "paused",
            idle_state="Printing" if busy else "Idle",
            queue_state="ready",
            section=self.section,
            bed=Bed(clear=klipper.latch.clear, token=klipper.latch.token),
            records=tuple(
                gate.Record(r.attempt, r.state, r.copy, r.job, r.filename, r.outcome, r.reason)
                for r in list(klipper.records.values())[-16:]
            ),
            fence=gate.Fence(
                klipper.fence.attempt, klipper.fence.fired, klipper.fence.pause,
                klipper.fence.released,
            ),
        )  # fmt: skip

    def _report(self) -> None:
        assert self.host is not None
        self.host, report = hosting.make_report(
            self.host, self.world.now_s, wire.Profile(), self.machine
        )
        payload = wire.encode(report)
        coordinator = self.world.coordinator
        self.world.send(self, lambda: coordinator.hear(self.name, payload))
