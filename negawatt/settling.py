"""What the commands do on the chain, as functions: announce, read who takes part, settle, verify."""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from domain.certificates import CertificateSet, resource_key
from domain.errors import ChainError, InvalidEventError
from domain.events import DREvent, EventState
from domain.merkle import event_key
from domain.programmes import Delivery
from negawatt.console import Progress, quiet
from negawatt.demo_wallets import demo_key, demo_wallet
from negawatt.settings import Settings
from negawatt.waiting import Waiting
from negawatt.workspace import Workspace, write_json, write_whole
from serving.chain import Chain, TransactionRecord
from serving.consents import Consent, consent_message, read_message, signed_consent
from serving.deployment import Coin, Contracts, attach, attach_at, deploy
from serving.published import Published
from serving.settlement import ConsentSource, EventTerms, Participant, Settlement
from serving.verifier import Check, verify

_DEMO_CONSENT_SECONDS = 86_400
_TAKEN_BACK = timedelta(minutes=5)
"""Between two looks for other certificates."""


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
    work = _Work(workspace, settings, chain, event, certificates, progress)
    work.prepare()
    chain.wait_until(event.end)
    work.commit()
    began = time.perf_counter()
    work.send(certify_only=certify_only)
    contract_seconds = time.perf_counter() - began
    began = time.perf_counter()
    work.confirm()
    return work.document(contract_seconds, time.perf_counter() - began, certify_only=certify_only)


def settle_step(
    workspace: Workspace,
    settings: Settings,
    chain: Chain,
    event: DREvent,
    *,
    certify_only: bool = False,
    progress: Progress = quiet,
) -> dict[str, Any] | Waiting:
    """Take an event's settlement as far as it goes now, without waiting for blocks or windows.

    Call it again when the time it names has come, until it returns the document that `settle` returns. Each call
    looks at the chain anew, so calls may come from different processes. On anvil, whose clock is ours, one call
    does all. Certificates that the operator took back are not certified again: it waits for others.

    Raises
    ------
    InvalidEventError
        The event began without having been announced on the chain.
    ChainError
        The chain or a contract refused.
    """
    if chain.simulated:
        return settle(workspace, settings, chain, event, certify_only=certify_only, progress=progress)
    _check_announced(workspace, chain, event)
    work = _Work(workspace, settings, chain, event, None, progress)
    kept, state = workspace.settlement(event.id), work.engine.state(event.id)
    if state is EventState.CLOSED and kept.exists() and not certify_only:  # all but the closing itself is confirmed
        settled: dict[str, Any] = json.loads(kept.read_text())
        return settled
    if state < EventState.CERTIFIED:
        work.prepare()
        if (early := work.too_early()) is not None:
            return early
        work.commit()
    has_window = work.terms.dispute_window_minutes > 0
    work.send(certify_only=certify_only or has_window)
    if has_window and not certify_only:
        if (payable := work.engine.payable_from(event.id)) > (now := chain.now()):
            reason = f"homes may dispute the certification until {payable.isoformat()}"
            return Waiting(reason, datetime.now(UTC) + (payable - now))
        work.send()
    if (missing := settings.confirmations - chain.blocks_on(work.records())) > 0:
        reason = f"{missing} of {settings.confirmations} confirmations are to come"
        return Waiting(reason, datetime.now(UTC) + timedelta(seconds=missing * chain.block_seconds()))
    work.confirm()
    return work.document(0.0, 0.0, certify_only=certify_only)


