"""Quoting, proven by the real shells; PowerShell by a strict reader of its documented grammar."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from covey.shellkit.quoting import quote_fish, quote_posix, quote_powershell

NASTY = [
    "\n",
    "'",
    '"',
    "$",
    "`",
    "!",
    "\\",
    "\r",
    "\t",
    " ",
    "*",
    "~",
    "#",
    "(",
    "{",
    "é",
    "\u2019",
]
TEXT = st.one_of(
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=60),
    st.lists(st.sampled_from([*NASTY, "a", "$(id)", "!!", "''", "'\\''", "\\'"])).map("".join),
)
BATCH = st.lists(TEXT, min_size=40, max_size=40)
LARGE = ("é'\n$`\\!" * 8192)[: 64 * 1024 // 2]

SHELLS: dict[str, tuple[list[str], Callable[[str], str]]] = {
    "bash": (["bash", "--norc", "--noprofile"], quote_posix),
    "bash-histexpand": (["bash", "--norc", "--noprofile", "-H"], quote_posix),
    "dash": (["dash"], quote_posix),
    "zsh": (["zsh", "-f"], quote_posix),
    "zsh-rcquotes": (["zsh", "-f", "-o", "rcquotes", "-o", "extendedglob"], quote_posix),
    "fish": (["fish", "--no-config"], quote_fish),
}


def _through(shell: str, values: list[str]) -> list[str]:
    """Have a real shell print each quoted value, NUL after each."""
    command, quote = SHELLS[shell]
    script = "".join(f"printf '%s\\0' {quote(value)}\n" for value in values)
    done = subprocess.run(
        command, input=script.encode(), capture_output=True, check=True, timeout=60
    )
    assert done.stderr == b""
    return [part.decode() for part in done.stdout.split(b"\0")[:-1]]


@pytest.mark.parametrize("shell", SHELLS)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(values=BATCH)
def test_every_value_comes_back(shell: str, values: list[str]) -> None:
    assert _through(shell, values) == values


@pytest.mark.parametrize("shell", SHELLS)
def test_large_and_awkward_values_come_back(shell: str) -> None:
    values = ["", LARGE, "a" * 65536, "\n\n", "trailing\n", "'", "''", "-n", "--", "\\", "\\\\'"]
    assert _through(shell, values) == values


def _read_powershell(literal: str) -> str:
    """Read a verbatim-string-literal (PowerShell language specification, 2.3.5.2.2)."""
    quotes = "'\u2018\u2019\u201a\u201b"
    assert literal[0] in quotes
    text, at = [], 1
    while literal[at] not in quotes or (at + 1 < len(literal) and literal[at + 1] in quotes):
        at += literal[at] in quotes
        text.append(literal[at])
        at += 1
    assert at == len(literal) - 1, "the literal ends before its last character"
    return "".join(text)


@given(TEXT)
def test_powershell_reads_every_value_back(value: str) -> None:
    assert _read_powershell(quote_powershell(value)) == value


def test_powershell_doubles_typographic_quotes_too() -> None:
    assert quote_powershell("it\u2019s") == "'it\u2019\u2019s'"
    assert _read_powershell(quote_powershell(LARGE)) == LARGE
