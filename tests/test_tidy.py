"""House rules over the source tree that no linter knows. Each rule is a table and one test.

Owns: what a decision may import and call, who may import whom, what stands at the top of the
repository, and what a file must open with. Must not import what it judges: it only reads.
"""

from __future__ import annotations

import ast
import fnmatch
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

TOP_LEVEL_FOLDERS = {
    "board_defs",
    "coordinator",
    "demo",
    "docs",
    "klipper_extras",
    "moonraker_component",
    "tests",
    "web",
}
TOP_LEVEL_FILES = {
    "CHANGELOG.md",
    "LICENSE",
    "README.md",
    "install.sh",
    "pyproject.toml",
    "setup.cfg",
}
CODE_FOLDERS = ("board_defs", "coordinator", "demo", "klipper_extras", "moonraker_component")

# Decisions: they take values and time and return values. What they import of ours is held to
# the same rule, so that a helper cannot bring a clock in by the back door.
PURE = (
    "coordinator/core/*.py",
    "coordinator/people/limits.py",
    "coordinator/people/records.py",
    "coordinator/people/roles.py",
    "coordinator/people/rules.py",
    "klipper_extras/rules.py",
    "moonraker_component/attempt.py",
    "moonraker_component/decisions.py",
    "moonraker_component/gate.py",
    "moonraker_component/wire.py",
)
IMPURE_MODULES = {
    "aiosqlite",
    "asyncio",
    "io",
    "logging",
    "os",
    "paho",
    "pathlib",
    "random",
    "requests",
    "secrets",
    "shutil",
    "socket",
    "sqlalchemy",
    "sqlite3",
    "subprocess",
    "tempfile",
    "threading",
    "time",
    "tornado",
    "urllib",
    "uuid",
}
IMPURE_CALLS = {"input", "now", "open", "print", "today", "utcnow"}

# Whoever starts with the name on the left may import, of ours, only what is on the right.
MAY_IMPORT = {
    "coordinator.core": ("coordinator.core", "moonraker_component.wire"),
    "klipper_extras": ("klipper_extras",),
    "moonraker_component": ("moonraker_component",),
    "moonraker_component.gate": ("moonraker_component.wire",),
    "moonraker_component.wire": (),
}
# And never what is on the right here.
MAY_NOT_IMPORT = {
    "coordinator": ("demo", "klipper_extras", "tests"),
    "coordinator.bus": ("coordinator.app", "coordinator.http", "coordinator.store"),
    "coordinator.engine": (
        "coordinator.app",
        "coordinator.bus",
        "coordinator.http",
        "coordinator.store",
    ),
    "coordinator.http": ("coordinator.app", "coordinator.bus", "coordinator.store"),
    "coordinator.people": (
        "coordinator.app",
        "coordinator.bus",
        "coordinator.engine",
        "coordinator.http",
        "coordinator.store",
    ),
    "coordinator.ports": (
        "coordinator.app",
        "coordinator.bus",
        "coordinator.engine",
        "coordinator.http",
        "coordinator.store",
    ),
    "coordinator.store": (
        "coordinator.app",
        "coordinator.bus",
        "coordinator.engine",
        "coordinator.http",
    ),
    "demo": ("tests",),
    "klipper_extras": ("coordinator", "demo", "moonraker_component", "tests"),
    "moonraker_component": ("coordinator", "demo", "klipper_extras", "tests"),
}
# The wire is all that the coordinator knows of a host.
SHARED_WITH_COORDINATOR = "moonraker_component.wire"

TEXT_SUFFIXES = {
    ".cfg",
    ".conf",
    ".css",
    ".html",
    ".in",
    ".js",
    ".md",
    ".py",
    ".sh",
    ".toml",
}
# Marks of unfinished work, and words that only mean something where somebody happened to work.
# Written in pieces, so that this file passes its own rule.
UNWANTED = {
    "unfinished": r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X|HA" + r"CK)\b",
    "absolute path": r"(?<![\w.])/(work|root)/" + r"\w",
    "outside folder": r"\.\./sha" + r"red|/tmp/" + r"w/",
    "tracker": r"\b[Ii]ssue" + r" #?\d",
    "outside document": r"DESIGN" + r"\.md",
}
FLOORS = {"moonraker_component": "3.9-", "klipper_extras": "3.7-", "demo/klipper_plugins": "3.7-"}


# --- reading the tree -----------------------------------------------------------------


def ignored(name: str) -> bool:
    """Say whether git ignores a file or folder of that name at the top (.gitignore's own words)."""
    patterns = (ROOT / ".gitignore").read_text().split()
    return name == ".git" or any(fnmatch.fnmatch(name, p.strip("/")) for p in patterns)


