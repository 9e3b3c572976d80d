"""Readings into and out of an HBase on this machine: how many a second, in which form, and who spends the time.

The live path is one interval of many meters at a time, with and without counting what is new; the backfill is whole
days. Beside them a cell for each reading, which is what one would write first. CPU times are by process: ours is the
client's, the others are of HBase and of its Thrift server. Data are those of `benchmarks.homes`.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from batch.hbase_cells import PLAIN
from batch.hbase_client import Cell, HBaseClient
from batch.hbase_keys import Series, meter_key
from batch.hbase_store import HBaseStore
from batch.hbase_tables import ColumnDescriptor, TableOptions
from batch.parquet_store import ParquetStore, bucket_of
from batch.wide import NONE, WideDays
from benchmarks.homes import FIRST_DAY, INTERVAL_MINUTES, PER_DAY, Fleet, wide_days
from benchmarks.isolation import cpu_seconds, isolated
from benchmarks.results import Row
from domain.readings import Quality, Readings, Register
from infra.hbase_server import HBaseServer

LIVE_LIMIT, BACKFILL_LIMIT = 60_000.0, 2_000_000.0
LIVE_METERS, LIVE_INTERVALS = 10_000, 36
BACKFILL_METERS, BACKFILL_DAYS = 10_000, 10
SINGLE_METERS, SINGLE_INTERVALS = 5_000, 12
SCANNED_BUCKETS = 4
CELLS = "single_cells"

_SERIES = Series(Register.IMPORT, INTERVAL_MINUTES)


@dataclass(frozen=True)
class Share:
    """Readings, and the time that they took: of the clock, and of each process' CPU. [s]"""

    readings: int
    seconds: float
    client_cpu: float
    hbase_cpu: float
    thrift_cpu: float

    @property
    def per_second(self) -> float:
        """Readings a second."""
        return self.readings / self.seconds


@dataclass(frozen=True)
class HBaseRates:
    """What `measure` found.

    Attributes
    ----------
    live, live_uncounted : Share
        One interval of all meters at a time, by ``append`` and by ``write``.
    backfill, again : Share
        Whole days by ``append``; and the same once more, which changes nothing.
    load : Share
        Whole days by ``load_bucket``, which compares nothing.
    single : Share
        A cell a reading.
    fold : Share
        Compaction of the live path's arrivals.
    scan, scan_single : Share
        Packed days, and single cells, out again.
    bytes_each : dict of str to float
        On disk, a reading, by form. [bytes]
    """

    live: Share
    live_uncounted: Share
    backfill: Share
    again: Share
    load: Share
    single: Share
    fold: Share
    scan: Share
    scan_single: Share
    bytes_each: dict[str, float]


def measure(folder: Path) -> HBaseRates:
    """Start an HBase, fill it in every way, read it, stop it and weigh its files; then the same days in Parquet."""
    server = HBaseServer.create(folder / "hbase")
    try:
        server.up()
        shares, counts = isolated(_in_and_out, server.folder)
        sizes = _weigh_all(server, list(counts))
        counts["parquet"], sizes["parquet"] = isolated(_in_parquet, folder / "parquet")
    finally:
        server.kill()
        shutil.rmtree(folder, ignore_errors=True)
    names = {"gz.readings": "packed-gz", "none.readings": "packed", CELLS: "single", "parquet": "parquet"}
    return HBaseRates(**shares, bytes_each={names[table]: sizes[table] / counts[table] for table in names})


def rows(rates: HBaseRates) -> list[Row]:
    """What `measure` found, beside its limits and beside the plain way."""
    live, backfill = "live_readings_per_s", "backfill_readings_per_s"
    single, scan = "single_cell_readings_per_s", "scan_readings_per_s"
    whole_days = rates.backfill.per_second
    found = [
        Row(live, rates.live.per_second, "readings/s", "limit", LIVE_LIMIT, "higher"),
        Row(f"{live} counted=no", rates.live_uncounted.per_second, "readings/s", "limit", LIVE_LIMIT, "higher"),
        Row(backfill, whole_days, "readings/s", "limit", BACKFILL_LIMIT, "higher"),
        Row(f"{backfill} again=yes", rates.again.per_second, "readings/s", backfill, whole_days, "higher"),
        Row(f"{backfill} counted=no", rates.load.per_second, "readings/s", "limit", BACKFILL_LIMIT, "higher"),
        Row(single, rates.single.per_second, "readings/s", backfill, whole_days, "higher"),
        Row("fold_readings_per_s", rates.fold.per_second, "readings/s", live, rates.live.per_second, "higher"),
        Row(scan, rates.scan.per_second, "readings/s", f"{scan} form=single", rates.scan_single.per_second, "higher"),
    ]  # fmt: skip
    parts = {"live": rates.live, "live_uncounted": rates.live_uncounted, "backfill": rates.backfill,
             "load": rates.load, "single_cell": rates.single, "scan": rates.scan}  # fmt: skip
    for name, share in parts.items():
        million = share.readings / 1e6
        server, cpu = (share.hbase_cpu + share.thrift_cpu) / million, "cpu_s_per_million"
        found.append(Row(f"{name}_client_{cpu}", share.client_cpu / million, "s", f"{name}_server_{cpu}", server))
    parquet = rates.bytes_each["parquet"]
    each = "bytes_per_reading form="
    for form, size in rates.bytes_each.items():
        if form != "parquet":
            found.append(Row(f"{each}{form}", size, "bytes", f"{each}parquet", parquet))
    return found


