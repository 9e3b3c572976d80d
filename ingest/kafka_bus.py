"""The bus over Kafka: topic ``readings``, so split that one meter's readings stay in one partition and in order."""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from kafka import TopicPartition

from domain.certificates import CertificateSet
from domain.events import DREvent
from domain.readings import Readings
from ingest import kafka_notices
from ingest.bus import BusError, ReadingsConsumer
from ingest.kafka_delivery import Delivery
from ingest.kafka_producer import Sender
from ingest.kafka_topics import READINGS, REJECTED, Place, ensure_topics, open_reader, partitions_of, reaching
from ingest.messages import HEADER, MAX_READINGS, SCHEMA, encode

_HEADERS = [(HEADER, SCHEMA.encode())]
_SILENCE_SECONDS = 60.0
"""`KafkaBus.flush` fails when messages that the broker acknowledged don't come for so long. [s]"""


class KafkaBus:
    """A bus that many processes share and that keeps what it carries.

    What is published is read by workers (`ingest.kafka_worker`) of other processes, in groups; consumers subscribed
    here read it too, at `flush`, and see what every process published since they subscribed.

    Parameters
    ----------
    url : str
        ``kafka://host:port``: see `ingest.kafka_topics.Place`.
    partitions : int
        Of a topic that has to be made first.
    sending : int or float
        ``buffer_bytes``, ``block_seconds``, ``give_up_seconds``: see `ingest.kafka_producer.Sender`.

    Raises
    ------
    BusError
        No broker answers, or topics can't be made.
    """

    def __init__(self, url: str, *, partitions: int = 8, **sending: Any) -> None:
        self.place = Place.of(url)
        ensure_topics(self.place, partitions=partitions)
        self.sender = Sender(self.place.address, **sending)
        self._topic = self.place.topic(READINGS)
        self._partitions = self.sender.partitions(self._topic)
        self._consumers: list[ReadingsConsumer] = []
        self._since: list[dict[TopicPartition, int]] = []
        self._durable: dict[TopicPartition, int] = {}
        self._reader: Any = None
        self._delivery = Delivery(self._consumers, self.sender, self.place.topic(REJECTED), "bus")

    def publish(self, readings: Readings, *, concentrator: str | None = None) -> None:
        """Send a batch.

        Parameters
        ----------
        concentrator : str, optional
            Whoever collects these meters: a concentrator, a feeder, a head-end. It becomes the messages' key, so all
            of its batches go to one partition. Without it each meter goes where its name's hash says. A meter's
            readings stay in order as long as it is published in one of these ways.

        Raises
        ------
        BusError
            The buffer was full for too long, or the broker refused what came before; part of the batch may be sent.
            Publish it again: what arrives twice counts once.
        MessageError
            A meter's name or a slot that no reader would take; nothing of the batch is sent.
        """
        if len(readings) == 0:
            return
        if concentrator is not None:
            key = concentrator.encode()
            for message in [encode(part) for part in _chunks(readings)]:
                self.sender.send(self._topic, message, key=key, headers=_HEADERS)
            return
        parts = [(number, encode(part)) for number, part in split_by_meter(readings, self._partitions)]
        for number, message in parts:
            key = f"meters {number}/{self._partitions}".encode()
            self.sender.send(self._topic, message, key=key, headers=_HEADERS, partition=number)

    def publish_event(self, event: DREvent) -> None:
        """Say that an event was called; `flush` says whether it arrived. See `ingest.kafka_notices`."""
        kafka_notices.publish_event(self.place, self.sender, event)

    def publish_certificates(self, certificates: CertificateSet) -> None:
        """Publish an event's certificates; `flush` says whether they arrived. See `ingest.kafka_notices`."""
        kafka_notices.publish_certificates(self.place, self.sender, certificates)

    def subscribe(self, consumer: ReadingsConsumer) -> None:
        """Add a consumer of all batches published from now on, by anyone."""
        if self._reader is None:
            self._reader = open_reader(self.place.address)
            partitions = partitions_of(self._reader, self.place.address, self._topic)
            self._reader.assign(partitions)
            self._durable = self._ends()
            self._go_back()
        self.sender.flush()
        self._since.append(self._ends())
        self._consumers.append(consumer)

    def flush(self) -> None:
        """Return once the broker holds all that was published and the consumers subscribed here made it durable.

        When it fails, the consumers get everything since the last successful flush again by the next.

        Raises
        ------
        BusError
            Messages failed, or don't come back.
        """
        self.sender.flush()
        if not self._consumers:
            return
        try:
            position = self._deliver()
            for consumer in self._consumers:
                consumer.flush()
            self.sender.flush()
        except BaseException:
            self._go_back()
            raise
        self._durable = position

    def close(self) -> None:
        """Leave; call `flush` first."""
        self.sender.close()
        if self._reader is not None:
            self._reader.close(autocommit=False)

    def __enter__(self) -> KafkaBus:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _deliver(self) -> dict[TopicPartition, int]:
        """Hand over everything up to what was published last; returns the positions after it."""
        last = {TopicPartition(*where): offset for where, offset in self.sender.last_offset.items()}
        position = dict(self._durable)
        heard = time.monotonic()
        while any(last.get(at, -1) >= next_offset for at, next_offset in position.items()):
            with reaching(self.place.address, "read what was published"):
                fetched = self._reader.poll(timeout_ms=500)
            for at, records in fetched.items():
                for record in records:
                    self._delivery.take(record, self._not_for(record))
                position[at] = records[-1].offset + 1
                heard = time.monotonic()
            if time.monotonic() - heard > _SILENCE_SECONDS:
                raise BusError(f"kafka at {self.place.address} doesn't give back what it took: is the broker up?")
        return position

    def _not_for(self, record: Any) -> list[ReadingsConsumer]:
        """Consumers that subscribed after a record was published."""
        at = TopicPartition(record.topic, record.partition)
        return [c for c, since in zip(self._consumers, self._since, strict=True) if record.offset < since[at]]

    def _go_back(self) -> None:
        for at, offset in self._durable.items():
            self._reader.seek(at, offset)

    def _ends(self) -> dict[TopicPartition, int]:
        with reaching(self.place.address, f"look up the end of topic {self._topic!r}"):
            return dict(self._reader.end_offsets(list(self._reader.assignment())))


