"""Tables made in pieces with their options, stores beside each other, and views that are seen whole or not at all."""

from __future__ import annotations

from itertools import count

import numpy as np
import pytest
from hbase_layer import an_empty_store, give_back
from stores import FIRST, Row, a_batch, whole

from batch.hbase_client import Address, HBaseClient
from batch.hbase_store import HBaseStore
from batch.hbase_tables import TableOptions, create_in_pieces
from batch.hbase_views import HBaseViews
from batch.parquet_store import bucket_of
from batch.stores import open_store
from batch.wide import WideDays
from domain.errors import StoreError
from domain.intervals import slots_per_day
from infra.daemons import free_ports, stop_daemon, wait_until
from infra.hbase_server import _OPENS
from infra.jars import jars
from infra.java import find_java
from infra.java_server import Program

pytestmark = pytest.mark.stack

NUMBERS = count()


@pytest.fixture
def url(hbase):
    """An address of a store that nobody has used."""
    return f"{hbase.url}/tables-{next(NUMBERS)}"


@pytest.fixture
def views(hbase):
    return HBaseViews(f"{hbase.url}/views")


@pytest.fixture(scope="module")
def thrift2_port(hbase):
    (port,) = free_ports(1)
    program = Program(
        name="thrift2",
        folder=hbase.folder,
        main="org.apache.hadoop.hbase.thrift2.ThriftServer",
        heap_mib=128,
        ports=(port,),
        options=_OPENS,
        arguments=("start", "--bind", "127.0.0.1", "-p", str(port), "--infoport", "-1"),
    )
    program.start(find_java(), hbase._classpath(jars("hbase")))
    yield port
    stop_daemon(program.words, hard=True)


def test_a_store_made_in_pieces_has_a_region_for_each_salt_and_its_options(url, thrift2_port):
    address = Address.parse(url)

    def made():
        try:
            create_in_pieces(address, thrift2_port, 5, TableOptions(keep_seconds=86_400, block_kib=128))
        except StoreError:
            return False
        return True

    assert wait_until(made, 60)
    store = HBaseStore(url, buckets=5)
    regions = store.client.call("list regions", lambda thrift: thrift.getTableRegions(store._readings.encode()))
    assert [region.startKey for region in regions] == [b"", *(bytes([0, salt]) for salt in range(1, 5))]
    families = store.client.call("see", lambda thrift: thrift.getColumnDescriptors(store._readings.encode()))
    assert {f.name: (f.compression, f.timeToLive, f.maxVersions) for f in families.values()} == {
        b"d:": (b"GZ", 86_400, 1),
        b"a:": (b"NONE", 86_400, 1),
    }
    store.append([a_batch([Row(f"home {n}", FIRST, n) for n in range(50)])])
    assert whole(store, np.array([[FIRST]])).wh.sum() == sum(range(50))


def test_a_store_keeps_the_buckets_that_it_was_made_with(url):
    assert HBaseStore(url, buckets=5).buckets == 5
    assert HBaseStore(url, buckets=16).buckets == open_store(url).buckets == 5


def test_stores_of_another_prefix_know_nothing_of_each_other(hbase):
    one, other = an_empty_store(hbase.url), an_empty_store(hbase.url)
    one.append([a_batch([Row("a", FIRST, 1)])])
    assert (one.meters(60), other.meters(60)) == (["a"], [])
    give_back(one)
    give_back(other)


def test_what_a_store_holds_can_be_asked(hbase):
    store = an_empty_store(hbase.url)
    assert (store.intervals(), store.meters(60), store.days(60)) == ([], [], None)
    named = a_batch([Row("b", FIRST, 1), Row("named, without readings", FIRST, 1)])
    store.append([named.take(np.array([0])), a_batch([Row("zähler", FIRST * 4, 1)], 15)])
    full = [Row("a", FIRST + 9 * 24 + hour, 5) for hour in range(24)]
    store.append([a_batch(full)])
    assert store.intervals() == [15, 60]
    assert store.meters(60) == ["a", "b"]
    assert store.meters(15) == ["zähler"]
    assert store.days(60) == (FIRST // 24, FIRST // 24 + 9)
    give_back(store)


def test_a_bulk_load_of_a_bucket_refuses_another_buckets_meters(hbase):
    store = an_empty_store(hbase.url)
    names = sorted((f"home {n}" for n in range(20)), key=lambda name: bucket_of(name, store.buckets))
    mine = sorted(name for name in names if bucket_of(name, store.buckets) == 1)
    stamp = np.full((len(mine), slots_per_day(60)), (2 << 32) + 7, dtype=np.int64)
    days = np.full(len(mine), FIRST // 24, dtype=np.int32)
    store.load_bucket(1, 60, [WideDays(np.array(mine, dtype=object), days, stamp)])
    assert whole(store, np.array([[FIRST + 3]])).wh.reshape(-1).tolist() == [7] * len(mine)
    assert store.meters(60) == mine
    with pytest.raises(StoreError, match="belongs in bucket 1, not 2"):
        store.load_bucket(2, 60, [WideDays(np.array(mine, dtype=object), days, stamp)])
    give_back(store)


def test_a_view_is_seen_when_it_is_published_and_not_before(views):
    name = f"view {next(NUMBERS)}"
    assert views.read(name) is None
    assert views.put_view(name, "1", [("a", b"1"), ("b\0c", b"2")]) == 2
    assert views.read(name) is None
    views.publish(name, "1")
    assert (views.published(name), views.read(name).rows) == ("1", {"a": b"1", "b\0c": b"2"})
    views.put_view(name, "2", [])
    assert views.read(name).version == "1"
    views.publish(name, "2")
    assert views.read(name).rows == {}
    assert views.versions(name) == ["1", "2"]
    views.drop(name, "1")
    assert views.versions(name) == ["2"]
    with pytest.raises(StoreError, match="is what readers see"):
        views.drop(name, "2")


def test_a_view_cut_off_halfway_is_never_seen_nor_mixed_with_the_next_try(views):
    name = f"view {next(NUMBERS)}"
    views.put_view(name, "1", [("a", b"old")])
    views.publish(name, "1")

    def breaks_off():
        yield from ((f"row {n:05d}", b"half") for n in range(6_000))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        views.put_view(name, "2", breaks_off())
    with pytest.raises(StoreError, match="no complete version '2'"):
        views.publish(name, "2")
    assert views.read(name).rows == {"a": b"old"}
    views.put_view(name, "2", [("b", b"whole")])
    views.publish(name, "2")
    assert views.read(name).rows == {"b": b"whole"}


def test_a_publication_that_arrives_late_changes_nothing(views, monkeypatch):
    name = f"view {next(NUMBERS)}"
    for version in ("1", "2"):
        views.put_view(name, version, [("a", version.encode())])
    late, put = [], HBaseClient.put_at
    monkeypatch.setattr(HBaseClient, "put_at", lambda *args: late.append(args))
    with pytest.raises(StoreError, match="publish the right one again"):
        views.publish(name, "1")
    monkeypatch.undo()
    views.publish(name, "2")
    put(*late[0][:-1], late[0][-1] - 1)
    assert views.published(name) == "2"


def test_an_unknown_table_of_views_is_refused(hbase):
    with pytest.raises(StoreError, match="expected views, events or certificates"):
        HBaseViews(hbase.url, "readings")
