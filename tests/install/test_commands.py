"""install.sh's commands, their help, the coordinator's service, and the shell itself."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import requests

from coordinator.config import load
from tests.install.host_tree import REPOSITORY, TIMEOUT_S, Host
from tests.install.real_moonraker import running_moonraker, url_of

COMMANDS = ("demo", "test", "bench", "sim", "chaos", "host", "coordinator", "uninstall")
# What install.sh calls before it looks for packages.
NEEDED_PROGRAMS = ("bash", "env", "dirname", "id", "cat", "python3", "git")


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help(empty_host: Host, command: str) -> None:
    done = empty_host.install(command, "--help", rooted=False)
    assert done.returncode == 0
    assert done.stdout.startswith(f"usage: ./install.sh {command}")
    assert "--dry-run" in done.stdout


def test_help_lists_the_commands(empty_host: Host) -> None:
    done = empty_host.install("--help", rooted=False)
    assert done.returncode == 0
    for command in COMMANDS:
        assert f"\n  {command} " in done.stdout


@pytest.mark.parametrize("arguments", [[], ["frobnicate"], ["bench"], ["coordinator", "--frob"]])
def test_wrong_use_ends_with_2_and_the_list(empty_host: Host, arguments: list[str]) -> None:
    done = empty_host.install(*arguments, rooted=False)
    assert done.returncode == 2
    assert "usage: ./install.sh" in done.stdout


@pytest.mark.parametrize("command", ["demo", "test"])
def test_dry_run_of_setup_writes_nothing(empty_host: Host, command: str) -> None:
    done = empty_host.install(command, "--dry-run", rooted=False)
    assert done.returncode == 0, done.stdout
    assert "would set up .venvs/moonfleet" in done.stdout
    assert not (empty_host.repo / ".venvs").exists()


def test_without_root_the_missing_packages_are_one_line(empty_host: Host, stub_path: Path) -> None:
    for program in NEEDED_PROGRAMS:
        found = shutil.which(program, path="/usr/bin:/bin:" + os.environ["PATH"])
        assert found is not None
        (stub_path / program).symlink_to(found)
    apt_get = stub_path / "apt-get"
    apt_get.write_text("#!/bin/sh\necho apt-get was called >&2\nexit 1\n")
    apt_get.chmod(0o755)

    done = empty_host.install("demo", environment={"PATH": str(stub_path)}, rooted=False)

    assert done.returncode == 2
    lines = [line for line in done.stdout.splitlines() if "apt-get install" in line]
    assert len(lines) == 1
    assert "gcc" in lines[0]
    assert "apt-get was called" not in done.stdout


def coordinator_ready(host: Host) -> Host:
    """Let the unit's Python exist, as it does when the environment has been set up."""
    python = host.repo / ".venvs/moonfleet/bin/python"
    python.parent.mkdir(parents=True)
    python.symlink_to("/usr/bin/env")
    host.give_to_user()
    return host


