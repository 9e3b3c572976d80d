"""What the batch result changed of the provisional one, per home and why, to the last watt-hour.

Both results of an event are kept in the speed store, one row a home (table ``certified``) and one row an interval of
a home that has a certificate (``certified_intervals``). The views ``reconciliation`` and
``reconciliation_intervals`` compare them; `reconcile` reads them for people.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from domain.certificates import CertificateSet
from domain.certification import EVIDENCE, FINDINGS, Reductions
from domain.errors import NegawattError, StoreError
from domain.intervals import slot_start
from domain.plans import EventPlan
from domain.readings import MISSING
from speed.reconciliation_sql import (
    CERTIFIED,
    CERTIFIED_COLUMNS,
    INTERVAL_COLUMNS,
    INTERVALS,
    REASONS,
    VIEWS,
)
from speed.stores import SpeedStore

LARGEST_PAYMENTS = 2**62
"""What an event's payments may add up to in the store's 64 bits. [minor units]"""

PARTS = ("late_wh", "lost_wh", "revised_wh", "history_wh", "status_wh")
"""Columns of the view that make up a change of reduction; see [docs/reconciliation.md]."""


class Source(StrEnum):
    """Which layer a result comes from."""

    PROVISIONAL = "provisional"
    BATCH = "batch"


@dataclass(frozen=True)
class Result:
    """One layer's result of an event, as rows for the speed store; meters by name, so that it can wait in a file.

    Attributes
    ----------
    event : str
    source : Source
    homes : pa.Table
        Columns of ``certified`` but for event, source and meter's number; ``name`` instead of that.
    intervals : pa.Table
        Likewise of ``certified_intervals``.
    """

    event: str
    source: Source
    homes: pa.Table
    intervals: pa.Table


def result_of(
    plan: EventPlan, reductions: Reductions, certificates: CertificateSet, source: Source, made: datetime
) -> Result:
    """Put a certification into rows.

    Parameters
    ----------
    certificates : CertificateSet
        Issued from ``reductions``, in the same order.
    made : datetime
        When it was certified; aware.

    Raises
    ------
    NegawattError
        Payments that don't fit into 64 bits: a currency of very many decimals.
    """
    if certificates.total_payment > LARGEST_PAYMENTS:
        raise NegawattError(
            f"event {plan.event.id!r}: payments of {certificates.total_payment} minor units don't fit into the speed "
            "store, so that its results can't be compared there; the certificates are complete"
        )
    names = pa.array(reductions.meters.tolist(), pa.string())
    ok = reductions.certified
    measured = (reductions.actual_wh != MISSING) & ok[:, None]
    count = {name: reductions.evidence[:, n] for n, name in enumerate(EVIDENCE)}
    rule = int.from_bytes(plan.programme.digest(plan.terms)[:6], "big")
    homes = {
        "name": names,
        "is_certified": pa.array(ok.astype(np.int8)),
        "baseline_wh": _known(np.where(ok[:, None], reductions.baseline_wh, 0).sum(axis=1), ok),
        "actual_wh": _known(np.where(measured, reductions.actual_wh, 0).sum(axis=1), ok),
        "reduction_wh": pa.array(reductions.reduction_wh.sum(axis=1)),
        "payment": pa.array([leaf.payment for leaf in certificates.leaves], pa.int64()),
        "missing_intervals": pa.array(count["missing_intervals"].astype(np.int16)),
        "usable_days": pa.array(count["usable_days"].astype(np.int16)),
        "estimated_intervals": pa.array(count["estimated_intervals"]),
        "findings": pa.array(reductions.findings),
        "rule": pa.array(np.full(len(names), rule, dtype=np.int64)),
        "made": pa.array(np.full(len(names), int(made.timestamp())), pa.timestamp("s")),
    }
    e = plan.event_intervals
    seconds = plan.slots[0, :e] * (60 * plan.interval_minutes)
    intervals = {
        "name": names.filter(pa.array(ok)).take(pa.array(np.repeat(np.arange(int(ok.sum())), e))),
        "ts": pa.array(np.tile(seconds, int(ok.sum())), pa.timestamp("s")),
        "baseline_wh": pa.array(reductions.baseline_wh[ok].reshape(-1).astype(np.int32)),
        "actual_wh": _known(reductions.actual_wh[ok].reshape(-1).astype(np.int32), measured[ok].reshape(-1)),
    }
    return Result(plan.event.id, source, pa.table(homes), pa.table(intervals))


def keep(store: SpeedStore, result: Result) -> None:
    """Put a result into the store, in the place of an earlier one of the same event and source.

    Raises
    ------
    StoreError
        The store can't take it. Keep it again then: what is half there is replaced.
    """
    create_views(store)
    where = f"event = {quoted(result.event)} AND source = '{result.source.value}'"
    for table, columns, rows in (
        (INTERVALS, INTERVAL_COLUMNS, result.intervals),
        (CERTIFIED, CERTIFIED_COLUMNS, result.homes),
    ):
        names = rows["name"].combine_chunks().dictionary_encode()
        ids = store.meter_ids(np.array(names.dictionary.to_pylist(), dtype=object))
        given = {
            "event": pa.array([result.event] * len(rows), pa.string()),
            "meter": pa.array(np.asarray(ids, dtype=np.int32)[names.indices.to_numpy(zero_copy_only=False)]),
            "source": pa.array([result.source.value] * len(rows), pa.string()),
        }
        store.replace(table, pa.table({c: given[c] if c in given else rows[c] for c in columns}), where)


def create_views(store: SpeedStore) -> None:
    """Make the tables of results and the views over them, where they aren't there."""
    store.create(CERTIFIED, CERTIFIED_COLUMNS)
    store.create(INTERVALS, INTERVAL_COLUMNS)
    for name, text in VIEWS.items():
        try:
            store.query(f"SELECT event FROM {name} WHERE 1 = 0")  # noqa: S608  a view of ours
        except StoreError:
            store.execute(text)


