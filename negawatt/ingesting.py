"""Readings to both layers: from files over the bus, and live ones to the speed layer."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from batch.parquet_store import AppendResult
from batch.stores import BatchStore
from domain.readings import Readings
from ingest.bus import open_bus
from ingest.columns import Columns
from ingest.importers import ImportSummary, import_files
from negawatt.console import Progress, quiet
from negawatt.pipeline import address_of, batch_store, speed_store
from negawatt.settings import Settings
from negawatt.workspace import Workspace
from speed.consumer import SpeedConsumer
from speed.quarantine import Quarantine

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
    bus = open_bus(address_of(workspace, settings.bus, "bus"))
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
