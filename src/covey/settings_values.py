"""The forms that a setting's value may take, read from TOML and from the environment."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

_SIZE_UNITS = {
    "": 1,
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
}
_TIME_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_UNIT_NAMES = {1: "seconds", 3600: "hours", 86_400: "days"}
_PORT_LIMIT = 65_535


class Address(NamedTuple):
    """A host name or IP address, without brackets, and a TCP port."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def parse_address(text: str, *, default_port: int | None = None) -> Address:
    """Read `host:port`, `1.2.3.4:port` or `[::1]:port`; raises `ValueError`."""
    match = re.fullmatch(
        r"(?:\[([0-9A-Fa-f:.]+(?:%[\w.-]+)?)\]|([^\s:/\[\]@]+))(?::(\d{1,5}))?", text.strip()
    )
    if match is None:
        raise ValueError(f"{text!r} is not an address such as 192.168.1.5:13500 or [::1]:13500")
    port = default_port if match[3] is None else int(match[3])
    if port is None:
        raise ValueError(f"{text!r} has no port; write it as {text.strip()}:13500")
    if port > _PORT_LIMIT:
        raise ValueError(f"{port} is not a port; ports end at {_PORT_LIMIT}")
    return Address(match[1] or match[2], port)


def parse_size(text: str) -> int:
    """Read a number of bytes such as `8 MiB`, `500kB` or `4096`; raises `ValueError`."""
    match = re.fullmatch(r"(\d+)\s*([A-Za-z]*)", text.strip(), re.ASCII)
    if match is None or match[2].lower() not in _SIZE_UNITS:
        raise ValueError(f"{text!r} is not a size such as 4096, 500 kB or 8 MiB")
    return int(match[1]) * _SIZE_UNITS[match[2].lower()]


def parse_duration(text: str) -> int:
    """Read a duration such as `90d`, `12h` or `1h30m` into seconds; raises `ValueError`."""
    parts = re.findall(r"(\d+)\s*([smhdw])", text.strip(), re.ASCII)
    if not re.fullmatch(r"(?:\d+\s*[smhdw]\s*)+", text.strip(), re.ASCII):
        raise ValueError(f"{text!r} is not a duration such as 90d, 12h or 1h30m")
    return sum(int(amount) * _TIME_UNITS[unit] for amount, unit in parts)


@dataclass(frozen=True, slots=True)
class Kind:
    """One form of value: its name for users, and readers that raise `ValueError`."""

    label: str
    from_toml: Callable[[object], object]
    from_text: Callable[[str], object]


@dataclass(frozen=True, slots=True)
class Key:
    """What users are told about a setting, and how its value is read."""

    help: str
    kind: Kind


def text(pattern: str = r"[^\x00-\x1f\x7f]*", meaning: str = "text") -> Kind:
    """Accept text on one line, whole-matching `pattern`."""

    def read(value: str) -> str:
        if re.fullmatch(pattern, value) is None:
            raise ValueError(f"{value!r} is not {meaning}")
        return value

    return Kind("text", lambda value: read(_expect_text(value, "text in quotes")), read)


def choice(*allowed: str) -> Kind:
    """Accept one of a few words."""
    listed = ", ".join(allowed)

    def read(value: str) -> str:
        if value.lower() not in allowed:
            raise ValueError(f"{value!r} is not one of {listed}")
        return value.lower()

    return Kind(
        "one of " + listed, lambda value: read(_expect_text(value, f"one of {listed}")), read
    )


def flag() -> Kind:
    """Accept true or false."""
    words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}

    def from_text(value: str) -> bool:
        if value.strip().lower() not in words:
            raise ValueError(f"{value!r} is not true or false")
        return words[value.strip().lower()]

    def from_toml(value: object) -> bool:
        if not isinstance(value, bool):
            raise ValueError(f"{_show(value)} is not true or false")  # noqa: TRY004
        return value

    return Kind("true or false", from_toml, from_text)


def whole(low: int, high: int) -> Kind:
    """Accept a whole number within bounds."""

    def from_text(value: str) -> int:
        if re.fullmatch(r"[+-]?\d{1,18}", value.strip(), re.ASCII) is None:
            raise ValueError(f"{value!r} is not a whole number")
        return _within(int(value), low, high)

    def from_toml(value: object) -> int:
        return _within(_expect_whole(value, "a whole number"), low, high)

    return Kind(f"whole number, {low} to {high}", from_toml, from_text)


def size(low: int, high: int) -> Kind:
    """Accept a number of bytes, or text with a unit."""

    def from_text(value: str) -> int:
        return _within(parse_size(value), low, high)

    def from_toml(value: object) -> int:
        if isinstance(value, str):
            return from_text(value)
        return _within(_expect_whole(value, 'a number of bytes or text such as "8 MiB"'), low, high)

    return Kind("size in bytes, or such as 8 MiB", from_toml, from_text)


