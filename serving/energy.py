"""Energy between neighbours, on chain: tokens bought with ether, offers, deals in escrow, delivery by the meter."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from web3 import Web3
from web3.contract import Contract
from web3.logs import DISCARD
from web3.types import RPCEndpoint

from domain.errors import ChainError
from serving.chain import Chain, TransactionRecord
from serving.energy_contracts import EnergyContracts
from serving.signers import UnlockedSigner
from serving.statements import Statement

_ROWS = 200
"""Offers or deals that are read in one call."""


@dataclass(frozen=True)
class Offer:
    """Energy for sale as it stands: the meter's pseudonym, Wh offered and sold, price of a kWh [smallest units]."""

    offer: int
    seller: str
    meter: bytes
    offered_wh: int
    sold_wh: int
    price_per_kwh: int
    deliver_from: datetime
    deliver_until: datetime

    @property
    def left_wh(self) -> int:
        """What is unsold. [Wh]"""
        return self.offered_wh - self.sold_wh


@dataclass(frozen=True)
class Deal:
    """Energy bought: from which offer, how much [Wh], for what [smallest units], and how it stands."""

    deal: int
    offer: int
    buyer: str
    wh: int
    amount: int
    state: str


STATES = ("none", "open", "delivered", "refunded")


class EnergyTrade:
    """Token and market, seen from the account that sends.

    Parameters
    ----------
    chain : Chain
    contracts : EnergyContracts
    """

    def __init__(self, chain: Chain, contracts: EnergyContracts) -> None:
        self._chain, self._contracts = chain, contracts
        self._token, self._market = contracts.token.functions, contracts.market.functions

    # --- tokens -----------------------------------------------------------------------------------------------

    def post_rate(self, tokens_per_ether: int) -> TransactionRecord:
        """Post the rate of later purchases; zero closes the sale. [smallest units for an ether]"""
        return self._chain.send("post the rate", self._token.postRate(tokens_per_ether))

    def buy_tokens(self, wei: int, minimum: int | None = None) -> TransactionRecord:
        """Buy tokens with ether.

        Parameters
        ----------
        wei : int
        minimum : int, optional
            Fewest tokens to accept; default: what the ether buys at the rate now. [smallest units]
        """
        if minimum is None:
            minimum = wei * int(self._token.tokensPerEther().call()) // 10**18
        return self._chain.send("buy tokens", self._token.buy(minimum), value=wei)

    def withdraw_ether(self, to: str, wei: int) -> TransactionRecord:
        """Send the ether that tokens were bought with to the treasury."""
        return self._chain.send("withdraw ether", self._token.withdrawEther(Web3.to_checksum_address(to), wei))

    # --- offers and deals -------------------------------------------------------------------------------------

    def offer(
        self, meter: bytes, wh: int, price_per_kwh: int, deliver_from: datetime, deliver_until: datetime
    ) -> int:
        """Offer energy of a meter over ``[deliver_from, deliver_until)``; returns the offer's number.

        Parameters
        ----------
        meter : bytes
            The meter's pseudonym. 32 bytes.
        wh : int
            [Wh]
        price_per_kwh : int
            [smallest units/kWh]
        deliver_from, deliver_until : datetime
            Whole seconds, with a zone.
        """
        window = int(deliver_from.timestamp()), int(deliver_until.timestamp())
        record = self._chain.send(f"offer {wh} Wh", self._market.offer(meter, wh, price_per_kwh, *window))
        return int(self._logged(record, "Offered")["offerId"])

    def cancel(self, offer: int) -> TransactionRecord:
        """Take back what is unsold of an offer."""
        return self._chain.send(f"cancel offer {offer}", self._market.cancel(offer))

    def buy(self, offer: int, wh: int, max_price_per_kwh: int) -> int:
        """Buy energy and pay it into escrow; the price is approved first. Returns the deal's number.

        Parameters
        ----------
        wh : int
            [Wh]
        max_price_per_kwh : int
            [smallest units/kWh]
        """
        call = self._market.buy(offer, wh, max_price_per_kwh)
        amount = -(-wh * max_price_per_kwh // 1000)
        if self.offer_of(offer).price_per_kwh <= max_price_per_kwh:
            amount = int(self._market.quote(offer, wh).call())
        approve(self._chain, self._contracts.token, self._contracts.market.address, amount)
        return int(self._logged(self._chain.send(f"buy {wh} Wh of offer {offer}", call), "Bought")["dealId"])

    def statement(self, deal: int, delivered_wh: int) -> Statement:
        """What a meter operator would sign for a deal, good for as long as a statement can settle it. [Wh]"""
        return Statement(
            deal,
            delivered_wh,
            int(self.refundable_from(deal).timestamp()),
            self._contracts.market.address,
            self._chain.chain_id,
            self._chain.operator,
        )

    def deliver(self, statement: Statement) -> TransactionRecord:
        """Settle a deal by a signed statement, once its delivery is over.

        Raises
        ------
        ChainError
            The statement is for another market or chain, the delivery isn't over, or the contract refused.
        """
        here = self._contracts.market.address, self._chain.chain_id
        if (Web3.to_checksum_address(statement.market), statement.chain_id) != here:
            raise ChainError(
                f"the statement is for the market {statement.market} on chain {statement.chain_id}, "
                f"not for {here[0]} on chain {here[1]}"
            )
        self._chain.wait_until(self.offer_of(self.deal_of(statement.deal).offer).deliver_until)
        call = self._market.deliver(
            statement.deal,
            statement.delivered_wh,
            statement.deadline,
            Web3.to_checksum_address(statement.signer),
            statement.signature,
        )
        return self._chain.send(f"deliver {statement.delivered_wh} Wh for deal {statement.deal}", call)

    def refund(self, deal: int) -> TransactionRecord:
        """Give the buyer everything back, once it is too late for a statement."""
        self._chain.wait_until(self.refundable_from(deal))
        return self._chain.send(f"refund deal {deal}", self._market.refund(deal))

    # --- reading ----------------------------------------------------------------------------------------------

    def offers(self) -> list[Offer]:
        """All offers there ever were, oldest first."""
        count = int(self._market.offerCount().call())
        return [_offer(n, row) for n, row in self._rows(count, self._market.offersOf)]

    def deals(self) -> list[Deal]:
        """All deals there ever were, oldest first."""
        count = int(self._market.dealCount().call())
        return [_deal(n, row) for n, row in self._rows(count, self._market.dealsOf)]

    def offer_of(self, number: int) -> Offer:
        """One offer.

        Raises
        ------
        ChainError
            There is none of that number.
        """
        (row,) = self._market.offersOf([number]).call()
        if int(row[0], 16) == 0:
            raise ChainError(f"there is no offer {number}: see `negawatt energy offers`")
        return _offer(number, row)

    def deal_of(self, number: int) -> Deal:
        """One deal.

        Raises
        ------
        ChainError
            There is none of that number.
        """
        (row,) = self._market.dealsOf([number]).call()
        if int(row[0], 16) == 0:
            raise ChainError(f"there is no deal {number}: see `negawatt energy deals`")
        return _deal(number, row)

    def refundable_from(self, deal: int) -> datetime:
        """When it is too late for a statement, and the buyer gets everything back."""
        self.deal_of(deal)
        return _when(self._market.refundFromOf(deal).call())

    def _rows(self, count: int, read: Any) -> Iterator[tuple[int, Any]]:
        for first in range(1, count + 1, _ROWS):
            numbers = list(range(first, min(first + _ROWS, count + 1)))
            yield from zip(numbers, read(numbers).call(), strict=True)

    def _logged(self, record: TransactionRecord, event: str) -> Any:
        receipt = self._chain.w3.eth.get_transaction_receipt(record.hash)  # type: ignore[arg-type]
        (log,) = self._contracts.market.events[event]().process_receipt(receipt, errors=DISCARD)
        return log["args"]


def approve(chain: Chain, token: Contract, spender: str, amount: int) -> None:
    """Let a contract spend the sender's tokens, if it may not spend as many yet. [smallest units]"""
    if token.functions.allowance(chain.operator, spender).call() < amount:
        chain.send("approve the amount", token.functions.approve(spender, amount))


def as_account(chain: Chain, number: int) -> Chain:
    """The built-in chain seen from another of its accounts.

    Raises
    ------
    ChainError
        This is no anvil, or it has no account of that number.
    """
    if not chain.simulated:
        raise ChainError("accounts go by number on the built-in chain only: name a key file by --keystore")
    held = chain.w3.eth.accounts
    if number >= len(held):
        raise ChainError(f"the built-in chain has the accounts 0 to {len(held) - 1}, no account {number}")
    ask = chain.w3.provider.make_request
    return Chain(
        chain.url, signer=UnlockedSigner(lambda method, params: ask(RPCEndpoint(method), params), held[number])
    )


def _when(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _offer(number: int, row: Any) -> Offer:
    seller, deliver_from, deliver_until, price, offered, sold, meter = row
    return Offer(number, seller, bytes(meter), offered, sold, price, _when(deliver_from), _when(deliver_until))


def _deal(number: int, row: Any) -> Deal:
    buyer, wh, state, amount, offer = row
    return Deal(number, offer, buyer, wh, amount, STATES[state])
