"""What the command line does with a home while no daemon answers: make, join, recover, serve."""

from __future__ import annotations

import asyncio
import contextlib
import os
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from covey.engines.sqlite.local_storage import SqliteLocalState
from covey.errors import (
    ConflictError,
    CoveyError,
    InvalidRequestError,
    NotFoundError,
    UnreachableError,
)
from covey.fleet.authority import utc_now
from covey.fleet.founding import FirstKeys, Founded, found_fleet, open_all, regain_fleet
from covey.fleet.identity import NodeIdentity
from covey.fleet.invitation import read_token
from covey.fleet.joining import accept_join, ask_to_join
from covey.fleet.key_file import make_key_file
from covey.fleet.keyring import Keyring, OpenKeyring, create_keyring, read_keyring, write_keyring
from covey.fleet.machine import Machine, this_machine
from covey.fleet.node_secrets import NodeSecrets
from covey.fleet.recovery import ask_for_recovery, read_recovery_key
from covey.fleet.renewal import ask_for_renewal
from covey.fleet.roster import fold
from covey.fleet.roster_store import FleetRoster
from covey.fleet.statements import NodeKind
from covey.home import prepare_directories
from covey.operations.secret import Secret
from covey.paths import Paths, find_paths
from covey.settings import Settings, load, parse_address
from covey.surfaces.cli.node_control import (
    InitReport,
    JoinReport,
    KeyFileUnlock,
    PasswordUnlock,
    UnlockChoice,
)
from covey.surfaces.peer.requests import fetch_authority, post
from covey.surfaces.peer.service import CHALLENGE_PATH, JOIN_PATH, RECOVER_PATH, RENEW_PATH
from covey.wiring.database import OpenedDatabase
from covey.wiring.home_lock import HomeInUseError, hold_home
from covey.wiring.peer_port import pinned_authority
from covey.wiring.seed import Seed, SeedFile


def create_node_control() -> HomeControl:
    """Return the control of the home that the environment names."""
    return HomeControl(find_paths())


class HomeControl:
    """Implements the CLI's `NodeControl` for the node of one home."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths

    def is_initialized(self) -> bool:
        """Whether the home holds a node's keys."""
        return Path(self._paths.keyring).exists()

    def unlocks_by_password(self) -> bool:
        """Whether a password is what opens the keys, and no key file does."""
        keyring = self._keyring()
        return keyring.has_password and keyring.key_file is None

    def is_running(self) -> bool:
        """Whether a daemon holds this home's lock."""
        if not Path(self._paths.lock_file).exists():
            return False
        try:
            with hold_home(self._paths):
                return False
        except HomeInUseError:
            return True

    def init(self, name: str | None, unlock: UnlockChoice) -> InitReport:
        """Make a new fleet; raises `ConflictError` if the home has a node."""
        settings = self._settings()
        machine = this_machine(name or settings.node.name)
        with self._new_home():
            founded = found_fleet(machine, utc_now(), life=_life(settings))
            self._keep(founded.keys, unlock, [])
        secrets = founded.keys.secrets
        return InitReport(
            secrets.name,
            secrets.node_id,
            secrets.fleet_id,
            Secret(founded.recovery_key.text),
        )

    def join(self, token: Secret, name: str | None, unlock: UnlockChoice) -> JoinReport:
        """Join with an invitation; raises `ConflictError`, `RefusedError`, `UnreachableError`."""
        invitation = read_token(token.reveal())
        machine = this_machine(name or self._settings().node.name)
        identity = NodeIdentity.generate()
        with self._new_home():
            request = ask_to_join(invitation, identity, machine, utc_now())
            address, answer = asyncio.run(
                _first_answer(invitation.addresses, invitation.authority, request)
            )
            keys = accept_join(invitation, identity, machine, request, answer, utc_now())
            self._keep(keys, unlock, list(invitation.addresses))
        return _joined(keys, address)

    def recover(
        self, address: str, recovery_key: Secret, name: str | None, unlock: UnlockChoice
    ) -> JoinReport:
        """Become an admin of the fleet of the node at `address`, by the recovery key."""
        settings = self._settings()
        machine = this_machine(name or settings.node.name)
        with self._new_home():
            regained = asyncio.run(_regain(address, recovery_key, machine, _life(settings)))
            keys = regained.keys
            self._keep(keys, unlock, [address])
            # Kept first: once the fleet knows the new recovery key, the old one is useless.
            asyncio.run(_make_known(address, keys))
        report = _joined(keys, address)
        return replace(report, recovery_key=Secret(regained.recovery_key.text))

    def serve(self, listen: str | None, password: Secret | None, *, as_json: bool) -> int:
        """Become the daemon; raises `CoveyError` for settings that are wrong."""
        from covey.wiring.process import become_daemon

        load(self._paths.settings_file)
        if listen is not None:
            try:
                os.environ["COVEY_SERVER_LISTEN"] = str(parse_address(listen))
            except ValueError as error:
                raise InvalidRequestError(
                    f"--listen cannot be used: {error}.", hint="Write it like 0.0.0.0:13500."
                ) from error
        return become_daemon(password, as_json=as_json)

    def _keyring(self) -> Keyring:
        return read_keyring(Path(self._paths.keyring))

    def _settings(self) -> Settings:
        return load(self._paths.settings_file).settings

    def _new_home(self) -> _NewHome:
        return _NewHome(self._paths)

    def _keep(self, keys: FirstKeys, unlock: UnlockChoice, addresses: list[str]) -> None:
        """Write the database first and the keyring last: a node is there once its keyring is."""
        paths = self._paths
        opened = _wrap(keys.secrets, unlock)
        database = OpenedDatabase(
            paths, keys.secrets.database_key, keep_backups=self._settings().store.backups
        )
        try:
            roster = FleetRoster(keys.secrets.fleet_id, SqliteLocalState(database.database))
            asyncio.run(_adopt(roster, keys.statements))
        finally:
            database.close()
        seed = SeedFile(Path(paths.data_dir) / "fleet.seed", keys.secrets.database_key)
        seed.write(Seed(keys.statements, addresses))
        write_keyring(Path(paths.keyring), opened.keyring)


