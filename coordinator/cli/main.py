"""The commands of `moonfleet`, their options, and the way from one to its exit code.

Owns the grammar. What a command does stands in commands.py, submit.py and watch.py.

Exit codes: 0 done, 1 refused or failed, 2 used wrongly, 3 no coordinator answers, 4 nothing of
this id, 5 a job that was waited for was held or cancelled, 6 not logged in or not allowed.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from coordinator.cli import commands, safekeeping
from coordinator.cli.client import DEFAULT_URL, EXIT_OK, Client, CliError
from coordinator.cli.keyring import key_for
from coordinator.cli.output import Output
from coordinator.cli.pairing import pair
from coordinator.cli.people_grammar import add_people
from coordinator.cli.submit import submit
from coordinator.cli.watch import watch

Run = Callable[[Client, argparse.Namespace, Output], None]

EXIT_INTERRUPTED = 130
LANES = ("express", "standard")
SORTS = ("queue", "created", "finished", "title")
OUTCOMES = ("complete", "failed", "not_started")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    args = parser().parse_args(arguments)
    output = Output(getattr(args, "json", False))
    url = getattr(args, "url", None) or os.environ.get("MOONFLEET_URL") or DEFAULT_URL
    run: Run = args.run
    try:
        ca = str(getattr(args, "ca", None) or os.environ.get("MOONFLEET_CA") or "")
        run(Client(url, key_for(url, getattr(args, "key_file", None)), ca), args, output)
    except CliError as error:
        return output.fail(error)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # Whoever reads has seen enough (head); Python must not complain when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return EXIT_OK


def parser() -> argparse.ArgumentParser:
    """The whole grammar."""
    shared = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    shared.add_argument("--json", action="store_true", help="write JSON for scripts")
    shared.add_argument("--url", help=f"the coordinator (else MOONFLEET_URL, else {DEFAULT_URL})")
    shared.add_argument(
        "--key-file", type=Path, metavar="FILE",
        help="holds the API key (else MOONFLEET_KEY, else that of `moonfleet login`)",
    )  # fmt: skip
    shared.add_argument(
        "--ca", type=Path, metavar="FILE",
        help="verifies the coordinator's certificate (else MOONFLEET_CA, else the system's CAs)",
    )  # fmt: skip
    top = argparse.ArgumentParser(
        prog="moonfleet", description="Many Klipper printers, one queue.", parents=[shared]
    )
    into = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, run: Run, text: str) -> argparse.ArgumentParser:
        made = into.add_parser(name, help=text, description=text, parents=[shared])
        made.set_defaults(run=run)
        return made

    _add_submit(add("submit", submit, "upload files and order copies of them"))
    _add_jobs(add("jobs", commands.list_jobs, "list jobs in the order of the queue"))
    for name, run, text in (
        ("job", commands.show_job, "show a job with its copies and attempts"),
        ("why", commands.why, "why a job waits, printer by printer"),
        ("pause", commands.act_on_job, "hold a job and pause what it prints"),
        ("resume", commands.act_on_job, "release a job and resume its paused prints"),
        ("cancel", commands.act_on_job, "end a job; what it prints is cancelled"),
        ("hold", commands.act_on_job, "start no further copy of a job"),
        ("release", commands.act_on_job, "let a held job go on"),
    ):
        add(name, run, text).add_argument(
            "id", metavar="ID", help="id of the job, or its beginning"
        )
    again = add("reprint", commands.reprint, "order a job once more")
    again.add_argument("id", metavar="ID")
    again.add_argument("--copies", type=int, help="default: as many as the job had")
    place = add("move", commands.move, "put a job right before another")
    place.add_argument("id", metavar="ID")
    place.add_argument("--before", metavar="ID", required=True)
    _add_change(add("change", commands.change, "change a job's priority or lane"))
    add("printers", commands.list_printers, "list printers, and why they are idle")
    _add_printer(into, shared)
    _add_pair(add("pair", pair, "make a code by which a host joins with its printers"))
    bed = add("clear", commands.clear, "say that a printer's bed is clear, and wait for it")
    bed.add_argument("printer", metavar="PRINTER")
    bed.add_argument("--timeout", type=float, default=15.0, metavar="SECONDS")
    for name, text in (
        ("maintenance", "take a printer out of service after its print"),
        ("service", "put a printer back into service"),
    ):
        add(name, commands.act_on_printer, text).add_argument("printer", metavar="PRINTER")
    seen = add("settle", commands.settle, "say how an attempt ended of which its host says nothing")
    seen.add_argument("attempt", metavar="ATTEMPT", help="id of the attempt, or its beginning")
    seen.add_argument("outcome", choices=OUTCOMES)
    live = add("watch", watch, "watch the farm, or one job to its end")
    live.add_argument("id", metavar="ID", nargs="?", default="")
    add("farm", commands.show_farm, "show the coordinator and its counts")
    add_people(into, shared)
    safekeeping.add_backup(
        add("backup", safekeeping.backup, "save the farm into one file, also while it runs")
    )
    safekeeping.add_restore(
        add("restore", safekeeping.restore, "make a data folder of a backup; stop the farm first")
    )
    return top


def _add_submit(made: argparse.ArgumentParser) -> None:
    made.add_argument("files", metavar="FILE", nargs="+", type=Path)
    made.add_argument("--copies", type=int, default=1)
    made.add_argument("--priority", type=int, default=0, help="-100 to 100, higher goes first")
    made.add_argument("--lane", choices=LANES, default="standard")
    made.add_argument("--material", help="default: as the file says; any: no matter")
    made.add_argument("--color")
    made.add_argument("--nozzle", metavar="MM", help="default: as the file says; any: no matter")
    made.add_argument("--model", help="the printer's model, where the file was sliced for one")
    made.add_argument("--kinematics")
    made.add_argument("--any-size", action="store_true", help="do not compare with the bed")
    made.add_argument("--any-temperatures", action="store_true", help="do not compare with limits")
    made.add_argument("--tag", action="append", default=[], help="a tag the printer must bear")
    made.add_argument("--printer", action="append", default=[], help="only this one; repeatable")
    made.add_argument("--job-tag", action="append", default=[], help="a tag of the job itself")
    made.add_argument(
        "--offline-grace", metavar="S|never", help="silence after which a started copy moves"
    )
    made.add_argument("--fence", action="store_true", help="a silent printer pauses by itself")
    made.add_argument("--retries", type=int)
    made.add_argument("--held", action="store_true", help="wait for a release")
    made.add_argument("--wait", action="store_true", help="until all copies are printed")


def _add_jobs(made: argparse.ArgumentParser) -> None:
    made.add_argument("--state", help="active, held, completed, cancelled; several by commas")
    made.add_argument("--all", action="store_true", help="finished ones too")
    made.add_argument("--material")
    made.add_argument("--printer")
    made.add_argument("--tag")
    made.add_argument("--owner")
    made.add_argument("--search", help="part of the title, or the beginning of the id")
    made.add_argument("--sort", choices=SORTS, default="queue")
    made.add_argument("--limit", type=int, default=100)


def _add_change(made: argparse.ArgumentParser) -> None:
    made.add_argument("id", metavar="ID")
    made.add_argument("--priority", type=int)
    made.add_argument("--lane", choices=LANES)


def _add_pair(made: argparse.ArgumentParser) -> None:
    made.add_argument(
        "printer", metavar="PRINTER", nargs="?", default="", help="only this one, new or known"
    )
    made.add_argument("--list", action="store_true", help="codes that were not used yet")
    made.add_argument("--cancel", metavar="CODE-ID", help="let a code be good for nothing")


def _add_printer(
    into: argparse._SubParsersAction[argparse.ArgumentParser], shared: argparse.ArgumentParser
) -> None:
    text = "add a printer, make new credentials or end them, hold or release it"
    made = into.add_parser("printer", help=text, description=text, parents=[shared])
    acts = made.add_subparsers(dest="act", required=True, metavar="ACT")

    def add(name: str, run: Run, text: str) -> argparse.ArgumentParser:
        act = acts.add_parser(name, help=text, description=text, parents=[shared])
        act.set_defaults(run=run)
        act.add_argument("id", metavar="NAME", help="1 to 64 of A-Z a-z 0-9 _ -")
        return act

    new = add("add", commands.add_printer, "add a printer and print its host's credentials")
    new.add_argument("--display-name", help="what people call it")
    new.add_argument("--tag", action="append", default=[])
    add("credentials", commands.new_credentials, "make new credentials; the old end")
    add("revoke", commands.revoke_printer, "end a printer's credentials and its connection")
    hold = add("hold", commands.hold_printer, "place nothing on a printer until it is released")
    hold.add_argument("--reason", required=True)
    add("release", commands.release_printer, "release a held printer")
