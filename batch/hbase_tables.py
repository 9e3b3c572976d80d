"""The tables of a store in HBase: their names, their column families, and how they are made.

========= ============================== =================================================================
table     row                            families
========= ============================== =================================================================
readings  `batch.hbase_keys`             ``d`` packed days, ``a`` arrivals that no day holds yet
meters    series, meter                  ``m``; row 0 holds the store's number of buckets
views,    `batch.hbase_views`            ``v``
events, certificates
========= ============================== =================================================================
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from importlib import resources
from typing import Any

import happybase  # noqa: F401  makes Hbase_thrift as it loads
import thriftpy2
from Hbase_thrift import ColumnDescriptor  # type: ignore[import-not-found]
from thriftpy2.rpc import make_client
from thriftpy2.thrift import TException

from batch.hbase_client import Address, HBaseClient
from domain.errors import StoreError

READINGS, METERS, VIEWS, EVENTS, CERTIFICATES = "readings", "meters", "views", "events", "certificates"
DAYS, ARRIVALS = b"d", b"a"
PACKED, ARRIVED = b"d:", b"a:r"
"""Columns: a packed day's is named by its content, arrivals have theirs in the row key."""
FOREVER = 2**31 - 1


@dataclass(frozen=True)
class TableOptions:
    """How HBase keeps the readings; counts when the tables are made.

    Attributes
    ----------
    compression : str
        Of packed days on disk: ``NONE`` or ``GZ``, and where HBase has the native libraries ``SNAPPY``, ``LZ4`` or
        ``ZSTD``. Arrivals are compressed already.
    keep_seconds : int
        Readings vanish so long after they were written, or last folded; default: never. [s]
    block_kib : int
        Block that HBase reads at once; larger ones compress and scan better, smaller ones find a meter sooner.
        Only where the tables are made in pieces. [KiB]
    """

    compression: str = "GZ"
    keep_seconds: int = FOREVER
    block_kib: int = 64


def families(table: str, options: TableOptions) -> dict[str, dict[str, Any]]:
    """Column families of a table and what differs from HBase's defaults.

    One version of a cell is all: a cell's name says its content, so another version is the same.
    """
    kept = {"ttl": options.keep_seconds}
    if table == READINGS:
        return {"d": {"compression": options.compression, **kept}, "a": {"compression": "NONE", **kept}}
    return {"m" if table == METERS else "v": {"compression": options.compression, "ttl": FOREVER}}


def split_keys(table: str, buckets: int) -> list[bytes]:
    """Keys at which a table begins its next piece: the readings' by salt.

    >>> split_keys("readings", 3)
    [b'\\x00\\x01', b'\\x00\\x02']
    """
    return [struct.pack(">H", salt) for salt in range(1, buckets)] if table == READINGS else []


def create_tables(client: HBaseClient, tables: tuple[str, ...], options: TableOptions) -> None:
    """Make the tables that don't exist, each of one piece, which HBase splits as it grows."""
    there = client.tables()
    for table in tables:
        name = client.address.table(table)
        if name not in there:
            described = [
                ColumnDescriptor(
                    name=f"{family}:".encode(),
                    maxVersions=1,
                    compression=how["compression"],
                    timeToLive=how["ttl"],
                    bloomFilterType="ROW",
                    blockCacheEnabled=True,
                )
                for family, how in families(table, options).items()
            ]
            client.create_table(name, described)


def create_in_pieces(
    address: Address, thrift2_port: int, buckets: int, options: TableOptions = TableOptions()
) -> None:
    """Make the tables of a store with the readings split by salt, so that a cluster spreads them from the start.

    HBase's older Thrift service, which readings go through, can't do that; the newer one can, and is needed for a
    moment only: ``hbase thrift2 start``. Tables that exist stay as they are.

    Parameters
    ----------
    address : Address
        Of the store.
    thrift2_port : int
        Port of the Thrift 2 server on the same host.
    buckets : int
        Those of the store to be.

    Raises
    ------
    StoreError
        The server can't be reached or refuses.
    """
    idl = resources.files("batch") / "hbase_admin.thrift"
    with resources.as_file(idl) as path:
        spoken = thriftpy2.load(str(path), module_name="hbase_admin_thrift")
    try:
        client = make_client(spoken.THBaseAdmin, address.host, thrift2_port, timeout=60_000)
        try:
            for table in (READINGS, METERS, VIEWS, EVENTS, CERTIFICATES):
                name = spoken.TTableName(qualifier=address.table(table).encode())
                if client.tableExists(name):
                    continue
                columns = [
                    spoken.TColumnFamilyDescriptor(
                        name=family.encode(),
                        maxVersions=1,
                        timeToLive=how["ttl"],
                        blockSize=options.block_kib << 10,
                        bloomnFilterType=spoken.TBloomFilterType.ROW,
                        compressionType=getattr(spoken.TCompressionAlgorithm, how["compression"]),
                    )
                    for family, how in families(table, options).items()
                ]
                client.createTable(
                    spoken.TTableDescriptor(tableName=name, columns=columns), split_keys(table, buckets)
                )
        finally:
            client.close()
    except (TException, OSError) as failed:
        said = str(getattr(failed, "message", "") or failed).split("\n", 1)[0]
        raise StoreError(f"Thrift 2 server at {address.host}:{thrift2_port} can't make tables: {said}") from failed
