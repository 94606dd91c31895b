"""The users of this machine, from its user database."""

from __future__ import annotations

import os
import pwd

from covey.errors import NotFoundError
from covey.remote.exec.ports import Account

_FALLBACK_SHELL = "/bin/sh"


class SystemAccounts:
    """Implements `Accounts`."""

    def own(self) -> Account:
        """The user that the daemon runs as."""
        uid = os.geteuid()
        try:
            return _account(pwd.getpwuid(uid))
        except KeyError:
            home = os.environ.get("HOME", "/")
            return Account(str(uid), uid, os.getegid(), home, _FALLBACK_SHELL)

    def find(self, name: str) -> Account:
        """Return a user by name; raises `NotFoundError`."""
        try:
            return _account(pwd.getpwnam(name))
        except (KeyError, ValueError) as error:
            raise NotFoundError(
                f"This machine has no user {name[:64]}.", hint="Name one that it has: --user"
            ) from error

    def may_switch(self) -> bool:
        """Whether the daemon can start commands as other users."""
        return os.geteuid() == 0


def _account(found: pwd.struct_passwd) -> Account:
    return Account(
        found.pw_name,
        found.pw_uid,
        found.pw_gid,
        found.pw_dir or "/",
        found.pw_shell or _FALLBACK_SHELL,
    )
