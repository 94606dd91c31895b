"""A node that hosts apps: a real daemon, a Podman of its own, Caddy, and apps to deploy."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomli_w

from tests.images import PYTHON, WEB
from tests.podman import Podman
from tests.ports import free_port
from tests.system.harness import Fleet, Node, eventually

_SERVER = '''
"""Answers with its version and variables; upgrades to an echo of lines; dies when asked."""
import asyncio, os, sys

VERSION = open("/version").read().strip()

async def serve(reader, writer):
    try:
        while True:
            head = (await reader.readuntil(b"\\r\\n\\r\\n")).decode()
            path = head.split(" ")[1]
            if "upgrade: websocket" in head.lower():
                writer.write(b"HTTP/1.1 101 Switching Protocols\\r\\n"
                             b"Upgrade: websocket\\r\\nConnection: Upgrade\\r\\n\\r\\n")
                while line := await reader.readline():
                    writer.write(VERSION.encode() + b":" + line)
                    await writer.drain()
                return
            if path == "/die":
                os._exit(7)
            if path.startswith("/slow"):
                await asyncio.sleep(float(path.partition("=")[2] or 1))
            status = "200 OK"
            if path == "/health" and os.path.exists("/tmp/sick"):
                status = "503 Service Unavailable"
            body = VERSION.encode()
            if path == "/env":
                body = os.environ.get("GREETING", "").encode()
            head = f"HTTP/1.1 {status}\\r\\nContent-Length: {len(body)}\\r\\n\\r\\n"
            writer.write(head.encode() + body)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()

async def main():
    print("listening", VERSION, flush=True)
    server = await asyncio.start_server(serve, "0.0.0.0", int(os.environ["PORT"]), backlog=1024)
    async with server:
        await server.serve_forever()

asyncio.run(main())
'''


def unverified() -> ssl.SSLContext:
    """Return a client's side of TLS that believes any certificate."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@dataclass
