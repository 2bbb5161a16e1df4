"""A printer's host as a folder: units, data folders, checkouts, as KIAUH leaves them.

Owns: how such a host looks on disk and how install.sh is run against it. Knows nothing of what
install.sh should do to it: the tests say that.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
# What install.sh needs of the repository; the rest would only be copied for nothing.
NEEDED = ("install.sh", "moonraker_component", "klipper_extras", "coordinator", "tests/checks.sh")
# Any ordinary user that every Debian has; of "nobody" systemd says that it is not safe.
USER = "daemon"
TIMEOUT_S = 300

MOONRAKER_UNIT = """[Unit]
Description=API Server for Klipper SV1
[Service]
Type=simple
User=pi
WorkingDirectory=/home/pi/moonraker
EnvironmentFile=/home/pi/{data}/systemd/moonraker.env
ExecStart=/home/pi/moonraker-env/bin/python $MOONRAKER_ARGS
"""
KLIPPER_UNIT = """[Unit]
Description=Klipper 3D Printer Firmware SV1
[Service]
Type=simple
User=pi
EnvironmentFile=/home/pi/{data}/systemd/klipper.env
ExecStart=/home/pi/klippy-env/bin/python $KLIPPER_ARGS
"""
KLIPPER_ARGS = (
    'KLIPPER_ARGS="/home/pi/klipper/klippy/klippy.py /home/pi/{data}/config/printer.cfg'
    ' -I /home/pi/{data}/comms/klippy.serial -l /home/pi/{data}/logs/klippy.log"\n'
)
MOONRAKER_CONF = "[server]\nhost: 0.0.0.0\nport: {port}\n\n[update_manager]\nchannel: dev\n"
# No newline at the end, and the block that Klipper wants to find there.
PRINTER_CFG = (
    "[include mainsail.cfg]\n[printer]\nkinematics: none\n\n"
    "#*# <---------------------- SAVE_CONFIG ---------------------->\n"
    "#*# [extruder]\n#*# control = pid"
)


@dataclass(frozen=True)
class Host:
    """A folder that stands for a host's `/`, and the copy of Moonfleet beside it."""

    root: Path
    repo: Path

    @property
    def home(self) -> Path:
        """The home of the user that runs Klipper."""
        return self.root / "home/pi"

    @property
    def components(self) -> Path:
        """The folder of Moonraker's components, in its checkout."""
        return self.home / "moonraker/moonraker/components"

    def config(self, data: str = "printer_data") -> Path:
        """The folder of one instance's configuration."""
        return self.home / data / "config"

    def add_instance(self, data: str, suffix: str = "", port: int = 1) -> None:
        """Add Moonraker and Klipper units with a data folder; nothing listens on `port`."""
        units = self.root / "etc/systemd/system"
        units.mkdir(parents=True, exist_ok=True)
        (units / f"moonraker{suffix}.service").write_text(MOONRAKER_UNIT.format(data=data))
        (units / f"klipper{suffix}.service").write_text(KLIPPER_UNIT.format(data=data))
        for folder in ("config", "systemd", "gcodes", "comms", "database"):
            (self.home / data / folder).mkdir(parents=True, exist_ok=True)
        (self.home / data / "systemd/klipper.env").write_text(KLIPPER_ARGS.format(data=data))
        (self.home / data / "systemd/moonraker.env").write_text(
            f'MOONRAKER_ARGS="/home/pi/moonraker/moonraker/moonraker.py -d /home/pi/{data}"\n'
        )
        self.set_port(port, data)
        (self.config(data) / "printer.cfg").write_text(PRINTER_CFG)

    def set_port(self, port: int, data: str = "printer_data") -> None:
        """Let that instance's moonraker.conf name `port`."""
        (self.config(data) / "moonraker.conf").write_text(MOONRAKER_CONF.format(port=port))

    def add_klipper(self, plugins: bool = False) -> None:
        """Add a checkout of Klipper, or of Kalico when it has a folder for `plugins`."""
        klippy = self.home / "klipper/klippy"
        (klippy / "extras").mkdir(parents=True, exist_ok=True)
        (klippy / "klippy.py").touch()
        (self.home / "klipper/.git").mkdir(exist_ok=True)
        if plugins:
            (klippy / "plugins").mkdir()

    def give_to_user(self) -> None:
        """Let the user that runs install.sh own all of it."""
        give_to_user(self.root, self.repo)

    def install(
        self, *arguments: str, environment: dict[str, str] | None = None, rooted: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run install.sh as an ordinary user; stderr is part of stdout."""
        command = [str(self.repo / "install.sh"), *arguments]
        if rooted:
            command += ["--root", str(self.root)]
        return run_as_user(command, {"HOME": "/home/pi", **(environment or {})})

    def snapshot(self) -> dict[str, str]:
        """Return {path: kind, mode and content} of everything under the root but the venvs."""
        found: dict[str, str] = {}
        for folder, folders, files in os.walk(self.root):
            folders[:] = [name for name in folders if name not in ("moonraker-env", "__pycache__")]
            for name in folders + files:
                path = Path(folder, name)
                found[str(path.relative_to(self.root))] = _describe(path)
        return found


def _describe(path: Path) -> str:
    if path.is_symlink():
        return f"link {os.readlink(path)}"
    mode = stat.S_IMODE(path.stat().st_mode)
    if path.is_dir():
        return f"folder {mode:o}"
    return f"file {mode:o} {hashlib.sha256(path.read_bytes()).hexdigest()}"


def give_to_user(*paths: Path) -> None:
    """Let the user that runs install.sh own `paths` (only root can, and only then it must)."""
    if os.geteuid() == 0:
        subprocess.run(["chown", "-R", USER, *paths], check=True)


def as_user(command: list[str]) -> list[str]:
    """Let `command` run as an ordinary user: install.sh refuses root where it changes a host."""
    if os.geteuid() != 0:
        return command
    # By its path: the environment may hide it.
    setpriv = shutil.which("setpriv")
    assert setpriv is not None, "setpriv (util-linux) is needed to stop being root"
    return [setpriv, f"--reuid={USER}", "--clear-groups", *command]


def run_as_user(
    command: list[str], environment: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run `command` as an ordinary user; stderr is part of stdout."""
    # Nothing of the caller's MOONFLEET_ settings; pip and git keep theirs.
    kept = {k: v for k, v in os.environ.items() if not k.startswith("MOONFLEET_")}
    return subprocess.run(
        as_user(command),
        env={**kept, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


def copy_repository(target: Path) -> None:
    """Copy what install.sh needs, since an ordinary user may not reach the checkout itself."""
    for name in NEEDED:
        source = REPOSITORY / name
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(
                source, target / name, ignore=shutil.ignore_patterns("__pycache__"), symlinks=True
            )
        else:
            shutil.copy2(source, target / name)
