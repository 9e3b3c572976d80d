"""Questions to the speed store: one statement at a time, read only, within a limit of rows and of time."""

from __future__ import annotations

import contextlib
import difflib
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import pyarrow as pa

from domain.errors import StoreError
from domain.intervals import INTERVAL_MINUTES
from domain.readings import Register
from negawatt.sql_statements import check_reads_only, limited, with_parameters

if TYPE_CHECKING:
    from speed.stores import SpeedStore

DEFAULT_ROWS = 100_000
DEFAULT_SECONDS = 60.0
_AGAIN_S, _GIVE_UP_S = 0.1, 10.0
"""Between two tries to break a query off, and for how long that is tried. [s]"""

_NOT_FOUND = (
    re.compile(r"(?P<kind>Table|View) with name (?P<name>\S+) does not exist"),
    re.compile(r"(?P<kind>Object|Table) '(?P<name>[^']+)' not found"),
    re.compile(r"(?P<kind>Column) '(?P<name>[^']+)' not found"),
    re.compile(r"Referenced (?P<kind>column) \"(?P<name>[^\"]+)\" not found"),
    re.compile(r"(?P<kind>column) named \"(?P<name>[^\"]+)\"", re.IGNORECASE),
)
"""How the two stores say that a name is unknown."""


@dataclass(frozen=True)
class Answer:
    """What a query found.

    Attributes
    ----------
    statement : str
        As it was asked, with its parameters filled in.
    table : pa.Table
        At most as many rows as allowed; times are UTC.
    more : bool
        There are more rows than those.
    seconds : float
        From asking to the last row. [s]
    """

    statement: str
    table: pa.Table
    more: bool
    seconds: float


class Reader(Protocol):
    """What a desk asks: a speed store, open to read."""

    def query(self, sql: str) -> pa.Table:
        """Answer a query."""

    def names(self) -> list[str]:
        """Tables and views, in order."""

    def interrupt(self) -> None:
        """Break off the query that another thread asks, if that can be done."""

    def close(self) -> None:
        """Let go of it."""


class Desk:
    """Asks a speed store, opened anew for each question so that nobody else is kept from it in between.

    Parameters
    ----------
    open_reader : callable
        Opens the store to read.
    rows : int
        Rows that an answer holds at most.
    seconds : float
        How long a query may take. [s]
    """

    def __init__(
        self, open_reader: Callable[[], Reader], *, rows: int = DEFAULT_ROWS, seconds: float = DEFAULT_SECONDS
    ) -> None:
        self._open, self.rows, self.seconds = open_reader, rows, seconds

    def ask(self, statement: str, parameters: Mapping[str, str] | None = None) -> Answer:
        """Run one query.

        Raises
        ------
        StatementError
            It would change something, or isn't one statement, or a parameter has no value.
        StoreError
            The store refuses it, or it takes longer than allowed.
        """
        ready = with_parameters(statement, parameters or {}).strip().rstrip(";")
        check_reads_only(ready)
        with contextlib.closing(self._open()) as reader:
            began = time.perf_counter()
            try:
                found = _within(self.seconds, reader, limited(ready, self.rows + 1))
            except StoreError as refused:
                raise StoreError(_explained(str(refused), reader)) from refused
            seconds = time.perf_counter() - began
        return Answer(ready, in_utc(found.slice(0, self.rows)), found.num_rows > self.rows, seconds)

    def columns(self) -> dict[str, dict[str, str]]:
        """Every table and view by name, with the type of each of its columns."""
        with contextlib.closing(self._open()) as reader:
            return {name: _columns_of(reader, name) for name in reader.names()}