@dataclass(frozen=True)
class Totals:
    """An event's sums in one result. ``counted_wh`` is what certificates add up to: more usage counts as zero."""

    homes: int
    certified: int
    reduction_wh: int
    counted_wh: int
    payment: int


@dataclass(frozen=True)
class Change:
    """What a home's result changed by, why, and at which intervals."""

    meter: str
    reason: str
    reduction_wh: tuple[int, int]
    payment: tuple[int, int]
    parts_wh: Mapping[str, int]
    findings: tuple[tuple[str, ...], tuple[str, ...]]
    intervals: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class Reconciliation:
    """Provisional against batch, for one event.

    Attributes
    ----------
    event : str
    provisional, batch : Totals or None
        None where that result isn't there.
    reasons : mapping
        By reason: ``homes``, ``change_wh``, ``change_payment`` and ``parts_wh``; in the order of REASONS, and only
        where there are both results. Their sums are exactly the differences of the totals.
    largest : tuple of Change
        The homes whose reduction changed most, at most as many as were asked for.
    """

    event: str
    provisional: Totals | None
    batch: Totals | None
    reasons: Mapping[str, Mapping[str, Any]]
    largest: tuple[Change, ...]


def reconcile(store: SpeedStore, event_id: str, *, largest: int = 10) -> Reconciliation:
    """Compare what the store has of an event's results."""
    create_views(store)
    rows = store.query(f"SELECT * FROM reconciliation WHERE event = {quoted(event_id)}")  # noqa: S608  quoted
    totals = {source: _totals(rows, source.value) for source in Source}
    both = all(totals.values())
    reasons: dict[str, Mapping[str, Any]] = {}
    for reason in REASONS if both else ():
        some = rows.filter(pc.equal(rows["reason"], reason))
        if len(some):
            reasons[reason] = {
                "homes": len(some),
                "change_wh": _sum(some, "change_wh"),
                "change_payment": _sum(some, "change_payment"),
                "parts_wh": {part: _sum(some, part) for part in PARTS},
            }
    changes = _largest(store, rows, event_id, largest) if both else ()
    return Reconciliation(event_id, totals[Source.PROVISIONAL], totals[Source.BATCH], reasons, changes)


def quoted(text: str) -> str:
    """A text as SQL writes it."""
    return "'" + text.replace("'", "''") + "'"


