"""The speed store's port: recent readings behind one face, and which store an address names.

Both stores, DuckDB in this process and a HeavyDB server, have the same tables (see `speed.tables`) and answer the
same SQL, so that views and queries are written once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from domain.certification import LoadBlock
from domain.errors import StoreError
from domain.plans import EventPlan
from domain.readings import Readings, Register


@dataclass(frozen=True)
class LoadResult:
    """Rows that a load brought: ``new`` slots, ``replaced`` readings, ``unchanged`` repeats."""

    new: int
    replaced: int
    unchanged: int


class SpeedStore(Protocol):
    """Recent readings, and the tables and views beside them; any thread may use it.

    Tables hold times in UTC. Of `readings_…` the sums are right while rows need not be unique: the energy of a meter
    at ``ts`` is SUM(wh), and it was reported when SUM(n) = 1.
    """

    @property
    def url(self) -> str:
        """What `open_speed_store` opens it by, without a password."""

    def append(self, readings: Readings) -> LoadResult:
        """Load a batch, whole or not at all; repeats change nothing, readings of higher precedence replace.

        Raises
        ------
        StoreError
            The batch can't be taken; nothing of it is there, or a repeat makes it whole.
        """

    def read_plan(self, plan: EventPlan, meters: NDArray[np.object_] | None = None) -> LoadBlock:
        """The readings that certify an event.

        Parameters
        ----------
        plan : EventPlan
        meters : ndarray of str objects, optional
            The participants; a meter without readings gets a block of MISSING. Default: all meters that have
            readings at the plan's slots.
        """

    def read_slots(
        self,
        slots: NDArray[np.int64],
        interval_minutes: int,
        meters: NDArray[np.object_] | None = None,
        register: Register = Register.IMPORT,
    ) -> LoadBlock:
        """Readings at ``slots`` (rows, intervals). See `read_plan`."""

    def totals(
        self, interval_minutes: int, register: Register = Register.IMPORT
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Energy of all meters together, by slot in ascending order. [Wh]"""

    def meter_ids(self, names: NDArray[np.object_]) -> NDArray[np.int32]:
        """Numbers of meters in the tables; a new name gets the next number."""

    def query(self, sql: str) -> pa.Table:
        """Answer a SELECT: whole numbers as int64 or narrower, times as ``timestamp[s]`` in UTC, text as ``string``.

        Raises
        ------
        StoreError
            The store refuses it, in its own words.
        """

    def execute(self, sql: str) -> None:
        """Run a statement without an answer: CREATE VIEW, DROP, DELETE, UPDATE.

        Raises
        ------
        StoreError
        """

    def create(
        self,
        table: str,
        columns: Mapping[str, str],
        *,
        shard_key: str | None = None,
        sort_column: str | None = None,
        fragment_size: int | None = None,
    ) -> None:
        """Make a table unless it is there.

        Parameters
        ----------
        table : str
        columns : mapping
            Type of each column in HeavyDB's words: ``TIMESTAMP(0) ENCODING FIXED(32)``, ``TEXT ENCODING DICT(32)``.
        shard_key, sort_column, fragment_size
            HeavyDB's choices for large tables; DuckDB has no use for them.
        """

    def load(self, table: str, rows: pa.Table) -> None:
        """Append rows as they are, all or none; their columns are those of the table, in any order.

        Raises
        ------
        StoreError
        """

    def replace(self, table: str, rows: pa.Table, where: str) -> None:
        """Delete the rows for which ``where`` holds, then load ``rows``; doing it again changes nothing.

        DuckDB does both in one step; in HeavyDB a reader may see the moment between.
        """

    def close(self) -> None:
        """Let go of files and connections; what was appended stays."""


def open_speed_store(url: str, *, password: str = "", password_file: str = "") -> SpeedStore:
    """Open a speed store, or make it when there is none.

    Parameters
    ----------
    url : str
        ``duckdb:///folder/file.duckdb``, ``duckdb://`` in memory, ``heavydb://user@host:6274/db``, or the latter
        as pymapd has it: ``mapd://user:password@host:6274/db?protocol=binary``.
    password, password_file : str
        For HeavyDB, where the address has none: the password, or a file whose first line it is.

    Raises
    ------
    StoreError
        No such kind of store, or it can't be opened.

    Examples
    --------
    >>> store = open_speed_store("duckdb://")
    >>> store.query("SELECT 7 AS n").to_pylist()
    [{'n': 7}]
    >>> open_speed_store("ftp://somewhere")
    Traceback (most recent call last):
      ...
    domain.errors.StoreError: ftp://…: a speed store is duckdb:///folder/file.duckdb or heavydb://user@host:6274/db
    """
    scheme = url.partition("://")[0] if "://" in url else ""
    if scheme == "duckdb":
        from speed.duckdb_store import DuckDBStore  # noqa: PLC0415  each store's client waits until it is asked for

        return DuckDBStore(_file(url))
    if scheme in ("heavydb", "mapd", "omnisci"):
        from speed.heavydb_store import HeavyDBStore  # noqa: PLC0415
        from speed.heavydb_url import HeavyDBAddress  # noqa: PLC0415

        return HeavyDBStore(HeavyDBAddress.parse(url, password=password, password_file=password_file))
    # What stands behind an unknown scheme might be a password.
    raise StoreError(f"{scheme}://…: a speed store is duckdb:///folder/file.duckdb or heavydb://user@host:6274/db")


def duckdb_url(path: Path | None) -> str:
    """Address of a DuckDB file; of None that of a store in memory.

    >>> duckdb_url(Path("/data/at work/speed.duckdb"))
    'duckdb:///data/at%20work/speed.duckdb'
    """
    return "duckdb://" if path is None else "duckdb://" + path.absolute().as_uri().removeprefix("file://")


def _file(url: str) -> Path | None:
    parts = urlsplit(url)
    if parts.netloc or parts.query or parts.fragment:
        raise StoreError(f"{url}: expected duckdb:///folder/file.duckdb with three slashes, or duckdb:// in memory")
    return Path(unquote(parts.path)) if parts.path.strip("/") else None
