"""The reduction exchange on a real EVM: obligations follow the trades, and so do payments and checks."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from builders import a_key, a_wallet, an_event, some_certificates
from chain_desk import COIN
from eth_account import Account
from web3 import Web3

from domain.errors import ChainError
from domain.events import EventState
from domain.merkle import event_key
from domain.programmes import Delivery
from serving.chain import Chain
from serving.deployment import AddressBook, attach_at, deploy
from serving.exchange import Exchange
from serving.settlement import Settlement
from serving.signers import KeystoreSigner
from serving.verifier import verify

pytestmark = pytest.mark.stack

SELLER, BUYER = 3, 8
"""Homes of the desk: each has 1,000 W over an hour, so an obligation of 1,000 Wh."""

PRICE = 200
"""Minor units a kilowatt-hour."""


@pytest.fixture
def market(desk, tmp_path):
    """The desk's event, announced; seller and buyer trade with key files of their own, and have coins and ether."""
    chain = desk.chain()
    contracts = deploy(chain, desk.book, COIN)
    desk.announce(Settlement(chain, contracts), contracts)
    coin = contracts.coin.functions
    chain.send("allow minting", coin.grantRole(Web3.keccak(text="MINTER_ROLE"), chain.operator))
    chain.send("coins for the buyer", coin.mint(Web3.to_checksum_address(a_wallet(BUYER)), 1_000))
    traders = []
    for number in (SELLER, BUYER):
        chain.w3.provider.make_request("anvil_setBalance", [a_wallet(number), hex(10**18)])
        key, password = tmp_path / f"{number}.json", tmp_path / f"{number}.password"
        key.write_text(json.dumps(Account.encrypt(a_key(number), "made for this test", iterations=2)))
        password.write_text("made for this test\n")
        password.chmod(0o600)
        traders.append(Exchange(Chain(desk.url, signer=KeystoreSigner(key, password)), contracts))
    return Market(desk, chain, contracts, *traders)


class Market:
    def __init__(self, desk, chain, contracts, seller, buyer):
        self.desk, self.chain, self.contracts = desk, chain, contracts
        self.seller, self.buyer = seller, buyer
        self.engine = Settlement(chain, contracts)

    def resource(self, number: int) -> bytes:
        return self.desk.certificates.leaves[number].resource

    def coins(self, number: int) -> int:
        return self.contracts.coin.functions.balanceOf(Web3.to_checksum_address(a_wallet(number))).call()

    def trade(self, wh: int = 250) -> None:
        self.seller.offer("e1", self.resource(SELLER), 400, PRICE)
        self.buyer.buy(0, self.resource(BUYER), wh, PRICE)


def test_a_trade_moves_obligation_price_and_payment(market):
    market.trade()
    (offer,) = market.seller.offers("e1")
    (trade,) = market.buyer.trades("e1")
    assert (offer.wh, offer.price_per_kwh) == (150, PRICE)
    assert (trade.wh, trade.paid, trade.waits) == (250, 50, True)
    assert market.coins(BUYER) == 950
    # The price waits in the contract until the event has started.
    assert market.coins(SELLER) == 0
    market.chain.wait_until(market.desk.event.end)
    found = market.engine.roster("e1", [market.resource(n) for n in (SELLER, BUYER, 5)])
    assert found == [(True, 250), (True, -250), (True, 0)]
    assert market.coins(SELLER) == 50
    # Certified with the trades, the payments follow, and the verifier compares them with the exchange.
    certificates = some_certificates(
        150, market.desk.event, traded_wh={f"home-{SELLER:04d}": 250, f"home-{BUYER:04d}": -250}
    )
    plain = market.desk.certificates
    assert [leaf.payment for leaf in certificates.leaves] != [leaf.payment for leaf in plain.leaves]
    market.engine.settle(certificates, Delivery.TRANSFER)
    assert market.engine.state("e1") is EventState.PAID
    assert market.coins(SELLER) == 50 + certificates.leaves[SELLER].payment
    assert market.coins(BUYER) == 950 + certificates.leaves[BUYER].payment
    assert all(check.holds for check in verify(certificates.published(), market.contracts, "e1"))


