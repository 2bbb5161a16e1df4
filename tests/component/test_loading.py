"""The component in a real Moonraker: how it loads, and that nothing of it ever stops Moonraker."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from demo.waiting import until
from tests.component.hand import Hand
from tests.component.moonraker_process import Moonraker, checkout, installed_copy
from tests.component.mosquitto import PASSWORD, USER, Mosquitto, free_port

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

STATUS = "/server/moonfleet/status"
DEADLINE_S = 120.0


def section(port: int, password: str = PASSWORD, more: str = "") -> str:
    return (
        f"[moonfleet]\nprinter_id: p1\nmqtt_address: 127.0.0.1\nmqtt_port: {port}\n"
        f"mqtt_username: {USER}\nmqtt_password: {password}\n{more}"
    )


@pytest.fixture(scope="module")
def git_source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkout(tmp_path_factory.mktemp("git"))


@pytest.fixture(scope="module")
def pip_source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return installed_copy(tmp_path_factory.mktemp("pip"))


@pytest.mark.parametrize("kind", ["git", "pip"])
async def test_it_loads_reports_and_survives_a_restart(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, broker: Mosquitto
) -> None:
    source: Path = request.getfixturevalue(f"{kind}_source")
    async with (
        Hand(broker.port, "p1") as hand,
        Moonraker(source, tmp_path / "data", section(broker.port)) as moonraker,
    ):
        report = await hand.heard(DEADLINE_S)
        info = await moonraker.get("/server/info")
        assert info["failed_components"] == []
        assert "moonfleet" in info["components"]
        assert info["warnings"] == []
        assert [r.code for r in report.refusals] == ["klipper"]
        assert (await moonraker.get(STATUS))["session"] == report.session
        await moonraker.get("/server/restart", "POST")
        await until(
            "a new session reports", lambda: hand.reports[-1].session != report.session, DEADLINE_S
        )
        assert await moonraker.warnings() == ""


def test_the_link_is_no_anomaly_for_moonrakers_update_manager(git_source: Path) -> None:
    """It calls an untracked file with a source's suffix one; a linked folder has no suffix."""
    told = subprocess.run(
        ["git", "-C", git_source, "status", "--porcelain"],
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [line for line in told.stdout.splitlines() if "__pycache__" not in line]
    assert lines == ["?? moonraker/components/moonfleet"]


async def test_a_missing_package_is_a_warning_and_no_pip_run(
    pip_source: Path, tmp_path: Path, broker: Mosquitto
) -> None:
    blocker = tmp_path / "blocker"
    blocker.mkdir()
    (blocker / "msgspec.py").write_text(
        "raise ModuleNotFoundError(\"No module named 'msgspec'\", name='msgspec')\n"
    )
    running = Moonraker(pip_source, tmp_path / "data", section(broker.port), (blocker,))
    async with running as moonraker:
        warning = await moonraker.warnings()
        assert "Moonfleet is off" in warning
        assert "msgspec" in warning
        assert "install.sh host" in warning
        assert PASSWORD not in warning
        assert (await moonraker.get(STATUS))["running"] is False
        assert "Pip Update" not in moonraker.log.read_text()


async def test_bad_options_are_named_with_value_and_what_is_allowed(
    pip_source: Path, tmp_path: Path
) -> None:
    bad = (
        "[moonfleet]\nprinter_id: left/one\nmqtt_address: 127.0.0.1\nmqtt_port: 99999\n"
        f"mqtt_password: {PASSWORD}\ncache_quota_mb: many\nmqtt_tls_ca: /nowhere/ca.crt\n"
    )
    async with Moonraker(pip_source, tmp_path / "data", bad) as moonraker:
        warning = await moonraker.warnings()
        for said in ("left/one", "99999", "1 to 65535", "'many'", "/nowhere/ca.crt"):
            assert said in warning
        assert PASSWORD not in warning
        assert (await moonraker.get("/server/info"))["failed_components"] == []


async def test_a_refused_password_is_a_warning_that_goes_when_it_works(
    pip_source: Path, tmp_path: Path
) -> None:
    broker = Mosquitto(tmp_path / "broker")
    (tmp_path / "password").write_text("wrong-one\n")
    conf = section(broker.port, "", f"mqtt_password_file: {tmp_path}/password\n")
    running = Moonraker(pip_source, tmp_path / "data", conf)
    await broker.start()
    try:
        async with running as moonraker:

            async def warned() -> bool:
                return "refuses the connection" in await moonraker.warnings()

            await until("the warning", warned, DEADLINE_S)
            assert "wrong-one" not in moonraker.log.read_text()
            broker.set_password("wrong-one")
            await broker.kill()
            await broker.start()

            async def quiet() -> bool:
                return await moonraker.warnings() == ""

            await until("the warning is gone", quiet, DEADLINE_S)
    finally:
        await broker.kill()


async def test_a_broker_that_is_not_there_is_a_warning(pip_source: Path, tmp_path: Path) -> None:
    port = free_port()
    async with Moonraker(pip_source, tmp_path / "data", section(port)) as moonraker:

        async def warned() -> bool:
            return f"cannot reach its broker 127.0.0.1:{port}" in await moonraker.warnings()

        await until("the warning", warned, DEADLINE_S)
        assert (await moonraker.get(STATUS))["broker"]["connected"] is False