class _NewHome:
    """Holds a home that has no node yet; what a failed attempt left there is moved aside."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._held = hold_home(paths)

    def __enter__(self) -> None:
        prepare_directories(self._paths)
        self._held.__enter__()
        if Path(self._paths.keyring).exists():
            self._held.__exit__(None, None, None)
            raise ConflictError(
                f"This home has a node already ({self._paths.data_dir}).",
                hint="Use it (covey up), or set COVEY_HOME to another directory.",
            )
        # These tell of a node whose keys are gone: its log's end would fence off the new one's.
        for name in ("published", "fleet.seed"):
            (Path(self._paths.data_dir) / name).unlink(missing_ok=True)
        for path in sorted(Path(self._paths.data_dir).glob("covey.db*")):
            if not path.name.startswith("covey.db.unfinished-"):
                path.replace(path.with_name(f"covey.db.unfinished-{os.getpid()}{path.name[8:]}"))

    def __exit__(self, *problem: object) -> None:
        self._held.__exit__(None, None, None)


async def _adopt(roster: FleetRoster, statements: list[bytes]) -> None:
    await roster.merge(statements)


async def _first_answer(
    addresses: tuple[str, ...], authority: bytes, request: bytes
) -> tuple[str, bytes]:
    """Post the request to the first address that can be reached."""
    failures: list[CoveyError] = []
    for address in addresses:
        try:
            pem = await pinned_authority(address, authority)
            return address, await post(address, JOIN_PATH, request, pem)
        except UnreachableError as error:
            failures.append(error)
    raise UnreachableError(
        "The inviting node cannot be reached: " + " ".join(item.message for item in failures),
        hint="Start it, check the network between the two machines, or advertise another address "
        "there: server.advertise in covey.toml",
    )


async def _regain(address: str, recovery_key: Secret, machine: Machine, life: timedelta) -> Founded:
    key = read_recovery_key(recovery_key.reveal())
    pem = await fetch_authority(address)
    challenge = await post(address, CHALLENGE_PATH, b"", pem)
    answer = await post(address, RECOVER_PATH, ask_for_recovery(key, challenge), pem)
    return regain_fleet(key, answer, machine, utc_now(), life)


async def _make_known(address: str, keys: FirstKeys) -> None:
    """Tell the fleet of this machine; if that fails, the daemon does it when it connects.

    No failure may come out of it: the new recovery key is still to be shown, this once.
    """
    secrets = keys.secrets
    request = ask_for_renewal(secrets.identity, secrets.fleet_id, keys.statements, utc_now())
    with contextlib.suppress(CoveyError):
        await post(address, RENEW_PATH, request, await fetch_authority(address))


def _joined(keys: FirstKeys, address: str) -> JoinReport:
    secrets = keys.secrets
    roster = fold(secrets.fleet_id, open_all(secrets.fleet_id, keys.statements))
    member = roster.members.get(secrets.node_id)
    if member is None:
        raise NotFoundError(
            "The fleet's answer does not name this machine.", hint="Ask for a new invitation."
        )
    is_relay = member.statement.kind is NodeKind.RELAY
    return JoinReport(
        secrets.name,
        secrets.node_id,
        secrets.fleet_id,
        "relay" if is_relay else member.statement.role.label,
        address,
    )


def _wrap(secrets: NodeSecrets, unlock: UnlockChoice) -> OpenKeyring:
    match unlock:
        case PasswordUnlock(password):
            return create_keyring(secrets, password=password)
        case KeyFileUnlock(path):
            key_file = Path(path)
            return create_keyring(secrets, key_file=(key_file, make_key_file(key_file)))


def _life(settings: Settings) -> timedelta:
    return timedelta(days=settings.fleet.certificate_days)
