"""An event with its certificates, and a chain to settle it on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from builders import a_programme, an_event, some_certificates

from domain.certificates import CertificateSet
from domain.events import DREvent
from serving.anvil import anvil
from serving.chain import Chain, Coin, Contracts, deploy
from serving.settlement import EventTerms, Participant, Settlement

COIN = Coin("DRC", 2)


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
        return EventTerms(1000, int(terms.payment.rate_per_kwh), 0, programme.digest(terms))

    def settle(self, chain: Chain) -> Contracts:
        contracts = deploy(chain, self.book, COIN)
        engine = Settlement(chain, contracts)
        engine.announce(self.event, self.terms(), self.participants())
        chain.wait_until(self.event.end)
        engine.certify(self.certificates)
        engine.pay(self.certificates)
        engine.close(self.event.id)
        return contracts


@contextmanager
def a_desk(folder: Path) -> Iterator[Desk]:
    """150 homes (two batches of payments) and an anvil of their own."""
    event = an_event()
    with anvil(clock=event.start - timedelta(hours=1), block_seconds=None) as node:
        yield Desk(node.url, folder, event, some_certificates(150, event))
