"""`eval "$(covey env export)"` without the rest of the program."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from covey.engines.rendered_env import RenderedDirectory
from covey.env.render import render_all
from covey.fastpath import run_fast_path

NASTY = "q'\"$HOME `id` $(id) !! \\ é\u2019\n\ttail\r\n\n"
Write = dict[str, dict[str, str]]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COVEY_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("COVEY_URL", raising=False)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path


def _publish(home: Path, places: Write) -> RenderedDirectory:
    directory = RenderedDirectory(str(home / "home" / "run" / "env"))
    directory.publish(
        {
            (shell, place): data
            for place, values in places.items()
            for shell, data in render_all(values).items()
        }
    )
    return directory


@pytest.mark.parametrize("shell", ["bash", "zsh", "dash"])
def test_any_posix_shell_evaluates_it(home: Path, shell: str) -> None:
    values = {"A": NASTY, "BIG": "x'" * 32768, "EMPTY": "", "UID": "0", "path": "x", "PPID": "1"}
    _publish(home, {"@": values})
    program = (
        "from covey.fastpath import run_fast_path as run; raise SystemExit(run(['env', 'export']))"
    )
    script = (
        "eval \"$('" + sys.executable + f'\' -c "{program}")" || exit 9\n'
        'printf \'%s\\0\' "$A" "$BIG" "$EMPTY"'
    )
    done = subprocess.run([shell, "-c", script], capture_output=True, check=True)
    assert done.stderr == b""
    found = [part.decode() for part in done.stdout.split(b"\0")[:-1]]
    assert found == [NASTY, "x'" * 32768, ""]


def test_the_project_of_the_directory_counts(
    home: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    _publish(home, {"@": {"A": "fleet"}, "shop@": {"A": "shop"}, "shop@dev": {"A": "dev"}})
    for text, expected in [
        ('project = "shop"\nenvironment = "dev"\n', b"export A='dev'\n"),
        ('project = "shop"\nenvironment = "none"\n', b"export A='shop'\n"),
        ('project = "none"\n', b"export A='fleet'\n"),
    ]:
        (home / "here" / ".covey.toml").write_text(text)
        for argv in (["env", "export"], ["export"], ["export", "--format", "sh"]):
            assert run_fast_path(argv) == 0
            assert capfdbinary.readouterr().out == expected


def test_everything_else_is_left_to_the_command_line(
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    assert run_fast_path(["env", "export"]) is None
    directory = _publish(home, {"@": {"A": "1"}})
    for argv in (
        [],
        ["env"],
        ["env", "export", "--project", "x"],
        ["export", "-h"],
        ["env", "get"],
    ):
        assert run_fast_path(argv) is None
    (home / "here" / ".covey.toml").write_text('project = "../x"\n')
    assert run_fast_path(["env", "export"]) is None
    (home / "here" / ".covey.toml").unlink()
    monkeypatch.setenv("COVEY_URL", "https://elsewhere")
    assert run_fast_path(["env", "export"]) is None
    monkeypatch.delenv("COVEY_URL")
    directory.lock()
    assert run_fast_path(["env", "export"]) is None
    assert capfdbinary.readouterr() == (b"", b"")


def test_it_imports_next_to_nothing() -> None:
    program = (
        "import sys; before = set(sys.modules); import covey.fastpath;"
        "print(sorted(set(sys.modules) - before))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True, text=True
    )
    assert eval(done.stdout) == [
        "__future__",
        "covey",
        "covey.fastpath",
        "covey.paths",
        "covey.shellkit",
        "covey.shellkit.layout",
        "covey.shellkit.names",
        "covey.shellkit.project",
    ]


def test_what_is_incomplete_is_left_to_who_can_say_so(
    home: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    directory = RenderedDirectory(str(home / "home" / "run" / "env"))
    files = render_all({"A": "1"}, complete=False)
    directory.publish({(shell, "@"): data for shell, data in files.items()})
    assert run_fast_path(["env", "export"]) is None
    assert capfdbinary.readouterr() == (b"", b"")
    assert files["sh"].splitlines()[1:] == render_all({"A": "1"})["sh"].splitlines()
