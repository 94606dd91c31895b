"""Every setting, its default and its meaning; read once from `covey.toml` and the environment."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, get_type_hints

import msgspec

from covey.errors import InvalidRequestError
from covey.settings_access import AccessRule, rules
from covey.settings_file import line_of, read_settings_file
from covey.settings_hosting import AppsSettings, JobsSettings, ProxySettings
from covey.settings_values import (
    Address,
    Key,
    absolute_path,
    address,
    choice,
    flag,
    listing,
    nearest,
    node_url,
    parse_address,
    parse_duration,
    parse_size,
    size,
    span,
    text,
    whole,
)

DEFAULT_PORT = 13500

_DAY = 86_400
_PREFIX = "COVEY_"
_LIKELY_TYPO = 0.85
_NOT_SETTINGS = frozenset(
    {"COVEY_HOME", "COVEY_URL", "COVEY_TOKEN", "COVEY_TOKEN_FILE", "COVEY_CA_FILE"}
)
# Kubernetes and Docker links describe a service named covey-server by such variables.
_SERVICE_LINK = re.compile(r"_(SERVICE_(HOST|PORT)(_\w+)?|PORT(_\d+_(TCP|UDP)(_\w+)?)?)$")


class NodeSettings(msgspec.Struct, frozen=True):
    """What concerns one machine alone."""

    name: Annotated[
        str,
        Key(
            "This machine's name in the fleet; empty means its host name.",
            text(
                r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?",
                "a name of letters, digits, '.', '_' and '-' (at most 63)",
            ),
        ),
    ] = ""


class ServerSettings(msgspec.Struct, frozen=True):
    """The one port for peers and clients."""

    listen: Annotated[
        str, Key("Where peers and clients connect; port 0 takes any free one.", address())
    ] = f"0.0.0.0:{DEFAULT_PORT}"
    advertise: Annotated[
        tuple[str, ...],
        Key(
            "Addresses for invitations and for an admin's certificate; "
            "empty means that invitations name those of this machine.",
            listing(address(default_port=DEFAULT_PORT)),
        ),
    ] = ()
    mode: Annotated[
        str,
        Key(
            "Whether this machine serves its LAN while the cloud is away: if need be, by "
            "preference, or never.",
            choice("auto", "server-preferred", "client-only"),
        ),
    ] = "auto"


class ClientSettings(msgspec.Struct, frozen=True):
    """Which node this one holds on to."""

    enable_cloud: Annotated[bool, Key("Hold on to the node at client.cloud_url.", flag())] = True
    cloud_url: Annotated[
        str,
        Key(
            "The member that is always on; empty means there is none.",
            node_url(default_port=DEFAULT_PORT),
        ),
    ] = ""
    enable_lan: Annotated[
        bool, Key("Hold on to a server of the LAN while the cloud is away, or be it.", flag())
    ] = True


class DiscoverySettings(msgspec.Struct, frozen=True):
    """Where members are looked for besides the fleet's own records."""

    mdns: Annotated[
        bool, Key("Announce this node on its LANs and hear the others' (mDNS).", flag())
    ] = True
    tailscale: Annotated[bool, Key("Ask Tailscale for the machines of the tailnet.", flag())] = True
    tailscale_socket: Annotated[
        str,
        Key("The socket of tailscaled; empty means its usual place.", absolute_path(or_none=True)),
    ] = ""


class ApiSettings(msgspec.Struct, frozen=True):
    """Limits of the HTTP interface."""

    rate_limit_per_minute: Annotated[
        int, Key("Requests that one caller may make in a minute.", whole(1, 10_000_000))
    ] = 1200
    max_body_bytes: Annotated[int, Key("Largest request body.", size(64 << 10, 1 << 30))] = 8 << 20


