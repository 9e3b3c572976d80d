"""The embedded batch store: a folder of Parquet files of wide meter-days.

Files are immutable and belong to one bucket of meters. What arrives later is added in small files of its own;
readers merge by the readings' precedence, and compaction folds the small files in. Layout::

    store/manifests/0000000042.json     the files in force
    store/import-5/b007/<id>.parquet    register and interval, bucket
"""

from __future__ import annotations

import contextlib
import os
import time
import uuid
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from batch.manifest import DataFile, Manifest, ManifestLog, PinnedLog
from batch.wide import (
    NONE,
    WideDays,
    arrow_schema,
    column_names,
    energy_of,
    merge,
    quality_of,
    slot_numbers,
    slot_stamps,
    to_arrow,
    to_wide,
)
from domain.certification import LoadBlock
from domain.errors import StoreError
from domain.intervals import check_interval, slots_per_day
from domain.plans import EventPlan
from domain.readings import MISSING, Quality, Readings, Register

ROW_GROUP_ROWS = 4096
"""A row group holds whole days, as many as reach this many rows: small stores don't drown in row groups."""

COMPACT_FILES = 8
"""A bucket with more files than this has its small ones folded together after an append."""

_ORPHAN_SECONDS = 3600.0


@dataclass(frozen=True)
class AppendResult:
    """What an append did with the readings it was given.

    ``new``: slots that had none; ``replaced``: slots where a reading of higher precedence took over;
    ``unchanged``: readings that repeat, or rank below, what is stored or came with them.
    """

    new: int
    replaced: int
    unchanged: int

    def __add__(self, other: AppendResult) -> AppendResult:
        return AppendResult(self.new + other.new, self.replaced + other.replaced, self.unchanged + other.unchanged)


def bucket_of(meter: str, buckets: int) -> int:
    """The bucket that holds a meter: by CRC-32 of its name, the same in every process and version.

    >>> bucket_of("home-0001", 16) == bucket_of("home-0001", 16)
    True
    """
    return zlib.crc32(meter.encode()) % buckets


