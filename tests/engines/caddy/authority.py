"""Pebble, Let's Encrypt's ACME server for tests, with a DNS server of its own."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import ssl
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from tests.ports import free_port

HOOK = """#!{python}
import sys, urllib.request, json
verb, name, value = sys.argv[1:]
with open({log!r}, "a") as log:
    print(verb, name, file=log)
path, body = {{
    "set": ("set-txt", {{"host": name + ".", "value": value}}),
    "clear": ("clear-txt", {{"host": name + "."}}),
}}[verb]
urllib.request.urlopen("http://127.0.0.1:{dns}/" + path, json.dumps(body).encode()).read()
"""


@dataclass(frozen=True)
class Pebble:
    """Where it is, and what a client must trust."""

    root: Path
    directory: str
    management: int
    dns_management: int

    @property
    def trusted(self) -> str:
        """The certificate of its API."""
        return str(self.root / "api.pem")

    @property
    def hook_log(self) -> Path:
        return self.root / "hook.log"

    def context(self) -> ssl.SSLContext:
        """A client that trusts what it issues."""
        trust = ssl.create_default_context(cafile=self.trusted)
        url = f"https://127.0.0.1:{self.management}/roots/0"
        with urllib.request.urlopen(url, context=trust) as answer:
            return ssl.create_default_context(cadata=answer.read().decode())

    def hook(self) -> str:
        """A program for `dns_hook`."""
        path = self.root / "hook"
        text = HOOK.format(python=sys.executable, log=str(self.hook_log), dns=self.dns_management)
        path.write_text(text)
        path.chmod(0o700)
        return str(path)


@asynccontextmanager
async def pebble(http: int, https: int, validity_s: int = 3600) -> AsyncIterator[Pebble]:
    """An authority that finds every name at 127.0.0.1, and these ports there."""
    root = Path(tempfile.mkdtemp(prefix="pebble-"))
    api, management, dns, dns_management = (free_port() for _ in range(4))
    make_certificate(root / "api.pem", root / "api.key", "localhost")
    config = {
        "listenAddress": f"127.0.0.1:{api}",
        "managementListenAddress": f"127.0.0.1:{management}",
        "certificate": str(root / "api.pem"),
        "privateKey": str(root / "api.key"),
        "httpPort": http,
        "tlsPort": https,
        "ocspResponderURL": "",
        "externalAccountBindingRequired": False,
        "certificateValidityPeriod": validity_s,
    }
    (root / "config.json").write_text(json.dumps({"pebble": config}))
    environ = {**os.environ, "PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "20"}
    environ["PEBBLE_AUTHZREUSE"] = "0"
    commands = (
        ["pebble", "-config", str(root / "config.json"), "-dnsserver", f"127.0.0.1:{dns}"],
        [
            "pebble-challtestsrv",
            *("-dns01", f"127.0.0.1:{dns}", "-management", f"127.0.0.1:{dns_management}"),
            *("-http01", "", "-https01", "", "-tlsalpn01", "", "-defaultIPv6", ""),
        ],
    )
    log = (root / "log").open("wb")
    running = [
        subprocess.Popen(command, env=environ, stdout=log, stderr=log) for command in commands
    ]
    try:
        async with asyncio.timeout(20):
            for port in (api, management, dns_management):
                await _listening(port)
        yield Pebble(root, f"https://127.0.0.1:{api}/dir", management, dns_management)
    finally:
        for process in running:
            process.kill()
            process.wait()
        log.close()
        shutil.rmtree(root)


async def _listening(port: int) -> None:
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.02)
        else:
            writer.close()
            return


def make_certificate(
    chain: Path, key: Path, *names: str, days: int = 30, since: datetime | None = None
) -> None:
    """A self-signed certificate with its key, as files."""
    private = ec.generate_private_key(ec.SECP256R1())
    begin = since or datetime.now(UTC) - timedelta(hours=1)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "for tests")])
    alternatives = [x509.DNSName(item) for item in names]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=days))
        .add_extension(
            x509.SubjectAlternativeName([*alternatives, x509.IPAddress(IPv4Address("127.0.0.1"))]),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(private, SHA256())
    )
    chain.write_bytes(made.public_bytes(Encoding.PEM))
    key.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
