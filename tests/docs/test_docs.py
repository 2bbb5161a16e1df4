"""Each option, topic, field, G-code and endpoint is written about, and nothing that is gone.

Owns the comparison of docs/ with the code. docs/api.md and docs/cli.md are compared where those
are tested.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from coordinator import events
from coordinator.broker_acl import PRINTER_HEARS, PRINTER_SAYS
from coordinator.config import Config
from moonraker_component import options, wire
from moonraker_component.wire import Topics

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
KLIPPER = ROOT / "klipper_extras"
PAGES = sorted(DOCS.glob("*.md"))

# Types that stand on a topic, by the heading that tells of each.
ON_TOPICS = (
    wire.Beacon,
    wire.Desired,
    wire.Report,
    wire.Online,
    wire.Telemetry,
    wire.Event,
    wire.Command,
    wire.JobReady,
    wire.JobEvent,
)


def page(name: str) -> str:
    return (DOCS / name).read_text()


def section(text: str, heading: str) -> str:
    """What stands below a heading, up to the next one of its rank or above."""
    found = re.search(rf"^(#+) {re.escape(heading)}$", text, re.MULTILINE)
    assert found is not None, f"no heading {heading!r}"
    rest = text[found.end() :]
    end = re.search(rf"^#{{1,{len(found[1])}}} ", rest, re.MULTILINE)
    return rest[: end.start()] if end else rest


def rows(text: str) -> list[list[str]]:
    """The cells of every row of its tables, without heads and rulers."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    rulers = {n for n, row in enumerate(cells) if set("".join(row)) <= set("-: ")}
    return [row for n, row in enumerate(cells) if n not in rulers and n + 1 not in rulers]


def names(text: str) -> set[str]:
    """What stands in backticks in the first cell of each row."""
    return {name for row in rows(text) for name in re.findall(r"`([^`]+)`", row[0])}


def coordinator_options() -> dict[str, Any]:
    """Every option by its name, with its default."""
    found: dict[str, Any] = {}
    for field in msgspec.structs.fields(Config):
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            for option in msgspec.structs.fields(field.type):
                found[f"{field.name}.{option.name}"] = option.default
        else:
            found[field.name] = field.default
    return found


def klipper_source() -> str:
    return "\n".join(path.read_text() for path in KLIPPER.glob("*.py"))


# ---- configuration.md -----------------------------------------------------------------------


def test_every_option_of_the_coordinator_has_a_row_with_its_default() -> None:
    text = section(page("configuration.md"), "Coordinator")
    written = {row[0].strip("`"): row[1].strip("`") for row in rows(text)}
    wanted = {name: _shown(default) for name, default in coordinator_options().items()}
    assert written == wanted


def test_bounds_that_are_written_are_those_of_the_code() -> None:
    text = section(page("configuration.md"), "Coordinator")
    allowed = {row[0].strip("`"): row[2] for row in rows(text)}
    for name, (least, most) in _bounds().items():
        text = f"{least:g} to {most:.12g}" if most is not None else f"at least {least:g}"
        assert allowed[name].startswith(text), name


def _shown(default: Any) -> str:
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, int | float):
        return f"{default:.12g}"
    return str(default) if default else "empty"


def _bounds() -> dict[str, tuple[float, float | None]]:
    found: dict[str, tuple[float, float | None]] = {}
    for field in msgspec.structs.fields(Config):
        if not (isinstance(field.type, type) and issubclass(field.type, msgspec.Struct)):
            continue
        for option in msgspec.structs.fields(field.type):
            kind = msgspec.inspect.type_info(option.type)
            if isinstance(kind, msgspec.inspect.IntType | msgspec.inspect.FloatType):
                assert kind.ge is not None, option.name
                found[f"{field.name}.{option.name}"] = (kind.ge, kind.le)
    return found


def test_every_option_of_the_component_has_a_row() -> None:
    text = section(page("configuration.md"), "Moonraker: `[moonfleet]`")
    assert {row[0].strip("`") for row in rows(text)} == set(options.NAMES)


def test_every_option_and_g_code_of_the_klipper_section_has_a_row() -> None:
    source = klipper_source()
    read = set(re.findall(r"config\.get\w*\(\s*[\"'](\w+)", source))
    read |= set(re.findall(r"load_template\(\s*config,\s*[\"'](\w+)", source))
    codes = set(re.findall(r"\bdef cmd_([A-Z_]+)\b", source)) - {"RESUME"}
    text = section(page("configuration.md"), "Klipper: `[moonfleet]`")
    written = {row[0].strip("`").split(" ")[0] for row in rows(text)}
    assert read
    assert codes
    assert written == read | codes


