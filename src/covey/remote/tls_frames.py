"""TLS inside a stream: two members speak past a third that can only pass their bytes on."""

from __future__ import annotations

import ssl

from covey.errors import RefusedError, UnreachableError
from covey.remote.call_link import LinkStream

_READ_BYTES = 256 * 1024


class TlsFrames:
    """Satisfies `Frames` over a stream; make it, and `handshake` first."""

    def __init__(self, stream: LinkStream, context: ssl.SSLContext, *, server_side: bool) -> None:
        self._stream = stream
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=server_side)

    async def handshake(self) -> bytes:
        """Return the other side's certificate (DER), which the context's authorities signed.

        Raises `RefusedError` when either side does not accept the other, `UnreachableError`.
        """
        try:
            while True:
                try:
                    self._tls.do_handshake()
                except ssl.SSLWantReadError:
                    await self._flush()
                    await self._fill()
                    continue
                break
            await self._flush()
        except ssl.SSLError as error:
            await self._flush()
            raise RefusedError("The relayed connection was refused in the handshake.") from error
        certificate = self._tls.getpeercert(binary_form=True)
        if certificate is None:
            raise RefusedError("The relayed connection came without a member's certificate.")
        return certificate

    async def send(self, frame: bytes) -> None:
        """Send bytes, waiting while the other side does not read."""
        self._tls.write(frame)
        await self._flush()

    async def receive(self) -> bytes:
        """Return the next bytes; raises `UnreachableError` at the end."""
        while True:
            try:
                data = self._tls.read(_READ_BYTES)
            except ssl.SSLWantReadError:
                await self._fill()
                continue
            except ssl.SSLError as error:
                raise UnreachableError("The relayed connection broke off.") from error
            if not data:
                raise UnreachableError("The other node has ended the relayed connection.")
            return data

    async def close(self) -> None:
        """End the connection."""
        self._stream.reset()

    async def _flush(self) -> None:
        data = self._outgoing.read()
        if data:
            await self._stream.send(data)

    async def _fill(self) -> None:
        data = await self._stream.receive()
        if data is None:
            raise UnreachableError("The relayed connection has ended.")
        self._incoming.write(data)
