"""A tailscaled that answers the one question that Covey asks it, in the form of a real one.

The document has the fields of ipnstate.Status as Tailscale 1.8x serves it; the values are made up.
What of it Covey reads is checked by the engine's own strict structs.
"""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

STATUS_PATH = "/localapi/v0/status"
API_HOST = "local-tailscaled.sock"


def machine(stable_id: str, name: str, *addresses: str, **more: Any) -> dict[str, Any]:
    """Return one machine as ipnstate.PeerStatus."""
    return {
        "ID": stable_id,
        "PublicKey": f"nodekey:{stable_id.lower():0<64}",
        "HostName": name,
        "DNSName": f"{name}.tail1234.ts.net.",
        "OS": "linux",
        "UserID": 1234567890123456,
        "TailscaleIPs": list(addresses),
        "AllowedIPs": [f"{address}/32" for address in addresses],
        "Addrs": None,
        "CurAddr": "",
        "Relay": "fra",
        "RxBytes": 0,
        "TxBytes": 0,
        "Created": "2026-01-02T03:04:05.678901234Z",
        "LastWrite": "0001-01-01T00:00:00Z",
        "LastSeen": "2026-02-03T04:05:06.1Z",
        "LastHandshake": "0001-01-01T00:00:00Z",
        "Online": True,
        "ExitNode": False,
        "ExitNodeOption": False,
        "Active": False,
        "PeerAPIURL": None,
        "InNetworkMap": True,
        "InMagicSock": True,
        "InEngine": False,
        "Capabilities": ["https://tailscale.com/cap/is-owner"],
        **more,
    }


def status(me: dict[str, Any], *peers: dict[str, Any], state: str = "Running") -> dict[str, Any]:
    """Return the whole document."""
    return {
        "Version": "1.80.2-t1234567890-g1234567890",
        "TUN": True,
        "BackendState": state,
        "HaveNodeKey": True,
        "AuthURL": "",
        "TailscaleIPs": me["TailscaleIPs"],
        "Self": me,
        "Health": [],
        "MagicDNSSuffix": "tail1234.ts.net",
        "CurrentTailnet": {
            "Name": "someone@example.org",
            "MagicDNSSuffix": "tail1234.ts.net",
            "MagicDNSEnabled": True,
        },
        "CertDomains": None,
        "Peer": {peer["PublicKey"]: peer for peer in peers} or None,
        "User": {"1234567890123456": {"ID": 1234567890123456, "LoginName": "someone@example.org"}},
        "ClientVersion": None,
    }


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    document: bytes
    code: int


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        """Answer as the LocalAPI: to its own host name alone."""
        server = self.server
        assert isinstance(server, _Server)
        known = self.path == STATUS_PATH and self.headers["Host"] == API_HOST
        body = server.document if known else b"invalid localapi request"
        self.send_response(server.code if known else 403)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        """Return a name for the log, which a Unix socket's client has not."""
        return "local"

    def log_message(self, *_: Any) -> None:
        """Keep quiet."""


@contextmanager
def tailscaled(path: Path, document: dict[str, Any] | bytes, code: int = 200) -> Iterator[None]:
    """Serve this document at this socket."""
    with _Server(str(path), _Handler) as server:
        server.document = document if isinstance(document, bytes) else json.dumps(document).encode()
        server.code = code
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield
        finally:
            server.shutdown()
