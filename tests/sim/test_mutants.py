"""Each mutant is caught by the promise that is there for it; and how mutants are made.

The search over many seeds is `./install.sh sim --mutant all`. Here a seed that is known to catch is
tried first. Where a change of the simulation has moved the histories, the next ones are tried, and
the hint is worth renewing: the failure of a bound says so.
"""

from __future__ import annotations

import pytest

from coordinator.core import reconcile
from coordinator.core.attempts import Attempt
from klipper_extras import rules
from moonraker_component import decisions, following
from tests.docs.mutants import TARGET, document
from tests.sim.invariants import ALL, breaches_of
from tests.sim.mutants import MUTANTS, TRACES
from tests.sim.play import run
from tests.sim.turns import Mutant, Turn, TurnLost

TRIES_MAX = 60
TRACES_KNOWN = 21

HINTS: dict[str, tuple[str, int]] = {
    "silence-is-not-started": ("mixed", 0),
    "lease-from-receipt": ("mixed", 10),
    "clock-stops-in-sleep": ("", 140),
    "no-deadline-in-klipper": ("mixed", 111),
    "prepared-outlives-restart": ("mixed", 2),
    "session-at-its-word": ("mixed", 16),
    "forgotten-is-waited-for": ("mixed", 22),
    "lost-frees-printer": ("mixed", 77),
    "one-slot-in-report": ("mixed", 0),
    "run-as-pure-level": ("mixed", 7),
    "fence-above-klipper": ("fence", 11),
    "resume-passes-fence": ("fence", 11),
    "fence-never-lifted": ("fence", 0),
    "withdrawal-outlives-start": ("fence", 22),
    "clear-without-token": ("mixed", 97),
    "old-database-unnoticed": ("backups", 6),
    "own-absence-is-silence": ("mixed", 0),
    "will-is-believed": ("mixed", 0),
    "one-permission-two-hosts": ("clones", 0),
    "command-never-late": ("mixed", 8),
    "term-unconfirmed": ("rivals", 0),
    "copy-counts-twice": ("mixed", 46),
    "bed-not-looked-at": ("mixed", 3),
    "end-told-once": ("mixed", 2),
    "older-orders-obeyed": ("", 67),
    "retained-grants-a-lease": ("mixed", 10),
    "start-before-row": ("mixed", 1),
    "fence-lifted-beside-another": ("fence", 11),
    "said-before-committed": ("mixed", 16),
}
"""Where each was last seen to be caught: kind of farm and seed."""


def broken_in(seed: int, kind: str) -> set[str]:
    """The names of the promises that this history breaks."""
    return {breach.partition(":")[0] for breach in breaches_of(run(seed, kind))}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_caught_by_its_promise(name: str) -> None:
    mutant = MUTANTS[name]
    kind, hint = HINTS.get(name, ("", 0))
    for seed in (hint, *range(TRIES_MAX)):
        with mutant.applied():
            broken = broken_in(seed, kind)
        # A history that breaks without the mutant as well proves nothing of it.
        if mutant.caught_by in broken and mutant.caught_by not in broken_in(seed, kind):
            return
    pytest.fail(f"{TRIES_MAX} histories of kind {kind!r} do not break {mutant.caught_by}")


def test_each_trace_has_a_mutant_and_each_mutant_a_promise() -> None:
    assert [mutant.trace for mutant in TRACES] == list(range(1, TRACES_KNOWN + 1))
    assert {mutant.caught_by for mutant in MUTANTS.values()} <= {check.__name__ for check in ALL}


def test_the_table_in_the_documents_is_current() -> None:
    assert TARGET.read_text(encoding="utf-8") == document(), "run: python -m tests.docs.mutants"


def test_a_wrong_turn_is_taken_by_those_who_imported_the_function_by_name() -> None:
    turn = Turn(following.adopt, "effects: Effects = ()\n", "raise LookupError\n")
    with Mutant("adopts-nothing", 0, "", "", (turn,)).applied(), pytest.raises(LookupError):
        vars(decisions)["adopt"](None)


def test_a_mutant_is_taken_back_exactly_whatever_happens_meanwhile() -> None:
    assert isinstance(Attempt.live, property)
    functions = [Attempt.live.fget, reconcile._silences, reconcile._limit_s]
    before = [function.__code__ for function in functions]
    for name in ("lost-frees-printer", "silence-is-not-started"):
        with pytest.raises(KeyError), MUTANTS[name].applied():
            raise KeyError
    after = [function.__code__ for function in functions]
    assert all(new is old for new, old in zip(after, before, strict=True))


def test_a_rule_that_is_not_where_it_was_is_told() -> None:
    turns = (
        Turn(rules.refuse_resume, "not fence.fired", "True"),
        Turn(rules.refuse_resume, "words that stand nowhere", ""),
    )
    code = rules.refuse_resume.__code__
    lost = Mutant("lost", 0, "", "", turns)
    with pytest.raises(TurnLost, match="stands 0 times in refuse_resume"), lost.applied():
        pytest.fail("a mutant without its rule was applied")
    assert rules.refuse_resume.__code__ is code
