"""Provisional certificates of 10,000 homes at an event's end: from the speed store to the published file.

The store is a DuckDB file of readings every five minutes, loaded in the order of time as they would have come. What
it gives for the event is compared with the arrays that the readings were made from, in the run that is timed.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from benchmarks.answers import WrongAnswerError
from benchmarks.homes import INTERVAL_MINUTES, PER_DAY, the_event
from benchmarks.isolation import isolated
from benchmarks.options import Options
from benchmarks.results import Row
from domain.certificates import CertificateSet, Resource, issue_certificates
from domain.certification import LoadBlock, Reductions, certify
from domain.events import DREvent
from domain.plans import EventPlan, make_plan
from domain.readings import Quality, Register
from negawatt.workspace import Workspace, write_whole
from speed.provisional import certify_provisionally
from speed.reconciliation import Source, keep, reconcile, result_of
from speed.stores import SpeedStore, duckdb_url, open_speed_store
from speed.tables import READING_COLUMNS, readings_table

SIZES = (10_000,)
PROVISIONAL_LIMIT_S = 1.0
HISTORY_DAYS = 30
"""Days before the event that the store holds: more than its baseline reaches back."""

SALT = b"benchmark"
_CONTRACTED_W = 1000


@dataclass(frozen=True)
class Steps:
    """Seconds of each step of one certification.

    Attributes
    ----------
    read, kernel, issue, write : float
        From the store to a block of readings, to reductions, to certificates with their leaves, to the file.
    keep : float
        Into the speed store's own tables, where they are compared with the batch result; after the certificates.
    """

    read: float
    kernel: float
    issue: float
    write: float
    keep: float

    @property
    def certificates(self) -> float:
        """All that happens until the certificates are there."""
        return self.read + self.kernel + self.issue + self.write


def run(options: Options) -> list[Row]:
    """Measure every size, for events of one hour and of four."""
    rows = []
    for homes in sorted(options.homes):
        folder = options.folder / f"speed-provisional-{homes}"
        try:
            options.say(f"homes={homes}: make readings")
            if not (folder / "complete").exists():
                shutil.rmtree(folder, ignore_errors=True)
                isolated(_make, folder, homes)
            for hours in (1, 4):
                options.say(f"homes={homes}: an event of {hours} h")
                first, warm = isolated(time_provisional, folder, homes, hours, options.repeats)
                at = f"homes={homes}" + ("" if hours == 1 else f" hours={hours}")
                whole = (f"provisional_s {at}", warm.certificates)
                rows.append(Row(f"provisional_s {at}", warm.certificates, "s", "limit", PROVISIONAL_LIMIT_S))
                rows.append(Row(f"provisional_first_s {at}", first.certificates, "s", *whole))
                for step in ("read", "kernel", "issue", "write", "keep"):
                    rows.append(Row(f"provisional_{step}_s {at}", getattr(warm, step), "s", *whole))
        finally:
            if not options.keep:
                shutil.rmtree(folder, ignore_errors=True)
    return rows


def time_provisional(folder: Path, homes: int, hours: int, repeats: int) -> tuple[Steps, Steps]:
    """The first certification of a process, and the median one of those after it, by their time to certificates."""
    plan, resources = the_plan_of(hours), the_resources(homes)
    store = open_speed_store(duckdb_url(folder / "speed.duckdb"))
    try:
        runs = [_certify_once(store, plan, resources, folder / "certificates.jsonl") for _ in range(repeats + 1)]
        found = certify_provisionally(store, plan, resources)
        found_totals = reconcile(store, plan.event.id).provisional
    finally:
        store.close()
    _require_same(certify(plan, _block(plan, homes)), found)
    if found_totals is None or found_totals.reduction_wh != int(found.reduction_wh.sum()):
        raise WrongAnswerError("the speed store's table of results differs from the reductions")
    later = sorted(runs[1:], key=lambda steps: steps.certificates)
    return runs[0], later[len(later) // 2]


def the_plan_of(hours: int) -> EventPlan:
    """The benchmarks' event, longer where asked for."""
    programme = Workspace(Path("/nonexistent")).programme("kpx-max-4-of-5")
    event: DREvent = replace(the_event(), end=the_event().start + timedelta(hours=hours))
    return make_plan(event, programme, INTERVAL_MINUTES)


