"""The dialects of slicers: which comment of which slicer means what.

Owns one function per family of slicers that turns comments into Facts, and the way to tell the
families apart. Pure: text in, values out. Knows nothing of files, bytes or pictures.

A new slicer is one reader function and one row in `_FAMILIES`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property

import msgspec

from coordinator.files.comments import Comments, leading_number


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What the comments say; the meaning of each field is that of Metadata's same name."""

    estimated_time_s: float | None = None
    filament_mm: float | None = None
    filament_weight_g: float | None = None
    filament_types: tuple[str, ...] = ()
    filament_names: tuple[str, ...] = ()
    filament_colors: tuple[str, ...] = ()
    nozzle_diameter_mm: float | None = None
    layer_height_mm: float | None = None
    first_layer_height_mm: float | None = None
    first_layer_extr_temp_c: float | None = None
    first_layer_bed_temp_c: float | None = None
    chamber_temp_c: float | None = None
    object_height_mm: float | None = None
    layer_count: int | None = None
    printer_vendor: str | None = None
    printer_model: str | None = None


@dataclass
class Windows:
    """The text of a file's first and last MiB; the same text for a smaller file."""

    head: str
    foot: str

    @cached_property
    def head_comments(self) -> Comments:
        return Comments(self.head)

    @cached_property
    def foot_comments(self) -> Comments:
        return self.head_comments if self.foot == self.head else Comments(self.foot)


Reader = Callable[[Windows], Facts]


@dataclass(frozen=True)
class Slicer:
    """A slicer as one file names it, with the reader of its dialect."""

    name: str
    version: str
    read: Reader
    footer: re.Pattern[str] | None

    def has_footer(self, windows: Windows) -> bool:
        """Tell whether the closing comments are there; True where none are known."""
        return self.footer is None or self.footer.search(windows.foot) is not None


def identify(head: str) -> Slicer:
    """Return the slicer that the beginning of a file names, else the one called Unknown."""
    for pattern, name, read, footer in _FAMILIES:
        match = pattern.search(head)
        if match:
            version = match["version"].strip()
            return Slicer(name or match["name"], version, read, footer)
    return Slicer("Unknown", "?", _read_unknown, None)


def _read_slic3r_family(windows: Windows) -> Facts:
    """PrusaSlicer, SuperSlicer, OrcaSlicer, QIDISlicer...: the settings close the file."""
    foot = windows.foot_comments
    layer_height_mm = foot.number("layer_height")
    return Facts(
        estimated_time_s=foot.duration_s(
            *(key for key, _ in foot.pairs if key.startswith("estimated printing time"))
        ),
        filament_mm=foot.total("filament used [mm]"),
        filament_weight_g=foot.number("total filament used [g]"),
        nozzle_diameter_mm=foot.number("nozzle_diameter"),
        layer_height_mm=layer_height_mm,
        first_layer_height_mm=_height_or_share(foot, "first_layer_height", layer_height_mm),
        first_layer_extr_temp_c=foot.number("first_layer_temperature"),
        first_layer_bed_temp_c=foot.number("first_layer_bed_temperature"),
        chamber_temp_c=foot.number("chamber_temperature"),
        object_height_mm=_highest_layer(windows.foot),
        layer_count=foot.whole("total layers count"),
        printer_vendor=foot.text("printer_vendor"),
        printer_model=foot.text("printer_model"),
        **_slic3r_filaments(foot),
    )


def _slic3r_filaments(comments: Comments) -> dict[str, tuple[str, ...]]:
    return {
        "filament_types": comments.items("filament_type"),
        "filament_names": comments.items("filament_settings_id"),
        "filament_colors": comments.items("filament_colour"),
    }


def _height_or_share(comments: Comments, key: str, whole_mm: float | None) -> float | None:
    """A height in mm, which these slicers also allow as a percentage of the layer height."""
    number = comments.number(key)
    if number is None or not (comments.text(key) or "").endswith("%"):
        return number
    return None if whole_mm is None else round(number / 100.0 * whole_mm, 6)


def _highest_layer(text: str) -> float | None:
    """The Z of the highest layer: from the comments at layer changes, else from Z moves."""
    lines = text.splitlines()
    heights = []
    for index, line in enumerate(lines):
        if line == ";BEFORE_LAYER_CHANGE":
            # The height is the next line, or the one behind a line of the user's own.
            for candidate in reversed(lines[index + 1 : index + 3]):
                height_mm = leading_number(candidate[1:])
                if candidate.startswith(";") and height_mm is not None:
                    heights.append(height_mm)
                    break
    if heights:
        return max(heights)
    return max(_z_moves(text, r" F"), default=None)


def _z_moves(text: str, then: str) -> list[float]:
    return [float(z) for z in re.findall(r"G1 Z(\d*\.?\d+)" + then, text)]


