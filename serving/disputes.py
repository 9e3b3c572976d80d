"""The operator's side of a dispute: which challenges are open, answering them, or taking the certification back."""

from __future__ import annotations

from dataclasses import dataclass

from domain.certificates import CertificateSet
from domain.errors import ChainError
from domain.events import EventState
from domain.merkle import event_key
from serving.chain import Chain, TransactionRecord
from serving.deployment import Contracts


@dataclass(frozen=True)
class Dispute:
    """A home's challenge: its resource, the root it disputes, the hash of its reasons, and whether it is open."""

    resource: bytes
    root: bytes
    reason_hash: bytes
    is_open: bool


class Disputes:
    """Challenges of an event's certification.

    Parameters
    ----------
    chain : Chain
        To answer, its account needs the certifier's role.
    contracts : Contracts
    event_id : str
    """

    def __init__(self, chain: Chain, contracts: Contracts, event_id: str) -> None:
        self._chain, self._contracts, self._event = chain, contracts, event_id
        self._functions = contracts.events.functions

    def all(self) -> list[Dispute]:
        """Every challenge of the event, oldest first."""
        key = event_key(self._event)
        logs = self._contracts.logs(self._contracts.events.events.Challenged, eventId=key)
        root = self._functions.eventOf(key).call()[-1]
        return [
            Dispute(
                bytes(a["resource"]),
                bytes(a["root"]),
                bytes(a["reasonHash"]),
                bytes(a["root"]) == root and self._functions.hasOpenChallenge(key, a["resource"]).call(),
            )
            for a in (log["args"] for log in logs)
        ]

    def answer(self, certificates: CertificateSet, resource: bytes, answer_hash: bytes) -> TransactionRecord:
        """Prove which leaf a home has, and say where the reasons stand.

        Raises
        ------
        ChainError
            The certificates have no such resource: the challenge is right, so take the certification back.
        """
        leaf = next((leaf for leaf in certificates.leaves if leaf.resource == resource), None)
        if leaf is None:
            raise ChainError(f"event {self._event!r}: no certificate is of resource 0x{resource.hex()}: take it back")
        row = (leaf.index, leaf.payee, leaf.reduction_wh, leaf.certificate_hash)
        proof = certificates.tree.proof(leaf.index)
        call = self._functions.answer(event_key(self._event), resource, row, proof, answer_hash)
        return self._chain.send(f"answer resource 0x{resource.hex()[:8]}…", call)

    def withdraw_certification(self, reason_hash: bytes) -> TransactionRecord:
        """Take back a certification that is not final; the event can be certified anew.

        Raises
        ------
        ChainError
            The event is not certified, or final.
        """
        state = EventState(self._functions.stateOf(event_key(self._event)).call())
        if state is not EventState.CERTIFIED:
            raise ChainError(f"event {self._event!r} is {state.name.lower()}: only a certification can be taken back")
        call = self._functions.withdrawCertification(event_key(self._event), reason_hash)
        return self._chain.send(f"take back the certification of {self._event}", call)
