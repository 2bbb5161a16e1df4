"""What people send about jobs: an order, a change, a list's filters.

Owns the shapes of the requests and their translation into the core's. Must not know handlers.
"""

from __future__ import annotations

from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import replace

from coordinator.core.farm import Settings
from coordinator.core.jobs import JobFile, JobState, Lane, Policy
from coordinator.core.requests import JobChange, RequestError, Submission
from coordinator.files import names
from coordinator.http.filing import analysis_of, metadata_of
from coordinator.http.job_view import NEVER
from coordinator.intake import ANY, Number, Wishes, requirements_of
from coordinator.lists import JobFilter, JobSort, StoredFile

TAGS_MAX = 32
WORD_MAX = 100


class JobOrder(Struct, forbid_unknown_fields=True):
    """A wish for copies of a stored file. What is left out is taken from the file or the farm.

    `file`: its sha256. `name`: what the job is called, if not as its file. `material`,
    `nozzle_mm`, `size`, `temperatures`: taken from the file; "any" drops one. `color`, `model`
    and `kinematics` are asked for only here. `tags`: what a printer must bear; `printers`: the
    only ones that may print it; `job_tags`: the job's own, to find it by. `offline_grace_s`:
    seconds of a host's silence after which a started copy moves, or "never". `fence`: a silent
    printer pauses by itself before its copy moves. `retries`: failures of one copy that are tried
    again. `deadline_at`: epoch seconds. `held`: it waits for a release.
    """

    file: str
    name: str = ""
    copies: int = 1
    priority: int = 0
    lane: Lane = Lane.STANDARD
    material: str | UnsetType = UNSET
    color: str = ANY
    nozzle_mm: float | str | UnsetType = UNSET
    size: str | UnsetType = UNSET
    temperatures: str | UnsetType = UNSET
    model: str = ANY
    kinematics: str = ANY
    tags: tuple[str, ...] = ()
    printers: tuple[str, ...] = ()
    job_tags: tuple[str, ...] = ()
    offline_grace_s: float | str | UnsetType = UNSET
    fence: bool = False
    retries: int = 2
    deadline_at: float | None = None
    held: bool = False


class JobPatch(Struct, forbid_unknown_fields=True):
    """What may be changed of a job that is not finished; a field left out stays as it is."""

    priority: int | UnsetType = UNSET
    lane: Lane | UnsetType = UNSET
    deadline_at: float | UnsetType | None = UNSET

    def change(self) -> JobChange:
        """The same, as the core takes it."""
        return JobChange(priority=self.priority, lane=self.lane, deadline_at=self.deadline_at)


class JobsQuery(Struct, forbid_unknown_fields=True):
    """Filters of the list of jobs; each that is given must hold.

    `state`: one or more of active, held, completed, cancelled, divided by commas. `search`: part
    of the title, or the beginning of the id. `printer`: an attempt was on it. `sort`: queue,
    created, finished or title.
    """

    state: tuple[JobState, ...] = ()
    lane: Lane | None = None
    material: str = ""
    printer: str = ""
    tag: str = ""
    owner: str = ""
    search: str = ""
    file: str = ""
    sort: JobSort = JobSort.QUEUE
    limit: int = 100
    cursor: str = ""

    def filter(self) -> JobFilter:
        """The same, as the store takes it."""
        return JobFilter(
            states=self.state,
            lane=self.lane,
            material=self.material,
            owner=self.owner,
            tag=self.tag,
            text=self.search,
            sha256=self.file,
            printer=self.printer,
        )


def submission_of(order: JobOrder, file: StoredFile, settings: Settings) -> Submission:
    """The order as the core takes it; raises RequestError or BadFileName."""
    metadata, analysis = metadata_of(file), analysis_of(file)
    wishes = Wishes(
        material=order.material,
        color=order.color,
        nozzle_mm=order.nozzle_mm,
        size=order.size,
        temperatures=order.temperatures,
        model=order.model,
        kinematics=order.kinematics,
        tags=order.tags,
        printers=order.printers,
    )
    _check_words(order)
    return Submission(
        file=_named(file, order.name),
        copies=order.copies,
        requirements=requirements_of(metadata, analysis, wishes),
        policy=Policy(
            offline_grace_s=_grace_s(order.offline_grace_s, settings),
            fence=order.fence,
            retries=order.retries,
        ),
        lane=order.lane,
        priority=order.priority,
        deadline_at=order.deadline_at,
        tags=tuple(dict.fromkeys(order.job_tags)),
        held=order.held,
        estimated_s=metadata.estimated_time_s if metadata is not None else None,
        filament_mm=_filament_mm(file),
    )


def _named(file: StoredFile, name: str) -> JobFile:
    known = JobFile(
        sha256=file.sha256, name=file.name, title=file.title, size_bytes=file.size_bytes
    )
    if not name:
        return known
    title = names.display_name(name)
    return replace(known, title=title, name=names.host_name(title))


def _grace_s(wish: Number, settings: Settings) -> float | None:
    if wish is UNSET:
        return settings.offline_grace_s
    if isinstance(wish, str):
        if wish == NEVER:
            return None
        raise RequestError("offline_grace_s", wish, "must be seconds, or never")
    return wish


def _filament_mm(file: StoredFile) -> float | None:
    """Measured from the moves; else as the slicer says."""
    analysis, metadata = analysis_of(file), metadata_of(file)
    if analysis is not None and analysis.extruded_mm > 0:
        return analysis.extruded_mm
    return metadata.filament_mm if metadata is not None else None


def _check_words(order: JobOrder) -> None:
    """Bounds of what is only compared and shown."""
    for field in ("tags", "printers", "job_tags"):
        listed: tuple[str, ...] = getattr(order, field)
        if len(listed) > (10_000 if field == "printers" else TAGS_MAX):
            raise RequestError(field, len(listed), f"at most {TAGS_MAX} are taken")
        for word in listed:
            _check_word(field, word)
    for field in ("material", "color", "model", "kinematics"):
        word = getattr(order, field)
        if isinstance(word, str):
            _check_word(field, word)


def _check_word(field: str, word: str) -> None:
    if len(word) > WORD_MAX:
        raise RequestError(field, word, f"at most {WORD_MAX} characters are taken")
