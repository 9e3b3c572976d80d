"""HeavyDB's column types: as they are declared, and what DuckDB holds them in."""

from __future__ import annotations

from dataclasses import dataclass, replace

from infra.heavydb.errors import SqlError, StatementError, UnsupportedError

INTEGER_BITS = {"TINYINT": 8, "SMALLINT": 16, "INT": 32, "BIGINT": 64}
TEMPORAL = ("DATE", "TIMESTAMP")
_TIMESTAMPS = {0: "TIMESTAMP_S", 3: "TIMESTAMP_MS", 6: "TIMESTAMP", 9: "TIMESTAMP_NS"}
_DUCKDB = {"INT": "INTEGER", "STR": "VARCHAR", "BOOL": "BOOLEAN", "NULL": "INTEGER"}
_DECLARED = {"INT": "INTEGER", "STR": "TEXT", "BOOL": "BOOLEAN"}
_KINDS = {
    "TINYINT": "TINYINT",
    "SMALLINT": "SMALLINT",
    "INT": "INT",
    "INTEGER": "INT",
    "BIGINT": "BIGINT",
    "FLOAT": "FLOAT",
    "REAL": "FLOAT",
    "DOUBLE": "DOUBLE",
    "DECIMAL": "DECIMAL",
    "NUMERIC": "DECIMAL",
    "TEXT": "STR",
    "VARCHAR": "STR",
    "CHAR": "STR",
    "BOOLEAN": "BOOL",
    "DATE": "DATE",
    "TIME": "TIME",
    "TIMESTAMP": "TIMESTAMP",
}
_FIXED_WIDTHS = {
    "SMALLINT": (8,),
    "INT": (8, 16),
    "BIGINT": (8, 16, 32),
    "TIMESTAMP": (32,),
    "TIME": (32,),
    "DATE": (16, 32),
}
DIGITS = 18
"""Of a decimal at most: HeavyDB holds it in 64 bits."""


@dataclass(frozen=True)
class SqlType:
    """A type of a column or of an expression.

    Attributes
    ----------
    kind : str
        ``TINYINT``, ``SMALLINT``, ``INT``, ``BIGINT``, ``FLOAT``, ``DOUBLE``, ``DECIMAL``, ``STR``, ``BOOL``,
        ``DATE``, ``TIME``, ``TIMESTAMP``, or ``NULL`` for a NULL that nothing gives a type.
    precision : int
        Digits of a decimal; of a timestamp 0, 3, 6 or 9, from seconds to nanoseconds.
    scale : int
        Digits of a decimal behind the point.
    encoding : str
        ``NONE``, ``DICT``, ``FIXED`` or ``DAYS``.
    width : int
        Of the encoding. [bits]
    """

    kind: str
    precision: int = 0
    scale: int = 0
    encoding: str = "NONE"
    width: int = 0
    nullable: bool = True

    @property
    def duckdb(self) -> str:
        """Type of the same values in DuckDB."""
        if self.kind == "TIMESTAMP":
            return _TIMESTAMPS[self.precision]
        if self.kind == "DECIMAL":
            return f"DECIMAL({self.precision},{self.scale})"
        return _DUCKDB.get(self.kind, self.kind)

    @property
    def declared(self) -> str:
        """As SHOW CREATE TABLE writes it."""
        text = _DECLARED.get(self.kind, self.kind)
        if self.kind == "DECIMAL":
            text += f"({self.precision},{self.scale})"
        elif self.kind == "TIMESTAMP":
            text += f"({self.precision})"
        if not self.nullable:
            text += " NOT NULL"
        if self.encoding != "NONE":
            text += f" ENCODING {self.encoding}({self.width})"
        elif self.kind == "STR":
            text += " ENCODING NONE"
        return text

    @property
    def is_integer(self) -> bool:
        """Whether it is one of the whole numbers."""
        return self.kind in INTEGER_BITS

    @property
    def is_number(self) -> bool:
        """Whether one can calculate with it."""
        return self.is_integer or self.kind in ("FLOAT", "DOUBLE", "DECIMAL")

    @property
    def limits(self) -> tuple[int, int] | None:
        """Least and greatest whole number that a column holds: the least of all stands for NULL."""
        if not self.is_integer:
            return None
        bits = self.width if self.encoding == "FIXED" else INTEGER_BITS[self.kind]
        return -(2 ** (bits - 1)) + 1, 2 ** (bits - 1) - 1

    @property
    def bare(self) -> SqlType:
        """The same values without a column's storage."""
        if self.kind == "STR":
            return TEXT if self.encoding == "DICT" else replace(TEXT, encoding="NONE", width=0)
        return replace(self, encoding="NONE", width=0, nullable=True)


