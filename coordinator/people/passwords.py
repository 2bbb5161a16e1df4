"""Hashing passwords with argon2id, off the event loop and never many at once.

Owns the cost, the threads and the bound on what waits for them. Must not know users.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from msgspec import Struct

log = logging.getLogger("moonfleet.people")

T = TypeVar("T")
THREADS = 2
WAITING_MAX = 32
"""Each one holds its memory only while it runs: at most THREADS times that of one hash."""


class HashCost(Struct, frozen=True):
    """argon2id's memory and passes; a login takes that much of both."""

    memory_kib: int = 32_768
    passes: int = 3


class TooManyLogins(Exception):
    """So many passwords wait to be checked that this one was not taken."""


class Passwords:
    """Give it back its threads with `close()`."""

    def __init__(self, cost: HashCost) -> None:
        self._hasher = PasswordHasher(
            time_cost=cost.passes, memory_cost=cost.memory_kib, parallelism=1
        )
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="passwords")
        self._waiting = 0

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def hash(self, password: str) -> str:
        """The hash to keep, with its salt and cost. Raises TooManyLogins."""
        return await self._in_thread(lambda: self._hasher.hash(password))

    async def is_right(self, password_hash: str | None, password: str) -> bool:
        """Whether this is the password. Raises TooManyLogins.

        Without a hash (nobody bears the name) as much work is done for nothing: the time that a
        refusal takes must not tell which names exist.
        """
        return await self._in_thread(lambda: self._check(password_hash, password))

    def is_outdated(self, password_hash: str) -> bool:
        """Whether it was made with another cost than today's."""
        return self._hasher.check_needs_rehash(password_hash)

    def _check(self, password_hash: str | None, password: str) -> bool:
        nobodys = self._nobodys
        try:
            self._hasher.verify(password_hash or nobodys, password)
        except InvalidHashError:
            log.error("a stored password hash is none: its user cannot log in")
            return False
        except VerificationError:
            return False
        return password_hash is not None

    @cached_property
    def _nobodys(self) -> str:
        return self._hasher.hash(secrets.token_hex())

    async def _in_thread(self, work: Callable[[], T]) -> T:
        if self._waiting >= WAITING_MAX:
            raise TooManyLogins("too many logins at once; try again in a moment")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._waiting -= 1
