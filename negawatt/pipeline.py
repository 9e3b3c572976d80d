"""What the commands do off the chain, as functions: the stores, certify, report. Schedulers call the same ones."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from batch.buckets import by_bucket
from batch.certify import certify_here, certify_with_metrics
from batch.jobs import JobMetrics
from batch.session import NO_SPARK, open_session
from batch.stores import BatchStore, only_interval, open_store
from domain.certificates import CertificateSet, Resource, issue_certificates, resource_key
from domain.certification import FINDINGS, Reductions
from domain.errors import InvalidEventError, NegawattError, StoreError
from domain.events import DREvent
from domain.intervals import slot_of, slot_start
from domain.plans import EventPlan, make_plan
from negawatt.console import Progress, quiet
from negawatt.settings import Settings
from negawatt.workspace import Workspace, write_whole
from serving.report import UsageAround, render_report
from speed.devices import open_device
from speed.provisional import certify_provisionally, reading_intervals
from speed.reconciliation import Source, keep, result_of, to_bytes
from speed.stores import SpeedStore, duckdb_url, open_speed_store

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def batch_store(workspace: Workspace, settings: Settings) -> BatchStore:
    """The batch store that a workspace's settings name."""
    return open_store(address_of(workspace, settings.store, "store") or workspace.store, buckets=settings.buckets)


def speed_store(workspace: Workspace, settings: Settings) -> SpeedStore:
    """The speed store that a workspace's settings name."""
    return open_speed_store(
        address_of(workspace, settings.speed, "speed") or duckdb_url(workspace.speed),
        password=settings.speed_password,
        password_file=settings.speed_password_file,
    )


def address_of(workspace: Workspace, setting: str, part: str) -> str:
    """An address as a setting gives it; ``stack://`` is that of the workspace's own server."""
    if setting != "stack://":
        return setting
    from negawatt import stack_services  # noqa: PLC0415  servers are not always there

    address: str = getattr(stack_services, f"{part}_address")(workspace)
    return address


def plan_event(workspace: Workspace, store: BatchStore, event: DREvent, speed: SpeedStore | None = None) -> EventPlan:
    """The plan of a workspace's event, at the interval of its readings.

    Parameters
    ----------
    speed : SpeedStore, optional
        Says the interval where the batch store has no readings yet.

    Raises
    ------
    NegawattError
        There are no readings, or of several intervals, or the programme has no rule for the event.
    """
    intervals, url = store.intervals(), store.url
    if not intervals and speed is not None:
        intervals, url = reading_intervals(speed), speed.url
    minutes = only_interval(intervals, url, "to certify")
    programme = workspace.programme(event.programme)
    return make_plan(event, programme, minutes, event_days=workspace.other_event_days(event, programme))


class Certified(NamedTuple):
    """A certification: its results, the seconds it took without the start of a Spark session, what its job did."""

    certificates: CertificateSet
    reductions: Reductions
    seconds: float
    job: JobMetrics | None
    """None when provisional: there is no job then."""


def certify(
    workspace: Workspace,
    settings: Settings,
    event: DREvent,
    *,
    session: SparkSession | None = None,
    provisional: bool = False,
    device: str = "cpu",
    progress: Progress = quiet,
) -> Certified:
    """Certify an event and publish its certificates in the workspace.

    Parameters
    ----------
    session : SparkSession, optional
        For the batch layer; default: one that the settings name.
    provisional : bool
        From the speed store, at once; never settled.
    device : str
        Where a provisional certification computes: `speed.devices.open_device`.

    Raises
    ------
    NegawattError
        No resources, no readings, or the event is settled already and the new certificates differ.
    """
    place = open_device(device)
    with contextlib.ExitStack() as opened:
        speed = None
        if provisional:
            resources = workspace.participants(event)
            speed = opened.enter_context(contextlib.closing(speed_store(workspace, settings)))
            plan = plan_event(workspace, batch_store(workspace, settings), event, speed)
            began = time.perf_counter()
            reductions = certify_provisionally(speed, plan, resources, device=place)
            seconds = time.perf_counter() - began
            certified = Certified(_issue(workspace, plan, reductions, resources), reductions, seconds, None)
        else:
            plan, certified = work_out(workspace, settings, event, session=session, progress=progress)
        _publish(workspace, certified.certificates, provisional=provisional)
        _keep(workspace, settings, plan, certified.reductions, certified.certificates, speed)
    return certified


