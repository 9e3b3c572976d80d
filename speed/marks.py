"""What lets a store load most batches without looking at what it has: how far each meter's readings go."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from domain.readings import Readings, precedence


class HighWater:
    """The newest interval loaded of each meter of a table; what is newer can't be there yet.

    A mark may stand too high, which costs a look into the table, but never too low: it starts at the newest interval
    of the whole table, except for meters that got their number only then.

    Parameters
    ----------
    rows : int
        Rows of the table when the mark was made; another number later says that somebody else wrote.
    newest : int
        Newest slot of the table; -1 when it is empty.
    """

    def __init__(self, rows: int, newest: int) -> None:
        self.rows, self._newest = rows, newest
        self._latest = np.empty(0, dtype=np.int64)

    def begin(self, meter: NDArray[np.int32]) -> None:
        """Note meters that have no readings in any table, because they were just given their numbers."""
        if len(meter):
            self._grow(meter)
            self._latest[meter] = -1

    def fresh(self, meter: NDArray[np.int32], slot: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Readings that are newer than all that was loaded of their meter."""
        self._grow(meter)
        return np.asarray(slot > self._latest[meter])

    def raise_to(self, meter: NDArray[np.int32], slot: NDArray[np.int64], rows: int) -> None:
        """Note what was loaded, and how many rows that were."""
        self._grow(meter)
        np.maximum.at(self._latest, meter, slot)
        self.rows += rows

    def _grow(self, meter: NDArray[np.int32]) -> None:
        missing = int(meter.max(initial=-1)) + 1 - len(self._latest)
        if missing > 0:
            self._latest = np.append(self._latest, np.full(missing, self._newest, dtype=np.int64))


def in_time_order(readings: Readings) -> Readings:
    """One reading for each meter and interval, the one that counts, ordered by time, then meter.

    Stores look for stretches of time, so rows of one time lie together.

    >>> from domain.readings import make_readings
    >>> batch = in_time_order(make_readings(["a", "b", "a", "a"], [9, 8, 8, 9], [1, 2, 3, 4]))
    >>> batch.slot.tolist(), batch.meter.tolist(), batch.wh.tolist()
    ([8, 8, 9], [0, 1, 0], [3, 2, 4])
    """
    if len(readings) == 0:
        return readings
    first, last, meters = int(readings.slot.min()), int(readings.slot.max()), len(readings.meters)
    if (last - first + 1) * meters >= 2**62:
        unique = readings.winners()
        return unique.take(np.lexsort((unique.meter, unique.slot)))
    key = (readings.slot - first) * meters + readings.meter
    if (key[1:] > key[:-1]).all():
        return readings
    order = np.argsort(key, kind="stable")
    if (key[order][1:] == key[order][:-1]).any():
        order = np.lexsort((precedence(readings.wh, readings.quality, readings.revision), key))
        order = order[np.append(key[order][1:] != key[order][:-1], True)]
    return readings.take(order)
