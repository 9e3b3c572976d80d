"""Answers of the speed store on the screen and in files: tables, JSON, CSV, Parquet."""

from __future__ import annotations

import csv
import io
import json
import math
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from domain.errors import NegawattError
from negawatt.sql_desk import Answer, type_name
from negawatt.workspace import write_whole

SHOWN_ROWS = 40
"""Rows of a table on the screen; files hold all."""

FORMATS = (".csv", ".json", ".parquet")


def rows_of(table: pa.Table) -> Iterator[tuple[Any, ...]]:
    """A table's rows as Python values."""
    columns = [column.to_pylist() for column in table.columns]
    return zip(*columns, strict=True) if columns else iter(())


def people() -> Console:
    """What tables are printed on: as wide as the terminal, as wide as needed in a file."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else 400)


def show(console: Console, answer: Answer, *, expanded: bool = False, timing: bool = True) -> None:
    """Print an answer for people: a table, or each row by itself where ``expanded``."""
    names, rows = answer.table.column_names, list(rows_of(answer.table.slice(0, SHOWN_ROWS)))
    if expanded:
        width = max(map(len, names), default=0)
        for number, row in enumerate(rows, 1):
            console.print(f"[bold]row {number:,}[/]")
            for name, value in zip(names, row, strict=True):
                console.print(f"  {escape(f'{name:<{width}}')}  {escape(told(value))}", soft_wrap=True)
    else:
        table = Table()
        for field in answer.table.schema:
            table.add_column(escape(field.name), justify="right" if _is_number(field.type) else "left")
        for row in rows:
            table.add_row(*(escape(told(value)) for value in row))
        console.print(table)
    console.print(_summary(answer, len(rows), timing=timing), soft_wrap=True)


def _summary(answer: Answer, shown: int, *, timing: bool) -> str:
    held = answer.table.num_rows
    if answer.more:
        count = f"more than {held:,} rows, {shown:,} of them shown; --rows fetches more"
    elif shown < held:
        count = f"{held:,} rows, {held - shown:,} more than shown; --csv and --parquet give all"
    else:
        count = "1 row" if held == 1 else f"{held:,} rows"
    has_times = any(pa.types.is_timestamp(field.type) for field in answer.table.schema)
    return f"{count}{f' in {answer.seconds:.2f} s' if timing else ''}{'; times are UTC' if has_times else ''}"


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def told(value: object) -> str:
    """A value as people read it."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:,.3f}" if math.isfinite(value) else str(value)
        case int():
            return f"{value:,}"
        case datetime():
            return f"{value:%Y-%m-%d %H:%M:%S}"
        case _:
            return str(value)


def exact(value: object) -> Any:
    """A value as machines read it: times as ISO 8601 with a Z, what is no number as None."""
    match value:
        case datetime():
            return (
                value.astimezone(UTC)
                .isoformat(timespec="microseconds" if value.microsecond else "seconds")
                .replace("+00:00", "Z")
            )
        case date():
            return value.isoformat()
        case float() if not math.isfinite(value):
            return None
        case _:
            return value


def document(answer: Answer) -> dict[str, Any]:
    """An answer for machines: columns with their types, and rows in the order of the columns."""
    return {
        "columns": [{"name": field.name, "type": type_name(field.type)} for field in answer.table.schema],
        "rows": [[exact(value) for value in row] for row in rows_of(answer.table)],
        "more": answer.more,
        "seconds": round(answer.seconds, 4),
    }


def as_csv(answer: Answer) -> str:
    """An answer as CSV with a header; null is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(answer.table.column_names)
    writer.writerows([exact(value) for value in row] for row in rows_of(answer.table))
    return text.getvalue()


def write_parquet(answer: Answer, path: Path) -> None:
    """Write an answer as Parquet; times carry their zone, UTC."""
    held = io.BytesIO()
    pq.write_table(answer.table, held)
    write_whole(path, held.getvalue())


def write(answer: Answer, path: Path) -> None:
    """Write an answer into a file, in the form that its name ends with.

    Raises
    ------
    NegawattError
        Another ending than .csv, .json and .parquet.
    """
    match path.suffix.lower():
        case ".csv":
            write_whole(path, as_csv(answer).encode())
        case ".json":
            write_whole(path, (json.dumps(document(answer), indent=2) + "\n").encode())
        case ".parquet":
            write_parquet(answer, path)
        case other:
            raise NegawattError(f"{path}: {other or 'no ending'}: expected {', '.join(FORMATS)}")
