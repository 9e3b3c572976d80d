"""How far a running Spark job is, told while it runs."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from batch.session import is_connect

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

Progress = Callable[[int, int], None]
"""Called with tasks done and tasks in all."""

_POLL_SECONDS = 0.2


@contextlib.contextmanager
def watch(session: SparkSession, tasks: int, progress: Progress | None) -> Iterator[None]:
    """Report finished tasks of the job that runs in the block; all of them once it ends without an error."""
    if progress is None:
        yield
        return
    watching = _told_by_server if is_connect(session) else _asked
    with watching(session, tasks, progress):
        yield
    progress(tasks, tasks)


@contextlib.contextmanager
def _told_by_server(session: Any, tasks: int, progress: Progress) -> Iterator[None]:
    most = 0

    def told(stages: Any = (), **_: Any) -> None:
        nonlocal most
        most = max(most, min(sum(stage.num_completed_tasks for stage in stages), tasks))
        progress(most, tasks)

    session.registerProgressHandler(told)
    try:
        yield
    finally:
        session.removeProgressHandler(told)


@contextlib.contextmanager
def _asked(session: SparkSession, tasks: int, progress: Progress) -> Iterator[None]:
    done = threading.Event()

    def poll() -> None:
        tracker = session.sparkContext.statusTracker()
        most = 0  # a stage that has just ended is no longer active, and counts nothing
        while not done.wait(_POLL_SECONDS):
            finished = 0
            for stage in tracker.getActiveStageIds():
                info = tracker.getStageInfo(stage)
                finished += info.numCompletedTasks if info else 0
            most = max(most, min(finished, tasks))
            progress(most, tasks)

    thread = threading.Thread(target=poll, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
