"""A store as all tasks of one job read it, small enough to be sent to each of them.

A folder of Parquet files has a manifest, so its tasks all see the files of one moment. A store of servers has none:
there each meter-day is read whole, as it was before or after a write, and readings that come while a job runs may be
in it or not.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from batch.manifest import Manifest
from batch.parquet_store import ParquetStore
from batch.stores import BatchStore, open_store


class Snapshot(Protocol):
    """Opens a store on an executor; it can be pickled."""

    def open(self) -> BatchStore:
        """The store.

        Raises
        ------
        StoreError
            This machine doesn't reach it.
        """


@dataclass(frozen=True)
class FolderSnapshot:
    """The files of one moment.

    They are there for an hour after they went out of force, so a job has an hour to read them.
    """

    folder: Path
    manifest: Manifest

    def open(self) -> BatchStore:
        """The store as of then, to be read only."""
        return ParquetStore.at(self.folder, self.manifest)


@dataclass(frozen=True)
class AddressSnapshot:
    """A store by its address alone, whose state goes on."""

    url: str
    buckets: int

    def open(self) -> BatchStore:
        """The store as it is by then."""
        return open_store(self.url, buckets=self.buckets)


def snapshot_of(store: BatchStore) -> Snapshot:
    """What to send to tasks so that they read this store, all of them the same where it can promise that."""
    if isinstance(store, ParquetStore):
        return FolderSnapshot(store.folder.resolve(), store.manifest)
    return AddressSnapshot(store.url, store.buckets)
