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
class Caller:
    """An authenticated caller; `allowed` holds patterns of operation names (`env.*`)."""

    kind: CallerKind
    name: str
    role: Role
    address: str
    allowed: tuple[str, ...] = ("*",)
    node_id: str | None = None


def authorize(caller: Caller, operation_name: str, required: Role) -> None:
    """Raise `RefusedError` unless `caller` may run the operation."""
    if caller.kind is CallerKind.ANONYMOUS or caller.role < required:
        raise RefusedError(
            f"{operation_name} needs the role {required.label}; "
            f"{caller.name} is {caller.role.label}.",
            hint="Ask an admin for a token with that role: covey token create NAME --role "
            f"{required.label}",
            details={"operation": operation_name, "required": required.label},
        )
    if not any(fnmatchcase(operation_name, pattern) for pattern in caller.allowed):
        raise RefusedError(
            f"The token {caller.name} is not scoped for {operation_name}.",
            hint="Create a token whose --allow patterns include it.",
            details={"operation": operation_name, "allowed": list(caller.allowed)},
        )
