"""The variables that belong to a shell itself, which the shell would not take from us unharmed.

Assigning to them fails, changes the process (`UID` in zsh changes the user), disables the hook, or
is evaluated as arithmetic, which can run commands (any integer variable of bash and zsh).
"""

from __future__ import annotations

_BASH = """
_ BASHOPTS BASHPID BASH_ALIASES BASH_ARGC BASH_ARGV BASH_CMDS BASH_LINENO BASH_SOURCE BASH_VERSINFO
DIRSTACK EUID FUNCNAME GROUPS HISTCMD OPTIND PIPESTATUS PPID PROMPT_COMMAND RANDOM SHELLOPTS SRANDOM
UID
"""
_ZSH = """
_ ARGC COLUMNS EGID ERRNO EUID FUNCNEST GID HISTCMD HISTSIZE LINENO LINES OPTIND PPID RANDOM
SAVEHIST SECONDS SHLVL TRY_BLOCK_ERROR TRY_BLOCK_INTERRUPT TTYIDLE UID USERNAME ZSH_EVAL_CONTEXT
ZSH_SUBSHELL aliases argv builtins cdpath commands dirstack dis_aliases dis_builtins dis_functions
dis_functions_source dis_galiases dis_patchars dis_reswords dis_saliases fignore fpath funcfiletrace
funcsourcetrace funcstack functions functions_source functrace galiases history historywords jobdirs
jobstates jobtexts keymaps mailpath manpath module_path modules nameddirs options parameters
patchars path pipestatus psvar reswords saliases status termcap terminfo userdirs usergroups watch
widgets zsh_eval_context zsh_scheduled_events precmd_functions chpwd_functions
"""
_FISH = """
_ COLUMNS EUID FISH_VERSION LINES PWD SHLVL argv fish_bind_mode fish_kill_signal fish_killring
fish_pid history hostname last_pid pipestatus status status_generation umask version
"""
_OWN = {
    "bash": frozenset(_BASH.split()),
    "zsh": frozenset(_ZSH.split()),
    "fish": frozenset(_FISH.split()),
    "powershell": frozenset[str](),
}
_OWN["sh"] = _OWN["bash"] | _OWN["zsh"]


_VITAL = """
HOME IFS LD_LIBRARY_PATH LD_PRELOAD LOGNAME PATH PWD SHELL TERM USER XDG_RUNTIME_DIR
"""
VITAL = frozenset(_VITAL.split())
"""Names that shells take from us, and that hardly work on every machine with one value."""


def assignable(shell: str, name: str) -> bool:
    """Whether a variable of this name is the user's to set in `shell`, not the shell's own."""
    return name not in _OWN[shell]
