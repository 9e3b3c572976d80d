"""What the names in an expression may stand for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from infra.heavydb.dialect import quote
from infra.heavydb.errors import SqlError
from infra.heavydb.sql_types import SqlType
from infra.heavydb.typed import Typed


class Query(Protocol):
    """A query made DuckDB's."""

    @property
    def sql(self) -> str:
        """For DuckDB."""

    @property
    def columns(self) -> list[tuple[str, SqlType]]:
        """Names and types of its results."""


@dataclass
class Relation:
    """A table, view or query in FROM, by the name it has there."""

    alias: str
    columns: list[tuple[str, SqlType]]


@dataclass
class Scope:
    """What the names in an expression may stand for.

    Attributes
    ----------
    aliases : mapping of str to Typed
        Names of results, in lower case; they go before columns where a clause may use them.
    """

    relations: list[Relation] = field(default_factory=list)
    aliases: Mapping[str, Typed] = field(default_factory=dict)
    counting: bool = True
    """Whether functions of many rows may stand here."""

    def column(self, name: str, table: str) -> Typed:
        """What a name stands for.

        Raises
        ------
        SqlError
            Nothing, or more than one column.
        """
        low = name.lower()
        if not table and low in self.aliases:
            return self.aliases[low]
        found = [
            Typed(f"{quote(relation.alias)}.{quote(spelt)}", kind)
            for relation in self.relations
            if not table or relation.alias.lower() == table.lower()
            for spelt, kind in relation.columns
            if spelt.lower() == low
        ]
        if not found:
            if table and all(relation.alias.lower() != table.lower() for relation in self.relations):
                raise SqlError(f"Table '{table}' not found")
            raise SqlError(f"Column '{name}' not found in any table")
        if len(found) > 1:
            raise SqlError(f"Column '{name}' is ambiguous")
        return found[0]
