"""Ports for servers of tests."""

from __future__ import annotations

import secrets
import socket


def free_port() -> int:
    """A port that is free for TCP and UDP, where no client's connection takes it meanwhile."""
    while True:
        port = secrets.randbelow(16_000) + 16_000
        with (
            socket.socket(socket.AF_INET, socket.SOCK_STREAM) as stream,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
        ):
            try:
                stream.bind(("127.0.0.1", port))
                datagrams.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
