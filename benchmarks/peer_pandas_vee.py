"""The same checks and estimates of a day in pandas, over our wide files: times in rows, meters in columns.

Gaps, the connection's limit, spikes against like intervals and peaks, stuck registers of either kind; straight lines
up to two hours, like days, the days before. Register reads and clocks are left out on both sides.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from domain.vee_rules import VeeRules

PER_DAY = 288


def vee_wide(files: Sequence[Path], day: int, rules: VeeRules) -> dict[tuple[str, int], int]:
    """Check and estimate a day.

    Parameters
    ----------
    files : sequence of Path
        Wide meter-days of five minutes.
    day : int
        UTC day since 1970.
    rules : VeeRules

    Returns
    -------
    dict
        New Wh of each meter and slot that is estimated.
    """
    back = rules.reference_offsets
    wanted = sorted({day - n for n in back} | {day - 2, day - 1, day, day + 1})
    dates = {n: date(1970, 1, 1) + timedelta(days=n) for n in wanted}
    columns = ["meter", "day", *(f"s{slot:03d}" for slot in range(PER_DAY))]
    data = pd.read_parquet([str(f) for f in files], columns=columns, filters=[("day", "in", list(dates.values()))])
    data["day"] = data["day"].map({when: n for n, when in dates.items()})
    data = data.set_index(["meter", "day"])
    data.columns = range(PER_DAY)
    wh = data.stack(future_stack=True).unstack("meter")  # (day, slot) x meter
    wh.index = wh.index.get_level_values(0) * PER_DAY + wh.index.get_level_values(1)
    wh = wh.reindex([n * PER_DAY + slot for n in wanted for slot in range(PER_DAY)])
    own = range(day * PER_DAY, (day + 1) * PER_DAY)

    limit = rules.limit.watts * 5 // 60
    wrong = wh > limit
    length = rules.stuck_value.minutes // 5
    follows = wh.eq(wh.shift()) & pd.Series(wh.index.to_series().diff().eq(1), wh.index).to_numpy()[:, None]
    runs = (~follows).cumsum()
    for meter in wh.columns[(follows.rolling(length - 1).sum() == length - 1).any()]:
        sizes = runs[meter].map(runs[meter].value_counts())
        wrong[meter] |= (sizes >= length) & (wh[meter] >= rules.stuck_value.floor_wh)
    stuck_zero = pd.DataFrame(False, wh.index, wh.columns)
    zero_length = rules.stuck_zero.minutes // 5
    for meter in wh.columns[(follows.rolling(zero_length - 1).sum() == zero_length - 1).any()]:
        sizes = runs[meter].map(runs[meter].value_counts())
        stuck_zero[meter] = (sizes >= zero_length) & (wh[meter] == 0)
    flagged = (wrong | stuck_zero).loc[own]
    # As we do: what is wrong outside the day is not known to be so; it is edited when its own day is checked.
    good = wh.copy()
    good.loc[own] = wh.loc[own].mask(flagged)

    like = [good.reindex([slot - n * PER_DAY for slot in own]).set_axis(own) for n in rules.like_offsets]
    values = np.stack([frame.to_numpy(dtype=float) for frame in like])
    count = np.isfinite(values).sum(axis=0)
    with warnings.catch_warnings():  # where no like interval has a reading there is no median
        warnings.simplefilter("ignore")
        median = np.nanmedian(values, axis=0)
    references = good.loc[[slot for n in back for slot in range((day - n) * PER_DAY, (day - n + 1) * PER_DAY)]]
    third = np.sort(references.fillna(-1).to_numpy(), axis=0)[-3]
    today = good.loc[own]
    spikes = today.gt(rules.spike.floor_watts * 5 // 60) & (count >= rules.like_days.min_days)
    spikes &= today.mul(100).gt(rules.spike.median_pct * median) & today.mul(100).gt(rules.spike.peak_pct * third)
    starts = (~spikes).cumsum()
    for meter in spikes.columns[spikes.sum() > rules.spike.longest_intervals]:
        sizes = spikes[meter].groupby(starts[meter]).transform("sum")
        spikes[meter] &= sizes <= rules.spike.longest_intervals
    good.loc[own] = good.loc[own].mask(spikes)

    asked = wh.loc[own].isna() | (wrong.loc[own] | spikes)
    estimate = _mean(good, own, [n for n in back if n <= rules.like_days.nearby_days], rules)
    estimate = _mean(good, own, list(rules.like_offsets), rules).combine_first(estimate)
    estimate = _lines(good, own, rules.gap.interpolate_minutes // 5).combine_first(estimate)
    made = estimate.where(asked).stack().dropna()
    return {(meter, int(slot)): int(value) for (slot, meter), value in made.items()}


def _mean(good: pd.DataFrame, own: range, offsets: list[int], rules: VeeRules) -> pd.DataFrame:
    frames = np.stack([good.reindex([slot - n * PER_DAY for slot in own]).to_numpy(dtype=float) for n in offsets])
    count = np.isfinite(frames).sum(axis=0)
    mean = np.rint(np.nansum(frames, axis=0) / np.maximum(count, 1))
    return pd.DataFrame(np.where(count >= rules.like_days.min_days, mean, np.nan), list(own), good.columns)


def _lines(good: pd.DataFrame, own: range, longest: int) -> pd.DataFrame:
    around = good.reindex(range(own.start - longest - 1, own.stop + longest + 1))
    line = around.interpolate(limit_area="inside")
    number = pd.DataFrame(
        np.broadcast_to(np.arange(len(around))[:, None], around.shape), around.index, around.columns
    )
    known = number.where(around.notna())
    width = known.bfill() - known.ffill() - 1
    return line.where(around.isna() & (width <= longest)).round().loc[list(own)]