def an_interval(names: np.ndarray, slot: int, wh: np.ndarray) -> Readings:
    """One reading of each meter."""
    n = len(names)
    return Readings(
        INTERVAL_MINUTES,
        Register.IMPORT,
        names,
        np.arange(n, dtype=np.int32),
        np.full(n, slot, dtype=np.int64),
        wh,
        np.full(n, Quality.ACTUAL, dtype=np.int8),
        np.zeros(n, dtype=np.int16),
    )


def as_readings(parts: list[WideDays]) -> Readings:
    """Wide meter-days as a file's importer would give them."""
    wide = WideDays(*(np.concatenate([getattr(p, name) for p in parts]) for name in ("meters", "day", "stamp")))
    names, codes = np.unique(wide.meters.astype(str), return_inverse=True)
    row, slot = np.nonzero(wide.stamp != NONE)
    wh = wide.stamp[row, slot].astype(np.int32)
    slots = wide.day[row].astype(np.int64) * PER_DAY + slot
    full, first = np.full(len(row), Quality.ACTUAL, dtype=np.int8), np.zeros(len(row), dtype=np.int16)
    meter = codes[row].astype(np.int32)
    return Readings(INTERVAL_MINUTES, Register.IMPORT, names.astype(object), meter, slots, wh, full, first)


def _in_and_out(folder: Path) -> tuple[dict[str, Share], dict[str, int]]:
    server = HBaseServer.load(folder)
    pids = [program.pid for program in server.programs]
    random = np.random.default_rng(1)
    shares: dict[str, Share] = {}

    def timed(name: str, readings: int, run: Callable[[], object]) -> None:
        before, own, began = [cpu_seconds(pid) for pid in pids], time.process_time(), time.perf_counter()
        run()
        seconds, ours = time.perf_counter() - began, time.process_time() - own
        shares[name] = Share(
            readings, seconds, ours, *(cpu_seconds(p) - b for p, b in zip(pids, before, strict=True))
        )

    live = HBaseStore(f"{server.url}/live")
    names = np.array([f"home-{n:07d}" for n in range(LIVE_METERS)], dtype=object)
    wh = random.integers(0, 400, (LIVE_INTERVALS, LIVE_METERS), dtype=np.int32)
    days = {"warm": FIRST_DAY, "live": FIRST_DAY + 1, "live_uncounted": FIRST_DAY + 2}
    sent = {
        kind: [an_interval(names, day * PER_DAY + n, wh[n]) for n in range(LIVE_INTERVALS)]
        for kind, day in days.items()
    }
    for interval in sent["warm"]:
        live.append([interval])
    size = LIVE_INTERVALS * LIVE_METERS
    timed("live", size, lambda: [live.append([interval]) for interval in sent["live"]])
    timed("live_uncounted", size, lambda: [live.write([interval]) for interval in sent["live_uncounted"]])
    timed("fold", size, lambda: live.compact(FIRST_DAY + 1))
    _require(live, FIRST_DAY + 1, int(wh.sum()))
    live.close()

    fleet = Fleet(BACKFILL_METERS, 16)
    meters = fleet.meters()
    wide = [_first_days(fleet, bucket, meters[bucket], BACKFILL_DAYS) for bucket in range(fleet.buckets)]
    readings = as_readings([part for parts in wide for part in parts])
    counts = {"gz.readings": len(readings), "none.readings": len(readings)}
    packed = HBaseStore(f"{server.url}/gz")
    timed("backfill", len(readings), lambda: packed.append([readings]))
    timed("again", len(readings), lambda: packed.append([readings]))
    loaded = HBaseStore(f"{server.url}/none", options=TableOptions(compression="NONE"))
    timed(
        "load",
        len(readings),
        lambda: [loaded.load_bucket(b, INTERVAL_MINUTES, parts) for b, parts in enumerate(wide)],
    )
    slots = np.arange(FIRST_DAY * PER_DAY, (FIRST_DAY + BACKFILL_DAYS) * PER_DAY)[None]
    share = sum(int((p.stamp != NONE).sum()) for parts in wide[:SCANNED_BUCKETS] for p in parts)
    found: list[int] = []

    def scan() -> None:
        for bucket in range(SCANNED_BUCKETS):
            block = packed.read_slots(slots, INTERVAL_MINUTES, bucket)
            found.append(int((block.wh >= 0).sum()))

    timed("scan", share, scan)
    if sum(found) != share:
        raise AssertionError(f"{sum(found):,} readings came out of HBase, {share:,} went in")
    packed.close()
    loaded.close()
    counts[CELLS] = _single(live.client, timed)
    return shares, counts


