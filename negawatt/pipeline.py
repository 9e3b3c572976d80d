"""What the commands do off the chain, as functions: ingest, certify, report. Schedulers call the same ones."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from batch.certify import certify_with_metrics
from batch.jobs import JobMetrics
from batch.parquet_store import AppendResult, bucket_of
from batch.session import open_session
from batch.stores import BatchStore, open_store
from domain.certificates import CertificateSet, issue_certificates, resource_key
from domain.certification import FINDINGS, Reductions
from domain.errors import InvalidEventError, NegawattError, StoreError
from domain.events import DREvent
from domain.intervals import slot_of, slot_start
from domain.plans import EventPlan, make_plan
from domain.readings import Readings
from ingest.bus import open_bus
from ingest.columns import Columns
from ingest.importers import ImportSummary, import_files
from negawatt.console import Progress, quiet
from negawatt.settings import Settings
from negawatt.workspace import Workspace, write_whole
from serving.report import UsageAround, render_report
from speed.consumer import SpeedConsumer
from speed.devices import open_device
from speed.provisional import certify_provisionally, reading_intervals
from speed.quarantine import Quarantine
from speed.reconciliation import Reconciliation, Source, from_bytes, keep, reconcile, result_of, to_bytes
from speed.stores import SpeedStore, duckdb_url, open_speed_store

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

BATCH_BUFFER = 20_000_000
"""Readings that the batch layer's consumer holds before it writes: one file a bucket for each such run."""


class BatchConsumer:
    """Takes readings from the bus to the batch store, in large appends."""

    def __init__(self, store: BatchStore) -> None:
        self._store, self._held, self._size = store, list[Readings](), 0
        self.result = AppendResult(0, 0, 0)

    def consume(self, readings: Readings) -> None:
        """Hold a batch; write when enough are held."""
        self._held.append(readings)
        self._size += len(readings)
        if self._size >= BATCH_BUFFER:
            self.flush()

    def flush(self) -> None:
        """Write what is held."""
        self.result += self._store.append(self._held)
        self._held, self._size = [], 0


@dataclass(frozen=True)
class IngestResult:
    """Rows read and what became of them, and what the batch store did with the readings."""

    rows: int
    accepted: int
    repeated: int
    rejected: int
    rejected_by_code: dict[str, int]
    rejects_file: str
    meters: int
    interval_minutes: int
    first: str | None
    last: str | None
    stored_new: int
    stored_replaced: int
    stored_unchanged: int
    seconds: float


def ingest(
    workspace: Workspace,
    settings: Settings,
    files: Sequence[Path],
    *,
    columns: Columns | None = None,
    max_rejects_pct: float = 1.0,
    only_known_meters: bool = True,
    progress: Progress = quiet,
) -> IngestResult:
    """Read files of readings, and bring them over the bus to both layers.

    Nothing reaches the bus before every row was read and the share of rejects is known to be allowed.

    Parameters
    ----------
    files : sequence of Path
    columns : Columns, optional
        What the files' columns mean; default: recognised by their header.
    max_rejects_pct : float
        [%]
    only_known_meters : bool
        Reject readings of meters that are no resource, once the workspace has resources.

    Raises
    ------
    TooManyRejectsError
        Nothing was stored; the rejects file says why.
    """
    began = time.perf_counter()
    known = frozenset(workspace.resources()) if only_known_meters else frozenset()
    workspace.spool.mkdir(parents=True, exist_ok=True)
    rejects = workspace.rejects(files[0].name.split(".")[0])
    rejects.parent.mkdir(parents=True, exist_ok=True)
    with import_files(
        files,
        columns,
        spool_dir=workspace.spool,
        rejects_path=rejects,
        known_meters=known or None,
        max_rejects_pct=max_rejects_pct,
        progress=lambda path, rows, share: progress(f"read {path.name}", int(1000 * share), 1000),
    ) as read:
        with layers(workspace, settings) as (bus_publish, batch):
            done = 0
            for readings in read.batches():
                bus_publish(readings)
                done += len(readings)
                progress("store", done, max(read.accepted, done))
        return _ingest_result(read, batch.result, time.perf_counter() - began)


@contextlib.contextmanager
def layers(workspace: Workspace, settings: Settings) -> Iterator[tuple[Callable[[Readings], None], BatchConsumer]]:
    """The bus with both layers' consumers on it; everything published is durable when the block ends."""
    bus = open_bus(_address(workspace, settings.bus, "bus"))
    batch = BatchConsumer(batch_store(workspace, settings))
    speed = speed_store(workspace, settings)
    try:
        bus.subscribe(batch)
        bus.subscribe(SpeedConsumer(speed))
        yield bus.publish, batch
        bus.flush()
    finally:
        bus.close()
        speed.close()


