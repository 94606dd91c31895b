"""What a node does for its fleet unasked: it renews certificates and answers recoveries."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterable

import msgspec

from covey.errors import RateLimitedError, RefusedError, UnauthenticatedError
from covey.fleet.authority import read_certificate, verify_certificate
from covey.fleet.core import FleetCore
from covey.fleet.founding import open_each
from covey.fleet.recovery import CHALLENGE_BYTES, RecoverAnswer, read_recover_request
from covey.fleet.renewal import accept_renewal, answer_renewal, ask_for_renewal, read_renewal
from covey.fleet.roster import FleetMember, Statements, fold, merge
from covey.fleet.statements import (
    Authority,
    Removal,
    RenewalRequest,
    Retirement,
    Signed,
)

CHALLENGE_LIFE_S = 120
_MAX_CHALLENGES = 1000
_CHECKED_AT_ONCE = 64
_log = logging.getLogger("covey.fleet")


class Upkeep:
    """Renewals and recoveries of one unlocked node."""

    def __init__(self, core: FleetCore) -> None:
        self._core = core
        self._challenges: dict[bytes, float] = {}

    async def keep_certificates(self) -> None:
        """Renew what is due: the own certificate, and as an admin those that members ask for."""
        core = self._core
        core.take_up()
        due = self._due([core.me])
        if self._is_issuer():
            mine = due or ([] if self._is_named() else [core.me])
            asked = [member for member in core.roster.present if self._asks(member)]
            await self._certify([*mine, *self._due(asked)])
        elif due and not self._asks(core.me):
            await self._ask()

    async def renew(self, request: bytes) -> bytes:
        """Answer a member that has no valid certificate with all statements, sealed to it.

        A removed member is told of its removal and nothing else.

        On an admin node they hold its new certificate. Raises `UnauthenticatedError` for those
        who are no members.
        """
        core = self._core
        fleet_id = core.roster.fleet_id
        content = read_renewal(request, fleet_id, core.now)
        # What a stranger brings counts only if it makes them a member.
        brought: list[Signed] = []
        for at in range(0, len(content.statements), _CHECKED_AT_ONCE):
            brought += open_each(fleet_id, content.statements[at : at + _CHECKED_AT_ONCE])
            await asyncio.sleep(0)
        merged = merge(fleet_id, core.roster_store.statements, brought).statements
        member = fold(fleet_id, merged).members.get(content.node_id)
        if member is None:
            raise UnauthenticatedError(
                "The renewal request is not from a member of this fleet.",
                hint="Join again with a new invitation: covey join TOKEN",
            )
        if not member.present:
            # It was cut off before it could hear of its removal, and learns that alone.
            news = _news_of_removal(core.roster_store.statements, member)
            return answer_renewal(fleet_id, member.statement.seal_key, news)
        await core.roster_store.adopt(brought)
        if self._is_issuer():
            await self._certify(self._due([member]))
        statements = core.roster_store.export()
        return answer_renewal(fleet_id, member.statement.seal_key, statements)

    def renewal_request(self) -> bytes:
        """Make this node's own request, to be posted to a peer that refuses its certificate."""
        core = self._core
        statements = core.roster_store.export()
        return ask_for_renewal(core.keys.identity, core.roster.fleet_id, statements, core.now)

    async def accept_renewal(self, answer: bytes) -> bool:
        """Take in a peer's answer to the own request; True if it brought anything new."""
        core = self._core
        found = accept_renewal(core.keys.identity, core.roster.fleet_id, answer)
        return await core.roster_store.merge(found)

    def challenge(self) -> bytes:
        """Return a challenge for a recovery, good once and for two minutes."""
        now = self._core.now.timestamp()
        self._challenges = {key: end for key, end in self._challenges.items() if end > now}
        if len(self._challenges) >= _MAX_CHALLENGES:
            raise RateLimitedError(
                "Too many recoveries are under way.",
                hint="Try again in two minutes.",
                details={"retry_after": CHALLENGE_LIFE_S},
            )
        challenge = os.urandom(CHALLENGE_BYTES)
        self._challenges[challenge] = now + CHALLENGE_LIFE_S
        return challenge

    def recover(self, request: bytes) -> bytes:
        """Answer a recovery key's holder with all statements; raises `UnauthenticatedError`."""
        core = self._core
        found = read_recover_request(request, core.roster)
        end = self._challenges.pop(found.challenge, None)
        if end is None or end <= core.now.timestamp():
            raise UnauthenticatedError(
                "The challenge was used already or is too old.", hint="Start the recovery again."
            )
        _log.warning("the recovery key was used: the fleet's statements were handed out")
        statements = core.roster_store.export()
        return msgspec.msgpack.encode(RecoverAnswer(core.roster.fleet_id, statements))

    def _is_issuer(self) -> bool:
        try:
            self._core.issuer()
        except RefusedError:
            return False
        return True

    def _due(self, members: Iterable[FleetMember]) -> list[FleetMember]:
        return [member for member in members if self._is_due(member)]

    def _is_due(self, member: FleetMember) -> bool:
        if member.certificate is None:
            return True
        trusted = [item.certificate for item in self._core.roster.trusted]
        # A certificate that begins in the future tells of clocks that differ: a new one is no cure.
        at = max(self._core.now, read_certificate(member.certificate).not_before)
        try:
            return verify_certificate(member.certificate, trusted, at).renewal_due(at)
        except UnauthenticatedError:
            return True

    def _is_named(self) -> bool:
        """Whether the own certificate has the names that this node advertises."""
        certificate = self._core.me.certificate or self._core.keys.secrets.certificate
        return read_certificate(certificate).names_all(self._core.around.advertised)

    def _asks(self, member: FleetMember) -> bool:
        """Whether the member asks to replace the very certificate that it has."""
        if member.renewal is None or member.certificate is None:
            return False
        return member.renewal.serial == _serial(member.certificate)

    async def _certify(self, members: Iterable[FleetMember]) -> None:
        core = self._core
        chosen = {member.node_id: member for member in members}
        if not chosen:
            return
        async with core.changing:
            issuer = core.issuer()
            await core.commit(issuer.certify(member.statement) for member in chosen.values())

    async def _ask(self) -> None:
        core = self._core
        serial = _serial(core.me.certificate or core.keys.secrets.certificate)
        await core.commit([core.sign_own(RenewalRequest(core.keys.node_id, serial))])


def _news_of_removal(statements: Statements, member: FleetMember) -> list[bytes]:
    return [
        item.raw
        for item in statements.values()
        if isinstance(item.statement, Authority | Retirement)
        or (isinstance(item.statement, Removal) and item.statement.node_id == member.node_id)
    ]


def _serial(certificate: bytes) -> str:
    return f"{read_certificate(certificate).serial:x}"
