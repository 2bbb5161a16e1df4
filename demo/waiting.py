"""Waiting for something to become so, with a deadline: never a fixed sleep.

Owns the polling loop that demo and tests share.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

Found = TypeVar("Found")


class NeverCame(TimeoutError):
    """What was waited for did not become so in time."""


@overload
async def until(
    what: str,
    condition: Callable[[], Awaitable[Found]],
    deadline_s: float = ...,
    poll_s: float = ...,
) -> Found: ...


@overload
async def until(
    what: str, condition: Callable[[], Found], deadline_s: float = ..., poll_s: float = ...
) -> Found: ...


async def until(
    what: str, condition: Callable[[], Any], deadline_s: float = 60.0, poll_s: float = 0.05
) -> Any:
    """Call `condition` (plain or async) until it returns something true; return that.

    Raises NeverCame, naming `what` and the last value seen, after `deadline_s`.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + deadline_s
    while True:
        answer = condition()
        value = await answer if inspect.isawaitable(answer) else answer
        if value:
            return value
        if loop.time() > end:
            raise NeverCame(f"{what}: not so within {deadline_s:g} s; last seen was {value!r}")
        await asyncio.sleep(poll_s)
