"""Logs of one origin, built entry by entry, for the tests of replication."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from covey.store.entry import Entry, chain_next, chain_start, digest_of, header, sign_head
from covey.store.ports import ChainHead
from covey.store.wire import Batch, pack
from tests.store.keys import NodeSigner

GENERATION = b"generation-one.."


class Log:
    """An origin's own log; `signed` are the sequence numbers with a signed head."""

    def __init__(
        self,
        signer: NodeSigner,
        payloads: Sequence[bytes],
        *,
        signed: Iterable[int] | None = None,
        clocks: Sequence[int] | None = None,
    ) -> None:
        self.signer = signer
        self.origin = signer.node_id
        self.entries: list[Entry] = []
        self.heads = [ChainHead(0, chain_start(self.origin))]
        ends = {len(payloads)} if signed is None else set(signed)
        for seq, payload in enumerate(payloads, 1):
            hlc = clocks[seq - 1] if clocks else seq << 16
            key_hash = seq.to_bytes(16, "big")
            head = header(self.origin, seq, hlc, "env", key_hash, GENERATION)
            digest = digest_of(head, payload)
            chain = chain_next(self.heads[-1].chain, digest)
            self.heads.append(ChainHead(seq, chain))
            signature = (
                sign_head(signer.signing_key, self.origin, seq, chain) if seq in ends else b""
            )
            self.entries.append(
                Entry(
                    self.origin, seq, hlc, "env", key_hash, GENERATION, payload, digest, signature
                )
            )
        self.reads = 0

    def read(self, origin: str, after: int, limit: int) -> list[Entry]:
        self.reads += 1
        return self.entries[after : after + limit] if origin == self.origin else []

    def batch(self, after: int, last: int, *, absent: Iterable[int] = ()) -> Batch:
        part = self.entries[after:last]
        chain = self.heads[last].chain
        signature = sign_head(self.signer.signing_key, self.origin, last, chain)
        return Batch(self.origin, after, pack(part, set(absent)), signature)

    def alter(self, seq: int, **changes: object) -> None:
        """Change a stored entry without its digest, as a damaged store does."""
        self.entries[seq - 1] = replace(self.entries[seq - 1], **changes)
