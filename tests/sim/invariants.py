"""What must hold, as functions over the recorded history of one run. Each returns its breaches.

Owns the promises of docs/design.md, section 9, in the order in which they stand there. Must not
ask the product whether it kept them: physics and commits were written down as they happened. Only
how jobs ended is read from the store, where people would read it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

from coordinator.core.jobs import CopyState, JobState
from moonraker_component.wire import Outcome
from tests.sim.klipper import Printed
from tests.sim.scenario import POLICIES
from tests.sim.world import World

DRIFT = 1.02
"""Two clocks, each at most half a percent off, and the grain of the simulation."""


def _prints(world: World) -> dict[str, list[Printed]]:
    """Every physical print, by copy."""
    found: dict[str, list[Printed]] = defaultdict(list)
    for host in world.all_hosts():
        for printed in host.prints:
            found[printed.copy].append(printed)
    return found


def _policy_of(world: World, job: str) -> str:
    """The name of a job's policy; empty for a job that went with a restored database."""
    stored = world.store.jobs.get(job)
    return world.scenario.wishes[int(stored.title.split()[1])].policy if stored else ""


def nothing_breaks(world: World) -> list[str]:
    """No exception gets out of the product, and none is only written to its log."""
    return world.errors


def no_copy_lost(world: World) -> list[str]:
    """When the faults end every job ends: each copy is done, or asks a person under `never`."""
    breaches = []
    if not world.people.all_submitted():
        breaches.append("a job could never be submitted")
    for copy in world.store.copies.values():
        job = world.store.jobs[copy.job]
        ends = {CopyState.DROPPED} if job.state is JobState.CANCELLED else set()
        if POLICIES[_policy_of(world, job.id)].offline_grace_s is None:
            ends.add(CopyState.HELD)
        if copy.state is not CopyState.DONE and copy.state not in ends:
            breaches.append(f"copy {copy.id[:4]} of {job.title} is {copy.state}: {copy.reason}")
    return breaches


def accepted_once(world: World) -> list[str]:
    """A copy counts once, and what counts was physically printed to its end."""
    whole = {p.attempt for prints in _prints(world).values() for p in prints if p.whole}
    counted: dict[tuple[str, str], str] = {}
    breaches = []
    for entry in world.history.of("accepted", "restored"):
        if entry.kind == "restored":  # what was accepted since the backup is told and taken anew
            counted.clear()
            continue
        before = counted.setdefault((entry.text, entry.copy), entry.attempt)
        if before != entry.attempt:
            breaches.append(f"copy {entry.copy} was accepted as {before} and as {entry.attempt}")
        if entry.attempt not in whole:
            breaches.append(f"attempt {entry.attempt} accepted, but was never printed to its end")
    return breaches


def starts_under_a_lease(world: World) -> list[str]:
    """Klipper is asked with the newest generation known and a live lease, and starts in time."""
    breaches = [
        f"attempt {e.attempt} was asked for with {e.value:.1f} s of lease left, not as last ordered"
        for e in world.history.of("asked")
        if not e.good
    ]
    late = [e for e in world.history.of("started") if not e.good]
    return breaches + [f"attempt {e.attempt} started {e.value:.1f} s too late" for e in late]


def taken_back_never_starts(world: World) -> list[str]:
    """What was committed as not started has not started, and never does. Nothing starts twice."""
    breaches = []
    never: set[str] = set()
    begun: set[str] = set()
    for entry in world.history.of("over", "started", "restored"):
        if entry.kind == "restored":  # a database that does not know of these takings back
            never.clear()
        elif entry.kind == "started":
            if entry.attempt in never:
                breaches.append(f"attempt {entry.attempt} was taken back, and started")
            if entry.attempt in begun:
                breaches.append(f"attempt {entry.attempt} started twice")
            begun.add(entry.attempt)
        elif entry.text == Outcome.NOT_STARTED.value and not world.beside:
            never.add(entry.attempt)
            if entry.attempt in begun:
                breaches.append(f"attempt {entry.attempt} was taken back as not started, and runs")
    return breaches


