"""Readings into and out of a Kafka broker on this machine: how many a second, and who spends the time on them.

Batches are those of concentrators: one thousand readings, twenty meters over fifty intervals. CPU times are counted
by process: ours is the client's (serialisation, kafka-python, checks), the broker's is Java's.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.isolation import cpu_seconds, isolated
from benchmarks.results import Row
from domain.readings import Quality, Readings, Register
from infra.kafka_server import KafkaServer
from ingest.kafka_bus import KafkaBus
from ingest.kafka_replay import replay
from ingest.messages import decode, encode

BATCH = 1_000
METERS = 20
LIMIT = 3_000_000.0
"""Readings a second, each way."""

FIRST_SLOT = 20_000 * 288
SERIALISED = 2_000


@dataclass(frozen=True)
class Direction:
    """One way through Kafka.

    Attributes
    ----------
    readings : int
    seconds, client_cpu, broker_cpu : float
        From the first message to the last acknowledgement, or reading; CPU time of this process, and of the broker's.
        [s]
    """

    readings: int
    seconds: float
    client_cpu: float
    broker_cpu: float

    @property
    def per_second(self) -> float:
        """Readings a second."""
        return self.readings / self.seconds


@dataclass(frozen=True)
class KafkaRates:
    """Readings in messages of ``BATCH`` and in messages of one, each way; encoding and decoding alone, a core."""

    packed_in: Direction
    packed_out: Direction
    single_in: Direction
    single_out: Direction
    encode: float
    decode: float


class Tally:
    """A consumer that counts and sums."""

    def __init__(self) -> None:
        self.readings = self.wh = 0

    def consume(self, readings: Readings) -> None:
        self.readings += len(readings)
        self.wh += int(readings.wh.sum())

    def flush(self) -> None:
        pass


def batches(count: int, size: int) -> list[Readings]:
    """Batches of a concentrator, all different, over METERS meters (one, where a batch is one reading)."""
    meters = min(METERS, size)
    names = np.array([f"meter-{n:06d}" for n in range(meters)], dtype=object)
    rows = np.arange(size)
    wh = np.random.default_rng(1).integers(0, 900, (count, size), dtype=np.int32)
    return [
        Readings(
            5,
            Register.IMPORT,
            names,
            (rows % meters).astype(np.int32),
            FIRST_SLOT + number * (size // meters) + rows // meters,
            wh[number],
            np.full(size, Quality.ACTUAL, np.int8),
            np.zeros(size, np.int16),
        )
        for number in range(count)
    ]


def measure(folder: Path, packed: int = 20_000, single: int = 60_000, repeats: int = 1) -> KafkaRates:
    """Start a broker; send and fetch ``packed`` batches of BATCH readings, ``single`` of one; best of ``repeats``."""
    server = KafkaServer.create(folder)
    try:
        server.up()
        packed_runs = [isolated(_there_and_back, server.folder, f"packed{n}", packed, BATCH) for n in range(repeats)]
        single_runs = [isolated(_there_and_back, server.folder, f"single{n}", single, 1) for n in range(repeats)]
    finally:
        server.kill()
        shutil.rmtree(folder, ignore_errors=True)
    into, out = (max((run[n] for run in packed_runs), key=lambda d: d.per_second) for n in (0, 1))
    single_in, single_out = (max((run[n] for run in single_runs), key=lambda d: d.per_second) for n in (0, 1))
    return KafkaRates(into, out, single_in, single_out, *isolated(_serialisation))


def rows(rates: KafkaRates) -> list[Row]:
    """What `measure` found, beside its limits."""
    found = []
    for way, packed, single, alone in (
        ("in", rates.packed_in, rates.single_in, rates.encode),
        ("out", rates.packed_out, rates.single_out, rates.decode),
    ):
        name = f"kafka_{way}_readings_per_s"
        found += [
            Row(name, packed.per_second, "readings/s", "limit", LIMIT, "higher"),
            Row(f"{name} batch=1", single.per_second, "readings/s", name, packed.per_second, "higher"),
            Row(f"kafka_{way}_serialisation_readings_per_s", alone, "readings/s", name, packed.per_second, "higher"),
        ]
        for size, direction in ((BATCH, packed), (1, single)):
            million = direction.readings / 1e6
            broker = f"kafka_{way}_broker_cpu_s_per_million batch={size}"
            client = f"kafka_{way}_client_cpu_s_per_million batch={size}"
            found.append(
                Row(client, direction.client_cpu / million, "s", broker, direction.broker_cpu / million, "lower")
            )
    return found


def _there_and_back(broker: Path, operator: str, count: int, size: int) -> tuple[Direction, Direction]:
    server = KafkaServer.load(broker)
    (program,) = server.programs
    url = f"{server.url}/{operator}"
    sent = batches(min(count, 2_000), size)
    expected = sum(int(sent[n % len(sent)].wh.sum()) for n in range(count))
    with KafkaBus(url) as bus:
        bus.publish(sent[0], concentrator="warm-up")
        bus.flush()

        def publish() -> None:
            for number in range(count):
                bus.publish(sent[number % len(sent)], concentrator=f"concentrator-{number % 64}")
            bus.flush()

        into = _timed(publish, count * size, program.pid)
    tally = Tally()
    out = _timed(lambda: replay(url, tally), count * size, program.pid)
    warm_up = int(sent[0].wh.sum())
    if (tally.readings, tally.wh) != ((count + 1) * size, expected + warm_up):
        raise AssertionError(f"{tally.readings:,} readings came out of Kafka, {(count + 1) * size:,} went in")
    return into, out


def _timed(run: Callable[[], object], readings: int, broker: int | None) -> Direction:
    before, client, began = cpu_seconds(broker), time.process_time(), time.perf_counter()
    run()
    seconds, ours = time.perf_counter() - began, time.process_time() - client
    return Direction(readings, seconds, ours, cpu_seconds(broker) - before)


def _serialisation() -> tuple[float, float]:
    sent = batches(SERIALISED, BATCH)
    messages = [bytes(encode(batch)) for batch in sent]
    rates = []
    for run in (lambda: [encode(batch) for batch in sent], lambda: [decode(message) for message in messages]):
        began = time.perf_counter()
        run()
        rates.append(SERIALISED * BATCH / (time.perf_counter() - began))
    return rates[0], rates[1]
