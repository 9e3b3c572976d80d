"""The independent verifier: published certificates and the chain, recomputed by its own arithmetic.

Nothing here comes from the settlement engine or the rules it used, but for the hash functions: payments are
worked out again in fractions, the tree is built again, and the chain is read by an account that can't write.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from typing import Any

from domain.errors import VerificationError
from domain.merkle import Leaf, event_key, pair_hash
from serving.deployment import Contracts

_CERTIFIED = 4
"""The contract's states from here on have a root: certified, final, paid, closed; 8 is cancelled."""


@dataclass(frozen=True)
class Check:
    """One thing that was recomputed: what, whether it holds, and the evidence."""

    name: str
    holds: bool
    evidence: str


def verify(published: bytes, contracts: Contracts, event_id: str) -> list[Check]:
    """Recompute an event from its published certificates and compare it with the chain.

    Parameters
    ----------
    published : bytes
        The certificate file.
    contracts : Contracts
        The contracts to ask; only read.
    event_id : str
        The event that the file is said to be of.

    Returns
    -------
    list of Check
        All that was compared, failed or not.

    Raises
    ------
    VerificationError
        The file can't be read as certificates at all.
    """
    try:
        header, lines, certificates = _parse(published)
        named = _equal("event", event_id, header["event"]["id"])
        return [
            named,
            *_arithmetic(header, certificates),
            *_on_chain(published, header, lines, certificates, contracts),
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as broken:
        raise VerificationError(f"the published file is no certificate file: {broken!r}") from broken


def _parse(published: bytes) -> tuple[dict[str, Any], list[bytes], list[dict[str, Any]]]:
    first, *lines = published.rstrip(b"\n").split(b"\n")
    return json.loads(first), lines, [json.loads(line) for line in lines]


def _arithmetic(header: dict[str, Any], certificates: list[dict[str, Any]]) -> list[Check]:
    """What the file says about itself must add up."""
    wrong_sums = [c["index"] for c in certificates if not _sums_hold(c)]
    unfounded = [c["index"] for c in certificates if c["status"] != "certified" and c["payment"]]
    owed = _payments(header, certificates)
    wrong_pay = [c["index"] for c, amount in zip(certificates, owed, strict=True) if c["payment"] != amount]
    totals = header["totals"]
    reduction = sum(max(c["total_reduction_wh"], 0) for c in certificates)
    paid = sum(c["payment"] for c in certificates)
    resources = {c["resource"] for c in certificates}
    return [
        _each("baseline less usage is the reduction", wrong_sums, len(certificates)),
        _each("nothing is paid without a certificate", unfounded, len(certificates)),
        _each("payments follow from reductions and the programme's rates", wrong_pay, len(certificates)),
        _equal("traded obligations add up to zero", sum(c["traded_wh"] for c in certificates), 0, "Wh"),
        Check(
            "each resource has one certificate", len(resources) == len(certificates), f"{len(resources):,} resources"
        ),
        _equal("total reduction", totals["reduction_wh"], reduction, "Wh"),
        _equal("total payment", totals["payment"], paid, "minor units"),
    ]


def _sums_hold(c: dict[str, Any]) -> bool:
    if c["status"] != "certified":
        return c["baseline_wh"] is None and c["actual_wh"] is None and c["total_reduction_wh"] == 0
    pairs = zip(c["baseline_wh"], c["actual_wh"], strict=True)
    each = [0 if used is None else base - used for base, used in pairs]
    return bool(each == c["reduction_wh"] and sum(each) == c["total_reduction_wh"] and min(c["baseline_wh"]) >= 0)


def _payments(header: dict[str, Any], certificates: list[dict[str, Any]]) -> list[int]:
    """Amounts in fractions of a minor unit, then largest remainders: the programme's rule, worked out afresh."""
    rule = header["programme"]["terms"]["payment"]
    rate, penalty = Fraction(rule["rate_per_kwh"]), Fraction(rule["shortfall_penalty_per_kwh"])
    hours = Fraction(header["event"]["minutes"], 60)
    exact = []
    for c in certificates:
        obligation = c["contracted_w"] * hours + c["traded_wh"]
        reduced = Fraction(max(c["total_reduction_wh"], 0))
        paid_wh = min(reduced, obligation * rule["paid_share_max_pct"] / 100)
        short_wh = max(obligation * (100 - rule["shortfall_tolerance_pct"]) / 100 - reduced, 0)
        due = paid_wh / 1000 * rate - short_wh / 1000 * penalty
        exact.append(max(due, Fraction(0)) if c["status"] == "certified" else Fraction(0))
    amounts = [int(due) for due in exact]
    order = sorted(range(len(exact)), key=lambda n: (amounts[n] - exact[n], n))
    for n in order[: round(sum(exact, Fraction(0))) - sum(amounts)]:
        amounts[n] += 1
    return amounts


def _on_chain(
    published: bytes,
    header: dict[str, Any],
    lines: list[bytes],
    certificates: list[dict[str, Any]],
    contracts: Contracts,
) -> list[Check]:
    """What the file says must be what the chain holds and did."""
    key = event_key(header["event"]["id"])
    log = contracts.events.events
    issued = contracts.logs(log.EventIssued, eventId=key)
    certified = contracts.logs(log.EventCertified, eventId=key)
    view = contracts.events.functions.eventOf(key).call()
    state, commitment = view[7], view[13]
    if not issued or not certified or state < _CERTIFIED:
        return [Check("certified on chain", False, f"the chain has this event in state {state}")]
    terms, said = issued[-1]["args"]["terms"], certified[-1]["args"]
    leaves = [_leaf(key, n, line, c) for n, (line, c) in enumerate(zip(lines, certificates, strict=True))]
    facts = json.dumps(header["programme"], sort_keys=True, separators=(",", ":")).encode()
    root = _root([leaf.hash() for leaf in leaves])
    payment = sum(leaf.payment for leaf in leaves)
    return [
        _equal("event start", terms["start"], _seconds(header["event"]["start"]), "s"),
        _equal("event end", terms["end"], _seconds(header["event"]["end"]), "s"),
        _equal("hash of the published file", said["publishedHash"].hex(), hashlib.sha256(published).hexdigest()),
        _equal("hash of the programme's rules", terms["programmeHash"].hex(), hashlib.sha256(facts).hexdigest()),
        _each("index in place", [n for n, c in enumerate(certificates) if c["index"] != n], len(certificates)),
        _equal("Merkle root of the certificates", commitment.hex(), root.hex()),
        _equal("number of certificates on chain", said["count"], len(leaves)),
        _equal("total reduction on chain", said["totalReductionWh"], sum(leaf.reduction_wh for leaf in leaves), "Wh"),
        _equal("total payment on chain", said["totalPayment"], payment, "minor units"),
        *_people(contracts, key, leaves, certificates, certified[-1]["blockNumber"]),
        *_paid(contracts, key, leaves, header["programme"]["terms"]["delivery"], state, view[11]),
    ]


def _people(
    contracts: Contracts, key: bytes, leaves: list[Leaf], certificates: list[dict[str, Any]], block: int
) -> list[Check]:
    """Those who are certified must be those who took part, registered as their certificates say."""
    held: dict[bytes, tuple[str, int]] = {}
    registered = contracts.registry.events.ResourceRegistered
    handed_over = contracts.registry.events.ResourceTransferred
    changes = [
        log for log in (*contracts.logs(registered), *contracts.logs(handed_over)) if log["blockNumber"] <= block
    ]
    for log in sorted(changes, key=lambda log: (log["blockNumber"], log["logIndex"])):
        told, resource = log["args"], bytes(log["args"]["resource"])
        if log["event"] == "ResourceRegistered":
            held[resource] = (told["owner"].lower(), told["contractedW"])
        else:
            held[resource] = (told["to"].lower(), held[resource][1])
    strangers = [
        leaf.index
        for leaf, c in zip(leaves, certificates, strict=True)
        if held.get(leaf.resource) != ("0x" + leaf.wallet.hex(), c["contracted_w"])
    ]
    chosen: dict[bytes, bool] = {}
    choices = (contracts.events.events.OptedIn, contracts.events.events.OptedOut)
    for log in _in_order(*(contracts.logs(kind, eventId=key) for kind in choices)):
        chosen[bytes(log["args"]["resource"])] = log["event"] == "OptedIn"
    absent = [leaf.index for leaf in leaves if not chosen.get(leaf.resource)]
    return [
        _each("resource registered to the wallet that is paid", strangers, len(leaves)),
        _each("resource takes part in the event", absent, len(leaves)),
        _traded(contracts, key, leaves, certificates),
    ]


def _in_order(*logs: Sequence[Any]) -> list[Any]:
    """Logs of several kinds in the order in which they were made."""
    return sorted((log for some in logs for log in some), key=lambda log: (log["blockNumber"], log["logIndex"]))


def _traded(contracts: Contracts, key: bytes, leaves: list[Leaf], certificates: list[dict[str, Any]]) -> Check:
    """Traded obligations must be those of the exchange."""
    name, claimed = "traded obligations are those of the exchange", {}
    for leaf, c in zip(leaves, certificates, strict=True):
        claimed[leaf.resource] = c["traded_wh"]
    if contracts.exchange is None:
        none = not any(claimed.values())
        return Check(name, none, "none traded" if none else "name the exchange's address to have them compared")
    trades = contracts.logs(contracts.exchange.events.CoverTraded, eventId=key)
    void = {log["args"]["tradeId"] for log in contracts.logs(contracts.exchange.events.TradeVoided)}
    moved: dict[bytes, int] = {}
    for told in (log["args"] for log in trades if log["args"]["tradeId"] not in void):
        for side, sign in (("from", 1), ("to", -1)):
            moved[bytes(told[side])] = moved.get(bytes(told[side]), 0) + sign * told["wh"]
    wrong = [leaf.index for leaf in leaves if claimed[leaf.resource] != moved.get(leaf.resource, 0)]
    return _each(name, wrong, len(leaves))


def _paid(
    contracts: Contracts, key: bytes, leaves: list[Leaf], delivery: str, state: int, unpaid: int
) -> list[Check]:
    """Every payment is made at most once; what is not made yet waits on the chain, or was returned in time."""
    log = contracts.events.events
    transfers, credits = (
        contracts.logs(log.PaymentMade, eventId=key),
        contracts.logs(log.PaymentsCredited, eventId=key),
    )
    # A payment's log names the leaf; to whom how much went, the coin's own log tells, which is the next one.
    moved = {
        (entry["transactionHash"], entry["logIndex"]): (
            bytes.fromhex(entry["args"]["to"][2:]),
            entry["args"]["value"],
        )
        for entry in contracts.logs(contracts.coin.events.Transfer, **{"from": contracts.events.address})
    }
    made: list[tuple[int, bytes, int]] = [
        (entry["args"]["index"], *moved.get((entry["transactionHash"], entry["logIndex"] + 1), (b"", 0)))
        for entry in transfers
    ]
    pushed, wrong_sums = sum(row[2] for row in made), []
    for a in (entry["args"] for entry in credits):
        first = (a["chunk"] << a["level"]) // 256 * 256
        indices = [first + n for n in range(256) if a["leaves"] >> n & 1]
        credited = [(n, leaves[n].wallet, leaves[n].payment) for n in indices if n < len(leaves)]
        made += [row for row in credited if row[2]]
        if len(credited) != len(indices) or sum(row[2] for row in credited) != a["sum"]:
            wrong_sums.append(a["chunk"])
    due = {(leaf.index, leaf.wallet, leaf.payment) for leaf in leaves if leaf.payment}
    returned = sum(entry["args"]["amount"] for entry in contracts.logs(log.UnclaimedReturned, eventId=key))
    paid, total = sum(row[2] for row in made), sum(leaf.payment for leaf in leaves)
    complete = set(made) == due or delivery == "claim" or bool(returned)
    paying = {entry["transactionHash"] for entry in transfers}
    left = sum(value for (transaction, _), (_, value) in moved.items() if transaction in paying)
    waiting = "" if set(made) == due else f", {total - paid - returned:,} minor units wait to be claimed"
    return [
        Check(
            "each payment made once, to the right wallet, in the right amount",
            len(made) == len(set(made)) and set(made) <= due and complete,
            f"{len(set(made) & due):,} of {len(due):,} made, {len(made) - len(set(made)):,} twice, "
            f"{len(set(made) - due):,} unexpected{waiting}",
        ),
        _equal("paid, returned and unpaid make the total", paid + returned + unpaid, total, "minor units"),
        _equal("coins moved to wallets", left, pushed, "minor units"),
        _each("credits are the sums of their payments", wrong_sums, len(credits)),
    ]


def _leaf(key: bytes, index: int, line: bytes, c: dict[str, Any]) -> Leaf:
    return Leaf(
        key,
        index,
        bytes.fromhex(c["resource"][2:]),
        bytes.fromhex(c["wallet"][2:]),
        max(c["total_reduction_wh"], 0),
        c["payment"],
        hashlib.sha256(line).digest(),
    )


def _root(hashes: list[bytes]) -> bytes:
    while len(hashes) > 1:
        pairs = [hashes[n : n + 2] for n in range(0, len(hashes), 2)]
        hashes = [pair_hash(*pair) if len(pair) == 2 else pair[0] for pair in pairs]
    return hashes[0] if hashes else b""


def _seconds(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp())


def _equal(name: str, on_record: object, recomputed: object, unit: str = "") -> Check:
    holds = on_record == recomputed
    evidence = _short(recomputed) if holds else f"recorded {_short(on_record)}, recomputed {_short(recomputed)}"
    return Check(name, holds, f"{evidence} {unit}".rstrip())


def _each(name: str, wrong: list[int], of: int) -> Check:
    some = ", ".join(map(str, wrong[:5]))
    return Check(name, not wrong, f"all {of:,}" if not wrong else f"{len(wrong):,} of {of:,} fail: index {some}")


def _short(value: object) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    text = str(value)
    return f"{text[:12]}…{text[-6:]}" if len(text) > 24 else text


def require(checks: list[Check], event_id: str) -> None:
    """Raise when a check failed.

    Raises
    ------
    VerificationError
        Naming every check that failed.
    """
    failed = [check for check in checks if not check.holds]
    if failed:
        said = "; ".join(f"{check.name} ({check.evidence})" for check in failed)
        raise VerificationError(f"event {event_id!r} does not verify: {said}")
