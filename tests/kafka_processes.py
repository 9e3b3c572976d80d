"""Programs on a Kafka bus that are killed: run as a script by the tests of faults.

``publish URL BATCHES`` publishes batch after batch until all are acknowledged; ``consume URL GROUP FOLDER …`` takes
them to a store and says how far it is, a line of JSON a second.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import time
from pathlib import Path

import numpy as np

from batch.parquet_store import ParquetStore
from domain.errors import NegawattError
from domain.readings import Quality, Readings, Register
from ingest.kafka_bus import KafkaBus
from ingest.kafka_worker import consume
from negawatt.ingesting import BatchConsumer

METERS = 50
SLOTS = 20
FIRST = 20_250 * 288
"""Slot of a midnight of 2025."""


def batch(number: int) -> Readings:
    """Batch ``number`` of a concentrator: METERS meters over SLOTS intervals of five minutes, 1,000 readings."""
    concentrator, turn = number % 8, number // 8
    rows = np.arange(METERS * SLOTS)
    meters = np.array([f"meter-{concentrator}-{n:02d}" for n in range(METERS)], dtype=object)
    slot = FIRST + SLOTS * turn + rows // METERS
    wh = (rows * 7 + number * 13) % 997
    return Readings(
        5,
        Register.IMPORT,
        meters,
        (rows % METERS).astype(np.int32),
        slot.astype(np.int64),
        wh.astype(np.int32),
        np.full(len(rows), Quality.ACTUAL, np.int8),
        np.zeros(len(rows), np.int16),
    )


def total_of(batches: int) -> tuple[int, int]:
    """Readings in so many batches, and their sum. [-, Wh]"""
    return batches * METERS * SLOTS, sum(int(batch(number).wh.sum()) for number in range(batches))


def publish(url: str, batches: int) -> None:
    with KafkaBus(url) as bus:
        for number in range(batches):
            bus.publish(batch(number), concentrator=f"concentrator-{number % 8}")
            time.sleep(float(os.environ.get("PAUSE", "0")))  # a load that lasts
        bus.flush()


class Tired(BatchConsumer):
    """A consumer that is killed at a flush: before its readings are stored, or after, when no offset is committed."""

    def __init__(self, store: ParquetStore, at: str, flush: int) -> None:
        super().__init__(store)
        self._at, self._left = at, flush

    def flush(self) -> None:
        self._left -= 1
        if self._left == 0 and self._at == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        super().flush()
        if self._left == 0 and self._at == "after":
            os.kill(os.getpid(), signal.SIGKILL)


def take(url: str, group: str, folder: Path, at: str, flush: int, *instance: str) -> None:
    store = ParquetStore(folder, buckets=4)
    done = consume(
        url,
        group,
        Tired(store, at, flush) if at in ("before", "after") else BatchConsumer(store),
        lambda: False,
        until_idle=at != "endless",
        flush_readings=20_000 if at != "endless" else 500_000,
        flush_seconds=0.5 if at == "endless" else 60,
        report=lambda state: print(json.dumps(state.document()), flush=True),
        session_timeout_ms=6_000,
        heartbeat_interval_ms=1_000,
        group_instance_id=instance[0] if instance else None,
    )
    print(json.dumps(done.document()), flush=True)


if __name__ == "__main__":
    task, url, *rest = sys.argv[1:]
    if "FILE_LIMIT" in os.environ:  # a disk that takes no more
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(os.environ["FILE_LIMIT"]), resource.RLIM_INFINITY))
    try:
        if task == "publish":
            publish(url, int(rest[0]))
        else:
            take(url, rest[0], Path(rest[1]), rest[2], int(rest[3]), *rest[4:])
    except NegawattError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
