"""HeavyDB's Thrift service, as far as the vendor's client uses it. All other calls are answered that they aren't."""

from __future__ import annotations

import inspect
import logging
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from heavydb.common.ttypes import TDatumType, TEncodingType, TTypeInfo
from heavydb.thrift import Heavy
from heavydb.thrift.ttypes import (
    TArrowTransport,
    TColumn,
    TColumnType,
    TDataFrame,
    TDatum,
    TDatumVal,
    TDBException,
    TDBInfo,
    TQueryResult,
    TRow,
    TRowSet,
    TServerStatus,
    TSessionInfo,
    TTableDetails,
    TTableMeta,
)

from infra.heavydb import statements as d
from infra.heavydb.catalog import Relation
from infra.heavydb.database import Answer, Database
from infra.heavydb.definitions import DEFAULTS, checked
from infra.heavydb.errors import StatementError, UnsupportedError
from infra.heavydb.incoming import Incoming, from_arrow, from_columns, from_rows
from infra.heavydb.outgoing import arrow_stream, row_description, thrift_columns, type_info
from infra.heavydb.queries import DATABASE
from infra.heavydb.sessions import USER, Sessions
from infra.heavydb.sql_types import SqlType, encode, make_type

VERSION = "9.0.0-negawatt-standin"
NOTICE = "a stand-in for HeavyDB, for development and tests; it is not HeavyDB"
_LOG = logging.getLogger("heavydb")
_DECLARED = {
    TDatumType.INT: "INTEGER",
    TDatumType.STR: "TEXT",
    TDatumType.BOOL: "BOOLEAN",
}


@contextmanager
def told_over_thrift() -> Iterator[None]:
    """Make Thrift's exception of ours, so that the client learns the reason and the connection lives on."""
    try:
        yield
    except StatementError as refused:
        raise TDBException(error_msg=str(refused)) from refused
    except TDBException:
        raise
    except Exception as bug:
        _LOG.exception("a call failed")
        raise TDBException(error_msg=f"the stand-in failed: {type(bug).__name__}: {bug}") from bug