class ParquetStore:
    """Readings of all meters, for all time, on one file system.

    Parameters
    ----------
    folder : Path
        Created when it doesn't exist.
    buckets : int
        Number of buckets of a new store; an existing store keeps its own.

    Raises
    ------
    StoreError
        The folder holds something else.
    """

    def __init__(self, folder: Path, *, buckets: int = 16) -> None:
        self.folder = folder
        taken = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
        if taken and not (folder / "manifests").is_dir():
            raise StoreError(f"{folder} holds something else than a store of readings; name another folder")
        self._log: ManifestLog = ManifestLog(folder / "manifests")
        self._log.create(buckets)
        self.buckets = self._log.latest().buckets

    @classmethod
    def at(cls, folder: Path, manifest: Manifest) -> ParquetStore:
        """A store as it was at a manifest, to be read only: what is added since then isn't there.

        Raises
        ------
        StoreError
            The folder is no store; none is made of it.
        """
        store = cls.__new__(cls)
        store.folder, store.buckets, store._log = folder, manifest.buckets, PinnedLog(folder / "manifests", manifest)
        return store

    @property
    def url(self) -> str:
        """What `batch.stores.open_store` opens it by."""
        return self.folder.resolve().as_uri()

    @property
    def manifest(self) -> Manifest:
        """The manifest in force: which files hold the store's readings now."""
        return self._log.latest()

    def append(self, readings: Iterable[Readings]) -> AppendResult:
        """Add readings; what is already there changes nothing, what outranks it replaces it.

        All batches given become visible in one step, or none do.
        """
        manifest = self._log.latest()
        given: dict[str, int] = {}
        folded: dict[str, list[WideDays]] = {}
        for batch in readings:
            if len(batch):
                table = table_name(batch.register, batch.interval_minutes)
                given[table] = given.get(table, 0) + len(batch)
                folded.setdefault(table, []).append(to_wide(batch))
        result, added = AppendResult(0, 0, 0), []
        for table, parts in folded.items():
            wide = merge(parts)
            result += AppendResult(0, 0, given[table] - int((wide.stamp != NONE).sum()))
            of_meter = {name: bucket_of(name, self.buckets) for name in set(wide.meters)}
            bucket = np.array([of_meter[name] for name in wide.meters], dtype=np.int32)
            for number in np.unique(bucket).tolist():
                rows = wide.take(np.flatnonzero(bucket == number))
                done, changed = self._changes(rows, manifest.of(table, number))
                result += done
                if len(changed):
                    added.append(self._write_file(table, number, [changed]))
        if added:
            self._commit(added)
            self._fold(COMPACT_FILES, _small_tail)
        return result

    def load_bucket(
        self,
        bucket: int,
        interval_minutes: int,
        parts: Iterable[WideDays],
        register: Register = Register.IMPORT,
    ) -> None:
        """Add a history of one bucket's meters as one file, holding no more than a part in memory.

        For bulk loads of meter-days that are wide already; many processes may each load a bucket. Readings that
        are stored already count by precedence as ever, but nothing is compared with them first.

        Parameters
        ----------
        bucket : int
        interval_minutes : int
        parts : iterable of WideDays
            Whole days of this bucket's meters; each part's days come after those of the part before.

        Raises
        ------
        StoreError
            A meter of another bucket, or rows out of order; nothing is added.
        """
        table = table_name(register, interval_minutes)
        file = self._write_file(table, bucket, self._checked(bucket, parts))
        if file.rows:
            self._commit([file])

    def _checked(self, bucket: int, parts: Iterable[WideDays]) -> Iterator[WideDays]:
        known: set[str] = set()
        last = -1
        for part in parts:
            if len(part) == 0:
                continue
            new = set(part.meters) - known
            for meter in new:
                own = bucket_of(meter, self.buckets)
                if own != bucket:
                    raise StoreError(f"meter {meter!r} belongs in bucket {own}, not {bucket}")
            known |= new
            if part.day[0] <= last or (np.diff(part.day) < 0).any():
                raise StoreError(f"bucket {bucket}: day {int(part.day[0])} is loaded out of order")
            last = int(part.day[-1])
            yield part

    def intervals(self, register: Register = Register.IMPORT) -> list[int]:
        """Interval lengths for which the store holds readings of a register. [min]"""
        tables = {f.table for f in self._log.latest().files}
        names = [name.rpartition("-") for name in tables]
        return sorted(int(minutes) for kind, _, minutes in names if kind == register)

    def meters(self, interval_minutes: int, register: Register = Register.IMPORT) -> list[str]:
        """All meters with readings, in ascending order."""
        found: set[str] = set()
        for file in self._log.latest().of(table_name(register, interval_minutes)):
            column = self._open(file).read(columns=["meter"])
            found.update(column.column(0).unique().to_pylist())
        return sorted(found)

    def days(self, interval_minutes: int, register: Register = Register.IMPORT) -> tuple[int, int] | None:
        """First and last UTC day with readings (days since 1970), None when there are none."""
        files = self._log.latest().of(table_name(register, interval_minutes))
        return (min(f.first_day for f in files), max(f.last_day for f in files)) if files else None

    def read_plan(self, plan: EventPlan, bucket: int, meters: NDArray[np.object_] | None = None) -> LoadBlock:
        """The readings that certify an event, for one bucket.

        Parameters
        ----------
        plan : EventPlan
        bucket : int
        meters : ndarray of str objects, optional
            The bucket's participants; a meter without readings gets a block of MISSING. Default: all meters
            that have readings at the plan's slots.
        """
        return self.read_slots(plan.slots, plan.interval_minutes, bucket, meters)

    def read_slots(
        self,
        slots: NDArray[np.int64],
        interval_minutes: int,
        bucket: int,
        meters: NDArray[np.object_] | None = None,
        register: Register = Register.IMPORT,
    ) -> LoadBlock:
        """Readings at ``slots`` (rows, intervals) of one bucket's meters. See `read_plan`."""
        per_day = slots_per_day(interval_minutes)
        days = np.unique(slots // per_day)
        wanted = np.unique(slots % per_day).tolist()
        files = [
            f
            for f in self._log.latest().of(table_name(register, interval_minutes), bucket)
            if ((days >= f.first_day) & (days <= f.last_day)).any()
        ]
        plain = not any(f.edited for f in files) and not _overlap(files)
        columns = ["meter", "day", *(f"s{slot:03d}" for slot in wanted)] + ([] if plain else ["edits"])
        tables = [table for f in files if (table := self._read(f, days, columns)).num_rows]
        names = [table.column("meter").combine_chunks() for table in tables]
        meters_found_here = meters is None
        if meters is None:
            found = {name for column in names for name in column.dictionary.to_pylist()}
            meters = np.array(sorted(found), dtype=object)
        else:
            meters = np.array(sorted(set(meters)), dtype=object)
        position = {name: n for n, name in enumerate(meters)}
        # Kept as [row, interval, meter] in memory, where every copy below is contiguous.
        out = np.full((*slots.shape, len(meters)), MISSING if plain else NONE, np.int32 if plain else np.int64)
        for table, column in zip(tables, names, strict=True):
            if plain:
                values = [slot_numbers(table.column(f"s{slot:03d}")) for slot in wanted]
            else:
                values = list(slot_stamps(table, wanted, per_day))
            at = np.array([position.get(name, -1) for name in column.dictionary.to_pylist()], dtype=np.int64)
            _scatter(out, slots, per_day, wanted, table, at[column.indices.to_numpy()], values)
        if meters_found_here:
            any_reading = out.max(axis=(0, 1), initial=NONE) != NONE
            if not any_reading.all():
                meters, out = meters[any_reading], out[:, :, any_reading]
        if plain:
            return LoadBlock(meters, out.transpose(2, 0, 1), None)
        stamps = out.transpose(2, 0, 1)
        estimated = quality_of(stamps) == Quality.ESTIMATED
        return LoadBlock(meters, energy_of(stamps), estimated if estimated.any() else None)

    def read_days(
        self,
        days: NDArray[np.integer],
        interval_minutes: int,
        bucket: int,
        register: Register = Register.IMPORT,
    ) -> WideDays:
        """All that is known of one bucket's meters on some UTC days, with quality and revision.

        Parameters
        ----------
        days : ndarray
            Days since 1970; as many as fit in memory. See `WideDays`.
        """
        files = [
            f
            for f in self._log.latest().of(table_name(register, interval_minutes), bucket)
            if ((days >= f.first_day) & (days <= f.last_day)).any()
        ]
        if not files:
            per_day = slots_per_day(interval_minutes)
            return WideDays(np.empty(0, object), np.empty(0, np.int32), np.empty((0, per_day), np.int64))
        return merge([self._wide(self._read(f, days, None)) for f in files])

    def compact(self, day: int | None = None) -> int:
        """Fold the files of each bucket into one, whatever the day; returns how many were folded.

        Files that were out of force for an hour (what was folded, what crashed writers left) are removed.
        """
        folded = self._fold(1, list)
        self._sweep()
        return folded

    def _fold(self, more_than: int, choose: Callable[[list[DataFile]], list[DataFile]]) -> int:
        manifest = self._log.latest()
        folded = 0
        for table in sorted({f.table for f in manifest.files}):
            for bucket in range(self.buckets):
                files = manifest.of(table, bucket)
                if len(files) > more_than:
                    chosen = choose(files)
                    new = self._write_file(table, bucket, self._merged(chosen))
                    if self._commit([new], chosen):
                        folded += len(chosen)
                    else:
                        (self.folder / new.path).unlink(missing_ok=True)
        if folded:
            self._sweep()
        return folded

    def _commit(self, add: list[DataFile], remove: list[DataFile] = []) -> bool:  # noqa: B006
        """Bring files into force and take others out; False when another writer folded the latter first.

        All are touched before, because the sweep's hour counts from there: a slow writer's file is not swept as
        it commits, and a reader that began with the files of a moment ago can finish.
        """
        for file in add:
            try:
                os.utime(self.folder / file.path)
            except FileNotFoundError as swept:
                raise StoreError(f"{swept.filename}: removed before it was in force; append again") from swept
        for file in remove:
            with contextlib.suppress(FileNotFoundError):
                os.utime(self.folder / file.path)
        return self._log.commit(add, remove) is not None

    def _changes(self, rows: WideDays, files: list[DataFile]) -> tuple[AppendResult, WideDays]:
        """Compare new meter-days with what is stored; keep only slots that change something."""
        files = [f for f in files if f.first_day <= rows.day.max() and f.last_day >= rows.day.min()]
        given = int((rows.stamp != NONE).sum())
        if not files:
            return AppendResult(given, 0, 0), rows
        days = np.unique(rows.day)
        stored = merge([self._wide(self._read(f, days, None)) for f in files])
        where = {key: n for n, key in enumerate(zip(stored.day.tolist(), stored.meters, strict=True))}
        at = np.array([where.get(key, -1) for key in zip(rows.day.tolist(), rows.meters, strict=True)])
        before = np.where((at >= 0)[:, None], stored.stamp[at] if len(stored) else NONE, NONE)
        wins = rows.stamp > before
        new = int((wins & (before == NONE)).sum())
        replaced = int(wins.sum()) - new
        changed = WideDays(rows.meters, rows.day, np.where(wins, rows.stamp, NONE))
        return AppendResult(new, replaced, given - new - replaced), changed.take(np.flatnonzero(wins.any(axis=1)))

    def _merged(self, files: list[DataFile]) -> Iterator[WideDays]:
        """The rows of several files, merged, in steps of a few days so that memory stays bounded."""
        # Days that are there, not the span: one reading of a wrong century must not make this a long walk.
        present = np.unique(np.concatenate([_days(self._open(f).read(columns=["day"])) for f in files]))
        step = 16
        for first in range(0, len(present), step):
            days = present[first : first + step]
            yield merge([self._wide(self._read(f, days, None)) for f in files])

    def _wide(self, table: pa.Table) -> WideDays:
        names = set(table.column_names) - {"meter", "day", "edits"}
        per_day = len(names)
        if table.num_rows == 0:
            return WideDays(np.empty(0, object), np.empty(0, np.int32), np.empty((0, per_day), np.int64))
        stamp = np.ascontiguousarray(slot_stamps(table, list(range(per_day)), per_day).T)
        meters = np.array(table.column("meter").to_pylist(), dtype=object)
        return WideDays(meters, _days(table), stamp)

    def _read(self, file: DataFile, days: NDArray[np.integer], columns: list[str] | None) -> pa.Table:
        """The rows of a file on ``days``; dictionary-encoded meters."""
        groups = [n for n, (a, b) in enumerate(file.groups) if ((days >= a) & (days <= b)).any()]
        table = self._open(file).read_row_groups(groups, columns=columns, use_threads=False).unify_dictionaries()
        wanted = np.isin(_days(table), days)
        return table if wanted.all() else table.filter(pa.array(wanted))

    def _open(self, file: DataFile) -> pq.ParquetFile:
        path = self.folder / file.path
        try:
            return pq.ParquetFile(path, read_dictionary=["meter"])
        except FileNotFoundError as lost:
            raise StoreError(f"{path} is lost: the store's manifest names it and it is not there") from lost
        except pa.ArrowInvalid as broken:
            raise StoreError(f"{path} is damaged: {broken}") from broken

    def _write_file(self, table: str, bucket: int, parts: Iterable[WideDays]) -> DataFile:
        """Write one file under a name that nothing refers to yet."""
        name = f"{table}/b{bucket:03d}/{uuid.uuid4().hex}.parquet"
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        groups: list[tuple[int, int]] = []
        rows, edited = 0, False
        per_day = slots_per_day(int(table.rpartition("-")[2]))
        split = column_names(per_day)
        with pq.ParquetWriter(path, arrow_schema(per_day), use_byte_stream_split=split, **_WRITER) as writer:
            for part in parts:
                for first, last in _day_groups(part.day):
                    group, has_edits = to_arrow(part.take(np.arange(first, last)))
                    writer.write_table(group, row_group_size=max(group.num_rows, 1))
                    groups.append((int(part.day[first]), int(part.day[last - 1])))
                    rows += group.num_rows
                    edited |= has_edits
        with path.open("rb") as written:
            os.fsync(written.fileno())
        return DataFile(name, table, bucket, rows, tuple(groups), edited)

    def _sweep(self) -> None:
        """Remove data files that have been out of force for an hour."""
        live = {f.path for f in self._log.latest().files}
        for path in self.folder.glob("*/b*/*.parquet"):
            if path.relative_to(self.folder).as_posix() not in live:
                with contextlib.suppress(FileNotFoundError):  # another process sweeps too
                    if time.time() - path.stat().st_mtime > _ORPHAN_SECONDS:
                        path.unlink()


# With the bytes of a column side by side, the upper ones are nearly all zero: LZ4 then beats Zstandard over plain
# integers at half the time, written or read, and at less space.
_WRITER = {
    "compression": "lz4",
    "use_dictionary": ["meter"],
    "write_statistics": ["day"],
}


def table_name(register: Register, interval_minutes: int) -> str:
    """Folder of a register at an interval.

    >>> table_name(Register.IMPORT, 5)
    'import-5'
    """
    return f"{register}-{check_interval(interval_minutes)}"


def _days(table: pa.Table) -> NDArray[np.int32]:
    return np.asarray(table.column("day").cast(pa.int32()).to_numpy(), dtype=np.int32)


def _small_tail(files: list[DataFile]) -> list[DataFile]:
    """The smallest files, up to the first that is more than twice as large as all smaller ones together.

    So a reading is rewritten a few times over its life, not at every compaction.
    """
    by_size = sorted(files, key=lambda f: f.rows)
    taken, rows = by_size[:2], by_size[0].rows + by_size[1].rows
    for file in by_size[2:]:
        if file.rows > 2 * rows:
            break
        taken.append(file)
        rows += file.rows
    return taken


def _overlap(files: list[DataFile]) -> bool:
    """Whether some day may be in two of the files."""
    spans = sorted((f.first_day, f.last_day) for f in files)
    return any(b[0] <= a[1] for a, b in pairwise(spans))


def _day_groups(day: NDArray[np.int32]) -> Iterator[tuple[int, int]]:
    """Cut sorted rows into runs of whole days of at least ROW_GROUP_ROWS rows."""
    starts = np.flatnonzero(np.append(True, day[1:] != day[:-1])).tolist() if len(day) else []
    first = 0
    for start in [*starts[1:], len(day)]:
        if start - first >= ROW_GROUP_ROWS or start == len(day):
            if start > first:
                yield first, start
            first = start


def _scatter(
    out: NDArray[np.int32] | NDArray[np.int64],
    slots: NDArray[np.int64],
    per_day: int,
    wanted: list[int],
    table: pa.Table,
    at: NDArray[np.int64],
    values: list[NDArray[np.int32]] | list[NDArray[np.int64]],
) -> None:
    """Put a table's slot columns where ``slots`` wants them; the greater of two values stays."""
    column_of = {slot: n for n, slot in enumerate(wanted)}
    day, everyone = _days(table), np.arange(out.shape[2])
    runs = {int(day[a]): (a, b, _places(at[a:b], everyone)) for a, b in _runs(day)}
    for row, instants in enumerate(slots):
        for column, instant in enumerate(instants.tolist()):
            run = runs.get(instant // per_day)
            if run is None:
                continue
            first, last, places = run
            target, source = out[row, column], values[column_of[instant % per_day]][first:last]
            if places is None:
                np.maximum(target, source, out=target)
            else:
                known, meters = places
                target[meters] = np.maximum(target[meters], source[known])


def _places(at: NDArray[np.int64], everyone: NDArray[np.int64]) -> tuple[NDArray[np.intp], NDArray[np.int64]] | None:
    """Rows of wanted meters and where those stand; None when the rows are just the wanted meters in order."""
    if np.array_equal(at, everyone):
        return None
    known = np.flatnonzero(at >= 0)
    return known, at[known]


def _runs(day: NDArray[np.int32]) -> Iterator[tuple[int, int]]:
    edges = np.flatnonzero(np.append(True, day[1:] != day[:-1])).tolist() if len(day) else []
    return zip(edges, [*edges[1:], len(day)], strict=True)
