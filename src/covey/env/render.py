"""Variables as each shell's own text: the files that hooks source, and what `eval` takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from covey.shellkit.assignable import assignable
from covey.shellkit.layout import INCOMPLETE, SHELLS
from covey.shellkit.quoting import quote_fish, quote_posix, quote_powershell

_QUOTES: Mapping[str, Callable[[str], str]] = {
    "bash": quote_posix,
    "zsh": quote_posix,
    "sh": quote_posix,
    "fish": quote_fish,
    "powershell": quote_powershell,
}


def render_for_hook(shell: str, values: Mapping[str, str]) -> bytes:
    """Return the file that the hook of `shell` sources: one call of `__covey_set` a variable.

    `sh` has no hook: its file is the text for `eval`. Names that belong to the shell are left out.
    """
    if shell == "sh":
        return render_for_eval(shell, values)
    quote = _QUOTES[shell]
    return "".join(
        f"__covey_set {name} {quote(values[name])}\n"
        for name in sorted(values)
        if assignable(shell, name)
    ).encode()


def render_for_eval(shell: str, values: Mapping[str, str]) -> bytes:
    """Return text that sets and exports the variables when `shell` evaluates it."""
    quote = _QUOTES[shell]
    match shell:
        case "fish":
            line = "set -gx {} {}\n"
        case "powershell":
            line = "[Environment]::SetEnvironmentVariable('{}', {})\n"
        case _:
            line = "export {}={}\n"
    return "".join(
        line.format(name, quote(values[name])) for name in sorted(values) if assignable(shell, name)
    ).encode()


def render_all(values: Mapping[str, str], *, complete: bool = True) -> dict[str, bytes]:
    """Return the hook's file for every shell; `complete` if no variable lacks its value."""
    files = {shell: render_for_hook(shell, values) for shell in SHELLS}
    if not complete:
        files["sh"] = INCOMPLETE + files["sh"]
    return files
