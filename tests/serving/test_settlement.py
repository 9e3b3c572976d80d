"""The settlement engine on a real EVM: it finishes what was cut short, and pays nobody twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta

import pytest
from builders import a_wallet, an_event, some_certificates
from chain_desk import COIN, consents
from web3 import Web3

from domain.errors import ChainError
from domain.events import EventState
from domain.merkle import event_key
from domain.programmes import Delivery, Funding
from serving.anvil import anvil, kept_clock
from serving.chain import Chain
from serving.deployment import attach, deploy
from serving.households import Household
from serving.settlement import Participant, Settlement
from serving.verifier import verify

pytestmark = pytest.mark.stack

CHILD = """
import json, os, signal, sys
from pathlib import Path
sys.path[:0] = json.loads(sys.argv[5])
from builders import an_event, some_certificates
from chain_desk import Desk
from serving.chain import Chain

before, after = (int(n) for n in sys.argv[3:5])
sent = 0
class Fragile(Chain):
    def submit(self, purpose, call, **how):
        global sent
        if sent == before:
            os.kill(os.getpid(), signal.SIGKILL)
        ticket = super().submit(purpose, call, **how)
        if sent == after:  # on its way, and nobody waits for it
            os.kill(os.getpid(), signal.SIGKILL)
        sent += 1
        return ticket