def test_certificates_that_leave_trades_out_do_not_verify(market):
    market.trade()
    market.chain.wait_until(market.desk.event.end)
    market.engine.settle(market.desk.certificates, Delivery.TRANSFER)
    failed = [c for c in verify(market.desk.certificates.published(), market.contracts, "e1") if not c.holds]
    assert [check.name for check in failed] == ["traded obligations are those of the exchange"]
    # Without the exchange's address it can't be compared, and the check says so.
    blind = replace(market.contracts, exchange=None)
    assert all(check.holds for check in verify(market.desk.certificates.published(), blind, "e1"))


def test_trades_are_refused_in_words(market):
    market.trade()
    mine, other = market.resource(BUYER), market.resource(SELLER)
    for refused, why in (
        (lambda: market.buyer.buy(0, mine, 200, PRICE), "OfferTooSmall"),
        (lambda: market.buyer.buy(0, mine, 100, PRICE - 1), "PriceTooHigh"),
        (lambda: market.buyer.buy(7, mine, 100, PRICE), "UnknownOffer"),
        (lambda: market.buyer.buy(0, other, 100, PRICE), "NotResourceOwner"),
        (lambda: market.buyer.withdraw(0), "NotSeller"),
        (lambda: market.buyer.offer("e1", mine, 0, PRICE), "ZeroCover"),
        (lambda: market.buyer.offer("never", mine, 10, PRICE), "NotTradable"),
    ):
        with pytest.raises(ChainError, match=why):
            refused()
    market.seller.withdraw(0)
    assert market.seller.offers("e1") == []


def test_the_price_goes_back_when_the_seller_stays_out(market):
    market.trade()
    market.seller._chain.send(
        "opt out", market.contracts.events.functions.optOut(event_key("e1"), [market.resource(SELLER)])
    )
    market.chain.wait_until(market.desk.event.end)
    found = market.engine.roster("e1", [market.resource(SELLER), market.resource(BUYER)])
    assert found == [(False, 0), (True, 0)]
    assert (market.coins(SELLER), market.coins(BUYER)) == (0, 1_000)
    assert not market.buyer.trades("e1")[0].waits


# --- contracts of another version ---------------------------------------------------------------------------


def test_an_upgrade_keeps_homes_and_coins_and_lets_old_events_end_where_they_began(desk):
    chain = desk.chain()
    old = deploy(chain, desk.book, COIN)
    desk.announce(Settlement(chain, old), old)
    # As a book looks that an earlier version wrote.
    whole = json.loads(desk.book.read_text())
    whole[str(chain.chain_id)]["bytecode"]["DemandResponse"] = "0" * 64
    desk.book.write_text(json.dumps(whole))
    with pytest.raises(ChainError, match="negawatt deploy --upgrade"):
        deploy(chain, desk.book, COIN)
    new = deploy(chain, desk.book, COIN, upgrade=True)
    assert new.addresses().keys() == old.addresses().keys()
    same = {name for name, address in old.addresses().items() if new.addresses()[name] == address}
    assert same == {"ResourceRegistry", "IncentiveCoin"}
    assert not AddressBook(desk.book, chain.chain_id).outdated("DemandResponse")
    # A new event in the new contract asks nobody for consent again.
    later = an_event("e2", desk.event.start.replace(hour=20))
    Settlement(chain, new).announce(later, desk.terms(), desk.participants(), lambda asked, nonce: None)
    assert Settlement(chain, new).view("e2")["participants"] == 150
    # The old event ends in the old one, in the same coin.
    chain.wait_until(desk.event.end)
    former = attach_at(chain, old.events.address, exchange=old.exchange.address)
    Settlement(chain, former).settle(desk.certificates, Delivery.TRANSFER)
    assert all(check.holds for check in verify(desk.certificates.published(), former, "e1"))
    assert Settlement(chain, new).state("e1") is EventState.NONE
