"""Every DAG can be read, says what it does and whose it is, and reads quickly."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

import dags

FOLDER = Path(dags.__file__).parent
DAGS = {
    "baseline_screening", "certification", "compaction", "forecasting", "forecasting_training", "housekeeping",
    "ingest_quality", "matching", "matching_intraday", "reconciliation", "settlement", "trade_settlement",
}  # fmt: skip
HEAVY = ("numpy", "pandas", "pyarrow", "pyspark", "web3", "duckdb", "tensorflow")
POOLS = {"default_pool", "spark", "chain"}


@pytest.fixture(scope="module")
def bag(tmp_path_factory):
    """All DAGs, read as Airflow reads them."""
    from airflow.dag_processing.dagbag import DagBag

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NEGAWATT_WORKSPACE", str(tmp_path_factory.mktemp("workspace")))
        yield DagBag(dag_folder=str(FOLDER))


def test_all_dags_can_be_read_and_none_has_a_cycle(bag):
    assert not bag.import_errors
    assert set(bag.dags) == DAGS
    for dag in bag.dags.values():
        dag.check_cycle()


@pytest.mark.parametrize("dag_id", sorted(DAGS))
def test_a_dag_says_what_it_does_and_whose_it_is(bag, dag_id):
    dag = bag.dags[dag_id]
    assert dag.doc_md.startswith("### ")
    assert dag.tags
    assert dag.catchup is False
    for task in dag.tasks:
        assert task.owner == "negawatt"
        assert task.retries >= 1
        assert task.retry_delay >= timedelta(seconds=1)
        assert task.execution_timeout is not None
        assert task.on_failure_callback, "people are told when it fails"
        assert task.pool in POOLS
        assert task.doc_md


def test_only_runs_that_wait_for_days_may_be_many_at_once(bag):
    many = {dag.dag_id for dag in bag.dags.values() if dag.max_active_runs > 1}
    assert many == {"certification", "settlement", "trade_settlement"}


def test_what_is_scheduled_waits_until_a_person_turns_it_on(bag):
    on = {dag.dag_id for dag in bag.dags.values() if dag.is_paused_upon_creation is False}
    assert on == {"certification", "settlement"}


@pytest.mark.parametrize("file", sorted(FOLDER.glob("[!_]*.py")), ids=lambda file: file.stem)
def test_reading_a_dag_loads_nothing_heavy(file, tmp_path):
    """In a process of its own, since this one has loaded all of it."""
    heavy = subprocess.run(
        [
            sys.executable,
            "-c",
            f"""import sys, airflow.sdk, airflow.timetables.trigger
from airflow.providers.standard.operators import python, trigger_dagrun
before = set(sys.modules)
import dags.{file.stem}
print(*(m for m in {HEAVY!r} if m in set(sys.modules) - before))""",
        ],
        env={"NEGAWATT_WORKSPACE": str(tmp_path), "AIRFLOW_HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert heavy.stdout.split() == []
