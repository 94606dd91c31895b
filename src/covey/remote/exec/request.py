"""From what a caller asks for to a command that is ready to start."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath

from covey.errors import InvalidRequestError, RefusedError
from covey.operations.access import Caller
from covey.remote.exec.ports import Account, Accounts, Launch, Size, Variables

MAX_TIMEOUT_S = 30 * 86_400

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PASSED_ON = ("LANG", "LANGUAGE", "TZ")
_OF_THE_SESSION = ("PATH", "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS")
_TERMINAL = "xterm-256color"


@dataclass(frozen=True, slots=True)
class ExecRequest:
    """A command as it is asked for.

    With `shell` the words make one shell line; without words, that is the user's login shell.
    `env` holds `NAME=VALUE`, or `NAME` for the fleet's variable. `timeout_s` is in seconds.
    """

    argv: tuple[str, ...]
    shell: bool = False
    cwd: str | None = None
    user: str | None = None
    env: tuple[str, ...] = field(default=(), repr=False)
    size: Size | None = None
    term: str | None = None
    timeout_s: float | None = None
    record: bool = False

    @property
    def title(self) -> str:
        """The command as one line, for lists and recordings."""
        if self.shell:
            return " ".join(self.argv) or "login shell"
        return shlex.join(self.argv)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A command that is ready to start; `secrets` are values that its recording must not show."""

    request: ExecRequest
    launch: Launch
    secrets: Sequence[str] = field(repr=False)


class Preparation:
    """Makes commands ready to start, by what the machine and its policy allow."""

    def __init__(
        self, accounts: Accounts, variables: Variables, environ: Mapping[str, str] = os.environ
    ) -> None:
        self._accounts = accounts
        self._variables = variables
        self._environ = dict(environ)

    async def prepare(self, request: ExecRequest, caller: Caller) -> Prepared:
        """Return the command; raises `InvalidRequestError`, `RefusedError`, `NotFoundError`."""
        own = self._accounts.own()
        account = self._account(own, request.user, caller)
        words, arg0 = _words(request, account)
        given, secrets = await self._given(request.env)
        environment = self._environment(own, account, request) | given
        for text in (*words, request.cwd or "", *environment.values()):
            if "\0" in text:
                raise InvalidRequestError(
                    "A command, its directory and its environment cannot contain NUL characters.",
                    hint="Pass such bytes on its standard input.",
                )
        launch = Launch(
            argv=words,
            arg0=arg0,
            environment=environment,
            cwd=request.cwd or account.home,
            account=account,
            switch=account.uid != own.uid,
            size=request.size,
        )
        return Prepared(request, launch, secrets)

    def _account(self, own: Account, user: str | None, caller: Caller) -> Account:
        bound = caller.as_user
        if bound is not None and user is not None and user != bound:
            raise RefusedError(
                f"This node's policy runs the commands of {caller.label} as {bound} only.",
                hint="Leave out --user.",
            )
        wanted = user or bound
        if wanted is None or wanted == own.name:
            return own
        found = self._accounts.find(wanted)
        if found.uid != own.uid and not self._accounts.may_switch():
            raise RefusedError(
                f"This node runs as {own.name} and cannot run commands as {found.name}.",
                hint="Run its daemon as root, or use sudo in the command.",
            )
        return found

    async def _given(self, env: Sequence[str]) -> tuple[dict[str, str], list[str]]:
        """Return the variables that are asked for, and values to be masked in recordings."""
        given: dict[str, str] = {}
        wanted: list[str] = []
        for item in env:
            name, equals, value = item.partition("=")
            if _NAME.fullmatch(name) is None:
                raise InvalidRequestError(
                    "A variable's name has letters, digits and '_', and no digit first.",
                    hint="Write --env NAME=VALUE, or --env NAME for the fleet's variable.",
                )
            if equals:
                given[name] = value
            else:
                wanted.append(name)
        secrets = list(given.values())
        if wanted:
            found = await self._variables.values(wanted)
            given = dict(found) | given
            secrets += found.values()
        return given, secrets

    def _environment(self, own: Account, account: Account, request: ExecRequest) -> dict[str, str]:
        found = {
            name: value
            for name, value in self._environ.items()
            if name in _PASSED_ON or name.startswith("LC_")
        }
        if account.uid == own.uid:
            found |= {
                name: self._environ[name] for name in _OF_THE_SESSION if name in self._environ
            }
        found.setdefault("PATH", _PATH)
        found |= {
            "HOME": account.home,
            "USER": account.name,
            "LOGNAME": account.name,
            "SHELL": account.shell,
        }
        if request.size is not None:
            found["TERM"] = request.term or _TERMINAL
        return found


def _words(request: ExecRequest, account: Account) -> tuple[tuple[str, ...], str | None]:
    """Return what to execute, and its own name if that is special."""
    if not request.shell:
        if not request.argv or not request.argv[0]:
            raise InvalidRequestError(
                "There is no command to run.", hint="For example: covey exec -H HOST -- uname -a"
            )
        return request.argv, None
    shell = account.shell
    if not request.argv:
        return (shell,), "-" + PurePath(shell).name
    return (shell, "-c", " ".join(request.argv)), None
