"""`moonfleet submit`: upload files, order copies, and wait for them if asked to.

Owns the translation of options into an order, and what waiting means.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from coordinator.cli.client import Client, CliError, Json, NotDone, Unreachable, Usage
from coordinator.cli.output import Output
from coordinator.cli.tables import SHORT_ID, copies

POLL_S = 1.0
AWAY_S = 120.0
"""How long a coordinator may be away (it restarts, say) while a job is waited for."""


def submit(client: Client, args: argparse.Namespace, output: Output) -> None:
    """Each file becomes a job; the first failure decides the exit code, the rest is still tried."""
    order = order_of(args)
    jobs: list[Json] = []
    failures: list[CliError] = []
    for path in args.files:
        try:
            jobs.append(_submit_one(client, path, order))
        except Unreachable:
            raise
        except CliError as error:
            if len(args.files) == 1:
                raise
            failures.append(error)
            output.progress(f"{path}: {error}")
            continue
        output.text(f"{jobs[-1]['id']}  {jobs[-1]['title']}: {copies(jobs[-1])}")
    if args.wait:
        jobs = [wait_for(client, job["id"], output) for job in jobs]
    output.json({"ok": not failures, "jobs": jobs})
    if failures:
        failures[0].answer = {}
        raise failures[0]


def order_of(args: argparse.Namespace) -> Json:
    """The fields of a JobOrder that were given; the rest is the coordinator's to fill."""
    order: Json = {"copies": args.copies, "priority": args.priority, "lane": args.lane}
    for name in ("material", "color", "model", "kinematics", "retries"):
        if getattr(args, name) is not None:
            order[name] = getattr(args, name)
    if args.nozzle is not None:
        order["nozzle_mm"] = _number_or_word(args.nozzle)
    if args.offline_grace is not None:
        order["offline_grace_s"] = _number_or_word(args.offline_grace)
    for name, flag in (("size", args.any_size), ("temperatures", args.any_temperatures)):
        if flag:
            order[name] = "any"
    for name in ("fence", "held"):
        if getattr(args, name):
            order[name] = True
    order |= {"tags": args.tag, "printers": args.printer, "job_tags": args.job_tag}
    return order


def wait_for(client: Client, job_id: str, output: Output) -> Json:
    """Poll until the job has ended; raises NotDone if it is held or cancelled."""
    told, answered_s = "", time.monotonic()
    while True:
        try:
            job: Json = client.get(f"/jobs/{job_id}")["job"]
        except Unreachable:
            if time.monotonic() - answered_s > AWAY_S:
                raise
            time.sleep(POLL_S)
            continue
        answered_s = time.monotonic()
        standing = f"{job['id'][:SHORT_ID]} {job['state']}: {copies(job)}"
        if standing != told:
            output.progress(standing)
            told = standing
        counts = job["counts"]
        moving = counts["waiting"] + counts["assigned"] + counts["printing"]
        if job["state"] == "completed":
            return job
        if job["state"] != "active" or not moving:
            reason = job["reason"] or "copies of it are held"
            raise NotDone(f"job {job['id']} is {job['state']}: {reason}", {"ok": False, "job": job})
        time.sleep(POLL_S)


def _submit_one(client: Client, path: Path, order: Json) -> Json:
    if path.is_dir():
        raise Usage(f"{path}: is a folder, a G-code file is needed")
    file = client.upload(path)
    job: Json = client.post("/jobs", order | {"file": file["sha256"], "name": path.name})["job"]
    return job


def _number_or_word(text: str) -> float | str:
    """What is no number is the coordinator's to refuse: it says what is allowed."""
    try:
        return float(text)
    except ValueError:
        return text
