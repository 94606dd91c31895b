"""Commands on other machines: real daemons, real terminals, real signals, a real sshd."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.surfaces.cli.keyboard import keyboard
from tests.system.harness import COVEY, Fleet, Node, eventually, new_fleet
from tests.system.sshd import ssh_server

SCREEN = """
import curses
def main(screen):
    screen.timeout(100)  # curses misses a signal that comes just before it begins to wait
    while True:
        screen.erase()
        rows, columns = screen.getmaxyx()
        screen.addstr(0, 0, f"{columns} by {rows}")
        screen.refresh()
        if screen.getch() == ord("q"):
            return
curses.wrapper(main)
"""


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[Node, Node]]:
    """Two nodes that stay up; frigg is called from freya."""
    with new_fleet() as fleet:
        freya = fleet.founder("freya")
        frigg = fleet.member(freya, "frigg")
        eventually(lambda: reaches(freya, "frigg"))
        yield freya, frigg


@pytest.fixture
def freya(pair: tuple[Node, Node]) -> Node:
    return pair[0]


def reaches(node: Node, host: str) -> bool:
    return node.run("exec", "-H", host, "--", "true", expect=None).returncode == 0


def covey(
    node: Node, *words: str, stdin: bytes = b"", path: str | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run a command with bytes as its input and output."""
    environment = node.environment | ({} if path is None else {"PATH": path})
    return subprocess.run(
        [COVEY, *words], input=stdin, env=environment, capture_output=True, timeout=60, check=False
    )


