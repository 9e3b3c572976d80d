"""Clock drift: meters' clocks against the clock of the concentrator that asked them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from domain.vee_rules import ClockRule


@dataclass(frozen=True, eq=False)
class ClockComparisons:
    """What meters' clocks showed when a concentrator asked.

    Attributes
    ----------
    meters : ndarray of str objects, shape (n,)
    at_seconds : ndarray of int64, shape (n,)
        The concentrator's clock. [s since 1970]
    ahead_seconds : ndarray of int64, shape (n,)
        The meter's clock less the concentrator's. [s]
    """

    meters: NDArray[np.object_]
    at_seconds: NDArray[np.int64]
    ahead_seconds: NDArray[np.int64]

    @classmethod
    def none(cls) -> ClockComparisons:
        """No comparisons."""
        return cls(np.empty(0, object), np.empty(0, np.int64), np.empty(0, np.int64))


def drifting_clocks(
    comparisons: ClockComparisons, first_second: int, last_second: int, rule: ClockRule
) -> dict[str, int]:
    """Meters whose clock is off by more than the rule allows, with the median of their offsets. [s]

    The median of an even number is the middle value nearer to zero, so that doubt is no drift.

    Parameters
    ----------
    comparisons : ClockComparisons
    first_second, last_second : int
        Half-open time that is looked at, by the concentrator's clock. [s since 1970]

    Examples
    --------
    Two of three comparisons are within three minutes, so it is the network that was slow once:

    >>> meters, at = np.array(["a"] * 3 + ["b"] * 3, object), np.arange(6)
    >>> ahead = np.array([2, -600, 5, -200, -210, -190])
    >>> drifting_clocks(ClockComparisons(meters, at, ahead), 0, 6, ClockRule(180, 3))
    {'b': -200}
    """
    asked = (comparisons.at_seconds >= first_second) & (comparisons.at_seconds < last_second)
    meters, ahead = comparisons.meters[asked], comparisons.ahead_seconds[asked]
    order = np.lexsort((ahead, meters.astype(str)))
    meters, ahead = meters[order], ahead[order]
    edges = np.flatnonzero(np.append(True, meters[1:] != meters[:-1])).tolist() if len(meters) else []
    drifting = {}
    for begin, end in pairwise([*edges, len(meters)]):
        n = end - begin
        if n >= rule.min_comparisons:
            median = min((int(ahead[begin + (n - 1) // 2]), int(ahead[begin + n // 2])), key=abs)
            if abs(median) > rule.tolerance_seconds:
                drifting[str(meters[begin])] = median
    return drifting
