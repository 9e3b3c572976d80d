"""An event with its certificates, and a chain to settle it on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from builders import a_key, a_programme, a_wallet, an_event, some_certificates

from domain.certificates import CertificateSet
from domain.events import DREvent
from domain.programmes import Delivery, Funding
from serving.anvil import anvil
from serving.chain import Chain
from serving.consents import Consent, consent_message, signed_consent
from serving.deployment import Coin, Contracts, deploy
from serving.settlement import ConsentSource, EventTerms, Participant, Settlement

COIN = Coin("DRC", 2)
FOREVER = 2**40


@dataclass
class Desk:
    """What one settlement needs; `settle` does it as a fresh process would."""

    url: str
    folder: Path
    event: DREvent
    certificates: CertificateSet

    @property
    def book(self) -> Path:
        return self.folder / "addresses.json"

    def chain(self) -> Chain:
        return Chain(self.url)

    def participants(self) -> list[Participant]:
        return [Participant(leaf.resource, "0x" + leaf.wallet.hex(), 1000) for leaf in self.certificates.leaves]

    def terms(self) -> EventTerms:
        programme = a_programme()
        terms = programme.terms_on(self.event.start.date())
        return EventTerms(
            1000, int(terms.payment.rate_per_kwh), 0, 30 * 86_400, Funding.MINT, programme.digest(terms)
        )

    def announce(self, engine: Settlement, contracts: Contracts, terms: EventTerms | None = None) -> None:
        engine.announce(self.event, terms or self.terms(), self.participants(), consents(contracts))

    def settle(self, chain: Chain, delivery: Delivery = Delivery.TRANSFER) -> Contracts:
        contracts = deploy(chain, self.book, COIN)
        engine = Settlement(chain, contracts)
        self.announce(engine, contracts)
        chain.wait_until(self.event.end)
        engine.settle(self.certificates, delivery)
        engine.close(self.event.id)
        return contracts


def consents(contracts: Contracts, *, standing: bool = True) -> ConsentSource:
    """The owners of the builders' wallets agree to whatever they are asked."""
    keys = {a_wallet(number): a_key(number) for number in range(400)}
    chain_id = contracts.registry.w3.eth.chain_id

    def agree(asked: Participant, nonce: int) -> Consent | None:
        message = consent_message(
            contracts.registry.address,
            chain_id,
            asked.resource,
            asked.wallet,
            asked.contracted_w,
            standing=standing,
            nonce=nonce,
            deadline=FOREVER,
        )
        return signed_consent(message, message.sign(keys[asked.wallet])) if asked.wallet in keys else None

    return agree


@contextmanager
def a_desk(folder: Path) -> Iterator[Desk]:
    """150 homes (two batches of payments) and an anvil of their own."""
    event = an_event()
    with anvil(clock=event.start - timedelta(hours=1), block_seconds=None) as node:
        yield Desk(node.url, folder, event, some_certificates(150, event))
