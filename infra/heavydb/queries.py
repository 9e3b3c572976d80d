"""A whole query, made DuckDB's: what stands in FROM, which names it gives, how it is grouped and sorted."""

# ruff: noqa: S608  SQL is put together from quoted names and checked expressions

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from sqlglot import exp

from infra.heavydb.dialect import only, parse, quote, refuse
from infra.heavydb.errors import SqlError, UnsupportedError
from infra.heavydb.expressions import Expressions, counts_rows, direction
from infra.heavydb.scope import Relation, Scope
from infra.heavydb.sql_types import SqlType, common
from infra.heavydb.typed import Typed, cast_to

DATABASE = "heavyai"
_LARGEST = 2**62


@dataclass(frozen=True)
class CompiledQuery:
    """A query.

    Attributes
    ----------
    sql : str
        For DuckDB.
    columns : list of (str, SqlType)
        Names and types of its results.
    """

    sql: str
    columns: list[tuple[str, SqlType]]


class Known(Protocol):
    """A table or view, as queries need it."""

    @property
    def name(self) -> str:
        """As it was declared."""

    @property
    def view_sql(self) -> str:
        """Query of a view; empty for a table."""

    @property
    def fields(self) -> list[tuple[str, SqlType]]:
        """Names and types of its columns."""


