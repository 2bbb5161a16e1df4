"""What the coordinator needs of the world, as Protocols: Store, Archive, Bus, Clock.

Owns only the signatures. Implementations: store/, bus.py, clock.py; the simulation has its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from coordinator.core.attempts import Attempt
from coordinator.core.farm import History, Now, Plan
from coordinator.core.jobs import Copy, CopyState, Job
from coordinator.core.printers import Printer
from coordinator.lists import (
    AttemptFilter,
    AttemptPage,
    FilePage,
    HistoryFilter,
    HistoryPage,
    JobDetail,
    JobFilter,
    JobPage,
    JobSort,
    StoredFile,
)
from moonraker_component.wire import Beacon, Command, Desired, JobEvent


class StoreError(Exception):
    """The database could not be read or written; the round it happened in changed nothing."""


class StoreUnusable(StoreError):
    """The database is damaged, or of a newer version: no retry helps, a person has to decide."""


class TermLost(StoreError):
    """Another coordinator has taken a higher term: this one must stop."""


class BrokerAway(Exception):
    """The broker could not be told of a printer's rights; the same may be asked again."""


class Loaded(Protocol):
    """Everything a farm needs at start. Finished jobs may be left out of `jobs`' live part."""

    jobs: list[Job]
    copies: list[Copy]
    attempts: list[Attempt]
    printers: list[Printer]


class Store(Protocol):
    """Durable state. One writer: every write names the term and fails with TermLost if it lost."""

    async def take_term(self, above: int = 0) -> int:
        """Commit and return a term higher than the stored one and than `above`."""

    async def load(self) -> Loaded: ...

    async def commit(self, term: int, plan: Plan) -> None:
        """Write the plan in one transaction that also confirms the term."""

    async def confirm(self, term: int) -> None:
        """Confirm the term without a write; raises TermLost."""

    async def history(
        self, *, job: str = "", printer: str = "", attempt: str = "", limit: int = 100
    ) -> list[History]:
        """Newest first."""


class Reads(Protocol):
    """Lists and details for people. All raise StoreError; those with a cursor BadQuery too."""

    async def list_jobs(
        self,
        wanted: JobFilter | None = None,
        sort: JobSort = JobSort.QUEUE,
        limit: int = 100,
        cursor: str = "",
    ) -> JobPage: ...

    async def job(self, job_id: str) -> Job | None: ...

    async def job_detail(self, job_id: str) -> JobDetail | None: ...

    async def copy_counts(self, job_ids: Sequence[str]) -> dict[str, dict[CopyState, int]]: ...

    async def attempt(self, attempt_id: str) -> Attempt | None: ...

    async def list_attempts(
        self, wanted: AttemptFilter | None = None, limit: int = 100, cursor: str = ""
    ) -> AttemptPage: ...

    async def list_history(
        self, wanted: HistoryFilter | None = None, limit: int = 100, cursor: str = ""
    ) -> HistoryPage: ...

    async def get_file(self, sha256: str) -> StoredFile | None: ...

    async def list_files(self, text: str = "", limit: int = 100, cursor: str = "") -> FilePage: ...


class Archive(Protocol):
    """What the HTTP side needs of the store: reading, and the rows of stored files."""

    @property
    def reads(self) -> Reads: ...

    async def add_file(self, file: StoredFile) -> bool:
        """Note a file; False if its content was known already."""

    async def remove_file(self, sha256: str) -> bool:
        """Forget a file; False if it is gone or an unfinished job needs it."""


class Bus(Protocol):
    """The MQTT side of the coordinator."""

    async def publish_desired(self, printer_id: str, desired: Desired) -> None: ...

    async def publish_command(self, printer_id: str, command: Command) -> None: ...

    async def publish_job_event(self, event: JobEvent) -> None: ...

    async def publish_beacon(self, beacon: Beacon) -> None: ...


class Clock(Protocol):
    """Both clocks at once."""

    def now(self) -> Now: ...
