"""Readings as a table for Spark SQL: whoever knows SQL can ask the batch store, wherever it is kept.

Use: ``register(session)``, then ``session.read.format("negawatt").option("store", url).load()``. A partition is a
bucket of meters. What a query says of meters, registers and times is taken off it and read by, so only the days and
buckets that it needs leave the store.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from pyspark.sql.datasource import (
    DataSource,
    DataSourceReader,
    EqualTo,
    Filter,
    GreaterThan,
    GreaterThanOrEqual,
    In,
    InputPartition,
    IsNotNull,
    LessThan,
    LessThanOrEqual,
)

from batch.day_reader import read_days, readings_table
from batch.parquet_store import bucket_of
from batch.snapshots import FolderSnapshot, Snapshot, snapshot_of
from batch.stores import open_store
from domain.errors import NegawattError
from domain.intervals import check_interval, slots_per_day
from domain.readings import Register

if TYPE_CHECKING:
    from pyspark.sql import SparkSession
    from pyspark.sql.types import StructType

SCHEMA = "meter string, interval_start timestamp, wh int, quality string, revision smallint, register string"
OPTIONS = ("store", "from", "to", "interval", "register")
BATCH_READINGS = 500_000
"""Rows of a batch that goes to Spark."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY_US = 86_400_000_000
_FOREVER_US = 2**62
_MOST_DAYS = 16
_BOUNDS: dict[type[Filter], tuple[int | None, int | None]] = {
    EqualTo: (0, 1),
    GreaterThanOrEqual: (0, None),
    GreaterThan: (1, None),
    LessThan: (None, 0),
    LessThanOrEqual: (None, 1),
}
"""What a comparison with a time allows: from it plus the first, to before it plus the second. [us]"""


def register(session: SparkSession) -> None:
    """Make the format ``negawatt`` known to a session."""
    session.dataSource.register(ReadingsSource)


@dataclass(frozen=True)
class Selection:
    """What a query wants, as far as the store can skip the rest. Times in microseconds since 1970, half-open."""

    from_us: int = 0
    to_us: int = _FOREVER_US
    meters: frozenset[str] | None = None
    registers: frozenset[str] | None = None

    def between(self, from_us: int = 0, to_us: int = _FOREVER_US) -> Selection:
        """Only what lies in this time, too."""
        return replace(self, from_us=max(self.from_us, from_us), to_us=min(self.to_us, to_us))

    def narrowed(self, query: Filter) -> Selection | None:
        """With a query's filter applied to it; None when Spark has to do that."""
        column, value = ".".join(getattr(query, "attribute", ())), getattr(query, "value", None)
        narrowed: Selection | None = None
        if isinstance(query, IsNotNull):
            narrowed = self  # nothing ever is
        elif column == "interval_start" and type(query) in _BOUNDS:
            low, high = _BOUNDS[type(query)]
            at = _us(value)
            narrowed = self.between(0 if low is None else at + low, _FOREVER_US if high is None else at + high)
        elif isinstance(query, EqualTo | In):
            wanted = frozenset(query.value if isinstance(query, In) else [query.value])
            if column == "meter":
                narrowed = replace(self, meters=wanted if self.meters is None else self.meters & wanted)
            elif column == "register":
                narrowed = replace(self, registers=wanted if self.registers is None else self.registers & wanted)
        return narrowed


@dataclass
class Bucket(InputPartition):
    """A task's share: one bucket, as it was when the query was planned, and what is wanted of it."""

    number: int
    snapshot: Snapshot
    minutes: int
    selection: Selection

    def wants(self, kind: Register) -> bool:
        """Whether readings of a register are wanted."""
        return self.selection.registers is None or str(kind) in self.selection.registers


class ReadingsSource(DataSource):
    """The format ``negawatt``.

    Options: ``store`` (a folder's path or address, or ``hbase://host:port``); ``from`` and ``to`` (half-open; dates,
    or times with their UTC offset); ``interval`` in minutes, where the store holds more than one; ``register``
    (``import`` or ``export``, default both).
    """

    @classmethod
    def name(cls) -> str:
        """What `format` takes."""
        return "negawatt"

    def schema(self) -> str:
        """All columns; a query that names fewer by ``.schema(…)`` has only those made."""
        return SCHEMA

    def reader(self, schema: StructType) -> ReadingsReader:
        """Check the options.

        Raises
        ------
        NegawattError
            An option or column is unknown, or has a value that it can't have.
        """
        options = {name.lower(): value for name, value in self.options.items()}
        if unknown := sorted(set(options) - {*OPTIONS, "path"}):
            raise NegawattError(f"option {unknown[0]!r} is unknown; there are {', '.join(OPTIONS)}")
        url = options.get("store") or options.get("path")
        if not url:
            raise NegawattError('no store was named: .option("store", "file:///folder") or hbase://host:port')
        known = dict(column.split() for column in SCHEMA.split(", "))
        for field in schema.fields:
            if known.get(field.name) != field.dataType.simpleString():
                raise NegawattError(f"column {field.simpleString()!r} is none of: {SCHEMA}")
        selection = Selection().between(
            _us_of_option(options.get("from"), "from", 0), _us_of_option(options.get("to"), "to", _FOREVER_US)
        )
        if kind := options.get("register"):
            if kind not in set(Register):
                raise NegawattError(f"register {kind!r}: expected import or export")
            selection = replace(selection, registers=frozenset({kind}))
        interval = options.get("interval")
        if interval is not None and not interval.isdigit():
            raise NegawattError(f"interval {interval!r}: expected minutes")
        minutes = check_interval(int(interval)) if interval else None
        return ReadingsReader(url, minutes, [field.name for field in schema.fields], selection)


