"""Tables and lines for the terminal.

Owns how things are written out. Pure: values come in, text goes out.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

from coordinator.cli.client import Json
from coordinator.cli.output import harmless

SHORT_ID = 8


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns as wide as their widest cell; the last one is left ragged. No cell ends its row."""
    cells = [list(heads), *([harmless(cell, keep="") for cell in row] for row in rows)]
    widths = [max(len(row[n]) for row in cells) for n in range(len(heads))]
    lines = []
    for row in cells:
        padded = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)


def jobs_table(jobs: Iterable[Json]) -> str:
    heads = ("ID", "STATE", "COPIES", "LANE", "PRIO", "NEEDS", "TITLE")
    rows = [
        (
            job["id"][:SHORT_ID],
            job["state"],
            copies(job),
            job["lane"],
            str(job["priority"]),
            needs(job["requirements"]),
            job["title"],
        )
        for job in jobs
    ]
    return table(heads, rows) if rows else "no jobs"


def users_table(users: Iterable[Json]) -> str:
    heads = ("NAME", "ROLE", "SINCE", "")
    rows = [
        (u["name"], u["role"], date(u["created_at"]), "disabled" if u["disabled"] else "")
        for u in users
    ]
    return table(heads, rows)


def keys_table(keys: Iterable[Json]) -> str:
    heads = ("ID", "OF", "ROLE", "MADE", "EXPIRES", "LAST USED", "NAME")
    rows = [
        (
            key["id"],
            key["user"],
            key["role"],
            date(key["created_at"]),
            date(key["expires_at"]) or "never",
            date(key["used_at"]) or "never",
            key["name"],
        )
        for key in keys
    ]
    return table(heads, rows) if rows else "no keys"


def date(at: float | None) -> str:
    """A day, for people; empty for none."""
    return "" if at is None else time.strftime("%Y-%m-%d", time.localtime(at))


def printers_table(printers: Iterable[Json]) -> str:
    heads = ("PRINTER", "STATE", "PRINTS", "DONE", "LEFT", "EXTRUDER", "BED", "WHY")
    rows = [
        (
            p["id"],
            p["state"],
            _current(p),
            progress(p),
            duration(_telemetry(p).get("left_s")) if p["current"] else "",
            heat(p, "extruder"),
            heat(p, "heater_bed"),
            _why_idle(p),
        )
        for p in printers
    ]
    return table(heads, rows) if rows else "no printers; add one: moonfleet printer add NAME"


def job_lines(answer: Json) -> str:
    """Everything about one job."""
    job = answer["job"]
    state = f"{job['state']}: {job['reason']}" if job["reason"] else job["state"]
    lines = [
        f"{job['title']}  ({job['id']})",
        f"  state      {state}",
        f"  copies     {copies(job)}",
        f"  needs      {needs(job['requirements'])}",
        f"  queue      {job['lane']}, priority {job['priority']}",
        f"  silence    {_policy(job)}",
        "",
        table(
            ("COPY", "STATE", "PRINTER", "ATTEMPT"),
            [
                (str(c["number"]), c["state"], c["printer"], c["attempt"][:SHORT_ID])
                for c in answer["copies"]
            ],
        ),
    ]
    if answer["attempts"]:
        lines += ["", attempts_table(answer["attempts"])]
    return "\n".join(lines)


def attempts_table(attempts: Iterable[Json]) -> str:
    return table(
        ("ATTEMPT", "COPY", "PRINTER", "STATE", "OUTCOME", "CAUSE"),
        [
            (
                a["id"][:SHORT_ID],
                str(a["copy_number"]),
                a["printer"],
                a["phase"] or a["state"] if a["state"] != "ended" else "ended",
                a["outcome"],
                ": ".join(part for part in (a["cause"], a["message"]) if part),
            )
            for a in attempts
        ],
    )


