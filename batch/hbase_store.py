"""The batch store in HBase: readings of all meters, for all time, over any number of region servers.

A meter-day is one row with one packed cell. What comes in small pieces, such as one interval of many meters, is kept
beside as arrivals, a row for all meters of a bucket and hour, until compaction folds it into the meter-days.

No writer ever changes or replaces what another has written: cells are named by their content and only added, and all
readers merge them by precedence. So any number of writers may work at once, each may repeat what it isn't sure of,
and none needs to know in which order things happened. Only compaction deletes, and only cells that it has read and
whose readings are in a cell that was made durable before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from batch.hbase_client import Address, Cell, HBaseClient
from batch.hbase_compaction import compact_day, days_present
from batch.hbase_compare import stored_where, what_changes
from batch.hbase_keys import ALL_SERIES, MAX_BUCKETS, Series, after, day_of, series_range
from batch.hbase_reader import hour_of, read_cells, stamps_of
from batch.hbase_rows import BucketRows, Names, cells_of, of_wide, sort_out
from batch.hbase_tables import ARRIVALS, DAYS, METERS, READINGS, TableOptions, create_tables
from batch.parquet_store import AppendResult, bucket_of
from batch.wide import NONE, WideDays, energy_of, quality_of
from domain.certification import LoadBlock
from domain.errors import StoreError
from domain.intervals import INTERVAL_MINUTES, slots_per_day
from domain.plans import EventPlan
from domain.readings import Quality, Readings, Register

LAYOUT = b"1"
CHUNK = 20_000_000
"""Readings that an append works on at once."""

CONNECTIONS = 4
_KNOWN_METERS = 1_000_000
_STORE_ROW, _BUCKETS, _LAYOUT = b"\0", b"m:buckets", b"m:layout"
_THERE = b"m:there"
_KEYS_ONLY = "KeyOnlyFilter()"
_DEFAULTS = TableOptions()
T = TypeVar("T")
U = TypeVar("U")


class HBaseStore:
    """Readings of all meters, in the tables of an HBase that is reached by its Thrift server.

    Parameters
    ----------
    url : str
        ``hbase://host:port``, or ``hbase://host:port/prefix`` for one of several stores in the same HBase.
    buckets : int
        Buckets, which are the salts of the row keys, of a new store; an existing store keeps its own.
    options : TableOptions
        Of tables that don't exist yet.
    patience : float
        For how long a lost connection is tried again. [s]

    Raises
    ------
    StoreError
        The server can't be reached, or its tables are not ours.
    """

    def __init__(
        self, url: str, *, buckets: int = 16, options: TableOptions = _DEFAULTS, patience: float = 60.0
    ) -> None:
        if not 1 <= buckets <= MAX_BUCKETS:
            raise StoreError(f"{buckets} buckets: expected 1 to {MAX_BUCKETS}")
        self.url = url
        self.client = HBaseClient(Address.parse(url), patience=patience)
        self._readings = self.client.address.table(READINGS)
        self._meters = self.client.address.table(METERS)
        self._known: dict[Series, set[bytes]] = {}
        create_tables(self.client, (READINGS, METERS), options)
        self.buckets = self._own_buckets(buckets)
        self._names = Names(self.buckets)

    def append(self, readings: Iterable[Readings]) -> AppendResult:
        """Add readings; what is already there changes nothing, what outranks it replaces it.

        Rows become visible one by one. When it fails, append the same again: what was written counts once. Of two
        writers that add the same readings at the same moment both may count them as new.
        """
        result = AppendResult(0, 0, 0)
        for series, batches in _chunks(readings):
            given = sum(map(len, batches))
            parts = sort_out(batches, self._names)
            self._make_known(series, parts)
            done = sum(self._each(partial(self._add, series), parts), AppendResult(0, 0, 0))
            result += done + AppendResult(0, 0, given - done.new - done.replaced - done.unchanged)
        return result

    def write(self, readings: Iterable[Readings]) -> int:
        """Add readings like `append`, but without looking at what is there.

        For a live flow of which nobody needs counts: nothing is read; repeats cost space until they are compacted.

        Returns
        -------
        int
            Readings written: those given, less repeats among them.
        """
        written = 0
        for series, batches in _chunks(readings):
            parts = sort_out(batches, self._names)
            self._make_known(series, parts)
            self._each(partial(self._put, series), parts)
            written += sum(map(len, parts))
        return written

    def load_bucket(
        self,
        bucket: int,
        interval_minutes: int,
        parts: Iterable[WideDays],
        register: Register = Register.IMPORT,
    ) -> None:
        """Add a history of one bucket's meters, holding no more than a few parts in memory.

        For bulk loads of meter-days that are wide already; many processes may each load a bucket. Readings that are
        stored already count by precedence as ever, but nothing is compared with them first.

        Raises
        ------
        StoreError
            A meter of another bucket; its part and those after it are not added.
        """
        series = Series(register, interval_minutes)
        known: set[str] = set()

        def checked() -> Iterator[BucketRows]:
            for part in parts:
                if len(part) == 0:
                    continue
                new = set(part.meters) - known
                for meter in new:
                    if (own := bucket_of(meter, self.buckets)) != bucket:
                        raise StoreError(f"meter {meter!r} belongs in bucket {own}, not {bucket}")
                known.update(new)
                rows = of_wide(bucket, part)
                self._make_known(series, [rows])
                yield rows

        pieces = checked()
        while some := list(islice(pieces, CONNECTIONS)):
            self._each(partial(self._put, series), some)

    def intervals(self, register: Register = Register.IMPORT) -> list[int]:
        """Interval lengths for which the store holds readings of a register. [min]"""
        return [m for m in INTERVAL_MINUTES if self._meter_rows(Series(register, m), limit=1)]

    def meters(self, interval_minutes: int, register: Register = Register.IMPORT) -> list[str]:
        """All meters with readings, in ascending order; one that was just about to be written may be among them."""
        return [row.row[2:].decode() for row in self._meter_rows(Series(register, interval_minutes))]

    def days(self, interval_minutes: int, register: Register = Register.IMPORT) -> tuple[int, int] | None:
        """First and last UTC day with readings (days since 1970), None when there are none."""
        series = Series(register, interval_minutes)

        def ends(bucket: int) -> list[int]:
            first, last = series_range(bucket, series)
            found = []
            for family in (DAYS, ARRIVALS):
                for start, stop, reverse in ((first, last, False), (last, first, True)):
                    found += self.client.scan(
                        self._readings, start, stop, [family], limit=1, reverse=reverse, only=_KEYS_ONLY
                    )
            return [day_of(row.row) for row in found]

        days = [day for some in self._each(ends, range(self.buckets)) for day in some]
        return (min(days), max(days)) if days else None

    def read_plan(self, plan: EventPlan, bucket: int, meters: NDArray[np.object_] | None = None) -> LoadBlock:
        """The readings that certify an event, for one bucket.

        Parameters
        ----------
        plan : EventPlan
        bucket : int
        meters : ndarray of str objects, optional
            The bucket's participants; a meter without readings gets a block of MISSING. Default: all meters
            that have readings at the plan's slots.
        """
        return self.read_slots(plan.slots, plan.interval_minutes, bucket, meters)

    def read_slots(
        self,
        slots: NDArray[np.int64],
        interval_minutes: int,
        bucket: int,
        meters: NDArray[np.object_] | None = None,
        register: Register = Register.IMPORT,
    ) -> LoadBlock:
        """Readings at ``slots`` (rows, intervals) of one bucket's meters. See `read_plan`."""
        series, per_day = Series(register, interval_minutes), slots_per_day(interval_minutes)
        days, wanted = np.unique(slots // per_day), np.unique(slots % per_day)
        names = None if meters is None else [name.encode() for name in sorted(set(meters.tolist()))]
        if not slots.size or names == []:
            found, stamps = names or [], np.full((len(names or []), *slots.shape), NONE, dtype=np.int64)
        else:
            hours = hour_of(wanted, per_day)
            cells = read_cells(
                self.client, self._readings, bucket, series, days.tolist(),
                hours=(int(hours[0]), int(hours[-1])), meters=names,
            )  # fmt: skip
            found, by_day = stamps_of(cells, series, days.tolist(), wanted, names)
            stamps = by_day[:, np.searchsorted(days, slots // per_day), np.searchsorted(wanted, slots % per_day)]
        array = np.array([name.decode() for name in found], dtype=object)
        if names is None:
            some = (stamps != NONE).any(axis=(1, 2))
            if not some.all():
                array, stamps = array[some], stamps[some]
        estimated = quality_of(stamps) == Quality.ESTIMATED
        return LoadBlock(array, energy_of(stamps), estimated if estimated.any() else None)

    def compact(self, day: int | None = None) -> int:
        """Fold arrivals into packed days, and several packed cells of a meter-day into one.

        May run beside writers, readers and itself, and be killed at any moment.

        Parameters
        ----------
        day : int, optional
            UTC day since 1970; default: every day that is stored.

        Returns
        -------
        int
            Cells that were folded.
        """

        def fold(bucket: int) -> int:
            folded = 0
            for series in present:
                days = days_present(self.client, self._readings, bucket, series) if day is None else [day]
                folded += sum(compact_day(self.client, self._readings, bucket, series, one) for one in days)
            return folded

        present = [series for series in ALL_SERIES if self._meter_rows(series, limit=1)]
        return sum(self._each(fold, range(self.buckets)))

    def close(self) -> None:
        """Close the idle connections; the store may be used again."""
        self.client.close()

    def _put(self, series: Series, rows: BucketRows) -> None:
        self.client.write(self._readings, list(cells_of(rows, series)))

    def _add(self, series: Series, rows: BucketRows) -> AppendResult:
        before = stored_where(self.client, self._readings, series, rows)
        result, changed = what_changes(rows, before)
        self._put(series, changed)
        return result

    def _make_known(self, series: Series, parts: list[BucketRows]) -> None:
        """List meters before their readings are written: none can have readings and not be listed."""
        known = self._known.setdefault(series, set())
        new = {name for part in parts for name in part.meters} - known
        if new:
            self.client.write(self._meters, [Cell(series.code + name, _THERE, b"1") for name in sorted(new)])
            if len(known) > _KNOWN_METERS:
                known.clear()
            known |= new

    def _meter_rows(self, series: Series, limit: int | None = None) -> list[Any]:
        first = series.code
        return self.client.scan(self._meters, first, after(first), rows=10_000, limit=limit, only=_KEYS_ONLY)

    def _own_buckets(self, wanted: int) -> int:
        def stored() -> dict[bytes, bytes]:
            rows = self.client.rows(self._meters, [_STORE_ROW], [b"m"])
            return {column: cell.value for row in rows for column, cell in row.columns.items()}

        if _BUCKETS not in (now := stored()):
            self.client.write(self._meters, [Cell(_STORE_ROW, _LAYOUT, LAYOUT)])
            self.client.put_once(self._meters, _STORE_ROW, _BUCKETS, str(wanted).encode())
            now = stored()
        if now.get(_LAYOUT) != LAYOUT:
            raise StoreError(
                f"{self.url} has layout {now.get(_LAYOUT)!r}, this version reads {LAYOUT!r}: update first"
            )
        return int(now[_BUCKETS])

    def _each(self, work: Callable[[T], U], items: Iterable[T]) -> list[U]:
        """Do independent work on a few connections at once."""
        todo = list(items)
        if len(todo) <= 1:
            return [work(item) for item in todo]
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            return list(pool.map(work, todo))


def _chunks(readings: Iterable[Readings]) -> Iterator[tuple[Series, list[Readings]]]:
    """Batches by series, in chunks of bounded size."""
    held: dict[Series, list[Readings]] = {}
    size = 0
    for batch in readings:
        if len(batch):
            held.setdefault(Series(batch.register, batch.interval_minutes), []).append(batch)
            size += len(batch)
        if size >= CHUNK:
            yield from held.items()
            held, size = {}, 0
    yield from held.items()
