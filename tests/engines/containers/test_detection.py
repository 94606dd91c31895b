"""Which engine is taken, and what Podman needs on which machine."""

from __future__ import annotations

import os
import socket
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from covey.engines.containers import access
from covey.engines.containers.access import Candidate, candidates, missing_engine
from covey.engines.containers.engine import make_engine
from covey.engines.containers.host_limits import HostLimits, read_host_limits
from covey.engines.containers.podman_config import config_files, write_podman_config
from covey.errors import UnreachableError
from covey.paths import Paths
from covey.settings_hosting import AppsSettings

PODMAN_SOCKET = "/run/podman/podman.sock"
DOCKER_SOCKET = "/var/run/docker.sock"
OWN = Candidate("podman", program="/usr/bin/podman")
PLENTY = HostLimits(
    root=True,
    may_raise=True,
    nofile=1 << 20,
    nproc=32768,
    unified_cgroups=True,
    systemd=True,
    runtimes=frozenset({"crun"}),
)
TIGHT = replace(
    PLENTY,
    may_raise=False,
    nofile=20000,
    unified_cgroups=False,
    systemd=False,
    runtimes=frozenset({"crun", "runc"}),
)


def found(
    settings: AppsSettings,
    *sockets: str,
    environ: dict[str, str] | None = None,
    needs: tuple[str, ...] = (),
    program: str | None = "/usr/bin/podman",
) -> list[Candidate]:
    return candidates(
        settings, environ or {}, needs, is_socket=lambda path: path in sockets, program=program
    )


def test_what_runs_already_comes_before_a_service_of_our_own():
    auto = AppsSettings()
    assert found(auto, PODMAN_SOCKET, DOCKER_SOCKET) == [
        Candidate("podman", PODMAN_SOCKET),
        Candidate("docker", DOCKER_SOCKET),
        OWN,
    ]
    assert found(auto) == [OWN]
    assert found(auto, program=None) == []


def test_a_service_that_may_lack_settings_comes_last():
    assert found(AppsSettings(), PODMAN_SOCKET, needs=("ulimits",)) == [
        OWN,
        Candidate("podman", PODMAN_SOCKET),
    ]


def test_podman_with_settings_of_its_own_is_not_the_systems():
    environ = {"CONTAINERS_STORAGE_CONF": "/x/storage.conf"}
    assert found(AppsSettings(), PODMAN_SOCKET, environ=environ)[0] == OWN


def test_the_settings_choose():
    both = (PODMAN_SOCKET, DOCKER_SOCKET)
    assert found(AppsSettings(engine="docker"), *both) == [Candidate("docker", DOCKER_SOCKET)]
    assert found(AppsSettings(engine="podman"), *both) == [Candidate("podman", PODMAN_SOCKET), OWN]
    named = AppsSettings(engine_socket="/srv/podman/api.sock")
    assert found(named, *both) == [Candidate("podman", "/srv/podman/api.sock")]


def test_the_users_own_sockets_come_first():
    environ = {"XDG_RUNTIME_DIR": "/run/user/7", "DOCKER_HOST": "unix:///home/me/docker.sock"}
    mine = ("/run/user/7/podman/podman.sock", "/home/me/docker.sock")
    names = [one.socket for one in found(AppsSettings(), *mine, PODMAN_SOCKET, environ=environ)]
    assert names[:3] == [mine[0], PODMAN_SOCKET, mine[1]]
    remote = {"DOCKER_HOST": "tcp://192.0.2.1:2376"}
    assert found(AppsSettings(), environ=remote, program=None) == []


def test_a_machine_without_limits_needs_nothing_but_short_memories_of_commands():
    assert PLENTY.needs == ()
    assert PLENTY.podman_settings({}) == {"engine": {"exit_command_delay": 1}}
    assert PLENTY.podman_settings({"engine": {"exit_command_delay": 5}}) == {}


def test_a_tight_machine_gets_explicit_limits():
    assert len(TIGHT.needs) == 2
    assert TIGHT.podman_settings({}) == {
        "containers": {"default_ulimits": ["nofile=20000:20000", "nproc=32768:32768"]},
        "engine": {"runtime": "runc", "cgroup_manager": "cgroupfs", "exit_command_delay": 1},
    }


def test_what_the_user_chose_stays():
    present = {
        "containers": {"default_ulimits": ["nofile=100:100", "nproc=100:100"]},
        "engine": {"runtime": "runsc", "cgroup_manager": "systemd"},
    }
    assert TIGHT.podman_settings(present) == {"engine": {"exit_command_delay": 1}}


def test_without_root_podman_asks_for_what_it_may_have():
    assert replace(TIGHT, root=False).ulimits == ()


