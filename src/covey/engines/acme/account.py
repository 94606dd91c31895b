"""Who asks a certificate authority for certificates; no library is needed to say it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class AcmeAccount:
    """Who asks for certificates, and whom."""

    directory: str
    email: str
    roots: str
    key_file: Path
    hook: str
