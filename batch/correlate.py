"""Correlation of load and weather for many sites: Spark tasks compare the meters of a bucket each."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import numpy as np

from batch.buckets import by_bucket, work_on_loads
from batch.jobs import JobMetrics, run_on_buckets
from batch.snapshots import snapshot_of
from batch.stores import BatchStore
from batch.watching import Progress
from domain.correlation import VARIABLES, Correlation, correlate
from domain.series import InvalidSeriesError, Loads, Weather, local_clock

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def correlate_loads(loads: Loads, weather: Weather, zone: ZoneInfo) -> list[Correlation]:
    """Compare each site with each variable of the weather, in this process.

    The dew point is worked out from temperature and humidity where the weather has none.

    Raises
    ------
    InvalidSeriesError
        The weather has none of the variables, or doesn't overlap with the loads.
    """
    first, last, minutes = loads.first_slot, loads.last_slot, loads.interval_minutes
    columns = weather.with_dew_point().on(first, last, minutes)
    if not set(VARIABLES) & set(columns):
        raise InvalidSeriesError(
            f"the weather has none of {', '.join(VARIABLES)}; columns there: {', '.join(columns) or 'none'}"
        )
    if all(np.isnan(values).all() for name, values in columns.items() if name in VARIABLES):
        raise InvalidSeriesError("no interval has both load and weather: expected two files of the same time")
    day = local_clock(first, last, minutes, zone).day
    return [
        found
        for site, load in zip(loads.sites, loads.load, strict=True)
        for found in correlate(str(site), load, columns, day)
    ]


def correlate_store(
    session: SparkSession,
    store: BatchStore,
    weather: Weather,
    zone: ZoneInfo,
    window: tuple[int, int, int],
    sites: Iterable[str] | None = None,
    progress: Progress | None = None,
) -> tuple[list[Correlation], JobMetrics]:
    """As `correlate_loads` for the meters of a store, by Spark; the weather is sent to the tasks.

    Parameters
    ----------
    window : tuple of int
        Interval [min], first slot, and one past the last.
    sites : iterable of str, optional
        Default: every meter with readings.

    Returns
    -------
    list of Correlation, JobMetrics
        By site, then in the order of `VARIABLES`.

    Raises
    ------
    StoreError
        A task couldn't read the store, or compare.
    """

    def correlate_bucket(loads: Loads) -> tuple[bytes, int]:
        return to_message(correlate_loads(loads, weather, zone)), len(loads.sites)

    work = work_on_loads(window, by_bucket(sites, store.buckets), correlate_bucket)
    messages, metrics = run_on_buckets(session, snapshot_of(store), store.buckets, work, progress)
    found = [one for message in messages for one in from_message(bytes(message))]
    return sorted(found, key=lambda one: (one.site, VARIABLES.index(one.variable))), metrics


def to_message(found: list[Correlation]) -> bytes:
    """Pack correlations into bytes; days without a coefficient become null."""
    return json.dumps([document_of(one, daily=True) for one in found]).encode()


def from_message(message: bytes) -> list[Correlation]:
    """Unpack what `to_message` made."""
    return [
        Correlation(
            **{**values, "daily": np.array([np.nan if r is None else r for r in values["daily"]], dtype=np.float64)}
        )
        for values in json.loads(message)
    ]


def document_of(one: Correlation, *, daily: bool = False) -> dict[str, Any]:
    """Plain values for JSON, without any that JSON lacks; the days' coefficients only when asked for."""
    values = dict(vars(one))
    del values["daily"]
    return values | ({"daily": [None if np.isnan(r) else float(r) for r in one.daily]} if daily else {})
