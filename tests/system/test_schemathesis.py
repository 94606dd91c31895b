"""schemathesis against the document and the API of a real daemon: no failure at all."""

from __future__ import annotations

import secrets
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.system.harness import Fleet, Node

CONFIG = Path(__file__).with_name("schemathesis.toml")
SCHEMATHESIS = str(Path(sys.executable).with_name("schemathesis"))

ENDING = (
    "fleet.leave",
    "fleet.rotate-authority",
    "node.lock",
    "node.shutdown",
    "node.unlock",
    "token.revoke",
)
"""Operations that end the daemon, its keys, or the tester's own token."""

COMMANDING = ("exec.run", "exec.start")
"""Operations that would run the tester's random words on this machine."""

ENDLESS = ("apps.logs", "env.watch", "node.logs", "tunnel.listen")
"""Streams that end when their client leaves, or its time is over."""


@pytest.fixture
def node(fleet: Fleet) -> Node:
    return fleet.founder(
        "solo",
        COVEY_API_RATE_LIMIT_PER_MINUTE="10000000",
        # Random paths of this machine are read, written and removed.
        COVEY_FILES_ROOTS=str(fleet.directory / "files"),
    )


def token(node: Node, role: str) -> str:
    name = f"{role}-{secrets.token_hex(4)}"
    made: str = node.json("token", "create", name, "--role", role, "--expires", "1d")["token"]
    return made


def probe(node: Node, *arguments: str, role: str = "admin") -> None:
    """Run schemathesis; its findings are the test's failure."""
    done = subprocess.run(
        [
            SCHEMATHESIS,
            f"--config-file={CONFIG}",
            "run",
            f"https://{node.address}/openapi.json",
            "--tls-verify=false",
            f"--header=Authorization: Bearer {token(node, role)}",
            "--max-examples=10",
            "--seed=1",
            "--request-timeout=30",
            "--no-color",
            *arguments,
        ],
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
        cwd=node.home,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Tested: 0" not in done.stdout
    assert node.json("status")["state"] == "ready"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_operation_does_what_the_document_says(node: Node):
    probe(node, *(f"--exclude-operation-id={name}" for name in ENDING + COMMANDING + ENDLESS))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_what_would_end_the_node_is_refused_as_the_document_says(node: Node):
    probe(node, *(f"--include-operation-id={name}" for name in ENDING + COMMANDING), role="viewer")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_streams_do_what_the_document_says(node: Node):
    def probe_one(name: str) -> None:
        probe(
            node,
            f"--include-operation-id={name}",
            "--header=Covey-Timeout: 1",
            # The header above also replaces the wrong ones that schemathesis tries.
            "--exclude-checks=negative_data_rejection",
            "--max-examples=3",
        )

    # They mostly wait; schemathesis's own workers are threads, which break CPython 3.11's compiler.
    with ThreadPoolExecutor(len(ENDLESS)) as pool:
        list(pool.map(probe_one, ENDLESS))
