"""Reports of the same reading within one import: repeats do no harm, contradictions can't be decided."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from domain.readings import MISSING
from ingest.checks import AcceptedRows


@dataclass(frozen=True)
class Deduplicated:
    """What is left of rows once repeats and conflicts are taken out.

    Attributes
    ----------
    keep : ndarray of intp or None
        Positions to keep, in order of meter and interval; None when the rows may stay as they are.
    repeated : int
        Rows that only said again what another row says.
    conflicts : ndarray of intp, shape (k, 2)
        Positions of rows that another report of the same reading contradicts, each with that of such a report.
    """

    keep: NDArray[np.intp] | None
    repeated: int
    conflicts: NDArray[np.intp]


def deduplicate(rows: AcceptedRows) -> Deduplicated:
    """Find the repeats and the conflicts among rows of one import.

    Two rows report the same reading when meter, interval, revision and quality agree. If their energies
    agree too, one is kept; one that leaves out the export register agrees with any export. Where the energies
    of a register differ, none of the rows is kept: choosing one would be a guess about somebody's money.
    """
    order = _order(rows)
    same = _same_as_previous(rows, order)
    if not same.any():
        return Deduplicated(order, 0, np.empty((0, 2), np.intp))
    if order is None:
        order = np.arange(len(rows))
    several = same | np.append(same[1:], False)
    at = order[several]
    starts = np.flatnonzero(~same[several])
    group = np.cumsum(~same[several]) - 1
    clash = _differs(rows.import_wh[at], starts) | _differs_where_present(rows.export_wh[at], starts)

    kept = np.zeros(len(at), np.bool_)
    fullest = np.lexsort((np.arange(len(at)), -rows.export_wh[at].astype(np.int64), group))
    kept[fullest[starts]] = True
    kept &= ~clash[group]
    keep = np.ones(len(order), np.bool_)
    keep[several] = kept

    other = _contradicting(rows, at, starts, group)
    conflicts = np.stack([at, other], axis=1)[clash[group]]
    repeated = int((~kept & ~clash[group]).sum())
    return Deduplicated(order[keep], repeated, conflicts)


def _order(rows: AcceptedRows) -> NDArray[np.intp] | None:
    """The order by meter, interval, revision and quality; None when the rows already stand in it."""
    if len(rows) == 0:
        return None
    first, span = int(rows.slot.min()), int(rows.slot.max() - rows.slot.min()) + 1
    revisions = int(rows.revision.max()) + 1
    if (int(rows.meter.max()) + 1) * span * revisions * 4 >= 2**63:
        return np.lexsort((rows.quality, rows.revision, rows.slot, rows.meter))
    key = rows.meter.astype(np.int64)
    for column, size in ((rows.slot - first, span), (rows.revision, revisions), (rows.quality, 4)):
        key *= size
        key += column
    return None if (key[1:] >= key[:-1]).all() else np.argsort(key, kind="stable")


def _same_as_previous(rows: AcceptedRows, order: NDArray[np.intp] | None) -> NDArray[np.bool_]:
    same = np.ones(len(rows), np.bool_)
    same[:1] = False
    for column in (rows.meter, rows.slot, rows.revision, rows.quality):
        ordered = column if order is None else column[order]
        same[1:] &= ordered[1:] == ordered[:-1]
    return same


def _differs(values: NDArray[np.int32], starts: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Whether each group, from one start to the next, holds more than one value."""
    several: NDArray[np.bool_] = np.minimum.reduceat(values, starts) != np.maximum.reduceat(values, starts)
    return several


def _differs_where_present(values: NDArray[np.int32], starts: NDArray[np.intp]) -> NDArray[np.bool_]:
    highest = np.maximum.reduceat(values, starts)
    lowest = np.minimum.reduceat(np.where(values == MISSING, np.int32(2**31 - 1), values), starts)
    several: NDArray[np.bool_] = (highest != MISSING) & (lowest != highest)
    return several


def _contradicting(
    rows: AcceptedRows, at: NDArray[np.intp], starts: NDArray[np.intp], group: NDArray[np.intp]
) -> NDArray[np.intp]:
    """The first row of each row's group that says otherwise; meaningless where all say the same."""
    first = at[starts][group]
    otherwise = rows.import_wh[at] != rows.import_wh[first]
    otherwise |= rows.export_wh[at] != rows.export_wh[first]
    place = np.where(otherwise, np.arange(len(at)), len(at) - 1)
    return np.where(otherwise, first, at[np.minimum.reduceat(place, starts)][group])
