"""Accepted rows on disk between reading and publishing, for an import may still turn out to fail."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ingest.checks import AcceptedRows
from ingest.duplicates import Deduplicated, deduplicate

PARTITION_ROWS = 4_000_000
"""Rows that one partition is meant to hold: what is sorted in memory at once."""

MAX_PARTITIONS = 256
_COLUMNS = tuple(field.name for field in fields(AcceptedRows))
_SCHEMA = pa.schema(
    [
        ("line", pa.int64()),
        ("meter", pa.int32()),
        ("slot", pa.int64()),
        ("import_wh", pa.int32()),
        ("export_wh", pa.int32()),
        ("quality", pa.int8()),
        ("revision", pa.int16()),
        ("file", pa.int32()),
    ]
)


@dataclass(frozen=True)
class SpooledRows:
    """Rows of a partition, and the number of the file that each came from."""

    rows: AcceptedRows
    file: NDArray[np.int32]

    def take(self, at: NDArray[np.intp]) -> SpooledRows:
        """The rows at the positions ``at``."""
        columns = (getattr(self.rows, name)[at] for name in _COLUMNS)
        return SpooledRows(AcceptedRows(*columns), self.file[at])


class Spool:
    """A folder of Arrow files, one for each partition of the meters. Closing it deletes it.

    All rows of a meter lie in one partition, so that duplicates are found by looking at one at a time.
    """

    def __init__(self, folder: Path, expected_rows: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = tempfile.TemporaryDirectory(prefix="import-", dir=folder)
        self.partitions = min(MAX_PARTITIONS, expected_rows // PARTITION_ROWS + 1)
        self._writers = [self._writer(number) for number in range(self.partitions)]

    def _path(self, number: int) -> str:
        return str(Path(self._folder.name) / f"{number}.arrow")

    def _writer(self, number: int) -> pa.ipc.RecordBatchFileWriter:
        return pa.ipc.new_file(self._path(number), _SCHEMA)

    def add(self, rows: AcceptedRows, file: int) -> None:
        """Append the rows that came from file number ``file``."""
        if len(rows) == 0:
            return
        spooled = SpooledRows(rows, np.full(len(rows), file, np.int32))
        if self.partitions == 1:
            _write(self._writers[0], spooled)
            return
        partition = rows.meter % self.partitions
        order = np.argsort(partition, kind="stable")
        bounds = np.searchsorted(partition[order], np.arange(self.partitions + 1))
        for number in np.flatnonzero(np.diff(bounds)):
            _write(self._writers[number], spooled.take(order[bounds[number] : bounds[number + 1]]))

    def settle(self) -> Iterator[tuple[SpooledRows, Deduplicated]]:
        """End the writing; take repeats and conflicts out of each partition and yield what was found.

        The rows yielded are those before, so that the positions in the finding mean something.
        """
        for writer in self._writers:
            writer.close()
        for number in range(self.partitions):
            spooled = self._read(number)
            found = deduplicate(spooled.rows)
            if found.keep is not None:
                with self._writer(number) as writer:
                    _write(writer, spooled.take(found.keep))
            yield spooled, found

    def batches(self, max_rows: int) -> Iterator[AcceptedRows]:
        """The rows that are left, partition by partition."""
        for number in range(self.partitions):
            rows = self._read(number).rows
            for start in range(0, len(rows), max_rows):
                yield AcceptedRows(*(getattr(rows, name)[start : start + max_rows] for name in _COLUMNS))

    def _read(self, number: int) -> SpooledRows:
        with pa.OSFile(self._path(number)) as source:
            table = pa.ipc.open_file(source).read_all()
        columns = {name: table.column(name).to_numpy() for name in _SCHEMA.names}
        file = columns.pop("file")
        return SpooledRows(AcceptedRows(**columns), file)

    def close(self) -> None:
        """Delete the files."""
        for writer in self._writers:
            writer.close()
        self._folder.cleanup()


def _write(writer: pa.ipc.RecordBatchFileWriter, spooled: SpooledRows) -> None:
    arrays = [pa.array(getattr(spooled.rows, name)) for name in _COLUMNS] + [pa.array(spooled.file)]
    writer.write_batch(pa.record_batch(arrays, schema=_SCHEMA))
