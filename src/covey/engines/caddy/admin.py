"""The client of Caddy's admin API, over its private Unix socket."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from covey.errors import InvalidRequestError, UnreachableError

T = TypeVar("T")

_OK = 200
_FAILED = 400
_TIMEOUT_S = 60.0


class AdminError(UnreachableError):
    """Caddy does not answer on its admin socket, or not as it should."""


class UpstreamState(msgspec.Struct, frozen=True):
    """One address, with the requests and streams that it serves now."""

    address: str
    num_requests: int = 0


class _Failure(msgspec.Struct, frozen=True):
    error: str = ""


class AdminClient:
    """Asks one Caddy. Each call is a connection of its own; HTTP/1.0 frames by its end."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    async def config(self, timeout_s: float = _TIMEOUT_S) -> dict[str, Any]:
        """Return the running configuration."""
        answer = await self._call("GET", "/config/", timeout_s=timeout_s)
        return _decoded(answer, dict[str, Any]) or {}

    async def load(self, config: Mapping[str, Any]) -> None:
        """Replace the configuration; raises `InvalidRequestError` if Caddy refuses it."""
        await self._call("POST", "/load", msgspec.json.encode(config))

    async def upstreams(self, timeout_s: float = _TIMEOUT_S) -> list[UpstreamState]:
        """Return the addresses that requests go to."""
        answer = await self._call("GET", "/reverse_proxy/upstreams", timeout_s=timeout_s)
        return _decoded(answer, list[UpstreamState]) or []

    async def authority(self, name: str) -> str:
        """Return the root certificate (PEM) of one of its authorities."""
        answer = await self._call("GET", f"/pki/ca/{name}")
        found = _decoded(answer, _Authority)
        if found is None:
            raise _no_answer()
        return found.root_certificate

    async def _call(
        self, method: str, path: str, body: bytes = b"", *, timeout_s: float = _TIMEOUT_S
    ) -> bytes:
        try:
            async with asyncio.timeout(timeout_s):
                status, answer = await self._exchange(method, path, body)
        except (OSError, ValueError, IndexError, asyncio.IncompleteReadError) as error:
            raise _no_answer() from error
        if status == _OK:
            return answer
        reason = _reason(answer)
        if status >= _FAILED and method == "POST":
            raise InvalidRequestError(
                f"The proxy refuses the routes: {reason}",
                hint="Nothing was changed. Correct what it names.",
            )
        raise AdminError(f"The proxy answers {status} to {path}: {reason}", hint="covey doctor")

    async def _exchange(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        reader, writer = await asyncio.open_unix_connection(self._socket)
        try:
            head = (
                f"{method} {path} HTTP/1.0\r\nHost: localhost\r\n"
                f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            )
            writer.write(head.encode() + body)
            await writer.drain()
            answer = await reader.read(-1)
        finally:
            writer.close()
        headers, _, content = answer.partition(b"\r\n\r\n")
        return int(headers.split(b" ", 2)[1]), content


class _Authority(msgspec.Struct, frozen=True):
    root_certificate: str


def _decoded(answer: bytes, kind: type[T]) -> T | None:
    try:
        return msgspec.json.decode(answer, type=kind | None)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise _no_answer() from error


def _no_answer() -> AdminError:
    return AdminError(
        "The proxy (Caddy) does not answer.",
        hint="It is started again within seconds; see covey agent logs.",
    )


def _reason(answer: bytes) -> str:
    try:
        return msgspec.json.decode(answer, type=_Failure).error
    except msgspec.MsgspecError:
        return answer[:200].decode(errors="replace")
