"""TLS as a host speaks it: by what it verifies, and what people are told of what fails.

Owns the client's context and the words. There is no way around a certificate that does not hold.
What it must not know: MQTT, HTTP. Standard library alone.
"""

from __future__ import annotations

import ipaddress
import ssl
import time

NOT_NOW = (9, 10)
OTHER_NAME = (62, 64)
OTHER_CA = (18, 19, 20, 21, 7)
"""OpenSSL's X509_V_ERR_ numbers: not yet or no longer valid; host or address mismatch; self-signed,
no issuer found, or a signature by another key of the same name."""


def client_context(ca: str, system: bool) -> ssl.SSLContext:
    """Verify by the CAs in file `ca`, by the system's, or both; raises OSError or ssl.SSLError."""
    context = ssl.create_default_context(cafile=ca or None)
    if ca and system:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def is_loopback(host: str) -> bool:
    """Whether a name or address is this computer's own, by what it says alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def told(error: BaseException) -> str:
    """The error for people: what of a certificate does not hold, and what can be done."""
    if isinstance(error, ssl.SSLCertVerificationError):
        code, why = error.verify_code, error.verify_message
        if code in NOT_NOW:
            today = time.strftime("%Y-%m-%d %H:%M", time.gmtime())
            return (
                f"its certificate is not valid now ({why}), and this computer's clock says"
                f" {today} UTC: the clock is wrong, or the certificate has ended"
            )
        if code in OTHER_NAME:
            return f"its certificate is for another name ({why})"
        if code in OTHER_CA:
            return (
                f"its certificate is not of the CA that this host trusts ({why}): another server"
                " answers there, or the farm has a new CA and this host has to be paired again"
            )
        return f"its certificate cannot be verified ({why})"
    if isinstance(error, ssl.SSLError) and error.reason == "WRONG_VERSION_NUMBER":
        return "it does not speak TLS on this port"
    return str(error) or type(error).__name__
