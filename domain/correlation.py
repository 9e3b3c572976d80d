"""How closely load follows the weather: Pearson's coefficient by site and by day, with its significance.

Table 1 of the paper gives, for each site and variable, a range of coefficients and a word for it. Here the range is
that of the middle half of the days, and the words follow from the ends of the range by a rule that gives every word
of that table.

References
----------
.. [1] U.-K. Na, Transactions of the KIEE 70 (9), 2021, pp. 1282-: equation (1), table 1 and figure 1. As printed,
   the root of equation (1) lacks brackets; this is the usual coefficient.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from domain.series import DEW_POINT, HUMIDITY, TEMPERATURE, WIND

VARIABLES = (TEMPERATURE, HUMIDITY, DEW_POINT, WIND)
"""What load is compared with, in the order of the paper's table."""

LOW, HIGH = 0.4, 0.6
"""The table calls ranges up to 0.4 low, ranges from 0.6 on high, and the others moderate."""

FEWEST_PAIRS = 8
"""Fewer pairs of load and weather give no coefficient."""

DAY_SHARE = 0.75
"""A day counts when it has this share of its intervals, load and weather both."""

SIGNIFICANT = 0.05

FINDINGS = {
    "weather.absent": "the weather has no such column",
    "pairs.few": f"fewer than {FEWEST_PAIRS} intervals have both load and weather",
    "load.constant": "the load never changes, so it correlates with nothing",
    "weather.constant": "the weather never changes, so nothing correlates with it",
}
"""Why there is no coefficient, by code."""


@dataclass(frozen=True, eq=False)
class Correlation:
    """Load of a site against one variable of the weather.

    Attributes
    ----------
    site, variable : str
    r : float or None
        Pearson's coefficient over all intervals; None with a finding.
    pairs, missing : int
        Intervals that have both values, and those that lack one.
    p_value : float or None
        Two-sided, as if every interval were independent of the one before.
    effective_pairs, p_value_effective : float or None
        How many independent pairs the series are worth, and what is left of the significance with so few.
    days, significant_days : int
        Days that have a coefficient, and those where its p-value is below 0.05.
    low, median, high : float or None
        Quartiles of the days' coefficients; None without such days.
    band : str
        The table's word for the range from ``low`` to ``high``; empty without one.
    finding : str
        A code of `FINDINGS`, or empty.
    daily : ndarray of float64, shape (days of the period,)
        Each day's coefficient; NaN for a day that has none.
    """

    site: str
    variable: str
    r: float | None
    pairs: int
    missing: int
    p_value: float | None
    effective_pairs: float | None
    p_value_effective: float | None
    days: int
    significant_days: int
    low: float | None
    median: float | None
    high: float | None
    band: str
    finding: str
    daily: NDArray[np.float64]


def correlate(
    site: str,
    load: NDArray[np.float64],
    weather: Mapping[str, NDArray[np.float64]],
    day: NDArray[np.int64],
) -> list[Correlation]:
    """Compare a site's load with each of `VARIABLES`, over all intervals and within each local day.

    Parameters
    ----------
    load : ndarray of float64, shape (n,)
        Energy or power per interval; NaN where it is missing.
    weather : mapping of str to ndarray of float64, shape (n,)
        On the same intervals; NaN where a value is missing.
    day : ndarray of int64, shape (n,)
        Local day of each interval, ascending.

    Examples
    --------
    >>> hours = np.arange(48.0)
    >>> warm = {"temperature_c": 20 + hours % 24}
    >>> found = correlate("home", 5 * (hours % 24), warm, (hours // 24).astype(int))
    >>> found[0].r, found[0].days, found[0].band, found[1].finding
    (1.0, 2, 'high positive', 'weather.absent')
    """
    return [_one(site, name, load, weather.get(name), day) for name in VARIABLES]