class Queries(Expressions):
    """Makes queries DuckDB's.

    Parameters
    ----------
    known : mapping of str to Known
        Tables and views, by their names in lower case.
    now : datetime
        What NOW() is.
    """

    def __init__(self, known: Mapping[str, Known], now: datetime) -> None:
        super().__init__(now)
        self._known = known
        self._with: list[dict[str, CompiledQuery]] = []
        self._names = 0

    def query(self, node: exp.Expr) -> CompiledQuery:
        """A query: SELECT, UNION ALL, or one in parentheses; each may begin with WITH."""
        if isinstance(node, exp.Subquery):
            only(node, "this", "with_")
            return self._begun_with(node, lambda: self.query(node.this))
        if isinstance(node, exp.Select):
            return self._begun_with(node, lambda: self._select(node))
        if isinstance(node, exp.Union):
            return self._begun_with(node, lambda: self._union(node))
        raise UnsupportedError(f"{type(node).__name__.upper()} as a query")

    # --- WITH ----------------------------------------------------------------------------------------------

    def _begun_with(self, node: exp.Expr, make: Callable[[], CompiledQuery]) -> CompiledQuery:
        begun = node.args.get("with_")
        if begun is None:
            return make()
        only(begun, "expressions")
        names: dict[str, CompiledQuery] = {}
        self._with.append(names)
        try:
            spelt = []
            for part in begun.expressions:
                only(part, "this", "alias")
                inner = self._renamed(self.query(part.this), part.args["alias"])
                name = part.alias
                if name.lower() in names:
                    raise SqlError(f"Duplicate name in WITH: '{name}'")
                inside = self._unused(name)
                names[name.lower()] = CompiledQuery(quote(inside), inner.columns)
                spelt.append(f"{quote(inside)} AS ({inner.sql})")
            done = make()
        finally:
            self._with.pop()
        return CompiledQuery(f"WITH {', '.join(spelt)} {done.sql}", done.columns)

    def _renamed(self, query: CompiledQuery, alias: exp.TableAlias) -> CompiledQuery:
        """A query with the column names that are given behind its own name, if there are any."""
        only(alias, "this", "columns")
        names = [column.name for column in alias.args.get("columns") or []]
        if not names:
            return query
        if len(names) != len(query.columns):
            raise SqlError(f"List of column aliases must have same degree as table: {len(query.columns)}")
        listed = ", ".join(map(quote, names))
        columns = [(name, kind) for name, (_, kind) in zip(names, query.columns, strict=True)]
        return CompiledQuery(f"SELECT * FROM ({query.sql}) AS t({listed})", columns)

    # --- FROM ----------------------------------------------------------------------------------------------

    def _source(self, node: exp.Expr) -> tuple[str, Relation]:
        """A table, view or query in FROM, and what it is called there."""
        if isinstance(node, exp.Subquery):
            only(node, "this", "alias")
            inner = self.query(node.this)
            alias = node.args.get("alias")
            if alias is not None:
                inner = self._renamed(inner, alias)
            name = node.alias or self._unused("t")
            return f"({inner.sql}) AS {quote(name)}", Relation(name, inner.columns)
        if isinstance(node, exp.Table):
            only(node, "this", "alias", "db")
            inner_sql, columns = self._named(node)
            alias = node.args.get("alias")
            if alias is not None:
                only(alias, "this")
            name = node.alias or node.name
            return f"{inner_sql} AS {quote(name)}", Relation(name, columns)
        raise UnsupportedError(f"{type(node).__name__.upper()} in FROM")

    def _named(self, node: exp.Table) -> tuple[str, list[tuple[str, SqlType]]]:
        name = node.name
        if not isinstance(node.this, exp.Identifier):
            raise UnsupportedError("functions in FROM")
        if not node.db:
            for names in reversed(self._with):
                if name.lower() in names:
                    return names[name.lower()].sql, names[name.lower()].columns
        found = self._known.get(name.lower())
        if found is None or node.db.lower() not in ("", DATABASE):
            raise SqlError(f"Object '{name}' not found")
        if found.view_sql:
            held, self._with = self._with, []  # a view doesn't see the names of who asks
            try:
                inner = self.query(parse(found.view_sql))  # its tables may have changed since it was declared
                return f"({inner.sql})", inner.columns
            finally:
                self._with = held
        return f"main.{quote(found.name)}", [(name, kind.bare) for name, kind in found.fields]

    def _from(self, node: exp.Select) -> tuple[str, list[Relation]]:
        begun = node.args.get("from_")
        if begun is None:
            return "", []
        only(begun, "this")
        sql, relation = self._source(begun.this)
        text, relations = [f"FROM {sql}"], [relation]
        for join in node.args.get("joins") or []:
            only(join, "this", "side", "kind", "on")
            side, kind = (join.args.get("side") or "").upper(), (join.args.get("kind") or "").upper()
            if side not in ("", "LEFT") or kind not in ("", "INNER", "OUTER", "CROSS"):
                raise UnsupportedError(f"{side or kind} JOIN: only JOIN, LEFT JOIN and CROSS JOIN")
            sql, relation = self._source(join.this)
            if relation.alias.lower() in (other.alias.lower() for other in relations):
                raise SqlError(f"Duplicate relation name '{relation.alias}' in FROM clause")
            relations.append(relation)
            on = join.args.get("on")
            if on is None:
                if side:
                    raise SqlError("LEFT JOIN needs ON")
                text.append(f"CROSS JOIN {sql}")
            else:
                condition = self.condition(on, Scope(relations, counting=False), "ON")
                text.append(f"{side} JOIN {sql} ON {condition}")
        return " ".join(text), relations

    # --- SELECT --------------------------------------------------------------------------------------------

    def _select(self, node: exp.Select) -> CompiledQuery:
        only(
            node, "with_", "kind", "expressions", "from_", "joins", "where", "group", "having", "order", "limit",
            "offset", "distinct",
        )  # fmt: skip
        distinct = node.args.get("distinct")
        if distinct is not None and distinct.args.get("on"):
            raise SqlError("Incorrect syntax near the keyword 'ON'")
        if node.args.get("kind"):
            refuse("kind", node)
        begun, relations = self._from(node)
        where = node.args.get("where")
        chosen = f"WHERE {self.condition(where.this, Scope(relations, counting=False), 'WHERE')}" if where else ""
        results = self._results(node, relations)
        names = unique([name for name, _ in results])
        columns = [(name, one.type) for name, (_, one) in zip(names, results, strict=True)]
        aliases = {name.lower(): one for name, one in _last_wins(node, results)}
        text = [
            "SELECT DISTINCT" if distinct else "SELECT",
            ", ".join(f"{one.sql} AS {quote(name)}" for name, (_, one) in zip(names, results, strict=True)),
            begun,
            chosen,
            self._grouped(node.args.get("group"), results, Scope(relations, aliases, False)),
            self._having(node.args.get("having"), Scope(relations, aliases)),
            self._sorted(node.args.get("order"), results, aliases, Scope(relations)),
            _limits(node),
        ]
        return CompiledQuery(" ".join(part for part in text if part), columns)

    def _results(self, node: exp.Select, relations: list[Relation]) -> list[tuple[str, Typed]]:
        """Names and expressions of the result; stars are spelt out."""
        results = list[tuple[str, Typed]]()
        scope = Scope(relations)
        for item in node.expressions:
            if isinstance(item, exp.Star) or (isinstance(item, exp.Column) and isinstance(item.this, exp.Star)):
                results += _starred(item, relations)
                continue
            if isinstance(item, exp.Alias):
                only(item, "this", "alias")
                results.append((item.alias, self.expression(item.this, scope)))
                continue
            one = self.expression(item, scope)
            plain = isinstance(item, exp.Column)
            results.append((item.name if plain else f"EXPR${len(results)}", one))
        if not results:
            raise SqlError("nothing is selected")
        return results

    def _grouped(self, group: exp.Group | None, results: list[tuple[str, Typed]], scope: Scope) -> str:
        if group is None:
            return ""
        only(group, "expressions")
        keys = list[str]()
        for key in group.expressions:
            place = _ordinal(key, len(results), "GROUP BY")
            one = results[place - 1][1] if place else self.expression(key, scope)
            keys.append(one.sql)
        return f"GROUP BY {', '.join(keys)}"

    def _having(self, having: exp.Having | None, scope: Scope) -> str:
        if having is None:
            return ""
        if counts_rows(having.this):  # then names are columns, also those that results have too
            scope = Scope(scope.relations)
        return f"HAVING {self.condition(having.this, scope, 'HAVING')}"

    def _sorted(
        self, order: exp.Order | None, results: list[tuple[str, Typed]], aliases: Mapping[str, Typed], scope: Scope
    ) -> str:
        if order is None:
            return ""
        only(order, "expressions")
        keys = list[str]()
        places = {one.sql: place for place, (_, one) in reversed(list(enumerate(results, 1)))}
        for key in order.expressions:
            only(key, "this", "desc", "nulls_first")
            place = _ordinal(key.this, len(results), "ORDER BY")
            one = results[place - 1][1] if place else self.expression(key.this, Scope(scope.relations, aliases))
            keys.append(f"{places.get(one.sql, one.sql)} {direction(key)}")
        return f"ORDER BY {', '.join(keys)}"

    # --- UNION ALL -----------------------------------------------------------------------------------------

    def _union(self, node: exp.Union) -> CompiledQuery:
        only(node, "with_", "this", "expression", "order", "limit", "offset", "distinct")
        if node.args.get("distinct"):
            raise UnsupportedError("UNION, only UNION ALL")
        sides = [self.query(node.this), self.query(node.expression)]
        if len(sides[0].columns) != len(sides[1].columns):
            raise SqlError("Column count mismatch in UNION ALL")
        columns = list[tuple[str, SqlType]]()
        for (name, left), (_, right) in zip(sides[0].columns, sides[1].columns, strict=True):
            shared = common(left, right)
            if shared is None:
                raise SqlError(f"Type mismatch in column '{name}' of UNION ALL")
            columns.append((name, shared))
        spelt = " UNION ALL ".join(_cast_columns(side, columns) for side in sides)
        if not (node.args.get("order") or node.args.get("limit") or node.args.get("offset")):
            return CompiledQuery(spelt, columns)
        whole = Relation(self._unused("t"), columns)
        scope = Scope([whole])
        results = [(name, scope.column(name, "")) for name, _ in columns]
        text = [
            f"SELECT * FROM ({spelt}) AS {quote(whole.alias)}",
            self._sorted(node.args.get("order"), results, {}, scope),
            _limits(node),
        ]
        return CompiledQuery(" ".join(part for part in text if part), columns)

    def _unused(self, name: str) -> str:
        """A name for our own use that no statement has."""
        self._names += 1
        return f"{name} {self._names}"


