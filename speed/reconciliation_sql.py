"""Tables of certification results in the speed store, and the views that compare provisional with final ones.

Plain sums over CASE, so that HeavyDB and DuckDB run the same text. No outer join decides what is missing: rows of
both sources are summed together, and counts say which were there.
"""

from __future__ import annotations

CERTIFIED = "certified"
CERTIFIED_COLUMNS = {
    "event": "TEXT ENCODING DICT(32)",
    "meter": "INTEGER",
    "source": "TEXT ENCODING DICT(8)",
    "is_certified": "TINYINT",
    "baseline_wh": "BIGINT",
    "actual_wh": "BIGINT",
    "reduction_wh": "BIGINT",
    "payment": "BIGINT",
    "missing_intervals": "SMALLINT",
    "usable_days": "SMALLINT",
    "estimated_intervals": "INTEGER",
    "findings": "INTEGER",
    "rule": "BIGINT",
    "made": "TIMESTAMP(0)",
}
INTERVALS = "certified_intervals"
INTERVAL_COLUMNS = {
    "event": "TEXT ENCODING DICT(32)",
    "meter": "INTEGER",
    "source": "TEXT ENCODING DICT(8)",
    "ts": "TIMESTAMP(0) ENCODING FIXED(32)",
    "baseline_wh": "INTEGER",
    "actual_wh": "INTEGER",
}

REASONS: dict[str, str] = {
    "joined": "the batch layer has the home alone: it takes part by now",
    "left": "the provisional result has the home alone: it takes part no more",
    "rule": "the programme or its terms changed",
    "late": "readings of the event came late: fewer intervals are missing",
    "lost": "the batch layer lacks readings of the event that the speed layer had",
    "revised": "the same intervals were measured, with other energy",
    "history": "the history changed: another baseline, or other usable days",
    "findings": "only the evidence changed, such as estimates that became actual",
    "payment": "only the payment changed: the event's sum is split anew, or obligations were traded",
    "unchanged": "both results are the same",
}
"""Why a home's result changed, in the order in which they are looked for: the first that is true is the reason."""

_INTERVALS_VIEW = """
CREATE VIEW reconciliation_intervals AS
SELECT event, meter, ts, provisional_baseline_wh, batch_baseline_wh, provisional_actual_wh, batch_actual_wh,
       CASE WHEN provisional_actual_wh IS NULL AND batch_actual_wh IS NOT NULL THEN 1 ELSE 0 END AS late,
       CASE WHEN provisional_actual_wh IS NOT NULL AND batch_actual_wh IS NULL THEN 1 ELSE 0 END AS lost,
       CASE WHEN provisional_actual_wh <> batch_actual_wh THEN 1 ELSE 0 END AS revised,
       CASE WHEN provisional_baseline_wh <> batch_baseline_wh THEN 1 ELSE 0 END AS rebased,
       CASE WHEN provisional_actual_wh IS NULL AND batch_actual_wh IS NOT NULL
            THEN batch_baseline_wh - batch_actual_wh ELSE 0 END AS late_wh,
       CASE WHEN provisional_actual_wh IS NOT NULL AND batch_actual_wh IS NULL
            THEN provisional_actual_wh - provisional_baseline_wh ELSE 0 END AS lost_wh,
       CASE WHEN provisional_actual_wh IS NOT NULL AND batch_actual_wh IS NOT NULL
            THEN provisional_actual_wh - batch_actual_wh ELSE 0 END AS revised_wh,
       CASE WHEN provisional_actual_wh IS NOT NULL AND batch_actual_wh IS NOT NULL
            THEN batch_baseline_wh - provisional_baseline_wh ELSE 0 END AS history_wh
FROM (
  SELECT event, meter, ts,
         MAX(CASE WHEN source = 'provisional' THEN baseline_wh END) AS provisional_baseline_wh,
         MAX(CASE WHEN source = 'batch' THEN baseline_wh END) AS batch_baseline_wh,
         MAX(CASE WHEN source = 'provisional' THEN actual_wh END) AS provisional_actual_wh,
         MAX(CASE WHEN source = 'batch' THEN actual_wh END) AS batch_actual_wh
  FROM certified_intervals
  GROUP BY event, meter, ts
  HAVING COUNT(*) = 2
) both_results
"""
"""A row an interval of a home that both results certified."""

