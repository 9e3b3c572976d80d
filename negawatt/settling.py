"""What the commands do on the chain, as functions: announce, read who takes part, settle, verify."""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from domain.certificates import CertificateSet, resource_key
from domain.errors import ChainError, InvalidEventError
from domain.events import DREvent, EventState
from domain.programmes import Delivery
from negawatt.console import Progress, quiet
from negawatt.demo_wallets import demo_key, demo_wallet
from negawatt.settings import Settings
from negawatt.workspace import Workspace, write_json, write_whole
from serving.chain import Chain, TransactionRecord
from serving.consents import Consent, consent_message, read_message, signed_consent
from serving.deployment import Coin, Contracts, attach, attach_at, deploy
from serving.published import Published
from serving.settlement import ConsentSource, EventTerms, Participant, Settlement
from serving.verifier import Check, verify

_DEMO_CONSENT_SECONDS = 86_400


def settle(
    workspace: Workspace,
    settings: Settings,
    chain: Chain,
    event: DREvent,
    certificates: CertificateSet | None = None,
    *,
    certify_only: bool = False,
    progress: Progress = quiet,
) -> dict[str, Any]:
    """Bring an event's certificates on chain, pay them, and wait for confirmations.

    Steps that the chain shows to be done are skipped, so this can be run again after a crash at any point.

    Parameters
    ----------
    certificates : CertificateSet, optional
        Default: those published in the workspace.
    certify_only : bool
        Stop when the root is confirmed: the dispute window is open then, and a later run pays.

    Returns
    -------
    dict
        The settlement's document, as written to the workspace.

    Raises
    ------
    ChainError
        The chain or a contract refused.
    """
    certificates = certificates or read_certificates(workspace, event)
    programme = workspace.programme(event.programme)
    terms = programme.terms_on(event.local_dates(programme.zoneinfo)[0])
    coin = Coin(programme.currency.code, programme.currency.decimals)
    _keep_transactions(workspace, event, chain)
    contracts = deploy(chain, workspace.address_book, coin)
    engine = Settlement(chain, contracts, progress)
    _announce(engine, workspace, event, chain, contracts)
    chain.wait_until(event.end)
    _check_roster(engine, workspace, event, certificates)
    write_whole(workspace.committed(event.id), certificates.tree.root.hex().encode())
    began = time.perf_counter()
    if certify_only:
        engine.certify(certificates)
    elif terms.dispute_window_minutes == 0:
        engine.settle(certificates, terms.delivery)
    else:
        engine.certify(certificates)
        chain.wait_until(engine.payable_from(event.id))
        engine.finalise(event.id)
        engine.pay(certificates, terms.delivery)
    contract_seconds = time.perf_counter() - began
    depth = settings.confirmations
    began = time.perf_counter()
    chain.confirm(chain.records, depth, lambda done: progress("confirm", done, depth))
    waited = time.perf_counter() - began
    state = engine.state(event.id)
    if certify_only:
        return {
            "event_id": event.id,
            "chain_id": chain.chain_id,
            "state": state.name.lower(),
            "payable_from": engine.payable_from(event.id).isoformat(),
            "confirmations": depth,
            "contract_seconds": round(contract_seconds, 3),
            "confirmation_seconds": round(waited, 3),
            "transactions": _transactions(workspace, event, chain),
        }
    if state not in (EventState.PAID, EventState.CLOSED) and not (
        state is EventState.FINAL and terms.delivery is Delivery.CLAIM
    ):
        raise ChainError(f"event {event.id!r}: the chain took payments back while they were confirmed; settle again")
    engine.close(event.id)
    kept = workspace.settlement(event.id)
    if kept.exists() and not chain.records:  # it was settled before, and nothing was left to do
        document: dict[str, Any] = json.loads(kept.read_text())
        return document
    document = {
        "event_id": event.id,
        "chain_id": chain.chain_id,
        "contracts": contracts.addresses(),
        "coin": {"symbol": coin.symbol, "decimals": coin.decimals},
        "root": "0x" + certificates.tree.root.hex(),
        "published_hash": "0x" + hashlib.sha256(certificates.published()).hexdigest(),
        "delivery": terms.delivery.value,
        "confirmations": depth,
        "contract_seconds": round(contract_seconds, 3),
        "confirmation_seconds": round(waited, 3),
        "transactions": _transactions(workspace, event, chain),
    }
    write_json(kept, document)
    return document


