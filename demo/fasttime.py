"""Compiles what is preloaded, and says how to run a process under fasttime.c.

Owns the call of the compiler. What the shim does is explained in fasttime.c.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

_SOURCE = Path(__file__).with_name("fasttime.c")


class CompilerMissing(RuntimeError):
    """Klipper needs a C compiler, and none is installed."""


def require_compiler() -> str:
    """The path of gcc (or cc); Klipper builds its own C helper at its first start, too."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise CompilerMissing("no gcc found: install it with `apt install gcc libc6-dev`")
    return compiler


def build(folder: Path, source: Path = _SOURCE) -> Path:
    """Compile a shim into `folder` unless it is there; return the library's path."""
    library = folder / source.with_suffix(".so").name
    if library.exists() and library.stat().st_mtime >= source.stat().st_mtime:
        return library
    folder.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=folder, suffix=".so")
    os.close(handle)
    command = [require_compiler(), "-O2", "-Wall", "-shared", "-fPIC", "-o", name]
    done = subprocess.run(
        [*command, str(source), "-ldl", "-lpthread"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        Path(name).unlink()
        raise RuntimeError(f"{source.name} does not compile:\n{done.stderr}")
    os.replace(name, library)  # whole or not at all: printers start side by side
    return library


def environment(folder: Path, speed: float, wall_offset_s: int = 0) -> dict[str, str]:
    """What a process needs in its environment to run at `speed` with a wrong wall clock."""
    if speed == 1 and not wall_offset_s:
        return {}
    return {
        "LD_PRELOAD": str(build(folder)),
        "FASTTIME": f"{speed:g}",
        "WALL_OFFSET_S": str(wall_offset_s),
    }
