"""What the operations on variables give back; values are masked unless they were asked for."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal

import msgspec

from covey.env.model import Kind
from covey.operations.secret import MASK

Moment = Annotated[datetime, msgspec.Meta(tz=True)]


def moment(at_ms: int) -> datetime:
    """Return the time of a version."""
    return datetime.fromtimestamp(at_ms / 1000, UTC)


class Shown(msgspec.Struct, frozen=True):
    """Who may see which values: secret ones by `secret`, plain ones by `plain`."""

    secret: bool = False
    plain: bool = False

    def text(self, value: str, kind: Kind) -> str:
        """Return the value or its mask."""
        return value if self.sees(kind) else MASK

    def sees(self, kind: Kind) -> bool:
        """Whether a value of this kind is shown."""
        return self.secret or (self.plain and kind is Kind.PLAIN)


class Variable(msgspec.Struct, frozen=True):
    """One variable; `value` is masked unless `revealed`.

    `problem` says why it has no value here, `hint` what its author may have meant.
    """

    name: str
    value: str
    revealed: bool
    kind: Kind
    scope: str
    expand: bool
    note: str
    author: str
    updated_at: Moment
    version: str
    conflict: bool = False
    problem: str | None = None
    hint: str | None = None


class VariableVersion(msgspec.Struct, frozen=True):
    """One version; `value` is null for a deletion and for a version that was compacted."""

    version: str
    value: str | None
    revealed: bool
    current: bool
    deleted: bool
    compacted: bool
    kind: Kind | None
    expand: bool
    author: str
    origin: str
    updated_at: Moment


class VariableConflict(msgspec.Struct, frozen=True):
    """A variable that was changed on several nodes at once; the version that counts comes first."""

    name: str
    scope: str
    versions: list[VariableVersion]


class Unset(msgspec.Struct, frozen=True):
    """A variable that is gone from its scope."""

    name: str
    scope: str
    version: str


class Applied(msgspec.Struct, frozen=True):
    """What one commit of several changes did."""

    set: list[str]
    unset: list[str]
    hints: list[str] = []


class Imported(msgspec.Struct, frozen=True):
    """What an import did; `hosts` are the machines whose records were changed."""

    format: str
    scope: str
    set: list[str]
    unchanged: list[str]
    hosts: list[str]


class ValueProblem(msgspec.Struct, frozen=True):
    """Why a variable has no value."""

    name: str
    reason: str


class Exported(msgspec.Struct, frozen=True):
    """Variables as a text of one format; `problems` are those that a text for `eval` lacks."""

    format: str
    text: str
    names: list[str]
    problems: list[ValueProblem] = []


class Layer(msgspec.Struct, frozen=True):
    """What one scope holds of a variable."""

    scope: str
    value: str
    expand: bool
    author: str
    updated_at: Moment
    version: str


class Explanation(msgspec.Struct, frozen=True):
    """Where a variable's value comes from: the winning layer, then what it shadows."""

    name: str
    value: str | None
    revealed: bool
    kind: Kind
    scope: str
    project: str | None
    environment: str | None
    host: str
    winner: Layer
    shadows: list[Layer]
    problem: str | None = None


class Difference(msgspec.Struct, frozen=True):
    """A variable that differs between two sides."""

    name: str
    change: Literal["added", "removed", "changed"]
    left: str | None
    right: str | None
    revealed: bool


class Values(msgspec.Struct, frozen=True):
    """Resolved values for a process; `secret` names those to mask in its output."""

    values: dict[str, str]
    secret: list[str]
    problems: list[ValueProblem]
    project: str | None
    environment: str | None
    host: str


class ChangedNames(msgspec.Struct, frozen=True):
    """Names of variables that one commit changed; empty once, when the watch begins."""

    names: list[str]


class SecretName(msgspec.Struct, frozen=True):
    """A secret by name and scope."""

    name: str
    scope: str


class Finding(msgspec.Struct, frozen=True):
    """A secret value that was found where it should not be; line and column count from 1."""

    file: str
    line: int
    column: int
    name: str
    scope: str
    encoding: str


class ScanReport(msgspec.Struct, frozen=True):
    """What a scan found and how much it read."""

    findings: list[Finding]
    files: int
    skipped: list[str]
