"""A client of HBase's Thrift server that outlives lost connections.

Everything that we write may be written twice (see `batch.hbase_cells`), so what failed half-way is done again, on a
new connection, until it works or our patience ends.
"""

from __future__ import annotations

import contextlib
import queue
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

import happybase
from Hbase_thrift import (  # type: ignore[import-not-found]  # happybase makes it as it loads
    AlreadyExists,
    BatchMutation,
    IllegalArgument,
    IOError,
    Mutation,
    TScan,
)
from thriftpy2.thrift import TException

from domain.errors import StoreError

T = TypeVar("T")

DEFAULT_PORT = 9090
BATCH_BYTES = 1 << 20
"""A request of writes has about so many bytes: the Thrift server needs some thirty times its size while it lasts."""

BATCH_ROWS = 5_000
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0
_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_HOPELESS = (
    "TableNotFoundException",
    "NoSuchColumnFamilyException",
    "AccessDeniedException",
    "DoNotRetryIOException",
)
"""What HBase says where trying again won't help."""


@dataclass(frozen=True)
class Address:
    """Where an HBase is, and which of several stores in it: ``hbase://host:port/prefix``.

    ``prefix`` begins the names of its tables; it is empty for the only store.
    """

    host: str
    port: int
    prefix: str

    @classmethod
    def parse(cls, url: str) -> Address:
        """Read an address.

        >>> Address.parse("hbase://data-1:9091/trial").table("readings")
        'trial.readings'
        """
        parts = urlsplit(url)
        prefix = parts.path.strip("/")
        try:
            port = parts.port or DEFAULT_PORT
        except ValueError as wrong:
            raise StoreError(f"{url}: {wrong}") from wrong
        if parts.scheme != "hbase" or not parts.hostname or (prefix and not _PATTERN.fullmatch(prefix)):
            raise StoreError(
                f"{url}: expected hbase://host:port of HBase's Thrift server, then maybe /prefix of tables"
            )
        return cls(parts.hostname, port, prefix)

    def table(self, name: str) -> str:
        """Full name of a table of this store."""
        return f"{self.prefix}.{name}" if self.prefix else name

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class Cell(NamedTuple):
    """A cell to be written, or without a value to be deleted."""

    row: bytes
    column: bytes
    value: bytes | None


