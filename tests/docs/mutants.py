"""The table of mutants for people, made from the catalogue that the simulation runs.

Owns docs/mutants.md: `python -m tests.docs.mutants` writes it, a test compares.
"""

from __future__ import annotations

from pathlib import Path

from tests.sim import mutants
from tests.sim.invariants import ALL
from tests.sim.turns import Mutant

TARGET = Path(__file__).parents[2] / "docs" / "mutants.md"

INTRODUCTION = """# Promises, and what breaks them

Made from the code by `python -m tests.docs.mutants`; do not edit by hand.

`./install.sh sim` plays whole farms under faults, with the product's own code, and judges each
history by the promises below. That a promise would notice is shown by mutants: the product with one
rule removed. `./install.sh sim --mutant NAME` plays farms with that mutant until a promise is
broken, and `--mutant all` does so with each.
"""

PROMISES = """
## Promises

| promise | what must hold |
|---|---|
"""

TRACES = """
## A mutant for each trace

A trace is a history that broke a promise before the rule was there (tests/sim/test_traces.py plays
them by hand). The mutant removes the rule.

| trace | mutant | what goes wrong | noticed by |
|---|---|---|---|
"""

MORE = """
## More mutants

| mutant | what goes wrong | noticed by |
|---|---|---|
"""


def document() -> str:
    """The text of docs/mutants.md."""
    promises = [f"| {check.__name__} | {_first_line(check.__doc__)} |" for check in ALL]
    traces = [f"| {mutant.trace} | {_row(mutant)} |" for mutant in mutants.TRACES]
    more = [f"| {_row(mutant)} |" for mutant in mutants.MORE]
    parts = (PROMISES, promises), (TRACES, traces), (MORE, more)
    return INTRODUCTION + "".join(head + "\n".join(rows) + "\n" for head, rows in parts)


def _row(mutant: Mutant) -> str:
    return f"{mutant.name} | {mutant.text} | {mutant.caught_by}"


def _first_line(text: str | None) -> str:
    return (text or "").strip().partition("\n")[0].strip()


if __name__ == "__main__":
    TARGET.write_text(document(), encoding="utf-8")
