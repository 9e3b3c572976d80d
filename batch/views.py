"""Batch views: results of jobs as tables under a name, each visible whole or not at all.

A job writes parts into a draft that nobody sees; publishing puts one small file in the place of another, which names
the parts. Readers see the version before or the version after, and of a job that was killed nothing. Layout::

    views/quality.json                          the version in force and its parts
    views/quality/<version>/part-00007.parquet
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from batch.jobs import BucketResult, JobMetrics, run_on_buckets
from batch.renames import sync_folder
from batch.snapshots import snapshot_of
from batch.stores import BatchStore
from batch.watching import Progress
from domain.errors import StoreError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")
_KEPT_SECONDS = 3600.0
"""How long a version that is out of force stays, for readers that began with it."""


class ViewDraft(Protocol):
    """A version that is being made; it can be sent to tasks."""

    def write(self, part: int, rows: pa.Table) -> None:
        """Put a part in its place; again is the same as once."""


class Views(Protocol):
    """Views of one store, wherever they are kept."""

    def draft(self, name: str) -> ViewDraft:
        """Begin a version of a view."""

    def publish(self, draft: Any, parts: Iterable[int]) -> None:
        """Bring a draft of these views into force in one step; the parts named must have been written."""

    def read(self, name: str) -> pa.Table:
        """The version in force."""


@dataclass(frozen=True)
class FolderDraft:
    """A draft in a folder of Parquet files; other processes write to it too, on a path that all see."""

    folder: Path
    name: str
    version: str

    @property
    def place(self) -> Path:
        """Folder of the parts."""
        return self.folder / self.name / self.version

    def path(self, part: int) -> Path:
        """File of a part."""
        return self.place / f"part-{part:05d}.parquet"

    def write(self, part: int, rows: pa.Table) -> None:
        """Write a part whole, or not at all; of a task that is tried again the last one stays.

        Raises
        ------
        StoreError
            This machine doesn't see the folder, or can't write to it.
        """
        aside = self.place / f".{uuid.uuid4().hex}.tmp"
        try:
            with aside.open("wb") as out:
                pq.write_table(rows, out, compression="lz4")
                out.flush()
                os.fsync(out.fileno())
            aside.replace(self.path(part))
        except OSError as failed:
            raise StoreError(f"view {self.name!r}: {self.path(part)} can't be written: {failed.strerror}") from failed


class ParquetViews:
    """Views in a folder.

    Parameters
    ----------
    folder : Path
        Made when the first view is begun.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def draft(self, name: str) -> FolderDraft:
        """Begin a version of a view; it is seen once it is published.

        Raises
        ------
        StoreError
            No such name can be had: small letters, digits, and ``.``, ``_``, ``-`` within it.
        """
        if not _NAME.fullmatch(name):
            raise StoreError(f"a view can't be called {name!r}: expected small letters, digits and . _ - within")
        draft = FolderDraft(self.folder.resolve(), name, uuid.uuid4().hex)
        draft.place.mkdir(parents=True)
        return draft

    def publish(self, draft: FolderDraft, parts: Iterable[int]) -> None:
        """Bring a draft into force in one step, and clear away what has been out of force for an hour.

        Parameters
        ----------
        parts : iterable of int
            Parts that it consists of; others that stray tasks may have written don't count.

        Raises
        ------
        StoreError
            A part was never written; the version before stays in force.
        """
        files = [draft.path(part) for part in sorted(set(parts))]
        for file in files:
            if not file.exists():
                raise StoreError(f"view {draft.name!r}: {file} was never written, so it isn't published")
        aside = self.folder / f".{uuid.uuid4().hex}.tmp"
        with aside.open("w") as out:
            json.dump({"version": draft.version, "parts": [file.name for file in files]}, out)
            out.flush()
            os.fsync(out.fileno())
        aside.replace(self._pointer(draft.name))
        sync_folder(self.folder)
        self._sweep(draft)

    def read(self, name: str) -> pa.Table:
        """The version in force, its parts one after the other.

        Raises
        ------
        StoreError
            There is none, or a part of it is lost.
        """
        try:
            found = json.loads(self._pointer(name).read_text())
        except FileNotFoundError as absent:
            there = ", ".join(self.names()) or "none"
            raise StoreError(f"no view {name!r} was published in {self.folder}; there are: {there}") from absent
        place = self.folder / name / found["version"]
        try:
            parts = [pq.read_table(place / part) for part in found["parts"]]
        except FileNotFoundError as lost:
            raise StoreError(f"view {name!r}: {lost.filename or place} is lost; make the view again") from lost
        return pa.concat_tables(parts) if parts else pa.table({})

    def names(self) -> list[str]:
        """Views that were published, in ascending order."""
        return sorted(path.stem for path in self.folder.glob("*.json"))

    def _pointer(self, name: str) -> Path:
        return self.folder / f"{name}.json"

    def _sweep(self, live: FolderDraft) -> None:
        for place in live.place.parent.iterdir():
            if place.name != live.version and time.time() - place.stat().st_mtime > _KEPT_SECONDS:
                shutil.rmtree(place, ignore_errors=True)


Rule = Callable[[BatchStore, int], pa.Table]
"""Makes the rows of a view from a bucket; always with the same columns."""


def build_view(
    session: SparkSession,
    store: BatchStore,
    views: Views,
    name: str,
    rule: Rule,
    progress: Progress | None = None,
) -> JobMetrics:
    """Make a view by Spark, a part a bucket, and publish it once all parts are there.

    Parameters
    ----------
    rule : callable
        Sent to tasks; run again where a task is.

    Returns
    -------
    JobMetrics
        Its rows are the view's.

    Raises
    ------
    StoreError
        A task could not read the store or write its part; nothing is published.
    """
    draft = views.draft(name)

    def work(store: BatchStore, bucket: int) -> BucketResult:
        rows = rule(store, bucket)
        draft.write(bucket, rows)
        return BucketResult(bucket.to_bytes(4, "big"), rows.num_rows, rows.nbytes)

    messages, metrics = run_on_buckets(session, snapshot_of(store), store.buckets, work, progress)
    views.publish(draft, [int.from_bytes(message, "big") for message in messages])
    return metrics