class ReadingsReader(DataSourceReader):
    """Reads what one query asks for; it travels to tasks."""

    def __init__(self, url: str, minutes: int | None, columns: list[str], selection: Selection) -> None:
        self.url, self.minutes, self.columns, self.selection = url, minutes, columns, selection

    def pushFilters(self, filters: list[Filter]) -> Iterator[Filter]:  # noqa: N802  Spark's name
        """Take over filters by meter, register and time; give back the others."""
        for query in filters:
            narrowed = self.selection.narrowed(query)
            if narrowed is None:
                yield query
            else:
                self.selection = narrowed

    def partitions(self) -> Sequence[InputPartition]:
        """Buckets that may hold what is asked for, all of one moment where the store can promise that.

        Raises
        ------
        NegawattError
            The store holds several intervals and none was chosen.
        """
        store, wanted = open_store(self.url), self.selection
        registers = [kind for kind in Register if wanted.registers is None or str(kind) in wanted.registers]
        stored = {minutes for kind in registers for minutes in store.intervals(kind)}
        if self.minutes is None and len(stored) > 1:
            choices = " or ".join(map(str, sorted(stored)))
            raise NegawattError(f'{self.url} holds several intervals: choose one, .option("interval", {choices})')
        minutes = self.minutes or min(stored, default=60)
        spans = [span for kind in registers if (span := store.days(minutes, kind))]
        first, last = min((a for a, _ in spans), default=0), max((b for _, b in spans), default=-1)
        wanted = wanted.between(first * _DAY_US, (last + 1) * _DAY_US)  # here, since read() doesn't see what we keep
        all_buckets = set(range(store.buckets))
        buckets = all_buckets if wanted.meters is None else {bucket_of(m, store.buckets) for m in wanted.meters}
        snapshot = snapshot_of(store)
        return [Bucket(n, _of_bucket(snapshot, n), minutes, wanted) for n in sorted(buckets or {0})]

    def read(self, partition: InputPartition) -> Iterator[pa.RecordBatch]:
        """A bucket's readings, a few days at a time."""
        assert isinstance(partition, Bucket)  # noqa: S101
        minutes, wanted = partition.minutes, partition.selection
        store, per_day = partition.snapshot.open(), slots_per_day(minutes)
        length_us = minutes * 60_000_000
        first, end = -(-wanted.from_us // length_us), -(-wanted.to_us // length_us)
        for kind in Register:
            if not partition.wants(kind) or minutes not in store.intervals(kind):
                continue
            day, step, last = first // per_day, 1, -(-end // per_day)
            while day < last:
                wide = read_days(store, np.arange(day, min(day + step, last)), minutes, partition.number, kind)
                day += step
                # As many days as make about two batches, and more at a time where there is nothing.
                step = max(1, min(2 * step, _MOST_DAYS, 2 * step * BATCH_READINGS // max(wide.stamp.size, 1)))
                if wanted.meters is not None:
                    wide = wide.take(np.array([name in wanted.meters for name in wide.meters], dtype=bool))
                if len(wide):
                    table = readings_table(wide, minutes, kind, first_slot=first, end_slot=end, columns=self.columns)
                    yield from table.combine_chunks().to_batches(max_chunksize=BATCH_READINGS)


def _of_bucket(snapshot: Snapshot, bucket: int) -> Snapshot:
    """A snapshot that names one bucket's files alone, since each task gets one of its own."""
    if isinstance(snapshot, FolderSnapshot):
        files = tuple(file for file in snapshot.manifest.files if file.bucket == bucket)
        return replace(snapshot, manifest=replace(snapshot.manifest, files=files))
    return snapshot


def _us(instant: Any) -> int:
    """Microseconds since 1970 of a time in a filter; one without a zone is UTC."""
    aware = instant if instant.tzinfo else instant.replace(tzinfo=UTC)
    apart = aware - _EPOCH
    return int((apart.days * 86_400 + apart.seconds) * 1_000_000 + apart.microseconds)


def _us_of_option(text: str | None, name: str, otherwise: int) -> int:
    if text is None:
        return otherwise
    try:
        return _us(datetime.fromisoformat(text))
    except ValueError as wrong:
        raise NegawattError(f"option {name!r} is {text!r}: expected a date, or a time with its UTC offset") from wrong