class AccessSettings(msgspec.Struct, frozen=True):
    """What callers from other members may do here, beyond what their role allows."""

    default: Annotated[
        str,
        Key("Whether a member's callers may do what no rule speaks of.", choice("allow", "deny")),
    ] = "allow"
    rule: Annotated[
        tuple[AccessRule, ...],
        Key("Which members and roles may do what; all rules that fit count.", rules()),
    ] = ()


class LogSettings(msgspec.Struct, frozen=True):
    """The daemon's log."""

    level: Annotated[
        str, Key("Least severity that is written.", choice("debug", "info", "warning", "error"))
    ] = "info"
    max_bytes: Annotated[
        int, Key("Size at which a log file is rotated.", size(64 << 10, 1 << 30))
    ] = 10 << 20
    keep: Annotated[int, Key("Rotated log files that are kept.", whole(1, 100))] = 5


class StoreSettings(msgspec.Struct, frozen=True):
    """How long old versions stay."""

    retention_days: Annotated[
        int, Key("Old versions younger than this are kept.", span(_DAY, 1, 36_500))
    ] = 90
    keep_versions: Annotated[
        int, Key("Newest versions of each record that are kept for good.", whole(1, 100_000))
    ] = 10
    backups: Annotated[
        int, Key("Copies of the database that are kept from before migrations.", whole(1, 100))
    ] = 3


class FleetSettings(msgspec.Struct, frozen=True):
    """Membership and peers."""

    certificate_days: Annotated[
        int, Key("Life of a node's certificate; renewed after two thirds.", span(_DAY, 1, 825))
    ] = 90
    max_clock_drift_seconds: Annotated[
        int, Key("How far ahead another node's clock may be.", span(1, 1, 86_400))
    ] = 600
    peers: Annotated[
        tuple[str, ...],
        Key(
            "Peers to connect to besides those that are found.",
            listing(address(default_port=DEFAULT_PORT)),
        ),
    ] = ()
    shared_secret_file: Annotated[
        str,
        Key(
            "A file with a secret that peers must know besides having a certificate; empty "
            "means none.",
            absolute_path(or_none=True),
        ),
    ] = ""


class EnvSettings(msgspec.Struct, frozen=True):
    """References from variables to what is outside Covey."""

    allow_commands: Annotated[
        tuple[str, ...],
        Key("Programs that a cmd: reference may start.", listing(absolute_path())),
    ] = ()
    file_roots: Annotated[
        tuple[str, ...],
        Key("Directories that a file: reference may read from.", listing(absolute_path())),
    ] = ()
    op_command: Annotated[
        str,
        Key("The 1Password program behind op:// references.", text(r"[^\x00-\x1f]+", "a program")),
    ] = "op"


class ExecSettings(msgspec.Struct, frozen=True):
    """Commands that others run on this machine."""

    record: Annotated[
        str,
        Key("Which commands are recorded.", choice("never", "terminals", "always")),
    ] = "never"
    spool_bytes: Annotated[
        int,
        Key("Most output that a detached command keeps on disk.", size(1 << 20, 1 << 40)),
    ] = 64 << 20
    keep_days: Annotated[
        int, Key("Output and recordings younger than this are kept.", span(_DAY, 1, 36_500))
    ] = 14


class FilesSettings(msgspec.Struct, frozen=True):
    """Files that others copy to and from this machine."""

    roots: Annotated[
        tuple[str, ...],
        Key(
            "Directories that may be read and written; empty means the daemon user's home.",
            listing(absolute_path()),
        ),
    ] = ()


class TunnelSettings(msgspec.Struct, frozen=True):
    """TCP tunnels that others open through this machine; patterns such as `127.0.0.1:*`."""

    connect: Annotated[
        tuple[str, ...],
        Key("Addresses, as HOST:PORT, that tunnels may lead to.", listing(text())),
    ] = ("*",)
    listen: Annotated[
        tuple[str, ...],
        Key("Addresses that tunnels may listen on.", listing(text())),
    ] = ("127.0.0.1:*", "::1:*", "localhost:*")


