"""`moonfleet` and people: who is let in, where keys are kept, lost passwords."""

from __future__ import annotations

import asyncio
import json
import stat
from pathlib import Path

from tests.http.browser import log_in
from tests.http.house import ADMIN, PASSWORD, House, told

from .test_cli import Ran, start

OTHER = "a longer password"


async def typed(house: House, home: Path, *arguments: str, stdin: str = "", key: str = "") -> Ran:
    """Run a command whose user has `home`; what would be typed comes by stdin."""
    more = {"XDG_CONFIG_HOME": str(home), "MOONFLEET_KEY": key}
    process = await start(house.url, *arguments, stdin=asyncio.subprocess.PIPE, **more)
    async with asyncio.timeout(60):
        out, errors = await process.communicate(stdin.encode())
    assert process.returncode is not None
    return Ran(process.returncode, out.decode(), errors.decode())


async def test_logging_in_keeps_a_key_for_this_address_alone(house: House, tmp_path: Path) -> None:
    home = tmp_path / "home"
    nobody = await typed(house, home, "jobs")
    assert nobody.code == 6
    assert f"moonfleet login --url {house.url}" in nobody.errors
    wrong = await typed(house, home, "login", "--name", ADMIN, stdin="not the password\n")
    assert (wrong.code, "wrong" in wrong.errors) == (6, True)
    done = await typed(
        house, home, "login", "--name", "Admin", "--role", "viewer", "--key-name", "here",
        stdin=f"{PASSWORD}\n",
    )  # fmt: skip
    assert done.code == 0, done.errors
    kept = home / "moonfleet" / "keys.json"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert stat.S_IMODE(kept.parent.stat().st_mode) == 0o700
    key = json.loads(kept.read_text())[house.url]
    assert key not in done.out + done.errors
    assert PASSWORD not in kept.read_text()
    assert (await typed(house, home, "whoami")).out.startswith("admin: viewer, by the key here")
    refused = await typed(house, home, "printer", "add", "p1")
    assert refused.code == 6
    assert "needs the role admin" in refused.errors
    elsewhere = await typed(
        house, home, "jobs", "--url", house.url.replace("127.0.0.1", "localhost")
    )
    assert elsewhere.code == 6
    assert (await typed(house, home, "logout")).code == 0
    assert json.loads(kept.read_text()) == {}
    assert told(await house.ask("GET", "/me", Authorization=f"Bearer {key}"), 401)
    assert (await typed(house, home, "logout")).code == 1


async def test_a_session_of_the_command_line_does_not_stay(house: House, tmp_path: Path) -> None:
    await typed(house, tmp_path, "login", "--name", ADMIN, stdin=f"{PASSWORD}\n")
    kinds = [line["kind"] for line in (await house.get("/history"))["history"]]
    assert kinds[:3] == ["logout", "key_made", "login"]


async def test_a_key_comes_from_a_file_before_anything_else(house: House, tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(house.key + "\n")
    assert (await typed(house, tmp_path, "whoami", "--key-file", str(path), key="mf_no")).code == 0
    assert (await typed(house, tmp_path, "whoami", key="mf_no")).code == 6
    gone = await typed(house, tmp_path, "whoami", "--key-file", str(tmp_path / "none"))
    assert gone.code == 2


async def test_users_and_keys(house: House, tmp_path: Path) -> None:
    async def admin(*arguments: str, stdin: str = "") -> Ran:
        return await typed(house, tmp_path, *arguments, stdin=stdin, key=house.key)

    assert (await admin("users", "add", "bob", stdin=f"{OTHER}\n")).out == "bob: operator\n"
    short = await admin("users", "add", "eve", stdin="short\n")
    assert (short.code, "at least 10" in short.errors) == (1, True)
    assert (await admin("users", "role", "bob", "viewer")).out == "bob: viewer\n"
    assert (await admin("users", "disable", "bob")).out == "bob: viewer, disabled\n"
    assert (await admin("users", "enable", "bob")).out == "bob: viewer\n"
    assert "bob    viewer" in (await admin("users", "list")).out
    assert (await admin("users", "role", "admin", "viewer")).code == 1
    made = await admin("keys", "make", "slicer", "--role", "operator", "--days", "2")
    key = made.out.strip()
    assert (await typed(house, tmp_path, "whoami", key=key)).out.startswith("admin: operator")
    key_id = key.split("_")[1]
    assert (await admin("keys", "revoke", key_id)).code == 0
    assert key_id not in (await admin("keys", "list")).out
    assert (await admin("users", "remove", "bob")).code == 0


async def test_set_up_from_the_command_line(tmp_path: Path) -> None:
    async with House(tmp_path, is_set_up=False) as house:
        early = await typed(house, tmp_path, "jobs")
        assert (early.code, "moonfleet setup" in early.errors) == (6, True)
        done = await typed(house, tmp_path, "setup", "--name", "ann", stdin=f"{PASSWORD}\n")
        assert done.code == 0, done.errors
        assert (await typed(house, tmp_path, "whoami")).out.startswith("ann: admin")
        again = await typed(house, tmp_path, "setup", "--name", "bob", stdin=f"{PASSWORD}\n")
        assert (again.code, "set-up is over" in again.errors) == (1, True)


async def test_a_lost_password_is_mended_in_the_data_folder(house: House, tmp_path: Path) -> None:
    """The coordinator runs meanwhile."""
    opened = await log_in(house, ADMIN, PASSWORD)
    reset = ("users", "reset-password")
    done = await typed(house, tmp_path, *reset, ADMIN, "--data-dir", str(tmp_path), stdin=OTHER)
    assert done.code == 0, done.errors
    told(await opened.ask("GET", "/me"), 401)
    assert (await house.ask("POST", "/login", {"name": ADMIN, "password": PASSWORD})).code == 401
    await log_in(house, ADMIN, OTHER)
    line = (await house.get("/history?kind=user_changed"))["history"][0]
    assert (line["who"], line["origin"], line["text"]) == (
        "owner",
        "data folder",
        "admin: password",
    )
    wrong = await typed(house, tmp_path, *reset, "bob", "--data-dir", str(tmp_path), stdin=OTHER)
    assert wrong.code == 4
    nowhere = tmp_path / "nowhere"
    assert (await typed(house, tmp_path, *reset, "a", "--data-dir", str(nowhere))).code == 2
    assert not nowhere.exists()