class Handler:
    """The service's calls.

    Parameters
    ----------
    database : Database
    sessions : Sessions
    """

    def __init__(self, database: Database, sessions: Sessions) -> None:
        self._database, self._sessions = database, sessions
        self._began = int(time.time())

    # --- sessions ------------------------------------------------------------------------------------------

    def connect(self, user: str, passwd: str, dbname: str) -> str:
        """Begin a session; returns its id."""
        return self._sessions.begin(user, passwd, dbname)

    def disconnect(self, session: str) -> None:
        """End a session."""
        self._sessions.end(session)

    def get_session_info(self, session: str) -> TSessionInfo:
        """Whose a session is."""
        held = self._sessions.get(session)
        return TSessionInfo(user=held.user, database=DATABASE, start_time=int(held.began.timestamp()), is_super=True)

    def get_version(self) -> str:
        """The version, which says that this is no HeavyDB."""
        return VERSION

    def get_server_status(self, session: str) -> TServerStatus:
        """What this server is."""
        self._sessions.get(session)
        return TServerStatus(
            read_only=False,
            version=VERSION,
            rendering_enabled=False,
            start_time=self._began,
            edition=NOTICE,
            host_name=socket.gethostname(),
            poly_rendering_enabled=False,
            role=0,
            renderer_status_json="",
            host_id="",
        )

    def get_status(self, session: str) -> list[TServerStatus]:
        """What the servers of this cluster of one are."""
        return [self.get_server_status(session)]

    def get_databases(self, session: str) -> list[TDBInfo]:
        """The one database."""
        self._sessions.get(session)
        return [TDBInfo(db_name=DATABASE, db_owner=USER)]

    def get_users(self, session: str) -> list[str]:
        """The one user."""
        self._sessions.get(session)
        return [USER]

    # --- tables --------------------------------------------------------------------------------------------

    def get_tables(self, session: str) -> list[str]:
        """Names of tables and views."""
        return self._names(session, lambda relation: True)

    def get_physical_tables(self, session: str) -> list[str]:
        """Names of tables."""
        return self._names(session, lambda relation: not relation.view_sql)

    def get_views(self, session: str) -> list[str]:
        """Names of views."""
        return self._names(session, lambda relation: bool(relation.view_sql))

    def get_tables_for_database(self, session: str, database_name: str) -> list[str]:
        """Names of tables and views of a database."""
        self._only_database(database_name)
        return self.get_tables(session)

    def _names(self, session: str, chosen: Callable[[Relation], bool]) -> list[str]:
        self._sessions.get(session)
        return sorted(held.name for held in self._database.catalog.relations.values() if chosen(held))

    def get_tables_meta(self, session: str) -> list[TTableMeta]:
        """Tables and views with their columns."""
        self._sessions.get(session)
        return [
            TTableMeta(
                table_name=held.name,
                num_cols=len(held.fields),
                is_view=bool(held.view_sql),
                is_replicated=False,
                shard_count=int(held.options.get("SHARD_COUNT", 0)),
                max_rows=_option(held, "MAX_ROWS"),
                table_id=number,
                max_table_id=number,
                col_types=[type_info(kind) for _, kind in held.fields],
                col_names=held.column_names,
            )
            for number, held in enumerate(self._database.catalog.relations.values(), 1)
        ]

    def get_table_details(self, session: str, table_name: str) -> TTableDetails:
        """How a table or view was declared."""
        self._sessions.get(session)
        held = self._database.catalog.find(table_name)
        return TTableDetails(
            row_desc=row_description(held.fields),
            fragment_size=_option(held, "FRAGMENT_SIZE"),
            page_size=_option(held, "PAGE_SIZE"),
            max_rows=_option(held, "MAX_ROWS"),
            view_sql=held.view_sql,
            shard_count=_option(held, "SHARD_COUNT"),
            key_metainfo=f'[{{"type":"SHARD KEY","name":"{held.shard_key}"}}]' if held.shard_key else "[]",
            is_temporary=False,
            partition_detail=0,
            table_type=1 if held.view_sql else 0,
            sharded_column_name=held.shard_key,
        )

    def get_table_details_for_database(self, session: str, table_name: str, database_name: str) -> TTableDetails:
        """How a table of a database was declared."""
        self._only_database(database_name)
        return self.get_table_details(session, table_name)

    def _only_database(self, name: str) -> None:
        if name != DATABASE:
            raise StatementError(f"Database {name} does not exist.")

    def create_table(self, session: str, table_name: str, row_desc: list[TColumnType], create_params: Any) -> None:
        """Make a table of columns that aren't declared in SQL."""
        self._sessions.get(session)
        columns = [(column.col_name, _declared_type(column.col_type)) for column in row_desc]
        self._database.define(checked(d.CreateTable(table_name, False, columns)))

    # --- statements ----------------------------------------------------------------------------------------

    def sql_execute(
        self, session: str, query: str, column_format: bool, nonce: str, first_n: int, at_most_n: int
    ) -> TQueryResult:
        """Run a statement; its results come in columns, or in rows."""
        self._sessions.get(session)
        began = time.monotonic()
        answer = self._database.run(query, first_n)
        ran_ms = round(1000 * (time.monotonic() - began))
        columns = thrift_columns(answer)
        if columns and 0 <= at_most_n < len(columns[0].nulls):
            raise StatementError(f"The result contains more rows than the specified cap of {at_most_n}")
        rows = TRowSet(
            row_desc=row_description(answer.columns),
            rows=[] if column_format else _rows(answer, columns),
            columns=columns if column_format else [],
            is_columnar=column_format,
        )
        total_ms = round(1000 * (time.monotonic() - began))
        return TQueryResult(row_set=rows, execution_time_ms=ran_ms, total_time_ms=total_ms, nonce=nonce, success=True)

    def sql_execute_df(
        self, session: str, query: str, device_type: int, device_id: int, first_n: int, transport_method: int
    ) -> TDataFrame:
        """Run a query; its results come as an Arrow stream, in the answer or in shared memory."""
        held = self._sessions.get(session)
        if device_type != 0:
            raise UnsupportedError("results on a GPU")
        began = time.monotonic()
        stream = arrow_stream(self._database.run(query, first_n))
        ran_ms = round(1000 * (time.monotonic() - began))
        if transport_method == TArrowTransport.WIRE:
            return TDataFrame(
                df_size=stream.size,
                df_buffer=stream.to_pybytes(),
                sm_handle=b"",
                sm_size=0,
                df_handle=b"",
                execution_time_ms=ran_ms,
                arrow_conversion_time_ms=0,
            )
        handle = held.segments.put(stream)
        return TDataFrame(
            df_handle=handle,
            df_size=stream.size,
            sm_handle=b"",
            sm_size=0,
            execution_time_ms=ran_ms,
            arrow_conversion_time_ms=0,
        )

    def deallocate_df(self, session: str, df: TDataFrame, device_type: int, device_id: int) -> None:
        """Take back the shared memory of a result."""
        self._sessions.get(session).segments.free(df.df_handle)

    def sql_validate(self, session: str, query: str) -> list[TColumnType]:
        """Names and types of a query's results, without running it."""
        self._sessions.get(session)
        return row_description(self._database.compile(query).columns)

    def interrupt(self, query_session: str, interrupt_session: str) -> None:
        """Stop a query."""
        raise UnsupportedError("stopping a query")

    # --- loads ---------------------------------------------------------------------------------------------

    def load_table_binary_arrow(
        self, session: str, table_name: str, arrow_stream: bytes, use_column_names: bool
    ) -> None:
        """Append an Arrow stream's rows."""
        self._sessions.get(session)
        self._load(session, table_name, from_arrow(arrow_stream, use_names=bool(use_column_names)))

    def load_table_binary_columnar(
        self, session: str, table_name: str, cols: list[TColumn], column_names: list[str]
    ) -> None:
        """Append columns."""
        self._sessions.get(session)
        table = self._database.catalog.table(table_name)
        names = list(column_names or [])
        fields = [table.type_of(name) for name in names] if names else table.fields
        self._load(session, table_name, from_columns(cols, fields, names))

    def load_table(self, session: str, table_name: str, rows: list[Any], column_names: list[str]) -> None:
        """Append rows of text."""
        self._sessions.get(session)
        table = self._database.catalog.table(table_name)
        if rows:
            self._load(session, table.name, from_rows(rows, list(column_names or [])))

    def _load(self, session: str, table_name: str, incoming: Incoming) -> None:
        self._database.load(table_name, incoming, lambda: self._sessions.get(session))


