"""Live views: what they show of an event is what the kernel certifies of the same readings."""

from __future__ import annotations

import dataclasses
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest
from builders import a_plan, a_programme, an_event
from domain_builders import programme_data
from live_desk import (
    at_slots,
    during,
    history,
    one_row,
    people,
    rows_of,
    simulated,
    simulated_people,
    until,
)

from domain.certification import certify, expected
from domain.plans import make_plan
from domain.programmes import parse_programme
from domain.readings import MISSING, Quality, Register
from speed.live import (
    create_live_views,
    create_tables,
    prepare_event,
    refresh_event,
    scope_of,
    store_resources,
)
from speed.live_sql import event_sql, feeder_sql, interval_sql, lateness_sql, resource_sql, unknown_sql

TWO_HOURS = an_event(hours=2)
MINUTES = 30


@pytest.fixture
def plan():
    return a_plan(TWO_HOURS)


def resources_at(store, plan, now):
    return rows_of(store, resource_sql(scope_of(store, plan, now)))


def assert_sums_are_certified(rows, reductions):
    """Energies of each resource equal the kernel's, over the reported intervals."""
    assert sorted(rows) == reductions.meters.tolist()
    seen = reductions.actual_wh != MISSING
    for n, meter in enumerate(reductions.meters):
        row, has = rows[meter], reductions.unadjusted_wh[n, 0] != MISSING
        assert (row["status"] != "no baseline") == has
        assert row["reported"] == (seen[n].sum() if has else 0)
        names = ("unadjusted_wh", "baseline_wh", "usage_wh", "reduction_wh")
        energies = (
            reductions.unadjusted_wh[n],
            reductions.baseline_wh[n],
            reductions.actual_wh[n],
            reductions.reduction_wh[n],
        )
        want = [int(wh[seen[n]].sum()) if has and seen[n].any() else None for wh in energies]
        assert [row[name] for name in names] == want, meter


@pytest.mark.parametrize("name", ["kpx-max-4-of-5", "kpx-mid-6-of-10", "pjm-high-4-of-5"])
def test_at_the_end_of_a_complete_event_every_reduction_is_the_certified_one(store, name):
    plan = make_plan(dataclasses.replace(TWO_HOURS, programme=name), a_programme(name), 15)
    simulation = simulated(plan)
    for batch in (*simulation.batches(), *simulation.late_batches()):
        store.append(batch)
    homes = simulated_people(simulation)
    prepared = prepare_event(store, plan, homes)
    certified = certify(plan, store.read_plan(plan, np.array(list(homes), dtype=object)))
    assert 0 < certified.certified.sum() < len(homes)  # one home's meter is too new
    rows = resources_at(store, plan, plan.event.end)
    assert_sums_are_certified(rows, certified)
    assert prepared.with_baseline == certified.certified.sum()
    # Feeders and the event are plain sums of their resources.
    total = one_row(store, event_sql(scope_of(store, plan, plan.event.end)))
    assert total["reduction_wh"] == certified.reduction_wh.sum() == total["forecast_wh"]
    assert (total["completeness_pct"], total["forecast_low_wh"]) == (100, total["forecast_high_wh"])
    feeders = rows_of(store, feeder_sql(scope_of(store, plan, plan.event.end)), "feeder")
    assert sum(row["usage_wh"] for row in feeders.values()) == total["usage_wh"]


