"""The worker that takes readings from Kafka to a consumer, one of a group that shares the partitions.

Offsets are committed after the consumer's `flush`, so a crash at any moment loses nothing: what was not committed is
delivered again, and consumers treat what they have seen before as no news.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from kafka import TopicPartition
from kafka.errors import CommitFailedError, KafkaError
from kafka.structs import OffsetAndMetadata

from domain.errors import StoreError
from ingest.bus import ReadingsConsumer
from ingest.kafka_delivery import Delivery
from ingest.kafka_producer import Sender
from ingest.kafka_topics import (
    READINGS,
    REJECTED,
    Place,
    ensure_topics,
    failed_because,
    open_reader,
    partitions_of,
    reaching,
)

FLUSH_READINGS = 2_000_000
"""Readings after which the consumer makes durable what it holds, and offsets are committed."""

FLUSH_SECONDS = 5.0
"""Time after which the same happens. [s]"""

_POLL_MS = 200
_COMMIT_MS = 10_000
_LOOK_AGAIN_MS = 5_000
_REPORT_SECONDS = 1.0


@dataclass(frozen=True)
class Consumed:
    """How far a worker is.

    Attributes
    ----------
    messages, readings, rejected : int
        Taken by this worker since it began; what was delivered again counts again.
    by_fault : dict of str to int
        Rejected messages by `ingest.messages.Fault`.
    flushes : int
        Times that everything was made durable and committed.
    lag : int or None
        Messages in this worker's partitions that it hasn't taken; None while it has no partitions or doesn't know.
    partitions : int
        Partitions that are this worker's at present.
    seconds : float
        Since it began. [s]
    problem : str
        Why offsets can't be committed at present; empty when they can.
    newest_message_age_s : float or None
        How long ago the newest message that was taken had been published; None before the first. While nothing is
        published it grows, so read it beside ``lag``. [s]
    """

    messages: int
    readings: int
    rejected: int
    by_fault: dict[str, int]
    flushes: int
    lag: int | None
    partitions: int
    seconds: float
    problem: str
    newest_message_age_s: float | None

    def document(self) -> dict[str, Any]:
        """The same as JSON values."""
        return asdict(self)


def consume(
    url: str,
    group: str,
    consumer: ReadingsConsumer,
    stop: Callable[[], bool],
    *,
    until_idle: bool = False,
    flush_readings: int = FLUSH_READINGS,
    flush_seconds: float = FLUSH_SECONDS,
    report: Callable[[Consumed], None] = lambda _: None,
    **options: Any,
) -> Consumed:
    """Take readings from the bus to a consumer until told to stop.

    Parameters
    ----------
    url : str
        ``kafka://host:port``.
    group : str
        Workers of a group share the partitions, and a group goes on where it stopped. Give each store a group of its
        own. A new group begins with the oldest message there is.
    consumer : ReadingsConsumer
    stop : callable
        Asked several times a second; when it returns True, what was taken is made durable before the return.
    until_idle : bool
        Stop as soon as nothing is left to take.
    flush_readings, flush_seconds : int, float
        See FLUSH_READINGS, FLUSH_SECONDS.
    report : callable
        Called about once a second.
    options : Any
        For the client, e.g. ``session_timeout_ms``; with a ``group_instance_id`` of its own a worker that comes back
        after a crash has its partitions at once, instead of after that time.

    Raises
    ------
    StoreError
        The consumer can't store: a full disk, no right to write. What it had not made durable is not committed and
        is delivered again when a worker of the group starts the next time.
    BusError
        No broker answers at the start, or it refuses the group.
    """
    place = Place.of(url)
    ensure_topics(place)
    sender = Sender(place.address)
    try:
        # Long enough for the largest flush; a worker that dies is noticed by its missing heartbeats, much earlier.
        settings = {"max_poll_interval_ms": 900_000, "session_timeout_ms": 15_000, "max_poll_records": 4_000}
        settings["metadata_max_age_ms"] = _LOOK_AGAIN_MS
        reader = open_reader(place.address, group_id=group, **settings | options)
        try:
            # A group whose leader doesn't know the partitions yet shares out none, until it looks again.
            partitions_of(reader, place.address, place.topic(READINGS))
            reader.subscribe([place.topic(READINGS)])
            worker = _Worker(place, group, consumer, sender, reader)
            return worker.run(stop, until_idle, flush_readings, flush_seconds, report)
        finally:
            reader.close(autocommit=False)
    finally:
        sender.close()


class _Worker:
    def __init__(self, place: Place, group: str, consumer: ReadingsConsumer, sender: Sender, reader: Any) -> None:
        self.place, self.group, self.consumer, self.sender, self.reader = place, group, consumer, sender, reader
        self.delivery = Delivery([consumer], sender, place.topic(REJECTED), group)
        self.taken: dict[TopicPartition, int] = {}
        """Offset after the last message taken of each partition, since the last commit."""
        self.flushes, self.flushed, self.problem = 0, 0, ""
        self.newest_ms: int | None = None
        """When the newest message that was taken had been published. [ms since 1970]"""
        self.began = time.monotonic()

    def run(
        self,
        stop: Callable[[], bool],
        until_idle: bool,
        flush_readings: int,
        flush_seconds: float,
        report: Callable[[Consumed], None],
    ) -> Consumed:
        held_since = reported = self.began
        while not stop():
            with reaching(self.place.address, f"read as group {self.group!r}"):
                fetched = self.reader.poll(timeout_ms=_POLL_MS)
            if fetched and not self.taken:
                held_since = time.monotonic()
            for at, record in ((at, record) for at, records in fetched.items() for record in records):
                self.take(at, record)
                if self.delivery.counts.readings - self.flushed >= flush_readings:
                    self.make_durable()
                    held_since = reported = time.monotonic()
                    report(self.state())
                    if stop():
                        break  # what was fetched beyond is nobody's yet
            idle = until_idle and not fetched and self.lag(ask=True) == 0
            if self.taken and (idle or time.monotonic() - held_since >= flush_seconds):
                self.make_durable()
                held_since = time.monotonic()
            if idle and not self.taken:
                break
            if time.monotonic() - reported >= _REPORT_SECONDS:
                reported = time.monotonic()
                report(self.state())
        if self.taken:
            self.make_durable()
        last = self.state(ask=True)
        report(last)
        return last

    def take(self, at: TopicPartition, record: Any) -> None:
        self.store(partial(self.delivery.take, record))
        self.taken[at] = record.offset + 1
        if record.timestamp > 0:  # a broker may keep none
            self.newest_ms = max(self.newest_ms or 0, record.timestamp)

    def make_durable(self) -> None:
        """Flush the consumer and what was rejected, then commit; without a broker that waits for the next time."""
        self.store(self.consumer.flush)
        self.sender.flush()
        self.flushed = self.delivery.counts.readings
        mine = self.reader.assignment()
        offsets = {at: OffsetAndMetadata(offset, "", -1) for at, offset in self.taken.items() if at in mine}
        try:
            if offsets:
                self.reader.commit(offsets, timeout_ms=_COMMIT_MS)
        except CommitFailedError:
            pass  # the partitions went to another worker, which gets the same again
        except KafkaError as failed:
            self.problem = f"offsets can't be committed: {failed_because(failed)}"
            return
        self.taken.clear()
        self.flushes, self.problem = self.flushes + 1, ""

    def store(self, step: Callable[[], None]) -> None:
        """Do something with the consumer; what its disk refuses becomes an error that says what happens next."""
        try:
            step()
        except (StoreError, OSError) as failed:
            raise StoreError(
                f"group {self.group!r} stopped, its store refused: {failed}. What isn't stored wasn't committed: "
                "mend the store, start the worker again, and it goes on from there"
            ) from failed

    def lag(self, *, ask: bool = False) -> int | None:
        """Messages of our partitions that weren't taken; ``ask`` the broker instead of using what it said last."""
        mine = list(self.reader.assignment())
        if not mine:
            return None
        try:
            ends = {at: self.reader.highwater(at) for at in mine}
            if ask or None in ends.values():
                ends = self.reader.end_offsets(mine)
            at_now = {at: self.reader.position(at, timeout_ms=_COMMIT_MS) for at in mine}
        except KafkaError:
            return None  # the broker is away, or the partitions are being shared out anew
        if None in at_now.values():
            return None
        return sum(max(0, int(ends[at] - at_now[at])) for at in mine)

    def state(self, *, ask: bool = False) -> Consumed:
        counts = self.delivery.counts
        return Consumed(
            counts.messages,
            counts.readings,
            counts.rejected,
            dict(counts.by_fault),
            self.flushes,
            self.lag(ask=ask),
            len(self.reader.assignment()),
            round(time.monotonic() - self.began, 3),
            self.problem,
            None if self.newest_ms is None else round(max(0.0, time.time() - self.newest_ms / 1000), 3),
        )
