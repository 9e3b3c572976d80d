"""Which batch store an address names, and its state at one moment for the many tasks of a job."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

import numpy as np
from numpy.typing import NDArray

from batch.parquet_store import AppendResult, ParquetStore
from domain.certification import LoadBlock
from domain.errors import StoreError
from domain.plans import EventPlan
from domain.readings import Readings, Register


class BatchStore(Protocol):
    """The whole history of readings, by buckets of whole meters; any number of processes may use one at once."""

    buckets: int

    @property
    def url(self) -> str:
        """What `open_store` opens it by, in any process that reaches it."""

    def append(self, readings: Iterable[Readings]) -> AppendResult:
        """Add readings; a repeat changes nothing."""

    def intervals(self, register: Register = Register.IMPORT) -> list[int]:
        """Interval lengths of a register that hold readings. [min]"""

    def meters(self, interval_minutes: int, register: Register = Register.IMPORT) -> list[str]:
        """All meters with readings, in ascending order."""

    def days(self, interval_minutes: int, register: Register = Register.IMPORT) -> tuple[int, int] | None:
        """First and last UTC day with readings (days since 1970)."""

    def read_plan(self, plan: EventPlan, bucket: int, meters: NDArray[np.object_] | None = None) -> LoadBlock:
        """The readings that certify an event, for one bucket."""

    def read_slots(
        self,
        slots: NDArray[np.int64],
        interval_minutes: int,
        bucket: int,
        meters: NDArray[np.object_] | None = None,
        register: Register = Register.IMPORT,
    ) -> LoadBlock:
        """Readings at ``slots`` of one bucket's meters."""

    def compact(self, day: int | None = None) -> int:
        """Fold what arrived piecemeal; of a UTC day since 1970 alone where the store can. Returns pieces folded."""


def only_interval(intervals: Sequence[int], url: str, purpose: str = "") -> int:
    """The one interval that a store holds readings of. [min]

    Parameters
    ----------
    intervals, url
        Of the store.
    purpose : str
        What it is needed for, such as ``to certify``.

    Raises
    ------
    StoreError
        There are none, or several.
    """
    if len(intervals) != 1:
        found = ", ".join(f"{minutes} min" for minutes in intervals) or "none"
        raise StoreError(f"readings of one interval are needed{purpose and ' ' + purpose}; {url} holds: {found}")
    return intervals[0]


def open_store(url: str | Path, *, buckets: int = 16) -> BatchStore:
    """Open a batch store, or make it when there is none.

    Parameters
    ----------
    url : str or Path
        A folder, ``file:///folder`` or ``hbase://host:port``.
    buckets : int
        Of a new store; one that exists keeps its own.

    Raises
    ------
    StoreError
        No such kind of store, or it can't be opened.

    Examples
    --------
    >>> open_store("ftp://somewhere")
    Traceback (most recent call last):
      ...
    domain.errors.StoreError: ftp://somewhere: a batch store is a folder, file:///folder or hbase://host:port
    """
    if isinstance(url, Path):
        return ParquetStore(url, buckets=buckets)
    parts = urlsplit(url)
    if parts.scheme == "hbase":
        from batch.hbase_store import HBaseStore  # noqa: PLC0415  its client is there only where HBase is used

        return HBaseStore(url, buckets=buckets)
    if parts.scheme == "file" and parts.netloc in ("", "localhost") and parts.path:
        return ParquetStore(Path(unquote(parts.path)), buckets=buckets)
    if parts.scheme or not url:
        raise StoreError(f"{url}: a batch store is a folder, file:///folder or hbase://host:port")
    return ParquetStore(Path(url), buckets=buckets)
