"""Definitions carried out: tables and views made, changed and dropped, each within a transaction of its caller."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import duckdb

from infra.heavydb import statements as d
from infra.heavydb.catalog import Catalog, Relation
from infra.heavydb.definitions import checked
from infra.heavydb.dialect import quote
from infra.heavydb.errors import StatementError, UnsupportedError
from infra.heavydb.queries import CompiledQuery
from infra.heavydb.sql_types import BIGINT, SqlType, encode

Compile = Callable[[str], CompiledQuery]


def define(connection: duckdb.DuckDBPyConnection, catalog: Catalog, made: d.Definition, compiled: Compile) -> None:
    """Carry out a definition.

    Parameters
    ----------
    connection
        With a transaction.
    compiled : callable
        Makes a query DuckDB's.

    Raises
    ------
    StatementError
        There is such a table already, or none.
    """
    _Changes(connection, catalog, compiled).carry_out(made)


class _Changes:
    def __init__(self, connection: duckdb.DuckDBPyConnection, catalog: Catalog, compiled: Compile) -> None:
        self._duckdb, self._catalog, self._compiled = connection, catalog, compiled

    def carry_out(self, made: Any) -> None:
        steps: dict[type, Callable[[Any], None]] = {
            d.CreateTable: self._create_table,
            d.CreateView: self._create_view,
            d.Drop: self._drop,
            d.Truncate: self._truncate,
            d.Optimize: self._optimize,
            d.AddColumns: self._add,
            d.DropColumn: self._drop_column,
            d.Rename: self._rename,
        }
        steps[type(made)](made)

    def _exists(self, name: str, if_not_exists: bool) -> bool:
        if name.lower() not in self._catalog.relations:
            return False
        if not if_not_exists:
            raise StatementError(f"Table or View with name '{name}' already exists.")
        return True

    def _create_table(self, made: d.CreateTable) -> None:
        if self._exists(made.name, made.if_not_exists):
            return
        query = self._compiled(made.query) if made.query else None
        if query is not None:
            made = replace(made, columns=[(name, _stored(kind)) for name, kind in query.columns], query="")
        made = checked(made)
        if not made.columns:
            raise StatementError(f"{made.name} would have no columns")
        table = Relation(made.name, made.columns, shard_key=made.shard_key, options=made.options)
        self._duckdb.execute(table.create_sql)
        if query is not None:
            self._duckdb.execute(f"INSERT INTO main.{quote(table.name)} {query.sql}")
        self._catalog.keep(self._duckdb, table)

    def _create_view(self, made: d.CreateView) -> None:
        if self._exists(made.name, made.if_not_exists):
            return
        query = self._compiled(made.query)
        self._duckdb.execute(f"EXPLAIN {query.sql}")  # DuckDB finds what we don't look for
        self._catalog.keep(self._duckdb, Relation(made.name, query.columns, view_sql=made.query))

    def _drop(self, made: d.Drop) -> None:
        if made.if_exists and made.name.lower() not in self._catalog.relations:
            return
        found = self._catalog.find(made.name)
        if bool(found.view_sql) != (made.kind == "VIEW"):
            other = "VIEW" if found.view_sql else "TABLE"
            raise StatementError(f"{made.name} is a {other.lower()}. Use DROP {other}.")
        if not found.view_sql:
            self._duckdb.execute(f"DROP TABLE main.{quote(found.name)}")
        self._catalog.forget(self._duckdb, found.name)

    def _truncate(self, made: d.Truncate) -> None:
        table = self._catalog.table(made.name)
        self._duckdb.execute(f"DELETE FROM main.{quote(table.name)}")  # noqa: S608

    def _optimize(self, made: d.Optimize) -> None:
        """DuckDB frees the room of deleted rows by itself, so there is nothing to do."""
        self._catalog.table(made.name)

    def _add(self, made: d.AddColumns) -> None:
        table = self._catalog.table(made.name)
        names = [name.lower() for name in table.column_names]
        for name, kind in made.columns:
            if name.lower() in names:
                raise StatementError(f"Column {name} already exists in table {table.name}.")
            if not kind.nullable:
                raise UnsupportedError("adding a column that is NOT NULL")
            self._duckdb.execute(f"ALTER TABLE main.{quote(table.name)} ADD COLUMN {quote(name)} {kind.duckdb}")
            names.append(name.lower())
        self._catalog.keep(self._duckdb, replace(table, fields=[*table.fields, *made.columns]))

    def _drop_column(self, made: d.DropColumn) -> None:
        table = self._catalog.table(made.name)
        name, _ = table.type_of(made.column)
        if name == table.shard_key:
            raise StatementError(f"Dropping sharding column {name} is not supported.")
        if len(table.fields) == 1:
            raise StatementError(f"Table {table.name} has only one column.")
        self._duckdb.execute(f"ALTER TABLE main.{quote(table.name)} DROP COLUMN {quote(name)}")
        kept = [(held, kind) for held, kind in table.fields if held != name]
        self._catalog.keep(self._duckdb, replace(table, fields=kept))

    def _rename(self, made: d.Rename) -> None:
        table = self._catalog.table(made.name)
        if made.column:
            name, _ = table.type_of(made.column)
            if made.to.lower() in (held.lower() for held in table.column_names):
                raise StatementError(f"Column {made.to} already exists in table {table.name}.")
            self._duckdb.execute(
                f"ALTER TABLE main.{quote(table.name)} RENAME COLUMN {quote(name)} TO {quote(made.to)}"
            )
            fields = [(made.to if held == name else held, kind) for held, kind in table.fields]
            shard_key = made.to if table.shard_key == name else table.shard_key
            self._catalog.keep(self._duckdb, replace(table, fields=fields, shard_key=shard_key))
            return
        self._exists(made.to, if_not_exists=False)
        self._duckdb.execute(f"ALTER TABLE main.{quote(table.name)} RENAME TO {quote(made.to)}")
        self._catalog.keep(self._duckdb, replace(table, name=made.to), instead_of=table.name)


def _stored(kind: SqlType) -> SqlType:
    """Type of a column that is filled by a query."""
    if kind.kind == "NULL":
        return BIGINT
    return encode(kind, "DAYS", 32) if kind.kind == "DATE" else kind
