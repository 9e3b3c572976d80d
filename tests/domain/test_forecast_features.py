"""What a forecast may look at: no load less than a day old, no weather of the day after, and no gap as zero."""

from __future__ import annotations

from datetime import date
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from domain.forecast_features import (
    HISTORY_DAYS,
    make_features,
    naive_forecasts,
    why_unusable,
)
from domain.series import InvalidSeriesError, Loads, Weather, day_bounds, local_clock
from domain.smoothing import bridge, fading_mean

SEOUL, MELBOURNE = ZoneInfo("Asia/Seoul"), ZoneInfo("Australia/Melbourne")
DAYS = 60
FIRST = 20_000 * 24
"""A slot of the hourly grid: midnight UTC of 2024-10-04."""


def some_loads(sites: int = 2, days: int = DAYS, seed: int = 1) -> Loads:
    random = np.random.default_rng(seed)
    hours = np.arange(24 * days)
    shape = 500 + 300 * np.sin(2 * np.pi * hours / 24)
    load = shape * random.uniform(0.7, 1.3, (sites, len(hours)))
    return Loads(np.array([f"site-{n}" for n in range(sites)], dtype=object), FIRST, 60, load)


def some_weather(days: int = DAYS + 40, seed: int = 2) -> Weather:
    """From thirty days before the loads."""
    random = np.random.default_rng(seed)
    hours = np.arange(24 * days)
    values = 15 + 8 * np.sin(2 * np.pi * hours / 24) + random.normal(0, 2, len(hours))
    return Weather(FIRST - 30 * 24, 60, {"temperature_c": values})


def changed(loads: Loads, columns: slice, by: float = 3.0) -> Loads:
    load = loads.load.copy()
    load[:, columns] *= by
    return Loads(loads.sites, loads.first_slot, loads.interval_minutes, load)


def test_loads_less_than_a_day_old_change_nothing():
    loads, weather, at = some_loads(), some_weather(), FIRST + 50 * 24
    before = make_features(loads, weather, at, at + 24, SEOUL)
    for hour in range(24):
        touched = changed(loads, slice(50 * 24 + hour - 23, None))
        after = make_features(touched, weather, at, at + 24, SEOUL)
        assert np.array_equal(after.by_site[:, hour], before.by_site[:, hour])
        assert np.array_equal(after.base[:, hour], before.base[:, hour])
        assert np.array_equal(after.level[:, hour], before.level[:, hour])


def test_a_load_of_just_a_day_ago_does_enter():
    loads, weather, at = some_loads(), some_weather(), FIRST + 50 * 24
    before = make_features(loads, weather, at, at + 24, SEOUL)
    after = make_features(changed(loads, slice(49 * 24, 49 * 24 + 1)), weather, at, at + 24, SEOUL)
    assert not np.array_equal(after.by_site[:, 0], before.by_site[:, 0])


def test_weather_after_the_target_s_local_day_changes_nothing():
    loads, weather = some_loads(), some_weather()
    first, last = day_bounds(date(2024, 11, 20), 60, SEOUL)
    before = make_features(loads, weather, first, last, SEOUL)
    values = weather.values["temperature_c"].copy()
    values[last - weather.first_slot :] += 20
    after = make_features(loads, Weather(weather.first_slot, 60, {"temperature_c": values}), first, last, SEOUL)
    assert np.array_equal(after.common, before.common)


def test_features_do_not_depend_on_which_targets_are_asked_for_together():
    loads, weather = some_loads(days=80), some_weather(days=130)
    whole = make_features(loads, weather, FIRST + 45 * 24, FIRST + 80 * 24, SEOUL, "KR")
    part = make_features(loads, weather, FIRST + 70 * 24, FIRST + 75 * 24, SEOUL, "KR")
    at = slice(25 * 24, 30 * 24)
    # Local days that the stretch cuts keep their extremes, as weather is looked at on both sides of it.
    assert np.allclose(part.by_site, whole.by_site[:, at], atol=1e-5)
    assert np.allclose(part.common, whole.common[at], atol=1e-5)


def test_history_beyond_what_is_said_does_not_enter():
    loads, weather, at = some_loads(days=80), some_weather(days=130), FIRST + 60 * 24
    before = make_features(loads, weather, at, at + 24, SEOUL)
    after = make_features(changed(loads, slice(None, (60 - HISTORY_DAYS) * 24)), weather, at, at + 24, SEOUL)
    assert np.array_equal(after.by_site, before.by_site)


