"""Certification by Spark from Parquet and from HBase: the same readings, the same session settings, the same answer.

Functions for the benchmark ``batch``. Times are of a warm session, from the call to certified
reductions in the driver.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from batch.certify import certify_event, certify_with_metrics
from batch.jobs import JobMetrics
from batch.session import open_session
from batch.stores import open_store
from benchmarks.answers import Answer
from benchmarks.homes import INTERVAL_MINUTES, Fleet, the_plan, wide_days
from benchmarks.isolation import isolated
from benchmarks.results import Row, Timed, timed

HBASE_LIMITS_S = {10_000: 10.0}
GROWTH_LIMIT = 1.2
"""What a home may cost at the largest size, as a multiple of what it costs at the next smaller one."""


@dataclass(frozen=True)
class SparkRun:
    """Certifications of one store.

    Attributes
    ----------
    homes : int
    certify : Timed
    metrics : JobMetrics
        Of the last one.
    """

    homes: int
    certify: Timed
    metrics: JobMetrics


def copy_fleet(url: str, fleet: Fleet) -> float:
    """Make a store of a fleet's readings, whatever its kind, with every core; returns the seconds it took."""
    open_store(url, buckets=fleet.buckets)
    began = time.perf_counter()
    with ProcessPoolExecutor(os.cpu_count(), mp_context=multiprocessing.get_context("spawn")) as pool:
        jobs = [pool.submit(_copy_bucket, url, fleet, bucket) for bucket in range(fleet.buckets)]
        for job in jobs:
            job.result()
    return time.perf_counter() - began


def certify_store(url: str, homes: int, repeats: int, answer: Path, master: str = "local[*]") -> SparkRun:
    """Certify all meters of a store, first cold and then warm; run by `isolated`.

    Parameters
    ----------
    answer : Path
        Kept here by whoever comes first, compared with by the others.

    Raises
    ------
    WrongAnswerError
        This store's certificates differ from those of the first.
    """
    plan, store = the_plan(), open_store(url)
    session = open_session(master)
    certifying, found = timed(partial(certify_event, session, store, plan), repeats)
    metrics = certify_with_metrics(session, store, plan)[1]
    session.stop()
    own = Answer.of(found)
    if answer.exists():
        Answer.load(answer).require(own, url.partition(":")[0])
    else:
        own.save(answer)
    return SparkRun(homes, certifying, metrics)


def compare(parquet: str, hbase: str, homes: int, repeats: int, answer: Path) -> tuple[SparkRun, SparkRun]:
    """Certify the same readings from both stores, each in a process of its own."""
    return (
        isolated(certify_store, parquet, homes, repeats, answer),
        isolated(certify_store, hbase, homes, repeats, answer),
    )


def rows_of(parquet: SparkRun, hbase: SparkRun) -> list[Row]:
    """Both stores at one size, and where HBase's time goes."""
    at, limit = f"homes={hbase.homes}", HBASE_LIMITS_S.get(hbase.homes)
    versus = (f"certify_parquet_s {at}", parquet.certify.warm)
    whole = (f"certify_hbase_s {at}", hbase.certify.warm)
    rows = [
        Row(f"certify_hbase_s {at}", hbase.certify.warm, "s", *(("limit", limit) if limit else versus)),
        Row(f"certify_parquet_s {at}", parquet.certify.warm, "s", *whole),
        Row(f"certify_hbase_first_s {at}", hbase.certify.first, "s", *whole),
        Row(f"certify_hbase_task_s {at}", hbase.metrics.task_seconds, "s", *whole),
        Row(f"certify_hbase_slowest_task_s {at}", hbase.metrics.slowest_task_seconds, "s", *whole),
    ]
    if limit:
        rows.append(Row(f"certify_hbase_against_parquet_s {at}", hbase.certify.warm, "s", *versus))
    return rows


def growth_rows(runs: list[SparkRun]) -> list[Row]:
    """Cost of a further home between the two largest sizes, as a multiple of that between the two before.

    What a job costs whatever its size is in no difference, so it neither hides nor feigns growth.
    """
    if len(runs) < 3:
        return []
    small, middle, large = sorted(runs, key=lambda run: run.homes)[-3:]
    before, after = _a_home(small, middle), _a_home(middle, large)
    name = f"certify_hbase_growth homes={small.homes}..{large.homes}"
    return [Row(name, after / before, "ratio", "limit", GROWTH_LIMIT)]


def _a_home(less: SparkRun, more: SparkRun) -> float:
    """Seconds that a further home takes."""
    return (more.certify.warm - less.certify.warm) / (more.homes - less.homes)


def _copy_bucket(url: str, fleet: Fleet, bucket: int) -> None:
    meters = fleet.meters()[bucket]
    if len(meters):
        open_store(url).load_bucket(bucket, INTERVAL_MINUTES, wide_days(fleet, bucket, meters))
