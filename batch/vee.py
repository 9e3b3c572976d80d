"""The VEE job: a task takes a bucket of meters, checks and estimates a window, and reports edits and findings back.

Tasks write nothing. What they found comes back to the driver, which keeps the log and adds all edits in one step, so
a job that is killed leaves nothing behind and can be run again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from batch.arrow_streams import packed
from batch.jobs import BucketResult, Work, run_on_buckets
from batch.parquet_store import bucket_of
from batch.snapshots import snapshot_of
from batch.stores import BatchStore
from batch.watching import Progress
from domain.certification import LoadBlock
from domain.intervals import slots_per_day
from domain.readings import Register
from domain.registers import Spans
from domain.validation import BoolArray, DayBlock, slots_of
from domain.vee import (
    Edits,
    Findings,
    VeeResult,
    days_to_read,
    join_columns,
    no_edits,
    no_findings,
    process,
    window_of,
)
from domain.vee_rules import VeeRules

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

CELLS_AT_ONCE = 4_000_000
"""Readings that are checked in one go: what numpy holds beside them stays in tens of MiB."""


@dataclass(frozen=True, eq=False)
class VeePlan:
    """What a task needs to know.

    Attributes
    ----------
    interval_minutes : int
    first_slot, last_slot : int
        The half-open window.
    rules : VeeRules
    contracted_w : mapping of str to int, or None
        The meters to look at, with their contracted capacity; None: all that have readings. [W]
    spans : Spans
        What registers counted.
    confirmed : mapping of str to set of int
        Slots of readings that their source has confirmed, by meter: they are not flagged again.
    register : Register
    """

    interval_minutes: int
    first_slot: int
    last_slot: int
    rules: VeeRules
    contracted_w: Mapping[str, int] | None
    spans: Spans
    confirmed: Mapping[str, frozenset[int]] = field(default_factory=dict)
    register: Register = Register.IMPORT

    @property
    def days(self) -> NDArray[np.int64]:
        """UTC days to read, those of register spans that reach beyond the window included."""
        per_day = slots_per_day(self.interval_minutes)
        days = days_to_read(self.first_slot // per_day, (self.last_slot - 1) // per_day, self.rules)
        longest = self.rules.register.longest_days * per_day
        near = (self.spans.first < self.last_slot) & (self.spans.last > self.first_slot)
        near &= self.spans.last - self.spans.first <= longest
        if near.any():
            reach = np.arange(
                self.spans.first[near].min() // per_day, (self.spans.last[near].max() - 1) // per_day + 1
            )
            days = np.union1d(days, reach)
        return days

    def part(self, bucket: int, buckets: int) -> VeePlan:
        """The plan for the meters of one bucket."""
        mine = np.array([bucket_of(meter, buckets) == bucket for meter in self.spans.meters], dtype=bool)
        contracted = self.contracted_w
        if contracted is not None:
            contracted = {meter: w for meter, w in contracted.items() if bucket_of(meter, buckets) == bucket}
        confirmed = {meter: at for meter, at in self.confirmed.items() if bucket_of(meter, buckets) == bucket}
        return VeePlan(
            self.interval_minutes,
            self.first_slot,
            self.last_slot,
            self.rules,
            contracted,
            self.spans.take(mine),
            confirmed,
            self.register,
        )


def vee_bucket(store: BatchStore, plan: VeePlan, bucket: int) -> VeeResult:
    """Check and estimate one bucket of a store; nothing is written."""
    plan = plan.part(bucket, store.buckets)
    days = plan.days
    meters = None if plan.contracted_w is None else np.array(sorted(plan.contracted_w), dtype=object)
    if meters is not None and len(meters) == 0:
        return nobody(plan)
    slots = slots_of(days, plan.interval_minutes)
    read = store.read_slots(slots, plan.interval_minutes, bucket, meters, plan.register)
    window = window_of(days, plan.interval_minutes, plan.first_slot, plan.last_slot)
    step = max(1, CELLS_AT_ONCE // slots.size)
    parts = []
    for first in range(0, len(read.meters), step):
        rows = slice(first, first + step)
        some = LoadBlock(
            read.meters[rows],
            np.ascontiguousarray(read.wh[rows]),
            None if read.estimated is None else np.ascontiguousarray(read.estimated[rows]),
        )
        block = DayBlock.of(some, days, plan.interval_minutes)
        contracted = np.array([(plan.contracted_w or {}).get(meter, 0) for meter in some.meters], dtype=np.int64)
        parts.append(process(block, window, plan.rules, contracted, plan.spans, _trusted(block, plan)))
    return join_results(parts, plan)


def run_vee(
    store: BatchStore, plan: VeePlan, *, session: SparkSession | None = None, progress: Progress | None = None
) -> VeeResult:
    """Check and estimate a window of a whole store; nothing is written.

    Parameters
    ----------
    store : BatchStore
        With a session, one that every executor reaches.
    plan : VeePlan
    session : SparkSession, optional
        Runs a task for every few buckets; without one, buckets are done one after another in this process.
    progress : callable, optional
        Called with parts done and parts in all.

    Raises
    ------
    StoreError
        A task could not read the store.
    """
    if session is None:
        parts = []
        for bucket in range(store.buckets):
            parts.append(vee_bucket(store, plan, bucket))
            if progress:
                progress(bucket + 1, store.buckets)
        return join_results(parts, plan)
    messages, _ = run_on_buckets(session, snapshot_of(store), store.buckets, _work(plan), progress)
    return join_results([from_message(message, plan) for message in messages], plan)


def join_results(parts: list[VeeResult], plan: VeePlan) -> VeeResult:
    """One result of many, in ascending order of meter; edits in order of meter and slot."""
    if not parts:
        return nobody(plan)
    edits, findings = join_columns([p.edits for p in parts]), join_columns([p.findings for p in parts])
    meters = np.concatenate([p.meters for p in parts])
    order = np.argsort(meters.astype(str), kind="stable")
    actual, estimated, missing = (
        np.concatenate([getattr(p, name) for p in parts])[order] for name in ("actual", "estimated", "missing")
    )
    return VeeResult(
        meters[order],
        parts[0].expected,
        actual,
        estimated,
        missing,
        edits.take(np.lexsort((edits.slot, edits.meters.astype(str)))),
        findings.take(np.lexsort((findings.first_slot, findings.check, findings.meters.astype(str)))),
    )


def nobody(plan: VeePlan) -> VeeResult:
    """The result for no meters."""
    none = np.empty(0, dtype=np.int64)
    length = plan.last_slot - plan.first_slot
    return VeeResult(np.empty(0, dtype=object), length, none, none, none, no_edits(), no_findings())


def not_in_force(store: BatchStore, plan: VeePlan, edited: NDArray[np.object_], slot: NDArray[np.int64]) -> BoolArray:
    """Which readings that were edited the store does not show as estimated: the source has said otherwise since.

    Parameters
    ----------
    edited : ndarray of str objects, shape (n,)
        The meter of each edit.
    slot : ndarray of int64, shape (n,)
    """
    refused = np.zeros(len(edited), dtype=bool)
    bucket = np.array([bucket_of(meter, store.buckets) for meter in edited], dtype=np.int64)
    for number in np.unique(bucket).tolist():
        rows = np.flatnonzero(bucket == number)
        slots = np.unique(slot[rows])
        meters = np.array(sorted(set(edited[rows])), dtype=object)
        read = store.read_slots(slots[None], plan.interval_minutes, number, meters, plan.register)
        row = np.searchsorted(meters.astype(str), edited[rows].astype(str))
        at = row, np.zeros(len(rows), dtype=np.intp), np.searchsorted(slots, slot[rows])
        refused[rows] = True if read.estimated is None else ~read.estimated[at]
    return refused


def _trusted(block: DayBlock, plan: VeePlan) -> BoolArray | None:
    if not plan.confirmed:
        return None
    slots, trusted = block.slots, np.zeros(block.wh.shape, dtype=bool)
    for row, meter in enumerate(block.meters):
        if at := plan.confirmed.get(meter):
            trusted[row] = np.isin(slots, list(at))
    return trusted


def _work(plan: VeePlan) -> Work:
    """The function that runs on executors; it holds the plan, no readings."""

    def work(store: BatchStore, bucket: int) -> BucketResult:
        result = vee_bucket(store, plan, bucket)
        message = to_message(result)
        return BucketResult(message, len(result.meters), 4 * len(result.meters) * len(plan.days) * _per_day(plan))

    return work


def _per_day(plan: VeePlan) -> int:
    return slots_per_day(plan.interval_minutes)


def to_message(result: VeeResult) -> bytes:
    """Pack a result into three Arrow streams, one after another, each behind its length."""
    counts = {name: getattr(result, name) for name in ("meters", "actual", "estimated", "missing")}
    parts = [_packed(columns) for columns in (counts, vars(result.edits), vars(result.findings))]
    return b"".join(len(part).to_bytes(8, "little") + part for part in parts)


def from_message(message: memoryview | bytes, plan: VeePlan) -> VeeResult:
    """Unpack what `to_message` made."""
    parts, at = [], 0
    while at < len(message):
        length = int.from_bytes(message[at : at + 8], "little")
        parts.append(_unpacked(message[at + 8 : at + 8 + length]))
        at += 8 + length
    counts, edits, findings = parts
    length = plan.last_slot - plan.first_slot
    return VeeResult(
        counts["meters"],
        length,
        counts["actual"],
        counts["estimated"],
        counts["missing"],
        Edits(**edits),
        Findings(**findings),
    )


def _packed(columns: Mapping[str, NDArray[Any]]) -> bytes:
    return packed(pa.table({k: pa.array(v, pa.string() if v.dtype == object else None) for k, v in columns.items()}))


def _unpacked(message: memoryview | bytes) -> dict[str, NDArray[Any]]:
    table = pa.ipc.open_stream(pa.py_buffer(message)).read_all()
    return {name: _column(table.column(name)) for name in table.column_names}


def _column(column: pa.ChunkedArray) -> NDArray[Any]:
    if pa.types.is_string(column.type):
        return np.array(column.to_pylist(), dtype=object)
    return np.asarray(column.to_numpy())