def files(*suffixes: str) -> Iterator[Path]:
    """Yield our files with one of `suffixes`, without what git ignores."""
    for top in sorted(ROOT.iterdir()):
        if ignored(top.name):
            continue
        for path in [top] if top.is_file() else sorted(top.rglob("*")):
            inside = path.relative_to(ROOT).parts
            if path.is_file() and path.suffix in suffixes and not any(map(ignored, inside)):
                yield path


def module_name(path: Path) -> str:
    """Return the dotted name of the module in `path`."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> set[str]:
    """Return the dotted names that `path` imports at run time, relative ones made absolute.

    `from a import b` counts as `a.b`: b may be a module, and the rules go by prefix.
    """
    found: set[str] = set()
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            prefix = ".".join([*base, *([node.module] if node.module else [])])
            found |= {f"{prefix}.{alias.name}" for alias in node.names}
    return found


def within(name: str, prefix: str) -> bool:
    """Say whether module or member `name` is `prefix` or lies below it."""
    return name == prefix or name.startswith(prefix + ".")


def file_of(name: str) -> Path | None:
    """Return our file that holds the module or the member called `name`."""
    for dotted in (name, name.rpartition(".")[0]):
        path = ROOT / dotted.replace(".", "/")
        for candidate in (path.with_suffix(".py"), path / "__init__.py"):
            if dotted and candidate.is_file():
                return candidate
    return None


def pure_files() -> set[Path]:
    """Return the files in PURE and, again and again, those of ours that they import."""
    waiting = [path for pattern in PURE for path in ROOT.glob(pattern)]
    found: set[Path] = set()
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += [p for name in imports(path) if (p := file_of(name)) is not None]
    return found


def code_files() -> list[Path]:
    """Return our product's Python files."""
    return [p for p in files(".py") if p.relative_to(ROOT).parts[0] in CODE_FOLDERS]


def case(path: Path) -> str:
    """Return the name of a test's case."""
    return str(path.relative_to(ROOT))


# --- the rules ------------------------------------------------------------------------


def test_there_is_something_to_judge() -> None:
    assert len(code_files()) > 20
    assert any(path.name == "wire.py" for path in pure_files())


@pytest.mark.parametrize("path", sorted(pure_files()), ids=case)
def test_decisions_are_pure(path: Path) -> None:
    brought_in = {name for name in imports(path) if name.partition(".")[0] in IMPURE_MODULES}
    assert brought_in == set()
    called = {
        node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute | ast.Name)
    }
    assert called & IMPURE_CALLS == set()


@pytest.mark.parametrize("path", code_files(), ids=case)
def test_imports_go_one_way(path: Path) -> None:
    name = module_name(path)
    ours = {found for found in imports(path) if found.partition(".")[0] in (*CODE_FOLDERS, "tests")}
    for importer, allowed in MAY_IMPORT.items():
        if within(name, importer):
            assert {f for f in ours if not any(within(f, a) for a in allowed)} == set()
    for importer, forbidden in MAY_NOT_IMPORT.items():
        if within(name, importer):
            assert {f for f in ours if any(within(f, bad) for bad in forbidden)} == set()
    if within(name, "coordinator"):
        of_host = {found for found in ours if within(found, "moonraker_component")}
        assert {found for found in of_host if not within(found, SHARED_WITH_COORDINATOR)} == set()


@pytest.mark.parametrize("path", list(files(".py")), ids=case)
def test_each_module_opens_with_its_docstring(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text()))


def test_nothing_unwanted_is_written() -> None:
    found = [
        f"{case(path)}:{number}: {what}"
        for path in files(*TEXT_SUFFIXES)
        for number, line in enumerate(path.read_text().splitlines(), 1)
        for what, pattern in UNWANTED.items()
        if re.search(pattern, line)
    ]
    assert found == []


def test_the_top_of_the_repository_holds_what_it_should() -> None:
    shown = [path for path in ROOT.iterdir() if not path.name.startswith(".")]
    shown = [path for path in shown if not ignored(path.name)]
    assert {path.name for path in shown if path.is_dir()} - TOP_LEVEL_FOLDERS == set()
    assert {path.name for path in shown if path.is_file()} - TOP_LEVEL_FILES == set()


@pytest.mark.parametrize("folder", sorted(FLOORS))
def test_code_in_other_peoples_python_stays_old_enough(folder: str) -> None:
    command = [sys.executable, "-c", "from vermin import main; main()", "--quiet", "--no-tips"]
    command += ["--violations", f"--target={FLOORS[folder]}", str(ROOT / folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
