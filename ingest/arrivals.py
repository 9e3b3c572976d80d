"""How simulated readings arrive: most at once, some late, some first as an estimate, some never."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DAY_LONG_PART = 0.3
"""Part of the missing readings that go missing a whole day at a time."""

SHORT_OUTAGE = 4
LATE_RUN = 6
"""Mean lengths of outages and delays. [intervals]"""


@dataclass(frozen=True)
class Arrivals:
    """What becomes of each reading of a home.

    Attributes
    ----------
    missing : ndarray of bool, shape (n,)
        It never comes.
    late : ndarray of bool, shape (n,)
        It comes late.
    estimated : ndarray of bool, shape (n,)
        It comes late, and an estimate in its place on time.
    """

    missing: NDArray[np.bool_]
    late: NDArray[np.bool_]
    estimated: NDArray[np.bool_]

    @property
    def on_time(self) -> NDArray[np.bool_]:
        """Where a reading comes on time, actual or estimated."""
        return ~self.missing & (~self.late | self.estimated)

    @property
    def afterwards(self) -> NDArray[np.bool_]:
        """Where an actual reading comes late."""
        return ~self.missing & self.late


def draw_arrivals(n: int, per_day: int, missing_pct: float, late_pct: float, random: np.random.Generator) -> Arrivals:
    """Draw what becomes of ``n`` successive readings, ``per_day`` of them a day."""
    short = _runs(n, missing_pct * (1 - DAY_LONG_PART) / 100, SHORT_OUTAGE, random)
    whole_days = np.repeat(random.random(n // per_day + 2) < missing_pct * DAY_LONG_PART / 100, per_day)
    late = _runs(n, late_pct / 200, LATE_RUN, random)
    estimated = _runs(n, late_pct / 200, LATE_RUN, random)
    return Arrivals(short | whole_days[:n], late | estimated, estimated)


def _runs(n: int, share: float, mean_length: int, random: np.random.Generator) -> NDArray[np.bool_]:
    """Runs of intervals at random places, ``share`` of all on average."""
    count = random.poisson(n * share / mean_length)
    start = random.integers(0, n, count)
    end = np.minimum(n, start + random.geometric(1 / mean_length, count))
    depth = np.cumsum(np.bincount(start, minlength=n + 1) - np.bincount(end, minlength=n + 1))
    inside: NDArray[np.bool_] = depth[:n] > 0
    return inside


def estimates(wh: NDArray[np.int32], per_day: int) -> NDArray[np.int32]:
    """What a head-end would put in for each reading: that of a day before, on the first day the mean. [Wh]

    >>> estimates(np.int32([10, 20, 30, 40]), 2).tolist()
    [25, 25, 10, 20]
    """
    usual = np.full(min(per_day, len(wh)), round(float(wh.mean())), wh.dtype)
    return np.concatenate([usual, wh[: len(wh) - len(usual)]])
