"""Verification of what a peer sent before it becomes part of a log (pure)."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from covey.store.api import NodeId
from covey.store.entry import (
    DIGEST_BYTES,
    MAX_PAYLOAD_BYTES,
    Entry,
    chain_next,
    chain_start,
    head_is_signed,
)
from covey.store.ports import ChainHead, Quarantined, Trust
from covey.store.wire import Batch, Digests, FrameError, Payloads, unpack

_FRAME_KEPT = 4096


class Accepted(msgspec.Struct, frozen=True):
    """Entries to append, in order (none if all were held), and the head after them.

    `quarantined` are set aside, their stubs are among the entries; `missing` are the places whose
    payload another peer may have; at `irregular` places the origin's clock ran backwards.
    """

    entries: tuple[Entry, ...]
    head: ChainHead
    quarantined: tuple[Quarantined, ...] = ()
    missing: tuple[int, ...] = ()
    irregular: tuple[int, ...] = ()


class Gap(msgspec.Struct, frozen=True):
    """Entries between `held` and the batch are not here."""

    held: int


class UnknownOrigin(msgspec.Struct, frozen=True):
    """No statement held here says that the origin is a member."""


class Removed(msgspec.Struct, frozen=True):
    """The origin was removed, and its log ends at `cutoff`."""

    cutoff: int


class Mismatch(msgspec.Struct, frozen=True):
    """The chain does not end in the signed head: the digests tell which entry is bad."""


class Rejected(msgspec.Struct, frozen=True):
    """Even the digests do not verify: nothing of the batch is usable."""

    held: int
    reason: str


Outcome = Accepted | Gap | UnknownOrigin | Removed | Mismatch | Rejected


def verify(
    batch: Batch,
    head: ChainHead | None,
    trust: Trust,
    listed: Digests | None = None,
    *,
    last_hlc: int = 0,
) -> Outcome:
    """Decide about a batch, given how far its origin's log is held.

    `listed` are the digests asked for after a `Mismatch`; `last_hlc` is the clock of the last entry
    held. Never raises for what a peer may send.
    """
    held = head or ChainHead(0, chain_start(batch.origin))
    cutoff = trust.cutoff(batch.origin)
    if (refusal := _refusal(batch, held.seq, trust)) is not None:
        return refusal
    if batch.last <= held.seq:
        return Accepted((), held)
    try:
        entries = unpack(batch.origin, range(batch.after + 1, batch.last + 1), batch.run)
        digests = [entry.digest for entry in entries] if listed is None else _listed(batch, listed)
    except FrameError as error:
        return Rejected(held.seq, error.message)

    skipped = held.seq - batch.after
    signature = batch.signature if listed is None else listed.signature
    last = batch.last if cutoff is None else min(batch.last, cutoff)
    chain = _proven(batch, held, digests[skipped:], signature, trust)
    if chain is None:
        if listed is None:
            return Mismatch()
        return Rejected(held.seq, "the log that it sent does not agree with its signed head")

    sieve = _Sieve({batch.after + 1 + place for place in batch.run.absent})
    for entry, digest in zip(entries[skipped:], digests[skipped:], strict=True):
        if entry.seq <= last:
            sieve.add(entry, digest)
    if last == batch.last:
        sieve.entries[-1] = msgspec.structs.replace(sieve.entries[-1], signature=signature)
    return Accepted(
        tuple(sieve.entries),
        ChainHead(last, chain),
        tuple(sieve.quarantined),
        tuple(sieve.missing),
        _irregular(sieve.entries, last_hlc),
    )


def heal(stubs: Mapping[int, Entry], payloads: Payloads) -> list[Entry]:
    """Return the entries that truly belong in the places of these stubs, signatures kept."""
    try:
        entries = unpack(payloads.origin, payloads.seqs, payloads.run)
    except FrameError:
        return []
    return [
        msgspec.structs.replace(entry, signature=stub.signature)
        for entry in entries
        if entry.payload is not None
        and len(entry.payload) <= MAX_PAYLOAD_BYTES
        and (stub := stubs.get(entry.seq)) is not None
        and stub.payload is None
        and stub.digest == entry.digest
    ]


class _Sieve:
    """Parts the entries of an authentic batch into good ones and those that are set aside."""

    def __init__(self, absent: set[int]) -> None:
        self.entries: list[Entry] = []
        self.quarantined: list[Quarantined] = []
        self.missing: list[int] = []
        self._absent = absent

    def add(self, entry: Entry, digest: bytes) -> None:
        payload = entry.payload
        if payload is None:
            if entry.seq in self._absent:
                self._aside(entry, "its content was missing at the peer that sent it", b"")
                self.missing.append(entry.seq)
            self._stub(entry, digest)
        elif digest != entry.digest:
            self._aside(entry, "its content was altered on the way or in a peer's store", payload)
            self.missing.append(entry.seq)
            self._stub(entry, digest)
        elif len(payload) > MAX_PAYLOAD_BYTES:
            size = f"{len(payload):,} bytes, at most {MAX_PAYLOAD_BYTES:,} are allowed"
            self._aside(entry, f"its content is too large ({size})", payload)
            self._stub(entry, digest)
        else:
            self.entries.append(entry)

    def _aside(self, entry: Entry, reason: str, frame: bytes) -> None:
        self.quarantined.append(Quarantined(entry.origin, entry.seq, reason, frame[:_FRAME_KEPT]))

    def _stub(self, entry: Entry, digest: bytes) -> None:
        self.entries.append(msgspec.structs.replace(entry, payload=None, digest=digest))


def _refusal(batch: Batch, held: int, trust: Trust) -> Outcome | None:
    if trust.public_key(batch.origin) is None:
        return UnknownOrigin()
    if batch.after > held:
        return Gap(held)
    cutoff = trust.cutoff(batch.origin)
    if cutoff is not None and held >= cutoff and batch.last > held:
        return Removed(cutoff)
    return None


def _proven(
    batch: Batch, held: ChainHead, digests: list[bytes], signature: bytes, trust: Trust
) -> bytes | None:
    """Return the chain's value after the last entry to accept, None if nothing vouches for it."""
    key = trust.public_key(batch.origin)
    cutoff = trust.cutoff(batch.origin)
    chain, at_cutoff = held.chain, None
    for seq, digest in enumerate(digests, held.seq + 1):
        chain = chain_next(chain, digest)
        if seq == cutoff:
            at_cutoff = chain
    vouched = trust.cutoff_chain(batch.origin) if at_cutoff is not None else None
    if vouched is not None:
        return at_cutoff if vouched == at_cutoff else None
    if key is None or not head_is_signed(key, batch.origin, batch.last, chain, signature):
        return None
    return chain if at_cutoff is None else at_cutoff


def _listed(batch: Batch, listed: Digests) -> list[bytes]:
    """Return the digests of a batch's entries; raises `FrameError`."""
    asked: tuple[NodeId, int] = (batch.origin, batch.after)
    count = len(batch.run.payloads)
    if (listed.origin, listed.after) != asked or len(listed.digests) != count * DIGEST_BYTES:
        raise FrameError("The peer sent the digests of another range.")
    joined = listed.digests
    return [joined[at : at + DIGEST_BYTES] for at in range(0, len(joined), DIGEST_BYTES)]


def _irregular(entries: list[Entry], last_hlc: int) -> tuple[int, ...]:
    found: list[int] = []
    for entry in entries:
        if entry.payload is None:
            continue
        if entry.hlc <= last_hlc:
            found.append(entry.seq)
        last_hlc = max(last_hlc, entry.hlc)
    return tuple(found)
