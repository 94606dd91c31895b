"""Completion, in the real shells and by what they ask."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from covey.surfaces.cli.complete import candidates
from covey.surfaces.cli.completion_command import script
from tests.surfaces.cli.fake_daemon import FakeDaemon
from tests.surfaces.cli.keyboard import Keyboard, keyboard

Shell = Callable[[Path], list[str]]


def offered(*words: str) -> list[str]:
    current = words[-1]
    return [value for value, _ in candidates(words[:-1], current) if value.startswith(current)]


def test_commands_options_and_choices_are_offered(home: Path):
    assert offered("sta") == ["status"]
    assert offered("agent", "sta") == ["start", "status"]
    assert offered("completion", "") == ["bash", "zsh", "fish"]
    assert offered("token", "create", "ci", "--ro") == ["--role"]
    assert set(offered("token", "create", "ci", "--role", "")) == {
        "viewer",
        "developer",
        "operator",
        "admin",
    }
    assert offered("token", "create", "ci", "--role=vi") == ["--role=viewer"]
    assert offered("config", "check", "") == []
    assert "node" not in offered("")


def test_global_options_are_offered_and_passed_over(home: Path):
    assert offered("--js") == ["--json"]
    assert offered("--json", "--url", "https://x", "agent", "sto") == ["stop"]
    assert offered("agent", "stop", "--js") == ["--json"]


def test_an_option_is_offered_once_and_its_value_is_not_an_argument(home: Path):
    assert "--role" not in offered("token", "create", "--role", "admin", "ci", "--")
    assert "--allow" in offered("token", "create", "--allow", "env.*", "--")


def test_paths_are_left_to_the_shell(home: Path):
    assert [value for value, _ in candidates(["init", "--key-file"], "")] == [":files"]


def test_names_come_from_the_node(daemon: FakeDaemon):
    tokens = [{"id": "abc", "name": "ci"}, {"id": "def", "name": "backup"}]
    daemon.on("GET", "/api/v1/tokens", tokens)
    assert offered("token", "revoke", "") == ["ci", "backup"]


def test_a_silent_node_offers_nothing(home: Path):
    assert offered("token", "revoke", "") == []


@pytest.fixture
def environ(home: Path) -> dict[str, str]:
    return {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(home),
        "ZDOTDIR": str(home),
        "COVEY_HOME": str(home),
        "TERM": "xterm",
        "LANG": "C.UTF-8",
    }


def bash(home: Path) -> list[str]:
    (home / "rc").write_text(script("bash") + "bind 'set bell-style none'; PS1='$ '\n")
    return ["bash", "--noprofile", "--rcfile", str(home / "rc"), "-i"]


def zsh(home: Path) -> list[str]:
    (home / ".zshrc").write_text("unsetopt global_rcs\n" + script("zsh") + "PS1='$ '\n")
    return ["zsh", "-d", "-i"]


def complete_a_line(keys: Keyboard) -> None:
    keys.wait_for("$ ")
    keys.type("covey compl\t")
    keys.wait_for("covey completion ")
    keys.type("fi\t")
    keys.wait_for("fish")
    keys.type("\n")
    keys.wait_for("complete -c covey", "$ ")
    keys.type("covey agent st\t\t")
    keys.wait_for("start", "status", "stop")


@pytest.mark.parametrize("shell", [bash, zsh])
def test_tab_completes_in_a_terminal(shell: Shell, home: Path, environ: dict[str, str]):
    with keyboard(shell(home), environ) as keys:
        complete_a_line(keys)


@pytest.mark.parametrize("shell", [bash, zsh])
def test_tab_completes_names_and_files(shell: Shell, daemon: FakeDaemon, environ: dict[str, str]):
    daemon.on("GET", "/api/v1/tokens", [{"id": "abc", "name": "nightly"}])
    (daemon.home / "key-of-frigg").touch()
    with keyboard(shell(daemon.home), environ) as keys:
        keys.wait_for("$ ")
        keys.type("covey token revoke nig\t")
        keys.wait_for("nightly")
        keys.type(f"\x15covey init --key-file {daemon.home}/key-of\t")
        keys.wait_for("key-of-frigg")
        keys.type("\x15covey token create x --role=vie\t")
        keys.wait_for("--role=viewer")


def fish(line: str, environ: dict[str, str]) -> list[str]:
    done = subprocess.run(
        ["fish", "--no-config", "-c", f"{script('fish')}\ncomplete -C {line!r}"],
        env=environ,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_fish_completes_with_descriptions(daemon: FakeDaemon, environ: dict[str, str]):
    daemon.on("GET", "/api/v1/tokens", [{"id": "abc", "name": "nightly"}])
    assert fish("covey stat", environ) == ["status\tShow what this node is and how it is."]
    assert [line.split("\t")[0] for line in fish("covey agent st", environ)] == [
        "start",
        "status",
        "stop",
    ]
    assert fish("covey token revoke ni", environ)[0].startswith("nightly")
    (daemon.home / "key-of-frigg").touch()
    found = fish(f"covey init --key-file {daemon.home}/key-", environ)
    assert found[0].startswith(f"{daemon.home}/key-of-frigg")


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_the_scripts_are_valid(shell: str, tmp_path: Path):
    path = tmp_path / "script"
    path.write_text(script(shell))
    subprocess.run([shell, "-n", path], check=True, timeout=60)
