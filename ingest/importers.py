"""Import files of readings: a row becomes a reading or a reject with a reason; none is lost between."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from domain.errors import NegawattError, TooManyRejectsError
from domain.intervals import slot_start
from domain.readings import MISSING, Readings
from ingest.checks import AcceptedRows, MeterNames, RowChecker
from ingest.columns import Columns, layout_of
from ingest.rejects import Code, Reject, RejectsFile
from ingest.sources import header_of, is_parquet, parquet_rows, read_blocks
from ingest.spool import Spool, SpooledRows
from ingest.steps import detect_interval
from ingest.streams import UnreadableFileError

BATCH_READINGS = 2_000_000
"""No batch that an import yields holds more readings."""

Progress = Callable[[Path, int, float], None]
"""Told the file, the rows read of it so far, and how much of the file that is, 0 to 1."""

_LEAST_ROW_BYTES = {".gz": 2, ".bz2": 2, ".zst": 2}


@dataclass(frozen=True)
class FileChunk:
    """Some consecutive rows of a file, sorted out.

    Attributes
    ----------
    rows : AcceptedRows
        Those that passed; their meter numbers refer to the `MeterNames` given to `read_file`.
    rejects : list of Reject
        Those that didn't.
    read_share : float
        How much of the file was read so far, 0 to 1.
    """

    rows: AcceptedRows
    rejects: list[Reject]
    read_share: float


def read_file(
    path: Path,
    columns: Columns | None = None,
    *,
    meters: MeterNames,
    interval_minutes: int | None = None,
    now: datetime | None = None,
) -> Iterator[FileChunk]:
    """Read one file and check each row by itself; duplicates are for `import_files` to find.

    Parameters
    ----------
    path : Path
        CSV, plain or compressed (.gz, .bz2, .zst), or Parquet.
    columns : Columns, optional
        What the columns mean; by default recognised from the header.
    meters : MeterNames
        Numbers the meters; shared by the files of a run.
    interval_minutes : int, optional
        Length of the intervals; by default as ``columns`` says or as the file shows. [min]
    now : datetime, optional
        Reject intervals that end after this instant.

    Raises
    ------
    UnreadableFileError
        Not even a header could be read.
    UnknownLayoutError
        The header isn't what ``columns`` says, or unknown.
    NegawattError
        The file doesn't show its interval.
    """
    columns = columns or layout_of(path)
    columns.check_header(path, header_of(path))
    minutes = interval_minutes or columns.interval_minutes or detect_interval(path, columns)
    if minutes is None:
        raise _unknown_interval([path])
    checker = RowChecker(str(path), columns, minutes, meters, now)
    for block in read_blocks(path, columns.used):
        rows, rejects = checker.check(block)
        yield FileChunk(rows, rejects, block.read_share)


@dataclass
class ImportSummary:
    """What an import read, and the readings it accepted. Close it, or leave its context, to free the disk.

    Attributes
    ----------
    rows : int
        Rows read: always accepted + repeated + rejected.
    accepted, repeated, rejected : int
        Rows that became readings, that only repeated another row, and that were refused.
    rejected_by_code : dict of str to int
    meters : int
        Meters with an accepted row.
    interval_minutes : int
        [min]
    first_start, last_end : datetime or None
        UTC bounds of the accepted readings; None without any.
    rejects_path : Path
        The file of the refused rows.
    """

    rows: int
    accepted: int
    repeated: int
    rejected: int
    rejected_by_code: dict[str, int]
    meters: int
    interval_minutes: int
    first_start: datetime | None
    last_end: datetime | None
    rejects_path: Path
    _spool: Spool = field(repr=False)
    _names: NDArray[np.object_] = field(repr=False)

    def batches(self) -> Iterator[Readings]:
        """The accepted readings: import before export, in batches of at most `BATCH_READINGS`."""
        for rows in self._spool.batches(BATCH_READINGS):
            yield from rows.readings(self._names, self.interval_minutes)

    def close(self) -> None:
        """Delete the spooled readings."""
        self._spool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def import_files(
    paths: Sequence[Path],
    columns: Columns | None = None,
    *,
    spool_dir: Path,
    rejects_path: Path,
    known_meters: frozenset[str] | None = None,
    max_rejects_pct: float = 1.0,
    now: datetime | None = None,
    progress: Progress | None = None,
) -> ImportSummary:
    """Read files whole, keep what is sound, and say what isn't.

    Nothing is published here: the summary's batches can be had only once every row was read and judged.

    Parameters
    ----------
    paths : sequence of Path
        The files of one run; contradicting rows are found across them.
    columns : Columns, optional
        For all files; by default each file's layout is recognised from its header.
    spool_dir : Path
        Where accepted rows wait, about 40 bytes each.
    rejects_path : Path
        CSV file for the rejects, written even when the run fails.
    known_meters : frozenset of str, optional
        Reject rows of any other meter.
    max_rejects_pct : float
        The run fails when more of the rows are rejected. [%]
    now : datetime, optional
        Reject intervals that end after this instant.
    progress : callable, optional
        See `Progress`.

    Raises
    ------
    TooManyRejectsError
        More rows were rejected than ``max_rejects_pct`` allows.
    UnknownLayoutError
        A header isn't known. No file was read.
    NegawattError
        A file has no rows, files differ in interval, or no interval can be found.
    """
    run = _Run(MeterNames(known_meters), now, progress)
    with RejectsFile(rejects_path) as rejects, ExitStack() as on_failure:
        files = run.plan([Path(path) for path in paths], columns, rejects)
        spool = Spool(spool_dir, sum(map(_expected_rows, files)))
        on_failure.callback(spool.close)
        for number, (path, layout) in enumerate(files.items()):
            run.read(path, number, layout, spool, rejects)
        summary = run.settle(list(files), spool, rejects)
        share = 100 * summary.rejected / summary.rows
        if share > max_rejects_pct:
            raise TooManyRejectsError(summary.rejected, summary.rows, max_rejects_pct, str(rejects_path))
        on_failure.pop_all()
    return summary


class _Run:
    """One import on its way."""

    def __init__(self, meters: MeterNames, now: datetime | None, progress: Progress | None) -> None:
        self._meters, self._now, self._progress = meters, now, progress
        self._minutes = 0
        self._rows = 0

    def plan(self, paths: list[Path], columns: Columns | None, rejects: RejectsFile) -> dict[Path, Columns]:
        """The layout of each readable file, after a look at every header; the unreadable become rejects."""
        files: dict[Path, Columns] = {}
        problems: list[str] = []
        for path in dict.fromkeys(paths):
            if not path.is_file():
                raise NegawattError(f"{path}: no such file")
            if path.stat().st_size == 0:
                raise NegawattError(f"{path}: no readings: the file is empty")
            try:
                found = header_of(path)
            except UnreadableFileError as error:
                problems.append(str(error))
                rejects.add([Reject(str(path), 0, "", "", "", Code.FILE_UNREADABLE, error.problem)])
                self._rows += 1
                continue
            files[path] = columns or layout_of(path)
            files[path].check_header(path, found)
        if not files:
            raise NegawattError(f"nothing to import: {'; '.join(problems) or 'no files were named'}")
        self._minutes = _common_interval(files)
        return files

    def read(self, path: Path, number: int, columns: Columns, spool: Spool, rejects: RejectsFile) -> None:
        """Spool the sound rows of one file and write down the others."""
        rows = 0
        chunks = read_file(path, columns, meters=self._meters, interval_minutes=self._minutes, now=self._now)
        for chunk in chunks:
            spool.add(chunk.rows, number)
            rejects.add(chunk.rejects)
            rows += len(chunk.rows) + len(chunk.rejects)
            if self._progress:
                self._progress(path, rows, chunk.read_share)
        if rows == 0:
            raise NegawattError(f"{path}: no readings: the file holds only a header")
        self._rows += rows

    def settle(self, paths: list[Path], spool: Spool, rejects: RejectsFile) -> ImportSummary:
        """Take out repeats and conflicts, and sum up."""
        accepted = repeated = 0
        slots: list[int] = []
        seen = np.zeros(len(self._meters.names), np.bool_)
        for spooled, found in spool.settle():
            conflicts = _Conflicts(spooled, paths, self._meters.names, self._minutes)
            rejects.add(conflicts.reject(row, other) for row, other in found.conflicts.tolist())
            repeated += found.repeated
            kept = slice(None) if found.keep is None else found.keep
            slot = spooled.rows.slot[kept]
            accepted += len(slot)
            seen[spooled.rows.meter[kept]] = True
            slots += [int(slot.min()), int(slot.max())] if len(slot) else []
        return ImportSummary(
            rows=self._rows,
            accepted=accepted,
            repeated=repeated,
            rejected=rejects.count,
            rejected_by_code=dict(sorted(rejects.by_code.items())),
            meters=int(seen.sum()),
            interval_minutes=self._minutes,
            first_start=slot_start(min(slots), self._minutes) if slots else None,
            last_end=slot_start(max(slots) + 1, self._minutes) if slots else None,
            rejects_path=rejects.path,
            _spool=spool,
            _names=self._meters.as_array(),
        )


@dataclass(frozen=True)
class _Conflicts:
    """Names both sides of a conflict."""

    spooled: SpooledRows
    paths: list[Path]
    names: list[str]
    minutes: int

    def reject(self, row: int, other: int) -> Reject:
        rows = self.spooled.rows
        file, other_file = (str(self.paths[self.spooled.file[at]]) for at in (row, other))
        line, other_line = int(rows.line[row]), int(rows.line[other])
        where = f"line {other_line}" if file == other_file else f"line {other_line} of {other_file}"
        return Reject(
            file,
            line,
            self.names[rows.meter[row]],
            slot_start(int(rows.slot[row]), self.minutes).isoformat(),
            self._energy(row),
            Code.DUPLICATE_CONFLICT,
            f"{where} says {self._energy(other)} for the same reading",
        )

    def _energy(self, at: int) -> str:
        exported = self.spooled.rows.export_wh[at]
        text = f"{self.spooled.rows.import_wh[at]} Wh"
        return text if exported == MISSING else f"{text} in, {exported} Wh out"


def _common_interval(files: dict[Path, Columns]) -> int:
    """The interval that all the files share; one too short to show its own takes the others'."""
    shown: dict[int, Path] = {}
    for path, columns in files.items():
        minutes = columns.interval_minutes or detect_interval(path, columns)
        if minutes is not None:
            shown.setdefault(minutes, path)
    if len(shown) > 1:
        which = ", ".join(f"{minutes} minutes in {path}" for minutes, path in shown.items())
        raise NegawattError(f"files of one import must share their interval; found {which}")
    if not shown:
        raise _unknown_interval(files)
    return next(iter(shown))


def _unknown_interval(paths: Iterable[Path]) -> NegawattError:
    which = ", ".join(map(str, paths))
    return NegawattError(f"{which}: no meter was read twice, so the interval is unknown; give interval_minutes")


def _expected_rows(path: Path) -> int:
    """A generous guess, to choose the number of partitions."""
    if is_parquet(path):
        return parquet_rows(path)
    return path.stat().st_size // _LEAST_ROW_BYTES.get(path.suffix.lower(), 25)
