"""Files that hold secrets: written whole or not at all, and never readable by others.

Owns that one way of writing. Must not know what is in them.
"""

from __future__ import annotations

import os
from pathlib import Path

MODE = 0o600


def write_private(path: Path, content: bytes) -> None:
    """Put a file in place whose content only we may read; what was there stays until then."""
    draft = path.with_name(path.name + ".new")
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, MODE), "wb") as file:
        os.fchmod(file.fileno(), MODE)  # a draft that was left behind keeps its mode when opened
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, path)
