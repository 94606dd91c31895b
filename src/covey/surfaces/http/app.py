"""The node's HTTP app, put together from what the wiring hands over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from starlette.routing import BaseRoute, Router
from starlette.types import ASGIApp

from covey.operations.audit import AuditSink
from covey.operations.context import Services
from covey.operations.dispatch import Dispatcher, NoOtherHosts
from covey.operations.registry import Registry
from covey.surfaces.http.authentication import Authenticator
from covey.surfaces.http.endpoints import Endpoints, Gate
from covey.surfaces.http.git import GitPages
from covey.surfaces.http.guard import Guard
from covey.surfaces.http.limits import FailedAttempts, RateLimits
from covey.surfaces.http.metrics import GaugeProvider, Metrics
from covey.surfaces.http.pages import Pages
from covey.surfaces.http.routing import Table
from covey.surfaces.http.webhooks import WebhookReceiver, Webhooks, proxied_address

_FAILURES_SHARE = 60


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """Limits of the API: a rate of 0 is no limit; the timeout is in seconds.

    Without `failed_authentications_per_minute`, an address may fail a sixtieth of the rate limit.
    `allowed_hosts` are names besides `localhost`, the machine's own and IP addresses by which
    clients on this machine may call the node. GitHub's deliveries have at most 25 MiB.
    """

    rate_limit_per_minute: int = 600
    failed_authentications_per_minute: int | None = None
    max_body_bytes: int = 1024 * 1024
    default_timeout: float = 300.0
    allowed_hosts: tuple[str, ...] = ()
    max_push_bytes: int = 1 << 30
    max_delivery_bytes: int = 25 << 20

    @property
    def failures_per_minute(self) -> int:
        """How often an address may fail to say who it is."""
        given = self.failed_authentications_per_minute
        return -(-self.rate_limit_per_minute // _FAILURES_SHARE) if given is None else given


def build_app(
    registry: Registry,
    services: Services,
    audit: AuditSink,
    authenticator: Authenticator,
    *,
    settings: HttpSettings,
    health: Callable[[], str],
    dispatcher: Dispatcher | None = None,
    gauges: GaugeProvider = tuple,
    extra_routes: Sequence[BaseRoute] = (),
    webhooks: Callable[[], WebhookReceiver] | None = None,
) -> ASGIApp:
    """Return the ASGI app: every operation, the node's own pages, and `extra_routes` before them.

    `health` returns the node's state (`ready`, `locked`, …) for `GET /health`; `gauges` is asked
    for the node's measurements at each `GET /metrics`. Without a `dispatcher` this node is the
    only host. `webhooks` returns who takes the deliveries of forges, or raises why nobody does.
    """
    failures = settings.failures_per_minute
    gate = Gate(
        authenticator,
        RateLimits(settings.rate_limit_per_minute),
        FailedAttempts(failures),
    )
    endpoints = Endpoints(
        gate,
        services,
        audit,
        settings.max_body_bytes,
        dispatcher or NoOtherHosts(),
        settings.default_timeout,
    )
    metrics = Metrics(gauges)
    rows = [row for name in registry for row in endpoints.rows(registry[name])]
    rows += Pages(gate, registry, metrics, health).rows()
    rows += GitPages(gate, registry, services, audit, settings.max_push_bytes).rows()
    if webhooks is not None:
        rows += Webhooks(gate.limits, webhooks, audit, settings.max_delivery_bytes, failures).rows()
    router = Router(list(extra_routes), redirect_slashes=False, default=Table(rows))
    return Guard(router, metrics, settings.allowed_hosts)


def build_webhook_app(
    webhooks: Callable[[], WebhookReceiver], audit: AuditSink, settings: HttpSettings
) -> ASGIApp:
    """Return an app that takes deliveries alone, for a port that only the node's proxy asks.

    What the proxy says of its clients' addresses is believed.
    """
    rows = Webhooks(
        RateLimits(settings.rate_limit_per_minute),
        webhooks,
        audit,
        settings.max_delivery_bytes,
        settings.failures_per_minute,
        proxied_address,
    ).rows()
    return Guard(Table(rows), Metrics(tuple), settings.allowed_hosts)
