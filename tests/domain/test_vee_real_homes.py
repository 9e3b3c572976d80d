"""The checks on ten real homes over a year: no false alarm, and what is broken on purpose is found."""

from __future__ import annotations

import csv
import gzip
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from vee_desk import DAY, a_window, found, worked

from domain.readings import MISSING
from domain.validation import Check, DayBlock

HOMES = Path(__file__).parents[2] / "../shared/data/homes-hourly.csv.gz"
pytestmark = pytest.mark.skipif(not HOMES.exists(), reason="the shared data aren't here")


@pytest.fixture(scope="module")
def homes() -> DayBlock:
    with gzip.open(HOMES, "rt") as lines:
        rows = list(csv.DictReader(lines))
    slots = np.array([int(datetime.fromisoformat(row["interval_start"]).timestamp()) // 3600 for row in rows])
    names = np.array([row["meter"] for row in rows])
    meters = np.unique(names)
    days = np.arange(slots.min() // DAY, slots.max() // DAY + 1)
    wh = np.full((len(meters), len(days) * DAY), MISSING, dtype=np.int32)
    wh[np.searchsorted(meters, names), slots - days[0] * DAY] = [round(1000 * float(row["load_kwh"])) for row in rows]
    wh = wh.reshape(len(meters), len(days), DAY)
    return DayBlock(60, meters.astype(object), days, wh, np.zeros(wh.shape, dtype=bool))


def test_a_year_of_ten_real_homes_raises_no_alarm(homes):
    result = worked(homes, a_window(homes, 28, len(homes.days) - 1))
    assert (len(result.meters), result.expected) == (10, 24 * (len(homes.days) - 29))
    assert found(result) == {}


def test_readings_in_the_wrong_unit_are_found_in_real_homes(homes):
    """Once a home and a month a reading is ten times what it was, where it was 1 kWh or more."""
    random = np.random.default_rng(1)
    wh = homes.wh.copy()
    broken = 0
    for row in range(10):
        for day in range(30, 360, 30):
            hours = np.flatnonzero(wh[row, day] >= 1_000)
            if len(hours):
                wh[row, day, random.choice(hours)] *= 10
                broken += 1
    block = DayBlock(60, homes.meters, homes.days, wh, homes.estimated)
    marks = found(worked(block, a_window(block, 28, len(homes.days) - 1)))
    assert set(marks) <= {Check.SPIKE, Check.LIMIT}
    assert sum(marks.values()) <= broken  # no other reading is flagged
    assert sum(marks.values()) > broken // 3


def test_like_days_estimate_a_day_of_real_homes_within_reason(homes):
    """Of the day's energy, on average: worse than a third would be no better than the home's mean of any days."""
    errors = []
    for day in range(60, 350, 29):
        wh = homes.wh.copy()
        wh[:, day] = MISSING
        block = DayBlock(60, homes.meters, homes.days, wh, homes.estimated)
        edits = worked(block, a_window(block, day, day + 1)).edits
        made = np.array([edits.wh[edits.meters == meter].sum() for meter in homes.meters])
        true = homes.wh[:, day].sum(axis=1)
        errors += (np.abs(made - true) / true).tolist()
    assert np.median(errors) < 0.35
