"""The names of variables, projects and hosts, checked by plain string tests: start-up is hot."""

from __future__ import annotations

MAX_VARIABLE_NAME = 255
MAX_LABEL = 63
RESERVED_PREFIXES = ("COVEY_", "__COVEY_")
"""Variables that begin so are Covey's own settings, or belong to the shell hooks."""

_DIGITS = frozenset("0123456789")
_LABEL = _DIGITS | frozenset("abcdefghijklmnopqrstuvwxyz")
_LABEL_INNER = _LABEL | frozenset("._-")
_VARIABLE_FIRST = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_")
_VARIABLE = _VARIABLE_FIRST | _DIGITS


def is_label(text: str) -> bool:
    """Whether `text` names a project, an environment or a host (a-z, 0-9, then '.', '_', '-')."""
    return 0 < len(text) <= MAX_LABEL and text[0] in _LABEL and _LABEL_INNER.issuperset(text)


def is_variable_name(text: str) -> bool:
    """Whether `text` is a POSIX variable name (IEEE 1003.1, 3.231 Name) that Covey accepts."""
    return (
        0 < len(text) <= MAX_VARIABLE_NAME
        and text[0] in _VARIABLE_FIRST
        and _VARIABLE.issuperset(text)
        and not text.startswith(RESERVED_PREFIXES)
    )
