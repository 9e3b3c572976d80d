"""The vectorised kernel against a slow one: one home at a time, plain loops, exact fractions."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from random_blocks import HOMES, PLANS, neighbourhoods, random_block

from domain.certification import EVIDENCE, Finding, certify
from domain.programmes import BaselineRule, Terms
from domain.readings import MISSING

Reading = tuple[int, bool] | None
"""Energy and whether it is an estimate; None: no reading."""


@dataclass
class Expected:
    """What a careful person with paper would write down for one home."""

    findings: set[Finding] = field(default_factory=set)
    kept: list[int] = field(default_factory=list)
    unadjusted: list[int] | None = None
    baseline: list[int] | None = None
    actual: list[int | None] | None = None
    counts: dict[str, int] = field(default_factory=dict)

    def note(self, finding: Finding, there: bool) -> None:
        if there:
            self.findings.add(finding)


@dataclass
class Day:
    """One complete day of history: how far back, and its readings."""

    back: int
    event: list[int]
    before: list[int]

    @property
    def energy(self) -> int:
        return sum(self.event)


def mean(values: list[int]) -> Fraction:
    return Fraction(sum(values), len(values))


def complete_and_gappy(history: list[list[list[Reading]]]) -> tuple[list[Day], list[int]]:
    """Days without a gap, and how far back the days lie that have some readings but not all."""
    complete, gappy = [], []
    for back, (event, before) in enumerate(history):
        gaps = [reading is None for reading in event + before]
        if not any(gaps):
            complete.append(Day(back, [r[0] for r in event if r], [r[0] for r in before if r]))
        elif not all(gaps):
            gappy.append(back)
    return complete, gappy


def search_back(rule: BaselineRule, complete: list[Day]) -> tuple[list[Day], list[Day], list[Day]]:
    """Good days taken, low-usage days passed over for good, and low-usage days readmitted."""
    if not complete:
        return [], [], []
    bar = Fraction(rule.low_usage_pct, 100) * mean([day.energy for day in complete[: rule.days]])
    good: list[Day] = []
    passed: list[Day] = []
    for day in complete:
        if len(good) == rule.days:
            break
        (passed if day.energy < bar else good).append(day)
    readmitted: list[Day] = []
    while rule.low_usage_shortage == "readmit" and passed and len(good) + len(readmitted) < rule.days:
        readmitted.append(passed.pop(0))
    return good, passed, readmitted


def trim(rule: BaselineRule, chosen: list[Day]) -> list[Day]:
    """Drop one at a time: the least energy, of equals the oldest; the most energy, of equals the newest."""
    kept = list(chosen)
    for _ in range(rule.drop_lowest - (rule.days - len(chosen))):
        kept.remove(min(kept, key=lambda day: (day.energy, -day.back)))
    for _ in range(rule.drop_highest):
        kept.remove(max(kept, key=lambda day: (day.energy, -day.back)))
    return kept


def shift_of(
    rule: BaselineRule, kept: list[Day], before: list[Reading], means: list[Fraction], out: Expected
) -> Fraction:
    """The same-day adjustment."""
    if rule.adjustment is None:
        return Fraction(0)
    if any(reading is None for reading in before):
        out.findings.add(Finding.ADJUSTMENT_UNAVAILABLE)
        return Fraction(0)
    usual = [mean([day.before[n] for day in kept]) for n in range(len(before))]
    differences = [reading[0] - wh for reading, wh in zip(before, usual, strict=True) if reading is not None]
    shift = sum(differences, Fraction(0)) / len(differences)
    if rule.adjustment.cap_pct is None:
        return shift
    most = Fraction(rule.adjustment.cap_pct, 100) * sum(means, Fraction(0)) / len(means)
    out.note(Finding.ADJUSTMENT_CAPPED, abs(shift) > most)
    return max(-most, min(most, shift))


def by_hand(terms: Terms, rule: BaselineRule, rows: list[list[list[Reading]]]) -> Expected:
    """Certify a home from [event, before] readings: the event day first, then history, most recent first."""
    out = Expected()
    rows = [
        [[r if r is not None and (terms.accept_estimated or not r[1]) else None for r in part] for part in row]
        for row in rows
    ]
    event, before = rows[0]
    complete, gappy = complete_and_gappy(rows[1:])
    good, passed, readmitted = search_back(rule, complete)
    chosen = sorted(good + readmitted, key=lambda day: day.back)
    end = good[-1].back if len(good) == rule.days else len(rows)
    missing = sum(reading is None for reading in event)
    out.counts = {
        "usable_days": len(chosen),
        "incomplete_days": sum(back < end for back in gappy),
        "low_usage_days": len(passed),
        "readmitted_days": len(readmitted),
        "missing_intervals": missing,
    }
    out.note(Finding.NO_READINGS, all(reading is None for row in rows for part in row for reading in part))
    out.note(Finding.HISTORY_INSUFFICIENT, len(chosen) < rule.min_days)
    measured = Fraction(len(event) - missing, len(event))
    out.note(Finding.EVENT_INCOMPLETE, measured < Fraction(terms.min_event_completeness_pct, 100))
    if out.findings:
        return out

    kept = trim(rule, chosen)
    means = [mean([day.event[t] for day in kept]) for t in range(len(event))]
    shift = shift_of(rule, kept, before, means, out)
    out.kept = [day.back for day in kept]
    out.unadjusted = [round(wh) for wh in means]  # Python rounds fractions half to even
    out.baseline = [round(max(wh + shift, Fraction(0))) for wh in means]
    out.actual = [None if reading is None else reading[0] for reading in event]

    used = event + ([] if None in before else before)
    for day in kept:
        used += [reading for part in rows[1 + day.back] for reading in part]
    out.counts["estimated_intervals"] = sum(reading is not None and reading[1] for reading in used)
    saved = sum(b - a for b, a in zip(out.baseline, out.actual, strict=True) if a is not None)
    out.note(Finding.EVENT_UNMEASURED, missing > 0)
    out.note(Finding.DAYS_INCOMPLETE, out.counts["incomplete_days"] > 0)
    out.note(Finding.LOW_USAGE_PASSED, bool(passed))
    out.note(Finding.LOW_USAGE_READMITTED, bool(readmitted))
    out.note(Finding.READINGS_ESTIMATED, out.counts["estimated_intervals"] > 0)
    out.note(Finding.USED_MORE, saved < 0)
    return out


def rows_of(plan, block, home):
    """The home's readings as [event, before] of each day."""
    e = plan.event_intervals
    rows = []
    for day in range(len(plan.days) + 1):
        wh = block.wh[home, day].tolist()
        guess = [False] * len(wh) if block.estimated is None else block.estimated[home, day].tolist()
        readings = [None if w == MISSING else (w, g) for w, g in zip(wh, guess, strict=True)]
        rows.append([readings[:e], readings[e:]])
    return rows


@pytest.mark.parametrize("name", PLANS)
@settings(max_examples=60)
@given(neighbourhood=neighbourhoods())
def test_all_homes_at_once_equal_each_home_by_hand(name, neighbourhood):
    plan = PLANS[name]
    block = random_block(plan, **neighbourhood)
    result = certify(plan, block)
    for home in range(HOMES):
        expected = by_hand(plan.terms, plan.rule, rows_of(plan, block, home))
        assert {finding for finding in Finding if result.findings[home] & finding} == expected.findings
        assert np.flatnonzero(result.kept_days[home]).tolist() == expected.kept
        blank = [MISSING] * plan.event_intervals
        assert result.unadjusted_wh[home].tolist() == (expected.unadjusted or blank)
        assert result.baseline_wh[home].tolist() == (expected.baseline or blank)
        actual = blank if expected.actual is None else [MISSING if a is None else a for a in expected.actual]
        assert result.actual_wh[home].tolist() == actual
        counts = dict(zip(EVIDENCE, result.evidence[home].tolist(), strict=True))
        assert counts | expected.counts == counts
