"""One run: a farm, its orders, its people, its faults; then healing, and the verdict.

Owns the order of these and the bound within which every job has to end after the healing.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from demo.farm import ApiError, DemoFarm
from demo.printer import VirtualPrinter
from demo.profile import Profile
from tests.chaos import schedule, timeline
from tests.chaos.evidence import Evidence, gather, yardsticks
from tests.chaos.hands import Hands
from tests.chaos.person import Orders, Person, unfinished
from tests.chaos.verdict import Verdict, judge

GCODE = Path(__file__).parents[2] / "demo" / "gcode"
FILES = ("tile_pla.gcode", "box5_pla.gcode", "box5_pla.gcode")
"""Named twice is ordered twice as often: a long print is there to be disturbed in its middle."""

HEAL_BOUND_S = 240.0
"""After the faults all that still waits has to be printed: two rounds of prints, and then some."""

PRINTERS_LEAST = 8
OPTIONS = (
    f"farm.lease_s={schedule.LEASE_S}",
    f"farm.fence_s={schedule.FENCE_S}",
    f"farm.fence_margin_s={schedule.FENCE_MARGIN_S}",
    f"farm.offline_grace_s={schedule.GRACE_S}",
    "farm.rest_s=1",
)


@dataclass(frozen=True)
class Plan:
    """What a run is made of. `every_s`: seconds from one fault to the next."""

    seed: int
    total_s: float
    folder: Path
    printers: int = PRINTERS_LEAST
    speed: float = 15.0
    every_s: float = 4.0


@dataclass(frozen=True)
class Result:
    """What came of it. `timeline`: the file that tells it in order."""

    verdict: Verdict
    faults: dict[str, int]
    timeline: Path


def profiles(count: int, speed: float) -> list[Profile]:
    """Printers that all take the same files, every third of them with another kinematics."""
    return [
        Profile(f"p{n}", speed=speed, kinematics="corexy" if n % 3 == 0 else "cartesian")
        for n in range(1, count + 1)
    ]


async def run(plan: Plan, say: Callable[[str], None]) -> Result:
    """Build the farm, disturb it, heal it, judge it."""
    shutil.rmtree(plan.folder, ignore_errors=True)
    farm = DemoFarm(plan.folder, profiles(plan.printers, plan.speed), OPTIONS)
    say(f"seed {plan.seed}: starting a coordinator and {plan.printers} printers")
    async with farm:
        begun_at = time.time()

        def tell(text: str) -> None:
            say(f"{time.time() - begun_at:7.1f} s  {text}")

        evidence = await _disturbed(plan, farm, tell)
    verdict = judge(evidence)
    path = plan.folder / "timeline.txt"
    timeline.write(path, evidence, verdict.findings, begun_at)
    kinds = Counter(done.fault.kind.value for done in evidence.faults)
    return Result(verdict, dict(sorted(kinds.items())), path)


async def _disturbed(plan: Plan, farm: DemoFarm, tell: Callable[[str], None]) -> Evidence:
    """Orders and people from begin to end; faults for `total_s`."""
    expected_mm = yardsticks(GCODE / name for name in FILES)
    hands = Hands(farm, tell)
    dice = random.Random(f"person {plan.seed}")
    person = Person(farm, dice, hands.is_disturbed, tell, expected_mm)
    orders = Orders(farm, schedule.draw_orders(plan.seed, FILES), GCODE)
    walking = asyncio.create_task(person.walk_around())
    ordering = asyncio.create_task(orders.keep_coming())
    faults = schedule.draw_faults(plan.seed, plan.total_s, sorted(farm.printers), plan.every_s)
    disturbing = asyncio.create_task(hands.carry_out(faults))
    try:
        ended = {walking, ordering, disturbing}
        await asyncio.wait(ended, timeout=plan.total_s, return_when=asyncio.FIRST_EXCEPTION)
        tell("HEALING: every fault ends, nothing is ordered any more")
        ordering.cancel()
        person.may_pause = False
        hands.heal()
        await disturbing
        tell("HEALED")
        await _all_ended(farm, walking, tell)
    finally:
        for task in (walking, ordering, disturbing):
            task.cancel()
        results = await asyncio.gather(walking, ordering, disturbing, return_exceptions=True)
    for failed in results:
        if isinstance(failed, Exception):
            raise failed
    return gather(farm, expected_mm, hands.done, person.acts, orders.confirmed)


async def _all_ended(
    farm: DemoFarm, walking: asyncio.Task[None], tell: Callable[[str], None]
) -> None:
    """Wait until no job is unfinished and nothing moves, at most as long as is allowed.

    What is unfinished then is judged as it is: a copy that never ends is a lost one.
    """
    end_s = time.monotonic() + HEAL_BOUND_S
    left = "?"
    while time.monotonic() < end_s and not walking.done():
        try:
            jobs = await unfinished(farm)
            moving = [name for name, printer in farm.printers.items() if _moves(printer)]
        except (OSError, ApiError) as error:
            left = str(error)
        else:
            if not jobs and not moving:
                return
            left = f"{len(jobs)} jobs, prints on {', '.join(moving) or 'none'}"
        await asyncio.sleep(1.0)
    tell(f"not ended within {HEAL_BOUND_S:g} s: {left}")


def _moves(printer: VirtualPrinter) -> bool:
    return printer.ledger().open is not None
