"""TCP through the mesh, both ways, by the command line."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
from pathlib import Path

from tests.system.harness import COVEY, Fleet, eventually
from tests.system.test_exec import reaches


def served(content: bytes) -> socket.socket:
    """Answer each connection with what it sent, then some more, until the socket is closed."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                given = drained(connection)
                connection.sendall(given + content)

    threading.Thread(target=serve, daemon=True).start()
    return listener


def drained(connection: socket.socket) -> bytes:
    return b"".join(iter(lambda: connection.recv(65536), b""))


def asked(port: int, data: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), 20) as connection:
        connection.settimeout(20)
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        return drained(connection)


def test_ports_lead_through_the_mesh_both_ways(fleet: Fleet, tmp_path: Path) -> None:
    freya = fleet.founder("freya")
    fleet.member(freya, "frigg")
    eventually(lambda: reaches(freya, "frigg"))
    content = os.urandom(1_000_000)
    listener = served(content)
    port = listener.getsockname()[1]
    log = tmp_path / "log"
    words = [COVEY, "tunnel", "-L", f"0:127.0.0.1:{port}", "-R", f"0:127.0.0.1:{port}"]
    with (
        log.open("w") as out,
        subprocess.Popen([*words, "-H", "frigg"], env=freya.environment, stdout=out) as tunnel,
    ):
        lines = eventually(lambda: (found := log.read_text().splitlines())[1:] and found)
        ports = [int(line.split(",")[0].split(" ")[0].rpartition(":")[2]) for line in lines]
        for opened in ports:
            assert asked(opened, b"ping") == b"ping" + content
        tunnel.send_signal(signal.SIGINT)
        assert tunnel.wait(20) == 0
    for opened in ports:
        with socket.socket() as probe:
            eventually(lambda opened=opened, probe=probe: probe.connect_ex(("127.0.0.1", opened)))  # type: ignore[misc]
    listener.close()
    refused = freya.run("tunnel", "-R", f"0.0.0.0:0:127.0.0.1:{port}", "-H", "frigg", expect=4)
    assert "policy" in refused.stderr
