"""Forecasts over the batch store: a bucket's meters are a group of sites; Spark trains the groups side by side."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from batch.forecast import ForecastRule, Group, TooLittleHistoryError, train
from batch.forecast_registry import group_bytes, group_from
from batch.jobs import BucketResult, JobMetrics, Work, run_on_buckets
from batch.parquet_store import bucket_of
from batch.snapshots import snapshot_of
from batch.stores import BatchStore
from batch.watching import Progress
from domain.errors import StoreError
from domain.readings import MISSING
from domain.series import InvalidSeriesError, Loads, Weather

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_LEFT_OUT = b"left out: "


def loads_of_bucket(
    store: BatchStore,
    interval_minutes: int,
    first_slot: int,
    last_slot: int,
    bucket: int,
    sites: Iterable[str] | None = None,
) -> Loads:
    """What the meters of a bucket imported in ``[first_slot, last_slot)``. [Wh]

    Parameters
    ----------
    sites : iterable of str, optional
        Meters of the bucket; each gets a row, readings or not. Default: all that have readings then.
    """
    slots = np.arange(first_slot, last_slot, dtype=np.int64)[None]
    meters = None if sites is None else np.array(sorted(sites), dtype=object)
    block = store.read_slots(slots, interval_minutes, bucket, meters)
    wh = block.wh[:, 0].astype(np.float64)
    return Loads(block.meters, first_slot, interval_minutes, np.where(block.wh[:, 0] == MISSING, np.nan, wh))


def loads_of_store(
    store: BatchStore,
    interval_minutes: int,
    first_slot: int,
    last_slot: int,
    sites: Iterable[str] | None = None,
) -> Loads:
    """What meters imported in ``[first_slot, last_slot)``, read in this process. [Wh]"""
    wanted = None if sites is None else by_bucket(sites, store.buckets)
    parts = [
        loads_of_bucket(store, interval_minutes, first_slot, last_slot, n, None if wanted is None else wanted[n])
        for n in range(store.buckets)
        if wanted is None or n in wanted
    ]
    names = np.concatenate([part.sites for part in parts]) if parts else np.empty(0, object)
    order = np.argsort(names.astype(str))
    load = np.concatenate([part.load for part in parts]) if parts else np.empty((0, last_slot - first_slot))
    return Loads(names[order], first_slot, interval_minutes, load[order])


def by_bucket(sites: Iterable[str], buckets: int) -> dict[int, list[str]]:
    """Sites by the bucket that they lie in; buckets without any are left out."""
    found: dict[int, list[str]] = {}
    for site in sites:
        found.setdefault(bucket_of(site, buckets), []).append(site)
    return found


def store_window(store: BatchStore) -> tuple[int, int, int]:
    """Interval of the store's import readings [min], their first slot, and one past their last.

    Raises
    ------
    StoreError
        There are none, or of several intervals.
    """
    intervals = store.intervals()
    if len(intervals) != 1:
        found = ", ".join(f"{minutes} min" for minutes in intervals) or "none"
        raise StoreError(f"readings of one interval are needed; {store.url} holds: {found}")
    days = store.days(intervals[0])
    if days is None:
        raise StoreError(f"{store.url} holds no readings")
    per_day = 1440 // intervals[0]
    return intervals[0], days[0] * per_day, (days[1] + 1) * per_day


def check_sites(store: BatchStore, interval_minutes: int, sites: Iterable[str]) -> None:
    """Raise unless the store has readings of each site.

    Raises
    ------
    InvalidSeriesError
        It has none of one.
    """
    there = store.meters(interval_minutes)
    for site in sites:
        if site not in set(there):
            some = ", ".join(map(repr, there[:5])) + (", …" if len(there) > 5 else "")
            raise InvalidSeriesError(f"no site {site!r} in {store.url}; there are {len(there)}: {some}")


def train_store(
    session: SparkSession,
    store: BatchStore,
    weather: Weather,
    rule: ForecastRule,
    window: tuple[int, int, int],
    sites: Iterable[str] | None = None,
    progress: Progress | None = None,
) -> tuple[list[Group], list[str], JobMetrics]:
    """Train a model for each bucket by Spark: a task reads its bucket, trains, and returns the model.

    Parameters
    ----------
    window : tuple of int
        Interval [min], first slot, and one past the last.
    sites : iterable of str, optional
        Default: every meter with readings.

    Returns
    -------
    list of Group, list of str, JobMetrics
        In order of their first site; what was left out; the rows of the job are sites.

    Raises
    ------
    StoreError
        A task couldn't read the store, or can't train; or no bucket has enough history.
    """
    wanted = None if sites is None else by_bucket(sites, store.buckets)
    work = _work(weather, rule, window, wanted)
    messages, metrics = run_on_buckets(session, snapshot_of(store), store.buckets, work, progress)
    left_out = sorted(
        bytes(m[len(_LEFT_OUT) :]).decode() for m in messages if bytes(m[: len(_LEFT_OUT)]) == _LEFT_OUT
    )
    groups = [group_from(m) for m in messages if bytes(m[: len(_LEFT_OUT)]) != _LEFT_OUT]
    if not groups:
        raise StoreError(left_out[0] if left_out else f"{store.url} holds no readings of the sites then")
    return sorted(groups, key=lambda group: str(group.sites[0])), left_out, metrics


def _work(
    weather: Weather, rule: ForecastRule, window: tuple[int, int, int], sites: dict[int, list[str]] | None
) -> Work:
    """What a task does with a bucket; the weather travels with it, the loads don't."""

    def train_one(store: BatchStore, bucket: int) -> BucketResult | None:
        if sites is not None and bucket not in sites:
            return None
        loads = loads_of_bucket(store, *window, bucket, None if sites is None else sites[bucket])
        if len(loads.sites) == 0:
            return None
        try:
            group = train(loads, weather, rule)
        except TooLittleHistoryError as short:
            return BucketResult(_LEFT_OUT + str(short).encode(), len(loads.sites), loads.load.nbytes)
        return BucketResult(group_bytes(group), len(group.sites), loads.load.nbytes)

    return train_one
