"""A look into the speed store's DuckDB file that can change nothing, and can be broken off."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow as pa

from domain.errors import StoreError
from speed.duckdb_store import SETTINGS
from speed.stores import duckdb_url
from speed.tables import plain


class DuckDBReader:
    """Reads a DuckDB file; any number of readers may have it open, but none while a `DuckDBStore` has it.

    Parameters
    ----------
    path : Path

    Raises
    ------
    StoreError
        There is no such file, or another process has it open to write.
    """

    def __init__(self, path: Path) -> None:
        self.url = duckdb_url(path)
        if not path.exists():
            raise StoreError(f"{path}: no readings yet; bring some in: negawatt ingest FILES")
        try:
            self._db = duckdb.connect(str(path), read_only=True)
        except duckdb.IOException as held:
            raise StoreError(f"{path} is in use by another command; ask again when that is done: {held}") from held
        with self._in_words():
            for setting in (*SETTINGS, "SET enable_external_access = false"):  # no file but the store's
                self._db.execute(setting)

    def query(self, sql: str) -> pa.Table:
        """Answer a query. See `speed.stores.SpeedStore.query`."""
        with self._in_words():
            return plain(self._db.sql(sql).to_arrow_table())

    def names(self) -> list[str]:
        """Tables and views, in order."""
        found = self.query("SELECT table_name FROM information_schema.tables WHERE table_schema = 'main'")
        return sorted(found["table_name"].to_pylist())

    def interrupt(self) -> None:
        """Break off the query that another thread of this process asks."""
        self._db.interrupt()

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    @contextlib.contextmanager
    def _in_words(self) -> Iterator[None]:
        try:
            yield
        except duckdb.Error as failed:
            raise StoreError(f"speed store: {failed}") from failed