def _one(
    site: str, name: str, load: NDArray[np.float64], other: NDArray[np.float64] | None, day: NDArray[np.int64]
) -> Correlation:
    number = day - day[0] if len(day) else day
    none = np.full(int(number[-1]) + 1 if len(day) else 0, np.nan)
    if other is None:
        return _nothing(site, name, 0, len(load), "weather.absent", none)
    both = ~(np.isnan(load) | np.isnan(other))
    pairs = int(both.sum())
    missing = len(load) - pairs
    if pairs < FEWEST_PAIRS:
        return _nothing(site, name, pairs, missing, "pairs.few", none)
    x, y = load[both], other[both]
    for code, values in (("load.constant", x), ("weather.constant", y)):
        if _constant(values):
            return _nothing(site, name, pairs, missing, code, none)
    r = pearson(x, y)
    effective = effective_pairs(load, other)
    daily, counts = daily_pearson(load, other, number)
    known = ~np.isnan(daily)
    low, median, high = np.quantile(daily[known], [0.25, 0.5, 0.75]).tolist() if known.any() else (None, None, None)
    p_of_days = p_values(daily[known], counts[known])
    return Correlation(
        site=site,
        variable=name,
        r=r,
        pairs=pairs,
        missing=missing,
        p_value=float(p_values(np.array([r]), np.array([pairs]))[0]),
        effective_pairs=effective,
        p_value_effective=float(p_values(np.array([r]), np.array([effective]))[0]) if effective > 2 else None,
        days=int(known.sum()),
        significant_days=int((p_of_days < SIGNIFICANT).sum()),
        low=low,
        median=median,
        high=high,
        band="" if low is None or high is None else band_of(low, high),
        finding="",
        daily=daily,
    )


def _nothing(
    site: str, variable: str, pairs: int, missing: int, finding: str, daily: NDArray[np.float64]
) -> Correlation:
    return Correlation(
        site, variable, None, pairs, missing, None, None, None, 0, 0, None, None, None, "", finding, daily
    )


def _constant(values: NDArray[np.float64]) -> bool:
    """Whether values differ by rounding at most."""
    return bool(np.ptp(values) <= 1e-9 * max(float(np.abs(values).max()), 1e-300))


