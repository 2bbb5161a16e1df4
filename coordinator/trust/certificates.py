"""The farm's certificates: what each has to contain, and whether one still does.

Owns their content, their times and their renewal. Pure: keys, names and the time come in,
certificates come out. Files are authority.py's, names of this machine are addresses.py's.

Everything is valid from a day back: the clock of a small computer without a battery stands behind
until it has found the network.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from msgspec import Struct

CA_LIFE = timedelta(days=4000)
"""Ten years, and hosts of 32 bits still count that far (2038)."""

SERVER_LIFE = timedelta(days=397)
RENEW_BEFORE = timedelta(days=30)
BACKDATED = timedelta(days=1)
NAMES_MAX = 100
"""Names in one certificate: a machine with containers has addresses without end."""

_DNS_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9_]([a-z0-9_-]{0,62})(\.[a-z0-9_]([a-z0-9_-]{0,62}))*")

Key = ec.EllipticCurvePrivateKey
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class BadName(ValueError):
    """Text that is neither a DNS name nor an IP address."""


class Names(Struct, frozen=True):
    """Under which names and addresses a server may be reached; both sorted."""

    dns: tuple[str, ...] = ()
    addresses: tuple[Address, ...] = ()

    @property
    def texts(self) -> frozenset[str]:
        """As they stand in a URL or a Host header, without brackets."""
        return frozenset(self.dns) | {str(address) for address in self.addresses}

    def holds(self, other: Names) -> bool:
        """Whether all of the other's are among these."""
        return set(other.dns) <= set(self.dns) and set(other.addresses) <= set(self.addresses)


def names_of(texts: Iterable[str]) -> Names:
    """DNS names and addresses apart, in the order given and each once; raises BadName."""
    dns: dict[str, None] = {}
    addresses: dict[Address, None] = {}
    for text in texts:
        try:
            addresses[ipaddress.ip_address(text)] = None
        except ValueError:
            name = text.lower().rstrip(".")
            if not _DNS_NAME.fullmatch(name):
                raise BadName(f"{text[:80]!r}: neither a DNS name nor an IP address") from None
            dns[name] = None
    kept = tuple(dns)[:NAMES_MAX]
    return Names(tuple(sorted(kept)), tuple(sorted(addresses, key=_order)[: NAMES_MAX - len(kept)]))


def make_authority(key: Key, now: datetime) -> x509.Certificate:
    """The farm's own CA, signed by itself. Its name ends in its key's, so that farms differ."""
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    name = _common_name(f"Moonfleet farm {identifier.digest.hex()[:8]}")
    usage = _key_usage(signs_certificates=True)
    return (
        _builder(name, name, now, now + CA_LIFE, key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(identifier, critical=False)
        .sign(key, hashes.SHA256())
    )


def make_server(
    key: Key, names: Names, authority: x509.Certificate, authority_key: Key, now: datetime
) -> x509.Certificate:
    """A server's certificate for these names. It never outlives the authority."""
    until = min(now + SERVER_LIFE, authority.not_valid_after_utc)
    alternatives: list[x509.GeneralName] = [x509.DNSName(name) for name in names.dns]
    alternatives += [x509.IPAddress(address) for address in names.addresses]
    issuer_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
    own_key = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    return (
        _builder(_common_name("Moonfleet coordinator"), authority.subject, now, until, key)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(own_key, critical=False)
        .add_extension(issuer_key, critical=False)
        .sign(authority_key, hashes.SHA256())
    )


def names_in(certificate: x509.Certificate) -> Names:
    """The names that a certificate is for."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return Names()
    addresses = found.get_values_for_type(x509.IPAddress)
    return Names(
        tuple(sorted(name.lower() for name in found.get_values_for_type(x509.DNSName))),
        tuple(sorted((a for a in addresses if isinstance(a, Address)), key=_order)),
    )


def why_renew(
    certificate: x509.Certificate, wanted: Names, authority: x509.Certificate, now: datetime
) -> str:
    """Why a server's certificate has to be made anew; empty while it serves.

    A name that it has and nobody wants any more is no reason: addresses come and go.
    """
    try:
        certificate.verify_directly_issued_by(authority)
    except Exception as error:  # its kinds: ValueError, TypeError, InvalidSignature
        return f"it is not of this farm's CA ({type(error).__name__})"
    if not names_in(certificate).holds(wanted):
        has = names_in(certificate).texts
        return "it lacks " + ", ".join(sorted(wanted.texts - has))
    if now < certificate.not_valid_before_utc:
        return "it is not valid yet: the clock went back"
    left = certificate.not_valid_after_utc - now
    # An authority near its own end can give no longer life: then daily is often enough.
    life = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    if left < min(RENEW_BEFORE, life / 4):
        return f"it ends in {max(0, left.days)} days"
    return ""


def _builder(
    subject: x509.Name, issuer: x509.Name, now: datetime, until: datetime, key: Key
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(until)
    )


def _common_name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _order(address: Address) -> tuple[int, int]:
    return address.version, int(address)
