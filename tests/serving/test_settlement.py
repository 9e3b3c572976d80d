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
from chain_desk import COIN
from web3 import Web3

from domain.errors import ChainError
from domain.events import EventState
from serving.anvil import anvil, kept_clock
from serving.chain import Chain, attach, deploy
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
    def send(self, purpose, call):
        global sent
        if sent == before:
            os.kill(os.getpid(), signal.SIGKILL)
        if sent == after:
            call.transact({"from": self.operator})  # on its way, and nobody waits for it
            os.kill(os.getpid(), signal.SIGKILL)
        record = super().send(purpose, call)
        sent += 1
        return record
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


ALL_TRANSACTIONS = 15
"""3 deployments, 5 roles, registration, issue, opt-in, certification, 2 batches of payments, close."""


@pytest.mark.parametrize("crash_at", range(ALL_TRANSACTIONS))
def test_a_crash_between_any_two_transactions_is_finished_by_the_next_run(desk, crash_at):
    first, sent = desk.chain(), 0
    send = first.send

    def send_or_crash(purpose, call):
        nonlocal sent
        if sent == crash_at:
            raise Crash
        sent += 1
        return send(purpose, call)

    first.send = send_or_crash
    with pytest.raises(Crash):
        desk.settle(first)
    second = desk.chain()
    desk.settle(second)
    assert sent + len(second.records) == ALL_TRANSACTIONS
    settled_in_full(desk)


@pytest.mark.parametrize(("before", "after"), [(-1, 8), (12, -1), (-1, 11), (-1, 12), (13, -1), (-1, 13)])
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
    late = an_event("late", chain.now() - timedelta(hours=1))
    with pytest.raises(ChainError, match=r"issue event late: DemandResponse refused: StartNotInFuture\(start="):
        Settlement(chain, contracts).announce(late, desk.terms(), desk.participants())


def test_a_resource_that_belongs_to_another_wallet_stops_the_settlement(desk):
    desk.settle(desk.chain())
    mine = desk.participants()[0]
    chain = desk.chain()
    engine = Settlement(chain, attach(chain, desk.book))
    stranger = Participant(mine.resource, a_wallet(9999), 1000)
    with pytest.raises(ChainError, match="is registered to 0x"):
        engine.announce(an_event("e2", chain.now() + timedelta(hours=1)), desk.terms(), [stranger])


def test_nothing_is_paid_while_the_dispute_window_is_open(desk):
    chain = desk.chain()
    contracts = deploy(chain, desk.book, COIN)
    engine = Settlement(chain, contracts)
    engine.announce(desk.event, replace(desk.terms(), dispute_window_seconds=3600), desk.participants())
    chain.wait_until(desk.event.end)
    engine.certify(desk.certificates)
    with pytest.raises(ChainError, match="DisputeWindowOpen"):
        engine.pay(desk.certificates)
    chain.wait_until(engine.payable_from("e1"))
    engine.pay(desk.certificates)
    assert engine.state("e1") is EventState.PAID


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
        block = chain.w3.eth.block_number
        chain.wait_for_confirmations(block, 2, seen.append)
        assert chain.w3.eth.block_number - block >= 2
        assert seen[-1] == 2


def test_no_node_is_said_with_its_address():
    with pytest.raises(ChainError, match=r"no node answers at http://127\.0\.0\.1:1"):
        Chain("http://127.0.0.1:1")


def test_an_event_issued_under_other_rules_is_not_settled(desk):
    chain = desk.chain()
    engine = Settlement(chain, deploy(chain, desk.book, COIN))
    engine.announce(desk.event, desk.terms(), desk.participants())
    edited = replace(desk.terms(), programme_digest=b"\7" * 32)
    with pytest.raises(ChainError, match="issued under other rules"):
        engine.announce(desk.event, edited, desk.participants())


def test_contracts_of_one_coin_refuse_a_programme_of_another_currency(desk):
    deploy(desk.chain(), desk.book, COIN)
    with pytest.raises(ChainError, match="pay in DRC with 2 decimals, the programme in KRW with 0"):
        deploy(desk.chain(), desk.book, replace(COIN, symbol="KRW", decimals=0))