def unique(names: list[str]) -> list[str]:
    """Names of results, of which no two are the same: a repeated one gets a number."""
    taken, made = set[str](), list[str]()
    for name in names:
        tried, number = name, 0
        while tried.lower() in taken:
            tried, number = f"{name}{number}", number + 1
        taken.add(tried.lower())
        made.append(tried)
    return made


def _starred(item: exp.Expr, relations: list[Relation]) -> list[tuple[str, Typed]]:
    star = item.this if isinstance(item, exp.Column) else item
    only(star, "this")
    table = item.table if isinstance(item, exp.Column) else ""
    found = [
        (name, Typed(f"{quote(relation.alias)}.{quote(name)}", kind))
        for relation in relations
        if not table or relation.alias.lower() == table.lower()
        for name, kind in relation.columns
    ]
    if not found:
        raise SqlError(f"Table '{table}' not found" if table else "'*' needs FROM")
    return found


def _last_wins(node: exp.Select, results: list[tuple[str, Typed]]) -> list[tuple[str, Typed]]:
    """Names that were given by AS; the names of plain columns are found in the tables."""
    given = {item.alias.lower() for item in node.expressions if isinstance(item, exp.Alias)}
    return [(name, one) for name, one in results if name.lower() in given]


def _ordinal(key: exp.Expr, count: int, clause: str) -> int:
    """Place of a result that a clause names by its number, 0 when it names it otherwise."""
    if not isinstance(key, exp.Literal) or key.is_string:
        return 0
    if not key.this.isdigit() or not 1 <= int(key.this) <= count:
        raise SqlError(f"{clause} ordinal out of range: {key.this}")
    return int(key.this)


def _limits(node: exp.Expr) -> str:
    text = []
    for name in ("limit", "offset"):
        part = node.args.get(name)
        if part is None:
            continue
        only(part, "expression")
        count = part.expression
        if not isinstance(count, exp.Literal) or count.is_string or not count.this.isdigit():
            raise UnsupportedError(f"{name.upper()} with anything but a whole number")
        text.append(f"{name.upper()} {min(int(count.this), _LARGEST)}")
    return " ".join(text)


def _cast_columns(side: CompiledQuery, columns: list[tuple[str, SqlType]]) -> str:
    """A side of UNION ALL with the names and types of the whole."""
    own = unique([name for name, _ in side.columns])
    inner = ", ".join(map(quote, own))
    outer = ", ".join(
        f"{cast_to(Typed(quote(name), have), kind).sql} AS {quote(wanted)}"
        for name, (_, have), (wanted, kind) in zip(own, side.columns, columns, strict=True)
    )
    return f"(SELECT {outer} FROM ({side.sql}) AS t({inner}))"
