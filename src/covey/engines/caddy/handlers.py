"""One route as the handlers of Caddy's JSON configuration. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from math import gcd, lcm
from pathlib import Path
from typing import Any

from covey.apps.routing.model import (
    Answer,
    Balance,
    Files,
    HealthCheck,
    Proxied,
    Redirect,
    Route,
    RouteRules,
)
from covey.apps.routing.names import redirect_keeps_path
from covey.engines.caddy.upstreams import slot_file

Handler = dict[str, Any]

_COMPRESSED = (
    "text/html*",
    "text/css*",
    "text/plain*",
    "text/xml*",
    "text/javascript*",
    "text/markdown*",
    "text/csv*",
    "application/javascript*",
    "application/json*",
    "application/*+json*",
    "application/xml*",
    "application/*+xml*",
    "application/wasm*",
    "application/vnd.ms-fontobject*",
    "font/ttf*",
    "font/otf*",
    "image/svg+xml*",
    "image/x-icon*",
)
"""Event streams are not among them: they would wait for a block to fill."""
SPOOFABLE = (
    "Forwarded",
    "Front-End-Https",
    "Proxy",
    "True-Client-IP",
    "X-Client-IP",
    "X-Cluster-Client-IP",
    "X-Forwarded",
    "X-Forwarded-By",
    "X-Forwarded-Method",
    "X-Forwarded-Path",
    "X-Forwarded-Port",
    "X-Forwarded-Prefix",
    "X-Forwarded-Scheme",
    "X-Forwarded-Server",
    "X-Forwarded-Ssl",
    "X-Forwarded-Uri",
    "X-Forwarded-User",
    "X-Host",
    "X-HTTP-Host-Override",
    "X-Original-Forwarded-For",
    "X-Original-Host",
    "X-Original-Url",
    "X-Rewrite-Url",
    "X-Scheme",
    "X-Url-Scheme",
)
"""Headers that applications may believe, which a client must not choose.

