"""Baseline screening: how well each baseline rule foretells a home's usage on days without an event.

Baselines are those of `domain.certification.certify`. Errors and their sums are whole numbers, and so are all
decisions: which rule is best, and whether it is within the limits. Ratios become floats at the very end.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntFlag
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domain.baselines import BoolArray, IntArray
from domain.certification import LoadBlock, certify
from domain.readings import MISSING
from domain.screening_plan import ScreeningPlan

METERS_AT_ONCE = 512
"""Meters that are worked on in one go: a plan's readings of so many stay in a processor's cache."""

_EXACT_WH = 2**24
"""Squares of errors below this add up within 64 bits, over 366 days of 24 hours. [Wh]"""


class ScreeningFinding(IntFlag):
    """What is to be known of a home's screening, as bits. Their codes and words are in `SCREENING_FINDINGS`."""

    FEW_DAYS = 1
    NO_USAGE = 2
    POOR_FIT = 4
    BIASED = 8


SCREENING_FINDINGS: dict[ScreeningFinding, tuple[str, str]] = {
    ScreeningFinding.FEW_DAYS: (
        "baseline.few_days",
        "too few proxy days have both readings and a baseline; nothing can be said",
    ),
    ScreeningFinding.NO_USAGE: ("baseline.no_usage", "nothing was used on the proxy days, so no error is relative"),
    ScreeningFinding.POOR_FIT: ("baseline.poor_fit", "no baseline is within the limit: the load varies too much"),
    ScreeningFinding.BIASED: ("baseline.biased", "even the best baseline is too high or too low on average"),
}
"""Stable code and sentence of each finding."""


@dataclass(frozen=True, eq=False)
class Screened:
    """What screening says of many meters, as columns; candidates are in the order of the plan.

    Attributes
    ----------
    meters : ndarray of str objects, shape (n,)
        In ascending order.
    days : ndarray of int32, shape (n,)
        Proxy days on which the candidates were compared. [days]
    own_days : ndarray of int32, shape (n, candidates)
        Proxy days on which each has a baseline and the window is measured. [days]
    actual_wh : ndarray of int64, shape (n,)
        Usage in the windows of the days compared. [Wh]
    error_wh : ndarray of int64, shape (n, candidates)
        Baseline less usage there; 0 where a candidate is not compared. [Wh]
    rrmse, bias, variability : ndarray of float64, shape (n, candidates)
        Root mean square of the errors, their mean, and their standard deviation, over mean usage; NaN where a
        candidate is not compared, or nothing was used. ``rrmse² = bias² + variability²``.
    fits : ndarray of bool, shape (n, candidates)
        Whether the RRMSE is within the limit.
    best : ndarray of int32, shape (n,)
        The candidate of least RRMSE, of several the first; -1 where none is compared.
    findings : ndarray of int32, shape (n,)
        Bits of `ScreeningFinding`.
    """

    meters: NDArray[np.object_]
    days: NDArray[np.int32]
    own_days: NDArray[np.int32]
    actual_wh: NDArray[np.int64]
    error_wh: NDArray[np.int64]
    rrmse: NDArray[np.float64]
    bias: NDArray[np.float64]
    variability: NDArray[np.float64]
    fits: NDArray[np.bool_]
    best: NDArray[np.int32]
    findings: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.meters)

    @property
    def compared(self) -> BoolArray:
        """Which candidates were compared, and a ratio could be formed. Shape (n, candidates)."""
        compared: BoolArray = np.logical_not(np.isnan(self.rrmse))
        return compared

    @property
    def best_fits(self) -> BoolArray:
        """Whether the best candidate is within the limit. Shape (n,)."""
        fits: BoolArray = np.any(self.fits, axis=1)
        return fits


def join_screened(parts: list[Screened], plan: ScreeningPlan) -> Screened:
    """One result of many parts, in ascending order of meter."""
    if not parts:
        parts = [screen(plan, LoadBlock(np.empty(0, object), np.empty((0, 1, len(plan.slots)), np.int32), None))]
    order = np.argsort(np.concatenate([part.meters for part in parts]).astype(str), kind="stable")
    return Screened(*(np.concatenate([getattr(p, name) for p in parts])[order] for name in _COLUMNS))


def screen(plan: ScreeningPlan, block: LoadBlock) -> Screened:
    """Compare the candidates for every meter of a block.

    Parameters
    ----------
    plan : ScreeningPlan
    block : LoadBlock
        Readings at ``plan.slots`` as one row: ``wh`` has shape (meters, 1, slots). Meters are independent of one
        another, so any split gives the same.
    """
    parts = [
        _judge(plan, block.meters[at : at + METERS_AT_ONCE], *_errors(plan, block, slice(at, at + METERS_AT_ONCE)))
        for at in range(0, max(len(block.meters), 1), METERS_AT_ONCE)
    ]
    return Screened(*(np.concatenate([getattr(part, name) for part in parts]) for name in _COLUMNS))


