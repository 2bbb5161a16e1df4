"""One look at a stored G-code file: what it says, what it does, and whether it can be printed.

Owns the joining of metadata.py and extents.py and the process they run in: reading a large file
is seconds of pure computation, which would hold up everything else in the coordinator, and a
file that breaks the reader must not break the coordinator. Knows nothing of printers: whether
a file fits one is not judged here.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

from coordinator.files.extents import Analysis, analyse
from coordinator.files.metadata import Metadata, read_metadata

CHUNK_BYTES = 1024 * 1024
PROCESSES_MAX = 1
TIMEOUT_S = 600.0
_NICENESS = 10


class InspectionFailed(Exception):
    """A G-code file could not be read through."""


class Finding(msgspec.Struct, frozen=True):
    """Something worth telling about a file: a stable code and a sentence for people."""

    code: str
    text: str


class Inspection(msgspec.Struct, frozen=True, kw_only=True):
    """All that a file tells. Any finding in `unprintable` is a reason to refuse the file;
    `cautions` are for people to read and refuse nothing."""

    metadata: Metadata
    analysis: Analysis
    unprintable: tuple[Finding, ...] = ()
    cautions: tuple[Finding, ...] = ()


def inspect_file(path: Path) -> Inspection:
    """Read the whole file. Blocking and long; see Inspector.

    Measured with 100 MB of a sliced cube on one of two cores: 7 s, 33 MiB.
    """
    metadata = read_metadata(path)
    analysis = analyse(_chunks(path))
    return Inspection(
        metadata=metadata,
        analysis=analysis,
        unprintable=why_unprintable(metadata, analysis),
        cautions=cautions(metadata, analysis),
    )


def why_unprintable(metadata: Metadata, analysis: Analysis) -> tuple[Finding, ...]:
    """Return why this file cannot be a print on any Klipper machine; nothing if it can."""
    if metadata.size_bytes == 0:
        return (Finding("empty", "the file is empty"),)
    if analysis.is_binary:
        return (Finding("binary", "the file is binary; export plain G-code from the slicer"),)
    if analysis.command_count == 0:
        return (Finding("no_commands", "the file has no G-code command"),)
    if analysis.odd_line_count > analysis.command_count:
        text = (
            f"{analysis.odd_line_count} lines are no G-code and only "
            f"{analysis.command_count} are: this is another kind of file"
        )
        return (Finding("not_gcode", text),)
    found = []
    if analysis.uses_inches:
        found.append(Finding("inches", "the file asks for inches (G20), which Klipper refuses"))
    if metadata.footer_missing and not analysis.first_extrusion_line:
        text = f"the file breaks off before anything is printed ({metadata.slicer} closes its "
        found.append(Finding("truncated", text + "files with a summary, which is missing)"))
    return tuple(found)


def cautions(metadata: Metadata, analysis: Analysis) -> tuple[Finding, ...]:
    """Return what is odd about this file without making it unprintable."""
    found = []
    if metadata.footer_missing:
        text = f"truncated? {metadata.slicer} closes its files with a summary, which is missing"
        found.append(Finding("truncated", text))
    if not analysis.first_extrusion_line:
        text = "nothing is extruded by the file itself; only the printer's macros could print"
        found.append(Finding("nothing_extruded", text))
    elif analysis.extents is None:
        text = "the printed area is unknown: the file never says where it extrudes"
        found.append(Finding("no_extents", text))
    if analysis.odd_line_count:
        text = f"{analysis.odd_line_count} lines are neither commands nor comments"
        found.append(Finding("odd_lines", text))
    return tuple(found)


class Inspector:
    """Inspect files in processes of their own, at most `processes_max` at a time.

    One of two cores is left for the prints under way; the rest of the uploads wait in order.
    """

    def __init__(self, *, processes_max: int = PROCESSES_MAX, timeout_s: float = TIMEOUT_S) -> None:
        self._turn = asyncio.Semaphore(processes_max)
        self._timeout_s = timeout_s

    async def inspect(self, path: Path) -> Inspection:
        """Inspect the file at `path`; raises InspectionFailed with the reader's last words."""
        async with self._turn:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "coordinator.files.inspection",
                str(path),
                env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            try:
                async with asyncio.timeout(self._timeout_s):
                    answer, errors = await process.communicate()
            except TimeoutError:
                raise InspectionFailed(
                    f"{path.name}: not read through within {self._timeout_s:g} s"
                ) from None
            finally:
                # Also on cancellation: nobody would wait for its answer any more.
                if process.returncode is None:
                    process.kill()
                    await asyncio.shield(process.wait())
        if process.returncode != 0:
            last_words = errors.decode("utf-8", "replace").strip().rpartition("\n")[2]
            raise InspectionFailed(f"{path.name}: {last_words or 'the reader ended early'}")
        return msgspec.json.decode(answer, type=Inspection)


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


def main() -> None:
    """Write the inspection of the file named as the only argument to stdout, as JSON."""
    os.nice(_NICENESS)
    sys.stdout.buffer.write(msgspec.json.encode(inspect_file(Path(sys.argv[1]))))


if __name__ == "__main__":
    main()
