"""`moonfleet restore`: all of a file is checked first, and no farm is lost by it."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import os
import re
import signal
import sqlite3
import stat
import tarfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from coordinator import data_folder
from coordinator.backup import restoring
from coordinator.backup.manifest import BackupError
from coordinator.store import schema
from coordinator.store.sql import SqlStore
from tests.store.build import url_of

from .folder import SMALL, WANTED, make_folder, moonfleet, stored, tree

Members = list[tuple[tarfile.TarInfo, bytes]]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A farm's folder, and the backup of it. No test changes either."""
    base = tmp_path_factory.mktemp("saved")
    folder, file = make_folder(base / "farm"), base / "farm.tar"
    ran = moonfleet("backup", file, "--data-dir", folder)
    assert ran.code == 0, ran.errors
    return folder, file


def dump(path: Path) -> list[str]:
    with closing(sqlite3.connect(f"file:{path}?immutable=1", uri=True)) as raw:
        return list(raw.iterdump())


def test_the_farm_that_comes_out_is_the_one_that_went_in(
    saved: tuple[Path, Path], tmp_path: Path
) -> None:
    folder, file = saved
    target = tmp_path / "deep" / "new"
    ran = moonfleet("restore", file, "--data-dir", target, "--json")
    assert ran.code == 0, ran.errors
    assert ran.json["kept"] is None
    before, found = tree(folder), tree(target)
    assert found.keys() == {"moonfleet.db", "moonfleet.toml", *SMALL, stored(WANTED)}
    for name in found.keys() - {"moonfleet.db"}:
        assert found[name] == before[name]
    assert dump(target / "moonfleet.db") == dump(folder / "moonfleet.db")
    assert os.listdir(target.parent) == ["new"]
    for path in [target, *target.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path

    async def opens() -> None:
        store = SqlStore(url_of(target / "moonfleet.db"))
        await store.open()
        assert [job.id for job in (await store.load()).jobs] == ["waits"]
        await store.close()

    asyncio.run(opens())


def test_an_empty_folder_is_taken_and_one_that_holds_anything_only_when_told(
    saved: tuple[Path, Path], tmp_path: Path
) -> None:
    target = tmp_path / "farm"
    target.mkdir()
    (target / "lock").touch()
    assert moonfleet("restore", saved[1], "--data-dir", target).code == 0
    assert os.listdir(tmp_path) == ["farm"]
    (target / "mine").write_text("since then")
    before = tree(target)
    ran = moonfleet("restore", saved[1], "--data-dir", target)
    assert (ran.code, "--replace" in ran.errors) == (1, True)
    assert {n: c for n, c in tree(target).items() if n != "lock"} == before
    ran = moonfleet("restore", saved[1], "--data-dir", target, "--replace", "--json")
    assert ran.code == 0, ran.errors
    kept = Path(ran.json["kept"])
    assert kept.parent == tmp_path
    assert {n: c for n, c in tree(kept).items() if n != "lock"} == before
    assert not (target / "mine").exists()


def test_a_folder_on_which_a_coordinator_runs_is_refused(
    saved: tuple[Path, Path], tmp_path: Path
) -> None:
    target = tmp_path / "farm"
    target.mkdir()
    with data_folder.locked(target):
        ran = moonfleet("restore", saved[1], "--data-dir", target, "--replace")
    assert ran.code == 1
    assert "another coordinator runs on this folder; stop it first" in ran.errors
    assert os.listdir(target) == ["lock"]


def test_a_link_to_the_data_folder_stays_one(saved: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "disk" / "farm").mkdir(parents=True)
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "disk" / "farm")
    assert moonfleet("restore", saved[1], "--data-dir", link).code == 0
    assert link.is_symlink()
    assert (link / "moonfleet.db").exists()


# ---- files that are none --------------------------------------------------------------------


def read(file: Path) -> Members:
    with tarfile.open(file) as tar:
        return [(info, (tar.extractfile(info) or io.BytesIO()).read()) for info in tar]


