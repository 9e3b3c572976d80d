"""The certification job: a task takes a bucket of meters, reads what the event needs, certifies, reports back.

The driver ships the plan and gets certified reductions; readings go from the store to the task and nowhere
else, and whole meters stay in one task, so nothing is shuffled and cost grows linearly with meters.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from batch.parquet_store import ParquetStore, bucket_of
from batch.transfer import from_message, to_message
from domain.certification import Reductions, certify, join
from domain.errors import StoreError
from domain.plans import EventPlan

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

Progress = Callable[[int, int], None]
"""Called with tasks done and tasks in all."""

_POLL_SECONDS = 0.2


def certify_event(
    session: SparkSession,
    store: ParquetStore,
    plan: EventPlan,
    meters: Iterable[str] | None = None,
    progress: Progress | None = None,
) -> Reductions:
    """Certify an event by Spark over the batch store.

    Parameters
    ----------
    session : SparkSession
    store : ParquetStore
        On a path that every executor sees.
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
    from pyspark.errors import PythonException  # noqa: PLC0415

    tasks = min(store.buckets, 4 * session.sparkContext.defaultParallelism)
    job = _task(store.folder.resolve(), plan, _by_bucket(meters, store.buckets))
    frame = session.range(0, store.buckets, 1, tasks).mapInArrow(job, "certified binary")
    try:
        with _watch(session, tasks, progress):
            messages = frame.toArrow().column("certified")
    except PythonException as failed:
        kind, _, sentence = str(failed).strip().rpartition("\n")[2].partition(": ")
        if kind.startswith("domain.errors."):
            raise StoreError(sentence) from failed
        raise
    return join([from_message(message.as_buffer()) for message in messages], plan)


def certify_bucket(
    store: ParquetStore, plan: EventPlan, bucket: int, meters: NDArray[np.object_] | None = None
) -> Reductions:
    """Certify one bucket in this process: what a task of `certify_event` does."""
    return certify(plan, store.read_plan(plan, bucket, meters))


def _by_bucket(meters: Iterable[str] | None, buckets: int) -> dict[int, NDArray[np.object_]] | None:
    if meters is None:
        return None
    split: dict[int, list[str]] = {bucket: [] for bucket in range(buckets)}
    for meter in meters:
        split[bucket_of(meter, buckets)].append(meter)
    return {bucket: np.array(names, dtype=object) for bucket, names in split.items()}


def _task(
    folder: Path, plan: EventPlan, participants: dict[int, NDArray[np.object_]] | None
) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """The function that runs on executors; it holds the plan and a path, no readings."""

    def run(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        if not (folder / "manifests").is_dir():  # opening it would make an empty one, and certify that
            raise StoreError(f"a task finds no store at {folder}: it must be on a path that every executor sees")
        store = ParquetStore(folder)
        for batch in batches:
            for bucket in batch.column(0).to_pylist():
                meters = None if participants is None else participants[bucket]
                if meters is not None and len(meters) == 0:
                    continue
                message = to_message(certify_bucket(store, plan, bucket, meters))
                yield pa.record_batch({"certified": pa.array([message], pa.binary())})

    return run


class _watch:  # noqa: N801  reads as a statement
    """Report finished tasks of the running job to ``progress`` until the block ends."""

    def __init__(self, session: SparkSession, tasks: int, progress: Progress | None) -> None:
        self._context, self._tasks, self._progress = session.sparkContext, tasks, progress
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._poll, daemon=True)

    def __enter__(self) -> None:
        if self._progress is not None:
            self._thread.start()

    def __exit__(self, failure: type[BaseException] | None, *_: object) -> None:
        self._done.set()
        if self._progress is not None:
            self._thread.join()
            if failure is None:
                self._progress(self._tasks, self._tasks)

    def _poll(self) -> None:
        assert self._progress is not None  # noqa: S101  only started with one
        tracker = self._context.statusTracker()
        most = 0  # a stage that has just ended is no longer active, and counts nothing
        while not self._done.wait(_POLL_SECONDS):
            done = 0
            for stage in tracker.getActiveStageIds():
                info = tracker.getStageInfo(stage)
                done += info.numCompletedTasks if info else 0
            most = max(most, min(done, self._tasks))
            self._progress(most, self._tasks)
