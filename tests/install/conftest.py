"""Fixtures: a real checkout and a real pip installation of Moonraker, and hosts made of them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.install.host_tree import REPOSITORY, Host, copy_repository, give_to_user

MOONRAKER_VERSION = "0.11.0"


@pytest.fixture(scope="session")
def shared_folder() -> Iterator[Path]:
    """A folder that other users may enter (pytest's own may not be)."""
    folder = Path(tempfile.mkdtemp(prefix="moonfleet-install-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def moonraker_checkout(shared_folder: Path) -> Path:
    """Moonraker's published source, committed to a repository of its own."""
    download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    download += ["--no-binary", "moonraker"]
    subprocess.run(
        [*download, "--dest", shared_folder, f"moonraker=={MOONRAKER_VERSION}"], check=True
    )
    archive = shared_folder / f"moonraker-{MOONRAKER_VERSION}.tar.gz"
    subprocess.run(["tar", "-C", shared_folder, "-xzf", archive], check=True)
    checkout = shared_folder / f"moonraker-{MOONRAKER_VERSION}"
    git = ["git", "-C", str(checkout), "-c", "user.name=test", "-c", "user.email=test@invalid"]
    subprocess.run([*git, "init", "--quiet"], check=True)
    subprocess.run([*git, "add", "--all", "--force"], check=True)
    subprocess.run([*git, "commit", "--quiet", "-m", "as published"], check=True)
    return checkout


@pytest.fixture(scope="session")
def bare_environment(shared_folder: Path) -> Path:
    """A Python environment with pip and nothing else, in which an ordinary user may work."""
    environment = _make_environment(shared_folder / "bare-env")
    give_to_user(environment)
    return environment


@pytest.fixture(scope="session")
def pip_environment(shared_folder: Path) -> Path:
    """The environment into which pip installed Moonraker, copied."""
    environment = _make_environment(shared_folder / "pip-env", "--without-pip")
    installed = REPOSITORY / ".venvs/moonraker"
    for source in (installed / "lib").glob("python3.*/site-packages"):
        target = environment / "lib" / source.parent.name / "site-packages"
        assert target.is_dir(), f"{installed} was made with another Python than {environment}"
        # The demo links the component into the same environment; pip did not.
        shutil.copytree(
            source, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("moonfleet*")
        )
    give_to_user(environment)
    return environment


def _make_environment(path: Path, *options: str) -> Path:
    # The system's Python first: another user may not reach one in somebody's home.
    system = Path("/usr/bin/python3")
    python = str(system) if system.exists() else sys.executable
    subprocess.run([python, "-m", "venv", *options, path], check=True)
    return path


@pytest.fixture
def empty_host(shared_folder: Path) -> Iterator[Host]:
    """A host without any printer, and a copy of Moonfleet."""
    folder = Path(tempfile.mkdtemp(prefix="host-", dir=shared_folder))
    folder.chmod(0o755)
    host = Host(root=folder / "root", repo=folder / "moonfleet")
    host.home.mkdir(parents=True)
    copy_repository(host.repo)
    host.give_to_user()
    yield host
    shutil.rmtree(folder)


@pytest.fixture
def host(empty_host: Host, moonraker_checkout: Path, pip_environment: Path) -> Host:
    """One printer: Moonraker from git, Klipper from git, msgspec already there."""
    shutil.copytree(moonraker_checkout, empty_host.home / "moonraker")
    (empty_host.home / "moonraker-env").symlink_to(pip_environment)
    empty_host.add_klipper()
    empty_host.add_instance("printer_data")
    empty_host.give_to_user()
    return empty_host


@pytest.fixture
def password_file(shared_folder: Path) -> Path:
    """A file with a broker's password, readable for the user that runs install.sh."""
    path = shared_folder / "password"
    path.write_text("s3cret-%&\\word\n")
    path.chmod(0o644)
    return path


@pytest.fixture
def credentials(password_file: Path) -> list[str]:
    """What `host` needs the first time."""
    return ["--mqtt-host", "127.0.0.1", "--mqtt-password-file", str(password_file)]


@pytest.fixture
def stub_path(shared_folder: Path) -> Iterator[Path]:
    """An empty folder for PATH, for programs that must answer in a chosen way."""
    folder = Path(tempfile.mkdtemp(prefix="bin-", dir=shared_folder))
    os.chmod(folder, 0o755)
    yield folder
    shutil.rmtree(folder)
