"""Certificates as they are published: one line of canonical JSON for each resource.

The bytes of a line *are* the certificate: their SHA-256 goes into its Merkle leaf. Canonical means keys in
ASCII order, no spaces, whole numbers only, so that anyone can write the same bytes.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from json.encoder import encode_basestring_ascii
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
    return _text(value).encode()


def resource_key(salt: bytes, meter: str) -> bytes:
    """The pseudonym under which a meter appears in public: HMAC-SHA256 by the operator's salt. 32 bytes.

    Without the salt nobody can tell a meter from its key, or test a guess.
    """
    return hmac.digest(salt, meter.encode(), "sha256")


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
    pseudonyms = [resource_key(salt, meter) for meter in meters]
    wallets = [resources[meter].wallet.lower() for meter in meters]
    lines = _lines(plan, reductions, pseudonyms, wallets, contracted, moved, amounts)
    leaves = [
        Leaf(key, index, pseudonym, bytes.fromhex(wallet[2:]), max(total, 0), amount, hashlib.sha256(line).digest())
        for index, (pseudonym, wallet, total, amount, line) in enumerate(
            zip(pseudonyms, wallets, totals, amounts, lines, strict=True)
        )
    ]
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


def _lines(
    plan: EventPlan,
    reductions: Reductions,
    pseudonyms: Sequence[bytes],
    wallets: Sequence[str],
    contracted_w: Sequence[int],
    traded_wh: Sequence[int],
    amounts: Sequence[int],
) -> list[bytes]:
    """The certificates' lines: the bytes that `canonical` gives, written column by column.

    A home takes some 25 us so, a third of what encoding its object takes; provisional certificates of 10,000 homes
    are to be there within a second.
    """
    days = _Memory(lambda mask: _text([day.isoformat() for day, kept in zip(plan.days, mask, strict=True) if kept]))
    findings = _Memory(lambda row: _text(describe(row[0], list(row[1:]))))
    noted = np.column_stack([reductions.findings, reductions.evidence])
    reduced = reductions.reduction_wh
    columns = zip(
        reductions.certified.tolist(),
        map(days.__getitem__, map(tuple, reductions.kept_days.tolist())),
        map(findings.__getitem__, map(tuple, noted.tolist())),
        _rows(reductions.actual_wh),
        _rows(reductions.baseline_wh),
        _rows(reduced),
        _rows(reductions.unadjusted_wh),
        reduced.sum(axis=1).tolist(),
        pseudonyms,
        map(encode_basestring_ascii, wallets),
        contracted_w,
        traded_wh,
        amounts,
        strict=True,
    )
    lines = []
    for n, (ok, kept, found, *energies, total, resource, wallet, watt, moved, pay) in enumerate(columns):
        if ok:
            status, used = "certified", f"[{energies[0].replace(_MISSING, 'null')}]"  # never negative otherwise
            base, cut, unadjusted = (f"[{wh}]" for wh in energies[1:])
        else:
            status, used, base, cut, unadjusted = "not-certified", "null", "null", "null", "null"
        lines.append(
            f'{{"actual_wh":{used},"baseline_days":{kept},"baseline_wh":{base},"contracted_w":{watt},'
            f'"findings":{found},"index":{n},"payment":{pay},"reduction_wh":{cut},"resource":"0x{resource.hex()}",'
            f'"status":"{status}","total_reduction_wh":{total},"traded_wh":{moved},'
            f'"unadjusted_baseline_wh":{unadjusted},"wallet":{wallet}}}'.encode()
        )
    return lines


_MISSING = str(MISSING)


class _Memory(dict[tuple[int, ...], str]):
    """Texts by what they are about; many homes have the same days and findings."""

    def __init__(self, text_of: Callable[[tuple[int, ...]], str]) -> None:
        self._text_of = text_of

    def __missing__(self, about: tuple[int, ...]) -> str:
        self[about] = text = self._text_of(about)
        return text


def _rows(wh: NDArray[np.int64]) -> list[str]:
    """The inside of each row as JSON. Shape (n, intervals), at least one interval."""
    if not len(wh):
        return []
    low, high = int(wh.min()), int(wh.max())
    if high - low < wh.size:  # as always but for few homes: a word each, looked up, is three times as fast
        words = np.array([str(value) for value in range(low, high + 1)], dtype=object)
        return [",".join(row) for row in words[wh - low].tolist()]
    return _text(wh.tolist())[2:-2].split("],[")


def _text(value: Any) -> str:
    """A part of a canonical object, as text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


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