def split_by_meter(readings: Readings, partitions: int) -> Iterator[tuple[int, Readings]]:
    """Cut a batch into parts of one partition each, no larger than a message may be.

    A meter's partition is the CRC-32 of its name modulo their number, as its bucket is in a store: where the buckets
    are a multiple of the partitions, a partition fills buckets of its own.

    Returns
    -------
    iterator of (int, Readings)
        Partition and part; each part names only its own meters.
    """
    of_meter = np.array([zlib.crc32(name.encode()) % partitions for name in readings.meters], dtype=np.int64)
    number = of_meter[readings.meter]
    order = np.argsort(number, kind="stable")
    bounds = np.searchsorted(number[order], np.arange(partitions + 1))
    for partition in np.flatnonzero(np.diff(bounds)).tolist():
        for part in _chunks(readings.take(order[bounds[partition] : bounds[partition + 1]])):
            yield partition, part


def _chunks(readings: Readings) -> Iterator[Readings]:
    """Parts of at most MAX_READINGS, each naming only its own meters."""
    if len(readings) <= MAX_READINGS and len(readings.meters) <= len(readings):
        yield readings if _all_named(readings) else _compact(readings)
        return
    for start in range(0, len(readings), MAX_READINGS):
        yield _compact(readings.take(np.arange(start, min(start + MAX_READINGS, len(readings)))))


def _all_named(readings: Readings) -> bool:
    return bool(np.bincount(readings.meter, minlength=len(readings.meters)).all())


def _compact(readings: Readings) -> Readings:
    used, code = np.unique(readings.meter, return_inverse=True)
    return Readings(
        readings.interval_minutes,
        readings.register,
        readings.meters[used],
        code.astype(np.int32),
        readings.slot,
        readings.wh,
        readings.quality,
        readings.revision,
    )
