"""Reads of a meter's register: their differences, and what those say of the intervals between them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from domain.vee_rules import RegisterRule


@dataclass(frozen=True, eq=False)
class RegisterReads:
    """Cumulative reads of one register of many meters, in any order.

    Attributes
    ----------
    meters : ndarray of str objects, shape (n,)
        The meter of each read.
    slot : ndarray of int64, shape (n,)
        The read stands at the start of this interval.
    wh : ndarray of int64, shape (n,)
        What the register shows. [Wh]
    """

    meters: NDArray[np.object_]
    slot: NDArray[np.int64]
    wh: NDArray[np.int64]

    @classmethod
    def none(cls) -> RegisterReads:
        """No reads."""
        return cls(np.empty(0, object), np.empty(0, np.int64), np.empty(0, np.int64))

    def __len__(self) -> int:
        return len(self.slot)


@dataclass(frozen=True, eq=False)
class Spans:
    """Times between one read of a register and the next of the same meter.

    Attributes
    ----------
    meters : ndarray of str objects, shape (n,)
    first, last : ndarray of int64, shape (n,)
        Half-open, in slots.
    wh : ndarray of int64, shape (n,)
        Energy that the register counted; negative where it ran backwards. [Wh]
    """

    meters: NDArray[np.object_]
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    wh: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.first)

    def take(self, rows: NDArray[np.bool_] | NDArray[np.intp]) -> Spans:
        """The spans at ``rows`` (a mask or positions)."""
        return Spans(self.meters[rows], self.first[rows], self.last[rows], self.wh[rows])


def spans_between(reads: RegisterReads, rule: RegisterRule, most_wh_per_slot: int) -> Spans:
    """Differences of consecutive reads, with a register's start anew at ``rollover_wh`` taken into account.

    A register that shows less than before has started anew if, with ``rollover_wh`` added, it counted no more than
    the meter can; else it ran backwards, and the span's energy is negative.

    Parameters
    ----------
    reads : RegisterReads
        Of two reads for one slot the greater counts.
    rule : RegisterRule
    most_wh_per_slot : int
        What a meter can count in an interval. [Wh]

    Examples
    --------
    >>> rule = RegisterRule(0, 0, 100_000, 35)
    >>> meters, slot = np.array(["a"] * 4, object), np.array([0, 24, 48, 72])
    >>> reads = RegisterReads(meters, slot, np.array([99_000, 500, 900, 850]))
    >>> spans_between(reads, rule, 1000).wh.tolist()
    [1500, 400, -50]
    """
    order = np.lexsort((reads.wh, reads.slot, reads.meters.astype(str)))
    meters, slot, wh = reads.meters[order], reads.slot[order], reads.wh[order]
    if len(slot) == 0:
        return Spans(meters, slot, slot, wh)
    last = np.append((meters[1:] != meters[:-1]) | (slot[1:] != slot[:-1]), True)
    meters, slot, wh = meters[last], slot[last], wh[last]
    pairs = np.flatnonzero(meters[1:] == meters[:-1])
    first, then, counted = slot[pairs], slot[pairs + 1], wh[pairs + 1] - wh[pairs]
    if rule.rollover_wh:
        anew = counted + rule.rollover_wh
        counted = np.where((counted < 0) & (anew <= most_wh_per_slot * (then - first)), anew, counted)
    return Spans(meters[pairs], first, then, counted)


def tolerance_wh(span_wh: NDArray[np.int64] | int, rule: RegisterRule) -> NDArray[np.int64]:
    """How far intervals and register may differ over a span. [Wh]

    >>> int(tolerance_wh(20_000, RegisterRule(10, 1, 0, 35)))
    30
    """
    return np.asarray(rule.tolerance_wh + np.abs(span_wh) * rule.tolerance_permille // 1000, dtype=np.int64)
