"""The names and addresses of this machine, as a host of the farm might call it.

Owns how they are found. Must not know certificates.
"""

from __future__ import annotations

import ipaddress
import re
import socket

import ifaddr

LOOPBACK = ("localhost", "127.0.0.1", "::1")
_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,62})")


def machine_names() -> tuple[str, ...]:
    """Host name, the same with .local, and loopback: what does not change by itself."""
    full = socket.gethostname().lower().rstrip(".")
    short = full.partition(".")[0]
    if not all(_LABEL.fullmatch(label) for label in full.split(".")):
        return LOOPBACK  # a name that cannot stand in a certificate is no name to be called by
    return tuple(dict.fromkeys((short, f"{short}.local", full, *LOOPBACK)))


def machine_addresses() -> tuple[str, ...]:
    """The addresses of all interfaces; link-local ones of IPv6 only work with a scope."""
    found = []
    for adapter in ifaddr.get_adapters():
        for ip in adapter.ips:
            address = ipaddress.ip_address(ip.ip[0] if isinstance(ip.ip, tuple) else ip.ip)
            if not (address.version == 6 and address.is_link_local):
                found.append(str(address))
    return tuple(dict.fromkeys(found))
