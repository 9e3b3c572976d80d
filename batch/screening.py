"""The screening job: a task takes a bucket of meters, reads all proxy days at once, and compares baseline rules.

The readings of a meter are read once, although many plans use them: proxy days share their history.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from batch.arrow_streams import packed
from batch.buckets import Wanted, by_bucket
from batch.jobs import BucketResult, Work, run_on_buckets
from batch.snapshots import snapshot_of
from batch.stores import BatchStore
from batch.watching import Progress
from domain.certification import LoadBlock
from domain.screening import METERS_AT_ONCE, Screened, join_screened, screen
from domain.screening_plan import ScreeningPlan

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def run_screening(
    store: BatchStore,
    plan: ScreeningPlan,
    meters: Iterable[str] | None = None,
    *,
    session: SparkSession | None = None,
    progress: Progress | None = None,
) -> Screened:
    """Screen a store's meters.

    Parameters
    ----------
    store : BatchStore
        With a session, one that every executor reaches.
    plan : ScreeningPlan
    meters : iterable of str, optional
        Each gets a row, readings or not. Default: every meter with readings at the plan's slots.
    session : SparkSession, optional
        Runs a task for every few buckets; without one, buckets are done one after another in this process, small ones
        together.
    progress : callable, optional
        Called with parts done and parts in all.

    Returns
    -------
    Screened
        In ascending order of meter.

    Raises
    ------
    StoreError
        A task could not read the store.
    """
    wanted = by_bucket(meters, store.buckets)
    if session is None:
        return join_screened(list(_in_process(store, plan, wanted, progress)), plan)
    messages, _ = run_on_buckets(session, snapshot_of(store), store.buckets, _work(plan, wanted), progress)
    return join_screened([from_message(message) for message in messages], plan)


def _in_process(
    store: BatchStore, plan: ScreeningPlan, wanted: Wanted, progress: Progress | None
) -> Iterator[Screened]:
    """Read buckets one after another, and screen as soon as there is enough to do."""
    held: list[LoadBlock] = []
    for done, (bucket, meters) in enumerate(sorted(wanted.items()), 1):
        held.append(read_bucket(store, plan, bucket, meters))
        if done == len(wanted) or sum(len(block.meters) for block in held) >= METERS_AT_ONCE:
            yield screen(plan, _together(held))
            held = []
        if progress:
            progress(done, len(wanted))


def read_bucket(store: BatchStore, plan: ScreeningPlan, bucket: int, meters: NDArray[np.object_] | None) -> LoadBlock:
    """All that a screening needs of one bucket's meters, as `domain.screening.screen` takes it."""
    if len(plan.slots):
        return store.read_slots(plan.slots[None], plan.interval_minutes, bucket, meters)
    names = np.array(sorted(set([] if meters is None else meters)), dtype=object)
    return LoadBlock(names, np.empty((len(names), 1, 0), np.int32), None)


def _together(blocks: list[LoadBlock]) -> LoadBlock:
    estimated = None
    if any(block.estimated is not None for block in blocks):
        flags = [np.zeros(b.wh.shape, bool) if b.estimated is None else b.estimated for b in blocks]
        estimated = np.concatenate(flags)
    return LoadBlock(
        np.concatenate([block.meters for block in blocks]), np.concatenate([block.wh for block in blocks]), estimated
    )


def _work(plan: ScreeningPlan, wanted: Wanted) -> Work:
    """What a task does with a bucket; it holds the plan and names of meters, no readings."""

    def screen_one(store: BatchStore, bucket: int) -> BucketResult | None:
        if bucket not in wanted:
            return None
        block = read_bucket(store, plan, bucket, wanted[bucket])
        size = block.wh.nbytes + (0 if block.estimated is None else block.estimated.nbytes)
        return BucketResult(to_message(screen(plan, block)), len(block.meters), size)

    return screen_one


def to_message(screened: Screened) -> bytes:
    """Pack results into an Arrow IPC stream."""
    arrays = {name: _column(getattr(screened, name)) for name in Screened.__dataclass_fields__}
    return packed(pa.table(arrays))


def from_message(message: bytes | memoryview) -> Screened:
    """Unpack what `to_message` made."""
    table = pa.ipc.open_stream(pa.py_buffer(message)).read_all().combine_chunks()
    return Screened(**{name: _values(table.column(name)) for name in Screened.__dataclass_fields__})


def _column(values: NDArray[Any]) -> pa.Array:
    if values.dtype == object:
        return pa.array(values, pa.string())
    flat = values.astype(np.int8) if values.dtype == bool else values
    if values.ndim == 1:
        return pa.array(flat)
    return pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(flat).reshape(-1)), values.shape[1])


def _values(column: pa.ChunkedArray) -> NDArray[Any]:
    if pa.types.is_string(column.type):
        return np.array(column.to_pylist(), dtype=object)
    if not pa.types.is_fixed_size_list(column.type):
        return np.asarray(column.to_numpy())
    values = np.asarray(column.combine_chunks().flatten()).reshape(len(column), column.type.list_size)
    return values.astype(bool) if values.dtype == np.int8 else values
