"""What certificate the clients of a host are shown, found out by asking as they do."""

from __future__ import annotations

import asyncio
import contextlib
import ssl

from cryptography import x509
from cryptography.x509.oid import NameOID

from covey.apps.routing.ports import ServedCertificate

_TIMEOUT_S = 5.0
_ANY = {"0.0.0.0": "127.0.0.1", "::": "127.0.0.1"}  # noqa: S104 - both listen for IPv4


async def served_certificate(address: tuple[str, int], host: str) -> ServedCertificate | None:
    """Shake hands for a host and return the certificate that comes; None if none does."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    name = host.replace("*", "any", 1)
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            _, writer = await asyncio.open_connection(
                _ANY.get(address[0], address[0]), address[1], ssl=context, server_hostname=name
            )
    except (OSError, TimeoutError):
        return None
    try:
        found = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    if not found:
        return None
    certificate = x509.load_der_x509_certificate(found)
    names = [
        attribute.value
        for kind in (NameOID.ORGANIZATION_NAME, NameOID.COMMON_NAME)
        for attribute in certificate.issuer.get_attributes_for_oid(kind)
    ]
    issuer = str(names[0]) if names else certificate.issuer.rfc4514_string()
    return ServedCertificate(issuer, certificate.not_valid_after_utc)