def _check_roster(engine: Settlement, workspace: Workspace, event: DREvent, certificates: CertificateSet) -> None:
    """See that exactly those are certified who take part by the chain, with the obligations that they traded.

    Raises
    ------
    ChainError
        Owners chose otherwise, or traded, since the participants were last read.
    """
    salt = workspace.salt()
    people = workspace.resources() | workspace.participants(event)
    keys = {resource_key(salt, meter): meter for meter in people}
    claimed = {leaf.resource: 0 for leaf in certificates.leaves}
    for meter, moved in workspace.traded(event).items():
        claimed[resource_key(salt, meter)] = moved
    found = engine.roster(event.id, list(keys))
    held = {key: moved for key, (takes_part, moved) in zip(keys, found, strict=True) if takes_part}
    if held != claimed:
        odd = next(key for key in (*claimed, *held) if held.get(key) != claimed.get(key))
        raise ChainError(
            f"event {event.id!r}: by the chain {len(held)} homes take part, certified are {len(claimed)}; owners "
            f"chose or traded otherwise, e.g. the one of {keys.get(odd, '0x' + odd.hex())}: run "
            f"`negawatt roster {event.id}`, then certify again"
        )


def read_roster(workspace: Workspace, chain: Chain, event: DREvent) -> dict[str, Any]:
    """Read from the chain who takes part in an event that has started, with which traded obligations; keep it.

    Raises
    ------
    ChainError
        The event isn't on the chain, or has not started.
    """
    contracts = attach(chain, workspace.address_book)
    engine = Settlement(chain, contracts)
    if (state := engine.state(event.id)) <= EventState.ISSUED:
        raise ChainError(
            f"event {event.id!r} is {state.name.lower()} on the chain: owners may still choose and trade"
        )
    people, salt = workspace.resources() | workspace.participants(event), workspace.salt()
    found = engine.roster(event.id, [resource_key(salt, meter) for meter in people])
    roster = {meter: moved for meter, (takes_part, moved) in zip(people, found, strict=True) if takes_part}
    traded = {meter: moved for meter, moved in roster.items() if moved}
    workspace.set_participants(event, [people[meter] for meter in roster], traded)
    return {"event_id": event.id, "participants": len(roster), "of": len(people), "traded_wh": traded}


def _keep_transactions(workspace: Workspace, event: DREvent, chain: Chain) -> None:
    """Write down each transaction as it is mined, so that a crash doesn't lose the record of it."""
    path = workspace.transactions(event.id)
    path.parent.mkdir(parents=True, exist_ok=True)

    def keep(record: TransactionRecord) -> None:
        with path.open("a") as lines:
            lines.write(json.dumps(asdict(record)) + "\n")

    chain.on_record = keep


def _transactions(workspace: Workspace, event: DREvent, chain: Chain) -> list[dict[str, Any]]:
    """All transactions sent for an event on this chain, by any run."""
    path = workspace.transactions(event.id)
    records = []
    for line in path.read_text().splitlines() if path.exists() else ():
        with contextlib.suppress(ValueError):  # the last line of a run that was killed may be cut
            records.append(json.loads(line))
    return [record for record in records if chain.knows(record["hash"])]


def announce(workspace: Workspace, chain: Chain, event: DREvent, progress: Progress = quiet) -> None:
    """Before an event: register its participants on chain, issue it and opt them in."""
    currency = workspace.programme(event.programme).currency
    _keep_transactions(workspace, event, chain)
    contracts = deploy(chain, workspace.address_book, Coin(currency.code, currency.decimals))
    _announce(Settlement(chain, contracts, progress), workspace, event, chain, contracts)


