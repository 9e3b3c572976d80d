"""A workspace whose event is over, and DAGs run in this process, task by task, as Airflow's `dag.test` does."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from terminal import Terminal

import dags

if TYPE_CHECKING:
    from airflow.sdk import DAG

EVENT = "peak-2025-07-15"
HOMES = 6


def negawatt(workspace: Path, *words: object) -> dict[str, Any]:
    """What a command answers."""
    return Terminal(workspace).json(*words)


def an_ended_event(workspace: Path, folder: Path, *, announced: bool = True) -> None:
    """Readings of a few simulated homes, half-hours for 45 days, and an event that they took part in."""
    size = ["--homes", str(HOMES), "--days", "45", "--interval", "30"]
    negawatt(workspace, "simulate", str(folder), *size)
    files = [str(folder / "homes.csv"), str(folder / "readings.parquet")]
    negawatt(workspace, "ingest", "--resources", *files)
    if announced:
        negawatt(workspace, "announce", str(folder / "event.toml"))
    else:
        from negawatt.workspace import Workspace

        Workspace(workspace).event(str(folder / "event.toml"))


def dag_named(dag_id: str) -> DAG:
    """A DAG of its own, made anew by its function: a file may have several."""
    for file in sorted(Path(dags.__file__).parent.glob("[!_]*.py")):
        module = importlib.import_module(f"dags.{file.stem}")
        if dag_id in module.__dict__:
            made: DAG = module.__dict__[dag_id]()
            return made
    raise LookupError(dag_id)


def run_dag(
    dag_id: str, *, due: datetime | None = None, before_retry: Callable[[], object] | None = None, **params: Any
) -> Any:
    """Run a DAG to its end in this process; returns the run.

    Airflow 3.3 can't test a DAG that has deadline alerts, so they are taken off.

    Parameters
    ----------
    due : datetime, optional
        When the schedule had it run, as in runs that ``airflow backfill`` makes; by default now.
    before_retry : callable, optional
        What happens before a task is tried once more; by default nothing is tried again: what fails has failed.
    params : any
        What its form's fields are filled with.
    """
    dag = dag_named(dag_id)
    dag.deadline = None
    for task in dag.tasks:
        task.retries = 0
        if before_retry:
            task.retries, task.retry_delay = 1, timedelta(seconds=1)
            task.on_retry_callback = [lambda _: before_retry()]
    when = {"logical_date": due, "run_after": due} if due else {}
    return dag.test(run_conf=params, **when)


def states(run: Any) -> dict[str, str]:
    """State of each task; of one that was multiplied, as ``TASK/NUMBER``."""
    return {_name(task): str(task.state) for task in run.get_task_instances()}


def answer(run: Any, task_id: str) -> Any:
    """What a task returned; of one that was multiplied say which, as ``TASK/NUMBER``."""
    (task,) = (task for task in run.get_task_instances() if _name(task) == task_id)
    return task.xcom_pull(task_ids=task.task_id, map_indexes=task.map_index if task.map_index >= 0 else None)


def _name(task: Any) -> str:
    return f"{task.task_id}/{task.map_index}" if task.map_index >= 0 else str(task.task_id)


def alerts(workspace: Path) -> list[dict[str, Any]]:
    """The lines of ``alerts.jsonl``; none where there is no such file."""
    path = workspace / "alerts.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def kept(workspace: Path, *folders: str) -> dict[str, bytes]:
    """Every file in some folders of a workspace, by its path in there; for the workspace's own path stands ``~``."""
    files = [path for folder in folders for path in sorted((workspace / folder).rglob("*")) if path.is_file()]
    return {
        str(path.relative_to(workspace)): path.read_bytes().replace(str(workspace).encode(), b"~") for path in files
    }
