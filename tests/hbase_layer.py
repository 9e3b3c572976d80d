"""The batch store in HBase as the store contract sees it: tables are made once and emptied after each use."""

from __future__ import annotations

import time
from contextlib import suppress

from stores import BatchLayer

from batch.hbase_client import Cell
from batch.hbase_store import HBaseStore
from batch.hbase_tables import METERS, READINGS

BUCKETS = 3
FREE: dict[str, list[str]] = {}
"""Stores that nobody uses, by server."""
MADE: dict[str, int] = {}


def an_empty_store(server_url: str) -> HBaseStore:
    """A store without readings; `give_back` it."""
    free = FREE.setdefault(server_url, [])
    if not free:
        MADE[server_url] = MADE.get(server_url, 0) + 1
        free.append(f"{server_url}/contract-{MADE[server_url]}")
    return HBaseStore(free.pop(), buckets=BUCKETS)


def give_back(store: HBaseStore) -> None:
    """Empty a store for its next user."""
    client, address = store.client, store.client.address
    for table in (address.table(READINGS), address.table(METERS)):
        rows = [row for row in client.scan(table, b"", b"") if row.row != b"\0"]
        client.write(table, [Cell(row.row, column, None) for row in rows for column in row.columns])
    emptied = time.time_ns() // 1_000_000
    while time.time_ns() // 1_000_000 <= emptied:  # a deletion also hides what is written in its millisecond
        pass
    store.close()
    server, _, _ = store.url.rpartition("/")
    FREE[server].append(store.url)


class HBaseLayer(BatchLayer):
    """The batch store in HBase."""

    def __init__(self, server_url: str, *, compacting: bool = False) -> None:
        self.compacting = compacting
        self.store = an_empty_store(server_url)

    def reopen(self) -> None:
        self.store.close()
        self.store = HBaseStore(self.store.url)

    def close(self) -> None:
        with suppress(AttributeError):
            give_back(self.store)
            del self.store


HBASE_ADAPTERS = {
    "hbase": HBaseLayer,
    "hbase, compacting": lambda server_url: HBaseLayer(server_url, compacting=True),
}
