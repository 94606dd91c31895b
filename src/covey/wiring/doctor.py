"""The checks of `covey doctor`: each thing that can be wrong with a node, and its fix."""

from __future__ import annotations

import shutil
import stat
from datetime import timedelta
from pathlib import Path

from covey.errors import CoveyError
from covey.fleet.authority import read_certificate, utc_now
from covey.fleet.node import Check, CheckState, NodeState
from covey.paths import Paths
from covey.settings import load
from covey.store.health import StoreHealth
from covey.wiring.open_node import Frame, OpenNode
from covey.wiring.reports import describe_peers, way_back

_LOW_SPACE = 200 << 20
_SKEW_MS = 30_000


async def run_checks(frame: Frame, node: OpenNode | None, notes: list[str]) -> list[Check]:
    """Run all checks; those that need the keys say so while the node is locked."""
    found = [
        _settings(frame.paths),
        _private(frame.paths),
        _space(frame.paths),
        *(
            _check("start", CheckState.WARNING, note, "See the log: covey agent logs")
            for note in notes
        ),
    ]
    if node is None:
        return [*found, _check("keys", CheckState.WARNING, "The node is locked.", "covey unlock")]
    found += [
        _membership(frame.paths, node),
        _certificate(node),
        await _database(node),
        *_store(node.store.health()),
    ]
    if not node.is_relay:
        found.append(_conflicts(node))
    if node.hosting is not None and node.hosting.begun is not None:
        from covey.wiring.doctor_hosting import hosting_checks

        found += await hosting_checks(node.hosting.begun)
    return [*found, *_peers(node)]


def _settings(paths: Paths) -> Check:
    try:
        loaded = load(paths.settings_file)
    except CoveyError as error:
        return _check("settings", CheckState.FAILED, error.message, error.hint)
    if loaded.warnings:
        return _check(
            "settings", CheckState.WARNING, " ".join(loaded.warnings), "Unset or rename it."
        )
    return _ok("settings", f"{paths.settings_file} is valid or absent.")


def _private(paths: Paths) -> Check:
    for directory in (paths.data_dir, paths.run_dir):
        mode = stat.S_IMODE(Path(directory).stat().st_mode)
        if mode & 0o077:
            return _check(
                "permissions",
                CheckState.FAILED,
                f"{directory} can be read by other users.",
                f"chmod 700 {directory}",
            )
    return _ok("permissions", "The node's files are readable by their owner alone.")


def _space(paths: Paths) -> Check:
    free = shutil.disk_usage(paths.data_dir).free
    if free < _LOW_SPACE:
        return _check(
            "disk",
            CheckState.WARNING,
            f"Only {free >> 20} MiB are free for {paths.data_dir}.",
            "Free some space: when the disk is full, writes are refused.",
        )
    return _ok("disk", f"{free >> 30} GiB are free.")


def _membership(paths: Paths, node: OpenNode) -> Check:
    if node.is_member:
        return _ok("membership", f"{NodeState.READY.value}: this machine is in the fleet.")
    return _check(
        "membership",
        CheckState.FAILED,
        "This machine is not in the fleet any more.",
        way_back(paths.data_dir),
    )


def _certificate(node: OpenNode) -> Check:
    found = read_certificate(node.keys.secrets.certificate)
    left = found.not_after - utc_now()
    if left < timedelta(0):
        return _check(
            "certificate",
            CheckState.FAILED,
            "This node's certificate has expired, so no peer talks to it.",
            "Connect it to an admin node, which renews it: covey sync. Check the clock, too.",
        )
    if found.renewal_due(utc_now()):
        return _check(
            "certificate",
            CheckState.WARNING,
            f"The certificate ends in {left.days} days and waits for an admin node to renew it.",
            "Start an admin node, and connect to it: covey sync",
        )
    return _ok("certificate", f"Valid for {left.days} days; it is renewed by itself.")


async def _database(node: OpenNode) -> Check:
    problem = await node.database.check()
    if problem is None:
        return _ok("database", f"Sound, {node.database.size() >> 10} KiB.")
    return _check(
        "database",
        CheckState.FAILED,
        problem,
        "Restart the node: it sets the file aside and restores it from a backup or the peers.",
    )


def _store(health: StoreHealth) -> list[Check]:
    found = [
        _check(
            "entries",
            CheckState.WARNING,
            f"Entry {item.seq} of node {item.origin[:8]} is set aside: {item.reason}.",
            "It is fetched again from other peers; nothing else waits for it.",
        )
        for item in health.quarantined
    ]
    if health.held:
        found.append(
            _check(
                "clocks",
                CheckState.WARNING,
                f"{health.held} entries are dated far in the future and wait for that time.",
                "Set the clock of the node that wrote them (covey peers shows the skew).",
            )
        )
    if health.undecryptable and not health.relay:
        found.append(
            _check(
                "data keys",
                CheckState.WARNING,
                f"{health.undecryptable} entries wait for a data key that this node lacks.",
                "Connect to an admin node: covey sync",
            )
        )
    if health.fence is not None:
        unmet = ", ".join(node[:8] for node in health.fence.unmet) or "nobody"
        found.append(
            _check(
                "restore",
                CheckState.WARNING,
                f"This node was restored and may not write before it has met: {unmet}.",
                "Start those nodes; if they are gone for good: covey node allow-writes",
            )
        )
    if health.forked:
        found.append(
            _check(
                "log",
                CheckState.FAILED,
                "Peers hold another end of this node's own log and refuse its entries.",
                "Remove this node (covey fleet remove NAME, on an admin) and join it anew.",
            )
        )
    return found or [_ok("entries", f"{health.entries} from {health.logs} nodes, all sound.")]


def _conflicts(node: OpenNode) -> Check:
    count = len(node.env.records.conflicts())
    if count:
        return _check(
            "conflicts",
            CheckState.WARNING,
            f"{count} {'variable was' if count == 1 else 'variables were'} changed on two machines "
            "at once.",
            "covey env conflicts, then covey env resolve NAME",
        )
    return _ok("conflicts", "No variable was changed on two machines at once.")


def _peers(node: OpenNode) -> list[Check]:
    found = []
    for peer in describe_peers(node):
        name = peer.name or peer.node_id[:8]
        if peer.state == "unreachable":
            why = f": {peer.last_error}" if peer.last_error else ""
            found.append(
                _check(
                    f"peer {name}",
                    CheckState.WARNING,
                    f"Not connected{why}",
                    "Start it, or check its address: covey fleet show " + name,
                )
            )
        elif peer.clock_skew_ms is not None and abs(peer.clock_skew_ms) > _SKEW_MS:
            found.append(
                _check(
                    f"peer {name}",
                    CheckState.WARNING,
                    f"Its clock differs by {peer.clock_skew_ms / 1000:.0f} s.",
                    "Set the clocks of both machines (NTP).",
                )
            )
        else:
            found.append(_ok(f"peer {name}", f"Connected at {peer.address}, {peer.state}."))
    return found


def _ok(name: str, message: str) -> Check:
    return Check(name, CheckState.OK, message)


def _check(name: str, state: CheckState, message: str, fix: str | None) -> Check:
    return Check(name, state, message, fix)
