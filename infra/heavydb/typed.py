"""Expressions in DuckDB's SQL with the type that HeavyDB gives them, and what can be done to any of them.

DuckDB's own rules differ: its ``/`` gives a double, its decimals grow, its conversions round half to even. So each
operation is written out with the type of its result.
"""

from __future__ import annotations

from dataclasses import dataclass

from infra.heavydb.dialect import text_literal
from infra.heavydb.errors import SqlError, UnsupportedError
from infra.heavydb.sql_types import BIGINT, BOOL, DIGITS, DOUBLE, TEMPORAL, TIMESTAMP, SqlType, common, decimal

_LEAST_SECOND, _LAST_SECOND = -(2**31) + 1, 2**31 - 1
"""What TIMESTAMP ENCODING FIXED(32) holds. [s since 1970]"""


@dataclass(frozen=True)
class Typed:
    """An expression.

    Attributes
    ----------
    sql : str
        For DuckDB; stands for itself wherever it is put.
    type : SqlType
        HeavyDB's.
    constant : bool
        Made of literals alone.
    literal : str or None
        The text, where it is a string as it was written: HeavyDB reads those as times too.
    """

    sql: str
    type: SqlType
    constant: bool = False
    literal: str | None = None


def cast_to(one: Typed, to: SqlType) -> Typed:
    """CAST, as HeavyDB does it: to whole numbers half away from zero.

    Raises
    ------
    SqlError
        There is no such conversion.
    """
    have = one.type
    if have.bare == to.bare:
        return Typed(one.sql, to.bare, one.constant)
    sql = None
    if have.kind == "NULL" or to.kind == "STR":
        sql = one.sql
    elif have.kind == "STR":
        sql = f"CAST({one.sql} AS TIMESTAMP)" if to.kind in TEMPORAL else one.sql
    elif have.is_number and to.is_number:
        whole = to.is_integer and have.kind in ("FLOAT", "DOUBLE")
        sql = f"round({one.sql})" if whole else one.sql
    elif have.kind == "BOOL" and to.is_number:
        sql = one.sql
    elif have.kind in TEMPORAL and to.kind in TEMPORAL:
        sql = f"CAST({one.sql} AS TIMESTAMP)"
    elif have.kind in TEMPORAL and to.is_integer and have.precision == 0:
        sql = f"(epoch_us(CAST({one.sql} AS TIMESTAMP)) // 1000000)"
    elif have.is_integer and to == TIMESTAMP:
        sql = f"make_timestamp(CAST({one.sql} AS BIGINT) * 1000000)"
    if sql is None:
        raise SqlError(f"Cast function cannot convert value of type {have.declared} to type {to.declared}")
    return Typed(f"CAST({sql} AS {to.duckdb})", to.bare, one.constant)


def fit(one: Typed, column: SqlType, name: str) -> str:
    """What is written into a column: converted, and refused where the column can't hold it.

    The least whole number of a type stands for NULL in HeavyDB, so it can't be written either.
    """
    value = cast_to(one, column)
    limits = column.limits
    if limits is not None:
        low, high = limits
        inside = f"{value.sql} BETWEEN {low} AND {high} OR {value.sql} IS NULL"
    elif column.kind == "TIMESTAMP" and column.encoding == "FIXED":
        second = f"epoch_us(CAST({value.sql} AS TIMESTAMP)) // 1000000"
        inside = f"{second} BETWEEN {_LEAST_SECOND} AND {_LAST_SECOND} OR {value.sql} IS NULL"
    else:
        return value.sql
    problem = text_literal(f"Overflow or underflow: column {name} is {column.declared}")
    return f"CASE WHEN {inside} THEN {value.sql} ELSE error({problem}) END"


def agree(left: Typed, right: Typed, what: str) -> tuple[Typed, Typed]:
    """Two expressions brought to one type, to be compared or chosen between.

    Raises
    ------
    SqlError
        They have none in common.
    """
    left, right = _read_times(left, right)
    shared = common(left.type, right.type)
    if shared is None:
        raise SqlError(
            f"Cannot apply '{what}' to arguments of type '<{left.type.declared}> {what} <{right.type.declared}>'"
        )
    if shared.is_number:
        return left, right
    return cast_to(left, shared), cast_to(right, shared)


