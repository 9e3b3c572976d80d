"""The certification kernel: readings of an event's plan in, certified reductions out.

Both the batch and the speed layer call `certify` on the same integers; that is what makes them agree.
"""

from __future__ import annotations

import functools
import operator
from dataclasses import dataclass
from enum import IntFlag
from typing import Any

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from domain.baselines import BoolArray
from domain.kernel import History, accepted, count_estimates, measure_event, weigh_history, where_rows
from domain.plans import EventPlan
from domain.readings import MISSING


class Finding(IntFlag):
    """What is to be known of a certificate's evidence, as bits. Their codes and words are in `FINDINGS`."""

    NO_READINGS = 1
    HISTORY_INSUFFICIENT = 2
    EVENT_INCOMPLETE = 4
    EVENT_UNMEASURED = 8
    DAYS_INCOMPLETE = 16
    LOW_USAGE_PASSED = 32
    LOW_USAGE_READMITTED = 64
    ADJUSTMENT_UNAVAILABLE = 128
    ADJUSTMENT_CAPPED = 256
    READINGS_ESTIMATED = 512
    USED_MORE = 1024


FINDINGS: dict[Finding, tuple[str, str]] = {
    Finding.NO_READINGS: ("readings.none", "the meter has no readings on any day that this event needs"),
    Finding.HISTORY_INSUFFICIENT: (
        "history.insufficient",
        "too few usable days of history for a baseline; not certified, paid nothing",
    ),
    Finding.EVENT_INCOMPLETE: (
        "event.incomplete",
        "too many readings of the event are missing; not certified, paid nothing",
    ),
    Finding.EVENT_UNMEASURED: (
        "event.unmeasured",
        "some intervals of the event have no reading; they count as no reduction",
    ),
    Finding.DAYS_INCOMPLETE: (
        "history.incomplete_days",
        "days of history were passed over because readings are missing",
    ),
    Finding.LOW_USAGE_PASSED: (
        "history.low_usage_days",
        "days of history were passed over as low-usage days",
    ),
    Finding.LOW_USAGE_READMITTED: (
        "history.low_usage_readmitted",
        "low-usage days were used, because too few other days were found",
    ),
    Finding.ADJUSTMENT_UNAVAILABLE: (
        "adjustment.unavailable",
        "readings before the event are missing, so the baseline is not adjusted",
    ),
    Finding.ADJUSTMENT_CAPPED: ("adjustment.capped", "the adjustment reached the programme's cap"),
    Finding.READINGS_ESTIMATED: ("readings.estimated", "estimated readings were used"),
    Finding.USED_MORE: ("reduction.negative", "usage was above the baseline over the event"),
}
"""Stable code and sentence of each finding."""

UNCERTIFIED = Finding.NO_READINGS | Finding.HISTORY_INSUFFICIENT | Finding.EVENT_INCOMPLETE


@dataclass(frozen=True, eq=False)
class LoadBlock:
    """The readings that a plan asks for.

    Attributes
    ----------
    meters : ndarray of str objects, shape (meters,)
        In ascending order.
    wh : ndarray of int32, shape (meters, 1 + days, intervals)
        Rows and columns as in `EventPlan.slots`; MISSING where there is no reading. [Wh]
    estimated : ndarray of bool, same shape, or None
        Readings that are estimates; None when there are none.
    """

    meters: NDArray[np.object_]
    wh: NDArray[np.int32]
    estimated: NDArray[np.bool_] | None


@dataclass(frozen=True, eq=False)
class Reductions:
    """Certified reductions of many meters for one event, as columns. Payment comes later, over all meters.

    Attributes
    ----------
    meters : ndarray of str objects, shape (n,)
        In ascending order.
    findings : ndarray of int32, shape (n,)
        Bits of `Finding`. A meter with a bit of `UNCERTIFIED` has no baseline: its energies are MISSING.
    unadjusted_wh, baseline_wh, actual_wh : ndarray of int64, shape (n, event_intervals)
        MISSING where not certified; ``actual_wh`` is MISSING where there is no reading. [Wh]
    kept_days : ndarray of bool, shape (n, days)
        Days of the plan whose mean is the baseline.
    evidence : ndarray of int32, shape (n, len(EVIDENCE))
        Counts behind the findings.
    """

    meters: NDArray[np.object_]
    findings: NDArray[np.int32]
    unadjusted_wh: NDArray[np.int64]
    baseline_wh: NDArray[np.int64]
    actual_wh: NDArray[np.int64]
    kept_days: NDArray[np.bool_]
    evidence: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.meters)

    @property
    def certified(self) -> NDArray[np.bool_]:
        """Which meters have a baseline and a measured event. Shape (n,)."""
        certified: NDArray[np.bool_] = (self.findings & int(UNCERTIFIED)) == 0
        return certified

    @property
    def reduction_wh(self) -> NDArray[np.int64]:
        """Baseline less usage per interval; 0 where unmeasured or not certified. Shape (n, event_intervals)."""
        known = (self.actual_wh != MISSING) & (self.baseline_wh != MISSING)
        return np.where(known, self.baseline_wh - self.actual_wh, 0)

    def take(self, rows: NDArray[np.bool_] | NDArray[np.intp]) -> Reductions:
        """The meters at ``rows`` (a mask or positions)."""
        return Reductions(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))


