"""The benchmark ``certify``: from stored readings to certified reductions, and on to the chain, at several sizes.

Every engine's answer is compared with ours, meter by meter and interval by interval, in the run that times it.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from benchmarks.certify_runs import (
    run_demo,
    time_chain,
    time_duckdb,
    time_duckdb_rows,
    time_java,
    time_local,
    time_pandas,
    time_pandas_rows,
    time_provisional,
    time_spark,
    write_row_file,
)
from benchmarks.homes import Fleet, load_fleet
from benchmarks.isolation import isolated
from benchmarks.options import Options
from benchmarks.results import Row
from domain.errors import NegawattError

SIZES = (100, 10_000, 100_000, 1_000_000)

SPARK_LIMITS_S = {100: 1.0, 10_000: 2.0, 100_000: 5.0, 1_000_000: 45.0}
PROVISIONAL_LIMIT_S = 0.3
RECEIPT_LIMIT_S = 1.0
DEMO_LIMIT_S = 60.0
MEMORY_LIMIT_GIB = 4.0
LOAD_LIMIT_READINGS_PER_S = 1_000_000 * 60 * 288 / 300
"""A million homes' history in five minutes."""

SMALL, MEDIUM = 100, 10_000
"""Up to SMALL homes the demonstration's own parts are measured too; up to MEDIUM all peers are."""

_ROW_FILE_BYTES_PER_READING = 3
_COMPLETE = "complete"


def run(options: Options) -> list[Row]:
    """Measure every size, smallest first."""
    rows: list[Row] = []
    sessions: list[float] = []
    fleets = {options.folder / f"certify-{homes}": Fleet.of(homes) for homes in sorted(options.homes)}
    for folder, fleet in fleets.items():  # before anything is measured
        if not _is_complete(folder):
            _check_space(options.folder, fleet)
    for folder, fleet in fleets.items():
        try:
            rows += _at_size(options, folder, fleet, sessions)
        finally:
            if not options.keep:
                shutil.rmtree(folder, ignore_errors=True)
    java = isolated(time_java, options.repeats)
    rows.append(Row("spark_session_s", min(sessions), "s", "java -version", java))
    return rows


def _at_size(options: Options, folder: Path, fleet: Fleet, sessions: list[float]) -> list[Row]:
    homes, repeats = fleet.homes, options.repeats
    at = f"homes={homes}"

    def say(what: str) -> None:
        options.say(f"{at}: {what}")

    store, answer = folder / "store", folder / "answer.npz"
    say(f"make {fleet.readings:,} readings")
    loading = _load(store, fleet)
    rows = []

    say("Spark")
    spark = isolated(time_spark, store, answer, repeats)
    sessions.append(spark.session)
    warm, versus = spark.certify.warm, (f"spark_warm_s {at}", spark.certify.warm)
    limit = SPARK_LIMITS_S.get(homes)
    say("one process without Spark")
    local = isolated(time_local, store, answer, repeats)
    rows.append(Row(f"spark_warm_s {at}", warm, "s", *(("limit", limit) if limit else (f"local_s {at}", local.warm))))
    rows += [
        Row(f"spark_first_s {at}", spark.certify.first, "s", *versus),
        Row(f"spark_named_s {at}", spark.named.warm, "s", *versus),
        Row(f"local_s {at}", local.warm, "s", *versus),
        Row(f"peak_memory_gib {at}", spark.peak_gib, "GiB", "limit", MEMORY_LIMIT_GIB),
    ]

    say("DuckDB, wide files")
    rows.append(Row(f"duckdb_sql_s {at}", isolated(time_duckdb, store, answer, repeats).warm, "s", *versus))
    if homes <= MEDIUM:
        say("pandas, wide files")
        rows.append(Row(f"pandas_s {at}", isolated(time_pandas, store, answer, repeats).warm, "s", *versus))
        say("write a row a reading")
        file = folder / "rows.parquet"
        writing = isolated(write_row_file, store, file)
        say("DuckDB and pandas, a row a reading")
        for name, peer in (("duckdb_sql_rows_s", time_duckdb_rows), ("pandas_rows_s", time_pandas_rows)):
            rows.append(Row(f"{name} {at}", isolated(peer, file, answer, repeats).warm, "s", *versus))
        size = file.stat().st_size / fleet.readings
        rows.append(Row(f"row_file_bytes_per_reading {at}", size, "B", "store", _store_bytes(store) / fleet.readings))
        if writing and loading:
            rows.append(Row(f"load_s {at}", loading, "s", f"row_file_s {at}", writing))
    elif loading:
        rate = fleet.readings / loading
        rows.append(
            Row(f"load_readings_per_s {at}", rate, "1/s", "limit", LOAD_LIMIT_READINGS_PER_S, better="higher")
        )
    rows.append(
        Row(f"store_bytes_per_reading {at}", _store_bytes(store) / fleet.readings, "B", "4-byte integer", 4.0)
    )
    if homes <= SMALL:
        rows += _small(options, store, at, versus)
    return rows


def _small(options: Options, store: Path, at: str, versus: tuple[str, float]) -> list[Row]:
    """What a demonstration of few homes consists of, besides Spark."""
    options.say(f"{at}: speed layer")
    provisional = isolated(time_provisional, store, options.repeats)
    options.say(f"{at}: anvil")
    chain = isolated(time_chain, store, options.repeats)
    options.say(f"{at}: negawatt demo")
    demo = isolated(run_demo, options.folder / "demo")
    return [
        Row(f"provisional_s {at}", provisional.warm, "s", "limit", PROVISIONAL_LIMIT_S),
        Row(f"issue_s {at}", chain.issue, "s", *versus),
        Row(f"root_to_receipt_s {at}", chain.root, "s", "limit", RECEIPT_LIMIT_S),
        Row(f"payment_s {at}", chain.payment, "s", f"root_to_receipt_s {at}", chain.root),
        Row(f"demo_s {at}", demo, "s", "limit", DEMO_LIMIT_S),
    ]


def _load(store: Path, fleet: Fleet) -> float | None:
    """Make the store, or take a whole one that an earlier run kept; returns the seconds it took."""
    if _is_complete(store.parent):
        return None
    shutil.rmtree(store.parent, ignore_errors=True)
    began = time.perf_counter()
    load_fleet(store, fleet)
    seconds = time.perf_counter() - began
    (store.parent / _COMPLETE).touch()
    return seconds


def _is_complete(folder: Path) -> bool:
    return (folder / _COMPLETE).exists()


def _check_space(folder: Path, fleet: Fleet) -> None:
    """Refuse a size that would fill the disk."""
    folder.mkdir(parents=True, exist_ok=True)
    need = fleet.bytes_needed + fleet.readings * (_ROW_FILE_BYTES_PER_READING if fleet.homes <= MEDIUM else 0)
    free = shutil.disk_usage(folder).free
    if free < need:
        raise NegawattError(
            f"{fleet.homes} homes need {need / 2**30:.0f} GiB in {folder}, {free / 2**30:.0f} GiB are free: "
            "name another --folder, or fewer --homes"
        )


def _store_bytes(store: Path) -> int:
    return sum(file.stat().st_size for file in store.rglob("*.parquet"))
