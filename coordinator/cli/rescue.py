"""`users reset-password`: a lost password, mended in the data folder itself, over no network.

Owns who may do it (whoever may write the farm's database is its owner) and the way there. Works
beside a running coordinator: each reads users from the database whenever somebody asks.
"""

from __future__ import annotations

import argparse
import asyncio

from coordinator import config
from coordinator.cli.client import Client, Missing, Refused, Usage
from coordinator.cli.output import Output
from coordinator.cli.people import new_password
from coordinator.clock import SystemClock
from coordinator.core.requests import NotFound, Who
from coordinator.people.accounts import UserWish
from coordinator.people.passwords import HashCost
from coordinator.people.people import People
from coordinator.people.records import User
from coordinator.people.rules import PasswordRefused
from coordinator.ports import StoreError
from coordinator.store.sql import SqlStore


def reset_password(_client: Client, args: argparse.Namespace, output: Output) -> None:
    """Set a user's password and enable them; their sessions end."""
    database = args.data_dir / "moonfleet.db"
    try:
        options = config.load(args.config or args.data_dir / "moonfleet.toml", [])
    except (config.ConfigError, OSError) as error:
        raise Usage(str(error)) from error
    if not options.database_url and not database.is_file():
        raise Usage(f"--data-dir {args.data_dir}: there is no moonfleet.db in it")
    url = options.database_url or f"sqlite+aiosqlite:///{database}"
    cost = HashCost(options.people.hash_memory_kib, options.people.hash_passes)
    try:
        user = asyncio.run(_reset(url, cost, args.name))
    except NotFound as error:
        raise Missing(str(error)) from error
    except (PasswordRefused, StoreError) as error:
        raise Refused(str(error)) from error
    answer = {"ok": True, "user": {"name": user.name, "role": user.role.word}}
    output.show(f"{user.name}: has a new password, and is logged out everywhere", answer)


async def _reset(url: str, cost: HashCost, name: str) -> User:
    store = SqlStore(url)
    await store.open()
    try:
        people = People(store.people, SystemClock(), cost)
        try:
            await people.accounts.user(name)  # before anybody types for nothing
            password = await asyncio.to_thread(new_password)
            wish = UserWish(password=password, disabled=False)
            who = Who("owner", "data folder")
            return await people.accounts.change_user(name, wish, who)
        finally:
            people.close()
    finally:
        await store.close()
