"""The same certification in DuckDB's SQL, over our wide files and over a file of one row a reading.

The whole rule is here: complete days only, the 75 % bar over the five most recent, readmission, the lowest of five
dropped, the additive adjustment, the rounding half to even, all in integers. Only the list of eligible dates comes
from outside, as an analyst would take it from a calendar table.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from benchmarks.answers import Answer
from domain.intervals import slot_start, slots_per_day
from domain.plans import EventPlan

_MACROS = """
CREATE MACRO half_even(n, d) AS
    n // d + CASE WHEN 2 * (n % d) > d OR (2 * (n % d) = d AND (n // d) % 2 = 1) THEN 1 ELSE 0 END;
CREATE MACRO baseline(sums, k, before_sums, before_actual, w) AS CASE
    WHEN before_actual IS NULL THEN half_even(sums, k)
    ELSE half_even(greatest(w * sums + k * before_actual - before_sums, 0), w * k) END;
"""

# From daily(meter, back, usage), complete eligible days numbered from the most recent, to kept(meter, back).
_SELECTION = """
recent AS (
    SELECT *, row_number() OVER (PARTITION BY meter ORDER BY back) AS nth FROM daily
), barred AS (
    SELECT meter, back, usage,
           usage * 100 * count(*) FILTER (nth <= 5) OVER (PARTITION BY meter)
               < 75 * sum(usage) FILTER (nth <= 5) OVER (PARTITION BY meter) AS low
    FROM recent
), placed AS (
    SELECT *, row_number() OVER (PARTITION BY meter, low ORDER BY back) AS place,
           count(*) FILTER (NOT low) OVER (PARTITION BY meter) AS good
    FROM barred
), selected AS (
    SELECT meter, back, row_number() OVER (PARTITION BY meter ORDER BY usage DESC, back) AS rank,
           count(*) OVER (PARTITION BY meter) AS have
    FROM placed WHERE place <= CASE WHEN low THEN 5 - least(good, 5) ELSE 5 END
), kept AS (
    SELECT meter, back FROM selected WHERE have >= 4 AND rank <= 4
)"""


def wide_sql(plan: EventPlan) -> str:
    """The query over wide meter-days; ``$files``, and a table ``eligible(day, back)``."""
    per_day = slots_per_day(plan.interval_minutes)
    columns = [f"s{slot:03d}" for slot in (plan.slots[0] % per_day).tolist()]
    event, before = columns[: plan.event_intervals], columns[plan.event_intervals :]
    first, last = min(plan.days), plan.event.start.date()
    each = range(len(event))
    present = " + ".join(f"(e.{c} IS NOT NULL)::INT" for c in event)
    adjusted = [
        f"baseline(s.{c}, k, s.before, e.before, {len(before)}) AS b{n}, e.{c} AS u{n}" for n, c in enumerate(event)
    ]
    return f"""
WITH days AS MATERIALIZED (
    SELECT meter, back, {", ".join(event)}, {" + ".join(event)} AS usage, {" + ".join(before)} AS before
    FROM read_parquet($files) JOIN eligible USING (day)
    WHERE day BETWEEN DATE '{first}' AND DATE '{last}'
), daily AS (
    SELECT meter, back, usage FROM days WHERE back > 0 AND usage + before IS NOT NULL
), {_SELECTION}, sums AS (
    SELECT meter, count(*) AS k, sum(before)::BIGINT AS before,
           {", ".join(f"sum({c})::BIGINT AS {c}" for c in event)}
    FROM days JOIN kept USING (meter, back) GROUP BY meter
), found AS (
    SELECT e.meter, {", ".join(adjusted)}
    FROM days e JOIN sums s USING (meter)
    WHERE e.back = 0 AND ({present}) * 100 >= {plan.terms.min_event_completeness_pct * len(event)}
)
SELECT meter, {", ".join(f"b{n}, coalesce(b{n} - u{n}, 0) AS r{n}" for n in each)} FROM found"""


def rows_sql(plan: EventPlan) -> str:
    """The query over one row a reading; ``$file``, and a table ``wanted(interval_start, back, n)`` (see `wanted`)."""
    return f"""
