"""How a call fails, before the modules are loaded that show it."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_UNREACHABLE = "unreachable"
_USAGE, _NOT_FOUND, _REFUSED, _CONFLICT, _AWAY = 2, 3, 4, 5, 6
_EXIT_CODES = {
    "invalid_request": _USAGE,
    "too_large": _USAGE,
    "not_found": _NOT_FOUND,
    "refused": _REFUSED,
    "unauthenticated": _REFUSED,
    "locked": _REFUSED,
    "rate_limited": _REFUSED,
    "conflict": _CONFLICT,
    "precondition_failed": _CONFLICT,
    _UNREACHABLE: _AWAY,
    "deadline_exceeded": _AWAY,
    "daemon_not_running": _AWAY,
}


class CallFailedError(Exception):
    """A call's error as the node sent it, or what was seen of it here.

    `begun` is whether the command ran already, and `offset` where its output that came ends.
    """

    def __init__(
        self,
        code: str,
        message: str,
        hint: str | None = None,
        details: dict[str, Any] | None = None,
        exit_code: int | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint
        self.details = details or {}
        self.exit_code = exit_code or _EXIT_CODES.get(code, 1)
        self.begun = False
        self.offset = 0

    @property
    def never_reached(self) -> bool:
        """Whether no way led to the host, and so nothing has begun there."""
        return self.code == _UNREACHABLE and not self.begun

    @classmethod
    def from_envelope(cls, error: Any) -> CallFailedError:
        """Read the inside of `{"error": …}`."""
        if not isinstance(error, dict):
            return broken_off()
        return cls(
            str(error.get("code", "failed")),
            str(error.get("message", "")),
            error.get("hint"),
            error.get("details"),
            error.get("exit_code"),
        )

    @classmethod
    def from_answer(cls, status: int, body: bytes) -> CallFailedError:
        """Read a node's HTTP answer."""
        import json

        try:
            return cls.from_envelope(json.loads(body)["error"])
        except (ValueError, KeyError, TypeError):
            return cls(
                _UNREACHABLE,
                f"The answer was HTTP status {status}, and not from a Covey node.",
                "Check --url, and whether a proxy stands in between.",
            )


def broken_off() -> CallFailedError:
    """Say that the connection ended in the middle."""
    return CallFailedError(
        "broken_off",
        "The connection broke off before the end.",
        "See what the node is doing: covey agent logs",
        exit_code=_AWAY,
    )
