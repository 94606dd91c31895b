"""The whole configuration of Caddy, made from a plan. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from covey.apps.routing.ports import CertificateSource, PlannedRoute, ProxyPlan
from covey.engines.caddy.handlers import SPOOFABLE, handlers_of, noting, page

AUTHORITY = "covey"
LISTENERS = {False: (3, 4), True: (5, 6)}
"""Descriptors that Caddy inherits: two listening sockets for HTTP, two for HTTPS."""
DATAGRAMS = 7
"""The descriptor of the socket for HTTP/3."""

_GRACE = "30s"
_HANDOVER = "1s"
_MAX_HEADER_BYTES = 64 << 10
_MEGABYTE = 1 << 20
_LOGS_KEPT = 3
_HTTPS_PORT = 443
_UNAVAILABLE = 503
_ERROR_PAGES = {
    413: "The body of the request is too large.",
    502: "What is served here does not answer.",
    503: "What is served here does not answer at present.",
    504: "What is served here takes too long to answer.",
}
_PROOFS = (
    "X-Amz-Security-Token",
    "X-Amz-Signature",
    "access_token",
    "api_key",
    "apikey",
    "auth",
    "client_secret",
    "code",
    "id_token",
    "jwt",
    "key",
    "pass",
    "passwd",
    "password",
    "private_token",
    "refresh_token",
    "secret",
    "session",
    "sig",
    "signature",
    "token",
)
"""Parameters in which URLs carry secrets."""
_PROOF = f"(?i)([?&](?:{'|'.join(_PROOFS)})=)[^&]*"
_MALFORMED = (
    "chunked encoding contains too much non-data",
    "chunked line ends with bare LF",
    "empty hex number for chunk length",
    "http chunk length too large",
    "http: suspiciously long trailer after chunked body",
    "invalid byte in chunk length",
    "malformed MIME header line",
    "malformed chunked encoding",
)
"""What Go's net/http says of bodies that break RFC 9112 (7.1)."""


@dataclass(frozen=True, slots=True)
class CaddyOptions:
    """What holds for the proxy as a whole."""

    admin_socket: Path
    upstreams: Path
    storage: Path
    log_dir: Path
    http: str = ""
    https: str = ""
    http3: bool = True
    trusted_proxies: tuple[str, ...] = ()
    acme_directory: str = ""
    acme_email: str = ""
    acme_roots: str = ""
    access_log_bytes: int = 32 << 20
    renewal_check_s: int = 600


@dataclass(frozen=True, slots=True)
class Listening:
    """What is listened on: which socket of each pair takes new connections, on which ports."""

    turn: int = 0
    http_port: int | None = None
    https_port: int | None = None
    datagrams: bool = False
    ready: Path | None = None


def bootstrap(options: CaddyOptions) -> dict[str, Any]:
    """Return the configuration of a Caddy that waits for its first plan."""
    return {"admin": _admin(options), "logging": {"logs": {"default": _own_log(options)}}}


def render(plan: ProxyPlan, options: CaddyOptions, listening: Listening) -> dict[str, Any]:
    """Return the configuration that serves a plan."""
    owners = sorted({item.owner for item in plan.routes})
    apps: dict[str, Any] = {
        "http": {
            "grace_period": _GRACE,
            # Connections are closed by their own last answer, not under the next request.
            "shutdown_delay": _HANDOVER,
            "servers": _servers(plan, options, listening),
        },
        "pki": {
            "certificate_authorities": {
                AUTHORITY: {"name": "Covey private names", "install_trust": False},
                # Caddy's own, unless told, is put among those that the system trusts.
                "local": {"install_trust": False},
            }
        },
    }
    tls = _tls(plan, options, listening)
    if tls:
        apps["tls"] = tls
    return {
        "admin": _admin(options),
        "storage": {"module": "file_system", "root": str(options.storage)},
        "logging": {"logs": _logs(owners, options)},
        "apps": apps,
    }


def access_log(options: CaddyOptions, owner: str) -> Path:
    """Return the file of an owner's access log."""
    return options.log_dir / "access" / f"{quote(owner, safe='')}.log"


def turn_of(config: Mapping[str, Any]) -> int | None:
    """Return which socket of each pair a running configuration listens on."""
    try:
        servers = config["apps"]["http"]["servers"]
        places = [place for server in servers.values() for place in server["listen"]]
    except (KeyError, TypeError, AttributeError):
        return None
    for pair in LISTENERS.values():
        for turn, number in enumerate(pair):
            if f"fd/{number}" in places:
                return turn
    return None


def _admin(options: CaddyOptions) -> dict[str, Any]:
    return {"listen": f"unix/{options.admin_socket}|0600", "config": {"persist": False}}


