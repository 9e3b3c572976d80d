"""Rows of readings, as a store returns them, laid out as the block that a plan asks for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from domain.certification import LoadBlock
from domain.readings import MISSING, Quality


@dataclass(frozen=True, eq=False)
class Found:
    """One row a reading, in any order: meter's number, slot, energy and quality."""

    meter: NDArray[np.int32]
    slot: NDArray[np.int64]
    wh: NDArray[np.int32]
    quality: NDArray[np.int8]

    @classmethod
    def nothing(cls) -> Found:
        """No readings."""
        return cls(np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0, np.int32), np.empty(0, np.int8))


_LARGEST_TABLE = 10_000_000
"""Slots between first and last up to which positions are looked up in a table. It is faster than a search."""


class Layout:
    """Lays readings out by meter and slot, part after part as a store gives them.

    Parameters
    ----------
    names : ndarray of str objects
        Meters' names by number.
    slots : ndarray of int64, shape (rows, intervals)
    meters : ndarray of str objects, optional
        The meters of the block; default: those that have readings.
    """

    def __init__(
        self, names: NDArray[np.object_], slots: NDArray[np.int64], meters: NDArray[np.object_] | None
    ) -> None:
        self._slots, self._wanted = slots, np.unique(slots)
        # Dense over the distinct slots first: two rows of a plan may share a slot.
        self._first = int(self._wanted[0]) if len(self._wanted) else 0
        span = int(self._wanted[-1]) - self._first + 1 if len(self._wanted) else 0
        self._column: NDArray[np.int32] | None = None
        if span <= _LARGEST_TABLE:
            self._column = np.zeros(span, dtype=np.int32)
            self._column[self._wanted - self._first] = np.arange(len(self._wanted), dtype=np.int32)
        if meters is None:
            self._meters, self._row = names, np.arange(len(names), dtype=np.int64)
            self._seen: NDArray[np.bool_] | None = np.zeros(len(names), dtype=bool)
        else:
            self._meters, self._seen = np.array(sorted(set(meters)), dtype=object), None
            place = {name: n for n, name in enumerate(self._meters)}
            self._row = np.array([place.get(name, -1) for name in names], dtype=np.int64)
        self._wh = np.full((len(self._meters), len(self._wanted)), MISSING, dtype=np.int32)
        self._estimated: NDArray[np.bool_] | None = None

    def add(self, found: Found) -> None:
        """Lay out readings at some of the slots; each reading is in one part."""
        row = self._row[found.meter]
        if self._seen is None:
            if not (known := row >= 0).all():
                found = Found(found.meter[known], found.slot[known], found.wh[known], found.quality[known])
                row = row[known]
        else:
            self._seen[found.meter] = True
        column: NDArray[np.int64] | NDArray[np.int32]
        if self._column is None:
            column = np.searchsorted(self._wanted, found.slot)
        else:
            column = self._column[found.slot - self._first]
        row *= len(self._wanted)
        row += column
        self._wh.reshape(-1)[row] = found.wh
        guesses = found.quality == int(Quality.ESTIMATED)
        if guesses.any():
            if self._estimated is None:
                self._estimated = np.zeros(self._wh.shape, dtype=bool)
            self._estimated.reshape(-1)[row[guesses]] = True

    def block(self) -> LoadBlock:
        """What was laid out, in ascending order of meter."""
        meters, wh, estimated = self._meters, self._wh, self._estimated
        if self._seen is not None:
            there = np.flatnonzero(self._seen)
            there = there[np.argsort(meters[there])]
            meters, wh = meters[there], wh[there]
            estimated = None if estimated is None else estimated[there]
        picks = np.searchsorted(self._wanted, self._slots)
        return LoadBlock(meters, wh[:, picks], None if estimated is None else estimated[:, picks])


def as_block(
    found: Found, names: NDArray[np.object_], slots: NDArray[np.int64], meters: NDArray[np.object_] | None
) -> LoadBlock:
    """Lay readings out by meter and slot at once. See `Layout`."""
    layout = Layout(names, slots, meters)
    layout.add(found)
    return layout.block()
