"""Obligations traded before an event: offers of cover, purchases, and what became of them."""

from __future__ import annotations

from dataclasses import dataclass

from domain.merkle import event_key
from serving.chain import Chain, TransactionRecord
from serving.deployment import Contracts


@dataclass(frozen=True)
class CoverOffer:
    """Cover that is still offered: who sells, how much [Wh], at which price [minor units/kWh]."""

    offer: int
    event: bytes
    resource: bytes
    seller: str
    wh: int
    price_per_kwh: int


@dataclass(frozen=True)
class CoverTrade:
    """A trade: from whose obligation to whose [Wh], what was paid [minor units], and whether that still waits."""

    trade: int
    event: bytes
    seller_resource: bytes
    buyer_resource: bytes
    seller: str
    buyer: str
    wh: int
    paid: int
    waits: bool


class Exchange:
    """The reduction exchange, seen from an account that owns resources.

    Parameters
    ----------
    chain : Chain
        The account that trades.
    contracts : Contracts
        With an exchange.
    """

    def __init__(self, chain: Chain, contracts: Contracts) -> None:
        if contracts.exchange is None:
            raise ValueError("these contracts have no exchange")
        self._chain, self._coin, self._exchange = chain, contracts.coin, contracts.exchange

    def offer(self, event_id: str, resource: bytes, wh: int, price_per_kwh: int) -> TransactionRecord:
        """Offer cover. [Wh], [minor units/kWh]"""
        call = self._exchange.functions.offer(event_key(event_id), resource, wh, price_per_kwh)
        return self._chain.send(f"offer {wh} Wh of cover", call)

    def withdraw(self, offer: int) -> TransactionRecord:
        """Take back what is left of an offer."""
        return self._chain.send(f"withdraw offer {offer}", self._exchange.functions.withdrawOffer(offer))

    def buy(self, offer: int, resource: bytes, wh: int, max_price_per_kwh: int) -> TransactionRecord:
        """Buy cover with the account's coins, which are approved for its price first. [Wh], [minor units/kWh]"""
        price = -(-wh * max_price_per_kwh // 1000)
        allowed = self._coin.functions.allowance(self._chain.operator, self._exchange.address).call()
        if allowed < price:
            self._chain.send(
                "approve the price of cover", self._coin.functions.approve(self._exchange.address, price)
            )
        call = self._exchange.functions.buy(offer, resource, wh, max_price_per_kwh)
        return self._chain.send(f"buy {wh} Wh of cover", call)

    def offers(self, event_id: str) -> list[CoverOffer]:
        """Offers for an event that have cover left."""
        key, found = event_key(event_id), []
        for number in range(self._exchange.functions.offerCount().call()):
            event, resource, seller, wh, price = self._exchange.functions.offerOf(number).call()
            if event == key and wh:
                found.append(CoverOffer(number, event, resource, seller, wh, price))
        return found

    def trades(self, event_id: str) -> list[CoverTrade]:
        """All trades for an event."""
        key = event_key(event_id)
        rows = (
            (number, self._exchange.functions.tradeOf(number).call())
            for number in range(self._exchange.functions.tradeCount().call())
        )
        return [CoverTrade(number, *row) for number, row in rows if row[0] == key]