def pearson(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Pearson's coefficient of two series without gaps that both change, equation (1) of the paper.

    >>> round(pearson(np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 3.0, 2.0, 5.0])), 4)   # 5.5 / sqrt(5 · 8.75)
    0.8315
    """
    dx, dy = x - x.mean(), y - y.mean()
    r = float(dx @ dy / np.sqrt((dx @ dx) * (dy @ dy)))
    return min(max(r, -1.0), 1.0)


def daily_pearson(
    x: NDArray[np.float64], y: NDArray[np.float64], number: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Pearson's coefficient within each day, and its pairs.

    Parameters
    ----------
    x, y : ndarray of float64, shape (n,)
        NaN where missing.
    number : ndarray of int64, shape (n,)
        Day of each value, 0 for the first.

    Returns
    -------
    ndarray of float64, ndarray of int64, both of shape (days,)
        NaN for days that lack more than a quarter of their intervals or `FEWEST_PAIRS`, or on which a series is
        constant.
    """
    days = int(number[-1]) + 1 if len(number) else 0
    both = ~(np.isnan(x) | np.isnan(y))
    length, of = np.bincount(number, minlength=days), number[both]
    n = np.bincount(of, minlength=days)

    def total(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.bincount(of, values, minlength=days).astype(np.float64)

    enough = (n >= FEWEST_PAIRS) & (n >= DAY_SHARE * length)
    some = np.maximum(n, 1)
    dx = x[both] - (total(x[both]) / some)[of]
    dy = y[both] - (total(y[both]) / some)[of]
    spread = total(dx * dx), total(dy * dy)
    scale = total(x[both] ** 2), total(y[both] ** 2)
    moves = np.logical_and.reduce([s > 1e-18 * q for s, q in zip(spread, scale, strict=True)])
    with np.errstate(invalid="ignore", divide="ignore"):
        r = np.clip(total(dx * dy) / np.sqrt(spread[0] * spread[1]), -1, 1)
    return np.where(enough & moves, r, np.nan), n


def effective_pairs(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Independent pairs that two series in order of time are worth, by their correlation with their own past.

    ``n (1 − a b) / (1 + a b)``, where a and b are the correlations of each series with itself one interval before
    [1]_; at most n. Where no two neighbours are known, n.

    References
    ----------
    .. [1] C. Bretherton et al., Journal of Climate 12 (1999), p. 1990, equation (31)
    """
    both = ~(np.isnan(x) | np.isnan(y))
    n = float(both.sum())
    next_to = both[1:] & both[:-1]
    if next_to.sum() < FEWEST_PAIRS:
        return n
    memory = 1.0
    for series in (x, y):
        before, after = series[:-1][next_to], series[1:][next_to]
        if _constant(before) or _constant(after):
            return n
        memory *= pearson(before, after)
    return min(n, n * (1 - memory) / (1 + memory)) if memory > -1 else n


def p_values(r: NDArray[np.float64], n: NDArray[np.float64] | NDArray[np.int64]) -> NDArray[np.float64]:
    """Probability of a coefficient at least so large where there is none, two-sided, from Student's t.

    With ν = n − 2 degrees of freedom and t² = ν r² / (1 − r²) it is the regularised incomplete beta function
    I(1 − r²; ν/2, 1/2).

    Parameters
    ----------
    r : ndarray of float64, shape (k,)
    n : ndarray, shape (k,)
        Pairs of each, above 2.

    Examples
    --------
    >>> p_values(np.array([0.6319, 0.0, 1.0]), np.array([10, 10, 10])).round(4).tolist()   # tables: 0.632 at 5 %
    [0.05, 1.0, 0.0]
    """
    half = (np.asarray(n, dtype=np.float64) - 2) / 2
    return _incomplete_beta(half, 0.5, np.clip(1 - r * r, 0.0, 1.0))


def _log_gamma(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """ln Γ; few different values are asked for, as most days have the same number of intervals."""
    different, place = np.unique(x, return_inverse=True)
    return np.array([math.lgamma(value) for value in different.tolist()])[place.reshape(x.shape)]


def _incomplete_beta(a: NDArray[np.float64], b: float, x: NDArray[np.float64]) -> NDArray[np.float64]:
    """The regularised incomplete beta function, by its continued fraction on the side where that converges fast."""
    inside = (x > 0) & (x < 1)
    a_in, x_in = a[inside], x[inside]
    b_in = np.full_like(a_in, b)
    swap = x_in > (a_in + 1) / (a_in + b + 2)
    p, q = np.where(swap, b_in, a_in), np.where(swap, a_in, b_in)
    z = np.where(swap, 1 - x_in, x_in)
    log_front = _log_gamma(p + q) - _log_gamma(p) - _log_gamma(q) + p * np.log(z) + q * np.log1p(-z)
    part = np.exp(log_front) * _fraction(p, q, z) / p
    out = np.where(x <= 0, 0.0, 1.0)
    out[inside] = np.clip(np.where(swap, 1 - part, part), 0.0, 1.0)
    return out


def _fraction(a: NDArray[np.float64], b: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.float64]:
    """The continued fraction of the incomplete beta function, by Lentz' method."""
    tiny = 1e-300
    c = np.ones_like(x)
    d = 1 - (a + b) * x / (a + 1)
    d = 1 / np.where(np.abs(d) < tiny, tiny, d)
    found = d.copy()
    for m in range(1, 1000):
        for step in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 + step * d
            d = 1 / np.where(np.abs(d) < tiny, tiny, d)
            c = 1 + step / c
            c = np.where(np.abs(c) < tiny, tiny, c)
            found *= c * d
        if np.all(np.abs(c * d - 1) < 1e-14):
            break
    return found


def band_of(low: float, high: float) -> str:
    """The paper's word for a range of coefficients: high, moderate or low, and its sign where that is one.

    A range from 0.6 on is high, one up to 0.4 is low, others are moderate; negative ones likewise below zero. A
    range with both signs is low up to 0.4 either way, and else mixed.

    >>> [band_of(*ends) for ends in ((0.6, 0.8), (0.4, 0.8), (0.0, 0.4), (-0.5, -0.2), (-0.2, 0.3), (-0.5, 0.7))]
    ['high positive', 'moderate positive', 'low positive', 'moderate negative', 'low', 'mixed']
    """
    if low < 0 < high:
        return "low" if max(-low, high) <= LOW else "mixed"
    sign = "positive" if low >= 0 else "negative"
    near, far = sorted((abs(low), abs(high)))
    strength = "high" if near >= HIGH else "low" if far <= LOW else "moderate"
    return f"{strength} {sign}"
