"""Deliveries of forges: anybody may send one, and only its signature makes it count."""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope

from covey.errors import InvalidRequestError, RateLimitedError, UnauthenticatedError
from covey.operations.access import CallerKind
from covey.operations.audit import AuditEntry, AuditSink
from covey.operations.codec import to_json
from covey.operations.networks import network_of
from covey.operations.openapi_webhooks import FORGE_PATH, RECEIVE, WEBHOOK_PATH
from covey.surfaces.http.connection import address_of
from covey.surfaces.http.decode import read_body
from covey.surfaces.http.endpoints import REQUEST_ID
from covey.surfaces.http.limits import RateLimits, TokenBuckets
from covey.surfaces.http.routing import Row

_MOST_BYTES = 64 << 20
_MOST_FROM_ONE = 32 << 20
_MOST_FORGED = 60
"""Forged deliveries of one minute, from everywhere, that the audit trail keeps."""

_JSON = "application/json"


class Receipt(Protocol):
    """The answer to a delivery: a struct that becomes its body."""

    @property
    def http_status(self) -> int:
        """The answer's status."""

    @property
    def integration(self) -> str:
        """Whose secret the delivery was signed with."""


class WebhookReceiver(Protocol):
    """Takes deliveries.

    Raises `UnauthenticatedError` for one that does not prove itself, and `InvalidRequestError` for
    one that does and cannot be read. Headers are by lower-case name; of one that came
    twice, the values are joined by commas.
    """

    async def to_forge(self, forge: str, headers: Mapping[str, str], body: bytes) -> Receipt:
        """Take a delivery for whichever webhook of a forge it was signed for.

        Raises `NotFoundError` for a forge that is not known.
        """

    async def to_integration(self, name: str, headers: Mapping[str, str], body: bytes) -> Receipt:
        """Take a delivery for one webhook."""


class BodyBudget:
    """Bounds what strangers' bodies hold in memory at one time, in all and from one network."""

    def __init__(self, most: int = _MOST_BYTES, most_from_one: int = _MOST_FROM_ONE) -> None:
        self._most = most
        self._most_from_one = most_from_one
        self._held: Counter[str] = Counter()

    async def read(self, request: Request, limit: int, network: str) -> bytes:
        """Read a body; raises `TooLargeError`, or `RateLimitedError` when there is no room."""
        taken = 0
        receive: Receive = request.receive

        async def counted() -> Message:
            nonlocal taken
            message = await receive()
            size = len(message.get("body", b""))
            self._held[network] += size
            taken += size
            if self._held[network] > self._most_from_one or self._held.total() > self._most:
                raise RateLimitedError(
                    "Too many deliveries arrive at one time.",
                    hint="Send it again in a moment.",
                    details={"retry_after": 5},
                )
            return message

        try:
            return await read_body(Headers(scope=request.scope), counted, limit)
        finally:
            self._held[network] -= taken
            self._held += Counter()


@dataclass(slots=True)
class Webhooks:
    """Makes the rows of deliveries.

    A forged delivery is refused and kept in the audit trail, until its network has sent too many:
    then it is refused alone, and so are those of many networks, so that nobody can flush the
    trail.
    """

    limits: RateLimits
    receiver: Callable[[], WebhookReceiver]
    audit: AuditSink
    max_bytes: int
    failures_per_minute: int
    address_of: Callable[[Scope], str] = address_of
    _budget: BodyBudget = field(default_factory=BodyBudget)
    _failures: TokenBuckets = field(init=False)
    _forged: TokenBuckets = field(default_factory=lambda: TokenBuckets(_MOST_FORGED))

    def __post_init__(self) -> None:
        """Make the limit on forged deliveries."""
        self._failures = TokenBuckets(self.failures_per_minute)

    def rows(self) -> list[Row]:
        """Return the rows: one for all webhooks of a forge, and one for each webhook."""

        async def to_forge(request: Request, params: dict[str, str]) -> Response:
            return await self._take(request, params["forge"], lambda it: it.to_forge)

        async def to_integration(request: Request, params: dict[str, str]) -> Response:
            return await self._take(request, params["name"], lambda it: it.to_integration)

        return [
            Row("POST", FORGE_PATH, None, RECEIVE, to_forge),
            Row("POST", WEBHOOK_PATH, None, RECEIVE, to_integration),
        ]

    async def _take(
        self,
        request: Request,
        place: str,
        way: Callable[
            [WebhookReceiver], Callable[[str, Mapping[str, str], bytes], Awaitable[Receipt]]
        ],
    ) -> Response:
        address = self.address_of(request.scope)
        self.limits.stranger(address)
        take = way(self.receiver())
        body = await self._budget.read(request, self.max_bytes, network_of(address))
        try:
            receipt = await take(place, _headers(request), body)
        except UnauthenticatedError:
            self._count_failure(address)
            if self._forged.take("") == 0:
                self._record(request, place, "", UnauthenticatedError.code)
            raise
        except InvalidRequestError as error:
            self._record(request, place, "", error.code)
            raise
        self._record(request, place, receipt.integration, "ok")
        return Response(to_json(receipt), receipt.http_status, None, _JSON)

    def _count_failure(self, address: str) -> None:
        wait = self._failures.take(network_of(address))
        if wait > 0:
            raise RateLimitedError(
                "Too many deliveries that do not prove themselves came from this address.",
                hint="Compare the webhook's secret with the one that Covey gave.",
                details={"retry_after": max(1, round(wait))},
            )

    def _record(self, request: Request, place: str, integration: str, outcome: str) -> None:
        caller = f"webhook {integration}" if integration else "anonymous"
        entry = AuditEntry(
            at=datetime.now(UTC).isoformat(timespec="milliseconds"),
            caller=caller,
            kind="webhook" if integration else CallerKind.ANONYMOUS.value,
            role="none",
            address=self.address_of(request.scope),
            operation=RECEIVE,
            target=place[:200],
            outcome=outcome,
            request_id=request.scope["state"][REQUEST_ID],
        )
        self.audit.record(entry)


def proxied_address(scope: Scope) -> str:
    """Return the client's address as the node's own proxy tells it, else the connection's."""
    told = Headers(scope=scope).get("x-real-ip", "")
    try:
        return str(ipaddress.ip_address(told))
    except ValueError:
        return address_of(scope)


def _headers(request: Request) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in request.headers.items():
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found
