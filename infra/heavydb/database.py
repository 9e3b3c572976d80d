"""The stand-in's database: statements of HeavyDB's SQL, run by DuckDB in one file."""

# ruff: noqa: S608  SQL is put together from quoted names and checked expressions

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pyarrow as pa
from sqlglot import exp

from infra.heavydb import statements as d
from infra.heavydb.catalog import Catalog, Relation
from infra.heavydb.changes import define
from infra.heavydb.definitions import read
from infra.heavydb.dialect import only, parse, quote
from infra.heavydb.errors import SqlError, StatementError, UnsupportedError, told_as_heavydb
from infra.heavydb.incoming import Incoming
from infra.heavydb.queries import DATABASE, CompiledQuery, Queries
from infra.heavydb.scope import Relation as Source
from infra.heavydb.scope import Scope
from infra.heavydb.sql_types import TEXT, SqlType
from infra.heavydb.typed import Typed, fit

DATA_FILE = "data.duckdb"
BATCH_ROWS = 65_536


@dataclass
class Answer:
    """What a statement gives: columns, and batches of them as they come.

    Attributes
    ----------
    batches : RecordBatchReader or None
        None where there are no results.
    first_n : int
        How many rows are wanted; all when negative.
    """

    columns: list[tuple[str, SqlType]]
    batches: pa.RecordBatchReader | None = None
    first_n: int = -1


