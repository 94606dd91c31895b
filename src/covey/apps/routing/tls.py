"""Where each host's certificate comes from."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from dataclasses import dataclass

from covey.apps.routing.model import TlsMode
from covey.apps.routing.ports import CertificateSource
from covey.errors import InvalidRequestError

_PRIVATE_ENDINGS = (
    "localhost",
    "internal",
    "local",
    "home.arpa",
    "test",
    "lan",
    "example",
    "invalid",
    "onion",
)
"""RFC 6761, RFC 6762, RFC 8375, RFC 7686 and what ICANN keeps from delegation."""


@dataclass(frozen=True, slots=True)
class TlsAbilities:
    """What the settings let the proxy do."""

    serves_http: bool = True
    serves_https: bool = True
    dns: bool = False


def is_public(host: str) -> bool:
    """Whether a public certificate authority may know the name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        labels = host.split(".")
        return len(labels) > 1 and not any(
            host == ending or host.endswith("." + ending) for ending in _PRIVATE_ENDINGS
        )
    return False


def choose_source(
    host: str, mode: TlsMode, abilities: TlsAbilities, uploaded: Collection[str]
) -> CertificateSource:
    """Say where a host's certificate comes from.

    `uploaded` are the hosts that have a certificate of their own. Raises `InvalidRequestError` for
    what the settings make impossible.
    """
    if mode is TlsMode.OFF or (mode is TlsMode.AUTO and not abilities.serves_https):
        return _plain(host, abilities)
    if not abilities.serves_https:
        raise InvalidRequestError(
            f"{host} asks for TLS, and the proxy takes no HTTPS.",
            hint="Set https in [proxy] of covey.toml, such as [::]:443",
        )
    match mode:
        case TlsMode.CUSTOM:
            if host not in uploaded:
                raise InvalidRequestError(
                    f"There is no certificate for {host}.",
                    hint=f"Upload it first: covey routes certificate {host} CERT.pem KEY.pem",
                )
            return CertificateSource.CUSTOM
        case TlsMode.INTERNAL:
            return CertificateSource.INTERNAL
        case TlsMode.AUTO if host in uploaded:
            return CertificateSource.CUSTOM
        case TlsMode.AUTO if not is_public(host):
            return CertificateSource.INTERNAL
        case TlsMode.AUTO | TlsMode.ACME:
            return _by_acme(host, abilities)


def _plain(host: str, abilities: TlsAbilities) -> CertificateSource:
    if abilities.serves_http:
        return CertificateSource.NONE
    raise InvalidRequestError(
        f"{host} asks for plain HTTP, which the proxy takes nowhere.",
        hint="Set http in [proxy] of covey.toml, or choose another tls mode.",
    )


def _by_acme(host: str, abilities: TlsAbilities) -> CertificateSource:
    if host.startswith("*."):
        if abilities.dns:
            return CertificateSource.DNS
        raise InvalidRequestError(
            f"A certificate for {host} is given only to who controls its DNS zone.",
            hint="Set dns_hook in [proxy] of covey.toml, upload a certificate, "
            "or choose tls internal.",
        )
    if not abilities.serves_http and abilities.dns:
        return CertificateSource.DNS
    return CertificateSource.ACME
