"""The text that `covey shell-init` prints: a hook for a shell's rc file."""

from __future__ import annotations

import os

from covey.shellkit.quoting import quote_fish, quote_posix, quote_powershell

HOOKS = ("bash", "zsh", "fish", "powershell", "direnv")
_FILES = {
    "bash": ("posix.sh", "bash.sh"),
    "zsh": ("posix.sh", "zsh.zsh"),
    "fish": ("fish.fish",),
    "powershell": ("powershell.ps1",),
    "direnv": ("direnv.sh",),
}
_RC_LINES = {
    "bash": (
        "mkdir -p ~/.config/covey",
        "covey shell-init bash > ~/.config/covey/hook.bash",
        "and in ~/.bashrc, as its last line: . ~/.config/covey/hook.bash",
    ),
    "zsh": (
        "mkdir -p ~/.config/covey",
        "covey shell-init zsh > ~/.config/covey/hook.zsh",
        "and in ~/.zshrc, as its last line: . ~/.config/covey/hook.zsh",
    ),
    "fish": ("covey shell-init fish > ~/.config/fish/conf.d/covey.fish",),
    "powershell": ("covey shell-init powershell >> $PROFILE",),
    "direnv": (
        "mkdir -p ~/.config/direnv/lib",
        "covey shell-init direnv > ~/.config/direnv/lib/covey.sh",
    ),
}


def hook_text(shell: str, rendered_dir: str) -> str:
    """Return the hook of one of `HOOKS`, reading the variables rendered in `rendered_dir`."""
    lines = (f"Covey's hook for {shell}. Install it so:", *_RC_LINES[shell])
    head = "".join(f"# {line}\n" for line in lines)
    match shell:
        case "fish":
            place = f"set -g __covey_dir {quote_fish(rendered_dir)}\n"
        case "powershell":
            place = f"$global:__covey_dir = {quote_powershell(rendered_dir)}\n"
        case _:
            place = f"__covey_dir={quote_posix(rendered_dir)}\n"
    return head + place + "".join(_read(name) for name in _FILES[shell])


def _read(name: str) -> str:
    path = os.path.join(os.path.dirname(__file__), "hooks", name)
    with open(path, encoding="utf-8") as file:
        return file.read()