Caddy itself drops names with an underscore, which WSGI and CGI take for these.
"""
_HIDDEN = (
    ".git",
    ".hg",
    ".svn",
    ".env",
    ".env.*",
    ".htaccess",
    ".htpasswd",
    "covey.app.toml",
    "deploy.toml",
)
_STREAM_CLOSE_DELAY = "24h"
_TRY_S = "5s"
_BETWEEN_TRIES = "100ms"
_POLICIES = {
    Balance.ROUND_ROBIN: "round_robin",
    Balance.LEAST_CONNECTIONS: "least_conn",
    Balance.RANDOM: "random",
}


def literal(text: str) -> str:
    """Write text so that Caddy takes its braces for braces, not for placeholders."""
    return text.replace("{", "\\{").replace("}", "\\}")


def handlers_of(route: Route, slots: Mapping[str, int], upstreams: Path) -> list[Handler]:
    """Return what Caddy does with a request of a route, in order."""
    # The one header of a request that the access log keeps.
    found = [noting("user_agent", "{http.request.header.User-Agent}"), *_guards(route.rules)]
    if route.rules.headers:
        values = {name: [literal(value)] for name, value in sorted(route.rules.headers.items())}
        found.append({"handler": "headers", "response": {"set": values, "deferred": True}})
    if route.rules.compress:
        found.append(_compression())
    if route.strip and route.path != "/":
        found.append({"handler": "rewrite", "strip_path_prefix": route.path})
    match route.target:
        case Proxied() as target:
            found.append(_proxy(route, target, slots, upstreams))
        case Files() as target:
            found.append(_files(target))
        case Redirect() as target:
            found.append(_redirect(target))
        case Answer() as target:
            found.append(
                {
                    "handler": "static_response",
                    "status_code": target.status,
                    "headers": {
                        "Content-Type": [literal(target.content_type)],
                        "Cache-Control": ["no-store"],
                    },
                    "body": literal(target.body),
                }
            )
    return found


def _guards(rules: RouteRules) -> list[Handler]:
    found: list[Handler] = []
    if rules.allow_from:
        outside = {"not": [{"client_ip": {"ranges": list(rules.allow_from)}}]}
        found.append(_when(outside, page(403, "This address may not ask here.")))
    if rules.basic_auth:
        accounts = [
            {"username": literal(item.username), "password": item.password_hash}
            for item in rules.basic_auth
        ]
        basic = {"accounts": accounts, "hash": {"algorithm": "bcrypt"}, "hash_cache": {}}
        found.append({"handler": "authentication", "providers": {"http_basic": basic}})
    if rules.max_body_bytes is not None:
        found.append({"handler": "request_body", "max_size": rules.max_body_bytes})
    return found


def noting(key: str, value: str) -> Handler:
    """Add something to the line of the access log."""
    return {"handler": "log_append", "key": key, "value": value}


def page(status: int, text: str) -> Handler:
    """Answer with a line of text."""
    return {
        "handler": "static_response",
        "status_code": status,
        "headers": {"Content-Type": ["text/plain; charset=utf-8"], "Cache-Control": ["no-store"]},
        "body": f"{text}\n",
    }


def _when(matcher: Mapping[str, Any], *handlers: Handler) -> Handler:
    return {"handler": "subroute", "routes": [{"match": [matcher], "handle": list(handlers)}]}


def _compression() -> Handler:
    return {
        "handler": "encode",
        "encodings": {"zstd": {}, "gzip": {}},
        "prefer": ["zstd", "gzip"],
        "minimum_length": 512,
        "match": {"headers": {"Content-Type": list(_COMPRESSED)}},
    }


def _proxy(route: Route, target: Proxied, slots: Mapping[str, int], upstreams: Path) -> Handler:
    pools = [pool for pool in target.pools if pool.weight > 0]
    dials = [
        f"{{file.{slot_file(upstreams, pool.name, number)}}}"
        for pool in pools
        for number in range(slots.get(pool.name, 1))
    ]
    transport: dict[str, Any] = {
        "protocol": "http",
        "dial_timeout": "3s",
        # Servers close idle connections after a few seconds: be first, or a POST meets its end.
        "keep_alive": {"idle_timeout": "1900ms", "max_idle_conns_per_host": 128},
    }
    if route.rules.response_timeout_s is not None:
        transport["response_header_timeout"] = _duration(route.rules.response_timeout_s)
    if target.tls_upstream:
        transport["tls"] = {"server_name": "{http.reverse_proxy.upstream.host}"}
    told = {"X-Real-IP": ["{http.vars.client_ip}"]}
    if route.strip and route.path != "/":
        told["X-Forwarded-Prefix"] = [route.path]
    found: Handler = {
        "handler": "reverse_proxy",
        "upstreams": [{"dial": dial} for dial in dials],
        "load_balancing": {
            "selection_policy": _selection(target, pools_slots(target, slots)),
            "try_duration": _TRY_S,
            "try_interval": _BETWEEN_TRIES,
        },
        "headers": {"request": {"set": told}},
        "transport": transport,
        "stream_close_delay": _STREAM_CLOSE_DELAY,
    }
    if target.health is not None:
        found["health_checks"] = {"active": _health(target.health)}
    return found


def pools_slots(target: Proxied, slots: Mapping[str, int]) -> list[tuple[int, int]]:
    """Return weight and number of slots of each pool that gets requests."""
    return [(pool.weight, slots.get(pool.name, 1)) for pool in target.pools if pool.weight > 0]


def slot_weights(pools: list[tuple[int, int]]) -> list[int]:
    """Share each pool's weight among its slots, in the smallest whole numbers."""
    common = lcm(*(slots for _, slots in pools))
    weights = [weight * common // slots for weight, slots in pools for _ in range(slots)]
    divisor = gcd(*weights)
    return [weight // divisor for weight in weights]


def _selection(target: Proxied, pools: list[tuple[int, int]]) -> dict[str, Any]:
    weights = slot_weights(pools)
    if len(set(weights)) > 1:
        return {"policy": "weighted_round_robin", "weights": weights}
    return {"policy": _POLICIES[target.balance]}


def _health(check: HealthCheck) -> dict[str, Any]:
    return {
        "uri": check.path,
        "interval": _duration(check.interval_s),
        "timeout": _duration(check.timeout_s),
        "fails": 2,
    }


def _files(target: Files) -> Handler:
    root = literal(target.root)
    server: Handler = {
        "handler": "file_server",
        "root": root,
        "hide": list(_HIDDEN),
        "precompressed": {"br": {}, "zstd": {}, "gzip": {}},
        "precompressed_order": ["br", "zstd", "gzip"],
    }
    routes: list[dict[str, Any]] = []
    if target.fallback is not None:
        tried = [
            "{http.request.uri.path}",
            "{http.request.uri.path}/",
            "/" + literal(target.fallback.strip("/")),
        ]
        routes.append(
            {
                "match": [{"file": {"root": root, "try_files": tried}}],
                "handle": [{"handler": "rewrite", "uri": "{http.matchers.file.relative}"}],
            }
        )
    routes.append({"handle": [server]})
    found: Handler = {"handler": "subroute", "routes": routes}
    if target.not_found is not None:
        name = "/" + literal(target.not_found.strip("/"))
        missing = {"vars": {"{http.error.status_code}": ["404"]}}
        found["errors"] = {
            "routes": [
                {
                    "match": [missing],
                    "handle": [
                        {"handler": "rewrite", "uri": name},
                        {**server, "status_code": 404},
                    ],
                }
            ]
        }
    return found


def _redirect(target: Redirect) -> Handler:
    location = literal(target.target)
    if redirect_keeps_path(target.target):
        location += "{http.request.uri}"
    return {
        "handler": "static_response",
        "status_code": 308 if target.permanent else 307,
        "headers": {"Location": [location]},
    }


def _duration(seconds: float) -> str:
    return f"{max(1, round(seconds * 1000))}ms"
