"""One expression of a statement, made DuckDB's: every kind of node that is known, and nothing else."""

# ruff: noqa: S608  SQL is put together from quoted names and checked expressions

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import UTC, datetime
from typing import ClassVar

from sqlglot import exp

from infra.heavydb import functions as fn
from infra.heavydb.dialect import TIME_FUNCTIONS, only, text_literal
from infra.heavydb.errors import SqlError, StatementError, UnsupportedError
from infra.heavydb.scope import Query, Scope
from infra.heavydb.sql_types import (
    BIGINT,
    BOOL,
    DATE,
    DIGITS,
    DOUBLE,
    INT,
    NULL,
    TEXT,
    TIMESTAMP,
    SqlType,
    decimal,
    make_type,
)
from infra.heavydb.typed import (
    Typed,
    agree,
    all_agree,
    as_condition,
    calculate,
    cast_to,
    compare,
    negate,
)

_CALCULATIONS: dict[type, str] = {exp.Add: "+", exp.Sub: "-", exp.Mul: "*", exp.Div: "/", exp.Mod: "%"}
_COMPARISONS: dict[type, str] = {exp.EQ: "=", exp.NEQ: "<>", exp.LT: "<", exp.LTE: "<=", exp.GT: ">", exp.GTE: ">="}
_NOW = ("NOW", "CURRENT_TIMESTAMP")


