"""What a slicer says about its G-code file: time, filament, temperatures, pictures.

Owns the reading of slicers' comments in the first and the last MiB of a file. It believes the
comments; what the file really does is measured in extents.py. Knows nothing of jobs, printers
or storage.

The values agree with those of Moonraker's extractor for the same file (tests/files compares
them), so that a job shows the same facts here and in Mainsail or Fluidd. Where Moonraker finds
nothing, more may be found here.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
from pathlib import Path

import msgspec

from coordinator.files.slicers import Windows, identify

WINDOW_BYTES = 1024 * 1024
THUMBNAILS_MAX = 32

_THUMBNAIL = re.compile(
    rb"^; (thumbnail(?:_(\w+))?) begin (\d+)[x ](\d+) (\d+)[ \t]*\r?\n"
    rb"((?:;[ \t]?[A-Za-z0-9+/=]*[ \t]*\r?\n)*?); \1 end",
    re.MULTILINE,
)
_NOT_BASE64 = re.compile(rb"[^A-Za-z0-9+/=]+")
_COMMAND = re.compile(rb"[MG]\d+\s")
_BARE_COMMAND = re.compile(rb"[MG]\d+")


class Thumbnail(msgspec.Struct, frozen=True):
    """A picture inside a file: `length` bytes of base64 comment lines from byte `offset`.

    `size` is that of the decoded picture in bytes, `format` is png, jpg or qoi.
    """

    width: int
    height: int
    size: int
    format: str
    offset: int
    length: int


class Metadata(msgspec.Struct, frozen=True, kw_only=True):
    """What the slicer wrote down; None (or an empty tuple) is "the file does not say".

    `gcode_start_byte` and `gcode_end_byte` bound the commands within the file, for progress.
    `footer_missing` is True when a known slicer's closing comments are not there.
    """

    slicer: str
    slicer_version: str
    size_bytes: int
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
    gcode_start_byte: int | None = None
    gcode_end_byte: int | None = None
    footer_missing: bool = False
    thumbnails: tuple[Thumbnail, ...] = ()

    @property
    def filament_type(self) -> str | None:
        """The one material of this file; None when it names none or several different ones."""
        return self.filament_types[0] if len(set(self.filament_types)) == 1 else None

    @property
    def filament_name(self) -> str | None:
        """The one filament profile of this file; None when it names none or several."""
        return self.filament_names[0] if len(set(self.filament_names)) == 1 else None


def read_metadata(path: Path) -> Metadata:
    """Read the slicer's comments of the file at `path`. Blocking: one MiB from either end.

    A file of no known slicer, also an empty or a binary one, is of slicer "Unknown".
    """
    with path.open("rb") as file:
        head = file.read(WINDOW_BYTES)
        size_bytes = os.fstat(file.fileno()).st_size
        tail_offset = max(len(head), size_bytes - WINDOW_BYTES)
        file.seek(tail_offset)
        tail = file.read(WINDOW_BYTES)
    return parse_metadata(head, tail, size_bytes)


def parse_metadata(head: bytes, tail: bytes, size_bytes: int) -> Metadata:
    """Build the metadata from a file's first bytes and the last ones behind them.

    `tail` is empty when `head` is the whole file, and never overlaps it.
    """
    # As long as both windows touch, the last MiB reaches back into the first.
    footer = (head + tail)[-WINDOW_BYTES:]
    windows = Windows(_text(head), _text(footer))
    slicer = identify(windows.head)
    facts = slicer.read(windows)
    return Metadata(
        slicer=slicer.name,
        slicer_version=slicer.version,
        size_bytes=size_bytes,
        gcode_start_byte=_start_byte(head),
        gcode_end_byte=_end_byte(footer, size_bytes),
        footer_missing=not slicer.has_footer(windows),
        thumbnails=_thumbnails(head, 0),
        **msgspec.structs.asdict(facts),
    )


def thumbnail_bytes(path: Path, thumbnail: Thumbnail) -> bytes:
    """Return the decoded picture `thumbnail` of the file at `path`. Blocking, small."""
    with path.open("rb") as file:
        file.seek(thumbnail.offset)
        return _picture(file.read(thumbnail.length))


def _text(window: bytes) -> str:
    # A window may begin or end within a letter.
    return window.decode("utf-8", errors="ignore")


def _picture(comment_lines: bytes) -> bytes:
    return base64.b64decode(_NOT_BASE64.sub(b"", comment_lines))


def _thumbnails(window: bytes, window_offset: int) -> tuple[Thumbnail, ...]:
    found = []
    for match in _THUMBNAIL.finditer(window):
        kind = (match[2] or b"png").decode().lower()
        encoded = _NOT_BASE64.sub(b"", match[6])
        # The slicer announces the length of the base64 text: another length is a torn picture.
        if kind not in ("png", "jpg", "qoi") or len(encoded) != int(match[5]):
            continue
        try:
            size = len(base64.b64decode(encoded))
        except binascii.Error:
            continue
        found.append(
            Thumbnail(
                int(match[3]), int(match[4]), size, kind,
                window_offset + match.start(6), len(match[6]),
            )
        )  # fmt: skip
        if len(found) == THUMBNAILS_MAX:
            break
    return tuple(found)


def _start_byte(head: bytes) -> int | None:
    """The byte before the first line that is an M or G command, as Moonraker counts it."""
    position = head.find(b"\n")
    while position >= 0:
        match = _COMMAND.match(head, position + 1)
        if match and head.find(b"\n", match.end()) >= 0:
            return position
        position = head.find(b"\n", position + 1)
    return None


def _end_byte(footer: bytes, size_bytes: int) -> int | None:
    """The byte behind the last M or G command, as Moonraker counts it.

    Moonraker counts one line more where the last command has no arguments; followed here, so
    that progress by bytes is the same number in both.
    """
    end = footer.rfind(b"\n")
    while end > 0:
        start = footer.rfind(b"\n", 0, end)
        before = footer.rfind(b"\n", 0, start) if start > 0 else -1
        if start < 0:
            return None
        has_arguments = _COMMAND.match(footer, start + 1, end)
        follows_bare = before >= 0 and _BARE_COMMAND.fullmatch(footer, before + 1, start)
        if has_arguments or follows_bare:
            return size_bytes - (len(footer) - end - 1)
        end = start
    return None
