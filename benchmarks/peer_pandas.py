"""The same certification in pandas, over our wide files and over a file of one row a reading.

Written as one would with care: only the needed columns and days are read, and nothing loops over homes. Readings
become float64 where some are missing, which holds these integers exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.answers import Answer
from benchmarks.peer_duckdb import wanted
from domain.intervals import slots_per_day
from domain.plans import EventPlan


def certify_wide(plan: EventPlan, files: Sequence[Path]) -> Answer:
    """Certify from files of wide meter-days."""
    per_day = slots_per_day(plan.interval_minutes)
    columns = [f"s{slot:03d}" for slot in (plan.slots[0] % per_day).tolist()]
    days = [plan.event.start.date(), *plan.days]
    data = pd.read_parquet(
        [str(file) for file in files], columns=["meter", "day", *columns], filters=[("day", "in", days)]
    )
    data["back"] = data.pop("day").map({day: back for back, day in enumerate(days)})
    data = data.set_index(["meter", "back"])
    event, before = data[columns[: plan.event_intervals]], data[columns[plan.event_intervals :]]
    return _certify(plan, event, before.sum(axis=1, skipna=False))


def certify_rows(plan: EventPlan, file: Path) -> Answer:
    """Certify from a file of one row a reading."""
    slots = wanted(plan).to_pandas()
    days = slots.groupby("back")["interval_start"].agg(["min", "max"])
    spans = [[("interval_start", ">=", first), ("interval_start", "<=", last)] for first, last in days.to_numpy()]
    data = pd.read_parquet(file, filters=spans, read_dictionary=["meter"]).merge(slots, on="interval_start")
    in_event = data["n"] >= 0
    event = data[in_event].pivot(index=["meter", "back"], columns="n", values="wh")
    before = data[~in_event].groupby(["meter", "back"], observed=True)["wh"].agg(["sum", "count"])
    whole = before["sum"].where(before["count"] == plan.adjustment_intervals)
    return _certify(plan, event, whole.reindex(event.index))


def _certify(plan: EventPlan, event: pd.DataFrame, before: pd.Series[float]) -> Answer:
    """Certify from usage by meter and day: ``event`` by interval, ``before`` the sum of the adjustment window."""
    rule = plan.rule
    history = event.index.get_level_values("back") > 0
    usage = event.sum(axis=1, skipna=False).where(before.notna())[history].unstack("back").sort_index(axis=1)
    usable = usage.notna()
    recent = usable & (usable.cumsum(axis=1) <= rule.days)
    bar = usage.where(recent).sum(axis=1) * rule.low_usage_pct
    low = usable & (usage * 100).mul(recent.sum(axis=1), axis=0).lt(bar, axis=0)
    good = usable & ~low
    selected = good & (good.cumsum(axis=1) <= rule.days)
    short = rule.days - selected.sum(axis=1)
    selected |= low & low.cumsum(axis=1).le(short, axis=0)
    have = selected.sum(axis=1)
    # Ranked from the most distant day, so that of tied days the later one stays.
    rank = usage.where(selected).iloc[:, ::-1].rank(axis=1, method="first").iloc[:, ::-1]
    drop = (rule.drop_lowest - (rule.days - have)).clip(lower=0)
    kept = selected & rank.gt(drop, axis=0)
    kept = kept[have >= rule.min_days].stack()
    used_days = kept[kept].index

    sums = event.loc[used_days].groupby(level="meter", observed=True).sum()
    k = kept[kept].groupby(level="meter", observed=True).size()
    past = before.loc[used_days].groupby(level="meter", observed=True).sum()
    actual = event.xs(0, level="back")
    measured = actual.notna().sum(axis=1) * 100 >= plan.terms.min_event_completeness_pct * plan.event_intervals
    meters = sums.index.intersection(actual.index[measured])
    sums, k, past, actual = (frame.loc[meters] for frame in (sums, k, past, actual))
    now = before.xs(0, level="back").loc[meters]

    days = k.to_numpy().astype(np.int64)
    totals = sums.to_numpy().astype(np.int64)
    w = plan.adjustment_intervals
    shift = (k * now - past).to_numpy()
    plain = np.isnan(shift)
    numerator = np.maximum(w * totals + np.nan_to_num(shift).astype(np.int64)[:, None], 0)
    baseline = _half_even(numerator, (w * days)[:, None])
    baseline[plain] = _half_even(totals[plain], days[plain][:, None])
    usage_now = actual.to_numpy()
    reduction = np.where(np.isnan(usage_now), 0, baseline - np.nan_to_num(usage_now)).astype(np.int64)
    return Answer.unordered(meters, baseline, reduction)


def _half_even(numerator: NDArray[np.int64], denominator: NDArray[np.int64]) -> NDArray[np.int64]:
    quotient, rest = np.divmod(numerator, denominator)
    rounded: NDArray[np.int64] = quotient + (
        (2 * rest > denominator) | ((2 * rest == denominator) & (quotient % 2 == 1))
    )
    return rounded
