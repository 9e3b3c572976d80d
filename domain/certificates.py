"""Certificates as they are published: one line of canonical JSON for each resource.

The bytes of a line *are* the certificate: their SHA-256 goes into its Merkle leaf. Canonical means keys in
ASCII order, no spaces, whole numbers only, so that anyone can write the same bytes.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from domain.certification import EVIDENCE, FINDINGS, Finding, Reductions
from domain.errors import NegawattError
from domain.merkle import Leaf, MerkleTree, event_key
from domain.payments import payments
from domain.plans import EventPlan
from domain.readings import MISSING

FORMAT = "negawatt-certificates/2"

_VALUES: dict[Finding, tuple[str, ...]] = {
    Finding.HISTORY_INSUFFICIENT: ("usable_days",),
    Finding.EVENT_INCOMPLETE: ("missing_intervals",),
    Finding.EVENT_UNMEASURED: ("missing_intervals",),
    Finding.DAYS_INCOMPLETE: ("incomplete_days",),
    Finding.LOW_USAGE_PASSED: ("low_usage_days",),
    Finding.LOW_USAGE_READMITTED: ("readmitted_days",),
    Finding.READINGS_ESTIMATED: ("estimated_intervals",),
}


@dataclass(frozen=True)
class Resource:
    """A home (or other customer) that takes part: its meter, its wallet and what it undertook.

    ``contracted_w`` is the reduction undertaken during events [W]; ``wallet`` is a 0x-address.
    """

    meter: str
    contracted_w: int
    wallet: str
    feeder: str = ""


@dataclass(frozen=True)
class CertificateSet:
    """All certificates of one event, ready to publish and to settle.

    Attributes
    ----------
    event_id : str
    header : bytes
        First line of the published file: event, programme, method, totals.
    lines : tuple of bytes
        Canonical certificates, by index.
    leaves : tuple of Leaf
        What the contract needs of each, by index.
    """

    event_id: str
    header: bytes
    lines: tuple[bytes, ...]
    leaves: tuple[Leaf, ...]

    def published(self) -> bytes:
        """The file: a header line, then a line for each certificate."""
        return b"\n".join((self.header, *self.lines)) + b"\n"

    @cached_property
    def tree(self) -> MerkleTree:
        """The Merkle tree whose root goes on chain."""
        return MerkleTree([leaf.hash() for leaf in self.leaves])

    @cached_property
    def total_payment(self) -> int:
        """Sum of all payments. [minor units]"""
        return sum(leaf.payment for leaf in self.leaves)

    @cached_property
    def total_reduction_wh(self) -> int:
        """Sum of all certified reductions; homes that used more than their baseline count as zero. [Wh]"""
        return sum(leaf.reduction_wh for leaf in self.leaves)


def canonical(value: Mapping[str, Any]) -> bytes:
    """JSON with keys in order and no spaces.

    >>> canonical({"b": [1, None], "a": "x"})
    b'{"a":"x","b":[1,null]}'
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def resource_key(salt: bytes, meter: str) -> bytes:
    """The pseudonym under which a meter appears in public: HMAC-SHA256 by the operator's salt. 32 bytes.

    Without the salt nobody can tell a meter from its key, or test a guess.
    """
    return hmac.new(salt, meter.encode(), hashlib.sha256).digest()


