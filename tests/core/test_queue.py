"""The queue: who goes first, who fits where, and what people may ask."""

from __future__ import annotations

from typing import Any

import pytest

from coordinator.core import matching, printer_requests, requests
from coordinator.core.attempts import State
from coordinator.core.jobs import JobState, Lane, Policy, Requirements
from moonraker_component.wire import Filament, Outcome, Phase, Reason, Want
from tests.core.build import Bench


def test_copies_of_one_job_run_on_many_printers_at_once() -> None:
    bench = Bench("a", "b", "c")
    bench.hello()
    bench.submit(2)
    bench.round()
    assert sum(bench.on(name) is not None for name in "abc") == 2


def test_express_goes_before_standard_and_priority_before_age() -> None:
    bench = Bench("a")
    bench.hello()
    bench.submit(1, tags=("old",))
    bench.now_s += 1
    bench.submit(1, tags=("important",), priority=5)
    express = bench.submit(1, lane=Lane.EXPRESS)
    bench.report("a")
    bench.round()
    assert bench.live("a").job == express.id
    bench.start_on("a")
    bench.end("a", Outcome.COMPLETE)
    bench.report("a")
    bench.round()
    assert bench.farm.jobs[bench.live("a").job].tags == ("important",)


def test_age_lifts_a_standard_job_over_newer_express_ones() -> None:
    bench = Bench("a")
    bench.hello()
    old = bench.submit(1)
    bench.now_s += 7_300.0
    bench.submit(1, lane=Lane.EXPRESS)
    bench.report("a")
    bench.round()
    assert bench.live("a").job == old.id


def test_a_copy_that_comes_back_goes_to_the_front() -> None:
    bench = Bench("a")
    bench.hello()
    first = bench.submit(1)
    bench.round()
    bench.submit(1, priority=50)
    bench.start_on("a")
    bench.end("a", Outcome.FAILED, "klipper_error")
    bench.report("a")
    bench.round()
    assert bench.live("a").job == first.id


@pytest.mark.parametrize(
    ("need", "code"),
    [
        (Requirements(material="PETG"), "material"),
        (Requirements(color="red"), "color"),
        (Requirements(nozzle_mm=0.6), "nozzle"),
        (Requirements(min_mm=(0, 0, 0), max_mm=(221, 10, 10)), "size"),
        (Requirements(min_mm=(-5, 0, 0), max_mm=(10, 10, 10)), "size"),
        (Requirements(extruder_c=300), "extruder"),
        (Requirements(bed_c=120), "bed"),
        (Requirements(model="Voron 2.4"), "model_unknown"),
        (Requirements(kinematics="delta"), "kinematics"),
        (Requirements(tags=("enclosure",)), "tags"),
        (Requirements(printers=("b",)), "printer_list"),
    ],
)
def test_each_requirement_refuses_by_name_and_the_job_stays(need: Requirements, code: str) -> None:
    bench = Bench("a", "b")
    bench.hello()
    job = bench.submit(1, requirements=need)
    bench.round()
    assert [r.code for r in matching.refusals(job, bench.farm.printers["a"])] == [code]
    assert bench.on("a") is None
    assert bench.farm.jobs[job.id].state is JobState.ACTIVE


def test_what_is_not_known_does_not_fit() -> None:
    bench = Bench("a")
    for _ in range(2):
        bench.report("a", filament=Filament())
        bench.round()
    job = bench.submit(1, requirements=Requirements(material="PLA"))
    codes = [r.code for r in matching.refusals(job, bench.farm.printers["a"])]
    assert codes == ["material_unknown"]


def test_a_fence_needs_the_klipper_section() -> None:
    bench = Bench("a")
    for _ in range(2):
        bench.report("a", section=False)
        bench.round()
    job = bench.submit(1, policy=Policy(fence=True))
    assert [r.code for r in matching.refusals(job, bench.farm.printers["a"])] == ["fence"]


def test_a_printer_that_refuses_gets_nothing_and_loses_what_is_not_started() -> None:
    bench = Bench("a", "b")
    bench.hello()
    bench.report("a", refusals=(Reason("bed_not_clear", "the bed is not clear"),))
    bench.submit(1)
    bench.round()
    assert bench.on("a") is None
    assert bench.live("b").state is State.ASSIGNED
    bench.report("a")
    bench.tell("b", Phase.PREPARED, refusals=(Reason("filament", "no filament"),))
    bench.round()
    assert bench.on("b") is None
    assert bench.live("a").state is State.ASSIGNED


