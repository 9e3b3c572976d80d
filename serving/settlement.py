"""The settlement engine: from certificates to coins in wallets, each step taken only if the chain lacks it.

Before each transaction the engine reads whether its outcome is already on the chain, and the contracts refuse a
repetition besides; what is under way the chain client's outbox knows. So a run that was cut short at any point is
finished by running it again, and nothing is paid twice.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from domain.certificates import CertificateSet
from domain.errors import ChainError
from domain.events import DREvent, EventState
from domain.merkle import event_key
from domain.programmes import Delivery, Funding
from serving.chain import Chain, Ticket, TransactionRecord
from serving.consents import Consent
from serving.deployment import Contracts

REGISTER_ROWS = 200
"""Resources in one registration, about 35,000 gas each."""

OPT_IN_ROWS = 500
"""Resources in one opt-in, about 7,000 gas each."""

PAY_LEVEL = 7
"""Payments in one batch are the leaves of a tree node at this level: 128."""

CREDIT_LEVEL = 8
"""Likewise for credits, which take less gas: 256."""

_PAY_GAS, _CREDIT_GAS, _BATCH_GAS = 42_000, 27_000, 100_000
"""Upper bounds for a payment to a new wallet, a first credit, and what a batch takes besides. [gas]"""

_CERTIFY_GAS, _FINALISE_GAS = 200_000, 300_000
_RECEIPTS = 5

T = TypeVar("T")


@dataclass(frozen=True)
class Participant:
    """A resource as the chain knows it: pseudonym (32 bytes), owner's wallet, contracted capacity [W]."""

    resource: bytes
    wallet: str
    contracted_w: int


@dataclass(frozen=True)
class EventTerms:
    """What an event is issued with.

    ``target_wh`` [Wh], ``rate_per_kwh`` [minor units/kWh], both windows [s], where the coins come from, and the
    digest of the programme's rules (32 bytes).
    """

    target_wh: int
    rate_per_kwh: int
    dispute_window_seconds: int
    claim_window_seconds: int
    funding: Funding
    programme_digest: bytes


