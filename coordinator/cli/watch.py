"""`moonfleet watch`: the farm live in the terminal, or as lines where there is no terminal.

Owns the client's side of the live feed: joining, losing and finding the coordinator again. What
is drawn follows from the state alone.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import sys
import time
from typing import Any

from coordinator.cli import tables
from coordinator.cli.client import Client, Json, NotDone
from coordinator.cli.output import Output, harmless

BACKOFF_FIRST_S = 0.5
BACKOFF_MAX_S = 8.0
JOBS_SHOWN = 20
HOME_AND_CLEAR = "\x1b[H\x1b[J"


class Feed:
    """What the live feed has told so far."""

    def __init__(self) -> None:
        self.farm: Json = {}
        self.jobs: dict[str, Json] = {}
        self.printers: dict[str, Json] = {}
        self.sequence = 0

    def take(self, message: Json) -> bool:
        """Take one message; False if one before it was missed, so that the feed starts anew."""
        if message["type"] == "snapshot":
            self.jobs, self.printers = {}, {}
        elif message["sequence"] != self.sequence + 1:
            return False
        self.sequence = message["sequence"]
        self.farm = message.get("farm") or self.farm
        self.jobs |= {job["id"]: job for job in message.get("jobs", [])}
        for printer in message.get("printers", []):
            known = self.printers.get(printer["id"], {}).get("readings")
            self.printers[printer["id"]] = printer | {"readings": known}
        for readings in message.get("readings", []):
            if readings["printer"] in self.printers:
                self.printers[readings["printer"]]["readings"] = readings
        return True


def watch(client: Client, args: argparse.Namespace, output: Output) -> None:
    """Watch until interrupted, or until the job that was named has ended."""
    job_id = client.job_id(args.id) if args.id else ""
    if job_id:
        client.get(f"/jobs/{job_id}")
    client.get("/farm")
    try:
        asyncio.run(_watch(client, job_id, output))
    except KeyboardInterrupt:
        return


async def _watch(client: Client, job_id: str, output: Output) -> None:
    from tornado.httpclient import HTTPRequest
    from tornado.websocket import WebSocketClosedError, websocket_connect

    live = sys.stdout.isatty() and not output.as_json
    feed, told = Feed(), Lines()
    backoff_s = BACKOFF_FIRST_S
    while True:
        address = client.url.replace("http", "ws", 1) + "/api/v1/live"
        try:
            request = HTTPRequest(
                address, headers=client.headers, connect_timeout=5, ca_certs=client.ca or None
            )
            connection = await websocket_connect(request)
        except Exception as error:  # refused, no route, no such host: all mean "not there"
            output.progress(f"no coordinator at {client.url} ({error}); trying again")
            await asyncio.sleep(backoff_s)
            backoff_s = min(2 * backoff_s, BACKOFF_MAX_S)
            continue
        backoff_s = BACKOFF_FIRST_S
        try:
            while await _take(connection, feed, output):
                if live:
                    _draw(feed, job_id)
                elif not output.as_json:
                    told.tell(feed, job_id)
                if job_id and _has_ended(feed.jobs.get(job_id)):
                    return
        except WebSocketClosedError:
            pass
        finally:
            connection.close()
        output.progress("connection lost; trying again")
        await asyncio.sleep(backoff_s)


async def _take(connection: Any, feed: Feed, output: Output) -> bool:
    """Wait for one message; False when the feed must be joined anew."""
    raw = await connection.read_message()
    if raw is None:
        return False
    message = json.loads(raw)
    output.json(message)
    return feed.take(message)


def _has_ended(job: Json | None) -> bool:
    """True when it is completed; raises NotDone when it is held or cancelled."""
    if job is None or job["state"] == "active":
        return False
    if job["state"] == "completed":
        return True
    raise NotDone(f"job {job['id']} is {job['state']}: {job['reason']}", {})


def _draw(feed: Feed, job_id: str) -> None:
    """The whole screen, from the state alone."""
    size = shutil.get_terminal_size()
    jobs = [j for j in feed.jobs.values() if not job_id or j["id"] == job_id]
    waiting = [j for j in jobs if j["finished_at"] is None]
    ended = sorted((j for j in jobs if j["finished_at"]), key=lambda j: -j["finished_at"])
    shown = (waiting + ended)[:JOBS_SHOWN]
    text = "\n".join(
        [
            _headline(feed),
            "",
            tables.printers_table(sorted(feed.printers.values(), key=lambda p: p["id"])),
            "",
            tables.jobs_table(shown),
        ]
    )
    lines = [line[: size.columns] for line in harmless(text).splitlines()[: size.lines - 1]]
    sys.stdout.write(HOME_AND_CLEAR + "\n".join(lines) + "\n")
    sys.stdout.flush()


def _headline(feed: Feed) -> str:
    farm = feed.farm
    connected = "" if farm["connected"] else "  NOT CONNECTED TO ITS BROKER"
    return f"Moonfleet {farm['version']}  {time.strftime('%H:%M:%S')}{connected}"


class Lines:
    """For pipes and logs: one line whenever the standing of a job or printer changes."""

    def __init__(self) -> None:
        self._told: dict[str, str] = {}

    def tell(self, feed: Feed, job_id: str) -> None:
        for job in feed.jobs.values():
            if not job_id or job["id"] == job_id:
                self._say(f"job {job['id'][:8]} {job['title']}", _job_standing(job))
        for printer in feed.printers.values():
            current = printer["current"]
            if not job_id or (current and current["job"] == job_id):
                self._say(f"printer {printer['id']}", _printer_standing(printer))

    def _say(self, who: str, standing: str) -> None:
        if self._told.get(who) != standing:
            self._told[who] = standing
            line = harmless(f"{who}: {standing}", keep="")
            print(f"{time.strftime('%H:%M:%S')}  {line}", flush=True)


def _job_standing(job: Json) -> str:
    return f"{job['state']}, {tables.copies(job)}"


def _printer_standing(printer: Json) -> str:
    """State and what it prints, with progress in steps of ten percent."""
    current = printer["current"]
    if not current:
        return str(printer["state"])
    told = (printer["readings"] or {}).get("telemetry", {}).get("progress")
    percent = "" if told is None else f" {int(told * 10) * 10}%"
    return f"{printer['state']} {current['title']} #{current['copy_number']}{percent}"
