"""The independent verifier: published certificates and the chain, recomputed by its own arithmetic.

Nothing here comes from the settlement engine or the rules it used, but for the hash functions: payments are
worked out again in fractions, the tree is built again, and the chain is read by an account that can't write.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from typing import Any

from domain.errors import VerificationError
from domain.merkle import Leaf, event_key, pair_hash
from serving.chain import Contracts

_CALL_ROWS = 1000
"""Resources asked for in one call."""


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
        obligation = c["contracted_w"] * hours
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
    view = contracts.events.functions.eventOf(key).call()
    start, end, programme_hash, root, published_hash = view[0], view[1], view[5], view[6], view[7]
    count, reduction, payment, paid = view[9], view[11], view[12], view[13]
    leaves = [_leaf(key, n, line, c) for n, (line, c) in enumerate(zip(lines, certificates, strict=True))]
    facts = json.dumps(header["programme"], sort_keys=True, separators=(",", ":")).encode()
    made = _payments_made(contracts, key)
    expected = {(n, leaf.resource, leaf.wallet, leaf.payment) for n, leaf in enumerate(leaves)}
    strangers = _strangers(contracts, leaves, certificates)
    return [
        _equal("event start", start, _seconds(header["event"]["start"]), "s"),
        _equal("event end", end, _seconds(header["event"]["end"]), "s"),
        _equal("hash of the published file", published_hash.hex(), hashlib.sha256(published).hexdigest()),
        _equal("hash of the programme's rules", programme_hash.hex(), hashlib.sha256(facts).hexdigest()),
        _each("index in place", [n for n, c in enumerate(certificates) if c["index"] != n], len(certificates)),
        _equal("Merkle root of the certificates", root.hex(), _root([leaf.hash() for leaf in leaves]).hex()),
        _equal("number of certificates on chain", count, len(leaves)),
        _equal("total reduction on chain", reduction, sum(leaf.reduction_wh for leaf in leaves), "Wh"),
        _equal("total payment on chain", payment, sum(leaf.payment for leaf in leaves), "minor units"),
        _each("resource registered to the wallet that is paid", strangers, len(leaves)),
        Check(
            "each payment made once, to the right wallet, in the right amount",
            len(made) == len(set(made)) and set(made) == expected,
            f"{len(set(made) & expected):,} of {len(expected):,} made, {len(made) - len(set(made)):,} twice, "
            f"{len(set(made) - expected):,} unexpected",
        ),
        _equal("sum paid on chain", paid, sum(leaf.payment for leaf in leaves), "minor units"),
        _equal("coins moved to wallets", _coins_moved(contracts, key), paid, "minor units"),
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


def _payments_made(contracts: Contracts, key: bytes) -> list[tuple[int, bytes, bytes, int]]:
    """Every payment event of the event: index, resource, wallet, amount."""
    logs = contracts.events.events.PaymentMade().get_logs(from_block=0, argument_filters={"eventId": key})
    return [
        (a["index"], bytes(a["resource"]), bytes.fromhex(a["wallet"][2:]), a["payment"])
        for a in (log["args"] for log in logs)
    ]


def _coins_moved(contracts: Contracts, key: bytes) -> int:
    """Coins that the coin's own ledger moved out of escrow in the transactions that paid this event."""
    paying = contracts.events.events.PaymentMade().get_logs(from_block=0, argument_filters={"eventId": key})
    hashes = {log["transactionHash"] for log in paying}
    moved = contracts.coin.events.Transfer().get_logs(
        from_block=0, argument_filters={"from": contracts.events.address}
    )
    return sum(log["args"]["value"] for log in moved if log["transactionHash"] in hashes)


def _strangers(contracts: Contracts, leaves: list[Leaf], certificates: list[dict[str, Any]]) -> list[int]:
    """Indices of certificates whose wallet or contracted capacity is not the registered one."""
    wrong = []
    for first in range(0, len(leaves), _CALL_ROWS):
        some = leaves[first : first + _CALL_ROWS]
        held = contracts.registry.functions.resourcesOf([leaf.resource for leaf in some]).call()
        for leaf, (owner, contracted_w, _) in zip(some, held, strict=True):
            c = certificates[leaf.index]
            if bytes.fromhex(owner[2:]) != leaf.wallet or contracted_w != c["contracted_w"]:
                wrong.append(leaf.index)
    return wrong


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
