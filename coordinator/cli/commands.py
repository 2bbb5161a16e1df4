"""Commands that are one request each, and `clear`, which waits for what it asked for.

Owns which request a command makes and what it says afterwards.
"""

from __future__ import annotations

import argparse
import time

from coordinator.cli import tables
from coordinator.cli.client import Client, Json, Refused, Usage
from coordinator.cli.output import Output

POLL_S = 0.25


def list_jobs(client: Client, args: argparse.Namespace, output: Output) -> None:
    state = args.state or ("" if args.all else "active,held")
    jobs = list(
        client.pages(
            "/jobs",
            "jobs",
            args.limit,
            state=state,
            material=args.material,
            printer=args.printer,
            tag=args.tag,
            owner=args.owner,
            search=args.search,
            sort=args.sort,
        )
    )
    output.show(tables.jobs_table(jobs), {"ok": True, "jobs": jobs})


def show_job(client: Client, args: argparse.Namespace, output: Output) -> None:
    answer = client.get(f"/jobs/{client.job_id(args.id)}")
    output.show(tables.job_lines(answer), answer)


def why(client: Client, args: argparse.Namespace, output: Output) -> None:
    answer = client.get(f"/jobs/{client.job_id(args.id)}/why")
    output.show(tables.why_lines(answer), answer)


def act_on_job(client: Client, args: argparse.Namespace, output: Output) -> None:
    """pause, resume, cancel, hold, release."""
    _say_job(output, client.post(f"/jobs/{client.job_id(args.id)}/{args.command}"))


def reprint(client: Client, args: argparse.Namespace, output: Output) -> None:
    body: Json = {} if args.copies is None else {"copies": args.copies}
    _say_job(output, client.post(f"/jobs/{client.job_id(args.id)}/reprint", body))


def move(client: Client, args: argparse.Namespace, output: Output) -> None:
    body = {"before": client.job_id(args.before)}
    _say_job(output, client.post(f"/jobs/{client.job_id(args.id)}/move", body))


def change(client: Client, args: argparse.Namespace, output: Output) -> None:
    wanted = {name: getattr(args, name) for name in ("priority", "lane")}
    body = {name: value for name, value in wanted.items() if value is not None}
    if not body:
        raise Usage("change: give --priority or --lane")
    _say_job(output, client.patch(f"/jobs/{client.job_id(args.id)}", body))


def list_printers(client: Client, args: argparse.Namespace, output: Output) -> None:
    answer = client.get("/printers")
    output.show(tables.printers_table(answer["printers"]), answer)


def add_printer(client: Client, args: argparse.Namespace, output: Output) -> None:
    order = {"id": args.id, "name": args.display_name or args.id, "tags": args.tag}
    _say_credentials(output, client.post("/printers", order))


def new_credentials(client: Client, args: argparse.Namespace, output: Output) -> None:
    _say_credentials(output, client.post(f"/printers/{args.id}/credentials"))


def act_on_printer(client: Client, args: argparse.Namespace, output: Output) -> None:
    """maintenance and service."""
    _say_printer(output, client.post(f"/printers/{args.printer}/{args.command}"))


def hold_printer(client: Client, args: argparse.Namespace, output: Output) -> None:
    _say_printer(output, client.post(f"/printers/{args.id}/hold", {"reason": args.reason}))


def release_printer(client: Client, args: argparse.Namespace, output: Output) -> None:
    _say_printer(output, client.post(f"/printers/{args.id}/release"))


def revoke_printer(client: Client, args: argparse.Namespace, output: Output) -> None:
    answer = client.post(f"/printers/{args.id}/revoke")
    text = f"{args.id}: its host is out; `moonfleet pair {args.id}` lets it in again"
    output.show(text, answer)


def clear(client: Client, args: argparse.Namespace, output: Output) -> None:
    """Say that the bed is clear, and wait until the printer says so too."""
    path = f"/printers/{args.printer}"
    answer = client.get(path)
    bed = answer["printer"]["bed"]
    if bed is not None and bed["clear"]:
        output.show(f"{args.printer}: the bed is clear already", answer)
        return
    client.post(f"{path}/bed-clear", {"token": bed["token"]} if bed and bed["token"] else {})
    until_s = time.monotonic() + args.timeout
    while time.monotonic() < until_s:
        answer = client.get(path)
        if answer["printer"]["bed"]["clear"]:
            output.show(f"{args.printer}: the bed is clear", answer)
            return
        time.sleep(POLL_S)
    raise Refused(
        f"{args.printer}: it was told, but has not reported a clear bed within "
        f"{args.timeout:g} s; a printer that prints refuses it"
    )


def settle(client: Client, args: argparse.Namespace, output: Output) -> None:
    attempt_id = client.attempt_id(args.attempt)
    answer = client.post(f"/attempts/{attempt_id}/settle", {"outcome": args.outcome})
    output.show(tables.attempts_table([answer["attempt"]]), answer)


def show_farm(client: Client, args: argparse.Namespace, output: Output) -> None:
    answer = client.get("/farm")
    farm = answer["farm"]
    counts = ", ".join(f"{n} {state}" for state, n in farm["counts"]["printers"].items())
    connected = "connected" if farm["connected"] else "NOT connected to its broker"
    text = (
        f"Moonfleet {farm['version']} at {client.url}, term {farm['term']}, {connected}\n"
        f"printers: {counts or 'none'}\n"
        f"copies waiting: {farm['counts']['copies_waiting']}"
    )
    output.show(text, answer)


def _say_job(output: Output, answer: Json) -> None:
    job = answer["job"]
    output.show(f"{job['id']}  {job['title']}: {job['state']}, {tables.copies(job)}", answer)


def _say_printer(output: Output, answer: Json) -> None:
    printer = answer["printer"]
    output.show(f"{printer['id']}: {printer['state']}", answer)


def _say_credentials(output: Output, answer: Json) -> None:
    """As the host's moonfleet.conf takes it; the password is not told again."""
    told = answer["credentials"]
    broker = told["broker"]
    lines = [
        "# For moonfleet.conf on the printer's host. The password is shown this once.",
        "[moonfleet]",
        f"printer_id: {told['username']}",
        f"mqtt_address: {broker['host']}",
        f"mqtt_port: {broker['port']}",
        f"mqtt_username: {told['username']}",
        f"mqtt_password: {told['password']}",
    ]
    if broker["prefix"] not in ("", "moonfleet/v1"):
        lines.append(f"topic_prefix: {broker['prefix']}")
    if not broker["managed"]:
        lines.insert(1, "# Your own broker has to be given this account: see docs/mqtt.md.")
    output.show("\n".join(lines), answer)
