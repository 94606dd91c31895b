"""Health probes over plain sockets: one request, one answer, nothing kept open."""

from __future__ import annotations

import asyncio
import contextlib

_MOST_HEAD = 64 * 1024


class SocketProbe:
    """Implements `Probe`."""

    async def http(
        self, address: tuple[str, int], host: str, path: str, *, timeout_s: float
    ) -> int | str:
        """Send one GET and read the status line (RFC 9112)."""
        try:
            async with asyncio.timeout(timeout_s):
                return await _get(address, host, path)
        except TimeoutError:
            return f"GET {path} was not answered within {timeout_s:g} s"
        except OSError as error:
            return f"GET {path} failed: {error.strerror or error}"
        except (ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            return f"GET {path} was not answered in HTTP"

    async def tcp(self, host: str, port: int, *, timeout_s: float) -> str | None:
        """Open one connection that is not closed at once: a proxy before a dead port does that."""
        try:
            async with asyncio.timeout(timeout_s):
                reader, writer = await asyncio.open_connection(host, port)
        except TimeoutError:
            return f"the port took no connection within {timeout_s:g} s"
        except OSError as error:
            return f"the port takes no connection: {error.strerror or error}"
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(0.2, timeout_s)):
                    if not await reader.read(1):
                        return "the port closes each connection at once"
        except OSError as error:
            return f"the port takes no connection: {error.strerror or error}"
        finally:
            writer.close()
        return None


async def _get(address: tuple[str, int], host: str, path: str) -> int:
    reader, writer = await asyncio.open_connection(*address, limit=_MOST_HEAD)
    try:
        writer.write(
            f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: covey-health\r\n"
            "Accept: */*\r\nX-Forwarded-Proto: https\r\nConnection: close\r\n\r\n".encode()
        )
        await writer.drain()
        line = await reader.readline()
        version, code, *_ = line.decode("latin-1").split(" ", 2)
        if not version.startswith("HTTP/"):
            raise ValueError(version)
        return int(code)
    finally:
        writer.close()