desk = Desk(sys.argv[1], Path(sys.argv[2]), an_event(), some_certificates(150))
desk.settle(Fragile(desk.url))
"""


def settled_in_full(desk) -> None:
    chain = desk.chain()
    contracts = attach(chain, desk.book)
    assert Settlement(chain, contracts).state("e1") is EventState.CLOSED
    paid = {leaf.wallet: leaf.payment for leaf in desk.certificates.leaves}
    for wallet, amount in paid.items():
        held = contracts.coin.functions.balanceOf(Web3.to_checksum_address(wallet)).call()
        assert held == amount
    assert contracts.coin.functions.totalSupply().call() == desk.certificates.total_payment
    assert all(check.holds for check in verify(desk.certificates.published(), contracts, "e1"))


def test_every_home_gets_exactly_what_its_certificate_says(desk):
    desk.settle(desk.chain())
    settled_in_full(desk)


def test_running_it_again_sends_nothing(desk):
    desk.settle(desk.chain())
    again = desk.chain()
    desk.settle(again)
    assert again.records == []
    settled_in_full(desk)


class Crash(BaseException):
    """The process is gone: nothing may catch this."""


ALL_TRANSACTIONS = 17
"""4 deployments, 5 roles, registration, issue, opt-in, certification, finalisation, 2 batches of payments, close."""


@pytest.mark.parametrize("crash_at", range(ALL_TRANSACTIONS))
def test_a_crash_between_any_two_transactions_is_finished_by_the_next_run(desk, crash_at):
    first, sent = desk.chain(), 0
    submit = first.submit

    def submit_or_crash(purpose, call, **how):
        nonlocal sent
        if sent == crash_at:
            raise Crash
        sent += 1
        return submit(purpose, call, **how)

    first.submit = submit_or_crash
    with pytest.raises(Crash):
        desk.settle(first)
    second = desk.chain()
    desk.settle(second)
    assert sent + len(second.records) == ALL_TRANSACTIONS
    settled_in_full(desk)


@pytest.mark.parametrize(("before", "after"), [(-1, 9), (12, -1), (-1, 12), (-1, 13), (14, -1), (-1, 14), (-1, 16)])
def test_a_killed_process_is_finished_by_the_next_even_with_a_transaction_under_way(desk, before, after):
    paths = json.dumps([path for path in sys.path if path.endswith("tests")])
    command = [sys.executable, "-c", CHILD, desk.url, str(desk.folder), str(before), str(after), paths]
    child = subprocess.run(command, cwd=os.getcwd(), check=False, capture_output=True, text=True)
    assert child.returncode == -signal.SIGKILL, child.stderr
    desk.settle(desk.chain())
    settled_in_full(desk)


def test_other_certificates_for_a_certified_event_are_refused(desk):
    desk.settle(desk.chain())
    desk.certificates = some_certificates(150, used_wh=200)
    with pytest.raises(ChainError, match="a certified event can't be certified again"):
        desk.settle(desk.chain())


def test_an_event_of_the_past_is_refused_in_words(desk):
    chain = desk.chain()
    contracts = deploy(chain, desk.book, COIN)
    desk.event = an_event("late", chain.now() - timedelta(hours=1))
    with pytest.raises(
        ChainError, match=r"issue event late: DemandResponse refused: StartNotInFuture\(start=.*is past"
    ):
        desk.announce(Settlement(chain, contracts), contracts)


def test_a_resource_that_belongs_to_another_wallet_stops_the_settlement(desk):
    desk.settle(desk.chain())
    mine = desk.participants()[0]
    chain = desk.chain()
    contracts = attach(chain, desk.book)
    stranger, later = Participant(mine.resource, a_wallet(399), 1000), chain.now() + timedelta(hours=1)
    with pytest.raises(ChainError, match="is registered to 0x"):
        Settlement(chain, contracts).announce(an_event("e2", later), desk.terms(), [stranger], consents(contracts))


def test_nobody_is_registered_without_consent(desk):
    chain = desk.chain()
    contracts = deploy(chain, desk.book, COIN)
    with pytest.raises(ChainError, match=r"150 owners have not agreed to be registered, e\.g\. 0x"):
        Settlement(chain, contracts).announce(
            desk.event, desk.terms(), desk.participants(), lambda asked, nonce: None
        )


def test_a_home_that_agrees_to_another_capacity_is_registered_anew(desk):
    chain = desk.chain()
    contracts = deploy(chain, desk.book, COIN)
    engine = Settlement(chain, contracts)
    desk.announce(engine, contracts)
    more = [replace(p, contracted_w=2000) for p in desk.participants()[:3]]
    engine.announce(an_event("e2", desk.event.start + timedelta(hours=3)), desk.terms(), more, consents(contracts))
    held = contracts.registry.functions.resourceOf(more[0].resource).call()
    assert held[1] == 2000
    assert contracts.registry.functions.resourceCount().call() == 150


def test_owners_who_gave_no_standing_permission_are_not_opted_in(desk):
    chain = desk.chain()
    contracts = deploy(chain, desk.book, COIN)
    engine = Settlement(chain, contracts)
    engine.announce(desk.event, desk.terms(), desk.participants(), consents(contracts, standing=False))
    assert engine.view("e1")["participants"] == 0


def test_nothing_is_paid_while_the_dispute_window_is_open(desk):
    chain = desk.chain()
    contracts = deploy(chain, desk.book, COIN)
    engine = Settlement(chain, contracts)
    desk.announce(engine, contracts, replace(desk.terms(), dispute_window_seconds=3600))
    chain.wait_until(desk.event.end)
    engine.certify(desk.certificates)
    with pytest.raises(ChainError, match=r"DisputeWindowOpen\(.*the dispute window is still open"):
        engine.finalise("e1")
    assert engine.pay(desk.certificates) == []
    chain.wait_until(engine.payable_from("e1"))
    engine.finalise("e1")
    engine.pay(desk.certificates)
    assert engine.state("e1") is EventState.PAID


def test_an_empty_treasury_pays_nobody_until_it_is_filled(desk):
    chain = desk.chain()
    contracts = deploy(chain, desk.book, COIN)
    engine = Settlement(chain, contracts)
    desk.announce(engine, contracts, replace(desk.terms(), funding=Funding.TREASURY))
    chain.wait_until(desk.event.end)
    engine.certify(desk.certificates)
    total = desk.certificates.total_payment
    with pytest.raises(ChainError, match=rf"InsufficientTreasury\(.*need={total}, have=0\).*put coins in"):
        engine.finalise("e1")
    chain.send("allow minting", contracts.coin.functions.grantRole(Web3.keccak(text="MINTER_ROLE"), chain.operator))
    chain.send("mint", contracts.coin.functions.mint(chain.operator, total))
    chain.send("approve", contracts.coin.functions.approve(contracts.events.address, total))
    chain.send("fund", contracts.events.functions.fund(total))
    desk.settle(desk.chain())
    settled_in_full(desk)


def test_credited_homes_get_their_coins_when_anyone_withdraws_for_them(desk):
    chain = desk.chain()
    contracts = desk.settle(chain, Delivery.CREDIT)
    home = Household(chain, contracts)
    for leaf in desk.certificates.leaves:
        assert home.holding("0x" + leaf.wallet.hex()).credit == leaf.payment
        home.withdraw("0x" + leaf.wallet.hex())
    settled_in_full(desk)
    with pytest.raises(ChainError, match=r"NoCredit\(wallet=0x"):
        home.withdraw(a_wallet(0))


def test_homes_claim_what_was_not_pushed_and_the_rest_goes_back_in_time(desk):
    chain = desk.chain()
    contracts = desk.settle(chain, Delivery.CLAIM)
    engine, home = Settlement(chain, contracts), Household(chain, contracts)
    assert engine.state("e1") is EventState.FINAL
    owed = desk.certificates.leaves[7].payment
    assert home.holding(a_wallet(7), desk.certificates).claimable == owed
    home.claim(desk.certificates, a_wallet(7))
    assert home.holding(a_wallet(7), desk.certificates) == replace(
        home.holding(a_wallet(7)), balance=owed, claimable=0
    )
    # The programme promises to push payments: those that wait are told.
    (late,) = [check for check in verify(desk.certificates.published(), contracts, "e1") if not check.holds]
    assert f"{desk.certificates.total_payment - owed:,} minor units wait to be claimed" in late.evidence
    with pytest.raises(ChainError, match="paid before"):
        home.claim(desk.certificates, a_wallet(7))
    with pytest.raises(ChainError, match="it earned nothing"):
        home.claim(desk.certificates, a_wallet(399))
    give_back = contracts.events.functions.returnUnclaimed(event_key("e1"))
    with pytest.raises(ChainError, match="ClaimWindowOpen"):
        chain.send("return", give_back)
    chain.wait_until(chain.now() + timedelta(days=31))
    with pytest.raises(ChainError, match="ClaimWindowOver"):
        home.claim(desk.certificates, a_wallet(8))
    chain.send("return", give_back)
    assert contracts.coin.functions.totalSupply().call() == owed
    assert all(check.holds for check in verify(desk.certificates.published(), contracts, "e1"))


@pytest.mark.parametrize("wrong", ["amount", "wallet", "index", "proof"])
def test_a_claim_that_was_not_certified_is_refused(desk, wrong):
    chain = desk.chain()
    contracts = desk.settle(chain, Delivery.CLAIM)
    leaf, proof = desk.certificates.leaves[3], desk.certificates.tree.proof(3)
    index, payee = leaf.index, leaf.payee
    if wrong == "amount":
        payee = replace(leaf, payment=leaf.payment + 1).payee
    elif wrong == "wallet":
        payee = replace(leaf, wallet=b"\7" * 20).payee
    elif wrong == "index":
        index = 4
    else:
        proof = desk.certificates.tree.proof(4)
    call = contracts.events.functions.claim(event_key("e1"), index, (payee, leaf.detail), proof)
    with pytest.raises(ChainError, match=r"claim: DemandResponse refused: InvalidProof\(.*is not what was certified"):
        chain.send("claim", call)


def test_a_chain_that_is_kept_goes_on_where_it_stopped(tmp_path):
    state, start = tmp_path / "anvil.json", an_event().start
    with anvil(state, clock=start) as node:
        chain = Chain(node.url)
        deploy(chain, tmp_path / "book.json", COIN)
        chain.wait_until(start + timedelta(days=3))
    assert kept_clock(state) >= int((start + timedelta(days=3)).timestamp())
    with anvil(state) as node:
        chain = Chain(node.url)
        attach(chain, tmp_path / "book.json")
        assert start + timedelta(days=3) <= chain.now() < start + timedelta(days=4)


def test_confirmations_are_blocks_on_top(tmp_path):
    with anvil(clock=an_event().start) as node:
        chain = Chain(node.url)
        seen: list[int] = []
        deploy(chain, tmp_path / "book.json", COIN)
        chain.confirm(chain.records, 2, seen.append)
        assert chain.w3.eth.block_number - chain.records[-1].block >= 2
        assert seen[-1] == 2


def test_no_node_is_said_with_its_address():
    with pytest.raises(ChainError, match=r"no node answers at http://127\.0\.0\.1:1"):
        Chain("http://127.0.0.1:1")


def test_an_event_issued_under_other_rules_is_not_settled(desk):
    chain = desk.chain()
    contracts = deploy(chain, desk.book, COIN)
    engine = Settlement(chain, contracts)
    desk.announce(engine, contracts)
    with pytest.raises(ChainError, match="issued under other rules"):
        desk.announce(engine, contracts, replace(desk.terms(), programme_digest=b"\7" * 32))


def test_contracts_of_one_coin_refuse_a_programme_of_another_currency(desk):
    deploy(desk.chain(), desk.book, COIN)
    with pytest.raises(ChainError, match="pay in DRC with 2 decimals, the programme in KRW with 0"):
        deploy(desk.chain(), desk.book, replace(COIN, symbol="KRW", decimals=0))
