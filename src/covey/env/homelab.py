"""The homelab format: `HOST_<HOSTNAME>_<FIELD>="…"` lines are fields of host records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from covey.env.formats.entry import Entry
from covey.fleet.hosts import HostRecord, HostRecords, fold_name

PREFIX = "HOST_"


def split(
    entries: Sequence[Entry], known: Iterable[str]
) -> tuple[dict[str, dict[str, str]], list[Entry]]:
    """Part host fields from ordinary variables; returns fields by host name, and the rest.

    A host name may itself hold `_` (or `-`, `.` written as `_`): the longest `known` host name
    wins, then the longest prefix for which the file has a `HOSTNAME` or `IP`, then the shortest.
    """
    folded = {fold_name(name).upper(): name for name in known}
    declared = {
        entry.name[len(PREFIX) :].removesuffix(f"_{field}")
        for entry in entries
        for field in ("HOSTNAME", "IP")
        if entry.name.startswith(PREFIX) and entry.name.endswith(f"_{field}")
    }
    hosts: dict[str, dict[str, str]] = {}
    rest: list[Entry] = []
    for entry in entries:
        parts = _parts(entry.name, folded, declared - {""})
        if parts is None:
            rest.append(entry)
            continue
        host, field = parts
        hosts.setdefault(host, {})[field] = entry.value
    return hosts, rest


def lines(records: Iterable[HostRecord]) -> dict[str, str]:
    """Return host records as variables; a record's own fields go before what the node reports."""
    found: dict[str, str] = {}
    for record in records:
        fields = {"hostname": record.hostname, **record.fields}
        if record.addresses:
            fields.setdefault("ip", _host_part(record.addresses[0]))
        for field, value in fields.items():
            if value:
                found[f"{PREFIX}{fold_name(record.name)}_{field}".upper()] = value
    return found


async def record(hosts: HostRecords, found: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Write host fields into the records; returns the hosts' names."""
    for name, fields in found.items():
        await hosts.upsert(name, fields)
    return sorted(found)


def _parts(name: str, folded: Mapping[str, str], declared: set[str]) -> tuple[str, str] | None:
    if not name.startswith(PREFIX):
        return None
    rest = name[len(PREFIX) :]
    cuts = [at for at, char in enumerate(rest) if char == "_" and 0 < at < len(rest) - 1]
    if not cuts:
        return None
    for names in (folded.keys(), declared):
        for cut in reversed(cuts):
            if rest[:cut].upper() in names:
                host = folded.get(rest[:cut].upper(), _plain(rest[:cut]))
                return host, rest[cut + 1 :].lower()
    return _plain(rest[: cuts[0]]), rest[cuts[0] + 1 :].lower()


def _plain(name: str) -> str:
    return name.lower().replace("_", "-").strip("-")


def _host_part(address: str) -> str:
    """Return an address without its port."""
    host, colon, port = address.rpartition(":")
    return host.strip("[]") if colon and port.isdigit() else address
