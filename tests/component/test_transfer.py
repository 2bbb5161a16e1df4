"""Downloads over real HTTP: resumed, verified, bounded by disk and quota."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from moonraker_component import transfer
from moonraker_component.cache import Cache, TransferError
from moonraker_component.files import cache_folder
from moonraker_component.transfer import Download, Stopped
from moonraker_component.wire import FileRef
from tests.component.web import FileServer

MB = 1024 * 1024


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    cache = Cache(tmp_path / "cache", 100 * MB, 0)
    cache.prepare()
    return cache


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "BACKOFF_FIRST_S", 0.01)
    monkeypatch.setattr(transfer, "BACKOFF_MAX_S", 0.02)


def offer(web: FileServer, size: int, name: str = "a.gcode", seed: bytes = b"G1\n") -> FileRef:
    """Put a file on the server."""
    content = (seed * (size // len(seed) + 1))[:size]
    (web.behaviour.folder / name).write_bytes(content)
    return FileRef(name, hashlib.sha256(content).hexdigest(), size, web.url(name))


def test_a_whole_file_is_verified_and_kept(web: FileServer, cache: Cache) -> None:
    file = offer(web, 3 * MB + 7)
    Download(cache, file).run()
    assert cache.has(file.sha256)
    assert not cache.part(file.sha256).exists()


def test_a_cut_transfer_goes_on_where_it_ended(web: FileServer, cache: Cache) -> None:
    file = offer(web, 5 * MB)
    web.behaviour.cut_after_bytes = [2 * MB, MB]
    Download(cache, file).run()
    assert cache.has(file.sha256)
    first, second, third = web.behaviour.ranges
    assert first == ""
    begun = [int(wanted.removeprefix("bytes=").rstrip("-")) for wanted in (second, third)]
    assert 0 < begun[0] < begun[1] < 5 * MB


def test_a_part_of_an_earlier_life_is_taken_up(web: FileServer, cache: Cache) -> None:
    file = offer(web, 2 * MB)
    whole = (web.behaviour.folder / file.name).read_bytes()
    cache.part(file.sha256).write_bytes(whole[:MB])
    Download(cache, file).run()
    assert cache.has(file.sha256)
    assert web.behaviour.ranges == [f"bytes={MB}-"]


def test_a_rotten_part_costs_one_more_download(web: FileServer, cache: Cache) -> None:
    file = offer(web, 2 * MB)
    cache.part(file.sha256).write_bytes(b"x" * MB)
    Download(cache, file).run()
    assert cache.has(file.sha256)
    assert web.behaviour.ranges == [f"bytes={MB}-", ""]


def test_a_server_without_ranges_is_read_from_the_start(web: FileServer, cache: Cache) -> None:
    file = offer(web, 3 * MB)
    web.behaviour.cut_after_bytes = [MB]
    web.behaviour.ignore_ranges = True
    Download(cache, file).run()
    assert cache.has(file.sha256)


def test_another_content_is_refused_and_leaves_nothing(web: FileServer, cache: Cache) -> None:
    file = offer(web, MB)
    (web.behaviour.folder / file.name).write_bytes(b"y" * MB)
    with pytest.raises(TransferError, match="announced was") as error:
        Download(cache, file).run()
    assert error.value.cause == "checksum"
    assert list(cache.folder.iterdir()) == []


def test_more_bytes_than_announced_are_refused(web: FileServer, cache: Cache) -> None:
    file = offer(web, MB)
    longer = FileRef(file.name, file.sha256, MB - 1, file.url)
    with pytest.raises(TransferError, match="more than the announced") as error:
        Download(cache, longer).run()
    assert error.value.cause == "checksum"


@pytest.mark.parametrize(
    ("status", "cause"), [(403, "link_refused"), (404, "download"), (410, "link_refused")]
)
def test_a_final_answer_is_not_asked_for_twice(
    web: FileServer, cache: Cache, status: int, cause: str
) -> None:
    file = offer(web, MB)
    web.behaviour.statuses = [status]
    with pytest.raises(TransferError, match=f"HTTP {status}") as error:
        Download(cache, file).run()
    assert error.value.cause == cause
    assert "secret" not in error.value.message
    assert len(web.behaviour.ranges) == 1


def test_a_link_that_ends_meanwhile_is_followed_by_the_new_one(
    web: FileServer, cache: Cache
) -> None:
    file = offer(web, 3 * MB)
    download = Download(cache, file)

    def second_link_is_given() -> None:
        if len(web.behaviour.ranges) == 2:  # the first link ends while its answer is on the way
            web.behaviour.statuses = [410]
            download.relink(file.url + "&second")

    web.behaviour.cut_after_bytes = [MB]
    web.behaviour.on_ask = second_link_is_given
    download.run()
    assert cache.has(file.sha256)
    assert len(web.behaviour.ranges) == 3


def test_a_passing_trouble_passes(web: FileServer, cache: Cache) -> None:
    file = offer(web, MB)
    web.behaviour.statuses = [503, 500]
    Download(cache, file).run()
    assert cache.has(file.sha256)


def test_tries_are_bounded(web: FileServer, cache: Cache) -> None:
    file = offer(web, MB)
    web.behaviour.statuses = [503] * 100
    with pytest.raises(TransferError, match="503"):
        Download(cache, file).run()
    assert len(web.behaviour.ranges) == transfer.TRIES_MAX


def test_nobody_there_is_told_without_the_signature(cache: Cache) -> None:
    file = FileRef("a.gcode", "a" * 64, 10, "http://127.0.0.1:1/a.gcode?signature=secret")
    with pytest.raises(TransferError, match="refused") as error:
        Download(cache, file).run()
    assert "secret" not in error.value.message


@pytest.mark.parametrize("url", ["", "file:///etc/passwd", "ftp://127.0.0.1/a"])
def test_only_http_is_fetched(cache: Cache, url: str) -> None:
    with pytest.raises(TransferError, match="http or https") as error:
        Download(cache, FileRef("a.gcode", "a" * 64, 10, url)).run()
    assert error.value.cause == "bad_url"


def test_a_new_link_is_held_to_the_same(web: FileServer, cache: Cache) -> None:
    download = Download(cache, offer(web, MB))
    download.relink("http://192.0.2.1:8008/a.gcode?until=1&signature=x")
    with pytest.raises(TransferError) as failed:
        download.run()
    assert failed.value.cause == "bad_url"


def test_a_proxy_of_the_environment_is_not_told_the_link(
    web: FileServer, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    file = offer(web, MB)
    Download(cache, file).run()
    assert cache.has(file.sha256)


def test_stop_ends_a_download(web: FileServer, cache: Cache) -> None:
    file = offer(web, MB)
    web.behaviour.statuses = [503] * 1000
    download = Download(cache, file)
    ended: list[BaseException] = []

    def run() -> None:
        try:
            download.run()
        except Stopped as error:
            ended.append(error)

    thread = threading.Thread(target=run)
    download.stop()
    thread.start()
    thread.join(30)
    assert len(ended) == 1


def test_no_room_beside_the_reserve_is_a_full_disk(web: FileServer, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache", 100 * MB, 10**18)
    cache.prepare()
    with pytest.raises(TransferError, match="are free") as error:
        Download(cache, offer(web, MB)).run()
    assert error.value.cause == "disk_full"
    assert web.behaviour.ranges == []


def test_a_disk_that_fills_up_in_mid_transfer(web: FileServer, tmp_path: Path) -> None:
    """In a process of its own, whose files may not grow past half of what is needed."""
    file = offer(web, 4 * MB)
    code = f"""
