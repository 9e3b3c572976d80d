"""Jobs over the buckets of a store: each task takes buckets, reads them where they lie, and returns small results.

They run on any Spark session: in this process, on a cluster, or by Spark Connect.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from batch.session import is_connect
from batch.snapshots import Snapshot
from batch.stores import BatchStore
from batch.watching import Progress, watch
from domain.errors import StoreError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_COLUMNS = "message binary, rows long, read_bytes long, seconds double, task int"
_OUR_ERROR = re.compile(r"domain\.errors\.\w+: (.*)")


@dataclass(frozen=True)
class BucketResult:
    """What a task found in one bucket.

    Attributes
    ----------
    message : bytes
        For the driver.
    rows : int
        What was worked on: meters, days or readings, as the job says.
    read_bytes : int
        Size of what the store handed over, in memory.
    """

    message: bytes
    rows: int
    read_bytes: int


@dataclass(frozen=True)
class JobMetrics:
    """What a job did, summed over its tasks; of a task that was tried again the try that succeeded counts.

    Attributes
    ----------
    tasks, buckets : int
        Tasks that had something to do, and the buckets that they did.
    rows : int
        Meters, for a certification.
    read_bytes, result_bytes : int
        What stores handed to tasks, in memory, and what tasks returned.
    task_seconds : float
        Time spent in buckets, over all tasks, the slowest of which took ``slowest_task_seconds``. [s]
    seconds : float
        From the job's start until its results were here. [s]
    """

    tasks: int
    buckets: int
    rows: int
    read_bytes: int
    result_bytes: int
    task_seconds: float
    slowest_task_seconds: float
    seconds: float

    def document(self) -> dict[str, float]:
        """Plain values for JSON, times to the millisecond."""
        return {name: round(value, 3) for name, value in asdict(self).items()}

    def __str__(self) -> str:
        """In a line.

        >>> str(JobMetrics(8, 16, 1000, 3_000_000, 200_000, 1.5, 0.25, 0.8))
        '1,000 rows of 16 buckets in 8 tasks: 3.0 MB read, 0.2 MB returned, 1.50 s of work in 0.80 s'
        """
        return (
            f"{self.rows:,} rows of {self.buckets} buckets in {self.tasks} tasks: "
            f"{self.read_bytes / 1e6:.1f} MB read, "
            f"{self.result_bytes / 1e6:.1f} MB returned, {self.task_seconds:.2f} s of work in {self.seconds:.2f} s"
        )


Work = Callable[[BatchStore, int], "BucketResult | None"]
"""What a task does with a bucket; None where there is nothing to do. It is sent to executors: no open files in it."""


def run_on_buckets(
    session: SparkSession,
    snapshot: Snapshot,
    buckets: int,
    work: Work,
    progress: Progress | None = None,
) -> tuple[list[memoryview], JobMetrics]:
    """Do ``work`` on buckets 0 to ``buckets`` − 1 of a store.

    A task that fails is tried again, by a cluster's default up to four times, on any executor; so work must come to
    the same result each time.

    Parameters
    ----------
    progress : callable, optional
        Called with tasks done and tasks in all.

    Returns
    -------
    list of memoryview, JobMetrics
        The messages of all buckets that had one, in no order.

    Raises
    ------
    StoreError
        A task raised an error of ours each time that it was tried: with that error's sentence.
    """
    from pyspark.errors import PythonException  # noqa: PLC0415

    tasks = max(1, min(buckets, 4 * parallelism(session, buckets)))
    began = time.perf_counter()
    frame = session.range(0, buckets, 1, tasks).mapInArrow(_task(snapshot, work), _COLUMNS)
    try:
        with watch(session, tasks, progress):
            table = frame.toArrow()
    except PythonException as failed:
        if ours := _OUR_ERROR.match(_last_line(str(failed))):
            raise StoreError(ours[1]) from failed
        raise
    return _results(table, time.perf_counter() - began)


def parallelism(session: SparkSession, otherwise: int) -> int:
    """Tasks that the session's executors run at once; ``otherwise`` where it doesn't say, as with Spark Connect."""
    return otherwise if is_connect(session) else session.sparkContext.defaultParallelism


def _last_line(trace: str) -> str:
    """The error that ended a Python worker, without what Spark Connect adds after it."""
    lines = [line.strip() for line in trace.partition("JVM stacktrace:")[0].splitlines()]
    return next((line for line in reversed(lines) if line and not line.startswith("SQLSTATE:")), "")


def _results(table: pa.Table, seconds: float) -> tuple[list[memoryview], JobMetrics]:
    messages = [memoryview(message.as_buffer()) for message in table.column("message")]
    by_task: dict[int, float] = {}
    for task, spent in zip(table.column("task").to_pylist(), table.column("seconds").to_pylist(), strict=True):
        by_task[task] = by_task.get(task, 0.0) + spent
    metrics = JobMetrics(
        tasks=len(by_task),
        buckets=len(messages),
        rows=sum(table.column("rows").to_pylist()),
        read_bytes=sum(table.column("read_bytes").to_pylist()),
        result_bytes=sum(len(message) for message in messages),
        task_seconds=sum(by_task.values()),
        slowest_task_seconds=max(by_task.values(), default=0.0),
        seconds=seconds,
    )
    return messages, metrics


def _task(snapshot: Snapshot, work: Work) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """The function that runs on executors."""

    def run(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        from pyspark import TaskContext  # noqa: PLC0415

        context = TaskContext.get()
        task = context.partitionId() if context else 0
        began = time.perf_counter()
        store = snapshot.open()
        for batch in batches:
            for bucket in batch.column(0).to_pylist():
                done = work(store, bucket)
                spent, began = time.perf_counter() - began, time.perf_counter()
                if done is not None:
                    yield pa.record_batch(
                        {
                            "message": pa.array([done.message], pa.binary()),
                            "rows": pa.array([done.rows], pa.int64()),
                            "read_bytes": pa.array([done.read_bytes], pa.int64()),
                            "seconds": pa.array([spent], pa.float64()),
                            "task": pa.array([task], pa.int32()),
                        }
                    )
                    began = time.perf_counter()

    return run
