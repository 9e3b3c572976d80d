"""Correlation and training over the batch store by Spark, against the same in one process."""

from __future__ import annotations

import json

import numpy as np
import pytest
from stores import Row, a_batch

from batch.correlate import correlate_loads, correlate_store
from batch.forecast import ForecastRule
from batch.forecast_nn import NetworkRule
from batch.forecast_store import check_sites, loads_of_store, store_window, train_store
from batch.parquet_store import ParquetStore
from domain.errors import StoreError
from domain.series import InvalidSeriesError, Weather

pytestmark = pytest.mark.stack

DAYS = 90
FIRST = 20_000 * 24
HOMES = [f"home-{n}" for n in range(6)]
WINDOW = (60, FIRST, FIRST + 24 * DAYS)


def the_weather() -> Weather:
    random = np.random.default_rng(1)
    hours = np.arange(24 * (DAYS + 20))
    heat = 18 + np.repeat(random.normal(0, 5, DAYS + 20), 24) + 5 * np.sin(2 * np.pi * (hours - 9) / 24)
    return Weather(FIRST - 20 * 24, 60, {"temperature_c": heat, "wind_speed_ms": np.full(len(hours), 3.0)})


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    store = ParquetStore(tmp_path_factory.mktemp("forecast") / "store", buckets=4)
    random = np.random.default_rng(2)
    heat = the_weather().values["temperature_c"][20 * 24 :]
    rows = []
    for n, home in enumerate(HOMES):
        first = 0 if n else 80 * 24  # the first home is new
        for hour in range(first, 24 * DAYS):
            wh = (300 + 100 * n) * (1 + 0.04 * max(heat[hour] - 18, 0)) * random.uniform(0.95, 1.05)
            rows.append(Row(home, FIRST + hour, round(wh)))
    store.append([a_batch(rows)])
    return store


def test_spark_finds_the_correlations_that_one_process_finds(spark, store):
    from zoneinfo import ZoneInfo

    zone = ZoneInfo("Asia/Seoul")
    found, metrics = correlate_store(spark, store, the_weather(), zone, WINDOW)
    expected = correlate_loads(loads_of_store(store, *WINDOW), the_weather(), zone)
    assert metrics.rows == len(HOMES)
    assert [(one.site, one.variable, one.r, one.finding) for one in found] == [
        (one.site, one.variable, one.r, one.finding) for one in expected
    ]
    for a, b in zip(found, expected, strict=True):
        assert np.array_equal(a.daily, b.daily, equal_nan=True)
    wind = next(one for one in found if one.variable == "wind_speed_ms")
    assert (wind.r, wind.finding) == (None, "weather.constant")


def test_spark_trains_a_model_a_bucket_and_leaves_out_new_sites(spark, store):
    pytest.importorskip("tensorflow", reason="TensorFlow isn't installed")
    rule = ForecastRule(network=NetworkRule(hidden=16, members=2, steps=150, batch=256))
    weather = Weather(FIRST - 20 * 24, 60, {"temperature_c": the_weather().values["temperature_c"]})
    groups, left_out, metrics = train_store(spark, store, weather, rule, WINDOW)
    trained = sorted(site for group in groups for site in group.sites)
    assert trained == HOMES[1:]
    assert metrics.buckets == len({tuple(group.sites) for group in groups}) + len(left_out)
    said = [*left_out, *(text for group in groups for text in group.findings)]
    assert len(said) == 1
    assert "too little history" in said[0] or "none of 1 sites has 14 days of loads" in said[0]


def test_the_store_says_what_it_lacks(store, tmp_path):
    assert store_window(store) == WINDOW
    with pytest.raises(InvalidSeriesError, match=r"no site 'nobody' in .*; there are 6: 'home-0'"):
        check_sites(store, 60, ["home-1", "nobody"])
    with pytest.raises(StoreError, match=r"readings of one interval are needed; .* holds: none"):
        store_window(ParquetStore(tmp_path / "empty"))


def test_correlations_travel_as_json_without_nan(spark, store):
    from zoneinfo import ZoneInfo

    from batch.correlate import from_message, to_message

    found = correlate_loads(loads_of_store(store, *WINDOW), the_weather(), ZoneInfo("UTC"))
    message = to_message(found)
    assert "NaN" not in message.decode()
    json.loads(message, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    assert [vars(one) | {"daily": None} for one in from_message(message)] == [
        vars(one) | {"daily": None} for one in found
    ]