class Host:
    """A node with its Podman; `http` and `https` are the ports of its proxy."""

    node: Node
    podman: Podman
    http: int
    https: int
    directories: Path
    tls: ssl.SSLContext = field(default_factory=unverified)

    def app(self, name: str, version: str, **config: Any) -> Path:
        """Write an app of busybox's server: /index.html is its version, /cgi-bin/env GREETING."""
        directory = self._directory(name, config)
        www = directory / "www"
        (www / "cgi-bin").mkdir(parents=True, exist_ok=True)
        (www / "index.html").write_text(version)
        script = www / "cgi-bin/env"
        script.write_text('#!/bin/sh\necho\nprintf "%s" "$GREETING"\n')
        script.chmod(0o755)
        (directory / "Containerfile").write_text(f"FROM {WEB}\nCOPY www /www\n")
        return directory

    def server(self, name: str, version: str, **config: Any) -> Path:
        """Write an app of our own server in Python, which knows WebSockets and slow answers."""
        directory = self._directory(name, config)
        (directory / "server.py").write_text(textwrap.dedent(_SERVER))
        (directory / "version").write_text(version)
        (directory / "Containerfile").write_text(
            f'FROM {PYTHON}\nCOPY server.py version /\nCMD ["python3", "/server.py"]\n'
        )
        return directory

    def deploy(self, directory: Path, *words: str, expect: int = 0) -> str:
        """Deploy a directory and return what is said."""
        done = self.node.run("deploy", str(directory), *words, expect=expect)
        return done.stdout + done.stderr

    def get(self, app: str, path: str = "/", *, tls: bool = True) -> str:
        """Ask an app, and return what it answers with status 200."""
        status, body = self.ask(app, path, tls=tls)
        assert status == 200, (status, body)
        return body

    def ask(
        self, app: str, path: str = "/", *, tls: bool = True, **headers: str
    ) -> tuple[int, str]:
        """Ask an app, and return the status and the body."""
        host = app if "." in app else f"{app}.localhost"
        connection: http.client.HTTPConnection
        if tls:
            connection = http.client.HTTPSConnection("127.0.0.1", self.https, timeout=20)
            plain = socket.create_connection(("127.0.0.1", self.https), 20)
            connection.sock = self.tls.wrap_socket(plain, server_hostname=host)
        else:
            connection = http.client.HTTPConnection("127.0.0.1", self.http, timeout=20)
        try:
            connection.request("GET", path, headers={"Host": host, **headers})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def containers(self, app: str) -> list[str]:
        """List the names of an app's containers, running or not."""
        return sorted(self.podman.containers(f"label=covey.app={app}"))

    def images(self, app: str) -> list[str]:
        """List the ids of an app's images."""
        words = ("images", "-q", "--no-trunc", "--filter", f"label=covey.app={app}")
        return sorted(set(self.podman.run(*words).split()))

    def deployments(self, app: str) -> list[dict[str, Any]]:
        """List an app's deployments, the newest first."""
        found: list[dict[str, Any]] = self.node.json("apps", "deployments", app)
        return found

    def sound_checks(self) -> list[dict[str, Any]]:
        """The checks of `covey doctor` that found nothing wrong."""
        return [check for check in self.node.json("doctor") if check["state"] == "ok"]

    def settled(self, app: str) -> dict[str, Any]:
        """Wait until the newest deployment has ended and what it replaced is gone; return it."""

        def ended() -> dict[str, Any] | None:
            found = self.deployments(app)
            done = all(item["state"] not in {"queued", "running"} for item in found)
            return found[0] if done else None

        newest = eventually(ended, 60)
        assert newest is not None
        eventually(lambda: self.is_tidy(app), 60)
        return newest

    def is_tidy(self, app: str) -> bool:
        """Whether an app has the containers of what serves, and no files of a build."""
        serving = [str(item["number"]) for item in self.deployments(app) if item["serving"]]
        there = {name.split(f"-{app}-")[1].split("-")[0] for name in self.containers(app)}
        builds = list((self.node.home / "state/builds").glob(f"{app}-*"))
        return there == set(serving) and not builds

    def remove(self, app: str) -> None:
        """Destroy an app with its volumes; nothing of it may be left."""
        self.node.run("apps", "destroy", app, "--volumes", "--yes")
        assert self.containers(app) == []
        assert self.images(app) == []

    def log(self, app: str, number: int) -> str:
        """Return the log of a deployment."""
        lines = self.node.out("apps", "deployment-logs", app, str(number), "--json").splitlines()
        return "\n".join(json.loads(line)["text"] for line in lines)

    def _directory(self, name: str, config: dict[str, Any]) -> Path:
        directory = self.directories / name
        directory.mkdir(exist_ok=True)
        deploy = {"watch": "0s", "drain": "2s", "healthcheck_timeout": "15s"}
        tables = {"app": name, **config}
        tables["deploy"] = {**deploy, **tables.get("deploy", {})}
        (directory / "covey.app.toml").write_text(tomli_w.dumps(tables))
        return directory


@contextmanager
def new_host(fleet: Fleet, podman: Podman, name: str = "freya", **settings: str) -> Iterator[Host]:
    """Give a running node that hosts apps; its Caddy ends with it."""
    http_port, https_port = free_port(), free_port()
    node = KillableNode(
        fleet.directory / name,
        name,
        free_port(),
        settings={
            **podman.environ,
            "COVEY_PROXY_HTTP": f"127.0.0.1:{http_port}",
            "COVEY_PROXY_HTTPS": f"127.0.0.1:{https_port}",
            "COVEY_PROXY_HTTP3": "false",
            "COVEY_DISCOVERY_MDNS": "false",
            **settings,
        },
    )
    fleet.nodes.append(node)
    node.init()
    node.start()
    directories = fleet.directory / f"{name}-apps"
    directories.mkdir()
    host = Host(node, podman, http_port, https_port, directories)
    try:
        yield host
    finally:
        if node.process is not None:
            for app in node.json("apps", "list"):
                node.run("apps", "destroy", app["name"], "--volumes", "--yes", expect=None)


@dataclass
class KillableNode(Node):
    """A node whose daemon can be told to kill itself at a step of a job."""

    @property
    def daemon_command(self) -> tuple[str, ...]:
        """The words that run its daemon, with the trap where one is set."""
        if "KILL_AT" in self.settings:
            return (sys.executable, "-m", "tests.system.kill_at_step")
        return super().daemon_command
