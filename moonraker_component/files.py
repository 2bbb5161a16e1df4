"""Files of attempts on this host: fetched, handed to Moonraker's file manager, removed again.

Owns the folder moonfleet/ below the gcodes root, one folder per attempt, and the cache beside
that root. What it must not know: phases of attempts, MQTT, Klipper.

The file reaches the gcodes root as a second hard link of the cached one by way of
`finalize_upload`, Moonraker's own entrance: the move is a rename, so the link survives, inotify
sees a whole file appear, metadata is extracted and the user interfaces are told. A link made in
place would never be closed after writing, and Moonraker would wait for that for ever.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import urllib.parse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Optional

import msgspec

from . import wire
from .cache import Cache, TransferError
from .transfer import Download, Stopped
from .wire import FileRef

MEBIBYTE = 1024 * 1024
CACHE_FOLDER = "moonfleet_cache"
HANDOVER_MAX_S = 900.0
"""Longest that metadata extraction of one file may take, object processing included."""


class HostFiles:
    """Files of this host's attempts. All methods belong to the event loop.

    `coordinator_url`: how this host reaches the coordinator; empty: as the orders say.
    """

    def __init__(
        self,
        server: Any,
        data_path: Path,
        quota_mb: int,
        reserve_mb: int,
        tls_ca: str,
        coordinator_url: str = "",
    ) -> None:
        self._server = server
        self._data_path = data_path
        self._quota_bytes = quota_mb * MEBIBYTE
        self._reserve_bytes = reserve_mb * MEBIBYTE
        self._tls_ca = tls_ca
        self._coordinator_url = coordinator_url
        # One thread: two downloads at once would each get half of the line, and both be late.
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="moonfleet-files")
        self._downloads: dict[str, Download] = {}
        self._cache: Optional[Cache] = None

    async def fetch(self, attempt: str, file: FileRef, keep: frozenset[str]) -> None:
        """Have the verified file where Klipper and Moonraker look for this attempt.

        `keep`: sha256 of files that must not be evicted. Raises TransferError or Stopped.
        """
        cache = await self._in_thread(self._open_cache)
        url = reached(self._coordinator_url, file.url)
        download = Download(cache, msgspec.structs.replace(file, url=url), self._tls_ca)
        self._downloads[attempt] = download
        try:
            await self._in_thread(download.run, keep)
            lent = await self._in_thread(cache.lend, file.sha256, attempt)
        finally:
            self._downloads.pop(attempt, None)
        await self._hand_over(lent, wire.host_path(attempt, file.name))

    def relink(self, attempt: str, url: str) -> None:
        """Let the download for this attempt, if there is one, go on from another URL."""
        download = self._downloads.get(attempt)
        if download is not None:
            download.relink(reached(self._coordinator_url, url))

    def stop(self, attempt: str) -> None:
        """End the download for this attempt, if there is one."""
        download = self._downloads.get(attempt)
        if download is not None:
            download.stop()

    async def remove(self, attempt: str) -> None:
        """Remove the attempt's folder; what is cached stays. Safe to call twice."""
        self.stop(attempt)
        folder = self._folder()
        if folder is not None and wire.ATTEMPT_ID.match(attempt):
            await self._in_thread(_remove_tree, folder / attempt)

    async def sweep(self, keep: frozenset[str]) -> None:
        """Remove the folders of all attempts but those in `keep`: what a lost database left."""
        folder = self._folder()
        if folder is not None:
            await self._in_thread(_sweep, folder, keep)

    async def disk(self) -> dict[str, int]:
        """Bytes used by the cache, its quota, and what is free before the reserve is touched."""
        cache = await self._in_thread(self._open_cache)
        used, free = await self._in_thread(lambda: (cache.used_bytes(), cache.free_bytes()))
        return {"used_bytes": used, "quota_bytes": cache.quota_bytes, "free_bytes": free}

    def close(self) -> None:
        """Stop all downloads; their threads end by themselves."""
        for download in self._downloads.values():
            download.stop()
        self._pool.shutdown(wait=False)

    # ---- inside ------------------------------------------------------------------------------

    async def _in_thread(self, act: Any, *args: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._pool, act, *args)

    def _gcodes(self) -> Optional[Path]:
        root = self._server.lookup_component("file_manager").get_directory("gcodes")
        return Path(root) if root else None

    def _folder(self) -> Optional[Path]:
        gcodes = self._gcodes()
        return None if gcodes is None else gcodes / wire.FOLDER

    def _open_cache(self) -> Cache:
        if self._cache is None:
            gcodes = self._gcodes()
            if gcodes is None:
                raise TransferError("file_manager", "Moonraker knows no gcodes folder yet")
            try:
                cache = Cache(
                    cache_folder(self._data_path, gcodes), self._quota_bytes, self._reserve_bytes
                )
                cache.prepare()
            except OSError as error:
                raise TransferError("disk", f"the cache folder: {error}") from error
            self._cache = cache
        return self._cache

    async def _hand_over(self, lent: Path, path: str) -> None:
        manager = self._server.lookup_component("file_manager")
        form = {"root": "gcodes", "filename": path.rpartition("/")[2], "print": "false"}
        form["path"] = path.rpartition("/")[0]
        form["tmp_file_path"] = str(lent)
        try:
            await asyncio.wait_for(manager.finalize_upload(form), HANDOVER_MAX_S)
        except asyncio.TimeoutError:
            raise TransferError(
                "file_manager", f"Moonraker did not take {path} in {HANDOVER_MAX_S:.0f} s"
            ) from None
        except self._server.error as error:
            raise TransferError("file_manager", f"Moonraker refused {path}: {error}") from error


def reached(coordinator_url: str, url: str) -> str:
    """An order's URL as this host reaches it: not all call the coordinator by the same name."""
    if not coordinator_url:
        return url
    try:
        parts = urllib.parse.urlsplit(url)
    except ValueError:
        return url  # refused by name when it is downloaded
    return coordinator_url + urllib.parse.urlunsplit(("", "", parts.path, parts.query, ""))


def cache_folder(data_path: Path, gcodes: Path) -> Path:
    """Where the cache lies: on the file system of the gcodes root, where no list shows it.

    Beside printer_data's other folders; where gcodes is a mount of its own, in a hidden folder
    of it. Files there have no extension, so that neither Klipper nor Moonraker takes them for
    G-code.
    """
    beside = data_path / CACHE_FOLDER
    if os.stat(data_path).st_dev == os.stat(gcodes).st_dev:
        return beside
    return gcodes / ("." + CACHE_FOLDER)


def _remove_tree(folder: Path) -> None:
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        return
    except OSError as error:
        # The next sweep tries again; nothing depends on it but space on the disk.
        logging.warning("moonfleet: %s could not be removed: %s", folder, error)


def _sweep(folder: Path, keep: frozenset[str]) -> None:
    try:
        found = [path for path in folder.iterdir() if path.is_dir()]
    except FileNotFoundError:
        return
    for path in found:
        if path.name not in keep and wire.ATTEMPT_ID.match(path.name):
            _remove_tree(path)


__all__ = ["CACHE_FOLDER", "HostFiles", "Stopped", "TransferError", "cache_folder", "reached"]
