"""A coordinator's process on a damaged database: it ends, says the way back, and that way works."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.engine.test_process import refused, served

from .folder import make_folder, moonfleet, tree


def test_it_ends_with_4_and_the_command_that_it_tells_brings_the_farm_back(tmp_path: Path) -> None:
    folder, file = make_folder(tmp_path / "farm"), tmp_path / "farm.tar"
    for name in ("broker", "trust"):
        shutil.rmtree(folder / name)  # texts that only stand for keys and accounts
    assert moonfleet("backup", file, "--data-dir", folder).code == 0
    path = folder / "moonfleet.db"
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    path.write_bytes(content)
    code, said = refused(folder, "server.port=0", "mqtt.port=0")
    assert code == 4
    assert f"database {path}: " in said
    told = f"moonfleet restore BACKUP --data-dir {folder} --replace"
    assert told in said
    assert tree(folder)["moonfleet.db"] == bytes(content), "nothing of it was changed"
    words = told.replace("BACKUP", str(file)).split()[1:]
    assert moonfleet(*words).code == 0
    with served(folder) as coordinator:
        coordinator.url()
