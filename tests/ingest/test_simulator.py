from __future__ import annotations

import csv
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import chain
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

import ingest.simulator
from domain.errors import NegawattError
from domain.intervals import slot_of
from domain.readings import Quality, Readings, Register
from ingest.clocks import utc_to_local
from ingest.importers import import_files
from ingest.simulated_files import write_files
from ingest.simulator import SimulatedEvent, Simulation, SimulationPlan, simulate

SEOUL = ZoneInfo("Asia/Seoul")
EVENTS = tuple(
    SimulatedEvent(datetime(2025, 7, day, 17, tzinfo=SEOUL), datetime(2025, 7, day, 19, tzinfo=SEOUL))
    for day in (22, 24, 29)
)
HALF_PAST = SimulatedEvent(datetime(2025, 7, 2, 3, 30, tzinfo=UTC), datetime(2025, 7, 2, 5, tzinfo=UTC))
PLAN = SimulationPlan(first_day=date(2025, 7, 1), homes=60, days=30, seed=11, events=EVENTS)
COMPLETE = replace(PLAN, missing_pct=0, late_pct=0)


@pytest.fixture(scope="module")
def simulation() -> Simulation:
    return simulate(PLAN)


@pytest.fixture(scope="module")
def complete() -> Simulation:
    return simulate(COMPLETE)


def matrix(simulation: Simulation, register: Register = Register.IMPORT) -> dict[str, NDArray[np.int64]]:
    """Each home's whole series; -1 where there is no reading."""
    first = slot_of(simulation.plan.bounds[0], simulation.plan.interval_minutes)
    series: dict[str, NDArray[np.int64]] = {}
    for batch in simulation.batches():
        if batch.register is register:
            for number, name in enumerate(batch.meters):
                rows = batch.meter == number
                series[name] = np.full(simulation.intervals, -1)
                series[name][batch.slot[rows] - first] = batch.wh[rows]
    return series


def rows_of(batches: list[Readings]) -> dict[tuple[str, str, int], list[tuple[int, int, int]]]:
    """(revision, quality, Wh) of every reading, by register, meter and slot."""
    found: dict[tuple[str, str, int], list[tuple[int, int, int]]] = {}
    for batch in batches:
        names = batch.meters[batch.meter]
        for row in zip(names, batch.slot, batch.revision, batch.quality, batch.wh, strict=True):
            key = (batch.register.value, row[0], int(row[1]))
            found.setdefault(key, []).append((int(row[2]), int(row[3]), int(row[4])))
    return found


def test_the_same_plan_gives_the_same_bytes(simulation: Simulation):
    again = simulate(replace(PLAN))
    for one, other in zip(
        chain(simulation.batches(), simulation.late_batches()),
        chain(again.batches(), again.late_batches()),
        strict=True,
    ):
        for name in ("meter", "slot", "wh", "quality", "revision"):
            assert getattr(one, name).tobytes() == getattr(other, name).tobytes()
    assert simulation.homes == again.homes
    assert simulation.temperature_c.tobytes() == again.temperature_c.tobytes()


def test_another_seed_gives_other_readings():
    plan = replace(PLAN, homes=1, days=29)
    one, other = (next(iter(simulate(replace(plan, seed=seed)).batches())) for seed in (1, 2))
    assert one.wh.tobytes() != other.wh.tobytes()


def test_the_readings_do_not_depend_on_the_batches(monkeypatch: pytest.MonkeyPatch):
    plan = replace(PLAN, homes=7)
    whole = rows_of(list(simulate(plan).batches()))
    monkeypatch.setattr(ingest.simulator, "GROUP_READINGS", 20_000)
    batches = list(simulate(plan).batches())
    assert len(batches) > 3
    assert rows_of(batches) == whole


def test_a_home_does_not_depend_on_how_many_there_are(simulation: Simulation):
    few = simulate(replace(PLAN, homes=4))
    assert few.homes == simulation.homes[:4]
    many = matrix(simulation)
    for name, series in matrix(few).items():
        assert np.array_equal(series, many[name])


def test_homes_use_a_plausible_amount_a_day(complete: Simulation):
    bought, sold = matrix(complete), matrix(complete, Register.EXPORT)
    plain = [home.meter for home in complete.homes if not home.pv_wp and home.meter != "home-0003"]
    daily_kwh = np.array([bought[name].sum() for name in plain]) / 1000 / PLAN.days
    assert 8 < daily_kwh.mean() < 15
    assert daily_kwh.min() > 4
    assert daily_kwh.max() < 25
    peak_w = np.array([bought[name].max() * 12 for name in plain])
    assert (peak_w > 1500).all()
    assert (peak_w < 8000).all()
    assert set(sold) == {home.meter for home in complete.homes if home.pv_wp}
    shares = [(len(sold) / len(complete.homes), PLAN.pv_share)]
    shares += [(np.mean([home.responds for home in complete.homes]), PLAN.response_share)]
    for found, wanted in shares:
        assert abs(found - wanted) < 0.15