def _within(seconds: float, reader: Reader, sql: str) -> pa.Table:
    """Ask in a thread, so that neither a computation nor a wait for a server keeps us from giving up."""
    found: list[pa.Table] = []
    failed: list[BaseException] = []

    def ask() -> None:
        try:
            found.append(reader.query(sql))
        except BaseException as wrong:  # handed over to the thread that waits
            failed.append(wrong)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    try:
        thread.join(seconds)
    finally:  # Ctrl-C, too
        late = thread.is_alive()
        for _ in range(round(_GIVE_UP_S / _AGAIN_S) if late else 0):
            reader.interrupt()
            thread.join(_AGAIN_S)
            if not thread.is_alive():
                break
    if late:
        raise StoreError(
            f"the query took longer than {seconds:g} s and was broken off; ask for less, or allow more: --seconds"
        )
    if failed:
        raise failed[0]
    return found[0]


def in_utc(table: pa.Table) -> pa.Table:
    """An answer of a store with its times marked as what they are, UTC.

    >>> in_utc(pa.table({"ts": pa.array([0], pa.timestamp("s"))})).schema.field("ts").type
    TimestampType(timestamp[s, tz=UTC])
    """
    for n, field in enumerate(table.schema):
        if pa.types.is_timestamp(field.type):
            kind = pa.timestamp(field.type.unit, "UTC")
            table = table.set_column(n, pa.field(field.name, kind), table.column(n).cast(kind))
    return table


_EXPECTED = (
    "meters",
    "resources",
    "events",
    "event_resources",
    "event_baselines",
    "quarantine",
    "certified",
    "certified_intervals",
    "reconciliation",
    "reconciliation_intervals",
    "unknown_meters",
    *(f"live_{of}" for of in ("interval", "resource", "feeder", "event", "lateness", "lateness_all")),
    *(f"{what}{register}_{m}" for what in ("readings_", "") for register in Register for m in INTERVAL_MINUTES),
    *(f"rollup_{register}_{period}" for register in Register for period in ("30", "day")),
)
"""What a HeavyDB may hold of ours; it has no table of its tables that a query could read."""


class StoreReader:
    """Asks a store that has no reader of its own, such as HeavyDB.

    Parameters
    ----------
    store : SpeedStore
    """

    def __init__(self, store: SpeedStore) -> None:
        self._store = store
        self.query, self.close = store.query, store.close

    def names(self) -> list[str]:
        """What is there of the tables and views that negawatt makes."""
        return sorted(name for name in _EXPECTED if self._has(name))

    def interrupt(self) -> None:
        """Nothing: the server goes on, and its answer is not awaited."""

    def _has(self, name: str) -> bool:
        try:
            self._store.query(f"SELECT * FROM {name} LIMIT 0")  # noqa: S608  one of the names above
        except StoreError:
            return False
        return True


def _columns_of(reader: Reader, name: str) -> dict[str, str]:
    fields = reader.query(f"SELECT * FROM {name} LIMIT 0").schema  # noqa: S608  a table of the store
    return {field.name: type_name(field.type) for field in fields}


def type_name(kind: pa.DataType) -> str:
    """A column's type in SQL's words."""
    if pa.types.is_timestamp(kind):
        return "timestamp"
    names = {
        pa.int8(): "tinyint",
        pa.int16(): "smallint",
        pa.int32(): "integer",
        pa.int64(): "bigint",
        pa.float32(): "float",
        pa.float64(): "double",
        pa.bool_(): "boolean",
        pa.date32(): "date",
        pa.string(): "text",
        pa.large_string(): "text",
    }
    return names.get(kind, str(kind))


def _explained(problem: str, reader: Reader) -> str:
    """A refusal, with the nearest names where a name is unknown."""
    for pattern in _NOT_FOUND:
        if not (match := pattern.search(problem)):
            continue
        is_column = match["kind"].lower() == "column"
        tables = reader.names()
        known = {column for table in tables for column in _columns_of(reader, table)} if is_column else set(tables)
        near = difflib.get_close_matches(match["name"], sorted(known), n=3, cutoff=0.5)
        what = "column" if is_column else "table"
        if near:
            return f"no {what} {match['name']}; did you mean {' or '.join(near)}?"
        listed = "" if is_column else f"; there are: {', '.join(tables) or 'none yet'}"
        return f"no {what} {match['name']}{listed}"
    return problem
