"""Files as columns of text or typed values, block by block, each row with the line it stands on.

Lines are counted over the file as it lies: CSV is cut at line ends before it is parsed, so a stray quote
can't swallow its neighbours, and what was read before a compressed file broke off is kept.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from ingest.rejects import Code, Reject
from ingest.streams import BrokenStreamError, UnreadableFileError, headline, kind_of, line_blocks

PARQUET_ROWS = 1 << 18


@dataclass(frozen=True)
class Block:
    """Some consecutive rows of a file.

    Attributes
    ----------
    lines : ndarray of int64, shape (n,)
        Where each row stands; a CSV file's header is line 1, a Parquet file's first row is row 1.
    columns : mapping of str to pyarrow.Array of length n
        The columns asked for: text from CSV, any type from Parquet.
    rejects : list of Reject
        Rows of the same stretch that couldn't be taken apart, or the place where the file broke off.
    read_share : float
        How much of the file was read so far, 0 to 1.
    """

    lines: NDArray[np.int64]
    columns: Mapping[str, pa.Array]
    rejects: list[Reject] = field(default_factory=list)
    read_share: float = 1.0


def is_parquet(path: Path) -> bool:
    """Whether the file is Parquet, by its first bytes or else by its name."""
    return kind_of(path) == ".parquet"


def header_of(path: Path) -> list[str]:
    """Names of the file's columns, stripped of blanks around them.

    Raises
    ------
    UnreadableFileError
        The file is missing or empty, or no header can be read.
    """
    if is_parquet(path):
        return list(_open_parquet(path).schema_arrow.names)
    try:
        for block, _ in line_blocks(path):
            return _split_header(path, block.split(b"\n", 1)[0])
    except BrokenStreamError as error:
        raise UnreadableFileError(path, error.problem) from error
    raise UnreadableFileError(path, "is empty: not even a header")


def read_blocks(path: Path, wanted: Sequence[str]) -> Iterator[Block]:
    """Yield the file's rows in order, as columns ``wanted`` (each in the header exactly once).

    The last block tells by a ``file.truncated`` reject if the file broke off; nothing is raised then.
    """
    return _parquet_blocks(path, wanted) if is_parquet(path) else _csv_blocks(path, wanted)


# --- Parquet ---------------------------------------------------------------------------------------------


def _open_parquet(path: Path) -> pyarrow.parquet.ParquetFile:
    try:
        return pyarrow.parquet.ParquetFile(path, memory_map=True)
    except (pa.ArrowException, OSError) as error:
        raise UnreadableFileError(path, f"not a whole Parquet file: {headline(error)}") from error


def parquet_rows(path: Path) -> int:
    """Rows that a Parquet file says it has."""
    with _open_parquet(path) as file:
        return int(file.metadata.num_rows)


def _parquet_blocks(path: Path, wanted: Sequence[str]) -> Iterator[Block]:
    with _open_parquet(path) as file:
        total = max(1, file.metadata.num_rows)
        row = 1
        batches = file.iter_batches(batch_size=PARQUET_ROWS, columns=list(wanted), use_threads=False)
        while True:
            try:
                batch = next(batches, None)
            except (pa.ArrowException, OSError) as error:
                problem = f"the file is damaged from this row on: {headline(error)}"
                yield _broken(path, row, "", problem)
                return
            if batch is None:
                return
            lines = np.arange(row, row + batch.num_rows)
            row += batch.num_rows
            yield Block(lines, {name: batch.column(name) for name in wanted}, [], (row - 1) / total)


# --- CSV -------------------------------------------------------------------------------------------------


def _csv_blocks(path: Path, wanted: Sequence[str]) -> Iterator[Block]:
    header: list[str] = []
    line = 1
    blocks = line_blocks(path)
    while True:
        try:
            block, share = next(blocks, (None, 1.0))
        except BrokenStreamError as error:
            yield _broken(path, line, error.rest.decode("utf-8", "replace"), error.problem)
            return
        if block is None:
            return
        if not header:
            first, _, block = block.partition(b"\n")
            header = _split_header(path, first)
            line = 2
        if not block:
            continue
        parser = _CsvParser(str(path), header, wanted)
        parser.parse(block, line)
        line += block.count(b"\n") + (not block.endswith(b"\n"))
        yield parser.block(share)


class _CsvParser:
    """Takes complete lines apart into the wanted columns, keeping count of the lines."""

    def __init__(self, file: str, header: Sequence[str], wanted: Sequence[str]) -> None:
        self._file, self._header = file, header
        names = [f"c{i}" for i in range(len(header))]
        self._wanted = {name: names[header.index(name)] for name in wanted}
        self._read = pyarrow.csv.ReadOptions(use_threads=False, column_names=names)
        self._convert = pyarrow.csv.ConvertOptions(
            column_types={name: pa.string() for name in self._wanted.values()},
            include_columns=list(self._wanted.values()),
            strings_can_be_null=False,
        )
        self._tables: list[pa.Table] = []
        self._lines: list[NDArray[np.int64]] = []
        self._rejects: list[Reject] = []

    def block(self, read_share: float) -> Block:
        """Everything parsed, as one block."""
        if not self._tables:
            columns = {name: pa.array([], pa.string()) for name in self._wanted}
            return Block(np.empty(0, np.int64), columns, self._rejects, read_share)
        table = pa.concat_tables(self._tables).combine_chunks()
        columns = {name: _one_array(table.column(inner)) for name, inner in self._wanted.items()}
        return Block(np.concatenate(self._lines), columns, self._rejects, read_share)

    def parse(self, text: bytes, first_line: int) -> None:
        """Parse complete lines; halve the text around whatever the parser can't take line by line."""
        count = text.count(b"\n") + (not text.endswith(b"\n"))
        last = text[text.rfind(b"\n", 0, len(text) - 1) + 1 :]
        table, bad = None, dict[int, pyarrow.csv.InvalidRow]()
        if last.count(b'"') % 2 == 0:
            table, bad = self._try(text)
        if table is None or table.num_rows + len(bad) != count:
            self._halve(text, first_line, count)
            return
        lines = np.arange(first_line, first_line + count)
        if bad:
            lines = np.delete(lines, [number - 1 for number in bad])
            for number, row in bad.items():
                reason = f"{row.actual_columns} columns where the header has {row.expected_columns}"
                self._malformed(first_line + number - 1, row.text, reason)
        table, lines = _without_blank_lines(table, lines, text, first_line)
        self._tables.append(table)
        self._lines.append(lines)

    def _try(self, text: bytes) -> tuple[pa.Table | None, dict[int, pyarrow.csv.InvalidRow]]:
        bad: dict[int, pyarrow.csv.InvalidRow] = {}

        def note(row: pyarrow.csv.InvalidRow) -> str:
            bad[row.number] = row
            return "skip"

        parse = pyarrow.csv.ParseOptions(ignore_empty_lines=False, invalid_row_handler=note)
        self._read.block_size = len(text) + 1
        try:
            table = pyarrow.csv.read_csv(pa.BufferReader(text), self._read, parse, self._convert)
        except pa.ArrowInvalid:
            return None, {}
        return table, bad

    def _halve(self, text: bytes, first_line: int, count: int) -> None:
        if count == 1:
            odd = text.count(b'"') % 2
            reason = "a quote is opened and never closed" if odd else "not readable as one row of UTF-8 text"
            self._malformed(first_line, text.rstrip(b"\r\n").decode("utf-8", "replace"), reason)
            return
        middle = text.find(b"\n", len(text) // 2) + 1
        if middle in (0, len(text)):
            middle = text.rfind(b"\n", 0, len(text) // 2 + 1) + 1 or text.find(b"\n") + 1
        self.parse(text[:middle], first_line)
        self.parse(text[middle:], first_line + text.count(b"\n", 0, middle))

    def _malformed(self, line: int, text: str, reason: str) -> None:
        self._rejects.append(Reject(self._file, line, "", "", text, Code.ROW_MALFORMED, reason))


def _without_blank_lines(
    table: pa.Table, lines: NDArray[np.int64], text: bytes, first_line: int
) -> tuple[pa.Table, NDArray[np.int64]]:
    """Drop the rows of lines that hold nothing at all; a line of commas is a row, and stays."""
    if not pc.any(pc.equal(table.column(0), "")).as_py():
        return table, lines
    blank = np.array([not line.strip() for line in text.split(b"\n")])
    keep = ~blank[lines - first_line]
    return table.filter(pa.array(keep)), lines[keep]


def _one_array(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _split_header(path: Path, line: bytes) -> list[str]:
    try:
        text = line.decode("utf-8-sig").rstrip("\r")
    except UnicodeDecodeError as error:
        raise UnreadableFileError(path, "the header isn't UTF-8 text") from error
    if not text.isprintable() and "\t" not in text:
        raise UnreadableFileError(path, "the header isn't text")
    names = [name.strip() for name in next(csv.reader([text]), [])]
    if not any(names):
        raise UnreadableFileError(path, "is empty: not even a header")
    return names


def _broken(path: Path, line: int, value: str, problem: str) -> Block:
    reject = Reject(str(path), line, "", "", value, Code.FILE_TRUNCATED, problem)
    return Block(np.empty(0, np.int64), {}, [reject])
