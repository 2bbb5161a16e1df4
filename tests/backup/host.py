"""A scripted host with a disk: it keeps what it started and what ended, as a real one does.

Owns what a host does with desired states, in plain JSON over a real broker. It prints until
`finish` is called, unless `hurry` is set.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

from tests.engine.real import PREFIX, SETTINGS, Client

Json = dict[str, Any]


class LedgerHost:
    """`starts`: attempt ids in the order in which they began to extrude. `harmed`: stopped ones."""

    def __init__(self, printer: str, client: Client) -> None:
        self.printer = printer
        self.session = f"session-{printer}"
        self.starts: list[str] = []
        self.harmed: list[str] = []
        self.completed: dict[str, str] = {}
        self.hurry = False
        self.now: Json | None = None
        self._client = client
        self._ended: dict[str, Json] = {}
        self._untold: set[str] = set()
        self._sent_in: dict[str, int] = {}
        self._observed = (0, 0)
        self._sequence = 0

    @staticmethod
    def topics(printer: str) -> tuple[str, str]:
        return f"{PREFIX}/printers/{printer}/desired", f"{PREFIX}/coordinator"

    @property
    def printing(self) -> str:
        """The attempt that it extrudes."""
        return self.now["attempt"] if self.now and self.now["phase"] == "printing" else ""

    async def run(self) -> None:
        """Answer every desired, and report three times a lease, until cancelled."""
        taken = 0
        while True:
            self._client.news.clear()
            heard, taken = self._client.heard[taken:], len(self._client.heard)
            for topic, payload in heard:
                if topic.endswith("/desired") and payload:
                    self._obey(json.loads(payload))
            await self._report()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._client.news.wait(), SETTINGS.lease_s / 3)

    def finish(self) -> None:
        """The print is done."""
        assert self.now is not None
        self.completed[self.now["attempt"]] = self.now["copy"]
        self._end(self.now, "complete", "")

    def _obey(self, desired: Json) -> None:
        order = desired.get("order")
        if (desired["term"], desired["generation"]) < self._observed:
            return
        if desired["term"] > self._observed[0]:
            # Ended ones are told again to each new term, whatever the last one has echoed.
            self._untold, self._sent_in = set(self._ended), {}
        self._observed = (desired["term"], desired["generation"])
        self._note_echo(desired.get("echo"))
        if order is None or order["attempt"] in self._ended:
            return
        if self.now is None or self.now["attempt"] != order["attempt"]:
            if self.printing:
                return  # another attempt's name stops nothing
            self.now = {k: order[k] for k in ("attempt", "copy", "job")} | {"phase": "prepared"}
        self._act(self.now, order)

    def _note_echo(self, echo: Json | None) -> None:
        if echo is None or echo["session"] != self.session:
            return
        told = {a for a, sequence in self._sent_in.items() if sequence <= echo["sequence"]}
        self._untold -= told

    def _act(self, now: Json, order: Json) -> None:
        want, unstarted = order["want"], now["phase"] == "prepared"
        if want == "start" and unstarted and order["session"] == self.session:
            self.starts.append(now["attempt"])
            now["phase"] = "printing"
        elif want == "withdraw" and unstarted:
            self._end(now, "not_started", "withdrawn")
        elif want == "cancel":
            if not unstarted:
                self.harmed.append(now["attempt"])
            self._end(now, "not_started" if unstarted else "cancelled", "asked")
        elif want == "run" and not unstarted and self.hurry:
            self.finish()

    def _end(self, now: Json, outcome: str, cause: str) -> None:
        name = now["attempt"]
        self._ended[name] = now | {"phase": "ended", "outcome": outcome, "cause": cause}
        self._untold.add(name)
        self._sent_in.pop(name, None)
        self.now = None
        self._client.news.set()

    async def _report(self) -> None:
        self._sequence += 1
        for name in self._untold:
            self._sent_in[name] = self._sequence
        shown = f"moonfleet/{self.printing}/part.gcode" if self.printing else ""
        report = {
            "session": self.session,
            "sequence": self._sequence,
            "observed_term": self._observed[0],
            "observed_generation": self._observed[1],
            "klipper": {
                "link": "ready",
                "print_state": "printing" if shown else "standby",
                "filename": shown,
            },
            "attempts": [*([dict(self.now)] if self.now else [])]
            + [self._ended[name] for name in sorted(self._untold)],
            "refusals": [{"code": "printing", "text": "it prints"}] if shown else [],
            "section": True,
        }
        try:
            await self._client.say(f"{PREFIX}/printers/{self.printer}/report", report, retain=True)
        except RuntimeError as error:
            # The broker is away; the next report says the same.
            if "The client is not currently connected" not in str(error):
                raise
