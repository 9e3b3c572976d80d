"""Tables of any kind on a HeavyDB server: made, asked, loaded, written anew."""

from __future__ import annotations

import time
from collections.abc import Mapping

import pyarrow as pa

from domain.errors import StoreError
from speed.heavydb_client import HeavyDBClient, OutcomeUnknownError
from speed.tables import checked_name

SHARDS = 2
"""Parts of a table of readings, by meter."""

_ARROW = {
    "TINYINT": pa.int8(),
    "SMALLINT": pa.int16(),
    "INT": pa.int32(),
    "BIGINT": pa.int64(),
    "FLOAT": pa.float32(),
    "DOUBLE": pa.float64(),
    "BOOL": pa.bool_(),
    "DATE": pa.date32(),
    "STR": pa.string(),
}


class HeavyDBTables:
    """What `speed.stores.SpeedStore` says of tables, on a HeavyDB server."""

    def __init__(self, client: HeavyDBClient) -> None:
        self._client = client

    def query(self, sql: str) -> pa.Table:
        """Answer a SELECT. See `speed.stores.SpeedStore.query`."""
        return self._client.query(sql)

    def execute(self, sql: str) -> None:
        """Run a statement without an answer: CREATE VIEW, DROP, DELETE, UPDATE.

        Raises
        ------
        StoreError
            It is refused; or the connection was lost, and it may have been carried out or not.
        """
        try:
            self._client.execute(sql, repeatable=_repeatable(sql))
        except OutcomeUnknownError as lost:
            raise StoreError(
                f"HeavyDB at {self._client.address} lost the connection ({lost}): the statement was carried out or "
                "not; look before you repeat it"
            ) from lost

    def create(
        self,
        table: str,
        columns: Mapping[str, str],
        *,
        shard_key: str | None = None,
        sort_column: str | None = None,
        fragment_size: int | None = None,
    ) -> None:
        """Make a table unless it is there. See `speed.stores.SpeedStore.create`."""
        of = [f"{checked_name(name)} {kind}" for name, kind in columns.items()]
        options = {"fragment_size": fragment_size, "sort_column": sort_column and f"'{checked_name(sort_column)}'"}
        if shard_key:
            of.append(f"SHARD KEY ({checked_name(shard_key)})")
            options["shard_count"] = SHARDS
        given = ", ".join(f"{name}={value}" for name, value in options.items() if value)
        self._client.execute(
            f"CREATE TABLE IF NOT EXISTS {checked_name(table)} ({', '.join(of)})"
            + (f" WITH ({given})" if given else "")
        )

    def load(self, table: str, rows: pa.Table) -> None:
        """Append rows as they are, all or none.

        Raises
        ------
        StoreError
            The server refuses; or the connection was lost, and they may be there or not.
        """
        fitted = self._fitted(table, rows)
        if not len(fitted):
            return
        try:
            self._client.load(table, fitted)
        except OutcomeUnknownError as lost:
            raise StoreError(
                f"HeavyDB at {self._client.address} lost the connection while {len(fitted):,} rows were loaded into "
                f"{table} ({lost}): they are there, all of them, or none; look before you load them again"
            ) from lost

    def replace(self, table: str, rows: pa.Table, where: str) -> None:
        """Delete the rows for which ``where`` holds, then load ``rows``. A reader may see the moment between."""
        fitted = self._fitted(table, rows)
        deadline = time.monotonic() + self._client.patience
        delete = f"DELETE FROM {table} WHERE {where}"  # noqa: S608
        while True:
            self._client.execute(delete)
            if not len(fitted):
                return
            try:
                return self._client.load(table, fitted)
            except OutcomeUnknownError as lost:
                if time.monotonic() > deadline:
                    raise StoreError(
                        f"HeavyDB at {self._client.address} lost the connection again and again while {table} was "
                        f"written ({lost}); repeat it"
                    ) from lost
                self._client.settle(lost, delete)

    def _fitted(self, table: str, rows: pa.Table) -> pa.Table:
        """Rows with the columns of a table, in its order and types."""
        columns = self._client.columns(checked_name(table))
        names = [column.name for column in columns]
        if sorted(names) != sorted(rows.column_names):
            raise StoreError(f"rows for table {table} have the columns {sorted(rows.column_names)}, expected {names}")
        made = {}
        for column in columns:
            kind = pa.timestamp("s") if column.type == "TIMESTAMP" else _ARROW.get(column.type)
            given = rows[column.name]
            try:
                made[column.name] = given if kind is None else given.cast(kind)
            except pa.ArrowInvalid as wrong:
                raise StoreError(f"column {column.name} of table {table}: {wrong}") from wrong
        return pa.table(made)


def _repeatable(sql: str) -> bool:
    words = sql.upper().split()[:5]
    return words[:1] == ["DELETE"] or words[2:4] == ["IF", "EXISTS"] or words[2:5] == ["IF", "NOT", "EXISTS"]
