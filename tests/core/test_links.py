"""Download links: what their signature binds, when they are made anew, what clock jumps do."""

from __future__ import annotations

import pytest

from coordinator.core import links
from coordinator.core.attempts import State
from coordinator.core.links import LinkKey, Verdict
from moonraker_component.wire import Phase
from tests.core.build import Bench

KEY = LinkKey(b"k" * 32)
ATTEMPT = "0a1b2c3d-attempt"
URL = "https://farm:8443/api/v1/attempts/{attempt}/file"
PREPARE_S = 1800.0
LIFE_S = links.life_s(PREPARE_S)
NOW_S = 1.7e9


def parts(url: str) -> tuple[str, str]:
    query = url.partition("?")[2]
    until, _, proof = query.partition("&")
    return until.removeprefix("until="), proof.removeprefix("signature=")


def made(attempt: str = ATTEMPT, key: LinkKey = KEY, wall_s: float = NOW_S) -> str:
    return links.url_of(URL, key, attempt, links.fresh_until(wall_s, PREPARE_S))


def judged(url: str, attempt: str = ATTEMPT, key: LinkKey = KEY, wall_s: float = NOW_S) -> Verdict:
    return links.judge(key, attempt, *parts(url), wall_s, LIFE_S)


def test_a_link_is_good_from_its_making_to_its_end() -> None:
    assert made().startswith(f"https://farm:8443/api/v1/attempts/{ATTEMPT}/file?until=17000024")
    assert judged(made()) is Verdict.GOOD
    assert judged(made(), wall_s=NOW_S + LIFE_S - 1) is Verdict.GOOD
    assert judged(made(), wall_s=NOW_S + LIFE_S + 2) is Verdict.EXPIRED


def test_it_holds_for_its_attempt_key_and_end_alone() -> None:
    assert judged(made(), attempt=ATTEMPT + "x") is Verdict.FORGED
    assert judged(made(), key=LinkKey(b"l" * 32)) is Verdict.FORGED
    until, proof = parts(made())
    later, wide = str(int(until) + 1), "\uff11\uff17"
    for forged in (later, "0" + until, until + " ", "", "-1", "9" * 40, wide):
        assert links.judge(KEY, ATTEMPT, forged, proof, NOW_S, LIFE_S) is Verdict.FORGED, forged
    for forged in ("", proof[:-1], proof + "0", proof.upper(), "é" * 64, "0" * 64):
        assert links.judge(KEY, ATTEMPT, until, forged, NOW_S, LIFE_S) is Verdict.FORGED, forged


def test_without_a_key_nothing_holds() -> None:
    assert judged(made(key=LinkKey()), key=LinkKey()) is Verdict.FORGED


def test_the_key_never_shows() -> None:
    assert "kkk" not in repr(KEY)
    assert "kkk" not in f"{KEY!s}"


def test_a_link_is_the_same_until_it_is_made_anew_before_its_end() -> None:
    assert made() == made()
    assert not links.is_due(made(), NOW_S, PREPARE_S)
    assert not links.is_due(made(), NOW_S + PREPARE_S, PREPARE_S)
    assert links.is_due(made(), NOW_S + LIFE_S - links.MARGIN_S / 4, PREPARE_S)
    assert links.is_due("https://farm:8443/old/link", NOW_S, PREPARE_S)


@pytest.mark.parametrize("jump_s", [-1e9, -3600.0, 3600.0, 1e9])
def test_a_link_does_not_outlive_a_jump_of_the_wall_clock(jump_s: float) -> None:
    there_s = NOW_S + jump_s
    assert judged(made(), wall_s=there_s) is Verdict.EXPIRED
    assert links.is_due(made(), there_s, PREPARE_S)
    assert judged(made(wall_s=there_s), wall_s=there_s) is Verdict.GOOD


def test_a_clock_that_is_set_by_a_little_ends_no_link() -> None:
    for step_s in (-links.CLOCK_STEP_S / 2, -1.0, 1.0):
        assert judged(made(), wall_s=NOW_S + step_s) is Verdict.GOOD
        assert not links.is_due(made(), NOW_S + step_s, PREPARE_S)


# ---- in a farm ---------------------------------------------------------------------------------


def wanted(bench: Bench) -> tuple[int, str]:
    """The generation and the link that printer a was given."""
    printer = bench.farm.printers["a"]
    assert printer.issued is not None
    return printer.generation, printer.issued.file.url


def preparing() -> Bench:
    bench = Bench("a")
    bench.hello()
    bench.submit(1)
    bench.round()
    assert bench.live("a").state is State.ASSIGNED
    return bench


def hears(bench: Bench, phase: Phase = Phase.PREPARING) -> None:
    """Its host prepares on."""
    bench.now_s += 1.0
    bench.tell("a", phase)
    bench.round()


def test_rounds_change_no_link() -> None:
    bench = preparing()
    given = wanted(bench)
    for _ in range(5):
        hears(bench)
    assert wanted(bench) == given


@pytest.mark.parametrize("jump_s", [-7200.0, 7200.0])
def test_a_host_that_still_prepares_is_given_a_new_link_once(jump_s: float) -> None:
    bench = preparing()
    generation, link = wanted(bench)
    hears(bench)
    bench.wall_offset_s += jump_s
    hears(bench)
    renewed = wanted(bench)
    assert renewed[0] == generation + 1
    assert renewed[1] != link
    assert links.until_of(renewed[1]) - links.until_of(link) == pytest.approx(jump_s, abs=5.0)
    hears(bench)
    assert wanted(bench) == renewed


def test_a_host_that_has_the_file_is_given_no_other_link() -> None:
    bench = preparing()
    link = wanted(bench)[1]
    hears(bench, Phase.PREPARED)
    bench.wall_offset_s += 7200.0
    hears(bench, Phase.PREPARED)
    assert bench.live("a").state is State.ARMED
    assert wanted(bench)[1] == link
