"""The farm's certificate authority on disk: <data>/trust/, made on first run.

Owns three files: `ca.key` (0600), `ca.pem`, and `server.pem` (0600: key and certificate in one
file, so that the two change in one rename). What they contain is certificates.py's.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from coordinator.private_file import write_private
from coordinator.trust import certificates
from coordinator.trust.certificates import Key, Names


class TrustError(Exception):
    """A key or certificate cannot be used: names the file, and what to do."""


class Authority:
    """The CA of one farm in `folder`; `open` makes it at the first run."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key_path = folder / "ca.key"
        self._ca_path = folder / "ca.pem"
        self.server_path = folder / "server.pem"
        self._key: Key
        self._certificate: x509.Certificate

    @property
    def pem(self) -> bytes:
        """What hosts verify by: the CA's certificate."""
        return self._certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def ends_at(self) -> datetime:
        """When the CA itself ends."""
        return self._certificate.not_valid_after_utc

    def open(self, now: datetime) -> None:
        """Read the CA, or make it; raises TrustError for one that is damaged or half there."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self._key_path.exists():
            if self._ca_path.exists():
                raise TrustError(
                    f"{self._key_path} is missing beside {self._ca_path}: restore it from a backup,"
                    f" or remove {self._folder} for a new CA, and pair every host again"
                )
            write_private(self._key_path, _key_pem(new_key()))
        self._key = read_key(self._key_path)
        if not self._ca_path.exists():  # also when the first run ended between the two
            made = certificates.make_authority(self._key, now)
            write_private(self._ca_path, made.public_bytes(serialization.Encoding.PEM))
        self._certificate = read_certificates(self._ca_path)[0]
        if self._certificate.public_key() != self._key.public_key():
            raise TrustError(f"{self._key_path} is not the key of {self._ca_path}: restore both")

    def ensure_server(self, wanted: Names, now: datetime) -> str:
        """Have a certificate for these names that serves; returns why it was made, or empty."""
        why = self._why_renew(wanted, now)
        if why:
            key = new_key()
            made = certificates.make_server(key, wanted, self._certificate, self._key, now)
            pem = made.public_bytes(serialization.Encoding.PEM)
            write_private(self.server_path, _key_pem(key) + pem)
        return why

    def server_names(self) -> Names:
        """The names that the server's certificate is for."""
        return certificates.names_in(read_certificates(self.server_path)[0])

    def _why_renew(self, wanted: Names, now: datetime) -> str:
        if not self.server_path.exists():
            return "there is none yet"
        try:
            read_key(self.server_path)
            certificate = read_certificates(self.server_path)[0]
        except TrustError as error:
            return str(error)  # we can always make another one
        return certificates.why_renew(certificate, wanted, self._certificate, now)


def utc_now() -> datetime:
    """The wall clock, as certificates count."""
    return datetime.now(UTC)


def new_key() -> Key:
    """A new key: P-256, which everything since TLS 1.2 knows and small computers can do."""
    return ec.generate_private_key(ec.SECP256R1())


def read_certificates(path: Path) -> list[x509.Certificate]:
    """All certificates of a PEM file, at least one; raises TrustError."""
    try:
        return x509.load_pem_x509_certificates(path.read_bytes())
    except OSError as error:
        raise TrustError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise TrustError(f"{path}: holds no certificate in PEM") from error


def read_key(path: Path) -> Key:
    """Our own private key; raises TrustError."""
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise TrustError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, TypeError) as error:
        raise TrustError(f"{path}: holds no private key in PEM; restore it") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TrustError(f"{path}: holds another kind of key than this farm makes; restore it")
    return key


def _key_pem(key: Key) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
