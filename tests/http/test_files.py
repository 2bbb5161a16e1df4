"""Files over HTTP: both ways in, what is refused, ranges, and memory that stays bounded."""

from __future__ import annotations

import asyncio
import hashlib
import json
import shlex
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from coordinator.files.inspection import Inspection, Inspector, inspect_file

from .house import GCODE, House, eventually, told

TILE = GCODE / "tile_pla.gcode"
LARGE_BYTES = 500 * 1000 * 1000
RSS_GROWTH_MAX_BYTES = 64 * 1024 * 1024


class GlanceInspector(Inspector):
    """Reads the first lines only: what is tried here is the way of the bytes."""

    async def inspect(self, path: Path) -> Inspection:
        start = path.with_suffix(".start")
        with path.open("rb") as file:
            start.write_bytes(file.read(4096))
        try:
            return inspect_file(start)
        finally:
            start.unlink()


async def run(*command: str) -> str:
    """Run a program to its end; returns what it wrote."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return out.decode()


def rss_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


async def test_an_upload_is_stored_once_and_described(house: House) -> None:
    raw = TILE.read_bytes()
    answer = told(await house.ask("POST", "/files?name=a%20tile.gcode", raw), 201)
    file = answer["file"]
    assert answer["is_new"] is True
    assert file["sha256"] == hashlib.sha256(raw).hexdigest()
    assert (file["title"], file["name"]) == ("a tile.gcode", "a_tile.gcode")
    assert file["metadata"]["filament_types"] == ["PLA"]
    assert file["analysis"]["extents"]["max_x_mm"] > 0
    again = told(await house.ask("POST", "/files?name=other.gcode", raw), 200)
    assert (again["is_new"], again["file"]["title"]) == (False, "a tile.gcode")
    assert [f["sha256"] for f in (await house.get("/files"))["files"]] == [file["sha256"]]
    assert (await house.get("/files?search=lid"))["files"] == []
    assert (await house.get(f"/files/{file['sha256']}"))["file"] == file


async def test_curl_uploads_a_form(house: House) -> None:
    url = f"{house.url}/api/v1/files"
    key = ("-H", f"Authorization: Bearer {house.key}")
    form = ("-F", "print=false", "-F", f"file=@{TILE}")
    answer = json.loads(await run("curl", "-sS", *key, *form, url))
    assert answer["file"]["title"] == TILE.name
    assert answer["file"]["size_bytes"] == TILE.stat().st_size
    named = await run("curl", "-sS", *key, "-F", f"file=@{TILE}", "-F", "name=b.gcode", url)
    assert json.loads(named)["is_new"] is False
    disposition = 'Content-Disposition: attachment; filename="c.gcode"'
    raw = await run("curl", "-sS", *key, "-H", disposition, "--data-binary", f"@{TILE}", url)
    assert json.loads(raw)["ok"] is True


@pytest.mark.parametrize(
    ("name", "content", "status", "field", "words"),
    [
        ("a.gcode", b"", 400, "file", "empty"),
        ("a.gcode", b"G1 X1\n\0\1\2", 400, "file", "binary"),
        ("../a.gcode", b"G1 X1\n", 400, "name", "path"),
        ("a.stl", b"G1 X1\n", 400, "name", "G-code"),
        ("", b"G1 X1\n", 400, "name", "needs one"),
        ("a.gcode", b"; only a comment\n", 400, "file", "no G-code command"),
        ("a.gcode", b"<html>\n<p>\n<p>\n", 400, "file", "G-code"),
        ("a.gcode", b"G1 X1\n" * 2000, 413, "file", "larger"),
    ],
)
async def test_what_is_no_print_is_refused_and_not_kept(
    tmp_path: Path, name: str, content: bytes, status: int, field: str, words: str
) -> None:
    async with House(tmp_path, file_bytes_max=10_000) as house:
        answer = told(await house.ask("POST", f"/files?name={name}", content), status)
        assert answer["field"] == field
        assert words in answer["error"]
        assert (await house.get("/files"))["files"] == []
        assert house.content.used_bytes == 0
        assert list((tmp_path / "content" / "intake").iterdir()) == []


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"--x\r\nContent-Disposition: form-data; name=file; filename=a.gcode\r\n\r\nG1", "end"),
        (b"--x\r\nContent-Disposition: form-data; name=a\r\n\r\nG1\r\n--x--\r\n", "no file"),
        (b"nothing of a form", "form"),
    ],
)
async def test_a_broken_form_is_refused(house: House, body: bytes, words: str) -> None:
    kind = {"Content_Type": "multipart/form-data; boundary=x"}
    answer = told(await house.ask("POST", "/files", body, **kind), 400)
    assert words in answer["error"]


async def test_a_full_disk_is_told_as_507(tmp_path: Path) -> None:
    async with House(tmp_path, reserve_bytes=1 << 60) as house:
        answer = told(await house.ask("POST", "/files?name=a.gcode", b"G1 X1\n"), 507)
        assert "no room" in answer["error"]


async def test_an_upload_that_breaks_off_leaves_nothing(house: House, tmp_path: Path) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", house.port)
    writer.write(
        b"POST /api/v1/files?name=a.gcode HTTP/1.1\r\nHost: localhost\r\n"
        b"Authorization: Bearer " + house.key.encode() + b"\r\n"
        b"Content-Length: 1000000\r\n\r\nG1 X1\n"
    )
    await writer.drain()
    await eventually(lambda: house.content._intakes_open)
    writer.close()
    await eventually(lambda: not house.content._intakes_open)
    assert list((tmp_path / "content" / "intake").iterdir()) == []
    assert await reader.read() == b""


async def test_a_thumbnail_is_a_picture(house: House) -> None:
    sha256 = await house.upload("cube20_pla.gcode")
    file = (await house.get(f"/files/{sha256}"))["file"]
    for thumbnail in file["thumbnails"]:
        path = thumbnail["url"].removeprefix("/api/v1")
        picture = await house.ask("GET", path)
        assert picture.headers["Content-Type"] == "image/png"
        assert len(picture.body) == thumbnail["size_bytes"]
    told(await house.ask("GET", f"/files/{sha256}/thumbnails/99"), 404)


@pytest.mark.parametrize(
    ("asked", "status", "first", "last"),
    [
        ("bytes=0-9", 206, 0, 10), ("bytes=100-", 206, 100, None), ("bytes=-7", 206, -7, None),
        ("bytes=10-99999999", 206, 10, None), ("bytes=9-3", 200, 0, None),
        ("bytes=0-1,5-6", 200, 0, None), ("lines=1-2", 200, 0, None), ("bytes=-", 200, 0, None),
    ],
)  # fmt: skip
async def test_ranges(house: House, asked: str, status: int, first: int, last: int | None) -> None:
    raw, sha256 = TILE.read_bytes(), await house.upload()
    answer = await house.ask("GET", f"/files/{sha256}/content", Range=asked)
    assert answer.code == status
    assert answer.body == raw[first:last]
    assert answer.headers["ETag"] == f'"{sha256}"'
    if status == 206:
        start = first % len(raw)
        end = start + len(answer.body) - 1
        assert answer.headers["Content-Range"] == f"bytes {start}-{end}/{len(raw)}"


async def test_what_cannot_be_ranged_and_what_is_known(house: House) -> None:
    size_bytes, sha256 = TILE.stat().st_size, await house.upload()
    path = f"/files/{sha256}/content"
    past = await house.ask("GET", path, Range=f"bytes={size_bytes}-")
    assert (past.code, past.headers["Content-Range"]) == (416, f"bytes */{size_bytes}")
    known = await house.ask("GET", path, If_None_Match=f'"{sha256}"')
    assert (known.code, known.body) == (304, b"")
    other = await house.ask("GET", path, Range="bytes=5-", If_Range='"another"')
    assert (other.code, len(other.body)) == (200, size_bytes)
    head = await house.ask("HEAD", path)
    assert (head.headers["Content-Length"], head.body) == (str(size_bytes), b"")
    told(await house.ask("GET", f"/files/{'0' * 64}/content"), 404)


async def test_a_host_fetches_the_file_of_its_attempt(house: House) -> None:
    host = await house.add_host("one")
    job = await house.submit()
    await house.until_copies(job["id"], printing=1)
    assert house.engine.farm.live_on["one"] in host.link
    whole = await house.ask("GET", host.link)
    assert whole.body == TILE.read_bytes()
    assert whole.headers["ETag"] == f'"{job["file"]["sha256"]}"'
    rest = await house.ask("GET", host.link, Range="bytes=1000-")
    assert (rest.code, rest.body) == (206, TILE.read_bytes()[1000:])
    answer = told(await house.ask("DELETE", f"/files/{job['file']['sha256']}"), 409)
    assert "needs it" in answer["error"]


async def test_a_file_that_nobody_needs_can_be_forgotten(house: House) -> None:
    sha256 = await house.upload()
    told(await house.ask("DELETE", f"/files/{sha256}"), 200)
    told(await house.ask("DELETE", f"/files/{sha256}"), 404)
    assert house.content.used_bytes == 0
    assert await house.upload() == sha256


@pytest.fixture
async def glancing(tmp_path: Path) -> AsyncIterator[House]:
    async with House(tmp_path, GlanceInspector()) as house:
        yield house


@pytest.mark.slow
async def test_500_mb_pass_both_ways_in_bounded_memory(glancing: House, tmp_path: Path) -> None:
    large = tmp_path / "large.gcode"
    await run("sh", "-c", f"yes 'G1 X10 Y10 E1' | head -c {LARGE_BYTES} > {large}")
    highest = before = rss_bytes()

    async def watch() -> None:
        nonlocal highest
        while True:
            highest = max(highest, rss_bytes())
            await asyncio.sleep(0.02)

    watching = asyncio.create_task(watch())
    url = f"{glancing.url}/api/v1/files"
    curl = ("curl", "-sS", "-H", f"Authorization: Bearer {glancing.key}")
    answer = json.loads(await run(*curl, "-X", "POST", "-T", str(large), f"{url}?name=large.gcode"))
    sha256 = answer["file"]["sha256"]
    form = json.loads(await run(*curl, "-F", f"file=@{large}", url))
    assert form["file"]["sha256"] == sha256
    fetch = f"{shlex.join(curl)} {url}/{sha256}/content | sha256sum"
    back = await run("sh", "-c", fetch)
    watching.cancel()
    assert back.split()[0] == sha256
    assert answer["file"]["size_bytes"] == LARGE_BYTES
    assert highest - before < RSS_GROWTH_MAX_BYTES


async def test_who_added_and_removed_a_file_is_kept(house: House) -> None:
    sha256 = await house.upload()
    await house.upload()
    told(await house.ask("DELETE", f"/files/{sha256}"), 200)
    lines = (await house.get("/history?kind=file_added,file_removed"))["history"]
    assert [(line["kind"], line["who"], line["text"]) for line in lines] == [
        ("file_removed", "key:test", sha256),
        ("file_added", "key:test", f"tile_pla.gcode {sha256}"),
    ]
