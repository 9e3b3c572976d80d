"""What jobs publish in HBase: batch views, events and certificates, each a table of named sets of rows.

A set has versions, and readers see the one that was published last. Rows are written first, under an attempt's own
name; then the version is marked as complete with their number; publishing sets one cell. So a version that is half
written, by a job that was killed or by a task that ran twice, is never seen, whole or in part. Row keys::

    name 00 p                          the published version
    name 00 v version                  a complete version: its attempt and number of rows
    name 00 r version 00 attempt key   its rows
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass

from batch.hbase_client import Address, Cell, HBaseClient
from batch.hbase_keys import after
from batch.hbase_tables import CERTIFICATES, EVENTS, VIEWS, TableOptions, create_tables
from domain.errors import StoreError

_VALUE = b"v:v"
_ATTEMPT_BYTES = 8
_CHUNK = 5_000


@dataclass(frozen=True)
class View:
    """A published set: its version, and values by key."""

    version: str
    rows: dict[str, bytes]


class HBaseViews:
    """Named sets of rows in one table.

    Parameters
    ----------
    url : str
        As for `batch.hbase_store.HBaseStore`.
    table : str
        ``views``, ``events`` or ``certificates``; made when it doesn't exist.
    """

    def __init__(self, url: str, table: str = VIEWS, *, patience: float = 60.0) -> None:
        if table not in (VIEWS, EVENTS, CERTIFICATES):
            raise StoreError(f"table {table!r}: expected {VIEWS}, {EVENTS} or {CERTIFICATES}")
        self.url = url
        self.client = HBaseClient(Address.parse(url), patience=patience)
        self._table = self.client.address.table(table)
        create_tables(self.client, (table,), TableOptions())

    def put_view(self, name: str, version: str, rows: Iterable[tuple[str, bytes]]) -> int:
        """Write a version, to be published later; returns its number of rows.

        Of two that write the same version the last to finish counts.
        """
        attempt = secrets.token_bytes(_ATTEMPT_BYTES)
        first = _key(name, b"r", version) + b"\0" + attempt
        keys: set[str] = set()
        held: list[Cell] = []
        for key, value in rows:
            if key in keys:
                raise StoreError(f"view {name!r}, version {version!r}: {key!r} comes twice")
            keys.add(key)
            held.append(Cell(first + key.encode(), _VALUE, value))
            if len(held) >= _CHUNK:
                self.client.write(self._table, held)
                held = []
        self.client.write(self._table, held)
        made = json.dumps({"attempt": attempt.hex(), "rows": len(keys)}).encode()
        self.client.write(self._table, [Cell(_key(name, b"v", version), _VALUE, made)])
        return len(keys)

    def publish(self, name: str, version: str) -> None:
        """Let readers see a version from now on.

        Raises
        ------
        StoreError
            The version is not complete, or somebody published another at the same moment.
        """
        self._complete(name, version)
        # The moment is part of the write, so that one which arrives late changes nothing.
        self.client.put_at(self._table, _key(name, b"p"), _VALUE, version.encode(), time.time_ns() // 1_000_000)
        if (now := self.published(name)) != version:
            raise StoreError(
                f"view {name!r}: {now!r} was published while {version!r} was: publish the right one again"
            )

    def published(self, name: str) -> str | None:
        """The version that readers see; None before any was published."""
        value = self._get(_key(name, b"p"))
        return None if value is None else value.decode()

    def versions(self, name: str) -> list[str]:
        """Complete versions, in ascending order."""
        start = _key(name, b"v")
        return [row.row[len(start) :].decode() for row in self.client.scan(self._table, start, after(start))]

    def read(self, name: str, version: str | None = None) -> View | None:
        """The published version, or a complete one by its name; None when nothing was published.

        Raises
        ------
        StoreError
            The version is not complete, or rows of it are lost.
        """
        version = self.published(name) if version is None else version
        if version is None:
            return None
        attempt, count = self._complete(name, version)
        start = _key(name, b"r", version) + b"\0" + attempt
        found = self.client.scan(self._table, start, after(start))
        if len(found) != count:
            raise StoreError(
                f"view {name!r}, version {version!r}: {len(found)} rows of {count} are there: rebuild it"
            )
        return View(version, {row.row[len(start) :].decode(): row.columns[_VALUE].value for row in found})

    def drop(self, name: str, version: str) -> None:
        """Delete a version that is not the published one, with what broken attempts left of it.

        A dropped version's name should not be used again.
        """
        if self.published(name) == version:
            raise StoreError(f"view {name!r}: {version!r} is what readers see; publish another one before")
        self.client.write(self._table, [Cell(_key(name, b"v", version), _VALUE, None)])
        start = _key(name, b"r", version) + b"\0"
        rows = self.client.scan(self._table, start, after(start), only="KeyOnlyFilter()")
        self.client.write(self._table, [Cell(row.row, _VALUE, None) for row in rows])

    def _complete(self, name: str, version: str) -> tuple[bytes, int]:
        value = self._get(_key(name, b"v", version))
        if value is None:
            raise StoreError(f"view {name!r} has no complete version {version!r}; it has {self.versions(name)}")
        made = json.loads(value)
        return bytes.fromhex(made["attempt"]), made["rows"]

    def _get(self, key: bytes) -> bytes | None:
        rows = self.client.rows(self._table, [key], [_VALUE])
        return rows[0].columns[_VALUE].value if rows else None


def _key(name: str, kind: bytes, version: str = "") -> bytes:
    if not name or "\0" in name + version:
        raise StoreError(f"view {name!r}, version {version!r}: expected a name without zero characters")
    return name.encode() + b"\0" + kind + version.encode()
