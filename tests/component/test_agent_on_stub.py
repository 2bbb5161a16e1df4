"""The agent whole, on a stub of Moonraker: real MQTT, real HTTP, real SQLite."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

from demo.waiting import until
from moonraker_component.agent import Agent
from moonraker_component.wire import (
    Command,
    CommandKind,
    FileRef,
    Link,
    Outcome,
    Phase,
    Want,
)
from tests.component.hand import Hand, file_ref
from tests.component.mosquitto import PASSWORD, USER, Mosquitto
from tests.component.stub_moonraker import StubServer, gcode_links, make_agent
from tests.component.web import FileServer

A1, A2 = "attempt-0001", "attempt-0002"


class Rig(NamedTuple):
    """One agent and a coordinator by hand."""

    server: StubServer
    agent: Agent
    hand: Hand
    file: FileRef
    web: FileServer


async def enter(
    stack: AsyncExitStack, tmp_path: Path, broker: Mosquitto, web: FileServer, **options: object
) -> Rig:
    path = web.behaviour.folder / "cube.gcode"
    path.write_bytes(b"G28\n" * 5000)
    server = StubServer(tmp_path / "host", database=tmp_path / "moonraker.db", **options)  # type: ignore[arg-type]
    agent = make_agent(server, "p1", port=broker.port, username=USER, password=PASSWORD)
    hand = await stack.enter_async_context(Hand(broker.port, "p1"))
    await server.start(agent)
    stack.push_async_callback(server.stop, agent)
    await hand.heard()
    return Rig(server, agent, hand, file_ref(path, web.url("cube.gcode")), web)


@pytest.fixture
async def rig(tmp_path: Path, broker: Mosquitto, web: FileServer) -> AsyncIterator[Rig]:
    async with AsyncExitStack() as stack:
        yield await enter(stack, tmp_path, broker, web, print_s=3600.0)


async def prepared(rig: Rig, attempt: str = A1) -> None:
    await rig.hand.ready()
    rig.hand.want(Want.PREPARE, attempt, rig.file)
    await rig.hand.phase(attempt, Phase.PREPARED)


async def printing(rig: Rig, attempt: str = A1) -> None:
    await prepared(rig, attempt)
    rig.hand.want(Want.START, attempt, rig.file)
    await rig.hand.phase(attempt, Phase.PRINTING)


async def test_a_print_from_prepare_to_complete(rig: Rig) -> None:
    await prepared(rig)
    assert gcode_links(rig.server) == [f"moonfleet/{A1}/cube.gcode"]
    rig.hand.want(Want.START, A1, rig.file)
    await rig.hand.phase(A1, Phase.PRINTING)
    rig.server.klipper.finish("complete")
    ended = await rig.hand.phase(A1, Phase.ENDED)
    assert ended.outcome is Outcome.COMPLETE
    await until("the files are gone", lambda: not gcode_links(rig.server))
    assert rig.server.klipper.asked.count("moonfleet/start") == 1


async def test_pause_and_run_are_applied_once_each(rig: Rig) -> None:
    await printing(rig)
    rig.hand.want(Want.PAUSE, A1, rig.file)
    paused = await rig.hand.phase(A1, Phase.PAUSED)
    rig.hand.want(Want.RUN, A1, rig.file, resume=paused.pause)
    await rig.hand.phase(A1, Phase.PRINTING)
    await rig.server.klipper.pause_print()  # a person, at the printer
    again = await rig.hand.told(A1, lambda told: told.phase is Phase.PAUSED)
    assert again.pause != paused.pause
    rig.hand.publish()
    count = len(rig.hand.reports)
    await until("two more reports", lambda: len(rig.hand.reports) > count + 2)
    assert rig.server.klipper.asked.count("resume") == 1


async def test_cancel_ends_the_print(rig: Rig) -> None:
    await printing(rig)
    rig.hand.want(Want.CANCEL, A1, rig.file)
    ended = await rig.hand.phase(A1, Phase.ENDED)
    assert (ended.outcome, ended.cause) == (Outcome.CANCELLED, "cancelled")


async def test_withdraw_of_a_prepared_attempt_removes_its_file(rig: Rig) -> None:
    await prepared(rig)
    rig.hand.want(Want.WITHDRAW, A1, rig.file)
    ended = await rig.hand.phase(A1, Phase.ENDED)
    assert (ended.outcome, ended.cause) == (Outcome.NOT_STARTED, "withdrawn")
    await until("the files are gone", lambda: not gcode_links(rig.server))


async def test_a_refusal_of_the_section_ends_the_attempt_with_its_code(rig: Rig) -> None:
    rig.server.klipper.start_error = "moonfleet: refused: deadline: ended 3 s ago"
    await prepared(rig)
    rig.hand.want(Want.START, A1, rig.file)
    ended = await rig.hand.phase(A1, Phase.ENDED)
    assert (ended.outcome, ended.cause) == (Outcome.NOT_STARTED, "deadline")


async def test_a_full_database_starts_nothing(rig: Rig) -> None:
    await prepared(rig)
    rig.server.database.fail = True
    rig.hand.want(Want.START, A1, rig.file)
    ended = await rig.hand.phase(A1, Phase.ENDED)
    assert (ended.outcome, ended.cause) == (Outcome.NOT_STARTED, "not_saved")
    assert "moonfleet/start" not in rig.server.klipper.asked


async def test_without_an_echo_nothing_starts(rig: Rig) -> None:
    await prepared(rig)
    rig.hand.mute = True
    report = rig.hand.report
    assert report is not None
    order = rig.hand.order
    rig.hand.generation += 1
    rig.hand.order = order and type(order)(
        A1, "copy-1", "job-1", Want.START, rig.file, session=report.session
    )
    rig.hand.reports.clear()  # so that publish() sends no echo
    rig.hand.publish()
    await until(
        "the new generation is observed",
        lambda: rig.hand.report and rig.hand.report.observed_generation == rig.hand.generation,
    )
    told = rig.hand.attempt(A1)
    assert told is not None
    assert told.phase is Phase.PREPARED
    rig.hand.publish()  # now with an echo
    rig.hand.mute = False
    await rig.hand.phase(A1, Phase.PRINTING)


async def test_a_download_that_fails_is_told_with_its_cause(rig: Rig) -> None:
    wrong = FileRef("cube.gcode", "0" * 64, rig.file.size_bytes, rig.file.url)
    await rig.hand.ready()
    rig.hand.want(Want.PREPARE, A1, wrong)
    ended = await rig.hand.phase(A1, Phase.ENDED)
    assert (ended.outcome, ended.cause) == (Outcome.NOT_STARTED, "checksum")
    assert "signature" not in ended.message


async def test_a_second_attempt_takes_the_cached_file(rig: Rig) -> None:
    await prepared(rig)
    rig.hand.want(Want.WITHDRAW, A1, rig.file)
    await rig.hand.phase(A1, Phase.ENDED)
    requests = len(rig.web.behaviour.ranges)
    await prepared(rig, A2)
    assert len(rig.web.behaviour.ranges) == requests


async def test_a_restart_in_mid_print_follows_on_by_the_path(rig: Rig, broker: Mosquitto) -> None:
    await printing(rig)
    await rig.agent.close()
    server = rig.server
    server.handlers.clear()
    agent = make_agent(server, "p1", port=broker.port, username=USER, password=PASSWORD)
    await server.start(agent)
    try:
        await until(
            "the new session tells it as printing",
            lambda: (
                rig.hand.report
                and rig.hand.report.session == agent.session
                and [a.phase for a in rig.hand.report.attempts] == [Phase.PRINTING]
            ),
        )
        server.klipper.finish("complete")
        ended = await rig.hand.phase(A1, Phase.ENDED)
        assert ended.outcome is Outcome.COMPLETE
    finally:
        await agent.close()


async def test_klipper_going_away_is_told_and_its_record_settles(rig: Rig) -> None:
    await printing(rig)
    await rig.server.send("server:klippy_disconnect")
    await until(
        "the report says so",
        lambda: rig.hand.report and rig.hand.report.klipper.link is Link.DISCONNECTED,
    )
    told = rig.hand.attempt(A1)
    assert told is not None
    assert told.phase is Phase.PRINTING
    ours = rig.server.klipper.status["moonfleet"]
    ours["records"][-1].update(state="ended", outcome="interrupted", reason="restarted")
    rig.server.klipper.status["print_stats"].update(state="standby", filename="")
    await rig.server.send("server:klippy_ready")
    ended = await rig.hand.phase(A1, Phase.ENDED)
    assert (ended.outcome, ended.cause) == (Outcome.FAILED, "klipper_restarted")


async def test_commands_reach_klipper_once_and_only_in_time(rig: Rig) -> None:
    report = await rig.hand.ready()

    def command(ident: str, **more: str) -> Command:
        return Command(
            ident,
            CommandKind.EMERGENCY_STOP,
            more.get("session", report.session),
            rig.hand.reports[-1].sequence,
        )

    rig.hand.command(command("1", session="somebody-else"))
    stop = command("2")
    rig.hand.command(stop)
    rig.hand.command(stop)
    bed = rig.server.klipper.status["moonfleet"]["bed_token"]
    rig.hand.command(Command("3", CommandKind.BED_CLEAR, report.session, stop.sequence, token=bed))
    await until("the last one came", lambda: "moonfleet/clear" in rig.server.klipper.asked)
    assert rig.server.klipper.asked.count("emergency_stop") == 1


async def test_the_status_endpoint_says_what_it_sees(rig: Rig) -> None:
    await printing(rig)
    status = await rig.server.call("/server/moonfleet/status")
    assert status["running"] is True
    assert status["broker"]["connected"] is True
    assert [a["phase"] for a in status["attempts"]] == ["printing"]
    assert status["lease_left_s"] > 0
    assert PASSWORD not in str(status)


async def test_online_and_telemetry_are_told(rig: Rig) -> None:
    await until("online", lambda: rig.hand.online and rig.hand.online[-1].online)
    await until("telemetry", lambda: rig.hand.telemetry)
    assert rig.hand.telemetry[-1].heaters["extruder"].temperature_c == 21.0
    await rig.agent.reporter.close()
    await until("offline", lambda: not rig.hand.online[-1].online)


async def test_runout_is_told_and_makes_the_printer_not_ready(
    tmp_path: Path, broker: Mosquitto, web: FileServer
) -> None:
    async with AsyncExitStack() as stack:
        rig = await enter(stack, tmp_path, broker, web, print_s=3600.0)
        sensor = {"filament_switch_sensor runout": {"filament_detected": True, "enabled": True}}
        rig.server.klipper.change(**sensor)
        await printing(rig)
        sensor["filament_switch_sensor runout"]["filament_detected"] = False
        rig.server.klipper.change(**sensor)
        await until("the event", lambda: [e for e in rig.hand.events if e.kind == "runout"])
        await until(
            "the refusal",
            lambda: "filament" in [r.code for r in rig.hand.reports[-1].refusals],
        )


async def test_without_the_section_the_latch_is_the_hosts_own(
    tmp_path: Path, broker: Mosquitto, web: FileServer
) -> None:
    async with AsyncExitStack() as stack:
        rig = await enter(stack, tmp_path, broker, web, print_s=3600.0, section=False)
        await until("Klipper is ready", lambda: rig.agent.host.view.link is Link.READY)
        bed = rig.agent.host.view.bed
        await until("told", lambda: rig.hand.reports[-1].klipper.link is Link.READY)
        report = rig.hand.reports[-1]
        assert not report.section
        assert [r.code for r in report.refusals] == ["bed_not_clear"]
        await rig.server.call("/server/moonfleet/clear", token=bed.token)
        await printing(rig)
        assert rig.server.klipper.asked == ["start"]
        dropped = (await rig.server.call("/server/moonfleet/status"))["bed"]
        assert dropped["clear"] is False
        assert dropped["token"] != bed.token
        with pytest.raises(rig.server.error, match="a print is active"):
            await rig.server.call("/server/moonfleet/clear")
        rig.server.klipper.finish("complete")
        ended = await rig.hand.phase(A1, Phase.ENDED)
        assert ended.outcome is Outcome.COMPLETE


async def test_a_failed_start_without_the_section_is_disproved_by_print_stats(
    tmp_path: Path, broker: Mosquitto, web: FileServer
) -> None:
    async with AsyncExitStack() as stack:
        rig = await enter(stack, tmp_path, broker, web, section=False)
        rig.server.klipper.start_error = "Unable to open file"
        await until("ready", lambda: rig.agent.host.view.link is Link.READY)
        await rig.server.call("/server/moonfleet/clear")
        await prepared(rig)
        rig.hand.want(Want.START, A1, rig.file)
        ended = await rig.hand.phase(A1, Phase.ENDED)
        assert (ended.outcome, ended.cause) == (Outcome.NOT_STARTED, "not_started")
