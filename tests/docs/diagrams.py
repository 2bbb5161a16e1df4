"""State diagrams for people, made from the tables that the code walks.

Owns docs/states.md: `python -m tests.docs.diagrams` writes it, a test compares. Mermaid, because
code forges draw it.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import TypeVar

from coordinator.core import attempts, jobs
from moonraker_component import attempt as host_attempt
from moonraker_component.wire import Phase

S = TypeVar("S", bound=Enum)
E = TypeVar("E", bound=Enum)

TARGET = Path(__file__).parents[2] / "docs" / "states.md"

INTRODUCTION = """# States

Made from the tables in the code by `python -m tests.docs.diagrams`; do not edit by hand. An event
that has no arrow in a state changes nothing there, and is logged.
"""


def diagram(table: Mapping[S, Mapping[E, S]], first: S) -> str:
    """One table as a mermaid state diagram; states without a way out are ends."""
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {first.value}"]
    for state, ways in table.items():
        by_target: dict[str, list[str]] = {}
        for event, target in ways.items():
            by_target.setdefault(target.value, []).append(event.value)
        for target_name, events in by_target.items():
            lines.append(f"    {state.value} --> {target_name}: {', '.join(events)}")
        if not ways:
            lines.append(f"    {state.value} --> [*]")
    return "\n".join([*lines, "```"])


def document() -> str:
    """The whole of docs/states.md."""
    return "\n".join(
        [
            INTRODUCTION,
            "## A job (coordinator/core/jobs.py)",
            "",
            "Queued and printing are both `active`: which one follows from its attempts.",
            "",
            diagram(jobs.TRANSITIONS, jobs.JobState.ACTIVE),
            "",
            "## An attempt, as the coordinator knows it (coordinator/core/attempts.py)",
            "",
            "From `armed` on only its host's answer (`settle`) ends it: silence proves nothing.",
            "",
            diagram(attempts.TRANSITIONS, attempts.State.ASSIGNED),
            "",
            "## An attempt, as its host knows it (moonraker_component/attempt.py)",
            "",
            diagram(host_attempt.TRANSITIONS, Phase.PREPARING),
            "",
        ]
    )


if __name__ == "__main__":
    TARGET.write_text(document(), encoding="utf-8")
