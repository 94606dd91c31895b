from __future__ import annotations

import os
import shlex
import stat
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.engines import systemd
from covey.engines.systemd import SystemdManager, Unit
from covey.errors import CoveyError, InvalidRequestError, NotFoundError
from covey.paths import Paths, find_paths


def unit(*, system: bool, home: str | None = None) -> Unit:
    command = ("/usr/bin/env", "covey")
    return Unit(
        command, home, system=system, user="daemon" if system else None, writable=("-/x y",)
    )


@pytest.mark.parametrize("system", [True, False])
@pytest.mark.parametrize("home", [None, "/srv/covey", '/srv/with "quotes" %h $HOME and space'])
def test_systemd_itself_accepts_the_unit(tmp_path: Path, system: bool, home: str | None):
    path = tmp_path / "covey.service"
    path.write_text(unit(system=system, home=home).text())
    manager = "--system" if system else "--user"
    done = subprocess.run(
        ["systemd-analyze", manager, "verify", "--man=no", "--recursive-errors=no", path],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
    )
    assert "covey.service" not in done.stderr, done.stderr
    assert done.returncode == 0, done.stderr


def test_the_unit_of_the_machine_is_hardened(tmp_path: Path):
    path = tmp_path / "covey.service"
    path.write_text(unit(system=True).text())
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=25", "--no-pager", path],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout[-300:] + done.stderr


def test_a_unit_of_a_user_asks_for_nothing_that_a_user_cannot_have():
    text = unit(system=False).text()
    assert "User=" not in text
    assert "ReadWritePaths=" not in text
    assert "WantedBy=default.target" in text
    assert "NoNewPrivileges=yes" in text


@pytest.mark.parametrize("system", [True, False])
def test_an_unconfined_unit_lets_commands_do_what_its_user_may(system: bool):
    text = Unit(("/usr/bin/covey",), None, system=system, user="covey", confined=False).text()
    for rule in ("NoNewPrivileges", "Protect", "Restrict", "SystemCallFilter", "Capability"):
        assert rule not in text
    assert "KillMode=process\n" in text


@given(st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126), min_size=1))
def test_a_quoted_word_is_read_back_as_it_was(word: str):
    quoted = systemd._quoted(word).replace("%%", "%")
    assert shlex.split(quoted) == [word]
    assert systemd._program_word(word).replace("$$", "$") == systemd._quoted(word)


def test_a_dollar_is_doubled_where_it_has_a_meaning_and_nowhere_else():
    text = Unit(("/opt/$x/covey",), "/srv/$x", system=False).text()
    assert "ExecStart=/opt/$$x/covey up --locked\n" in text
    assert "Environment=COVEY_HOME=/srv/$x\n" in text


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SystemdManager:
    """A manager whose systemctl writes down what it is told."""
    program = tmp_path / "bin" / "systemctl"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\necho "$*" >> {tmp_path}/said\ncase "$*" in *$FAIL*) exit 1;; esac\n'
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    monkeypatch.setenv("FAIL", "nothing")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr(systemd, "_require_systemd", lambda **_: None)
    monkeypatch.setattr(systemd, "SYSTEM_DIR", tmp_path / "system")
    return SystemdManager(find_paths({"COVEY_HOME": "/srv/covey"}))


def said(tmp_path: Path) -> list[str]:
    return (tmp_path / "said").read_text().splitlines()


def test_installing_writes_enables_and_starts(manager: SystemdManager, tmp_path: Path):
    report = manager.install(system=False, user=None, confined=True, start=True)
    path = tmp_path / "config" / "systemd" / "user" / "covey.service"
    assert (report.path, report.active) == (str(path), True)
    assert "COVEY_HOME=/srv/covey" in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o644
    assert said(tmp_path)[:3] == [
        "--user daemon-reload",
        "--user enable covey.service",
        "--user restart covey.service",
    ]
    assert manager.installed() == str(path)
    assert not manager.uninstall(system=False).active
    assert not path.exists()
    assert "--user disable --now covey.service" in said(tmp_path)


def test_a_service_for_the_machine_runs_as_its_user(manager: SystemdManager, tmp_path: Path):
    manager.install(system=True, user="nobody", confined=True, start=False)
    text = (tmp_path / "system" / "covey.service").read_text()
    assert "User=nobody" in text
    assert "ReadWritePaths=-/srv/covey" in text
    assert not any("restart" in line for line in said(tmp_path))


def test_the_directories_of_another_user_are_that_users(tmp_path: Path):
    manager = SystemdManager(Paths("/c", "/d", "/s", "/r"))
    text = manager.preview(system=True, user="nobody", confined=True)
    assert "ReadWritePaths=-/nonexistent/.local/share/covey" in text


def test_what_cannot_be_done_is_explained(manager: SystemdManager, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(InvalidRequestError, match="whole machine"):
        manager.install(system=False, user="nobody", confined=True, start=True)
    with pytest.raises(NotFoundError, match="no user no-such-user"):
        manager.install(system=True, user="no-such-user", confined=True, start=True)
    with pytest.raises(NotFoundError, match="No service is installed"):
        manager.uninstall(system=False)
    monkeypatch.setenv("FAIL", "daemon-reload")
    with pytest.raises(CoveyError, match="daemon-reload failed"):
        manager.install(system=False, user=None, confined=True, start=True)


def test_a_machine_without_systemd_is_told(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(CoveyError, match="no systemd") as caught:
        SystemdManager(find_paths({"COVEY_HOME": "/x"})).install(
            system=True, user=None, confined=True, start=True
        )
    assert caught.value.hint is not None