def test_sites_of_any_size_look_alike():
    loads, weather, at = some_loads(1), some_weather(), FIRST + 50 * 24
    small = make_features(loads, weather, at, at + 24, SEOUL)
    large = make_features(changed(loads, slice(None), 1e4), weather, at, at + 24, SEOUL)
    names = list(small.site_names)
    others = [n for n, name in enumerate(names) if name != "log_level"]
    assert np.allclose(small.by_site[..., others], large.by_site[..., others], atol=1e-5)


def test_targets_and_loads_turn_into_one_another():
    loads, weather, at = some_loads(), some_weather(), FIRST + 50 * 24
    features = make_features(loads, weather, at, at + 48, SEOUL)
    load = loads.between(at, at + 48).load
    assert np.allclose(features.to_load(features.target(load)), load)
    assert (features.to_load(np.full(load.shape, -50.0)) == 0).all()


def test_a_load_of_zero_has_a_correction():
    loads = changed(some_loads(1), slice(50 * 24, 50 * 24 + 3), 0.0)
    features = make_features(loads, some_weather(), FIRST + 50 * 24, FIRST + 51 * 24, SEOUL)
    assert np.isfinite(features.target(loads.between(FIRST + 50 * 24, FIRST + 51 * 24).load)).all()


def test_like_days_compare_weekends_with_weekends():
    """A site that runs Monday to Friday only: the mean of like days is right on every day of the week."""
    hours = np.arange(24 * DAYS)
    clock = local_clock(FIRST, FIRST + len(hours), 60, SEOUL)
    loads = Loads(np.array(["works"], dtype=object), FIRST, 60, np.where(clock.working_day, 900.0, 100.0)[None])
    features = make_features(loads, some_weather(), FIRST + 45 * 24, FIRST + 59 * 24, SEOUL)
    assert np.allclose(features.to_load(np.zeros(features.base.shape)), loads.load[:, 45 * 24 : 59 * 24])


def test_a_holiday_is_compared_with_days_off():
    """Liberation Day 2025, a Friday, is like the Saturday and the Sunday before."""
    first = day_bounds(date(2025, 6, 1), 60, SEOUL)[0]
    clock = local_clock(first, first + 90 * 24, 60, SEOUL, "KR")
    loads = Loads(np.array(["works"], dtype=object), first, 60, np.where(clock.working_day, 900.0, 100.0)[None])
    weather = Weather(first - 20 * 24, 60, {"temperature_c": np.full(120 * 24, 20.0)})
    begin, end = day_bounds(date(2025, 8, 15), 60, SEOUL)
    features = make_features(loads, weather, begin, end, SEOUL, "KR")
    assert np.allclose(features.to_load(np.zeros(features.base.shape)), 100.0)


def test_lags_follow_the_local_clock_over_a_change_of_clocks():
    """Clocks in Melbourne went forward on 6 October 2013: 12:00 a week before 9 October was 169 hours before."""
    first = day_bounds(date(2013, 8, 1), 30, MELBOURNE)[0]
    clock = local_clock(first, first + 90 * 48, 30, MELBOURNE)
    loads = Loads(np.array(["clock"], dtype=object), first, 30, (1000.0 + clock.second / 60)[None])
    weather = Weather(first - 20 * 48, 30, {"temperature_c": np.full(120 * 48, 12.0)})
    begin, end = day_bounds(date(2013, 10, 9), 30, MELBOURNE)
    features = make_features(loads, weather, begin, end, MELBOURNE)
    assert np.allclose(features.to_load(np.zeros(features.base.shape)), loads.between(begin, end).load)


def test_a_lag_is_never_shorter_than_24_hours_where_clocks_went_forward():
    first = day_bounds(date(2013, 8, 1), 30, MELBOURNE)[0]
    loads = Loads(np.array(["a"], dtype=object), first, 30, np.random.default_rng(1).uniform(1, 2, (1, 90 * 48)))
    weather = Weather(first - 20 * 48, 30, {"temperature_c": np.full(120 * 48, 12.0)})
    begin, end = day_bounds(date(2013, 10, 6), 30, MELBOURNE)
    before = make_features(loads, weather, begin, end, MELBOURNE)
    for n in range(end - begin):
        after = make_features(changed(loads, slice(begin - first + n - 47, None)), weather, begin, end, MELBOURNE)
        assert np.array_equal(after.by_site[:, n], before.by_site[:, n])


def test_a_gap_in_the_loads_is_filled_from_earlier_weeks_and_said():
    loads = some_loads(1)
    load = loads.load.copy()
    load[0, 49 * 24 + 5] = np.nan
    with_gap = Loads(loads.sites, FIRST, 60, load)
    features = make_features(with_gap, some_weather(), FIRST + 50 * 24, FIRST + 51 * 24, SEOUL)
    assert features.usable.all()
    assert features.filled[0, 5]
    instead = load.copy()
    instead[0, 49 * 24 + 5] = load[0, 42 * 24 + 5]
    other = make_features(
        Loads(loads.sites, FIRST, 60, instead), some_weather(), FIRST + 50 * 24, FIRST + 51 * 24, SEOUL
    )
    assert np.allclose(features.base, other.base, atol=1e-3)  # the level alone counts known loads only


