"""The schedule: the same from the same seed, within its own rules, with something of each kind."""

import itertools

import pytest

from tests.chaos.schedule import (
    HABITS,
    QUIET_S,
    REST_S,
    Fault,
    Kind,
    Lane,
    Rule,
    draw_faults,
    draw_orders,
)

PRINTERS = ("a", "b", "c", "d", "e", "f", "g", "h")
SEEDS = range(40)


def drawn(seed: int, total_s: float = 600.0) -> tuple[Fault, ...]:
    return draw_faults(seed, total_s, PRINTERS, every_s=4.0)


def test_a_seed_is_a_schedule() -> None:
    assert drawn(7) == drawn(7)
    assert drawn(7) != drawn(8)


@pytest.mark.parametrize("seed", SEEDS)
def test_faults_of_one_lane_never_overlap(seed: int) -> None:
    free_at: dict[tuple[Lane, str], float] = {}
    for fault in drawn(seed):
        key = (fault.lane, fault.printer)
        assert fault.at_s >= free_at.get(key, 0.0) - 0.02  # times are rounded
        free_at[key] = fault.at_s + fault.lasts_s + REST_S[fault.lane]


@pytest.mark.parametrize("seed", SEEDS)
def test_each_fault_keeps_the_habits_of_its_kind(seed: int) -> None:
    faults = drawn(seed)
    assert [fault.number for fault in faults] == list(range(1, len(faults) + 1))
    assert [fault.at_s for fault in faults] == sorted(fault.at_s for fault in faults)
    for fault in faults:
        habit = HABITS[fault.kind]
        assert habit.least_s - 0.01 <= fault.lasts_s <= habit.most_s + 0.01
        assert fault.at_s >= QUIET_S
        is_central = fault.lane is Lane.CENTRE
        assert (fault.printer == "") is is_central
        assert is_central or fault.printer in PRINTERS
        is_slow = fault.kind in (Kind.SLOW, Kind.SLOW_HTTP)
        assert (fault.delay_s > 0, fault.bytes_per_s > 0) == (is_slow, is_slow)


def test_ten_minutes_have_each_kind_and_different_kinds_at_one_printer_at_once() -> None:
    for seed in SEEDS:
        faults = drawn(seed)
        assert {fault.kind for fault in faults} == set(Kind)
    both = [
        (one, other)
        for one, other in itertools.combinations(drawn(1), 2)
        if one.printer == other.printer != "" and one.at_s + one.lasts_s > other.at_s
    ]
    assert both  # such as a host that boots while it is cut off


def test_some_faults_end_within_a_lease_and_some_outlast_the_grace() -> None:
    lengths_s = [fault.lasts_s for seed in SEEDS for fault in drawn(seed)]
    assert sum(length_s < 5.0 for length_s in lengths_s) > len(lengths_s) / 5
    assert sum(length_s > 30.0 for length_s in lengths_s) > len(lengths_s) / 20


@pytest.mark.parametrize(
    ("total_s", "printers", "every_s", "named"),
    [
        (0.0, PRINTERS, 4.0, "total_s"),
        (60.0, (), 4.0, "printers"),
        (60.0, PRINTERS, 0.0, "every_s"),
    ],
)
def test_what_makes_no_schedule_is_refused(
    total_s: float, printers: tuple[str, ...], every_s: float, named: str
) -> None:
    with pytest.raises(ValueError, match=named):
        draw_faults(1, total_s, printers, every_s)


def test_orders_mix_all_rules() -> None:
    orders = list(itertools.islice(draw_orders(3, ("x", "y")), 30))
    assert orders == list(itertools.islice(draw_orders(3, ("x", "y")), 30))
    for first in range(0, 30, 3):
        assert {order.rule for order in orders[first : first + 3]} == set(Rule)
    assert {order.file for order in orders} == {"x", "y"}
    assert all(2 <= order.copies <= 4 for order in orders)


def test_a_rule_is_what_is_asked_for() -> None:
    wishes = {order.rule: order.wishes for order in itertools.islice(draw_orders(3, ("x",)), 3)}
    assert wishes[Rule.NEVER]["offline_grace_s"] == "never"
    assert wishes[Rule.FENCE]["fence"] is True
    assert not {"offline_grace_s", "fence"} & set(wishes[Rule.DEFAULT])
