"""The hooks in real interactive shells on a pseudo-terminal."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from covey.env.render import render_all
from covey.shellkit.hook_text import hook_text
from covey.shellkit.layout import LOCKED
from tests.shellkit.no_fork import forbid_fork
from tests.shellkit.terminal import Terminal

NASTY = "q'\"$HOME `id` $(id) !! \\ é\u2019\n\ttail\r\n\n"
SHELLS = ["bash", "zsh", "fish"]


class Rendered:
    """What the daemon keeps for the hooks, written by hand."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stamp = 0

    def publish(self, places: Mapping[str, Mapping[str, str]]) -> None:
        for place, values in places.items():
            for shell, data in render_all(values).items():
                (self.path / shell).mkdir(parents=True, exist_ok=True)
                (self.path / shell / place).write_bytes(data)
        self._stamp += 1
        self._write(f"stamp{self._stamp}")

    def lock(self) -> None:
        for file in self.path.glob("*/*@*"):
            file.unlink()
        self._write(LOCKED)

    def withdraw(self) -> None:
        (self.path / "stamp").unlink()
        for file in self.path.glob("*/*@*"):
            file.unlink()

    def _write(self, stamp: str) -> None:
        fresh = self.path / "stamp.new"
        fresh.write_text(stamp + "\n")
        fresh.rename(self.path / "stamp")


Open = Callable[..., Terminal]


@pytest.fixture
def rendered(tmp_path: Path) -> Rendered:
    return Rendered(tmp_path / "it's a dir" / "env")


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def open_shell(shell: str, tmp_path: Path, rendered: Rendered) -> Iterator[Open]:
    opened: list[Terminal] = []

    def start(before: str = "", after: str = "", **environ: str) -> Terminal:
        place = tmp_path / f"shell{len(opened)}"
        place.mkdir()
        rc = f"{before}\n{hook_text(shell, str(rendered.path))}\n{after}\n"
        terminal = Terminal(shell, rc, place, environ)
        opened.append(terminal)
        return terminal

    yield start
    for terminal in opened:
        terminal.close()


def _project(path: Path, text: str) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    (path / ".covey.toml").write_text(text)
    return path


def test_a_new_shell_has_the_variables(open_shell: Open, rendered: Rendered) -> None:
    rendered.publish({"@": {"A": NASTY, "EMPTY": "", "lower_1": "x" * 65536}})
    found = open_shell().exported()
    assert found["A"] == NASTY
    assert found["EMPTY"] == ""
    assert found["lower_1"] == "x" * 65536
    assert found["__COVEY_NAMES"].split() == ["A", "EMPTY", "lower_1"] or sorted(
        found["__COVEY_NAMES"].split()
    ) == ["A", "EMPTY", "lower_1"]


def test_an_open_shell_picks_up_each_change(open_shell: Open, rendered: Rendered) -> None:
    rendered.publish({"@": {"A": "1", "B": "b"}})
    terminal = open_shell()
    rendered.publish({"@": {"A": "2", "C": NASTY}})
    found = terminal.exported()
    assert (found["A"], found["C"]) == ("2", NASTY)
    assert "B" not in found
    rendered.publish({"@": {}})
    found = terminal.exported()
    assert not {"A", "B", "C", "__COVEY_NAMES"} & found.keys()


def test_what_the_user_had_comes_back(open_shell: Open, rendered: Rendered) -> None:
    rendered.publish({"@": {"A": "1", "E": ""}})
    terminal = open_shell(A=NASTY, E="kept")
    assert terminal.exported()["A"] == "1"
    rendered.publish({"@": {}})
    found = terminal.exported()
    assert (found["A"], found["E"]) == (NASTY, "kept")
    assert not [name for name in found if name.startswith("__COVEY")]


def test_a_value_changed_by_hand_stays(open_shell: Open, rendered: Rendered) -> None:
    rendered.publish({"@": {"A": "1", "B": "1"}})
    terminal = open_shell()
    terminal.run("export A=mine")
    rendered.publish({"@": {"A": "2", "B": "2"}})
    found = terminal.exported()
    assert (found["A"], found["B"]) == ("mine", "2")
    rendered.publish({"@": {}})
    assert terminal.exported()["A"] == "mine"


def test_projects_follow_the_directory(
    open_shell: Open, rendered: Rendered, tmp_path: Path
) -> None:
    inside = _project(tmp_path / "code" / "sh op", "project='shop' # it\nenvironment = \"dev\"\n")
    (inside / "deep").mkdir()
    other = _project(tmp_path / "code" / "other", 'project = "other"\n')
    staging = _project(tmp_path / "staging", 'environment = "staging"\nproject = "shop"\n[x]\n')
    rendered.publish(
        {"@": {"A": "fleet"}, "shop@": {"A": "shop"}, "shop@dev": {"A": "dev", "D": "d"}}
    )
    terminal = open_shell()
    assert terminal.exported()["A"] == "fleet"
    for directory, expected in [
        (inside / "deep", "dev"),
        (other, "fleet"),
        (inside, "dev"),
        (staging, "shop"),
        (tmp_path, "fleet"),
        (Path("/"), "fleet"),
    ]:
        terminal.run(f"cd '{directory}'")
        found = terminal.exported()
        assert found["A"] == expected, directory
        assert ("D" in found) == (expected == "dev")


