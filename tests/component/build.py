"""Builders for the pure tests: a host that is ready, desireds, views."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from moonraker_component import decisions
from moonraker_component.attempt import Effects
from moonraker_component.gate import Fence, Record, View
from moonraker_component.host import Host, make_report
from moonraker_component.wire import (
    AttemptReport,
    Bed,
    Desired,
    Echo,
    FileRef,
    Link,
    Order,
    Profile,
    Report,
    Want,
)

SESSION = "session-1"
ATTEMPT = "attempt-0001"
OTHER = "attempt-0002"
LEASE_S = 15.0
FILE = FileRef("cube.gcode", "a" * 64, 10, "http://127.0.0.1/cube.gcode")
PATH = f"moonfleet/{ATTEMPT}/cube.gcode"

IDLE = View(
    link=Link.READY,
    boot=1,
    print_state="standby",
    idle_state="Idle",
    queue_state="ready",
    section=True,
    bed=Bed(True, "bed-1"),
)


def record(state: str = "started", outcome: str = "", attempt: str = ATTEMPT) -> Record:
    """A record of the Klipper section."""
    return Record(attempt, state, "copy-1", "job-1", f"moonfleet/{attempt}/cube.gcode", outcome)


def printing(state: str = "printing", **more: Any) -> View:
    """Klipper prints the attempt's file, and its section knows of it."""
    return replace(
        IDLE,
        **{
            "print_state": state,
            "path": PATH,
            "active": state == "printing",
            "paused": state == "paused",
            "idle_state": "Printing",
            "bed": Bed(False, "bed-2"),
            "records": (record(),),
            **more,
        },
    )


def fired(pause: str = "fence-1", released: str = "") -> Fence:
    """A fence that has fired."""
    return Fence(ATTEMPT, not released, pause, released)


class Story:
    """A host and a clock, moved by hand. `effects` are those of the last step."""

    def __init__(self, view: View = IDLE, now_s: float = 100.0, **first: Any) -> None:
        self.now_s = now_s
        self.term, self.generation = 1, 0
        self.order: Order | None = None
        self.host, self.effects = decisions.new_session(
            SESSION, first.get("rows", ()), now_s, LEASE_S
        )
        self.all: list[Any] = list(self.effects)
        self.step(decisions.on_view, view, now_s)

    def step(self, decision: Callable[..., tuple[Host, Effects]], *args: Any) -> None:
        self.host, self.effects = decision(self.host, *args)
        self.all += self.effects

    def report(self) -> Report:
        """Send a report now."""
        self.host, report = make_report(self.host, self.now_s, Profile(), "machine")
        return report

    def desired(self, echo: Echo | None = None) -> Desired:
        return Desired(self.term, self.generation, LEASE_S, self.order, echo)

    def want(
        self, want: Want | None, attempt: str = ATTEMPT, *, echo: bool = True, **more: Any
    ) -> None:
        """A new generation; with `echo` a second copy follows that echoes a fresh report."""
        self.generation += 1
        session = more.pop("session", SESSION)
        self.order = (
            Order(attempt, "copy-1", "job-1", want, FILE, session=session, **more) if want else None
        )
        self.step(decisions.on_desired, self.desired(), self.now_s)
        if echo:
            self.echo()

    def echo(self, report: Report | None = None, retained: bool = False) -> None:
        """The coordinator echoes this report, or one sent now."""
        told = report or self.report()
        desired = self.desired(Echo(told.session, told.sequence))
        self.step(decisions.on_desired, desired, self.now_s, retained)

    def see(self, view: View) -> None:
        self.step(decisions.on_view, view, self.now_s)

    def wait(self, seconds: float) -> None:
        self.now_s += seconds
        self.step(decisions.on_tick, self.now_s)

    def fetched(self, cause: str = "", message: str = "") -> None:
        self.step(decisions.on_fetched, ATTEMPT, cause, message, self.now_s)

    def kinds(self) -> list[str]:
        """Names of the last step's effects."""
        return [type(effect).__name__ for effect in self.effects]

    def count(self, kind: type) -> int:
        """How often an effect was asked for since the beginning."""
        return sum(isinstance(effect, kind) for effect in self.all)

    def told(self, attempt: str = ATTEMPT) -> AttemptReport | None:
        """What a report sent now says of an attempt."""
        return {told.attempt: told for told in self.report().attempts}.get(attempt)

    # Ways to a state

    def prepare(self) -> Story:
        self.want(Want.PREPARE)
        self.fetched()
        return self

    def start(self, **more: Any) -> Story:
        self.prepare()
        self.want(Want.START, **more)
        return self

    def print(self, **more: Any) -> Story:
        self.start(**more)
        self.see(printing())
        return self
