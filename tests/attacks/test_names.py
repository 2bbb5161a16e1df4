"""Names that travel: none of them becomes a path, at either end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from coordinator.files.names import is_host_name
from moonraker_component import wire
from moonraker_component.files import HostFiles
from moonraker_component.wire import WireError
from tests.http.house import GCODE, House, told
from tests.wire.vectors import SHA

TILE = (GCODE / "tile_pla.gcode").read_bytes()
HOSTILE = [
    "../../etc/cron.d/x", "..", ".", "", "/etc/passwd", "..\\..\\x", "a/b", "a\\b", "C:\\x", "~/x",
    "x\x00y", "x\ny", "%2e%2e%2fx", "....//x", "\u2025/x", "a\u202eb", "-rf", ".hidden", "con",
    "x" * 500, "$(id)", "`id`", "<script>", "';--", "{{7*7}}", "\u212b", "..%c0%af..",
]  # fmt: skip


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with House(tmp_path) as house:
        yield house


def tree(folder: Path) -> set[str]:
    """Every file that is not the database or a stored content."""
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {str(p) for p in found if p.suffix != ".gcode" and not p.name.startswith("moonfleet")}


async def test_no_name_of_an_upload_reaches_a_disk(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    async with House(tmp_path / "data") as house:
        before = tree(tmp_path)
        for number, hostile in enumerate(HOSTILE):
            content = TILE + b"; %d\n" % number
            for answer in await uploaded(house, f"{hostile}.gcode", content):
                file = answer.get("file")
                assert file is None or is_host_name(file["name"]), hostile
        assert tree(tmp_path) == before


async def uploaded(house: House, name: str, content: bytes) -> list[dict[str, Any]]:
    """The answers to three ways of naming a file."""
    plain = name.encode("ascii", "ignore").decode()
    plain = "".join(letter for letter in plain if letter.isprintable() and letter not in '"\\')
    form = (
        f'--b\r\nContent-Disposition: form-data; name="file"; filename="{plain}"\r\n\r\n'.encode()
        + content
        + b"\r\n--b--\r\n"
    )
    kind = {"Content_Type": "multipart/form-data; boundary=b"}
    named = {"Content_Disposition": f'attachment; filename="{plain}"'}
    answers = [
        await house.ask("POST", f"/files?name={quote(name)}", content),
        await house.ask("POST", "/files", form, **kind),
        await house.ask("POST", "/files", content, **named),
    ]
    assert {answer.code for answer in answers} <= {200, 201, 400}, name
    return [json.loads(answer.body) for answer in answers]


async def test_no_id_and_no_title_is_a_path(house: House) -> None:
    host = await house.add_host("one")
    for hostile in HOSTILE:
        if not wire.PRINTER_ID.match(hostile):
            told(await house.ask("POST", "/printers", {"id": hostile}), 400)
    sha256 = await house.upload()
    for hostile in HOSTILE:
        answer = await house.ask("POST", "/jobs", {"file": sha256, "name": hostile})
        assert answer.code in (201, 400), hostile
    async with asyncio.timeout(60):
        while not host.link:  # noqa: ASYNC110  # nothing tells when
            await asyncio.sleep(0.01)
    issued = house.engine.farm.printers["one"].issued
    assert issued is not None
    assert is_host_name(issued.file.name)


@pytest.mark.parametrize(
    "path",
    [
        "/static/../../setup.cfg", "/static/..%2f..%2fsetup.cfg", "/static/%2e%2e/%2e%2e/setup.cfg",
        "/static//etc/passwd", "/static/%2fetc%2fpasswd", "/static/..\\..\\setup.cfg", "/static/.",
        "/static/" + "x" * 5000, "/static/farm.js/../../templates/farm.html",
        "/static/%00", "/static/farm.css%00.js",
        "/../../../../etc/passwd", "//etc/passwd", "/api/v1/../../setup.cfg",
        "/api/v1/files/..%2f..%2f/content", "/api/v1/files/../../setup.cfg",
        "/api/v1/attempts/..%2f..%2fx/file", f"/api/v1/files/{SHA}/thumbnails/../../x",
    ],
)  # fmt: skip
async def test_no_path_of_a_request_leaves_the_folder(house: House, path: str) -> None:
    """Sent as it stands: clients tidy up what they are given."""
    reader, writer = await asyncio.open_connection("127.0.0.1", house.port)
    head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
    writer.write(f"{head}Authorization: Bearer {house.key}\r\n\r\n".encode())
    async with asyncio.timeout(60):
        answer = await reader.read()
    writer.close()
    status = int(answer.split()[1])
    assert status in (400, 403, 404), answer[:200]
    assert b"[metadata]" not in answer
    assert b"root:" not in answer


def desired(**changes: Any) -> bytes:
    """A desired with some names of its order replaced."""
    file = {"name": "part.gcode", "sha256": SHA, "size_bytes": 1, "url": "http://x/"}
    order = {"attempt": "attempt-0001", "copy": "c", "job": "j", "want": "prepare"}
    file |= {name: value for name, value in changes.items() if name in file}
    order |= {name: value for name, value in changes.items() if name in order}
    return json.dumps({"term": 1, "generation": 1, "order": order | {"file": file}}).encode()


@pytest.mark.parametrize("hostile", HOSTILE)
def test_a_host_takes_no_desired_with_a_name_that_is_a_path(hostile: str) -> None:
    wire.decode(wire.Desired, desired())
    for field, allowed in (("attempt", wire.ATTEMPT_ID), ("name", wire.HOST_NAME)):
        if allowed.match(hostile) and not hostile.startswith("."):
            continue
        with pytest.raises(WireError):
            wire.decode(wire.Desired, desired(**{field: hostile}))
    for sha256 in (hostile, "../" + SHA[3:], SHA.upper(), SHA + "\n"):
        with pytest.raises(WireError):
            wire.decode(wire.Desired, desired(sha256=sha256))


async def test_a_host_removes_nothing_by_a_name_that_is_a_path(tmp_path: Path) -> None:
    gcodes = tmp_path / "gcodes"
    (gcodes / wire.FOLDER).mkdir(parents=True)
    (gcodes / "kept.gcode").write_text("G1\n")

    class Manager:
        def get_directory(self, _root: str) -> str:
            return str(gcodes)

    class Server:
        error = RuntimeError

        def lookup_component(self, _name: str) -> Manager:
            return Manager()

    files = HostFiles(Server(), tmp_path, 1, 0, "")
    for hostile in HOSTILE:
        await files.remove(hostile)
    files.close()
    assert (gcodes / "kept.gcode").exists()
    assert (gcodes / wire.FOLDER).is_dir()
