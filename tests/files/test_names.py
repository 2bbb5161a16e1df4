"""Names of files: what is refused, and what hosts get."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.files.names import BadFileName, display_name, host_name, is_host_name


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ("", "is empty"),
        ("   ", "is empty"),
        ("../evil.gcode", "is a path"),
        ("..\\evil.gcode", "is a path"),
        ("/etc/passwd.gcode", "is a path"),
        ("C:\\x.gcode", "is a path"),
        ("a/b.gcode", "is a path"),
        ("a\nb.gcode", "has a control character"),
        ("a\0.gcode", "has a control character"),
        ("a.gcode\n", "has a control character"),
        ("edocg.\u202eb.gcode", "has a control character"),
        ("\ud800.gcode", "has a control character"),
        ("a" * 195 + ".gcode", "has 201 characters"),
        ("model.stl", "does not end like G-code"),
        ("..", "does not end like G-code"),
        (".gcode", "has nothing before its ending"),
        ("...gcode", "has nothing before its ending"),
    ],
)
def test_a_bad_name_is_refused_with_what_is_allowed(raw: str, reason: str) -> None:
    with pytest.raises(BadFileName) as refused:
        display_name(raw)
    assert reason in str(refused.value)
    assert "allowed is a plain name of 1 to 200 characters" in str(refused.value)
    with pytest.raises(BadFileName):
        host_name(raw)


@pytest.mark.parametrize(
    ("raw", "host"),
    [
        ("tile_pla.gcode", "tile_pla.gcode"),
        ("Benchy (final) #2.gcode", "Benchy_final_2.gcode"),
        ("Größe Ø10.GCODE", "Große_10.gcode".replace("ß", "_")),
        ("a.g", "a.gcode"),
        ("a.gco", "a.gcode"),
        ("-rf.gcode", "rf.gcode"),
        (".hidden.gcode", "hidden.gcode"),
        ("a..b.gcode", "a..b.gcode"),
        ("日本.gcode", "print.gcode"),
        ("x" * 190 + ".gcode", "x" * 94 + ".gcode"),
    ],
)
def test_hosts_get_a_plain_name(raw: str, host: str) -> None:
    assert host_name(raw) == host
    assert is_host_name(host)


def test_people_keep_the_name_they_gave() -> None:
    assert display_name(" Größe 10.gcode ") == "Größe 10.gcode"
    assert display_name("e\u0301.gcode") == "é.gcode"


@pytest.mark.parametrize("name", ["", ".gcode", "-a.gcode", "a.stl", "a b.gcode", "a/b.gcode"])
def test_what_no_host_may_store(name: str) -> None:
    assert not is_host_name(name)


@given(st.text(max_size=210))
def test_every_accepted_name_has_a_safe_host_name_that_stays_itself(stem: str) -> None:
    try:
        name = host_name(stem + ".gcode")
    except BadFileName:
        return
    assert is_host_name(name)
    assert host_name(name) == name
