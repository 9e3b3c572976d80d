"""What a statement says that isn't a query or a change of rows: `infra.heavydb.definitions` reads them."""

from __future__ import annotations

from dataclasses import dataclass, field

from infra.heavydb.sql_types import SqlType


@dataclass(frozen=True)
class CreateTable:
    """CREATE TABLE; with ``query`` it is filled from that, and has its columns.

    Attributes
    ----------
    options : dict of str to int or str
        Those of WITH, in capitals.
    """

    name: str
    if_not_exists: bool
    columns: list[tuple[str, SqlType]] = field(default_factory=list)
    shard_key: str = ""
    options: dict[str, int | str] = field(default_factory=dict)
    query: str = ""


@dataclass(frozen=True)
class CreateView:
    """CREATE VIEW."""

    name: str
    if_not_exists: bool
    query: str


@dataclass(frozen=True)
class Drop:
    """DROP TABLE and DROP VIEW."""

    kind: str
    name: str
    if_exists: bool


@dataclass(frozen=True)
class Truncate:
    """TRUNCATE TABLE."""

    name: str


@dataclass(frozen=True)
class Optimize:
    """OPTIMIZE TABLE."""

    name: str


@dataclass(frozen=True)
class AddColumns:
    """ALTER TABLE … ADD."""

    name: str
    columns: list[tuple[str, SqlType]]


@dataclass(frozen=True)
class DropColumn:
    """ALTER TABLE … DROP COLUMN."""

    name: str
    column: str


@dataclass(frozen=True)
class Rename:
    """ALTER TABLE … RENAME, of the table or of a column."""

    name: str
    to: str
    column: str = ""


@dataclass(frozen=True)
class Show:
    """SHOW: ``TABLES``, ``CREATE TABLE`` of a name, or ``DATABASES``."""

    what: str
    name: str = ""


@dataclass(frozen=True)
class Explain:
    """EXPLAIN."""

    query: str


@dataclass(frozen=True)
class Run:
    """A query, INSERT, UPDATE or DELETE, which sqlglot reads."""

    sql: str


Definition = (
    CreateTable | CreateView | Drop | Truncate | Optimize | AddColumns | DropColumn | Rename | Show | Explain | Run
)