def _ingest_result(read: ImportSummary, stored: AppendResult, seconds: float) -> IngestResult:
    return IngestResult(
        rows=read.rows,
        accepted=read.accepted,
        repeated=read.repeated,
        rejected=read.rejected,
        rejected_by_code=dict(read.rejected_by_code),
        rejects_file=str(read.rejects_path),
        meters=read.meters,
        interval_minutes=read.interval_minutes,
        first=read.first_start.isoformat() if read.first_start else None,
        last=read.last_end.isoformat() if read.last_end else None,
        stored_new=stored.new,
        stored_replaced=stored.replaced,
        stored_unchanged=stored.unchanged,
        seconds=round(seconds, 3),
    )


def batch_store(workspace: Workspace, settings: Settings) -> BatchStore:
    """The batch store that a workspace's settings name."""
    return open_store(_address(workspace, settings.store, "store") or workspace.store, buckets=settings.buckets)


def speed_store(workspace: Workspace, settings: Settings) -> SpeedStore:
    """The speed store that a workspace's settings name."""
    return open_speed_store(
        _address(workspace, settings.speed, "speed") or duckdb_url(workspace.speed),
        password=settings.speed_password,
        password_file=settings.speed_password_file,
    )


def _address(workspace: Workspace, setting: str, part: str) -> str:
    """An address as a setting gives it; ``stack://`` is that of the workspace's own server."""
    if setting != "stack://":
        return setting
    from negawatt import stack_services  # noqa: PLC0415  servers are not always there

    address: str = getattr(stack_services, f"{part}_address")(workspace)
    return address


@contextlib.contextmanager
def live_consumer(workspace: Workspace, settings: Settings) -> Iterator[SpeedConsumer]:
    """Takes readings that meters report now to the speed store, and keeps those of the future apart.

    `layers` has no such quarantine: files and simulations are of a time of their own.
    """
    speed = speed_store(workspace, settings)
    try:
        yield SpeedConsumer(speed, Quarantine(speed, timedelta(minutes=settings.future_minutes)))
    finally:
        speed.close()


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
    if len(intervals) != 1:
        found = ", ".join(f"{minutes} min" for minutes in intervals) or "none"
        raise StoreError(f"readings of one interval are needed to certify; {url} holds: {found}")
    programme = workspace.programme(event.programme)
    return make_plan(event, programme, intervals[0], event_days=workspace.other_event_days(event, programme))


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
    resources = workspace.participants(event)
    store = batch_store(workspace, settings)
    job: JobMetrics | None = None
    with contextlib.ExitStack() as opened:
        speed = None
        if provisional:
            speed = opened.enter_context(contextlib.closing(speed_store(workspace, settings)))
            plan = plan_event(workspace, store, event, speed)
            began = time.perf_counter()
            reductions = certify_provisionally(speed, plan, resources, device=place)
        else:
            plan = plan_event(workspace, store, event)
            session = session or open_session(settings.spark, log=workspace.spark_log)
            began = time.perf_counter()
            reductions, job = certify_with_metrics(
                session, store, plan, resources, lambda done, total: progress("certify", done, total)
            )
        seconds = time.perf_counter() - began
        certificates = issue_certificates(plan, reductions, resources, workspace.salt(), workspace.traded(event))
        _publish(workspace, certificates, provisional=provisional)
        _keep(workspace, settings, plan, reductions, certificates, speed)
    return Certified(certificates, reductions, seconds, job)


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
    file, which `reconcile_event` brings in.
    """
    source = Source.BATCH if speed is None else Source.PROVISIONAL
    try:
        result = result_of(plan, reductions, certificates, source, datetime.now(UTC))
    except NegawattError:  # payments beyond 64 bits: `reconcile_event` says that it has no such result
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


def reconcile_event(workspace: Workspace, settings: Settings, event: DREvent, *, largest: int = 10) -> Reconciliation:
    """Compare an event's provisional result with the batch layer's.

    Raises
    ------
    InvalidEventError
        Neither result is there.
    StoreError
        The speed store can't be opened; while a worker has a DuckDB file open, nobody else has.
    """
    with contextlib.closing(speed_store(workspace, settings)) as speed:
        for source in Source:
            waiting = workspace.waiting_result(event.id, source)
            if waiting.exists():
                keep(speed, from_bytes(waiting.read_bytes()))
                waiting.unlink()
        found = reconcile(speed, event.id, largest=largest)
    if found.provisional is None and found.batch is None:
        raise InvalidEventError(
            event.id, f"no result to compare: run `negawatt certify --provisional {event.id}` and `negawatt certify`"
        )
    return found


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
    split: dict[int, list[str]] = {}
    for meter in meters:
        split.setdefault(bucket_of(meter, store.buckets), []).append(meter)
    names: list[str] = []
    rows = [np.empty((0, len(slots)), dtype=np.int32)]
    for bucket, some in sorted(split.items()):
        block = store.read_slots(slots[None], minutes, bucket, np.array(some, dtype=object))
        names += block.meters.tolist()
        rows.append(block.wh[:, 0])
    starts = tuple(slot_start(int(slot), minutes) for slot in slots)
    return UsageAround(starts, tuple(names), np.concatenate(rows))
