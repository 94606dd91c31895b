"""The formats by name, and the guess when a file does not say."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum

from covey.env.formats import docker, dotenv, systemd
from covey.env.formats.entry import Entry
from covey.env.render import render_for_eval
from covey.errors import InvalidRequestError

_MANIFEST = re.compile(r"^\"?kind\"?:[ \t]*[\"']?Secret\b", re.MULTILINE)
_ASSIGNMENT = re.compile(r"^[ \t]*(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_]*)[ \t]*=", re.MULTILINE)
_HOST_FIELD = re.compile(r"HOST_[A-Za-z0-9]+_[A-Za-z0-9_]+")
_ENDINGS = {".json": "json", ".yaml": "yaml", ".yml": "yaml", ".toml": "toml"}


class Format(StrEnum):
    """A format that variables are imported from or exported to."""

    DOTENV = "dotenv"
    JSON = "json"
    YAML = "yaml"
    TOML = "toml"
    DOCKER = "docker"
    KUBERNETES = "kubernetes"
    SYSTEMD = "systemd"
    HOMELAB = "homelab"
    SH = "sh"
    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"
    POWERSHELL = "powershell"


FOR_EVAL = frozenset({Format.SH, Format.BASH, Format.ZSH, Format.FISH, Format.POWERSHELL})
"""Formats that a shell evaluates as it starts: one bad variable must not cost it all others."""


def parse(kind: Format, text: str) -> list[Entry]:
    """Read a file; raises `InvalidRequestError` naming line and cause."""
    # The YAML and TOML libraries cost an idle daemon a megabyte.
    from covey.env.formats import kubernetes, structured  # noqa: PLC0415

    match kind:
        case Format.DOTENV | Format.HOMELAB:
            return dotenv.parse(text)
        case Format.JSON:
            return structured.parse_json(text)
        case Format.YAML:
            return structured.parse_yaml(text)
        case Format.TOML:
            return structured.parse_toml(text)
        case Format.DOCKER:
            return docker.parse(text)
        case Format.KUBERNETES:
            return kubernetes.parse(text)
        case Format.SYSTEMD:
            return systemd.parse(text)
        case Format.SH | Format.BASH | Format.ZSH | Format.FISH | Format.POWERSHELL:
            raise InvalidRequestError(
                f"The format {kind.value} is for export only: a shell script is not data.",
                hint="Files of plain assignments can be imported as dotenv.",
            )


def write(kind: Format, values: Mapping[str, str], *, title: str = "covey") -> str:
    """Write a file; raises `InvalidRequestError` for what the format cannot hold."""
    from covey.env.formats import kubernetes, structured  # noqa: PLC0415

    match kind:
        case Format.DOTENV | Format.HOMELAB:
            return dotenv.write(values)
        case Format.JSON:
            return structured.write_json(values)
        case Format.YAML:
            return structured.write_yaml(values)
        case Format.TOML:
            return structured.write_toml(values)
        case Format.DOCKER:
            return docker.write(values)
        case Format.KUBERNETES:
            return kubernetes.write(values, title)
        case Format.SYSTEMD:
            return systemd.write(values)
        case Format.SH | Format.BASH | Format.ZSH | Format.FISH | Format.POWERSHELL:
            return render_for_eval(kind.value, values).decode()


def guess(text: str, file_name: str = "") -> Format:
    """Choose the format of a file by its name and its text; dotenv when in doubt.

    A file that sets nothing but `HOST_<HOSTNAME>_<FIELD>` is in the homelab format.
    """
    if _MANIFEST.search(text):
        return Format.KUBERNETES
    for ending, kind in _ENDINGS.items():
        if file_name.lower().endswith(ending):
            return Format(kind)
    if text.lstrip().startswith("{"):
        return Format.JSON
    names = _ASSIGNMENT.findall(text)
    hosts = bool(names) and all(_HOST_FIELD.fullmatch(name) for name in names)
    return Format.HOMELAB if hosts else Format.DOTENV
