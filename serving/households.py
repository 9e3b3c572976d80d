"""A household's side of the contracts: choose, challenge, claim, hand over, leave, and look at what it has.

Everything here needs the owner's key and nothing of the operator's: the published file, a node, and the address of
the contract. Choices and challenges are signed messages, so anyone can bring them on chain for a home that holds no
ether.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from web3 import Web3

from domain.certificates import CertificateSet
from domain.errors import ChainError
from domain.events import EventState
from domain.merkle import Leaf, event_key
from serving.chain import Chain, TransactionRecord
from serving.consents import Consent, Message
from serving.deployment import Contracts


@dataclass(frozen=True)
class Holding:
    """What a wallet has: coins, credit that waits for it, and payments of an event that it can claim."""

    wallet: str
    balance: int
    credit: int
    claimable: int


class Household:
    """What a home can do on the chain.

    Parameters
    ----------
    chain : Chain
        Pays the gas; needn't be the home's own account.
    contracts : Contracts
    """

    def __init__(self, chain: Chain, contracts: Contracts) -> None:
        self._chain, self._contracts = chain, contracts
        self._events = contracts.events.functions

    def holding(self, wallet: str, certificates: CertificateSet | None = None) -> Holding:
        """What a wallet has, and can claim of one event."""
        account = Web3.to_checksum_address(wallet)
        claimable = 0
        if certificates and EventState(self._state(certificates.event_id)) is EventState.FINAL:
            claimable = sum(leaf.payment for leaf in self._due(certificates, wallet))
        return Holding(
            account,
            self._contracts.coin.functions.balanceOf(account).call(),
            self._events.creditOf(account).call(),
            claimable,
        )

    def choice(self, event_id: str, resource: bytes, *, takes_part: bool, deadline: int) -> Message:
        """What the owner signs to opt a resource in to an event or out of it. ``deadline`` in s since 1970."""
        owner = self._owner(resource)
        values = {
            "eventId": event_key(event_id),
            "resource": resource,
            "takesPart": takes_part,
            "nonce": self._events.nonces(owner).call(),
            "deadline": deadline,
        }
        return Message("Choice", values, self._contracts.events.address, self._chain.chain_id)

    def choose(self, event_id: str, signed: Sequence[tuple[Message, bytes]]) -> TransactionRecord:
        """Bring owners' signed choices on chain."""
        rows = [(m.values["resource"], m.values["takesPart"], m.values["deadline"], s) for m, s in signed]
        return self._chain.send(f"bring {len(rows)} choices", self._events.choose(event_key(event_id), rows))

    def challenge_message(self, event_id: str, resource: bytes, reason_hash: bytes, deadline: int) -> Message:
        """What the owner signs to dispute the event's certification. ``deadline`` in s since 1970."""
        values = {
            "eventId": event_key(event_id),
            "resource": resource,
            "root": self._events.eventOf(event_key(event_id)).call()[-1],
            "reasonHash": reason_hash,
            "deadline": deadline,
        }
        return Message("Challenge", values, self._contracts.events.address, self._chain.chain_id)

    def challenge(self, message: Message, signature: bytes) -> TransactionRecord:
        """Bring a signed challenge on chain."""
        v = message.values
        call = self._events.challenge(v["eventId"], v["resource"], v["reasonHash"], v["deadline"], signature)
        return self._chain.send(f"challenge for resource 0x{v['resource'].hex()[:8]}…", call)

    def claim(self, certificates: CertificateSet, wallet: str) -> list[TransactionRecord]:
        """Claim every payment of a wallet that has not been made, with its proof.

        Raises
        ------
        ChainError
            The wallet earned nothing in this event, all of it was paid, or the chain refuses.
        """
        due = self._due(certificates, wallet)
        if not due:
            mine = [leaf for leaf in certificates.leaves if leaf.wallet == bytes.fromhex(wallet[2:])]
            earned = sum(leaf.payment for leaf in mine)
            problem = f"all of its {earned} minor units were paid before" if earned else "it earned nothing"
            raise ChainError(f"{wallet} has nothing to claim of event {certificates.event_id!r}: {problem}")
        key = event_key(certificates.event_id)
        return [
            self._chain.send(
                f"claim leaf {leaf.index}",
                self._events.claim(key, leaf.index, (leaf.payee, leaf.detail), certificates.tree.proof(leaf.index)),
            )
            for leaf in due
        ]

    def withdraw(self, wallet: str) -> TransactionRecord:
        """Move all of a wallet's credit to it."""
        return self._chain.send(
            f"withdraw credit of {wallet}", self._events.withdraw(Web3.to_checksum_address(wallet))
        )

    def withdrawal(self, resource: bytes, deadline: int) -> Message:
        """What the owner signs to take a resource out of all future events. ``deadline`` in s since 1970."""
        values = {"resource": resource, "nonce": self.registered(resource)["nonce"], "deadline": deadline}
        return Message("Withdrawal", values, self._contracts.registry.address, self._chain.chain_id)

    def leave(self, message: Message, signature: bytes) -> TransactionRecord:
        """Take a resource out of all future events."""
        v = message.values
        call = self._contracts.registry.functions.withdraw(v["resource"], v["deadline"], signature)
        return self._chain.send(f"withdraw resource 0x{v['resource'].hex()[:8]}…", call)

    def handover(self, resource: bytes, to: str, deadline: int) -> Message:
        """What the present owner signs to hand a resource over. ``deadline`` in s since 1970."""
        values = {
            "resource": resource,
            "to": Web3.to_checksum_address(to),
            "nonce": self.registered(resource)["nonce"],
            "deadline": deadline,
        }
        return Message("Handover", values, self._contracts.registry.address, self._chain.chain_id)

    def hand_over(self, consent: Consent, signature: bytes) -> TransactionRecord:
        """Hand a resource over: the new owner's consent, and the present owner's signature with the same deadline."""
        call = self._contracts.registry.functions.transfer(consent.row(), signature)
        return self._chain.send(f"hand resource 0x{consent.resource.hex()[:8]}… over to {consent.owner}", call)

    def registered(self, resource: bytes) -> dict[str, Any]:
        """What the registry holds about a resource.

        Raises
        ------
        ChainError
            It never was registered.
        """
        fields = ("owner", "contracted_w", "number", "nonce", "standing", "active")
        held = dict(zip(fields, self._contracts.registry.functions.resourceOf(resource).call(), strict=True))
        if int(held["owner"], 16) == 0:
            raise ChainError(f"resource 0x{resource.hex()} is not registered")
        return held

    def _owner(self, resource: bytes) -> str:
        return str(self.registered(resource)["owner"])

    def _state(self, event_id: str) -> int:
        return int(self._events.stateOf(event_key(event_id)).call())

    def _due(self, certificates: CertificateSet, wallet: str) -> list[Leaf]:
        """Leaves of a wallet that have not been paid."""
        key, mine = event_key(certificates.event_id), bytes.fromhex(wallet[2:])
        return [
            leaf
            for leaf in certificates.leaves
            if leaf.wallet == mine and leaf.payment and not self._events.isPaid(key, leaf.index).call()
        ]
