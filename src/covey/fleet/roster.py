"""The roster: signed statements merged into one set, and the set folded into who is in the fleet.

The set is a grow-only map by slot (type, subject, signer) in which the highest (version, issued
at, digest) stands; what a retired CA signed counts no more and is dropped. Trust starts at the
fleet's id, which is the id of its first CA, and goes along the chain in which each CA introduces
its successor. A CA introduces one successor. Of two, while that CA is in force, the one that was
introduced first counts, so that two admins who rotate at once agree. Once it is retired here, the
one already held stands, so that a stolen old key cannot replace the chain. Nothing else depends on
the order in which statements come.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias, TypeVar

from covey.fleet.authority import authority_key_of
from covey.fleet.identity import node_id_of
from covey.fleet.statements import (
    Authority,
    Certificate,
    Contact,
    DataKeys,
    Generation,
    Leave,
    Member,
    Recovery,
    Removal,
    RenewalRequest,
    Retirement,
    Signed,
    Slot,
    Statement,
    place_of,
    signed_by_its_node,
)
from covey.operations.access import Role
from covey.store.api import NodeId

T = TypeVar("T", bound=Statement)
Statements: TypeAlias = Mapping[Slot, Signed]
_Link: TypeAlias = tuple[bytes, bytes]
_Candidate: TypeAlias = tuple[bool, int, bytes, bytes]


@dataclass(frozen=True, slots=True)
class TrustedAuthority:
    """One CA of the chain."""

    number: int
    key: bytes
    certificate: bytes = field(repr=False)
    retired: bool

    @property
    def id(self) -> str:
        """The CA's id."""
        return node_id_of(self.key)


@dataclass(frozen=True, slots=True)
class FleetMember:
    """A node's standing; `cutoff` is set when it was removed or left, `addresses` of relays."""

    node_id: NodeId
    statement: Member
    cutoff: int | None
    cutoff_chain: bytes | None
    left: bool
    certificate: bytes | None = field(repr=False)
    renewal: RenewalRequest | None
    addresses: tuple[str, ...]

    @property
    def present(self) -> bool:
        """Whether the node is in the fleet."""
        return self.cutoff is None

    @property
    def is_admin(self) -> bool:
        """Whether the node holds the CA's key."""
        return self.present and self.statement.role is Role.ADMIN


@dataclass(frozen=True, slots=True)
class Roster:
    """Who is in the fleet, as the statements say."""

    fleet_id: str
    authorities: tuple[TrustedAuthority, ...] = ()
    members: Mapping[NodeId, FleetMember] = field(default_factory=dict)
    generations: tuple[Generation, ...] = ()
    data_keys: tuple[DataKeys, ...] = ()
    recovery: tuple[Recovery, ...] = ()

    @property
    def trusted(self) -> tuple[TrustedAuthority, ...]:
        """The CAs in force, newest last."""
        return tuple(item for item in self.authorities if not item.retired)

    @property
    def present(self) -> list[FleetMember]:
        """The members in the fleet, by node id."""
        return [self.members[key] for key in sorted(self.members) if self.members[key].present]

    @property
    def admins(self) -> list[FleetMember]:
        """The members that hold the CA's key."""
        return [member for member in self.present if member.is_admin]


@dataclass(frozen=True, slots=True)
class Refused:
    """A statement that was not taken in, and why, for people."""

    reason: str
    statement: str


@dataclass(frozen=True, slots=True)
class Merged:
    """The statements after a merge, and those that were refused."""

    statements: Statements
    refused: tuple[Refused, ...]


def merge(fleet_id: str, held: Statements, incoming: Iterable[Signed]) -> Merged:
    """Take in the statements that verify; the others are listed as refused and change nothing."""
    fresh = list(incoming)
    chain = _chain(fleet_id, held.values(), fresh)
    pool = _best([*held.values(), *fresh])
    retired = _retired_number(chain, pool.values())
    numbers = {key: number for number, (key, _) in enumerate(chain)}
    by_authority = {
        slot: item
        for slot, item in pool.items()
        if not signed_by_its_node(item.statement)
        and _authority_counts(item, chain, numbers, retired)
    }
    members = _members(by_authority.values())
    by_node = {
        slot: item
        for slot, item in pool.items()
        if signed_by_its_node(item.statement) and _node_counts(item, members, by_authority)
    }
    kept = by_authority | by_node
    return Merged(kept, tuple(_refused(fresh, kept, numbers, retired)))


def fold(fleet_id: str, statements: Statements) -> Roster:
    """Compute the roster from a merged set."""
    signed = list(statements.values())
    chain = _chain(fleet_id, signed, ())
    retired = _retired_number(chain, signed)
    removals = _latest(signed, Removal)
    leaves = _latest(signed, Leave)
    certificates = _latest(signed, Certificate)
    renewals = _latest(signed, RenewalRequest)
    contacts = _latest(signed, Contact)
    members: dict[NodeId, FleetMember] = {}
    for node, statement in _members(signed).items():
        removal, leave = removals.get(node), leaves.get(node)
        out = removal or leave
        certificate = certificates.get(node)
        members[NodeId(node)] = FleetMember(
            node_id=NodeId(node),
            statement=statement,
            cutoff=out.cutoff if out is not None else None,
            cutoff_chain=out.chain if out is not None else None,
            left=removal is None and leave is not None,
            certificate=certificate.certificate if certificate is not None else None,
            renewal=renewals.get(node),
            addresses=contacts[node].addresses if node in contacts else (),
        )
    generations = sorted(
        _latest(signed, Generation).values(), key=lambda item: (item.number, item.id), reverse=True
    )
    return Roster(
        fleet_id=fleet_id,
        authorities=tuple(
            TrustedAuthority(number, key, certificate, number <= retired)
            for number, (key, certificate) in enumerate(chain)
        ),
        members=members,
        generations=tuple(generations),
        data_keys=tuple(_latest(signed, DataKeys).values()),
        recovery=_recovery(_latest(signed, Recovery).values()),
    )


