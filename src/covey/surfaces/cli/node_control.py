"""What the CLI does without a daemon, satisfied by the wiring and the service engines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from covey.operations.secret import Secret


@dataclass(frozen=True, slots=True)
class PasswordUnlock:
    """The node's keys are wrapped by a master password."""

    password: Secret


@dataclass(frozen=True, slots=True)
class KeyFileUnlock:
    """The node's keys are wrapped by a file, made with mode 0600 if it does not exist."""

    path: str


UnlockChoice = PasswordUnlock | KeyFileUnlock


@dataclass(frozen=True, slots=True)
class InitReport:
    """A new fleet; the recovery key is shown this once and kept nowhere."""

    name: str
    node_id: str
    fleet_id: str
    recovery_key: Secret


@dataclass(frozen=True, slots=True)
class JoinReport:
    """A membership that was gained; `recovery_key` is the new one if the old was used up."""

    name: str
    node_id: str
    fleet_id: str
    role: str
    inviter: str
    recovery_key: Secret | None = None


class NodeControl(Protocol):
    """This home's node, worked on directly; every method may raise `CoveyError`."""

    def is_initialized(self) -> bool:
        """Whether the home holds a node's keys."""

    def unlocks_by_password(self) -> bool:
        """Whether a password is what opens the keys, and no key file does."""

    def is_running(self) -> bool:
        """Whether a daemon holds this home's lock."""

    def init(self, name: str | None, unlock: UnlockChoice) -> InitReport:
        """Make a new fleet; raises `ConflictError` if the home has a node."""

    def join(self, token: Secret, name: str | None, unlock: UnlockChoice) -> JoinReport:
        """Join with an invitation; raises `ConflictError`, `RefusedError`, `UnreachableError`."""

    def recover(
        self, address: str, recovery_key: Secret, name: str | None, unlock: UnlockChoice
    ) -> JoinReport:
        """Become an admin of the fleet of the node at `address`, by the recovery key."""

    def serve(self, listen: str | None, password: Secret | None, *, as_json: bool) -> int:
        """Become the daemon until it is told to stop; returns the process's exit status, if at all.

        It starts locked if the keys need a password and none is given, prints one line with
        `ready` when it serves, and prints why it cannot as every command does.
        """


class ServiceReport(Protocol):
    """What was installed or removed."""

    @property
    def path(self) -> str:
        """The file that the system's service manager reads."""

    @property
    def active(self) -> bool:
        """Whether the service manager has it running now."""

    @property
    def next_steps(self) -> tuple[str, ...]:
        """Commands that are left to the user."""


class ServiceManager(Protocol):
    """Starts the daemon with the machine; raises `CoveyError` where that is not supported."""

    def install(
        self, *, system: bool, user: str | None, confined: bool, start: bool
    ) -> ServiceReport:
        """Write, enable and, if asked, start the service; `system` makes it the whole machine's.

        `confined` limits what the daemon, and the commands that it runs for members, may do.
        """

    def uninstall(self, *, system: bool) -> ServiceReport:
        """Stop, disable and remove the service."""

    def installed(self) -> str | None:
        """Return the path of the installed service's file, or None."""

    def preview(self, *, system: bool, user: str | None, confined: bool) -> str:
        """Return the text of the file that `install` would write."""
