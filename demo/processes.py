"""Child processes of a virtual printer: each in its own process group, with its own log file.

Owns starting and ending. Knows only what it started; nothing is ever ended by its name.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

TERM_DEADLINE_S = 10.0


def dying_with_us() -> list[str]:
    """What stands before a command so that it ends when this process does, however that ends.

    Without util-linux' setpriv a killed demo would leave its printers running.
    """
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL"] if setpriv else []


def pids_of(program: str, word: str) -> list[int]:
    """Who runs `program` with `word` in an argument: for what a child of ours has started, found by
    a path that is ours alone."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue  # it ended between the listing and the reading
        if Path(words[0]).name == program and any(word in argument for argument in words):
            found.append(int(entry.name))
    return found


class Child:
    """One process that can be started again and again."""

    def __init__(
        self, name: str, command: Sequence[str], log: Path, environment: Mapping[str, str],
        folder: Path,
    ) -> None:  # fmt: skip
        self.name, self.log = name, log
        self._command, self._environment, self._folder = list(command), environment, folder
        self._process: asyncio.subprocess.Process | None = None

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.returncode is None

    @property
    def pid(self) -> int:
        """Its process id; RuntimeError if it does not run."""
        if self._process is None or self._process.returncode is not None:
            raise RuntimeError(f"{self.name} does not run; its log is {self.log}")
        return self._process.pid

    async def start(self) -> None:
        """Start it, unless it runs."""
        if self.running:
            return
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *dying_with_us(), *self._command,
                stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, **self._environment}, cwd=self._folder,
                start_new_session=True,
            )  # fmt: skip

    def signal(self, number: int) -> None:
        """Send a signal to its whole group; nothing if it has ended."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):  # it ended this very moment
                os.killpg(self._process.pid, number)

    async def wait(self) -> int:
        """Wait for its end; return its exit status (negative: the signal)."""
        return await self._process.wait() if self._process else 0

    async def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self.signal(signal.SIGKILL)
        await self.wait()

    async def stop(self) -> None:
        """SIGTERM, and SIGKILL if that does not help in time."""
        self.signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self.wait(), TERM_DEADLINE_S)
        except TimeoutError:
            await self.kill()

    def tail(self, lines: int = 15) -> str:
        """The end of its log, for error messages."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])