import resource, signal, sys
from pathlib import Path
from moonraker_component.cache import Cache, TransferError
from moonraker_component.transfer import Download
from moonraker_component.wire import FileRef
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({2 * MB}, {2 * MB}))
cache = Cache(Path({str(tmp_path / "cache")!r}), {100 * MB}, 0)
cache.prepare()
try:
    Download(cache, FileRef({file.name!r}, {file.sha256!r}, {file.size_bytes}, {file.url!r})).run()
except TransferError as error:
    print(error.cause)
"""
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True
    )
    assert done.stdout.strip() == "disk_full"


# ---- the cache -------------------------------------------------------------------------------


def put(cache: Cache, name: str, size: int, used_ns: int) -> Path:
    path = cache.folder / (name * 64)[:64]
    path.write_bytes(b"x" * size)
    os.utime(path, ns=(used_ns, 1))
    return path


def test_the_longest_unused_goes_first_and_live_files_stay(cache: Cache) -> None:
    cache.quota_bytes = 10 * MB
    live = put(cache, "a", 4 * MB, 1)
    old = put(cache, "b", 4 * MB, 2)
    new = put(cache, "c", 1 * MB, 3)
    cache.make_room(3 * MB, frozenset({live.name}))
    assert live.exists()
    assert not old.exists()
    assert new.exists()


def test_a_file_larger_than_the_quota_is_taken_alone(cache: Cache) -> None:
    cache.quota_bytes = MB
    old = put(cache, "b", MB, 1)
    cache.make_room(5 * MB, frozenset())
    assert not old.exists()


def test_a_cached_file_that_was_rewritten_is_not_used(web: FileServer, cache: Cache) -> None:
    """Object processing may copy into the file, and so through the hard link."""
    file = offer(web, MB)
    Download(cache, file).run()
    lent = cache.lend(file.sha256, "attempt-0001")
    assert lent.stat().st_ino == (cache.folder / file.sha256).stat().st_ino
    lent.write_bytes(b"processed")
    Download(cache, file).run()
    assert cache.has(file.sha256)
    assert lent.read_bytes() == b"processed"
    assert len(web.behaviour.ranges) == 2


def test_where_links_fail_a_copy_is_lent(
    web: FileServer, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    file = offer(web, MB)
    Download(cache, file).run()
    monkeypatch.setattr(os, "link", refuse)
    lent = cache.lend(file.sha256, "attempt-0001")
    assert lent.stat().st_nlink == 1
    assert hashlib.sha256(lent.read_bytes()).hexdigest() == file.sha256


def test_links_left_by_a_killed_moonraker_are_dropped(cache: Cache) -> None:
    (cache.folder / "link-attempt-0001").write_bytes(b"x")
    cache.prepare()
    assert list(cache.folder.iterdir()) == []


def test_the_cache_lies_where_no_list_shows_it(tmp_path: Path) -> None:
    gcodes = tmp_path / "gcodes"
    gcodes.mkdir()
    assert cache_folder(tmp_path, gcodes) == tmp_path / "moonfleet_cache"
    elsewhere = Path("/dev/shm")
    if elsewhere.stat().st_dev != tmp_path.stat().st_dev:
        assert cache_folder(tmp_path, elsewhere) == elsewhere / ".moonfleet_cache"
