"""What travels between the coordinator and a host over MQTT: types, topics, codec, version.

Owns the shape of every message and the names of the topics. Knows nothing of sockets, clocks,
Moonraker or the coordinator's tables; both ends import this one file.

Evolution: unknown fields are ignored, new fields have defaults, a field never changes its type,
and there is one message type per topic. That is what lets a host of the next version and one of
the last work with the same coordinator.

Times never travel as wall clock readings that somebody compares: the only clock that matters is
the host's own CLOCK_BOOTTIME, and it stays on the host.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Optional, TypeVar

import msgspec

VERSION = 1
"""Version of this protocol, told in `Online` and shown to people; no decision rests on it."""

PREFIX = "moonfleet/v1"
"""Default topic prefix, `{p}` in the documentation."""

PAYLOAD_MAX_BYTES = 256 * 1024
"""A larger payload is refused before it is decoded."""

NUMBER_MAX = 2**53
"""Terms, generations and sequences beyond it are refused: JSON of others holds no larger ones."""

ENDED_MAX = 64
"""Most ended attempts that a host answers for at once."""

PRINTER_ID = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
HOST_NAME = re.compile(r"[A-Za-z0-9._-]{1,100}\Z")
ATTEMPT_ID = re.compile(r"[A-Za-z0-9-]{8,64}\Z")
FOLDER = "moonfleet"
"""Folder below the host's gcodes root under which every attempt has a folder of its own."""


class WireError(ValueError):
    """A message that cannot be taken: the text names topic, field and what was wrong."""


class Want(str, Enum):
    """What the coordinator wants of the one attempt that a desired names."""

    PREPARE = "prepare"
    START = "start"
    RUN = "run"
    PAUSE = "pause"
    WITHDRAW = "withdraw"
    CANCEL = "cancel"


class Phase(str, Enum):
    """Where an attempt stands on its host."""

    PREPARING = "preparing"
    PREPARED = "prepared"
    STARTING = "starting"
    PRINTING = "printing"
    PAUSED = "paused"
    ENDED = "ended"


STARTED_PHASES = frozenset({Phase.PRINTING, Phase.PAUSED})
"""Phases in which the host has seen the print itself."""


class Outcome(str, Enum):
    """How an attempt ended on its host; `UNKNOWN` means that nobody can say whether it printed."""

    NONE = ""
    COMPLETE = "complete"
    FAILED = "failed"
    CANCELLED = "cancelled"
    NOT_STARTED = "not_started"
    UNKNOWN = "unknown"


class Link(str, Enum):
    """Klipper as its host sees it. `DISCONNECTED`: Moonraker has no connection to Klipper."""

    READY = "ready"
    STARTUP = "startup"
    SHUTDOWN = "shutdown"
    ERROR = "error"
    DISCONNECTED = "disconnected"


class Message(msgspec.Struct, frozen=True, omit_defaults=True):
    """Base of all that travels.

    Fields at their default are left out, except in the small values that the coordinator's API
    shows as they are: `"clear": false` is worth its bytes to whoever reads it.
    """


class FileRef(Message, frozen=True):
    """A G-code file: `name` as the host stores it, `url` absolute, for byte ranges over HTTP."""

    name: str
    sha256: str
    size_bytes: int
    url: str = ""


class Order(Message, frozen=True):
    """One attempt and what is wanted of it.

    `session` binds a start to the session that reported it prepared. `resume` names the pause
    that a run is allowed to end: a run that names no pause, or another one, ends none, so that a
    repeated run never resumes a runout pause or a person's.
    """

    attempt: str
    copy: str
    job: str
    want: Want
    file: FileRef
    session: str = ""
    fence_s: float = 0.0
    resume: str = ""


class Echo(Message, frozen=True):
    """The newest report of a host that the coordinator has committed."""

    session: str
    sequence: int


class Desired(Message, frozen=True):
    """What the coordinator wants of a printer. Order of two of them: (term, generation)."""

    term: int
    generation: int
    lease_s: float = 15.0
    order: Optional[Order] = None
    echo: Optional[Echo] = None


class Reason(Message, frozen=True, omit_defaults=False):
    """Why something is not so: a stable `code`, and a `text` for people with fact and value."""

    code: str
    text: str = ""


