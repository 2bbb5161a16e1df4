"""`moonfleet pair`: a code for a new host, and what is to be typed there.

Owns the words around a code. What it is good for is the coordinator's.
"""

from __future__ import annotations

import argparse
import time

from coordinator.cli.client import Client, Json, Usage
from coordinator.cli.output import Output


def pair(client: Client, args: argparse.Namespace, output: Output) -> None:
    """Make a code, list those that live, or cancel one."""
    if sum(map(bool, (args.printer, args.list, args.cancel))) > 1:
        raise Usage("pair: give a PRINTER, --list or --cancel, not several")
    if args.list:
        answer = client.get("/pairings")
        output.show("\n".join(map(_line, answer["pairings"])) or "no unused codes", answer)
    elif args.cancel:
        output.show(f"{args.cancel}: cancelled", client.delete(f"/pairings/{args.cancel}"))
    else:
        answer = client.post("/pairings", {"printer": args.printer})
        output.show(_told(client.url, answer), answer)


def _told(url: str, answer: Json) -> str:
    """The code, and the command for the host."""
    pairing = answer["pairing"]
    what = f"printer {pairing['printer']}" if pairing["printer"] else "the printers of one new host"
    urls = answer["urls"]
    lines = [
        f"{answer['code']}   for {what}, once, until {_at(pairing['expires_at'])}",
        "",
        "On the printer's host, in Moonfleet's folder:",
        f"  ./install.sh host --coordinator {urls[0] if urls else url} --code {answer['code']}"
        + (f" --printer-id {pairing['printer']}" if pairing["printer"] else ""),
    ]
    if len(urls) > 1:
        lines += ["", "If the host does not know that name: " + " or ".join(urls[1:])]
    if not urls:
        lines += [
            "",
            "The network is closed: only a host on this machine can join. For others set",
            'network.address = "0.0.0.0" (docs/install.md) and make a new code.',
        ]
    return "\n".join(lines)


def _line(pairing: Json) -> str:
    what = pairing["printer"] or "new printers"
    until = _at(pairing["expires_at"])
    return f"{pairing['id']}  for {what}, until {until}, made by {pairing['who']}"


def _at(epoch_s: float) -> str:
    return time.strftime("%H:%M", time.localtime(epoch_s))
