"""The benchmark ``speed_live``: the live view of an event while readings come in, over months of readings on disk.

Every home's 90 days of five-minute readings lie in a DuckDB file, in the order in which they came. An event of four
hours is half over; a thread then appends one interval of all homes after another while the main thread asks for the
view again and again. What the view shows at the end has to equal the certification kernel's answer, or the run stops
with an error.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from benchmarks.isolation import isolated, resident_bytes
from benchmarks.options import Options
from benchmarks.results import Row
from domain.certificates import Resource
from domain.certification import certify
from domain.errors import NegawattError
from domain.events import DREvent
from domain.intervals import slot_start, slots_per_day
from domain.plans import EventPlan, make_plan
from domain.readings import Quality, Readings, Register
from negawatt.workspace import Workspace
from speed.live import prepare_event, scope_of, store_resources
from speed.live_sql import Scope, event_sql, feeder_sql, lateness_sql, resource_sql
from speed.stores import SpeedStore, duckdb_url, open_speed_store
from speed.tables import readings_table, starts_of

SIZES = (10_000,)
DAYS = 90
INTERVAL_MINUTES = 5
HOMES_PER_FEEDER = 25
PAUSE_S = 0.05
"""Between two looks: somebody watches, nobody hammers. [s]"""

INTERVAL_S = 0.9
"""Seconds in which one interval of all homes comes; a real one takes five minutes. [s]"""

LIMIT_MS, LIMIT_GIB = 100.0, 8.0
PROGRAMME = "kpx-max-4-of-5"
START = datetime(2025, 6, 11, 8, tzinfo=UTC)
"""17:00 of a Wednesday in Seoul."""


@dataclasses.dataclass(frozen=True)
class Looked:
    """Seconds of each look at each view, of each append and of storing the baselines, and what it took."""

    looks: dict[str, list[float]]
    appends: list[float]
    prepare_s: float
    again_s: float
    resident_gib: float
    bytes_per_reading: float


def run(options: Options) -> list[Row]:
    """Measure every size, smallest first."""
    rows: list[Row] = []
    for homes in sorted(options.homes):
        folder, at = options.folder / f"speed-live-{homes}", f"homes={homes}"
        try:
            if not (folder / "complete").exists():
                options.say(f"{at}: make {homes * DAYS * slots_per_day(INTERVAL_MINUTES):,} readings")
                shutil.rmtree(folder, ignore_errors=True)
                isolated(fill, folder / "speed.duckdb", homes)
                (folder / "complete").touch()
            options.say(f"{at}: look while readings come in")
            shutil.copyfile(folder / "speed.duckdb", folder / "run.duckdb")
            rows += _rows(isolated(look, folder / "run.duckdb", homes), at)
        finally:
            (folder / "run.duckdb").unlink(missing_ok=True)
            if not options.keep:
                shutil.rmtree(folder, ignore_errors=True)
    return rows


def _rows(found: Looked, at: str) -> list[Row]:
    p95 = {view: 1000 * _p95(seconds) for view, seconds in found.looks.items()}
    return [
        Row(f"live_view_p95_ms {at}", p95["live_resource"], "ms", "limit", LIMIT_MS),
        Row(f"live_event_p95_ms {at}", p95["live_event"], "ms", "limit", LIMIT_MS),
        Row(f"live_feeder_p95_ms {at}", p95["live_feeder"], "ms", "limit", LIMIT_MS),
        Row(f"live_lateness_p95_ms {at}", p95["live_lateness"], "ms", "limit", LIMIT_MS),
        Row(f"live_append_p95_ms {at}", 1000 * _p95(found.appends), "ms", "limit", 1000 * INTERVAL_S),
        Row(f"live_prepare_s {at}", found.prepare_s, "s", f"live_refresh_unchanged_s {at}", found.again_s),
        Row(f"live_resident_gib {at}", found.resident_gib, "GiB", "limit", LIMIT_GIB),
        Row(f"live_bytes_per_reading {at}", found.bytes_per_reading, "B", "limit", 32.0),
    ]


def _p95(seconds: list[float]) -> float:
    return float(np.percentile(seconds, 95))


def fill(path: Path, homes: int) -> None:
    """Make a store of all homes' readings up to the middle of the event, an interval after the other."""
    store = open_speed_store(duckdb_url(path))
    names = _names(homes)
    per_day, plan = slots_per_day(INTERVAL_MINUTES), the_plan()
    # One reading of each home the usual way, which makes the table; the rest of them as rows.
    store.append(_interval(int(plan.slots[0, 0]) - DAYS * per_day - 1, names))
    ids = store.meter_ids(names)
    for first in range(int(plan.slots[0, 0]) - DAYS * per_day, int(plan.slots[0, 0]), per_day):
        slots = np.arange(first, first + per_day)
        store.load(readings_table(Register.IMPORT, INTERVAL_MINUTES), _day_rows(slots, ids))
    for slot in plan.slots[0, : plan.event_intervals // 2].tolist():
        store.append(_interval(slot, names))
    store.close()


def look(path: Path, homes: int) -> Looked:
    """Store the baselines, then look at the event while the rest of it comes in."""
    store = open_speed_store(duckdb_url(path))
    plan, names = the_plan(), _names(homes)
    people = {
        name: Resource(name, 1500, f"0x{n + 1:040x}", f"feeder-{n // HOMES_PER_FEEDER}")
        for n, name in enumerate(names.tolist())
    }
    began = time.perf_counter()
    prepare_event(store, plan, people)
    prepare_s = time.perf_counter() - began
    store_resources(store, people)
    began = time.perf_counter()
    prepare_event(store, plan, people)
    again_s = time.perf_counter() - began
    coming = plan.slots[0, plan.event_intervals // 2 : plan.event_intervals].tolist()
    appends: list[float] = []
    failed: list[BaseException] = []
    loader = threading.Thread(target=_load, args=(store, names, coming, appends, failed))
    looks: dict[str, list[float]] = {}
    for view in VIEWS:  # once before: a process that starts reads the file
        _ask(store, plan, plan.event.end, view)
    loader.start()
    while loader.is_alive():
        now = slot_start(coming[min(len(appends), len(coming) - 1)] + 1, INTERVAL_MINUTES)
        for view in VIEWS:
            began = time.perf_counter()
            _ask(store, plan, now, view)
            looks.setdefault(view, []).append(time.perf_counter() - began)
            time.sleep(PAUSE_S)
    loader.join()
    if failed:
        raise failed[0]
    resident = resident_bytes(os.getpid()) / 2**30
    _check(store, plan, names)
    readings = store.query(f"SELECT COUNT(*) AS n FROM {readings_table(Register.IMPORT, INTERVAL_MINUTES)}")
    store.close()
    return Looked(looks, appends, prepare_s, again_s, resident, path.stat().st_size / readings["n"][0].as_py())


VIEWS: dict[str, Callable[[Scope], str]] = {
    "live_resource": resource_sql,
    "live_event": event_sql,
    "live_feeder": feeder_sql,
    "live_lateness": lateness_sql,
}
"""What is looked at, in turn."""


def _ask(store: SpeedStore, plan: EventPlan, now: datetime, view: str) -> pa.Table:
    return store.query(VIEWS[view](scope_of(store, plan, now)))


def _load(
    store: SpeedStore,
    names: NDArray[np.object_],
    slots: list[int],
    appends: list[float],
    failed: list[BaseException],
) -> None:
    """Append an interval of all homes at a time, at the pace of `INTERVAL_S`."""
    try:
        due = time.perf_counter()
        for slot in slots:
            batch = _interval(slot, names)
            began = time.perf_counter()
            store.append(batch)
            appends.append(time.perf_counter() - began)
            due += INTERVAL_S
            time.sleep(max(due - time.perf_counter(), 0))
    except BaseException as error:  # handed to the thread that waits for this one
        failed.append(error)


def _check(store: SpeedStore, plan: EventPlan, names: NDArray[np.object_]) -> None:
    """Compare the view with the kernel's answer over the same readings."""
    want = certify(plan, store.read_plan(plan, names))
    rows = _ask(store, plan, plan.event.end, "live_resource").sort_by("meter")
    have = rows["reduction_wh"].to_pylist(), rows["baseline_wh"].to_pylist()
    totals = want.reduction_wh.sum(axis=1).tolist(), want.baseline_wh.sum(axis=1).tolist()
    if rows["meter"].to_pylist() != want.meters.tolist() or have != totals or not want.certified.all():
        raise NegawattError("the live view and the kernel disagree on the same readings")


def the_plan() -> EventPlan:
    """The plan of the four hours that are watched."""
    programme = Workspace(Path("/nonexistent")).programme(PROGRAMME)  # one of those that come with negawatt
    event = DREvent("benchmark", PROGRAMME, START, START + timedelta(hours=4))
    return make_plan(event, programme, INTERVAL_MINUTES)


def _names(homes: int) -> NDArray[np.object_]:
    return np.array([f"home-{number:07d}" for number in range(homes)], dtype=object)


def _energy(slots: NDArray[np.int64], homes: int) -> NDArray[np.int32]:
    """Energy of every home in some intervals: noise around a daily shape, which hardly compresses. [Wh]"""
    random = np.random.Generator(np.random.SFC64([int(slots[0]), homes]))
    clock = 2 * np.pi * (slots % slots_per_day(INTERVAL_MINUTES)) / slots_per_day(INTERVAL_MINUTES)
    shape = (60 + 40 * np.sin(clock))[:, None]
    energy: NDArray[np.int32] = (shape * random.uniform(0.2, 1.8, (len(slots), homes))).astype(np.int32)
    return energy


def _interval(slot: int, names: NDArray[np.object_]) -> Readings:
    homes = len(names)
    return Readings(
        INTERVAL_MINUTES,
        Register.IMPORT,
        names,
        np.arange(homes, dtype=np.int32),
        np.full(homes, slot, dtype=np.int64),
        _energy(np.array([slot]), homes)[0],
        np.full(homes, Quality.ACTUAL, dtype=np.int8),
        np.zeros(homes, dtype=np.int16),
    )


def _day_rows(slots: NDArray[np.int64], ids: NDArray[np.int32]) -> pa.Table:
    n = len(slots) * len(ids)
    return pa.table(
        {
            "meter": np.tile(ids, len(slots)),
            "ts": pa.array(np.repeat(starts_of(slots, INTERVAL_MINUTES), len(ids))),
            "wh": _energy(slots, len(ids)).reshape(-1),
            "quality": np.full(n, Quality.ACTUAL, dtype=np.int8),
            "revision": np.zeros(n, dtype=np.int16),
            "n": np.ones(n, dtype=np.int8),
        }
    )