def the_resources(homes: int) -> dict[str, Resource]:
    """Homes that take part, with wallets of their own."""
    return {
        f"home-{n:07d}": Resource(f"home-{n:07d}", _CONTRACTED_W, f"0x{n + 1:040x}", f"feeder-{n % 40}")
        for n in range(homes)
    }


def _certify_once(store: SpeedStore, plan: EventPlan, resources: dict[str, Resource], file: Path) -> Steps:
    def step(began: float) -> float:
        return time.perf_counter() - began

    began = time.perf_counter()
    block = store.read_plan(plan, np.array(list(resources), dtype=object))
    read = step(began)
    began = time.perf_counter()
    reductions = certify(plan, block)
    kernel = step(began)
    began = time.perf_counter()
    certificates: CertificateSet = issue_certificates(plan, reductions, resources, SALT)
    issue = step(began)
    began = time.perf_counter()
    write_whole(file, certificates.published())
    written = step(began)
    began = time.perf_counter()
    keep(store, result_of(plan, reductions, certificates, Source.PROVISIONAL, datetime.now(UTC)))
    return Steps(read, kernel, issue, written, step(began))


def _make(folder: Path, homes: int) -> None:
    """Load the store, an hour of all homes at a time."""
    folder.mkdir(parents=True)
    store = open_speed_store(duckdb_url(folder / "speed.duckdb"))
    try:
        ids = store.meter_ids(np.array(list(the_resources(homes)), dtype=object))
        table = readings_table(Register.IMPORT, INTERVAL_MINUTES)
        store.create(table, READING_COLUMNS)
        for slots, wh in _days(homes):
            for first in range(0, PER_DAY, 12):
                some = slots[first : first + 12]
                n = len(some) * homes
                rows = {
                    "meter": np.tile(ids, len(some)),
                    "ts": pa.array(np.repeat(some * (60 * INTERVAL_MINUTES), homes), pa.timestamp("s")),
                    "wh": wh[:, first : first + 12].T.reshape(-1),
                    "quality": np.full(n, int(Quality.ACTUAL), np.int8),
                    "revision": np.zeros(n, np.int16),
                    "n": np.ones(n, np.int8),
                }
                store.load(table, pa.table(rows))
    finally:
        store.close()
    (folder / "complete").touch()


def _days(homes: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int32]]]:
    """The slots of each UTC day and what every home used, shape (homes, PER_DAY). [Wh]"""
    event_day = int(the_event().start.timestamp()) // 86_400
    for day in range(event_day - HISTORY_DAYS, event_day + 1):
        rng = np.random.default_rng([day, homes])
        wh = rng.integers(5, 120, (homes, PER_DAY), dtype=np.int32)
        yield np.arange(day * PER_DAY, (day + 1) * PER_DAY, dtype=np.int64), wh


def _block(plan: EventPlan, homes: int) -> LoadBlock:
    """What the store is to give for a plan."""
    wh = np.full((homes, *plan.slots.shape), -1, dtype=np.int32)
    for slots, used in _days(homes):
        row, column = np.nonzero((plan.slots >= slots[0]) & (plan.slots <= slots[-1]))
        wh[:, row, column] = used[:, plan.slots[row, column] - slots[0]]
    return LoadBlock(np.array(list(the_resources(homes)), dtype=object), wh, None)


def _require_same(expected: Reductions, found: Reductions) -> None:
    for name in Reductions.__dataclass_fields__:
        if not np.array_equal(getattr(expected, name), getattr(found, name)):
            raise WrongAnswerError(f"the speed store's {name} differ from those of the readings it was given")