def test_a_project_file_made_or_edited_here_counts(
    open_shell: Open, rendered: Rendered, tmp_path: Path
) -> None:
    rendered.publish({"@": {"A": "fleet"}, "shop@": {"A": "shop"}, "web@": {"A": "web"}})
    terminal = open_shell()
    terminal.run(f"cd '{tmp_path}'")
    stamp = (rendered.path / "stamp").stat().st_mtime
    for number, (project, expected) in enumerate([("shop", "shop"), ("web", "web")], 2):
        file = tmp_path / ".covey.toml"
        file.write_text(f'project = "{project}"\n')
        os.utime(file, (stamp + number, stamp + number))
        assert terminal.exported()["A"] == expected


HOSTILE = [
    'project = "$(touch PWNED)"',
    'project = "`touch PWNED`"',
    "project = \"x'; touch PWNED; '\"",
    'project = "a[$(touch PWNED)]"',
    'project = "../../secret"',
    'project = "/etc/passwd"',
    'project = "shop@dev"',
    'project = ".."',
    'project = "-x"',
    'project = "*"',
    'project = "shop" ; touch PWNED',
    'project = "shop"\nproject = "shop"',
    'project = "sho\u00fc"',
    "project = $(touch PWNED)",
    '$(touch PWNED) = "x"\nproject="`touch PWNED`"',
    'environment = "dev"',
    'project = "shop"\nenvironment = "../x"',
    'project = "' + "a" * 100_000,
    '\0\x1b]0;title\x07\nproject = "\x1b[31m"',
    "[" * 9000 + '\nproject = "shop"',
    "x" * 3_000_000,
]


def test_a_hostile_project_file_does_nothing(
    open_shell: Open, rendered: Rendered, tmp_path: Path
) -> None:
    rendered.publish({"@": {"A": "fleet"}, "shop@": {"A": "shop"}})
    outside = tmp_path / "it's a dir"
    (outside / "secret@").write_text("__covey_set A stolen\n: > PWNED\n")
    terminal = open_shell()
    for number, text in enumerate(HOSTILE):
        directory = _project(tmp_path / f"h{number}", text)
        terminal.run(f"cd '{directory}'")
        assert terminal.exported()["A"] == "fleet", text[:60]
        assert [path.name for path in directory.iterdir()] == [".covey.toml"], text[:60]
    assert not list(tmp_path.rglob("PWNED"))
    assert b"\x1b]0;title" not in terminal.output


def test_a_fifo_is_no_project_file(open_shell: Open, rendered: Rendered, tmp_path: Path) -> None:
    rendered.publish({"@": {"A": "fleet"}})
    (tmp_path / "f").mkdir()
    os.mkfifo(tmp_path / "f" / ".covey.toml")
    terminal = open_shell()
    terminal.run(f"cd '{tmp_path}/f'")
    assert terminal.exported()["A"] == "fleet"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_another_users_files_are_ignored(
    open_shell: Open, rendered: Rendered, tmp_path: Path
) -> None:
    rendered.publish({"@": {"A": "fleet"}, "shop@": {"A": "shop"}})
    directory = _project(tmp_path / "theirs", 'project = "shop"\n')
    os.chown(directory / ".covey.toml", 12345, 12345)
    terminal = open_shell()
    terminal.run(f"cd '{directory}'")
    assert terminal.exported()["A"] == "fleet"
    assert b"belongs to another user" in terminal.output
    os.chown(rendered.path, 12345, 12345)
    rendered.publish({"@": {"A": "stolen"}})
    assert terminal.exported()["A"] == "fleet"


def test_lock_takes_the_variables_and_unlock_brings_them(
    open_shell: Open, rendered: Rendered
) -> None:
    rendered.publish({"@": {"A": "1"}})
    terminal = open_shell(A="mine")
    rendered.lock()
    assert terminal.exported()["A"] == "mine"
    rendered.publish({"@": {"A": "1"}})
    assert terminal.exported()["A"] == "1"


def test_a_stopped_daemon_leaves_open_shells_alone(open_shell: Open, rendered: Rendered) -> None:
    rendered.publish({"@": {"A": "1"}})
    terminal = open_shell()
    rendered.withdraw()
    assert terminal.exported()["A"] == "1"
    assert "A" not in open_shell().exported()


def test_a_shell_inside_a_shell_knows_what_was_set(
    shell: str, open_shell: Open, rendered: Rendered
) -> None:
    rendered.publish({"@": {"A": "1", "B": "1"}})
    outer = open_shell(A="mine").exported()
    inherited = {name: outer[name] for name in outer if name in {"A", "B"} or "COVEY" in name}
    inner = open_shell(**inherited)
    rendered.publish({"@": {}})
    found = inner.exported()
    assert found["A"] == "mine"
    assert "B" not in found


