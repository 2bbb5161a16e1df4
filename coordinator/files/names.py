"""Names of G-code files: the one a person sees and the one a host stores.

Owns what a file may be called. Knows nothing of disks, uploads or printers: names come in,
names or a BadFileName come out.
"""

from __future__ import annotations

import re
import unicodedata

EXTENSION = ".gcode"
KNOWN_EXTENSIONS = (".gcode", ".gco", ".g")
DISPLAY_NAME_MAX = 200
HOST_NAME_MAX = 100

_HOST_NAME = re.compile(r"[A-Za-z0-9._-]{1,100}")
_NOT_FOR_HOSTS = re.compile(r"[^A-Za-z0-9.-]+")


class BadFileName(ValueError):
    """A file was given a name that no host can safely store."""

    def __init__(self, name: str, reason: str) -> None:
        shown = name if len(name) <= 60 else name[:57] + "..."
        super().__init__(
            f"file name {shown!r}: {reason}; allowed is a plain name of 1 to {DISPLAY_NAME_MAX} "
            f"characters without '/', '\\' or control characters that ends in "
            f"{', '.join(KNOWN_EXTENSIONS)}"
        )
        self.reason = reason


def display_name(raw: str) -> str:
    """Return `raw` as the name that people see, or raise BadFileName.

    Normalised to NFC (a Mac sends decomposed letters) and stripped at both ends. A path is
    refused rather than cut down to its last part: who sends one means something by it that
    would silently be lost.
    """
    name = unicodedata.normalize("NFC", raw).strip()
    reason = _why_not(raw, name)
    if reason:
        raise BadFileName(raw, reason)
    return name


def _why_not(raw: str, name: str) -> str:
    if not name:
        return "is empty"
    # Cc: control characters; Cf: invisible formatting, which can turn text around; Cs: lone
    # surrogates, which no file system and no JSON encoder takes.
    if any(unicodedata.category(letter) in ("Cc", "Cf", "Cs") for letter in raw):
        return "has a control character"
    if "/" in name or "\\" in name:
        return "is a path"
    if len(name) > DISPLAY_NAME_MAX:
        return f"has {len(name)} characters"
    stem, extension = _split(name)
    if not extension:
        return "does not end like G-code"
    if not stem.strip(". "):
        return "has nothing before its ending"
    return ""


def host_name(raw: str) -> str:
    """Return the name under which hosts store the file that people call `raw`.

    Always matches `[A-Za-z0-9._-]{1,100}`, ends in `.gcode` and starts with a letter or a
    digit (a leading dot hides a file, a leading dash looks like an option to a shell). Two
    display names may share one host name: on a host the attempt's folder tells them apart.
    """
    stem, _ = _split(display_name(raw))
    decomposed = unicodedata.normalize("NFKD", stem)
    plain = "".join(letter for letter in decomposed if not unicodedata.combining(letter))
    safe = _NOT_FOR_HOSTS.sub("_", plain).strip("._-")
    return (safe[: HOST_NAME_MAX - len(EXTENSION)].rstrip("._-") or "print") + EXTENSION


def is_host_name(name: str) -> bool:
    """Tell whether `name` is one that `host_name` could have made."""
    return (
        _HOST_NAME.fullmatch(name) is not None
        and name[0].isalnum()
        and name.endswith(EXTENSION)
        and len(name) > len(EXTENSION)
    )


def _split(name: str) -> tuple[str, str]:
    lowered = name.lower()
    for extension in KNOWN_EXTENSIONS:
        if lowered.endswith(extension):
            return name[: -len(extension)], extension
    return name, ""
