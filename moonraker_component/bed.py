"""The bed-clear latch of a host whose Klipper has no `[moonfleet]` section.

Owns the latch and its token, in Moonraker's database. It is weaker than the section's: it sees a
start only while Moonraker runs, so each session begins with a bed that is not clear. What it must
not know: how starts are seen.
"""

from __future__ import annotations

import os

import msgspec

from .gate import View
from .rows import BED, Rows
from .view import PRINTING_STATES
from .wire import Bed, Link


class OwnBed:
    """The latch. `bed` is what counts; `load` before anything else."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self.bed = Bed(clear=False, token=_new_token())

    async def load(self) -> None:
        """Begin a session: not clear, and no clear of an earlier session fits."""
        await self._keep(Bed(clear=False, token=_new_token()))

    async def drop(self) -> None:
        """A print begins or is about to: not clear, under a new token. Raises on a full disk."""
        await self._keep(Bed(clear=False, token=_new_token()))

    async def clear(self) -> None:
        """The bed is clear; written down first. Raises on a full disk."""
        bed = Bed(clear=True, token=self.bed.token)
        await self._rows.set_note(BED, msgspec.json.encode(bed).decode())
        if self.bed.token == bed.token:
            self.bed = bed

    def refuse_clear(self, token: str, view: View) -> str:
        """Why this clear must not be taken, or empty."""
        if view.link is not Link.READY:
            return "Klipper is not ready: nobody can say whether something is printed"
        if view.print_state in PRINTING_STATES or view.active:
            return f"a print is active ({view.path})"
        if token != self.bed.token:
            return f"the bed was used since: token {token!r} is not the current one"
        return ""

    async def _keep(self, bed: Bed) -> None:
        # In memory first: should the disk refuse, the bed is not clear all the same.
        self.bed = bed
        await self._rows.set_note(BED, msgspec.json.encode(bed).decode())


def _new_token() -> str:
    return os.urandom(8).hex()