def _servers(plan: ProxyPlan, options: CaddyOptions, listening: Listening) -> dict[str, Any]:
    servers: dict[str, Any] = {}
    if listening.ready is not None:
        servers["ready"] = {
            "listen": [f"unix/{listening.ready}|0600"],
            "automatic_https": {"disable": True},
            "routes": [{"handle": [page(200, "ready")]}],
        }
    if listening.http_port is not None:
        servers["http"] = _server(plan, options, listening, tls=False)
    if listening.https_port is not None:
        servers["https"] = _server(plan, options, listening, tls=True)
    return servers


def _server(
    plan: ProxyPlan, options: CaddyOptions, listening: Listening, *, tls: bool
) -> dict[str, Any]:
    served = {
        host
        for host, source in plan.sources.items()
        if (source is not CertificateSource.NONE) is tls
    }
    listen = [f"fd/{LISTENERS[tls][listening.turn]}"]
    protocols: list[list[str]] = [["h1", "h2"]]
    routes = [_closing(), _unmasking()]
    if tls and listening.datagrams:
        listen.append(f"fdgram/{DATAGRAMS}")
        protocols.append(["h3"])
        routes.append(_alternative(listening))
    elif not tls:
        secured = sorted(set(plan.sources) - served)
        if secured and listening.https_port is not None:
            routes.append(_to_https(secured, listening.https_port))
    routes.extend(_routes(plan, options, served))
    routes.append({"handle": [page(404, "There is nothing here.")], "terminal": True})
    server: dict[str, Any] = {
        "listen": listen,
        "listen_protocols": protocols,
        "automatic_https": {"disable": True},
        "read_header_timeout": "30s",
        "idle_timeout": "3m",
        "max_header_bytes": _MAX_HEADER_BYTES,
        "trusted_proxies_strict": 1,
        "client_ip_headers": ["X-Forwarded-For"],
        "routes": routes,
        "errors": {"routes": _error_pages()},
        "logs": {
            "logger_names": _logger_names(plan.routes),
            "skip_unmapped_hosts": True,
        },
    }
    if options.trusted_proxies:
        server["trusted_proxies"] = {"source": "static", "ranges": list(options.trusted_proxies)}
    if tls:
        server["tls_connection_policies"] = [{}]
    return server


def _error_pages() -> list[dict[str, Any]]:
    """Say what went wrong in a line; a body that is no HTTP is the client's fault, not ours."""
    found: list[dict[str, Any]] = [
        {"handle": [noting("error", "{http.error.message}")]},
        {
            "match": [{"vars": {"{http.error.message}": list(_MALFORMED)}}],
            "handle": [page(400, "The body of the request is malformed.")],
            "terminal": True,
        },
    ]
    for status, text in _ERROR_PAGES.items():
        answer = page(status, text)
        if status == _UNAVAILABLE:
            answer["headers"]["Retry-After"] = ["5"]
        matcher = {"vars": {"{http.error.status_code}": [str(status)]}}
        found.append({"match": [matcher], "handle": [answer], "terminal": True})
    return found


def _closing() -> dict[str, Any]:
    """Have clients open a new connection while this configuration gives way to the next.

    A request that comes on a connection that is just being closed would be lost.
    """
    return {
        "match": [
            {
                "vars": {"{http.shutting_down}": ["true"]},
                "not": [{"header": {"Upgrade": ["*"]}}, {"protocol": "http/3"}],
            }
        ],
        "handle": [{"handler": "headers", "response": {"set": {"Connection": ["close"]}}}],
    }


def _unmasking() -> dict[str, Any]:
    """Take from a request what its client must not say; to look first is far cheaper."""
    absent = {"header": dict.fromkeys(SPOOFABLE)}
    taken = {"handler": "headers", "request": {"delete": list(SPOOFABLE)}}
    return {"match": [{"not": [absent]}], "handle": [taken]}


def _alternative(listening: Listening) -> dict[str, Any]:
    service = f'h3=":{listening.https_port}"; ma=86400'
    headers = {"handler": "headers", "response": {"set": {"Alt-Svc": [service]}}}
    return {"match": [{"not": [{"protocol": "http/3"}]}], "handle": [headers]}


def _to_https(hosts: Sequence[str], port: int) -> dict[str, Any]:
    shown = "" if port == _HTTPS_PORT else f":{port}"
    return {
        "match": [{"host": list(hosts)}],
        "handle": [
            {
                "handler": "static_response",
                "status_code": 308,
                "headers": {
                    "Location": [f"https://{{http.request.host}}{shown}{{http.request.uri}}"]
                },
            }
        ],
        "terminal": True,
    }


