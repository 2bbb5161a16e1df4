"""Whose program is at the other end of a connection from this computer.

Owns the reading of the kernel's tables of TCP connections (proc_net_tcp(5)). Must not know what a
request asks for.

An address alone does not tell: a proxy on this computer that adds no header asks by 127.0.0.1 for
the whole world, and every user of this computer can connect to it.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
import sys
from collections.abc import Iterable
from pathlib import Path

TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
ESTABLISHED = "01"
"""In any other state a connection may have lost its owner; then its row says 0, which is root."""

WORD_DIGITS = 8


def trusted_uids() -> frozenset[int]:
    """Who may do what is only for the farm's owner: the user we run as, and root."""
    return frozenset({os.geteuid(), 0})


def is_of_owner(connection: socket.socket | None) -> bool:
    """Whether the other end of a loopback connection is a program of the farm's owner.

    True as well where the kernel shows nobody its tables, as on Android.
    """
    tables = _tables()
    if not tables:
        return True
    try:
        if connection is None:
            return False
        here, there = connection.getsockname()[:2], connection.getpeername()[:2]
    except OSError:
        return False  # it has gone
    rows = (row for table in tables for row in table.splitlines()[1:])
    return uid_of(rows, there, here) in trusted_uids()


def _tables() -> list[str]:
    """Both: a program may reach 127.0.0.1 by a socket of IPv6."""
    found = []
    for path in TABLES:
        with contextlib.suppress(OSError):
            found.append(path.read_text(encoding="ascii"))
    return found


def uid_of(rows: Iterable[str], local: tuple[str, int], remote: tuple[str, int]) -> int | None:
    """The user whose connection goes from `local` to `remote`; None if there is none of them."""
    wanted = (_plain(local), _plain(remote))
    for row in rows:
        words = row.split()
        if words[3] == ESTABLISHED and (_end(words[1]), _end(words[2])) == wanted:
            return int(words[7])
    return None


def _plain(end: tuple[str, int]) -> tuple[str, int]:
    address = ipaddress.ip_address(end[0].partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address), end[1]


def _end(text: str) -> tuple[str, int]:
    """`0100007F:1F90` is 127.0.0.1 port 8080: words of 32 bits as this machine has them."""
    digits, _, port = text.partition(":")
    words = (digits[at : at + WORD_DIGITS] for at in range(0, len(digits), WORD_DIGITS))
    packed = b"".join(int(word, 16).to_bytes(4, sys.byteorder) for word in words)
    return _plain((str(ipaddress.ip_address(packed)), int(port, 16)))