def issue_certificates(
    plan: EventPlan,
    reductions: Reductions,
    resources: Mapping[str, Resource],
    salt: bytes,
    traded_wh: Mapping[str, int] | None = None,
) -> CertificateSet:
    """Turn certified reductions into certificates with payments.

    Parameters
    ----------
    plan : EventPlan
    reductions : Reductions
        Of exactly the participating meters.
    resources : mapping of meter to Resource
    salt : bytes
        See `resource_key`.
    traded_wh : mapping of meter to int, optional
        By how much trades before the event moved obligations; see `payments`. [Wh]

    Raises
    ------
    NegawattError
        The certified meters are not exactly the resources, or trades don't add up to zero.
    """
    meters: list[str] = reductions.meters.tolist()
    if odd := sorted(set(meters).symmetric_difference(resources)):
        problem = "takes no part" if odd[0] in meters else "takes part and was not looked at"
        raise NegawattError(f"event {plan.event.id!r}: meter {odd[0]!r} {problem}")
    if len(set(meters)) != len(meters):
        raise NegawattError(f"event {plan.event.id!r}: a meter was certified twice")
    totals = reductions.reduction_wh.sum(axis=1).tolist()
    contracted = [resources[meter].contracted_w for meter in meters]
    minutes = plan.event_intervals * plan.interval_minutes
    moved = [(traded_wh or {}).get(meter, 0) for meter in meters]
    if sum(moved) or set(traded_wh or ()) - set(meters):
        raise NegawattError(
            f"event {plan.event.id!r}: traded obligations of its participants add up to {sum(moved)} Wh, not to 0"
        )
    amounts = payments(totals, contracted, reductions.certified.tolist(), minutes, plan.terms.payment, moved)
    key = event_key(plan.event.id)
    lines, leaves = [], []
    for index, (meter, body) in enumerate(zip(meters, _bodies(plan, reductions), strict=True)):
        resource = resources[meter]
        pseudonym = resource_key(salt, meter)
        line = canonical(
            body
            | {
                "index": index,
                "resource": "0x" + pseudonym.hex(),
                "wallet": resource.wallet.lower(),
                "contracted_w": resource.contracted_w,
                "traded_wh": moved[index],
                "payment": amounts[index],
            }
        )
        lines.append(line)
        leaves.append(
            Leaf(
                key,
                index,
                pseudonym,
                bytes.fromhex(resource.wallet[2:]),
                max(body["total_reduction_wh"], 0),
                amounts[index],
                hashlib.sha256(line).digest(),
            )
        )
    header = canonical(
        {
            "format": FORMAT,
            "event": {
                "id": plan.event.id,
                "start": plan.event.start.isoformat(),
                "end": plan.event.end.isoformat(),
                "minutes": minutes,
            },
            "programme": plan.programme.facts(plan.terms),
            "interval_minutes": plan.interval_minutes,
            "baseline": plan.rule.label,
            "eligible_days": [day.isoformat() for day in plan.days],
            "totals": {
                "certificates": len(lines),
                "reduction_wh": sum(leaf.reduction_wh for leaf in leaves),
                "payment": sum(amounts),
            },
        }
    )
    return CertificateSet(plan.event.id, header, tuple(lines), tuple(leaves))


def parse_published(published: bytes) -> CertificateSet:
    """Read back what `CertificateSet.published` wrote.

    Raises
    ------
    NegawattError
        The file is not of this format.
    """
    try:
        header, *lines = published.rstrip(b"\n").split(b"\n")
        facts = json.loads(header)
        if facts["format"] != FORMAT:
            raise NegawattError(f"certificates of format {facts['format']!r}: expected {FORMAT!r}")
        key = event_key(facts["event"]["id"])
        leaves = [_leaf(key, line) for line in lines]
    except (ValueError, KeyError, TypeError) as broken:
        raise NegawattError(f"not a file of published certificates: {broken!r}") from broken
    return CertificateSet(facts["event"]["id"], header, tuple(lines), tuple(leaves))


def _leaf(event: bytes, line: bytes) -> Leaf:
    """The leaf of a canonical certificate."""
    c = json.loads(line)
    return Leaf(
        event,
        c["index"],
        bytes.fromhex(c["resource"][2:]),
        bytes.fromhex(c["wallet"][2:]),
        max(c["total_reduction_wh"], 0),
        c["payment"],
        hashlib.sha256(line).digest(),
    )


def _bodies(plan: EventPlan, reductions: Reductions) -> Iterator[dict[str, Any]]:
    """The measured part of each certificate."""
    days = np.array([day.isoformat() for day in plan.days], dtype=object)
    reduced = reductions.reduction_wh
    certified = reductions.certified
    for row in range(len(reductions)):
        if not certified[row]:
            measured: dict[str, Any] = {
                "status": "not-certified",
                "baseline_wh": None,
                "unadjusted_baseline_wh": None,
                "actual_wh": None,
                "reduction_wh": None,
                "total_reduction_wh": 0,
            }
        else:
            actual = reductions.actual_wh[row].tolist()
            measured = {
                "status": "certified",
                "baseline_wh": reductions.baseline_wh[row].tolist(),
                "unadjusted_baseline_wh": reductions.unadjusted_wh[row].tolist(),
                "actual_wh": [None if wh == MISSING else wh for wh in actual],
                "reduction_wh": reduced[row].tolist(),
                "total_reduction_wh": int(reduced[row].sum()),
            }
        yield measured | {
            "baseline_days": days[reductions.kept_days[row]].tolist(),
            "findings": describe(int(reductions.findings[row]), reductions.evidence[row].tolist()),
        }


def describe(findings: int, evidence: list[int]) -> list[dict[str, Any]]:
    """Spell out finding bits: code, sentence and the counts behind each.

    >>> describe(int(Finding.EVENT_UNMEASURED), [5, 0, 0, 0, 2, 0])[0]["values"]
    {'missing_intervals': 2}
    """
    counts = dict(zip(EVIDENCE, evidence, strict=True))
    return [
        {
            "code": code,
            "sentence": sentence,
            "values": {name: counts[name] for name in _VALUES.get(finding, ())},
        }
        for finding, (code, sentence) in FINDINGS.items()
        if findings & finding
    ]
