"""From records of a topic to a consumer of readings. What can't be read is put aside with its reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from kafka.consumer.fetcher import ConsumerRecord

from ingest.bus import ReadingsConsumer
from ingest.kafka_producer import Sender
from ingest.kafka_topics import LARGEST_MESSAGE, REJECTED, Place, open_reader, partitions_of, reaching
from ingest.messages import MessageError, decode

_KEPT_BYTES = LARGEST_MESSAGE - 2**16
"""Of a longer message so many bytes are kept: what is refused must never be too large to be put aside."""


@dataclass
class Counts:
    """What was taken from a topic. ``by_fault`` counts the refused messages by `ingest.messages.Fault`."""

    messages: int = 0
    readings: int = 0
    rejected: int = 0
    by_fault: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Rejected:
    """A message that was put aside: what it was, where it stood and why it was refused."""

    fault: str
    reason: str
    topic: str
    partition: int
    offset: int
    reader: str
    size: int
    value: bytes
    """The message's bytes; the first ones, where there are fewer than ``size``."""


class Delivery:
    """Hands the readings of records to consumers and puts aside what is no message of readings.

    Parameters
    ----------
    consumers : sequence of ReadingsConsumer
    sender : Sender
    rejected : str
        Full name of the topic for refused messages. Flush the sender before offsets are committed.
    reader : str
        Who refuses, for whoever looks into the rejected messages.
    """

    def __init__(self, consumers: Sequence[ReadingsConsumer], sender: Sender, rejected: str, reader: str) -> None:
        self.counts = Counts()
        self._consumers, self._sender = consumers, sender
        self._rejected, self._reader = rejected, reader

    def take(self, record: ConsumerRecord, skip: Sequence[ReadingsConsumer] = ()) -> None:
        """Deliver one record to the consumers that aren't skipped. What a consumer raises is raised."""
        self.counts.messages += 1
        try:
            readings = decode(record.value)
        except MessageError as refused:
            self.counts.rejected += 1
            self.counts.by_fault[refused.fault] += 1
            self._put_aside(record, refused)
            return
        for consumer in self._consumers:
            if consumer not in skip:
                consumer.consume(readings)
        self.counts.readings += len(readings)

    def _put_aside(self, record: ConsumerRecord, refused: MessageError) -> None:
        value = record.value or b""
        notes = {
            "fault": refused.fault,
            "reason": refused.reason,
            "topic": record.topic,
            "partition": record.partition,
            "offset": record.offset,
            "reader": self._reader,
            "size": len(value),
        }
        headers = [(name, str(note).encode()) for name, note in notes.items()]
        if record.key is not None:
            headers.append(("key", record.key[:1024]))
        place = f"{record.topic}/{record.partition}/{record.offset}".encode()
        self._sender.send(self._rejected, value[:_KEPT_BYTES], key=place, headers=headers)


def read_rejected(place: Place) -> Iterator[Rejected]:
    """All messages that were put aside, each once, in the order in which they were last refused."""
    kept: dict[bytes, ConsumerRecord] = {}
    for record in read_topic(place.address, place.topic(REJECTED)):
        kept.pop(record.key, None)
        kept[record.key] = record
    for record in kept.values():
        notes = {name: value.decode(errors="replace") for name, value in record.headers}
        yield Rejected(
            notes["fault"],
            notes["reason"],
            notes["topic"],
            int(notes["partition"]),
            int(notes["offset"]),
            notes["reader"],
            int(notes["size"]),
            record.value,
        )


def read_topic(address: str, topic: str) -> Iterator[ConsumerRecord]:
    """Every record that a topic holds now, partition by partition in order."""
    reader = open_reader(address)
    try:
        partitions = partitions_of(reader, address, topic)
        with reaching(address, f"read topic {topic!r}"):
            ends = reader.end_offsets(partitions)
            for partition in partitions:
                reader.assign([partition])
                reader.seek_to_beginning(partition)
                while reader.position(partition) < ends[partition]:
                    for records in reader.poll(timeout_ms=1_000).values():
                        yield from (record for record in records if record.offset < ends[partition])
    finally:
        reader.close(autocommit=False)
