"""The state diagrams in docs/ are those of the code."""

from __future__ import annotations

from tests.docs.diagrams import TARGET, document


def test_the_diagrams_are_current() -> None:
    assert TARGET.read_text(encoding="utf-8") == document(), "run: python -m tests.docs.diagrams"
