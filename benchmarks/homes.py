"""Readings of many simulated homes, made bucket by bucket straight into a batch store.

The values are plain noise around each home's daily shape, which no compression can shorten much, and the gaps are
those of real fleets: single readings, whole days, and homes that were connected days before the event. All of it
follows from the seed, whatever the number of processes.
"""

from __future__ import annotations

import multiprocessing
import os
import zlib
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from batch.parquet_store import ParquetStore
from batch.wide import NONE, WideDays
from domain.events import DREvent
from domain.intervals import slots_per_day
from domain.plans import EventPlan, make_plan
from domain.readings import Quality, precedence
from negawatt.workspace import Workspace

DAYS = 60
INTERVAL_MINUTES = 5
PER_DAY = slots_per_day(INTERVAL_MINUTES)
PROGRAMME = "kpx-max-4-of-5"

EVENT_START = datetime(2025, 6, 11, 8, tzinfo=UTC)
"""17:00 of a Wednesday in Seoul; two holidays lie within the days that its baseline may reach."""

FIRST_DAY = (EVENT_START.date() - date(1970, 1, 1)).days - DAYS + 2
"""UTC day since 1970; one more day follows the event's."""

MISSING_PER_MILLE = 1
"""Readings, and likewise whole meter-days, that are missing."""

NEW_HOMES_PER_MILLE = 10
"""Homes connected within the last two weeks before the event."""

ABSENCES_PER_MILLE = 60
"""Home-days on which nobody is at home and a quarter is used: low-usage days."""

_EVENT_SLOTS = slice(EVENT_START.hour * 12, EVENT_START.hour * 12 + 12)
_ACTUAL = int(precedence(np.zeros(1, np.int32), np.full(1, Quality.ACTUAL, np.int8), np.zeros(1, np.int16))[0])
_PART_ROWS = 20_000
_BYTES_PER_READING = 1.2


@dataclass(frozen=True)
class Fleet:
    """Simulated homes: how many, in how many buckets, from which seed."""

    homes: int
    buckets: int
    seed: int = 1

    @classmethod
    def of(cls, homes: int) -> Fleet:
        """A fleet in the default store's 16 buckets, or in 64 when it is large."""
        return cls(homes, 16 if homes <= 100_000 else 64)

    @property
    def readings(self) -> int:
        """Readings, were none missing."""
        return self.homes * DAYS * PER_DAY

    @property
    def bytes_needed(self) -> int:
        """Disk space that its store takes, roughly."""
        return int(self.readings * _BYTES_PER_READING)

    def meters(self) -> list[NDArray[np.object_]]:
        """Meters by bucket, each in ascending order."""
        names = [f"home-{number:07d}" for number in range(self.homes)]
        of = np.array([zlib.crc32(name.encode()) % self.buckets for name in names])
        array = np.array(names, dtype=object)
        return [array[of == bucket] for bucket in range(self.buckets)]


def the_event(name: str = "benchmark") -> DREvent:
    """The hour that is certified."""
    return DREvent(name, PROGRAMME, EVENT_START, EVENT_START + timedelta(hours=1))


def the_plan() -> EventPlan:
    """The plan of `the_event`."""
    programme = Workspace(Path("/nonexistent")).programme(PROGRAMME)  # one of those that come with negawatt
    return make_plan(the_event(), programme, INTERVAL_MINUTES)


def load_fleet(folder: Path, fleet: Fleet) -> None:
    """Make a store of a fleet's readings with every core."""
    ParquetStore(folder, buckets=fleet.buckets)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(os.cpu_count(), mp_context=context) as pool:
        jobs = [
            pool.submit(_load_bucket, folder, fleet, bucket, meters)
            for bucket, meters in enumerate(fleet.meters())
            if len(meters)
        ]
        for job in jobs:
            job.result()


def _load_bucket(folder: Path, fleet: Fleet, bucket: int, meters: NDArray[np.object_]) -> None:
    ParquetStore(folder).load_bucket(bucket, INTERVAL_MINUTES, wide_days(fleet, bucket, meters))


def wide_days(fleet: Fleet, bucket: int, meters: NDArray[np.object_]) -> Iterator[WideDays]:
    """A bucket's readings in parts of whole days."""
    rng = np.random.Generator(np.random.SFC64(np.random.SeedSequence([fleet.seed, bucket])))
    n = len(meters)
    shape = _daily_shape()
    scale = rng.integers(100, 700, n)
    response = rng.integers(80, 257, n)
    connected = np.full(n, FIRST_DAY)
    new = rng.random(n) < NEW_HOMES_PER_MILLE / 1000
    event_day = FIRST_DAY + DAYS - 2
    connected[new] = event_day - rng.integers(0, 15, int(new.sum()))
    days_a_part = max(1, min(DAYS, _PART_ROWS // n))
    for first in range(FIRST_DAY, FIRST_DAY + DAYS, days_a_part):
        parts = []
        for day in range(first, min(first + days_a_part, FIRST_DAY + DAYS)):
            there = np.flatnonzero((connected <= day) & (rng.random(n) >= MISSING_PER_MILLE / 1000))
            away = rng.random(len(there)) < ABSENCES_PER_MILLE / 1000
            wh = (shape * (scale[there] >> (2 * away)).astype(np.uint32)[:, None]) >> 8
            if day == event_day:
                wh[:, _EVENT_SLOTS] = wh[:, _EVENT_SLOTS] * response[there, None] >> 8
            wh *= rng.integers(0, 1 << 16, wh.shape, dtype=np.uint16)
            wh >>= 15
            stamp = wh.astype(np.int64)
            stamp += _ACTUAL
            stamp.reshape(-1)[rng.integers(0, wh.size, rng.poisson(wh.size * MISSING_PER_MILLE / 1000))] = NONE
            parts.append(WideDays(meters[there], np.full(len(there), day, np.int32), stamp))
        yield parts[0] if len(parts) == 1 else _together(parts)


def _together(parts: list[WideDays]) -> WideDays:
    return WideDays(*(np.concatenate([getattr(p, name) for p in parts]) for name in ("meters", "day", "stamp")))


def _daily_shape() -> NDArray[np.uint32]:
    """Expected Wh in each five minutes of a UTC day, times a nominal home's scale of 256/256."""
    local_hour = (np.arange(PER_DAY) / 12 + 9) % 24
    morning, evening = np.exp(-((local_hour - 7.5) ** 2) / 3), np.exp(-((local_hour - 19) ** 2) / 8)
    shape: NDArray[np.uint32] = np.round(18 + 25 * morning + 60 * evening).astype(np.uint32)
    return shape
