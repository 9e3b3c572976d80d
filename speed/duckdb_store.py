"""The embedded speed store: recent readings in DuckDB, one row a reading, never a duplicate.

A reading that repeats is dropped at load and one that outranks another replaces it, in one transaction. The views
``import_5`` and so on show a register at an interval with names and times, for SQL.
"""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from domain.certification import LoadBlock
from domain.errors import StoreError
from domain.intervals import runs
from domain.plans import EventPlan
from domain.readings import Readings, Register
from speed.blocks import Found, Layout, as_block
from speed.marks import HighWater, in_time_order
from speed.stores import LoadResult, duckdb_url
from speed.tables import (
    METERS,
    READING_COLUMNS,
    checked_name,
    duckdb_type,
    literal,
    plain,
    readings_table,
    readings_view,
    slots_of,
    starts_of,
    view_sql,
)

_LAST_SECOND = 253_402_300_799
"""The year 9999 ends with it: no clock of a meter means a later one. [s since 1970]"""

_PART_ROWS = 1_000_000
"""Rows that are laid out at once as DuckDB gives them: it goes on reading meanwhile, and no copy of all is made."""

SETTINGS = (
    "SET TimeZone = 'UTC'",
    "SET integer_division = true",
    "SET default_null_order = 'nulls_last_on_asc_first_on_desc'",
    "SET perfect_ht_threshold = 16",
    "SET enable_progress_bar = false",
)
"""The first three: a query has the same answer in both stores. Then: groups by meter are counted without hashing, and
a long statement draws nothing on the terminal."""