def _read_bambu(windows: Windows) -> Facts:
    """BambuStudio: header and settings open the file."""
    head = windows.head_comments
    totals = re.search(r"total estimated time:([^;\n]*)", windows.head)
    return Facts(
        estimated_time_s=Comments(f"; total = {totals[1]}").duration_s("total") if totals else None,
        filament_mm=head.number("total filament length [mm]"),
        filament_weight_g=head.number("total filament weight [g]"),
        nozzle_diameter_mm=head.number("nozzle_diameter"),
        layer_height_mm=head.number("layer_height"),
        first_layer_height_mm=head.number("initial_layer_print_height"),
        first_layer_extr_temp_c=head.number("nozzle_temperature_initial_layer"),
        first_layer_bed_temp_c=head.number("hot_plate_temp_initial_layer"),
        chamber_temp_c=head.number("chamber_temperatures"),
        object_height_mm=head.number("max_z_height"),
        layer_count=head.whole("total layer number"),
        printer_vendor=windows.foot_comments.text("printer_vendor"),
        printer_model=windows.foot_comments.text("printer_model") or head.text("printer_model"),
        **_slic3r_filaments(head),
    )


def _read_cura(windows: Windows) -> Facts:
    head = windows.head_comments
    times = [leading_number(value) for key, value in head.pairs if key == "TIME"]
    filament_m = head.total("Filament used")
    material, name = head.text("Filament type"), head.text("Filament name")
    return Facts(
        estimated_time_s=max((time for time in times if time is not None), default=None),
        filament_mm=None if filament_m is None else filament_m * 1000,
        filament_weight_g=head.total("Filament weight"),
        filament_types=(material,) if material else (),
        filament_names=(name,) if name else (),
        nozzle_diameter_mm=head.number("Nozzle diameter"),
        layer_height_mm=head.number("Layer height"),
        first_layer_height_mm=head.number("MINZ"),
        object_height_mm=head.number("MAXZ"),
        layer_count=head.whole("LAYER_COUNT"),
        first_layer_extr_temp_c=_waited_for(windows.head, "M109"),
        first_layer_bed_temp_c=_waited_for(windows.head, "M190"),
        chamber_temp_c=_waited_for(windows.head, "M191"),
    )


def _read_simplify3d(windows: Windows) -> Facts:
    head, foot = windows.head_comments, windows.foot_comments
    material, name = foot.text("makerBotModelMaterial"), head.text("printMaterial")
    return Facts(
        estimated_time_s=foot.duration_s("Build time", "Build Time"),
        filament_mm=_first(foot.number("Filament length"), foot.number("Material Length")),
        filament_weight_g=_first(foot.number("Plastic weight"), foot.number("Material Weight")),
        filament_types=(material,) if material else (),
        filament_names=(name,) if name else (),
        nozzle_diameter_mm=_first(head.number("extruderDiameter"), head.number("nozzleDiameter")),
        layer_height_mm=head.number("layerHeight"),
        first_layer_height_mm=min(_z_moves(windows.head, r"\s"), default=None),
        first_layer_extr_temp_c=_simplify3d_temp(head, "Extruder 1", "extruder"),
        first_layer_bed_temp_c=_simplify3d_temp(head, "Heated Bed", "platform"),
        object_height_mm=max(_z_moves(windows.foot, r"\s"), default=None),
    )


def _simplify3d_temp(head: Comments, name: str, kind: str) -> float | None:
    """First-layer temperature: one row of names and one of values (4), or blocks (5)."""
    names = (head.text("temperatureName") or "").split(",")
    values = (head.text("temperatureSetpointTemperatures") or "").split(",")
    for heater, value in zip(names, values, strict=False):
        if heater == name:
            return leading_number(value)
    current = ""
    for key, value in head.pairs:
        if key == "temperatureType":
            current = value
        elif key == "temperatureSetpoints" and current == kind:
            # "1|210": from layer 1 on 210 degrees.
            return leading_number(value.partition("|")[2])
    return None


def _read_unknown(windows: Windows) -> Facts:
    return Facts(
        first_layer_height_mm=min(_z_moves(windows.head, r"\s"), default=None),
        object_height_mm=max(_z_moves(windows.foot, r"\s"), default=None),
        first_layer_extr_temp_c=_waited_for(windows.head, "M109"),
        first_layer_bed_temp_c=_waited_for(windows.head, "M190"),
        chamber_temp_c=_waited_for(windows.head, "M191"),
    )


def _waited_for(head: str, command: str) -> float | None:
    """The first temperature that `command` waits for, where no comment names it."""
    match = re.search(command + r" S(\d*\.?\d+)", head)
    return float(match[1]) if match else None


def _first(*values: float | None) -> float | None:
    return next((value for value in values if value is not None), None)


def _families() -> Iterable[tuple[re.Pattern[str], str, Reader, re.Pattern[str]]]:
    def row(
        opening: str, name: str, read: Reader, footer: str
    ) -> tuple[re.Pattern[str], str, Reader, re.Pattern[str]]:
        return re.compile(opening, re.MULTILINE), name, read, re.compile(footer, re.MULTILINE)

    yield row(
        r"^; generated by (?P<name>.+) (?P<version>\S+) on \d{4}-\d\d-\d\d at \d\d:\d\d:\d\d",
        "",
        _read_slic3r_family,
        r"^; (\w+_config = end|CONFIG_BLOCK_END|estimated printing time)",
    )
    yield row(
        r"^; BambuStudio\S* (?P<version>.+)", "BambuStudio", _read_bambu, r"^; EXECUTABLE_BLOCK_END"
    )
    yield row(r"Cura_SteamEngine (?P<version>.+)", "Cura", _read_cura, r"^;End of Gcode")
    yield row(
        r"Simplify3D\(R\) Version (?P<version>.+)", "Simplify3D", _read_simplify3d,
        r"^; Build Summary",
    )  # fmt: skip


_FAMILIES = tuple(_families())
