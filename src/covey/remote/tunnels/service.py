"""TCP connections between this machine's network and callers on other machines."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from covey.errors import NotFoundError, RefusedError, UnreachableError
from covey.operations.access import Caller
from covey.remote.tunnels.model import (
    Arrived,
    Data,
    DataEnd,
    Listening,
    ListenOutput,
    Opened,
    TunnelInput,
    TunnelOutput,
)
from covey.remote.tunnels.ports import Tcp, TcpConnection, TcpListener

_TICKET_BYTES = 16
_MOST_WAITING = 128


@dataclass(frozen=True, slots=True)
class TunnelPolicy:
    """Patterns of `host:port` that tunnels may connect to, and listen on."""

    connect: Sequence[str]
    listen: Sequence[str]


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A connection that came in and was not taken yet."""

    caller: str
    connection: TcpConnection
    listener: TcpListener


class Tunnels:
    """The service behind the operations on tunnels."""

    def __init__(self, tcp: Tcp, policy: TunnelPolicy, patience_s: float = 30.0) -> None:
        self._tcp = tcp
        self._policy = policy
        self._patience_s = patience_s
        self._waiting: dict[str, _Waiting] = {}

    async def open(
        self, host: str, port: int, items: AsyncIterator[TunnelInput]
    ) -> AsyncGenerator[TunnelOutput, None]:
        """Connect to an address, and pass bytes both ways until both ends have ended.

        Raises `RefusedError` by the policy, and `UnreachableError`.
        """
        self._check(self._policy.connect, "connect to", host, port)
        connection = await self._tcp.connect(host, port)
        async for item in _carry(connection, items):
            yield item

    async def listen(
        self, caller: Caller, host: str, port: int
    ) -> AsyncGenerator[ListenOutput, None]:
        """Accept connections at an address, and tell of each, until the caller leaves.

        Raises `RefusedError` by the policy, `ConflictError` if the port is taken.
        """
        self._check(self._policy.listen, "listen on", host, port)
        listener = await self._tcp.listen(host, port)
        try:
            where, at = listener.address
            yield Listening(where, at)
            while True:
                connection = await listener.accept()
                if len(self._waiting) >= _MOST_WAITING:
                    connection.close()
                    continue
                ticket = secrets.token_hex(_TICKET_BYTES)
                self._waiting[ticket] = _Waiting(caller.label, connection, listener)
                asyncio.get_running_loop().call_later(self._patience_s, self._drop, ticket)
                yield Arrived(ticket, connection.peer)
        finally:
            listener.close()
            for ticket, waiting in list(self._waiting.items()):
                if waiting.listener is listener:
                    self._drop(ticket)

    async def accept(
        self, caller: Caller, ticket: str, items: AsyncIterator[TunnelInput]
    ) -> AsyncGenerator[TunnelOutput, None]:
        """Take a connection that came in, as `open` does; raises `NotFoundError`."""
        found = self._waiting.get(ticket)
        if found is None or found.caller != caller.label:
            raise NotFoundError(
                "That connection is gone: nobody took it in time.",
                hint="Let the peer connect again.",
            )
        del self._waiting[ticket]
        async for item in _carry(found.connection, items):
            yield item

    def close(self) -> None:
        """Close what nobody took."""
        for ticket in list(self._waiting):
            self._drop(ticket)

    def _drop(self, ticket: str) -> None:
        found = self._waiting.pop(ticket, None)
        if found is not None:
            found.connection.close()

    def _check(self, allowed: Sequence[str], act: str, host: str, port: int) -> None:
        where = f"{host}:{port}".lower()
        if not any(fnmatchcase(where, pattern.lower()) for pattern in allowed):
            raise RefusedError(
                f"This node's policy does not let tunnels {act} {where}.",
                hint="Its owner decides that: [tunnel] in its covey.toml.",
                details={"address": where},
            )


async def _carry(
    connection: TcpConnection, items: AsyncIterator[TunnelInput]
) -> AsyncGenerator[TunnelOutput, None]:
    feeding = asyncio.create_task(_feed(connection, items))
    try:
        yield Opened()
        while data := await connection.read():
            yield Data(data)
        yield DataEnd()
        await feeding
    except OSError as error:
        raise UnreachableError(
            f"The connection broke: {error.strerror or error}.", hint="Let the peer connect again."
        ) from error
    finally:
        feeding.cancel()
        connection.close()
        await asyncio.gather(feeding, return_exceptions=True)


async def _feed(connection: TcpConnection, items: AsyncIterator[TunnelInput]) -> None:
    async for item in items:
        match item:
            case Data(data=data):
                await connection.write(data)
            case DataEnd():
                break
    connection.end()
