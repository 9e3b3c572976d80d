"""Spark over HBase against the same over Parquet, bit for bit."""

from __future__ import annotations

import pyarrow as pa
import pytest
from domain_builders import assert_equal_reductions
from spark_desk import HOMES, PLAN, make_view, some_rows
from stores import a_batch

from batch import spark_source
from batch.certify import certify_event, certify_with_metrics
from batch.hbase_parts import HBasePartViews
from batch.parquet_store import ParquetStore
from batch.session import open_session
from batch.stores import open_store
from domain.errors import StoreError

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def stores(hbase, tmp_path_factory):
    """The same readings in both, come in two pieces, corrected and repeated."""
    rows = some_rows()
    corrected = [row._replace(wh=row.wh + 7, revision=1) for row in rows[::11]]
    both = ParquetStore(tmp_path_factory.mktemp("hbase") / "store"), open_store(f"{hbase.url}/spark")
    for store in both:
        store.append([a_batch(rows[::2], PLAN.interval_minutes)])
        store.append([a_batch([*rows[1::2], *corrected, *rows[:50]], PLAN.interval_minutes)])
    return both


def test_certification_from_hbase_equals_that_from_parquet(spark, stores):
    parquet, hbase = stores
    result, metrics = certify_with_metrics(spark, hbase, PLAN)
    assert_equal_reductions(result, certify_event(spark, parquet, PLAN))
    assert metrics.rows == len(HOMES)


def test_participants_without_readings_are_certified_alike(spark, stores):
    parquet, hbase = stores
    meters = [*HOMES[5:9], "nobody"]
    assert_equal_reductions(certify_event(spark, hbase, PLAN, meters), certify_event(spark, parquet, PLAN, meters))


def test_sql_shows_the_same_rows(spark, stores):
    spark_source.register(spark)

    def rows_of(store):
        frame = spark.read.format("negawatt").option("store", store.url).load()
        return sorted(map(tuple, frame.where("meter IN ('home 3', 'home 5') OR revision = 1").collect()))

    parquet, hbase = map(rows_of, stores)
    assert {row[0] for row in parquet} > {"home 3", "home 5"}
    assert {row[4] for row in parquet} == {0, 1}
    assert hbase == parquet


def test_a_view_of_many_parts_is_seen_whole_and_only_once_it_is_published(spark, stores, hbase):
    views = HBasePartViews(f"{hbase.url}/spark")
    draft = views.draft("kept")
    draft.write(0, pa.table({"bucket": [0], "value": [9]}))
    with pytest.raises(StoreError, match="part 1 was never written"):
        views.publish(draft, [0, 1])
    with pytest.raises(StoreError, match="no view 'kept' was published"):
        views.read("kept")
    for value in (1, 2, 3):
        make_view(spark, stores[1], views, "kept", value)
        assert views.read("kept").to_pydict() == {"bucket": list(range(16)), "value": [value] * 16}


def test_executors_that_lack_the_project_read_hbase_too(spark_cluster, stores):
    session = open_session(spark_cluster.connect_url)
    try:
        parquet, hbase = (certify_event(session, store, PLAN) for store in stores)
    finally:
        session.stop()
    assert_equal_reductions(hbase, parquet)
