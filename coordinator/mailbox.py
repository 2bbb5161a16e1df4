"""What waits between the MQTT thread and the event loop: bounded, and paced by printer.

Owns the box: messages in order, of a printer that says too much its newest report, and the count
of what was not taken. Its memory is bounded whatever comes in. Must not know what messages say.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from msgspec import Struct

from coordinator.core import pacing
from coordinator.core.pacing import Bucket, Pace

WAITING_MAX = 20_000
TELL_S = 60.0
"""How often it is told that a printer says too much."""

OTHERS = ""
"""All that is no known printer shares one bucket: ids are free to invent."""


class Letter(Struct, frozen=True):
    """A message as it came in; `printer` and `leaf` are empty where it is of no printer."""

    topic: str
    payload: bytes
    printer: str = ""
    leaf: str = ""


class Excess(Struct):
    """What of one printer was dropped, or replaced by something newer, since it was told last."""

    dropped: int = 0
    replaced: int = 0
    told_s: float = float("-inf")


class Mailbox:
    """`put` is called by the MQTT thread, the rest by the event loop.

    `known`: whether an id is a printer's; asked from the MQTT thread.
    """

    def __init__(self, known: Callable[[str], bool]) -> None:
        self._known = known
        self._lock = threading.Lock()
        self._waiting: deque[Letter] = deque()
        self._held: dict[str, Letter] = {}
        self._buckets: dict[str, Bucket] = {}
        self._excess: dict[str, Excess] = {}

    def put(self, letter: Letter, now_s: float) -> bool:
        """Take a message in, hold it, or count it as dropped; whether the loop is to be woken.

        It is woken for the first of several alone: `take` tells when to look again.
        """
        with self._lock:
            pace, owner = Pace.TAKE, OTHERS
            if letter.leaf:
                owner = letter.printer if self._known(letter.printer) else OTHERS
                bucket = self._buckets.get(owner, Bucket(at_s=now_s))
                bucket, pace = pacing.judge(bucket, letter.leaf, len(letter.payload), now_s)
                self._buckets[owner] = bucket
            if pace is Pace.TAKE and len(self._waiting) >= WAITING_MAX:
                pace = Pace.HOLD if letter.leaf == "report" else Pace.DROP
            if pace is not Pace.TAKE:
                return self._note_excess(owner, letter, pace)
            if letter.leaf == "report":
                self._held.pop(owner, None)  # it is older
            self._waiting.append(letter)
            return len(self._waiting) == 1

    def take(self, most: int, now_s: float) -> tuple[list[Letter], float | None]:
        """The next messages, and in how many seconds to look again (None: when `put` says so)."""
        with self._lock:
            again_s = self._release(now_s)
            taken = [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]
            return taken, 0.0 if self._waiting else again_s

    def floods(self, now_s: float) -> dict[str, str]:
        """Whose messages were not all taken, in words; each printer once a minute at most."""
        with self._lock:
            told: dict[str, str] = {}
            for owner, excess in list(self._excess.items()):
                if now_s - excess.told_s < TELL_S:
                    continue
                if not excess.dropped and not excess.replaced:
                    del self._excess[owner]
                    continue
                told[owner] = (
                    f"more than {pacing.RATE_PER_S:g} messages a second: {excess.dropped} dropped,"
                    f" {excess.replaced} reports replaced by newer ones"
                )
                self._excess[owner] = Excess(told_s=now_s)
            return told

    def _note_excess(self, owner: str, letter: Letter, pace: Pace) -> bool:
        excess = self._excess.setdefault(owner, Excess())
        if pace is Pace.DROP:
            excess.dropped += 1
            return False
        is_first = owner not in self._held
        excess.replaced += not is_first
        self._held[owner] = letter
        return is_first

    def _release(self, now_s: float) -> float | None:
        """Let go of held reports for which there is a token now; when the next one may."""
        again_s: float | None = None
        for owner, letter in list(self._held.items()):
            bucket = self._buckets[owner]
            left_s = pacing.wait_s(bucket, len(letter.payload), now_s)
            if left_s > 0 or len(self._waiting) >= WAITING_MAX:
                left_s = max(left_s, 0.01)
                again_s = left_s if again_s is None else min(again_s, left_s)
                continue
            self._buckets[owner], _ = pacing.judge(bucket, letter.leaf, len(letter.payload), now_s)
            self._waiting.append(self._held.pop(owner))
        return again_s
