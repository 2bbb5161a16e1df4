"""A certificate of the user's own for the doors: whether it can serve, told at the start.

Owns the checks and their words. They end with a real handshake in memory, by the CA that hosts
will be given: what a host would find, the start finds first.
"""

from __future__ import annotations

import logging
import ssl
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from coordinator.trust.authority import TrustError, read_certificates
from coordinator.trust.certificates import Names, names_in
from coordinator.trust.contexts import server_context

log = logging.getLogger("moonfleet.trust")

WARN_BEFORE = timedelta(days=7)
STEPS_MAX = 20
"""Flights of a handshake: TLS needs four at most."""


def check(certificate: Path, key: Path, ca_pem: bytes, now: datetime) -> Names:
    """The names it is for; raises TrustError naming the option and what is wrong with it."""
    leaf = read_certificates(certificate)[0]
    _check_key(leaf, certificate, key)
    until, since = leaf.not_valid_after_utc, leaf.not_valid_before_utc
    if not since <= now <= until:
        raise TrustError(
            f"network.certificate {certificate}: is valid from {since:%Y-%m-%d} to"
            f" {until:%Y-%m-%d}, and today is {now:%Y-%m-%d}"
        )
    names = names_in(leaf)
    if not names.texts:
        raise TrustError(f"network.certificate {certificate}: names no server (subjectAltName)")
    try:
        _shake_hands(certificate, key, ca_pem, sorted(names.texts)[0].replace("*", "any"))
    except ssl.SSLError as error:
        told = getattr(error, "verify_message", "") or error.reason or str(error)
        raise TrustError(
            f"network.certificate {certificate}: hosts could not verify it ({told}); network.ca"
            " has to name the CA that signed it, and the file all certificates between the two"
        ) from error
    return names


def ca_of(certificate: Path, ca: str) -> bytes:
    """The CA for hosts, in PEM: the named file, else the last certificate of the chain."""
    if ca:
        path = Path(ca)
        read_certificates(path)
        return path.read_bytes()
    return read_certificates(certificate)[-1].public_bytes(serialization.Encoding.PEM)


def warn_of_end(certificate: Path, now: datetime) -> None:
    """Say in the log when whoever renews it should have done so."""
    left = read_certificates(certificate)[0].not_valid_after_utc - now
    if left < WARN_BEFORE:
        log.warning("network.certificate %s ends in %d days", certificate, max(0, left.days))


def _check_key(leaf: x509.Certificate, certificate: Path, path: Path) -> None:
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise TrustError(f"network.key {path}: cannot be read: {error.strerror}") from error
    except (ValueError, TypeError) as error:
        raise TrustError(
            f"network.key {path}: holds no private key in PEM without a pass phrase"
        ) from error
    if key.public_key() != leaf.public_key():
        raise TrustError(f"network.key {path}: is not the key of {certificate}")


def _shake_hands(certificate: Path, key: Path, ca_pem: bytes, name: str) -> None:
    """One handshake with ourselves, without a socket."""
    ours = server_context()
    ours.load_cert_chain(certificate, key)
    theirs = ssl.create_default_context(cadata=ca_pem.decode())
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        theirs.wrap_bio(down, up, server_hostname=name),
        ours.wrap_bio(up, down, server_side=True),
    ]
    for _ in range(STEPS_MAX):
        for end in list(ends):
            try:
                end.do_handshake()
                ends.remove(end)
            except ssl.SSLWantReadError:
                continue
        if not ends:
            return
    raise ssl.SSLError("the handshake did not end")
