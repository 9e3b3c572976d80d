"""Killed brokers and killed consumers, for real: each reading is in the store once, and nothing is stuck."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from itertools import count
from pathlib import Path

import kafka_processes
import numpy as np
import pytest
from kafka_processes import FIRST, SLOTS, batch, total_of
from stores import whole

from batch.parquet_store import ParquetStore
from domain.errors import StoreError
from domain.readings import MISSING
from infra.daemons import wait_until
from ingest.bus import open_bus
from ingest.kafka_worker import consume
from negawatt.ingesting import BatchConsumer

pytestmark = pytest.mark.stack

ROOT = Path(__file__).parents[2]
NUMBERS = count()
DEADLINE_SECONDS = 90


@pytest.fixture
def url(kafka) -> str:
    return f"{kafka.url}/faults-{next(NUMBERS)}"


def start(*words: str, **environment: str) -> subprocess.Popen:
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    return subprocess.Popen(
        [sys.executable, kafka_processes.__file__, *words],
        env=os.environ | {"PYTHONPATH": path} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen, code: int = 0) -> tuple[str, str]:
    said, complained = process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode == code, complained
    return said, complained


def take_all(url: str, group: str, folder: Path) -> dict:
    """A worker that ends when nothing is left; returns how far it came."""
    said, _ = finish(start("consume", url, group, str(folder), "idle", "0", "one"))
    return json.loads(said.splitlines()[-1])


def stored(folder: Path, batches: int) -> tuple[int, int]:
    """Readings in a store, and their sum."""
    slots = np.arange(FIRST, FIRST + SLOTS * (batches // 8 + 1))[None]
    wh = whole(ParquetStore(folder), slots, minutes=5).wh
    return int((wh != MISSING).sum()), int(wh[wh != MISSING].sum(dtype=np.int64))


def publish(url: str, batches: int) -> None:
    with open_bus(url) as bus:
        for number in range(batches):
            bus.publish(batch(number), concentrator=f"concentrator-{number % 8}")
        bus.flush()


@pytest.mark.parametrize("at", ["before", "after"])
def test_a_consumer_killed_at_a_flush_loses_nothing_and_doubles_nothing(url, tmp_path, at):
    publish(url, 100)
    folder = tmp_path / "store"
    killed = start("consume", url, "store", str(folder), at, "3", "one")
    killed.communicate(timeout=DEADLINE_SECONDS)
    assert killed.returncode == -signal.SIGKILL
    assert stored(folder, 100)[0] == (40_000 if at == "before" else 60_000)
    done = take_all(url, "store", folder)
    assert stored(folder, 100) == total_of(100)
    assert done["messages"] == 60  # two flushes were committed, and the third came again
    assert (done["lag"], done["problem"]) == (0, "")


def test_consumers_killed_again_and_again_during_the_load_lose_nothing(url, tmp_path):
    batches, folder = 600, tmp_path / "store"
    publisher = start("publish", url, str(batches))
    for _ in range(3):
        worker = start("consume", url, "store", str(folder), "endless", "0", "one")
        worker.stdout.readline()  # it is at work
        worker.send_signal(signal.SIGKILL)
        worker.communicate(timeout=DEADLINE_SECONDS)
    finish(publisher)
    assert take_all(url, "store", folder)["lag"] == 0
    assert stored(folder, batches) == total_of(batches)


def test_a_broker_killed_during_the_load_loses_nothing_and_sticks_nowhere(kafka, url, tmp_path):
    batches, folder = 2_000, tmp_path / "store"
    publisher = start("publish", url, str(batches), PAUSE="0.001")
    worker = start("consume", url, "store", str(folder), "endless", "0", "one")
    assert wait_until((folder / "import-5").exists, DEADLINE_SECONDS), "no reading came to the store"
    kafka.kill()
    assert publisher.poll() is None, "the load ended before the broker was killed"
    kafka.up()
    finish(publisher)
    assert wait_until(lambda: stored(folder, batches) == total_of(batches), DEADLINE_SECONDS), "readings are missing"
    worker.send_signal(signal.SIGKILL)
    worker.communicate(timeout=DEADLINE_SECONDS)
    assert take_all(url, "store", folder)["lag"] == 0
    assert stored(folder, batches) == total_of(batches)


def test_a_disk_that_takes_no_more_stops_the_worker_and_it_resumes(url, tmp_path):
    publish(url, 60)
    folder = tmp_path / "store"
    _, complained = finish(start("consume", url, "store", str(folder), "idle", "0", "one", FILE_LIMIT="2000"), code=1)
    assert "its store refused" in complained
    assert "start the worker again" in complained
    assert stored(folder, 60)[0] == 0
    assert take_all(url, "store", folder)["messages"] == 60  # nothing had been committed
    assert stored(folder, 60) == total_of(60)


def test_a_store_that_can_not_be_written_stops_the_worker_and_it_resumes(url, tmp_path):
    publish(url, 8)
    folder = tmp_path / "store"
    store = ParquetStore(folder, buckets=4)
    (folder / "import-5").write_text("")  # nobody can make a folder here, not even root
    with pytest.raises(StoreError, match=r"group 'store' stopped, its store refused: .*import-5"):
        consume(url, "store", BatchConsumer(store), lambda: False, until_idle=True)
    (folder / "import-5").unlink()
    done = consume(url, "store", BatchConsumer(store), lambda: False, until_idle=True)
    assert done.messages == 8
    assert stored(folder, 8) == total_of(8)


def test_two_workers_share_the_partitions_and_take_over_from_one_that_is_killed(url, tmp_path):
    batches, folder = 800, tmp_path / "store"
    publish(url, 8)
    workers = [start("consume", url, "store", str(folder), "endless", "0") for _ in range(2)]

    def partitions(worker: subprocess.Popen) -> int:
        return json.loads(worker.stdout.readline())["partitions"]

    for worker in workers:
        assert wait_until(lambda worker=worker: partitions(worker) == 4, DEADLINE_SECONDS), "not half of them"
    publisher = start("publish", url, str(batches))
    workers[0].send_signal(signal.SIGKILL)
    finish(publisher)
    assert wait_until(lambda: stored(folder, batches) == total_of(batches), DEADLINE_SECONDS), "readings are missing"
    for worker in workers:
        worker.kill()
        worker.communicate(timeout=DEADLINE_SECONDS)