def _single(client: HBaseClient, timed: Callable[[str, int, Callable[[], object]], None]) -> int:
    """A cell for each reading, in rows of meter-days, in and out."""
    family = ColumnDescriptor(name=b"d:", maxVersions=1, bloomFilterType="ROW", blockCacheEnabled=True)
    client.create_table(CELLS, [family])
    meters = [f"home-{n:07d}" for n in range(SINGLE_METERS)]
    keys = [meter_key(bucket_of(meter, 16), _SERIES, FIRST_DAY, meter.encode()) for meter in meters]
    values = (PLAIN + np.random.default_rng(2).integers(0, 400, (SINGLE_INTERVALS, SINGLE_METERS))).astype(">i8")

    def put(slots: range) -> None:
        for slot in slots:
            column = b"d:%03d" % slot
            client.write(
                CELLS,
                [
                    Cell(key, column, value.tobytes())
                    for key, value in zip(keys, values[slot % SINGLE_INTERVALS], strict=True)
                ],
            )

    put(range(SINGLE_INTERVALS))
    timed("single", SINGLE_INTERVALS * SINGLE_METERS, lambda: put(range(SINGLE_INTERVALS, 2 * SINGLE_INTERVALS)))
    written = 2 * SINGLE_INTERVALS * SINGLE_METERS

    def scan() -> None:
        found = client.scan(CELLS, b"", b"", [b"d"])
        numbers = [int.from_bytes(cell.value, "big") for row in found for cell in row.columns.values()]
        if len(numbers) != written:
            raise AssertionError(f"{len(numbers):,} cells came out of HBase, {written:,} went in")

    timed("scan_single", written, scan)
    return written


def _first_days(fleet: Fleet, bucket: int, meters: np.ndarray, days: int) -> list[WideDays]:
    """A bucket's first days: the fleet's parts are of many."""
    found = []
    for part in wide_days(fleet, bucket, meters):
        found.append(part.take(part.day < FIRST_DAY + days))
        if part.day[-1] >= FIRST_DAY + days - 1:
            break
    return [part for part in found if len(part)]


def _require(store: HBaseStore, day: int, wh: int) -> None:
    slots = np.arange(day * PER_DAY, (day + 1) * PER_DAY)[None]
    found = 0
    for bucket in range(store.buckets):
        block = store.read_slots(slots, INTERVAL_MINUTES, bucket)
        found += int(block.wh[block.wh >= 0].sum())
    if found != wh:
        raise AssertionError(f"{found:,} Wh came out of HBase, {wh:,} went in")


def _in_parquet(folder: Path) -> tuple[int, int]:
    """Readings and bytes of the same days in Parquet."""
    fleet = Fleet(BACKFILL_METERS, 16)
    store, readings = ParquetStore(folder, buckets=fleet.buckets), 0
    for bucket, meters in enumerate(fleet.meters()):
        parts = _first_days(fleet, bucket, meters, BACKFILL_DAYS)
        store.load_bucket(bucket, INTERVAL_MINUTES, parts)
        readings += sum(int((part.stamp != NONE).sum()) for part in parts)
    return readings, sum(path.stat().st_size for path in folder.rglob("*.parquet"))


def _weigh_all(server: HBaseServer, tables: list[str]) -> dict[str, int]:
    """Bytes of tables, in files once the server is down.

    One that loses its ZooKeeper while it stops leaves the newest writes in its log, and puts them into files when it
    comes up again.
    """
    for _ in range(3):
        server.down()
        sizes = {name: _weigh(server.folder / "data" / "data" / "default", name) for name in tables}
        if all(sizes.values()):
            return sizes
        server.up()
    raise AssertionError(f"HBase keeps its tables' readings in its log: {sizes}")


def _weigh(tables: Path, name: str) -> int:
    """Bytes of a table's files."""
    files = [path for family in ("d", "a") for path in (tables / name).glob(f"*/{family}/*")]
    return sum(path.stat().st_size for path in files if path.is_file() and not path.name.endswith(".crc"))
