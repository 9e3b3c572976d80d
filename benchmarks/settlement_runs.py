"""The single measurements of ``settlement``; each starts a network of two Geth nodes and checks what it paid."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from web3 import Web3

import contracts as contracts_package
from batch.certify import certify_event
from batch.parquet_store import ParquetStore
from batch.session import open_session, warm_up
from benchmarks.answers import WrongAnswerError
from benchmarks.homes import the_event, the_plan
from domain.certificates import CertificateSet, Resource, issue_certificates, resource_key
from domain.events import DREvent
from domain.merkle import event_key
from domain.plans import EventPlan, make_plan
from domain.programmes import Delivery, Funding
from infra.geth_create import create_network
from infra.geth_install import find_geth
from infra.geth_network import Network
from negawatt.demo_wallets import demo_key, demo_wallet
from serving.chain import Chain
from serving.consents import Consent, consent_message, signed_consent
from serving.deployment import Coin, Contracts, deploy
from serving.households import Household
from serving.outbox import Outbox
from serving.settlement import ConsentSource, EventTerms, Participant, Settlement
from serving.signers import KeystoreSigner
from serving.verifier import verify

CONTRACTED_W = 1000
CONFIRMATIONS = 12
_WINDOW_S, _LEAD_S = 4, 8
_CLAIM_GAS, _TRANSFER_GAS = 130_000, 80_000
_TIMES_OF_THE_EVENT = {"event start", "event end"}
"""Checks that can't hold: the chain's window is another than that of the readings."""


@dataclass(frozen=True)
class SettlementTimes:
    """Seconds from an event's end to the last confirmation, and the gas of its root."""

    homes: int
    certify: float
    contract: float
    confirmation: float
    total: float
    root_gas: int


@dataclass(frozen=True)
class Gas:
    """Gas a home for each way of paying, and seconds from the first transaction to the last receipt."""

    ways: dict[str, float]
    seconds: dict[str, float]


