"""`covey tunnel`: TCP ports of one machine on another, through the mesh."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass

import click
import msgspec

from covey.client.calls import Call, Caller
from covey.client.endpoint import Endpoint
from covey.client.target import Target
from covey.errors import ConflictError, CoveyError, InvalidRequestError
from covey.surfaces.cli.operation_command import DescribedCommand
from covey.surfaces.cli.session import Session
from covey.surfaces.cli.tree import Node

_CHUNK = 64 << 10
_LOOPBACK = "127.0.0.1"
_PART = r"(?:\[(?P<{0}6>[0-9A-Fa-f:.%]+)\]|(?P<{0}>[A-Za-z0-9_.*-]+))"
_FORWARD = re.compile(
    rf"(?:{_PART.format('bind')}:)?(?P<port>\d{{1,5}}):{_PART.format('host')}:(?P<to>\d{{1,5}})"
)

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(frozen=True, slots=True)
class Forward:
    """Connections to `bind:port` on the one side go to `host:to` on the other."""

    bind: str
    port: int
    host: str
    to: int


def read_forward(text: str) -> Forward:
    """Read `[BIND:]PORT:HOST:PORT` as ssh does; raises `InvalidRequestError`."""
    found = _FORWARD.fullmatch(text)
    if found is None or not (int(found["port"]) < 1 << 16 and 0 < int(found["to"]) < 1 << 16):
        raise InvalidRequestError(
            f"{text!r} is not of the form [BIND:]PORT:HOST:PORT, with ports up to 65535.",
            hint="For example: covey tunnel frigg -L 8080:127.0.0.1:80",
        )
    bind = found["bind6"] or found["bind"] or _LOOPBACK
    if bind == "*":
        bind = "0.0.0.0"  # noqa: S104 - what the user asked for
    host = found["host6"] or found["host"]
    return Forward(bind, int(found["port"]), host, int(found["to"]))


def tunnel(session: Session, node: Node) -> click.Command:
    """Make the command."""

    def start(host: str | None, local: tuple[str, ...], remote: tuple[str, ...]) -> None:
        if host is not None:
            session.target.add_hosts(host)
        if not (local or remote):
            raise InvalidRequestError(
                "covey tunnel needs a port to forward.",
                hint="For example: covey tunnel frigg -L 8080:127.0.0.1:80",
            )
        if session.target.several:
            raise InvalidRequestError("A tunnel leads to one host.", hint="Name one: -H NAME")
        ways = [read_forward(text) for text in local], [read_forward(text) for text in remote]
        asyncio.run(_Tunnel(session).run(*ways))

    return DescribedCommand(
        node.name,
        start,
        [
            click.Argument(["host"], required=False, metavar="HOST"),
            click.Option(
                ["-L", "--local", "local"],
                multiple=True,
                metavar="[BIND:]PORT:HOST:PORT",
                help="A port here leads to an address as the host sees it.",
            ),
            click.Option(
                ["-R", "--remote", "remote"],
                multiple=True,
                metavar="[BIND:]PORT:HOST:PORT",
                help="A port of the host leads to an address as this machine sees it.",
            ),
        ],
        summary=node.summary,
        description="It stays until Ctrl-C. Without BIND, a port is open to its own machine "
        "alone; port 0 is any free one. What a host lets tunnels reach is its owner's choice: "
        "[tunnel] in its covey.toml.",
        examples=(
            "tunnel frigg -L 5433:127.0.0.1:5432",
            "tunnel frigg -R 8080:127.0.0.1:3000",
        ),
        hosts=True,
    )


class _Tunnel:
    """The forwards of one run of the command."""

    def __init__(self, session: Session) -> None:
        self._output = session.output
        url = session.url or os.environ.get("COVEY_URL") or None
        token = session.token if url else None
        endpoint = Endpoint.find(url, token, os.environ.get("COVEY_CA_FILE"), None)
        self._caller = Caller(endpoint, session.document)
        self._target = Target(hosts=session.target.hosts)
        self._host = ", ".join(session.target.hosts) or "the node"
        self._running: set[asyncio.Task[None]] = set()

    async def run(self, local: list[Forward], remote: list[Forward]) -> None:
        """Forward until Ctrl-C; raises what a forward cannot begin with."""
        loop = asyncio.get_running_loop()
        working = asyncio.create_task(self._work(local, remote))
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, working.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await working
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _work(self, local: list[Forward], remote: list[Forward]) -> None:
        servers = [await self._listen_here(way) for way in local]
        try:
            async with asyncio.TaskGroup() as group:
                for way in remote:
                    group.create_task(self._listen_there(way))
                group.create_task(asyncio.Event().wait())
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from None
        finally:
            for server in servers:
                server.close()

    async def _listen_here(self, way: Forward) -> asyncio.Server:
        async def arrived(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            values = {"host": way.host, "port": way.to}
            await self._carry((reader, writer), lambda: self._open("tunnel.open", values))

        try:
            server = await asyncio.start_server(arrived, way.bind, way.port, limit=_CHUNK)
        except OSError as error:
            raise ConflictError(
                f"{_shown(way.bind, way.port)} cannot be opened here: {_reason(error)}.",
                hint="Choose another port.",
            ) from error
        port = server.sockets[0].getsockname()[1]
        self._output.line(
            f"{_shown(way.bind, port)} here → {_shown(way.host, way.to)}, {self._host}"
        )
        return server

    async def _listen_there(self, way: Forward) -> None:
        values = {"host": way.bind, "port": way.port}
        async for item in self._caller.items("tunnel.listen", values, self._target):
            if item["type"] == "listening":
                where = _shown(item["host"], item["port"])
                self._output.line(f"{where}, {self._host} → {_shown(way.host, way.to)} here")
                continue
            task = asyncio.create_task(self._take(way, item["ticket"]))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _take(self, way: Forward, ticket: str) -> None:
        try:
            streams = await asyncio.open_connection(way.host, way.to, limit=_CHUNK)
        except OSError as error:
            self._output.warn(f"{_shown(way.host, way.to)}: {error.strerror or error}")
            return
        await self._carry(streams, lambda: self._open("tunnel.accept", {"ticket": ticket}))

    async def _open(self, operation: str, values: dict[str, object]) -> Call:
        return await self._caller.open(operation, values, self._target)

    async def _carry(self, streams: Streams, opened: Callable[[], Awaitable[Call]]) -> None:
        reader, writer = streams
        try:
            call = await opened()
        except CoveyError as error:
            self._output.warn(error.message)
            writer.close()
            return
        sending = asyncio.create_task(_send(reader, call))
        try:
            async for data in _received(call):
                if data is None:
                    writer.write_eof()
                    continue
                writer.write(data)
                await writer.drain()
        except CoveyError as error:
            self._output.warn(error.message)
        except OSError:
            pass
        finally:
            sending.cancel()
            call.close()
            writer.close()
            await asyncio.gather(sending, return_exceptions=True)


async def _send(reader: asyncio.StreamReader, call: Call) -> None:
    try:
        while data := await reader.read(_CHUNK):
            await call.send(msgspec.msgpack.encode({"type": "data", "data": data}))
    except OSError:
        call.close()
        return
    await call.send(msgspec.msgpack.encode({"type": "data_end"}))


async def _received(call: Call) -> AsyncGenerator[bytes | None, None]:
    """Yield what came, and None where the other side sends no more."""
    while (message := await call.receive()) is not None:
        item = msgspec.msgpack.decode(message)
        if item["type"] == "data":
            yield item["data"]
        elif item["type"] == "data_end":
            yield None


def _shown(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _reason(error: OSError) -> str:
    """Return why as the system says it; asyncio puts words of its own around that."""
    return os.strerror(error.errno).lower() if error.errno else str(error)