def test_in_the_middle_with_readings_missing_only_what_was_reported_counts(store):
    plan = make_plan(TWO_HOURS, a_programme(), 15)
    simulation = simulated(plan, missing_pct=8.0)
    now = plan.event.start + timedelta(minutes=67)
    for batch in simulation.batches():
        if len(early := until(batch, now)):
            store.append(early)
    homes = simulated_people(simulation)
    prepare_event(store, plan, homes)
    block = store.read_plan(plan, np.array(list(homes), dtype=object))
    assert (block.wh[:, 0, :4] == MISSING).any()
    assert (block.wh[:, 0, 4 : plan.event_intervals] == MISSING).all()  # four are over by then
    found, usage = expected(plan, block), block.wh[:, 0, : plan.event_intervals].astype(np.int64)
    rows = resources_at(store, plan, now)
    for n, meter in enumerate(found.meters):
        seen = (usage[n] != MISSING) & (found.baseline_wh[n] != MISSING)
        assert rows[meter]["due"] == 4
        assert rows[meter]["reported"] == seen.sum()
        want = int((found.baseline_wh[n] - usage[n])[seen].sum()) if seen.any() else None
        assert rows[meter]["reduction_wh"] == want


def test_shares_and_forecast_by_hand(store, plan):
    homes = people({"a": "north", "b": "south"})
    store.append(history(plan, homes))
    # Of four half-hours at 500 Wh two are over; b's second one is missing. 1000 W are 500 Wh in half an hour.
    store.append(during(plan, {"a": [300, 260], "b": [450, None]}))
    prepare_event(store, plan, homes)
    now = plan.event.start + timedelta(hours=1)
    rows = resources_at(store, plan, now)
    a = rows["a"]
    assert (a["due"], a["reported"], a["completeness_pct"]) == (2, 2, 100)
    assert (a["unadjusted_wh"], a["baseline_wh"], a["usage_wh"], a["reduction_wh"]) == (1000, 1000, 560, 440)
    assert a["share_pct"] == 44
    # 200 and 240: 440 so far and 220 for each of two more; their variance is 800, so two more have a deviation of
    # sqrt(800 * (2 + 2**2 / 2)) = 56.57, and twice that is 113.14.
    assert (a["forecast_wh"], a["forecast_low_wh"], a["forecast_high_wh"]) == (880, 767, 993)
    b = rows["b"]
    assert (b["reported"], b["completeness_pct"], b["reduction_wh"], b["share_pct"]) == (1, 50, 50, 10)
    assert (b["forecast_wh"], b["forecast_low_wh"]) == (200, None)  # one interval has no spread
    total = one_row(store, event_sql(scope_of(store, plan, now)))
    assert (total["resources"], total["homes"], total["due"], total["reported"]) == (2, 2, 4, 3)
    assert (total["baseline_wh"], total["usage_wh"], total["reduction_wh"]) == (1500, 1010, 490)
    assert total["share_pct"] == pytest.approx(100 * 490 / 1500)
    # 490 in 3 of 8 home-intervals. A home saved 125 on average in the first, 240 in the second: variance 6612.5; five
    # home-intervals are to come, 2.5 a home: 2 * 2 homes * sqrt(6612.5 * (2.5 + 2.5**2 / 2)) = 771.3.
    assert total["forecast_wh"] == 1307  # 1306.67
    assert (total["forecast_low_wh"], total["forecast_high_wh"]) == (535, 2078)
    feeders = rows_of(store, feeder_sql(scope_of(store, plan, now)), "feeder")
    assert [feeders[name]["reduction_wh"] for name in ("north", "south")] == [440, 50]
    assert feeders["north"]["forecast_high_wh"] == a["forecast_high_wh"]
    intervals = interval_sql(scope_of(store, plan, now))
    curve = store.query(f"SELECT * FROM ({intervals}) i ORDER BY ts, feeder").to_pylist()
    assert [(row["feeder"], row["reported"], row["reduction_wh"]) for row in curve] == [
        ("north", 1, 200),
        ("south", 1, 50),
        ("north", 1, 240),
    ]


