"""What goes wrong with a statement, told as HeavyDB tells it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import duckdb

from domain.errors import NegawattError


class StatementError(NegawattError):
    """A statement or a load that HeavyDB refuses, or fails at.

    The vendor's client makes a ``ProgrammingError`` of a message that begins with ``SQL Error``, and an ``Error`` of
    any other.
    """


class SqlError(StatementError):
    """SQL that HeavyDB's parser doesn't know, or names and types that don't fit."""

    def __init__(self, problem: str) -> None:
        super().__init__(f"SQL Error: {problem}")


class UnsupportedError(StatementError):
    """Something that HeavyDB may know, but the stand-in doesn't."""

    def __init__(self, what: str) -> None:
        super().__init__(f"the stand-in for HeavyDB doesn't support {what}")


@contextmanager
def told_as_heavydb() -> Iterator[None]:
    """Make HeavyDB's errors of DuckDB's."""
    try:
        yield
    except (duckdb.ParserException, duckdb.BinderException, duckdb.CatalogException) as refused:
        raise SqlError(_sentence(refused)) from refused
    except duckdb.OutOfMemoryException as full:
        raise StatementError(f"Not enough host memory to execute the query ({_sentence(full)})") from full
    except duckdb.OutOfRangeException as beyond:
        raise StatementError(f"Overflow or underflow ({_sentence(beyond)})") from beyond
    except duckdb.Error as failed:
        raise StatementError(f"Query execution failed: {_sentence(failed)}") from failed


def _sentence(error: Exception) -> str:
    """DuckDB's first line, without the kind of error before it."""
    line = str(error).splitlines()[0]
    kind, colon, rest = line.partition(" Error: ")
    return rest if colon and " Error" not in kind else line
