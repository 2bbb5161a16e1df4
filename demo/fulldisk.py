"""A disk that can be full: for one virtual printer's Klipper and Moonraker, and for any user.

Owns the switch. What it does inside a process is explained in fulldisk.c; the virtual
micro-controller, which keeps the ledger, is never run under it.
"""

from __future__ import annotations

from pathlib import Path

from demo import fasttime

_SOURCE = Path(__file__).with_name("fulldisk.c")


class Disk:
    """The disk of one host, switched through the byte in `switch`."""

    def __init__(self, switch: Path, libraries: Path) -> None:
        self._switch, self._libraries = switch, libraries

    def environment(self) -> dict[str, str]:
        """What a process needs in its environment to live on this disk; makes the switch."""
        self._switch.parent.mkdir(parents=True, exist_ok=True)
        if not self._switch.exists():
            self._set(full=False)
        library = fasttime.build(self._libraries, _SOURCE)
        return {"LD_PRELOAD": str(library), "FULLDISK": str(self._switch)}

    @property
    def is_full(self) -> bool:
        """Whether it is full at the moment."""
        return self._switch.exists() and self._switch.read_bytes() != b"\0"

    def fill(self) -> None:
        """From now on no file takes a byte, and nothing is free."""
        self._set(full=True)

    def free(self) -> None:
        """There is space again."""
        self._set(full=False)

    def _set(self, *, full: bool) -> None:
        # In place: a new file would not be the one that the processes have mapped.
        mode = "r+b" if self._switch.exists() else "wb"
        with self._switch.open(mode) as file:
            file.write(b"\1" if full else b"\0")


def both(first: dict[str, str], second: dict[str, str]) -> dict[str, str]:
    """Two environments in one, with the libraries of both preloaded."""
    libraries = [env["LD_PRELOAD"] for env in (first, second) if "LD_PRELOAD" in env]
    return {**first, **second, **({"LD_PRELOAD": ":".join(libraries)} if libraries else {})}