_BY_SOURCE = ",\n         ".join(
    f"CAST(SUM(CASE WHEN source = '{source}' THEN {column} ELSE 0 END) AS BIGINT) AS {source}_{column}"
    for column in (
        "is_certified",
        "baseline_wh",
        "actual_wh",
        "reduction_wh",
        "payment",
        "missing_intervals",
        "usable_days",
        "estimated_intervals",
        "findings",
        "rule",
    )
    for source in ("provisional", "batch")
)

_PER_HOME = ",\n           ".join(
    f"CAST(SUM({column}) AS BIGINT) AS {column}"
    for column in ("late", "lost", "revised", "rebased", "late_wh", "lost_wh", "revised_wh", "history_wh")
)

_VIEW = f"""
CREATE VIEW reconciliation AS
SELECT event, meter, name, in_provisional, in_batch, provisional_is_certified, batch_is_certified,
       provisional_baseline_wh, batch_baseline_wh, provisional_actual_wh, batch_actual_wh,
       provisional_reduction_wh, batch_reduction_wh,
       batch_reduction_wh - provisional_reduction_wh AS change_wh,
       provisional_payment, batch_payment, batch_payment - provisional_payment AS change_payment,
       late_intervals, lost_intervals, revised_intervals, rebased_intervals,
       late_wh, lost_wh, revised_wh, history_wh,
       batch_reduction_wh - provisional_reduction_wh - late_wh - lost_wh - revised_wh - history_wh AS status_wh,
       provisional_findings, batch_findings,
       CASE WHEN in_provisional = 0 THEN 'joined'
            WHEN in_batch = 0 THEN 'left'
            WHEN provisional_rule <> batch_rule THEN 'rule'
            WHEN late_intervals > 0 THEN 'late'
            WHEN lost_intervals > 0 THEN 'lost'
            WHEN revised_intervals > 0 THEN 'revised'
            WHEN rebased_intervals > 0 OR provisional_usable_days <> batch_usable_days THEN 'history'
            WHEN provisional_findings <> batch_findings
              OR provisional_estimated_intervals <> batch_estimated_intervals THEN 'findings'
            WHEN provisional_payment <> batch_payment THEN 'payment'
            ELSE 'unchanged' END AS reason
FROM (
  SELECT r.*, m.name AS name,
         CASE WHEN i.intervals IS NOT NULL THEN i.late
              WHEN r.in_provisional + r.in_batch = 2
               AND r.provisional_missing_intervals > r.batch_missing_intervals
              THEN r.provisional_missing_intervals - r.batch_missing_intervals ELSE 0 END AS late_intervals,
         CASE WHEN i.intervals IS NOT NULL THEN i.lost
              WHEN r.in_provisional + r.in_batch = 2
               AND r.batch_missing_intervals > r.provisional_missing_intervals
              THEN r.batch_missing_intervals - r.provisional_missing_intervals ELSE 0 END AS lost_intervals,
         COALESCE(i.revised, 0) AS revised_intervals,
         COALESCE(i.rebased, 0) AS rebased_intervals,
         COALESCE(i.late_wh, 0) AS late_wh,
         COALESCE(i.lost_wh, 0) AS lost_wh,
         COALESCE(i.revised_wh, 0) AS revised_wh,
         COALESCE(i.history_wh, 0) AS history_wh
  FROM (
    SELECT event, meter,
         CAST(SUM(CASE WHEN source = 'provisional' THEN 1 ELSE 0 END) AS BIGINT) AS in_provisional,
         CAST(SUM(CASE WHEN source = 'batch' THEN 1 ELSE 0 END) AS BIGINT) AS in_batch,
         {_BY_SOURCE}
    FROM certified
    GROUP BY event, meter
  ) r
  JOIN meters m ON m.id = r.meter
  LEFT JOIN (
    SELECT event, meter, COUNT(*) AS intervals,
           {_PER_HOME}
    FROM reconciliation_intervals
    GROUP BY event, meter
  ) i ON i.meter = r.meter AND i.event = r.event
) compared
"""  # noqa: S608  columns of our own
"""A row a home. ``late_wh`` to ``status_wh`` say exactly what made up ``change_wh``; ``status_wh`` is the whole
change of a home that only one of the results certified."""

VIEWS = {"reconciliation_intervals": _INTERVALS_VIEW, "reconciliation": _VIEW}
"""In the order in which they are made; the second reads the first."""