def _largest(store: SpeedStore, rows: pa.Table, event_id: str, count: int) -> tuple[Change, ...]:
    changed = rows.filter(pc.not_equal(rows["reason"], "unchanged"))
    order = sorted(
        zip(
            [-abs(int(wh)) for wh in changed["change_wh"].to_pylist()],
            [-abs(int(amount)) for amount in changed["change_payment"].to_pylist()],
            changed["name"].to_pylist(),
            range(len(changed)),
            strict=True,
        )
    )[:count]
    picked = [changed.slice(row, 1).to_pylist()[0] for *_, row in order]
    at = _intervals_of(store, event_id, [int(home["meter"]) for home in picked])
    return tuple(
        Change(
            home["name"],
            home["reason"],
            (int(home["provisional_reduction_wh"]), int(home["batch_reduction_wh"])),
            (int(home["provisional_payment"]), int(home["batch_payment"])),
            {part: int(home[part]) for part in PARTS},
            (_codes(home["provisional_findings"]), _codes(home["batch_findings"])),
            tuple(at.get(int(home["meter"]), ())),
        )
        for home in picked
    )


def _intervals_of(store: SpeedStore, event_id: str, meters: list[int]) -> dict[int, list[dict[str, Any]]]:
    """The intervals at which these homes' results differ, in order of time."""
    if not meters:
        return {}
    columns = ("provisional_baseline_wh", "batch_baseline_wh", "provisional_actual_wh", "batch_actual_wh")
    found = store.query(
        f"""SELECT meter, ts, {", ".join(columns)} FROM reconciliation_intervals
        WHERE event = {quoted(event_id)} AND meter IN ({", ".join(map(str, meters))})
          AND late + lost + revised + rebased > 0
        ORDER BY meter, ts"""  # noqa: S608  quoted, and numbers
    )
    seconds = found["ts"].cast(pa.timestamp("s")).cast(pa.int64()).to_pylist()
    at: dict[int, list[dict[str, Any]]] = {}
    for row, second in zip(found.to_pylist(), seconds, strict=True):
        values = {name: None if row[name] is None else int(row[name]) for name in columns}
        at.setdefault(int(row["meter"]), []).append(
            {"interval_start": slot_start(second // 60, 1).isoformat()} | values
        )
    return at


def _totals(rows: pa.Table, source: str) -> Totals | None:
    there = rows.filter(pc.equal(rows[f"in_{source}"].cast(pa.int64()), 1))
    if len(there) == 0:
        return None
    reduced = [int(wh) for wh in there[f"{source}_reduction_wh"].to_pylist()]
    return Totals(
        len(there),
        _sum(there, f"{source}_is_certified"),
        sum(reduced),
        sum(wh for wh in reduced if wh > 0),
        _sum(there, f"{source}_payment"),
    )


def _sum(rows: pa.Table, column: str) -> int:
    return sum(int(value) for value in rows[column].to_pylist())


def _codes(bits: Any) -> tuple[str, ...]:
    return tuple(code for finding, (code, _) in FINDINGS.items() if int(bits) & finding)


def _known(values: np.ndarray[Any, Any], known: np.ndarray[Any, Any]) -> pa.Array:
    """Null where not known, never zero."""
    return pa.array(values, mask=~known)


def to_bytes(result: Result) -> bytes:
    """A result that waits for the store, as a file. See `from_bytes`."""
    sink = pa.BufferOutputStream()
    notes = {"event": result.event, "source": result.source.value}
    for table in (result.homes, result.intervals):
        with pa.ipc.new_stream(sink, table.schema.with_metadata(notes)) as stream:
            stream.write_table(table)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def from_bytes(data: bytes) -> Result:
    """What `to_bytes` wrote."""
    source = pa.BufferReader(data)
    tables = []
    for _ in range(2):
        with pa.ipc.open_stream(source) as stream:
            tables.append(stream.read_all())
    homes, intervals = tables
    notes = {key.decode(): value.decode() for key, value in (homes.schema.metadata or {}).items()}
    return Result(notes["event"], Source(notes["source"]), homes, intervals)
