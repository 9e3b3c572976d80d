"""Tokens, offers, deals, statements and refunds on a chain, and every refusal in words."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from chain_desk import COIN, FOREVER
from energy_desk import (
    BUYER,
    EVENING,
    METER,
    METER_OPERATOR,
    MORNING,
    NOON,
    OPERATOR,
    RATE,
    SELLER,
    STRANGER,
    TERMS,
    TOKEN,
    EnergyDesk,
    an_energy_desk,
)
from eth_account import Account

from domain.errors import ChainError
from serving.anvil import anvil
from serving.chain import Chain
from serving.consents import consent_message, signed_consent
from serving.deployment import deploy
from serving.energy import EnergyTrade, as_account
from serving.energy_contracts import EnergyTerms, attach_energy, deploy_energy
from serving.statements import Statement, read_statement, write_statement

pytestmark = pytest.mark.stack

PRICE = TOKEN // 5
AMOUNT = 2 * PRICE  # 2000 Wh
FUNDS = 100 * TOKEN


@pytest.fixture
def desk(tmp_path):
    with an_energy_desk(tmp_path) as desk:
        yield desk


@pytest.fixture
def deal(desk):
    """2000 of 5000 Wh, bought and paid for."""
    return desk.trade(BUYER).buy(desk.offer(), 2000, PRICE)


def signed(desk: EnergyDesk, deal: int, delivered_wh: int, account: int = METER_OPERATOR) -> Statement:
    return desk.trade(account).statement(deal, delivered_wh).signed_on(desk.chain(account))


def escrow(desk: EnergyDesk) -> int:
    contracts = desk.contracts()
    return contracts.token.functions.balanceOf(contracts.market.address).call()


# --- deployment --------------------------------------------------------------------------------------------


def test_deploying_again_finds_what_is_there(desk):
    chain = desk.chain()
    again = deploy_energy(chain, desk.book, TERMS, desk.address(METER_OPERATOR))
    assert again.addresses() == desk.contracts().addresses()
    assert chain.records == []
    with pytest.raises(ChainError, match="terms never change"):
        deploy_energy(chain, desk.book, EnergyTerms(symbol="XYZ"))


def test_contracts_that_are_not_in_the_book_are_asked_for(desk, tmp_path):
    with pytest.raises(
        ChainError, match=r"EnergyToken, EnergyMarket, MicrogridSettlement .* `negawatt energy deploy`"
    ):
        attach_energy(desk.chain(), tmp_path / "another.json")


def test_a_market_of_registered_meters_needs_the_registry(tmp_path):
    with anvil(clock=MORNING, block_seconds=None) as node:
        chain = Chain(node.url)
        terms = EnergyTerms(registered_only=True)
        with pytest.raises(ChainError, match="no ResourceRegistry"):
            deploy_energy(chain, tmp_path / "book.json", terms)


def test_with_the_registry_only_a_meters_owner_offers_its_energy(tmp_path):
    key = b"\x07" * 32
    owner = Account.from_key(key).address
    with anvil(clock=MORNING, block_seconds=None) as node:
        chain, book = Chain(node.url), tmp_path / "book.json"
        registry = deploy(chain, book, COIN).registry
        terms = EnergyTerms(registered_only=True)
        contracts = deploy_energy(chain, book, terms)
        with pytest.raises(ChainError, match=r"NotMeterOwner\(.*owner=0x0000000000.*only its owner"):
            EnergyTrade(chain, contracts).offer(METER, 1000, PRICE, NOON, EVENING)
        message = consent_message(
            registry.address, chain.chain_id, METER, owner, 3000, standing=True, nonce=0, deadline=FOREVER
        )
        consent = signed_consent(message, message.sign(key))
        chain.send("register", registry.functions.register([consent.row()]))
        with pytest.raises(ChainError, match=rf"NotMeterOwner.*owner={owner.lower()}"):
            EnergyTrade(chain, contracts).offer(METER, 1000, PRICE, NOON, EVENING)
        ask = chain.w3.provider.make_request
        ask("anvil_setBalance", [owner, hex(10**18)])
        call = contracts.market.functions.offer(METER, 1000, PRICE, int(NOON.timestamp()), int(EVENING.timestamp()))
        raw = call.build_transaction(
            {"from": owner, "nonce": 0, "gas": 300_000, "maxFeePerGas": 10**10, "maxPriorityFeePerGas": 0}
        )
        sent = chain.w3.eth.send_raw_transaction(Account.sign_transaction(raw, key).raw_transaction)
        assert chain.w3.eth.wait_for_transaction_receipt(sent)["status"] == 1


def test_accounts_go_by_number_on_the_built_in_chain(desk):
    with pytest.raises(ChainError, match="accounts 0 to 9, no account 10"):
        as_account(desk.chain(), 10)


# --- tokens ------------------------------------------------------------------------------------------------


def test_ether_buys_tokens_and_its_proceeds_go_to_the_treasury(desk):
    assert desk.tokens(BUYER) == FUNDS  # a twentieth of an ether at 2000
    desk.trade(STRANGER).buy_tokens(10**18, minimum=RATE)
    assert desk.tokens(STRANGER) == RATE
    treasury = "0x" + 39 * "0" + "7"
    desk.trade().withdraw_ether(treasury, 10**18)
    assert desk.chain().w3.eth.get_balance(treasury) == 10**18
    with pytest.raises(ChainError, match=r"NotEnoughEther\(have=50000000000000000, need=50000000000000001\)"):
        desk.trade().withdraw_ether(treasury, 10**18 // 20 + 1)


def test_who_would_get_less_than_the_minimum_keeps_the_ether(desk):
    with pytest.raises(ChainError, match=rf"buy tokens: .*BelowMinimum.*minimum={RATE + 1}.*less than asked for"):
        desk.trade(STRANGER).buy_tokens(10**18, minimum=RATE + 1)


def test_a_rate_of_zero_closes_the_sale_and_only_its_role_posts_one(desk):
    with pytest.raises(ChainError, match="AccessControlUnauthorizedAccount"):
        desk.trade(STRANGER).post_rate(1)
    desk.trade().post_rate(0)
    with pytest.raises(ChainError, match=r"SaleClosed\(\): nothing is for sale"):
        desk.trade(BUYER).buy_tokens(10**18)


# --- offers and purchases ----------------------------------------------------------------------------------


def test_an_offer_is_bought_in_parts_and_the_rest_is_cancelled(desk):
    number = desk.offer()
    buyer = desk.trade(BUYER)
    assert [buyer.buy(number, 2000, PRICE), buyer.buy(number, 500, PRICE)] == [1, 2]
    desk.trade(SELLER).cancel(number)
    (offer,) = desk.trade().offers()
    assert (offer.offered_wh, offer.sold_wh, offer.left_wh) == (2500, 2500, 0)
    assert (offer.seller, offer.meter) == (desk.address(SELLER), METER)
    assert (offer.deliver_from, offer.deliver_until) == (NOON, EVENING)
    deals = desk.trade().deals()
    assert [(deal.wh, deal.amount, deal.state) for deal in deals] == [
        (2000, AMOUNT, "open"),
        (500, AMOUNT // 4, "open"),
    ]
    assert escrow(desk) == AMOUNT + AMOUNT // 4
    assert desk.tokens(BUYER) == FUNDS - escrow(desk)


def test_more_offers_than_one_call_reads_are_all_read(desk, monkeypatch):
    monkeypatch.setattr("serving.energy._ROWS", 2)
    numbers = [desk.offer(wh=wh) for wh in (1, 2, 3, 4, 5)]
    assert [(offer.offer, offer.offered_wh) for offer in desk.trade().offers()] == [(n, n) for n in numbers]


def test_purchases_are_refused_in_words(desk):
    number = desk.offer()
    buyer = desk.trade(BUYER)
    for attempt, says in (
        (lambda: buyer.buy(99, 1, PRICE), "there is no offer 99"),
        (lambda: buyer.buy(number, 5001, PRICE), r"NotEnoughLeft\(.*left=5000, wanted=5001\)"),
        (lambda: buyer.buy(number, 1, PRICE - 1), "PriceAboveMaximum.*costs more than the buyer wants"),
        (lambda: buyer.buy(number, 0, PRICE), "ZeroWh.*at least a watt-hour"),
        (lambda: desk.trade(SELLER).buy(number, 1, PRICE), "SelfPurchase.*nobody buys from themselves"),
        (lambda: desk.trade(STRANGER).buy(number, 1, PRICE), "ERC20InsufficientBalance"),
        (lambda: desk.trade(STRANGER).cancel(number), "NotSeller.*only the seller cancels"),
        (lambda: desk.trade().deal_of(5), "there is no deal 5"),
    ):
        with pytest.raises(ChainError, match=says):
            attempt()
    buyer._chain.wait_until(NOON)
    with pytest.raises(ChainError, match=r"DeliveryStarted.*nothing more is sold"):
        buyer.buy(number, 1, PRICE)
    with pytest.raises(ChainError, match="DeliveryNotInFuture"):
        desk.offer()
    with pytest.raises(ChainError, match="EmptyWindow"):
        desk.trade(SELLER).offer(METER, 1, 1, EVENING, EVENING)
    assert escrow(desk) == 0


# --- delivery ----------------------------------------------------------------------------------------------


def test_a_statement_pays_the_seller_its_share_and_the_buyer_the_rest(desk, deal):
    statement = signed(desk, deal, 1500)
    record = desk.trade(STRANGER).deliver(statement)
    assert desk.tokens(SELLER) == AMOUNT * 3 // 4
    assert desk.tokens(BUYER) == FUNDS - AMOUNT * 3 // 4
    assert escrow(desk) == 0
    assert desk.trade().deal_of(deal).state == "delivered"
    assert record.gas < 150_000


def test_a_key_file_signs_the_same_statement_as_a_node(desk, deal):
    # Account 4 of the phrase that all anvils share.
    key = bytes.fromhex("47e179ec197488593b187f80a00eb0da91f1b9d0b13f8733639f19c30a34926a")
    unsigned = desk.trade(METER_OPERATOR).statement(deal, 1500)
    assert unsigned.signed_by(key) == unsigned.signed_on(desk.chain(METER_OPERATOR))


def test_a_statement_travels_as_a_file(desk, deal, tmp_path):
    statement = signed(desk, deal, 2000)
    write_statement(tmp_path / "statement.json", statement)
    assert read_statement(tmp_path / "statement.json") == statement
    desk.trade().deliver(read_statement(tmp_path / "statement.json"))
    assert desk.tokens(SELLER) == AMOUNT


@pytest.mark.parametrize(
    "harm",
    [
        lambda d: d.pop("signature"),
        lambda d: d["message"].pop("dealId"),
        lambda d: d["message"].update(deliveredWh="many"),
        lambda d: d["domain"].update(verifyingContract="nowhere"),
        lambda d: d.update(signer=7),
        lambda d: d.update(signature="0xzz"),
    ],
)
def test_a_file_that_is_no_statement_is_named(tmp_path, harm):
    path = tmp_path / "statement.json"
    write_statement(path, Statement(1, 2, 3, "0x" + 40 * "1", 5, "0x" + 40 * "2", b"x"))
    document = json.loads(path.read_text())
    harm(document)
    path.write_text(json.dumps(document))
    with pytest.raises(ChainError, match=r"statement\.json holds no meter statement"):
        read_statement(path)


def test_a_statement_counts_once_and_only_from_a_meter_operator(desk, deal):
    with pytest.raises(ChainError, match=r"NotMeterOperator.*is no meter operator"):
        desk.trade().deliver(signed(desk, deal, 2000, SELLER))
    good = signed(desk, deal, 1000)
    forged = Statement(deal, 2000, good.deadline, good.market, good.chain_id, good.signer, good.signature)
    with pytest.raises(ChainError, match="InvalidSignature"):
        desk.trade().deliver(forged)
    with pytest.raises(ChainError, match=r"DeliveredAboveSold.*claims more than was sold"):
        desk.trade().deliver(signed(desk, deal, 2001))
    desk.trade().deliver(good)
    with pytest.raises(ChainError, match=r"DealSettled.*settled before"):
        desk.trade().deliver(good)


def test_a_statement_for_another_market_or_chain_is_not_sent(desk, deal):
    good = signed(desk, deal, 1000)
    for elsewhere in (
        Statement(deal, 1000, good.deadline, "0x" + 40 * "1", good.chain_id, good.signer, good.signature),
        Statement(deal, 1000, good.deadline, good.market, 1, good.signer, good.signature),
    ):
        with pytest.raises(ChainError, match="the statement is for the market"):
            desk.trade().deliver(elsewhere)


def test_a_node_that_does_not_hold_the_account_signs_nothing(desk, deal):
    chain = desk.chain()
    chain.operator = "0x" + 40 * "1"
    with pytest.raises(ChainError, match="does not sign for"):
        desk.trade().statement(deal, 1).signed_on(chain)


# --- refunds -----------------------------------------------------------------------------------------------


def test_without_a_statement_anyone_gives_the_buyer_everything_back(desk, deal):
    assert desk.trade().refundable_from(deal) == EVENING + timedelta(seconds=TERMS.statement_window_seconds)
    late = signed(desk, deal, 2000)
    desk.trade(STRANGER).refund(deal)
    assert desk.tokens(BUYER) == FUNDS
    assert desk.trade().deal_of(deal).state == "refunded"
    with pytest.raises(ChainError, match="DealSettled"):
        desk.trade().deliver(late)
    with pytest.raises(ChainError, match="DealSettled"):
        desk.trade().refund(deal)


def test_a_statement_is_too_late_in_the_second_of_the_refund(desk, deal):
    late = signed(desk, deal, 2000)
    desk.chain().wait_until(desk.trade().refundable_from(deal))
    with pytest.raises(ChainError, match=r"StatementWindowClosed.*too late"):
        desk.trade().deliver(late)


def test_there_is_no_refund_while_a_statement_may_come(desk, deal):
    contracts, chain = desk.contracts(), desk.chain(OPERATOR)
    with pytest.raises(ChainError, match=r"StatementWindowOpen.*may still come"):
        chain.send("refund", contracts.market.functions.refund(deal))
