"""Estimates for readings that are missing or wrong: a straight line, like days, and the register's difference.

Estimates are whole Wh. Where the register was read before and after a gap, they add up to what it counted, exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from domain.baselines import round_half_even
from domain.payments import apportion
from domain.readings import MISSING
from domain.registers import Spans, tolerance_wh
from domain.validation import BoolArray, DayBlock
from domain.vee_rules import VeeRules


class Method(IntEnum):
    """How an estimate came about. Names and words are in `METHODS_OF_ESTIMATION`."""

    NONE = 0
    LINEAR = 1
    LIKE_DAYS = 2
    NEARBY_DAYS = 3
    REGISTER = 4


METHODS_OF_ESTIMATION: dict[Method, tuple[str, str]] = {
    Method.LINEAR: ("linear", "a straight line between the readings on either side"),
    Method.LIKE_DAYS: ("like-days", "the mean of the same time on the same weekday of earlier weeks"),
    Method.NEARBY_DAYS: ("nearby-days", "the mean of the same time on the days before"),
    Method.REGISTER: ("register", "one of these, scaled to what the register counted over the gap"),
}
"""Stable name and sentence of each method."""


@dataclass(frozen=True, eq=False)
class Estimates:
    """Values for intervals, as columns.

    Attributes
    ----------
    meter, day, slot : ndarray of int64, shape (n,)
        Position in the block, in ascending order.
    wh : ndarray of int64, shape (n,)
        MISSING where there is nothing to estimate from. [Wh]
    method : ndarray of int8, shape (n,)
    """

    meter: NDArray[np.int64]
    day: NDArray[np.int64]
    slot: NDArray[np.int64]
    wh: NDArray[np.int64]
    method: NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.meter)


def profile(block: DayBlock, wanted: BoolArray, usable: BoolArray, rules: VeeRules) -> Estimates:
    """Estimate intervals from readings alone.

    A gap no longer than the rule says, with a usable reading on either side, is a straight line. Other intervals take
    the mean of like days, or of the days before where too few like days have a reading.

    Parameters
    ----------
    block : DayBlock
    wanted : ndarray of bool, shape (m, d, slots)
        Intervals to estimate.
    usable : ndarray of bool, shape (m, d, slots)
        Readings that may serve: actual ones that passed the checks.
    rules : VeeRules
    """
    meter, day, slot = np.nonzero(wanted)
    wh = np.full(len(meter), MISSING, dtype=np.int64)
    method = np.zeros(len(meter), dtype=np.int8)
    if len(meter) == 0:
        return Estimates(meter, day, slot, wh, method)
    nearby = tuple(range(1, rules.like_days.nearby_days + 1))
    for name, offsets in ((Method.NEARBY_DAYS, nearby), (Method.LIKE_DAYS, rules.like_offsets)):
        total, count = _sums_of(block, usable, meter, day, slot, offsets)
        enough = count >= rules.like_days.min_days
        wh[enough] = round_half_even(total[enough], count[enough])
        method[enough] = name
    line = _straight_lines(block, usable, meter, day, slot, rules.gap.interpolate_minutes)
    wh = np.where(line != MISSING, line, wh)
    method[line != MISSING] = Method.LINEAR
    return Estimates(meter, day, slot, wh, method)


def _sums_of(
    block: DayBlock,
    usable: BoolArray,
    meter: NDArray[np.int64],
    day: NDArray[np.int64],
    slot: NDArray[np.int64],
    offsets: tuple[int, ...],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Sum and count of the usable readings some days before each interval."""
    total, count = np.zeros(len(meter), np.int64), np.zeros(len(meter), np.int64)
    for back in offsets:
        then = block.days[day] - back
        at = np.minimum(np.searchsorted(block.days, then), len(block.days) - 1)
        there = block.days[at] == then
        there[there] = usable[meter[there], at[there], slot[there]]
        total[there] += block.wh[meter[there], at[there], slot[there]]
        count += there
    return total, count


def _straight_lines(
    block: DayBlock,
    usable: BoolArray,
    meter: NDArray[np.int64],
    day: NDArray[np.int64],
    slot: NDArray[np.int64],
    minutes: int,
) -> NDArray[np.int64]:
    """Points on the line between the nearest usable readings; MISSING where they are too far apart."""
    longest = minutes // block.interval_minutes
    per_day = block.wh.shape[2]
    number = block.days[day] * per_day + slot
    left = np.full(len(meter), MISSING, dtype=np.int64)  # energies of the neighbours, and how far they are
    right, steps_left, steps_right = left.copy(), left.copy(), left.copy()
    for step in range(1, longest + 1):
        for sign, value, steps in ((-1, left, steps_left), (1, right, steps_right)):
            then_day, then_slot = np.divmod(number + sign * step, per_day)
            at = np.minimum(np.searchsorted(block.days, then_day), len(block.days) - 1)
            there = (block.days[at] == then_day) & (value == MISSING)
            there[there] = usable[meter[there], at[there], then_slot[there]]
            value[there] = block.wh[meter[there], at[there], then_slot[there]]
            steps[there] = step
    found = (left != MISSING) & (right != MISSING)
    width = steps_left + steps_right
    found &= width - 1 <= longest
    line = round_half_even(left * steps_right + right * steps_left, np.where(found, width, 1))
    return np.where(found, line, MISSING)


