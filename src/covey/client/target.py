"""Which hosts a command is for, as the options say it, and what each of them answered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import msgspec

from covey.errors import CoveyError, ExitCode, InvalidRequestError

HOST_HEADER = "Covey-Host"
ALL_HEADER = "Covey-All"
TAG_HEADER = "Covey-Tag"
PARALLEL_HEADER = "Covey-Parallel"


@dataclass(slots=True)
class Target:
    """The hosts that the options name; none of them means the node that is asked."""

    hosts: tuple[str, ...] = ()
    everyone: bool = False
    tag: str | None = None
    parallel: int | None = None

    @property
    def here(self) -> bool:
        """Whether the node that is asked does it."""
        return not (self.hosts or self.everyone or self.tag is not None)

    @property
    def several(self) -> bool:
        """Whether the answer comes host by host."""
        return self.everyone or self.tag is not None or len(self.hosts) > 1

    @property
    def label(self) -> str:
        """The hosts as a person would say it."""
        if self.everyone:
            return "every host"
        if self.tag is not None:
            return f"every host with the tag {self.tag}"
        return ", ".join(self.hosts)

    def add_hosts(self, text: str) -> None:
        """Take the value of `--host`; raises `InvalidRequestError` for an empty name."""
        names = [name.strip() for name in text.split(",")]
        if not all(names):
            raise InvalidRequestError(
                "--host holds an empty name.", hint="For example: --host frigg,odin"
            )
        self.hosts = tuple(dict.fromkeys((*self.hosts, *names)))

    def headers(self) -> dict[str, str]:
        """Return what tells the node; raises `InvalidRequestError` for two ways at once."""
        ways = [bool(self.hosts), self.everyone, self.tag is not None]
        if sum(ways) > 1:
            raise InvalidRequestError(
                "The hosts are named in more than one way.",
                hint="Use one of --host NAME[,NAME…], --all and --tag TAG.",
            )
        found: dict[str, str] = {}
        if self.hosts:
            found[HOST_HEADER] = ",".join(_plain(name) for name in self.hosts)
        if self.everyone:
            found[ALL_HEADER] = "1"
        if self.tag is not None:
            found[TAG_HEADER] = _plain(self.tag)
        if self.parallel is not None and self.several:
            found[PARALLEL_HEADER] = str(self.parallel)
        return found


class HostError(msgspec.Struct, frozen=True):
    """Why a host did not do it."""

    code: str
    message: str
    hint: str | None = None
    details: dict[str, Any] = {}
    exit_code: int = ExitCode.FAILED

    @classmethod
    def of(cls, error: CoveyError) -> HostError:
        """Return the form of an error."""
        return cls(error.code, error.message, error.hint, dict(error.details), error.exit_code)

    def as_error(self) -> CoveyError:
        """Return it in the form that is shown."""
        error = CoveyError(self.message, hint=self.hint, details=self.details)
        error.code = self.code  # type: ignore[misc]
        return error


class HostAnswer(msgspec.Struct, frozen=True):
    """One result, or one streamed item, of one host; `ms` are since its call began.

    Of a stream, the item that is `last` has no value.
    """

    host: str
    ok: bool
    value: Any = None
    error: HostError | None = None
    route: str = ""
    ms: float = 0.0
    last: bool = True


def _plain(name: str) -> str:
    """Keep a name from breaking out of its header."""
    return name if name.isascii() and name.isprintable() else quote(name, safe=" ")
