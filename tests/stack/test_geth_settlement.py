"""Settlements on two real geth nodes, while nodes are killed, and through the follower alone."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from builders import some_certificates
from chain_desk import COIN, consents
from geth_desk import a_network
from web3 import Web3

from domain.certificates import CertificateSet
from domain.events import DREvent, EventState
from domain.programmes import Delivery, Funding
from infra.geth_network import Network
from serving.chain import Chain
from serving.deployment import Contracts, attach, deploy
from serving.outbox import Outbox
from serving.settlement import EventTerms, Participant, Settlement
from serving.signers import KeystoreSigner
from serving.verifier import verify

pytestmark = [pytest.mark.stack, pytest.mark.timeout(1200)]  # the first of them may have to build geth

HOMES = 300
CONFIRMATIONS = 3
OTHER_TIMES = {"event start", "event end"}
"""What can't hold: the readings are of 2025, and geth's clock is the machine's, so the chain's window is now."""


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A network of this module's own: its nodes are killed."""
    with a_network(tmp_path_factory.mktemp("settling") / "chain") as network:
        yield network


@pytest.fixture(scope="module")
def book(network, tmp_path_factory) -> Path:
    """The contracts, deployed once; each test has wallets that were paid before, or not."""
    path = tmp_path_factory.mktemp("book") / "addresses.json"
    deploy(operator(network, network.urls), path, COIN)
    return path


def operator(network: Network, urls: list[str], kind: type[Chain] = Chain, outbox: Outbox | None = None) -> Chain:
    signer = KeystoreSigner(network.operator_keystore, network.operator_password_file)
    return kind(",".join(urls), signer=signer, outbox=outbox)


@dataclass
class Case:
    """An event that is issued on the chain and over, and what was certified for it."""

    contracts: Contracts
    certificates: CertificateSet
    before: dict[str, int]

    def require_settled(self, chain: Chain, book: Path) -> None:
        """By a node: paid in full, every balance grown by exactly what the verifier recomputes."""
        contracts = attach(chain, book)
        event_id = self.certificates.event_id
        assert Settlement(chain, contracts).state(event_id) is EventState.PAID
        checks = verify(self.certificates.published(), contracts, event_id)
        assert {check.name for check in checks if not check.holds} <= OTHER_TIMES
        after = balances(contracts, self.certificates)
        for leaf in self.certificates.leaves:
            wallet = Web3.to_checksum_address(leaf.wallet)
            assert after[wallet] - self.before[wallet] == leaf.payment
        assert sum(after.values()) == contracts.coin.functions.totalSupply().call()


def balances(contracts: Contracts, certificates: CertificateSet) -> dict[str, int]:
    wallets = [Web3.to_checksum_address(leaf.wallet) for leaf in certificates.leaves]
    return {wallet: contracts.coin.functions.balanceOf(wallet).call() for wallet in wallets}


def an_ended_event(name: str, chain: Chain, book: Path) -> Case:
    """Announce an event of a few real seconds, and wait until it is over."""
    contracts = attach(chain, book)
    engine = Settlement(chain, contracts)
    certificates = some_certificates(HOMES, readings_of(name))
    people = [Participant(leaf.resource, "0x" + leaf.wallet.hex(), 1000) for leaf in certificates.leaves]
    engine.register(people, consents(contracts))
    start = chain.now() + timedelta(seconds=8)
    event = DREvent(name, "kpx-max-4-of-5", start, start + timedelta(seconds=2))
    engine.announce(event, EventTerms(1000, 25_000, 0, 86_400, Funding.MINT, digest(name)), people, refuse)
    assert engine.view(name)["participants"] == HOMES
    while chain.now() < event.end:
        time.sleep(0.2)
    return Case(contracts, certificates, balances(contracts, certificates))


def readings_of(name: str) -> DREvent:
    start = datetime(2025, 6, 18, 8, tzinfo=UTC)
    return DREvent(name, "kpx-max-4-of-5", start, start + timedelta(hours=1))


def digest(name: str) -> bytes:
    from builders import a_programme

    programme = a_programme()
    return programme.digest(programme.terms_on(readings_of(name).start.date()))


def refuse(asked: Participant, nonce: int) -> None:
    """Everyone is registered; nobody must be asked again."""
    raise AssertionError(f"{asked} was asked for consent again")


def test_a_settlement_goes_on_without_the_follower(network, book, tmp_path):
    chain = operator(network, network.urls)
    case = an_ended_event("follower-killed", chain, book)
    network.stop_node("follower", hard=True)
    try:
        records = Settlement(chain, case.contracts).settle(case.certificates, Delivery.TRANSFER)
        chain.confirm(records, CONFIRMATIONS)
    finally:
        network.start_node("follower")
    network.wait_until_ready()
    _, follower = network.nodes
    reader = Chain(follower.url)
    wait_for(lambda: reader.w3.eth.block_number >= max(record.block for record in records))
    case.require_settled(reader, book)


class Interrupted(Chain):
    """Kills the sealer once the given number of transactions is sent, and starts it again some seconds later."""

    network: Network
    kill_after = 2

    def submit(self, purpose, call, **how):
        ticket = super().submit(purpose, call, **how)
        self.kill_after -= 1
        if self.kill_after == 0:
            self.network.stop_node(self.network.sealer.name, hard=True)
            self.restart = threading.Timer(3, self.network.start_node, [self.network.sealer.name])
            self.restart.start()
        return ticket


def test_a_settlement_is_finished_when_the_sealer_is_killed_in_its_middle(network, book, tmp_path):
    with Outbox.at("", tmp_path / "outbox.sqlite") as outbox:
        chain = operator(network, network.urls, Interrupted, outbox)
        chain.kill_after = 1000
        case = an_ended_event("sealer-killed", chain, book)
        chain.network, chain.kill_after = network, 2  # certified and finalised: not paid
        records = Settlement(chain, case.contracts).settle(case.certificates, Delivery.TRANSFER)
        chain.restart.join()
        chain.confirm(records, CONFIRMATIONS)
        network.wait_until_ready()
        assert len(records) == 2 + 3  # three batches of 128
        case.require_settled(chain, book)
        # Nothing is left to do, and asking again sends nothing.
        sent = chain.w3.eth.get_transaction_count(network.operator)
        Settlement(chain, case.contracts).settle(case.certificates, Delivery.TRANSFER)
        assert chain.w3.eth.get_transaction_count(network.operator) == sent


def test_a_settlement_through_the_follower_alone_is_sealed_by_the_other(network, book):
    sealer, follower = network.nodes
    chain = operator(network, [follower.url])
    case = an_ended_event("by-the-follower", chain, book)
    records = Settlement(chain, case.contracts).settle(case.certificates, Delivery.CREDIT)
    chain.confirm(records, CONFIRMATIONS)
    home = case.contracts.events.functions
    credited = [leaf for leaf in case.certificates.leaves if leaf.payment]
    for leaf in credited[:3]:
        chain.send("withdraw", home.withdraw(Web3.to_checksum_address(leaf.wallet)))
    reader = Chain(sealer.url)
    after = balances(attach(reader, book), case.certificates)
    for place, leaf in enumerate(credited):
        wallet = Web3.to_checksum_address(leaf.wallet)
        assert after[wallet] - case.before[wallet] == (leaf.payment if place < 3 else 0)
        assert home.creditOf(wallet).call() == (0 if place < 3 else leaf.payment)


def wait_for(condition, seconds: float = 30) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.2)
