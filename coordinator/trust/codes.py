"""Pairing codes: what a person carries from the coordinator to a printer's host, by eye and hand.

Owns their form and what can be checked with them. Pure but for drawing the secret.

    ABCDE-FGHIJ-KLMNO-PQRST    the secret (10 characters), then the check (10), in base32

The secret (50 bits) proves to the coordinator that the host was sent by an admin. The check (50
bits) proves to the host that the CA which it fetched, from whoever answered, is this farm's: it is
the beginning of HMAC-SHA256(secret, CA). It is not the beginning of the CA's fingerprint, because
that is public and stays for ten years: a certificate with the same 50 bits could be looked for
beforehand (2^50 hashes are half a day of one graphics card). Keyed by the secret, which travels
only after the check has held, nobody on the way can tell which forgery would pass: each try has
one chance in 2^50, in front of a person who sees it fail.

Guessing a secret: at most CODES_MAX codes live, for LIFETIME_S. A thousand tries a second, which
the limits of each address do not allow, would find one with a chance of 900,000 x 16 / 2^50: one in
80 million.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import string

ALPHABET = string.ascii_uppercase + "234567"
SECRET_LENGTH = 10
CHECK_LENGTH = 10
GROUP_LENGTH = 5
LIFETIME_S = 900.0
CODES_MAX = 16

_SECRET = re.compile(f"[{ALPHABET}]{{{SECRET_LENGTH}}}")


def new_secret() -> str:
    """50 random bits as a person can type them."""
    return "".join(secrets.choice(ALPHABET) for _ in range(SECRET_LENGTH))


def code_of(secret: str, ca_pem: bytes) -> str:
    """The whole code, in groups."""
    whole = secret + check_of(secret, ca_pem)
    groups = [whole[at : at + GROUP_LENGTH] for at in range(0, len(whole), GROUP_LENGTH)]
    return "-".join(groups)


def check_of(secret: str, ca_pem: bytes) -> str:
    """What a host compares: the CA as it was fetched, under the secret."""
    proof = hmac.new(secret.encode(), ca_pem, hashlib.sha256).digest()
    return base64.b32encode(proof).decode()[:CHECK_LENGTH]


def is_secret(text: str) -> bool:
    """Whether this can be a secret at all."""
    return _SECRET.fullmatch(text) is not None


def digest_of(secret: str) -> str:
    """What is kept of a secret. It is worth something for LIFETIME_S only."""
    return hashlib.sha256(b"moonfleet pairing " + secret.encode()).hexdigest()
