"""Customer baselines (CBL): which past days count, and what they say a home would have used.

Everything here works on whole arrays of integer Wh, for all meters at once, and is exact: a mean of k days
stays a fraction until the single rounding at the end.

Array axes are ``[meters, days, intervals]``; days are ordered most recent first.

The functions are written in the Python array API, so the same code takes the arrays of numpy, CuPy and PyTorch, on
whatever device they lie, and gives the same integers. Types are named after numpy's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from array_api_compat import array_namespace, device
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


class DaySelection(NamedTuple):
    """Days of history that a baseline may use, with what was passed over and why.

    ``selected`` has shape (meters, days), as has ``reached``: the days before the search ended at the last good
    one wanted, all of them where too few are good. The counts have shape (meters,).
    """

    selected: BoolArray
    reached: BoolArray
    low_usage: IntArray
    readmitted: IntArray


def select_days(
    usage_wh: IntArray,
    usable: BoolArray,
    *,
    days: int,
    low_usage_pct: int,
    readmit: bool,
) -> DaySelection:
    """Pick each meter's most recent ``days`` usable days, passing over days of low usage.

    A day is a low-usage day when its energy is below ``low_usage_pct`` percent of the average of the
    ``days`` most recent usable days. That average is taken once: replacing a day does not move the bar.

    Parameters
    ----------
    usage_wh : ndarray, shape (meters, days_back)
        Energy in the event window of each day, most recent first; ignored where not usable. [Wh]
    usable : ndarray of bool, shape (meters, days_back)
        Eligible days whose readings are complete.
    days : int
        Days wanted.
    low_usage_pct : int
        0 switches the low-usage rule off. [%]
    readmit : bool
        Whether low-usage days come back, most recent first, when too few other days are found.

    Examples
    --------
    The third day is far below the average of the last three (700), so the fourth takes its place.

    >>> usage = np.array([[1000, 1000, 100, 900]])
    >>> select_days(usage, usage > 0, days=3, low_usage_pct=75, readmit=False).selected.tolist()
    [[True, True, False, True]]
    """
    xp = array_namespace(usage_wh, usable)
    recent = usable & (running_count(usable) <= days)
    number = xp.count_nonzero(recent, axis=1, keepdims=True)
    total = xp.sum(xp.where(recent, usage_wh, 0), axis=1, keepdims=True)
    low = usable & (usage_wh * 100 * number < low_usage_pct * total)
    good = usable & ~low
    good_so_far = running_count(good)
    selected = good & (good_so_far <= days)
    # Only days that were really passed over are worth a word; none is beyond the last good day wanted.
    reached = good_so_far < days
    passed = low & reached
    readmitted = xp.zeros_like(low)
    if readmit:
        short = days - xp.count_nonzero(selected, axis=1, keepdims=True)
        readmitted = low & (running_count(low) <= short)
        selected = selected | readmitted
    return DaySelection(
        selected,
        reached,
        xp.count_nonzero(passed & ~readmitted, axis=1),
        xp.count_nonzero(readmitted, axis=1),
    )


def running_count(days: BoolArray) -> IntArray:
    """How many of ``days`` are true up to and with each, most recent first. Shapes (meters, days_back).

    >>> running_count(np.array([[True, False, True]])).tolist()
    [[1, 1, 2]]
    """
    xp = array_namespace(days)
    count: IntArray = xp.cumulative_sum(xp.astype(days, xp.int64), axis=1)
    return count


def trimmed_days(
    usage_wh: IntArray,
    selected: BoolArray,
    *,
    days: int,
    drop_lowest: int,
    drop_highest: int,
) -> BoolArray:
    """Keep the selected days but for the lowest and highest, by energy in the event window.

    ``days=5, drop_lowest=1`` is Max(4/5) and High 4 of 5; ``days=10, drop_lowest=2, drop_highest=2`` is
    Mid(6/10). On a tie the later day ranks higher. A meter with fewer than ``days`` days drops that many
    fewer of its lowest.

    Parameters
    ----------
    usage_wh : ndarray, shape (meters, days_back)
        Energy in the event window, most recent day first. [Wh]
    selected : ndarray of bool, shape (meters, days_back)
        From `select_days`.

    Returns
    -------
    ndarray of bool, shape (meters, days_back)
        The days whose mean is the baseline.

    Examples
    --------
    >>> usage = np.array([[50, 20, 20, 40, 30]])
    >>> trimmed_days(usage, usage > 0, days=5, drop_lowest=1, drop_highest=0).tolist()
    [[True, True, False, True, True]]
    """
    xp = array_namespace(usage_wh, selected)
    back = selected.shape[1]
    if back == 0:
        return selected
    # Energies made distinct, the later day above the earlier: then the extremes need no order among equals.
    key = usage_wh * back + xp.arange(back - 1, -1, -1, dtype=xp.int64, device=device(usage_wh))
    high = xp.where(selected, key, -1)
    for _ in range(drop_highest):
        high = xp.where(high == xp.max(high, axis=1, keepdims=True), -1, high)
    never = xp.iinfo(xp.int64).max
    low = xp.where(selected, key, never)
    low_drops = drop_lowest - (days - xp.count_nonzero(selected, axis=1, keepdims=True))
    for dropped in range(drop_lowest):
        lowest = (low == xp.min(low, axis=1, keepdims=True)) & (dropped < low_drops)
        low = xp.where(lowest, never, low)
    kept: BoolArray = (high >= 0) & (low < never)
    return kept


DayRule = Callable[..., BoolArray]

METHODS: Mapping[str, DayRule] = {"trimmed-mean": trimmed_days}
"""Rules that choose, from the selected days, those whose mean is the baseline. See docs/baselines.md."""


def kept_day_sums(load_wh: IntArray | NDArray[np.int32], kept: BoolArray) -> IntArray:
    """Sum each interval over the kept days.

    Parameters
    ----------
    load_wh : ndarray, shape (meters, days_back, intervals)
        Energy; anything (such as MISSING) where the day is not kept. [Wh]
    kept : ndarray of bool, shape (meters, days_back)

    Returns
    -------
    ndarray of int64, shape (meters, intervals)
        [Wh]
    """
    xp = array_namespace(load_wh, kept)
    total: IntArray = xp.zeros((load_wh.shape[0], load_wh.shape[2]), dtype=xp.int64, device=device(load_wh))
    for day in range(load_wh.shape[1]):  # a loop over tens of days keeps the temporaries small
        total += load_wh[:, day, :] * xp.astype(kept[:, day, None], load_wh.dtype)
    return total


class AdjustedBaseline(NamedTuple):
    """Baselines of each meter, rounded once, with the adjustment that went into them.

    ``unadjusted_wh`` and ``baseline_wh`` have shape (meters, intervals); ``capped`` has shape (meters,).
    """

    unadjusted_wh: IntArray
    baseline_wh: IntArray
    capped: BoolArray


def adjusted_baseline(
    event_sum_wh: IntArray,
    days: IntArray,
    adjustment_sum_wh: IntArray,
    adjustment_actual_wh: IntArray,
    adjust: BoolArray,
    *,
    adjustment_intervals: int,
    cap_pct: int | None,
) -> AdjustedBaseline:
    """Mean of the kept days, shifted by the symmetric additive adjustment, rounded half to even.

    With k days, sums S_t in event interval t (of T) and S_w over the W adjustment intervals, and usage A_w there
    on the event day::

        baseline_t = S_t / k + a,    a = (A_w - S_w / k) / W,    |a| <= cap / 100 * mean_t(S_t / k)

    It is never below zero. All of it is one fraction over 100 k W T until the rounding.

    Parameters
    ----------
    event_sum_wh : ndarray, shape (meters, intervals)
        S_t. [Wh]
    days : ndarray, shape (meters,)
        k >= 1.
    adjustment_sum_wh, adjustment_actual_wh : ndarray, shape (meters,)
        S_w and A_w. [Wh]
    adjust : ndarray of bool, shape (meters,)
        Where False the adjustment is zero.
    adjustment_intervals : int
        W; 0 when the programme has no adjustment.
    cap_pct : int or None
        None: no cap. [%]

    Examples
    --------
    Two days of 100 and 105 Wh; 30 Wh above them in each of two intervals before the event: 102.5 + 30.

    >>> one = np.array([1])
    >>> adjusted_baseline(np.array([[205]]), 2 * one, 400 * one, 260 * one, one > 0,
    ...                   adjustment_intervals=2, cap_pct=None).baseline_wh.tolist()
    [[132]]
    """
    xp = array_namespace(event_sum_wh, days)
    k = days[:, None]
    unadjusted = round_half_even(event_sum_wh, k)
    none = xp.zeros_like(adjust)
    if adjustment_intervals == 0:
        return AdjustedBaseline(unadjusted, unadjusted, none)
    w, t = adjustment_intervals, event_sum_wh.shape[1]
    shift = xp.where(adjust, 100 * t * (days * adjustment_actual_wh - adjustment_sum_wh), 0)
    capped = none
    if cap_pct is not None:
        bound = cap_pct * w * xp.sum(event_sum_wh, axis=1)
        capped = xp.abs(shift) > bound
        shift = xp.maximum(xp.minimum(shift, bound), -bound)
    numerator = xp.maximum(100 * t * w * event_sum_wh + shift[:, None], 0)
    return AdjustedBaseline(unadjusted, round_half_even(numerator, 100 * t * w * k), capped)


def round_half_even(numerator: IntArray, denominator: IntArray | int) -> IntArray:
    """Divide integers and round to the nearest, halves to the even neighbour.

    >>> round_half_even(np.array([5, 15, 16, -5]), 10).tolist()
    [0, 2, 2, 0]
    """
    xp = array_namespace(numerator)
    quotient = numerator // denominator
    twice = 2 * (numerator - quotient * denominator)
    up = (twice > denominator) | ((twice == denominator) & (quotient % 2 == 1))
    rounded: IntArray = xp.astype(quotient, xp.int64) + xp.astype(up, xp.int64)
    return rounded
