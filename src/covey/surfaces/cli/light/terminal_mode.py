"""The terminal while a remote program has it: raw, with its size, and a way out."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any

_LINE_ENDS = b"\r\n"


def size_of_terminal() -> tuple[int, int] | None:
    """Return the rows and columns of the terminal, or None where there is none.

    A terminal that nobody has given a size, as in containers, says that it is 0 by 0.
    """
    for descriptor in (1, 0, 2):
        try:
            size = os.get_terminal_size(descriptor)
        except OSError:
            continue
        if size.lines > 0 and size.columns > 0:
            return size.lines, size.columns
    return None


class RawTerminal:
    """While this is entered, keys reach the remote program as they are."""

    def __init__(self, descriptor: int = 0) -> None:
        self._descriptor = descriptor
        self._before: list[Any] | None = None

    def __enter__(self) -> None:
        """Make it raw, if it is a terminal."""
        if not os.isatty(self._descriptor):
            return
        import termios
        import tty

        self._before = termios.tcgetattr(self._descriptor)
        tty.setraw(self._descriptor, termios.TCSADRAIN)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Make it as it was."""
        if self._before is not None:
            import termios

            termios.tcsetattr(self._descriptor, termios.TCSADRAIN, self._before)


class Escapes:
    """Looks for `~.` at the beginning of a line, which leaves; `~~` there is one tilde."""

    def __init__(self) -> None:
        self.leaving = False
        self._at_start = True
        self._held = False

    def filter(self, data: bytes) -> bytes:
        """Return what is to be passed on."""
        if not self._held and not self._at_start and b"~" not in data:
            self._at_start = data[-1] in _LINE_ENDS
            return data
        kept = bytearray()
        for byte in data:
            if self._held:
                self._held = False
                if byte == ord("."):
                    self.leaving = True
                    break
                if byte != ord("~"):
                    kept += b"~"
            elif byte == ord("~") and self._at_start:
                self._held = True
                continue
            kept.append(byte)
            self._at_start = byte in _LINE_ENDS
        return bytes(kept)