def conserve(
    block: DayBlock,
    estimates: Estimates,
    known: BoolArray,
    spans: Spans,
    rules: VeeRules,
    limit_wh: NDArray[np.int64],
) -> tuple[Estimates, NDArray[np.int64]]:
    """Scale estimates so that with the known readings they add up to what the register counted.

    What is left of a span's energy is shared out over its unknown intervals in proportion to their estimates, by
    largest remainder; nothing is left where it is negative within the tolerance. An interval without estimate weighs
    as the mean of the others, and all weigh alike where none has one. Nothing is scaled where the register counted
    less than the known readings, or where an interval would get more than the meter can count.

    Parameters
    ----------
    block : DayBlock
    estimates : Estimates
        Of every unknown interval of the spans, and maybe of others.
    known : ndarray of bool, shape (m, d, slots)
        Readings that stay: every other interval of the spans is estimated.
    spans : Spans
        Wholly inside the block, of its meters, with energy of 0 or more, that do not overlap.
    rules : VeeRules
    limit_wh : ndarray of int64, shape (m,)
        Most that each meter can count in an interval. [Wh]

    Returns
    -------
    Estimates
        The same intervals.
    ndarray of int64, shape (spans,)
        What could not be shared out: register less known readings where nothing was scaled, else 0. [Wh]
    """
    wh, method = estimates.wh.copy(), estimates.method.copy()
    odd = np.zeros(len(spans), dtype=np.int64)
    per_day = block.wh.shape[2]
    row_of = {meter: row for row, meter in enumerate(block.meters)}
    number = block.days[estimates.day] * per_day + estimates.slot
    starts = np.searchsorted(estimates.meter, np.arange(len(block.meters) + 1))
    for n in range(len(spans)):
        row = row_of[spans.meters[n]]
        first, last = int(spans.first[n]), int(spans.last[n])
        a, b = starts[row], starts[row + 1]
        begin, end = a + np.searchsorted(number[a:b], [first, last])
        if begin == end:
            continue
        at = _positions(block, first, last)
        certain = known[row].reshape(-1)[at]
        left = int(spans.wh[n]) - int(block.wh[row].reshape(-1)[at][certain].sum(dtype=np.int64))
        if -int(tolerance_wh(int(spans.wh[n]), rules.register)) <= left < 0:
            left = 0
        shares = share_out(left, wh[begin:end]) if left >= 0 else None
        if shares is None or shares.max() > limit_wh[row]:
            odd[n] = left
            continue
        wh[begin:end] = shares
        method[begin:end] = Method.REGISTER
    return Estimates(estimates.meter, estimates.day, estimates.slot, wh, method), odd


def share_out(total_wh: int, weights_wh: NDArray[np.int64]) -> NDArray[np.int64]:
    """Split energy in proportion to weights, in whole Wh that add up to it.

    >>> share_out(10, np.array([1, 1, 1])).tolist()
    [4, 3, 3]
    >>> share_out(9, np.array([20, 10, MISSING])).tolist()   # the third weighs 15
    [4, 2, 3]
    >>> share_out(7, np.array([0, 0])).tolist()
    [4, 3]
    """
    has = weights_wh != MISSING
    sure = weights_wh[has].tolist()
    if sum(sure) == 0:
        weights = [1] * len(weights_wh)
    else:  # times the number of sure ones, so that the mean of them stays whole
        weights = [int(w) * len(sure) if ok else sum(sure) for w, ok in zip(weights_wh.tolist(), has, strict=True)]
    return np.array(apportion([total_wh * w for w in weights], sum(weights)), dtype=np.int64)


def _positions(block: DayBlock, first: int, last: int) -> slice:
    """Where the slots from ``first`` to ``last`` stand in a flattened block that has all of them."""
    per_day = block.wh.shape[2]
    at = int(np.searchsorted(block.days, first // per_day)) * per_day + first % per_day
    return slice(at, at + last - first)


def inside(spans: Spans, block: DayBlock) -> BoolArray:
    """Which spans lie on the block's meters and, without a hole, on its days."""
    per_day = block.wh.shape[2]
    first_day, last_day = spans.first // per_day, (spans.last - 1) // per_day
    at = np.searchsorted(block.days, first_day)
    end = at + (last_day - first_day)
    there = np.isin(spans.meters.astype(str), block.meters.astype(str)) & (end < len(block.days))
    there[there] = (block.days[at[there]] == first_day[there]) & (block.days[end[there]] == last_day[there])
    result: BoolArray = there
    return result


def sums(block: DayBlock, known: BoolArray, spans: Spans) -> tuple[NDArray[np.int64], BoolArray]:
    """Energy of the known readings of each span, and whether it has all of them. [Wh]"""
    row_of = {meter: row for row, meter in enumerate(block.meters)}
    energy, complete = np.zeros(len(spans), np.int64), np.zeros(len(spans), dtype=bool)
    for n in range(len(spans)):
        row, at = row_of[spans.meters[n]], _positions(block, int(spans.first[n]), int(spans.last[n]))
        certain = known[row].reshape(-1)[at]
        energy[n] = block.wh[row].reshape(-1)[at][certain].sum(dtype=np.int64)
        complete[n] = certain.all()
    return energy, complete
