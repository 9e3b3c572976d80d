"""The speed store on a HeavyDB server: recent readings where many analysts and dashboards can ask at once.

A batch goes in by one request of the vendor's client, whole or not at all. HeavyDB replaces no rows cheaply, so a
correction is one more row (see `speed.corrections`). Each meter is written by one worker at a time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from domain.certification import LoadBlock
from domain.errors import StoreError
from domain.intervals import runs, slots_per_day
from domain.plans import EventPlan
from domain.readings import Readings, Register
from speed.blocks import Found, as_block
from speed.corrections import Rows, outranking, summed, summed_at
from speed.heavydb_client import HeavyDBClient, OutcomeUnknownError
from speed.heavydb_meters import CLAIM_COLUMNS, CLAIMS, MeterNumbers
from speed.heavydb_tables import HeavyDBTables
from speed.heavydb_url import HeavyDBAddress
from speed.marks import HighWater, in_time_order
from speed.stores import LoadResult
from speed.tables import (
    METER_COLUMNS,
    METERS,
    READING_COLUMNS,
    literal,
    readings_table,
    readings_view,
    slots_of,
    view_sql,
)

FRAGMENT_ROWS = 2_000_000
"""Rows that HeavyDB keeps together with their least and greatest ``ts``; it passes over those of other times."""
ROWS_AT_ONCE = 2_000_000
"""Rows of one request at most, 40 MB; of a batch that is larger each part is there whole or not at all."""
_ANSWER_ROWS = 4_000_000
_RANGES = 8
"""Stretches of time in one query: more save round trips, fewer let the server pass over more fragments."""
_NAMED_METERS = 2_000
_LAST_SECOND = 2**31 - 1
"""The greatest time that ENCODING FIXED(32) holds: 2038-01-19. [s since 1970]"""


class HeavyDBStore(HeavyDBTables):
    """Recent readings on a HeavyDB server. See `speed.stores.SpeedStore`.

    Parameters
    ----------
    address : HeavyDBAddress
    patience : float
        For how long a server that doesn't answer is tried again. [s]
    timeout : float
        For how long one answer is awaited. [s]

    Raises
    ------
    StoreError
        The server isn't there, or doesn't let us in.
    """

    def __init__(self, address: HeavyDBAddress, *, patience: float = 60.0, timeout: float = 300.0) -> None:
        super().__init__(HeavyDBClient(address, patience=patience, timeout=timeout))
        self._lock = threading.RLock()
        self._marks: dict[str, HighWater] = {}
        self._made: set[str] = set()
        self._meters = MeterNumbers(self._client)
        there = self._client.tables()
        for table, columns in ((METERS, METER_COLUMNS), (CLAIMS, CLAIM_COLUMNS)):
            if table not in there:
                self.create(table, columns)

    @property
    def url(self) -> str:
        """The server's address, without the password."""
        return self._client.address.url

    def __repr__(self) -> str:
        return f"HeavyDBStore({self.url!r})"

    def close(self) -> None:
        """End the sessions."""
        self._client.close()

    # --- readings ---------------------------------------------------------------------------------

    def append(self, readings: Readings) -> LoadResult:
        """Load a batch in one request; repeats change nothing, corrections are rows of the difference.

        When the connection is lost while rows are loaded, what is there is read again, and only the rest is loaded.

        Raises
        ------
        StoreError
            The server refuses, or isn't there within our patience: repeat the batch then.
        """
        if len(readings) == 0:
            return LoadResult(0, 0, 0)
        batch = in_time_order(readings)
        minutes = batch.interval_minutes
        if int(batch.slot.max()) * minutes * 60 > _LAST_SECOND:
            raise StoreError(f"{self.url} holds readings until 2038-01-19; a batch has later ones")
        with self._lock:
            try:
                table = self._table(batch.register, minutes)
                mark = self._mark(table, minutes)
                ids, given = self._meters.ids(batch.meters)
                for each in {mark, *self._marks.values()}:
                    each.begin(given)
                meter = ids[batch.meter]
                ones = np.ones(len(batch), dtype=np.int64)
                rows = Rows(meter, batch.slot, batch.wh.astype(np.int64), batch.quality, batch.revision, ones)
                new = replaced = 0
                for first in range(0, len(rows), ROWS_AT_ONCE):
                    part = rows.take(np.arange(first, min(first + ROWS_AT_ONCE, len(rows))))
                    added, corrected, mark = self._add(table, part, minutes, mark)
                    new, replaced = new + added - corrected, replaced + corrected
            except StoreError:  # whatever we knew of the server may be over
                self._forget()
                raise
        return LoadResult(new, replaced, len(readings) - new - replaced)

    def _add(self, table: str, part: Rows, minutes: int, mark: HighWater) -> tuple[int, int, HighWater]:
        """Load what of a part isn't there; returns rows loaded, corrections among them, and the mark afterwards."""
        deadline = time.monotonic() + self._client.patience
        done: tuple[int, int] | None = None
        while True:
            rows, corrected = self._difference(table, part, minutes, mark)
            done = done or (len(rows), corrected)  # the first look counts: what is there later may be ours
            try:
                if len(rows):
                    self._client.load(table, rows.arrow(minutes))
                mark.raise_to(part.meter, part.slot, len(rows))
                self._marks[table] = mark
                return *done, mark
            except OutcomeUnknownError as lost:
                self._marks.pop(table, None)
                if time.monotonic() > deadline:
                    raise StoreError(
                        f"HeavyDB at {self._client.address} lost the connection again and again while rows were "
                        f"loaded ({lost}). Repeat the batch when it is well: nothing counts twice"
                    ) from lost
                self._client.settle(lost, _lock(table))
                mark = self._mark(table, minutes)

    def _difference(self, table: str, part: Rows, minutes: int, mark: HighWater) -> tuple[Rows, int]:
        """Rows that make the store hold what it should of a part; how many of them correct others."""
        stale = ~mark.fresh(part.meter, part.slot)
        if not stale.any():
            return part, 0
        chosen, corrected = [part.take(~stale)], 0
        old = part.take(stale)
        day = old.slot // slots_per_day(minutes)
        for first, last in runs(day):
            some = old.take((day >= first) & (day <= last))
            between = [(int(some.slot.min()), int(some.slot.max()))]
            held = self._held(table, between, minutes, np.unique(some.meter))
            rows, corrections = outranking(some, summed(held))
            chosen.append(rows)
            corrected += corrections
        return Rows.joined(chosen), corrected

    def _held(
        self, table: str, runs_of: Iterable[tuple[int, int]], minutes: int, meters: NDArray[np.int32] | None
    ) -> Rows:
        """Rows of stretches of slots, as they are; of some meters, and perhaps of others."""
        where = ""
        if meters is not None and len(meters):
            where = (
                f" AND meter IN ({', '.join(map(str, meters.tolist()))})"
                if len(meters) <= _NAMED_METERS
                else f" AND meter BETWEEN {meters.min()} AND {meters.max()}"
            )
        found = []
        for some in self._questions(runs_of, meters):
            within = " OR ".join(
                f"ts BETWEEN {literal(low, minutes)} AND {literal(high, minutes)}" for low, high in some
            )
            found.append(
                self._client.query(
                    f"SELECT meter, ts, wh, quality, revision, n FROM {table} WHERE ({within}){where}"  # noqa: S608
                )
            )
        rows = pa.concat_tables(found)
        columns = {name: rows[name].to_numpy() for name in rows.column_names}
        return Rows(
            columns["meter"],
            slots_of(columns["ts"], minutes),
            columns["wh"].astype(np.int64),
            columns["quality"],
            columns["revision"],
            columns["n"].astype(np.int64),
        )

    def _questions(
        self, runs_of: Iterable[tuple[int, int]], meters: NDArray[np.int32] | None
    ) -> Iterator[list[tuple[int, int]]]:
        """Stretches of slots, a few to a query, so that no answer is too large to hold."""
        count = len(self._meters.names()) if meters is None else len(meters)
        most = max(_ANSWER_ROWS // max(count, 1), 1)
        some: list[tuple[int, int]] = []
        size = 0
        for first, last in runs_of:
            for low in range(first, last + 1, most):
                high = min(low + most - 1, last)
                if some and (len(some) == _RANGES or size + high - low + 1 > most):
                    yield some
                    some, size = [], 0
                some.append((low, high))
                size += high - low + 1
        if some:
            yield some

    def read_plan(self, plan: EventPlan, meters: NDArray[np.object_] | None = None) -> LoadBlock:
        """The readings that certify an event. See `speed.stores.SpeedStore.read_plan`."""
        return self.read_slots(plan.slots, plan.interval_minutes, meters)

    def read_slots(
        self,
        slots: NDArray[np.int64],
        interval_minutes: int,
        meters: NDArray[np.object_] | None = None,
        register: Register = Register.IMPORT,
    ) -> LoadBlock:
        """Readings at ``slots`` (rows, intervals). See `read_plan`."""
        table = readings_table(register, interval_minutes)
        asked = [] if meters is None else meters.tolist()
        names = self._meters.names(asked=asked)
        wanted = None
        if 0 < len(asked) <= _NAMED_METERS:
            number = {name: n for n, name in enumerate(names.tolist())}
            wanted = np.array([number[name] for name in asked if name in number], dtype=np.int32)
        rows = Rows.joined([])
        if self._has(table) and (wanted is None or len(wanted)):
            rows = summed_at(self._held(table, runs(slots), interval_minutes, wanted), slots)
        if len(rows):
            names = self._meters.names(up_to=int(rows.meter.max()))
            nameless = [n for n in np.unique(rows.meter).tolist() if n >= len(names) or names[n] is None]
            if nameless:
                raise StoreError(f"{self.url}: {table} has readings of meter number {nameless[0]}, which has no name")
        return as_block(Found(rows.meter, rows.slot, rows.wh.astype(np.int32), rows.quality), names, slots, meters)

    def totals(
        self, interval_minutes: int, register: Register = Register.IMPORT
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Energy of all meters together, by slot in ascending order. [Wh]"""
        table = readings_table(register, interval_minutes)
        if not self._has(table):
            return np.empty(0, np.int64), np.empty(0, np.int64)
        found = self._client.query(f"SELECT ts, SUM(wh) AS wh FROM {table} GROUP BY ts ORDER BY ts")  # noqa: S608
        return slots_of(found["ts"].to_numpy(), interval_minutes), found["wh"].to_numpy().astype(np.int64)

    def meter_ids(self, names: NDArray[np.object_]) -> NDArray[np.int32]:
        """Numbers of meters in the tables; a new name gets the next number that is free."""
        with self._lock:
            ids, given = self._meters.ids(names)
            for each in self._marks.values():
                each.begin(given)
            return ids

    def execute(self, sql: str) -> None:
        """Run a statement without an answer. See `speed.stores.SpeedStore.execute`."""
        try:
            super().execute(sql)
        finally:
            with self._lock:
                self._made.clear()  # it may have been a DROP

    # --- within -----------------------------------------------------------------------------------

    def _forget(self) -> None:
        self._marks.clear()
        self._made.clear()
        self._meters.forget()

    def _has(self, table: str) -> bool:
        if table not in self._made and table in self._client.tables():
            self._made.add(table)
        return table in self._made

    def _table(self, register: Register, interval_minutes: int) -> str:
        """Name of the table for a register at an interval, made with its view when new."""
        table = readings_table(register, interval_minutes)
        if not self._has(table):
            self.create(table, READING_COLUMNS, shard_key="meter", sort_column="ts", fragment_size=FRAGMENT_ROWS)
            view = readings_view(register, interval_minutes)
            self._client.execute(f"CREATE VIEW IF NOT EXISTS {view} AS {view_sql(register, interval_minutes)}")
            self._made.add(table)
        return table

    def _mark(self, table: str, interval_minutes: int) -> HighWater:
        """How far the table's readings go; made anew when anybody else wrote it."""
        mark = self._marks.get(table)
        if mark is not None and mark.rows == self._count(table):
            return mark
        self._client.execute(_lock(table))  # a load of a worker that was killed may be under way
        newest = self._client.query(f"SELECT MAX(ts) AS ts FROM {table}")["ts"]  # noqa: S608
        latest = -1 if newest.null_count else int(slots_of(newest.to_numpy(), interval_minutes)[0])
        return HighWater(self._count(table), latest)

    def _count(self, table: str) -> int:
        return int(self._client.query(f"SELECT COUNT(*) AS n FROM {table}")["n"].to_pylist()[0])  # noqa: S608


def _lock(table: str) -> str:
    """A statement that changes no readings and is begun when the writes before it are over."""
    return f"DELETE FROM {table} WHERE meter < 0"  # noqa: S608
