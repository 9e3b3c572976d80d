"""The functions of HeavyDB that the stand-in knows, each with its meaning in DuckDB.

`SCALARS` take typed arguments; `AGGREGATES` give a call that may stand before OVER, and what is made of its result.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from infra.heavydb.errors import SqlError, StatementError, UnsupportedError
from infra.heavydb.sql_types import BIGINT, DIGITS, DOUBLE, INT, TEXT, TIMESTAMP, SqlType, decimal
from infra.heavydb.typed import Typed, all_agree, as_condition, as_double, calculate, cast_to

CORRELATIONS = ("CORR", "CORRELATION", "COVAR_POP")
_LEFT_OUT = """
ANY_VALUE ARRAY_LENGTH BASE64_DECODE BASE64_ENCODE CARDINALITY CONCAT CONTAINS CONVERT_TIMEZONE COVAR_SAMP
CURRENT_TIME CURRENT_USER DECODE DISTANCE_IN_METERS ENCODE_TEXT HASH INITCAP ISNULL JSON_VALUE KEY_FOR_STRING
LIKELY LPAD LTRIM OVERLAY RAND RANDOM REGEXP_COUNT REGEXP_LIKE REGEXP_REPLACE REGEXP_SUBSTR REPEAT REPLACE
REVERSE RPAD RTRIM SINGLE_VALUE SPLIT_PART STRTOK ST_CONTAINS ST_DISTANCE ST_POINT TRUNCATE TRY_CAST UNLIKELY
URL_DECODE URL_ENCODE
"""
NOT_STANDING_IN = frozenset(_LEFT_OUT.split())
"""Functions of HeavyDB that we don't stand in for; all others it doesn't have either."""
_UNITS = {
    "YEAR": ("YEAR", "YY", "YYYY", "SQL_TSI_YEAR"),
    "QUARTER": ("QUARTER", "QQ", "Q", "SQL_TSI_QUARTER"),
    "MONTH": ("MONTH", "MM", "M", "SQL_TSI_MONTH"),
    "WEEK": ("WEEK", "WW", "W", "SQL_TSI_WEEK"),
    "DAY": ("DAY", "DD", "D", "SQL_TSI_DAY"),
    "HOUR": ("HOUR", "HH", "SQL_TSI_HOUR"),
    "MINUTE": ("MINUTE", "MI", "N", "SQL_TSI_MINUTE"),
    "SECOND": ("SECOND", "SS", "S", "SQL_TSI_SECOND"),
}
_UNIT_OF = {spelt: unit for unit, all_spelt in _UNITS.items() for spelt in all_spelt}
_PARTS = {
    **{unit: unit.lower() for unit in _UNITS},
    "DOW": "dow",
    "ISODOW": "isodow",
    "DOY": "doy",
    "EPOCH": "epoch",
}


@dataclass(frozen=True)
class Aggregate:
    """A call that many rows go into.

    Attributes
    ----------
    call : str
        For DuckDB; OVER may follow.
    wrap : str
        What is made of its result; ``{}`` stands for the call.
    """

    call: str
    wrap: str
    type: SqlType

    @property
    def typed(self) -> Typed:
        """The result, without a window."""
        return Typed(self.wrap.format(self.call), self.type)


Scalar = Callable[[list[Typed]], Typed]


def unit_of(name: str, function: str) -> str:
    """A unit of time by any of its names.

    Raises
    ------
    UnsupportedError
        HeavyDB has some that are finer than a second, or more than a year; the stand-in hasn't.
    """
    unit = _UNIT_OF.get(name.upper())
    if unit is None:
        raise UnsupportedError(f"the unit {name.upper()} in {function}")
    return unit


def truncate_time(unit: str, at: Typed) -> Typed:
    """DATE_TRUNC: the beginning of the hour, day, … that a time is in; weeks begin on Monday."""
    kind = _time_type(at, "DATE_TRUNC")
    part = unit_of(unit, "DATE_TRUNC").lower()
    return Typed(f"CAST(date_trunc('{part}', {_instant(at)}) AS {kind.duckdb})", kind)


def part_of_time(part: str, at: Typed) -> Typed:
    """EXTRACT."""
    _time_type(at, "EXTRACT")
    if part.upper() not in _PARTS:
        raise UnsupportedError(f"{part.upper()} in EXTRACT")
    if part.upper() == "EPOCH":
        return Typed(f"(epoch_us({_instant(at)}) // 1000000)", BIGINT)
    return Typed(f"CAST(date_part('{_PARTS[part.upper()]}', {_instant(at)}) AS BIGINT)", BIGINT)


def add_time(unit: str, count: Typed, at: Typed, function: str) -> Typed:
    """DATEADD, TIMESTAMPADD, and adding an interval."""
    kind = _time_type(at, function)
    if not count.type.is_integer:
        raise SqlError(f"{function} adds a whole number of units, not {count.type.declared}")
    name = unit_of(unit, function).lower()
    wide = "BIGINT" if name in ("hour", "minute", "second") else "INTEGER"
    plural = f"to_{name}s(CAST({count.sql} AS {wide}))"
    return Typed(f"CAST({_instant(at)} + {plural} AS {kind.duckdb})", kind)


def time_between(unit: str, start: Typed, end: Typed, function: str) -> Typed:
    """DATEDIFF, TIMESTAMPDIFF: whole units from start to end, toward zero."""
    _time_type(start, function)
    _time_type(end, function)
    part = unit_of(unit, function).lower()
    return Typed(f"date_sub('{part}', {_instant(start)}, {_instant(end)})", BIGINT)


def _time_type(at: Typed, function: str) -> SqlType:
    """Type of a time that a function makes of another: dates become timestamps."""
    if at.type.kind == "DATE":
        return TIMESTAMP
    if at.type.kind != "TIMESTAMP":
        raise SqlError(f"Cannot apply '{function}' to arguments of type '<{at.type.declared}>'")
    if at.type.precision > 6:
        raise UnsupportedError(f"{function} of TIMESTAMP(9)")
    return at.type.bare


def _instant(at: Typed) -> str:
    return f"CAST({at.sql} AS TIMESTAMP)"


# --- functions of one row -----------------------------------------------------------------------------------


def _count_of(arguments: list[Typed], *allowed: int) -> None:
    if len(arguments) not in allowed:
        raise SqlError(f"Invalid number of arguments: {len(arguments)}, expected {' or '.join(map(str, allowed))}")


def _number(one: Typed) -> Typed:
    if not one.type.is_number and one.type.kind != "NULL":
        raise SqlError(f"No match found for function signature with <{one.type.declared}>: a number is needed")
    return one


def _roomy(kind: SqlType) -> SqlType:
    """A type of the same numbers with room for one digit more."""
    return decimal(DIGITS, kind.scale) if kind.kind == "DECIMAL" else kind.bare


def _same(duckdb: str) -> Scalar:
    """A function whose result is of its argument's type."""

    def made(arguments: list[Typed]) -> Typed:
        _count_of(arguments, 1)
        one = _number(arguments[0])
        kind = _roomy(one.type)
        return Typed(f"CAST({duckdb}({one.sql}) AS {kind.duckdb})", kind, one.constant)

    return made


