"""Commands about people and their keys: log in and out, set up, users, keys.

Owns how a password is asked for, and the session that lives only as long as a key is being made.
"""

from __future__ import annotations

import argparse
import contextlib
import getpass
import socket
import sys
from collections.abc import Iterator

from coordinator.cli import keyring, tables
from coordinator.cli.client import Client, CliError, Json, NotAllowed, Refused, Usage
from coordinator.cli.output import Output

CSRF_HEADER = "X-Moonfleet-Csrf"
DAY_S = 86_400.0


def login(client: Client, args: argparse.Namespace, output: Output) -> None:
    """Make an API key for this computer with a person's password, and keep it."""
    name = args.name or _asked("name: ")
    order: Json = {"name": args.key_name or _this_computer()}
    if args.role:
        order["role"] = args.role
    with _session(client, "/login", name, _password("password: ")) as page:
        made = page.post("/keys", order)
    _keep(client, made, output)


def set_up(client: Client, args: argparse.Namespace, output: Output) -> None:
    """Make the farm's first user, and keep a key for this computer."""
    name = args.name or _asked("name of the first user, an admin: ")
    with _session(client, "/setup", name, new_password()) as page:
        made = page.post("/keys", {"name": _this_computer()})
    _keep(client, made, output)


def logout(client: Client, args: argparse.Namespace, output: Output) -> None:
    """Revoke the key that is kept for this coordinator, and forget it."""
    key = keyring.kept(client.url)
    if not key:
        raise Refused(f"no key is kept for {client.url}")
    mine = Client(client.url, key, client.ca)
    revoked = True
    try:
        mine.delete(f"/keys/{mine.get('/me')['me']['key']}")
    except NotAllowed:
        revoked = False  # it was not taken any more
    except CliError as error:
        output.progress(f"the key was not revoked ({error}); an admin can: `moonfleet keys`")
        revoked = False
    keyring.forget(client.url)
    said = "revoked and forgotten" if revoked else "forgotten"
    output.show(f"the key for {client.url} is {said}", {"ok": True, "revoked": revoked})


def who_am_i(client: Client, args: argparse.Namespace, output: Output) -> None:
    answer = client.get("/me")
    me = answer["me"]
    by_key = f", by the key {me['key_name']} ({me['key']})" if me["key"] else ""
    output.show(f"{me['name']}: {me['role']}{by_key}", answer)


def list_users(client: Client, args: argparse.Namespace, output: Output) -> None:
    answer = client.get("/users")
    output.show(tables.users_table(answer["users"]), answer)


def add_user(client: Client, args: argparse.Namespace, output: Output) -> None:
    order = {"name": args.name, "role": args.role, "password": new_password()}
    _say_user(output, client.post("/users", order))


def change_password(client: Client, args: argparse.Namespace, output: Output) -> None:
    """Another's, as an admin."""
    _say_user(output, client.patch(f"/users/{args.name}", {"password": new_password()}))


def change_role(client: Client, args: argparse.Namespace, output: Output) -> None:
    _say_user(output, client.patch(f"/users/{args.name}", {"role": args.role}))


def disable_user(client: Client, args: argparse.Namespace, output: Output) -> None:
    """disable and enable."""
    wish = {"disabled": args.act == "disable"}
    _say_user(output, client.patch(f"/users/{args.name}", wish))


def remove_user(client: Client, args: argparse.Namespace, output: Output) -> None:
    answer = client.delete(f"/users/{args.name}")
    output.show(f"{args.name}: removed, with their sessions and keys", answer)


def list_keys(client: Client, args: argparse.Namespace, output: Output) -> None:
    answer = client.get("/keys")
    output.show(tables.keys_table(answer["keys"]), answer)


def make_key(client: Client, args: argparse.Namespace, output: Output) -> None:
    """The key goes to stdout alone, so that it can be written into a file."""
    lifetime_s = None if args.days is None else args.days * DAY_S
    order = {"name": args.name, "role": args.role or "", "lifetime_s": lifetime_s}
    answer = client.post("/keys", order)
    output.progress(f"key {answer['key']['id']}; it is shown this once:")
    output.show(answer["secret"], answer)


def revoke_key(client: Client, args: argparse.Namespace, output: Output) -> None:
    output.show(f"key {args.id}: revoked", client.delete(f"/keys/{args.id}"))


def new_password() -> str:
    """A password for somebody, asked twice where a person types."""
    password = _password("new password, at least 10 characters: ")
    if sys.stdin.isatty() and _password("again: ") != password:
        raise Usage("the two passwords differ; nothing was changed")
    return password


@contextlib.contextmanager
def _session(client: Client, path: str, name: str, password: str) -> Iterator[Client]:
    """Log in for a moment, as a browser does, and without any key that is there already."""
    page = Client(client.url, ca=client.ca)
    answer = page.post(path, {"name": name, "password": password})
    with page.as_page({CSRF_HEADER: answer["csrf"], "Origin": client.url}):
        yield page
        page.post("/logout")


def _this_computer() -> str:
    return socket.gethostname()[:64] or "command line"


def _keep(client: Client, made: Json, output: Output) -> None:
    path = keyring.keep(client.url, made["secret"])
    key = made["key"]
    output.show(
        f"logged in at {client.url} as {key['user']} ({key['role']}); the key {key['name']} is kept"
        f" in {path}",
        {"ok": True, "key": key, "file": str(path)},
    )


def _say_user(output: Output, answer: Json) -> None:
    user = answer["user"]
    disabled = ", disabled" if user["disabled"] else ""
    output.show(f"{user['name']}: {user['role']}{disabled}", answer)


def _password(prompt: str) -> str:
    """Without echo; a line of stdin where nobody types."""
    if sys.stdin.isatty():
        return getpass.getpass(prompt)
    return _line("a password")


def _asked(prompt: str) -> str:
    if sys.stdin.isatty():
        return input(prompt).strip()
    raise Usage("--name: is needed where nobody can be asked")


def _line(what: str) -> str:
    line = sys.stdin.readline()
    if not line:
        raise Usage(f"{what} is needed: on a terminal, or as a line of stdin")
    return line.rstrip("\r\n")
