"""How long the next login waits: grows with failures, ends by itself, and is bounded."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from coordinator.people.limits import (
    ADDRESS_FREE,
    FORGOTTEN_S,
    KEPT_MAX,
    NAME_FREE,
    WAIT_FIRST_S,
    WAIT_MAX_S,
    Failures,
    Ledger,
    LoginLimits,
    network_of,
    one_more,
    wait_s,
)

HOME = "192.0.2.1"


def after(failures: int, limits: LoginLimits, name: str = "ann", address: str = HOME) -> None:
    for _ in range(failures):
        limits.begin(name, address, 100.0)


def test_the_first_failures_cost_nothing() -> None:
    limits = LoginLimits()
    after(NAME_FREE - 1, limits)
    assert limits.wait_s("ann", HOME, 100.0) == 0
    assert limits.begin("ann", HOME, 100.0) is True
    assert limits.wait_s("ann", HOME, 100.0) == WAIT_FIRST_S
    assert limits.wait_s("bob", HOME, 100.0) == 0
    assert limits.begin("ann", HOME, 100.0) is False


def test_an_address_that_tries_many_names_has_to_wait() -> None:
    limits = LoginLimits()
    for number in range(ADDRESS_FREE):
        limits.begin(f"name{number}", HOME, 100.0)
    assert limits.wait_s("somebody", HOME, 100.0) == WAIT_FIRST_S
    assert limits.wait_s("somebody", "192.0.2.2", 100.0) == 0


def test_an_address_of_ipv6_is_its_network() -> None:
    limits = LoginLimits()
    for number in range(ADDRESS_FREE):
        limits.begin(f"name{number}", f"2001:db8::{number:x}", 100.0)
    assert limits.wait_s("somebody", "2001:db8::ffff", 100.0) == WAIT_FIRST_S
    assert limits.wait_s("somebody", "2001:db8:0:1::1", 100.0) == 0
    assert network_of("::ffff:192.0.2.1") == network_of("192.0.2.1") == HOME
    assert network_of("no address") == "no address"


def test_a_login_that_succeeds_forgets_the_name_and_not_the_address() -> None:
    limits = LoginLimits()
    after(ADDRESS_FREE, limits)
    limits.succeeded("ann", "192.0.2.9")
    assert limits.wait_s("ann", "192.0.2.9", 100.0) == 0
    assert limits.wait_s("ann", HOME, 100.0) > 0


def test_a_try_that_was_not_made_does_not_count() -> None:
    limits = LoginLimits()
    for _ in range(10 * ADDRESS_FREE):
        limits.begin("ann", HOME, 100.0)
        limits.take_back("ann", HOME)
    assert limits.wait_s("ann", HOME, 100.0) == 0


@given(count=st.integers(1, 10**6), ago_s=st.floats(0, 10**6))
def test_a_wait_is_bounded_and_ends(count: int, ago_s: float) -> None:
    left_s = wait_s(Failures(count, 0.0), NAME_FREE, ago_s)
    assert 0 <= left_s <= WAIT_MAX_S
    assert wait_s(Failures(count, 0.0), NAME_FREE, ago_s + left_s) == 0
    assert wait_s(Failures(count + 1, 0.0), NAME_FREE, ago_s) >= left_s


def test_after_an_hour_without_one_the_count_begins_anew() -> None:
    assert one_more(Failures(50, 0.0), FORGOTTEN_S + 1).count == 1
    assert one_more(Failures(50, 0.0), FORGOTTEN_S - 1).count == 51
    assert FORGOTTEN_S > WAIT_MAX_S


def test_memory_is_bounded_and_the_latest_failures_stay() -> None:
    ledger = Ledger(NAME_FREE)
    for number in range(KEPT_MAX + 100):
        ledger.count(f"name{number}", float(number))
    assert len(ledger._kept) == KEPT_MAX
    assert "name0" not in ledger._kept
    assert f"name{KEPT_MAX + 99}" in ledger._kept
