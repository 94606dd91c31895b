"""The commands on variables that are made by hand: they call operations and nothing else."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from covey.surfaces.cli import env_set, secrets_input
from tests.surfaces.cli.conftest import Covey, Ran
from tests.surfaces.cli.fake_daemon import FakeDaemon
from tests.surfaces.cli.keyboard import keyboard

VARIABLE = {"name": "A", "value": "x", "hint": None}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory without a project."""
    directory = tmp_path / "work"
    directory.mkdir()
    monkeypatch.chdir(directory)
    return directory


@pytest.fixture
def call(covey: Covey) -> Covey:
    def run(*words: str) -> Ran:
        return covey(*words, document=None)

    return run


def send(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def test_one_value_is_set(daemon: FakeDaemon, call: Covey):
    daemon.on("PUT", "/api/v1/env/A", VARIABLE)
    done = call("env", "set", "A=b=c $x\n", "--scope", "project:shop", "--kind", "plain")
    assert (done.status, done.out, done.err) == (0, "Set A (project:shop).\n", "")
    assert daemon.bodies == [{"value": "b=c $x\n", "scope": "project:shop", "kind": "plain"}]
    assert call("set", "A=1", "--quiet").out == ""
    assert json.loads(call("set", "A=1", "--json").out) == VARIABLE


def test_several_values_are_set_in_one_call(daemon: FakeDaemon, call: Covey):
    daemon.on("POST", "/api/v1/env:apply", {"set": ["A", "B"], "unset": [], "hints": ["Look."]})
    done = call("set", "A=1", "B=", "--note", "why")
    assert (done.status, done.out) == (0, "Set A, B (fleet).\n")
    assert done.err == "warning: Look.\n"
    assert daemon.bodies == [
        {
            "changes": [
                {"name": "A", "value": "1", "note": "why"},
                {"name": "B", "value": "", "note": "why"},
            ]
        }
    ]


@pytest.mark.parametrize(
    "data, words, value",
    [
        (b"secret", ["A"], "secret"),
        (b"secret\n", ["A", "--stdin"], "secret"),
        (b"two\nlines\n\n", ["A"], "two\nlines\n"),
        (b"secret\n", ["A", "--keep-newline"], "secret\n"),
        (b"", ["A"], ""),
        ("é 字 \r\n".encode(), ["A"], "é 字 \r"),
    ],
)
def test_a_value_is_read_exactly_from_standard_input(
    daemon: FakeDaemon,
    call: Covey,
    monkeypatch: pytest.MonkeyPatch,
    data: bytes,
    words: list[str],
    value: str,
):
    daemon.on("PUT", "/api/v1/env/A", VARIABLE)
    send(monkeypatch, data)
    assert call("env", "set", *words).status == 0
    assert daemon.bodies == [{"value": value}]


def test_a_value_is_asked_for_unseen(
    daemon: FakeDaemon, call: Covey, monkeypatch: pytest.MonkeyPatch
):
    daemon.on("PUT", "/api/v1/env/A", VARIABLE)
    monkeypatch.setattr(env_set, "is_interactive", lambda: True)
    monkeypatch.setattr(secrets_input, "is_interactive", lambda: True)
    monkeypatch.setattr(secrets_input.getpass, "getpass", lambda *_, **__: "typed")
    done = call("env", "set", "A")
    assert daemon.bodies == [{"value": "typed"}]
    assert "typed" not in done.out + done.err


@pytest.mark.parametrize(
    "words, message",
    [
        (["A", "value"], "2 words are given"),
        (["A=1", "B"], "2 words are given"),
        (["A=1", "--stdin"], "--stdin gives the value"),
        ([], "covey env set needs NAME[=VALUE]"),
        (["A=1", "B=2", "--if-version", "x.1"], "--if-version is for one variable"),
    ],
)
def test_words_that_are_no_assignments_are_refused_without_repeating_them(
    call: Covey, words: list[str], message: str
):
    done = call("env", "set", *words)
    assert done.status == 2
    assert message in done.err
    assert "'value'" not in done.err


def test_binary_input_is_refused(call: Covey, monkeypatch: pytest.MonkeyPatch):
    send(monkeypatch, b"ab\xff")
    done = call("env", "set", "A")
    assert done.status == 2
    assert "not UTF-8 text (at byte 2)" in done.err


@pytest.mark.parametrize("value", ["hello", "", "a\nb\n", "é字\x1b[31m", " $x `y` '\""])
def test_get_prints_the_value_alone(daemon: FakeDaemon, call: Covey, value: str):
    daemon.on("GET", "/api/v1/env/A", {**VARIABLE, "value": value})
    assert call("get", "A").out == f"{value}\n"
    assert call("env", "get", "A", "-n").out == value
    assert json.loads(call("env", "get", "A", "--json").out)["value"] == value


def test_the_directory_tells_the_project(daemon: FakeDaemon, call: Covey, elsewhere: Path):
    (elsewhere / ".covey.toml").write_text('project = "shop"\nenvironment = "dev"\n')
    daemon.on("GET", "/api/v1/env/A?project=shop&environment=dev", {**VARIABLE, "value": "dev"})
    daemon.on("GET", "/api/v1/env/A?project=shop&environment=prod", {**VARIABLE, "value": "prod"})
    daemon.on("GET", "/api/v1/env/A?project=other", {**VARIABLE, "value": "other"})
    daemon.on("GET", "/api/v1/env/A", {**VARIABLE, "value": "fleet"})
    daemon.on("GET", "/api/v1/env/A?scope=project%3Ashop", {**VARIABLE, "value": "scope"})
    assert call("get", "A").out == "dev\n"
    assert call("get", "A", "--environment", "prod").out == "prod\n"
    assert call("get", "A", "--project", "shop").out == "dev\n"
    assert call("get", "A", "--project", "other").out == "other\n"
    assert call("get", "A", "--project", "").out == "fleet\n"
    assert call("get", "A", "--scope", "project").out == "scope\n"


def test_a_bare_scope_is_completed(daemon: FakeDaemon, call: Covey, elsewhere: Path):
    (elsewhere / ".covey.toml").write_text('project = "shop"\nenvironment = "dev"\n')
    daemon.on("PUT", "/api/v1/env/A", VARIABLE)
    daemon.on("GET", "/api/v1/node", {"name": "frigg"})
    for word in ("project", "environment", "host"):
        assert call("set", "A=1", "--scope", word).status == 0
    scopes = [body["scope"] for body in daemon.bodies]
    assert scopes == ["project:shop", "environment:shop/dev", "host:frigg"]


def test_a_bare_scope_without_a_project_says_what_is_missing(call: Covey, elsewhere: Path):
    done = call("set", "A=1", "--scope", "project")
    assert done.status == 2
    assert "needs a .covey.toml" in done.err
    (elsewhere / ".covey.toml").write_text('project = "shop"\n')
    assert "names no environment" in call("set", "A=1", "--scope", "environment").err
    (elsewhere / ".covey.toml").write_text("project = shop\n")
    assert "line 1" in call("get", "A").err


def test_a_file_is_imported(daemon: FakeDaemon, call: Covey, elsewhere: Path):
    (elsewhere / "shop.env").write_bytes(b"\xef\xbb\xbfA=1\n")
    result = {"format": "dotenv", "scope": "fleet", "set": ["A"], "unchanged": ["B"], "hosts": []}
    daemon.on("POST", "/api/v1/env:import", result)
    done = call("env", "import", "shop.env", "--format", "dotenv")
    assert done.out == "dotenv into fleet: 1 set (A); 1 unchanged (B).\n"
    assert daemon.bodies == [{"text": "A=1\n", "file_name": "shop.env", "format": "dotenv"}]


def test_standard_input_is_imported(
    daemon: FakeDaemon, call: Covey, monkeypatch: pytest.MonkeyPatch
):
    result = {"format": "json", "scope": "fleet", "set": [], "unchanged": [], "hosts": []}
    daemon.on("POST", "/api/v1/env:import", result)
    send(monkeypatch, b"{}\n")
    assert call("env", "import", "-").out == "json into fleet: nothing found.\n"
    assert daemon.bodies == [{"text": "{}\n", "file_name": ""}]


def test_a_file_that_is_not_there_or_no_text_is_refused(call: Covey, elsewhere: Path):
    assert call("env", "import", "none.env").status == 3
    (elsewhere / "x").write_bytes(b"\xff")
    assert "not UTF-8" in call("env", "import", "x").err
    assert "Is a directory" in call("env", "import", ".").err


def test_a_scan_fails_on_findings(daemon: FakeDaemon, call: Covey, elsewhere: Path):
    finding = {"file": "/x/a", "line": 3, "column": 5, "name": "A", "scope": "fleet"}
    report = {"findings": [{**finding, "encoding": "base64"}], "files": 2, "skipped": ["/x/b"]}
    daemon.on("POST", "/api/v1/env:scan", report)
    daemon.on("POST", "/api/v1/env:scan", {"findings": [], "files": 1, "skipped": []})
    done = call("env", "scan", "sub", "/etc/hosts")
    assert done.status == 1
    assert done.out == "/x/a:3:5: the value of A (fleet, base64)\n"
    assert done.err == "Passed over: /x/b\nwarning: 1 secret in 2 files.\n"
    assert daemon.bodies == [{"paths": [f"{elsewhere}/sub", "/etc/hosts"]}]
    done = call("env", "scan")
    assert (done.status, done.err) == (0, "No secret of the fleet in 1 file.\n")
    assert daemon.bodies[1] == {"paths": [str(elsewhere)]}


def test_a_staged_scan_uses_the_index_of_the_commit(
    daemon: FakeDaemon, call: Covey, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
):
    daemon.on("POST", "/api/v1/env:scan", {"findings": [], "files": 1, "skipped": []})
    monkeypatch.setenv("GIT_INDEX_FILE", ".git/next-index")
    assert call("env", "scan", "--staged").status == 0
    assert daemon.bodies == [
        {"paths": [str(elsewhere)], "staged": True, "index_file": f"{elsewhere}/.git/next-index"}
    ]


def test_an_export_is_printed_exactly(daemon: FakeDaemon, call: Covey):
    result = {"format": "sh", "text": "export A='x'\n", "names": ["A"]}
    daemon.on("GET", "/api/v1/env:export?format=bash", result)
    done = call("env", "export", "--format", "bash")
    assert (done.out, done.err) == ("export A='x'\n", "")


def values(daemon: FakeDaemon, *several: dict[str, str]) -> None:
    for one in several:
        daemon.on(
            "GET",
            "/api/v1/env:values",
            {"values": one, "secret": [name for name in one if name != "PLAIN"], "problems": []},
        )


def start(daemon: FakeDaemon, *words: str, **more: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "covey", *words],
        env={**os.environ, "COVEY_HOME": str(daemon.home)},
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **more},  # type: ignore[call-overload]
    )