class Expressions(ABC):
    """Makes expressions DuckDB's.

    Parameters
    ----------
    now : datetime
        What NOW() is in this statement.
    """

    def __init__(self, now: datetime) -> None:
        self.now = now.astimezone(UTC)

    @abstractmethod
    def query(self, node: exp.Expr) -> Query:
        """A query within an expression."""

    def expression(self, node: exp.Expr, scope: Scope) -> Typed:
        """An expression and its type.

        Raises
        ------
        StatementError
            HeavyDB doesn't know it, the stand-in doesn't, or its names and types don't fit.
        """
        if type(node) in _CALCULATIONS:
            only(node, "this", "expression", "typed", "safe")
            return self._calculation(_CALCULATIONS[type(node)], node, scope)
        if type(node) in _COMPARISONS:
            only(node, "this", "expression")
            left, right = self.expression(node.this, scope), self.expression(node.expression, scope)
            return compare(_COMPARISONS[type(node)], left, right)
        make = self._MAKERS.get(type(node))
        if make is None:
            raise UnsupportedError(f"{type(node).__name__} in an expression")
        return make(self, node, scope)

    def condition(self, node: exp.Expr, scope: Scope, where: str) -> str:
        """A condition."""
        return as_condition(self.expression(node, scope), where)

    # --- literals and names --------------------------------------------------------------------------------

    def _literal(self, node: exp.Literal, scope: Scope) -> Typed:
        text = node.this
        if node.is_string:
            return Typed(text_literal(text), TEXT, constant=True, literal=text)
        if text.isdigit():
            value = int(text)
            if value >= 2**63:
                raise SqlError(f"Numeric literal '{text}' out of range")
            kind = INT if value < 2**31 else BIGINT
            return Typed(f"CAST({value} AS {kind.duckdb})", kind, constant=True)
        whole, _, rest = text.partition(".")
        if "e" in text.lower() or len(whole) + len(rest) > DIGITS:
            return Typed(f"CAST({float(text)!r} AS DOUBLE)", DOUBLE, constant=True)
        kind = decimal(max(len(whole) + len(rest), 1), len(rest))
        return Typed(f"CAST('{text}' AS {kind.duckdb})", kind, constant=True)

    def _null(self, node: exp.Null, scope: Scope) -> Typed:
        return Typed("NULL", NULL, constant=True)

    def _boolean(self, node: exp.Boolean, scope: Scope) -> Typed:
        return Typed("TRUE" if node.this else "FALSE", BOOL)

    def _column(self, node: exp.Column, scope: Scope) -> Typed:
        only(node, "this", "table")
        name = node.name
        if isinstance(node.this, exp.Star):
            raise SqlError("'*' can't stand here")
        if not node.table and not node.this.args.get("quoted"):
            if name.upper() in _NOW:
                return self._moment()
            if name.upper() == "CURRENT_DATE":
                return Typed(f"DATE '{self.now:%Y-%m-%d}'", DATE)
        return scope.column(name, node.table)

    def _moment(self) -> Typed:
        return Typed(f"CAST(TIMESTAMP '{self.now:%Y-%m-%d %H:%M:%S}' AS TIMESTAMP_S)", TIMESTAMP)

    def _paren(self, node: exp.Paren, scope: Scope) -> Typed:
        only(node, "this")
        return self.expression(node.this, scope)

    # --- calculations --------------------------------------------------------------------------------------

    def _calculation(self, operator: str, node: exp.Expr, scope: Scope) -> Typed:
        left, right = node.this, node.expression
        if isinstance(right, exp.Interval) and operator in "+-":
            return self._shifted(self.expression(left, scope), right, operator, scope)
        if isinstance(left, exp.Interval) and operator == "+":
            return self._shifted(self.expression(right, scope), left, operator, scope)
        return calculate(operator, self.expression(left, scope), self.expression(right, scope))

    def _shifted(self, at: Typed, interval: exp.Interval, operator: str, scope: Scope) -> Typed:
        only(interval, "this", "unit")
        count, unit = interval.this, interval.args.get("unit")
        if not isinstance(unit, exp.Var):
            raise SqlError("an interval has one unit: INTERVAL '5' MINUTE")
        if isinstance(count, exp.Literal) and count.is_string:
            try:
                number = Typed(f"CAST({int(count.this)} AS BIGINT)", BIGINT, constant=True)
            except ValueError:
                raise UnsupportedError(f"the interval '{count.this}' {unit.name}, only whole numbers") from None
        else:
            number = self.expression(count, scope)
        if operator == "-":
            number = negate(number)
        return fn.add_time(unit.name, number, at, "INTERVAL")

    def _negated(self, node: exp.Neg, scope: Scope) -> Typed:
        only(node, "this")
        return negate(self.expression(node.this, scope))

    def _joined_text(self, node: exp.DPipe, scope: Scope) -> Typed:
        parts = [self.expression(node.this, scope), self.expression(node.expression, scope)]
        if any(part.type.kind not in ("STR", "NULL") for part in parts):
            raise SqlError("Cannot apply '||' to what isn't text: use CAST(… AS TEXT)")
        return Typed(f"({parts[0].sql} || {parts[1].sql})", TEXT)

    def _cast(self, node: exp.Cast, scope: Scope) -> Typed:
        only(node, "this", "to")
        return cast_to(self.expression(node.this, scope), named_type(node.args["to"]))

    def _case(self, node: exp.Case, scope: Scope) -> Typed:
        only(node, "this", "ifs", "default")
        subject = self.expression(node.this, scope) if node.this else None
        conditions, values = list[str](), list[Typed]()
        for branch in node.args["ifs"]:
            if subject is None:
                conditions.append(self.condition(branch.this, scope, "WHEN"))
            else:
                conditions.append(compare("=", subject, self.expression(branch.this, scope)).sql)
            values.append(self.expression(branch.args["true"], scope))
        default = node.args.get("default")
        values.append(self.expression(default, scope) if default else Typed("NULL", NULL))
        values, kind = all_agree(values, "CASE")
        whens = " ".join(f"WHEN {c} THEN {v.sql}" for c, v in zip(conditions, values, strict=False))
        return Typed(f"(CASE {whens} ELSE {values[-1].sql} END)", kind)

    # --- conditions ----------------------------------------------------------------------------------------

    def _both(self, node: exp.And | exp.Or, scope: Scope) -> Typed:
        only(node, "this", "expression")
        word = "AND" if isinstance(node, exp.And) else "OR"
        left = self.condition(node.this, scope, word)
        return Typed(f"({left} {word} {self.condition(node.expression, scope, word)})", BOOL)

    def _not(self, node: exp.Not, scope: Scope) -> Typed:
        only(node, "this")
        return Typed(f"(NOT {self.condition(node.this, scope, 'NOT')})", BOOL)

    def _is(self, node: exp.Is, scope: Scope) -> Typed:
        only(node, "this", "expression")
        one, what = self.expression(node.this, scope), node.expression
        if isinstance(what, exp.Null):
            return Typed(f"({one.sql} IS NULL)", BOOL)
        if isinstance(what, exp.Boolean):
            return Typed(f"({as_condition(one, 'IS')} IS {'TRUE' if what.this else 'FALSE'})", BOOL)
        raise UnsupportedError("IS with anything but NULL, TRUE and FALSE")

    def _between(self, node: exp.Between, scope: Scope) -> Typed:
        only(node, "this", "low", "high")
        one = self.expression(node.this, scope)
        low = compare(">=", one, self.expression(node.args["low"], scope))
        high = compare("<=", one, self.expression(node.args["high"], scope))
        return Typed(f"({low.sql} AND {high.sql})", BOOL)

    def _in(self, node: exp.In, scope: Scope) -> Typed:
        only(node, "this", "expressions", "query")
        one = self.expression(node.this, scope)
        if node.args.get("query"):
            inner = self.query(node.args["query"])
            if len(inner.columns) != 1:
                raise SqlError("IN takes a query of one column")
            kind = inner.columns[0][1]
            left, right = agree(one, Typed("answer.c", kind), "IN")
            return Typed(f"({left.sql} IN (SELECT {right.sql} FROM ({inner.sql}) AS answer(c)))", BOOL)
        tests = [compare("=", one, self.expression(item, scope)).sql for item in node.expressions]
        if not tests:
            raise SqlError("IN needs something to look in")
        return Typed(f"({' OR '.join(tests)})", BOOL)

    def _exists(self, node: exp.Exists, scope: Scope) -> Typed:
        return Typed(f"EXISTS ({self.query(node.this).sql})", BOOL)

    def _subquery(self, node: exp.Subquery, scope: Scope) -> Typed:
        only(node, "this")
        inner = self.query(node.this)
        if len(inner.columns) != 1:
            raise SqlError("a query in an expression has one column")
        return Typed(f"({inner.sql})", inner.columns[0][1])

    def _like(self, node: exp.Like | exp.ILike, scope: Scope) -> Typed:
        only(node, "this", "expression")
        one, pattern = self.expression(node.this, scope), self.expression(node.expression, scope)
        if one.type.kind != "STR" or pattern.literal is None:
            raise SqlError("LIKE compares text with a pattern in quotes")
        word = "LIKE" if isinstance(node, exp.Like) else "ILIKE"
        return Typed(f"({one.sql} {word} {pattern.sql})", BOOL)

    # --- functions -----------------------------------------------------------------------------------------

    def _extract(self, node: exp.Extract, scope: Scope) -> Typed:
        return fn.part_of_time(node.name, self.expression(node.expression, scope))

    def _substring(self, node: exp.Substring, scope: Scope) -> Typed:
        only(node, "this", "start", "length")
        one = self.expression(node.this, scope)
        if one.type.kind != "STR":
            raise SqlError("SUBSTRING takes text")
        numbers = [self.expression(node.args[key], scope) for key in ("start", "length") if node.args.get(key)]
        listed = ", ".join([one.sql, *(cast_to(number, INT).sql for number in numbers)])
        return Typed(f"substring({listed})", TEXT)

    def _trim(self, node: exp.Trim, scope: Scope) -> Typed:
        only(node, "this")
        one = self.expression(node.this, scope)
        if one.type.kind != "STR":
            raise SqlError("TRIM takes text")
        return Typed(f"trim({one.sql})", TEXT)

    def _call(self, node: exp.Anonymous, scope: Scope) -> Typed:
        name = node.name.upper()
        if name in _NOW and not node.expressions:
            return self._moment()
        if name in TIME_FUNCTIONS:
            return self._time_call(name, node.expressions, scope)
        if name in fn.SCALARS:
            return fn.SCALARS[name]([self.expression(one, scope) for one in node.expressions])
        if name in fn.CORRELATIONS:
            self._refuse_counting(name, scope)
            if len(node.expressions) != 2:
                raise SqlError(f"Invalid number of arguments to function '{name}'")
            return fn.correlation(name, *(self.expression(one, scope) for one in node.expressions))
        return self._aggregate(node, scope).typed

    def _within_group(self, node: exp.WithinGroup, scope: Scope) -> Typed:
        raise SqlError(f"Incorrect syntax near the keyword '{node.this.name.upper()}'")

    def _time_call(self, name: str, arguments: list[exp.Expr], scope: Scope) -> Typed:
        wanted = 2 if name in ("DATE_TRUNC", "DATEPART") else 3
        if len(arguments) != wanted:
            raise SqlError(f"Invalid number of arguments to function '{name}'. Was expecting {wanted} arguments")
        first = arguments[0]
        if not isinstance(first, exp.Column | exp.Literal | exp.Var):
            raise SqlError(f"{name} begins with a unit of time")
        rest = [self.expression(one, scope) for one in arguments[1:]]
        if name == "DATE_TRUNC":
            return fn.truncate_time(first.name, rest[0])
        if name == "DATEPART":
            return fn.part_of_time(fn.unit_of(first.name, name), rest[0])
        if name in ("DATEADD", "TIMESTAMPADD"):
            return fn.add_time(first.name, rest[0], rest[1], name)
        return fn.time_between(first.name, rest[0], rest[1], name)

    def _refuse_counting(self, name: str, scope: Scope) -> None:
        if not scope.counting:
            raise SqlError(f"Aggregate expression is illegal here: {name}")

    def _aggregate(self, node: exp.Expr, scope: Scope) -> fn.Aggregate:
        """A function of many rows, without what may be around it."""
        if not isinstance(node, exp.Anonymous):
            raise UnsupportedError(f"{type(node).__name__} as a function of many rows")
        name, arguments = node.name.upper(), node.expressions
        if name == "COUNT":
            self._refuse_counting(name, scope)
            return self._count(arguments, scope)
        if name not in fn.AGGREGATES:
            if name in fn.WINDOW_FUNCTIONS:
                raise SqlError(f"OVER clause is necessary for window functions: {name}")
            if name in fn.NOT_STANDING_IN:
                raise UnsupportedError(f"the function {name}")
            signature = ", ".join("<ANY>" for _ in arguments)
            raise SqlError(f"No match found for function signature {node.name}({signature})")
        self._refuse_counting(name, scope)
        if any(isinstance(one, exp.Distinct) for one in arguments):
            raise UnsupportedError(f"{name}(DISTINCT …), only COUNT(DISTINCT …)")
        counts, make = fn.AGGREGATES[name]
        if len(arguments) not in counts:
            raise SqlError(f"Invalid number of arguments to function '{name}'")
        return make([self.expression(one, Scope(scope.relations, scope.aliases, False)) for one in arguments])

    def _count(self, arguments: list[exp.Expr], scope: Scope) -> fn.Aggregate:
        """COUNT gives 32 bits, as HeavyDB does unless it is told otherwise."""
        inner = Scope(scope.relations, scope.aliases, False)
        if len(arguments) != 1:
            raise UnsupportedError("COUNT of anything but one expression")
        if isinstance(arguments[0], exp.Star):
            call = "count(*)"
        elif isinstance(arguments[0], exp.Distinct):
            only(arguments[0], "expressions")
            if len(arguments[0].expressions) != 1:
                raise UnsupportedError("COUNT(DISTINCT …) of several expressions")
            call = f"count(DISTINCT {self.expression(arguments[0].expressions[0], inner).sql})"
        else:
            call = f"count({self.expression(arguments[0], inner).sql})"
        return fn.Aggregate(call, "CAST({} AS INTEGER)", INT)

    def _filtered(self, node: exp.Filter, scope: Scope) -> Typed:
        condition = node.expression.this
        if not _never_null(condition):
            raise StatementError("filter must be BOOLEAN NOT NULL")
        call = self._aggregate(node.this, scope)
        chosen = self.condition(condition, Scope(scope.relations, counting=False), "FILTER")
        return Typed(call.wrap.format(f"{call.call} FILTER (WHERE {chosen})"), call.type)

    def _window(self, node: exp.Window, scope: Scope) -> Typed:
        only(node, "this", "partition_by", "order", "spec", "over")
        called = node.this
        if isinstance(called, exp.Anonymous) and called.name.upper() in fn.WINDOW_FUNCTIONS:
            arguments = [self.expression(one, scope) for one in called.expressions]
            call = fn.window_call(called.name.upper(), arguments)
        else:
            call = self._aggregate(called, Scope(scope.relations, scope.aliases))
            if call.type == INT and call.call.startswith("count("):
                call = fn.Aggregate(call.call, "{}", BIGINT)
        parts = list[str]()
        if node.args.get("partition_by"):
            keys = ", ".join(self.expression(one, scope).sql for one in node.args["partition_by"])
            parts.append(f"PARTITION BY {keys}")
        if node.args.get("order"):
            keys = ", ".join(self.ordered(one, scope) for one in node.args["order"].expressions)
            parts.append(f"ORDER BY {keys}")
        if node.args.get("spec"):
            parts.append(self._frame(node.args["spec"]))
        return Typed(call.wrap.format(f"{call.call} OVER ({' '.join(parts)})"), call.type)

    def _frame(self, spec: exp.WindowSpec) -> str:
        only(spec, "kind", "start", "start_side", "end", "end_side")
        kind = str(spec.args["kind"]).upper()
        if kind not in ("ROWS", "RANGE"):
            raise UnsupportedError(f"window frames by {kind}")

        def edge(where: object, side: object) -> str:
            if isinstance(where, exp.Literal) and not where.is_string and where.this.isdigit() and kind == "ROWS":
                return f"{int(where.this)} {side}"
            if str(where).upper() in ("UNBOUNDED", "CURRENT ROW"):
                return f"{where} {side or ''}"
            raise UnsupportedError("window frames with edges other than whole numbers of rows")

        start = edge(spec.args["start"], spec.args.get("start_side"))
        end = edge(spec.args.get("end") or "CURRENT ROW", spec.args.get("end_side"))
        return f"{kind} BETWEEN {start} AND {end}"

    def ordered(self, node: exp.Ordered, scope: Scope) -> str:
        """A key to sort by; NULL is greater than anything unless it is said."""
        only(node, "this", "desc", "nulls_first")
        one = self.expression(node.this, scope)
        return f"{one.sql} {direction(node)}"

    _MAKERS: ClassVar[dict[type, Callable[..., Typed]]] = {
        exp.Literal: _literal,
        exp.Null: _null,
        exp.Boolean: _boolean,
        exp.Column: _column,
        exp.Paren: _paren,
        exp.Neg: _negated,
        exp.DPipe: _joined_text,
        exp.Cast: _cast,
        exp.Case: _case,
        exp.And: _both,
        exp.Or: _both,
        exp.Not: _not,
        exp.Is: _is,
        exp.Between: _between,
        exp.In: _in,
        exp.Exists: _exists,
        exp.Subquery: _subquery,
        exp.Like: _like,
        exp.ILike: _like,
        exp.Extract: _extract,
        exp.Substring: _substring,
        exp.Trim: _trim,
        exp.Anonymous: _call,
        exp.Filter: _filtered,
        exp.Window: _window,
        exp.WithinGroup: _within_group,
    }