def _announce(engine: Settlement, workspace: Workspace, event: DREvent, chain: Chain, contracts: Contracts) -> None:
    programme = workspace.programme(event.programme)
    terms = programme.terms_on(event.local_dates(programme.zoneinfo)[0])
    salt, people = workspace.salt(), workspace.participants(event).values()
    minutes = int((event.end - event.start).total_seconds()) // 60
    engine.announce(
        event,
        EventTerms(
            target_wh=max(sum(person.contracted_w for person in people) * minutes // 60, 1),
            rate_per_kwh=int(terms.payment.rate_per_kwh),
            dispute_window_seconds=terms.dispute_window_minutes * 60,
            claim_window_seconds=terms.claim_window_days * 86_400,
            funding=terms.funding,
            programme_digest=programme.digest(terms),
        ),
        [Participant(resource_key(salt, p.meter), p.wallet, p.contracted_w) for p in people],
        consents(workspace, chain, contracts),
    )


def consents(workspace: Workspace, chain: Chain, contracts: Contracts) -> ConsentSource:
    """The owners' consents that the workspace keeps; owners of demonstration wallets agree to everything."""
    salt = workspace.salt()
    demo_homes = {resource_key(salt, m): m for m, r in workspace.resources().items() if r.wallet == demo_wallet(m)}

    def find(asked: Participant, nonce: int) -> Consent | None:
        terms = (contracts.registry.address, chain.chain_id, asked.resource, asked.wallet, asked.contracted_w)
        kept = workspace.consents / f"{asked.resource.hex()}.json"
        if kept.exists():
            message, signature = read_message(kept)
            wanted = consent_message(
                *terms,
                standing=message.values.get("standing") is True,
                nonce=nonce,
                deadline=message.values.get("deadline", 0),
            )
            if signature and message == wanted and wanted.values["deadline"] > chain.now().timestamp():
                return signed_consent(message, signature)
        if asked.resource in demo_homes:
            deadline = int(chain.now().timestamp()) + _DEMO_CONSENT_SECONDS
            message = consent_message(*terms, standing=True, nonce=nonce, deadline=deadline)
            return signed_consent(message, message.sign(demo_key(demo_homes[asked.resource])))
        return None

    return find


def read_certificates(workspace: Workspace, event: DREvent) -> CertificateSet:
    """The published certificates of an event, by the batch layer.

    Raises
    ------
    InvalidEventError
        It was not certified yet, or only provisionally.
    """
    return workspace.published(event.id, final_only=True).certificates


def verify_event(
    workspace: Workspace,
    chain: Chain,
    event_id: str,
    published: Path | None = None,
    contract: str | None = None,
    exchange: str | None = None,
) -> list[Check]:
    """Recompute an event from its published certificates and the chain.

    Provisional certificates add up like others; that they are not final is a check that fails.

    Parameters
    ----------
    published : Path, optional
        Default: the workspace's: the batch layer's, else the provisional ones.
    contract : str, optional
        Address of the DemandResponse contract; default: as the workspace's address book has it.
    exchange : str, optional
        Address of the ReductionExchange, when ``contract`` is given.

    Raises
    ------
    InvalidEventError
        There are no published certificates.
    """
    if published is not None and not published.exists():
        raise InvalidEventError(event_id, f"there are no published certificates at {published}")
    found = Published(published, published.read_bytes(), False) if published else workspace.published(event_id)
    contracts = attach_at(chain, contract, exchange) if contract else attach(chain, workspace.address_book)
    checks = verify(found.data, contracts, event_id)
    if found.provisional:
        evidence = f"{found.path} is provisional: run `negawatt certify {event_id}`"
        checks.insert(0, Check("certificates are final", False, evidence))
    return checks
