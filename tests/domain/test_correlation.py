"""Pearson's coefficient by site and by day, its significance, and the words of the paper's table 1."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from domain.correlation import (
    FINDINGS,
    VARIABLES,
    band_of,
    correlate,
    daily_pearson,
    effective_pairs,
    p_values,
    pearson,
)

PAPER = Path(__file__).parents[2] / "../shared/reference/intermicrogrid.json"
DAY = np.arange(48) // 24

# Table 1 of the paper: site, variable, range, and the word in its last column.
TABLE_1 = [
    ("A", "temperature", 0.6, 0.8, "high positive"),
    ("A", "humidity", 0.3, 0.5, "moderate"),
    ("A", "dew_point", 0.6, 0.8, "high positive"),
    ("A", "wind_speed", 0.0, 0.4, "low positive"),
    ("B", "temperature", 0.4, 0.6, "moderate"),
    ("B", "humidity", 0.3, 0.5, "moderate"),
    ("B", "dew_point", 0.6, 0.8, "high positive"),
    ("B", "wind_speed", 0.0, 0.4, "low positive"),
    ("C", "temperature", 0.4, 0.8, "moderate"),
    ("C", "humidity", 0.6, 0.8, "high positive"),
    ("C", "dew_point", 0.2, 0.5, "moderate"),
    ("C", "wind_speed", 0.0, 0.4, "low positive"),
]


@pytest.mark.parametrize(("site", "variable", "low", "high", "word"), TABLE_1)
def test_the_rule_for_words_gives_every_word_of_table_1(site, variable, low, high, word):
    assert band_of(low, high).startswith(word)


@pytest.mark.skipif(not PAPER.exists(), reason="the shared reference isn't here")
def test_table_1_is_the_paper_s():
    ranges = json.loads(PAPER.read_text())["pearson_ranges"]
    assert {(s, v): [lo, hi] for s, v, lo, hi, _ in TABLE_1} == {
        (site, name): ends for site, of in ranges.items() for name, ends in of.items()
    }


def test_the_coefficient_is_that_of_equation_1():
    """Anscombe's first quartet: r = 0.81642 (Anscombe 1973)."""
    x = np.array([10.0, 8, 13, 9, 11, 14, 6, 4, 12, 7, 5])
    y = np.array([8.04, 6.95, 7.58, 8.81, 8.33, 9.96, 7.24, 4.26, 10.84, 4.82, 5.68])
    n, sx, sy = len(x), x.sum(), y.sum()
    as_printed = (n * (x * y).sum() - sx * sy) / math.sqrt(
        (n * (x * x).sum() - sx**2) * (n * (y * y).sum() - sy**2)  # with the brackets that the print lacks
    )
    assert pearson(x, y) == pytest.approx(as_printed, abs=1e-12)
    assert pearson(x, y) == pytest.approx(0.81642, abs=1e-5)


@pytest.mark.parametrize(
    ("r", "n", "p"),
    [
        (0.754, 7, 0.05),  # tables of critical values, two-sided: 5 degrees of freedom
        (0.874, 7, 0.01),
        (0.444, 20, 0.05),
        (0.561, 20, 0.01),
        (0.195, 102, 0.05),  # 100 degrees of freedom
        (0.254, 102, 0.01),
    ],
)
def test_p_values_are_those_of_the_tables_of_critical_values(r, n, p):
    assert p_values(np.array([r]), np.array([n]))[0] == pytest.approx(p, rel=0.03)


def test_p_values_equal_scipy_s():
    stats = pytest.importorskip("scipy.stats", reason="scipy isn't installed")
    random = np.random.default_rng(1)
    for n in (5, 24, 48, 500, 17_520):
        x = random.normal(size=n)
        y = random.normal(size=n) + x * 0.1
        ours = p_values(np.array([pearson(x, y)]), np.array([n]))[0]
        assert ours == pytest.approx(stats.pearsonr(x, y).pvalue, rel=1e-7)


def test_each_day_has_a_coefficient_of_its_own():
    temperature = np.tile(np.arange(24.0), 2)
    load = np.concatenate([np.arange(24.0), -np.arange(24.0) + 30])
    found = correlate("home", load, {"temperature_c": temperature}, DAY)[0]
    assert found.daily.tolist() == pytest.approx([1.0, -1.0])
    assert (found.days, found.significant_days, found.pairs) == (2, 2, 48)
    assert (found.low, found.median, found.high) == pytest.approx((-0.5, 0.0, 0.5))
    assert found.band == "mixed"