def _real(duckdb: str, count: int = 1) -> Scalar:
    """A function of doubles."""

    def made(arguments: list[Typed]) -> Typed:
        _count_of(arguments, count)
        return Typed(f"{duckdb}({', '.join(as_double(one) for one in arguments)})", DOUBLE)

    return made


def _text(duckdb: str, result: SqlType) -> Scalar:
    def made(arguments: list[Typed]) -> Typed:
        _count_of(arguments, 1)
        if arguments[0].type.kind != "STR":
            raise SqlError(f"No match found for function signature with <{arguments[0].type.declared}>")
        return Typed(f"CAST({duckdb}({arguments[0].sql}) AS {result.duckdb})", result)

    return made


def _round(arguments: list[Typed]) -> Typed:
    _count_of(arguments, 1, 2)
    one, digits = _number(arguments[0]), "0"
    if len(arguments) == 2:
        if not arguments[1].constant or not arguments[1].type.is_integer:
            raise UnsupportedError("ROUND to a number of digits that isn't a constant")
        digits = f"CAST({arguments[1].sql} AS INTEGER)"
    kind = _roomy(one.type)
    return Typed(f"CAST(round({one.sql}, {digits}) AS {kind.duckdb})", kind)


def _mod(arguments: list[Typed]) -> Typed:
    _count_of(arguments, 2)
    return calculate("%", *arguments)


def _coalesce(arguments: list[Typed]) -> Typed:
    if len(arguments) < 2:
        raise SqlError("Invalid number of arguments to function 'COALESCE'")
    ones, kind = all_agree(arguments, "COALESCE")
    return Typed(f"coalesce({', '.join(one.sql for one in ones)})", kind)


