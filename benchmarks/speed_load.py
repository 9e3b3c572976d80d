"""The benchmark ``speed_load``: readings into the speed store, in DuckDB and over HeavyDB's protocol.

Batches of a million five-minute readings come in order of time, as a bus brings them; then the same again, which may
change nothing, and a batch of corrections. What is in the store is counted and summed at the end. The HeavyDB is the
stand-in on this machine, which shares its cores with its client; ``HEAVYDB_URL`` names a real one, whose readings are
deleted.
"""

from __future__ import annotations

import os
import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.isolation import isolated, resident_bytes
from benchmarks.options import Options
from benchmarks.results import Row
from domain.errors import NegawattError
from domain.readings import Quality, Readings, Register
from speed.duckdb_store import DuckDBStore
from speed.heavydb_store import HeavyDBStore
from speed.heavydb_url import HeavyDBAddress
from speed.stores import SpeedStore
from speed.tables import READING_COLUMNS, row_bytes

HOMES = 10_000
SLOTS = 100
"""Of a batch: 10,000 homes at 100 intervals are a million readings."""
BATCHES = 12
MINUTES = 5
FIRST = 5_800_000

DUCKDB_LIMIT, HEAVYDB_LIMIT = 1_000_000, 500_000
"""Readings a second."""
KEPT_ROWS = 90 * 288 * HOMES
KEPT_BYTES = 8 * 2**30
"""Ninety days of 10,000 homes every five minutes are to take so much at most."""


@dataclass(frozen=True)
class Loaded:
    """What a run measured.

    Attributes
    ----------
    fresh, again, corrected : float
        Readings a second: median over batches, without the first.
    disk_bytes : int
        Of all that was loaded fresh; 0 where it isn't known.
    resident : int
        What the process grew by. [bytes]
    """

    fresh: float
    again: float
    corrected: float
    disk_bytes: int
    resident: int


def run(options: Options) -> list[Row]:
    """Measure both stores."""
    folder = options.folder / "speed-load"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        options.say(f"{BATCHES} batches of {HOMES * SLOTS:,} readings into DuckDB")
        duckdb = isolated(load_duckdb, folder)
        options.say("the same into HeavyDB")
        heavydb = isolated(load_heavydb, folder)
    finally:
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)
    fresh_rows = BATCHES * HOMES * SLOTS
    per_row = KEPT_BYTES / KEPT_ROWS
    rows = [
        Row("duckdb_load_rows_per_s", duckdb.fresh, "1/s", "limit", DUCKDB_LIMIT, better="higher"),
        Row("heavydb_load_rows_per_s", heavydb.fresh, "1/s", "limit", HEAVYDB_LIMIT, better="higher"),
    ]
    for store, loaded in (("duckdb", duckdb), ("heavydb", heavydb)):
        for what, rate in (("again", loaded.again), ("corrections", loaded.corrected)):
            rows.append(
                Row(
                    f"{store}_load_rows_per_s {what}=yes",
                    rate,
                    "1/s",
                    f"{store}_load_rows_per_s",
                    loaded.fresh,
                    better="higher",
                )
            )
    rows += [
        Row("duckdb_disk_bytes_per_row", duckdb.disk_bytes / fresh_rows, "bytes", "limit", per_row),
        Row("duckdb_resident_bytes_per_row", duckdb.resident / fresh_rows, "bytes", "limit", per_row),
        Row("heavydb_declared_bytes_per_row", row_bytes(READING_COLUMNS), "bytes", "limit", per_row),
    ]
    return rows


def load_duckdb(folder: Path) -> Loaded:
    """Load a new DuckDB file."""
    path = folder / "speed.duckdb"
    with closing(DuckDBStore(path)) as store:
        return _load(store, lambda: path.stat().st_size)


def load_heavydb(folder: Path) -> Loaded:
    """Load a HeavyDB: the one of ``HEAVYDB_URL``, else a new stand-in."""
    with _a_server(folder / "heavydb") as url, closing(HeavyDBStore(HeavyDBAddress.parse(url))) as store:
        store.execute("DROP VIEW IF EXISTS import_5")
        store.execute("DROP TABLE IF EXISTS readings_import_5")
        return _load(store, lambda: 0)


@contextmanager
def _a_server(folder: Path) -> Iterator[str]:
    if given := os.environ.get("HEAVYDB_URL"):
        yield given
        return
    from infra.heavydb_server import HeavyDBServer  # noqa: PLC0415  its packages are not everywhere

    server = HeavyDBServer.create(folder)
    server.up()
    try:
        yield server.client_url
    finally:
        server.down()


def _load(store: SpeedStore, size: Callable[[], int]) -> Loaded:
    batches = [a_batch(number) for number in range(BATCHES)]
    before = resident_bytes(os.getpid())
    fresh = [_rate(store, batch, (HOMES * SLOTS, 0)) for batch in batches]
    if isinstance(store, DuckDBStore):
        store.checkpoint()
    disk, resident = size(), resident_bytes(os.getpid()) - before
    again = [_rate(store, batch, (0, 0)) for batch in batches[-4:]]
    better = [a_batch(number, revision=1) for number in range(BATCHES - 4, BATCHES)]
    corrected = [_rate(store, batch, (0, HOMES * SLOTS)) for batch in better]
    _require_sums(store, [*batches[:-4], *better])
    return Loaded(*(statistics.median(rates[1:]) for rates in (fresh, again, corrected)), disk, resident)


def a_batch(number: int, revision: int = 0) -> Readings:
    """A million readings of 100 intervals, in order of time; loads of some 200 Wh that hardly compress."""
    random = np.random.default_rng([number, revision])
    n = HOMES * SLOTS
    first = FIRST + number * SLOTS
    return Readings(
        MINUTES,
        Register.IMPORT,
        np.array([f"home-{home:05d}" for home in range(HOMES)], dtype=object),
        np.tile(np.arange(HOMES, dtype=np.int32), SLOTS),
        np.repeat(np.arange(first, first + SLOTS, dtype=np.int64), HOMES),
        random.gamma(2.0, 100.0, n).astype(np.int32),
        np.full(n, Quality.ACTUAL, dtype=np.int8),
        np.full(n, revision, dtype=np.int16),
    )


def _rate(store: SpeedStore, batch: Readings, expected: tuple[int, int]) -> float:
    began = time.perf_counter()
    done = store.append(batch)
    seconds = time.perf_counter() - began
    if (done.new, done.replaced) != expected:
        raise NegawattError(f"{store.url}: a batch brought {done}, expected {expected}")
    return len(batch) / seconds


def _require_sums(store: SpeedStore, batches: list[Readings]) -> None:
    found = store.query("SELECT SUM(n) AS n, SUM(wh) AS wh FROM readings_import_5").to_pylist()[0]
    expected = {"n": sum(map(len, batches)), "wh": sum(int(batch.wh.sum(dtype=np.int64)) for batch in batches)}
    if found != expected:
        raise NegawattError(f"{store.url} holds {found}, expected {expected}")
