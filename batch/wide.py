"""Wide meter-days: one row for a meter's UTC day, one column a slot.

An event needs few days and few slots of all meters; this shape lets a reader skip the rest: days by row
group (rows are sorted by day, then meter), slots by column.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from domain.intervals import slots_per_day
from domain.readings import MISSING, Quality, Readings, precedence

NONE = -1
"""Stamp of "no reading"."""


@dataclass(frozen=True)
class WideDays:
    """Rows of wide meter-days in memory, sorted by day, then meter.

    Attributes
    ----------
    meters : ndarray of str objects, shape (rows,)
    day : ndarray of int32, shape (rows,)
        UTC days since 1970-01-01.
    stamp : ndarray of int64, shape (rows, slots)
        `domain.readings.precedence` of each reading, which holds its energy, quality and revision; NONE where
        there is none.
    """

    meters: NDArray[np.object_]
    day: NDArray[np.int32]
    stamp: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.day)

    def take(self, rows: NDArray[np.bool_] | NDArray[np.intp]) -> WideDays:
        """The rows at ``rows`` (a mask or positions)."""
        return WideDays(self.meters[rows], self.day[rows], self.stamp[rows])


def energy_of(stamp: NDArray[np.int64]) -> NDArray[np.int32]:
    """Energy in stamps; MISSING where there is no reading. [Wh]"""
    return stamp.astype(np.int32)  # the low half, which for NONE is MISSING


def quality_of(stamp: NDArray[np.int64]) -> NDArray[np.int8]:
    """`Quality` in stamps."""
    return np.where(stamp == NONE, Quality.MISSING, (stamp >> 32) & 0xFF).astype(np.int8)


def revision_of(stamp: NDArray[np.int64]) -> NDArray[np.int16]:
    """Revision in stamps; 0 where there is no reading."""
    return np.where(stamp == NONE, 0, stamp >> 40).astype(np.int16)


def to_wide(readings: Readings) -> WideDays:
    """Fold readings into meter-days; of several readings for a slot the one of highest precedence stays."""
    per_day = slots_per_day(readings.interval_minutes)
    day = readings.slot // per_day
    if len(readings) == 0:
        return WideDays(readings.meters[:0], day.astype(np.int32), np.empty((0, per_day), np.int64))
    # Meters in name order, so that row order is the same whatever order a batch names them in.
    name_order = np.argsort(readings.meters.astype(str), kind="stable")
    rank = np.empty_like(name_order)
    rank[name_order] = np.arange(len(name_order))
    first = int(day.min())
    row_key = (day - first) * len(name_order) + rank[readings.meter]
    possible = int(row_key.max()) + 1
    if possible > 4 * len(readings):  # days far apart, such as 1970 from a clock that was reset
        keys, row = np.unique(row_key, return_inverse=True)
    else:
        seen = np.zeros(possible, dtype=bool)
        seen[row_key] = True
        keys = np.flatnonzero(seen)
        row = (np.cumsum(seen) - 1)[row_key]
    stamp = np.full((len(keys), per_day), NONE, dtype=np.int64)
    cell = row * per_day + readings.slot % per_day
    values = precedence(readings.wh, readings.quality, readings.revision)
    flat = stamp.reshape(-1)
    flat[cell] = values
    lost = flat[cell] < values  # only where a slot came more than once
    if lost.any():
        np.maximum.at(flat, cell[lost], values[lost])
    days = (keys // len(name_order) + first).astype(np.int32)
    return WideDays(readings.meters[name_order[keys % len(name_order)]], days, stamp)


def merge(parts: list[WideDays]) -> WideDays:
    """One row for each meter and day of any part, each slot by precedence."""
    parts = [part for part in parts if len(part)] or parts[:1]
    if len(parts) == 1:
        return parts[0]
    meters = np.concatenate([part.meters for part in parts])
    days = np.concatenate([part.day for part in parts])
    names, codes = np.unique(meters.astype(str), return_inverse=True)
    key = days.astype(np.int64) * len(names) + codes
    keys, row = np.unique(key, return_inverse=True)
    stamp = np.full((len(keys), parts[0].stamp.shape[1]), NONE, dtype=np.int64)
    at = 0
    for part in parts:  # within one part a meter-day stands once, so plain assignment is safe
        rows = row[at : at + len(part)]
        stamp[rows] = np.maximum(stamp[rows], part.stamp)
        at += len(part)
    return WideDays(names[keys % len(names)].astype(object), (keys // len(names)).astype(np.int32), stamp)


def column_names(per_day: int) -> list[str]:
    """Names of the slot columns: s000, s001, …"""
    return [f"s{slot:03d}" for slot in range(per_day)]


def arrow_schema(per_day: int) -> pa.Schema:
    """Schema of a file: meter, day, a column of Wh a slot (null: no reading), and ``edits``.

    ``edits`` is null where every reading of the row is an actual one of revision 0; else it packs a byte of
    quality a slot, then two bytes of revision a slot (little-endian).
    """
    slots = [pa.field(name, pa.int32()) for name in column_names(per_day)]
    key = [pa.field("meter", pa.string(), nullable=False), pa.field("day", pa.date32(), nullable=False)]
    return pa.schema([*key, *slots, pa.field("edits", pa.binary())])


def to_arrow(wide: WideDays) -> tuple[pa.Table, bool]:
    """Rows as a table of `arrow_schema`, and whether any has edits."""
    per_day = wide.stamp.shape[1]
    wh = np.ascontiguousarray(energy_of(wide.stamp).T)
    absent = wh == MISSING
    plain = int(precedence(np.zeros(1, np.int32), np.full(1, Quality.ACTUAL, np.int8), np.zeros(1, np.int16))[0])
    upper = (wide.stamp >> 32).astype(np.int32)
    edited = ((upper != NONE) & (upper != plain >> 32)).any(axis=1)
    edits: list[bytes | None] = [None] * len(wide)
    if edited.any():
        rows = np.flatnonzero(edited)
        quality = quality_of(wide.stamp[rows])
        revision = revision_of(wide.stamp[rows]).astype("<i2")
        for n, row in enumerate(rows):
            edits[row] = quality[n].tobytes() + revision[n].tobytes()
    columns = [pa.array(wh[slot], mask=absent[slot] if absent[slot].any() else None) for slot in range(per_day)]
    arrays = [
        pa.array(wide.meters, pa.string()),
        pa.array(wide.day, pa.int32()).cast(pa.date32()),
        *columns,
        pa.array(edits, pa.binary()),
    ]
    return pa.Table.from_arrays(arrays, schema=arrow_schema(per_day)), bool(edited.any())


def slot_stamps(table: pa.Table, slots: list[int], per_day: int) -> NDArray[np.int64]:
    """Stamps of some slots of a table read back. Shape (slots, rows)."""
    wh = np.stack([slot_numbers(table.column(f"s{slot:03d}")) for slot in slots]).astype(np.int64)
    quality = np.full(wh.shape, Quality.ACTUAL, dtype=np.int64)
    revision = np.zeros(wh.shape, dtype=np.int64)
    edits = table.column("edits")
    if edits.null_count < len(edits):
        at = np.array(slots)
        for row, packed in enumerate(edits.to_pylist()):
            if packed is not None:
                quality[:, row] = np.frombuffer(packed, np.int8, per_day)[at]
                revision[:, row] = np.frombuffer(packed, "<i2", per_day, per_day)[at]
    return np.where(wh == MISSING, NONE, (revision << 40) | (quality << 32) | wh)


def slot_numbers(column: pa.ChunkedArray) -> NDArray[np.int32]:
    """A column of Wh as numbers, MISSING where null."""
    if column.null_count:
        column = column.fill_null(MISSING)
    return np.asarray(column.to_numpy(), dtype=np.int32)