def test_coordinator_writes_a_unit_that_systemd_accepts(empty_host: Host) -> None:
    host = coordinator_ready(empty_host)

    done = host.install("coordinator", "--data-dir", "/srv/farm")

    assert done.returncode == 0, done.stdout
    unit = host.root / "etc/systemd/system/moonfleet.service"
    verified = subprocess.run(
        ["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False
    )
    assert (verified.returncode, verified.stderr) == (0, "")
    text = unit.read_text()
    python = host.repo / ".venvs/moonfleet/bin/python"
    assert f"ExecStart={python} -m coordinator serve --data-dir /srv/farm\n" in text
    assert "UMask=0077\n" in text
    assert "User=root" not in text
    assert "@" not in text
    assert (host.root / "srv/farm").stat().st_mode & 0o777 == 0o700


def test_coordinator_again_changes_nothing(empty_host: Host) -> None:
    host = coordinator_ready(empty_host)
    host.install("coordinator")
    before = host.snapshot()
    done = host.install("coordinator")
    assert "nothing to change" in done.stdout
    assert host.snapshot() == before


def test_uninstall_takes_the_unit_and_leaves_the_data(empty_host: Host) -> None:
    host = coordinator_ready(empty_host)
    host.install("coordinator", "--data-dir", "/srv/farm")
    done = host.install("uninstall")
    assert done.returncode == 0, done.stdout
    assert not (host.root / "etc/systemd/system/moonfleet.service").exists()
    assert (host.root / "srv/farm").is_dir()


def test_the_command_is_linked_where_a_login_finds_it(empty_host: Host) -> None:
    host = coordinator_ready(empty_host)
    link = host.home / ".local/bin/moonfleet"

    done = host.install("coordinator")
    assert os.readlink(link) == str(host.repo / ".venvs/moonfleet/bin/moonfleet")
    assert "moonfleet pair" in done.stdout

    host.install("uninstall")
    assert not link.is_symlink()


def test_another_program_of_that_name_stays(empty_host: Host) -> None:
    host = coordinator_ready(empty_host)
    other = host.home / ".local/bin/moonfleet"
    other.parent.mkdir(parents=True)
    other.write_text("mine")
    host.give_to_user()

    done = host.install("coordinator")
    assert done.returncode == 0, done.stdout
    assert "left alone" in done.stdout
    host.install("uninstall")
    assert other.read_text() == "mine"


def test_a_path_that_a_unit_cannot_hold_is_refused(empty_host: Host) -> None:
    done = empty_host.install("coordinator", "--data-dir", "/srv/my farm")
    assert done.returncode == 2
    assert "/srv/my farm" in done.stdout


def test_every_shell_file_passes_shellcheck() -> None:
    scripts = [REPOSITORY / "install.sh", REPOSITORY / ".ci/run"]
    for folder in ("moonraker_component", "coordinator", "demo", "tests"):
        scripts += sorted((REPOSITORY / folder).rglob("*.sh"))
    done = subprocess.run(
        ["shellcheck", "--external-sources", *scripts],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_continuous_integration_runs_the_tests_and_nothing_less() -> None:
    lines = (REPOSITORY / ".ci/run").read_text().splitlines()
    assert lines[-1] == "exec ./install.sh test </dev/null"


@pytest.mark.parametrize("login", ["", "force_logins: True\n\n"])
def test_state_of_a_real_moonraker_without_klipper(
    shared_folder: Path, pip_environment: Path, login: str
) -> None:
    """The other answers are Klipper's; this one is Moonraker's own, so ask the real one.

    With force_logins and a user it answers HTTP with 401, and its socket all the same.
    """
    data = shared_folder / f"moonraker-{'login' if login else 'open'}"
    with running_moonraker(data, pip_environment, login) as conf:
        if login:
            add_user(conf)
        script = REPOSITORY / "moonraker_component/install/print_state.py"
        python = str(pip_environment / "bin/python")
        said = subprocess.run(
            [python, script, conf, data], capture_output=True, text=True, check=False
        )
    assert (said.stdout, said.stderr) == ("no-klipper\n", "")


def add_user(conf: Path) -> None:
    """Add Moonraker's first user, after which force_logins counts; prove that it does."""
    base = url_of(conf)
    user = {"username": "someone", "password": "long enough"}
    assert requests.post(f"{base}/access/user", json=user, timeout=TIMEOUT_S).status_code == 200
    assert requests.get(f"{base}/server/info", timeout=TIMEOUT_S).status_code == 401


def test_the_network_is_opened_once_and_what_a_person_wrote_stays(empty_host: Host) -> None:
    host = coordinator_ready(empty_host)
    toml = host.home / ".local/share/moonfleet/moonfleet.toml"
    done = host.install("coordinator", "--network")
    assert done.returncode == 0, done.stdout
    assert load(toml, []).network.address == "0.0.0.0"
    assert toml.stat().st_mode & 0o777 == 0o600
    assert "nothing to change" in host.install("coordinator").stdout
    assert "left alone" in host.install("coordinator", "--network").stdout
    toml.write_text("[farm]\nlease_s = 20\n")
    host.install("coordinator", "--network")
    config = load(toml, [])
    assert (config.farm.lease_s, config.network.address) == (20, "0.0.0.0")
    mine = '[network]\naddress = "192.0.2.1"\n'
    toml.write_text(mine)
    host.install("coordinator", "--network")
    assert toml.read_text() == mine