def test_status_and_the_users_own_hooks_survive(
    shell: str, open_shell: Open, rendered: Rendered, tmp_path: Path
) -> None:
    log = tmp_path / "statuses"
    own = {
        "bash": f'PROMPT_COMMAND=\'printf "%s " "$?" >> {log}\'',
        "zsh": f'own() {{ printf "%s " "$?" >> {log} }}; precmd_functions+=(own)',
        "fish": f'function own --on-event fish_prompt; printf "%s " $status >> {log}; end',
    }
    status = {"bash": "$?", "zsh": "$?", "fish": "$status"}
    rendered.publish({"@": {"A": "1"}})
    terminal = open_shell(before=own[shell])
    terminal.run("true")
    terminal._type("false\n")
    assert terminal.shown(status[shell]) == "1"
    assert " 1 " in log.read_text()


def test_strict_rc_files_keep_working(shell: str, open_shell: Open, rendered: Rendered) -> None:
    rendered.publish({"@": {"A": "1"}})
    strict = {
        "bash": "set -eu; set -f -C; IFS=x; shopt -s nullglob nocasematch extglob",
        "zsh": "setopt nounset errexit noclobber ksh_arrays sh_word_split noglob",
        "fish": "",
    }
    terminal = open_shell(before=strict[shell], B="b")
    assert terminal.exported()["A"] == "1"
    rendered.publish({"@": {"B": "2", "C": "3"}})
    found = terminal.exported()
    assert (found["B"], found["C"]) == ("2", "3")
    assert "A" not in found
    rendered.publish({"@": {}})
    assert terminal.exported()["B"] == "b"


def test_loading_twice_is_as_loading_once(shell: str, open_shell: Open, rendered: Rendered) -> None:
    rendered.publish({"@": {"A": "1"}})
    terminal = open_shell(after=hook_text(shell, str(rendered.path)), A="mine")
    assert terminal.exported()["A"] == "1"
    rendered.publish({"@": {}})
    assert terminal.exported()["A"] == "mine"


def test_loading_succeeds(shell: str, rendered: Rendered) -> None:
    rendered.publish({"@": {"A": "1"}})
    arguments = {"bash": ["--norc"], "zsh": ["-f"], "fish": ["--no-config"]}[shell]
    done = subprocess.run(
        [shell, *arguments, "-c", hook_text(shell, str(rendered.path))],
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_read_only_and_typed_variables_are_left_alone(
    shell: str, open_shell: Open, rendered: Rendered, tmp_path: Path
) -> None:
    own = {
        "bash": "readonly RO=mine; declare -i NUM=1",
        "zsh": "readonly RO=mine; typeset -i NUM=1",
        "fish": "",
    }
    values = {"RO": "x", "NUM": f"a[$(touch {tmp_path}/PWNED)]", "UID": "0", "PPID": "1", "Z": "z"}
    rendered.publish({"@": values})
    terminal = open_shell(before=own[shell])
    found = terminal.exported()
    assert found["Z"] == "z"
    if shell != "fish":
        assert terminal.shown("$RO$NUM") == "mine1"
    assert not (tmp_path / "PWNED").exists()
    assert b"read-only" not in terminal.output
    assert b"readonly variable" not in terminal.output


def test_the_hook_starts_no_process(shell: str, rendered: Rendered, tmp_path: Path) -> None:
    rendered.publish({"@": {"A": "fleet"}, "shop@dev": {"A": NASTY}})
    inside = _project(tmp_path / "shop", 'project = "shop"\nenvironment = "dev"\n')
    (inside / "deep").mkdir()
    hook = tmp_path / "hook"
    hook.write_text(hook_text(shell, str(rendered.path)))
    call = "emit fish_prompt" if shell == "fish" else "__covey_prompt"
    out = tmp_path / "out"
    script = (
        f". '{hook}'\n{call}\ncd '{inside}/deep'\n{call}\n{call}\n"
        f"printf '%s' \"$A\" > '{out}'\n"
        f"printf 'locked\\n' > \"{rendered.path}/stamp\"\n{call}\n"
        f"printf '%s' \"$A\" > '{out}2'\n"
    )
    command = {
        "bash": ["bash", "--norc", "--noprofile"],
        "zsh": ["zsh", "-f"],
        "fish": ["fish", "--no-config"],
    }[shell]
    (tmp_path / "script").write_text(script)
    done = subprocess.run(
        [sys.executable, "-c", forbid_fork(), *command, str(tmp_path / "script")],
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "LANG": "C.UTF-8"},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == b""
    assert out.read_bytes().decode() == NASTY
    assert (tmp_path / "out2").read_text() == ""


def test_the_guard_against_processes_works(shell: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", forbid_fork(), shell, "-c", "/bin/ls /; echo went-on"],
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert b"usr" not in done.stdout