BIGINT = SqlType("BIGINT")
INT = SqlType("INT")
DOUBLE = SqlType("DOUBLE")
BOOL = SqlType("BOOL")
TEXT = SqlType("STR", encoding="DICT", width=32)
TIMESTAMP = SqlType("TIMESTAMP")
DATE = SqlType("DATE")
NULL = SqlType("NULL")


def decimal(precision: int, scale: int) -> SqlType:
    """A decimal type. Raises SqlError when HeavyDB's 64 bits can't hold it."""
    if not 0 < precision <= DIGITS or not 0 <= scale <= precision:
        raise SqlError(
            f"DECIMAL({precision},{scale}) is out of range: at most {DIGITS} digits, no more behind the point"
        )
    return SqlType("DECIMAL", precision, scale)


def make_type(name: str, numbers: list[int]) -> SqlType:
    """A type by its declared name and the numbers in parentheses behind it.

    Raises
    ------
    SqlError
        HeavyDB has no such type.
    """
    kind = _KINDS.get(name.upper())
    if kind is None:
        raise SqlError(f'Encountered "{name}": no type of a column')
    if kind == "DECIMAL":
        precision, scale = (*numbers, *(DIGITS, 0)[len(numbers) :])
        return decimal(precision, scale)
    if kind == "TIMESTAMP":
        precision = numbers[0] if numbers else 0
        if precision not in _TIMESTAMPS:
            raise StatementError(f"Only TIMESTAMP(n) where n = (0,3,6,9) are supported now, not {precision}.")
        return SqlType(kind, precision)
    if kind == "STR":
        return TEXT
    return SqlType(kind)


def encode(column: SqlType, encoding: str, width: int | None) -> SqlType:
    """A column's type with the encoding that was declared.

    Raises
    ------
    StatementError
        The type doesn't take this encoding, or not at this width.
    """
    if encoding == "NONE" and column.kind == "STR":
        return replace(column, encoding="NONE", width=0)
    if encoding == "DICT" and column.kind == "STR":
        return _with_width(column, encoding, width or 32, (8, 16, 32))
    if encoding == "DAYS" and column.kind == "DATE":
        return _with_width(column, encoding, width or 32, (16, 32))
    if encoding == "FIXED" and column.kind in _FIXED_WIDTHS:
        if column.kind == "TIMESTAMP" and column.precision:
            raise StatementError(f"TIMESTAMP({column.precision}) takes no fixed encoding: only TIMESTAMP(0) does.")
        return _with_width(column, encoding, width or 0, _FIXED_WIDTHS[column.kind])
    if encoding in ("RL", "DIFF", "SPARSE"):
        raise UnsupportedError(f"ENCODING {encoding}")
    raise StatementError(f"{_DECLARED.get(column.kind, column.kind)} takes no encoding {encoding}.")


def _with_width(column: SqlType, encoding: str, width: int, allowed: tuple[int, ...]) -> SqlType:
    if width not in allowed:
        widths = " or ".join(map(str, allowed))
        name = _DECLARED.get(column.kind, column.kind)
        raise StatementError(f"Compression parameter for {encoding} encoding on {name} must be {widths}.")
    return replace(column, encoding=encoding, width=width)


def common(left: SqlType, right: SqlType) -> SqlType | None:
    """The type that holds values of both, None where there is none."""
    left, right = left.bare, right.bare
    if left == right or right.kind == "NULL":
        return left
    if left.kind == "NULL":
        return right
    if left.kind == right.kind == "STR":
        return TEXT
    if left.is_number and right.is_number:
        return _common_number(left, right)
    if left.kind in TEMPORAL and right.kind in TEMPORAL:
        return SqlType("TIMESTAMP", max(left.precision, right.precision))
    return None


def _common_number(left: SqlType, right: SqlType) -> SqlType:
    if left.is_integer and right.is_integer:
        return max(left, right, key=lambda one: INTEGER_BITS[one.kind])
    kinds = {left.kind, right.kind}
    if "DOUBLE" in kinds or kinds == {"DECIMAL", "FLOAT"}:
        return DOUBLE
    if "FLOAT" in kinds:
        return SqlType("FLOAT")
    return SqlType("DECIMAL", DIGITS, max(left.scale, right.scale))