class DuckDBStore:
    """Recent readings in a DuckDB file, or in memory. See `speed.stores.SpeedStore`.

    Parameters
    ----------
    path : Path or None
        None: in memory.

    Raises
    ------
    StoreError
        Another process holds the file, or it is no DuckDB database.
    """

    def __init__(self, path: Path | None = None) -> None:
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        self._path, self._lock = path, threading.RLock()
        warnings.filterwarnings("ignore", "Arrow output on a DB-API result", UserWarning)  # see `query`
        self._marks: dict[str, HighWater] = {}
        with self._in_words():
            self._db = duckdb.connect(str(path) if path else ":memory:")
            for setting in SETTINGS:
                self._db.execute(setting)
        with self._transaction():
            self._db.execute(
                f"CREATE TABLE IF NOT EXISTS {METERS} (id INTEGER PRIMARY KEY, name VARCHAR NOT NULL UNIQUE)"
            )
            self._convert()

    @property
    def url(self) -> str:
        """Address of the file."""
        return duckdb_url(self._path)

    def close(self) -> None:
        """Close the database; what was appended is on disk."""
        self._db.close()

    def checkpoint(self) -> None:
        """Write what the log holds into the file itself, where it is packed; DuckDB does so by itself, too."""
        with self._lock, self._in_words():
            self._db.execute("CHECKPOINT")

    def append(self, readings: Readings) -> LoadResult:
        """Load a batch in one transaction; repeats change nothing, readings of higher precedence replace.

        Raises
        ------
        StoreError
            The database can't take it, for want of room for instance; nothing of the batch is kept.
        """
        if len(readings) == 0:
            return LoadResult(0, 0, 0)
        batch = in_time_order(readings)
        minutes = batch.interval_minutes
        if int(batch.slot.max()) * minutes * 60 > _LAST_SECOND:
            raise StoreError(f"slot {int(batch.slot.max())} of {minutes} minutes lies after the year 9999")
        with self._transaction():
            table = self._table(batch.register, minutes)
            mark = self._mark(table, minutes)
            ids, given = self._ids(batch.meters)
            for each in {mark, *self._marks.values()}:
                each.begin(given)
            meter = ids[batch.meter]
            fresh = mark.fresh(meter, batch.slot)
            rows = {
                "meter": meter,
                "ts": starts_of(batch.slot, minutes).astype("datetime64[us]"),
                "wh": batch.wh,
                "quality": batch.quality,
                "revision": batch.revision,
            }
            replaced = changed = 0
            if not fresh.all():
                old = {name: column[~fresh] for name, column in rows.items()}
                changed, replaced = self._merge(table, pa.table(old), batch.slot[~fresh], minutes)
                rows = {name: column[fresh] for name, column in rows.items()}
            if len(rows["wh"]):
                with self._incoming(pa.table(rows)):
                    self._db.execute(f"INSERT INTO {table} SELECT meter, ts, wh, quality, revision, 1 FROM incoming")  # noqa: S608
        new = len(rows["wh"]) + changed - replaced
        mark.raise_to(meter, batch.slot, new)
        self._marks[table] = mark
        return LoadResult(new, replaced, len(readings) - new - replaced)

    def _merge(self, table: str, rows: pa.Table, slots: NDArray[np.int64], minutes: int) -> tuple[int, int]:
        """Load readings that may be there already; returns how many were written, and how many of them replaced."""
        first, last = literal(int(slots.min()), minutes), literal(int(slots.max()), minutes)
        with self._incoming(rows):
            # Kept as a table of its own, since the delete below changes what the join would see.
            self._db.execute(
                f"""CREATE OR REPLACE TEMP TABLE changes AS
                SELECT i.*, t.ts IS NOT NULL AS replaces FROM incoming i
                LEFT JOIN (SELECT * FROM {table} WHERE ts BETWEEN {first} AND {last}) t USING (meter, ts)
                WHERE t.ts IS NULL OR (i.revision, i.quality, i.wh) > (t.revision, t.quality, t.wh)"""  # noqa: S608
            )
        written = self._count("SELECT count(*) FROM changes")
        replaced = self._count("SELECT count(*) FROM changes WHERE replaces") if written else 0
        if replaced:
            self._db.execute(
                f"""DELETE FROM {table} t USING changes c
                WHERE c.replaces AND t.meter = c.meter AND t.ts = c.ts AND t.ts BETWEEN {first} AND {last}"""  # noqa: S608
            )
        if written:
            self._db.execute(f"INSERT INTO {table} SELECT meter, ts, wh, quality, revision, 1 FROM changes")  # noqa: S608
        return written, replaced

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
        within = " OR ".join(
            f"ts BETWEEN {literal(first, interval_minutes)} AND {literal(last, interval_minutes)}"
            for first, last in runs(slots)
        )
        with self._reading() as db:
            if not self._exists(db, table):
                return as_block(Found.nothing(), np.empty(0, dtype=object), slots, meters)
            db.execute("BEGIN")  # so that names and readings are of one moment
            layout = Layout(self._names(db), slots, meters)
            rows = db.sql(f"SELECT meter, ts, wh, quality FROM {table} WHERE {within}")  # noqa: S608
            for part in rows.to_arrow_reader(_PART_ROWS):
                meter, ts, wh, quality = (column.to_numpy() for column in part.columns)
                layout.add(Found(meter, slots_of(ts, interval_minutes), wh, quality))
        return layout.block()

    def totals(
        self, interval_minutes: int, register: Register = Register.IMPORT
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Energy of all meters together, by slot in ascending order. [Wh]"""
        table = readings_table(register, interval_minutes)
        with self._reading() as db:
            if not self._exists(db, table):
                return np.empty(0, np.int64), np.empty(0, np.int64)
            query = f"SELECT ts, CAST(sum(wh) AS BIGINT) AS wh FROM {table} GROUP BY ts ORDER BY ts"  # noqa: S608
            found = db.execute(query).fetchnumpy()
        return slots_of(found["ts"], interval_minutes), np.asarray(found["wh"])

    def meter_ids(self, names: NDArray[np.object_]) -> NDArray[np.int32]:
        """Numbers of meters in the tables; a new name gets the next number."""
        with self._transaction():
            ids, given = self._ids(names)
            for each in self._marks.values():
                each.begin(given)
            return ids

    def query(self, sql: str) -> pa.Table:
        """Answer a SELECT. See `speed.stores.SpeedStore.query`."""
        with self._reading() as db:
            statements = db.extract_statements(sql)
            kinds = [statement.type for statement in statements]
            if kinds not in ([duckdb.StatementType.SELECT], [duckdb.StatementType.EXPLAIN]):
                raise StoreError(f"speed store: expected one SELECT, got {len(kinds)} statements or another kind")
            # Parsed and planned once, unlike by sql(); that rows are copied, of which DuckDB warns, costs less.
            return plain(db.execute(statements[0]).to_arrow_table())

    def execute(self, sql: str) -> None:
        """Run a statement without an answer: CREATE VIEW, DROP, DELETE, UPDATE."""
        with self._transaction():
            self._db.execute(sql)

    def create(
        self,
        table: str,
        columns: Mapping[str, str],
        *,
        shard_key: str | None = None,
        sort_column: str | None = None,
        fragment_size: int | None = None,
    ) -> None:
        """Make a table unless it is there; the last three are HeavyDB's. See `speed.stores.SpeedStore.create`."""
        of = ", ".join(f"{checked_name(name)} {duckdb_type(kind)}" for name, kind in columns.items())
        self.execute(f"CREATE TABLE IF NOT EXISTS {checked_name(table)} ({of})")

    def load(self, table: str, rows: pa.Table) -> None:
        """Append rows as they are, all or none."""
        self._write(table, rows)

    def replace(self, table: str, rows: pa.Table, where: str) -> None:
        """Delete the rows for which ``where`` holds and load ``rows``, in one transaction."""
        self._write(table, rows, where)

    def _write(self, table: str, rows: pa.Table, where: str | None = None) -> None:
        with self._transaction(), self._incoming(rows):
            described = self._db.execute(f"DESCRIBE {checked_name(table)}").fetchall()
            have, want = sorted(rows.column_names), sorted(column[0] for column in described)
            if have != want:
                raise StoreError(f"rows for table {table} have the columns {have}, expected {want}")
            if where is not None:
                self._db.execute(f"DELETE FROM {table} WHERE {where}")  # noqa: S608
            self._db.execute(f"INSERT INTO {table} BY NAME SELECT * FROM incoming")  # noqa: S608

    # --- within ---------------------------------------------------------------------------------

    def _count(self, query: str) -> int:
        return int(self._db.execute(query).fetchall()[0][0])

    def _table(self, register: Register, interval_minutes: int) -> str:
        """Name of the table for a register at an interval, made with its view when new."""
        table = readings_table(register, interval_minutes)
        if not self._exists(self._db, table):
            columns = ", ".join(f"{name} {duckdb_type(kind)} NOT NULL" for name, kind in READING_COLUMNS.items())
            self._db.execute(f"CREATE TABLE {table} ({columns})")
            view = readings_view(register, interval_minutes)
            self._db.execute(f"CREATE OR REPLACE VIEW {view} AS {view_sql(register, interval_minutes)}")
        return table

    def _mark(self, table: str, interval_minutes: int) -> HighWater:
        """How far the table's readings go; made anew when anybody else wrote it."""
        rows = self._count(f"SELECT count(*) FROM {table}")  # noqa: S608
        mark = self._marks.get(table)
        if mark is None or mark.rows != rows:
            newest = self._db.execute(f"SELECT max(ts) AS ts FROM {table}").fetchnumpy()["ts"]  # noqa: S608
            latest = int(slots_of(newest, interval_minutes)[0]) if rows else -1
            mark = HighWater(rows, latest)
        return mark

    @staticmethod
    def _names(db: duckdb.DuckDBPyConnection) -> NDArray[np.object_]:
        """Meter names by number."""
        return np.asarray(db.execute(f"SELECT name FROM {METERS} ORDER BY id").fetchnumpy()["name"], dtype=object)  # noqa: S608

    def _ids(self, meters: NDArray[np.object_]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Numbers of meters, and which of them are new."""
        known = {name: n for n, name in enumerate(self._names(self._db).tolist())}
        new = list(dict.fromkeys(name for name in meters if name not in known))
        if new:
            ids = range(len(known), len(known) + len(new))
            with self._incoming(pa.table({"id": pa.array(ids, pa.int32()), "name": pa.array(new)})):
                self._db.execute(f"INSERT INTO {METERS} SELECT id, name FROM incoming")  # noqa: S608
            known |= dict(zip(new, ids, strict=True))
        given = np.arange(len(known) - len(new), len(known), dtype=np.int32)
        return np.array([known[name] for name in meters], dtype=np.int32), given

    @staticmethod
    def _exists(db: duckdb.DuckDBPyConnection, table: str) -> bool:
        return bool(db.execute("SELECT 1 FROM duckdb_tables() WHERE table_name = ?", [table]).fetchall())

    def _convert(self) -> None:
        """Bring tables of the layout that had the number of an interval in place of its start to today's."""
        query = "SELECT table_name FROM duckdb_columns() WHERE table_name LIKE 'readings_%' AND column_name = 'slot'"
        for (table,) in self._db.execute(query).fetchall():
            _, register, interval = table.split("_")
            self._db.execute(f"DROP VIEW IF EXISTS {register}_{interval}")
            self._db.execute(f"ALTER TABLE {table} RENAME TO old_{table}")
            self._table(Register(register), int(interval))
            self._db.execute(
                f"""INSERT INTO {table} SELECT meter, make_timestamp(slot * {int(interval) * 60_000_000}), wh,
                quality, revision, 1 FROM old_{table}"""  # noqa: S608
            )
            self._db.execute(f"DROP TABLE old_{table}")

    @contextlib.contextmanager
    def _incoming(self, rows: pa.Table) -> Iterator[None]:
        """Show rows to SQL as ``incoming``."""
        self._db.register("incoming", rows)
        try:
            yield
        finally:
            self._db.unregister("incoming")

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        """Everything in the block is kept, or nothing."""
        with self._lock, self._in_words():
            self._db.execute("BEGIN")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(duckdb.Error):  # a fatal error has rolled back, and refuses all after it
                    self._db.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def _reading(self) -> Iterator[Any]:
        """A connection to read by: it sees what was kept when its statement began, whatever is being loaded."""
        with self._in_words():
            db = self._db.cursor()
            try:
                for setting in SETTINGS:
                    db.execute(setting)
                yield db
            finally:
                db.close()

    @contextlib.contextmanager
    def _in_words(self) -> Iterator[None]:
        try:
            yield
        except duckdb.Error as failed:
            raise StoreError(f"speed store {self._path or 'in memory'}: {failed}") from failed