def _errors(plan: ScreeningPlan, block: LoadBlock, rows: slice) -> tuple[IntArray, IntArray, BoolArray]:
    """Usage and errors of some meters.

    Returns
    -------
    usage_wh : ndarray of int64, shape (meters, proxies, blocks)
        0 where not measured. [Wh]
    error_wh : ndarray of int64, shape (meters, candidates, proxies, blocks)
        Baseline less usage, 0 where there is none. [Wh]
    there : ndarray of bool, shape (meters, candidates, proxies)
        Where the candidate has a baseline and the whole window is measured.
    """
    meters = block.meters[rows]
    # As [slot, meter], the order in which a store hands readings over: then taking slots copies whole rows.
    wh = np.ascontiguousarray(block.wh[rows, 0].T)
    estimated = None if block.estimated is None else np.ascontiguousarray(block.estimated[rows, 0].T)
    n, length = len(meters), max(plan.blocks, 1)
    usage = np.zeros((n, len(plan.proxies), length), np.int64)
    errors = np.zeros((n, len(plan.candidates), len(plan.proxies), length), np.int64)
    there = np.zeros(errors.shape[:3], bool)
    for c, plans in enumerate(plan.plans):
        for p, event_plan in enumerate(plans):
            at = np.searchsorted(plan.slots, event_plan.slots)
            part = LoadBlock(
                meters,
                wh[at].transpose(2, 0, 1),
                None if estimated is None else estimated[at].transpose(2, 0, 1),
            )
            done = certify(event_plan, part)
            whole = done.certified & (done.actual_wh != MISSING).all(axis=1)
            shape = n, length, event_plan.event_intervals // length
            actual = np.where(whole[:, None], done.actual_wh, 0).reshape(shape).sum(axis=2)
            baseline = np.where(whole[:, None], done.baseline_wh, 0).reshape(shape).sum(axis=2)
            usage[:, p] = np.maximum(usage[:, p], actual)  # the same by every candidate that is there
            errors[:, c, p] = baseline - actual
            there[:, c, p] = whole
    return usage, errors, there


def _judge(
    plan: ScreeningPlan, meters: NDArray[np.object_], usage: IntArray, errors: IntArray, there: BoolArray
) -> Screened:
    rules = plan.rules
    own_days = there.sum(axis=2)
    compared, common = comparable(there, rules.min_days)
    days = common.sum(axis=1)
    n = (days * max(plan.blocks, 1))[:, None]
    actual = (usage * common[:, :, None]).sum(axis=(1, 2))
    errors = errors * (compared[:, :, None] & common[:, None, :])[..., None]
    total = errors.sum(axis=(2, 3))
    squares = _sum_of_squares(errors)
    # From here on integers of any size: products of sums may pass 64 bits.
    n_, actual_, total_ = n.astype(object), actual.astype(object)[:, None], total.astype(object)
    defined = compared & (actual > 0)[:, None]
    fits = defined & (100**2 * n_ * squares <= rules.limit_pct**2 * actual_**2).astype(bool)
    any_compared = compared.any(axis=1)
    worst = squares.max(initial=0) + 1
    best = np.where(any_compared, np.argmin(np.where(compared, squares, worst), axis=1), -1).astype(np.int32)
    best_total = np.take_along_axis(total_, np.maximum(best, 0)[:, None], axis=1)
    biased = any_compared & (100 * abs(best_total) > rules.bias_limit_pct * actual_).astype(bool)[:, 0]
    findings = (
        ~any_compared * int(ScreeningFinding.FEW_DAYS)
        + (any_compared & (actual == 0)) * int(ScreeningFinding.NO_USAGE)
        + (any_compared & (actual > 0) & ~fits.any(axis=1)) * int(ScreeningFinding.POOR_FIT)
        + (biased & (actual > 0)) * int(ScreeningFinding.BIASED)
    )

    def ratio(numerator: Any) -> NDArray[np.float64]:
        usable = np.where(actual > 0, actual, 1).astype(np.float64)[:, None]
        made: NDArray[np.float64] = np.where(defined, numerator.astype(np.float64) / usable, np.nan)
        return made

    return Screened(
        meters,
        days.astype(np.int32),
        own_days.astype(np.int32),
        actual,
        total,
        ratio(np.sqrt((n_ * squares).astype(np.float64))),
        ratio(total_),
        ratio(np.sqrt((n_ * squares - total_**2).astype(np.float64))),
        fits,
        best,
        findings.astype(np.int32),
    )


def comparable(there: BoolArray, min_days: int) -> tuple[BoolArray, BoolArray]:
    """Which candidates of each meter can be compared, and on which days: those that all of them have.

    While they have fewer than ``min_days`` days in common, the candidate with the fewest of its own is left out, of
    several the last. So one with fewer than ``min_days`` of its own is never compared.

    Parameters
    ----------
    there : ndarray of bool, shape (meters, candidates, days)

    Returns
    -------
    compared : ndarray of bool, shape (meters, candidates)
    common : ndarray of bool, shape (meters, days)
        None of them where no candidate is compared.

    Examples
    --------
    >>> there = np.array([[[1, 1, 1, 1], [0, 1, 1, 1], [0, 0, 0, 1]]], dtype=bool)
    >>> compared, common = comparable(there, 2)
    >>> compared.tolist(), common.tolist()
    ([[True, True, False]], [[False, True, True, True]])
    """
    own = there.sum(axis=2)
    compared = np.ones(own.shape, dtype=bool)
    candidates = there.shape[1]
    order = own * candidates + np.arange(candidates)[::-1]
    while True:
        any_left = np.any(compared, axis=1)
        common = (there | ~compared[:, :, None]).all(axis=1) & any_left[:, None]
        short = np.flatnonzero(any_left & (common.sum(axis=1) < min_days))
        if len(short) == 0:
            return compared, common
        fewest = np.argmin(np.where(compared[short], order[short], np.iinfo(np.int64).max), axis=1)
        compared[short, fewest] = False


def _sum_of_squares(errors: IntArray) -> NDArray[Any]:
    """Sums over days and blocks, as integers of any size. Shape (meters, candidates)."""
    if np.abs(errors).max(initial=0) >= _EXACT_WH:
        errors = errors.astype(object)
    total: NDArray[Any] = (errors * errors).sum(axis=(2, 3)).astype(object)
    return total


_COLUMNS = tuple(Screened.__dataclass_fields__)
