"""Durations, sizes and shares of a CPU as people write them for Docker and for Kubernetes."""

from __future__ import annotations

import re

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_PART = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)\s*(ms|s|m|h|d)", re.ASCII)
_DURATION = re.compile(rf"(?:{_PART.pattern}\s*)+", re.ASCII)
_NUMBER = re.compile(r"\d{1,9}(?:\.\d{1,6})?", re.ASCII)
_SIZE = re.compile(r"(\d{1,18}(?:\.\d{1,6})?)\s*([kmgt]?)(?:i?b)?|(\d{1,18})\s*([kmgt])i", re.ASCII)
_CPU = re.compile(r"(\d{1,6}(?:\.\d{1,6})?)(m?)", re.ASCII)


def parse_duration(text: str) -> float:
    """Read `30s`, `1m30s`, `500ms` or `30` into seconds; raises `ValueError`."""
    plain = text.strip()
    if _NUMBER.fullmatch(plain):
        return float(plain)
    if not _DURATION.fullmatch(plain):
        raise ValueError(f'"{text}" is not a duration such as "30s" or "1m30s"')
    return sum(float(amount) * _SECONDS[unit] for amount, unit in _PART.findall(plain))


def format_duration(seconds: float) -> str:
    """Write seconds as `parse_duration` reads them, such as `1h30m`; exact to a millisecond."""
    left = round(seconds * 1000)
    parts = []
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        amount, left = divmod(left, size)
        if amount:
            parts.append(f"{amount}{unit}")
    return "".join(parts) or "0s"


def parse_size(text: str) -> int:
    """Read `256mb`, `256m`, `256Mi`, `1.5g` or `4096` into bytes; raises `ValueError`.

    As in Docker, every unit is a power of 1024, with or without an i.
    """
    match = _SIZE.fullmatch(text.strip().lower())
    if match is None:
        raise ValueError(f'"{text}" is not a size such as "256mb" or "1.5g"')
    amount, unit = (match[1], match[2]) if match[1] is not None else (match[3], match[4])
    factor = 1 << 10 * _POWERS[unit]
    return round(float(amount) * factor) if "." in amount else int(amount) * factor


def format_size(size: int) -> str:
    """Write bytes as `parse_size` reads them, such as `256mb`; exact."""
    for unit, power in (("tb", 4), ("gb", 3), ("mb", 2), ("kb", 1)):
        if size and size % 1024**power == 0:
            return f"{size // 1024**power}{unit}"
    return f"{size}b"


def parse_cpu(text: str) -> float:
    """Read `0.5`, `2` or `500m` (thousandths) into a number of CPUs; raises `ValueError`."""
    match = _CPU.fullmatch(text.strip())
    if match is None:
        raise ValueError(f'"{text}" is not a number of CPUs such as "0.5" or "500m"')
    return float(match[1]) / (1000 if match[2] else 1)
