"""Commands that need no daemon: making, joining and running a node, settings, the service."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from covey.operations.secret import Secret
from covey.surfaces.cli import secrets_input
from covey.surfaces.cli.node_control import KeyFileUnlock, PasswordUnlock
from tests.surfaces.cli.conftest import Covey
from tests.surfaces.cli.fake_control import FakeControl, FakeServices
from tests.surfaces.cli.fake_daemon import FakeDaemon

GOOD = "correct horse battery"


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a person types at the prompts, in order."""
    answers: list[str] = []
    monkeypatch.setattr(secrets_input, "is_interactive", lambda: True)
    monkeypatch.setattr(secrets_input.getpass, "getpass", lambda *_words, **_more: answers.pop(0))
    return answers


def send(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))


def test_init_asks_twice_for_a_password(covey: Covey, control: FakeControl, typed: list[str]):
    typed += [GOOD, GOOD]
    done = covey("init", "--name", "frigg")
    assert (done.status, done.err) == (0, "")
    assert control.calls == [("init", "frigg", PasswordUnlock(Secret(GOOD)))]
    assert "recovery-key-text" in done.out
    assert GOOD not in done.out


@pytest.mark.parametrize(
    "answers, message",
    [
        (["short"], "shorter than 8 characters"),
        (["aaaaaaaaaa"], "repeats too few characters"),
        ([GOOD, GOOD + "x"], "The two passwords differ"),
    ],
)
def test_init_refuses_a_weak_or_mistyped_password(
    covey: Covey, control: FakeControl, typed: list[str], answers: list[str], message: str
):
    typed += answers
    done = covey("init")
    assert done.status == 2
    assert message in done.err
    assert control.calls == []


def test_init_reads_the_password_from_standard_input(
    covey: Covey, control: FakeControl, monkeypatch: pytest.MonkeyPatch
):
    send(monkeypatch, f"{GOOD}\n")
    assert covey("init", "--password-stdin").status == 0
    assert control.calls == [("init", None, PasswordUnlock(Secret(GOOD)))]


def test_init_without_a_terminal_says_what_to_do(covey: Covey, control: FakeControl):
    done = covey("init")
    assert done.status == 2
    assert "--key-file PATH" in done.err
    assert control.calls == []