def test_evenings_are_busier_than_nights_and_weekends_busier_at_noon(complete: Simulation):
    bought = matrix(complete)
    total = sum(series for name, series in bought.items() if name != "home-0003")
    by_day = total.reshape(PLAN.days, 288)
    weekend = np.array([(PLAN.first_day + timedelta(days=day)).weekday() >= 5 for day in range(PLAN.days)])
    assert by_day[:, 19 * 12 : 22 * 12].mean() > 2 * by_day[:, 2 * 12 : 5 * 12].mean()
    plain = [home.meter for home in complete.homes if not home.pv_wp]
    noon = sum(bought[name] for name in plain).reshape(PLAN.days, 288)[:, 10 * 12 : 14 * 12].sum(axis=1)
    assert noon[weekend].mean() > 1.1 * noon[~weekend].mean()


def test_hot_days_take_more_energy(complete: Simulation):
    days_c = complete.temperature_c.reshape(PLAN.days, 288).mean(axis=1)
    total = sum(series for name, series in matrix(complete).items() if name != "home-0003")
    assert np.corrcoef(days_c, total.reshape(PLAN.days, 288).sum(axis=1))[0, 1] > 0.5


def test_july_is_hot_and_january_cold_and_the_south_the_other_way_round():
    def mean_c(month: int, latitude_deg: float) -> float:
        plan = SimulationPlan(first_day=date(2025, month, 1), homes=1, latitude_deg=latitude_deg)
        return float(simulate(plan).temperature_c.mean())

    assert mean_c(7, 37.5) > 22
    assert mean_c(1, 37.5) < 5
    assert mean_c(7, -37.5) < 5


def test_responding_homes_drop_their_load_during_events_and_catch_up_after(complete: Simulation):
    asked, unasked = matrix(complete), matrix(simulate(replace(COMPLETE, events=())))
    first = slot_of(COMPLETE.bounds[0], 5)
    at = np.concatenate([np.arange(slot_of(e.start, 5), slot_of(e.end, 5)) for e in EVENTS]) - first
    after = np.concatenate([np.arange(18) + slot_of(e.end, 5) for e in EVENTS]) - first
    elsewhere = np.setdiff1d(np.arange(complete.intervals), np.concatenate([at, after]))
    drops = []
    for home in complete.homes:
        if home.meter == "home-0003" or home.pv_wp:
            continue
        one, other = asked[home.meter], unasked[home.meter]
        assert np.abs(one[elsewhere] - other[elsewhere]).max() <= 1  # but for what the register carries over
        if home.responds:
            drops.append(1 - one[at].sum() / other[at].sum())
            assert one[after].sum() > other[after].sum()
        else:
            assert np.array_equal(one, other)
    assert min(drops) > 0.03
    assert 0.15 < np.mean(drops) < 0.5


def test_some_homes_deliver_more_than_contracted_and_some_less(complete: Simulation):
    asked, unasked = matrix(complete), matrix(simulate(replace(COMPLETE, events=())))
    first = slot_of(COMPLETE.bounds[0], 5)
    at = np.arange(slot_of(EVENTS[0].start, 5), slot_of(EVENTS[0].end, 5)) - first
    ratios = []
    for home in complete.homes:
        assert home.contracted_w % 100 == 0
        assert home.contracted_w > 0
        if home.responds and not home.pv_wp and home.meter != "home-0003":
            delivered_w = (unasked[home.meter] - asked[home.meter])[at].sum() / 2  # Wh in two hours
            ratios.append(delivered_w / home.contracted_w)
    assert 0.2 < np.mean(np.array(ratios) > 1) < 0.8


def test_solar_homes_export_only_by_daylight_and_never_while_importing(complete: Simulation):
    bought, sold = matrix(complete), matrix(complete, Register.EXPORT)
    first = slot_of(COMPLETE.bounds[0], 5)
    hour = utc_to_local((first + np.arange(complete.intervals)) * 300, "Asia/Seoul") % 86_400 / 3600
    night = (hour < 5) | (hour >= 20.5)
    assert len(sold) > 3
    for name, series in sold.items():
        there = series >= 0
        assert series[night & there].sum() == 0
        assert series[~night & there].sum() > 10_000
        both = (series > 1) & (bought[name] > 1)  # a watt-hour may be left over in either register
        assert not both.any()


