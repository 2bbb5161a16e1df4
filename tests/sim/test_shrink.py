"""A failing history is shrunk to the faults that it needs, and the command line says so."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from klipper_extras import rules
from tests.sim import __main__ as runner
from tests.sim.invariants import breaches_of
from tests.sim.play import run
from tests.sim.scenario import Fault, Scenario, Wish, draw
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


NEEDED = "cut"


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> tuple[Scenario, pytest.MonkeyPatch]:
    """A farm without fences: a cut host prints on while its copy is printed elsewhere."""
    calm = replace(
        draw(0, "fence"), hosts=2, wishes=(Wish(0.0, 1, "fence"),), faults=(),
        drop=0.0, double=0.0, delay_max_s=0.3,
    )  # fmt: skip
    (start,) = run(calm).history.of("started")
    at_s = start.at_s - 1_000.0 + 1.0
    noise = [Fault(at_s + n, kind, start.host, 1.0, 0.5) for n, kind in enumerate(
        ("wall_clock", "job_move", "backup", "stale_clear", "broker", "disk_full", "macro")
    )]  # fmt: skip
    needed = Fault(at_s, NEEDED, start.host, 120.0)
    monkeypatch.setattr(rules, "is_expired", lambda *_: False)
    return replace(calm, faults=(*noise[:4], needed, *noise[4:])), monkeypatch


def test_a_broken_promise_is_shrunk_and_written_down_as_a_test(
    broken: tuple[Scenario, pytest.MonkeyPatch],
) -> None:
    scenario, patched = broken
    assert first_breach(scenario) == "fence_holds"
    shrunk = shrink(scenario, "fence_holds")
    assert [fault.kind for fault in shrunk.faults] == [NEEDED]
    written = as_test(shrunk, "fence_holds")
    # As written it is drawn from the seed alone; here the farm is smaller than the seed's.
    names: dict[str, Any] = {"Fault": Fault, "replace": replace, "run": run}
    names["draw"] = lambda *_: shrunk
    exec(written, names | {"breaches_of": breaches_of}, names)
    kept = names["test_seed_0_fence_fence_holds"]
    kept.__globals__.update(names)
    with pytest.raises(AssertionError):
        kept()
    patched.undo()
    kept()


def test_the_command_tells_the_first_violation_and_how_to_replay_it(
    broken: tuple[Scenario, pytest.MonkeyPatch],
    capsys: pytest.CaptureFixture[str],
) -> None:
    scenario, patched = broken
    patched.setattr(runner, "draw", lambda *_: scenario)
    patched.setattr(runner, "run", lambda *_: run(scenario))
    assert runner.main(["--seeds", "1", "--seed", "0", "--processes", "1"]) == 1
    told = capsys.readouterr().out
    assert "seed 0 breaks fence_holds" in told
    assert "1 faults are needed" in told
    assert "replay: ./install.sh sim --seeds 1 --seed 0" in told
    assert "violations: 1" in told.splitlines()[-1]
    patched.undo()
    assert runner.main(["--seeds", "1", "--seed", "0", "--processes", "1"]) == 0
    assert "violations: 0" in capsys.readouterr().out.splitlines()[-1]


@pytest.mark.parametrize("arguments", [["--mutant", "nobody"], ["--seeds", "0"], ["--kind", "x"]])
def test_the_command_says_what_it_would_take(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        runner.main(arguments)
    assert arguments[0] in capsys.readouterr().err
