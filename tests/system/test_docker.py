"""An app's life on a real Docker, from the command line to its end: what Podman does as well."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.docker import Docker
from tests.images import WEB
from tests.system.harness import eventually, new_fleet
from tests.system.hosting import Host, new_host


@pytest.fixture
def host(docker: Docker) -> Iterator[Host]:
    """A node whose apps are in Docker."""
    with new_fleet() as fleet, new_host(fleet, docker, COVEY_APPS_ENGINE="docker") as made:
        yield made


def test_an_app_comes_into_service_is_replaced_fails_goes_back_and_leaves_nothing(
    host: Host, docker: Docker
):
    before = docker.leftovers()
    host.node.run("env", "set", "GREETING=hello, world")
    config = {
        "env": {"GREETING": "${GREETING}"},
        "release": "echo migrated > /data/done",
        "volumes": [{"name": "data", "path": "/data"}],
        "deploy": {"healthcheck": "/"},
    }
    said = host.deploy(host.app("tour", "v1", **config))
    assert f"tour is served: https://tour.localhost:{host.https}" in said
    assert host.get("tour") == "v1"
    assert host.get("tour", "/cgi-bin/env") == "hello, world"
    checks = {check["name"]: check["message"] for check in host.sound_checks()}
    assert checks["containers"].startswith("docker ")

    host.deploy(host.app("tour", "v2", **config))
    assert host.get("tour") == "v2"
    broken = host.app("tour", "v3", **config)
    (broken / "Containerfile").write_text(
        f'FROM {WEB}\nCMD ["sh", "-c", "echo no database; false"]'
    )
    said = host.deploy(broken, expect=1)
    assert "no database" in said
    assert host.get("tour") == "v2"

    done = host.node.run("apps", "exec", "tour", "--", "cat", "/data/done")
    assert done.stdout == "migrated\n"
    host.node.run("apps", "rollback", "tour")
    assert host.get("tour") == "v1"

    host.node.run("apps", "destroy", "tour", "--volumes", "--yes")
    eventually(lambda: docker.leftovers() == before)
