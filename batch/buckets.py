"""Buckets of meters: which hold those that are asked for, and jobs that read the loads of a bucket's meters."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from batch.jobs import BucketResult, Work
from batch.parquet_store import bucket_of
from batch.stores import BatchStore
from domain.readings import MISSING
from domain.series import Loads

Wanted = dict[int, NDArray[np.object_] | None]
"""What to read: meters by the bucket that holds them, None for all that a bucket has."""


def by_bucket(meters: Iterable[str] | None, buckets: int) -> Wanted:
    """Meters by the bucket that holds them, in their order; buckets without any are left out.

    Parameters
    ----------
    meters : iterable of str or None
        None for all that are stored: then each bucket is there, with None.

    Examples
    --------
    >>> {bucket: names.tolist() for bucket, names in by_bucket(["home-0004", "home-0002", "home-0001"], 2).items()}
    {1: ['home-0004'], 0: ['home-0002', 'home-0001']}
    >>> by_bucket(None, 2)
    {0: None, 1: None}
    """
    if meters is None:
        return dict.fromkeys(range(buckets))
    found: dict[int, list[str]] = {}
    for meter in meters:
        found.setdefault(bucket_of(meter, buckets), []).append(meter)
    return {bucket: np.array(names, dtype=object) for bucket, names in found.items()}


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


def work_on_loads(
    window: tuple[int, int, int], wanted: Wanted, work_out: Callable[[Loads], tuple[bytes, int]]
) -> Work:
    """A job's work: read the loads of a bucket's meters, and send back what ``work_out`` makes of them.

    Parameters
    ----------
    window : tuple of int
        Interval [min], first slot, and one past the last.
    wanted : mapping
        Of `by_bucket`.
    work_out : callable
        Gets loads of at least one site; returns a message for the driver, and how many sites it is about. It is sent
        to executors with all that it holds.
    """

    def work(store: BatchStore, bucket: int) -> BucketResult | None:
        if bucket not in wanted:
            return None
        loads = loads_of_bucket(store, *window, bucket, wanted[bucket])
        if len(loads.sites) == 0:
            return None
        message, sites = work_out(loads)
        return BucketResult(message, sites, loads.load.nbytes)

    return work
