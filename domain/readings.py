"""Meter readings in columns: energy per interval with its quality and revision.

The same reading may arrive many times, and corrected readings arrive later under a higher revision. Which
one counts is a rule over the readings themselves (`precedence`), never over their order of arrival, so that
every store ends in the same state whatever was repeated, delayed or shuffled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum

import numpy as np
from numpy.typing import NDArray

from domain.errors import InvalidReadingsError
from domain.intervals import check_interval

MISSING = -1
"""Stands for "no reading" in energy arrays; never a quantity, never summed."""

MAX_WH_PER_HOUR = 1_000_000
"""Energy above this in an hour (1 MW on average) is absurd for a metered home or small business. [Wh]"""

MAX_WH = 100_000_000
"""No interval carries more; below it all the arithmetic of a baseline stays exact in 64 bits. [Wh]"""

MAX_REVISION = 32_767


class Register(StrEnum):
    """The meter's register: energy taken from the grid, or given to it. They are never netted."""

    IMPORT = "import"
    EXPORT = "export"


class Quality(IntEnum):
    """How a reading came about. A greater number is the better evidence."""

    MISSING = 0
    ESTIMATED = 1
    ACTUAL = 2


@dataclass(frozen=True, eq=False)
class Readings:
    """A batch of readings of one register at one interval length, as columns of equal length.

    Attributes
    ----------
    interval_minutes : int
        Length of every interval. [min]
    register : Register
        The register that was read.
    meters : ndarray of str objects, shape (n_meters,)
        The meters named in this batch, each once.
    meter : ndarray of int32, shape (n,)
        Index into ``meters``.
    slot : ndarray of int64, shape (n,)
        Interval number (see `domain.intervals`).
    wh : ndarray of int32, shape (n,)
        Energy in the interval, >= 0. [Wh]
    quality : ndarray of int8, shape (n,)
        A `Quality` other than MISSING.
    revision : ndarray of int16, shape (n,)
        0 for the first report, greater for each correction.

    Raises
    ------
    InvalidReadingsError
        Columns of unequal length, or values outside these bounds.
    """

    interval_minutes: int
    register: Register
    meters: NDArray[np.object_]
    meter: NDArray[np.int32]
    slot: NDArray[np.int64]
    wh: NDArray[np.int32]
    quality: NDArray[np.int8]
    revision: NDArray[np.int16]

    def __post_init__(self) -> None:
        check_interval(self.interval_minutes)
        n = len(self.slot)
        for name in ("meter", "wh", "quality", "revision"):
            if len(getattr(self, name)) != n:
                raise InvalidReadingsError(f"{name} has {len(getattr(self, name))} rows, slot has {n}")
        if n == 0:
            return
        bounds = {
            "meter": (0, len(self.meters) - 1),
            "slot": (0, 2**40),
            "wh": (0, MAX_WH),
            "quality": (int(Quality.ESTIMATED), int(Quality.ACTUAL)),
            "revision": (0, MAX_REVISION),
        }
        for name, (low, high) in bounds.items():
            column = getattr(self, name)
            if column.min() < low or column.max() > high:
                worst = column.min() if column.min() < low else column.max()
                raise InvalidReadingsError(f"{name} {worst}: expected {low} to {high}")

    def __len__(self) -> int:
        return len(self.slot)

    def take(self, rows: NDArray[np.bool_] | NDArray[np.intp]) -> Readings:
        """The readings at ``rows`` (a mask or positions), over the same meters."""
        return Readings(
            self.interval_minutes,
            self.register,
            self.meters,
            self.meter[rows],
            self.slot[rows],
            self.wh[rows],
            self.quality[rows],
            self.revision[rows],
        )

    def winners(self) -> Readings:
        """One reading for each meter and interval: the one of highest `precedence`, in (meter, slot) order."""
        if len(self) == 0:
            return self
        order = np.lexsort((precedence(self.wh, self.quality, self.revision), self.slot, self.meter))
        meter, slot = self.meter[order], self.slot[order]
        last = np.append((meter[1:] != meter[:-1]) | (slot[1:] != slot[:-1]), True)
        return self.take(order[last])


def make_readings(
    meters: Sequence[str],
    slot: Sequence[int] | NDArray[np.int64],
    wh: Sequence[int] | NDArray[np.int32],
    *,
    interval_minutes: int = 5,
    register: Register = Register.IMPORT,
    quality: Sequence[int] | int = Quality.ACTUAL,
    revision: Sequence[int] | int = 0,
) -> Readings:
    """Build a batch from one meter name a row, as adapters and tests have them.

    >>> batch = make_readings(["a", "b", "a"], [0, 0, 1], [10, 20, 30])
    >>> batch.meters.tolist(), batch.meter.tolist()
    (['a', 'b'], [0, 1, 0])
    """
    names, codes = np.unique(np.asarray(meters, dtype=object), return_inverse=True)
    n = len(meters)
    return Readings(
        interval_minutes,
        register,
        names,
        codes.astype(np.int32),
        np.asarray(slot, dtype=np.int64),
        np.asarray(wh, dtype=np.int32),
        np.broadcast_to(np.asarray(quality, dtype=np.int8), n),
        np.broadcast_to(np.asarray(revision, dtype=np.int16), n),
    )


def precedence(wh: NDArray[np.int32], quality: NDArray[np.int8], revision: NDArray[np.int16]) -> NDArray[np.int64]:
    """Rank readings of one meter and interval: the greatest counts.

    A higher revision wins; at the same revision the better quality; and where two reports of the same
    revision and quality disagree, the greater energy, because the smaller would pay for a reduction
    that the other denies. Order of arrival plays no part.

    Examples
    --------
    >>> a = precedence(np.int32([500, 400]), np.int8([2, 1]), np.int16([0, 1]))
    >>> bool(a[1] > a[0])
    True
    """
    return (revision.astype(np.int64) << 40) | (quality.astype(np.int64) << 32) | wh.astype(np.int64)
