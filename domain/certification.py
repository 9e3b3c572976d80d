"""The certification kernel: readings of an event's plan in, certified reductions out.

Both the batch and the speed layer call `certify` on the same integers; that is what makes them agree.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntFlag
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domain.baselines import METHODS, adjusted_baseline, kept_day_sums, select_days
from domain.plans import EventPlan
from domain.programmes import LowUsageShortage
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
        What a store read for the plan; meters are independent of one another, so any split gives the same.

    Returns
    -------
    Reductions
        A row a meter. A meter whose evidence does not suffice gets findings and no baseline, never a
        baseline of zero.
    """
    rule, terms, e = plan.rule, plan.terms, plan.event_intervals
    wh = block.wh
    present = wh != MISSING
    estimated = block.estimated
    if estimated is not None and not terms.accept_estimated:
        present &= ~estimated
        estimated = None

    complete_days = present[:, 1:].all(axis=2)
    seen_days = present[:, 1:].any(axis=2)
    usage = wh[:, 1:, :e].sum(axis=2, dtype=np.int64)
    chosen = select_days(
        usage,
        complete_days,
        days=rule.days,
        low_usage_pct=rule.low_usage_pct,
        readmit=rule.low_usage_shortage is LowUsageShortage.READMIT,
    )
    kept = METHODS[rule.method](
        usage,
        chosen.selected,
        days=rule.days,
        drop_lowest=rule.drop_lowest,
        drop_highest=rule.drop_highest,
    )
    event_present = present[:, 0, :e]
    missing_intervals = e - event_present.sum(axis=1)
    adjustable = present[:, 0, e:].all(axis=1)
    have_days = chosen.selected.sum(axis=1)

    findings = np.zeros(len(block.meters), dtype=np.int32)

    def mark(finding: Finding, where: NDArray[np.bool_]) -> None:
        findings[where] |= int(finding)

    mark(Finding.NO_READINGS, ~present.any(axis=(1, 2)))
    mark(Finding.HISTORY_INSUFFICIENT, have_days < rule.min_days)
    mark(Finding.EVENT_INCOMPLETE, (e - missing_intervals) * 100 < terms.min_event_completeness_pct * e)
    certified = (findings & int(UNCERTIFIED)) == 0
    kept &= certified[:, None]

    sums = kept_day_sums(wh[:, 1:], kept)
    result = adjusted_baseline(
        sums[:, :e],
        np.maximum(kept.sum(axis=1), 1),
        sums[:, e:].sum(axis=1),
        np.where(adjustable, wh[:, 0, e:].sum(axis=1, dtype=np.int64), 0),
        adjustable & certified,
        adjustment_intervals=plan.adjustment_intervals,
        cap_pct=None if rule.adjustment is None else rule.adjustment.cap_pct,
    )
    row = certified[:, None]
    actual = np.where(row & event_present, wh[:, 0, :e], MISSING).astype(np.int64)
    estimates = np.zeros(len(findings), dtype=np.int64)
    if estimated is not None:
        in_use = estimated & present
        event_estimates = in_use[:, 0, :e].sum(axis=1) + in_use[:, 0, e:].sum(axis=1) * adjustable
        estimates = event_estimates + in_use[:, 1:].sum(axis=2, where=kept[:, :, None]).sum(axis=1)

    incomplete_days = (seen_days & ~complete_days & chosen.reached).sum(axis=1)
    mark(Finding.EVENT_UNMEASURED, certified & (missing_intervals > 0))
    mark(Finding.DAYS_INCOMPLETE, certified & (incomplete_days > 0))
    mark(Finding.LOW_USAGE_PASSED, certified & (chosen.low_usage > 0))
    mark(Finding.LOW_USAGE_READMITTED, certified & (chosen.readmitted > 0))
    if rule.adjustment is not None:
        mark(Finding.ADJUSTMENT_UNAVAILABLE, certified & ~adjustable)
    mark(Finding.ADJUSTMENT_CAPPED, certified & result.capped)
    mark(Finding.READINGS_ESTIMATED, certified & (estimates > 0))
    baseline = np.where(row, result.baseline_wh, MISSING)
    saved = np.where(actual != MISSING, baseline - actual, 0).sum(axis=1)
    mark(Finding.USED_MORE, certified & (saved < 0))

    evidence = np.stack(
        [have_days, incomplete_days, chosen.low_usage, chosen.readmitted, missing_intervals, estimates],
        axis=1,
    )
    return Reductions(
        block.meters,
        findings,
        np.where(row, result.unadjusted_wh, MISSING),
        baseline,
        actual,
        kept,
        evidence.astype(np.int32),
    )
