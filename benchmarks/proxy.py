"""Requests through a route of Covey's beside bare Caddy and nginx with the same route.

All three log each request, compress, and keep connections to the same backend, an nginx that
answers at once. `wrk` asks them in turn.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measure import MS, median
from benchmarks.report import Row, main, version_of
from covey.apps.routing.model import Pool, Proxied, Route, RouteRules, TlsMode
from covey.engines.caddy.process import find_program
from tests.engines.caddy.proxies import ask, proxy
from tests.ports import free_port
from tests.system.harness import eventually

HOST = "bench.localhost"
ROUNDS = 9
SECONDS = 4
CONNECTIONS = 64
TARGET_SHARE = 0.98
_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
_BACKEND = """\
daemon off; worker_processes 1; pid {place}/backend.pid; error_log {place}/backend.err;
events {{ worker_connections 1024; }}
http {{ access_log off; keepalive_requests 1000000;
  server {{ listen 127.0.0.1:{port} backlog=1024; default_type text/plain; return 200 hello; }} }}
"""
_NGINX = """\
daemon off; worker_processes auto; pid {place}/proxy.pid; error_log {place}/proxy.err;
events {{ worker_connections 1024; }}
http {{ access_log {place}/nginx-access.log; gzip on; keepalive_requests 1000000;
  proxy_temp_path {place}/temp; client_body_temp_path {place}/body;
  upstream backend {{ server 127.0.0.1:{backend}; keepalive 128; }}
  server {{ listen 127.0.0.1:{port} backlog=1024; server_name {host};
    location / {{ proxy_pass http://backend; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header Host $host; proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Proto $scheme; }} }} }}
"""
_CADDY = """\
{{
  admin off
  auto_https off
  storage file_system {place}/caddy
}}
http://{host}:{port} {{
  bind 127.0.0.1
  encode zstd gzip
  log {{
    output file {place}/caddy-access.log
    format json
  }}
  reverse_proxy 127.0.0.1:{backend}
}}
"""


@dataclass(frozen=True, slots=True)
class Burst:
    """What `wrk` found in one burst; the latency in seconds."""

    rate: float
    p99: float
    failed: int


def burst(port: int, seconds: float = SECONDS) -> Burst:
    """Ask as fast as answers come."""
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency"]
    command += ["-H", f"Host: {HOST}", f"http://127.0.0.1:{port}/"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rate = re.search(r"Requests/sec:\s+([\d.]+)", printed)
    p99 = re.search(r"99%\s+([\d.]+)(us|ms|s)\b", printed)
    if rate is None or p99 is None:
        raise RuntimeError(f"wrk printed:\n{printed}")
    errors = re.findall(r"(?:connect|read|write|timeout) (\d+)|Non-2xx.*: (\d+)", printed)
    failed = sum(int(one or other) for one, other in errors)
    return Burst(float(rate[1]), float(p99[1]) * _UNITS[p99[2]], failed)


@contextmanager
def running(command: Sequence[str], place: Path, port: int) -> Iterator[None]:
    """Run a server until the end of the block; it listens when the block begins."""
    environment = {"HOME": str(place), "PATH": "/usr/sbin:/usr/bin:/bin"}
    with (place / "servers.log").open("ab") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        eventually(lambda: _answers(port))
        yield
    finally:
        process.terminate()
        process.wait()


def _answers(port: int) -> bool:
    try:
        return asyncio.run(ask(port, HOST)).status == 200
    except (OSError, ValueError):
        return False


def _nginx(place: Path, name: str, content: str) -> list[str]:
    (place / f"{name}.conf").write_text(content)
    return [shutil.which("nginx") or "/usr/sbin/nginx", "-c", str(place / f"{name}.conf")]


async def _measure(place: Path, backend: int, peers: dict[str, int]) -> dict[str, list[Burst]]:
    rules = RouteRules(tls=TlsMode.OFF)
    async with proxy() as (routes, home):
        route = Route((HOST,), Proxied((Pool("bench"),)), rules=rules)
        await routes.put_with_pools("app/bench", [route], {"bench": [f"127.0.0.1:{backend}"]})
        ports = {"Covey": home.http, **peers}
        found: dict[str, list[Burst]] = {name: [] for name in ports}
        for name, port in ports.items():
            assert (await ask(port, HOST)).status == 200, (name, place)
            await asyncio.to_thread(burst, port, 2)
        for number in range(ROUNDS):
            # Who asks first in a round changes, so that no one always has the warmer machine.
            names = list(ports)[number % len(ports) :] + list(ports)[: number % len(ports)]
            for name in names:
                found[name].append(await asyncio.to_thread(burst, ports[name]))
        return found


def run() -> list[Row]:
    """Measure all three on this machine."""
    place = Path(tempfile.mkdtemp(prefix="covey-bench-"))
    backend, caddy, nginx = free_port(), free_port(), free_port()
    backend_text = _BACKEND.format(place=place, port=backend)
    ports = {"place": place, "backend": backend, "host": HOST}
    nginx_text = _NGINX.format(port=nginx, **ports)
    (place / "Caddyfile").write_text(_CADDY.format(port=caddy, **ports))
    caddy_command = [str(find_program()), "run", "--config", str(place / "Caddyfile")]
    try:
        with (
            running(_nginx(place, "backend", backend_text), place, backend),
            running(_nginx(place, "proxy", nginx_text), place, nginx),
            running(caddy_command, place, caddy),
        ):
            found = asyncio.run(_measure(place, backend, {"Caddy": caddy, "nginx": nginx}))
    finally:
        shutil.rmtree(place, ignore_errors=True)
    return rows_of(found)


def rows_of(found: dict[str, list[Burst]]) -> list[Row]:
    """Return medians, and the median of each round's ratio."""
    versions = {
        "Covey": "",
        "Caddy": f"Caddy {version_of(str(find_program()), 'version').split()[0]}",
        "nginx": version_of(shutil.which("nginx") or "/usr/sbin/nginx", "-v").partition(": ")[2],
    }
    rows = []
    for name, bursts in found.items():
        rows.append(Row(f"requests through {name}", median([b.rate for b in bursts]), "/s", None))
        p99 = median([item.p99 for item in bursts]) * MS
        rows.append(Row(f"99 % of them within, {name}", p99, "ms", None, versions[name]))
    pairs = zip(found["Caddy"], found["Covey"], strict=True)
    slower = median([theirs.rate / ours.rate for theirs, ours in pairs])
    note = (
        f"Covey has {1 / slower:.3f} times bare Caddy's requests a second: its heap may grow more"
    )
    rows.append(Row("bare Caddy / Covey", slower, "times", 1 / TARGET_SHARE, note))
    failed = sum(item.failed for item in found["Covey"])
    rows.append(Row("failed requests through Covey", failed, "", 0))
    return rows


if __name__ == "__main__":
    raise SystemExit(main("proxy", run))