def test_nothing_comes_twice_and_late_and_timely_readings_make_the_whole(simulation: Simulation):
    on_time, late = rows_of(list(simulation.batches())), rows_of(list(simulation.late_batches()))
    truth = rows_of(list(simulate(replace(PLAN, late_pct=0)).batches()))
    assert all(len(reports) == 1 for reports in chain(on_time.values(), late.values()))
    assert on_time.keys() | late.keys() == truth.keys()
    for key, [(_, _, wh)] in truth.items():
        reports = on_time.get(key, []) + late.get(key, [])
        assert max(reports) == (max(reports)[0], int(Quality.ACTUAL), wh)
    for key in on_time.keys() & late.keys():
        assert on_time[key][0][:2] == (0, int(Quality.ESTIMATED))
        assert late[key][0][:2] == (1, int(Quality.ACTUAL))
    share = len(late) / len(truth)
    assert 0.006 < share < 0.014
    assert 0.3 < len(on_time.keys() & late.keys()) / len(late) < 0.7


def test_few_readings_are_missing_some_of_them_for_a_day():
    truth = matrix(simulate(replace(PLAN, late_pct=0, missing_pct=1.0)))
    gone = np.array([series < 0 for name, series in truth.items() if name != "home-0003"])
    assert 0.005 < gone.mean() < 0.015
    whole_days = gone.reshape(len(gone), PLAN.days, 288).all(axis=2)
    assert 0 < whole_days.sum() < 0.02 * whole_days.size


def test_the_third_home_came_two_days_before_the_last_event(complete: Simulation):
    series = matrix(complete)["home-0003"]
    installed = slot_of(datetime(2025, 7, 27, tzinfo=SEOUL), 5) - slot_of(COMPLETE.bounds[0], 5)
    assert (series[:installed] == -1).all()
    assert (series[installed:] >= 0).all()


@pytest.mark.parametrize("minutes", [5, 15, 60])
def test_longer_intervals_sum_what_shorter_ones_show(minutes: int):
    plan = replace(COMPLETE, homes=2, pv_share=0, interval_minutes=minutes)
    daily = matrix(simulate(plan))["home-0001"].reshape(PLAN.days, -1).sum(axis=1)
    fine = matrix(simulate(replace(plan, interval_minutes=5)))["home-0001"].reshape(PLAN.days, 288).sum(axis=1)
    assert np.abs(daily - fine).max() <= 1


def test_summer_time_makes_days_of_23_and_25_hours():
    plan = SimulationPlan(first_day=date(2025, 3, 30), homes=1, days=1, zone="Europe/London", interval_minutes=60)
    assert simulate(plan).intervals == 23
    assert simulate(replace(plan, first_day=date(2025, 10, 26))).intervals == 25


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"homes": 0}, "homes is 0"),
        ({"days": 0}, "days is 0"),
        ({"interval_minutes": 7}, "interval of 7 minutes"),
        ({"missing_pct": -1}, "missing_pct is -1"),
        ({"late_pct": 80}, "late_pct is 80"),
        ({"pv_share": 1.5}, "pv_share is 1.5"),
        ({"response_share": float("nan")}, "response_share is nan"),
        ({"seed": -1}, "seed is -1"),
        ({"zone": "Seoul"}, "'Seoul' is no IANA time zone"),
        ({"zone": "Asia/Kolkata", "interval_minutes": 60, "events": ()}, "not on the 60-minute grid"),
        ({"days": 5}, "outside the days simulated"),
        ({"events": (SimulatedEvent(EVENTS[0].end, EVENTS[0].start),)}, "has no length"),
        ({"events": (SimulatedEvent(datetime(2025, 7, 2), datetime(2025, 7, 3)),)}, "names no instant"),
        ({"interval_minutes": 60, "events": (HALF_PAST,)}, "60-minute grid"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(change: dict[str, object], problem: str):
    with pytest.raises(NegawattError, match=problem):
        replace(PLAN, **change)


def test_files_hold_what_the_batches_do(tmp_path):
    simulation = simulate(replace(PLAN, homes=6))
    paths = write_files(simulation, tmp_path / "demo")
    assert {name: path.name for name, path in paths.items()} == {
        "readings": "readings.parquet",
        "late": "late.parquet",
        "homes": "homes.csv",
    }
    assert [str(kind) for kind in pq.read_schema(paths["readings"]).types[:4]] == [
        "string",
        "timestamp[ms, tz=UTC]",
        "int32",
        "int32",
    ]
    for name, batches in (("readings", simulation.batches()), ("late", simulation.late_batches())):
        files = [paths[name]]
        with import_files(files, spool_dir=tmp_path, rejects_path=tmp_path / "r.csv", max_rejects_pct=0) as summary:
            assert summary.rejected == 0
            assert rows_of(list(summary.batches())) == rows_of(list(batches))
    with paths["homes"].open(encoding="utf-8", newline="") as stream:
        homes = list(csv.DictReader(stream))
    assert [(h["meter"], int(h["contracted_w"]), h["feeder"], int(h["pv_wp"])) for h in homes] == [
        (home.meter, home.contracted_w, home.feeder, home.pv_wp) for home in simulation.homes
    ]
