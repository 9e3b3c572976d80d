"""The certification job by Spark, against the same work without it."""

from __future__ import annotations

import shutil
from dataclasses import fields
from datetime import timedelta

import numpy as np
import pytest
from builders import a_plan, a_programme
from domain_builders import assert_equal_reductions
from stores import ESTIMATED, Row, a_batch

from batch.certify import certify_bucket, certify_event, certify_here, certify_with_metrics
from batch.parquet_store import ParquetStore, bucket_of
from batch.session import NO_SPARK, open_session, warm_up
from batch.snapshots import FolderSnapshot
from domain.certification import Finding, join
from domain.errors import NegawattError, StoreError
from domain.plans import make_plan
from speed.duckdb_store import DuckDBStore
from speed.provisional import certify_provisionally

pytestmark = pytest.mark.stack

HOMES = [f"home {n}" for n in range(40)]
PLAN = a_plan()


def readings():
    random = np.random.default_rng(5)
    rows = []
    for home in HOMES:
        for slot in np.unique(PLAN.slots).tolist():
            if random.random() < 0.99:
                rows.append(
                    Row(home, slot, int(random.integers(0, 1000)), ESTIMATED if random.random() < 0.05 else 2)
                )
    return rows


@pytest.fixture(scope="module")
def rows():
    return readings()


@pytest.fixture
def store(tmp_path, rows):
    store = ParquetStore(tmp_path / "store", buckets=16)
    store.append([a_batch(rows[::2], PLAN.interval_minutes)])
    store.append([a_batch(rows[1::2], PLAN.interval_minutes)])
    return store


@pytest.fixture
def speed(rows):
    speed = DuckDBStore()
    speed.append(a_batch(rows, PLAN.interval_minutes))
    yield speed
    speed.close()


def joined(store):
    return join([certify_bucket(store, PLAN, bucket) for bucket in range(store.buckets)], PLAN)


def test_a_warm_session_has_started_its_workers(spark):
    warm_up(spark)
    assert spark.range(3).count() == 3


def test_a_job_equals_its_buckets_joined_and_the_speed_layer(spark, store, speed):
    result = certify_event(spark, store, PLAN)
    assert result.meters.tolist() == sorted(HOMES)
    assert result.certified.any()
    assert_equal_reductions(result, joined(store))
    assert_equal_reductions(result, certify_provisionally(speed, PLAN))


def test_participants_get_a_row_each_whether_they_have_readings_or_not(spark, store, speed):
    participants = [*reversed(HOMES[3:9]), "nobody", "zähler-7"]
    result = certify_event(spark, store, PLAN, iter(participants))
    assert result.meters.tolist() == sorted(participants)
    assert [bool(f & Finding.NO_READINGS) for f in result.findings] == [False] * 6 + [True] * 2
    assert_equal_reductions(result, certify_provisionally(speed, PLAN, participants))


def test_no_participants_and_an_empty_store_are_certified_as_nobody(spark, store, tmp_path):
    for result in (
        certify_event(spark, store, PLAN, []),
        certify_event(spark, ParquetStore(tmp_path / "empty"), PLAN),
    ):
        assert len(result) == 0
        assert result.baseline_wh.shape == (0, PLAN.event_intervals)
        assert result.kept_days.shape == (0, len(PLAN.days))


def test_an_event_without_a_day_of_history_is_certified_as_such(spark, store, speed):
    first = PLAN.event.start.date()
    taken = {first - timedelta(days=n) for n in range(-1, 60)}
    plan = make_plan(PLAN.event, a_programme(), PLAN.interval_minutes, event_days=taken)
    result = certify_event(spark, store, plan, HOMES)
    assert result.kept_days.shape == (40, 0)
    assert (result.findings & Finding.HISTORY_INSUFFICIENT).all()
    assert_equal_reductions(result, certify_provisionally(speed, plan, HOMES))


