"""Several virtual printers at once.

Owns the order of their starts: the load of a start, not of a print, is what limits how many
fit on a computer, and under it klippy misjudges clocks. It knows nothing but VirtualPrinter.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from demo.printer import VirtualPrinter

STARTS_AT_ONCE = 2


@asynccontextmanager
async def together(
    printers: Sequence[VirtualPrinter], at_once: int = STARTS_AT_ONCE
) -> AsyncIterator[Sequence[VirtualPrinter]]:
    """`async with together(printers):` starts them, a few at a time, and ends all of them."""
    gate = asyncio.Semaphore(at_once)

    async def start(printer: VirtualPrinter) -> None:
        async with gate:
            await printer.start()

    try:
        async with asyncio.TaskGroup() as group:
            for printer in printers:
                group.create_task(start(printer))
        yield printers
    finally:
        await asyncio.gather(*(printer.stop() for printer in printers))
