"""Results as Thrift sends them: in its own columns, or as an Arrow stream."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from heavydb.common.ttypes import TDatumType, TEncodingType, TTypeInfo
from heavydb.thrift.ttypes import TColumn, TColumnData, TColumnType

from infra.heavydb.database import Answer
from infra.heavydb.errors import StatementError, told_as_heavydb
from infra.heavydb.sql_types import SqlType

LARGEST_RESULT = 2**30
"""Of a result in one answer. [bytes]"""
MOST_VALUES = 10_000_000
"""Of a result in Thrift's own columns, where each is a Python object of its own on the way."""
_ARROW = {
    "TINYINT": pa.int8(),
    "SMALLINT": pa.int16(),
    "INT": pa.int32(),
    "BIGINT": pa.int64(),
    "FLOAT": pa.float32(),
    "DOUBLE": pa.float64(),
    "BOOL": pa.bool_(),
    "DATE": pa.date32(),
    "TIME": pa.time64("us"),
    "STR": pa.string(),
    "NULL": pa.int32(),
}
_DICTIONARY = pa.dictionary(pa.int32(), pa.string())
_UNITS = {0: "s", 3: "ms", 6: "us", 9: "ns"}
_KINDS = {name: getattr(TDatumType, name) for name in _ARROW if name != "NULL"} | {
    "NULL": TDatumType.INT,
    "DECIMAL": TDatumType.DECIMAL,
    "TIMESTAMP": TDatumType.TIMESTAMP,
}
_ENCODINGS = {
    "NONE": TEncodingType.NONE,
    "FIXED": TEncodingType.FIXED,
    "DICT": TEncodingType.DICT,
    "DAYS": TEncodingType.DATE_IN_DAYS,
}


def type_info(kind: SqlType) -> TTypeInfo:
    """A type as Thrift has it."""
    return TTypeInfo(
        type=_KINDS[kind.kind],
        encoding=_ENCODINGS[kind.encoding],
        nullable=kind.nullable,
        is_array=False,
        precision=kind.precision,
        scale=kind.scale,
        comp_param=kind.width,
        size=-1,
    )


def row_description(columns: list[tuple[str, SqlType]]) -> list[TColumnType]:
    """Names and types of a result or a table as Thrift has them."""
    return [
        TColumnType(
            col_name=name,
            col_type=type_info(kind),
            is_reserved_keyword=False,
            src_name="",
            is_system=False,
            is_physical=False,
            col_id=place,
        )
        for place, (name, kind) in enumerate(columns, 1)
    ]


def thrift_columns(answer: Answer) -> list[TColumn]:
    """A result in Thrift's columns.

    Raises
    ------
    StatementError
        It fails on the way, or is too large for one answer.
    """
    made = [TColumn(data=TColumnData(), nulls=[]) for _ in answer.columns]
    values = [list[object]() for _ in answer.columns]
    count = 0
    for batch in _batches(answer):
        count += len(batch) * len(answer.columns)
        if count > MOST_VALUES:
            raise StatementError(
                f"the result has more than {MOST_VALUES:,} values: take it as Arrow (select_ipc), or ask for less"
            )
        for n, (_, kind) in enumerate(answer.columns):
            column = _exactly(batch.column(n), kind)
            made[n].nulls += column.is_null().to_pylist() if column.null_count else [False] * len(column)
            values[n] += _plain_values(column, kind)
    for n, (_, kind) in enumerate(answer.columns):
        slot = "str_col" if kind.kind == "STR" else "real_col" if _is_real(kind) else "int_col"
        setattr(made[n].data, slot, values[n])
    return made


def arrow_stream(answer: Answer) -> pa.Buffer:
    """A result as an Arrow stream; text is in dictionaries, as HeavyDB's is.

    Raises
    ------
    StatementError
        It fails on the way, or is too large for one answer.
    """
    schema = pa.schema([pa.field(name, _sent_type(kind)) for name, kind in answer.columns])
    kinds = [kind for _, kind in answer.columns]
    batches = [
        pa.record_batch([_exactly(batch.column(n), kind) for n, kind in enumerate(kinds)], names=schema.names)
        for batch in _batches(answer)
    ]
    plain = pa.schema([pa.field(name, _arrow_type(kind)) for name, kind in answer.columns])
    rows = pa.Table.from_batches(batches, plain)
    columns = [
        column.combine_chunks().dictionary_encode().cast(_DICTIONARY) if field.type == _DICTIONARY else column
        for column, field in zip(rows.columns, schema, strict=True)
    ]
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_table(pa.table([_one_chunk(column) for column in columns], schema=schema))
    return sink.getvalue()


def _one_chunk(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _batches(answer: Answer) -> Iterator[pa.RecordBatch]:
    """The result as it comes, as long as it isn't too large."""
    size, left = 0, answer.first_n
    with told_as_heavydb():
        try:
            for whole in answer.batches or ():
                batch = whole if left < 0 else whole.slice(0, left)
                size += batch.nbytes
                if size > LARGEST_RESULT:
                    raise StatementError(
                        f"the result is larger than {LARGEST_RESULT >> 20} MiB: ask for less, by LIMIT or WHERE"
                    )
                yield batch
                if answer.first_n >= 0:
                    left -= len(batch)
                    if left == 0:
                        return
        except (pa.ArrowException, OSError) as failed:
            raise StatementError(f"Query execution failed: {str(failed).splitlines()[0]}") from failed


def _exactly(column: pa.Array, kind: SqlType) -> pa.Array:
    """A column in the type that was announced for it."""
    wanted = _arrow_type(kind)
    return column if column.type == wanted else column.cast(wanted)


def _arrow_type(kind: SqlType) -> pa.DataType:
    if kind.kind == "TIMESTAMP":
        return pa.timestamp(_UNITS[kind.precision])
    if kind.kind == "DECIMAL":
        return pa.decimal128(kind.precision, kind.scale)
    return _ARROW[kind.kind]


def _sent_type(kind: SqlType) -> pa.DataType:
    return _DICTIONARY if kind.kind == "STR" and kind.encoding == "DICT" else _arrow_type(kind)


def _is_real(kind: SqlType) -> bool:
    return kind.kind in ("FLOAT", "DOUBLE", "DECIMAL")


def _plain_values(column: pa.Array, kind: SqlType) -> Any:
    """Values without NULLs, which stand apart: text, doubles, or whole numbers; dates in seconds since 1970."""
    if kind.kind == "STR":
        return pc.fill_null(column, "").to_pylist()
    if _is_real(kind):
        return pc.fill_null(column.cast(pa.float64()), 0.0).to_numpy(zero_copy_only=False).tolist()
    if kind.kind == "DATE":
        return (86_400 * _whole(column.cast(pa.int32()))).tolist()
    if kind.kind == "TIME":
        return (_whole(column.cast(pa.int64())) // 1_000_000).tolist()
    return _whole(column.cast(pa.int64())).tolist()


def _whole(column: pa.Array) -> Any:
    return pc.fill_null(column.cast(pa.int64()), 0).to_numpy(zero_copy_only=False)
