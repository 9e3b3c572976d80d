"""Rows that come in over Thrift, in any of its three forms, as Arrow that DuckDB reads where it lies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa

from infra.heavydb.dialect import quote
from infra.heavydb.errors import StatementError
from infra.heavydb.sql_types import BIGINT, BOOL, DATE, DIGITS, DOUBLE, INT, NULL, TEXT, SqlType, decimal
from infra.heavydb.typed import Typed, fit

_PLAIN = {
    pa.int8(): SqlType("TINYINT"),
    pa.int16(): SqlType("SMALLINT"),
    pa.uint8(): SqlType("SMALLINT"),
    pa.int32(): INT,
    pa.uint16(): INT,
    pa.int64(): BIGINT,
    pa.uint32(): BIGINT,
    pa.float32(): SqlType("FLOAT"),
    pa.float64(): DOUBLE,
    pa.bool_(): BOOL,
    pa.string(): TEXT,
    pa.large_string(): TEXT,
    pa.date32(): DATE,
    pa.date64(): DATE,
    pa.null(): NULL,
}
_PRECISIONS = {"s": 0, "ms": 3, "us": 6, "ns": 9}
_UNITS = {precision: unit for unit, precision in _PRECISIONS.items()}


@dataclass(frozen=True)
class Incoming:
    """Rows for a table.

    Attributes
    ----------
    rows : pa.Table
        Columns are called c0, c1, …
    types : list of SqlType
        Of its columns.
    names : list of str
        The table's columns that they go to; all of them in order when empty.
    as_text : bool
        Values are spelt out: a text that reads as a number is one.
    """

    rows: pa.Table
    types: list[SqlType]
    names: list[str] = field(default_factory=list)
    as_text: bool = False

    def value(self, place: int, column: SqlType, name: str) -> str:
        """A column of ours as the table's column takes it.

        Raises
        ------
        StatementError
            Values of this type don't go there.
        """
        have = self.types[place]
        families = _family(have), _family(column)
        reads = families[0] == families[1] or have.kind == "NULL"
        reads = reads or (families == ("whole", "real")) or self.as_text
        if not reads:
            raise StatementError(f"column {name} is {column.declared} and can't be loaded from {have.declared}")
        return fit(Typed(quote(f"c{place}"), have), column, name)


def from_arrow(stream: bytes, *, use_names: bool) -> Incoming:
    """Rows in Arrow's streaming form; they stay where they lie.

    Raises
    ------
    StatementError
        It isn't that, or has types that we have no column for.
    """
    try:
        rows = pa.ipc.open_stream(pa.py_buffer(stream)).read_all()
    except pa.ArrowInvalid as broken:
        raise StatementError(f"the Arrow stream can't be read: {broken}") from broken
    names = rows.column_names if use_names else []
    columns = [_plain(column) for column in rows.columns]
    types = [_type_of(column.type, name) for column, name in zip(columns, rows.column_names, strict=True)]
    return Incoming(_numbered(columns), types, names)


def from_columns(columns: Sequence[Any], fields: list[tuple[str, SqlType]], names: list[str]) -> Incoming:
    """Rows as Thrift's columns of whole numbers, doubles or text, with a flag a value that is NULL.

    Parameters
    ----------
    fields : list of (str, SqlType)
        The table's, in the order of the columns.

    Raises
    ------
    StatementError
        Another number of columns, or of values in them.
    """
    if len(columns) != len(fields):
        raise StatementError(f"expected {len(fields)} columns, got {len(columns)}")
    made, types = list[pa.Array](), list[SqlType]()
    for column, (name, kind) in zip(columns, fields, strict=True):
        if column.data.arr_col:
            raise StatementError(f"column {name}: arrays aren't supported")
        nulls = np.asarray(column.nulls, dtype=bool)
        array, have = _one_column(column.data, kind, nulls)
        made.append(array)
        types.append(have)
    if len({len(array) for array in made}) > 1:
        raise StatementError("the columns have different lengths")
    return Incoming(_numbered([pa.chunked_array([array]) for array in made]), types, names)


def from_rows(rows: Sequence[Any], names: list[str]) -> Incoming:
    """Rows as Thrift's rows of text."""
    widths = {len(row.cols) for row in rows}
    if len(widths) > 1:
        raise StatementError("the rows have different numbers of values")
    count = widths.pop() if widths else 0
    columns = [
        pa.chunked_array(
            [pa.array([None if row.cols[n].is_null else row.cols[n].str_val for row in rows], pa.string())]
        )
        for n in range(count)
    ]
    return Incoming(_numbered(columns), [TEXT] * count, names, as_text=True)


