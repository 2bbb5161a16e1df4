"""What made first.db: the tables of revision 0001, and rows of every table and every state.

Run as a program with the path of a new file. It writes literal rows in plain SQL, for the types
of the product go on changing. first.sql is the text of what first.db holds.
"""

from __future__ import annotations

import json
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from coordinator.store.migrations import run

Row = dict[str, Any]

REVISION = "0001"
HERE = Path(__file__).parent
FILE, TEXT = HERE / "first.db", HERE / "first.sql"

SHA = ("1a" * 32, "2b" * 32)

REPORT = {
    "session": "session-new", "sequence": 0, "klipper": {"link": "ready", "print_state": "printing",
    "filename": "moonfleet/a-started/cube.gcode"}, "attempts": [{"attempt": "a-started",
    "copy": "c-open-1", "job": "j-active", "phase": "printing"}],
    "refusals": [{"code": "printing", "text": "Klipper is printing"}],
    "bed": {"clear": False, "token": "bed-7"}, "profile": {"kinematics": "corexy",
    "model": "Voron 2.4", "size_max_mm": [350.0, 350.0, 340.0], "nozzle_mm": 0.4},
    "filament": {"material": "ASA", "color": "#222222"}, "machine": "cpu-1/data/mcu-1",
    "section": True,
}  # fmt: skip
ORDER = {
    "attempt": "a-started", "want": "run", "copy": "c-open-1", "job": "j-active",
    "session": "session-new", "fence_s": 120.0, "file": {"name": "cube.gcode",
    "url": "http://127.0.0.1:8008/api/v1/attempts/a-started/file", "sha256": SHA[0],
    "size_bytes": 321},
}  # fmt: skip

PRINTER: Row = {
    "name": "Printer", "generation": 0, "issued": None, "session": "", "pending_session": "",
    "pending_generation": 0, "superseded": "[]", "machine": "", "hold": "", "clone": 0,
    "maintenance": 0, "tags": "[]", "location": "", "printed_s": 0.0, "completed": 0, "failed": 0,
    "refused_in_row": 0, "report": None, "created_at": 1.7e9,
}  # fmt: skip
PRINTERS: list[Row] = [
    {
        "id": "voron", "name": "Voron, links", "generation": 41, "issued": json.dumps(ORDER),
        "session": "session-new", "superseded": '["session-old"]', "machine": "cpu-1/data/mcu-1",
        "tags": '["enclosed","asa"]', "location": "Keller", "printed_s": 86400.5, "completed": 17,
        "failed": 2, "report": json.dumps(REPORT),
    },
    {"id": "cloned", "hold": "two hosts claim to be this printer", "clone": 1, "generation": 3},
    {"id": "resting", "refused_in_row": 2, "pending_session": "s-next", "pending_generation": 9,
     "generation": 9},
    {"id": "serviced", "maintenance": 1},
    {"id": "assigned", "generation": 5},
    {"id": "lost", "generation": 6},
]  # fmt: skip

JOB: Row = {
    "title": "Würfel „20“", "file_sha256": SHA[0], "file_name": "cube.gcode",
    "file_title": "Cube.gcode", "file_size_bytes": 321, "copies": 1, "requirements": "{}",
    "policy": "{}", "lane": "standard", "priority": 0, "rank": 1.0, "deadline_at": None,
    "state": "active", "reason": "", "owner": "local", "tags": "[]", "estimated_s": None,
    "filament_mm": None, "created_at": 1.7e9, "finished_at": None, "reprint_of": "",
}  # fmt: skip
JOBS: list[Row] = [
    {
        "id": "j-active", "copies": 7, "priority": 5, "rank": -2.5, "deadline_at": 1.8e9,
        "requirements": json.dumps({"material": "ASA", "nozzle_mm": 0.4, "tags": ["enclosed"],
                                    "printers": ["voron", "lost"]}),
        "policy": json.dumps({"offline_grace_s": None, "fence": False, "retries": 1}),
        "tags": '["customer-12"]', "estimated_s": 3600.0, "filament_mm": 4321.5,
    },
    {"id": "j-held", "lane": "express", "state": "held", "reason": "a person wants to look"},
    {"id": "j-completed", "state": "completed", "finished_at": 1.70001e9, "file_sha256": SHA[1]},
    {"id": "j-cancelled", "state": "cancelled", "finished_at": 1.70002e9, "owner": "",
     "reprint_of": "j-completed"},
]  # fmt: skip

COPY: Row = {
    "job": "j-active", "state": "open", "reason": "", "failures": 0, "misses": 0, "front_at": None,
}  # fmt: skip
COPIES: list[Row] = [
    {"id": "c-open-1", "number": 1},
    {"id": "c-open-2", "number": 2, "failures": 1, "misses": 3, "front_at": 1.70003e9},
    {"id": "c-open-3", "number": 3},
    {"id": "c-open-4", "number": 4},
    {"id": "c-held", "number": 5, "state": "held", "reason": "nobody can say"},
    {"id": "c-done", "number": 6, "state": "done"},
    {"id": "c-dropped", "number": 7, "state": "dropped"},
    {"id": "c-held-job", "job": "j-held", "number": 1},
    {"id": "c-completed", "job": "j-completed", "number": 1, "state": "done"},
    {"id": "c-cancelled", "job": "j-cancelled", "number": 1, "state": "dropped"},
]

