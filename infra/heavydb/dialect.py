"""HeavyDB's part of SQL, as sqlglot reads it. Nothing is understood here that has to be refused later by name."""

from __future__ import annotations

from typing import Any, ClassVar, Never

from sqlglot import Token, TokenType, exp, parser, tokens
from sqlglot.dialects.dialect import Dialect
from sqlglot.errors import SqlglotError

from infra.heavydb.errors import SqlError, UnsupportedError
from infra.heavydb.reserved import RESERVED

TIME_FUNCTIONS = frozenset(("DATE_TRUNC", "DATEPART", "DATEADD", "TIMESTAMPADD", "DATEDIFF", "TIMESTAMPDIFF"))
"""Functions that begin with a unit, which looks like a column."""

_PARSED_BY_SYNTAX = ("CAST", "EXTRACT", "POSITION", "SUBSTRING", "TRIM")
_UNKNOWN_TOKENS = {TokenType.DCOLON: ":", TokenType.ARROW: "->", TokenType.DARROW: "->>", TokenType.PARAMETER: "@"}
_UNKNOWN_CLAUSES = {
    "qualify": "QUALIFY",
    "conflict": "ON",
    "returning": "RETURNING",
    "pivots": "PIVOT",
    "laterals": "LATERAL VIEW",
    "match": "MATCH_RECOGNIZE",
    "connect": "CONNECT",
    "sample": "TABLESAMPLE",
}
"""Clauses that sqlglot reads and HeavyDB's parser stumbles over."""


class HeavyDB(Dialect):
    """Functions keep their names, so that only those in our own table mean something."""

    NULL_ORDERING = "nulls_are_large"

    class Tokenizer(tokens.Tokenizer):
        """Cuts every statement into words, those that other dialects pass on whole, too."""

        COMMANDS: ClassVar[set[TokenType]] = set()

    class Parser(parser.Parser):
        """Reads a call as a name and its arguments, unless its arguments have a syntax of their own."""

        FUNCTIONS: ClassVar[dict[str, Any]] = {}
        NO_PAREN_FUNCTIONS: ClassVar[dict[TokenType, Any]] = {}
        FUNCTION_PARSERS: ClassVar = {name: parser.Parser.FUNCTION_PARSERS[name] for name in _PARSED_BY_SYNTAX}


def tokenize(sql: str) -> list[Token]:
    """Words of one statement, without a semicolon at its end.

    Raises
    ------
    SqlError
        It can't be cut into words, has some that HeavyDB doesn't know, or is empty or more than one.
    """
    try:
        words = HeavyDB().tokenize(sql)
    except SqlglotError as broken:
        raise SqlError(_first_line(broken)) from broken
    while words and words[-1].token_type is TokenType.SEMICOLON:
        words.pop()
    if not words:
        raise SqlError("the statement is empty")
    for token in words:
        if token.token_type is TokenType.SEMICOLON:
            raise SqlError(f'Encountered ";" at line {token.line}, column {token.col}: one statement at a time')
        if token.token_type in _UNKNOWN_TOKENS:
            raise SqlError(
                f'Encountered "{_UNKNOWN_TOKENS[token.token_type]}" at line {token.line}, column {token.col}'
            )
    return words


def parse(sql: str) -> exp.Expr:
    """The tree of a query, an INSERT, an UPDATE or a DELETE.

    Raises
    ------
    SqlError
        It is no SQL.
    """
    tokenize(sql)
    try:
        trees = HeavyDB().parse(sql.strip().rstrip(";"))
    except SqlglotError as broken:
        raise SqlError(_first_line(broken)) from broken
    if len(trees) != 1 or trees[0] is None:
        raise SqlError("one statement at a time")
    for name in trees[0].find_all(exp.Identifier):
        if not name.args.get("quoted") and not _is_unit(name):
            refuse_reserved(name.this)
    return trees[0]


def refuse_reserved(name: str) -> None:
    """Refuse a word without quotes that names no table or column in HeavyDB."""
    if name.upper() in RESERVED:
        raise SqlError(f"Incorrect syntax near the keyword '{name.upper()}': as a name it takes double quotes")


def _is_unit(name: exp.Identifier) -> bool:
    """Whether a name is the unit that a function of time begins with."""
    call = name.parent.parent if isinstance(name.parent, exp.Column) else None
    return (
        isinstance(call, exp.Anonymous) and call.name.upper() in TIME_FUNCTIONS and call.expressions[0] is name.parent
    )


def only(node: exp.Expr, *allowed: str) -> None:
    """Refuse a tree that has other parts than these, so that none is passed over in silence."""
    for name, value in node.args.items():
        if value and name not in allowed:
            refuse(name, node)


def refuse(part: str, node: exp.Expr) -> Never:
    """Say that a clause isn't known: to HeavyDB, or to us."""
    if part in _UNKNOWN_CLAUSES:
        raise SqlError(f'Encountered "{_UNKNOWN_CLAUSES[part]}"')
    raise UnsupportedError(f"{part.strip('_').upper()} in {type(node).__name__.upper()}")


def quote(name: str) -> str:
    """A name as DuckDB takes it literally."""
    return '"' + name.replace('"', '""') + '"'


def text_literal(text: str) -> str:
    """A string as DuckDB takes it literally."""
    return "'" + text.replace("'", "''") + "'"


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]
