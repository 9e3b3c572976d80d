"""Half-hours and days follow their readings until those are dropped, and stay."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
from builders import a_plan, an_event
from live_desk import at_slots, history, one_row, people

from domain.errors import StoreError
from domain.intervals import slots_per_day
from domain.readings import Register
from speed.live import prepare_event
from speed.rollups import Retained, retain

TODAY = date(2026, 7, 10)
MINUTES = 10
PER_DAY = slots_per_day(MINUTES)


def day_slots(day: date) -> np.ndarray:
    first = (day - date(1970, 1, 1)).days * PER_DAY
    return np.arange(first, first + PER_DAY)


def a_day(day: date, **usage) -> object:
    """A day of readings by meter: an energy for each interval, or a list."""
    energies = {m: wh if isinstance(wh, list) else [wh] * PER_DAY for m, wh in usage.items()}
    return at_slots(day_slots(day), energies, MINUTES)


def rolled(store, period, meter="a", register="import"):
    (number,) = store.meter_ids(np.array([meter], dtype=object)).tolist()
    rows = store.query(
        f"SELECT ts, wh, reported FROM rollup_{register}_{period} WHERE meter = {number} ORDER BY ts"
    ).to_pylist()
    return [(row["ts"], row["wh"], row["reported"]) for row in rows]


def at(day: date, minutes: int = 0) -> datetime:
    return datetime(day.year, day.month, day.day) + timedelta(minutes=minutes)


def test_half_hours_and_days_are_the_sums_of_their_readings(store):
    usage = [int(wh) for wh in np.random.default_rng(3).integers(0, 900, PER_DAY)]
    usage[7] = usage[8] = None
    store.append(a_day(TODAY, a=usage, b=1))
    assert retain(store, MINUTES, 92, TODAY) == Retained(1, 0, 0, 0)
    there = [wh or 0 for wh in usage]
    halves = [(at(TODAY, 30 * n), sum(there[3 * n : 3 * n + 3]), 3) for n in range(48)]
    halves[2] = (*halves[2][:2], 1)
    assert rolled(store, "30") == halves
    assert rolled(store, "day") == [(at(TODAY), sum(there), PER_DAY - 2)]
    assert rolled(store, "day", "b") == [(at(TODAY), PER_DAY, PER_DAY)]


def test_a_run_without_news_changes_nothing(store):
    store.append(a_day(TODAY, a=4))
    retain(store, MINUTES, 92, TODAY)
    before = rolled(store, "30"), rolled(store, "day")
    assert retain(store, MINUTES, 92, TODAY) == Retained(0, 0, 0, 0)
    assert (rolled(store, "30"), rolled(store, "day")) == before


def test_late_readings_and_corrections_change_the_day_they_are_of(store):
    yesterday = TODAY - timedelta(days=1)
    store.append(a_day(yesterday, a=[4] * (PER_DAY - 1)))
    store.append(a_day(TODAY, a=[4] * 3))
    retain(store, MINUTES, 92, TODAY)
    store.append(at_slots(day_slots(yesterday)[-1:], {"a": [10]}, MINUTES))
    assert retain(store, MINUTES, 92, TODAY).rolled_days == 1
    assert rolled(store, "day") == [(at(yesterday), 4 * (PER_DAY - 1) + 10, PER_DAY), (at(TODAY), 12, 3)]
    # A correction that changes neither the number of readings nor the day's energy.
    store.append(at_slots(day_slots(yesterday)[:1], {"a": [5]}, MINUTES, revision=1))
    store.append(at_slots(day_slots(yesterday)[-1:], {"a": [9]}, MINUTES, revision=1))
    assert retain(store, MINUTES, 92, TODAY).rolled_days == 1
    assert rolled(store, "30")[0] == (at(yesterday), 13, 3)


def test_readings_older_than_kept_go_by_whole_days_and_their_rollups_stay(store):
    days = [TODAY - timedelta(days=n) for n in (4, 3, 2, 0)]
    for n, day in enumerate(days):
        store.append(a_day(day, a=n + 1))
    assert retain(store, MINUTES, 3, TODAY) == Retained(4, 1, PER_DAY, 0)
    left = one_row(store, f"SELECT MIN(ts) AS first, COUNT(*) AS n FROM readings_import_{MINUTES}")
    assert left == {"first": at(days[1]), "n": 3 * PER_DAY}
    assert [wh for _, wh, _ in rolled(store, "day")] == [PER_DAY, 2 * PER_DAY, 3 * PER_DAY, 4 * PER_DAY]
    assert len(rolled(store, "30")) == 4 * 48
    assert retain(store, MINUTES, 3, TODAY) == Retained(0, 0, 0, 0)


def test_what_comes_for_a_dropped_day_is_rolled_up_for_new_meters_and_never_twice(store):
    old = TODAY - timedelta(days=9)
    store.append(a_day(old, a=7))
    retain(store, MINUTES, 3, TODAY)
    before = rolled(store, "day")
    store.append(a_day(old, a=7, b=2))  # a's are repeats, which nothing in the store can tell any more
    assert retain(store, MINUTES, 3, TODAY) == Retained(1, 1, 2 * PER_DAY, PER_DAY)
    assert rolled(store, "day") == before
    assert rolled(store, "day", "b") == [(at(old), 2 * PER_DAY, PER_DAY)]
    assert len(rolled(store, "30", "b")) == 48
    assert one_row(store, f"SELECT COUNT(*) AS n FROM readings_import_{MINUTES}") == {"n": 0}


def test_a_run_that_was_cut_off_before_it_dropped_is_finished_by_the_next(store, monkeypatch):
    old = TODAY - timedelta(days=9)
    store.append(a_day(old, a=7))
    execute = store.execute

    def cut(sql):
        if sql.startswith("DELETE"):
            raise StoreError("the power failed")
        execute(sql)

    monkeypatch.setattr(store, "execute", cut)
    with pytest.raises(StoreError, match="power"):
        retain(store, MINUTES, 3, TODAY)
    monkeypatch.undo()
    retain(store, MINUTES, 3, TODAY)
    assert rolled(store, "day") == [(at(old), 7 * PER_DAY, PER_DAY)]
    assert one_row(store, f"SELECT COUNT(*) AS n FROM readings_import_{MINUTES}") == {"n": 0}


def test_registers_are_rolled_up_apart(store):
    export = at_slots(day_slots(TODAY), {"a": [3] * PER_DAY}, MINUTES)
    store.append(type(export)(**{**vars(export), "register": Register.EXPORT}))
    assert retain(store, MINUTES, 92, TODAY) == Retained(0, 0, 0, 0)
    assert retain(store, MINUTES, 92, TODAY, Register.EXPORT).rolled_days == 1
    assert rolled(store, "day") == []
    assert rolled(store, "day", register="export") == [(at(TODAY), 3 * PER_DAY, PER_DAY)]


def test_hourly_readings_become_days_alone(store):
    first = (TODAY - date(1970, 1, 1)).days * 24
    store.append(at_slots(np.arange(first, first + 24), {"a": [50] * 24}, 60))
    retain(store, 60, 92, TODAY)
    assert rolled(store, "30") == []
    assert rolled(store, "day") == [(at(TODAY), 1200, 24)]


def test_events_before_the_cutoff_go_from_the_live_layer_and_later_ones_stay(store):
    starts = {"old": datetime(2025, 6, 11, 8, tzinfo=UTC), "new": datetime(2025, 6, 18, 8, tzinfo=UTC)}
    plans = [a_plan(an_event(name, start)) for name, start in starts.items()]
    homes = people({"a": "north"})
    for plan in plans:
        store.append(history(plan, homes))
        prepare_event(store, plan, homes)
    retain(store, 30, 4, date(2025, 6, 19))
    for table in ("events", "event_resources", "event_baselines"):
        assert store.query(f"SELECT DISTINCT event FROM {table}")["event"].to_pylist() == ["new"]


@pytest.mark.parametrize("days", [0, -1])
def test_keeping_no_day_is_refused(store, days):
    with pytest.raises(StoreError, match="1 day or more"):
        retain(store, MINUTES, days, TODAY)
