"""What a G-code file really does: where it extrudes, how hot, how much, with which tools.

Owns one streaming pass over the lines of a file. Believes no comment (those are metadata.py's)
and knows nothing of printers, so it judges nothing against a bed. Memory is bounded: one line
and a few dozen numbers, however large the file.

The meaning of the commands is Klipper's (klippy/extras/gcode_move.py, gcode_arcs.py): E is
relative when either G91 or M83 is in force, G92 moves the origin, homing sets it back. Not
followed are offsets that only the printer knows (SET_GCODE_OFFSET, macros' own moves).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

import msgspec

from coordinator.files.arcs import arc_box
from coordinator.files.words import letters, temperature_c
from coordinator.files.words import parameters as parameters_of

LINE_BYTES_MAX = 256 * 1024
TOOLS_MAX = 64

# Nearly every line of a sliced file is one of these moves: one match instead of a general parse.
_MOVE = re.compile(
    rb"G[01] (?:X(-?[\d.]+) ?)?(?:Y(-?[\d.]+) ?)?(?:Z(-?[\d.]+) ?)?(?:E(-?[\d.]+) ?)?"
    rb"(?:F[\d.]+ ?)?\s*(?:;.*)?"
)
# Klipper's own way of cutting: letters, then digits; "G1X10" is a G1, "N7 G1 X10" too.
_COMMAND = re.compile(rb"(?:[Nn]\d+\s*)?([A-Za-z_]+)([\d.]*)")
_START_MACRO = re.compile(r"PRINT_?START|START_?PRINT|START_?GCODE")

# What start macros commonly call their temperatures (no standard exists: these are the names in
# the wild of Mainsail's, Voron's, Klipper's sample and Ellis' macros).
_EXTRUDER_PARAMETERS = frozenset(
    ("EXTRUDER", "EXTRUDER_TEMP", "EXTRUDER_TEMPERATURE", "HOTEND", "HOTEND_TEMP", "NOZZLE",
     "NOZZLE_TEMP", "TOOL_TEMP", "PRINT_TEMP")
)  # fmt: skip
_BED_PARAMETERS = frozenset(("BED", "BED_TEMP", "BED_TEMPERATURE"))
_CHAMBER_PARAMETERS = frozenset(("CHAMBER", "CHAMBER_TEMP", "CHAMBER_TEMPERATURE"))

_HEATER_COMMANDS = {
    "M104": "extruder", "M109": "extruder", "M140": "bed", "M190": "bed", "M141": "chamber",
    "M191": "chamber",
}  # fmt: skip


class Extents(msgspec.Struct, frozen=True):
    """The box in mm around everything that is extruded while moving, in the bed's coordinates."""

    min_x_mm: float
    min_y_mm: float
    min_z_mm: float
    max_x_mm: float
    max_y_mm: float
    max_z_mm: float


class Analysis(msgspec.Struct, frozen=True, kw_only=True):
    """What a file does, measured.

    `extents` is None when nothing is extruded while moving at a known position.
    `extruded_mm` is filament of all tools together, retractions subtracted.
    `max_*_temp_c` are the highest temperatures asked for, None where none is.
    `tools_used` are the numbers of the tools that extrude.
    `first_extrusion_line` and `last_extrusion_line` count from 1; 0 is "never".
    `command_count` counts lines that are commands, `odd_line_count` lines that are neither
    commands nor comments; `is_binary` is True for NUL bytes or a line of more than 256 KiB.
    """

    extents: Extents | None
    max_extruder_temp_c: float | None
    max_bed_temp_c: float | None
    max_chamber_temp_c: float | None
    extruded_mm: float
    tools_used: tuple[int, ...]
    reports_layers: bool
    uses_inches: bool
    first_extrusion_line: int
    last_extrusion_line: int
    line_count: int
    command_count: int
    odd_line_count: int
    is_binary: bool


def analyse(chunks: Iterable[bytes]) -> Analysis:
    """Read a file's bytes in chunks of any size, in order, and say what it does."""
    machine = _Machine()
    rest = b""
    for chunk in chunks:
        if b"\0" in chunk or len(rest) > LINE_BYTES_MAX:
            machine.is_binary = True
            return machine.analysis()
        lines = (rest + chunk).split(b"\n")
        rest = lines.pop()
        machine.feed(lines)
    if rest:
        machine.feed([rest])
    return machine.analysis()