def write(file: Path, members: Members, form: int = tarfile.GNU_FORMAT) -> None:
    with tarfile.open(file, "w", format=form) as tar:
        for info, content in members:
            tar.addfile(info, io.BytesIO(content))


def plain(name: str, content: bytes = b"x") -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    return info, content


def of_type(kind: bytes, name: str = "trust/other") -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, "/etc/passwd"
    return info, b""


def first(member: tuple[tarfile.TarInfo, bytes]) -> Callable[[Members], Members]:
    return lambda members: [member, *members]


def without(name: str) -> Callable[[Members], Members]:
    return lambda members: [m for m in members if m[0].name != name]


def with_manifest(**changes: Any) -> Callable[[Members], Members]:
    def change(members: Members) -> Members:
        manifest = json.loads(members[-1][1]) | changes
        return [*members[:-1], plain("manifest.json", json.dumps(manifest).encode())]

    return change


def in_manifest(name: str) -> Callable[[Members], Members]:
    """A member that the manifest names rightly, but with a name that must not be."""

    def change(members: Members) -> Members:
        manifest = json.loads(members[-1][1])
        told = {"name": name, "size_bytes": 1, "sha256": hashlib.sha256(b"x").hexdigest()}
        manifest["members"].append(told)
        last = plain("manifest.json", json.dumps(manifest).encode())
        return [*members[:-1], plain(name), last]

    return change


def changed(name: str) -> Callable[[Members], Members]:
    def change(members: Members) -> Members:
        return [
            (info, content[:-1] + b"!") if info.name == name else (info, content)
            for info, content in members
        ]

    return change


HOSTILE: dict[str, tuple[Callable[[Members], Members], str]] = {
    "out of the folder": (in_manifest("../escaped"), "of this kind is not taken"),
    "out, in the middle": (in_manifest("trust/../../escaped"), "of this kind is not taken"),
    "absolute": (in_manifest("/etc/escaped"), "of this kind is not taken"),
    "hidden": (in_manifest(".ssh/authorized_keys"), "of this kind is not taken"),
    "a folder as file": (in_manifest("trust/"), "of this kind|a link or the like"),
    "deep": (in_manifest("a/b/c/d/e"), "of this kind is not taken"),
    "odd letters": (in_manifest("trust/a b"), "of this kind is not taken"),
    "symbolic link": (first(of_type(tarfile.SYMTYPE)), "a link or the like"),
    "hard link": (first(of_type(tarfile.LNKTYPE)), "a link or the like"),
    "device": (first(of_type(tarfile.CHRTYPE)), "a link or the like"),
    "pipe": (first(of_type(tarfile.FIFOTYPE)), "a link or the like"),
    "sparse": (first(of_type(tarfile.GNUTYPE_SPARSE)), "a link or the like"),
    "long name": (in_manifest("trust/" + "n" * 200), "a link or the like"),
    "twice": (first(plain("moonfleet.db")), "is there twice"),
    "not named": (first(plain("trust/more")), "not named in the manifest"),
    "not there": (without("trust/ca.key"), "named in the manifest, but not there"),
    "no database": (without("moonfleet.db"), "named in the manifest, but not there"),
    "no manifest": (without("manifest.json"), "no manifest.json at its end"),
    "changed key": (changed("trust/ca.key"), "'trust/ca.key' is damaged"),
    "changed database": (changed("moonfleet.db"), "'moonfleet.db' is damaged"),
    "changed G-code": (changed(stored(WANTED)), "is damaged"),
    "newer format": (with_manifest(format=2), "its format is 2, this Moonfleet reads up to 1"),
    "newer schema": (with_manifest(schema="9999"), f"version '9999'.*up to '{schema.HEAD}'"),
    "older schema told": (with_manifest(schema="0001"), "its manifest '0001'"),
    "no schema told": (with_manifest(schema=""), "tells no version of its database"),
    "not JSON": (lambda ms: [*ms[:-1], plain("manifest.json", b"{")], "manifest.json"),
    "not a manifest": (lambda ms: [*ms[:-1], plain("manifest.json", b"[]")], "manifest.json"),
}  # fmt: skip


