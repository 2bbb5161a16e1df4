"""How our TLS listeners speak: versions and ciphers, for HTTPS and for Mosquitto alike.

Owns these two choices. Must not know certificates.
"""

from __future__ import annotations

import ssl

CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""For TLS 1.2: forward secrecy and authenticated encryption alone. TLS 1.3 has nothing else."""

MOSQUITTO_TLS_MIN = "tlsv1.2"


def server_context() -> ssl.SSLContext:
    """A listener's side, without a certificate yet."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    return context