class _Machine:
    """The state of a printer as far as a file alone determines it.

    Positions are the bed's; `base_*` is where the file's origin lies. A position that the file
    does not determine (before the first move, after homing) is NaN, which loses every
    comparison and so never becomes part of the extents.
    """

    def __init__(self) -> None:
        self.x = self.y = self.z = math.nan
        self.e = 0.0
        self.base_x = self.base_y = self.base_z = self.base_e = 0.0
        self.is_absolute = True
        self.is_e_absolute = True
        self.min_x = self.min_y = self.min_z = math.inf
        self.max_x = self.max_y = self.max_z = -math.inf
        self.tool = 0
        self.tools: set[int] = set()
        # Filament fed since the start and the most that was ever fed: a retraction and its
        # return are no filament used.
        self.fed_mm = self.fed_most_mm = 0.0
        self.hottest_c: dict[str, float] = {}
        self.reports_layers = self.uses_inches = self.is_binary = False
        self.line = self.commands = self.odd_lines = 0
        self.first_extrusion = self.last_extrusion = 0

    def feed(self, lines: list[bytes]) -> None:
        """Follow whole lines, without their ends."""
        match_move, move, other = _MOVE.fullmatch, self._move, self._other
        for line in lines:
            self.line += 1
            match = match_move(line)
            if match:
                try:
                    move(*map(_number, match.groups()))
                except ValueError:
                    # "X1.2.3" or "X-": Klipper refuses such a line too.
                    self.odd_lines += 1
            elif line and line[0] != 59:  # a comment begins with ';'
                other(line)

    def analysis(self) -> Analysis:
        extents = None
        if self.min_x <= self.max_x and self.min_y <= self.max_y and self.min_z <= self.max_z:
            extents = Extents(
                self.min_x, self.min_y, self.min_z, self.max_x, self.max_y, self.max_z
            )
        return Analysis(
            extents=extents,
            max_extruder_temp_c=self.hottest_c.get("extruder"),
            max_bed_temp_c=self.hottest_c.get("bed"),
            max_chamber_temp_c=self.hottest_c.get("chamber"),
            extruded_mm=round(self.fed_most_mm, 3),
            tools_used=tuple(sorted(self.tools)),
            reports_layers=self.reports_layers,
            uses_inches=self.uses_inches,
            first_extrusion_line=self.first_extrusion,
            last_extrusion_line=self.last_extrusion,
            line_count=self.line,
            command_count=self.commands,
            odd_line_count=self.odd_lines,
            is_binary=self.is_binary,
        )

    def _move(self, x: float | None, y: float | None, z: float | None, e: float | None) -> None:
        self.commands += 1
        old_x, old_y, old_z = self.x, self.y, self.z
        absolute = self.is_absolute
        if x is not None:
            self.x = x + (self.base_x if absolute else old_x)
        if y is not None:
            self.y = y + (self.base_y if absolute else old_y)
        if z is not None:
            self.z = z + (self.base_z if absolute else old_z)
        if e is not None and self._feed_filament(e) and (x is not None or y is not None):
            self._include(old_x, old_y, old_z)
            self._include(self.x, self.y, self.z)

    def _feed_filament(self, e: float) -> bool:
        """Follow the E of a move; tell whether it pushes filament forward."""
        if self.is_absolute and self.is_e_absolute:
            target = e + self.base_e
            step_mm, self.e = target - self.e, target
        else:
            step_mm = e
            self.e += e
        self.fed_mm += step_mm
        if step_mm <= 0.0:
            return False
        if self.fed_mm > self.fed_most_mm:
            self.fed_most_mm = self.fed_mm
            self.tools.add(self.tool)
            self.last_extrusion = self.line
            if not self.first_extrusion:
                self.first_extrusion = self.line
        return True

    def _include(self, x: float, y: float, z: float) -> None:
        if x < self.min_x:
            self.min_x = x
        if x > self.max_x:
            self.max_x = x
        if y < self.min_y:
            self.min_y = y
        if y > self.max_y:
            self.max_y = y
        if z < self.min_z:
            self.min_z = z
        if z > self.max_z:
            self.max_z = z

    def _other(self, line: bytes) -> None:
        """Follow any line that is not a plain move or a whole-line comment."""
        text = line.split(b";", 1)[0].strip()
        if not text:
            return
        match = _COMMAND.match(text)
        if match is None:
            self.odd_lines += 1
            return
        word, name = match[1], (match[1] + match[2]).upper().decode()
        rest = text[match.end() :]
        if len(word) == 1 and match[2]:
            self._traditional(name, letters(rest.upper()))
        elif not rest or b"_" in word or b"=" in rest:
            self.commands += 1
            self._extended(name, rest.decode("utf-8", "replace"))
        else:
            # Several plain words: prose, or a file of some other kind.
            self.odd_lines += 1

    def _traditional(self, name: str, at: dict[str, float]) -> None:
        if name in ("G0", "G1"):
            self._move(at.get("X"), at.get("Y"), at.get("Z"), at.get("E"))
            return
        self.commands += 1
        if name in ("G2", "G3"):
            self._arc(at, is_clockwise=name == "G2")
        elif name in ("G90", "G91"):
            self.is_absolute = name == "G90"
        elif name in ("M82", "M83"):
            self.is_e_absolute = name == "M82"
        elif name == "G92":
            self._set_origin(at)
        elif name == "G28":
            self._home(at)
        elif name == "G20":
            self.uses_inches = True
        elif name in _HEATER_COMMANDS:
            # R is Marlin's "wait also while cooling".
            self._asks(_HEATER_COMMANDS[name], at.get("S", at.get("R")))
        elif name[0] == "T" and name[1:].isdigit() and len(self.tools) < TOOLS_MAX:
            self.tool = int(name[1:])

    def _arc(self, at: dict[str, float], is_clockwise: bool) -> None:
        start_x, start_y = self.x, self.y
        self.commands -= 1
        self._move(at.get("X"), at.get("Y"), at.get("Z"), at.get("E"))
        if at.get("E") is None or not ("I" in at or "J" in at):
            return
        box = arc_box(
            (start_x, start_y),
            (self.x, self.y),
            (start_x + at.get("I", 0.0), start_y + at.get("J", 0.0)),
            is_clockwise,
        )
        self._include(box[0], box[1], self.z)
        self._include(box[2], box[3], self.z)

    def _set_origin(self, at: dict[str, float]) -> None:
        everything = not at
        if everything or "X" in at:
            self.base_x = self.x - at.get("X", 0.0)
        if everything or "Y" in at:
            self.base_y = self.y - at.get("Y", 0.0)
        if everything or "Z" in at:
            self.base_z = self.z - at.get("Z", 0.0)
        if everything or "E" in at:
            self.base_e = self.e - at.get("E", 0.0)

    def _home(self, at: dict[str, float]) -> None:
        everything = not any(axis in at for axis in "XYZ")
        if everything or "X" in at:
            self.x, self.base_x = math.nan, 0.0
        if everything or "Y" in at:
            self.y, self.base_y = math.nan, 0.0
        if everything or "Z" in at:
            self.z, self.base_z = math.nan, 0.0

    def _extended(self, name: str, parameters: str) -> None:
        if name == "SET_PRINT_STATS_INFO":
            self.reports_layers = True
        elif name == "SET_HEATER_TEMPERATURE":
            values = parameters_of(parameters)
            heater = values.get("HEATER", "").lower()
            kind = "bed" if heater == "heater_bed" else heater.rstrip("0123456789")
            if kind in ("bed", "extruder", "chamber"):
                self._asks(kind, temperature_c(values.get("TARGET")))
        elif _START_MACRO.search(name):
            for key, value in parameters_of(parameters).items():
                if key in _EXTRUDER_PARAMETERS:
                    self._asks("extruder", temperature_c(value))
                elif key in _BED_PARAMETERS:
                    self._asks("bed", temperature_c(value))
                elif key in _CHAMBER_PARAMETERS:
                    self._asks("chamber", temperature_c(value))

    def _asks(self, heater: str, target_c: float | None) -> None:
        if target_c is not None and target_c > self.hottest_c.get(heater, 0.0):
            self.hottest_c[heater] = target_c


def _number(text: bytes | None) -> float | None:
    return None if text is None else float(text)