def test_without_spark_the_same_comes_out(spark, store, tmp_path):
    participants = [*reversed(HOMES[3:9]), "nobody"]
    calls: list[tuple[int, int]] = []
    here = certify_here(store, PLAN, participants, lambda done, total: calls.append((done, total)))
    assert_equal_reductions(here, certify_event(spark, store, PLAN, participants))
    assert_equal_reductions(certify_here(store, PLAN), certify_event(spark, store, PLAN))
    assert calls[-1][0] == calls[-1][1] == len(calls)
    assert len(certify_here(store, PLAN, [])) == 0
    assert len(certify_here(ParquetStore(tmp_path / "empty"), PLAN)) == 0


def test_a_job_that_needs_spark_says_so_where_there_is_none():
    with pytest.raises(NegawattError, match="needs Spark, and the setting spark is none"):
        open_session(NO_SPARK)


def test_progress_counts_tasks_and_reaches_their_total(spark, store):
    calls: list[tuple[int, int]] = []
    certify_event(spark, store, PLAN, progress=lambda done, total: calls.append((done, total)))
    assert {total for _, total in calls} == {8}  # 4 tasks a core, of two cores
    assert [done for done, _ in calls] == sorted(done for done, _ in calls)
    assert calls[-1] == (8, 8)


def test_a_store_by_a_relative_path_is_found_by_every_task(spark, store, monkeypatch):
    monkeypatch.chdir(store.folder.parent)
    near = ParquetStore(store.folder.relative_to(store.folder.parent))
    assert_equal_reductions(certify_event(spark, near, PLAN), joined(store))


@pytest.mark.parametrize("how", ["lost", "damaged"])
def test_a_task_that_cannot_read_a_file_names_it(spark, store, how):
    path = sorted(store.folder.glob("*/b*/*.parquet"))[0]
    path.unlink() if how == "lost" else path.write_bytes(b"not Parquet at all")
    calls: list[tuple[int, int]] = []
    with pytest.raises(StoreError, match=f"^{path} is {how}"):
        certify_event(spark, store, PLAN, progress=lambda *call: calls.append(call))
    assert (8, 8) not in calls


def test_a_store_that_is_gone_is_said_to_be_and_not_made_anew(spark, store):
    shutil.rmtree(store.folder)
    with pytest.raises(StoreError, match=f"^{store.folder} is no store of readings"):
        certify_event(spark, store, PLAN, HOMES)
    assert not store.folder.exists()


def test_a_task_that_finds_no_store_says_so_and_makes_none(spark, store, monkeypatch):
    elsewhere = FolderSnapshot(store.folder / "elsewhere", store.manifest)
    monkeypatch.setattr("batch.certify.snapshot_of", lambda _: elsewhere)
    with pytest.raises(StoreError, match=f"^a task finds no store at {elsewhere.folder}: "):
        certify_event(spark, store, PLAN, HOMES)
    assert not elsewhere.folder.exists()


def test_a_job_says_what_it_read_and_returned(spark, store):
    result, metrics = certify_with_metrics(spark, store, PLAN, HOMES)
    assert (metrics.rows, metrics.buckets) == (len(result), 16 - sum(bucket_is_empty(b) for b in range(16)))
    assert metrics.tasks <= 8
    assert metrics.read_bytes >= 4 * len(HOMES) * PLAN.slots.size
    assert metrics.result_bytes > 0
    assert metrics.slowest_task_seconds <= metrics.task_seconds
    assert set(metrics.document()) == {field.name for field in fields(metrics)}


def bucket_is_empty(bucket):
    return not any(bucket_of(home, 16) == bucket for home in HOMES)


def test_a_fault_of_the_programme_is_not_dressed_up_as_one_of_the_store(spark, store):
    from pyspark.errors import PythonException

    with pytest.raises(PythonException, match="AttributeError"):
        certify_event(spark, store, object())  # type: ignore[arg-type]