class _Work:
    """One event's settlement: its parts in order, each of which may be done again."""

    def __init__(
        self,
        workspace: Workspace,
        settings: Settings,
        chain: Chain,
        event: DREvent,
        certificates: CertificateSet | None,
        progress: Progress,
    ) -> None:
        self._workspace, self._settings, self._chain, self._event = workspace, settings, chain, event
        self._progress = progress
        self.certificates = certificates or read_certificates(workspace, event)
        programme = workspace.programme(event.programme)
        self.terms = programme.terms_of(event)
        self._coin = Coin(programme.currency.code, programme.currency.decimals)
        _keep_transactions(workspace, event, chain)
        self._contracts = deploy(chain, workspace.address_book, self._coin)
        self.engine = Settlement(chain, self._contracts, progress)

    def prepare(self) -> None:
        """See that homes are registered and the event is issued."""
        _announce(self.engine, self._workspace, self._event, self._chain, self._contracts)

    def too_early(self) -> Waiting | None:
        """Why it can't be certified yet, if it can't."""
        event = self._event
        if (now := self._chain.now()) < event.end:
            return Waiting(f"the chain's clock is {now.isoformat()}", datetime.now(UTC) + (event.end - now))
        if self.engine.was_taken_back(self.certificates):
            reason = f"its certification was taken back: `negawatt certify {event.id}` makes another"
            return Waiting(reason, datetime.now(UTC) + _TAKEN_BACK)
        return None

    def commit(self) -> None:
        """See that those are certified who take part, and that the certificates stay as they are from now on."""
        _check_roster(self.engine, self._workspace, self._event, self.certificates)
        write_whole(self._workspace.committed(self._event.id), self.certificates.tree.root.hex().encode())

    def send(self, *, certify_only: bool = False) -> None:
        """Certify and pay, as far as the chain lacks it."""
        engine, event = self.engine, self._event
        if certify_only:
            engine.certify(self.certificates)
        elif self.terms.dispute_window_minutes == 0:
            engine.settle(self.certificates, self.terms.delivery)
        else:
            engine.certify(self.certificates)
            self._chain.wait_until(engine.payable_from(event.id))
            engine.finalise(event.id)
            engine.pay(self.certificates, self.terms.delivery)

    def records(self) -> list[TransactionRecord]:
        """What any run sent for the event and the chain holds."""
        return [TransactionRecord(**row) for row in _transactions(self._workspace, self._event, self._chain)]

    def confirm(self) -> None:
        """Wait for confirmations of all that was sent."""
        depth = self._settings.confirmations
        self._chain.confirm(self.records(), depth, lambda done: self._progress("confirm", done, depth))

    def document(self, contract_seconds: float, waited: float, *, certify_only: bool) -> dict[str, Any]:
        """What came of it; when it is paid, closed on the chain and written to the workspace."""
        chain, engine, event, workspace = self._chain, self.engine, self._event, self._workspace
        state = engine.state(event.id)
        document: dict[str, Any] = {
            "event_id": event.id,
            "chain_id": chain.chain_id,
            "confirmations": self._settings.confirmations,
            "contract_seconds": round(contract_seconds, 3),
            "confirmation_seconds": round(waited, 3),
        }
        if certify_only:
            return document | {
                "state": state.name.lower(),
                "payable_from": engine.payable_from(event.id).isoformat(),
                "transactions": _transactions(workspace, event, chain),
            }
        if state not in (EventState.PAID, EventState.CLOSED) and not (
            state is EventState.FINAL and self.terms.delivery is Delivery.CLAIM
        ):
            raise ChainError(
                f"event {event.id!r}: the chain took payments back while they were confirmed; settle again"
            )
        engine.close(event.id)
        kept = workspace.settlement(event.id)
        if kept.exists() and not chain.records:  # it was settled before, and nothing was left to do
            settled: dict[str, Any] = json.loads(kept.read_text())
            return settled
        document |= {
            "contracts": self._contracts.addresses(),
            "coin": {"symbol": self._coin.symbol, "decimals": self._coin.decimals},
            "root": "0x" + self.certificates.tree.root.hex(),
            "published_hash": "0x" + hashlib.sha256(self.certificates.published()).hexdigest(),
            "delivery": self.terms.delivery.value,
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


def roster_step(workspace: Workspace, chain: Chain, event: DREvent) -> dict[str, Any]:
    """Read who takes part from the chain, where the event was announced on it; else the workspace's list stands.

    On anvil, whose clock is ours, the event's end comes with the call.
    """
    if not _is_on_chain(workspace, chain, event):
        return {"event_id": event.id, "participants": len(workspace.participants(event)), "on_chain": False}
    if chain.simulated:
        chain.wait_until(event.end)
    return {**read_roster(workspace, chain, event), "on_chain": True}


def _is_on_chain(workspace: Workspace, chain: Chain, event: DREvent) -> bool:
    return workspace.address_book.exists() and (
        Settlement(chain, attach(chain, workspace.address_book)).state(event.id) is not EventState.NONE
    )


def _check_announced(workspace: Workspace, chain: Chain, event: DREvent) -> None:
    """See that an event is on the chain, or can still be announced there."""
    if not _is_on_chain(workspace, chain, event) and chain.now() >= event.start:
        raise InvalidEventError(
            event.id, "it began without `negawatt announce` on this chain, so it can't be settled there"
        )


def before_in_turn(workspace: Workspace, event: DREvent) -> list[str]:
    """Events that ended before this one, share homes with it, and whose settlement has not begun; earliest first.

    Nobody's payment depends on the order; it is kept so that homes are paid for events as they came.
    """
    mine = set(workspace.participants(event))
    found = [
        other
        for other in workspace.events()
        if other.end < event.end
        and not workspace.committed(other.id).exists()
        and not mine.isdisjoint(workspace.participants(other))
    ]
    return [other.id for other in sorted(found, key=lambda other: (other.end, other.id))]


def _keep_transactions(workspace: Workspace, event: DREvent, chain: Chain) -> None:
    """Write down each transaction as it is mined, so that a crash doesn't lose the record of it."""
    path = workspace.transactions(event.id)
    path.parent.mkdir(parents=True, exist_ok=True)

    def keep(record: TransactionRecord) -> None:
        with path.open("a") as lines:
            lines.write(json.dumps(asdict(record)) + "\n")

    chain.on_record = keep


def _transactions(workspace: Workspace, event: DREvent, chain: Chain) -> list[dict[str, Any]]:
    """All transactions sent for an event on this chain, by any run, each as it stands last.

    Those that name the event the outbox knows, also of runs that were killed before they wrote them down.
    """
    path = workspace.transactions(event.id)
    found: dict[str, dict[str, Any]] = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        with contextlib.suppress(ValueError):  # the last line of a run that was killed may be cut
            record = json.loads(line)
            found[record["hash"]] = record
    found = {hash_: record for hash_, record in found.items() if chain.knows(hash_)}
    found |= {record.hash: asdict(record) for record in chain.sent_about(event_key(event.id))}
    return sorted(found.values(), key=lambda record: int(record["block"]))


def announce(workspace: Workspace, chain: Chain, event: DREvent, progress: Progress = quiet) -> None:
    """Before an event: register its participants on chain, issue it and opt them in."""
    currency = workspace.programme(event.programme).currency
    _keep_transactions(workspace, event, chain)
    contracts = deploy(chain, workspace.address_book, Coin(currency.code, currency.decimals))
    _announce(Settlement(chain, contracts, progress), workspace, event, chain, contracts)


def _announce(engine: Settlement, workspace: Workspace, event: DREvent, chain: Chain, contracts: Contracts) -> None:
    programme = workspace.programme(event.programme)
    terms = programme.terms_of(event)
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