def over_is_over(world: World) -> list[str]:
    """What was committed as ended runs no more, on a printer that keeps records of its own."""
    if world.restored:
        return []
    runs = {
        (host.key, printed.attempt): printed.runs
        for host in world.all_hosts()
        for printed in host.prints
        if host.section
    }
    return [
        f"{e.host}: {e.attempt} ended as {e.text} at {e.at_s:.1f} and ran on"
        for e in world.history.of("over")
        if any(until_s > e.at_s for _, until_s in runs.get((e.host, e.attempt), ()))
    ]


def ends_are_told_as_they_were(world: World) -> list[str]:
    """A print that came to its end ends as complete, on a printer that keeps records of its own."""
    if world.restored:
        return []
    whole = {
        p.attempt for host in world.hosts.values() if host.section for p in host.prints if p.whole
    }
    return [
        f"{e.host}: {e.attempt} was printed to its end, and counts as {e.text}"
        for e in world.history.of("over")
        if e.attempt in whole and e.text != Outcome.COMPLETE.value
    ]


def only_who_reigns_speaks(world: World) -> list[str]:
    """Nothing is wanted of a printer by a coordinator whose term is over."""
    spoke = world.history.of("spoke")
    return [f"{e.host} spoke in term {e.value:g}, which was over" for e in spoke]


def one_live_per_printer(world: World) -> list[str]:
    """No printer has two attempts that are not over."""
    live: dict[str, set[str]] = defaultdict(set)
    breaches = []
    for entry in world.history.of("live", "over", "restored"):
        if entry.kind == "restored":
            live.clear()
        elif entry.kind == "over":
            live[entry.host].discard(entry.attempt)
        elif entry.text == "main":
            live[entry.host].add(entry.attempt)
            if len(live[entry.host]) > 1:
                breaches.append(f"{entry.host} has {sorted(live[entry.host])}")
    return breaches


def bed_is_clear(world: World) -> list[str]:
    """Nothing starts on an uncleared bed."""
    return [
        f"{e.host} started {e.attempt} on an uncleared bed"
        for e in world.history.of("bed")
        if not e.good
    ]


def never_doubled(world: World) -> list[str]:
    """Under `never` no copy is printed to its end twice, nor on two printers at once."""
    if world.restored:
        return []  # what was placed after the backup is known to its host alone
    breaches = []
    for copy, prints in _prints(world).items():
        if _policy_of(world, prints[0].job) != "never":
            continue
        if sum(p.whole for p in prints) > 1:
            breaches.append(f"copy {copy} was printed to its end twice")
        breaches += _overlaps(prints)
    return breaches


def fence_holds(world: World) -> list[str]:
    """Under a fence no two printers extrude the same copy at the same time."""
    if world.restored:
        return []
    found = _prints(world).values()
    fenced = [prints for prints in found if _policy_of(world, prints[0].job) == "fence"]
    return [breach for prints in fenced for breach in _overlaps(prints)]


def _overlaps(prints: list[Printed]) -> list[str]:
    return [
        f"copy {one.copy}: {one.host} and {other.host} at once"
        for i, one in enumerate(prints)
        for other in prints[i + 1 :]
        if any(max(a, c) < min(b, d) for a, b in one.runs for c, d in other.runs)
    ]


def stopped_for_a_reason(world: World) -> list[str]:
    """The farm ends a print only where its job was cancelled, or the copy was printed elsewhere."""
    breaches = []
    begun: dict[str, set[str]] = defaultdict(set)
    cancelled: set[str] = set()
    of: dict[str, tuple[str, str]] = {}
    for entry in world.history.of("started", "job_cancelled", "stopped"):
        if entry.kind == "job_cancelled":
            cancelled.add(entry.job)
        elif entry.kind == "started":
            begun[entry.copy].add(entry.attempt)
            of[entry.attempt] = (entry.copy, entry.job)
        else:
            copy, job = of[entry.attempt]
            if job not in cancelled and begun[copy] == {entry.attempt}:
                breaches.append(f"{entry.host}: {entry.attempt} was stopped for nothing")
    return breaches


