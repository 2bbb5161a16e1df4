"""Who reigns, as one coordinator knows it: its own connection, other coordinators, its database.

Owns what is concluded from beacons, and from hosts that have observed more than was ever issued
(rules 2, 9 and 13 of docs/design.md, section 4): hearing oneself, standing down, taking a higher
term. Must not know how beacons travel, and where terms are kept.
"""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from coordinator.core.farm import Reign
from moonraker_component.wire import Beacon


class Other(Struct, frozen=True):
    """Another coordinator of our term or above, by its beacons. Times are our CLOCK_BOOTTIME."""

    term: int
    id: str
    since_s: float
    heard_s: float


class Presence(Struct, frozen=True):
    """What one process knows of its reign. `id` is its own, fresh at each start.

    `said`: the sequence of its newest beacon. `heard_s`: when it last heard itself, None while it
    is deaf. `connected_s`: since when silence is counted, None while nothing may be concluded.
    `above`: the highest term that a host has observed though we never issued its number, 0 for
    none, learnt at `doubted_s`, told by `told_by`. `risen_for`: the hosts on whose word this
    process has taken a higher term before.
    """

    id: str
    lease_s: float
    term: int = 0
    said: int = 0
    heard_s: float | None = None
    connected_s: float | None = None
    other: Other | None = None
    above: int = 0
    doubted_s: float = 0.0
    told_by: frozenset[str] = frozenset()
    risen_for: frozenset[str] = frozenset()

    def reign(self) -> Reign:
        """What the rest of the core decides from."""
        return Reign(term=self.term, connected_s=self.connected_s, risen_for=self.risen_for)

    def beacon(self) -> Beacon:
        """The newest beacon, once `say` has given it its number."""
        return Beacon(
            online=True, term=self.term, lease_s=self.lease_s, sequence=self.said, id=self.id
        )

    def rival(self, now_s: float) -> Other | None:
        """The other coordinator, while its beacons keep arriving."""
        other = self.other
        if other is None or other.term < self.term or now_s - other.heard_s > self.lease_s:
            return None
        return other

    def in_doubt(self, now_s: float) -> bool:
        """Whether it is open who reigns: then nothing is wanted of any printer."""
        return bool(self.above) or self.rival(now_s) is not None


def take(presence: Presence, term: int) -> Presence:
    """A reign begins: everything that was counted in the last one is counted anew."""
    return Presence(
        id=presence.id,
        lease_s=presence.lease_s,
        term=term,
        said=presence.said,
        risen_for=presence.risen_for | presence.told_by,
    )


def say(presence: Presence) -> Presence:
    """Another beacon goes out."""
    return replace(presence, said=presence.said + 1)


def hear(presence: Presence, beacon: Beacon, now_s: float) -> Presence:
    """Our own beacon proves our connection; another's tells that somebody else reigns.

    Two databases, one of them a restored copy, can hold the same term: the id tells them apart.
    """
    if not beacon.online or beacon.term < presence.term:
        return presence
    foreign_id = bool(beacon.id) and beacon.id != presence.id
    if beacon.term == presence.term and not foreign_id:
        ours = 0 < beacon.sequence <= presence.said
        return _hear_own(presence, now_s) if ours else presence
    known = presence.rival(now_s)
    since_s = known.since_s if known is not None else now_s
    other = Other(beacon.term, beacon.id, since_s, now_s)
    return replace(presence, other=other, connected_s=None)


def _hear_own(presence: Presence, now_s: float) -> Presence:
    """A gap is looked for here too: what was sent before this process stood still for an hour
    is heard right after it, before any round can notice."""
    gap = presence.heard_s is None or now_s - presence.heard_s > presence.lease_s
    presence = replace(presence, heard_s=now_s)
    if presence.in_doubt(now_s):
        return presence
    if gap or presence.connected_s is None:
        return replace(presence, connected_s=now_s)
    return presence


def disconnect(presence: Presence) -> Presence:
    """The connection is gone: silence proves nothing, and neither does that no beacon comes."""
    return replace(presence, heard_s=None, connected_s=None, above=0, told_by=frozenset())


def is_deaf(presence: Presence, now_s: float) -> bool:
    """Whether its own beacon has not come back for a lease: it is not connected any more."""
    return presence.heard_s is not None and now_s - presence.heard_s > presence.lease_s


def doubt(presence: Presence, above: int, told_by: frozenset[str], now_s: float) -> Presence:
    """Hosts have observed numbers of `above`, or of ours, that this database does not know."""
    return replace(
        presence,
        above=max(above, presence.above),
        doubted_s=presence.doubted_s if presence.above else now_s,
        told_by=presence.told_by | told_by,
        connected_s=None,
    )


def why_stand_down(presence: Presence, now_s: float) -> str:
    """Why this coordinator must end; empty if it may stay.

    Of two that hold the same term the one whom hosts have outrun has the older database. If both
    have been, the one with the lesser id goes first: both at once would leave nobody.
    """
    rival = presence.rival(now_s)
    if rival is None:
        return ""
    if rival.term > presence.term:
        return f"a coordinator of term {rival.term} reigns"
    patience_s = presence.lease_s * (2 if presence.id > rival.id else 1)
    if presence.above and rival.heard_s - presence.doubted_s >= patience_s:
        return f"another coordinator of term {rival.term} reigns, and its database is newer"
    return ""


def rises_above(presence: Presence, now_s: float) -> int:
    """The term above which a new one is to be taken now; 0: none is.

    Only after a lease in which no other coordinator was heard, or, of two with the same term and
    nothing else to tell them apart, by the one with the greater id: the other one hears it.
    """
    if presence.heard_s is None:
        return 0  # deaf: that no beacon came proves nothing
    rival = presence.rival(now_s)
    if rival is not None:
        stood_s = now_s - rival.since_s
        wins = not presence.above and presence.id > rival.id
        return presence.term if wins and stood_s >= presence.lease_s else 0
    waited = presence.above and now_s - presence.doubted_s >= presence.lease_s
    return max(presence.above, presence.term) if waited else 0
