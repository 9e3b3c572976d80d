"""Merkle tree over an event's payments, as the contract checks it.

Leaves stand in the order of their index. Each level pairs neighbours and hashes the smaller hash first; an odd
last node moves up unchanged. So node ``c`` of level ``k`` covers exactly the leaves ``[c * 2**k, (c + 1) * 2**k)``,
and one proof covers a batch of payments as well as a single one. A leaf is hashed twice and an inner node
once, so neither can pass for the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from eth_hash.auto import keccak

MAX_PAYMENT = 2**96 - 1
"""Largest payment that a leaf can hold. [minor units]"""


@dataclass(frozen=True)
class Leaf:
    """What the contract pays by: one resource's result in one event.

    ``resource``, ``event`` and ``certificate_hash`` are 32 bytes, ``wallet`` is 20 bytes; ``reduction_wh`` is the
    certified reduction, never negative [Wh]; ``payment`` is in minor units, at most `MAX_PAYMENT`.
    """

    event: bytes
    index: int
    resource: bytes
    wallet: bytes
    reduction_wh: int
    payment: int
    certificate_hash: bytes

    @property
    def payee(self) -> bytes:
        """Who is paid and how much: the wallet, then the payment in 12 bytes. 32 bytes."""
        return self.wallet + self.payment.to_bytes(12, "big")

    @property
    def detail(self) -> bytes:
        """Keccak of resource, reduction and certificate hash as words: what a payment needn't spell out. 32 bytes."""
        return keccak(self.resource + self.reduction_wh.to_bytes(32, "big") + self.certificate_hash)

    def hash(self) -> bytes:
        """Leaf hash: keccak of keccak of event, index, payee and detail as 32-byte words."""
        hashes = (self.event, self.resource, self.certificate_hash)
        if len(self.wallet) != 20 or any(len(word) != 32 for word in hashes):
            raise ValueError(f"leaf {self.index}: a hash is not 32 bytes or the wallet not 20")
        return keccak(keccak(self.event + self.index.to_bytes(32, "big") + self.payee + self.detail))


def event_key(event_id: str) -> bytes:
    """The 32 bytes by which contracts know an event.

    >>> event_key("e1") != event_key("e2"), len(event_key("e1"))
    (True, 32)
    """
    return keccak(event_id.encode())


class MerkleTree:
    """The tree over ``leaves`` (hashes, in index order).

    >>> tree = MerkleTree([Leaf(bytes(32), n, bytes(32), bytes(20), 0, 0, bytes(32)).hash() for n in range(5)])
    >>> [len(tree.proof(n)) for n in range(5)]
    [3, 3, 3, 3, 1]
    """

    def __init__(self, leaves: Sequence[bytes]) -> None:
        if not leaves:
            raise ValueError("a Merkle tree needs at least one leaf")
        self._levels = [list(leaves)]
        while len(self._levels[-1]) > 1:
            below = self._levels[-1]
            above = [pair_hash(below[n], below[n + 1]) for n in range(0, len(below) - 1, 2)]
            if len(below) % 2:
                above.append(below[-1])
            self._levels.append(above)

    @property
    def root(self) -> bytes:
        """Hash at the top. 32 bytes."""
        return self._levels[-1][0]

    def proof(self, node: int, level: int = 0) -> list[bytes]:
        """Sibling hashes from ``node`` of ``level`` up to the root, lowest first."""
        siblings = []
        for nodes in self._levels[level:-1]:
            if (sibling := node ^ 1) < len(nodes):
                siblings.append(nodes[sibling])
            node >>= 1
        return siblings


def pair_hash(a: bytes, b: bytes) -> bytes:
    """Hash of an inner node; the order of its children doesn't matter."""
    return keccak(a + b if a < b else b + a)
