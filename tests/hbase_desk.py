"""A real HBase with its Thrift server for tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.hbase_server import HBaseServer


@contextmanager
def an_hbase(folder: Path, *, port: int | None = None) -> Iterator[HBaseServer]:
    """A new HBase that works, killed when the block ends. Fetches its jars when they are not in the cache."""
    server = HBaseServer.create(folder, port=port)
    try:
        server.up()
        yield server
    finally:
        server.kill()
