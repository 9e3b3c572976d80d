"""Forecasts over the batch store: a bucket's meters are a group of sites; Spark trains the groups side by side."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from batch.buckets import by_bucket, loads_of_bucket, work_on_loads
from batch.forecast import ForecastRule, Group, TooLittleHistoryError, train
from batch.forecast_registry import group_bytes, group_from
from batch.jobs import JobMetrics, run_on_buckets
from batch.snapshots import snapshot_of
from batch.stores import BatchStore, only_interval
from batch.watching import Progress
from domain.errors import StoreError
from domain.series import InvalidSeriesError, Loads, Weather

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_LEFT_OUT = b"left out: "


def loads_of_store(
    store: BatchStore,
    interval_minutes: int,
    first_slot: int,
    last_slot: int,
    sites: Iterable[str] | None = None,
) -> Loads:
    """What meters imported in ``[first_slot, last_slot)``, read in this process. [Wh]"""
    parts = [
        loads_of_bucket(store, interval_minutes, first_slot, last_slot, bucket, meters)
        for bucket, meters in sorted(by_bucket(sites, store.buckets).items())
    ]
    names = np.concatenate([part.sites for part in parts]) if parts else np.empty(0, object)
    order = np.argsort(names.astype(str))
    load = np.concatenate([part.load for part in parts]) if parts else np.empty((0, last_slot - first_slot))
    return Loads(names[order], first_slot, interval_minutes, load[order])


def store_window(store: BatchStore) -> tuple[int, int, int]:
    """Interval of the store's import readings [min], their first slot, and one past their last.

    Raises
    ------
    StoreError
        There are none, or of several intervals.
    """
    minutes = only_interval(store.intervals(), store.url)
    days = store.days(minutes)
    if days is None:
        raise StoreError(f"{store.url} holds no readings")
    per_day = 1440 // minutes
    return minutes, days[0] * per_day, (days[1] + 1) * per_day


def check_sites(store: BatchStore, interval_minutes: int, sites: Iterable[str]) -> None:
    """Raise unless the store has readings of each site.

    Raises
    ------
    InvalidSeriesError
        It has none of one.
    """
    there = store.meters(interval_minutes)
    known = set(there)
    for site in sites:
        if site not in known:
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

    def train_bucket(loads: Loads) -> tuple[bytes, int]:
        try:
            group = train(loads, weather, rule)
        except TooLittleHistoryError as short:
            return _LEFT_OUT + str(short).encode(), len(loads.sites)
        return group_bytes(group), len(group.sites)

    work = work_on_loads(window, by_bucket(sites, store.buckets), train_bucket)
    messages, metrics = run_on_buckets(session, snapshot_of(store), store.buckets, work, progress)
    left_out = sorted(
        bytes(m[len(_LEFT_OUT) :]).decode() for m in messages if bytes(m[: len(_LEFT_OUT)]) == _LEFT_OUT
    )
    groups = [group_from(m) for m in messages if bytes(m[: len(_LEFT_OUT)]) != _LEFT_OUT]
    if not groups:
        raise StoreError(left_out[0] if left_out else f"{store.url} holds no readings of the sites then")
    return sorted(groups, key=lambda group: str(group.sites[0])), left_out, metrics
