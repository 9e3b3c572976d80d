"""The speed store's tables: the same names and columns in every store, types in HeavyDB's words.

A reading of the table ``readings_import_5`` is a row of meter, start, energy and what stands behind it. Where a store
can't replace a row cheaply it adds one that corrects it, so the energy of a meter at ``ts`` is SUM(wh), and it was
reported when SUM(n) = 1.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from domain.errors import StoreError
from domain.intervals import check_interval
from domain.readings import Quality, Register

METERS = "meters"
METER_COLUMNS = {"id": "INTEGER", "name": "TEXT ENCODING DICT(32)"}

READING_COLUMNS = {
    "meter": "INTEGER",
    "ts": "TIMESTAMP(0) ENCODING FIXED(32)",
    "wh": "INTEGER",
    "quality": "TINYINT",
    "revision": "SMALLINT",
    "n": "TINYINT",
}
"""Meter's number, start of the interval in UTC, energy, `Quality`, revision, and 1 for the first row of a reading."""

READING_SCHEMA = pa.schema(
    [
        ("meter", pa.int32()),
        ("ts", pa.timestamp("s")),
        ("wh", pa.int32()),
        ("quality", pa.int8()),
        ("revision", pa.int16()),
        ("n", pa.int8()),
    ]
)

_DUCKDB_TYPES = {
    "TEXT": "VARCHAR",
    "TIMESTAMP(0)": "TIMESTAMP",
    "TIMESTAMP": "TIMESTAMP",
    "INT": "INTEGER",
} | {name: name for name in ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "FLOAT", "DOUBLE", "BOOLEAN", "DATE")}
_ENCODING = re.compile(r"\s+ENCODING\s+(DICT|FIXED|DAYS)\s*\(\s*\d+\s*\)$|\s+ENCODING\s+NONE$", re.IGNORECASE)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def readings_table(register: Register, interval_minutes: int) -> str:
    """Name of the table of a register at an interval.

    >>> readings_table(Register.IMPORT, 5)
    'readings_import_5'
    """
    return f"readings_{readings_view(register, interval_minutes)}"


def readings_view(register: Register, interval_minutes: int) -> str:
    """Name of the view that shows a register at an interval with meters' names and a row a reading."""
    return f"{register.value}_{check_interval(interval_minutes)}"


def view_sql(register: Register, interval_minutes: int) -> str:
    """The query of that view. Of several rows of a reading the one of highest revision, then quality, counts."""
    table = readings_table(register, interval_minutes)
    return f"""SELECT m.name AS meter, r.ts AS interval_start, CAST(SUM(r.wh) AS BIGINT) AS wh,
 CASE MOD(MAX(CAST(r.revision AS INTEGER) * 4 + r.quality), 4)
 WHEN {int(Quality.ACTUAL)} THEN 'actual' ELSE 'estimated' END AS quality,
 MAX(r.revision) AS revision
 FROM {table} r JOIN {METERS} m ON r.meter = m.id GROUP BY m.name, r.ts"""  # noqa: S608  names of our own


def checked_name(name: str) -> str:
    """Return ``name`` if it can name a table or a column without quotes.

    Raises
    ------
    StoreError
    """
    if not _NAME.fullmatch(name):
        raise StoreError(f"{name!r} can't name a table or a column: expected letters, digits and _, no digit first")
    return name


def duckdb_type(heavydb_type: str) -> str:
    """A column's type in DuckDB's words.

    >>> duckdb_type("TIMESTAMP(0) ENCODING FIXED(32)"), duckdb_type("TEXT ENCODING DICT(16)")
    ('TIMESTAMP', 'VARCHAR')

    Raises
    ------
    StoreError
        A type that the two stores don't share.
    """
    plain = _ENCODING.sub("", heavydb_type.strip()).upper()
    if re.fullmatch(r"DECIMAL\(\s*\d+\s*,\s*\d+\s*\)", plain):
        return plain
    if plain not in _DUCKDB_TYPES:
        raise StoreError(
            f"column type {heavydb_type!r}: expected one of {', '.join(_DUCKDB_TYPES)}, with an encoding"
        )
    return _DUCKDB_TYPES[plain]


def row_bytes(columns: Mapping[str, str]) -> int:
    """Bytes that HeavyDB keeps of a row: each column at its fixed width, and one that marks deleted rows.

    >>> row_bytes(READING_COLUMNS)
    17

    Raises
    ------
    StoreError
        A type whose width we don't know.
    """
    return 1 + sum(_width(kind) for kind in columns.values())


def _width(heavydb_type: str) -> int:
    encoded = re.search(r"ENCODING\s+(?:FIXED|DAYS|DICT)\s*\(\s*(\d+)\s*\)$", heavydb_type, re.IGNORECASE)
    if encoded:
        return int(encoded.group(1)) // 8
    widths = {"TINYINT": 1, "BOOLEAN": 1, "SMALLINT": 2, "INTEGER": 4, "INT": 4, "FLOAT": 4, "BIGINT": 8, "DOUBLE": 8}
    plain_type = heavydb_type.strip().upper()
    if plain_type.startswith("TIMESTAMP"):
        return 8
    if plain_type not in widths:
        raise StoreError(f"column type {heavydb_type!r}: its width isn't known")
    return widths[plain_type]


def starts_of(slots: NDArray[np.int64], interval_minutes: int) -> NDArray[np.datetime64]:
    """Start of each interval in UTC, to the second.

    >>> starts_of(np.array([48]), 30).tolist()
    [datetime.datetime(1970, 1, 2, 0, 0)]
    """
    return (slots * (interval_minutes * 60)).astype("datetime64[s]")


def slots_of(starts: NDArray[np.datetime64], interval_minutes: int) -> NDArray[np.int64]:
    """Interval numbers of starts, the other way round."""
    return np.asarray(starts.astype("datetime64[s]").astype(np.int64) // (interval_minutes * 60))


def literal(slot: int, interval_minutes: int) -> str:
    """Start of an interval as SQL has it.

    >>> literal(48, 30)
    "TIMESTAMP '1970-01-02 00:00:00'"
    """
    start = starts_of(np.array([slot], dtype=np.int64), interval_minutes)[0]
    return f"TIMESTAMP '{str(start).replace('T', ' ')}'"


def plain(answer: pa.Table) -> pa.Table:
    """An answer in the types that every store gives: no dictionaries or wide decimals, times to the second in UTC."""
    columns: dict[str, pa.ChunkedArray] = {}
    for field, column in zip(answer.schema, answer.columns, strict=True):
        columns[field.name] = column if (kind := _plain_type(field.type)) == field.type else column.cast(kind)
    if len(columns) < answer.num_columns:
        raise StoreError(f"two columns of one name in {answer.column_names}: name them apart by AS")
    return pa.table(columns) if columns else answer


def _plain_type(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_large_string(kind):
        return pa.string()
    if pa.types.is_timestamp(kind):
        return pa.timestamp("s")
    if pa.types.is_decimal(kind):
        return pa.float64() if kind.scale else pa.int64()
    return kind
