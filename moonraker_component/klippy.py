"""Watching Klipper by way of Moonraker: subscriptions, lives, the profile.

Owns the status as it stands and Klipper's link. Moonraker drops every subscription when Klipper
goes away and sends no event for a print that ended so, therefore this resubscribes in each life
and calls its listener for every change. What it must not know: attempts, MQTT.

Moonraker awaits handlers of klippy_ready before it goes on: none here waits for anything.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Callable, Optional

from .tasks import log_failure
from .view import LINKS, MOTION, SECTION, SWITCH, make_profile, mcu_names
from .wire import Link, Profile

RETRY_S = 2.0
TRIES_MAX = 150
"""Tries to subscribe in one life of Klipper; Moonraker's own timeout for one is 20 s."""

FIELDS: dict[str, Optional[list[str]]] = {
    "webhooks": None,
    "print_stats": None,
    "virtual_sdcard": ["progress", "file_position", "file_size", "is_active"],
    "pause_resume": ["is_paused"],
    "idle_timeout": ["state"],
    "display_status": ["progress"],
    "gcode_move": ["gcode_position"],
    SECTION: None,
}
SENSOR_FIELDS = ["filament_detected", "enabled"]
HEATER_FIELDS = ["temperature", "target"]


class Updates:
    """Stands where Moonraker wants an APITransport; gets every status update."""

    transport_type = None
    user_info = None
    ip_addr = None

    def __init__(self, take: Callable[[dict[str, Any]], None]) -> None:
        self._take = take

    def screen_rpc_request(self, api_def: Any, req_type: Any, args: Any) -> None:
        """Let everything pass, as Moonraker's own base class does."""

    def send_status(self, status: dict[str, Any], eventtime: float) -> None:
        """Called by Moonraker on the event loop, with what has changed."""
        self._take(status)


class Klippy:
    """Klipper as seen through Moonraker. `status`, `link`, `boot`... change only on the loop."""

    def __init__(self, server: Any, model: str, note_change: Callable[[], None]) -> None:
        self.status: dict[str, dict[str, Any]] = {}
        self.link = Link.DISCONNECTED
        self.message = "Klipper is not connected"
        self.boot = 0
        self.section = False
        self.profile = Profile(model=model)
        self.mcus: tuple[str, ...] = ()
        self._server = server
        self._model = model
        self._note_change = note_change
        self._updates = Updates(self._take)
        self._early: Optional[list[dict[str, Any]]] = None
        self._task: Optional[asyncio.Task[None]] = None
        for event, handler in (
            ("server:klippy_started", self._handle_started),
            ("server:klippy_ready", self._handle_ready),
            ("server:klippy_shutdown", self._handle_shutdown),
            ("server:klippy_disconnect", self._handle_disconnect),
        ):
            server.register_event_handler(event, handler)

    @property
    def queue_state(self) -> str:
        """State of Moonraker's own job queue, or empty."""
        queue = self._server.lookup_component("job_queue", None)
        return str(getattr(queue, "queue_state", ""))

    def metadata(self, path: str) -> dict[str, Any]:
        """Moonraker's metadata of a file below the gcodes root, or empty."""
        storage = self._server.lookup_component("file_manager").get_metadata_storage()
        found: dict[str, Any] = storage.get(path, None) or {}
        return found

    def close(self) -> None:
        """Stop trying to subscribe."""
        if self._task is not None:
            self._task.cancel()

    # ---- Moonraker's events ------------------------------------------------------------------

    def _handle_started(self, state: Any) -> None:
        name = str(getattr(state, "name", state)).lower()
        if name == "ready":
            return  # klippy_ready follows
        self._set_link(LINKS.get(name, Link.STARTUP))
        if name == "shutdown":
            self._attach()  # its record still tells what became of a print

    def _handle_ready(self) -> None:
        self._attach()

    def _handle_shutdown(self) -> None:
        self._set_link(Link.SHUTDOWN)

    def _handle_disconnect(self) -> None:
        self.close()
        # What the section had on disk stays true; all else died with this life of Klipper.
        self.status = {k: v for k, v in self.status.items() if k == SECTION}
        self._set_link(Link.DISCONNECTED, "Klipper is not connected to Moonraker")

    def _set_link(self, link: Link, message: str = "") -> None:
        connection = self._server.lookup_component("klippy_connection", None)
        self.link = link
        self.message = message or str(getattr(connection, "state_message", ""))
        self._note_change()

    def _take(self, status: dict[str, Any]) -> None:
        if self._early is not None:
            self._early.append(status)
            return
        self._merge(status)
        self._note_change()

    def _merge(self, status: dict[str, Any]) -> None:
        for name, fields in status.items():
            self.status.setdefault(name, {}).update(fields)
        hooks = status.get("webhooks", {})
        if "state_message" in hooks:
            self.message = str(hooks["state_message"])
        if "state" in hooks:
            self.link = LINKS.get(str(hooks["state"]), Link.ERROR)

    # ---- subscribing -------------------------------------------------------------------------

    def _attach(self) -> None:
        self.close()
        self._task = asyncio.get_running_loop().create_task(self._subscribe())
        self._task.add_done_callback(log_failure)

    async def _subscribe(self) -> None:
        for _ in range(TRIES_MAX):
            try:
                await self._subscribe_once()
                return
            except self._server.error as error:
                logging.info("moonfleet: cannot subscribe to Klipper yet: %s", error)
                self._early = None
            await asyncio.sleep(RETRY_S)
        logging.warning("moonfleet: Klipper does not take the subscription, see the log above")

    async def _subscribe_once(self) -> None:
        apis = self._server.lookup_component("klippy_apis")
        present = await apis.get_object_list()
        settings = await apis.query_objects(
            {"configfile": ["settings"], "toolhead": ["axis_minimum", "axis_maximum"]}
        )
        wanted = await self._wanted(apis, present)
        # Updates may overtake the answer that they build upon: they wait for it.
        self._early = []
        status = await apis.subscribe_from_transport(wanted, self._updates)
        early, self._early = self._early, None
        self.status = {name: dict(fields) for name, fields in status.items()}
        self.section = SECTION in present
        config = settings.get("configfile", {}).get("settings", {})
        self.profile = make_profile(config, settings.get("toolhead", {}), self._model)
        self.mcus = mcu_names(config)
        self._merge(status)
        for update in early:
            self._merge(update)
        if self.link is Link.READY:
            self.boot += 1
        self._note_change()

    async def _wanted(self, apis: Any, present: list[str]) -> dict[str, Optional[list[str]]]:
        wanted = {name: fields for name, fields in FIELDS.items() if name in present}
        for name in present:
            if name.startswith((SWITCH, MOTION)):
                wanted[name] = SENSOR_FIELDS
        if "heaters" in present:
            heaters = (await apis.query_objects({"heaters": ["available_sensors"]}))["heaters"]
            for name in heaters.get("available_sensors") or ():
                wanted[name] = HEATER_FIELDS
        return wanted