def test_a_key_file_is_given_by_its_absolute_path(
    covey: Covey, control: FakeControl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    assert covey("init", "--key-file", "key").status == 0
    assert control.calls == [("init", None, KeyFileUnlock(str(tmp_path / "key")))]
    assert "Choose one" in covey("init", "--key-file", "k", "--password-stdin").err


def test_a_second_node_in_one_home_is_refused_before_any_question(
    covey: Covey, control: FakeControl
):
    control.initialized = True
    for words in (["init"], ["join", "-"], ["recover", "frigg:13500"]):
        done = covey(*words)
        assert done.status == 5
        assert "a node of a fleet already" in done.err
    assert control.calls == []


def test_a_token_is_read_unseen_from_standard_input(
    covey: Covey, control: FakeControl, monkeypatch: pytest.MonkeyPatch
):
    send(monkeypatch, f"the-invitation\n{GOOD}\n")
    done = covey("join", "-", "--name", "frigg", "--password-stdin")
    assert (done.status, done.err) == (0, "")
    assert control.calls == [("join", "the-invitation", "frigg", PasswordUnlock(Secret(GOOD)))]
    send(monkeypatch, "the-invitation\n")
    assert covey("join", "-", "--password-stdin").status == 2


def test_a_token_may_stand_on_the_command_line(covey: Covey, control: FakeControl):
    done = covey("join", "the-invitation", "--key-file", "/k", "--json")
    assert control.calls == [("join", "the-invitation", None, KeyFileUnlock("/k"))]
    assert json.loads(done.out)["inviter"] == "freya"


def test_recovery_shows_the_next_key(
    covey: Covey, control: FakeControl, monkeypatch: pytest.MonkeyPatch
):
    send(monkeypatch, "the-old-key\n")
    done = covey("recover", "frigg:13500", "--key-file", "/k")
    assert control.calls == [("recover", "frigg:13500", "the-old-key", None, KeyFileUnlock("/k"))]
    assert "the-next-key" in done.out


def test_up_gives_the_password_and_the_exit_status_on(
    covey: Covey, control: FakeControl, monkeypatch: pytest.MonkeyPatch
):
    send(monkeypatch, f"{GOOD}\n")
    control.serve_status = 5
    done = covey("up", "--listen", "127.0.0.1:0", "--password-stdin")
    assert control.calls == [("serve", "127.0.0.1:0", GOOD)]
    assert (done.status, done.out) == (5, "")


def test_up_without_a_terminal_starts_locked(covey: Covey, control: FakeControl):
    control.initialized = control.by_password = True
    covey("up")
    assert control.calls == [("serve", None, None)]


def test_the_service_is_installed_and_removed(covey: Covey, services: FakeServices):
    done = covey("agent", "install", "--system", "--user", "covey", "--no-start")
    assert services.calls == [("install", True, "covey", True, False)]
    assert "loginctl enable-linger" in done.out
    covey("agent", "uninstall")
    assert services.calls[1:] == [("uninstall", False)]
    assert covey("agent", "install", "--dry-run").out == "[Unit] False None True\n"


def test_agent_status_without_a_daemon_is_6(covey: Covey, services: FakeServices):
    services.present = "/etc/unit"
    done = covey("agent", "status")
    assert done.status == 6
    assert "running  no" in done.out
    assert json.loads(covey("agent", "status", "--json").out) == {
        "running": False,
        "service": "/etc/unit",
    }


def test_agent_stop_waits_for_the_lock(daemon: FakeDaemon, covey: Covey, control: FakeControl):
    daemon.on("GET", "/health", {"status": "ok"})
    daemon.on("GET", "/api/v1/node", {"pid": 12, "state": "ready"})
    daemon.on("POST", "/api/v1/node/shutdown", {"message": "Stopping."})
    done = covey("agent", "stop", document=None)
    assert (done.status, done.out) == (0, "The daemon has stopped.\n")


def test_agent_stop_without_a_daemon_is_done(covey: Covey):
    done = covey("agent", "stop", document=None)
    assert (done.status, done.out) == (0, "The daemon is not running.\n")


def test_agent_start_needs_a_node_and_accepts_a_running_daemon(
    daemon: FakeDaemon, covey: Covey, control: FakeControl
):
    assert covey("agent", "start", document=None).status == 3
    control.initialized = True
    daemon.on("GET", "/health", {"status": "ok"})
    daemon.on("GET", "/api/v1/node", {"pid": 12, "state": "ready"})
    done = covey("agent", "start", document=None)
    assert done.out == "The daemon was running already (pid 12): ready.\n"


def test_agent_start_unlocks(
    daemon: FakeDaemon, covey: Covey, control: FakeControl, monkeypatch: pytest.MonkeyPatch
):
    control.initialized = True
    daemon.on("GET", "/health", {"status": "ok"})
    daemon.on("GET", "/api/v1/node", {"pid": 12, "state": "locked"})
    daemon.on("GET", "/api/v1/node", {"pid": 12, "state": "ready"})
    daemon.on("POST", "/api/v1/node/unlock", {"message": "Unlocked."})
    send(monkeypatch, f"{GOOD}\n")
    done = covey("agent", "start", "--password-stdin", document=None)
    assert daemon.bodies == [{"password": GOOD}]
    assert done.out.endswith("ready.\n")


def test_agent_start_says_that_a_wrong_password_leaves_it_locked(
    daemon: FakeDaemon, covey: Covey, control: FakeControl, monkeypatch: pytest.MonkeyPatch
):
    control.initialized = True
    daemon.on("GET", "/health", {"status": "ok"})
    daemon.on("GET", "/api/v1/node", {"pid": 12, "state": "locked"})
    wrong = {"code": "unauthenticated", "message": "The master password is wrong.", "hint": ""}
    daemon.on("POST", "/api/v1/node/unlock", {"error": wrong}, status=401)
    send(monkeypatch, f"{GOOD}\n")
    done = covey("agent", "start", "--password-stdin", document=None)
    assert done.status == 4
    assert "is wrong, so the daemon runs with its keys locked." in done.err
    assert "covey unlock" in done.err


def test_logs_are_read_across_a_rotation_without_a_daemon(home: Path, covey: Covey):
    log = home / "state" / "log" / "covey.log"
    assert covey("agent", "logs").status == 3
    log.parent.mkdir(parents=True)
    log.with_name("covey.log.1").write_text("one\ntwo\n")
    entry = {"time": "2026-01-02T03:04:05+00:00", "level": "warning", "logger": "covey.store"}
    log.write_text(json.dumps({**entry, "message": "a\x1bb", "peer": "frigg"}) + "\n")
    lines = covey("agent", "logs", "-n", "2").out.splitlines()
    assert lines[0] == "two"
    assert lines[1].endswith("warning store: a\\x1bb peer=frigg")
    assert json.loads(covey("agent", "logs", "-n", "1", "--json").out)["peer"] == "frigg"


def test_the_settings_are_shown_and_checked_without_a_daemon(
    home: Path, covey: Covey, monkeypatch: pytest.MonkeyPatch
):
    path = home / "config" / "covey.toml"
    assert covey("config", "path").out == f"{path}\n"
    path.parent.mkdir()
    path.write_text('[node]\nname = "frigg"\n')
    monkeypatch.setenv("COVEY_LOG_LEVEL", "debug")
    shown = {item["key"]: item for item in json.loads(covey("config", "show", "--json").out)}
    assert (shown["node.name"]["value"], shown["node.name"]["source"]) == ("frigg", "file")
    assert (shown["log.level"]["value"], shown["log.level"]["source"]) == ("debug", "environment")
    assert shown["log.keep"]["source"] == "default"
    assert covey("config", "check").status == 0
    path.write_text('[node]\nnmae = "frigg"\n')
    done = covey("config", "check")
    assert done.status == 2
    assert f"{path}, line 2" in done.err
    assert "node.name" in done.err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_and_hooks_are_printed(covey: Covey, shell: str):
    assert "__complete" in covey("completion", shell).out
    assert f"Covey's hook for {shell}" in covey("shell-init", shell).out