ConsentSource = Callable[[Participant, int], Consent | None]
"""Finds a participant's signed consent for a nonce; None when there is none."""


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

    def view(self, event_id: str) -> dict[str, Any]:
        """What the contract's storage holds of an event, by field name."""
        return dict(zip(_VIEW, self._contracts.events.functions.eventOf(event_key(event_id)).call(), strict=True))

    def announce(
        self, event: DREvent, terms: EventTerms, participants: Sequence[Participant], consent: ConsentSource
    ) -> None:
        """Before the event: register its resources, issue it, and opt in those whose owners allow it.

        Raises
        ------
        ChainError
            The event has started on chain and lacks some of this, a resource belongs to another owner, or an
            owner's consent is missing.
        """
        key = event_key(event.id)
        events = self._contracts.events.functions
        state = self.state(event.id)
        if state <= EventState.ISSUED:
            self.register(participants, consent)
        if state is EventState.NONE:
            self._chain.send(
                f"issue event {event.id}",
                events.issue(
                    key,
                    (
                        int(event.start.timestamp()),
                        int(event.end.timestamp()),
                        terms.dispute_window_seconds,
                        terms.claim_window_seconds,
                        list(Funding).index(terms.funding),
                        terms.target_wh,
                        terms.rate_per_kwh,
                        terms.programme_digest,
                    ),
                ),
            )
        elif self.issued_terms(event.id)["programmeHash"] != terms.programme_digest:
            raise ChainError(
                f"event {event.id!r} was issued under other rules than the programme's file now holds: "
                "restore the file, or issue a new event"
            )
        if self.state(event.id) is EventState.ISSUED:
            self._opt_in(event.id, participants)

    def register(self, participants: Sequence[Participant], consent: ConsentSource) -> None:
        """Register resources that are not, and those whose owners agree to another capacity.

        Raises
        ------
        ChainError
            A resource belongs to another owner, or an owner's consent is missing.
        """
        registry = self._contracts.registry.functions
        tickets: list[Ticket] = []
        for some in _chunks(participants, REGISTER_ROWS):
            held = registry.resourcesOf([p.resource for p in some]).call()
            rows, without = [], []
            for p, (owner, contracted_w, _, nonce, _, active) in zip(some, held, strict=True):
                if active and owner.lower() != p.wallet.lower():
                    raise ChainError(
                        f"resource 0x{p.resource.hex()} is registered to {owner} with {contracted_w} W, "
                        f"not to {p.wallet} with {p.contracted_w} W"
                    )
                if not active or contracted_w != p.contracted_w:
                    agreed = consent(p, nonce)
                    rows.append(agreed) if agreed else without.append(p)
            if without:
                raise ChainError(
                    f"{len(without)} owners have not agreed to be registered, e.g. {without[0].wallet} for resource "
                    f"0x{without[0].resource.hex()} with {without[0].contracted_w} W: ask for their signatures with "
                    "`negawatt consent request`, and bring them with `negawatt consent add`"
                )
            if rows:
                call = registry.register([agreed.row() for agreed in rows])
                tickets.append(self._chain.submit(f"register {len(rows)} resources", call))
        self._wait("register", tickets)

    def issued_terms(self, event_id: str) -> Mapping[str, Any]:
        """What an event was issued with, by the chain's log.

        Raises
        ------
        ChainError
            It was not issued.
        """
        logs = self._contracts.logs(self._contracts.events.events.EventIssued, eventId=event_key(event_id))
        if not logs:
            raise ChainError(f"event {event_id!r} is not on the chain: announce it first")
        terms: Mapping[str, Any] = logs[-1]["args"]["terms"]
        return terms

    def roster(self, event_id: str, resources: Sequence[bytes]) -> list[tuple[bool, int]]:
        """Of each resource: whether it takes part, and by how much trades moved its obligation. [Wh]

        Trades of an event that has started are settled first, so that void ones no longer count.
        """
        key = event_key(event_id)
        exchange = self._contracts.exchange
        if self.state(event_id) > EventState.ISSUED:
            self.settle_trades(event_id)
        found: list[tuple[bool, int]] = []
        traded = self._traded(key)
        for some in _chunks(resources, OPT_IN_ROWS):
            flags = self._contracts.events.functions.optedIn(key, some).call()
            for resource, takes_part in zip(some, flags, strict=True):
                moved = exchange.functions.shiftOf(key, resource).call() if exchange and resource in traded else 0
                found.append((takes_part, moved))
        return found

    def settle_trades(self, event_id: str) -> None:
        """Release or refund every trade of an event that has started, or was cancelled."""
        exchange = self._contracts.exchange
        if exchange is None:
            return
        traded = self._contracts.logs(exchange.events.CoverTraded, eventId=event_key(event_id))
        ids = [log["args"]["tradeId"] for log in traded]
        still_open = [n for n in ids if exchange.functions.tradeOf(n).call()[-1]]
        for some in _chunks(still_open, OPT_IN_ROWS):
            self._chain.send(f"settle {len(some)} trades", exchange.functions.settle(list(some)))

    def certify(self, certificates: CertificateSet) -> None:
        """After the event: commit to the certificates by root, totals and the published file's hash.

        Raises
        ------
        ChainError
            The event is in no state for it, or the chain holds another root: to replace certificates that are
            not final, withdraw the certification first.
        """
        self._wait("certify", self._submit_certification(certificates))

    def was_taken_back(self, certificates: CertificateSet) -> bool:
        """Whether the event's last certification, by the same root, was withdrawn, and none came since."""
        key, events = event_key(certificates.event_id), self._contracts.events.events
        if self.state(certificates.event_id) >= EventState.CERTIFIED:
            return False
        if not self._contracts.logs(events.CertificationWithdrawn, eventId=key):
            return False
        last = self._contracts.logs(events.EventCertified, eventId=key)[-1]["args"]
        return bool(last["root"] == certificates.tree.root)

    def payable_from(self, event_id: str) -> datetime:
        """When the dispute window of a certified event has passed."""
        return datetime.fromtimestamp(self.view(event_id)["payableFrom"], UTC)

    def finalise(self, event_id: str) -> None:
        """Make a certification final, once its dispute window has passed and its challenges are answered."""
        if self.state(event_id) is EventState.CERTIFIED:
            self._chain.send(
                f"finalise event {event_id}", self._contracts.events.functions.finalise(event_key(event_id))
            )

    def pay(self, certificates: CertificateSet, delivery: Delivery = Delivery.TRANSFER) -> list[TransactionRecord]:
        """Push every payment that has not been made, in batches proved by one path each.

        All batches are sent before the first receipt is waited for.
        """
        if self.state(certificates.event_id) is not EventState.FINAL:
            return []
        return self._wait("pay", self._push(certificates, delivery))

    def settle(self, certificates: CertificateSet, delivery: Delivery) -> list[TransactionRecord]:
        """Certify, finalise and pay in one go, without waiting for receipts in between.

        For events without a dispute window: their transactions can share a block. Returns what was sent.

        Raises
        ------
        ChainError
            As for the single steps.
        """
        state = self.state(certificates.event_id)
        tickets = self._submit_certification(certificates)
        if state < EventState.FINAL:
            call = self._contracts.events.functions.finalise(event_key(certificates.event_id))
            purpose = f"finalise event {certificates.event_id}"
            tickets.append(self._chain.submit(purpose, call, gas=_FINALISE_GAS))
        if state <= EventState.FINAL and certificates.total_payment:
            tickets += self._push(certificates, delivery)
        return self._wait("settle", tickets)

    def close(self, event_id: str) -> None:
        """Close a paid event."""
        if self.state(event_id) is EventState.PAID:
            self._chain.send(f"close event {event_id}", self._contracts.events.functions.close(event_key(event_id)))

    # --- steps ------------------------------------------------------------------------------------

    def _key(self, certificates: CertificateSet) -> str:
        """A certification is sent once, even if an earlier run's is still under way."""
        round_of = self._contracts.logs(
            self._contracts.events.events.CertificationWithdrawn, eventId=event_key(certificates.event_id)
        )
        return f"{self._contracts.events.address}/{certificates.event_id}/certify/{len(round_of)}"

    def _submit_certification(self, certificates: CertificateSet) -> list[Ticket]:
        """Send the certification, unless the chain holds it."""
        call = self._certification(certificates)
        if call is None:
            return []
        # The next block comes after the event's end, even if the latest one, which estimates go by, came before it.
        end = self.view(certificates.event_id)["end"]
        gas = _CERTIFY_GAS if self._chain.now().timestamp() < end <= time.time() else None
        purpose = f"certify {len(certificates.leaves)} resources"
        return [self._chain.submit(purpose, call, key=self._key(certificates), gas=gas)]

    def _certification(self, certificates: CertificateSet) -> Any:
        """The call that certifies; None when the chain holds it already."""
        key = event_key(certificates.event_id)
        root, published = certificates.tree.root, hashlib.sha256(certificates.published()).digest()
        state = self.state(certificates.event_id)
        if state in (EventState.CERTIFIED, EventState.FINAL, EventState.PAID, EventState.CLOSED):
            held = self._contracts.logs(self._contracts.events.events.EventCertified, eventId=key)[-1]["args"]
            if held["root"] != root or held["publishedHash"] != published:
                raise ChainError(
                    f"event {certificates.event_id!r} is certified on chain with root 0x{held['root'].hex()}, these "
                    f"certificates have 0x{root.hex()}: a certified event can't be certified again, unless its "
                    "certification is withdrawn while the dispute window is open"
                )
            return None
        return self._contracts.events.functions.certify(
            key,
            root,
            len(certificates.leaves),
            certificates.total_reduction_wh,
            certificates.total_payment,
            published,
        )

    def _push(self, certificates: CertificateSet, delivery: Delivery) -> list[Ticket]:
        """Send the batches of payments that the chain lacks."""
        if delivery is Delivery.CLAIM:
            return []
        events = self._contracts.events.functions
        credit = delivery is Delivery.CREDIT
        call, level, gas = (
            (events.creditBatch, CREDIT_LEVEL, _CREDIT_GAS) if credit else (events.payBatch, PAY_LEVEL, _PAY_GAS)
        )
        key, tree, total = event_key(certificates.event_id), certificates.tree, len(certificates.leaves)
        size, tickets = 1 << level, []
        for chunk in range(-(-total // size)):
            leaves = certificates.leaves[chunk * size : (chunk + 1) * size]
            word = events.paidBitmap(key, chunk * size // 256).call() >> (chunk * size % 256)
            due = [leaf for n, leaf in enumerate(leaves) if not word >> n & 1 and leaf.payment]
            if due:
                rows = [(leaf.payee, leaf.detail) for leaf in leaves]
                # The highest node that covers just this chunk; in a small tree the root comes before the level.
                at = min(level, max(total - 1, 0).bit_length())
                ticket = self._chain.submit(
                    f"{'credit' if credit else 'pay'} {len(leaves)} resources",
                    call(key, chunk, at, rows, tree.proof(chunk, at)),
                    gas=_BATCH_GAS + gas * len(leaves),
                )
                tickets.append(ticket)
        return tickets

    def _opt_in(self, event_id: str, participants: Sequence[Participant]) -> None:
        key, tickets = event_key(event_id), list[Ticket]()
        events, registry = self._contracts.events.functions, self._contracts.registry.functions
        refused = self._refused(key)
        for some in _chunks([p.resource for p in participants], OPT_IN_ROWS):
            flags = events.optedIn(key, some).call()
            held = registry.resourcesOf(some).call()
            missing = [
                resource
                for resource, is_in, row in zip(some, flags, held, strict=True)
                if not is_in and row[_STANDING] and resource not in refused
            ]
            if missing:
                call = events.optIn(key, missing)
                tickets.append(self._chain.submit(f"opt in {len(missing)} resources", call))
        self._wait("opt in", tickets)

    def _refused(self, key: bytes) -> set[bytes]:
        """Resources whose owners opted out of an event."""
        logs = self._contracts.logs(self._contracts.events.events.OptedOut, eventId=key)
        return {bytes(log["args"]["resource"]) for log in logs}

    def _traded(self, key: bytes) -> set[bytes]:
        """Resources that sold or bought cover for an event."""
        exchange = self._contracts.exchange
        logs = self._contracts.logs(exchange.events.CoverTraded, eventId=key) if exchange else ()
        return {bytes(log["args"][side]) for log in logs for side in ("from", "to")}

    def _wait(self, step: str, tickets: Sequence[Ticket]) -> list[TransactionRecord]:
        """Wait for receipts, a few at a time so that progress shows."""
        records: list[TransactionRecord] = []
        for some in _chunks(tickets, _RECEIPTS):
            records += self._chain.wait(some)
            self._progress(step, len(records), len(tickets))
        return records


_VIEW = (
    "start", "end", "disputeWindow", "claimWindow", "participants", "certifiedAt", "openChallenges", "state",
    "funding", "payableFrom", "claimUntil", "unpaid", "targetWh", "commitment",
)  # fmt: skip
"""Fields of the contract's EventView."""

_STANDING = 4
"""Place of `standing` in the registry's Resource."""


def _chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for first in range(0, len(items), size):
        yield items[first : first + size]