class HBaseClient:
    """Connections to one Thrift server; any number of threads may share a client.

    Parameters
    ----------
    address : Address
    patience : float
        For how long a call is tried again before it fails. [s]
    timeout : float
        For how long one answer is awaited. [s]
    """

    def __init__(self, address: Address, *, patience: float = 60.0, timeout: float = 30.0) -> None:
        self.address, self.patience, self.timeout = address, patience, timeout
        self._idle: queue.SimpleQueue[happybase.Connection] = queue.SimpleQueue()

    def close(self) -> None:
        """Close the connections that are idle; the client may be used again."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._idle.get_nowait().close()

    def call(self, what: str, action: Callable[[Any], T]) -> T:
        """Do something with a Thrift client, again and again if the connection or the server fails.

        Parameters
        ----------
        what : str
            For the error: ``"write table readings"``.
        action : callable
            Given the Thrift client; must be safe to repeat.

        Raises
        ------
        StoreError
            It can't be done, or not within our patience.
        """
        deadline, pause = time.monotonic() + self.patience, _FIRST_PAUSE
        while True:
            connection = None
            try:
                connection = self._connection()
                result = action(connection.client)
                self._idle.put(connection)
                return result
            except (IOError, IllegalArgument) as refused:
                said = _headline(refused.message)
                self._idle.put(connection)
                if isinstance(refused, IllegalArgument) or any(word in said for word in _HOPELESS):
                    raise StoreError(f"HBase at {self.address} can't {what}: {said}") from refused
                failure: Exception = refused
            except (TException, OSError, EOFError) as lost:
                said = _headline(str(lost)) or type(lost).__name__
                if connection is not None:
                    connection.close()
                self.close()  # those that idle were lost with it
                failure = lost
            if time.monotonic() + pause > deadline:
                raise StoreError(
                    f"HBase at {self.address} can't {what}, tried for {self.patience:g} s: {said}. Is its Thrift "
                    "server up (`negawatt stack status`), has it disk space? Then do it again: nothing counts twice"
                ) from failure
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def write(self, table: str, cells: Sequence[Cell]) -> None:
        """Put and delete cells, in requests of bounded size; those of one row in one request change together."""
        name = table.encode()
        rows: dict[bytes, list[Mutation]] = {}
        size = 0
        for row, column, value in cells:
            if (size > BATCH_BYTES or len(rows) >= BATCH_ROWS) and row not in rows:
                self._mutate(name, rows)
                rows, size = {}, 0
            change = Mutation(isDelete=value is None, column=column, value=value, writeToWAL=True)
            rows.setdefault(row, []).append(change)
            size += len(row) + len(column) + len(value or b"") + 32
        if rows:
            self._mutate(name, rows)

    def _mutate(self, table: bytes, rows: dict[bytes, list[Any]]) -> None:
        changes = [BatchMutation(row, mutations) for row, mutations in rows.items()]
        self.call(f"write table {table.decode()}", lambda client: client.mutateRows(table, changes, {}))

    def put_once(self, table: str, row: bytes, column: bytes, value: bytes) -> bool:
        """Put a cell unless there is one; whether this call did (a repeat after a lost answer says no)."""
        change = Mutation(isDelete=False, column=column, value=value, writeToWAL=True)
        return bool(
            self.call(
                f"write table {table}",
                lambda client: client.checkAndPut(table.encode(), row, column, None, change, {}),
            )
        )

    def put_at(self, table: str, row: bytes, column: bytes, value: bytes, stamp: int) -> None:
        """Put a cell as of a moment: of several the latest counts, whichever is written last. [ms since 1970]"""
        change = BatchMutation(row, [Mutation(isDelete=False, column=column, value=value, writeToWAL=True)])
        self.call(f"write table {table}", lambda client: client.mutateRowsTs(table.encode(), [change], stamp, {}))

    def scan(
        self,
        table: str,
        start: bytes,
        stop: bytes,
        columns: Sequence[bytes] = (),
        *,
        rows: int = 2000,
        limit: int | None = None,
        reverse: bool = False,
        only: str | None = None,
    ) -> list[Any]:
        """Rows from ``start`` to before ``stop``; a lost connection is taken up where it broke.

        Parameters
        ----------
        columns : sequence of bytes
            Families or columns; default: all.
        rows : int
            To be fetched at once.
        limit : int, optional
            Rows at most.
        reverse : bool
            Backwards; ``start`` is then the greater key, and a limit is needed.
        only : str
            Filter, in HBase's filter language.

        Returns
        -------
        list
            Of Thrift's row results, with ``row`` and ``columns``.
        """
        name, found = table.encode(), list[Any]()

        def fetch(client: Any) -> None:
            if limit is not None:
                found.clear()
            scanned = TScan(
                startRow=found[-1].row + b"\0" if found else start,
                stopRow=stop,
                columns=list(columns) or None,
                caching=min(rows, limit or rows),
                filterString=only,
                reversed=reverse,
            )
            scanner = client.scannerOpenWithScan(name, scanned, {})
            more = True
            while more:
                wanted = rows if limit is None else min(rows, limit - len(found))
                some = client.scannerGetList(scanner, wanted)
                found.extend(some)
                more = len(some) == wanted and len(found) != limit
            client.scannerClose(scanner)

        self.call(f"read table {table}", fetch)
        return found

    def rows(self, table: str, keys: Sequence[bytes], columns: Sequence[bytes]) -> list[Any]:
        """The rows of some keys, those that exist; as in `scan`."""
        name, found = table.encode(), list[Any]()
        for first in range(0, len(keys), 1000):
            get = partial(_get_rows, name, list(keys[first : first + 1000]), list(columns))
            found += self.call(f"read table {table}", get)
        return found

    def tables(self) -> set[str]:
        """Names of all tables."""
        return {name.decode() for name in self.call("list tables", lambda client: client.getTableNames())}

    def create_table(self, table: str, families: Sequence[Any]) -> None:
        """Make a table of one region; no news when it exists."""

        def create(client: Any) -> None:
            try:
                client.createTable(table.encode(), list(families))
            except AlreadyExists:
                pass
            except IOError as refused:
                if "TableExistsException" not in _headline(refused.message):
                    raise

        self.call(f"create table {table}", create)

    def _connection(self) -> happybase.Connection:
        with contextlib.suppress(queue.Empty):
            return self._idle.get_nowait()
        return happybase.Connection(self.address.host, self.address.port, timeout=int(1000 * self.timeout))


def _get_rows(table: bytes, keys: list[bytes], columns: list[bytes], client: Any) -> list[Any]:
    return list(client.getRowsWithColumns(table, keys, columns, {}))


def _headline(said: str | bytes | None) -> str:
    """The first line of what a server says: Java puts its stack below."""
    text = said.decode(errors="replace") if isinstance(said, bytes) else said or ""
    return text.strip().split("\n", 1)[0][:300]