def test_days_equal_the_coefficient_worked_out_day_by_day():
    random = np.random.default_rng(2)
    x, y = random.normal(20, 5, (2, 30 * 24))
    x[random.random(len(x)) < 0.05] = np.nan
    number = np.arange(len(x)) // 24
    daily, counts = daily_pearson(x, y, number)
    for day in range(30):
        a, b = x[number == day], y[number == day]
        both = ~np.isnan(a)
        assert counts[day] == both.sum()
        expected = np.corrcoef(a[both], b[both])[0, 1] if both.sum() >= 18 else np.nan
        assert daily[day] == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize(
    ("finding", "load", "weather"),
    [
        ("weather.absent", np.arange(48.0), {}),
        ("load.constant", np.full(48, 0.1), {"temperature_c": np.arange(48.0)}),
        ("weather.constant", np.arange(48.0), {"temperature_c": np.full(48, 20.3)}),
        ("pairs.few", np.where(np.arange(48) < 7, np.arange(48.0), np.nan), {"temperature_c": np.arange(48.0)}),
        ("pairs.few", np.arange(48.0), {"temperature_c": np.full(48, np.nan)}),
    ],
)
def test_what_has_no_coefficient_says_why_and_is_never_a_number(finding, load, weather):
    found = correlate("home", load, weather, DAY)[0]
    assert found.finding == finding
    assert finding in FINDINGS
    assert (found.r, found.p_value, found.low, found.band) == (None, None, None, "")


def test_every_variable_has_a_row():
    found = correlate("home", np.arange(48.0), {"temperature_c": np.arange(48.0)}, DAY)
    assert [one.variable for one in found] == list(VARIABLES)
    assert [one.finding for one in found] == ["", *["weather.absent"] * 3]


def test_missing_weather_leaves_its_intervals_out_and_counts_them():
    load, temperature = np.arange(48.0), np.arange(48.0)
    temperature[3:6] = np.nan
    found = correlate("home", load, {"temperature_c": temperature}, DAY)[0]
    assert (found.pairs, found.missing, found.r) == (45, 3, pytest.approx(1.0))


def test_a_constant_day_has_no_coefficient_but_others_do():
    load = np.concatenate([np.full(24, 7.7), np.arange(24.0)])
    found = correlate("home", load, {"temperature_c": np.tile(np.arange(24.0), 2)}, DAY)[0]
    assert np.isnan(found.daily[0])
    assert found.days == 1


def test_scale_and_unit_of_the_load_change_nothing():
    random = np.random.default_rng(3)
    load, temperature = random.normal(5, 1, 48), random.normal(20, 4, 48)
    a, b = (correlate("home", s * load, {"temperature_c": temperature}, DAY)[0] for s in (1.0, 3.6e6))
    assert a.r == pytest.approx(b.r, abs=1e-12)
    assert a.daily.tolist() == pytest.approx(b.daily.tolist())


def test_series_that_wander_are_worth_fewer_pairs():
    """Of two first-order series with memory 0.9 each pair is worth (1 − 0.81) / (1 + 0.81) = 0.105 of itself."""
    random = np.random.default_rng(4)
    x, y = np.zeros((2, 20_000))
    for series in (x, y):
        for n in range(1, len(series)):
            series[n] = 0.9 * series[n - 1] + random.normal()
    assert effective_pairs(x, y) / len(x) == pytest.approx(0.105, rel=0.1)
    white = random.normal(size=(2, 20_000))
    assert effective_pairs(*white) == pytest.approx(20_000, rel=0.01)


def test_wandering_series_are_rarely_called_significant_by_effective_pairs():
    random = np.random.default_rng(5)
    plain = effective = 0
    for _ in range(100):
        shocks = random.normal(size=(2, 400))
        series = np.zeros((2, 400))
        for n in range(1, 400):
            series[:, n] = 0.9 * series[:, n - 1] + shocks[:, n]
        found = correlate("home", series[0] + 100, {"temperature_c": series[1]}, np.arange(400) // 24)[0]
        plain += found.p_value < 0.05
        effective += found.p_value_effective < 0.05
    assert plain > 30  # of 100 pairs that have nothing to do with each other
    assert effective < 13
