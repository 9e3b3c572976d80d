"""Errors of forecasts, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from domain.forecast_metrics import by_part, conformal_margin, errors, pinball, pooled


def test_errors_are_those_of_a_calculation_by_hand():
    """Errors +10, −20, 0 of 100, 200, 50: MAPE (10 + 10 + 0)/3, WAPE 30/350, RMSE √(500/3), bias −10/3."""
    found = errors(np.array([100.0, 200.0, 50.0]), np.array([110.0, 180.0, 50.0]))
    assert found.mape_pct == pytest.approx(20 / 3)
    assert found.wape_pct == pytest.approx(100 * 30 / 350)
    assert found.mae == pytest.approx(10)
    assert found.rmse == pytest.approx((500 / 3) ** 0.5)
    assert found.bias == pytest.approx(-10 / 3)
    assert found.bias_pct == pytest.approx(-100 * 10 / 350)


def test_zero_loads_have_no_percentage_and_are_counted():
    found = errors(np.array([0.0, 10.0]), np.array([3.0, 9.0]))
    assert (found.zero, found.mape_pct, found.mae) == (1, pytest.approx(10), pytest.approx(2))
    assert errors(np.zeros(2), np.ones(2)).mape_pct is None
    assert errors(np.zeros(2), np.ones(2)).wape_pct is None


def test_intervals_without_a_value_or_a_forecast_are_left_out_and_counted():
    found = errors(np.array([1.0, np.nan, 3.0]), np.array([1.0, 2.0, np.nan]))
    assert (found.intervals, found.missing, found.mae) == (1, 2, 0.0)


def test_nothing_to_measure_gives_no_number():
    found = errors(np.array([np.nan]), np.array([1.0]))
    assert (found.intervals, found.mape_pct, found.rmse, found.coverage_pct) == (0, None, None, None)


def test_coverage_counts_the_ends_of_the_interval():
    actual = np.array([1.0, 2.0, 3.0, 4.0])
    found = errors(actual, actual, {0.1: np.full(4, 2.0), 0.9: np.full(4, 3.0)})
    assert (found.coverage_pct, found.width) == (50.0, 1.0)


def test_pinball_loss_is_least_at_the_true_quantile():
    values = np.arange(1.0, 101.0)
    losses = {q: pinball(values, np.full(100, q), 0.9) for q in (80.0, 90.0, 99.0)}
    assert min(losses, key=losses.get) == 90.0


def test_weekends_and_working_days_are_told_apart_by_site():
    actual = np.array([[10.0, 10.0], [20.0, 20.0]])
    parts = by_part(["a", "b"], np.array([True, False]), actual, np.array([[11.0, 12.0], [20.0, 30.0]]))
    assert {s: {k: e.mape_pct for k, e in kinds.items()} for s, kinds in parts.items()} == {
        "": {"all": pytest.approx(20), "weekday": pytest.approx(5), "weekend": pytest.approx(35)},
        "a": {"all": pytest.approx(15), "weekday": pytest.approx(10), "weekend": pytest.approx(20)},
        "b": {"all": pytest.approx(25), "weekday": pytest.approx(0), "weekend": pytest.approx(50)},
    }


def test_pooled_errors_are_those_of_all_intervals_together():
    random = np.random.default_rng(1)
    actual, forecast = random.uniform(0, 9, 90), random.uniform(0, 9, 90)
    actual[5] = 0.0
    actual[70] = np.nan
    bounds = {0.1: forecast - 2, 0.5: forecast, 0.9: forecast + 2}
    parts = [
        errors(actual[a:b], forecast[a:b], {q: v[a:b] for q, v in bounds.items()}) for a, b in ((0, 20), (20, 90))
    ]
    whole, together = errors(actual, forecast, bounds).document(), pooled(parts).document()
    assert {k: v for k, v in together.items() if k != "pinball"} == pytest.approx(
        {k: v for k, v in whole.items() if k != "pinball"}
    )
    assert together["pinball"] == pytest.approx(whole["pinball"])


def test_the_margin_covers_new_values_of_the_same_kind():
    """Over many draws the coverage of a new value is at least that asked for, and not much more."""
    random = np.random.default_rng(2)
    covered = 0
    for _ in range(4000):
        score = random.normal(size=51)
        covered += score[50] <= conformal_margin(score[:50], 0.8)
    assert 0.79 < covered / 4000 < 0.83


def test_without_scores_there_is_no_margin():
    assert conformal_margin(np.array([np.nan]), 0.8) == 0.0
    assert conformal_margin(np.array([1.0, 5.0]), 0.99) == 5.0
