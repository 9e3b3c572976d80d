"""Tables and views as they were declared, which DuckDB's own catalogue can't tell: encodings, shard key, options.

Kept in the same DuckDB file as the tables and changed in the same transactions, so neither is ever without the other.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

import duckdb

from infra.heavydb.definitions import DEFAULTS
from infra.heavydb.dialect import quote
from infra.heavydb.errors import SqlError, StatementError
from infra.heavydb.sql_types import SqlType

_SCHEMA = "standin"
_CATALOGUE = f"{_SCHEMA}.relations"


@dataclass(frozen=True)
class Relation:
    """A table, or a view where ``view_sql`` is its query.

    Attributes
    ----------
    fields : list of (str, SqlType)
        Names and declared types of its columns.
    options : dict
        Those of WITH, in capitals.
    """

    name: str
    fields: list[tuple[str, SqlType]]
    view_sql: str = ""
    shard_key: str = ""
    options: dict[str, int | str] = field(default_factory=dict)

    @property
    def column_names(self) -> list[str]:
        """Names of its columns."""
        return [name for name, _ in self.fields]

    def type_of(self, column: str) -> tuple[str, SqlType]:
        """A column's name as it was declared, and its type.

        Raises
        ------
        SqlError
            There is none of that name.
        """
        for name, kind in self.fields:
            if name.lower() == column.lower():
                return name, kind
        raise SqlError(f"Unknown target column '{column}'")

    @property
    def declared(self) -> str:
        """The statement that makes it again, as SHOW CREATE TABLE has it."""
        if self.view_sql:
            return f"CREATE VIEW {self.name} AS {self.view_sql};"
        lines = [f"{name} {kind.declared}" for name, kind in self.fields]
        if self.shard_key:
            lines.append(f"SHARD KEY ({self.shard_key})")
        text = f"CREATE TABLE {self.name} (\n  " + ",\n  ".join(lines) + ")"
        shown = [
            f"{name}={value}" if isinstance(value, int) else f"{name}='{value}'"
            for name, value in sorted(self.options.items())
            if value != DEFAULTS.get(name)
        ]
        return text + (f"\nWITH ({', '.join(shown)});" if shown else ";")

    @property
    def create_sql(self) -> str:
        """The table in DuckDB."""
        columns = ", ".join(
            f"{quote(name)} {kind.duckdb}{'' if kind.nullable else ' NOT NULL'}" for name, kind in self.fields
        )
        return f"CREATE TABLE main.{quote(self.name)} ({columns})"


class Catalog:
    """All tables and views, by name in lower case. Whoever changes it holds the writers' lock of the database."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {_SCHEMA}")
        connection.execute(f"CREATE TABLE IF NOT EXISTS {_CATALOGUE} (name VARCHAR, definition VARCHAR)")
        rows = connection.execute(f"SELECT definition FROM {_CATALOGUE}").fetchall()  # noqa: S608
        found = [_from_json(row[0]) for row in rows]
        self.relations: dict[str, Relation] = {relation.name.lower(): relation for relation in found}
        self._written = dict(self.relations)

    def find(self, name: str) -> Relation:
        """A table or view.

        Raises
        ------
        StatementError
            There is none of that name.
        """
        found = self.relations.get(name.lower())
        if found is None:
            raise StatementError(f"Table/View {name} for catalog heavyai does not exist")
        return found

    def table(self, name: str) -> Relation:
        """A table. Raises StatementError when there is none, or it is a view."""
        found = self.find(name)
        if found.view_sql:
            raise StatementError(f"{name} is a view, which can't be changed")
        return found

    def keep(self, connection: duckdb.DuckDBPyConnection, relation: Relation, *, instead_of: str = "") -> None:
        """Write a relation down within the connection's transaction, in the place of one that it replaces."""
        self.forget(connection, instead_of or relation.name)
        connection.execute(
            f"INSERT INTO {_CATALOGUE} VALUES (?, ?)",  # noqa: S608
            [relation.name.lower(), json.dumps(asdict(relation))],
        )
        self._written[relation.name.lower()] = relation

    def forget(self, connection: duckdb.DuckDBPyConnection, name: str) -> None:
        """Strike a relation within the connection's transaction."""
        connection.execute(f"DELETE FROM {_CATALOGUE} WHERE name = ?", [name.lower()])  # noqa: S608
        self._written.pop(name.lower(), None)

    def settle(self, *, committed: bool) -> None:
        """What was written since the last time is in force, whole, or forgotten."""
        if committed:
            self.relations = dict(self._written)
        else:
            self._written = dict(self.relations)


def _from_json(text: str) -> Relation:
    values: dict[str, Any] = json.loads(text)
    fields = [(name, SqlType(**kind)) for name, kind in values.pop("fields")]
    return Relation(fields=fields, **values)