def _routes(plan: ProxyPlan, options: CaddyOptions, served: set[str]) -> list[dict[str, Any]]:
    """Return the routes: first those of plain hosts, then their rest, then those of wildcards."""
    exact: list[dict[str, Any]] = []
    wild: list[dict[str, Any]] = []
    whole: set[str] = set()
    named: set[str] = set()
    for item in plan.routes:
        for hosts, found in (
            ([host for host in item.route.hosts if not host.startswith("*.")], exact),
            ([host for host in item.route.hosts if host.startswith("*.")], wild),
        ):
            chosen = [host for host in hosts if host in served]
            if not chosen:
                continue
            found.append(_route(item, chosen, plan, options))
            if found is exact:
                named.update(chosen)
                if item.route.path == "/":
                    whole.update(chosen)
    partial = sorted(named - whole)
    if partial and wild:
        rest = {"match": [{"host": partial}], "terminal": True}
        exact.append({**rest, "handle": [page(404, "There is nothing here.")]})
    return [*exact, *wild]


def _route(
    item: PlannedRoute, hosts: Iterable[str], plan: ProxyPlan, options: CaddyOptions
) -> dict[str, Any]:
    matcher: dict[str, Any] = {"host": list(hosts)}
    if item.route.path != "/":
        matcher["path"] = [item.route.path, f"{item.route.path}/*"]
    return {
        "match": [matcher],
        "handle": handlers_of(item.route, plan.slots, options.upstreams),
        "terminal": True,
    }


def _tls(plan: ProxyPlan, options: CaddyOptions, listening: Listening) -> dict[str, Any]:
    if listening.https_port is None:
        return {}
    by_source: dict[CertificateSource, list[str]] = {}
    for host, source in sorted(plan.sources.items()):
        by_source.setdefault(source, []).append(host)
    internal = by_source.get(CertificateSource.INTERNAL, [])
    public = by_source.get(CertificateSource.ACME, [])
    policies: list[dict[str, Any]] = []
    if internal:
        issuer = {"module": "internal", "ca": AUTHORITY}
        policies.append({"subjects": internal, "issuers": [issuer]})
    if public:
        policies.append({"subjects": public, "issuers": [_acme(options, listening)]})
    certificates: dict[str, Any] = {}
    if internal or public:
        certificates["automate"] = [*internal, *public]
    if plan.certificates:
        certificates["load_pem"] = [
            {"certificate": item.chain, "key": item.key} for item in plan.certificates
        ]
    tls: dict[str, Any] = {}
    if policies:
        tls["automation"] = {
            "policies": policies,
            "renew_interval": f"{options.renewal_check_s}s",
        }
    if certificates:
        tls["certificates"] = certificates
    return tls


def _acme(options: CaddyOptions, listening: Listening) -> dict[str, Any]:
    http: dict[str, Any] = (
        {"disabled": True}
        if listening.http_port is None
        else {"alternate_port": listening.http_port}
    )
    issuer: dict[str, Any] = {
        "module": "acme",
        "ca": options.acme_directory,
        "challenges": {"http": http, "tls-alpn": {"alternate_port": listening.https_port}},
    }
    if options.acme_email:
        issuer["email"] = options.acme_email
    if options.acme_roots:
        issuer["trusted_roots_pem_files"] = [options.acme_roots]
    return issuer


def _logger_names(routes: Iterable[PlannedRoute]) -> dict[str, list[str]]:
    return {host: [item.owner] for item in routes for host in item.route.hosts}


def _logs(owners: Sequence[str], options: CaddyOptions) -> dict[str, Any]:
    logs: dict[str, Any] = {"default": _own_log(options)}
    for owner in owners:
        logs[f"access {owner}"] = {
            "writer": _file(access_log(options, owner), options.access_log_bytes),
            "encoder": _encoder(),
            "include": [f"http.log.access.{owner}"],
        }
    return logs


def _own_log(options: CaddyOptions) -> dict[str, Any]:
    return {
        "writer": _file(options.log_dir / "caddy.log", 8 * _MEGABYTE),
        "encoder": _encoder(),
        "level": "INFO",
        "exclude": ["admin.api", "http.log.access"],
    }


def _encoder() -> dict[str, Any]:
    """Write JSON without what proves who someone is: headers, and such words of a query."""
    return {
        "format": "filter",
        "wrap": {"format": "json"},
        "fields": {
            "request>headers": {"filter": "delete"},
            "resp_headers": {"filter": "delete"},
            "request>uri": {"filter": "regexp", "regexp": _PROOF, "value": "${1}REDACTED"},
        },
    }


def _file(path: Path, total_bytes: int) -> dict[str, Any]:
    size = max(1, total_bytes // _MEGABYTE // (_LOGS_KEPT + 1))
    return {
        "output": "file",
        "filename": str(path),
        "mode": "0600",
        "dir_mode": "0700",
        "roll_size_mb": size,
        "roll_keep": max(1, min(_LOGS_KEPT, total_bytes // _MEGABYTE // size - 1)),
        "roll_gzip": False,
    }
