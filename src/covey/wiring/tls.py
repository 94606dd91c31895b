"""TLS contexts of a node, which follow its certificate and the fleet's CAs without a restart."""

from __future__ import annotations

import os
import secrets
import ssl
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey


@dataclass(frozen=True, slots=True)
class TlsIdentity:
    """A node's certificate with its key, and the CAs that it trusts."""

    certificate: x509.Certificate
    key: EllipticCurvePrivateKey
    authorities: tuple[x509.Certificate, ...]


class TlsContexts:
    """The contexts of now: `server` is given to listeners once, and passes each connection on."""

    def __init__(self, identity: TlsIdentity, private_dir: Path) -> None:
        self._private_dir = private_dir
        self._current: tuple[ssl.SSLContext, ssl.SSLContext]
        self.renew(identity)
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.server.minimum_version = ssl.TLSVersion.TLSv1_3
        self.server.sni_callback = self._choose
        self.server.verify_mode = ssl.CERT_OPTIONAL
        self._load(self.server, identity)

    @property
    def client(self) -> ssl.SSLContext:
        """The context for calls to other members."""
        return self._current[1]

    def renew(self, identity: TlsIdentity) -> None:
        """Use this certificate and these CAs for every connection from now on."""
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.minimum_version = ssl.TLSVersion.TLSv1_3
        server.verify_mode = ssl.CERT_OPTIONAL
        client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client.minimum_version = ssl.TLSVersion.TLSv1_3
        # Members are known by the node id in the certificate, not by a host name.
        client.check_hostname = False
        client.verify_mode = ssl.CERT_REQUIRED
        for context in (server, client):
            self._load(context, identity)
        self._current = (server, client)

    def _choose(
        self, connection: ssl.SSLSocket | ssl.SSLObject, _name: str | None, _old: ssl.SSLContext
    ) -> None:
        connection.context = self._current[0]

    def _load(self, context: ssl.SSLContext, identity: TlsIdentity) -> None:
        trusted = b"".join(
            item.public_bytes(serialization.Encoding.PEM) for item in identity.authorities
        )
        context.load_verify_locations(cadata=trusted.decode("ascii"))
        # ssl reads keys from files alone: this one is encrypted under a password of the moment.
        password = secrets.token_bytes(32).hex().encode()
        key = identity.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(password),
        )
        chain = identity.certificate.public_bytes(serialization.Encoding.PEM)
        path = self._private_dir / f"tls-{secrets.token_hex(8)}.pem"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(chain + key)
            context.load_cert_chain(path, password=password)
        finally:
            path.unlink()