def _one_column(data: Any, kind: SqlType, nulls: np.ndarray) -> tuple[pa.Array, SqlType]:
    """Values of a Thrift column, and their type."""
    if kind.kind == "STR":
        texts = _as_many(data.str_col, nulls)
        return pa.array([None if null else text for text, null in zip(texts, nulls, strict=True)], pa.string()), TEXT
    if kind.kind in ("FLOAT", "DOUBLE"):
        return pa.array(np.asarray(_as_many(data.real_col, nulls), dtype=np.float64), mask=nulls), DOUBLE
    numbers = np.where(nulls, 0, np.asarray(_as_many(data.int_col, nulls), dtype=np.int64))
    if kind.kind in ("TIMESTAMP", "DATE"):
        return _times(numbers, kind, nulls), kind.bare
    if kind.kind == "BOOL":
        return pa.array(numbers != 0, mask=nulls), BOOL
    if kind.kind == "DECIMAL":
        exact = [
            None if null else Decimal(int(n)).scaleb(-kind.scale) for n, null in zip(numbers, nulls, strict=True)
        ]
        return pa.array(exact, pa.decimal128(DIGITS, kind.scale)), decimal(DIGITS, kind.scale)
    return pa.array(numbers, mask=nulls), BIGINT


def _as_many(values: list[Any] | None, nulls: np.ndarray) -> list[Any]:
    """Values of which there are as many as flags. Raises StatementError."""
    if len(values or []) != len(nulls):
        raise StatementError(f"a column has {len(values or [])} values of its type for {len(nulls)} rows")
    return values or []


def _times(numbers: np.ndarray, kind: SqlType, nulls: np.ndarray) -> pa.Array:
    """Times counted in the column's own unit; dates in seconds."""
    if kind.kind == "DATE":
        return pa.array((numbers // 86_400).astype(np.int32), mask=nulls).cast(pa.date32())
    return pa.array(numbers, mask=nulls).cast(pa.timestamp(_UNITS[kind.precision]))


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Without dictionaries and time zones: HeavyDB's times are UTC and say nothing of it."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_timestamp(column.type) and column.type.tz is not None:
        column = column.cast(pa.timestamp(column.type.unit))
    return column


def _type_of(kind: pa.DataType, name: str) -> SqlType:
    if kind in _PLAIN:
        return _PLAIN[kind]
    if pa.types.is_timestamp(kind):
        return SqlType("TIMESTAMP", _PRECISIONS[kind.unit])
    if pa.types.is_decimal(kind) and kind.precision <= 18:
        return decimal(kind.precision, kind.scale)
    if pa.types.is_time(kind):
        return SqlType("TIME")
    raise StatementError(f"column {name}: Arrow's {kind} can't be loaded")


def _family(kind: SqlType) -> str:
    if kind.is_integer:
        return "whole"
    if kind.is_number:
        return "real"
    return {"DATE": "time", "TIMESTAMP": "time"}.get(kind.kind, kind.kind)


def _numbered(columns: list[pa.ChunkedArray]) -> pa.Table:
    return pa.table(columns, names=[f"c{n}" for n in range(len(columns))])