def test_the_reference_of_the_section_has_a_heading_for_each_option_g_code_and_endpoint() -> None:
    source, text = klipper_source(), (KLIPPER / "README.md").read_text()
    wanted = set(re.findall(r"config\.get\w*\(\s*[\"'](\w+)", source))
    wanted |= set(re.findall(r"\bdef cmd_([A-Z_]+)\b", source)) - {"RESUME"}
    wanted |= {
        f"moonfleet/{name}"
        for name in re.findall(r"\bdef _handle_(start|fence|lift|clear)\b", source)
    }
    assert set(re.findall(r"^### (\S+)$", text, re.MULTILINE)) == wanted


# ---- mqtt.md --------------------------------------------------------------------------------


def test_every_topic_has_a_row_that_names_an_existing_type() -> None:
    table = rows(section(page("mqtt.md"), "Topics"))
    written = {row[0].strip("`"): row[-1] for row in table}
    topics = Topics("{p}")
    leaves = (*PRINTER_SAYS, *PRINTER_HEARS)
    wanted = {f"{{p}}/printers/{{id}}/{leaf}" for leaf in leaves}
    wanted |= {topics.coordinator, topics.jobs_ready, topics.job_event("{id}")}
    assert set(written) == wanted
    kinds = {kind.__name__ for kind in ON_TOPICS}
    assert {re.findall(r"\[(\w+)\]", cell)[0] for cell in written.values()} == kinds


def test_what_each_topic_says_of_its_direction_is_what_the_rights_allow() -> None:
    for row in rows(section(page("mqtt.md"), "Topics")):
        leaf = row[0].strip("`").rpartition("/")[2]
        if row[0].startswith("`{p}/printers/"):
            assert row[1] == ("host" if leaf in PRINTER_SAYS else "coordinator")


@pytest.mark.parametrize("kind", ON_TOPICS, ids=lambda kind: kind.__name__)
def test_every_field_of_a_message_is_named_and_no_other(kind: type[wire.Message]) -> None:
    text = section(page("mqtt.md"), kind.__name__)
    fields = set(kind.__struct_fields__)
    words = set(re.findall(r"`(\w+)(?:\.\w+)?`", text))
    assert fields - words == set()
    table = {name for name in names(text) if name not in events.KINDS.values()}
    assert {name.partition(".")[0] for name in table} <= fields
    if kind is wire.Desired:
        order = {name.removeprefix("order.") for name in table if name.startswith("order.")}
        assert order == set(wire.Order.__struct_fields__)


@pytest.mark.parametrize("kind", [wire.Want, wire.Phase, wire.Outcome, wire.Link, wire.CommandKind])
def test_every_word_that_travels_is_written(kind: type[Any]) -> None:
    text = page("mqtt.md")
    assert [word.value for word in kind if word.value and f"`{word.value}`" not in text] == []


def test_every_event_of_a_job_has_a_row_and_no_other() -> None:
    table = rows(section(page("mqtt.md"), "JobEvent"))
    assert {row[0].strip("`") for row in table} == set(events.KINDS.values())


# ---- all pages ------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        aimed = (path.parent / name).resolve() if name else path
        assert aimed.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", aimed.read_text(), re.MULTILINE)
            assert anchor in {_anchor(heading) for heading in headings}, target


def _anchor(heading: str) -> str:
    kept = re.sub(r"[^\w\- ]", "", heading.lower())
    return kept.strip().replace(" ", "-")


def test_endpoints_of_the_component_are_written_about() -> None:
    source = "\n".join(p.read_text() for p in (ROOT / "moonraker_component").glob("*.py"))
    paths = set(re.findall(r"\"(/server/moonfleet/\w+)\"", source))
    text = (ROOT / "moonraker_component/README.md").read_text()
    assert paths
    assert set(re.findall(r"(/server/moonfleet/\w+)", text)) == paths


def test_commands_that_are_named_exist() -> None:
    known = set(re.findall(r"^### `moonfleet ([a-z]+)", page("cli.md"), re.MULTILINE))
    used = set()
    for name in ("operate.md", "install.md", "configuration.md"):
        used |= set(re.findall(r"(?:`|^    )moonfleet ([a-z]+)", page(name), re.MULTILINE))
    assert used
    assert used - known == set()


def test_options_of_the_installer_that_are_named_exist() -> None:
    shell = (
        ROOT / "install.sh",
        ROOT / "tests/checks.sh",
        *ROOT.glob("*/install/*.sh"),
        *ROOT.glob("*/systemd/*.sh"),
    )
    usage = "\n".join(path.read_text() for path in shell)
    text = page("install.md")
    for option in set(re.findall(r"--[a-z][a-z-]+", text)) - {"--display-name"}:
        assert option in usage, option
    for command in set(re.findall(r"\./install\.sh ([a-z]+)", text)):
        assert f"command_{command}()" in usage, command
