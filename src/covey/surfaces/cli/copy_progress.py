"""How far a copy is: a bar with the rate and the remaining time, and the sum at the end."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from covey.surfaces.cli.humanize import duration, size
from covey.surfaces.cli.output import Output
from covey.surfaces.cli.terminal import printable, width_of

_EVERY_S = 0.1
_SETTLED_S = 1.0
_BAR = 24
_CLEAR = "\r\x1b[K"


def rate_line(done: int, total: int, seconds: float, columns: int) -> str:
    """Return one line on a copy that goes on."""
    share = min(done / total, 1.0) if total else 0.0
    filled = round(share * _BAR)
    rate = done / seconds if seconds > 0 else 0.0
    parts = [f"{share:4.0%} {'█' * filled}{'░' * (_BAR - filled)} {size(done)} of {size(total)}"]
    if seconds >= _SETTLED_S and rate > 0:
        parts.append(f"{size(int(rate))}/s")
        parts.append(f"{duration(max(total - done, 0) / rate)} left")
    return "  ".join(parts)[: columns - 1]


@dataclass(slots=True)
class Progress:
    """What is known of one copy; `finished` is the receiver's last word."""

    output: Output
    finished: Mapping[str, Any] | None = None
    failed: list[str] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    _total: int = 0
    _done: int = 0
    _began: float = field(default_factory=time.monotonic)
    _shown: float = 0.0
    _visible: bool = False

    def heard(self, item: Mapping[str, Any]) -> None:
        """Take an answer of the receiver."""
        match item.get("type"):
            case "plan":
                self._total += item["size"]
                self.paths += [_text(path) for path in item.get("paths", ())]
            case "failed":
                self.failed.append(f"{_text(item['path'])}: {item['reason']}")
            case "finished":
                self.finished = item
            case _:
                pass

    def passed(self, count: int) -> None:
        """Count bytes that were sent."""
        self._done = min(self._done + count, self._total)

    def tick(self) -> None:
        """Show how far it is, on a terminal, a few times a second."""
        now = time.monotonic()
        columns = width_of(self.output.stderr)
        if columns is None or self.output.quiet or self.output.as_json:
            return
        if now - self._shown < _EVERY_S or self._total == 0:
            return
        self._shown = now
        self._visible = True
        line = rate_line(self._done, self._total, now - self._began, columns)
        self.output.stderr.write(f"{_CLEAR}{line}")
        self.output.stderr.flush()

    def clear(self) -> None:
        """Take the bar away."""
        if self._visible:
            self.output.stderr.write(_CLEAR)
            self.output.stderr.flush()
            self._visible = False

    @property
    def seconds(self) -> float:
        """How long it took up to now."""
        return time.monotonic() - self._began


def summary(finished: Mapping[str, Any], seconds: float) -> str:
    """Say what a copy did."""
    copied, sent = finished["copied"], finished["sent"]
    parts = [f"{copied} file{'' if copied == 1 else 's'} copied"]
    if finished["skipped"]:
        parts.append(f"{finished['skipped']} left as they were")
    if finished["deleted"]:
        parts.append(f"{finished['deleted']} deleted")
    if finished["failed"]:
        parts.append(f"{finished['failed']} failed")
    rate = f" ({size(int(sent / seconds))}/s)" if sent and seconds > 0 else ""
    return f"{', '.join(parts)}: {size(sent)} in {seconds:.1f} s{rate}."


def _text(path: bytes | str) -> str:
    return printable(path.decode("utf-8", "replace") if isinstance(path, bytes) else path)
