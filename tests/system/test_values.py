"""A value with every nasty character survives all the ways that lead in and out."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.harness import COVEY, Fleet, Node, eventually, new_fleet

NASTY = (
    "line one\nline two\r\n\ttab 'single' \"double\" `back` $HOME ${HOME} $(id) \\n \\ !! %PATH% "
    "#no comment ; & | < > * ? [a] {b} ~ = ,: ünïcödé 日本語 🦊 \x01\x1b[31m\x7f  trailing  \n\n"
)
SHELLS = {
    "bash": ["bash", "--norc", "-c"],
    "zsh": ["zsh", "-f", "-c"],
    "fish": ["fish", "--no-config", "-c"],
    "dash": ["dash", "-c"],
}
EVAL = {
    "bash": 'eval "$({covey} env export --format bash)"; printf %s "$NASTY"',
    "zsh": 'eval "$({covey} env export --format zsh)"; printf %s "$NASTY"',
    "fish": "{covey} env export --format fish | source; printf %s $NASTY",
    "dash": 'eval "$({covey} env export --format sh)"; printf %s "$NASTY"',
}


def covey(node: Node, *arguments: str, stdin: str = "") -> bytes:
    """Run a command with bytes in and out, so that no line end is translated."""
    return subprocess.run(
        [COVEY, *arguments],
        input=stdin.encode(),
        env=node.environment,
        capture_output=True,
        check=True,
        timeout=60,
    ).stdout


@pytest.fixture(scope="module")
def two_nodes() -> Iterator[Fleet]:
    """Two nodes that share the nasty value, set on the first from standard input."""
    with new_fleet() as fleet:
        freya = fleet.founder("freya")
        frigg = fleet.member(freya, "frigg")
        covey(freya, "env", "set", "NASTY", "--stdin", stdin=f"{NASTY}\n")
        eventually(lambda: frigg.run("env", "get", "NASTY", expect=None).returncode == 0)
        yield fleet


@pytest.mark.parametrize("shell", sorted(SHELLS))
def test_each_shell_reads_it_on_the_other_machine(two_nodes: Fleet, shell: str) -> None:
    frigg = two_nodes.nodes[1]
    done = subprocess.run(
        [*SHELLS[shell], EVAL[shell].format(covey=COVEY)],
        env=frigg.environment,
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.decode() == NASTY
    assert done.stderr == b""


def test_a_program_gets_it(two_nodes: Fleet) -> None:
    frigg = two_nodes.nodes[1]
    assert covey(frigg, "env", "run", "--", "printenv", "-0", "NASTY") == f"{NASTY}\0".encode()


@pytest.mark.parametrize("format_name", ["dotenv", "json", "yaml", "toml", "kubernetes"])
def test_it_is_exported_and_imported_again(
    two_nodes: Fleet, format_name: str, tmp_path: Path
) -> None:
    freya, frigg = two_nodes.nodes
    file = tmp_path / "variables"
    file.write_bytes(covey(frigg, "env", "export", "--format", format_name))
    scope = f"project:{format_name}"
    freya.run("env", "import", str(file), "--format", format_name, "--scope", scope)
    values = json.loads(freya.out("env", "values", "--project", format_name, "--json"))
    assert values["values"]["NASTY"] == NASTY


@pytest.mark.parametrize("format_name", ["docker", "systemd"])
def test_a_format_that_cannot_hold_it_says_so(two_nodes: Fleet, format_name: str) -> None:
    done = two_nodes.nodes[0].run("env", "export", "--format", format_name, expect=2)
    assert "NASTY" in done.stderr
    assert done.stdout == ""