class Database:
    """Tables in a DuckDB file. Many threads may use it: readers see a state of their own, writers go one by one.

    Parameters
    ----------
    folder : Path
        The file's; what doesn't fit into memory is put there too.
    memory_mib : int
        What queries may hold. [MiB]
    """

    def __init__(self, folder: Path, *, memory_mib: int = 1024, threads: int = 2) -> None:
        spare = folder / "tmp"
        spare.mkdir(exist_ok=True)
        self._duckdb = duckdb.connect(
            str(folder / DATA_FILE),
            config={
                "memory_limit": f"{memory_mib}MiB",
                "threads": threads,
                "temp_directory": str(spare),
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
            },
        )
        self._duckdb.execute("SET enable_external_access = false")  # only now, so that the folder can be named
        self._writing = threading.Lock()
        self.catalog = Catalog(self._duckdb)

    def close(self) -> None:
        """Write everything into the file and let go of it."""
        with self._writing:
            with suppress(duckdb.Error):  # somebody still reads; the next start does it
                self._duckdb.execute("CHECKPOINT")
            self._duckdb.close()

    # --- statements ----------------------------------------------------------------------------------------

    def run(self, sql: str, first_n: int = -1) -> Answer:
        """Run one statement.

        Parameters
        ----------
        first_n : int
            Rows at most; all when negative.

        Raises
        ------
        StatementError
            It is refused, or fails.
        """
        made = read(sql)
        if isinstance(made, d.Run):
            return self._run(parse(made.sql), first_n)
        if isinstance(made, d.Show):
            return self._show(made)
        if isinstance(made, d.Explain):
            return self._explain(made)
        self.define(made)
        return Answer([])

    def _run(self, tree: exp.Expr, first_n: int) -> Answer:
        if isinstance(tree, exp.Insert):
            return self._insert(tree)
        if isinstance(tree, exp.Update):
            return self._update(tree)
        if isinstance(tree, exp.Delete):
            return self._delete(tree)
        answer = self._answer(self._queries().query(tree))
        answer.first_n = first_n
        return answer

    def compile(self, sql: str) -> CompiledQuery:
        """A query made DuckDB's, with the types of its results."""
        made = read(sql)
        if not isinstance(made, d.Run):
            raise StatementError("only queries have results")
        return self._queries().query(parse(made.sql))

    def _queries(self) -> Queries:
        return Queries(self.catalog.relations, datetime.now(UTC))

    def _answer(self, query: CompiledQuery) -> Answer:
        with told_as_heavydb():
            relation = self._duckdb.cursor().sql(query.sql)
            return Answer(query.columns, relation.to_arrow_reader(BATCH_ROWS))

    # --- changes -------------------------------------------------------------------------------------------

    @contextmanager
    def _transaction(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """One writer, who changes all or nothing."""
        with self._writing, told_as_heavydb(), self._duckdb.cursor() as connection:
            connection.execute("BEGIN")
            committed = False
            try:
                yield connection
                connection.execute("COMMIT")
                committed = True
            finally:
                self.catalog.settle(committed=committed)
                if not committed:
                    _roll_back(connection)

    def _change(self, sql: str) -> Answer:
        with self._transaction() as connection:
            connection.execute(sql)
        return Answer([])

    def define(self, made: d.Definition) -> None:
        """Run a definition that was made otherwise than by SQL."""
        with self._transaction() as connection:
            define(connection, self.catalog, made, self.compile)

    def _insert(self, tree: exp.Insert) -> Answer:
        only(tree, "this", "expression", "with_")
        if tree.args.get("with_"):
            raise UnsupportedError("WITH before INSERT")
        schema = tree.this
        target = schema.this if isinstance(schema, exp.Schema) else schema
        names = [one.name for one in schema.expressions] if isinstance(schema, exp.Schema) else []
        table = self._target(target)
        columns = [table.type_of(name) for name in names] if names else table.fields
        source = tree.expression
        if isinstance(source, exp.Values):
            only(source, "expressions")
            rows = [self._row(row, columns) for row in source.expressions]
            return self._change(f"{_into(table, columns)} VALUES {', '.join(rows)}")
        query = self._queries().query(source)
        _same_count(columns, len(query.columns))
        values = _fitted(columns, [(f"c{n}", kind) for n, (_, kind) in enumerate(query.columns)])
        inner = ", ".join(f"c{n}" for n in range(len(columns)))
        return self._change(f"{_into(table, columns)} SELECT {values} FROM ({query.sql}) AS t({inner})")

    def _row(self, row: exp.Expr, columns: list[tuple[str, SqlType]]) -> str:
        values = row.expressions if isinstance(row, exp.Tuple) else [row.this if isinstance(row, exp.Paren) else row]
        _same_count(columns, len(values))
        queries, scope = self._queries(), Scope(counting=False)
        spelt = (
            fit(queries.expression(value, scope), kind, name)
            for value, (name, kind) in zip(values, columns, strict=True)
        )
        return f"({', '.join(spelt)})"

    def _update(self, tree: exp.Update) -> Answer:
        only(tree, "this", "expressions", "where")
        table = self._target(tree.this)
        queries, scope = self._queries(), Scope([_source(table)], counting=False)
        changes = list[str]()
        for change in tree.expressions:
            if not isinstance(change, exp.EQ) or not isinstance(change.this, exp.Column):
                raise SqlError("UPDATE sets columns: SET column = expression")
            name, kind = table.type_of(change.this.name)
            changes.append(f"{quote(name)} = {fit(queries.expression(change.expression, scope), kind, name)}")
        return self._change(
            f"UPDATE main.{quote(table.name)} AS {quote(table.name)} SET {', '.join(changes)} "
            + self._where(tree, scope, queries)
        )

    def _delete(self, tree: exp.Delete) -> Answer:
        only(tree, "this", "where")
        table = self._target(tree.this)
        where = self._where(tree, Scope([_source(table)], counting=False), self._queries())
        return self._change(f"DELETE FROM main.{quote(table.name)} AS {quote(table.name)} {where}")

    def _where(self, tree: exp.Expr, scope: Scope, queries: Queries) -> str:
        where = tree.args.get("where")
        return f"WHERE {queries.condition(where.this, scope, 'WHERE')}" if where else ""

    def _target(self, node: exp.Expr) -> Relation:
        if not isinstance(node, exp.Table):
            raise SqlError("a table is needed")
        only(node, "this")
        return self.catalog.table(node.name)

    def load(self, name: str, incoming: Incoming, admit: Callable[[], object] = lambda: None) -> None:
        """Append rows to a table, all or none.

        Parameters
        ----------
        admit : callable
            Called when it is our turn to write; its exception keeps the rows out. So a client that was lost while its
            rows waited, and whose session has ended since, finds that they never come.

        Raises
        ------
        StatementError
            No such table or column, or values that it can't hold.
        """
        table = self.catalog.table(name)
        columns = [table.type_of(column) for column in incoming.names] if incoming.names else table.fields
        _same_count(columns, len(incoming.types))
        values = ", ".join(incoming.value(n, kind, column) for n, (column, kind) in enumerate(columns))
        with self._transaction() as connection:
            admit()
            connection.register("incoming", incoming.rows)
            try:
                connection.execute(f"{_into(table, columns)} SELECT {values} FROM incoming")
            finally:
                connection.unregister("incoming")

    # --- what there is -------------------------------------------------------------------------------------

    def _show(self, made: d.Show) -> Answer:
        if made.what == "CREATE TABLE":
            return _told("Result", [self.catalog.find(made.name).declared])
        if made.what == "DATABASES":
            return _told("Database", [DATABASE])
        tables = sorted(held.name for held in self.catalog.relations.values() if not held.view_sql)
        return _told("table_name", tables)

    def _explain(self, made: d.Explain) -> Answer:
        """DuckDB's plan, in the place of HeavyDB's."""
        query = self.compile(made.query)
        with told_as_heavydb():
            plan = self._duckdb.cursor().sql(query.sql).explain()
        return _told("Explanation", [plan])


def _told(column: str, lines: list[str]) -> Answer:
    batches = pa.table({column: pa.array(lines, pa.string())}).to_reader()
    return Answer([(column, TEXT)], batches)


def _into(table: Relation, columns: list[tuple[str, SqlType]]) -> str:
    return f"INSERT INTO main.{quote(table.name)} ({', '.join(quote(name) for name, _ in columns)})"


def _same_count(columns: list[tuple[str, SqlType]], count: int) -> None:
    if len(columns) != count:
        raise SqlError(
            f"Number of INSERT target columns ({len(columns)}) does not equal number of source items ({count})"
        )


def _fitted(columns: list[tuple[str, SqlType]], values: list[tuple[str, SqlType]]) -> str:
    return ", ".join(
        fit(Typed(value, have), kind, name) for (value, have), (name, kind) in zip(values, columns, strict=True)
    )


def _source(table: Relation) -> Source:
    return Source(table.name, [(name, kind.bare) for name, kind in table.fields])


def _roll_back(connection: duckdb.DuckDBPyConnection) -> None:
    with suppress(duckdb.Error):  # a failed COMMIT has ended the transaction already
        connection.execute("ROLLBACK")
