"""The grammar of the commands about people and keys. What they do stands in people.py."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from coordinator import data_folder
from coordinator.cli import people
from coordinator.cli.client import Client
from coordinator.cli.output import Output

Run = Callable[[Client, argparse.Namespace, Output], None]
Into = argparse._SubParsersAction
ROLES = ("viewer", "operator", "admin")


def add_people(into: Into[argparse.ArgumentParser], shared: argparse.ArgumentParser) -> None:
    """setup, login, logout, whoami, users, keys."""

    def add(name: str, run: Run, text: str) -> argparse.ArgumentParser:
        return _add(into, shared, name, run, text)

    first = add("setup", people.set_up, "make the farm's first user, on the coordinator's computer")
    first.add_argument("--name", help="default: it is asked for")
    entry = add("login", people.login, "make an API key for this computer, and keep it")
    entry.add_argument("--name", help="your name at the farm; default: it is asked for")
    entry.add_argument("--key-name", help="what the key is called; default: this computer's name")
    entry.add_argument("--role", choices=ROLES, help="the most the key may do; default: your role")
    add("logout", people.logout, "revoke the key that is kept for this coordinator")
    add("whoami", people.who_am_i, "say who you are to the coordinator")
    _add_users(into, shared)
    _add_keys(into, shared)


def _add_users(into: Into[argparse.ArgumentParser], shared: argparse.ArgumentParser) -> None:
    acts = _group(into, shared, "users", "list, make, change and remove users, as an admin")

    def add(name: str, run: Run, text: str) -> argparse.ArgumentParser:
        return _add(acts, shared, name, run, text)

    def of_user(name: str, run: Run, text: str) -> argparse.ArgumentParser:
        made = add(name, run, text)
        made.add_argument("name", metavar="NAME")
        return made

    add("list", people.list_users, "list users")
    new = of_user("add", people.add_user, "make a user; the password is asked for")
    new.add_argument("--role", choices=ROLES, default="operator")
    of_user("password", people.change_password, "set a user's password, as an admin")
    given = of_user("role", people.change_role, "change a user's role")
    given.add_argument("role", choices=ROLES)
    of_user("disable", people.disable_user, "keep a user out")
    of_user("enable", people.disable_user, "let a disabled user in again")
    of_user("remove", people.remove_user, "remove a user with their sessions and keys")
    lost = of_user("reset-password", _reset_password, "set a lost password, in the data folder")
    lost.add_argument(
        "--data-dir", type=Path, default=data_folder.DEFAULT, metavar="DIR",
        help=f"the farm's data folder ({data_folder.DEFAULT})",
    )  # fmt: skip
    lost.add_argument("--config", type=Path, help="default: moonfleet.toml in the data folder")


def _add_keys(into: Into[argparse.ArgumentParser], shared: argparse.ArgumentParser) -> None:
    acts = _group(into, shared, "keys", "list, make and revoke API keys")
    _add(acts, shared, "list", people.list_keys, "list keys: your own, or as an admin all")
    new = _add(acts, shared, "make", people.make_key, "make a key for a program")
    new.add_argument("name", metavar="NAME", help="what it is for")
    new.add_argument("--role", choices=ROLES, help="the most it may do; default: your role")
    new.add_argument("--days", type=float, help="until it expires; default: never")
    gone = _add(acts, shared, "revoke", people.revoke_key, "revoke a key")
    gone.add_argument("id", metavar="ID")


def _group(
    into: Into[argparse.ArgumentParser], shared: argparse.ArgumentParser, name: str, text: str
) -> Into[argparse.ArgumentParser]:
    made = into.add_parser(name, help=text, description=text, parents=[shared])
    return made.add_subparsers(dest="act", required=True, metavar="ACT")


def _add(
    into: Into[argparse.ArgumentParser],
    shared: argparse.ArgumentParser,
    name: str,
    run: Run,
    text: str,
) -> argparse.ArgumentParser:
    made = into.add_parser(name, help=text, description=text, parents=[shared])
    made.set_defaults(run=run)
    return made


def _reset_password(client: Client, args: argparse.Namespace, output: Output) -> None:
    # SQL takes longer to load than most commands take to run.
    from coordinator.cli.rescue import reset_password

    reset_password(client, args, output)
