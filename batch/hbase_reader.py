"""Reading meter-days out of HBase: packed days and arrivals, merged by precedence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from batch.hbase_cells import Arrivals, join_arrivals, unpack_arrivals, unpack_days
from batch.hbase_client import HBaseClient
from batch.hbase_keys import (
    PREFIX_BYTES,
    Series,
    day_of,
    days_range,
    hours_range,
    meter_key,
)
from batch.hbase_tables import ARRIVALS, ARRIVED, DAYS
from batch.wide import NONE
from domain.intervals import runs, slots_per_day

GET_ROWS = 200
"""Up to so many meter-days are fetched by their keys; for more, whole days are scanned."""

_ARRIVAL_ROWS = 50


@dataclass(frozen=True)
class Cells:
    """What lies in a bucket on some days, as it is.

    Attributes
    ----------
    days : list of (day, meter, column, bytes)
        Packed days; a meter-day has more than one where two writers met.
    arrivals : list of (key, day, bytes)
    """

    days: list[tuple[int, bytes, bytes, bytes]]
    arrivals: list[tuple[bytes, int, bytes]]


def hour_of(slot: NDArray[np.int64], per_day: int) -> NDArray[np.int64]:
    """Hour of the UTC day in which a slot of the day begins."""
    return slot * 24 // per_day


def read_cells(
    client: HBaseClient,
    table: str,
    bucket: int,
    series: Series,
    days: Sequence[int],
    *,
    hours: tuple[int, int] = (0, 23),
    meters: Sequence[bytes] | None = None,
) -> Cells:
    """Fetch all cells of a bucket on ``days`` (ascending), arrivals of ``hours`` alone.

    Arrivals are read first: were a compaction to fold them between the two reads, they are found twice and count
    once; the other way round they would be missed.
    """
    packed: list[tuple[int, bytes, bytes, bytes]] = []
    arrived: list[tuple[bytes, int, bytes]] = []
    spans = runs(days)
    for first, last in spans:
        start, stop = hours_range(bucket, series, (first, hours[0]), (last, hours[1]))
        for row in client.scan(table, start, stop, [ARRIVALS], rows=_ARRIVAL_ROWS):
            if hours[0] <= row.row[PREFIX_BYTES] <= hours[1]:
                arrived.append((row.row, day_of(row.row), row.columns[ARRIVED].value))
    if meters is not None and len(meters) * len(days) <= GET_ROWS:
        keys = [meter_key(bucket, series, day, name) for day in days for name in meters]
        found = client.rows(table, keys, [DAYS]) if keys else []
    else:
        found = []
        for first, last in spans:
            found += client.scan(table, *days_range(bucket, series, first, last), [DAYS])
    for row in found:
        key = row.row
        for column, cell in row.columns.items():
            packed.append((day_of(key), key[PREFIX_BYTES:], column, cell.value))
    return Cells(packed, arrived)


def stamps_of(
    cells: Cells, series: Series, days: Sequence[int], slots: NDArray[np.int64], meters: Sequence[bytes] | None
) -> tuple[list[bytes], NDArray[np.int64]]:
    """Merge cells into a stamp for each meter, day and slot.

    Parameters
    ----------
    slots : ndarray of int64
        Slots of the day that are wanted, ascending.
    meters : sequence of bytes, optional
        Names, ascending; default: all that have readings at these days and slots.

    Returns
    -------
    list of bytes
        Meters, ascending.
    ndarray of int64, shape (meters, days, slots)
    """
    per_day = slots_per_day(series.minutes)
    at_day = {day: n for n, day in enumerate(days)}
    arrivals, of_day = _arrivals(cells, at_day)
    wanted = None if meters is None else {name: n for n, name in enumerate(meters)}
    there = wanted
    if there is None:
        names = sorted({name for _, name, _, _ in cells.days} | set(arrivals.meters))
        there = {name: n for n, name in enumerate(names)}
    out = np.full((len(there), len(days), len(slots)), NONE, dtype=np.int64)
    if not there or not len(slots):
        return list(there), out
    flat = out.reshape(-1, len(slots))
    _put_days(flat, cells, per_day, slots, there, at_day)
    if len(arrivals.slot):
        column = np.full(per_day, -1, dtype=np.int64)
        column[slots] = np.arange(len(slots))
        row = np.array([there.get(name, -1) for name in arrivals.meters], dtype=np.int64)[arrivals.meter]
        at = column[arrivals.slot]
        here = (row >= 0) & (at >= 0)
        np.maximum.at(flat, (row[here] * len(days) + of_day[here], at[here]), arrivals.stamp[here])
    if wanted is None:
        some = (out != NONE).any(axis=(1, 2))
        if not some.all():
            return [name for name, has in zip(there, some.tolist(), strict=True) if has], out[some]
    return list(there), out


def _put_days(
    flat: NDArray[np.int64],
    cells: Cells,
    per_day: int,
    slots: NDArray[np.int64],
    there: dict[bytes, int],
    at_day: dict[int, int],
) -> None:
    """Put packed days into rows of (meter, day); further cells of the same meter-day are put after the first ones."""
    width = len(at_day)
    rows: list[int] = []
    values: list[bytes] = []
    for day, name, _, value in cells.days:
        meter, at = there.get(name), at_day.get(day)
        if meter is not None and at is not None:
            rows.append(meter * width + at)
            values.append(value)
    if not rows:
        return
    row = np.array(rows)
    stamps = unpack_days(values, per_day, slots)
    unique, first = np.unique(row, return_index=True)
    if len(unique) == len(row):
        flat[row] = stamps
        return
    flat[unique] = stamps[first]
    for n in np.setdiff1d(np.arange(len(row)), first).tolist():
        flat[row[n]] = np.maximum(flat[row[n]], stamps[n])


def _arrivals(cells: Cells, at_day: dict[int, int]) -> tuple[Arrivals, NDArray[np.int64]]:
    """All arrivals together, and the number of each one's day."""
    parts, days = [], []
    for _, day, value in cells.arrivals:
        if day in at_day:
            part = unpack_arrivals(value)
            parts.append(part)
            days.append(np.full(len(part.slot), at_day[day], dtype=np.int64))
    return join_arrivals(parts), np.concatenate(days) if days else np.empty(0, dtype=np.int64)