class Settings(msgspec.Struct, frozen=True):
    """All sections."""

    node: NodeSettings = NodeSettings()
    server: ServerSettings = ServerSettings()
    client: ClientSettings = ClientSettings()
    discovery: DiscoverySettings = DiscoverySettings()
    access: AccessSettings = AccessSettings()
    api: ApiSettings = ApiSettings()
    log: LogSettings = LogSettings()
    store: StoreSettings = StoreSettings()
    fleet: FleetSettings = FleetSettings()
    env: EnvSettings = EnvSettings()
    exec: ExecSettings = ExecSettings()
    files: FilesSettings = FilesSettings()
    tunnel: TunnelSettings = TunnelSettings()
    jobs: JobsSettings = JobsSettings()
    apps: AppsSettings = AppsSettings()
    proxy: ProxySettings = ProxySettings()


class SettingDescription(msgspec.Struct, frozen=True):
    """One setting as `covey config show` prints it; `source` is default, file or environment."""

    key: str
    variable: str
    type: str
    help: str
    default: Any
    value: Any
    source: str


class LoadedSettings(msgspec.Struct, frozen=True):
    """Settings, where each came from, and what looks like a mistake but need not be one."""

    settings: Settings
    sources: dict[str, str]
    warnings: tuple[str, ...]


def load_settings(path: str, environ: Mapping[str, str] = os.environ) -> Settings:
    """Read the file, then the environment over it.

    Raises `InvalidRequestError` that names the file and line, or the variable, and the nearest
    known key.
    """
    return load(path, environ).settings


def load(path: str, environ: Mapping[str, str] = os.environ) -> LoadedSettings:
    """Do as `load_settings`, and keep where each value came from."""
    values: dict[str, dict[str, object]] = {name: {} for name in _SECTIONS}
    sources: dict[str, str] = {}
    for section, key, value in _from_file(path):
        values[section][key] = value
        sources[f"{section}.{key}"] = "file"
    warnings: list[str] = []
    for section, key, value in _from_environment(environ, warnings):
        values[section][key] = value
        sources[f"{section}.{key}"] = "environment"
    built = {name: _SECTIONS[name](**values[name]) for name in _SECTIONS}
    return LoadedSettings(Settings(**built), sources, tuple(warnings))


def describe(loaded: LoadedSettings | None = None) -> list[SettingDescription]:
    """Describe every setting, with the loaded values or the defaults."""
    loaded = loaded or LoadedSettings(Settings(), {}, ())
    found = []
    for section, key, meta in _all_keys():
        name = f"{section}.{key}"
        found.append(
            SettingDescription(
                key=name,
                variable=_variable(section, key),
                type=meta.kind.label,
                help=meta.help,
                default=getattr(getattr(Settings(), section), key),
                value=getattr(getattr(loaded.settings, section), key),
                source=loaded.sources.get(name, "default"),
            )
        )
    return found


def _read_sections() -> tuple[dict[str, Any], dict[str, dict[str, Key]]]:
    sections: dict[str, Any] = {}
    keys: dict[str, dict[str, Key]] = {}
    for name, kind in get_type_hints(Settings).items():
        hints = get_type_hints(kind, include_extras=True)
        sections[name] = kind
        keys[name] = {field: hint.__metadata__[0] for field, hint in hints.items()}
    return sections, keys


_SECTIONS, _KEYS = _read_sections()


def _all_keys() -> Iterator[tuple[str, str, Key]]:
    for section, keys in _KEYS.items():
        for key, meta in keys.items():
            yield section, key, meta


def _variable(section: str, key: str) -> str:
    return f"{_PREFIX}{section}_{key}".upper()


def _from_file(path: str) -> Iterator[tuple[str, str, object]]:
    source, tables = read_settings_file(path)
    for section, table in tables.items():
        if section not in _KEYS:
            raise _unknown(path, source, (section,), _guess_of_section(section, table))
        if not isinstance(table, Mapping):
            raise _bad(path, source, (section,), f"it is a section; write [{section}]")
        for key, value in table.items():
            if key not in _KEYS[section]:
                raise _unknown(path, source, (section, key), _guess_of_key(section, key))
            try:
                yield section, key, _KEYS[section][key].kind.from_toml(value)
            except ValueError as error:
                raise _bad(path, source, (section, key), str(error)) from error


