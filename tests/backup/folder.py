"""A data folder with everything that a farm leaves there, and the commands that work on it."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from msgspec.structs import replace

from coordinator.core.jobs import Copy, CopyState, JobFile, JobState
from coordinator.store.sql import SqlStore
from tests.store.build import farm, job, plan, url_of

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_S = 120.0

WANTED, FINISHED, NOBODYS = (f"G28 ; {name}\n".encode() * 900 for name in ("a", "b", "c"))
SMALL = {
    "broker/dynamic-security.json": '{"clients":[]}',
    "broker/secrets.json": '{"admin":"secret-of-the-broker"}',
    "trust/ca.key": "key of the farm",
    "trust/ca.pem": "certificate of the farm",
}
MADE_ANEW = ("lock", "intake/half.part", "broker/data/mosquitto.db", "broker/mosquitto.conf")


def sha256_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def stored(content: bytes) -> str:
    """Where this G-code lies in a data folder."""
    sha256 = sha256_of(content)
    return f"files/{sha256[:2]}/{sha256}.gcode"


def make_folder(folder: Path) -> Path:
    """A farm with one unfinished job and one that is finished."""
    folder.mkdir(mode=0o700)
    texts = {**SMALL, **dict.fromkeys(MADE_ANEW, "made anew"), "moonfleet.toml": "[farm]\n"}
    contents = {name: text.encode() for name, text in texts.items()}
    contents |= {stored(content): content for content in (WANTED, FINISHED, NOBODYS)}
    for name, content in contents.items():
        path = folder / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.write_bytes(content)
    asyncio.run(_fill(folder / "moonfleet.db"))
    return folder


async def _fill(path: Path) -> None:
    store = SqlStore(url_of(path))
    await store.open()
    term = await store.take_term()
    waits = replace(job("waits"), file=JobFile(sha256_of(WANTED), "a.gcode", "a.gcode", 1))
    done = replace(
        job("done", state=JobState.COMPLETED, finished_at=2.0),
        file=JobFile(sha256_of(FINISHED), "b.gcode", "b.gcode", 1),
    )
    rows = farm(printers=3, copies=0).printers.values()
    copy = Copy(id="c1", job="waits", number=1)
    over = Copy(id="c2", job="done", number=1, state=CopyState.DONE)
    await store.commit(term, plan(*rows, waits, done, copy, over))
    await store.close()


def tree(folder: Path) -> dict[str, bytes]:
    """All files below a folder by their names."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


class Ran(NamedTuple):
    code: int
    out: str
    errors: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def moonfleet(*arguments: object, before: str = "") -> Ran:
    """The command in a process of its own; `before`: Python that is run in it first."""
    program = f"{before}\nimport sys; from coordinator.cli.main import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE_S, check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    return Ran(done.returncode, done.stdout, done.stderr)