def work_out(
    workspace: Workspace,
    settings: Settings,
    event: DREvent,
    *,
    session: SparkSession | None = None,
    progress: Progress = quiet,
) -> tuple[EventPlan, Certified]:
    """The batch layer's result of an event, and the plan that it is by; it is not published or kept anywhere.

    Raises
    ------
    NegawattError
        No resources, or no readings.
    """
    resources = workspace.participants(event)
    store = batch_store(workspace, settings)
    plan = plan_event(workspace, store, event)
    here = session is None and settings.spark == NO_SPARK
    session = session or (None if here else open_session(settings.spark, log=workspace.spark_log))
    began = time.perf_counter()
    job: JobMetrics | None = None

    def report(done: int, total: int) -> None:
        progress("certify", done, total)

    if session is None:
        reductions = certify_here(store, plan, resources, report)
    else:
        reductions, job = certify_with_metrics(session, store, plan, resources, report)
    seconds = time.perf_counter() - began
    return plan, Certified(_issue(workspace, plan, reductions, resources), reductions, seconds, job)


def _issue(
    workspace: Workspace, plan: EventPlan, reductions: Reductions, resources: Mapping[str, Resource]
) -> CertificateSet:
    return issue_certificates(plan, reductions, resources, workspace.salt(), workspace.traded(plan.event))


def _publish(workspace: Workspace, certificates: CertificateSet, *, provisional: bool) -> None:
    """Write an event's certificates, unless they are settled and would change."""
    event_id = certificates.event_id
    path = workspace.certificates(event_id, provisional=provisional)
    committed = not provisional and workspace.committed(event_id).exists() and path.exists()
    if committed and path.read_bytes() != certificates.published():
        raise InvalidEventError(
            event_id,
            f"settled already, and readings or events that came since change it; {path} stays as it was settled",
        )
    write_whole(path, certificates.published())


def _keep(
    workspace: Workspace,
    settings: Settings,
    plan: EventPlan,
    reductions: Reductions,
    certificates: CertificateSet,
    speed: SpeedStore | None,
) -> None:
    """Keep a provisional result (with its open store) or a batch result in the speed store, to be compared there.

    The certificates are published by then, so nothing here fails: a result that the store can't take now waits in a
    file, which `reconciling.reconcile_event` brings in.
    """
    source = Source.BATCH if speed is None else Source.PROVISIONAL
    try:
        result = result_of(plan, reductions, certificates, source, datetime.now(UTC))
    except NegawattError:  # payments beyond 64 bits: `reconcile_event` then has no such result
        return
    waiting = workspace.waiting_result(plan.event.id, source)
    try:
        if speed is not None:
            keep(speed, result)
        else:
            with contextlib.closing(speed_store(workspace, settings)) as opened:
                keep(opened, result)
    except StoreError:
        write_whole(waiting, to_bytes(result))
    else:
        waiting.unlink(missing_ok=True)


def summarise(certified: Certified) -> dict[str, Any]:
    """What a certification amounts to, as plain JSON values."""
    certificates, reductions, seconds, job = certified
    return {
        "event": certificates.event_id,
        "homes": len(reductions),
        "certified": int(reductions.certified.sum()),
        "reduction_wh": certificates.total_reduction_wh,
        "payment": certificates.total_payment,
        "root": "0x" + certificates.tree.root.hex(),
        "findings": {
            code: int(((reductions.findings & int(finding)) != 0).sum())
            for finding, (code, _) in FINDINGS.items()
            if (reductions.findings & int(finding)).any()
        },
        "seconds": round(seconds, 4),
        "job": None if job is None else job.document(),
    }


def report(
    workspace: Workspace,
    settings: Settings,
    event: DREvent,
    *,
    timings: Sequence[dict[str, Any]] = (),
    provisional: dict[str, int] | None = None,
) -> Path:
    """Write an event's HTML report; returns its path."""
    published = workspace.published(event.id)
    settlement = workspace.settlement(event.id)
    people, salt = workspace.participants(event), workspace.salt()
    store = batch_store(workspace, settings)
    html = render_report(
        published.data,
        settlement=json.loads(settlement.read_text()) if settlement.exists() and not published.provisional else None,
        meter_of={"0x" + resource_key(salt, meter).hex(): meter for meter in people},
        around=usage_around(workspace, store, event, people) if store.intervals() else None,
        timings=timings,
        provisional=provisional,
        final=not published.provisional,
    )
    path = workspace.report(event.id)
    write_whole(path, html.encode())
    return path


def usage_around(workspace: Workspace, store: BatchStore, event: DREvent, meters: Iterable[str]) -> UsageAround:
    """Readings from four hours before an event to two hours after it, for its chart."""
    minutes = plan_event(workspace, store, event).interval_minutes
    first = slot_of(event.start, minutes) - 240 // minutes
    last = slot_of(event.end, minutes) + 120 // minutes
    slots = np.arange(first, last, dtype=np.int64)
    names: list[str] = []
    rows = [np.empty((0, len(slots)), dtype=np.int32)]
    for bucket, some in sorted(by_bucket(meters, store.buckets).items()):
        block = store.read_slots(slots[None], minutes, bucket, some)
        names += block.meters.tolist()
        rows.append(block.wh[:, 0])
    starts = tuple(slot_start(int(slot), minutes) for slot in slots)
    return UsageAround(starts, tuple(names), np.concatenate(rows))