def test_a_view_of_an_earlier_time_leaves_out_what_ended_later(store, plan):
    homes = people({"a": "north"})
    store.append(history(plan, homes))
    store.append(during(plan, {"a": [300, 200, 100, 0]}))
    prepare_event(store, plan, homes)
    start = plan.event.start
    cases = ((-1, None), (0, None), (29, None), (30, 300), (59, 300), (119, 600), (120, 600), (999, 600))
    for minutes, usage in cases:
        row = resources_at(store, plan, start + timedelta(minutes=minutes))["a"]
        assert row["usage_wh"] == usage, minutes
        assert row["due"] == max(0, min(minutes // 30, 4))
        assert row["due"] == row["reported"]


def test_homes_without_baseline_or_reading_are_listed_and_count_in_no_sum(store, plan):
    homes = people({"new": "north", "silent": "north", "usual": "north"})
    store.append(history(plan, ["silent", "usual"]))
    store.append(during(plan, {"new": [900, 900], "usual": [400, 400]}))
    prepare_event(store, plan, homes)
    now = plan.event.start + timedelta(hours=1)
    rows = resources_at(store, plan, now)
    assert {meter: row["status"] for meter, row in rows.items()} == {
        "new": "no baseline",
        "silent": "adjusted",
        "usual": "adjusted",
    }
    for meter in ("new", "silent"):
        assert rows[meter]["reported"] == 0
        assert {rows[meter][name] for name in ("baseline_wh", "usage_wh", "reduction_wh", "share_pct")} == {None}
        assert rows[meter]["forecast_wh"] is None
    total = one_row(store, event_sql(scope_of(store, plan, now)))
    assert (total["resources"], total["homes"], total["due"], total["reported"]) == (3, 2, 4, 2)
    assert (total["usage_wh"], total["reduction_wh"]) == (800, 200)


def test_before_any_reading_of_the_event_there_are_homes_and_no_energies(store, plan):
    homes = people({"a": "north"})
    store.append(history(plan, homes))
    prepare_event(store, plan, homes)
    total = one_row(store, event_sql(scope_of(store, plan, plan.event.start + timedelta(hours=1))))
    assert (total["due"], total["reported"], total["completeness_pct"]) == (2, 0, 0)
    assert (total["usage_wh"], total["forecast_wh"]) == (None, None)
    before = one_row(store, event_sql(scope_of(store, plan, plan.event.start)))
    assert (before["due"], before["completeness_pct"]) == (0, None)


def test_the_baseline_is_adjusted_once_the_window_before_the_event_is_in(store, plan):
    homes = people({"a": "north"})
    before = plan.slots[1:].ravel()
    window = plan.slots[0, plan.event_intervals :]
    store.append(at_slots(before, {"a": [500] * len(before)}, MINUTES))
    first = prepare_event(store, plan, homes)
    assert (first.with_baseline, first.adjusted, first.changed) == (1, 0, 1)
    store.append(during(plan, {"a": [400]}))
    now = plan.event.start + timedelta(minutes=30)
    assert resources_at(store, plan, now)["a"]["reduction_wh"] == 100
    store.append(at_slots(window[:-1], {"a": [540] * (len(window) - 1)}, MINUTES))
    assert refresh_event(store, plan, homes).adjusted == 0
    store.append(at_slots(window[-1:], {"a": [540]}, MINUTES))
    done = refresh_event(store, plan, homes)
    assert (done.adjusted, done.changed) == (1, 1)
    row = resources_at(store, plan, now)["a"]
    assert row["status"] == "adjusted"
    assert (row["unadjusted_wh"], row["baseline_wh"], row["reduction_wh"]) == (500, 540, 140)


def test_late_readings_replace_the_stored_rows_of_their_home_alone(store, plan):
    homes = people({"a": "north", "b": "north"})
    store.append(history(plan, homes))
    assert prepare_event(store, plan, homes).changed == 2
    rows = "SELECT COUNT(*) AS n FROM event_baselines"
    before = one_row(store, rows)
    assert prepare_event(store, plan, homes).changed == 0
    window = plan.slots[0, plan.event_intervals :]
    store.append(at_slots(window, {"b": [560] * len(window)}, MINUTES, revision=1))
    assert refresh_event(store, plan, homes).changed == 1
    assert refresh_event(store, plan, homes).changed == 0
    assert one_row(store, rows) == before
    stored = store.query("SELECT meter, baseline_wh FROM event_baselines ORDER BY meter, ts")
    assert stored["baseline_wh"].to_pylist() == [500] * 4 + [560] * 4


def test_a_reading_of_the_event_itself_has_no_baseline_worked_out_again(store, plan, monkeypatch):
    homes = people({"a": "north"})
    store.append(history(plan, homes))
    prepare_event(store, plan, homes)
    store.append(during(plan, {"a": [1, 2, 3, 4]}))
    monkeypatch.setattr("speed.live.expected", None)
    assert refresh_event(store, plan, homes).changed == 0


def test_who_no_longer_takes_part_is_no_longer_shown(store, plan):
    homes = people({"a": "north", "b": "south"})
    store.append(history(plan, homes))
    prepare_event(store, plan, homes)
    left = {"a": homes["a"]}
    assert prepare_event(store, plan, left).resources == 1
    assert list(resources_at(store, plan, plan.event.end)) == ["a"]
    assert one_row(store, "SELECT COUNT(DISTINCT meter) AS n FROM event_baselines") == {"n": 1}
    moved = {"a": dataclasses.replace(homes["a"], contracted_w=7, feeder="O'Hara")}
    prepare_event(store, plan, moved)
    assert resources_at(store, plan, plan.event.end)["a"]["feeder"] == "O'Hara"


def test_corrections_kept_as_further_rows_count_as_one_reading(store, plan):
    homes = people({"a": "north"})
    store.append(history(plan, homes))
    store.append(during(plan, {"a": [400, 400]}))
    prepare_event(store, plan, homes)
    # As HeavyDB keeps them: 400 becomes 350 and then 380.
    start = int(plan.event.start.timestamp())
    delta = {
        "meter": store.meter_ids(np.array(["a", "a"], dtype=object)),
        "ts": pa.array([start, start], pa.timestamp("s")),
        "wh": pa.array([-50, 30], pa.int32()),
        "quality": pa.array([2, 2], pa.int8()),
        "revision": pa.array([1, 2], pa.int16()),
        "n": pa.array([0, 0], pa.int8()),
    }
    store.load(f"readings_import_{MINUTES}", pa.table(delta))
    row = resources_at(store, plan, plan.event.end)["a"]
    assert (row["reported"], row["usage_wh"], row["reduction_wh"]) == (2, 780, 220)
    # 120 and 100: variance 200, two of four to come.
    assert row["forecast_high_wh"] == 440 + round(2 * (200 * (2 + 2**2 / 2)) ** 0.5)


def test_reading_rows_that_are_readings_gives_the_same_as_grouping_them(store):
    plan = make_plan(TWO_HOURS, a_programme(), 15)
    simulation = simulated(plan, missing_pct=8.0)
    for batch in simulation.batches():
        store.append(batch)
    prepare_event(store, plan, simulated_people(simulation))
    scope = scope_of(store, plan, plan.event.end)
    assert not scope.corrected
    for sql in (resource_sql, interval_sql, feeder_sql, event_sql):
        plain, grouped = (
            sorted(map(str, store.query(sql(dataclasses.replace(scope, corrected=by_group))).to_pylist()))
            for by_group in (False, True)
        )
        assert plain == grouped


def test_estimates_count_as_the_programme_says(store):
    homes = people({"a": "north"})
    for name, accept in (("lenient", True), ("strict", False)):
        data = programme_data(**{"terms[0].accept_estimated": accept, "terms[0].min_event_completeness_pct": 1})
        plan = make_plan(dataclasses.replace(TWO_HOURS, id=name, programme="test"), parse_programme(data), MINUTES)
        store.append(history(plan, homes))
        store.append(during(plan, {"a": [300, 310]}, quality=Quality.ESTIMATED))
        store.append(during(plan, {"a": [None, 320, 330]}, revision=1))
        store.append(during(plan, {"a": [None, None, 340]}, revision=2, quality=Quality.ESTIMATED))
        prepare_event(store, plan, homes)
        certified = certify(plan, store.read_plan(plan, np.array(["a"], dtype=object)))
        rows = resources_at(store, plan, plan.event.end)
        assert_sums_are_certified(rows, certified)
        assert rows["a"]["reported"] == (3 if accept else 1)


def test_views_show_all_events_as_the_queries_show_each(store):
    later = an_event("e2", TWO_HOURS.start + timedelta(days=1))
    plans = [
        make_plan(TWO_HOURS, a_programme(), MINUTES, event_days={later.start.date()}),
        make_plan(later, a_programme(), MINUTES, event_days={TWO_HOURS.start.date()}),
    ]
    homes = people({"a": "north", "b": "south"})
    for n, plan in enumerate(plans):
        store.append(history(plan, homes))
        store.append(during(plan, {"a": [300 + n, 310], "b": [280 - n]}))
        prepare_event(store, plan, homes)
    now = later.start + timedelta(minutes=45)
    store_resources(store, homes)
    create_live_views(store, now, MINUTES)
    create_live_views(store, now, MINUTES)  # made anew
    for view, sql in (
        ("live_interval", interval_sql),
        ("live_resource", resource_sql),
        ("live_feeder", feeder_sql),
        ("live_event", event_sql),
    ):
        seen = sorted(map(str, store.query(f"SELECT * FROM {view}").to_pylist()))
        each = [row for plan in plans for row in store.query(sql(scope_of(store, plan, now))).to_pylist()]
        assert seen == sorted(map(str, each))
    assert len(rows_of(store, "SELECT * FROM live_lateness", "feeder")) == 2
    assert one_row(store, "SELECT * FROM live_lateness_all")["homes"] == 2
    assert store.query("SELECT * FROM unknown_meters").num_rows == 0


def test_lateness_by_hand(store, plan):
    homes = people({"a": "north", "b": "north", "c": "south"})
    create_tables(store)
    assert store_resources(store, homes)
    assert not store_resources(store, homes)
    # Eight half-hours are over in four hours: a has them all but one, b stopped an hour ago, c never reported.
    end = int(plan.slots[0, 0])
    slots = np.arange(end - 8, end)
    a = [5] * 8
    a[3] = None
    store.append(at_slots(slots, {"a": a, "b": [5] * 6, "stranger": [7] * 8}, MINUTES))
    now = plan.event.start + timedelta(minutes=10)
    scope = scope_of(store, plan, now)
    rows = rows_of(store, lateness_sql(scope), "feeder")
    north, south = rows["north"], rows["south"]
    assert (north["homes"], north["due"], north["missing"], north["behind"]) == (2, 16, 3, 1)
    assert north["newest_ts"] == plan.event.start.replace(tzinfo=None) - timedelta(minutes=30)
    assert (north["delay_minutes"], north["behind_pct"]) == (10, 50)
    assert (south["homes"], south["missing"], south["newest_ts"], south["delay_minutes"]) == (1, 8, None, None)
    both = one_row(store, lateness_sql(scope, by_feeder=False))
    assert (both["homes"], both["due"], both["missing"], both["behind"]) == (3, 24, 11, 2)
    unknown = one_row(store, unknown_sql(MINUTES))
    assert (unknown["meter"], unknown["readings"], unknown["energy_wh"]) == ("stranger", 8, 56)
    assert unknown["last_ts"] - unknown["first_ts"] == timedelta(minutes=30 * 7)


def test_exported_energy_has_no_part_in_it(store, plan):
    homes = people({"a": "north"})
    store.append(history(plan, homes))
    exported = during(plan, {"a": [9, 9]})
    store.append(dataclasses.replace(exported, register=Register.EXPORT))
    prepare_event(store, plan, homes)
    assert resources_at(store, plan, plan.event.end)["a"]["reported"] == 0