@pytest.mark.parametrize("redact", [[], ["--redact"]])
def test_a_program_runs_with_the_variables_and_gives_its_status(
    daemon: FakeDaemon, redact: list[str]
):
    values(daemon, {"PLAIN": "a b", "COVEY_TEST_EMPTY": ""})
    script = 'cat; echo "$PLAIN|${COVEY_TEST_EMPTY-unset}|$HOME" "$@"; echo oops >&2; exit 7'
    words = ["env", "run", *redact, "--", "sh", "-c", script, "sh", "--json", "-x"]
    with start(daemon, *words, stdin=subprocess.PIPE) as process:
        out, err = process.communicate(b"input\n", timeout=30)
    home = os.environ["HOME"]
    assert out.decode() == f"input\na b||{home} --json -x\n"
    assert (err, process.returncode) == (b"oops\n", 7)


@pytest.mark.parametrize("redact", [[], ["--redact"]])
def test_a_signal_that_ends_the_program_ends_covey(daemon: FakeDaemon, redact: list[str]):
    values(daemon, {})
    with start(daemon, "run", *redact, "--", "sh", "-c", "kill -TERM $$") as process:
        process.communicate(timeout=30)
    assert process.returncode == -signal.SIGTERM


@pytest.mark.parametrize("redact", [[], ["--redact"]])
def test_a_signal_is_passed_on(daemon: FakeDaemon, redact: list[str]):
    values(daemon, {})
    script = "trap 'echo got it; exit 3' TERM; echo ready; while :; do sleep 0.05; done"
    with start(daemon, "run", *redact, "--", "sh", "-c", script) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.terminate()
        out, _ = process.communicate(timeout=30)
    assert (out, process.returncode) == (b"got it\n", 3)


