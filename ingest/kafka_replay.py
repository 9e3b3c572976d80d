"""Reading again what is on the bus: from a time to a time, or from offsets on. Consumers take repeats as no news."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from kafka import KafkaConsumer, TopicPartition

from domain.errors import NegawattError
from ingest.bus import BusError, ReadingsConsumer
from ingest.kafka_delivery import Delivery
from ingest.kafka_producer import Sender
from ingest.kafka_topics import READINGS, REJECTED, Place, open_reader, partitions_of, reaching
from ingest.kafka_worker import FLUSH_READINGS


@dataclass(frozen=True)
class Replayed:
    """What a replay took; ``by_fault`` counts the messages that were refused, by `ingest.messages.Fault`."""

    messages: int
    readings: int
    rejected: int
    by_fault: dict[str, int]

    def document(self) -> dict[str, Any]:
        """The same as JSON values."""
        return asdict(self)


def replay(
    url: str,
    consumer: ReadingsConsumer,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    offsets: Mapping[int, int] | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Replayed:
    """Take messages that are on topic ``readings`` to a consumer, whatever any group took of them.

    Groups and their offsets are not touched. Without ``since`` and ``offsets`` all is read that Kafka still has.

    Parameters
    ----------
    since, until : datetime, optional
        Messages published in ``[since, until)``; aware. ``until`` is now where it isn't given.
    offsets : mapping of int to int, optional
        Partition to first offset, instead of ``since``; partitions that aren't named are left out.
    progress : callable
        Called with messages' offsets passed and to pass.

    Raises
    ------
    BusError
        No broker, no topic, or an offset that Kafka doesn't have any more.
    NegawattError
        A time without a zone, or both ``since`` and ``offsets``.
    """
    if since is not None and offsets is not None:
        raise NegawattError("replay from a time or from offsets, not from both")
    place = Place.of(url)
    sender = Sender(place.address)
    reader = open_reader(place.address, max_poll_records=4_000)
    try:
        first, last = _range(reader, place, since, until, offsets)
        delivery = Delivery([consumer], sender, place.topic(REJECTED), "replay")
        total, passed = sum(last[at] - first[at] for at in first), 0
        flushed_at = 0
        for at, start in first.items():  # one partition at a time: a store writes few large files
            reader.assign([at])
            reader.seek(at, start)
            position = start
            while position < last[at]:
                with reaching(place.address, f"read topic {at.topic!r}"):
                    fetched = reader.poll(timeout_ms=1_000).get(at, [])
                    position = reader.position(at)
                for record in fetched:
                    if record.offset < last[at]:
                        delivery.take(record)
                if delivery.counts.readings - flushed_at >= FLUSH_READINGS:
                    consumer.flush()
                    flushed_at = delivery.counts.readings
                progress(passed + min(position, last[at]) - start, total)
            passed += last[at] - start
        consumer.flush()
        sender.flush()
        counts = delivery.counts
        return Replayed(counts.messages, counts.readings, counts.rejected, dict(counts.by_fault))
    finally:
        reader.close(autocommit=False)
        sender.close()


def _range(
    reader: KafkaConsumer,
    place: Place,
    since: datetime | None,
    until: datetime | None,
    offsets: Mapping[int, int] | None,
) -> tuple[dict[TopicPartition, int], dict[TopicPartition, int]]:
    """First offset to read of each partition, and the one to stop before."""
    topic = place.topic(READINGS)
    partitions = partitions_of(reader, place.address, topic)
    with reaching(place.address, f"look up offsets of topic {topic!r}"):
        begins, ends = reader.beginning_offsets(partitions), reader.end_offsets(partitions)
        last = ends if until is None else _at_time(reader, ends, until)
        first = begins if since is None else _at_time(reader, ends, since)
    if offsets is not None:
        by_number = {at.partition: at for at in partitions}
        for number, offset in offsets.items():
            if number not in by_number:
                raise BusError(f"topic {topic!r} has no partition {number}: it has 0 to {max(by_number)}")
            at = by_number[number]
            if not begins[at] <= offset <= ends[at]:
                raise BusError(
                    f"topic {topic!r}, partition {number}: offset {offset} isn't there; Kafka has {begins[at]} to "
                    f"{ends[at]}"
                )
        first = {by_number[number]: offset for number, offset in offsets.items()}
    return {at: start for at, start in first.items() if start < last[at]}, last


def _at_time(reader: KafkaConsumer, ends: dict[TopicPartition, int], instant: datetime) -> dict[TopicPartition, int]:
    """Offset of the first message published at a time or after it, of each partition; its end where none was."""
    if instant.tzinfo is None:
        raise NegawattError(f"{instant.isoformat()}: a time without a zone names no instant; add its UTC offset")
    found = reader.offsets_for_times(dict.fromkeys(ends, int(instant.timestamp() * 1000)))
    return {at: found[at].offset if found.get(at) else end for at, end in ends.items()}
