"""Validation, estimation, editing of a workspace's readings, as a function. Schedulers call the same one."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batch.edit_log import edits_table
from batch.session import open_session
from batch.stores import BatchStore
from batch.vee import VeePlan, join_results, not_in_force, run_vee
from domain.errors import NegawattError
from domain.estimation import METHODS_OF_ESTIMATION
from domain.intervals import slot_start, slots_per_day
from domain.validation import CHECKS, BoolArray
from domain.vee import Edits, VeeResult, join_columns
from domain.vee_rules import VeeRules
from negawatt.console import Progress, quiet
from negawatt.ingesting import layers
from negawatt.pipeline import batch_store
from negawatt.settings import Settings
from negawatt.vee_plan import VeeWork, clock_findings, edit_log, plan_window, spans_near
from negawatt.workspace import Workspace

PIECE_DAYS = 14
"""A longer window is done in pieces of so many days, one after another: memory stays bounded."""


@dataclass(frozen=True, eq=False)
class VeeDone:
    """What came of it.

    ``result.edits`` are those that were made (in a dry run: would be); ``refused`` counts those that did not take
    effect, because the source has confirmed or corrected the reading.
    """

    interval_minutes: int
    first: datetime
    last: datetime
    rules: VeeRules
    result: VeeResult
    refused: int
    logs: tuple[Path, ...]
    seconds: float


def vee(
    workspace: Workspace, settings: Settings, work: VeeWork, *, now: datetime, progress: Progress = quiet
) -> VeeDone:
    """Check days of readings, estimate what is missing or wrong, and add the estimates to both layers.

    Running it again changes nothing: estimates are not checked, and not estimated again.

    Parameters
    ----------
    now : datetime
        Days that are not over are refused: their gaps are readings to come.

    Raises
    ------
    NegawattError
        The days are not over or upside down, a file or the rules are wrong, or there are no readings of one interval.
    """
    began = time.perf_counter()
    store = batch_store(workspace, settings)
    plan = plan_window(workspace, store, work)
    end = slot_start(plan.last_slot, plan.interval_minutes)
    if end > now:
        raise NegawattError(f"{work.last} is not over in {work.zone} (it ends {end.isoformat()}): check it then")
    session = open_session(settings.spark, log=workspace.spark_log) if work.spark else None
    pieces = list(_pieces(plan))
    parts, logs, refused = [], [], 0
    for n, piece in enumerate(pieces):

        def report(done: int, of: int, before: int = n) -> None:
            progress("check", before * of + done, len(pieces) * of)

        result = run_vee(store, piece, session=session, progress=report)
        if len(result.edits) and not work.dry_run:
            path, lost = _keep(workspace, settings, store, piece, result.edits, work.by, now)
            logs.append(path)
            refused += int(lost.sum())
            result = replace(result, edits=result.edits.take(~lost))
        parts.append(result)
    total = _whole(parts, plan)
    total = replace(total, findings=join_columns([total.findings, clock_findings(plan, work)]))
    return VeeDone(
        plan.interval_minutes,
        slot_start(plan.first_slot, plan.interval_minutes),
        end,
        plan.rules,
        total,
        refused,
        tuple(logs),
        round(time.perf_counter() - began, 3),
    )


def summary(done: VeeDone, *, dry_run: bool) -> dict[str, object]:
    """What a run amounts to, as plain JSON values."""
    result = done.result
    return {
        "first": done.first.isoformat(),
        "last": done.last.isoformat(),
        "interval_minutes": done.interval_minutes,
        "rules": f"{done.rules.id} {done.rules.digest}",
        "dry_run": dry_run,
        "meters": len(result.meters),
        "intervals": len(result.meters) * result.expected,
        "missing": int(result.missing.sum()),
        "estimated_before": int(result.estimated.sum()),
        "findings": {
            code: {"meters": meters, "intervals": intervals}
            for check, (code, _) in CHECKS.items()
            if (meters := len(set(result.findings.meters[result.findings.check == check])))
            and (intervals := int(result.findings.intervals[result.findings.check == check].sum()))
        },
        "edits": len(result.edits),
        "edits_by_reason": _counts(result.edits.check, {check: code for check, (code, _) in CHECKS.items()}),
        "edits_by_method": _counts(result.edits.method, {m: name for m, (name, _) in METHODS_OF_ESTIMATION.items()}),
        "refused": done.refused,
        "logs": [str(path) for path in done.logs],
        "seconds": done.seconds,
    }


def _counts(codes: NDArray[np.int8], names: Mapping[Any, str]) -> dict[str, int]:
    return {name: n for code, name in names.items() if (n := int((codes == code).sum()))}


def _pieces(plan: VeePlan) -> Iterator[VeePlan]:
    step = PIECE_DAYS * slots_per_day(plan.interval_minutes)
    longest = plan.rules.register.longest_days * slots_per_day(plan.interval_minutes)
    for first in range(plan.first_slot, plan.last_slot, step):
        last = min(first + step, plan.last_slot)
        yield replace(plan, first_slot=first, last_slot=last, spans=spans_near(plan.spans, first, last, longest))


def _keep(
    workspace: Workspace,
    settings: Settings,
    store: BatchStore,
    plan: VeePlan,
    edits: Edits,
    by: str,
    now: datetime,
) -> tuple[Path, BoolArray]:
    """Log edits, add them to both layers, and see which are in force."""
    log = edit_log(workspace)
    table = edits_table(edits, plan.interval_minutes, plan.register, plan.rules, by, now.astimezone(UTC))
    path = log.write(table)
    with layers(workspace, settings) as (publish, _):
        publish(edits.readings(plan.interval_minutes, plan.register))
    refused = not_in_force(store, plan, edits.meters, edits.slot)
    if refused.any():
        log.mark(path, refused)
    return path, refused


def _whole(parts: list[VeeResult], plan: VeePlan) -> VeeResult:
    """The pieces of a window as one result: a meter may be in some pieces and not in others."""
    meters = np.unique(np.concatenate([p.meters for p in parts]).astype(str))
    expected = sum(p.expected for p in parts)
    actual, estimated = np.zeros(len(meters), np.int64), np.zeros(len(meters), np.int64)
    for part in parts:
        at = np.searchsorted(meters, part.meters.astype(str))
        actual[at] += part.actual
        estimated[at] += part.estimated
    missing = expected - actual - estimated
    joined = join_results(parts, plan)
    return VeeResult(meters.astype(object), expected, actual, estimated, missing, joined.edits, joined.findings)
