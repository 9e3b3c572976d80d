"""Whole meter-days out of any batch store, with quality and revision: for analysts, who ask for other than plans."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from batch.parquet_store import ParquetStore
from batch.stores import BatchStore
from batch.wide import NONE, WideDays, energy_of, quality_of, revision_of
from domain.intervals import slots_per_day
from domain.readings import Quality, Register

if TYPE_CHECKING:
    from batch.hbase_store import HBaseStore

ARROW = {
    "meter": pa.string(),
    "interval_start": pa.timestamp("us", "UTC"),
    "wh": pa.int32(),
    "quality": pa.string(),
    "revision": pa.int16(),
    "register": pa.string(),
}
"""Columns of a reading, a row each."""

_QUALITIES = pa.array([quality.name.lower() for quality in sorted(Quality)])


def read_days(
    store: BatchStore, days: NDArray[np.integer], interval_minutes: int, bucket: int, register: Register
) -> WideDays:
    """All that is known of one bucket's meters on some UTC days (since 1970), rows by day, then meter."""
    if isinstance(store, ParquetStore):
        return store.read_days(days, interval_minutes, bucket, register)
    return _from_hbase(store, days, interval_minutes, bucket, register)  # type: ignore[arg-type]


def _from_hbase(
    store: HBaseStore, days: NDArray[np.integer], interval_minutes: int, bucket: int, register: Register
) -> WideDays:
    from batch.hbase_keys import Series  # noqa: PLC0415  with HBase only
    from batch.hbase_reader import read_cells, stamps_of  # noqa: PLC0415
    from batch.hbase_tables import READINGS  # noqa: PLC0415

    series, numbers = Series(register, interval_minutes), [int(day) for day in days]
    table = store.client.address.table(READINGS)
    cells = read_cells(store.client, table, bucket, series, numbers)
    slots = np.arange(slots_per_day(interval_minutes))
    names, stamps = stamps_of(cells, series, numbers, slots, None)
    there = (stamps != NONE).any(axis=2).T
    day, meter = np.nonzero(there)
    meters = np.array([name.decode() for name in names], dtype=object)
    return WideDays(meters[meter], np.array(numbers, dtype=np.int32)[day], stamps[meter, day])


def readings_table(
    wide: WideDays,
    interval_minutes: int,
    register: Register,
    *,
    first_slot: int,
    end_slot: int,
    columns: list[str],
) -> pa.Table:
    """Meter-days as a row a reading, of the slots from ``first_slot`` to before ``end_slot``.

    Parameters
    ----------
    columns : list of str
        Those of `ARROW` that are wanted, in their order.
    """
    per_day = slots_per_day(interval_minutes)
    row, at = np.nonzero(wide.stamp != NONE)
    slot = wide.day[row].astype(np.int64) * per_day + at
    inside = (slot >= first_slot) & (slot < end_slot)
    row, at, slot = row[inside], at[inside], slot[inside]
    stamp = wide.stamp[row, at]
    made: dict[str, Any] = {
        "meter": lambda: pa.array(wide.meters, pa.string()).take(pa.array(row)),
        "interval_start": lambda: pa.array(slot * (interval_minutes * 60_000_000), ARROW["interval_start"]),
        "wh": lambda: pa.array(energy_of(stamp)),
        "quality": lambda: _QUALITIES.take(pa.array(quality_of(stamp))),
        "revision": lambda: pa.array(revision_of(stamp)),
        "register": lambda: pa.array([str(register)]).take(pa.array(np.zeros(len(stamp), np.int8))),
    }
    return pa.table({name: made[name]() for name in columns}, schema=pa.schema([(n, ARROW[n]) for n in columns]))