class Processor(Heavy.Processor):  # type: ignore[misc]  # thrift has no types
    """Reads calls and writes answers; what `Handler` lacks is answered as not supported."""

    def __init__(self, handler: Handler) -> None:
        super().__init__(_Answering(handler))


class _Answering:
    """A handler that never fails but by Thrift's exception."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        for name, _ in inspect.getmembers(Heavy.Iface, inspect.isfunction):
            setattr(self, name, self._answer(name))

    def _answer(self, name: str) -> Callable[..., Any]:
        call = getattr(self._handler, name, None)

        def answer(*arguments: Any) -> Any:
            with told_over_thrift():
                if call is None:
                    raise UnsupportedError(f"the call {name}")
                return call(*arguments)

        return answer


def _option(relation: Relation, name: str) -> int:
    return int(relation.options.get(name, DEFAULTS[name]))


def _declared_type(info: TTypeInfo) -> SqlType:
    """A column's type as a client declares it without SQL."""
    name = TDatumType._VALUES_TO_NAMES[info.type]
    if info.is_array:
        raise UnsupportedError("arrays")
    spelt = _DECLARED.get(info.type, name)
    numbers = [info.precision or 0] if spelt == "TIMESTAMP" else []
    if spelt == "DECIMAL":
        numbers = [info.precision or 18, info.scale or 0]
    kind = make_type(spelt, numbers)
    if kind.kind == "STR":
        return encode(kind, "DICT" if info.encoding == TEncodingType.DICT else "NONE", info.comp_param or None)
    return encode(kind, "DAYS", 32) if kind.kind == "DATE" else kind


def _rows(answer: Answer, columns: list[TColumn]) -> list[TRow]:
    """Results row by row, as clients without columns take them."""
    values = [_slots(column, kind) for column, (_, kind) in zip(columns, answer.columns, strict=True)]
    return [TRow(cols=list(row)) for row in zip(*values, strict=True)]


def _slots(column: TColumn, kind: SqlType) -> list[TDatum]:
    data = column.data
    found = data.str_col if data.str_col is not None else data.real_col if data.real_col is not None else data.int_col
    slot = "str_val" if data.str_col is not None else "real_val" if data.real_col is not None else "int_val"
    return [
        TDatum(val=TDatumVal(**{slot: value}), is_null=null)
        for value, null in zip(found or [], column.nulls, strict=True)
    ]
