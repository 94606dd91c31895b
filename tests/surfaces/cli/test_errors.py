"""Every failure has a message, a hint and its exit status, and none a traceback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.surfaces.cli.conftest import Covey
from tests.surfaces.cli.fake_control import FakeControl
from tests.surfaces.cli.fake_daemon import FakeDaemon, fake_daemon, socket_that_hangs_up

NODE = "/api/v1/things/a"


@pytest.mark.parametrize(
    "status, expected",
    [
        (400, 2),
        (401, 4),
        (403, 4),
        (404, 3),
        (409, 5),
        (412, 5),
        (413, 2),
        (423, 4),
        (429, 4),
        (500, 1),
        (502, 6),
        (504, 6),
        (507, 1),
    ],
)
def test_the_exit_status_tells_the_class_of_error(
    daemon: FakeDaemon, covey: Covey, status: int, expected: int
):
    daemon.refuse("GET", NODE, status, "some_code")
    done = covey("thing", "get", "a")
    assert (done.status, done.out) == (expected, "")
    assert done.err == "error: No: some_code.\nhint: Do better.\n"


def test_json_gives_the_envelope_on_standard_error(daemon: FakeDaemon, covey: Covey):
    daemon.refuse("GET", NODE, 404, "not_found")
    for words in (["--json", "thing", "get", "a"], ["thing", "get", "a", "--json"]):
        done = covey(*words)
        assert (done.status, done.out) == (3, "")
        assert json.loads(done.err)["error"] == {
            "code": "not_found",
            "message": "No: not_found.",
            "hint": "Do better.",
            "details": {"a": 1},
        }


def test_usage_errors_are_json_too(covey: Covey):
    done = covey("thing", "gte", "--json")
    assert done.status == 2
    assert json.loads(done.err)["error"]["code"] == "invalid_request"


def test_without_a_daemon_it_says_how_to_start_one(home: Path, covey: Covey):
    done = covey("thing", "get", "a")
    assert done.status == 6
    assert "No Covey daemon is running" in done.err
    assert "covey init" in done.err
    (home / "data").mkdir()
    (home / "data" / "keyring.json").touch()
    done = covey("status")
    assert done.status == 6
    assert "hint: Start it in the background: covey agent start" in done.err


def test_a_socket_that_nobody_listens_on_is_no_daemon(home: Path, covey: Covey):
    with fake_daemon(home):
        pass
    assert (home / "run" / "covey.sock").exists()
    assert covey("status").status == 6


def test_an_answer_that_breaks_off_is_told(home: Path, covey: Covey):
    (home / "run").mkdir()
    thread = socket_that_hangs_up(home / "run" / "covey.sock")
    done = covey("status")
    thread.join()
    assert done.status == 6
    assert "closed the connection before it answered" in done.err


def test_an_answer_that_is_not_coveys_is_told(daemon: FakeDaemon, covey: Covey):
    daemon.on("GET", NODE, raw=b"<html>")
    assert "not a Covey node" in covey("thing", "get", "a").err
    daemon.on("GET", "/api/v1/things/b", raw=b"<html>", status=502)
    done = covey("thing", "get", "b")
    assert done.status == 6
    assert "HTTP status 502" in done.err


@pytest.mark.parametrize(
    "words, hint",
    [
        (["statsu"], "Did you mean `covey status`?"),
        (["thing", "gett"], "Did you mean `covey thing get`?"),
        (["agent", "strat"], "Did you mean `covey agent start`?"),
        (["drop"], "Did you mean `covey thing drop`?"),
        (["qqqqqq"], "See them all: covey --help"),
        (["thing", "get", "a", "--color", "red"], "Did you mean --colour?"),
        (["thing", "get", "a", "--jsno"], "Did you mean --json?"),
        (["thing", "list", "--limt", "3"], "Did you mean --limit?"),
        (["peers", "--stat", "up"], "Did you mean --state?"),
    ],
)
def test_a_typo_gets_a_suggestion(covey: Covey, words: list[str], hint: str):
    done = covey(*words)
    assert done.status == 2
    assert f"hint: {hint}" in done.err


def test_a_defect_shows_no_traceback_and_leaves_a_private_report(
    home: Path, covey: Covey, monkeypatch: pytest.MonkeyPatch
):
    def fail(*_words: object) -> None:
        raise ZeroDivisionError("token covey_0123456789abcdef0123")

    monkeypatch.setattr(FakeControl, "init", fail)
    done = covey("init", "--key-file", "x")
    assert done.status == 1
    assert "Traceback" not in done.err
    report = home / "state" / "log" / "cli-defect.log"
    assert str(report) in done.err
    assert report.stat().st_mode & 0o777 == 0o600
    assert "ZeroDivisionError" in report.read_text()
    assert "0123456789abcdef" not in report.read_text()


def _spawn(home: Path, *words: str, **more: object) -> subprocess.Popen[bytes]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("COVEY_")}
    return subprocess.Popen(
        [sys.executable, "-m", "covey", *words],
        env={**environment, "COVEY_HOME": str(home)},
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **more},  # type: ignore[call-overload]
    )


def test_ctrl_c_ends_with_130_and_no_traceback(home: Path):
    log = home / "state" / "log" / "covey.log"
    log.parent.mkdir(parents=True)
    log.write_text("first\n")
    with _spawn(home, "agent", "logs", "--follow") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"first\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert err.strip() == b""


def test_a_reader_that_goes_away_is_no_error(home: Path):
    log = home / "state" / "log" / "covey.log"
    log.parent.mkdir(parents=True)
    log.write_text("line of the log\n" * 20_000)
    for words in (["agent", "logs", "--lines", "20000"], ["--help"]):
        reader, writer = os.pipe()
        os.close(reader)
        with _spawn(home, *words, stdout=writer) as process:
            os.close(writer)
            _, err = process.communicate(timeout=20)
        assert (process.returncode, err) == (141, b"")


def test_a_full_disk_is_told_without_a_traceback(home: Path):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "covey", "--help"],
            env={**os.environ, "COVEY_HOME": str(home)},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=20,
        )
    assert done.returncode == 1
    assert done.stderr.startswith("error: The output cannot be written")
    assert "Traceback" not in done.stderr
