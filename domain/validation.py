"""Checks of interval readings: gaps, readings beyond what a connection carries, spikes, stuck registers.

All of them look at actual readings only. Estimates were put in by a rule and are final until an actual reading comes,
so that checking again what was checked and estimated before finds nothing new.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from domain.certification import LoadBlock
from domain.intervals import slots_per_day
from domain.readings import MISSING
from domain.vee_rules import SpikeRule, StuckValueRule, StuckZeroRule, VeeRules

BoolArray = NDArray[np.bool_]


class Check(IntEnum):
    """What a check finds. Codes and words are in `CHECKS`."""

    NONE = 0
    GAP = 1
    LIMIT = 2
    SPIKE = 3
    STUCK_VALUE = 4
    STUCK_ZERO = 5
    REGISTER_BACKWARDS = 6
    SUM = 7
    CLOCK = 8
    NO_ESTIMATE = 9


CHECKS: dict[Check, tuple[str, str]] = {
    Check.GAP: ("gap.missing", "no reading"),
    Check.LIMIT: ("limit.exceeded", "more energy than the connection can carry"),
    Check.SPIKE: ("spike.isolated", "far above like intervals and above the meter's peaks, and alone there"),
    Check.STUCK_VALUE: ("stuck.value", "the same reading over and over"),
    Check.STUCK_ZERO: ("stuck.zero", "zeros over and over, where the meter is never at zero"),
    Check.REGISTER_BACKWARDS: ("register.backwards", "the register shows less than before"),
    Check.SUM: ("sum.mismatch", "the intervals do not add up to the register's difference"),
    Check.CLOCK: ("clock.drift", "the meter's clock is off the concentrator's"),
    Check.NO_ESTIMATE: ("estimate.none", "nothing to estimate from; the readings are left as they are"),
}
"""Stable code and sentence of each finding."""


@dataclass(frozen=True, eq=False)
class DayBlock:
    """Readings of many meters on some UTC days.

    Attributes
    ----------
    interval_minutes : int
    meters : ndarray of str objects, shape (m,)
    days : ndarray of int64, shape (d,)
        UTC days since 1970, ascending; not all of them need to follow one another.
    wh : ndarray of int32, shape (m, d, slots)
        MISSING where there is no reading. [Wh]
    estimated : ndarray of bool, shape (m, d, slots)
    """

    interval_minutes: int
    meters: NDArray[np.object_]
    days: NDArray[np.int64]
    wh: NDArray[np.int32]
    estimated: BoolArray

    @classmethod
    def of(cls, block: LoadBlock, days: NDArray[np.int64], interval_minutes: int) -> DayBlock:
        """A block that was read at `slots_of` these days."""
        estimated = np.zeros(block.wh.shape, dtype=bool) if block.estimated is None else block.estimated
        return cls(interval_minutes, block.meters, days, block.wh, estimated)

    @property
    def actual(self) -> BoolArray:
        """Which intervals have an actual reading."""
        actual: BoolArray = (self.wh != MISSING) & ~self.estimated
        return actual

    @property
    def slots(self) -> NDArray[np.int64]:
        """Numbers of the intervals. Shape (d, slots)."""
        return slots_of(self.days, self.interval_minutes)

    def take(self, rows: slice) -> DayBlock:
        """Some of the meters."""
        return DayBlock(self.interval_minutes, self.meters[rows], self.days, self.wh[rows], self.estimated[rows])


def slots_of(days: NDArray[np.int64], interval_minutes: int) -> NDArray[np.int64]:
    """Numbers of all intervals of UTC days. Shape (days, slots).

    >>> slots_of(np.array([1]), 60)[0, :3].tolist()
    [24, 25, 26]
    """
    per_day = slots_per_day(interval_minutes)
    return days[:, None] * per_day + np.arange(per_day)


def flag(block: DayBlock, window: BoolArray, rules: VeeRules, limit_wh: NDArray[np.int64]) -> NDArray[np.int8]:
    """Check the actual readings of a window.

    Days are checked in their order, and a reading that is flagged serves no later one for comparison.

    Parameters
    ----------
    block : DayBlock
        The window's days, `VeeRules.reference_offsets` before each, and what is needed to see runs whole.
    window : ndarray of bool, shape (d, slots)
        The intervals to check.
    rules : VeeRules
    limit_wh : ndarray of int64, shape (m,)
        Most that each meter can count in an interval. [Wh]

    Returns
    -------
    ndarray of int8, shape (m, d, slots)
        A `Check`; NONE where nothing was found.
    """
    actual = block.actual
    found = np.zeros(block.wh.shape, dtype=np.int8)
    over = actual & window & (block.wh > limit_wh[:, None, None])
    found[over] = Check.LIMIT
    _flag_stuck(block, actual, window, rules, found)
    usable = actual & (found == Check.NONE)
    place = {int(day): n for n, day in enumerate(block.days)}
    floor = rules.spike.floor_watts * block.interval_minutes // 60
    for day in np.flatnonzero(window.any(axis=1)).tolist():
        high = usable[:, day] & window[day] & (block.wh[:, day] > floor)
        rows = np.flatnonzero(high.any(axis=1))
        if len(rows):
            now = int(block.days[day])
            references = [place[now - back] for back in rules.reference_offsets if now - back in place]
            like = [place[now - back] for back in rules.like_offsets if now - back in place]
            spikes = _spikes(block.wh, usable, rows, day, references, like, rules) & high[rows]
            spikes &= ~_longer(spikes, rules.spike)
            found[rows, day] = np.where(spikes, Check.SPIKE, found[rows, day])
            usable[rows, day] &= ~spikes
    return found


def _spikes(
    wh: NDArray[np.int32],
    usable: BoolArray,
    rows: NDArray[np.intp],
    day: int,
    references: list[int],
    like: list[int],
    rules: VeeRules,
) -> BoolArray:
    """Which readings of a day are far above the median of like intervals and above the meter's peaks."""
    today = wh[rows, day].astype(np.int64)
    if len(like) < rules.like_days.min_days:
        return np.zeros(today.shape, dtype=bool)
    seen = np.ix_(rows, np.array(references))
    known = np.where(usable[seen], wh[seen], MISSING).reshape(len(rows), -1)
    third = np.partition(known, -3, axis=1)[:, -3].astype(np.int64)
    alike = np.ix_(rows, np.array(like))
    values = np.where(usable[alike], wh[alike], np.int32(2**31 - 1))
    values.sort(axis=1)
    count = (values < 2**31 - 1).sum(axis=1)
    lower = np.take_along_axis(values, (np.maximum(count - 1, 0) // 2)[:, None], axis=1)[:, 0].astype(np.int64)
    upper = np.take_along_axis(values, np.minimum(count // 2, len(like) - 1)[:, None], axis=1)[:, 0].astype(np.int64)
    median_twice = lower + np.where(count % 2 == 1, lower, upper)
    spikes: BoolArray = (
        (count >= rules.like_days.min_days)
        & (third != MISSING)[:, None]
        & (today * 200 > rules.spike.median_pct * median_twice)
        & (today * 100 > rules.spike.peak_pct * third[:, None])
    )
    return spikes


def _longer(spikes: BoolArray, rule: SpikeRule) -> BoolArray:
    """Flags that stand in a row of more than the rule's length: the home's usage changed."""
    long = np.zeros_like(spikes)
    for row in np.flatnonzero(spikes.sum(axis=1) > rule.longest_intervals):
        for begin, end in runs(spikes[row]):
            long[row, begin:end] = end - begin > rule.longest_intervals
    return long


def _flag_stuck(
    block: DayBlock, actual: BoolArray, window: BoolArray, rules: VeeRules, found: NDArray[np.int8]
) -> None:
    """Mark runs of equal readings, also those that began before the window or go on after it."""
    m = len(block.meters)
    slots = block.slots.reshape(-1)
    wh, real = block.wh.reshape(m, -1), actual.reshape(m, -1)
    inside, marks = window.reshape(-1), found.reshape(m, -1)
    value_length = -(-rules.stuck_value.minutes // block.interval_minutes)
    zero_length = -(-rules.stuck_zero.minutes // block.interval_minutes)
    before = np.repeat(~window.any(axis=1) & (block.days < block.days[window.any(axis=1)].min()), window.shape[1])
    for row in np.flatnonzero(_may_be_stuck(wh, value_length, zero_length, rules.stuck_value)):
        follows = real[row, 1:] & real[row, :-1] & (wh[row, 1:] == wh[row, :-1]) & (slots[1:] == slots[:-1] + 1)
        edges = np.append(np.flatnonzero(np.append(True, ~follows)), len(slots))
        for long in np.flatnonzero(np.diff(edges) >= min(value_length, zero_length)).tolist():
            begin, end = int(edges[long]), int(edges[long + 1])
            value = int(wh[row, begin])
            span = marks[row, begin:end]
            if value >= rules.stuck_value.floor_wh and end - begin >= value_length:
                span[inside[begin:end] & (span == Check.NONE)] = Check.STUCK_VALUE
            elif value == 0 and end - begin >= zero_length:
                outside = real[row] & before
                outside[begin:end] = False
                if _never_zero(wh[row, outside], rules.stuck_zero):
                    span[inside[begin:end]] = Check.STUCK_ZERO


def _may_be_stuck(
    wh: NDArray[np.int32], value_length: int, zero_length: int, rule: StuckValueRule
) -> NDArray[np.bool_]:
    """Meters that may have a run so long: samples half its length apart are equal, which is cheap to see."""
    maybe = np.zeros(len(wh), dtype=bool)
    for length, lowest, highest in ((value_length, rule.floor_wh, 2**31 - 1), (zero_length, 0, 0)):
        samples = wh[:, :: max(length // 2, 1)]
        same = (samples[:, 1:] == samples[:, :-1]) & (samples[:, 1:] >= lowest) & (samples[:, 1:] <= highest)
        maybe |= same.any(axis=1)
    return maybe


def _never_zero(others: NDArray[np.int32], rule: StuckZeroRule) -> bool:
    return len(others) > 0 and int((others == 0).sum()) * 1000 <= rule.usual_zeros_permille * len(others)


def runs(flags: BoolArray) -> Iterator[tuple[int, int]]:
    """Half-open bounds of the runs of True.

    >>> list(runs(np.array([True, False, True, True])))
    [(0, 1), (2, 4)]
    """
    edges = np.flatnonzero(np.diff(np.concatenate(([0], flags.astype(np.int8), [0]))))
    return zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