def _better(name: str, operator: str) -> Scalar:
    """GREATEST, LEAST: the first where it is better, else the second. So a NULL counts only in the second place."""

    def made(arguments: list[Typed]) -> Typed:
        if len(arguments) != 2:
            raise UnsupportedError(f"{name} of {len(arguments)} values, only of two")
        (first, second), kind = all_agree(arguments, name)
        return Typed(f"(CASE WHEN {first.sql} {operator} {second.sql} THEN {first.sql} ELSE {second.sql} END)", kind)

    return made


def _nullif(arguments: list[Typed]) -> Typed:
    _count_of(arguments, 2)
    kind = arguments[0].type.bare
    ones, _ = all_agree(arguments, "NULLIF")
    return cast_to(Typed(f"nullif({ones[0].sql}, {ones[1].sql})", ones[0].type), kind)


def _width_bucket(arguments: list[Typed]) -> Typed:
    """Bucket of a value, of so many equal ones between two bounds; 0 below, one more than there are above."""
    _count_of(arguments, 4)
    value, low, high = (as_double(one) for one in arguments[:3])
    count = cast_to(arguments[3], INT).sql
    inside = f"floor(({value} - {low}) * {count} / ({high} - {low})) + 1"
    spelt = (
        f"CASE WHEN {value} IS NULL THEN NULL WHEN {value} < {low} THEN 0 WHEN {value} >= {high} THEN {count} + 1 "
        f"ELSE {inside} END"
    )
    return Typed(f"CAST({spelt} AS INTEGER)", INT)


SCALARS: dict[str, Scalar] = {
    "ABS": _same("abs"),
    "CEIL": _same("ceil"),
    "CEILING": _same("ceil"),
    "FLOOR": _same("floor"),
    "SIGN": _same("sign"),
    "ROUND": _round,
    "MOD": _mod,
    "POWER": _real("pow", 2),
    "SQRT": _real("sqrt"),
    "EXP": _real("exp"),
    "LN": _real("ln"),
    "LOG": _real("ln"),  # HeavyDB's LOG is the natural one
    "LOG10": _real("log10"),
    "PI": _real("pi", 0),
    "DEGREES": _real("degrees"),
    "RADIANS": _real("radians"),
    "SIN": _real("sin"),
    "COS": _real("cos"),
    "TAN": _real("tan"),
    "ASIN": _real("asin"),
    "ACOS": _real("acos"),
    "ATAN": _real("atan"),
    "ATAN2": _real("atan2", 2),
    "COALESCE": _coalesce,
    "GREATEST": _better("GREATEST", ">"),
    "LEAST": _better("LEAST", "<"),
    "NULLIF": _nullif,
    "WIDTH_BUCKET": _width_bucket,
    "UPPER": _text("upper", TEXT),
    "LOWER": _text("lower", TEXT),
    "LENGTH": _text("strlen", INT),
    "CHAR_LENGTH": _text("length", INT),
}

# --- functions of many rows ---------------------------------------------------------------------------------


def _sum_type(one: SqlType) -> SqlType:
    if one.is_integer or one.kind == "NULL":
        return BIGINT
    return decimal(DIGITS, one.scale) if one.kind == "DECIMAL" else one.bare


def _sum(arguments: list[Typed]) -> Aggregate:
    one = _number(arguments[0])
    kind = _sum_type(one.type)
    return Aggregate(f"sum({one.sql})", f"CAST({{}} AS {kind.duckdb})", kind)


def _sum_if(arguments: list[Typed]) -> Aggregate:
    one = _number(arguments[0])
    kind = _sum_type(one.type)
    chosen = f"CASE WHEN {as_condition(arguments[1], 'SUM_IF')} THEN {one.sql} END"
    return Aggregate(f"sum({chosen})", f"CAST({{}} AS {kind.duckdb})", kind)


def _count_if(arguments: list[Typed]) -> Aggregate:
    chosen = f"CASE WHEN {as_condition(arguments[0], 'COUNT_IF')} THEN 1 END"
    return Aggregate(f"count({chosen})", "CAST({} AS INTEGER)", INT)


def _kept(duckdb: str, name: str) -> Callable[[list[Typed]], Aggregate]:
    """A result of the argument's own type."""

    def made(arguments: list[Typed]) -> Aggregate:
        one = arguments[0]
        if one.type.kind == "STR" and name in ("MIN", "MAX"):
            raise UnsupportedError(f"{name} of TEXT")
        return Aggregate(f"{duckdb}({one.sql})", "{}", one.type.bare)

    return made


