"""From a file and a person's wishes to what a printer must have.

Owns the defaults of a job's requirements, the word "any" that drops one, and the check of the
values that only an order can spell wrong. Pure. Must not know HTTP, storage or the farm.

Not a requirement by itself: the file's `printer_model`. Nearly every Klipper machine is sliced
for with a generic or a relative's profile ("Generic Klipper Printer", "Voron 2.4 300"), so the
name in the file says which preset was clicked and not which machine fits; whoever knows better
asks for `model`. Neither is the colour: a slicer's colour is the swatch of its preview.
"""

from __future__ import annotations

from msgspec import UNSET, Struct, UnsetType

from coordinator.core.jobs import Requirements
from coordinator.core.requests import RequestError
from coordinator.files.extents import Analysis
from coordinator.files.metadata import Metadata

ANY = "any"
"""Instead of a value: this is no requirement, whatever the file says."""

Number = float | str | UnsetType
"""A value, "any", or left out: as the file says."""


class Wishes(Struct, frozen=True):
    """What a person says of the printer; what is left out is taken from the file.

    `size` and `temperatures` can only be dropped ("any"), not given: they are facts of the file.
    """

    material: str | UnsetType = UNSET
    color: str = ANY
    nozzle_mm: Number = UNSET
    size: str | UnsetType = UNSET
    temperatures: str | UnsetType = UNSET
    model: str = ANY
    kinematics: str = ANY
    tags: tuple[str, ...] = ()
    printers: tuple[str, ...] = ()


def requirements_of(
    metadata: Metadata | None, analysis: Analysis | None, wishes: Wishes
) -> Requirements:
    """What a printer must have to print this file. Raises RequestError naming the field.

    Material: the file's, when it names a single one. Nozzle: the file's. Size: the box around all
    extruding moves. Temperatures: the highest that the file asks for.
    """
    min_mm, max_mm = _box(analysis, wishes.size)
    extruder_c, bed_c = _temperatures(metadata, analysis, wishes.temperatures)
    return Requirements(
        material=_material(metadata, wishes.material),
        color=_word(wishes.color),
        nozzle_mm=_nozzle(metadata, wishes.nozzle_mm),
        min_mm=min_mm,
        max_mm=max_mm,
        extruder_c=extruder_c,
        bed_c=bed_c,
        model=_word(wishes.model),
        kinematics=_word(wishes.kinematics),
        tags=_names("tags", wishes.tags),
        printers=_names("printers", wishes.printers),
    )


def _word(wish: str) -> str:
    wish = wish.strip()
    return "" if wish.casefold() == ANY else wish


def _names(field: str, names: tuple[str, ...]) -> tuple[str, ...]:
    """Each once, in order; an empty name asks for nothing that could exist."""
    for name in names:
        if not name.strip():
            raise RequestError(field, name, "must not be empty")
    return tuple(dict.fromkeys(name.strip() for name in names))


def _material(metadata: Metadata | None, wish: str | UnsetType) -> str:
    if wish is not UNSET:
        return _word(wish)
    return (metadata.filament_type if metadata is not None else None) or ""


def _nozzle(metadata: Metadata | None, wish: Number) -> float | None:
    if wish is UNSET:
        return metadata.nozzle_diameter_mm if metadata is not None else None
    if isinstance(wish, str):
        if wish.strip().casefold() == ANY:
            return None
        raise RequestError("nozzle_mm", wish, "must be a diameter in mm, or any")
    return wish


def _box(
    analysis: Analysis | None, wish: str | UnsetType
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    if _dropped("size", wish) or analysis is None or analysis.extents is None:
        return (), ()
    box = analysis.extents
    return (
        (box.min_x_mm, box.min_y_mm, box.min_z_mm),
        (box.max_x_mm, box.max_y_mm, box.max_z_mm),
    )


def _temperatures(
    metadata: Metadata | None, analysis: Analysis | None, wish: str | UnsetType
) -> tuple[float | None, float | None]:
    """Extruder and bed, in Celsius. Where no command sets one, the slicer's first layer does."""
    if _dropped("temperatures", wish):
        return None, None
    extruder_c = analysis.max_extruder_temp_c if analysis is not None else None
    bed_c = analysis.max_bed_temp_c if analysis is not None else None
    if metadata is not None:
        extruder_c = metadata.first_layer_extr_temp_c if extruder_c is None else extruder_c
        bed_c = metadata.first_layer_bed_temp_c if bed_c is None else bed_c
    return extruder_c, bed_c


def _dropped(field: str, wish: str | UnsetType) -> bool:
    if wish is UNSET:
        return False
    if wish.strip().casefold() != ANY:
        raise RequestError(field, wish, "can only be any: otherwise it is what the file says")
    return True
