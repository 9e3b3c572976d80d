"""The daily quality view: how complete each meter's and each feeder's readings are, and what was found wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from batch.vee import not_in_force, run_vee
from domain.validation import CHECKS, Check
from negawatt.console import Progress, quiet
from negawatt.pipeline import batch_store
from negawatt.settings import Settings
from negawatt.vee_plan import VeeWork, clock_findings, edit_log, plan_window
from negawatt.workspace import Workspace, write_whole

NO_FEEDER = "(none)"
COUNTS = ("expected", "actual", "estimated", "missing")
CODES = tuple(code for code, _ in CHECKS.values())


@dataclass(frozen=True, eq=False)
class Quality:
    """Quality of a day's readings.

    ``table`` has a row a meter: ``day``, ``meter``, ``feeder``, the counts of `COUNTS`, and a column for each code of
    `domain.validation.CHECKS` (with ``_`` for the point) with the intervals that are found so, or were
    until they were estimated.
    """

    day: date
    zone: str
    interval_minutes: int
    table: pa.Table
    path: Path

    def feeders(self) -> list[dict[str, Any]]:
        """Counts of each feeder, those of meters without one under `NO_FEEDER`, in order of name."""
        return [self._sum(name, rows) for name, rows in sorted(self._by_feeder().items())]

    def whole(self) -> dict[str, Any]:
        """Counts of all meters."""
        return self._sum("all", self.table.to_pylist())

    def worst(self, most: int) -> list[dict[str, Any]]:
        """The meters that lack most readings, and have most of them estimated."""
        lacking = [row for row in self.table.to_pylist() if row["missing"] or row["estimated"]]
        return sorted(lacking, key=lambda row: (-row["missing"], -row["estimated"], row["meter"]))[:most]

    def _by_feeder(self) -> dict[str, list[dict[str, Any]]]:
        feeders: dict[str, list[dict[str, Any]]] = {}
        for row in self.table.to_pylist():
            feeders.setdefault(row["feeder"] or NO_FEEDER, []).append(row)
        return feeders

    def _sum(self, name: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
        total = {count: sum(row[count] for row in rows) for count in COUNTS}
        found = {code: n for code in CODES if (n := sum(row[column(code)] for row in rows))}
        return {"feeder": name, "meters": len(rows), **total, **shares(total), "findings": found}


def column(code: str) -> str:
    """Name of a code's column.

    >>> column("gap.missing")
    'gap_missing'
    """
    return code.replace(".", "_")


def shares(counts: Mapping[str, int]) -> dict[str, float]:
    """Completeness in percent: of actual readings, and of actual and estimated ones.

    Rounded down to hundredths, so that 100 is said of nothing that lacks a reading.

    >>> shares({"expected": 288, "actual": 280, "estimated": 7, "missing": 1})
    {'actual_pct': 97.22, 'complete_pct': 99.65}
    """
    expected = max(counts["expected"], 1)
    return {
        "actual_pct": 10_000 * counts["actual"] // expected / 100,
        "complete_pct": 10_000 * (counts["actual"] + counts["estimated"]) // expected / 100,
    }


def quality(workspace: Workspace, settings: Settings, work: VeeWork, *, progress: Progress = quiet) -> Quality:
    """Count and check a day's readings as they are in the batch store now, and keep the view in the workspace.

    Parameters
    ----------
    work : VeeWork
        Of one day; it is run in this process, and edits nothing.

    Returns
    -------
    Quality
        Also written to ``quality/DAY.parquet`` in the workspace.

    Raises
    ------
    NegawattError
        A file or the rules are wrong, or there are no readings of one interval.
    """
    store = batch_store(workspace, settings)
    plan = plan_window(workspace, store, work)
    result = run_vee(store, plan, progress=lambda done, total: progress("count", done, total))
    row_of = {meter: row for row, meter in enumerate(result.meters)}
    found = {code: np.zeros(len(result.meters), np.int64) for code in CODES}
    for findings in (result.findings, clock_findings(plan, work)):
        for meter, check, intervals in zip(findings.meters, findings.check, findings.intervals, strict=True):
            if meter in row_of:
                found[CHECKS[Check(check)][0]][row_of[meter]] += intervals
    log = edit_log(workspace).read(plan.first_slot, plan.last_slot, plan.interval_minutes, plan.register)
    edited = np.array(log.column("meter").to_pylist(), dtype=object)
    gone = not_in_force(store, plan, edited, log.column("slot").to_numpy())
    for meter, reason, lost in zip(edited, log.column("reason").to_pylist(), gone, strict=True):
        if not lost and meter in row_of:
            found[reason][row_of[meter]] += 1
    resources = workspace.resources()
    feeders = [resources[meter].feeder if meter in resources else "" for meter in result.meters]
    n = len(result.meters)
    columns: dict[str, pa.Array] = {
        "day": pa.array([work.first] * n, pa.date32()),
        "meter": pa.array(result.meters, pa.string()),
        "feeder": pa.array(feeders, pa.string()),
        "expected": pa.array(np.full(n, result.expected, np.int64)),
        **{name: pa.array(getattr(result, name)) for name in COUNTS[1:]},
        **{column(code): pa.array(found[code]) for code in CODES},
    }
    table = pa.table(columns)
    path = workspace.folder / "quality" / f"{work.first.isoformat()}.parquet"
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    write_whole(path, sink.getvalue().to_pybytes())
    return Quality(work.first, work.zone, plan.interval_minutes, table, path)
