"""Series of weather made fit for use: fading means, short gaps bridged, extremes of a day."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

FADE_HALF_LIVES = 4
"""Half-lives after which a fading mean forgets."""


def fading_mean(values: FloatArray, half_life: float) -> FloatArray:
    """Mean of a series up to and with each value, the weight halved every ``half_life`` values, cut at four of them.

    Missing values are left out; NaN where they would have had more than half of the weight.

    >>> fading_mean(np.array([8.0, 8.0, 8.0, 0.0]), 1.0).round(2).tolist()   # 8 · (1/2 + 1/4 + 1/8) / (15/8)
    [8.0, 8.0, 8.0, 3.73]
    """
    weights = 0.5 ** (np.arange(max(int(FADE_HALF_LIVES * half_life), 1)) / half_life)
    known = ~np.isnan(values)
    weight = np.convolve(known, weights)[: len(values)]
    total = np.convolve(np.where(known, values, 0.0), weights)[: len(values)]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(weight >= weights.sum() / 2, total / weight, np.nan)


def bridge(values: FloatArray, longest: int) -> FloatArray:
    """Draw a straight line through gaps of up to ``longest`` values that have a value on either side.

    >>> bridge(np.array([1.0, np.nan, 3.0, np.nan, np.nan, 6.0]), 1).tolist()
    [1.0, 2.0, 3.0, nan, nan, 6.0]
    """
    gap = np.isnan(values)
    if not gap.any() or gap.all():
        return values
    known = np.flatnonzero(~gap)
    line = np.interp(np.arange(len(values)), known, values[known])
    after = np.searchsorted(known, np.flatnonzero(gap))
    inside = (after > 0) & (after < len(known))
    length = known[np.minimum(after, len(known) - 1)] - known[np.maximum(after - 1, 0)] - 1
    out = values.copy()
    short = np.flatnonzero(gap)[inside & (length <= longest)]
    out[short] = line[short]
    return out


def day_extreme(values: FloatArray, day: IntArray, extreme: np.ufunc) -> FloatArray:
    """The extreme of each value's local day, such as its greatest value by ``numpy.fmax``.

    >>> day_extreme(np.array([1.0, 3.0, np.nan, 2.0]), np.array([7, 7, 8, 8]), np.fmax).tolist()
    [3.0, 3.0, 2.0, 2.0]
    """
    begins = np.append(True, day[1:] != day[:-1])
    found: FloatArray = extreme.reduceat(values, np.flatnonzero(begins))[np.cumsum(begins) - 1]
    return found