class AttemptReport(Message, frozen=True):
    """One attempt as its host knows it. `pause` names the pause it stands in, or is empty."""

    attempt: str
    copy: str
    job: str
    phase: Phase
    outcome: Outcome = Outcome.NONE
    cause: str = ""
    message: str = ""
    pause: str = ""
    fenced: bool = False


class Klipper(Message, frozen=True, omit_defaults=False):
    """Klipper's state and message; `filename` is what print_stats names, ours or not."""

    link: Link = Link.DISCONNECTED
    message: str = ""
    print_state: str = ""
    filename: str = ""


class Bed(Message, frozen=True, omit_defaults=False):
    """The latch. `token` names this uncleared (or cleared) bed; a clear must bear it."""

    clear: bool = False
    token: str = ""


class Profile(Message, frozen=True, omit_defaults=False):
    """What the machine is. None or empty means unknown, which is not the same as unlimited.

    `size_min_mm` and `size_max_mm` are the axis limits x, y, z.
    """

    kinematics: str = ""
    model: str = ""
    size_min_mm: tuple[float, ...] = ()
    size_max_mm: tuple[float, ...] = ()
    nozzle_mm: Optional[float] = None
    extruder_max_c: Optional[float] = None
    bed_max_c: Optional[float] = None


class Filament(Message, frozen=True, omit_defaults=False):
    """What is loaded, as configured on the host, and what its sensors say (None: no sensor)."""

    material: str = ""
    color: str = ""
    detected: Optional[bool] = None


class Report(Message, frozen=True):
    """What a host says is so. `attempts` holds every attempt it still answers for.

    `refusals` is empty exactly when the printer may start a print now. `machine` identifies the
    machine itself (not the session), so that a cloned card is noticed. `section` tells whether
    the Klipper section is loaded: without it there is no start deadline and no fence.
    """

    session: str
    sequence: int
    observed_term: int = 0
    observed_generation: int = 0
    klipper: Klipper = Klipper()
    attempts: tuple[AttemptReport, ...] = ()
    refusals: tuple[Reason, ...] = ()
    bed: Bed = Bed()
    profile: Profile = Profile()
    filament: Filament = Filament()
    machine: str = ""
    section: bool = False
    local_print: str = ""


class Online(Message, frozen=True):
    """Display only: whether the host's connection stands, and who is on it."""

    online: bool
    session: str = ""
    version: str = ""
    wire: int = VERSION


class Beacon(Message, frozen=True):
    """The coordinator's own presence, for people and for noticing its own connection.

    `id` is fresh at each of its starts: two restored from one backup may hold the same term.
    """

    online: bool
    term: int = 0
    lease_s: float = 15.0
    version: str = ""
    sequence: int = 0
    id: str = ""


class Heat(Message, frozen=True):
    """One heater or sensor: temperature and, where it has one, target, in Celsius."""

    temperature_c: float
    target_c: Optional[float] = None


class Telemetry(Message, frozen=True):
    """What changes all the time; lost messages matter to nobody. Unknown values are None."""

    heaters: dict[str, Heat] = {}
    progress: Optional[float] = None
    layer: Optional[int] = None
    layers: Optional[int] = None
    position_mm: tuple[float, ...] = ()
    print_s: Optional[float] = None
    left_s: Optional[float] = None
    filament_mm: Optional[float] = None
    attempt: str = ""
    filename: str = ""


class Event(Message, frozen=True):
    """One fact, once: `id` is unique, so that a doubled delivery is noticed."""

    id: str
    kind: str
    attempt: str = ""
    text: str = ""
    data: dict[str, str] = {}


class CommandKind(str, Enum):
    """What cannot wait and is not a state."""

    EMERGENCY_STOP = "emergency_stop"
    FIRMWARE_RESTART = "firmware_restart"
    BED_CLEAR = "bed_clear"


class Command(Message, frozen=True):
    """A command to one session, good until lease_s after that session sent report `sequence`."""

    id: str
    kind: CommandKind
    session: str
    sequence: int
    attempt: str = ""
    token: str = ""


class JobReady(Message, frozen=True):
    """Intake by MQTT: a slicing service says that a file is ready."""

    url: str
    sha256: str
    name: str = ""
    copies: int = 1
    material: str = ""
    color: str = ""
    nozzle_mm: Optional[float] = None


class JobEvent(Message, frozen=True):
    """What happened to a job, for whoever listens; the queue itself never reads it."""

    id: str
    kind: str
    job: str
    copy: str = ""
    attempt: str = ""
    printer: str = ""
    cause: str = ""


