"""A stand-in for Moonraker's server object with a trivially simulated Klipper behind it.

Runs the component's own agent.py with no Moonraker, so that a bench can hold hundreds of agents
in one process. Owns as much of Moonraker's API as the component uses, and a printer that accepts
starts and completes after `print_s`. Real stays: MQTT, HTTP, files, SQLite. It must not know the
coordinator.

    server = StubServer(folder, print_s=2.0)
    agent = make_agent(server, "p1", port=1883, username="p1", password="secret")
    await server.start(agent)       # Klipper becomes ready, the agent connects
    ...
    await server.stop(agent)
"""

from __future__ import annotations

import asyncio
import inspect
import os
import shutil
import sqlite3
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from moonraker_component.agent import Agent
from moonraker_component.options import Options

MISSING = object()
OBJECTS = (
    "webhooks",
    "print_stats",
    "virtual_sdcard",
    "pause_resume",
    "idle_timeout",
    "display_status",
    "gcode_move",
    "heaters",
    "extruder",
    "configfile",
    "toolhead",
)


class StubError(Exception):
    """Stands for Moonraker's ServerError."""

    def __init__(self, message: str, status_code: int = 400) -> None:
        super().__init__(message)
        self.status_code = status_code


class StubDatabase:
    """Moonraker's database as far as `register_table` and `queue_callback` go.

    `fail` makes every write raise, as a full disk does.
    """

    def __init__(self, path: Path | None) -> None:
        self.connection = sqlite3.connect(str(path) if path else ":memory:")
        self.fail = False

    def register_table(self, definition: Any) -> Any:
        self.connection.execute(f"CREATE TABLE IF NOT EXISTS {definition.prototype}")
        return SimpleNamespace(queue_callback=self.queue_callback)

    def queue_callback(self, act: Callable[[sqlite3.Connection], Any]) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        try:
            if self.fail:
                raise sqlite3.OperationalError("database or disk is full")
            future.set_result(act(self.connection))
        except sqlite3.Error as error:
            future.set_exception(error)
        return future


class StubFileManager:
    """`finalize_upload` moves the file, as Moonraker's does; metadata is empty."""

    def __init__(self, gcodes: Path) -> None:
        self.gcodes = gcodes
        self.uploads: list[str] = []

    def get_directory(self, root: str = "gcodes") -> str:
        return str(self.gcodes) if root == "gcodes" else ""

    def get_metadata_storage(self) -> dict[str, Any]:
        return {}

    async def finalize_upload(self, form: dict[str, Any]) -> dict[str, Any]:
        target = self.gcodes / form["path"] / form["filename"]
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(form["tmp_file_path"], target)
        self.uploads.append(str(target.relative_to(self.gcodes)))
        return {}


