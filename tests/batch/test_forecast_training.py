"""Training, walking forward, prediction and refusal, on made-up sites whose load follows temperature and calendar."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from batch.forecast import ForecastRule, TooLittleHistoryError, features_of, predict, train, walk_forward
from batch.forecast_judgement import NotBetterThanNaiveError, check_better_than_naive
from batch.forecast_nn import NetworkRule, _numpy_forward, _standardised, train_network
from batch.forecast_registry import ModelRegistry, group_bytes, group_from
from batch.forecast_trees import TreesRule
from domain.errors import StoreError
from domain.series import InvalidSeriesError, Loads, Weather

pytestmark = pytest.mark.stack  # TensorFlow takes seconds to start

FIRST = 20_000 * 24
NOW = datetime(2025, 1, 2, tzinfo=UTC)
SMALL = NetworkRule(hidden=16, members=2, steps=150, batch=256)
RULE = ForecastRule(zone="Asia/Seoul", holidays="KR", network=SMALL, trees=TreesRule(rounds=60, leaves=15))


def the_weather(days: int) -> Weather:
    """From twenty days before the loads: a season, hot and cold days, and the hours."""
    random = np.random.default_rng(7)
    hours = np.arange(24 * (days + 20))
    daily = np.repeat(random.normal(0, 5, days + 20), 24)
    return Weather(FIRST - 20 * 24, 60, {"temperature_c": 18 + daily + 5 * np.sin(2 * np.pi * (hours - 9) / 24)})


def the_loads(days: int = 90, sites: int = 3, noise: float = 0.05, seed: int = 1) -> Loads:
    """A daily shape, quiet weekends, cooling above 20 °C, and noise that nothing foretells."""
    random = np.random.default_rng(seed)
    hours = np.arange(24 * days)
    hot = np.maximum(the_weather(days).values["temperature_c"][20 * 24 :] - 20, 0)
    weekday = (hours // 24 + 20_000 + 3) % 7
    shape = 600 + 250 * np.sin(2 * np.pi * (hours - 8) / 24) - 150 * (weekday >= 5) + 40 * hot
    size = random.uniform(0.5, 20, (sites, 1))
    load = size * shape * np.exp(random.normal(0, noise, (sites, len(hours))))
    return Loads(np.array([f"site-{n}" for n in range(sites)], dtype=object), FIRST, 60, load)


def trained(model: str = "nn", scope: str = "global", **changes):
    if model == "nn":
        pytest.importorskip("tensorflow", reason="TensorFlow isn't installed")
    else:
        pytest.importorskip("lightgbm", reason="LightGBM isn't installed")
    rule = replace(RULE, model=model, scope=scope, **changes)
    return train(the_loads(), the_weather(90), rule), rule


@pytest.fixture(scope="module")
def group():
    return trained()[0]


def future(values: Loads, from_slot: int) -> Loads:
    load = values.load.copy()
    load[:, from_slot - values.first_slot :] = 1e6
    return Loads(values.sites, values.first_slot, values.interval_minutes, load)


@pytest.mark.parametrize("model", ["nn", "lightgbm"])
@pytest.mark.parametrize("scope", ["global", "site"])
def test_every_kind_of_model_beats_the_naive_forecasts(model, scope):
    found, _ = trained(model, scope)
    errors = found.validation
    for name in ("yesterday", "last-week"):
        assert errors.model[""]["all"].mae < errors.naive[name][""]["all"].mae
    assert errors.model[""]["all"].mape_pct < 10


def test_a_walk_forward_learns_nothing_from_what_it_forecasts_or_from_later():
    """Loads from the start of a stretch on are changed beyond recognition: its first day stays, bit for bit."""
    pytest.importorskip("tensorflow", reason="TensorFlow isn't installed")
    loads, weather = the_loads(), the_weather(90)
    begin, end = FIRST + 70 * 24, FIRST + 71 * 24
    forecasts = []
    for given in (loads, future(loads, begin)):
        features = features_of(given, weather, RULE, FIRST + 15 * 24, FIRST + 90 * 24)
        load = given.between(features.first_slot, features.last_slot).load
        forecasts.append(walk_forward(features, load, RULE, begin, end, 1))
    assert np.isfinite(forecasts[0]).all()
    assert np.array_equal(*forecasts)


def test_later_stretches_of_a_walk_forward_do_learn_from_earlier_ones():
    pytest.importorskip("tensorflow", reason="TensorFlow isn't installed")
    loads, weather = the_loads(), the_weather(90)
    begin, end = FIRST + 70 * 24, FIRST + 90 * 24
    features = features_of(loads, weather, RULE, FIRST + 15 * 24, end)
    load = loads.between(features.first_slot, end).load
    one, two = (walk_forward(features, load, RULE, begin, end, folds) for folds in (1, 2))
    assert np.array_equal(one[:, : 10 * 24], two[:, : 10 * 24])
    assert not np.array_equal(one[:, 10 * 24 :], two[:, 10 * 24 :])


def test_a_forecast_does_not_change_with_the_load_that_it_forecasts(group):
    loads, weather = the_loads(), the_weather(90)
    begin, end = FIRST + 80 * 24, FIRST + 81 * 24
    a = predict(group, loads, weather, RULE, begin, end)
    b = predict(group, future(loads, begin), weather, RULE, begin, end)
    assert np.array_equal(a.middle, b.middle)
    assert np.array_equal(a.low, b.low)


def test_the_same_seed_gives_the_same_model_and_another_seed_another(group):
    again, _ = trained()
    other, _ = trained(seed=2)
    assert group_bytes(again) == group_bytes(group)
    assert not np.array_equal(other.predictor.arrays["out"], group.predictor.arrays["out"])
    assert other.data_hash == group.data_hash


def test_other_data_have_another_hash(group):
    loads = the_loads()
    loads.load[0, 0] += 1
    assert train(loads, the_weather(90), RULE).data_hash != group.data_hash


def test_intervals_hold_the_share_that_they_promise(group):
    """Days that the model never saw, of the same kind: 80 % of loads inside, give or take."""
    loads, weather = the_loads(150), the_weather(150)
    old = Loads(loads.sites, loads.first_slot, 60, loads.load[:, : 90 * 24])
    fresh = train(old, weather, RULE)
    found = predict(fresh, loads, weather, RULE, FIRST + 90 * 24, FIRST + 150 * 24)
    parts = found.errors(loads.between(found.first_slot, FIRST + 150 * 24).load)
    assert parts[""]["all"].coverage_pct == pytest.approx(80, abs=7)
    assert (found.low <= found.middle).all()
    assert (found.middle <= found.high).all()


def test_a_site_of_its_own_is_forecast_by_its_own_network():
    """Of two sites with opposite days each gets its own shape."""
    pytest.importorskip("tensorflow", reason="TensorFlow isn't installed")
    loads = the_loads(sites=2)
    loads.load[1] = loads.load[1, ::-1]
    rule = replace(RULE, scope="site")
    found = train(loads, the_weather(90), rule)
    assert found.predictor.arrays["in"].shape[:2] == (2, SMALL.members)
    one = predict(found, loads.only(["site-1"]), the_weather(90), rule, FIRST + 80 * 24, FIRST + 81 * 24)
    both = predict(found, loads, the_weather(90), rule, FIRST + 80 * 24, FIRST + 81 * 24)
    assert np.allclose(one.middle[0], both.middle[1])


def test_what_numpy_computes_is_what_tensorflow_trained():
    tf = pytest.importorskip("tensorflow", reason="TensorFlow isn't installed")
    from batch.forecast_nn import _forward

    random = np.random.default_rng(1)
    by_site = random.normal(size=(2, 300, 4)).astype(np.float32)
    common = random.normal(size=(300, 3)).astype(np.float32)
    target = by_site[..., 0] * 0.3 + common[:, 0] * 0.2
    rule = replace(SMALL, passes=300, steps=600, dropout=0.0)
    network = train_network(by_site, common, target.astype(float), "global", rule, (0.1, 0.5, 0.9), 1)
    x = _standardised(np.concatenate([by_site[0], common], -1)[None], network.arrays)
    theirs = _forward(
        x[:, None],
        network.arrays,
        lambda h: tf.nn.silu(h).numpy(),
        lambda h: tf.math.softplus(h).numpy(),
        lambda parts: np.concatenate(parts, -1),
        lambda h: h,
    )
    assert np.allclose(_numpy_forward(x, network.arrays), theirs, atol=1e-5)
    assert np.abs(network.predict(by_site, common)[..., 1] - target).mean() < 0.05


def test_noise_is_refused_because_a_naive_forecast_is_as_good():
    """A load that repeats last week exactly: nothing beats last week."""
    pytest.importorskip("tensorflow", reason="TensorFlow isn't installed")
    random = np.random.default_rng(3)
    week = random.uniform(100, 900, 7 * 24)
    loads = Loads(np.array(["a"], dtype=object), FIRST, 60, np.tile(week, 13)[None])
    found = train(loads, the_weather(91), RULE)
    with pytest.raises(NotBetterThanNaiveError, match=r"no better than the load of last week.*It is not kept"):
        check_better_than_naive([found.validation], "nn", 28)


def test_a_refused_model_leaves_nothing_behind(tmp_path):
    pytest.importorskip("tensorflow", reason="TensorFlow isn't installed")
    week = np.random.default_rng(3).uniform(100, 900, 7 * 24)
    found = train(Loads(np.array(["a"], dtype=object), FIRST, 60, np.tile(week, 13)[None]), the_weather(91), RULE)
    models = ModelRegistry(tmp_path)
    with pytest.raises(NotBetterThanNaiveError):
        models.register("a", [found], RULE, NOW)
    assert models.names() == []
    assert list(tmp_path.rglob("*.npz")) == []


def test_a_model_comes_back_from_disk_as_it_was(group, tmp_path):
    models = ModelRegistry(tmp_path)
    models.register("homes", [group], RULE, NOW)
    kept = models.register("homes", [group], RULE, NOW)
    assert (kept.version, models.versions("homes"), models.names()) == (2, [1, 2], ["homes"])
    assert kept.rule == RULE
    assert kept.document["created"] == "2025-01-02T00:00:00+00:00"
    assert kept.document["rule"]["seed"] == 1
    (back,) = kept.groups()
    assert group_bytes(back) == group_bytes(group)
    span = FIRST + 80 * 24, FIRST + 82 * 24
    a, b = (predict(g, the_loads(), the_weather(90), RULE, *span) for g in (group, back))
    assert np.array_equal(a.middle, b.middle)


def test_trees_come_back_as_they_were():
    found, rule = trained("lightgbm")
    back = group_from(group_bytes(found))
    span = FIRST + 80 * 24, FIRST + 82 * 24
    a, b = (predict(g, the_loads(), the_weather(90), rule, *span) for g in (found, back))
    assert np.array_equal(a.middle, b.middle)


def test_a_damaged_model_is_refused(group, tmp_path):
    kept = ModelRegistry(tmp_path).register("homes", [group], RULE, NOW)
    path = kept.folder / "group-00000.npz"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(StoreError, match="not what was written: train the model again"):
        list(kept.groups())


def test_too_short_a_history_says_what_is_needed():
    with pytest.raises(TooLittleHistoryError, match=r"70.0 days of loads are too few: expected 71 or more"):
        train(the_loads(70), the_weather(90), RULE)


def test_a_site_without_enough_readings_is_left_out_and_named():
    pytest.importorskip("lightgbm", reason="LightGBM isn't installed")
    loads = the_loads()
    loads.load[1, : 60 * 24] = np.nan
    found = train(loads, the_weather(90), replace(RULE, model="lightgbm"))
    assert found.sites.tolist() == ["site-0", "site-2"]
    assert found.findings == (
        "site 'site-1' has too little history with readings: it is left out, and can't be forecast",
    )


def test_when_no_site_has_enough_readings_training_is_refused():
    loads = the_loads()
    loads.load[:, : 60 * 24] = np.nan
    with pytest.raises(TooLittleHistoryError, match="none of 3 sites has 14 days of loads"):
        train(loads, the_weather(90), RULE)


def test_weather_of_another_time_is_refused_with_what_is_missing():
    weather = the_weather(90)
    late = Weather(weather.first_slot + 10_000, 60, weather.values)
    with pytest.raises(InvalidSeriesError, match=r"the weather lacks 1,800 of 1,800 intervals between 2024-10-19"):
        train(the_loads(), late, RULE)


def test_weather_with_other_columns_than_learned_is_refused(group):
    weather = the_weather(90)
    more = Weather(weather.first_slot, 60, {**weather.values, "wind_speed_ms": np.ones(110 * 24)})
    with pytest.raises(InvalidSeriesError, match="unknown to it wind_speed_ms"):
        predict(group, the_loads(), more, RULE, FIRST + 80 * 24, FIRST + 81 * 24)


def test_loads_of_another_interval_are_refused(group):
    loads = the_loads()
    other = Loads(loads.sites, 2 * FIRST, 30, loads.load)
    with pytest.raises(InvalidSeriesError, match="the loads are of 30 min, the model of 60 min"):
        predict(group, other, the_weather(90), RULE, 2 * FIRST, 2 * FIRST + 48)


def test_a_gap_in_the_loads_is_said_and_what_lacks_weather_stays_empty(group):
    loads, weather = the_loads(), the_weather(90)
    loads.load[0, 79 * 24 + 3] = np.nan
    begin = FIRST + 80 * 24
    found = predict(group, loads, weather, RULE, begin, begin + 24)
    assert found.findings == ("site 'site-0': for 1 intervals loads of earlier weeks stand in for missing ones",)
    short = Weather(weather.first_slot, 60, {"temperature_c": weather.values["temperature_c"][: 100 * 24 + 12]})
    found = predict(group, the_loads(), short, RULE, begin, begin + 24)
    assert np.isnan(found.middle[:, 12:]).all()
    assert np.isfinite(found.middle[:, :12]).all()
    assert "12 intervals lack weather" in found.findings[0]


def test_there_is_no_such_model(tmp_path):
    models = ModelRegistry(tmp_path)
    with pytest.raises(StoreError, match=r"no model 'homes' in .*models there: none"):
        models.version("homes")
    with pytest.raises(StoreError, match=r"can't be called '\.\./x'"):
        models.version("../x")