def test_secrets_are_masked_also_when_they_come_in_pieces(daemon: FakeDaemon):
    values(daemon, {"TOKEN": "s3cr3t-t0ken", "PLAIN": "public"})
    script = (
        "printf 'a s3cr3'; sleep 0.1; printf 't-t0ken b\\n'; "
        'echo "$TOKEN" >&2; echo "$PLAIN"; printf s3c'
    )
    with start(daemon, "run", "--redact", "--", "sh", "-c", script) as process:
        out, err = process.communicate(timeout=30)
    assert re.fullmatch(rb"a \*+ b\npublic\ns3c", out)
    assert re.fullmatch(rb"\*+\n", err)


def test_python_does_not_leave_its_signal_settings_to_the_program(daemon: FakeDaemon):
    values(daemon, {})
    for redact in ([], ["--redact"]):
        words = ["run", *redact, "--", "grep", "SigIgn", "/proc/self/status"]
        with start(daemon, *words) as process:
            out, _ = process.communicate(timeout=30)
        ignored = int(out.split()[1], 16)
        assert not ignored & (1 << signal.SIGPIPE - 1 | 1 << signal.SIGXFSZ - 1)


@pytest.mark.parametrize("options", [[], ["--redact"], ["--watch"]])
def test_a_program_that_cannot_be_started(daemon: FakeDaemon, options: list[str], tmp_path: Path):
    values(daemon, {})
    daemon.on("GET", "/api/v1/env:watch", events=[])
    (tmp_path / "plain").touch(0o600)
    for program, status in (("no-such-program", 127), (str(tmp_path / "plain"), 126)):
        with start(daemon, "run", *options, "--", program) as process:
            _, err = process.communicate(timeout=30)
        assert process.returncode == status
        assert err.startswith(b"error: ")
        assert b"Traceback" not in err


