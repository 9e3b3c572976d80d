"""Certification and SQL through a Spark Connect server, whose executors don't have this project."""

from __future__ import annotations

import socket

import pytest
from domain_builders import assert_equal_reductions
from spark_desk import HOMES, PLAN, a_store, some_rows

from batch import spark_source
from batch.certify import certify_bucket, certify_event, certify_with_metrics
from batch.session import is_connect, open_session, warm_up
from domain.certification import Finding, join
from domain.errors import NegawattError, StoreError

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def session(spark_cluster):
    session = open_session(spark_cluster.connect_url)
    warm_up(session)
    yield session
    session.stop()


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return a_store(tmp_path_factory.mktemp("connect") / "store")


def test_a_session_of_connect_has_no_context_and_is_known_as_such(session, spark):
    assert is_connect(session)
    assert not is_connect(spark)
    assert not hasattr(session, "sparkContext")


def test_a_job_equals_its_buckets_joined_and_says_what_it_did(session, store):
    calls: list[tuple[int, int]] = []
    result, metrics = certify_with_metrics(session, store, PLAN, progress=lambda *call: calls.append(call))
    assert_equal_reductions(result, join([certify_bucket(store, PLAN, b) for b in range(16)], PLAN))
    assert calls[-1] == (16, 16)
    assert [done for done, _ in calls] == sorted(done for done, _ in calls)
    assert (metrics.tasks, metrics.buckets, metrics.rows) == (16, 16, len(HOMES))
    assert metrics.read_bytes >= 4 * len(HOMES) * PLAN.slots.size
    assert 0 < metrics.slowest_task_seconds <= metrics.task_seconds


def test_participants_travel_too(session, store):
    result = certify_event(session, store, PLAN, ["home 7", "nobody"])
    assert result.meters.tolist() == ["home 7", "nobody"]
    assert [bool(found & Finding.NO_READINGS) for found in result.findings] == [False, True]


def test_a_store_that_fails_in_a_task_is_one_clear_error(session, tmp_path):
    store = a_store(tmp_path / "store")
    path = sorted(store.folder.glob("*/b*/*.parquet"))[0]
    path.unlink()
    with pytest.raises(StoreError, match=f"^{path} is lost: the store's manifest names it and it is not there$"):
        certify_event(session, store, PLAN)


def test_analysts_ask_by_sql(session, store):
    spark_source.register(session)
    session.read.format("negawatt").option("store", store.url).load().createOrReplaceTempView("readings")
    (row,) = session.sql("SELECT count(*) AS n, sum(wh) AS wh FROM readings WHERE meter = 'home 7'").collect()
    own = [row.wh for row in some_rows() if row.meter == "home 7"]
    assert (row.n, row.wh) == (len(own), sum(own))


def test_where_no_server_listens_the_address_is_named_without_its_token():
    with socket.socket() as taken:  # bound and not listening, so nobody else can answer there
        taken.bind(("127.0.0.1", 0))
        url = f"sc://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(NegawattError, match=f"^{url}: no Spark Connect server answers") as refused:
            open_session(f"{url}/;token=secret")
    assert "secret" not in str(refused.value)
    assert refused.value.retry_may_help, "it may be being started anew"