def test_limits_are_read_from_the_machine(tmp_path: Path):
    (tmp_path / "self").mkdir()
    (tmp_path / "sys/kernel").mkdir(parents=True)
    (tmp_path / "self/status").write_text("Name:\tx\nCapEff:\t000001fffeffffff\n")
    (tmp_path / "sys/kernel/pid_max").write_text("300\n")
    limits = read_host_limits(tmp_path, tmp_path)
    assert not limits.may_raise
    assert limits.nproc == 300
    assert not limits.unified_cgroups
    (tmp_path / "self/status").write_text("Name:\tx\nCapEff:\t000001ffffffffff\n")
    (tmp_path / "cgroup.controllers").write_text("cpu\n")
    limits = read_host_limits(tmp_path, tmp_path)
    assert limits.may_raise
    assert limits.unified_cgroups


def test_the_private_file_keeps_what_the_users_own_says(tmp_path: Path):
    own = tmp_path / "mine.conf"
    own.write_text(
        '[containers]\nlog_driver = "journald"\n[engine]\nexit_command_delay = 9\n'
        '[engine.runtimes]\nmine = ["/opt/mine"]\n'
    )
    environ = {"CONTAINERS_CONF": str(own)}
    target = tmp_path / "containers.conf"
    assert config_files(environ) == [own]
    assert not write_podman_config(target, PLENTY, environ)
    assert not target.exists()
    assert write_podman_config(target, TIGHT, environ)
    assert target.stat().st_mode & 0o777 == 0o600
    written = tomllib.loads(target.read_text())
    assert written["containers"]["log_driver"] == "journald"
    assert written["engine"]["exit_command_delay"] == 9
    assert written["engine"]["runtime"] == "runc"
    assert written["engine"]["runtimes"] == {"mine": ["/opt/mine"]}


async def test_a_machine_without_an_engine_is_told_what_to_install(
    home: Path, monkeypatch: pytest.MonkeyPatch
):
    module = "covey.engines.containers.access"
    monkeypatch.setattr(f"{module}._is_usable", lambda _: False)
    monkeypatch.setattr(f"{module}._is_closed", lambda _: False)
    monkeypatch.setattr(
        f"{module}.find_program", lambda name, *_: "/usr/bin/x" if name == "apt-get" else None
    )
    paths = Paths(*(str(home / name) for name in ("c", "d", "s", "r")))
    engine = make_engine(AppsSettings(), paths, {})
    assert engine.name == "podman"
    with pytest.raises(UnreachableError) as failure:
        await engine.version()
    assert "sudo apt-get install podman" in str(failure.value)
    with pytest.raises(UnreachableError, match="no Docker"):
        await make_engine(AppsSettings(engine="docker"), paths, {}).list_containers({})
    remote = {"DOCKER_HOST": "tcp://192.0.2.1:2376"}
    with pytest.raises(UnreachableError, match="another machine"):
        await make_engine(AppsSettings(), paths, remote).version()
    await engine.close()
    assert list(home.iterdir()) == []


def test_an_engine_that_this_user_may_not_use_is_named():
    docker, podman = "/run/docker.sock", "/run/podman/podman.sock"
    assert docker in str(missing_engine("auto", {}, [docker]))
    assert "docker $USER" in str(missing_engine("docker", {}, [podman, docker]).hint)
    assert docker in missing_engine("docker", {}, [podman, docker]).message
    assert "There is no Podman" in missing_engine("podman", {}, [docker]).message


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become someone else")
def test_a_socket_in_a_directory_that_is_closed_is_none(home: Path):
    path = home / "engine.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        assert access._is_usable(str(path))
        assert not access._is_closed(str(path))
        os.seteuid(65534)
        try:
            assert not access._is_usable(str(path))
            assert access._is_closed(str(path))
        finally:
            os.seteuid(0)


async def test_a_socket_that_nobody_serves_is_unreachable(home: Path):
    paths = Paths(*(str(home / name) for name in ("c", "d", "s", "r")))
    engine = make_engine(AppsSettings(engine_socket=str(home / "no.sock")), paths, {})
    with pytest.raises(UnreachableError, match=r"no\.sock"):
        await engine.inspect("x")
    await engine.close()


async def test_a_service_that_cannot_start_says_why(home: Path, tmp_path: Path):
    program = tmp_path / "podman"
    program.write_text("#!/bin/sh\necho 'Error: the disk is full' >&2\nexit 125\n")
    program.chmod(0o755)
    paths = Paths(*(str(home / name) for name in ("c", "d", "s", "r")))
    environ = {"PATH": str(tmp_path), "CONTAINERS_CONF": str(tmp_path / "none")}
    engine = make_engine(AppsSettings(engine="podman"), paths, environ)
    with pytest.raises(UnreachableError, match="the disk is full"):
        await engine.version()
    await engine.close()
