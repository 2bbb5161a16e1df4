"""What hosts and files say reaches a terminal as text, never as commands to it."""

from __future__ import annotations

import json

import pytest

from coordinator.cli import tables
from coordinator.cli.client import CliError
from coordinator.cli.output import Output, harmless

CLEAR_SCREEN = "\x1b[2J"
HOSTILE = f"a{CLEAR_SCREEN}\x9b31m\x07\x7f\u202eb\u2066\r\u2028\u200b"


@pytest.mark.parametrize("as_json", [False, True])
def test_no_control_character_reaches_the_terminal(
    as_json: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    output = Output(as_json)
    output.show(f"ä ▶ {HOSTILE}\n", {"title": HOSTILE})
    output.progress(HOSTILE)
    output.fail(CliError(HOSTILE, {"error": HOSTILE}))
    for said in capsys.readouterr():
        assert all(letter.isprintable() or letter == "\n" for letter in said), ascii(said)
        assert "a\\u001b[2J" in said


def test_scripts_get_the_very_value(capsys: pytest.CaptureFixture[str]) -> None:
    Output(True).json({"title": HOSTILE + "ä\\\n"})
    assert json.loads(capsys.readouterr().out) == {"title": HOSTILE + "ä\\\n"}


def test_a_cell_cannot_end_its_row() -> None:
    text = tables.table(("A", "B"), [("1\n2", "x\ty")])
    assert text.splitlines() == ["A         B", "1\\u000a2  x\\u0009y"]


def test_what_people_write_stays() -> None:
    text = "Prüfstück №5, 打印 🔧\n  zwei"
    assert harmless(text) == text
