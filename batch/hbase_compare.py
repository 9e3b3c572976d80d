"""What an append changes: readings that came, beside those that HBase holds for the same meters and slots."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from batch.hbase_client import HBaseClient
from batch.hbase_keys import Series
from batch.hbase_reader import hour_of, read_cells, stamps_of
from batch.hbase_rows import BucketRows
from batch.parquet_store import AppendResult
from batch.wide import NONE
from domain.intervals import slots_per_day

_STAMPS = 1 << 24
"""Stamps of stored readings that are held at once."""


def stored_where(client: HBaseClient, table: str, series: Series, rows: BucketRows) -> NDArray[np.int64] | None:
    """Stamps that are stored where ``rows`` has some, in its shape; None when none are."""
    if not len(rows.stamp):
        return None
    before: NDArray[np.int64] | None = None
    per_day = slots_per_day(series.minutes)
    slots = np.arange(per_day) if rows.slot is None else np.unique(rows.slot)
    hours = hour_of(slots, per_day)
    days = np.unique(rows.day)
    step = max(1, _STAMPS // (len(rows.meters) * len(slots)))
    for first in range(0, len(days), step):
        some = days[first : first + step]
        cells = read_cells(
            client,
            table,
            rows.bucket,
            series,
            some.tolist(),
            hours=(int(hours[0]), int(hours[-1])),
            meters=rows.meters,
        )
        if not cells.days and not cells.arrivals:
            continue
        _, stored = stamps_of(cells, series, some.tolist(), slots, rows.meters)
        if before is None:
            before = np.full(rows.stamp.shape, NONE, dtype=np.int64)
        here = np.flatnonzero((rows.day >= some[0]) & (rows.day <= some[-1]))
        meter, day = rows.meter[here], np.searchsorted(some, rows.day[here])
        if rows.slot is None:
            before[here] = stored[meter, day]
        else:
            before[here] = stored[meter, day, np.searchsorted(slots, rows.slot[here])]
    return before


def what_changes(rows: BucketRows, before: NDArray[np.int64] | None) -> tuple[AppendResult, BucketRows]:
    """Counts, and of ``rows`` those readings alone that outrank what is stored."""
    if before is None:
        return AppendResult(len(rows), 0, 0), rows
    wins = rows.stamp > before
    new = int((wins & (before == NONE)).sum())
    replaced = int(wins.sum()) - new
    result = AppendResult(new, replaced, len(rows) - new - replaced)
    if rows.slot is None:
        kept = wins.any(axis=1)
        stamp = np.where(wins, rows.stamp, NONE)[kept]
        return result, BucketRows(rows.bucket, rows.meters, rows.meter[kept], rows.day[kept], None, stamp)
    meter, day, slot = rows.meter[wins], rows.day[wins], rows.slot[wins]
    return result, BucketRows(rows.bucket, rows.meters, meter, day, slot, rows.stamp[wins])
