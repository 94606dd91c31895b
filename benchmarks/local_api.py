"""A node's HTTP interface over its Unix socket, on one connection that stays open."""

from __future__ import annotations

import http.client
import json
import socket
from typing import Any

from covey.paths import find_paths
from tests.system.harness import Node


class LocalApi:
    """Calls a running node without starting a process."""

    def __init__(self, node: Node) -> None:
        self._connection = http.client.HTTPConnection("localhost")
        self._connection.sock = socket.socket(socket.AF_UNIX)
        self._connection.sock.connect(find_paths({"COVEY_HOME": str(node.home)}).socket)

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, Any]:
        """Return the status and the decoded answer of one request."""
        content = None if body is None else json.dumps(body)
        headers = {} if body is None else {"Content-Type": "application/json"}
        self._connection.request(method, path, content, headers)
        response = self._connection.getresponse()
        data = response.read()
        return response.status, json.loads(data) if data else None

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()