def _chain(fleet_id: str, held: Iterable[Signed], fresh: Iterable[Signed]) -> list[_Link]:
    """Follow the CAs from the first; of a retired one's successors the one held counts."""
    known, added = list(held), list(fresh)
    alone = _follow(fleet_id, known, (), -1)
    return _follow(fleet_id, known, added, _retired_number(alone, known)) if added else alone


def _follow(
    fleet_id: str, held: Iterable[Signed], fresh: Iterable[Signed], retired: int
) -> list[_Link]:
    introductions: dict[tuple[bytes, int], list[_Candidate]] = {}
    for is_new, source in ((False, held), (True, fresh)):
        for item in source:
            if isinstance(item.statement, Authority):
                place = (item.signer, item.statement.number)
                late = is_new and item.statement.number - 1 <= retired
                candidate = (late, item.issued_at, item.digest, item.statement.certificate)
                introductions.setdefault(place, []).append(candidate)
    chain: list[_Link] = []
    signer = next((key for key, number in introductions if _founds(key, number, fleet_id)), None)
    while signer is not None:
        link = _next_link(introductions.get((signer, len(chain)), ()), chain, signer)
        if link is not None:
            chain.append(link)
        signer = link[0] if link is not None else None
    return chain


def _next_link(candidates: Iterable[_Candidate], chain: list[_Link], signer: bytes) -> _Link | None:
    known = {key for key, _ in chain}
    for *_, certificate in sorted(candidates):
        key = authority_key_of(certificate)
        if key not in known and (chain or key == signer):
            return key, certificate
    return None


def _founds(signer: bytes, number: int, fleet_id: str) -> bool:
    return number == 0 and node_id_of(signer) == fleet_id


def _retired_number(chain: list[_Link], signed: Iterable[Signed]) -> int:
    """Return the number of the last retired CA, -1 for none."""
    numbers = {key: number for number, (key, _) in enumerate(chain)}
    places: dict[bytes, set[bytes]] = {}
    retirements: list[tuple[bytes, Retirement]] = []
    for item in signed:
        if isinstance(item.statement, Retirement):
            retirements.append((item.signer, item.statement))
        else:
            places.setdefault(item.signer, set()).add(place_of(item.statement))
    return max(
        (
            statement.number
            for signer, statement in retirements
            if statement.number < numbers.get(signer, -1)
            and places.get(signer, set()).issuperset(statement.restated)
        ),
        default=-1,
    )


def _authority_counts(
    item: Signed, chain: list[_Link], numbers: Mapping[bytes, int], retired: int
) -> bool:
    signer = numbers.get(item.signer)
    if signer is None:
        return False
    match item.statement:
        case Authority(number=number, certificate=certificate):
            link = chain[number][0] if number < len(chain) else None
            return signer == max(number - 1, 0) and authority_key_of(certificate) == link
        case Retirement(number=number):
            return signer > retired and number < signer
        case _:
            return signer > retired


def _node_counts(item: Signed, members: Mapping[str, Member], others: Statements) -> bool:
    statement = item.statement
    match statement:
        case Leave(node_id=node):
            return node in members
        case RenewalRequest(node_id=node) | Contact(node_id=node):
            removed = any(
                isinstance(other.statement, Removal) and other.statement.node_id == node
                for other in others.values()
            )
            return node in members and not removed
        case _:
            return False


def _refused(
    fresh: list[Signed], kept: Statements, numbers: Mapping[bytes, int], retired: int
) -> Iterable[Refused]:
    for item in fresh:
        stands = kept.get(item.slot)
        if stands is not None and stands.rank >= item.rank:
            continue
        if signed_by_its_node(item.statement):
            reason = "it comes from a node that is not a member"
        elif item.signer not in numbers:
            reason = "its signer is not an authority of this fleet"
        elif numbers[item.signer] <= retired:
            reason = "its signer is a retired authority"
        else:
            reason = "it does not fit the authorities known here"
        yield Refused(reason, type(item.statement).__name__)


def _best(signed: Iterable[Signed]) -> dict[Slot, Signed]:
    best: dict[Slot, Signed] = {}
    for item in signed:
        present = best.get(item.slot)
        if present is None or item.rank > present.rank:
            best[item.slot] = item
    return best


def _latest(signed: Iterable[Signed], kind: type[T]) -> dict[str, T]:
    best: dict[str, tuple[tuple[int, int, bytes], T]] = {}
    for item in signed:
        if isinstance(item.statement, kind):
            subject = item.slot[1]
            if subject not in best or item.rank > best[subject][0]:
                best[subject] = item.rank, item.statement
    return {subject: statement for subject, (_, statement) in sorted(best.items())}


def _members(signed: Iterable[Signed]) -> dict[str, Member]:
    return _latest(signed, Member)


def _recovery(found: Iterable[Recovery]) -> tuple[Recovery, ...]:
    boxes = list(found)
    if not boxes:
        return ()
    newest = max(boxes, key=lambda item: (item.number, item.sign_key))
    return tuple(item for item in boxes if item.sign_key == newest.sign_key)
