"""A failing history is shrunk to the faults that it needs, and the command line says so."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from klipper_extras import rules
from tests.sim import __main__ as runner
from tests.sim.invariants import breaches_of
from tests.sim.play import run
from tests.sim.scenario import Fault, draw
from tests.sim.shrink import as_test, first_breach, minimal, shrink


def faults(*numbers: int) -> tuple[Fault, ...]:
    return tuple(Fault(float(n), "cut", "p0", 1.0) for n in numbers)


@pytest.mark.parametrize("needed", [(), (3,), (0, 19), (4, 5, 6), (1, 7, 11, 13)])
def test_what_is_left_is_what_is_needed(needed: tuple[int, ...]) -> None:
    def still(left: tuple[Fault, ...]) -> bool:
        return set(faults(*needed)) <= set(left)

    assert minimal(faults(*range(20)), still) == faults(*needed)


def test_the_search_has_a_bound() -> None:
    tries: list[int] = []

    def still(left: tuple[Fault, ...]) -> bool:
        tries.append(len(left))
        return len(left) == 20

    minimal(faults(*range(20)), still, runs_max=7)
    assert len(tries) == 7


def without_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rule is gone: Klipper starts whatever it was once asked for."""
    refuse = rules.refuse_start

    def late(ask: rules.Ask, now_s: float, *rest: object) -> object:
        return refuse(ask._replace(deadline_boottime_s=1e12), now_s, *rest)

    monkeypatch.setattr(rules, "refuse_start", late)


def broken_seed() -> int:
    """Of a farm whose network alone is too quick to make a start late."""
    quick = (seed for seed in range(1_000) if draw(seed).delay_max_s <= 1.0)
    return next(seed for seed in quick if first_breach(draw(seed)) == "starts_under_a_lease")


def test_a_broken_promise_is_shrunk_to_a_minimal_list_of_faults(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    without_deadline(monkeypatch)
    scenario = draw(broken_seed())
    shrunk = shrink(scenario, "starts_under_a_lease")
    assert 0 < len(shrunk.faults) < len(scenario.faults)
    for fault in shrunk.faults:
        assert not any("starts_under_a_lease" in b for b in breaches_of(run(shrunk.without(fault))))
    written = as_test(shrunk, "starts_under_a_lease")
    names: dict[str, Any] = {"Fault": Fault, "draw": draw, "replace": replace, "run": run}
    exec(written, names | {"breaches_of": breaches_of}, names)
    kept = names[written.split()[1].partition("(")[0]]
    kept.__globals__.update(names)
    with pytest.raises(AssertionError):
        kept()
    monkeypatch.undo()
    kept()


def test_the_command_tells_the_first_violation_and_how_to_replay_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    without_deadline(monkeypatch)
    seed = broken_seed()
    assert runner.main(["--seeds", "1", "--seed", str(seed), "--processes", "1"]) == 1
    told = capsys.readouterr().out
    assert f"seed {seed} breaks starts_under_a_lease" in told
    assert f"replay: ./install.sh sim --seeds 1 --seed {seed}" in told
    assert "violations: 1" in told.splitlines()[-1]
    monkeypatch.undo()
    assert runner.main(["--seeds", "1", "--seed", str(seed), "--processes", "1"]) == 0
    assert "violations: 0" in capsys.readouterr().out.splitlines()[-1]


@pytest.mark.parametrize("arguments", [["--mutant", "nobody"], ["--seeds", "0"], ["--kind", "x"]])
def test_the_command_says_what_it_would_take(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        runner.main(arguments)
    assert arguments[0] in capsys.readouterr().err