def running(marker: str) -> list[str]:
    """Return the processes that sleep for a time that marks them."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if words[:2] == [b"sleep", marker.encode()]:
            found.append(process.name)
    return found


def marker() -> str:
    """Return a number of seconds to sleep that no other process has."""
    return f"7{int.from_bytes(os.urandom(4), 'big')}"


def test_output_status_and_arguments_are_the_programs_own(freya: Node) -> None:
    line = 'printf "%s|" "$@"; echo oops >&2; exit 7'
    done = covey(freya, "exec", "-H", "frigg", "--", "sh", "-c", line, "-", "a b", "$HOME", "", "*")
    assert (done.returncode, done.stdout, done.stderr) == (7, b"a b|$HOME||*|", b"oops\n")
    shown = covey(freya, "exec", "-H", "frigg", "--shell", "echo $((6 * 7)) | cat")
    assert (shown.returncode, shown.stdout) == (0, b"42\n")


def test_twenty_megabytes_pass_through_unchanged(freya: Node) -> None:
    data = os.urandom(20_000_000)
    assert covey(freya, "exec", "-H", "frigg", "--", "cat", stdin=data).stdout == data


def test_a_signal_becomes_the_status_that_shells_give_it(freya: Node) -> None:
    done = covey(freya, "exec", "-H", "frigg", "--", "sh", "-c", "kill -KILL $$")
    assert done.returncode == 128 + signal.SIGKILL
    assert b"SIGKILL" in done.stderr
    late = covey(freya, "exec", "-H", "frigg", "--timeout", "0.2", "--", "sleep", "60")
    assert late.returncode == 124
    missing = covey(freya, "exec", "-H", "frigg", "--", "no-such-program")
    assert missing.returncode == 3
    assert b"hint:" in missing.stderr


def test_directory_variables_and_the_fleets_values_apply(freya: Node) -> None:
    freya.run("env", "set", "GREETING=hello")
    words = ["--cwd", "/", "-e", "A=b c", "-e", "GREETING", "--", "sh", "-c"]
    found = covey(freya, "exec", "-H", "frigg", *words, 'echo "$PWD $A $GREETING"')
    eventually(lambda: covey(freya, "exec", "-H", "frigg", *words, "true").returncode == 0)
    found = covey(freya, "exec", "-H", "frigg", *words, 'echo "$PWD $A $GREETING"')
    assert found.stdout == b"/ b c hello\n"


def test_lines_of_several_hosts_are_labelled(freya: Node) -> None:
    line = "echo out; printf unended; echo err >&2"
    done = covey(freya, "exec", "--all", "--", "sh", "-c", line)
    assert done.returncode == 0
    assert sorted(done.stdout.decode().splitlines()) == [
        "freya: out",
        "freya: unended",
        "frigg: out",
        "frigg: unended",
    ]
    assert {"freya: err", "frigg: err"} <= set(done.stderr.decode().splitlines())
    assert re.search(r"^frigg +ok +direct +\d+ ms$", done.stderr.decode(), re.MULTILINE)


def test_input_goes_to_every_host_and_json_tells_all(freya: Node) -> None:
    words = ["exec", "-H", "freya,frigg", "--json", "--"]
    done = covey(freya, *words, "cat", stdin=b"to\xff all")
    found = json.loads(done.stdout)
    assert {item["host"] for item in found} == {"freya", "frigg"}
    assert {item["stdout_base64"] for item in found} == {"dG//IGFsbA=="}
    here = 'test "$(pwd)" = / || exit 9'
    failed = covey(freya, "exec", "-H", "freya,frigg", "--cwd", "/tmp", "--", "sh", "-c", here)
    assert failed.returncode == 9


def test_an_unknown_host_is_named(freya: Node) -> None:
    done = covey(freya, "exec", "-H", "frig", "--", "true")
    assert done.returncode == 3
    assert b"frig" in done.stderr


def test_a_slow_reader_holds_the_program_back(freya: Node) -> None:
    command = [COVEY, "exec", "-H", "frigg", "--", "cat", "/dev/zero"]
    with subprocess.Popen(command, env=freya.environment, stdout=subprocess.PIPE) as reader:
        assert reader.stdout is not None
        assert reader.stdout.read(1 << 20) == bytes(1 << 20)
        reader.stdout.close()
        assert reader.wait(20) == 128 + signal.SIGPIPE


@pytest.mark.parametrize("first", ["trap '' INT; ", ""])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_whoever_leaves_takes_the_whole_tree_along(freya: Node, number: int, first: str) -> None:
    mark = marker()
    line = f"{first}sleep {mark} & setsid sleep {mark} & echo up; wait; sleep {mark}"
    command = [COVEY, "exec", "-H", "frigg", "--", "sh", "-c", line]
    with subprocess.Popen(command, env=freya.environment, stdout=subprocess.PIPE) as client:
        assert client.stdout is not None
        assert client.stdout.readline() == b"up\n"
        assert eventually(lambda: len(running(mark)) == 2)
        client.send_signal(number)
        assert client.wait(20) in {128 + number, -number}
    eventually(lambda: not running(mark))


def test_a_terminal_is_raw_and_follows_its_size(freya: Node) -> None:
    import sys

    words = [COVEY, "exec", "-H", "frigg", "-t", "--", sys.executable, "-c", SCREEN]
    environment = freya.environment | {"TERM": "xterm"}
    with keyboard(words, environment) as typed:
        typed.wait_for("80 by 24")
        typed.resize(30, 100)
        typed.wait_for("100 by 30")
        typed.type("q")
        assert typed.ended() == 0


def test_a_shell_is_a_login_shell_on_a_terminal(freya: Node) -> None:
    with keyboard([COVEY, "shell", "frigg"], freya.environment | {"TERM": "dumb"}) as typed:
        typed.type("tty; PS1='ready> '\n")
        assert "/dev/pts/" in typed.wait_for("\nready> ")
        mark = marker()
        typed.type(f"sleep {mark}\n")
        eventually(lambda: running(mark))
        typed.type("\x03")
        typed.wait_for("\nready> ")
        assert not running(mark)
        typed.type("exit 5\n")
        assert typed.ended() == 5


def test_a_shell_that_hangs_is_left_by_a_tilde_and_a_dot(freya: Node) -> None:
    with keyboard([COVEY, "shell", "frigg"], freya.environment | {"TERM": "dumb"}) as typed:
        typed.type("echo up$((1 + 1))\n")
        typed.wait_for("up2")
        typed.type("\n~.")
        assert typed.ended() == 255


def test_a_detached_command_is_followed_listed_and_ended(freya: Node) -> None:
    line = "echo one; echo two >&2; read word; echo got $word; exit 4"
    words = ["exec", "start", "-H", "frigg", "--keep-input", "--json", "--", "sh", "-c", line]
    identifier = json.loads(covey(freya, *words).stdout)["id"]
    attached = covey(freya, "exec", "attach", "-H", "frigg", identifier, stdin=b"it\n")
    assert (attached.returncode, attached.stdout) == (4, b"one\ngot it\n")
    assert attached.stderr == b"two\n"
    again = covey(freya, "exec", "logs", "-H", "frigg", identifier)
    assert (again.returncode, again.stdout, again.stderr) == (0, b"one\ngot it\n", b"two\n")
    mark = marker()
    printed = covey(freya, "exec", "-H", "frigg", "--detach", "--", "sleep", mark).stdout
    eventually(lambda: running(mark))
    listed = json.loads(covey(freya, "exec", "list", "-H", "frigg", "--json").stdout)
    assert {item["id"] for item in listed} >= {identifier, printed.decode().strip()}
    assert (
        covey(freya, "exec", "kill", "-H", "frigg", "-y", printed.decode().strip()).returncode == 0
    )
    eventually(lambda: not running(mark))


def test_a_recorded_shell_is_played_again(freya: Node) -> None:
    with keyboard([COVEY, "shell", "frigg", "--record"], freya.environment) as typed:
        typed.type("echo a$((1 + 1))b\n")
        typed.wait_for("a2b")
        typed.type("exit\n")
        typed.ended()
    made = freya.json("audit", "recordings", "-H", "frigg")[0]["id"]
    assert "a2b" in freya.out("audit", "play", made, "-H", "frigg")
    cast = freya.out("audit", "play", made, "-H", "frigg", "--cast").splitlines()
    assert json.loads(cast[0])["version"] == 2
    assert any("a2b" in data for _, kind, data in map(json.loads, cast[1:]) if kind == "o")


def test_every_operation_works_on_another_host(freya: Node) -> None:
    assert freya.json("status", "-H", "frigg")["name"] == "frigg"
    found = freya.json("status", "--all")
    assert {item["value"]["name"] for item in found} == {"freya", "frigg"}
    assert freya.run("env", "list", "-H", "frigg").returncode == 0


@pytest.mark.parametrize("victim", ["freya", "frigg"])
def test_a_killed_daemon_leaves_no_process_and_no_hang(fleet: Fleet, victim: str) -> None:
    freya = fleet.founder("freya")
    frigg = fleet.member(freya, "frigg")
    eventually(lambda: reaches(freya, "frigg"))
    mark = marker()
    line = f"sleep {mark} & echo up; wait"
    with subprocess.Popen(
        [COVEY, "exec", "-H", "frigg", "--", "sh", "-c", line],
        env=freya.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as client:
        assert client.stdout is not None
        assert client.stdout.readline() == b"up\n"
        (freya if victim == "freya" else frigg).kill()
        _, said = client.communicate(timeout=30)
        assert client.returncode == 6
    assert b"error:" in said
    eventually(lambda: not running(mark))


def test_ssh_stands_in_for_an_agent_that_is_away(fleet: Fleet, tmp_path: Path) -> None:
    freya = fleet.founder("freya")
    frigg = fleet.member(freya, "frigg")
    with ssh_server(tmp_path / "sshd") as server:
        freya.run("fleet", "set-field", "frigg", "ssh", server.address)
        assert covey(freya, "exec", "-H", "frigg", "--", "true", path=server.path).stderr == b""
        frigg.stop()
        line = "cat; echo err >&2; exit 9"
        words = ["exec", "-H", "frigg", "--", "sh", "-c", line]
        done = covey(freya, *words, stdin=b"in\xff put", path=server.path)
        assert (done.returncode, done.stdout) == (9, b"in\xff put")
        assert b"Using SSH" in done.stderr
        assert done.stderr.endswith(b"err\n")
        both = covey(freya, "exec", "--all", "-n", "--", "echo", "hi", path=server.path)
        assert sorted(both.stdout.splitlines()) == [b"freya: hi", b"frigg: hi"]
        assert both.returncode == 0
        server.known_hosts.write_text("")
        refused = covey(freya, *words, path=server.path)
        assert refused.returncode == 6
        assert b"Host key verification failed" in refused.stderr
    gone = covey(freya, *words, path=server.path)
    assert gone.returncode == 6
    assert b"hint:" in gone.stderr


def test_without_an_ssh_address_the_way_to_one_is_told(fleet: Fleet) -> None:
    freya = fleet.founder("freya")
    frigg = fleet.member(freya, "frigg")
    frigg.stop()
    done = covey(freya, "exec", "-H", "frigg", "--", "true")
    assert done.returncode == 6
    assert b"covey fleet set-field frigg ssh" in done.stderr


def test_a_viewers_token_may_not_run_anything(freya: Node) -> None:
    made = freya.json("token", "create", "onlooker", "--role", "viewer")
    authority = freya.home / "fleet.pem"
    authority.write_text(freya.out("fleet", "authority"))
    environment = freya.environment | {
        "COVEY_TOKEN": made["token"],
        "COVEY_CA_FILE": str(authority),
        "COVEY_URL": f"https://{freya.address}",
    }
    for host in ([], ["-H", "frigg"]):
        done = subprocess.run(
            [COVEY, "exec", *host, "--", "true"],
            env=environment,
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stdout) == (4, b""), done.stderr
