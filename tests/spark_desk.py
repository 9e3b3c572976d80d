"""A Spark cluster for tests, executors that know nothing of this project, and a driver in a process of its own."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import tarfile
import time
import uuid
import venv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from builders import a_plan
from stores import ESTIMATED, Row, a_batch

from batch.parquet_store import ParquetStore
from batch.snapshots import Snapshot, snapshot_of
from batch.stores import BatchStore
from domain.certification import Reductions
from infra.daemons import wait_until
from infra.spark_cluster import SparkCluster

PLAN = a_plan()
HOMES = [f"home {n}" for n in range(40)]
DEADLINE_SECONDS = 180.0
SMALL = {"spark.executor.memory": "512m", "spark.executor.extraJavaOptions": "-XX:TieredStopAtLevel=1"}


@contextmanager
def a_cluster(folder: Path) -> Iterator[SparkCluster]:
    """A master, two workers and a Connect server, stopped when the block ends."""
    cluster = SparkCluster.create(folder / "cluster", python=a_bare_python(folder / "python"))
    try:
        cluster.up()
        yield cluster
    finally:
        cluster.down()


def a_bare_python(folder: Path) -> Path:
    """A Python with our dependencies and without us, as a node of a cluster has it."""
    venv.create(folder, symlinks=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "others.pth").write_text(f"{Path(np.__file__).parents[1]}\n")  # its own .pth files count for nothing
    python = folder / "bin" / "python"
    asked = subprocess.run(
        [python, "-c", "import pyarrow, batch"], cwd=folder, capture_output=True, text=True, check=False
    )
    assert "No module named 'batch'" in asked.stderr
    return python


def a_packed_environment(python: str, archive: Path) -> dict[str, str]:
    """Settings that send a Python's environment to executors, which unpack it beside their work."""
    with tarfile.open(archive, "w:gz") as packed:
        packed.add(Path(python).parents[1], ".")
    return {"spark.archives": f"{archive}#environment"}


def some_rows(seed: int = 5) -> list[Row]:
    """Readings of the plan's slots; a few are missing, a few estimates."""
    random = np.random.default_rng(seed)
    return [
        Row(home, slot, int(random.integers(0, 1000)), ESTIMATED if random.random() < 0.05 else 2)
        for home in HOMES
        for slot in np.unique(PLAN.slots).tolist()
        if random.random() < 0.99
    ]


def a_store(folder: Path, seed: int = 5) -> ParquetStore:
    """A store of `some_rows`."""
    store = ParquetStore(folder)
    store.append([a_batch(some_rows(seed), PLAN.interval_minutes)])
    return store


# --- a driver in a process of its own: there is one Spark context a process ------------------------------------


class Driver:
    """A session on a master, in a child; each call is a function of this module with the session put before."""

    def __init__(self, master: str, python: str, log: Path, **options: str) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, far = context.Pipe()
        self._process = context.Process(target=_serve, args=(far, master, python, log, SMALL | options), daemon=True)
        self._process.start()
        far.close()

    def start(self, work: Callable[..., Any], *args: Any) -> None:
        """Begin a call."""
        self._pipe.send((work, args))

    def result(self) -> Any:
        """What it returned; its error is raised here."""
        assert self._pipe.poll(DEADLINE_SECONDS), "the driver says nothing"
        failed, value = self._pipe.recv()
        if failed:
            raise value
        return value

    def do(self, work: Callable[..., Any], *args: Any) -> Any:
        """Make a call and wait for it."""
        self.start(work, *args)
        return self.result()

    def kill(self) -> None:
        """Kill -9; its JVM ends when it finds itself alone."""
        assert self._process.pid is not None
        os.kill(self._process.pid, signal.SIGKILL)
        self._process.join(DEADLINE_SECONDS)

    def close(self) -> None:
        """End it."""
        if self._process.is_alive():
            self._pipe.close()
            self._process.join(DEADLINE_SECONDS)


def _serve(pipe: Connection, master: str, python: str, log: Path, options: dict[str, str]) -> None:
    from batch.session import open_session

    session = open_session(master, log=log, python=python, options=options)
    while True:
        try:
            work, args = pipe.recv()
        except (EOFError, ConnectionResetError):
            break
        try:
            pipe.send((False, work(session, *args)))
        except Exception as failed:  # to be raised by who asked
            pipe.send((True, type(failed)(str(failed))))
    session.stop()


def certify(session: Any, store: BatchStore, gate: Path | None = None) -> Reductions:
    """Certify; with a gate its tasks wait for `Gate.open_it`."""
    import batch.certify

    send_by_value()
    if gate is not None:
        batch.certify.snapshot_of = lambda store: GatedSnapshot(snapshot_of(store), gate)  # type: ignore[assignment]
    try:
        return batch.certify.certify_event(session, store, PLAN)
    finally:
        batch.certify.snapshot_of = snapshot_of


def make_view(session: Any, store: BatchStore, views: Any, name: str, fill: int, gate: Path | None = None) -> None:
    """Publish a view of ``fill`` in a row a bucket."""
    import batch.views

    send_by_value()
    if gate is not None:
        batch.views.snapshot_of = lambda store: GatedSnapshot(snapshot_of(store), gate, passes=3)  # type: ignore[assignment]
    try:
        batch.views.build_view(session, store, views, name, Filling(fill))
    finally:
        batch.views.snapshot_of = snapshot_of


def send_by_value() -> None:
    """Executors don't have the tests: what tasks take from here is sent whole."""
    import sys

    from pyspark import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])


@dataclass(frozen=True)
class Filling:
    """A rule that makes one row of a bucket."""

    value: int

    def __call__(self, store: BatchStore, bucket: int) -> pa.Table:
        return pa.table({"bucket": [bucket], "value": [self.value]})


@dataclass(frozen=True)
class GatedSnapshot:
    """Opens a store once a gate is open; each task that asks leaves a file beside it. The first few may pass."""

    snapshot: Snapshot
    gate: Path
    passes: int = 0

    def open(self) -> BatchStore:
        self.gate.mkdir(exist_ok=True)
        came = len(list(self.gate.glob("came-*")))
        (self.gate / f"came-{uuid.uuid4().hex}").touch()
        deadline = time.monotonic() + DEADLINE_SECONDS
        while came >= self.passes and not (self.gate / "open").exists():
            assert time.monotonic() < deadline, "nobody opens the gate"
            time.sleep(0.05)
        return self.snapshot.open()


@dataclass(frozen=True)
class Gate:
    """The test's side of a `GatedSnapshot`."""

    folder: Path

    @property
    def came(self) -> int:
        """Tasks that came so far, each try for itself."""
        return len(list(self.folder.glob("came-*")))

    def wait_for(self, tasks: int) -> None:
        """Wait until so many came."""
        assert wait_until(lambda: self.came >= tasks, DEADLINE_SECONDS), f"{self.came} tasks came, not {tasks}"

    def open_it(self) -> None:
        """Let them through."""
        (self.folder / "open").touch()
