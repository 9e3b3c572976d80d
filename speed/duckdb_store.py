"""The embedded speed store: recent readings in DuckDB, one row a reading, never a duplicate.

A reading that repeats is dropped at load and one that outranks another replaces it, so queries are plain
sums. The views ``import_5`` and so on show a register at an interval with names and times, for SQL.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from domain.certification import LoadBlock
from domain.errors import StoreError
from domain.intervals import check_interval
from domain.plans import EventPlan
from domain.readings import MISSING, Quality, Readings, Register


@dataclass(frozen=True)
class LoadResult:
    """Rows that a load brought: ``new`` slots, ``replaced`` readings, ``unchanged`` repeats."""

    new: int
    replaced: int
    unchanged: int


class DuckDBStore:
    """Recent readings in a DuckDB file, or in memory.

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
        self._path = path
        try:
            self._db = duckdb.connect(str(path) if path else ":memory:")
        except duckdb.Error as failed:
            raise StoreError(f"speed store {path}: {failed}") from failed
        self._db.execute("CREATE TABLE IF NOT EXISTS meters (id INTEGER PRIMARY KEY, name VARCHAR NOT NULL UNIQUE)")
        self._db.execute("SET TimeZone = 'UTC'")

    def close(self) -> None:
        """Close the database; what was appended is on disk."""
        self._db.close()

    def append(self, readings: Readings) -> LoadResult:
        """Load a batch in one transaction; repeats change nothing, readings of higher precedence replace.

        Raises
        ------
        StoreError
            The database can't take it, for want of room for instance; nothing of the batch is kept.
        """
        if len(readings) == 0:
            return LoadResult(0, 0, 0)
        given, batch = len(readings), readings.winners()
        bounds = [int(batch.slot.min()), int(batch.slot.max())]
        self._db.execute("BEGIN")
        try:
            table = self._table(batch.register, batch.interval_minutes)
            incoming = pa.table(
                {
                    "meter": self._meter_ids(batch.meters)[batch.meter],
                    "slot": batch.slot,
                    "wh": batch.wh,
                    "quality": batch.quality,
                    "revision": batch.revision,
                }
            )
            self._db.register("incoming", incoming)
            stored = self._count(f"SELECT count(*) FROM {table} WHERE slot BETWEEN ? AND ?", bounds)  # noqa: S608
            replaced, fresh = 0, "incoming"
            if stored:
                # Kept as a table of its own, since the delete below changes what the join would see.
                self._db.execute(
                    f"""CREATE OR REPLACE TEMP TABLE changes AS
                    SELECT i.*, t.slot IS NOT NULL AS replaces FROM incoming i
                    LEFT JOIN (SELECT * FROM {table} WHERE slot BETWEEN ? AND ?) t USING (meter, slot)
                    WHERE t.slot IS NULL
                       OR (i.revision, i.quality, i.wh) > (t.revision, t.quality, t.wh)""",  # noqa: S608
                    bounds,
                )
                replaced = self._count("SELECT count(*) FROM changes WHERE replaces", [])
                if replaced:
                    self._db.execute(
                        f"""DELETE FROM {table} t USING changes c
                        WHERE c.replaces AND t.meter = c.meter AND t.slot = c.slot
                          AND t.slot BETWEEN ? AND ?""",  # noqa: S608
                        bounds,
                    )
                fresh = "changes"
            written = self._count(f"SELECT count(*) FROM {fresh}", [])  # noqa: S608
            self._db.execute(f"INSERT INTO {table} SELECT meter, slot, wh, quality, revision FROM {fresh}")  # noqa: S608
            self._db.execute("COMMIT")
        except BaseException as failed:
            with contextlib.suppress(duckdb.Error):  # a fatal error has rolled back, and refuses everything after it
                self._db.execute("ROLLBACK")
            if isinstance(failed, duckdb.Error):
                raise StoreError(f"speed store {self._path or 'in memory'}: {failed}") from failed
            raise
        finally:
            self._db.unregister("incoming")
        return LoadResult(written - replaced, replaced, given - written)

    def read_plan(self, plan: EventPlan, meters: NDArray[np.object_] | None = None) -> LoadBlock:
        """The readings that certify an event.

        Parameters
        ----------
        plan : EventPlan
        meters : ndarray of str objects, optional
            The participants; a meter without readings gets a block of MISSING. Default: all meters that have
            readings at the plan's slots.
        """
        return self.read_slots(plan.slots, plan.interval_minutes, meters)

    def read_slots(
        self,
        slots: NDArray[np.int64],
        interval_minutes: int,
        meters: NDArray[np.object_] | None = None,
        register: Register = Register.IMPORT,
    ) -> LoadBlock:
        """Readings at ``slots`` (rows, intervals). See `read_plan`."""
        table = self._table(register, interval_minutes)
        wanted = np.unique(slots)
        edges = np.flatnonzero(np.diff(wanted) != 1)
        firsts, lasts = wanted[np.append(0, edges + 1)], wanted[np.append(edges, len(wanted) - 1)]
        ranges = " OR ".join(["slot BETWEEN ? AND ?"] * len(firsts))
        bounds = np.stack([firsts, lasts], axis=1).reshape(-1).tolist()
        rows = self._db.execute(f"SELECT meter, slot, wh, quality FROM {table} WHERE {ranges}", bounds)  # noqa: S608
        found = rows.fetchnumpy()
        names = self._names()
        if meters is None:
            meters = names[np.unique(found["meter"])]
        meters = np.array(sorted(set(meters)), dtype=object)
        place = {name: n for n, name in enumerate(meters)}
        column_of = np.array([place.get(name, -1) for name in names], dtype=np.int64)
        at = column_of[found["meter"]] if len(names) else np.empty(0, dtype=np.int64)
        known = at >= 0
        # Dense over the distinct slots first: two rows of the plan may share a slot.
        position = np.searchsorted(wanted, found["slot"][known])
        wh = np.full((len(meters), len(wanted)), MISSING, dtype=np.int32)
        wh[at[known], position] = found["wh"][known]
        picks = np.searchsorted(wanted, slots)
        estimated = None
        guesses = known & (found["quality"] == int(Quality.ESTIMATED))
        if guesses.any():
            flags = np.zeros(wh.shape, dtype=bool)
            flags[at[guesses], np.searchsorted(wanted, found["slot"][guesses])] = True
            estimated = flags[:, picks]
        return LoadBlock(meters, wh[:, picks], estimated)

    def totals(
        self, interval_minutes: int, register: Register = Register.IMPORT
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Energy of all meters together, by slot in ascending order. [Wh]"""
        table = self._table(register, interval_minutes)
        query = f"SELECT slot, CAST(sum(wh) AS BIGINT) AS wh FROM {table} GROUP BY slot ORDER BY slot"  # noqa: S608
        found = self._db.execute(query).fetchnumpy()
        return np.asarray(found["slot"]), np.asarray(found["wh"])

    def _count(self, query: str, parameters: list[int]) -> int:
        row = self._db.execute(query, parameters).fetchone()
        assert row is not None  # noqa: S101  an aggregate always returns a row
        return int(row[0])

    def _table(self, register: Register, interval_minutes: int) -> str:
        """Name of the table for a register at an interval, made with its view when new."""
        view = f"{register.value}_{check_interval(interval_minutes)}"
        table = f"readings_{view}"
        self._db.execute(
            f"""CREATE TABLE IF NOT EXISTS {table} (meter INTEGER NOT NULL, slot BIGINT NOT NULL,
            wh INTEGER NOT NULL, quality TINYINT NOT NULL, revision SMALLINT NOT NULL)"""
        )
        self._db.execute(
            f"""CREATE VIEW IF NOT EXISTS {view} AS
            SELECT name AS meter, to_timestamp(slot * {interval_minutes * 60}) AS interval_start, wh,
                   CASE quality WHEN {int(Quality.ACTUAL)} THEN 'actual' ELSE 'estimated' END AS quality, revision
            FROM {table} JOIN meters ON meter = id"""  # noqa: S608
        )
        return table

    def _names(self) -> NDArray[np.object_]:
        """Meter names by id."""
        rows = self._db.execute("SELECT name FROM meters ORDER BY id").fetchall()
        return np.array([name for (name,) in rows], dtype=object)

    def _meter_ids(self, meters: NDArray[np.object_]) -> NDArray[np.int32]:
        known = {name: n for n, name in enumerate(self._names())}
        new = [name for name in meters if name not in known]
        if new:
            ids = range(len(known), len(known) + len(new))
            self._db.register("new_meters", pa.table({"id": pa.array(ids, pa.int32()), "name": pa.array(new)}))
            self._db.execute("INSERT INTO meters SELECT id, name FROM new_meters")
            self._db.unregister("new_meters")
            known |= dict(zip(new, ids, strict=True))
        return np.array([known[name] for name in meters], dtype=np.int32)