class StubKlipper:
    """Klipper and Moonraker's klippy_apis in one. `asked` lists every request by name.

    `section` gives it the product's Klipper section, with the bed always clear if `auto_clear`.
    `start_error`, when set, is what a start answers. `hang_starts` makes starts never answer.
    """

    def __init__(self, server: StubServer, print_s: float, section: bool, auto_clear: bool) -> None:
        self.server = server
        self.print_s = print_s
        self.section = section
        self.auto_clear = auto_clear
        self.asked: list[str] = []
        self.started_s: dict[str, float] = {}
        self.start_error = ""
        self.hang_starts = False
        self.transport: Any = None
        self._end: asyncio.TimerHandle | None = None
        self.status: dict[str, dict[str, Any]] = {
            "webhooks": {"state": "ready", "state_message": "Printer is ready"},
            "print_stats": {"state": "standby", "filename": "", "message": "", "info": {}},
            "virtual_sdcard": {"progress": 0.0, "is_active": False},
            "pause_resume": {"is_paused": False},
            "idle_timeout": {"state": "Idle"},
            "display_status": {"progress": 0.0},
            "gcode_move": {"gcode_position": [0.0, 0.0, 0.0, 0.0]},
            "heaters": {"available_sensors": ["extruder"]},
            "extruder": {"temperature": 21.0, "target": 0.0},
            "configfile": {"settings": dict(SETTINGS)},
            "toolhead": {"axis_minimum": [0.0] * 4, "axis_maximum": [220.0, 220.0, 250.0, 0.0]},
        }
        if section:
            self.status["moonfleet"] = {
                "version": "1",
                "bed_clear": auto_clear,
                "bed_token": uuid.uuid4().hex[:16],
                "ejecting": False,
                "eject_error": "",
                "records": [],
                "fence": {},
            }

    # klippy_apis

    async def get_object_list(self) -> list[str]:
        return list(self.status)

    async def query_objects(self, objects: dict[str, Any]) -> dict[str, Any]:
        return {name: dict(self.status[name]) for name in objects if name in self.status}

    async def subscribe_from_transport(
        self, objects: dict[str, Any], transport: Any
    ) -> dict[str, Any]:
        self.transport = transport
        return await self.query_objects(objects)

    async def start_print(self, path: str) -> str:
        self.asked.append("start")
        await self._begin({"filename": path, "attempt": "", "copy": "", "job": ""})
        return "ok"

    async def pause_print(self) -> str:
        self.asked.append("pause")
        self.change(print_stats={"state": "paused"}, pause_resume={"is_paused": True})
        self._stop_timer()
        return "ok"

    async def resume_print(self) -> str:
        self.asked.append("resume")
        self.change(print_stats={"state": "printing"}, pause_resume={"is_paused": False})
        self._run_timer()
        return "ok"

    async def cancel_print(self) -> str:
        self.asked.append("cancel")
        self.finish("cancelled")
        return "ok"

    async def emergency_stop(self) -> str:
        self.asked.append("emergency_stop")
        return "ok"

    async def do_restart(self, gcode: str) -> str:
        self.asked.append(gcode)
        return "ok"

    async def _send_klippy_request(self, method: str, body: dict[str, Any]) -> Any:
        self.asked.append(method)
        ours = self.status.get("moonfleet")
        if ours is None:
            raise StubError(f"webhooks: No registered callback for path '{method}'")
        if method == "moonfleet/start":
            await self._begin(body)
        elif method == "moonfleet/clear":
            if body["token"] != ours["bed_token"]:
                raise StubError("moonfleet: refused: bed_token: not the current one")
            self.change(moonfleet={"bed_clear": True})
        return "ok"

    # the printer

    def change(self, **objects: dict[str, Any]) -> None:
        """Change status fields and tell the subscriber, as Klipper does a few times a second."""
        for name, fields in objects.items():
            self.status.setdefault(name, {}).update(fields)
        if self.transport is not None:
            self.transport.send_status({n: dict(f) for n, f in objects.items()}, 0.0)

    def finish(self, state: str) -> None:
        """End the print with this print_stats.state."""
        self._stop_timer()
        objects: dict[str, dict[str, Any]] = {
            "print_stats": {"state": state},
            "virtual_sdcard": {"is_active": False},
            "pause_resume": {"is_paused": False},
            "idle_timeout": {"state": "Idle"},
        }
        ours = self.status.get("moonfleet")
        if ours is not None and ours["records"]:
            last = {**ours["records"][-1], "state": "ended", "outcome": state}
            objects["moonfleet"] = {"records": [*ours["records"][:-1], last]}
            if self.auto_clear:
                objects["moonfleet"]["bed_clear"] = True
        self.change(**objects)

    async def _begin(self, body: dict[str, Any]) -> None:
        if self.hang_starts:
            await asyncio.Event().wait()
        if self.start_error:
            raise StubError(self.start_error)
        path = body["filename"]
        if not (Path(self.server.files.gcodes) / path).is_file():
            raise StubError(f"Unable to open file {path}")
        self.started_s[path] = time.monotonic()
        objects: dict[str, dict[str, Any]] = {
            "print_stats": {"state": "printing", "filename": path, "message": ""},
            "virtual_sdcard": {"is_active": True, "progress": 0.0},
            "idle_timeout": {"state": "Printing"},
        }
        ours = self.status.get("moonfleet")
        if ours is not None:
            record = {name: body.get(name, "") for name in ("attempt", "copy", "job", "filename")}
            record.update(state="started", outcome="", reason="")
            objects["moonfleet"] = {
                "bed_clear": False,
                "bed_token": uuid.uuid4().hex[:16],
                "records": [*ours["records"], record][-16:],
            }
        self.change(**objects)
        self._run_timer()

    def _run_timer(self) -> None:
        loop = asyncio.get_running_loop()
        self._end = loop.call_later(self.print_s, self.finish, "complete")

    def _stop_timer(self) -> None:
        if self._end is not None:
            self._end.cancel()
            self._end = None


SETTINGS: dict[str, Any] = {
    "printer": {"kinematics": "cartesian"},
    "extruder": {"nozzle_diameter": 0.4, "max_temp": 260.0},
    "heater_bed": {"max_temp": 110.0},
    "mcu": {"serial": "/dev/serial/by-id/usb-stub"},
}