def why_lines(answer: Json) -> str:
    """Why a job waits, printer by printer."""
    lines = [f"{answer['job']['title']}: {answer['summary']}"]
    if answer["placed"]:
        lines += ["", "placed:"]
        lines += [
            f"  copy {p['copy_number']} on {p['printer']}: {p['why']}" for p in answer["placed"]
        ]
    if answer["printers"]:
        rows = [(p["printer"], p["verdict"], _why(p)) for p in answer["printers"]]
        lines += ["", table(("PRINTER", "VERDICT", "BECAUSE"), rows)]
    return "\n".join(lines)


def copies(job: Json) -> str:
    """`1/3 done, 2 printing`: what is not zero."""
    counts = job["counts"]
    words = [f"{counts['done']}/{job['copies']} done"]
    words += [
        f"{counts[name]} {name}"
        for name in ("printing", "assigned", "waiting", "held", "dropped")
        if counts[name]
    ]
    return ", ".join(words)


def needs(requirements: Json) -> str:
    """The requirements that are set, short."""
    words = [requirements[name] for name in ("material", "color", "model", "kinematics")]
    if requirements["nozzle_mm"] is not None:
        words.append(f"{requirements['nozzle_mm']:g} mm")
    if requirements["max_mm"]:
        sides = zip(requirements["min_mm"], requirements["max_mm"], strict=False)
        words.append("x".join(f"{high - low:.0f}" for low, high in sides))
    words += [f"tag {tag}" for tag in requirements["tags"]]
    if requirements["printers"]:
        words.append("on " + "|".join(requirements["printers"]))
    return " ".join(word for word in words if word) or "nothing"


def progress(printer: Json) -> str:
    """Percent of the print under way, with layers where they are known."""
    told = _telemetry(printer)
    if not printer["current"] or told.get("progress") is None:
        return ""
    layers = f" {told['layer']}/{told['layers']}" if told.get("layers") else ""
    return f"{100 * told['progress']:.0f}%{layers}"


def heat(printer: Json, heater: str) -> str:
    """`205/210`: temperature and target."""
    found = _telemetry(printer).get("heaters", {}).get(heater)
    if found is None:
        return ""
    target = found.get("target_c")
    return f"{found['temperature_c']:.0f}" + (f"/{target:.0f}" if target else "")


def duration(seconds: float | None) -> str:
    """`1 h 05 m`, `4 m`, `30 s`; empty where it is not known."""
    if seconds is None:
        return ""
    minutes = int(seconds) // 60
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60:02d} m"
    return f"{minutes} m" if minutes else f"{int(seconds)} s"


def _current(printer: Json) -> str:
    current = printer["current"]
    if current:
        return f"{current['title']} #{current['copy_number']}"
    return str(printer["local_print"])


def _telemetry(printer: Json) -> dict[str, Any]:
    readings = printer.get("readings")
    found: dict[str, Any] = readings["telemetry"] if readings else {}
    return found


def _policy(job: Json) -> str:
    grace = job["offline_grace_s"]
    moves = "a started copy never moves" if grace == "never" else f"a copy moves after {grace:g} s"
    fence = ", fenced" if job["fence"] else ""
    return f"{moves}{fence}; {job['retries']} retries"


def _why(verdict: Json) -> str:
    reasons = "; ".join(reason["text"] or reason["code"] for reason in verdict["reasons"])
    score = verdict["score"]
    if score is None:
        return reasons
    parts = (
        f"score: volume {score['volume_mm3']:g} mm3, used {score['printed_s']:g} s, "
        f"{100 * score['failure_share']:.0f}% failed"
    )
    return f"{reasons} ({parts})" if reasons else parts


def _why_idle(printer: Json) -> str:
    """Why it does nothing; one that prints needs no reason for taking nothing else."""
    if printer["state"] in ("printing", "preparing"):
        return ""
    return "; ".join(reason["text"] or reason["code"] for reason in printer["reasons"])