@dataclass(frozen=True, eq=False)
class Expected:
    """What many meters would use during an event, as far as it is known before or while the event runs.

    Attributes
    ----------
    meters : ndarray of str objects, shape (n,)
        In ascending order.
    findings : ndarray of int32, shape (n,)
        Bits of `Finding` that history and adjustment window give rise to; none about the event's own readings.
    unadjusted_wh, baseline_wh : ndarray of int64, shape (n, event_intervals)
        As in `Reductions`; MISSING where the history is insufficient. [Wh]
    adjusted : ndarray of bool, shape (n,)
        Whether the event day's readings of the adjustment window are all there and went into ``baseline_wh``;
        elsewhere, and under a rule without adjustment, it equals ``unadjusted_wh``.
    """

    meters: NDArray[np.object_]
    findings: NDArray[np.int32]
    unadjusted_wh: NDArray[np.int64]
    baseline_wh: NDArray[np.int64]
    adjusted: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.meters)


EVIDENCE = (
    "usable_days",
    "incomplete_days",
    "low_usage_days",
    "readmitted_days",
    "missing_intervals",
    "estimated_intervals",
)
"""Names of the columns of `Reductions.evidence`."""


def join(parts: list[Reductions], plan: EventPlan) -> Reductions:
    """One set of reductions from the parts of many tasks, in ascending order of meter."""
    if not parts:
        return certify(plan, empty_block(plan))
    meters = np.concatenate([part.meters for part in parts]).astype(str)
    order = None if np.all(meters[1:] > meters[:-1]) else np.argsort(meters, kind="stable")

    def whole(name: str) -> NDArray[Any]:  # column by column, so that only one of them is ever held twice
        column = np.concatenate([getattr(part, name) for part in parts])
        return column if order is None else column[order]

    return Reductions(*map(whole, Reductions.__dataclass_fields__))


def empty_block(plan: EventPlan) -> LoadBlock:
    """A block of no meters."""
    return LoadBlock(np.empty(0, dtype=object), np.empty((0, *plan.slots.shape), dtype=np.int32), None)


def certify(plan: EventPlan, block: LoadBlock) -> Reductions:
    """Certify every meter of a block for the plan's event.

    Parameters
    ----------
    plan : EventPlan
    block : LoadBlock
        What a store read for the plan; meters are independent of one another, so any split gives the same. Its
        arrays may be numpy's, CuPy's or PyTorch's, on any device: the result's are of the same kind and place.

    Returns
    -------
    Reductions
        A row a meter. A meter whose evidence does not suffice gets findings and no baseline, never a
        baseline of zero.
    """
    wh, estimated = accepted(plan, block.wh, block.estimated)
    xp = array_namespace(wh)
    history, event = weigh_history(plan, wh), measure_event(plan, wh)
    certified = history.sufficient & event.enough
    kept = history.kept & certified[:, None]
    baseline = where_rows(certified, history.baseline.baseline_wh, MISSING)
    actual = where_rows(certified, event.actual_wh, MISSING)
    saved = xp.sum(xp.where(actual != MISSING, baseline - actual, 0), axis=1)
    estimates = xp.zeros_like(history.usable_days)
    if estimated is not None:
        estimates = count_estimates(plan, estimated, kept, history.adjustable)
    findings = _bits(
        _history_marks(plan, history, certified)
        | {
            Finding.EVENT_INCOMPLETE: ~event.enough,
            Finding.EVENT_UNMEASURED: certified & (event.missing > 0),
            Finding.READINGS_ESTIMATED: certified & (estimates > 0),
            Finding.USED_MORE: certified & (saved < 0),
        }
    )
    evidence = (
        history.usable_days,
        history.incomplete_days,
        history.low_usage_days,
        history.readmitted_days,
        event.missing,
        estimates,
    )
    return Reductions(
        block.meters,
        findings,
        where_rows(certified, history.baseline.unadjusted_wh, MISSING),
        baseline,
        actual,
        kept,
        xp.astype(xp.stack(evidence, axis=1), xp.int32),
    )


def expected(plan: EventPlan, block: LoadBlock) -> Expected:
    """The baselines of an event for every meter of a block, whether or not the event was measured yet.

    Over the same history and adjustment window they are those of `certify`, for every meter that it certifies.

    Parameters
    ----------
    plan : EventPlan
    block : LoadBlock
        What a store read for the plan, as for `certify`; the event's own readings play no part.

    Returns
    -------
    Expected
        A row a meter. A meter whose history does not suffice gets findings and no baseline.
    """
    wh, _ = accepted(plan, block.wh, block.estimated)
    history = weigh_history(plan, wh)
    sufficient, baseline = history.sufficient, history.baseline
    return Expected(
        block.meters,
        _bits(_history_marks(plan, history, sufficient)),
        where_rows(sufficient, baseline.unadjusted_wh, MISSING),
        where_rows(sufficient, baseline.baseline_wh, MISSING),
        sufficient & history.adjustable & (plan.adjustment_intervals > 0),
    )


def _history_marks(plan: EventPlan, history: History, where: BoolArray) -> dict[Finding, BoolArray]:
    """Findings that history and adjustment window give rise to; those of a baseline for the meters ``where`` only."""
    marks = {
        Finding.NO_READINGS: ~history.seen,
        Finding.HISTORY_INSUFFICIENT: ~history.sufficient,
        Finding.DAYS_INCOMPLETE: where & (history.incomplete_days > 0),
        Finding.LOW_USAGE_PASSED: where & (history.low_usage_days > 0),
        Finding.LOW_USAGE_READMITTED: where & (history.readmitted_days > 0),
        Finding.ADJUSTMENT_CAPPED: where & history.baseline.capped,
    }
    if plan.rule.adjustment is not None:
        marks[Finding.ADJUSTMENT_UNAVAILABLE] = where & ~history.adjustable
    return marks


def _bits(marks: dict[Finding, BoolArray]) -> NDArray[np.int32]:
    """Findings of each meter as bits. Shape (meters,)."""
    xp = array_namespace(*marks.values())
    return functools.reduce(operator.or_, (xp.astype(mask, xp.int32) * int(bit) for bit, mask in marks.items()))
