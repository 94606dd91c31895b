"""Who may call what: roles, callers and the one authorization check."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from fnmatch import fnmatchcase

from covey.errors import RefusedError


class Role(IntEnum):
    """Roles in rising order of power; each may do what the lower ones may."""

    VIEWER = 1
    DEVELOPER = 2
    OPERATOR = 3
    ADMIN = 4

    @property
    def label(self) -> str:
        """The role's name as users write it."""
        return self.name.lower()

    @classmethod
    def parse(cls, label: str) -> Role:
        """Read a role as users write it; raises `KeyError` for an unknown one."""
        return cls[label.upper()]


class CallerKind(StrEnum):
    """How the caller proved who they are."""

    LOCAL = "local"
    TOKEN = "token"  # noqa: S105 - the kind's name, not a credential
    NODE = "node"
    ANONYMOUS = "anonymous"


@dataclass(frozen=True, slots=True)
class Limits:
    """What this node's own policy leaves to a caller from another member.

    `allow` and `deny` are patterns of operation names, and `deny` wins. `as_user` is the system
    user that the caller's commands and files belong to, or None for the node's own.
    """

    allow: tuple[str, ...] = ("*",)
    deny: tuple[str, ...] = ()
    as_user: str | None = None

    def permit(self, operation_name: str) -> bool:
        """Whether the policy lets the caller run the operation."""
        return _matches(operation_name, self.allow) and not _matches(operation_name, self.deny)


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated caller; `allowed` holds patterns of operation names (`env.*`).

    `node_id` is the member that calls or vouches, or that made the token, if one did;
    `via` names the member that forwarded the call and vouches for the caller; `limits` are what
    this node's policy says of callers from there.
    """

    kind: CallerKind
    name: str
    role: Role
    address: str
    allowed: tuple[str, ...] = ("*",)
    node_id: str | None = None
    via: str | None = None
    limits: Limits | None = None

    @property
    def label(self) -> str:
        """The name, and the member that it was forwarded by: `root@freya via freya`."""
        return self.name if self.via is None else f"{self.name} via {self.via}"

    @property
    def as_user(self) -> str | None:
        """The system user that policy binds the caller's commands and files to, if any."""
        return None if self.limits is None else self.limits.as_user


def authorize(caller: Caller, operation_name: str, required: Role) -> None:
    """Raise `RefusedError` unless `caller` may run the operation."""
    if caller.kind is CallerKind.ANONYMOUS or caller.role < required:
        raise RefusedError(
            f"{operation_name} needs the role {required.label}; "
            f"{caller.name} is {caller.role.label}.",
            hint=_way_to(required, caller),
            details={"operation": operation_name, "required": required.label},
        )
    if not _matches(operation_name, caller.allowed):
        raise RefusedError(
            f"The token {caller.name} is not scoped for {operation_name}.",
            hint="Create a token whose --allow patterns include it.",
            details={"operation": operation_name, "allowed": list(caller.allowed)},
        )
    check_limits(caller, operation_name)


def check_limits(caller: Caller, operation_name: str) -> None:
    """Raise `RefusedError` if this node's policy keeps the operation from the caller."""
    if caller.limits is not None and not caller.limits.permit(operation_name):
        raise RefusedError(
            f"This node's policy does not let {caller.label} run {operation_name}.",
            hint="Its owner decides that: [[access.rule]] in its covey.toml.",
            details={"operation": operation_name, "policy": True},
        )


def _matches(operation_name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(operation_name, pattern) for pattern in patterns)


def _way_to(role: Role, caller: Caller) -> str:
    """Say who can give the role, and how: a token has its own, others their machine's."""
    if caller.kind in {CallerKind.TOKEN, CallerKind.ANONYMOUS}:
        return (
            f"Ask an admin for a token with that role: covey token create NAME --role {role.label}"
        )
    machine = caller.via or caller.name.rpartition("@")[2]
    return f"An admin can give {machine} that role: covey fleet set-role {machine} {role.label}"
