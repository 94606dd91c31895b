"""The settings of jobs, of the apps that a machine hosts, and of the proxy in front of them."""

from __future__ import annotations

from typing import Annotated

import msgspec

from covey.settings_values import (
    Key,
    absolute_path,
    address_or_none,
    choice,
    flag,
    listing,
    network,
    size,
    span,
    text,
    whole,
)

_DAY = 86_400
_NAMES = r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*"
_DOMAIN = text(_NAMES, "a domain such as apps.example.org")


class JobsSettings(msgspec.Struct, frozen=True):
    """What takes long: deployments, builds, scheduled commands."""

    at_once: Annotated[int, Key("Most jobs that run at one time.", whole(1, 256))] = 8
    keep_days: Annotated[
        int, Key("Ended jobs and their logs are kept for this long.", span(_DAY, 1, 36_500))
    ] = 30
    log_bytes: Annotated[
        int, Key("Most log that one job keeps; its middle is left out.", size(1 << 16, 1 << 36))
    ] = 8 << 20


class AppsSettings(msgspec.Struct, frozen=True):
    """Apps that this machine builds and runs."""

    domain: Annotated[
        str, Key("An app without a domain of its own is served at APP.DOMAIN.", _DOMAIN)
    ] = "localhost"
    webhook_host: Annotated[
        str,
        Key(
            "The host at which the proxy takes the deliveries of forges, such as "
            "hooks.example.org; empty means the node's own port alone.",
            text(rf"(?:{_NAMES})?", "a host such as hooks.example.org"),
        ),
    ] = ""
    engine: Annotated[
        str,
        Key(
            "The container engine; auto takes the one that is there.",
            choice("auto", "podman", "docker"),
        ),
    ] = "auto"
    engine_socket: Annotated[
        str,
        Key("The engine's API socket; empty means its usual place.", absolute_path(or_none=True)),
    ] = ""
    keep_images: Annotated[
        int, Key("Versions of each app whose images are kept for a rollback.", whole(1, 1000))
    ] = 5
    build_memory: Annotated[
        int, Key("Most memory for one build; 0 means no limit.", size(0, 1 << 44))
    ] = 0
    build_cpus: Annotated[
        int, Key("Most CPUs for one build; 0 means no limit.", whole(0, 1024))
    ] = 0
    build_timeout: Annotated[
        int, Key("A build that takes longer has failed.", span(1, 10, 86_400))
    ] = 3600
    max_upload: Annotated[
        int, Key("The largest directory that can be uploaded, packed.", size(1 << 20, 1 << 40))
    ] = 1 << 30
    git_schemes: Annotated[
        tuple[str, ...],
        Key("Where repositories may be besides https and ssh.", listing(choice("file", "http"))),
    ] = ()
    log_bytes: Annotated[int, Key("Most log that one container keeps.", size(1 << 16, 1 << 36))] = (
        10 << 20
    )


class ProxySettings(msgspec.Struct, frozen=True):
    """The proxy that takes HTTP and HTTPS for the apps; it runs once there is a route."""

    http: Annotated[
        str,
        Key(
            "Where it takes HTTP; [::] is every address, IPv4 too; empty means nowhere.",
            address_or_none(),
        ),
    ] = "[::]:80"
    https: Annotated[str, Key("Where it takes HTTPS, likewise.", address_or_none())] = "[::]:443"
    http3: Annotated[bool, Key("Also speak HTTP/3 (UDP) where it takes HTTPS.", flag())] = True
    trusted_proxies: Annotated[
        tuple[str, ...],
        Key("Networks of load balancers whose X-Forwarded-For is believed.", listing(network())),
    ] = ()
    acme_directory: Annotated[
        str,
        Key(
            "The ACME directory that certificates come from.",
            text(r"https://[^\s]+", "an https URL"),
        ),
    ] = "https://acme-v02.api.letsencrypt.org/directory"
    acme_email: Annotated[
        str,
        Key(
            "Where the certificate authority writes to.",
            text(r"(?:[^\s@]+@[^\s@]+)?", "a mail address"),
        ),
    ] = ""
    acme_roots: Annotated[
        str,
        Key(
            "Certificates (PEM) to trust for the ACME directory itself.",
            absolute_path(or_none=True),
        ),
    ] = ""
    dns_hook: Annotated[
        str,
        Key(
            "A program that sets and clears TXT records for DNS-01; empty means HTTP-01 alone.",
            absolute_path(or_none=True),
        ),
    ] = ""
    renewal_check: Annotated[
        int,
        Key("How often it looks whether a certificate is to be renewed.", span(1, 1, 86_400)),
    ] = 600
    access_log_bytes: Annotated[
        int, Key("Most access log that is kept for each app.", size(1 << 16, 1 << 36))
    ] = 32 << 20
