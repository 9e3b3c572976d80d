"""Rows that add up: what a store holds of a reading, and the row that makes a better one of it.

Where a row can't be replaced, a correction is a row of the difference in energy with ``n = 0``. So the energy is the
sum, and revision and quality are those of the row that ranks highest, in whatever order rows came.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from domain.errors import StoreError
from domain.readings import precedence
from speed.tables import READING_SCHEMA, starts_of


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows of a table of readings, as columns of equal length. See `speed.tables.READING_COLUMNS`."""

    meter: NDArray[np.int32]
    slot: NDArray[np.int64]
    wh: NDArray[np.int64]
    quality: NDArray[np.int8]
    revision: NDArray[np.int16]
    n: NDArray[np.int64]

    @classmethod
    def joined(cls, parts: Sequence[Rows]) -> Rows:
        """The rows of all parts."""
        if len(parts) == 1:
            return parts[0]
        none = cls(
            np.empty(0, np.int32),
            np.empty(0, np.int64),
            np.empty(0, np.int64),
            np.empty(0, np.int8),
            np.empty(0, np.int16),
            np.empty(0, np.int64),
        )
        every = [none, *parts]
        return cls(
            np.concatenate([part.meter for part in every]),
            np.concatenate([part.slot for part in every]),
            np.concatenate([part.wh for part in every]),
            np.concatenate([part.quality for part in every]),
            np.concatenate([part.revision for part in every]),
            np.concatenate([part.n for part in every]),
        )

    def __len__(self) -> int:
        return len(self.slot)

    def take(self, rows: NDArray[np.bool_] | NDArray[np.intp]) -> Rows:
        """The rows at ``rows``, a mask or positions."""
        return Rows(
            self.meter[rows], self.slot[rows], self.wh[rows], self.quality[rows], self.revision[rows], self.n[rows]
        )

    def arrow(self, interval_minutes: int) -> pa.Table:
        """The same as a table is loaded."""
        columns = [
            self.meter,
            starts_of(self.slot, interval_minutes),
            self.wh.astype(np.int32),
            self.quality,
            self.revision,
            self.n.astype(np.int8),
        ]
        return pa.table(columns, schema=READING_SCHEMA)


def summed(rows: Rows) -> Rows:
    """One row a reading, in order of meter, then slot.

    Raises
    ------
    StoreError
        A reading is there twice, or its correction without it.

    Examples
    --------
    >>> column = lambda *values, kind=np.int64: np.array(values, dtype=kind)
    >>> same, later = column(7, 7, kind=np.int32), column(2, 2)
    >>> quality, revision = column(2, 1, kind=np.int8), column(0, 1, kind=np.int16)
    >>> two = Rows(same, later, column(500, -100), quality, revision, column(1, 0))
    >>> one = summed(two)
    >>> one.wh.tolist(), one.quality.tolist(), one.revision.tolist()
    ([400], [1], [1])
    """
    if len(rows) == 0:
        return rows
    order = np.lexsort((rows.slot, rows.meter))
    meter, slot = rows.meter[order], rows.slot[order]
    starts = np.flatnonzero(np.append(True, (meter[1:] != meter[:-1]) | (slot[1:] != slot[:-1])))
    if len(starts) == len(rows):
        whole = rows.take(order)
    else:
        rank = (rows.revision[order].astype(np.int32) << 8) | rows.quality[order]
        best = np.maximum.reduceat(rank, starts)
        whole = Rows(
            meter[starts],
            slot[starts],
            np.add.reduceat(rows.wh[order], starts),
            (best & 0xFF).astype(np.int8),
            (best >> 8).astype(np.int16),
            np.add.reduceat(rows.n[order], starts),
        )
    if (whole.n != 1).any():
        at = int(np.flatnonzero(whole.n != 1)[0])
        raise StoreError(
            f"the reading of meter number {whole.meter[at]} at interval {whole.slot[at]} is in the speed store "
            f"{whole.n[at]} times, expected once: two workers have written the same meter at once. Delete that day's "
            "readings and load them again"
        )
    return whole


def summed_at(rows: Rows, slots: NDArray[np.int64]) -> Rows:
    """One row a reading, in any order; where few readings were corrected it is faster than `summed`.

    Parameters
    ----------
    rows : Rows
    slots : ndarray of int64
        All slots that occur in ``rows``; others too.

    Raises
    ------
    StoreError
        As `summed`.
    """
    if len(rows) == 0:
        return rows
    wanted = np.unique(slots)
    key = rows.meter.astype(np.int64) * len(wanted) + np.searchsorted(wanted, rows.slot)
    corrected = np.zeros((int(rows.meter.max()) + 1) * len(wanted), dtype=bool)
    corrected[key[rows.n != 1]] = True
    several = corrected[key]
    plain, added = (rows, []) if not several.any() else (rows.take(~several), [summed(rows.take(several))])
    once = np.zeros_like(corrected)
    once[key[~several]] = True
    if np.count_nonzero(once) < len(plain):
        plain = summed(plain)  # says which reading is there twice
    return Rows.joined([plain, *added])


def outranking(given: Rows, held: Rows) -> tuple[Rows, int]:
    """What is to be added so that every reading given counts where it should.

    Parameters
    ----------
    given : Rows
        Each reading once.
    held : Rows
        What the store has of them, as `summed` gives it; others too.

    Returns
    -------
    Rows, int
        Rows to load; how many of them correct a reading that is there.
    """
    if len(held) == 0:
        return given, 0
    base = min(int(given.slot.min()), int(held.slot.min()))
    width = max(int(given.slot.max()), int(held.slot.max())) - base + 1
    key = given.meter.astype(np.int64) * width + (given.slot - base)
    known = held.meter.astype(np.int64) * width + (held.slot - base)
    at = np.minimum(np.searchsorted(known, key), len(known) - 1)
    there = known[at] == key
    better = _rank(given) > _rank(held)[at]
    chosen = ~there | better
    corrects = there[chosen]
    rows = given.take(chosen)
    old = held.wh[at[chosen]]
    return (
        Rows(
            rows.meter,
            rows.slot,
            np.where(corrects, rows.wh - old, rows.wh),
            rows.quality,
            rows.revision,
            np.where(corrects, 0, 1),
        ),
        int(corrects.sum()),
    )


def _rank(rows: Rows) -> NDArray[np.int64]:
    return precedence(rows.wh.astype(np.int32), rows.quality, rows.revision)
