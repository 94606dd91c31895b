"""Where a node is for its clients, and asynchronous connections to it."""

from __future__ import annotations

import asyncio
import os
import ssl
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from covey.client.tls import read_url, tls_context
from covey.errors import InvalidRequestError, UnreachableError
from covey.paths import LOCAL_TCP_PORT, find_paths

_CONNECT_S = 10.0
_LIMIT = 1 << 20

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A node: this home's own without a `url`; `token` and `ca_file` are for another."""

    url: str | None = None
    token: str | None = field(default=None, repr=False)
    ca_file: str | None = None
    home: str | None = None

    @classmethod
    def find(
        cls,
        url: str | None,
        token: str | None,
        ca_file: str | None,
        home: str | None,
        environ: Mapping[str, str] = os.environ,
    ) -> Endpoint:
        """Fill in what COVEY_URL, COVEY_TOKEN, COVEY_TOKEN_FILE and COVEY_CA_FILE tell."""
        url = url or (None if home else environ.get("COVEY_URL") or None)
        if url is None:
            return cls(home=home)
        found = token or environ.get("COVEY_TOKEN") or _token_file(environ)
        if not found:
            raise InvalidRequestError(
                "A node that is reached by its URL asks for a token.",
                hint="Pass token=…, or put it into COVEY_TOKEN.",
            )
        return cls(url, found.strip(), ca_file or environ.get("COVEY_CA_FILE") or None)

    @property
    def headers(self) -> dict[str, str]:
        """What each request carries to be let in."""
        if self.token is not None:
            return {"Authorization": f"Bearer {self.token}"}
        if sys.platform == "win32":
            token = Path(find_paths(self._environ()).local_token).read_text("ascii").strip()
            return {"Authorization": f"Bearer {token}"}
        return {}

    async def connect(self) -> Connection:
        """Open a connection; raises `UnreachableError`."""
        try:
            async with asyncio.timeout(_CONNECT_S):
                return await self._connect()
        except ssl.SSLCertVerificationError as error:
            raise UnreachableError(
                f"The certificate of {self.url} is not trusted: {error.verify_message}.",
                hint="Pass ca_file=… with what `covey fleet authority` prints.",
            ) from error
        except (OSError, TimeoutError, UnicodeError) as error:
            raise self._away(error) from error

    async def _connect(self) -> Connection:
        if self.url is not None:
            encrypted, host, port = read_url(self.url)
            context = tls_context(self.ca_file) if encrypted else None
            return await asyncio.open_connection(host, port, ssl=context, limit=_LIMIT)
        if sys.platform == "win32":
            return await asyncio.open_connection("127.0.0.1", LOCAL_TCP_PORT, limit=_LIMIT)
        socket = find_paths(self._environ()).socket
        return await asyncio.open_unix_connection(socket, limit=_LIMIT)

    def _environ(self) -> dict[str, str]:
        return dict(os.environ) | ({} if self.home is None else {"COVEY_HOME": self.home})

    def _away(self, error: Exception) -> UnreachableError:
        if self.url is None:
            return UnreachableError(
                "No Covey daemon is running here.",
                hint="Start it in the background: covey agent start",
            )
        reason = getattr(error, "strerror", None) or "no answer in time"
        return UnreachableError(
            f"{self.url} cannot be reached: {reason}.",
            hint="Check the address, that the node is up, and that its port is open.",
        )


def _token_file(environ: Mapping[str, str]) -> str | None:
    name = environ.get("COVEY_TOKEN_FILE")
    if not name:
        return None
    try:
        return Path(name).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequestError(f"The token file {name} cannot be read.") from error
