"""From Kafka to the speed store, for real: at once, each reading once, whoever is killed, the future kept apart."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import kafka_processes
import numpy as np
import pytest
import speed_processes
from kafka_processes import FIRST, SLOTS, batch, total_of
from terminal import Terminal

from domain.readings import MISSING, make_readings
from infra.daemons import wait_until
from ingest.bus import open_bus
from ingest.kafka_worker import Consumed, consume
from speed.consumer import SpeedConsumer
from speed.stores import open_speed_store

pytestmark = pytest.mark.stack

ROOT = Path(__file__).parents[2]
NUMBERS = count()
DEADLINE_SECONDS = 90
TABLES = ("readings_import_5", "quarantine", "meters")


@pytest.fixture
def bus(kafka) -> str:
    return f"{kafka.url}/speed-{next(NUMBERS)}"


@pytest.fixture(params=["duckdb", "heavydb"])
def place(request, tmp_path) -> Iterator[str]:
    """Address of an empty speed store."""
    if request.param == "duckdb":
        yield f"duckdb://{tmp_path}/speed.duckdb"
        return
    url = request.getfixturevalue("heavydb")
    store = open_speed_store(url)
    try:
        for table in TABLES:
            store.execute(f"DROP TABLE IF EXISTS {table}")
    finally:
        store.close()
    yield url


def publish(url: str, batches: int) -> None:
    with open_bus(url) as bus:
        for number in range(batches):
            bus.publish(batch(number), concentrator=f"concentrator-{number % 8}")
        bus.flush()


def start(script: object, *words: str, **environment: str) -> subprocess.Popen:
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    return subprocess.Popen(
        [sys.executable, script.__file__, *words],
        env=os.environ | {"PYTHONPATH": path} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def take(bus: str, place: str, at: str = "idle", flush: int = 0) -> subprocess.Popen:
    return start(speed_processes, bus, "store", at, str(flush), SPEED_URL=place)


def finish(process: subprocess.Popen) -> dict:
    said, complained = process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode == 0, complained
    return json.loads(said.splitlines()[-1]) if said else {}


def stored(place: str, batches: int) -> tuple[int, int]:
    """Readings in a store, and their sum."""
    store = open_speed_store(place)
    try:
        wh = store.read_slots(np.arange(FIRST, FIRST + SLOTS * (batches // 8 + 1))[None], 5).wh
    finally:
        store.close()
    return int((wh != MISSING).sum()), int(wh[wh != MISSING].sum(dtype=np.int64))


@pytest.mark.parametrize("at", ["before", "after"])
def test_a_worker_killed_at_a_flush_loses_nothing_and_doubles_nothing(bus, place, at):
    publish(bus, 100)
    killed = take(bus, place, at, 3)
    killed.communicate(timeout=DEADLINE_SECONDS)
    assert killed.returncode == -signal.SIGKILL
    assert stored(place, 100)[0] == (40_000 if at == "before" else 60_000)
    done = finish(take(bus, place))
    assert (done["messages"], done["lag"]) == (60, 0)  # two flushes were committed, and the third came again
    assert stored(place, 100) == total_of(100)


def test_workers_killed_again_and_again_during_the_load_lose_nothing(bus, place):
    batches = 400
    publisher = start(kafka_processes, "publish", bus, str(batches))
    for _ in range(3):
        worker = take(bus, place, "endless")
        worker.stdout.readline()  # it is at work
        worker.send_signal(signal.SIGKILL)
        worker.communicate(timeout=DEADLINE_SECONDS)
    finish(publisher)
    assert finish(take(bus, place))["lag"] == 0
    assert stored(place, batches) == total_of(batches)


def test_a_reading_is_in_the_store_while_the_worker_goes_on_and_its_age_is_told(bus, place):
    store, seen, stop = open_speed_store(place), list[Consumed](), threading.Event()
    consumer = SpeedConsumer(store)
    worker = threading.Thread(
        target=consume,
        args=(bus, "live", consumer, stop.is_set),
        kwargs={"flush_seconds": 0.3, "report": seen.append},
    )
    worker.start()
    try:
        now = int(time.time()) // 300
        with open_bus(bus) as publisher:
            for slot in range(now - 3, now):
                publisher.publish(make_readings(["a", "b"], [slot, slot], [10, 20]))
                publisher.flush()
                slots = np.array([[slot]])
                assert wait_until(
                    lambda slots=slots: len(store.read_slots(slots, 5).meters) == 2, DEADLINE_SECONDS
                ), "the readings didn't come"
        assert wait_until(lambda: seen and seen[-1].messages >= 3 and seen[-1].lag == 0, DEADLINE_SECONDS), (
            "no report came"
        )
        assert 0 <= seen[-1].newest_message_age_s < DEADLINE_SECONDS
        assert 0 <= consumer.standing().newest_reading_age_s < 300 + DEADLINE_SECONDS
    finally:
        stop.set()
        worker.join()
        store.close()


def test_the_command_keeps_the_future_apart_and_tells_how_fresh_the_store_is(kafka, tmp_path):
    url, slot = f"{kafka.url}/live-{next(NUMBERS)}", int(time.time()) // 300
    with open_bus(url) as bus:
        bus.publish(make_readings(["a", "b", "b"], [slot - 2, slot - 1, slot + 12], [10, 20, 99]))
        bus.publish(make_readings(["b"], [slot + 12], [99]))
        bus.flush()

    def run(*words: str) -> dict:
        return Terminal(tmp_path).json(*words, "--bus", url)

    done = run("consume", "--to", "speed", "--until-idle")
    assert (done["readings"], done["lag"], done["quarantined"], done["released"]) == (4, 0, 1, 0)
    assert 0 <= done["newest_message_age_s"] < DEADLINE_SECONDS
    assert 0 <= done["newest_reading_age_s"] < 300 + DEADLINE_SECONDS
    again = run("replay", "--to", "speed")
    assert (again["readings"], again["quarantined"]) == (4, 0)  # it is there already
    with_batch = run("consume", "--to", "batch", "--until-idle")
    assert (with_batch["readings"], "quarantined" in with_batch) == (4, False)
    store = open_speed_store(f"duckdb://{tmp_path}/speed.duckdb")
    assert store.read_slots(np.array([[slot - 2, slot - 1, slot + 12]]), 5).wh.tolist() == [
        [[10, -1, -1]],
        [[-1, 20, -1]],
    ]
    assert store.query("SELECT meter, wh FROM quarantine").to_pylist() == [{"meter": "b", "wh": 99}]
    store.close()
