"""The certification job: a task takes a bucket of meters, reads what the event needs, certifies, reports back.

The driver ships the plan and gets certified reductions; readings go from the store to the task and nowhere
else, and whole meters stay in one task, so nothing is shuffled and cost grows linearly with meters.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from batch.buckets import Wanted, by_bucket
from batch.jobs import BucketResult, JobMetrics, Work, run_on_buckets
from batch.snapshots import snapshot_of
from batch.stores import BatchStore
from batch.transfer import from_message, to_message
from batch.watching import Progress
from domain.certification import Reductions, certify, join
from domain.plans import EventPlan

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def certify_event(
    session: SparkSession,
    store: BatchStore,
    plan: EventPlan,
    meters: Iterable[str] | None = None,
    progress: Progress | None = None,
) -> Reductions:
    """Certify an event by Spark over the batch store.

    Parameters
    ----------
    session : SparkSession
        Any that `batch.session.open_session` opens.
    store : BatchStore
        One that every executor reaches: a folder of Parquet on a path that all see, or a server.
    plan : EventPlan
    meters : iterable of str, optional
        The participants; each gets a row, readings or not. Default: every meter with readings at the plan's slots.
    progress : callable, optional

    Returns
    -------
    Reductions
        In ascending order of meter.

    Raises
    ------
    StoreError
        A task could not read the store.
    """
    return certify_with_metrics(session, store, plan, meters, progress)[0]


def certify_with_metrics(
    session: SparkSession,
    store: BatchStore,
    plan: EventPlan,
    meters: Iterable[str] | None = None,
    progress: Progress | None = None,
) -> tuple[Reductions, JobMetrics]:
    """As `certify_event`, with what the job read, returned and took; its rows are meters."""
    work = _work(plan, by_bucket(meters, store.buckets))
    messages, metrics = run_on_buckets(session, snapshot_of(store), store.buckets, work, progress)
    return join([from_message(message) for message in messages], plan), metrics


def certify_here(
    store: BatchStore, plan: EventPlan, meters: Iterable[str] | None = None, progress: Progress | None = None
) -> Reductions:
    """As `certify_event`, one bucket after another in this process and without Spark: for some thousand meters."""
    wanted = by_bucket(meters, store.buckets)
    parts = []
    for bucket, some in sorted(wanted.items()):
        parts.append(certify_bucket(store, plan, bucket, some))
        if progress:
            progress(len(parts), len(wanted))
    return join(parts, plan)


def certify_bucket(
    store: BatchStore, plan: EventPlan, bucket: int, meters: NDArray[np.object_] | None = None
) -> Reductions:
    """Certify one bucket in this process: what a task of `certify_event` does."""
    return certify(plan, store.read_plan(plan, bucket, meters))


def _work(plan: EventPlan, participants: Wanted) -> Work:
    """What a task does with a bucket; it holds the plan and names of meters, no readings."""

    def certify_one(store: BatchStore, bucket: int) -> BucketResult | None:
        if bucket not in participants:
            return None
        block = store.read_plan(plan, bucket, participants[bucket])
        size = block.wh.nbytes + (0 if block.estimated is None else block.estimated.nbytes)
        return BucketResult(to_message(certify(plan, block)), len(block.meters), size)

    return certify_one
