"""Readings sorted out for HBase by bucket: whole meter-days where they nearly fill them, else by meter and slot."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from batch.hbase_cells import Arrivals, digest, pack_arrivals, pack_days
from batch.hbase_client import Cell
from batch.hbase_keys import Series, arrival_key, meter_bytes, meter_key
from batch.hbase_tables import ARRIVED, PACKED
from batch.parquet_store import bucket_of
from batch.wide import NONE, WideDays
from domain.intervals import slots_per_day
from domain.readings import Readings, precedence

DENSE = 8
"""A meter-day with more than one in so many of its slots is written as a packed day, others as arrivals."""

ARRIVALS_A_CELL = 50_000
REMEMBERED = 1_000_000
"""Meters whose place is remembered, at most about so many."""


@dataclass(frozen=True)
class BucketRows:
    """Readings of a bucket's meters, one for each meter and slot.

    Attributes
    ----------
    bucket : int
    meters : list of bytes
        Names in UTF-8, ascending.
    meter, day : ndarray of int64, shape (n,)
        Index into ``meters``, and UTC day.
    slot : ndarray of int64, shape (n,), or None
        Slot of the day; None where a row is a whole meter-day.
    stamp : ndarray of int64, shape (n,), or (n, slots) for whole meter-days
        NONE where there is no reading.
    """

    bucket: int
    meters: list[bytes]
    meter: NDArray[np.int64]
    day: NDArray[np.int64]
    slot: NDArray[np.int64] | None
    stamp: NDArray[np.int64]

    def __len__(self) -> int:
        """Readings."""
        return len(self.stamp) if self.slot is not None else int((self.stamp != NONE).sum())


def of_wide(bucket: int, wide: WideDays) -> BucketRows:
    """Whole meter-days of one bucket."""
    names, meter = np.unique(wide.meters.astype(str), return_inverse=True)
    days = wide.day.astype(np.int64)
    return BucketRows(bucket, [meter_bytes(name) for name in names.tolist()], meter, days, None, wide.stamp)


class Names:
    """Where meters belong, remembered: bucket and name in UTF-8 of each."""

    def __init__(self, buckets: int) -> None:
        self.buckets = buckets
        self._of: dict[str, tuple[int, bytes]] = {}

    def __call__(self, meters: Iterable[str]) -> list[tuple[int, bytes]]:
        """Bucket and name of each; these sort by bucket, then name."""
        if len(self._of) > REMEMBERED:
            self._of.clear()
        known, found = self._of, []
        for meter in meters:
            place = known.get(meter)
            if place is None:
                place = known[meter] = (bucket_of(meter, self.buckets), meter_bytes(meter))
            found.append(place)
        return found


def sort_out(batches: Sequence[Readings], names: Names) -> list[BucketRows]:
    """The readings of some batches of one register and interval by bucket; of repeats the one that counts stays."""
    buckets = names.buckets
    index: dict[str, int] = {}
    codes = []
    for batch in batches:
        at = np.array([index.setdefault(name, len(index)) for name in batch.meters.tolist()], dtype=np.int64)
        codes.append(at[batch.meter])
    per_day = slots_per_day(batches[0].interval_minutes)
    code = np.concatenate(codes)
    present = np.zeros(len(index), dtype=bool)  # a batch may name meters that it has no readings of
    present[code] = True
    places = names(name for name, there in zip(index, present.tolist(), strict=True) if there)
    in_order = sorted(range(len(places)), key=places.__getitem__)
    rank = np.empty(len(index), dtype=np.int64)
    rank[np.flatnonzero(present)[in_order]] = np.arange(len(places))
    meter = rank[code]
    slot = np.concatenate([batch.slot for batch in batches])
    stamp = np.concatenate([precedence(batch.wh, batch.quality, batch.revision) for batch in batches])
    day = slot // per_day
    first = int(day.min())
    span = int(day.max()) - first + 1
    key = meter * span + (day - first)
    if len(places) * span > 4 * len(key):  # days far apart, such as 1970 from a clock that was reset
        rows, row = np.unique(key, return_inverse=True)
    else:
        seen = np.zeros(len(places) * span, dtype=bool)
        seen[key] = True
        rows = np.flatnonzero(seen)
        row = (np.cumsum(seen) - 1)[key]
    # The meters of a bucket follow each other, so a bucket is a range of ranks, of rows and of readings.
    sizes = np.bincount(np.array([bucket for bucket, _ in places], dtype=np.int64), minlength=buckets)
    bounds = np.concatenate([[0], np.cumsum(sizes)])
    used = [n for n in range(buckets) if sizes[n]]
    name_of = [[places[n][1] for n in in_order[bounds[b] : bounds[b + 1]]] for b in used]
    if len(key) * DENSE >= len(rows) * per_day:
        matrix = _matrix(row * per_day + (slot - day * per_day), stamp, (len(rows), per_day))
        cuts = np.searchsorted(rows // span, bounds)
        return [
            BucketRows(
                b, some, rows[cuts[b] : cuts[b + 1]] // span - bounds[b], rows[cuts[b] : cuts[b + 1]] % span + first,
                None, matrix[cuts[b] : cuts[b + 1]],
            )
            for b, some in zip(used, name_of, strict=True)
        ]  # fmt: skip
    order = np.lexsort((stamp, slot, meter))
    meter, slot = meter[order], slot[order]
    last = np.append((meter[1:] != meter[:-1]) | (slot[1:] != slot[:-1]), True)
    meter, slot, stamp = meter[last], slot[last], stamp[order[last]]
    cuts = np.searchsorted(meter, bounds)
    return [
        BucketRows(
            b, some, meter[cuts[b] : cuts[b + 1]] - bounds[b], slot[cuts[b] : cuts[b + 1]] // per_day,
            slot[cuts[b] : cuts[b + 1]] % per_day, stamp[cuts[b] : cuts[b + 1]],
        )
        for b, some in zip(used, name_of, strict=True)
    ]  # fmt: skip


def _matrix(cell: NDArray[np.int64], stamp: NDArray[np.int64], shape: tuple[int, int]) -> NDArray[np.int64]:
    matrix = np.full(shape, NONE, dtype=np.int64)
    flat = matrix.reshape(-1)
    flat[cell] = stamp
    if np.count_nonzero(flat != NONE) < len(cell):  # a slot came more than once
        lost = flat[cell] < stamp
        np.maximum.at(flat, cell[lost], stamp[lost])
    return matrix


def cells_of(rows: BucketRows, series: Series) -> Iterator[Cell]:
    """What to write for some readings."""
    per_day = slots_per_day(series.minutes)
    if rows.slot is not None:
        yield from _arrival_cells(rows, series, per_day)
        return
    filled = (rows.stamp != NONE).sum(axis=1)
    full = filled * DENSE >= per_day
    packed = np.flatnonzero(full)
    meters, days = rows.meter[packed].tolist(), rows.day[packed].tolist()
    for meter, day, cell in zip(meters, days, pack_days(rows.stamp[packed]), strict=True):
        yield Cell(meter_key(rows.bucket, series, day, rows.meters[meter]), PACKED + digest(cell), cell)
    thin = np.flatnonzero(~full & (filled > 0))
    if len(thin):
        at, slot = np.nonzero(rows.stamp[thin] != NONE)
        some = BucketRows(
            rows.bucket, rows.meters, rows.meter[thin][at], rows.day[thin][at], slot, rows.stamp[thin][at, slot]
        )
        yield from _arrival_cells(some, series, per_day)


def _arrival_cells(rows: BucketRows, series: Series, per_day: int) -> Iterator[Cell]:
    assert rows.slot is not None  # noqa: S101
    hour = rows.day * 24 + rows.slot * 24 // per_day
    order = np.argsort(hour, kind="stable")
    cuts = np.flatnonzero(np.diff(hour[order])) + 1
    for group in np.split(order, cuts):
        for first in range(0, len(group), ARRIVALS_A_CELL):
            some = group[first : first + ARRIVALS_A_CELL]
            cell = pack_arrivals(Arrivals(rows.meters, rows.meter[some], rows.slot[some], rows.stamp[some]))
            day, hour_of_day = divmod(int(hour[some[0]]), 24)
            yield Cell(arrival_key(rows.bucket, series, day, hour_of_day, digest(cell)), ARRIVED, cell)