def refused(file: Path, target: Path) -> str:
    """Restore over a farm that must stay as it is; returns what is said."""
    target.mkdir()
    (target / "mine").write_text("kept")
    before = {name: c for name, c in tree(target.parent).items() if name != "farm/lock"}
    with pytest.raises(BackupError) as error:
        restoring.restore(file, target, replace=True)
    after = {name: c for name, c in tree(target.parent).items() if name != "farm/lock"}
    assert after == before
    assert sorted(os.listdir(target.parent)) == sorted({file.name, target.name})
    assert str(file) in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("what", HOSTILE)
def test_a_file_that_is_not_right_changes_nothing(
    saved: tuple[Path, Path], tmp_path: Path, what: str
) -> None:
    change, text = HOSTILE[what]
    file = tmp_path / "hostile.tar"
    write(file, change(read(saved[1])))
    said = refused(file, tmp_path / "farm")
    assert re.search(text, said), said


def test_extensions_of_tar_are_refused(saved: tuple[Path, Path], tmp_path: Path) -> None:
    members = read(saved[1])
    members[0][0].pax_headers = {"path": "../escaped", "size": "9" * 12}
    file = tmp_path / "pax.tar"
    write(file, members, tarfile.PAX_FORMAT)
    assert "a link or the like" in refused(file, tmp_path / "farm")


@pytest.mark.parametrize("part", [0.0, 0.01, 0.5, 0.9, 0.99])
def test_a_file_that_was_cut_off_changes_nothing(
    saved: tuple[Path, Path], tmp_path: Path, part: float
) -> None:
    content = saved[1].read_bytes()
    ends = content.rindex(b"}") + 1  # what follows is padding
    file = tmp_path / "cut.tar"
    file.write_bytes(content[: int(ends * part)])
    assert "cut off" in refused(file, tmp_path / "farm")


def test_what_is_no_backup_is_told(tmp_path: Path) -> None:
    file = tmp_path / "x.tar"
    file.write_bytes(b"G28\n" * 10_000)
    assert "no backup of Moonfleet" in refused(file, tmp_path / "farm")


# ---- between the renames --------------------------------------------------------------------


def test_a_folder_that_cannot_take_the_name_brings_the_old_one_back(
    saved: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.rename

    def refuse(path: Path, target: Path) -> Path:
        if ".restoring-" in path.name:
            raise OSError(16, "Device or resource busy")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refuse)
    target = tmp_path / "farm"
    target.mkdir()
    (target / "mine").write_text("kept")
    with pytest.raises(BackupError, match=r"cannot be renamed \(Device or resource busy\)"):
        restoring.restore(saved[1], target, replace=True)
    assert os.listdir(tmp_path) == ["farm"]
    assert (target / "mine").read_text() == "kept"


DIE_BETWEEN = """
import os, signal
from pathlib import Path
rename = Path.rename
def die(path, target):
    if ".restoring-" in path.name:
        os.kill(os.getpid(), signal.SIGKILL)
    return rename(path, target)
Path.rename = die
"""


def test_a_restore_that_is_killed_between_the_renames_leaves_both_farms(
    saved: tuple[Path, Path], tmp_path: Path
) -> None:
    target = tmp_path / "farm"
    target.mkdir()
    (target / "mine").write_text("kept")
    ran = moonfleet("restore", saved[1], "--data-dir", target, "--replace", before=DIE_BETWEEN)
    assert ran.code == -signal.SIGKILL
    left = tree(tmp_path)
    assert [c for n, c in left.items() if n.endswith("/mine")] == [b"kept"]
    assert moonfleet("restore", saved[1], "--data-dir", target).code == 0
    assert (target / "moonfleet.db").exists()