def test_the_least_used_of_equals_is_chosen() -> None:
    bench = Bench("a", "b")
    bench.hello()
    for _ in range(4):
        bench.submit(1)
        bench.round()
        name = "a" if bench.on("a") else "b"
        bench.start_on(name)
        bench.now_s += 100
        bench.end(name, Outcome.COMPLETE)
        bench.report("a")
        bench.report("b")
        bench.round()
    used = {name: bench.farm.printers[name].completed for name in "ab"}
    assert used == {"a": 2, "b": 2}


def test_a_copy_that_failed_on_a_printer_goes_to_another() -> None:
    bench = Bench("a", "b")
    bench.hello()
    bench.submit(1)
    bench.round()
    first = "a" if bench.on("a") else "b"
    other = "b" if first == "a" else "a"
    bench.start_on(first)
    bench.report(other)
    bench.end(first, Outcome.FAILED, "klipper_error")
    bench.report(first)
    bench.round()
    assert bench.on(first) is None
    assert bench.on(other) is not None


def test_cancel_drops_what_waits_and_cancels_what_prints() -> None:
    bench = Bench("a")
    bench.hello()
    job = bench.submit(3)
    bench.round()
    bench.start_on("a")
    bench.ask(requests.cancel, job.id)
    bench.round()
    order = bench.order("a")
    assert order.want is Want.CANCEL
    bench.end("a", Outcome.CANCELLED, "cancelled")
    assert bench.on("a") is None
    assert bench.farm.jobs[job.id].state is JobState.CANCELLED


def test_pause_and_resume_name_the_pause() -> None:
    bench = Bench("a")
    bench.hello()
    job = bench.submit(1)
    bench.round()
    bench.start_on("a")
    bench.ask(requests.pause, job.id)
    bench.round()
    order = bench.order("a")
    assert order.want is Want.PAUSE
    bench.tell("a", Phase.PAUSED, pause="p1")
    bench.round()
    bench.ask(requests.resume, job.id)
    bench.round()
    order = bench.order("a")
    assert (order.want, order.resume) == (Want.RUN, "p1")


def test_a_pause_that_a_person_ended_at_the_printer_is_not_asked_for_again() -> None:
    bench = Bench("a")
    bench.hello()
    job = bench.submit(1)
    bench.round()
    bench.start_on("a")
    bench.ask(requests.pause, job.id)
    bench.round()
    bench.tell("a", Phase.PAUSED, pause="p1")
    bench.round()
    bench.tell("a", Phase.PRINTING)
    bench.round()
    order = bench.order("a")
    assert order.want is Want.RUN


def test_maintenance_finishes_what_prints_and_takes_nothing_new() -> None:
    bench = Bench("a")
    bench.hello()
    bench.submit(2)
    bench.round()
    bench.start_on("a")
    bench.ask(printer_requests.set_maintenance, "a", True)
    bench.round()
    assert bench.live("a").take_back == ""
    bench.end("a", Outcome.COMPLETE)
    bench.report("a")
    bench.round()
    assert bench.on("a") is None


def test_move_puts_a_job_right_before_another() -> None:
    bench = Bench("a")
    jobs = [bench.submit(1) for _ in range(3)]
    bench.ask(requests.move, jobs[2].id, jobs[0].id)
    bench.ask(requests.move, jobs[1].id, jobs[0].id)
    ranks = {job.id: bench.farm.jobs[job.id].rank for job in jobs}
    assert sorted(ranks, key=ranks.__getitem__) == [jobs[2].id, jobs[1].id, jobs[0].id]


@pytest.mark.parametrize(
    ("wish", "field"),
    [
        ({"copies": 0}, "copies"),
        ({"copies": 10**9}, "copies"),
        ({"priority": 101}, "priority"),
        ({"requirements": Requirements(nozzle_mm=-1.0)}, "nozzle_mm"),
        ({"requirements": Requirements(printers=("nobody",))}, "printers"),
        ({"policy": Policy(offline_grace_s=5.0)}, "offline_grace_s"),
        ({"policy": Policy(offline_grace_s=31.0, fence=True)}, None),
        ({"policy": Policy(offline_grace_s=25.0, fence=True)}, "offline_grace_s"),
    ],
)
def test_a_wish_out_of_bounds_is_refused_by_field(wish: dict[str, Any], field: str | None) -> None:
    bench = Bench("a")
    if field is None:
        assert bench.submit(**wish).policy.fence
        return
    with pytest.raises(requests.RequestError) as refused:
        bench.submit(**wish)
    assert refused.value.field == field
    assert bench.farm.jobs == {}