def paused_for_a_reason(world: World) -> list[str]:
    """The farm pauses what a person wants paused, and a fence what has not been heard of."""
    breaches = []
    asked: set[str] = set()
    job_of: dict[str, str] = {}
    for entry in world.history.of("job_paused", "started", "paused", "fenced"):
        if entry.kind == "job_paused":
            asked.add(entry.job)
        elif entry.kind == "started":
            job_of[entry.attempt] = entry.job
        elif entry.kind == "fenced" and not entry.good:
            breaches.append(
                f"{entry.host}: fence {entry.value:.1f} s after a report that was echoed"
            )
        elif (entry.kind, entry.text) == ("paused", "farm") and job_of[entry.attempt] not in asked:
            breaches.append(f"{entry.host}: {entry.attempt} was paused for nothing")
    return breaches


def resumed_for_a_reason(world: World) -> list[str]:
    """The farm ends a pause only if a person wants that since, or a fence made it."""
    breaches = []
    paused: dict[str, tuple[float, str]] = {}
    job_of: dict[str, str] = {}
    wanted: dict[str, float] = {}
    fired: set[str] = set()
    for entry in world.history.of("started", "paused", "resumed", "job_resumed", "fenced"):
        if entry.kind == "started":
            job_of[entry.attempt] = entry.job
        elif entry.kind == "fenced":
            fired.add(entry.attempt)
        elif entry.kind == "paused":
            paused[entry.attempt] = (entry.at_s, entry.text)
        elif entry.kind == "job_resumed":
            wanted[entry.job] = entry.at_s
        elif entry.text == "farm" and entry.attempt not in fired:
            since_s, _ = paused[entry.attempt]
            if wanted.get(job_of[entry.attempt], -1.0) < since_s:
                breaches.append(f"{entry.host}: a pause of {entry.attempt} was ended for nothing")
    return breaches


def stops_hit_what_was_meant(world: World) -> list[str]:
    """An emergency stop is in time, and hits no print that began after it was asked for."""
    return [
        f"{e.host}: an emergency stop for {e.text or 'nothing'} hit {e.attempt or 'nothing'}, late"
        for e in world.history.of("estop")
        if not e.good
    ]


def lost_after_its_grace(world: World) -> list[str]:
    """Nothing is lost before it has been silent for its grace, while the coordinator listened."""
    breaches = []
    for entry in world.history.of("attempt_lost"):
        grace_s = POLICIES[_policy_of(world, entry.job) or "default"].offline_grace_s
        silent_s = min(entry.value, entry.more)
        if grace_s is None or silent_s < grace_s / DRIFT:
            breaches.append(f"{entry.attempt} lost after {silent_s:.1f} s of silence")
    return breaches


def doubled_is_traced(world: World) -> list[str]:
    """Of a copy that was printed twice, all but one attempt were lost, or nobody knew their end."""
    if world.restored:
        return []
    excused = {e.attempt for e in world.history.of("attempt_lost")}
    excused |= {e.attempt for e in world.history.of("over") if e.text == Outcome.UNKNOWN.value}
    breaches = []
    for copy, prints in _prints(world).items():
        whole = [p.attempt for p in prints if p.whole]
        if len(whole) > 1 and len([a for a in whole if a not in excused]) > 1:
            breaches.append(f"copy {copy} was printed as {whole}, and nothing had been lost")
    return breaches


ALL: tuple[Callable[[World], list[str]], ...] = (
    nothing_breaks,
    no_copy_lost,
    accepted_once,
    starts_under_a_lease,
    taken_back_never_starts,
    over_is_over,
    ends_are_told_as_they_were,
    only_who_reigns_speaks,
    one_live_per_printer,
    never_doubled,
    fence_holds,
    stopped_for_a_reason,
    paused_for_a_reason,
    resumed_for_a_reason,
    stops_hit_what_was_meant,
    bed_is_clear,
    lost_after_its_grace,
    doubled_is_traced,
)


def breaches_of(world: World) -> list[str]:
    """Every breach of every invariant, by its name."""
    return [f"{check.__name__}: {text}" for check in ALL for text in check(world)]
