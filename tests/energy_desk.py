"""Neighbours with energy to trade, and a chain to trade it on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from serving.anvil import anvil
from serving.chain import Chain
from serving.energy import EnergyTrade, as_account
from serving.energy_contracts import EnergyContracts, EnergyTerms, attach_energy, deploy_energy
from serving.microgrids import Microgrids

TERMS = EnergyTerms()
OPERATOR, SELLER, BUYER, STRANGER, METER_OPERATOR = range(5)
"""Accounts of the chain by number."""

MORNING = datetime(2025, 6, 11, 8, tzinfo=UTC)
NOON, EVENING = MORNING + timedelta(hours=4), MORNING + timedelta(hours=10)
TOKEN = 10**18
RATE = 2000 * TOKEN
METER = b"m" * 32


@dataclass
class EnergyDesk:
    """What trading needs. Account 0 deployed the contracts, and account 4 signs meter statements."""

    url: str
    book: Path

    def chain(self, account: int = OPERATOR) -> Chain:
        return as_account(Chain(self.url), account)

    def contracts(self) -> EnergyContracts:
        return attach_energy(Chain(self.url, reader=True), self.book)

    def trade(self, account: int = OPERATOR) -> EnergyTrade:
        chain = self.chain(account)
        return EnergyTrade(chain, attach_energy(chain, self.book))

    def grids(self, account: int = OPERATOR) -> Microgrids:
        chain = self.chain(account)
        return Microgrids(chain, attach_energy(chain, self.book))

    def address(self, account: int) -> str:
        return str(Chain(self.url).w3.eth.accounts[account])

    def tokens(self, account: int) -> int:
        return int(self.contracts().token.functions.balanceOf(self.address(account)).call())

    def offer(self, wh: int = 5000, price: int = TOKEN // 5) -> int:
        """The seller offers energy from noon to evening."""
        return self.trade(SELLER).offer(METER, wh, price, NOON, EVENING)


@contextmanager
def an_energy_desk(folder: Path, terms: EnergyTerms = TERMS) -> Iterator[EnergyDesk]:
    """Contracts with a posted rate, and a buyer with 100 tokens."""
    with anvil(clock=MORNING, block_seconds=None) as node:
        desk = EnergyDesk(node.url, folder / "addresses.json")
        deploy_energy(desk.chain(), desk.book, terms, desk.address(METER_OPERATOR))
        desk.trade().post_rate(RATE)
        desk.trade(BUYER).buy_tokens(10**18 // 20)
        yield desk
