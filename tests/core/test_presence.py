"""Who reigns: own beacons and others', an old database, two with one term, a host that invents."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from coordinator.core import presence
from coordinator.core.presence import Presence
from moonraker_component.wire import Beacon
from tests.core.build import Bench

LEASE_S = 15.0
TOLD = frozenset({"a"})


def reigning(own: str = "b", term: int = 5, now_s: float = 100.0) -> Presence:
    """It has said a beacon and heard it."""
    taken = presence.say(presence.take(Presence(id=own, lease_s=LEASE_S), term))
    return presence.hear(taken, taken.beacon(), now_s)


def other(own: str, term: int = 5) -> Beacon:
    return Beacon(online=True, term=term, sequence=1, id=own)


def test_its_own_beacon_connects_it_and_a_gap_begins_anew() -> None:
    known = reigning()
    assert known.connected_s == 100.0
    assert presence.hear(known, known.beacon(), 110.0).connected_s == 100.0
    assert presence.hear(known, known.beacon(), 116.0).connected_s == 116.0
    assert presence.is_deaf(known, 115.1)
    assert presence.disconnect(known).connected_s is None


@pytest.mark.parametrize("sequence", [0, 2])
def test_a_beacon_that_it_never_said_connects_it_not(sequence: int) -> None:
    known = presence.disconnect(reigning())
    assert presence.hear(known, replace(known.beacon(), sequence=sequence), 101.0) == known


def test_beacons_of_a_version_without_ids_are_told_apart_by_term() -> None:
    known = presence.disconnect(reigning())
    assert presence.hear(known, replace(known.beacon(), id=""), 101.0).connected_s == 101.0


def test_it_stands_down_for_a_higher_term_while_that_is_heard() -> None:
    known = presence.hear(reigning(), other("a", 6), 101.0)
    assert "term 6" in presence.why_stand_down(known, 101.0)
    assert presence.why_stand_down(known, 101.0 + LEASE_S + 0.1) == ""
    assert presence.hear(reigning(), other("a", 4), 101.0) == reigning()


def test_an_old_database_takes_a_higher_term_after_a_lease_without_others() -> None:
    known = presence.doubt(reigning(), 40, TOLD, 101.0)
    assert known.connected_s is None
    assert presence.hear(known, known.beacon(), 102.0).connected_s is None
    assert presence.rises_above(known, 101.0 + LEASE_S - 0.1) == 0
    assert presence.rises_above(known, 101.0 + LEASE_S) == 40
    assert presence.rises_above(presence.disconnect(known), 101.0 + LEASE_S) == 0, "it is deaf"


def test_of_two_with_one_term_the_one_that_was_outrun_stands_down() -> None:
    known = presence.hear(reigning(), other("a"), 101.0)
    assert presence.why_stand_down(known, 101.0) == ""
    assert known.connected_s is None, "nothing is placed while two reign"
    outrun = presence.doubt(known, 5, TOLD, 102.0)
    for now_s in (110.0, 120.0, 130.0):
        assert presence.rises_above(outrun, now_s) == 0
        assert presence.why_stand_down(outrun, now_s) == ""
        outrun = presence.hear(outrun, other("a"), now_s)
    assert presence.rises_above(outrun, 130.0) == 0
    outrun = presence.hear(outrun, other("a"), 102.0 + 2 * LEASE_S)
    assert "database is newer" in presence.why_stand_down(outrun, 102.0 + 2 * LEASE_S)


def test_of_two_that_were_both_outrun_one_stays() -> None:
    first = presence.doubt(presence.hear(reigning("a"), other("b"), 101.0), 5, TOLD, 102.0)
    second = presence.doubt(presence.hear(reigning("b"), other("a"), 101.0), 5, TOLD, 102.0)
    for now_s in (107.0, 112.0, 117.0):
        first = presence.hear(first, other("b"), now_s)
        second = presence.hear(second, other("a"), now_s)
    assert presence.why_stand_down(first, 117.0)
    for now_s in (122.0, 127.0, 132.0, 133.0):
        second = presence.hear(second, second.beacon(), now_s)
        assert presence.why_stand_down(second, now_s) == ""
    assert presence.rises_above(second, 133.0) == 5


def test_of_two_with_one_term_and_nothing_between_them_the_greater_id_rises() -> None:
    higher = presence.hear(reigning("b"), other("a"), 101.0)
    lower = presence.hear(reigning("a"), other("b"), 101.0)
    for now_s in (106.0, 111.0, 116.0):
        higher = presence.hear(higher, other("a"), now_s)
        lower = presence.hear(lower, other("b"), now_s)
    assert presence.rises_above(higher, 116.0) == 5
    assert presence.rises_above(lower, 116.0) == 0
    assert presence.rises_above(higher, 115.0) == 0
    risen = presence.take(higher, 6)
    assert presence.why_stand_down(presence.hear(lower, presence.say(risen).beacon(), 117.0), 117.0)


def test_a_host_that_invents_ever_higher_numbers_makes_the_farm_rise_once() -> None:
    bench = Bench("a", "b")
    bench.hello()
    bench.report("a", observed=(bench.farm.reign.term, 50))
    draft = bench.round()
    assert draft.outranked_by == {"a"}
    known = presence.doubt(reigning(), draft.outranked, frozenset(draft.outranked_by), 101.0)
    bench.farm.reign = replace(presence.take(known, 9).reign(), connected_s=0.0)
    bench.hello()
    bench.report("a", observed=(9, 60))
    bench.report("b")
    draft = bench.round()
    assert not draft.outranked
    assert "never issued" in bench.farm.printers["a"].hold
    bench.submit()
    bench.round()
    assert bench.on("b") is not None, "the farm goes on without it"
    assert bench.on("a") is None
