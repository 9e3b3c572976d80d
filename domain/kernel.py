"""The arithmetic of certification on whole blocks of meters, in the Python array API.

The same code runs on the arrays of numpy, CuPy and PyTorch, wherever they lie, and gives the same integers: it holds
no float, no order that a library may choose, and no function that one of them lacks. What the numbers are called in a
certificate is said in `domain.certification`. Types are named after numpy's.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from domain.baselines import (
    METHODS,
    AdjustedBaseline,
    BoolArray,
    IntArray,
    adjusted_baseline,
    kept_day_sums,
    select_days,
)
from domain.plans import EventPlan
from domain.programmes import LowUsageShortage
from domain.readings import MISSING

EnergyArray = NDArray[np.int32]


class History(NamedTuple):
    """What history and adjustment window say of each meter; nothing in it depends on the event's own readings.

    Of shape (meters,) are ``seen``: there is any reading at all, the event's included; ``sufficient``: there are days
    enough for a baseline; ``adjustable``: the event day's adjustment window is whole; and the counts of days.
    ``baseline`` and ``kept`` (meters, days) mean nothing where not ``sufficient``; there no day is kept.
    """

    seen: BoolArray
    sufficient: BoolArray
    adjustable: BoolArray
    usable_days: IntArray
    incomplete_days: IntArray
    low_usage_days: IntArray
    readmitted_days: IntArray
    baseline: AdjustedBaseline
    kept: BoolArray


class Measurement(NamedTuple):
    """The event as it was measured.

    ``actual_wh`` has shape (meters, event_intervals), MISSING where there is no reading [Wh]; ``missing`` counts
    those, shape (meters,); ``enough``: as many are there as the terms ask for.
    """

    actual_wh: IntArray
    missing: IntArray
    enough: BoolArray


def accepted(plan: EventPlan, wh: EnergyArray, estimated: BoolArray | None) -> tuple[EnergyArray, BoolArray | None]:
    """The energies that the plan's terms let count, and which of them are estimates.

    Returns
    -------
    ndarray of int32, same shape as ``wh``
        MISSING where an estimate is not accepted. [Wh]
    ndarray of bool, same shape, or None
        None where there are no estimates among them.
    """
    if estimated is None:
        return wh, None
    xp = array_namespace(wh, estimated)
    if plan.terms.accept_estimated:
        return wh, estimated & (wh != MISSING)
    return xp.where(estimated, MISSING, wh), None


def weigh_history(plan: EventPlan, wh: EnergyArray) -> History:
    """Choose each meter's days, and work out its baseline.

    Parameters
    ----------
    plan : EventPlan
    wh : ndarray of int32, shape (meters, 1 + days, intervals)
        From `accepted`. [Wh]
    """
    xp = array_namespace(wh)
    rule, e = plan.rule, plan.event_intervals
    # Energies are never below zero, so that the extremes of a row tell whether it is whole, and whether it is empty.
    whole = xp.min(wh, axis=2) > MISSING
    seen = xp.max(wh, axis=2) > MISSING
    usage = xp.sum(wh[:, 1:, :e], axis=2, dtype=xp.int64)
    complete = whole[:, 1:]
    chosen = select_days(
        usage,
        complete,
        days=rule.days,
        low_usage_pct=rule.low_usage_pct,
        readmit=rule.low_usage_shortage is LowUsageShortage.READMIT,
    )
    usable_days = xp.count_nonzero(chosen.selected, axis=1)
    sufficient = usable_days >= rule.min_days
    kept = METHODS[rule.method](
        usage,
        chosen.selected,
        days=rule.days,
        drop_lowest=rule.drop_lowest,
        drop_highest=rule.drop_highest,
    )
    kept = kept & sufficient[:, None]
    sums = kept_day_sums(wh[:, 1:, :], kept)
    number = xp.count_nonzero(kept, axis=1)
    before = wh[:, 0, e:]
    adjustable = xp.all(before != MISSING, axis=1)
    baseline = adjusted_baseline(
        sums[:, :e],
        xp.where(number > 0, number, 1),
        xp.sum(sums[:, e:], axis=1),
        xp.where(adjustable, xp.sum(before, axis=1, dtype=xp.int64), 0),
        adjustable,
        adjustment_intervals=plan.adjustment_intervals,
        cap_pct=None if rule.adjustment is None else rule.adjustment.cap_pct,
    )
    return History(
        xp.any(seen, axis=1),
        sufficient,
        adjustable,
        usable_days,
        xp.count_nonzero(seen[:, 1:] & ~complete & chosen.reached, axis=1),
        chosen.low_usage,
        chosen.readmitted,
        baseline,
        kept,
    )


def measure_event(plan: EventPlan, wh: EnergyArray) -> Measurement:
    """The event's own readings. Parameters as in `weigh_history`."""
    xp = array_namespace(wh)
    e = plan.event_intervals
    actual = xp.astype(wh[:, 0, :e], xp.int64)
    measured = xp.count_nonzero(actual != MISSING, axis=1)
    return Measurement(actual, e - measured, measured * 100 >= plan.terms.min_event_completeness_pct * e)


def count_estimates(plan: EventPlan, estimated: BoolArray, kept: BoolArray, adjustable: BoolArray) -> IntArray:
    """How many of the readings that a certificate rests on are estimates. Shape (meters,).

    Parameters
    ----------
    plan : EventPlan
    estimated : ndarray of bool, shape (meters, 1 + days, intervals)
        From `accepted`.
    kept : ndarray of bool, shape (meters, days)
        Days in the mean.
    adjustable : ndarray of bool, shape (meters,)
        Whether the event day's adjustment window is used.
    """
    xp = array_namespace(estimated, kept, adjustable)
    e = plan.event_intervals
    of_event = xp.count_nonzero(estimated[:, 0, :e], axis=1)
    before = xp.where(adjustable, xp.count_nonzero(estimated[:, 0, e:], axis=1), 0)
    of_days = xp.sum(xp.where(kept, xp.count_nonzero(estimated[:, 1:, :], axis=2), 0), axis=1)
    total: IntArray = of_event + before + of_days
    return total


def where_rows(rows: BoolArray, values: Any, otherwise: int) -> Any:
    """``values`` of the rows that are true, ``otherwise`` in the others. Shapes (meters,) and (meters, n).

    >>> where_rows(np.array([True, False]), np.array([[1, 2], [3, 4]]), -1).tolist()
    [[1, 2], [-1, -1]]
    """
    return array_namespace(values).where(rows[:, None], values, otherwise)
