"""`install.sh host` and `uninstall`: what they put where, and that nothing is left of it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.install.host_tree import PRINTER_CFG, Host, run_as_user

# What the component imports that is not in Python itself.
PACKAGES = "import msgspec; import paho.mqtt.client; import requests"


def git_status(checkout: Path) -> list[str]:
    """What Moonraker's update_manager looks at."""
    command = ["git", "-c", "safe.directory=*", "-C", str(checkout), "status", "--porcelain"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()


def options(path: Path) -> dict[str, str]:
    """The options of a Moonraker configuration file, whatever their section."""
    pairs = [line.split(": ", 1) for line in path.read_text().splitlines() if ": " in line]
    return {name: value for name, value in pairs if not name.startswith("#")}


def test_host_puts_component_and_section_in(host: Host, credentials: list[str]) -> None:
    done = host.install("host", "--printer-id", "left", *credentials)

    assert done.returncode == 0, done.stdout
    assert os.readlink(host.components / "moonfleet") == str(host.repo / "moonraker_component")
    extras = host.home / "klipper/klippy/extras"
    assert os.readlink(extras / "moonfleet") == str(host.repo / "klipper_extras")
    conf = (host.config() / "moonraker.conf").read_text()
    assert conf.splitlines().count("[include moonfleet.conf]") == 1
    cfg = (host.config() / "printer.cfg").read_text()
    assert cfg == "[include moonfleet.cfg]\n" + PRINTER_CFG
    assert (host.config() / "moonfleet.cfg").read_text().splitlines()[-1] == "[moonfleet]"


def test_moonfleet_conf_holds_what_was_given(host: Host, credentials: list[str]) -> None:
    host.install("host", "--printer-id", "left", *credentials)

    path = host.config() / "moonfleet.conf"
    assert path.stat().st_mode & 0o777 == 0o600
    assert options(path) == {
        "printer_id": "left",
        "mqtt_address": "127.0.0.1",
        "mqtt_port": "1883",
        "mqtt_username": "left",
        "mqtt_password_file": "/home/pi/printer_data/moonfleet.password",
    }


def test_password_stands_apart_and_only_its_owner_reads_it(
    host: Host, credentials: list[str], password_file: Path
) -> None:
    host.install("host", *credentials)

    path = host.home / "printer_data/moonfleet.password"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_text() == password_file.read_text()
    for text in host.config().iterdir():
        assert "s3cret" not in text.read_text()


def test_password_can_be_changed_alone(host: Host, credentials: list[str]) -> None:
    host.install("host", *credentials)
    before = host.snapshot()

    done = host.install("host", environment={"MOONFLEET_MQTT_PASSWORD": "another"})

    assert "changes made: 1" in done.stdout
    assert "another" not in done.stdout
    changed = {path for path, now in host.snapshot().items() if before[path] != now}
    assert changed == {"home/pi/printer_data/moonfleet.password"}
    assert (host.home / "printer_data/moonfleet.password").read_text() == "another\n"


def test_password_is_never_shown(host: Host, credentials: list[str]) -> None:
    first = host.install("host", "--dry-run", *credentials)
    second = host.install("host", *credentials)
    assert "s3cret" not in first.stdout + second.stdout


def test_checkout_gets_an_update_entry(host: Host, credentials: list[str]) -> None:
    git = ["git", "-c", "safe.directory=*", "-C", str(host.repo)]
    subprocess.run([*git, "init", "--quiet"], check=True)
    origin = "https://example.invalid/moonfleet.git"
    subprocess.run([*git, "remote", "add", "origin", origin], check=True)
    host.give_to_user()

    host.install("host", *credentials)

    found = options(host.config() / "moonfleet.conf")
    assert found["type"] == "git_repo"
    assert found["origin"] == origin
    assert found["path"] == str(host.repo)
    assert found["is_system_service"] == "False"
    assert found["managed_services"] == "moonraker klipper"


def test_git_shows_no_untracked_source_file(host: Host, credentials: list[str]) -> None:
    host.install("host", *credentials)
    assert git_status(host.home / "moonraker") == ["?? moonraker/components/moonfleet"]


def test_second_run_changes_nothing(host: Host, credentials: list[str]) -> None:
    host.install("host", *credentials)
    before = host.snapshot()

    done = host.install("host")

    assert done.returncode == 0, done.stdout
    assert "nothing to change" in done.stdout
    assert host.snapshot() == before


def test_uninstall_leaves_no_trace(host: Host, credentials: list[str]) -> None:
    before = host.snapshot()
    host.install("host", *credentials)
    assert host.snapshot() != before

    done = host.install("uninstall")

    assert done.returncode == 0, done.stdout
    assert host.snapshot() == before
    assert git_status(host.home / "moonraker") == []


def test_uninstall_of_nothing_changes_nothing(host: Host) -> None:
    before = host.snapshot()
    done = host.install("uninstall")
    assert done.returncode == 0, done.stdout
    assert "nothing to change" in done.stdout
    assert host.snapshot() == before


@pytest.mark.parametrize("command", ["host", "uninstall"])
def test_dry_run_changes_nothing(host: Host, credentials: list[str], command: str) -> None:
    if command == "uninstall":
        host.install("host", *credentials)
    before = host.snapshot()

    done = host.install(command, "--dry-run", *(credentials if command == "host" else []))

    assert done.returncode == 0, done.stdout
    assert "would " in done.stdout
    assert host.snapshot() == before


def test_dry_run_names_each_change(host: Host, credentials: list[str]) -> None:
    planned = host.install("host", "--dry-run", *credentials).stdout
    made = host.install("host", *credentials).stdout
    wanted = [line.replace("would ", "") for line in planned.splitlines() if "would " in line]
    assert wanted[-1] == "moonfleet: make 7 changes; made none"
    assert len(wanted) == 8
    assert set(wanted[:-1]) <= set(made.splitlines())


def test_the_person_is_told_what_comes_next(host: Host, credentials: list[str]) -> None:
    planned = host.install("host", "--dry-run", *credentials)
    done = host.install("host", "--printer-id", "left", *credentials)
    assert "next, for the printer" not in planned.stdout
    assert "next, for the printer 'left' (printer_data)" in done.stdout
    assert "moonfleet clear left" in done.stdout


def test_every_instance_is_found(host: Host, credentials: list[str]) -> None:
    host.add_instance("printer_1_data", "-1")
    units = host.root / "etc/systemd/system"
    for companion in ("moonraker-obico", "moonraker-telegram-bot", "klipper-mcu"):
        shutil.copy(units / "moonraker.service", units / f"{companion}.service")
    host.give_to_user()

    done = host.install("host", *credentials)

    assert done.returncode == 0, done.stdout
    assert done.stdout.count(": Moonraker /") == 2  # and none of the companions
    ids = [
        options(host.config(data) / "moonfleet.conf")["printer_id"]
        for data in ("printer_data", "printer_1_data")
    ]
    assert ids[1] == f"{ids[0]}-1"


def test_one_instance_can_be_named(host: Host, credentials: list[str]) -> None:
    host.add_instance("printer_1_data", "-1")
    host.give_to_user()

    done = host.install("host", "--instance", "1", "--printer-id", "right", *credentials)

    assert done.returncode == 0, done.stdout
    assert (host.config("printer_1_data") / "moonfleet.conf").exists()
    assert not (host.config() / "moonfleet.conf").exists()
    assert (host.config() / "printer.cfg").read_text() == PRINTER_CFG


def test_unknown_instance_is_refused_with_the_known(host: Host, credentials: list[str]) -> None:
    done = host.install("host", "--instance", "9", *credentials)
    assert done.returncode == 1
    assert "named 9" in done.stdout
    assert "printer_data" in done.stdout


def test_link_stays_while_another_instance_needs_it(host: Host, credentials: list[str]) -> None:
    host.add_instance("printer_1_data", "-1")
    host.give_to_user()
    before = host.snapshot()
    host.install("host", *credentials)

    host.install("uninstall", "--instance", "1")
    assert (host.components / "moonfleet").is_symlink()
    assert (host.home / "klipper/klippy/extras/moonfleet").is_symlink()

    host.install("uninstall")
    assert host.snapshot() == before


def test_kalico_keeps_the_section_among_its_plugins(host: Host, credentials: list[str]) -> None:
    host.add_klipper(plugins=True)
    host.give_to_user()
    before = host.snapshot()

    host.install("host", *credentials)
    assert (host.home / "klipper/klippy/plugins/moonfleet").is_symlink()
    assert not (host.home / "klipper/klippy/extras/moonfleet").is_symlink()

    host.install("uninstall")
    assert host.snapshot() == before


def test_klipper_that_became_kalico_keeps_one_link(host: Host, credentials: list[str]) -> None:
    host.install("host", *credentials)
    host.add_klipper(plugins=True)
    host.give_to_user()

    host.install("host")

    assert (host.home / "klipper/klippy/plugins/moonfleet").is_symlink()
    assert not (host.home / "klipper/klippy/extras/moonfleet").is_symlink()


def test_host_without_klipper_is_told_what_it_loses(host: Host, credentials: list[str]) -> None:
    shutil.rmtree(host.home / "klipper")
    done = host.install("host", *credentials)
    assert done.returncode == 0, done.stdout
    assert "no fence" in done.stdout
    assert not (host.config() / "moonfleet.cfg").exists()


def test_folders_can_be_named_without_units(host: Host, credentials: list[str]) -> None:
    shutil.rmtree(host.root / "etc")
    folders = ["--data-dir", str(host.home / "printer_data")]
    folders += ["--moonraker-dir", str(host.home / "moonraker")]
    folders += ["--moonraker-env", str(host.home / "moonraker-env")]
    folders += ["--klipper-dir", str(host.home / "klipper")]
    before = host.snapshot()

    done = host.install("host", *folders, *credentials)
    assert done.returncode == 0, done.stdout
    assert (host.components / "moonfleet").is_symlink()
    assert (host.home / "klipper/klippy/extras/moonfleet").is_symlink()

    host.install("uninstall", *folders)
    assert host.snapshot() == before


def test_what_a_person_wrote_stays(host: Host, credentials: list[str]) -> None:
    host.install("host", *credentials)
    path = host.config() / "moonfleet.conf"
    path.write_text(path.read_text() + "# by hand\ncache_mb: 200\n")
    mine = path.read_text()

    host.install("host", "--mqtt-host", "127.0.0.9")

    assert path.read_text() == mine.replace("127.0.0.1", "127.0.0.9")


def test_missing_option_is_added_to_its_section(host: Host, credentials: list[str]) -> None:
    host.install("host", *credentials)
    path = host.config() / "moonfleet.conf"
    path.write_text("[moonfleet]\nprinter_id: left\n\n[update_manager moonfleet]\ntype: git_repo\n")

    host.install("host", "--mqtt-port", "1884")

    text = path.read_text()
    assert text.index("mqtt_port: 1884") < text.index("[update_manager moonfleet]")
    assert "type: git_repo" in text


def test_linked_configuration_stays_a_link(host: Host, credentials: list[str]) -> None:
    kept = host.home / "backup.cfg"
    (host.config() / "printer.cfg").rename(kept)
    (host.config() / "printer.cfg").symlink_to(kept)
    before = host.snapshot()

    host.install("host", *credentials)
    assert (host.config() / "printer.cfg").is_symlink()
    assert kept.read_text().startswith("[include moonfleet.cfg]\n")

    host.install("uninstall")
    assert host.snapshot() == before


def test_pip_installation_gets_a_file(
    host: Host, credentials: list[str], pip_environment: Path
) -> None:
    shutil.rmtree(host.home / "moonraker")
    environment = host.home / "printer_data/systemd/moonraker.env"
    environment.write_text('MOONRAKER_ARGS="-m moonraker -d /home/pi/printer_data"\n')
    before = host.snapshot()

    done = host.install("host", *credentials)
    assert done.returncode == 0, done.stdout
    python = pip_environment / "bin/python"
    script = (
        "from moonraker.components import moonfleet\n"
        "package = moonfleet._load_package()\n"
        "package.load_component = lambda config: ('loaded', config)\n"
        "print(package.__path__, moonfleet.load_component(7))\n"
        "import moonfleet_component.wire\n"
    )
    loaded = run_as_user([str(python), "-B", "-c", script], {})
    assert loaded.stdout == f"['{host.repo}/moonraker_component'] ('loaded', 7)\n"

    host.install("uninstall")
    assert host.snapshot() == before
    gone = run_as_user([str(python), "-c", "import moonraker.components.moonfleet"], {})
    assert "ModuleNotFoundError" in gone.stdout


def test_shim_says_when_moonfleet_has_moved(
    host: Host, credentials: list[str], pip_environment: Path
) -> None:
    shutil.rmtree(host.home / "moonraker")
    environment = host.home / "printer_data/systemd/moonraker.env"
    environment.write_text('MOONRAKER_ARGS="-m moonraker -d /home/pi/printer_data"\n')
    host.install("host", *credentials)
    (host.repo / "moonraker_component").rename(host.repo / "elsewhere")

    script = "from moonraker.components import moonfleet; moonfleet.load_component(None)"
    loaded = run_as_user([str(pip_environment / "bin/python"), "-B", "-c", script], {})

    (host.repo / "elsewhere").rename(host.repo / "moonraker_component")
    host.install("uninstall")
    assert "RuntimeError: Moonfleet is not at" in loaded.stdout


def test_what_is_missing_comes_into_moonrakers_environment(
    host: Host, credentials: list[str], bare_environment: Path
) -> None:
    (host.home / "moonraker-env").unlink()
    (host.home / "moonraker-env").symlink_to(bare_environment)
    python = str(bare_environment / "bin/python")
    for package in PACKAGES.split("; "):
        assert run_as_user([python, "-c", package], {}).returncode == 1

    done = host.install("host", *credentials)

    assert "install msgspec" in done.stdout
    assert run_as_user([python, "-c", PACKAGES], {}).returncode == 0
    assert "nothing to change" in host.install("host").stdout