def _statistic(duckdb: str) -> Callable[[list[Typed]], Aggregate]:
    def made(arguments: list[Typed]) -> Aggregate:
        return Aggregate(f"{duckdb}({as_double(arguments[0])})", "{}", DOUBLE)

    return made


def _percentile(arguments: list[Typed]) -> Aggregate:
    share = arguments[1] if len(arguments) == 2 else Typed("CAST(0.5 AS DOUBLE)", DOUBLE, constant=True)
    if not share.constant or not share.type.is_number:
        raise StatementError("APPROX_PERCENTILE: the second argument must be a number between 0 and 1")
    return Aggregate(f"quantile_cont({as_double(arguments[0])}, {as_double(share)})", "{}", DOUBLE)


def _approximate_count(arguments: list[Typed]) -> Aggregate:
    return Aggregate(f"approx_count_distinct({arguments[0].sql})", "CAST({} AS BIGINT)", BIGINT)


AGGREGATES: dict[str, tuple[tuple[int, ...], Callable[[list[Typed]], Aggregate]]] = {
    "SUM": ((1,), _sum),
    "SUM_IF": ((2,), _sum_if),
    "COUNT_IF": ((1,), _count_if),
    "AVG": ((1,), _statistic("avg")),
    "MIN": ((1,), _kept("min", "MIN")),
    "MAX": ((1,), _kept("max", "MAX")),
    "SAMPLE": ((1,), _kept("any_value", "SAMPLE")),
    "LAST_SAMPLE": ((1,), _kept("last", "LAST_SAMPLE")),
    "MODE": ((1,), _kept("mode", "MODE")),
    "STDDEV": ((1,), _statistic("stddev_samp")),
    "STDDEV_SAMP": ((1,), _statistic("stddev_samp")),
    "STDDEV_POP": ((1,), _statistic("stddev_pop")),
    "VARIANCE": ((1,), _statistic("var_samp")),
    "VAR_SAMP": ((1,), _statistic("var_samp")),
    "VAR_POP": ((1,), _statistic("var_pop")),
    "APPROX_PERCENTILE": ((2,), _percentile),
    "APPROX_MEDIAN": ((1,), _percentile),
    "APPROX_COUNT_DISTINCT": ((1, 2), _approximate_count),
}


def correlation(name: str, first: Typed, second: Typed) -> Typed:
    """CORR and COVAR_POP, worked out as HeavyDB does: from means.

    A mean leaves out rows where its own argument is NULL, not those where the other one is. So with NULLs in one of
    them alone the result is wrong, even beyond 1, as HeavyDB's is: leave such rows out by WHERE.
    """
    x, y = as_double(first), as_double(second)
    covariance = f"(avg({x} * {y}) - avg({x}) * avg({y}))"
    if name == "COVAR_POP":
        return Typed(covariance, DOUBLE)
    return Typed(f"({covariance} / nullif(stddev_pop({x}) * stddev_pop({y}), 0))", DOUBLE)


def window_call(name: str, arguments: list[Typed]) -> Aggregate:
    """A function that has a meaning only before OVER.

    Raises
    ------
    SqlError
        There is none of that name and number of arguments.
    """
    if name in ("ROW_NUMBER", "RANK", "DENSE_RANK") and not arguments:
        return Aggregate(f"{name.lower()}()", "{}", BIGINT)
    if name in ("PERCENT_RANK", "CUME_DIST") and not arguments:
        return Aggregate(f"{name.lower()}()", "{}", DOUBLE)
    if name == "NTILE" and len(arguments) == 1:
        return Aggregate(f"ntile({cast_to(arguments[0], INT).sql})", "{}", BIGINT)
    if name in ("LAG", "LEAD") and len(arguments) in (1, 2):
        words = [arguments[0].sql, *(cast_to(one, INT).sql for one in arguments[1:])]
        return Aggregate(f"{name.lower()}({', '.join(words)})", "{}", arguments[0].type.bare)
    if name in ("FIRST_VALUE", "LAST_VALUE") and len(arguments) == 1:
        return Aggregate(f"{name.lower()}({arguments[0].sql})", "{}", arguments[0].type.bare)
    raise SqlError(f"No match found for window function {name} with {len(arguments)} arguments")


_BEFORE_OVER = "ROW_NUMBER RANK DENSE_RANK PERCENT_RANK CUME_DIST NTILE LAG LEAD FIRST_VALUE LAST_VALUE"
WINDOW_FUNCTIONS = frozenset(_BEFORE_OVER.split())