M = TypeVar("M", bound=Message)


class Topics:
    """Names of all topics below one prefix."""

    def __init__(self, prefix: str = PREFIX) -> None:
        if not prefix or prefix != prefix.strip("/") or re.search(r"[+#\s]", prefix):
            raise WireError(
                f"topic prefix {prefix!r}: must not be empty, start or end with / "
                "or hold +, # or blanks"
            )
        self.prefix = prefix
        self.coordinator = prefix + "/coordinator"
        self.jobs_ready = prefix + "/jobs/ready"

    def desired(self, printer: str) -> str:
        return self._printer(printer, "desired")

    def report(self, printer: str) -> str:
        return self._printer(printer, "report")

    def online(self, printer: str) -> str:
        return self._printer(printer, "online")

    def telemetry(self, printer: str) -> str:
        return self._printer(printer, "telemetry")

    def event(self, printer: str) -> str:
        return self._printer(printer, "event")

    def command(self, printer: str) -> str:
        return self._printer(printer, "command")

    def job_event(self, job: str) -> str:
        return f"{self.prefix}/jobs/{job}/event"

    def split(self, topic: str) -> tuple[str, str]:
        """`{p}/printers/{id}/{leaf}` -> (id, leaf); raises WireError for any other topic."""
        head, _, rest = topic.partition(self.prefix + "/printers/")
        printer, _, leaf = rest.partition("/")
        if head or not PRINTER_ID.match(printer) or not leaf or "/" in leaf:
            raise WireError(f"topic {topic!r}: not a topic of a printer")
        return printer, leaf

    def _printer(self, printer: str, leaf: str) -> str:
        if not PRINTER_ID.match(printer):
            raise WireError(f"printer id {printer!r}: use 1 to 64 of A-Z a-z 0-9 _ -")
        return f"{self.prefix}/printers/{printer}/{leaf}"


def encode(message: Message) -> bytes:
    """JSON, fields at their default left out."""
    return msgspec.json.encode(message)


def decode(kind: type[M], payload: bytes) -> M:
    """Decode and check one message; raises WireError naming the field and what is wrong."""
    if len(payload) > PAYLOAD_MAX_BYTES:
        raise WireError(
            f"{kind.__name__}: {len(payload)} bytes, at most {PAYLOAD_MAX_BYTES} are taken"
        )
    try:
        message = msgspec.json.decode(payload, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise WireError(f"{kind.__name__}: {error}") from error
    _check_names(message)
    return message


def host_path(attempt: str, name: str) -> str:
    """Path of an attempt's file below the gcodes root: what print_stats.filename will say."""
    return f"{FOLDER}/{attempt}/{name}"


def _check_names(message: Message) -> None:
    """Names that become paths on a host are checked where they enter, at both ends."""
    if isinstance(message, Desired) and message.order is not None:
        order = message.order
        if not ATTEMPT_ID.match(order.attempt):
            raise WireError(
                f"Desired: order.attempt {order.attempt!r}: use 8 to 64 of A-Z a-z 0-9 -"
            )
        if not HOST_NAME.match(order.file.name) or order.file.name.startswith("."):
            raise WireError(
                f"Desired: order.file.name {order.file.name!r}: "
                "use 1 to 100 of A-Z a-z 0-9 . _ -, no leading dot"
            )
        if not re.match(r"[0-9a-f]{64}\Z", order.file.sha256):
            raise WireError("Desired: order.file.sha256: 64 lower case hex digits are needed")
        if order.file.size_bytes < 0 or order.fence_s < 0:
            raise WireError("Desired: order.file.size_bytes and fence_s must not be negative")
    if isinstance(message, Desired):
        if not 0 < message.lease_s <= 3600:
            raise WireError(f"Desired: lease_s {message.lease_s!r}: above 0 and up to 3600")
        _check_numbers(message, "term", "generation")
    if isinstance(message, Report):
        if not 0 < len(message.session) <= 64:
            raise WireError("Report: session: 1 to 64 characters are needed")
        _check_numbers(message, "sequence", "observed_term", "observed_generation")


def _check_numbers(message: Message, *names: str) -> None:
    """What orders messages has to fit into a database at the other end, and to grow on."""
    for name in names:
        if not 0 <= getattr(message, name) <= NUMBER_MAX:
            raise WireError(f"{type(message).__name__}: {name}: from 0 to {NUMBER_MAX}")