def test_a_gap_longer_than_earlier_weeks_can_fill_leaves_targets_unusable_and_says_so():
    loads = some_loads(1, days=90)
    load = loads.load.copy()
    load[0, 40 * 24 : 80 * 24] = np.nan
    features = make_features(
        Loads(loads.sites, FIRST, 60, load), some_weather(days=140), FIRST + 81 * 24, FIRST + 82 * 24, SEOUL
    )
    assert not features.usable.any()
    assert "loads of the weeks before" in why_unusable(features, 0)


def test_missing_weather_leaves_targets_unusable_and_says_so():
    weather = some_weather()
    values = weather.values["temperature_c"].copy()
    values[80 * 24 : 80 * 24 + 12] = np.nan
    features = make_features(
        some_loads(1),
        Weather(weather.first_slot, 60, {"temperature_c": values}),
        FIRST + 50 * 24,
        FIRST + 51 * 24,
        SEOUL,
    )
    assert features.weather_missing[:12].all()
    # and two more, whose mean with a half-life of three hours has less than half of its weight
    assert "14 intervals lack weather, the first at 2024-11-23T00:00:00+00:00" in why_unusable(features, 0)


def test_weather_without_temperature_is_refused():
    with pytest.raises(InvalidSeriesError, match=r"no 'temperature_c'.*Columns there: wind_speed_ms"):
        make_features(some_loads(), Weather(FIRST, 60, {"wind_speed_ms": np.ones(99)}), FIRST, FIRST + 24, SEOUL)


def test_short_gaps_are_bridged_and_long_ones_stay():
    nan = np.nan
    line = bridge(np.array([nan, 1.0, nan, nan, 4.0, nan, nan, nan, 8.0, nan]), 2)
    assert line[:5].tolist() == pytest.approx([nan, 1, 2, 3, 4], nan_ok=True)
    assert np.isnan(line[[5, 6, 7, 9]]).all()


def test_fading_means_halve_the_weight_every_half_life():
    values = np.zeros(40)
    values[20] = 1.0
    faded = fading_mean(values, 5.0)
    assert faded[25] == pytest.approx(faded[20] / 2)
    assert (faded[:20] == 0)[15:].all()


def test_naive_forecasts_are_the_loads_of_a_day_and_a_week_before():
    loads = some_loads(1)
    at = FIRST + 20 * 24
    naive = naive_forecasts(loads, at, at + 24)
    assert np.array_equal(naive["yesterday"], loads.load[:, 19 * 24 : 20 * 24])
    assert np.array_equal(naive["last-week"], loads.load[:, 13 * 24 : 14 * 24])
    assert np.isnan(naive_forecasts(loads, FIRST, FIRST + 24)["yesterday"]).all()


def test_a_negative_load_is_refused_with_its_site_and_time():
    with pytest.raises(InvalidSeriesError, match=r"site 'a' at 1970-01-01T01:00:00\+00:00: load -1"):
        Loads(np.array(["a"], dtype=object), 0, 60, np.array([[1.0, -1.0]]))


def test_an_unknown_site_is_named():
    with pytest.raises(InvalidSeriesError, match="no site 'b' among the loads; there are 2: 'site-0', 'site-1'"):
        some_loads().only(["site-0", "b"])


def test_weather_of_another_grid_is_brought_onto_the_loads_grid():
    fine = Weather(0, 15, {"temperature_c": np.array([1.0, 2, 3, 4, 5, 6, 7, np.nan])})
    assert fine.on(0, 2, 60)["temperature_c"].tolist() == pytest.approx([2.5, np.nan], nan_ok=True)
    coarse = Weather(10, 60, {"temperature_c": np.array([0.0, 4.0, 8.0])})
    assert coarse.on(10 * 4, 10 * 4 + 6, 15)["temperature_c"].tolist() == pytest.approx([0, 1, 2, 3, 4, 5])


def test_the_dew_point_is_that_of_the_tables():
    """Psychrometric tables: 25 °C at 60 % has its dew point at 16.7 °C; saturated air at its own temperature."""
    columns = {"temperature_c": np.array([25.0, 10.0]), "relative_humidity_pct": np.array([60.0, 100.0])}
    found = Weather(0, 60, columns).with_dew_point().values["dew_point_c"]
    assert found.tolist() == pytest.approx([16.7, 10.0], abs=0.05)
