"""The decisions of the Klipper section, as values: start, latch, fence, outcome."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

from klipper_extras import rules

EXTRAS = Path(rules.__file__).parent
NOW = 1000.0
CLEAR = rules.Latch("t1", True)


def ask(**changes: Any) -> Any:
    values: dict[str, Any] = {
        "attempt": "a1",
        "copy": "c1",
        "job": "j1",
        "filename": "moonfleet/a1/part.gcode",
        "deadline_boottime_s": NOW + 5,
        "bed_token": "t1",
        "fence_s": 0.0,
        "fence_until_boottime_s": 0.0,
    }
    return rules.Ask(**{**values, **changes})


def code(refusal: Any) -> str:
    return "" if refusal is None else str(refusal.code)


def start(
    now: float = NOW,
    latch: Any = CLEAR,
    printing: str = "",
    used: tuple[str, ...] = (),
    **changes: Any,
) -> str:
    return code(rules.refuse_start(ask(**changes), now, latch, printing, used))


def test_rules_know_no_files_clocks_or_threads() -> None:
    tree = ast.parse((EXTRAS / "rules.py").read_text())
    imported = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    relative = [n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)]
    assert imported == {"collections", "math", "re"}
    assert relative == []


# Start


def test_a_start_in_time_on_a_clear_bed_is_not_refused() -> None:
    assert start() == ""


@pytest.mark.parametrize(
    ("wanted", "changes"),
    [
        ("deadline", {"now": NOW + 5}),
        ("deadline", {"now": NOW + 60}),
        ("deadline", {"deadline_boottime_s": float("nan")}),
        ("deadline", {"deadline_boottime_s": float("inf")}),
        ("deadline", {"deadline_boottime_s": -1.0}),
        ("deadline", {"fence_s": 5.0, "fence_until_boottime_s": NOW}),
        ("deadline", {"fence_s": float("nan")}),
        ("bed_not_clear", {"latch": rules.Latch("t1", False)}),
        ("bed_token", {"bed_token": "t0"}),
        ("bed_token", {"bed_token": ""}),
        ("printing", {"printing": "a print is active"}),
        ("used", {"used": ("a1",)}),
    ],
)
def test_a_start_is_refused_with_its_code(wanted: object, changes: dict[str, Any]) -> None:
    assert start(**changes) == wanted


@pytest.mark.parametrize(
    ("attempt", "filename"),
    [
        ("..", "moonfleet/../part.gcode"),
        (".a", "moonfleet/.a/part.gcode"),
        ("a/b", "moonfleet/a/b/part.gcode"),
        ("", "moonfleet//part.gcode"),
        ("a" * 101, f"moonfleet/{'a' * 101}/part.gcode"),
        ("a1\n", "moonfleet/a1\n/part.gcode"),
        ("a1", "moonfleet/a2/part.gcode"),
        ("a1", "part.gcode"),
        ("a1", "moonfleet/a1/part.txt"),
        ("a1", "moonfleet/a1/a b.gcode"),
        ("a1", "moonfleet/a1/x;M112.gcode"),
        ("a1", "moonfleet/a1/../../etc.gcode"),
        ("a1", "/moonfleet/a1/part.gcode"),
    ],
)
def test_an_unsafe_name_is_refused(attempt: str, filename: str) -> None:
    assert start(attempt=attempt, filename=filename) == "unsafe_name"


@pytest.mark.parametrize("text", ["x" * 201, "a\x00b", "\ud800"])
def test_labels_are_bounded_and_printable(text: str) -> None:
    assert start(copy=text) == "unsafe_name"
    assert start(job=text) == "unsafe_name"


def test_a_used_id_is_told_before_what_may_change_by_itself() -> None:
    assert start(used=("a1",), now=NOW + 60, printing="busy") == "used"


# Records


def test_an_ended_record_keeps_its_first_outcome() -> None:
    record = rules.start_record(ask(), 3)
    assert (record.state, record.outcome, record.serial) == ("started", "", 3)
    cancelled = rules.end_record(record, "cancelled", "by a person")
    assert rules.end_record(cancelled, "complete", "") == cancelled
    assert (cancelled.state, cancelled.outcome, cancelled.reason) == (
        "ended", "cancelled", "by a person",
    )  # fmt: skip


def test_an_outcome_outside_the_contract_is_an_error_that_names_it() -> None:
    with pytest.raises(ValueError, match=r"'finished'.*complete, error, cancelled, interrupted"):
        rules.end_record(rules.start_record(ask(), 1), "finished", "")


def test_a_reason_survives_json_and_is_bounded() -> None:
    ended = rules.end_record(rules.start_record(ask(), 1), "error", "\ud800" + "x" * 9999)
    assert len(ended.reason) == rules.REASON_MAX
    assert ended.reason.encode("utf-8").startswith(b"?x")


# Latch


@pytest.mark.parametrize(
    ("clear_text", "token_text", "can_drop", "wanted"),
    [
        ("t1", "t1", True, rules.Latch("t1", True)),
        (None, "t1", True, rules.Latch("t1", False)),
        ("t0", "t1", True, rules.Latch("t1", False)),
        ("t1", "t1", False, rules.Latch("t1", False)),
        ("t1", None, True, rules.Latch("fresh", False)),
        ("", "", True, rules.Latch("fresh", False)),
        (None, None, True, rules.Latch("fresh", False)),
    ],
)
def test_the_latch_is_clear_only_if_all_of_the_disk_says_so(
    clear_text: str | None, token_text: str | None, can_drop: bool, wanted: object
) -> None:
    assert rules.read_latch(clear_text, token_text, "fresh", can_drop) == wanted


@pytest.mark.parametrize(
    ("token", "printing", "wanted"),
    [
        ("t1", "", ""),
        (None, "", ""),
        ("t0", "", "bed_token"),
        ("", "", "bed_token"),
        ("t1", "busy", "printing"),
        (None, "busy", "printing"),
    ],
)
def test_who_may_call_the_bed_clear(token: str | None, printing: str, wanted: object) -> None:
    assert code(rules.refuse_clear(rules.Latch("t1", False), token, printing)) == wanted


# Fence


def fence(until: float = NOW + 10, fence_s: float = 10.0) -> Any:
    return rules.arm_fence(ask(fence_s=fence_s, fence_until_boottime_s=until), NOW)


def test_no_fence_never_expires_and_cannot_be_fed() -> None:
    none = rules.arm_fence(ask(), NOW)
    assert none == rules.NO_FENCE
    assert not rules.is_expired(none, 1e12)
    assert code(rules.refuse_feed(none, "a1", NOW + 5, "a1")) == "fence"
    assert code(rules.refuse_feed(none, "", NOW + 5, "")) == "fence"


def test_a_fence_without_an_end_counts_from_the_start() -> None:
    assert fence(until=0.0).until_boottime_s == NOW + 10


def test_a_fence_expires_at_its_end_and_once() -> None:
    armed = fence()
    assert not rules.is_expired(armed, NOW + 9.999)
    assert rules.is_expired(armed, NOW + 10)
    fired = rules.fire_fence(armed, "p1")
    assert not rules.is_expired(fired, NOW + 99)
    assert rules.refuse_resume(armed) is None
    assert "FENCE_RELEASE ATTEMPT=a1" in rules.refuse_resume(fired).text


def test_feeding_never_lowers_the_end() -> None:
    assert rules.feed_fence(fence(), NOW + 20, NOW).until_boottime_s == NOW + 20
    assert rules.feed_fence(fence(), NOW + 5, NOW).until_boottime_s == NOW + 10


@pytest.mark.parametrize(
    ("fired", "attempt", "until", "printing"),
    [
        (True, "a1", NOW + 20, "a1"),
        (False, "a2", NOW + 20, "a1"),
        (False, "a1", float("nan"), "a1"),
        (False, "a1", NOW + 20, ""),
        (False, "a1", NOW + 20, "a2"),
    ],
)
def test_what_may_not_be_fed(fired: bool, attempt: str, until: float, printing: str) -> None:
    state = rules.fire_fence(fence(), "p1") if fired else fence()
    assert code(rules.refuse_feed(state, attempt, until, printing)) == "fence"


def test_a_lift_names_its_pause_and_arms_anew() -> None:
    fired = rules.fire_fence(fence(), "p1")
    assert code(rules.refuse_lift(fired, "a1", "p0", 0.0)) == "fence"
    assert code(rules.refuse_lift(fired, "a2", "p1", 0.0)) == "fence"
    assert code(rules.refuse_lift(fired, "a1", "", 0.0)) == "fence"
    assert code(rules.refuse_lift(fired, "a1", "p1", float("inf"))) == "fence"
    assert rules.refuse_lift(fired, "a1", "p1", 0.0) is None
    lifted = rules.lift_fence(fired, "p1", 0.0, NOW + 50)
    assert not rules.is_expired(lifted, NOW + 59)
    assert rules.is_expired(lifted, NOW + 60)
    assert rules.lift_fence(fired, "p1", NOW + 99, NOW + 50).until_boottime_s == NOW + 99


def test_a_doubled_lift_changes_nothing_and_a_late_one_not_the_next_pause() -> None:
    lifted = rules.lift_fence(rules.fire_fence(fence(), "p1"), "p1", 0.0, NOW + 50)
    assert rules.refuse_lift(lifted, "a1", "p1", 0.0) is None
    assert rules.lift_fence(lifted, "p1", 0.0, NOW + 55) == lifted
    again = rules.fire_fence(lifted, "p2")
    assert code(rules.refuse_lift(again, "a1", "p1", 0.0)) == "fence"


def test_a_person_releases_by_name_and_a_late_feed_does_not_fire_it_again() -> None:
    fired = rules.fire_fence(fence(), "p1")
    assert code(rules.refuse_release(fence(), "a1")) == "fence"
    assert code(rules.refuse_release(fired, "a2")) == "fence"
    assert rules.refuse_release(fired, "a1") is None
    released = rules.release_fence(fired)
    assert (released.released, released.fired) == ("p1", False)
    assert not rules.is_expired(released, NOW + 999)
    assert rules.feed_fence(released, NOW + 12, NOW + 12) == released
    fed = rules.feed_fence(released, NOW + 30, NOW + 12)
    assert rules.is_expired(fed, NOW + 30)


def test_the_end_of_a_print_ends_its_fence_but_still_tells_of_a_release() -> None:
    assert rules.end_fence(rules.fire_fence(fence(), "p1")) == rules.NO_FENCE
    told = rules.end_fence(rules.release_fence(rules.fire_fence(fence(), "p1")))
    assert (told.attempt, told.released, told.fired) == ("a1", "p1", False)
    assert code(rules.refuse_feed(told, "a1", NOW + 99, "")) == "fence"
