"""A test run that was killed takes no port away from the next one."""

from __future__ import annotations

import os
import socket
import subprocess
from contextlib import closing

import pytest

from tests import subnets
from tests.images import WEB
from tests.podman import Podman
from tests.ports import free_port
from tests.waiting import until

_CHAIN = "NETAVARK-DN-COVEYTEST"


def answers(port: int, timeout_s: float) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout_s).close()
    except OSError:
        return False
    return True


def iptables(*words: str) -> None:
    subprocess.run(["iptables", "-w", "-t", "nat", *words], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="a user's Podman forwards in a namespace of its own")
async def test_what_a_killed_podman_forwarded_is_free_and_what_runs_is_left_alone(
    podman: Podman,
) -> None:
    podman.run("run", "-d", "--name", "lives", "-p", "127.0.0.1::8080", WEB)
    alive = int(podman.run("port", "lives", "8080").rpartition(":")[2])
    second, third = subnets.choose_block(216, 16)
    os.close(subnets._held.pop())
    dead = free_port()
    to_dead = ("-p", "tcp", "--dport", str(dead))
    comment = "dnat name: covey-0a1b2c-shop-production id: 4d3e"
    iptables("-N", _CHAIN)
    try:
        iptables("-A", _CHAIN, *to_dead, "-j", "DNAT", "--to", f"10.{second}.{third + 1}.5:8080")
        words = (*to_dead, "-m", "comment", "--comment", comment, "-j", _CHAIN)
        iptables("-A", "NETAVARK-HOSTPORT-DNAT", *words)
        with closing(socket.create_server(("127.0.0.1", dead))):
            assert not answers(dead, 0.2)
            subnets.stop_dead_forwarding()
            assert answers(dead, 5)
        await until(lambda: answers(alive, 5))
    finally:
        iptables("-F", _CHAIN)
        iptables("-X", _CHAIN)