def test_a_problem_is_told_before_the_program_starts(daemon: FakeDaemon):
    problem = {"name": "BAD", "reason": "a cycle"}
    daemon.on(
        "GET",
        "/api/v1/env:values?partial=true",
        {"values": {}, "secret": [], "problems": [problem]},
    )
    with start(daemon, "run", "--partial", "true") as process:
        _, err = process.communicate(timeout=30)
    assert err == b"warning: BAD is left out: a cycle\n"
    assert process.returncode == 0


def test_a_masked_program_still_has_a_terminal(daemon: FakeDaemon):
    values(daemon, {"TOKEN": "s3cr3t-t0ken"})
    words = [sys.executable, "-m", "covey", "run", "--redact", "--", "sh", "-c"]
    script = 'test -t 0 && test -t 1 && test -t 2 && stty size <&1; read x; echo "$x s3cr3t-t0ken"'
    environ = {**os.environ, "COVEY_HOME": str(daemon.home)}
    with keyboard([*words, script], environ) as keys:
        keys.wait_for("24 80\n")
        keys.type("typed\n")
        shown = keys.wait_for("typed ********")
    assert "s3cr3t" not in shown


def test_a_change_starts_the_program_anew(daemon: FakeDaemon):
    values(daemon, {"MODE": "first"}, {"MODE": "first"}, {"MODE": "second"})
    daemon.on("GET", "/api/v1/env:watch", events=[{"names": []}])
    script = (
        'echo "$MODE"; trap "echo stopped; exit 0" TERM; '
        'test "$MODE" = second && exit 5; while :; do sleep 0.05; done'
    )
    with start(daemon, "run", "--watch", "--", "sh", "-c", script) as process:
        out, err = process.communicate(timeout=60)
    assert out == b"first\nstopped\nsecond\n"
    assert b"MODE changed; starting sh anew." in err
    assert process.returncode == 5


def test_a_watched_program_has_the_terminal_and_takes_ctrl_c(daemon: FakeDaemon):
    values(daemon, {"TOKEN": "s3cr3t-t0ken"})
    daemon.on("GET", "/api/v1/env:watch", events=[{"names": []}])
    words = [sys.executable, "-m", "covey", "run", "--watch", "--redact", "--", "sh", "-c"]
    script = 'trap "echo caught; exit 0" INT; read x; echo "$x $TOKEN"; read y'
    environ = {**os.environ, "COVEY_HOME": str(daemon.home)}
    with keyboard([*words, script], environ) as keys:
        keys.type("typed\n")
        keys.wait_for("typed ********")
        keys.type("\x03")
        keys.wait_for("caught")
