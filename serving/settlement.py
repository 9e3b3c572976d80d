"""The settlement engine: from certificates to coins in wallets, each step taken only if the chain lacks it.

The chain is the only memory. Before each transaction the engine reads whether its outcome is already there, and
the contracts refuse a repetition besides; so a run that was cut short at any point is finished by running it
again, and nothing is paid twice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from web3 import Web3

from domain.certificates import CertificateSet
from domain.errors import ChainError
from domain.events import DREvent, EventState
from domain.merkle import event_key
from serving.chain import Chain, Contracts

REGISTER_ROWS = 200
"""Resources in one registration, about 27,000 gas each."""

OPT_IN_ROWS = 500
"""Resources in one opt-in, about 6,500 gas each."""

PAYMENT_LEVEL = 7
"""Payments in one batch are the leaves of a tree node at this level: 128, about 34,000 gas each."""

T = TypeVar("T")


@dataclass(frozen=True)
class Participant:
    """A resource as the chain knows it: pseudonym (32 bytes), owner's wallet, contracted capacity [W]."""

    resource: bytes
    wallet: str
    contracted_w: int


@dataclass(frozen=True)
class EventTerms:
    """What an event is issued with: target [Wh], rate [minor units/kWh], dispute window [s], programme digest."""

    target_wh: int
    rate_per_kwh: int
    dispute_window_seconds: int
    programme_digest: bytes