ATTEMPT: Row = {
    "job": "j-active", "session": "", "phase": None, "pause": "", "fenced": 0, "take_back": "",
    "why_back": "", "pause_wanted": 0, "resume": "", "outcome": "", "accepted": 0, "cause": "",
    "message": "", "restored": 0, "assigned_at": 1.70004e9, "armed_at": None, "started_at": None,
    "lost_at": None, "ended_at": None,
}  # fmt: skip
ENDED: Row = {"state": "ended", "phase": "ended", "ended_at": 1.70006e9, "printer": "voron"}
ATTEMPTS: list[Row] = [
    {"id": "a-assigned", "copy": "c-open-2", "printer": "assigned", "state": "assigned",
     "phase": "preparing"},
    {"id": "a-armed", "copy": "c-open-3", "printer": "resting", "state": "armed",
     "phase": "prepared", "session": "s-1", "armed_at": 1.70005e9, "take_back": "withdraw",
     "why_back": "the printer is held", "restored": 1},
    {"id": "a-started", "copy": "c-open-1", "printer": "voron", "state": "started",
     "phase": "paused", "session": "session-new", "pause": "pause-3", "fenced": 1,
     "pause_wanted": 1, "resume": "pause-3", "armed_at": 1.70005e9, "started_at": 1.70005e9},
    {"id": "a-lost", "copy": "c-open-4", "printer": "lost", "state": "lost", "phase": "printing",
     "started_at": 1.70005e9, "lost_at": 1.70006e9, "take_back": "withdraw"},
    {"id": "a-accepted", "copy": "c-done", "outcome": "complete", "accepted": 1, **ENDED},
    {"id": "a-surplus", "copy": "c-done", "outcome": "complete", **ENDED},
    {"id": "a-failed", "copy": "c-open-2", "outcome": "failed", "cause": "klipper_error",
     "message": "Heater extruder not heating: „Düse“ prüfen", **ENDED},
    {"id": "a-cancelled", "copy": "c-dropped", "outcome": "cancelled", "take_back": "cancel",
     **ENDED},
    {"id": "a-not-started", "copy": "c-open-1", "outcome": "not_started", "cause": "withdrawn",
     **ENDED},
    {"id": "a-unknown", "copy": "c-held", "outcome": "unknown", "cause": "host_forgot", **ENDED},
    {"id": "a-completed", "copy": "c-completed", "job": "j-completed", "outcome": "complete",
     "accepted": 1, **ENDED},
]  # fmt: skip

FILES: list[Row] = [
    {"sha256": SHA[0], "size_bytes": 321, "name": "cube.gcode", "title": "Cube.gcode",
     "metadata": '{"material":"ASA","nozzle_mm":0.4}', "analysis": '{"lines":12}',
     "created_at": 1.7e9},
    {"sha256": SHA[1], "size_bytes": 0, "name": "gone.gcode", "title": "gone.gcode",
     "metadata": None, "analysis": None, "created_at": 1.7e9},
]  # fmt: skip

LINE: Row = {
    "at": 1.70004e9, "who": "", "origin": "", "job": "", "copy": "", "attempt": "", "printer": "",
    "text": "",
}  # fmt: skip
HISTORY: list[Row] = [
    {"number": 1, "kind": "printer_added", "who": "local", "origin": "http 127.0.0.1 ab12",
     "printer": "voron"},
    {"number": 2, "kind": "job_submitted", "who": "local", "job": "j-active", "text": "7 copies"},
    {"number": 5, "kind": "attempt_started", "job": "j-active", "copy": "c-open-1",
     "attempt": "a-started", "printer": "voron"},
    {"number": 6, "kind": "host_runout", "who": "voron", "printer": "voron", "text": "leer"},
]  # fmt: skip

SETTINGS: list[Row] = [{"key": "example", "value": '{"kept":[1,2.5,"drei"]}'}]

ROWS: dict[str, list[Row]] = {
    "printers": [PRINTER | row for row in PRINTERS],
    "jobs": [JOB | row for row in JOBS],
    "copies": [COPY | row for row in COPIES],
    "attempts": [ATTEMPT | row for row in ATTEMPTS],
    "files": FILES,
    "history": [LINE | row for row in HISTORY],
    "settings": SETTINGS,
}


def make(path: Path) -> None:
    """Write the file anew, as a coordinator of that time leaves it when it ends."""
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("PRAGMA journal_mode=WAL")
    engine = sa.create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        run.upgrade(connection, REVISION)
    engine.dispose()
    with closing(sqlite3.connect(path)) as raw, raw:
        raw.execute("PRAGMA foreign_keys=ON")
        for table, rows in ROWS.items():
            for row in rows:
                marks = ", ".join("?" * len(row))
                columns = ", ".join(f'"{name}"' for name in row)
                raw.execute(f"INSERT INTO {table} ({columns}) VALUES ({marks})", [*row.values()])
        raw.execute("UPDATE reign SET term = 12")


def text_of(path: Path) -> str:
    """Everything in the file, as SQL."""
    with closing(sqlite3.connect(f"file:{path}?immutable=1", uri=True)) as raw:
        return "\n".join(raw.iterdump()) + "\n"


if __name__ == "__main__":
    make(Path(sys.argv[1]))