class StubCursor:
    """What history_table.execute gives."""

    def __init__(self, row: dict[str, Any] | None) -> None:
        self._row = row

    async def fetchone(self) -> dict[str, Any] | None:
        return self._row


class StubHistory:
    """Moonraker's history: `statuses` by file path."""

    def __init__(self) -> None:
        self.statuses: dict[str, str] = {}
        self.history_table = self

    async def execute(self, sql: str, params: tuple[str, ...]) -> StubCursor:
        status = self.statuses.get(params[0])
        return StubCursor(None if status is None else {"status": status})


class StubServer:
    """Moonraker's server object, as far as the component asks it."""

    error = StubError

    def __init__(
        self,
        folder: Path,
        *,
        print_s: float = 1.0,
        section: bool = True,
        auto_clear: bool = True,
        database: Path | None = None,
    ) -> None:
        self.data_path = folder
        gcodes = folder / "gcodes"
        gcodes.mkdir(parents=True, exist_ok=True)
        self.warnings: dict[str, str] = {}
        self.endpoints: dict[str, Callable[[Any], Any]] = {}
        self.handlers: dict[str, list[Callable[..., Any]]] = {}
        self.files = StubFileManager(gcodes)
        self.database = StubDatabase(database)
        self.klipper = StubKlipper(self, print_s, section, auto_clear)
        self.history = StubHistory()
        self.components: dict[str, Any] = {
            "klippy_apis": self.klipper,
            "klippy_connection": SimpleNamespace(state_message="Printer is ready"),
            "file_manager": self.files,
            "database": self.database,
            "job_queue": SimpleNamespace(queue_state="ready"),
            "history": self.history,
        }

    def get_app_args(self) -> dict[str, Any]:
        return {"data_path": str(self.data_path)}

    def lookup_component(self, name: str, default: Any = MISSING) -> Any:
        found = self.components.get(name, default)
        if found is MISSING:
            raise StubError(f"Component ({name}) not found")
        return found

    def register_endpoint(
        self, path: str, methods: list[str], handler: Callable[[Any], Any], **_: Any
    ) -> None:
        self.endpoints[path] = handler

    def register_event_handler(self, event: str, handler: Callable[..., Any]) -> None:
        self.handlers.setdefault(event, []).append(handler)

    def add_warning(
        self, text: str, warn_id: str | None = None, log: bool = True, exc_info: Any = None
    ) -> str:
        self.warnings[warn_id or text] = text
        return warn_id or text

    def remove_warning(self, warn_id: str) -> None:
        self.warnings.pop(warn_id, None)

    async def send(self, event: str, *args: Any) -> None:
        """Send one of Moonraker's events, as Moonraker does."""
        for handler in self.handlers.get(event, []):
            result = handler(*args)
            if inspect.isawaitable(result):
                await result

    async def call(self, path: str, **args: Any) -> Any:
        """Call an endpoint."""
        request = SimpleNamespace(get_str=lambda name, default="": args.get(name, default))
        return await self.endpoints[path](request)

    async def start(self, agent: Agent) -> None:
        """Bring the agent up, then Klipper."""
        await agent.component_init()
        await self.send("server:klippy_ready")

    async def stop(self, agent: Agent) -> None:
        """End the agent as Moonraker does at its exit."""
        await agent.close()
        self.klipper._stop_timer()
        self.database.connection.close()


def make_agent(
    server: StubServer,
    printer_id: str,
    *,
    port: int,
    username: str = "",
    password: str = "",
    address: str = "127.0.0.1",
    prefix: str = "moonfleet/v1",
    cache_quota_mb: int = 1024,
    clock: Callable[[], float] | None = None,
) -> Agent:
    """The product's agent on a stub, with the options that matter to a bench."""
    options = Options(
        printer_id=printer_id,
        mqtt_address=address,
        mqtt_port=port,
        mqtt_username=username,
        mqtt_password=password,
        mqtt_tls=False,
        mqtt_tls_ca="",
        coordinator_url="",
        topic_prefix=prefix,
        material="PLA",
        color="black",
        model="stub",
        cache_quota_mb=cache_quota_mb,
        disk_reserve_mb=0,
    )
    if clock is None:
        return Agent(server, options, server.data_path)
    return Agent(server, options, server.data_path, clock)


def gcode_links(server: StubServer) -> list[str]:
    """Files of attempts that lie below the gcodes root."""
    root = server.files.gcodes
    return sorted(
        os.path.relpath(os.path.join(folder, name), root)
        for folder, _, names in os.walk(root)
        for name in names
    )