WITH needed AS MATERIALIZED (
    SELECT meter, back, n, wh FROM read_parquet($file) JOIN wanted USING (interval_start)
    WHERE interval_start BETWEEN $first AND $last
), days AS MATERIALIZED (
    SELECT meter, back, count(*) FILTER (n >= 0) AS intervals, sum(wh) FILTER (n >= 0)::BIGINT AS usage,
           CASE WHEN count(*) FILTER (n < 0) = {plan.adjustment_intervals}
                THEN sum(wh) FILTER (n < 0)::BIGINT END AS before
    FROM needed GROUP BY meter, back
), daily AS (
    SELECT meter, back, usage FROM days
    WHERE back > 0 AND before IS NOT NULL AND intervals = {plan.event_intervals}
), {_SELECTION}, counted AS (
    SELECT meter, count(*) AS k, sum(before)::BIGINT AS before FROM days JOIN kept USING (meter, back) GROUP BY meter
), sums AS (
    SELECT meter, n, sum(wh)::BIGINT AS wh FROM needed JOIN kept USING (meter, back) WHERE n >= 0 GROUP BY meter, n
), actual AS (
    SELECT meter, before FROM days
    WHERE back = 0 AND intervals * 100 >= {plan.terms.min_event_completeness_pct * plan.event_intervals}
)
SELECT meter, sums.n, baseline(sums.wh, k, c.before, a.before, {plan.adjustment_intervals}) AS b,
       coalesce(b - used.wh, 0) AS r
FROM sums JOIN counted c USING (meter) JOIN actual a USING (meter)
LEFT JOIN (SELECT meter, n, wh FROM needed WHERE back = 0 AND n >= 0) used USING (meter, n)
ORDER BY meter, sums.n"""


class DuckDBPeer:
    """A DuckDB connection ready to certify one plan."""

    def __init__(self, plan: EventPlan) -> None:
        self._plan = plan
        self._span = plan.slots.min(), plan.slots.max()
        self._db = duckdb.connect()
        self._db.execute("SET TimeZone = 'UTC'; SET enable_progress_bar = false")
        self._db.execute(_MACROS)
        self._wide, self._rows = wide_sql(plan), rows_sql(plan)
        days = [plan.event.start.date(), *plan.days]
        self._db.register("eligible_", pa.table({"day": pa.array(days, pa.date32()), "back": range(len(days))}))
        self._db.execute("CREATE TABLE eligible AS FROM eligible_")
        self._db.register("wanted_", wanted(plan))
        self._db.execute("CREATE TABLE wanted AS FROM wanted_")

    def wide(self, files: Sequence[Path]) -> Answer:
        """Certify from files of wide meter-days."""
        found = self._db.execute(self._wide, {"files": [str(file) for file in files]}).fetchnumpy()
        each = range(self._plan.event_intervals)
        baseline, reduction = (np.stack([found[f"{x}{n}"] for n in each], axis=1) for x in "br")
        return Answer.unordered(found["meter"], baseline, reduction)

    def rows(self, file: Path) -> Answer:
        """Certify from a file of one row a reading."""
        first, last = (slot_start(int(slot), self._plan.interval_minutes) for slot in self._span)
        found = self._db.execute(self._rows, {"file": str(file), "first": first, "last": last}).fetchnumpy()
        shape = (-1, self._plan.event_intervals)
        return Answer.unordered(
            found["meter"].reshape(shape)[:, 0], found["b"].reshape(shape), found["r"].reshape(shape)
        )


def wanted(plan: EventPlan) -> pa.Table:
    """Each interval that a plan reads: its start, ``back`` (0: the event's day), ``n`` (negative: before it)."""
    rows, columns = plan.slots.shape
    n = np.where(np.arange(columns) < plan.event_intervals, 0, -columns) + np.arange(columns)
    starts = plan.slots.reshape(-1) * (plan.interval_minutes * 60_000_000)
    return pa.table(
        {
            "interval_start": pa.array(starts, pa.timestamp("us", "UTC")),
            "back": np.repeat(np.arange(rows), columns),
            "n": np.tile(n, rows),
        }
    )
