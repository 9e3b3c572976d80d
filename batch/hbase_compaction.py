"""Folding what arrived into packed days, beside writers, readers and other compactions.

A new packed cell is written first, and holds everything that was read. Only then are the cells deleted that went into
it, each by its own name; one that came meanwhile has another name and stays. Killed in between, both are there and
say the same. The new cell may itself be folded by another compaction at any time, into one that holds it; so what
was once readable is readable always, in one cell or another.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from batch.hbase_cells import digest, pack_days
from batch.hbase_client import Cell, HBaseClient
from batch.hbase_keys import Series, after, day_of, days_range, meter_key, prefix, series_range
from batch.hbase_reader import Cells, read_cells, stamps_of
from batch.hbase_tables import ARRIVALS, ARRIVED, DAYS, PACKED
from domain.intervals import slots_per_day

_KEYS_ONLY = "KeyOnlyFilter()"


def days_present(client: HBaseClient, table: str, bucket: int, series: Series) -> list[int]:
    """UTC days of which a bucket has rows, found by skipping from day to day."""
    found: set[int] = set()
    for family in (DAYS, ARRIVALS):
        start, stop = series_range(bucket, series)
        while rows := client.scan(table, start, stop, [family], limit=1, only=_KEYS_ONLY):
            day = day_of(rows[0].row)
            found.add(day)
            start = after(prefix(bucket, series, day))
    return sorted(found)


def compact_day(client: HBaseClient, table: str, bucket: int, series: Series, day: int) -> int:
    """Fold one bucket's day; returns how many cells were folded and are no more."""
    if not _has_work(client, table, bucket, series, day):
        return 0
    cells = read_cells(client, table, bucket, series, [day])
    columns: dict[bytes, set[bytes]] = defaultdict(set)
    for _, name, column, _ in cells.days:
        columns[name].add(column)
    several = {name for name, those in columns.items() if len(those) > 1}
    slots = np.arange(slots_per_day(series.minutes))
    arrived, _ = stamps_of(Cells([], cells.arrivals), series, [day], slots, None)
    touched = sorted(several | set(arrived))
    mine = set(touched)
    some = Cells([cell for cell in cells.days if cell[1] in mine], cells.arrivals)
    _, stamps = stamps_of(some, series, [day], slots, touched)
    new, old = list[Cell](), list[Cell]()
    for name, packed in zip(touched, pack_days(stamps[:, 0, :]), strict=True):
        row, column = meter_key(bucket, series, day, name), PACKED + digest(packed)
        if column not in columns[name]:
            new.append(Cell(row, column, packed))
        old += [Cell(row, other, None) for other in sorted(columns[name] - {column})]
    old += [Cell(key, ARRIVED, None) for key, _, _ in cells.arrivals]
    client.write(table, new)
    client.write(table, old)
    return len(old)


def _has_work(client: HBaseClient, table: str, bucket: int, series: Series, day: int) -> bool:
    start, stop = days_range(bucket, series, day, day)
    if client.scan(table, start, stop, [ARRIVALS], limit=1, only=_KEYS_ONLY):
        return True
    rows = client.scan(table, start, stop, [DAYS], rows=10_000, only=_KEYS_ONLY)
    return any(len(row.columns) > 1 for row in rows)
