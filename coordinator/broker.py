"""The embedded Mosquitto: a child process of the coordinator for farms without a broker.

Owns the process from start to end: its folder, its accounts' secrets, its restarts. What it is
told at its start is broker_config.py's, who may do what is broker_acl.py's. Knows nothing of
what travels over it.

**Its life is the coordinator's.** It gets SIGTERM when the coordinator dies, however that dies
(`setpriv --pdeathsig`), writes its retained messages and ends; the next coordinator starts its
own. A broker that outlived its coordinator would serve nobody (hosts act only on the
coordinator's echo) and would have to be taken over with unknown output and unknown exit; a
service manager would end it with the unit's control group anyway. Where setpriv is missing, or
the coordinator died in the instant between, a stale broker is found at the next start among
all processes by its configuration's path on its command line, and ended. There is no pid file:
it would be missing in exactly that instant.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import dataclasses
import json
import logging
import os
import secrets
import shutil
import signal
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from coordinator import broker_acl, broker_config
from coordinator.broker_config import BrokerPaths, Credentials, TlsListener
from coordinator.dynsec import Dynsec
from coordinator.dynsec_link import BrokerUnreachable, LoginRefused
from coordinator.private_file import write_private
from coordinator.stale import end_stale
from moonraker_component import wire

logger = logging.getLogger("moonfleet.broker")

HOST = "127.0.0.1"
START_TIMEOUT_S = 15.0
STOP_TIMEOUT_S = 10.0
POLL_S = 0.02
RESTART_FIRST_S = 0.2
RESTART_LONGEST_S = 30.0
# A run of this length was a good one: the next death is a first one again.
STEADY_S = 60.0
# By then the last waits were half a minute each.
RESTARTS_MAX = 20
_LOG_LINES_KEPT = 20
_LOG_LINE_BYTES_MAX = 256 * 1024


class BrokerFailed(Exception):
    """The embedded MQTT broker does not run."""


class Broker:
    """Run one Mosquitto in `folder` on 127.0.0.1, and behind TLS at its `door` if it has one.

    Port 0, of either, takes a free one at the first start and keeps it. `jitter` gives numbers
    in [0, 1) that spread restarts. `autosave_s` is how often retained messages go to disk.
    """

    def __init__(
        self,
        folder: Path,
        *,
        port: int = 0,
        jitter: Callable[[], float],
        prefix: str = wire.PREFIX,
        autosave_s: int = broker_config.AUTOSAVE_S,
        door: TlsListener | None = None,
    ) -> None:
        self._paths = BrokerPaths(folder.resolve())
        self._port = port
        self._jitter = jitter
        self._prefix = prefix
        self._autosave_s = autosave_s
        self._door = door
        self._process: asyncio.subprocess.Process | None = None
        self._log: asyncio.Task[None] | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._last_lines: collections.deque[str] = collections.deque(maxlen=_LOG_LINES_KEPT)
        self._passwords: dict[str, str] = {}
        self._one_admin = asyncio.Lock()

    @property
    def port(self) -> int:
        """The TCP port on 127.0.0.1; 0 before the first start if none was given."""
        return self._port

    @property
    def door_port(self) -> int:
        """The TCP port behind TLS; 0 without a door."""
        return 0 if self._door is None else self._door.port

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return None if self._process is None else self._process.pid

    @property
    def admin_credentials(self) -> Credentials:
        """The account that sets rights and can do nothing else."""
        return self._credentials(broker_acl.ADMIN_USERNAME)

    @property
    def coordinator_credentials(self) -> Credentials:
        """The account for the coordinator's own messages."""
        return self._credentials(broker_acl.COORDINATOR_USERNAME)

    @contextlib.asynccontextmanager
    async def rights(self) -> AsyncIterator[Dynsec]:
        """A way to the accounts: `async with broker.rights() as rights`.

        One at a time: there is one connection per account, and a second would end the first.
        """
        async with (
            self._one_admin,
            Dynsec(HOST, self._port, self.admin_credentials, prefix=self._prefix) as rights,
        ):
            yield rights

    async def start(self) -> None:
        """Start it and wait until it answers; raises BrokerFailed or BrokerMissing."""
        program, plugin = broker_config.find_program(), broker_config.find_plugin()
        await end_stale(("mosquitto", "-c", str(self._paths.config)), STOP_TIMEOUT_S)
        await asyncio.to_thread(self._write_files, plugin)
        try:
            await self._start_once(program)
        except BaseException:
            await self._end_process()
            raise
        self._keeper = asyncio.create_task(self._keep_running(program))

    async def stop(self) -> None:
        """End it with SIGTERM, which makes it write its retained messages first."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
            self._keeper = None
        await self._end_process()

    def load_certificate(self) -> None:
        """Let the door serve by what its files hold now; connections that stand are kept."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGHUP)

    async def failed(self) -> None:
        """Wait as long as it is kept running; raises BrokerFailed once that is given up."""
        if self._keeper is None:
            raise BrokerFailed("the broker was not started")
        await asyncio.shield(self._keeper)

    def _credentials(self, username: str) -> Credentials:
        if username not in self._passwords:
            raise BrokerFailed("the broker was not started: it has no accounts yet")
        return Credentials(username, self._passwords[username])

    def _write_files(self, plugin: str) -> None:
        """Prepare the folder for a start; no broker runs in it now."""
        paths = self._paths
        paths.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        paths.data.mkdir(mode=0o700, exist_ok=True)
        self._port = self._port or _free_port()
        if self._door is not None and not self._door.port:
            self._door = dataclasses.replace(self._door, port=_free_port())
        self._passwords = _load_secrets(paths.secrets)
        owners = {
            username: broker_config.hashed(
                password, broker_config.salt_from(secrets.token_bytes(16))
            )
            for username, password in self._passwords.items()
        }
        accounts = broker_config.accounts_file(_read_json(paths.accounts), self._prefix, owners)
        write_private(paths.accounts, json.dumps(accounts, indent=1).encode())
        text = broker_config.config_text(
            paths,
            port=self._port,
            plugin=plugin,
            autosave_s=self._autosave_s,
            is_root=os.geteuid() == 0,
            door=self._door,
        )
        write_private(paths.config, text.encode())

    async def _start_once(self, program: str) -> None:
        command = [program, "-c", str(self._paths.config)]
        setpriv = shutil.which("setpriv")
        if setpriv is not None:
            command = [setpriv, "--pdeathsig", "TERM", *command]
        self._process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            limit=_LOG_LINE_BYTES_MAX,
        )
        self._log = asyncio.create_task(self._follow_log(self._process))
        await self._wait_until_it_answers(self._process)
        logger.info("mosquitto runs on %s:%d, pid %d", HOST, self._port, self._process.pid)

    async def _wait_until_it_answers(self, process: asyncio.subprocess.Process) -> None:
        """Whatever comes first: it answers, it ends (the port is taken), or time is over."""
        answers = asyncio.create_task(self._log_in())
        ended = asyncio.create_task(process.wait())
        try:
            await asyncio.wait(
                {answers, ended}, timeout=START_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED
            )
            if ended.done():
                raise BrokerFailed(await self._last_words(process))
            if not answers.done():
                raise BrokerFailed(
                    f"mosquitto does not answer on {HOST}:{self._port} after {START_TIMEOUT_S:g} s"
                )
            answers.result()
        except LoginRefused as error:
            raise BrokerFailed(f"another broker has {HOST}:{self._port}: {error}") from error
        finally:
            answers.cancel()
            ended.cancel()
            await asyncio.gather(answers, ended, return_exceptions=True)

    async def _log_in(self) -> None:
        """Until our own admin can: it is our broker that answers, not one that was there before."""
        while True:
            try:
                async with self.rights():
                    return
            except BrokerUnreachable:
                await asyncio.sleep(POLL_S)

    async def _last_words(self, process: asyncio.subprocess.Process) -> str:
        if self._log is not None:
            await self._log
        said = "; ".join(self._last_lines) or "nothing"
        return f"mosquitto ended with {process.returncode} on port {self._port}, saying: {said}"

    async def _follow_log(self, process: asyncio.subprocess.Process) -> None:
        """Pass on what it prints, which is never a password, and keep its pipe empty."""
        assert process.stdout is not None
        while True:
            try:
                line = await process.stdout.readline()
            except ValueError:
                logger.warning("mosquitto printed a line of over %d bytes", _LOG_LINE_BYTES_MAX)
                continue
            if not line:
                return
            text = line.decode("utf-8", "replace").rstrip()
            self._last_lines.append(text)
            level = logging.WARNING if text.startswith(("Error", "Warning")) else logging.DEBUG
            logger.log(level, "mosquitto: %s", text)

    async def _keep_running(self, program: str) -> None:
        clock = asyncio.get_running_loop().time
        failures, started_s = 0, clock()
        while True:
            if self._process is not None:
                await self._process.wait()
                logger.error("%s", await self._last_words(self._process))
            if clock() - started_s >= STEADY_S:
                failures = 0
            if failures >= RESTARTS_MAX:
                raise BrokerFailed(f"given up after {failures} starts that did not last")
            await asyncio.sleep(restart_delay_s(failures, self._jitter()))
            failures, started_s = failures + 1, clock()
            try:
                await self._start_once(program)
            except BrokerFailed as error:
                logger.error("the broker did not come back: %s", error)
                await self._end_process()

    async def _end_process(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(STOP_TIMEOUT_S):
                    await process.wait()
            except TimeoutError:
                logger.error("mosquitto did not end within %g s: killed", STOP_TIMEOUT_S)
                process.kill()
                await process.wait()
        log, self._log = self._log, None
        if log is not None:
            await log


def restart_delay_s(failures: int, jitter: float) -> float:
    """Return the wait before the next start after `failures` in a row; `jitter` in [0, 1)."""
    longest_s = min(RESTART_LONGEST_S, RESTART_FIRST_S * 2.0 ** min(failures, 16))
    return longest_s * (0.5 + jitter / 2)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _load_secrets(path: Path) -> dict[str, str]:
    """Return the passwords of our own accounts, made up at the first start."""
    known = _read_json(path)
    wanted = (broker_acl.ADMIN_USERNAME, broker_acl.COORDINATOR_USERNAME)
    passwords = {name: str(known.get(name) or secrets.token_urlsafe(24)) for name in wanted}
    if passwords != known:
        write_private(path, json.dumps(passwords).encode())
    return passwords


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        # Not begun afresh: it may hold every printer's account.
        raise BrokerFailed(f"{path} is damaged: {error}; restore or remove it") from error
    if not isinstance(value, dict):
        raise BrokerFailed(f"{path} is damaged: not a JSON object; restore or remove it")
    return value