def all_agree(ones: list[Typed], what: str) -> tuple[list[Typed], SqlType]:
    """Expressions of which one will be the result, and its type."""
    shared = ones[0].type.bare
    for one in ones[1:]:
        found = common(shared, one.type)
        if found is None:
            raise SqlError(f"Illegal mixing of types in {what}: {shared.declared} and {one.type.declared}")
        shared = found
    return [cast_to(one, shared) for one in ones], shared


def compare(operator: str, left: Typed, right: Typed) -> Typed:
    """A comparison."""
    left, right = agree(left, right, operator)
    return Typed(f"({left.sql} {operator} {right.sql})", BOOL)


def negate(one: Typed) -> Typed:
    """The number with the other sign."""
    if not one.type.is_number:
        raise SqlError(f"Cannot apply '-' to arguments of type '-<{one.type.declared}>'")
    return Typed(f"(-{one.sql})", one.type.bare, one.constant)


def calculate(operator: str, left: Typed, right: Typed) -> Typed:
    """``+ - * / %`` of two numbers.

    Whole numbers divide to whole ones, toward zero; whole constants are added in 64 bits; decimals divide at the
    scale of the larger one, toward zero; nothing is divided by zero.

    Raises
    ------
    SqlError
        They aren't numbers.
    """
    shared = common(left.type, right.type)
    if shared is None or not (shared.is_number or shared.kind == "NULL"):
        raise SqlError(
            f"Cannot apply '{operator}' to arguments of type "
            f"'<{left.type.declared}> {operator} <{right.type.declared}>'"
        )
    constant = left.constant and right.constant
    if operator == "%" and not shared.is_integer:
        raise SqlError("Cannot apply '%' to arguments that aren't whole numbers")
    if shared.kind == "DECIMAL":
        return _calculate_decimal(operator, left, right)
    if shared.is_integer and constant and operator in "+-*":
        shared = BIGINT
    left, right = cast_to(left, shared), cast_to(right, shared)
    if operator in "/%":
        done = f"{left.sql} {'//' if operator == '/' and shared.is_integer else operator} {right.sql}"
        return Typed(_unless_zero(right, done), shared, constant)
    return Typed(f"({left.sql} {operator} {right.sql})", shared, constant)


def _calculate_decimal(operator: str, left: Typed, right: Typed) -> Typed:
    scales = left.type.scale, right.type.scale
    scale = sum(scales) if operator == "*" else max(scales)
    if scale > DIGITS:
        raise UnsupportedError(f"decimals of {scale} digits behind the point")
    result = decimal(DIGITS, scale)
    constant = left.constant and right.constant
    if operator == "*":
        left, right = (cast_to(one, decimal(DIGITS, own)) for one, own in zip((left, right), scales, strict=True))
        return Typed(f"CAST({left.sql} * {right.sql} AS {result.duckdb})", result, constant)
    left, right = cast_to(left, result), cast_to(right, result)
    if operator != "/":
        return Typed(f"CAST({left.sql} {operator} {right.sql} AS {result.duckdb})", result, constant)
    # both as whole numbers of the last digit, divided as such, and the quotient put behind the point again
    unit = 10**scale
    above, below = (f"CAST({one.sql} * {unit} AS HUGEINT)" for one in (left, right))
    quotient = f"CAST({above} * {unit} // {below} AS DECIMAL(19,0))"
    last_digit = f"CAST('{1 / unit:.{scale}f}' AS DECIMAL({scale + 1},{scale}))"
    return Typed(_unless_zero(right, f"CAST({quotient} * {last_digit} AS {result.duckdb})"), result, constant)


def _unless_zero(divisor: Typed, done: str) -> str:
    return f"(CASE WHEN {divisor.sql} = 0 THEN error('Division by zero') ELSE {done} END)"


def as_double(one: Typed) -> str:
    """A number as DuckDB's double."""
    if not one.type.is_number and one.type.kind != "NULL":
        raise SqlError(f"a number is needed here, not {one.type.declared}")
    return cast_to(one, DOUBLE).sql


def as_condition(one: Typed, where: str) -> str:
    """A condition. Raises SqlError for anything that is neither true nor false."""
    if one.type.kind not in ("BOOL", "NULL"):
        raise SqlError(f"{where} clause must be a condition, not {one.type.declared}")
    return one.sql


def _read_times(left: Typed, right: Typed) -> tuple[Typed, Typed]:
    """Strings that are compared with times are times."""
    if left.literal is not None and right.type.kind in TEMPORAL:
        left = cast_to(left, right.type)
    elif right.literal is not None and left.type.kind in TEMPORAL:
        right = cast_to(right, left.type)
    return left, right