def direction(node: exp.Ordered) -> str:
    """How a key is sorted."""
    down = "DESC" if node.args.get("desc") else "ASC"
    return f"{down} NULLS {'FIRST' if node.args.get('nulls_first') else 'LAST'}"


def named_type(node: exp.DataType) -> SqlType:
    """The type that a CAST names."""
    only(node, "this", "expressions")
    numbers = list[int]()
    for parameter in node.expressions:
        if not isinstance(parameter, exp.DataTypeParam) or not parameter.name.isdigit():
            raise UnsupportedError("a type with other parameters than whole numbers")
        numbers.append(int(parameter.name))
    return make_type(node.this.name, numbers)


def counts_rows(node: exp.Expr) -> bool:
    """Whether a function of many rows is somewhere in an expression."""
    names = {call.name.upper() for call in node.find_all(exp.Anonymous)}
    return not names.isdisjoint((*fn.AGGREGATES, *fn.CORRELATIONS, "COUNT"))


def _never_null(node: exp.Expr) -> bool:
    """Whether a condition is true or false on any row."""
    if isinstance(node, exp.And | exp.Or):
        return _never_null(node.this) and _never_null(node.expression)
    if isinstance(node, exp.Not | exp.Paren):
        return _never_null(node.this)
    return isinstance(node, exp.Boolean | exp.Is)
