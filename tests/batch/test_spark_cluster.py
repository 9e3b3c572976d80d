"""Certification on a standalone cluster of a master and two workers, and what happens when parts of it die."""

from __future__ import annotations

import subprocess
import sys

import pytest
from domain_builders import assert_equal_reductions
from spark_desk import PLAN, Driver, Gate, a_packed_environment, a_store, certify, make_view
from stores import Row, a_batch

from batch.certify import certify_bucket
from batch.views import ParquetViews
from domain.certification import join
from domain.errors import StoreError
from infra.daemons import wait_until
from infra.spark_cluster import SparkCluster

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def driver(spark_cluster, tmp_path_factory):
    folder = tmp_path_factory.mktemp("driver")
    packed = a_packed_environment(spark_cluster.python, folder / "environment.tar.gz")
    options = {"spark.cores.max": "2"} | packed
    driver = Driver(spark_cluster.url, "./environment/bin/python", folder / "spark.log", **options)
    yield driver
    driver.close()


@pytest.fixture
def store(tmp_path):
    return a_store(tmp_path / "store")


def here(store):
    """The same without Spark."""
    return join([certify_bucket(store, PLAN, bucket) for bucket in range(store.buckets)], PLAN)


def test_a_cluster_is_found_again_by_its_folder(spark_cluster):
    again = SparkCluster.load(spark_cluster.folder)
    assert again == spark_cluster
    assert again.up() == []
    assert again.workers_alive() == 2


def test_executors_without_the_project_certify_the_same_integers(driver, store):
    assert_equal_reductions(driver.do(certify, store), here(store))


def test_readings_that_come_during_a_job_are_in_all_of_it_or_in_nothing(driver, store, tmp_path):
    before, gate = here(store), Gate(tmp_path / "gate")
    driver.start(certify, store, gate.folder)
    gate.wait_for(2)
    slot = int(PLAN.slots[0, 0])
    for step in range(25):  # more commits than manifests are kept
        store.append([a_batch([Row(f"late {step}", slot, 5)], PLAN.interval_minutes)])
    gate.open_it()
    assert_equal_reductions(driver.result(), before)
    assert len(here(store)) == len(before) + 25


def test_a_store_that_fails_in_a_task_is_one_clear_error(driver, store):
    path = sorted(store.folder.glob("*/b*/*.parquet"))[0]
    path.write_bytes(b"not Parquet at all")
    with pytest.raises(StoreError, match=f"^{path} is damaged"):
        driver.do(certify, store)


def test_a_worker_killed_during_certification_costs_nothing_but_time(driver, spark_cluster, store, tmp_path):
    gate = Gate(tmp_path / "gate")
    driver.start(certify, store, gate.folder)
    gate.wait_for(2)  # one on each worker, unless one of them was late
    killed = "worker-2" if has_executor(spark_cluster.pid("worker-2")) else "worker-1"
    assert spark_cluster.kill(killed)
    try:
        gate.open_it()
        assert_equal_reductions(driver.result(), here(store))
        assert gate.came > 8  # 4 tasks a core, of two cores, and one of them again
        assert wait_until(lambda: spark_cluster.workers_alive() == 1, 30)
    finally:
        assert spark_cluster.up() == [killed]
    assert spark_cluster.workers_alive() == 2


def has_executor(worker):
    """Whether a worker has an executor, which is in its process group."""
    shown = subprocess.run(["ps", "-eo", "pgid=,args="], capture_output=True, text=True, check=True).stdout
    lines = (line.split(None, 1) for line in shown.splitlines())
    return any(int(group) == worker and "CoarseGrainedExecutorBackend" in words for group, words in lines)


def test_of_a_job_that_is_killed_halfway_no_view_is_seen(store, tmp_path):
    views, gate = ParquetViews(tmp_path / "views"), Gate(tmp_path / "gate")
    driver = Driver("local[2]", sys.executable, tmp_path / "spark.log")
    driver.do(make_view, store, views, "kept", 1)
    driver.start(make_view, store, views, "kept", 2, gate.folder)
    written = tmp_path / "views" / "kept"
    assert wait_until(lambda: len(list(written.glob("*/part-*"))) > 16, 60)  # some of the new parts are there
    driver.kill()
    assert views.names() == ["kept"]
    assert set(views.read("kept").column("value").to_pylist()) == {1}
    assert views.read("kept").column("bucket").to_pylist() == list(range(16))