class Settlement:
    """Settle events through a set of contracts.

    Parameters
    ----------
    chain : Chain
    contracts : Contracts
    progress : callable, optional
        Called with a step's name, units done and units in all.
    """

    def __init__(
        self, chain: Chain, contracts: Contracts, progress: Callable[[str, int, int], None] | None = None
    ) -> None:
        self._chain, self._contracts = chain, contracts
        self._progress = progress or (lambda step, done, total: None)

    def state(self, event_id: str) -> EventState:
        """Where the event stands, by the contract."""
        return EventState(self._contracts.events.functions.stateOf(event_key(event_id)).call())

    def announce(self, event: DREvent, terms: EventTerms, participants: Sequence[Participant]) -> None:
        """Before the event: register its resources, issue it, opt them in on their owners' behalf.

        Raises
        ------
        ChainError
            The event has started on chain and lacks some of this, or a resource is registered to another owner.
        """
        key = event_key(event.id)
        events = self._contracts.events.functions
        self._register(participants)
        if self.state(event.id) is EventState.NONE:
            self._chain.send(
                f"issue event {event.id}",
                events.issue(
                    key,
                    int(event.start.timestamp()),
                    int(event.end.timestamp()),
                    terms.target_wh,
                    terms.rate_per_kwh,
                    terms.dispute_window_seconds,
                    terms.programme_digest,
                ),
            )
        elif _view(events.eventOf(key).call())["programmeHash"] != terms.programme_digest:
            raise ChainError(
                f"event {event.id!r} was issued under other rules than the programme's file now holds: "
                "restore the file, or issue a new event"
            )
        done = 0
        for some in _chunks([p.resource for p in participants], OPT_IN_ROWS):
            flags = events.optedIn(key, some).call()
            missing = [resource for resource, is_in in zip(some, flags, strict=True) if not is_in]
            if missing:
                self._chain.send(f"opt in {len(missing)} resources", events.optIn(key, missing))
            done += len(some)
            self._progress("opt in", done, len(participants))

    def certify(self, certificates: CertificateSet) -> None:
        """After the event: commit to the certificates by root, totals and the published file's hash.

        Raises
        ------
        ChainError
            The event is in no state for it, or the chain holds another root: certificates are never replaced.
        """
        key = event_key(certificates.event_id)
        events = self._contracts.events.functions
        root, published = certificates.tree().root, hashlib.sha256(certificates.published()).digest()
        state = self.state(certificates.event_id)
        if state in (EventState.CERTIFIED, EventState.PAID, EventState.CLOSED):
            held = _view(events.eventOf(key).call())
            if held["root"] != root or held["publishedHash"] != published:
                raise ChainError(
                    f"event {certificates.event_id!r} is certified on chain with root 0x{held['root'].hex()}, these "
                    f"certificates have 0x{root.hex()}: a certified event can't be certified again"
                )
            return
        self._chain.send(
            f"certify {len(certificates.leaves)} resources",
            events.certify(
                key,
                root,
                len(certificates.leaves),
                certificates.total_reduction_wh,
                certificates.total_payment,
                published,
            ),
        )

    def payable_from(self, event_id: str) -> datetime:
        """When the dispute window of a certified event has passed."""
        held = _view(self._contracts.events.functions.eventOf(event_key(event_id)).call())
        return datetime.fromtimestamp(held["certifiedAt"] + held["disputeWindow"], UTC)

    def pay(self, certificates: CertificateSet) -> None:
        """Push every payment that has not been made, in batches proved by one path each."""
        key = event_key(certificates.event_id)
        events = self._contracts.events.functions
        if self.state(certificates.event_id) in (EventState.PAID, EventState.CLOSED):
            return
        tree, size, total = certificates.tree(), 1 << PAYMENT_LEVEL, len(certificates.leaves)
        for chunk in range(-(-total // size)):
            leaves = certificates.leaves[chunk * size : (chunk + 1) * size]
            word = events.paidBitmap(key, chunk * size // 256).call() >> (chunk * size % 256)
            if word & ((1 << len(leaves)) - 1) != (1 << len(leaves)) - 1:
                rows = [
                    (leaf.resource, _address(leaf.wallet), leaf.reduction_wh, leaf.payment, leaf.certificate_hash)
                    for leaf in leaves
                ]
                # The highest node that covers just this chunk; in a small tree the root comes before the level.
                level = min(PAYMENT_LEVEL, max(total - 1, 0).bit_length())
                proof = tree.proof(chunk, level)
                self._chain.send(f"pay {len(leaves)} resources", events.payBatch(key, chunk, level, rows, proof))
            self._progress("pay", min((chunk + 1) * size, total), total)

    def close(self, event_id: str) -> None:
        """Close a paid event."""
        if self.state(event_id) is EventState.PAID:
            self._chain.send(f"close event {event_id}", self._contracts.events.functions.close(event_key(event_id)))

    def _register(self, participants: Sequence[Participant]) -> None:
        registry = self._contracts.registry.functions
        done = 0
        for some in _chunks(participants, REGISTER_ROWS):
            held = registry.resourcesOf([p.resource for p in some]).call()
            missing = []
            for p, (owner, contracted_w, _) in zip(some, held, strict=True):
                if int(owner, 16) == 0:
                    missing.append(p)
                elif owner.lower() != p.wallet.lower() or contracted_w != p.contracted_w:
                    raise ChainError(
                        f"resource 0x{p.resource.hex()} is registered to {owner} with {contracted_w} W, "
                        f"not to {p.wallet} with {p.contracted_w} W"
                    )
            if missing:
                rows = [(p.resource, Web3.to_checksum_address(p.wallet), p.contracted_w) for p in missing]
                self._chain.send(f"register {len(rows)} resources", registry.register(rows))
            done += len(some)
            self._progress("register", done, len(participants))


def _chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for first in range(0, len(items), size):
        yield items[first : first + size]


def _address(wallet: bytes) -> str:
    return Web3.to_checksum_address("0x" + wallet.hex())


def _view(values: Any) -> dict[str, Any]:
    """The contract's EventView by field name."""
    names = (
        "start", "end", "targetWh", "ratePerKwh", "disputeWindow", "programmeHash", "root", "publishedHash",
        "certifiedAt", "count", "paidCount", "totalReductionWh", "totalPayment", "paidTotal", "state",
    )  # fmt: skip
    return dict(zip(names, values, strict=True))