@contextlib.contextmanager
def network(folder: Path, period: int) -> Iterator[tuple[Network, Chain]]:
    """A new network, and a client with an outbox on disk, as the operator has it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    net = create_network(folder / "net", geth=find_geth(), now=datetime.now(UTC), period=period)
    net.up()
    try:
        with Outbox.at("", folder / "outbox.sqlite") as outbox:
            signer = KeystoreSigner(net.operator_keystore, net.operator_password_file)
            yield net, Chain(",".join(net.urls), signer=signer, outbox=outbox)
    finally:
        net.down()


def settle_sizes(folder: Path, period: int, stores: Mapping[int, Path], root_only: int) -> list[SettlementTimes]:
    """Settle one event for each size of fleet, smallest first, in a warm Spark session."""
    session = open_session()
    warm_up(session)
    plan = the_plan()
    currency = plan.programme.currency
    found = []
    with network(folder, period) as (_, chain):
        contracts = deploy(chain, folder / "addresses.json", Coin(currency.code, currency.decimals))
        engine = Settlement(chain, contracts)
        for homes, path in stores.items():
            store, salt = ParquetStore(path), f"benchmark {homes}".encode()
            certify_event(session, store, plan)  # warm for this size too
            meters = certify_event(session, store, plan).meters.tolist()
            resources = {m: Resource(m, CONTRACTED_W, demo_wallet(f"{homes}/{m}")) for m in meters}
            own = make_plan(the_event(f"benchmark-{homes}"), plan.programme, plan.interval_minutes)
            owners = {demo_wallet(f"{homes}/{m}"): demo_key(f"{homes}/{m}") for m in meters}
            end = _announce(engine, chain, contracts, own, resources, salt, owners)
            delivery = Delivery.CLAIM if homes >= root_only else Delivery.TRANSFER
            _wait_until(end)
            begin = end.timestamp()
            reductions = certify_event(session, store, own)
            certificates = issue_certificates(own, reductions, resources, salt)
            _ = certificates.tree
            certified = time.time()
            records = engine.settle(certificates, delivery)
            contracted = time.time()
            chain.confirm(records, CONFIRMATIONS)
            confirmed = time.time()
            _require_verified(certificates, contracts)
            root = next(r for r in records if r.purpose.startswith("certify"))
            found.append(
                SettlementTimes(
                    homes,
                    certified - begin,
                    contracted - certified,
                    confirmed - contracted,
                    confirmed - begin,
                    root.gas,
                )
            )
    session.stop()
    return found


def measure_gas(folder: Path, store_folder: Path) -> Gas:
    """Pay a thousand homes in every way: to wallets that never held the coin, then to the same again."""
    session = open_session()
    plan = the_plan()
    reductions = certify_event(session, ParquetStore(store_folder), plan)
    session.stop()
    meters, currency, salt = reductions.meters.tolist(), plan.programme.currency, b"benchmark gas"
    ways: dict[str, float] = {}
    seconds: dict[str, float] = {}
    with network(folder, 1) as (_, chain):
        contracts = deploy(chain, folder / "addresses.json", Coin(currency.code, currency.decimals))
        engine = Settlement(chain, contracts)
        for way, delivery in (("transfer", Delivery.TRANSFER), ("push", Delivery.CREDIT), ("claim", Delivery.CLAIM)):
            key_salt = salt + way.encode()
            resources = {m: Resource(m, CONTRACTED_W, demo_wallet(f"{way}/{m}")) for m in meters}
            owners = {demo_wallet(f"{way}/{m}"): demo_key(f"{way}/{m}") for m in meters}
            for again in (False, True):
                name = {"claim": ("claim-first", "claim")}.get(way, (f"{way}-first", f"{way}-warm"))[again]
                own = make_plan(the_event(f"gas-{name}"), plan.programme, plan.interval_minutes)
                end = _announce(engine, chain, contracts, own, resources, key_salt, owners)
                certificates = issue_certificates(own, reductions, resources, key_salt)
                _wait_until(end)
                engine.certify(certificates)
                engine.finalise(own.event.id)
                began = time.perf_counter()
                records = engine.pay(certificates, delivery)
                if delivery is Delivery.CLAIM:
                    records = _claim_all(chain, contracts, certificates)
                seconds[name] = time.perf_counter() - began
                paid = sum(1 for leaf in certificates.leaves if leaf.payment)
                ways[name] = sum(record.gas for record in records) / (paid if way == "claim" else len(meters))
                _require_verified(certificates, contracts)
            if way == "push":
                home = Household(chain, contracts)
                paid_one = next(leaf for leaf in certificates.leaves if leaf.payment)
                ways["withdraw-credit"] = float(home.withdraw("0x" + paid_one.wallet.hex()).gas)
        _plain_ways(chain, contracts, meters, ways, seconds)
    return Gas(ways, seconds)


def _plain_ways(
    chain: Chain, contracts: Contracts, meters: Sequence[str], ways: dict[str, float], seconds: dict[str, float]
) -> None:
    """What one does without our contracts: a transfer each, and transfers in a loop, to wallets new to the coin."""
    coin, amount = contracts.coin.functions, 12_345
    chain.send("allow minting", coin.grantRole(Web3.keccak(text="MINTER_ROLE"), chain.operator))
    chain.send("mint", coin.mint(chain.operator, 2 * amount * len(meters)))
    began = time.perf_counter()
    tickets = [
        chain.submit("transfer", coin.transfer(_wallet(f"one/{m}"), amount), gas=_TRANSFER_GAS) for m in meters
    ]
    records = chain.wait(tickets)
    seconds["one-transaction-each"] = time.perf_counter() - began
    ways["one-transaction-each"] = sum(r.gas for r in records) / len(meters)
    batch = _deploy_peer(chain)
    chain.send("approve", coin.approve(batch.address, amount * len(meters)))
    began = time.perf_counter()
    tickets = []
    for first in range(0, len(meters), 200):
        some = [_wallet(f"batch/{m}") for m in meters[first : first + 200]]
        call = batch.functions.pay(contracts.coin.address, some, [amount] * len(some))
        tickets.append(chain.submit("batch of transfers", call, gas=12_000_000))
    records = chain.wait(tickets)
    seconds["batched-transfers"] = time.perf_counter() - began
    ways["batched-transfers"] = sum(r.gas for r in records) / len(meters)


def _claim_all(chain: Chain, contracts: Contracts, certificates: CertificateSet) -> list[Any]:
    key, claim = event_key(certificates.event_id), contracts.events.functions.claim
    calls = (
        claim(key, leaf.index, (leaf.payee, leaf.detail), certificates.tree.proof(leaf.index))
        for leaf in certificates.leaves
        if leaf.payment
    )
    return chain.wait([chain.submit("claim", call, gas=_CLAIM_GAS) for call in calls])


def _announce(
    engine: Settlement,
    chain: Chain,
    contracts: Contracts,
    plan: EventPlan,
    resources: Mapping[str, Resource],
    salt: bytes,
    owners: Mapping[str, bytes],
) -> datetime:
    """Register the homes, then issue an event that starts as soon as everyone is in; returns its end."""
    people = [Participant(resource_key(salt, r.meter), r.wallet, r.contracted_w) for r in resources.values()]
    engine.register(people, consents_of(contracts, chain.chain_id, owners))
    # A batch of opt-ins each block, and what issuing takes.
    blocks = 2 + len(people) // 1500
    period = _period(chain)
    start = chain.now().replace(microsecond=0) + timedelta(
        seconds=_LEAD_S + (blocks + 2) * period + len(people) // 400
    )
    event = DREvent(plan.event.id, plan.event.programme, start, start + timedelta(seconds=_WINDOW_S))
    rule = plan.terms.payment
    terms = EventTerms(
        target_wh=CONTRACTED_W * len(people),
        rate_per_kwh=int(rule.rate_per_kwh),
        dispute_window_seconds=0,
        claim_window_seconds=86_400,
        funding=Funding.MINT,
        programme_digest=plan.programme.digest(plan.terms),
    )
    engine.announce(event, terms, people, lambda asked, nonce: None)
    if engine.view(event.id)["participants"] != len(people):
        raise WrongAnswerError(f"{event.id}: the event started before everyone was opted in")
    return event.end


def consents_of(contracts: Contracts, chain_id: int, owners: Mapping[str, bytes]) -> ConsentSource:
    """Consents of owners whose keys are at hand, by wallet."""

    def agree(asked: Participant, nonce: int) -> Consent:
        message = consent_message(
            contracts.registry.address,
            chain_id,
            asked.resource,
            asked.wallet,
            asked.contracted_w,
            standing=True,
            nonce=nonce,
            deadline=2**40,
        )
        return signed_consent(message, message.sign(owners[asked.wallet]))

    return agree


def _wait_until(instant: datetime) -> None:
    while (left := instant.timestamp() - time.time()) > 0:
        time.sleep(left)


def _period(chain: Chain) -> int:
    head = chain.w3.eth.get_block("latest")
    before = chain.w3.eth.get_block(head["number"] - 1)
    return max(1, head["timestamp"] - before["timestamp"])


def _require_verified(certificates: CertificateSet, contracts: Contracts) -> None:
    """The independent verifier must agree; payments to be claimed may still wait."""
    waiting = {"each payment made once, to the right wallet, in the right amount"}
    failed = {
        c.name
        for c in verify(certificates.published(), contracts, certificates.event_id)
        if not c.holds and not (c.name in waiting and "0 twice, 0 unexpected" in c.evidence)
    }
    if failed - _TIMES_OF_THE_EVENT:
        raise WrongAnswerError(f"{certificates.event_id} does not verify: {', '.join(sorted(failed))}")


def _deploy_peer(chain: Chain) -> Any:
    """Compile and deploy the contract that ours is compared with."""
    folder = Path(contracts_package.__file__).parent
    source = (Path(__file__).parent / "peers" / "BatchTransfer.sol").read_text()
    settings = {**json.loads((folder / "compiler.json").read_text())["settings"]}
    settings["outputSelection"] = {"*": {"*": ["abi", "evm.bytecode.object"]}}
    question = {"language": "Solidity", "sources": {"peer.sol": {"content": source}}, "settings": settings}
    script = "const s=require('solc');console.log(s.compile(require('fs').readFileSync(0,'utf8')))"
    done = subprocess.run(
        ["node", "-e", script], cwd=folder, input=json.dumps(question), capture_output=True, text=True, check=True
    )
    made = json.loads(done.stdout)["contracts"]["peer.sol"]["BatchTransfer"]
    factory = chain.w3.eth.contract(abi=made["abi"], bytecode=made["evm"]["bytecode"]["object"])
    record = chain.send("deploy the peer", factory.constructor())
    address = chain.w3.eth.get_transaction_receipt(record.hash)["contractAddress"]  # type: ignore[arg-type]
    return chain.w3.eth.contract(address=address, abi=made["abi"])


def _wallet(name: str) -> str:
    return Web3.to_checksum_address(demo_wallet(name))