def span(unit: int, low: int, high: int) -> Kind:
    """Accept a whole number of `unit` seconds, or text such as `90d` that is one."""
    name = _UNIT_NAMES[unit]

    def from_text(value: str) -> int:
        if re.fullmatch(r"\d{1,18}", value.strip(), re.ASCII):
            return _within(int(value), low, high)
        amount, rest = divmod(parse_duration(value), unit)
        if rest:
            raise ValueError(f"{value!r} is not a whole number of {name}")
        return _within(amount, low, high)

    def from_toml(value: object) -> int:
        if isinstance(value, str):
            return from_text(value)
        return _within(_expect_whole(value, f'a number of {name} or text such as "90d"'), low, high)

    return Kind(f"{name}, {low} to {high}, or such as 90d", from_toml, from_text)


def listing(item: Kind) -> Kind:
    """Accept values of one form; in the environment they are separated by commas."""

    def from_toml(value: object) -> tuple[object, ...]:
        if not isinstance(value, list):
            raise ValueError(f"{_show(value)} is not a list in square brackets")  # noqa: TRY004
        return tuple(item.from_toml(part) for part in value)

    def from_text(value: str) -> tuple[object, ...]:
        parts = (part.strip() for part in value.split(","))
        return tuple(item.from_text(part) for part in parts if part)

    return Kind(f"list: {item.label}", from_toml, from_text)


def address(*, default_port: int | None = None) -> Kind:
    """Accept `host:port`, kept as normalized text."""

    def read(value: str) -> str:
        return str(parse_address(value, default_port=default_port))

    return Kind("ADDRESS:PORT", lambda value: read(_expect_text(value, "text in quotes")), read)


def address_or_none() -> Kind:
    """Accept `host:port`, or empty text for none."""

    def read(value: str) -> str:
        return str(parse_address(value)) if value else ""

    return Kind(
        "ADDRESS:PORT, or empty", lambda value: read(_expect_text(value, "text in quotes")), read
    )


def node_url(*, default_port: int) -> Kind:
    """Accept `host`, `host:port` or `https://host:port`, kept as an address; empty means none."""

    def read(value: str) -> str:
        place = value.strip().removeprefix("https://").removesuffix("/")
        return str(parse_address(place, default_port=default_port)) if place else ""

    return Kind(
        "https://HOST:PORT or ADDRESS", lambda value: read(_expect_text(value, "text")), read
    )


def network() -> Kind:
    """Accept an address, or a network in CIDR notation."""

    def read(value: str) -> str:
        import ipaddress  # noqa: PLC0415 - most homes name no network

        try:
            return str(ipaddress.ip_network(value.strip(), strict=False))
        except ValueError as error:
            raise ValueError(f"{value!r} is not a network such as 10.0.0.0/8") from error

    return Kind("NETWORK", lambda value: read(_expect_text(value, "text in quotes")), read)


def absolute_path(*, or_none: bool = False) -> Kind:
    """Accept an absolute path; `~` stands for the home directory, empty text for no file."""

    def read(value: str) -> str:
        if or_none and not value:
            return ""
        try:
            expanded = Path(value).expanduser()
        except RuntimeError as error:
            raise ValueError(f"{value!r} names an unknown user") from error
        if not expanded.is_absolute() or "\0" in value:
            raise ValueError(f"{value!r} is not an absolute path")
        return os.path.normpath(expanded)

    return Kind("absolute path", lambda value: read(_expect_text(value, "text in quotes")), read)


def nearest(name: str, known: Sequence[str], *, cutoff: float = 0.6) -> str | None:
    """Return the known name that a typo most likely meant, or None when nothing is near."""
    import difflib  # noqa: PLC0415 - only on the way to an error

    plain = {item.lower().replace("-", "_"): item for item in known}
    found = difflib.get_close_matches(name.lower().replace("-", "_"), plain, n=1, cutoff=cutoff)
    return plain[found[0]] if found else None


def _within(value: int, low: int, high: int) -> int:
    if not low <= value <= high:
        raise ValueError(f"{value} is outside {low} to {high}")
    return value


def _expect_text(value: object, wanted: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{_show(value)} is not {wanted}")  # noqa: TRY004
    return value


def _expect_whole(value: object, wanted: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{_show(value)} is not {wanted}")  # noqa: TRY004
    return value


def _show(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str():
            return f'"{value}"'
        case list():
            return "A list"
        case dict():
            return "A table"
        case _:
            return str(value)