def _from_environment(
    environ: Mapping[str, str], warnings: list[str]
) -> Iterator[tuple[str, str, object]]:
    known = {_variable(section, key): (section, key) for section, key, _ in _all_keys()}
    prefixes = tuple(f"{_PREFIX}{section}_".upper() for section in _KEYS)
    for variable, value in environ.items():
        if not variable.startswith(_PREFIX) or variable in _NOT_SETTINGS:
            continue
        if not value:
            continue
        if variable not in known:
            if variable.startswith(prefixes) and not _SERVICE_LINK.search(variable):
                raise _unknown_variable(variable, nearest(variable, tuple(known)))
            guess = nearest(variable, tuple(known), cutoff=_LIKELY_TYPO)
            if guess is not None:
                warnings.append(f"{variable} is no setting of Covey; did you mean {guess}?")
            continue
        section, key = known[variable]
        try:
            yield section, key, _KEYS[section][key].kind.from_text(value)
        except ValueError as error:
            raise InvalidRequestError(
                f"The environment variable {variable} is not valid: {error}.",
                hint=f"It wants: {_KEYS[section][key].kind.label}.",
                details={"variable": variable},
            ) from error


def _unknown_variable(variable: str, guess: str | None) -> InvalidRequestError:
    return InvalidRequestError(
        f"The environment variable {variable} is no setting of Covey.",
        hint=_did_you_mean(guess),
        details={"variable": variable, "nearest": guess},
    )


def _guess_of_section(section: str, table: object) -> str | None:
    """Guess what an unknown top-level name meant: a section, or a key outside its section."""
    if isinstance(table, Mapping):
        return nearest(section, tuple(_KEYS))
    owners = [f"{owner}.{key}" for owner, key, _ in _all_keys() if key == section]
    if owners:
        return owners[0]
    dotted = {f"{owner}_{key}": f"{owner}.{key}" for owner, key, _ in _all_keys()}
    guess = nearest(section, tuple(dotted))
    return dotted[guess] if guess else nearest(section, tuple(_KEYS))


def _guess_of_key(section: str, key: str) -> str | None:
    guess = nearest(key, tuple(_KEYS[section]))
    if guess is not None:
        return f"{section}.{guess}"
    owners = [f"{owner}.{name}" for owner, name, _ in _all_keys() if name == key]
    return owners[0] if owners else None


def _unknown(
    path: str, source: str, keys: tuple[str, ...], guess: str | None
) -> InvalidRequestError:
    line = line_of(source, keys)
    name = ".".join(keys)
    return InvalidRequestError(
        f"{path}, line {line}: there is no setting {name}.",
        hint=_did_you_mean(guess),
        details={"file": path, "line": line, "key": name, "nearest": guess},
    )


def _bad(path: str, source: str, keys: tuple[str, ...], reason: str) -> InvalidRequestError:
    line = line_of(source, keys)
    name = ".".join(keys)
    meta = _KEYS[keys[0]].get(keys[1]) if len(keys) > 1 else None
    return InvalidRequestError(
        f"{path}, line {line}: {name} is not valid: {reason}.",
        hint=f"It wants: {meta.kind.label}." if meta else "See them all: covey config show",
        details={"file": path, "line": line, "key": name},
    )


def _did_you_mean(guess: str | None) -> str:
    return f"Did you mean {guess}?" if guess else "See them all: covey config show"


__all__ = [
    "DEFAULT_PORT",
    "Address",
    "LoadedSettings",
    "SettingDescription",
    "Settings",
    "describe",
    "load",
    "load_settings",
    "parse_address",
    "parse_duration",
    "parse_size",
]
