"""What is said beside readings: DR events and certificates, as JSON messages on topics of their own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from kafka.consumer.fetcher import ConsumerRecord

from domain.certificates import CertificateSet, canonical
from domain.errors import NegawattError
from domain.events import DREvent
from ingest.kafka_delivery import read_topic
from ingest.kafka_producer import Sender
from ingest.kafka_topics import CERTIFICATES, EVENTS, Place, open_reader, partitions_of, reaching
from ingest.messages import HEADER

EVENT_SCHEMA, CERTIFICATE_SCHEMA = "dr.events/1.0", "certificates/1.0"


def publish_event(place: Place, sender: Sender, event: DREvent) -> None:
    """Say that an event was called; `Sender.flush` says whether it arrived. Its id is the key."""
    message = canonical(
        {
            "id": event.id,
            "programme": event.programme,
            "start": event.start.isoformat(),
            "end": event.end.isoformat(),
        }
    )
    sender.send(place.topic(EVENTS), message, key=event.id.encode(), headers=[(HEADER, EVENT_SCHEMA.encode())])


def read_events(place: Place) -> tuple[list[DREvent], list[str]]:
    """The events on the bus, each as it was last published, in order of their first publication.

    Returns
    -------
    list of DREvent, list of str
        The latter: a sentence for each message that is no event. It hides none of the others.
    """
    found: dict[str, DREvent] = {}
    problems = []
    for record in read_topic(place.address, place.topic(EVENTS)):
        event = event_of(record)
        if isinstance(event, str):
            problems.append(event)
        else:
            found[event.id] = event
    return list(found.values()), problems


def follow_events(place: Place, stopped: Callable[[], bool]) -> Iterator[DREvent | str | None]:
    """Every event on the bus and those that come, until stopped; None when there is none for half a second.

    Yields
    ------
    DREvent, str or None
        A sentence for a message that is no event.

    Raises
    ------
    BusError
    """
    topic = place.topic(EVENTS)
    reader = open_reader(place.address)
    try:
        partitions = partitions_of(reader, place.address, topic)
        reader.assign(partitions)
        reader.seek_to_beginning(*partitions)
        while not stopped():
            with reaching(place.address, f"read topic {topic!r}"):
                fetched = reader.poll(timeout_ms=500)
            for records in fetched.values():
                yield from (event_of(record) for record in records)
            if not fetched:
                yield None
    finally:
        reader.close(autocommit=False)


def event_of(record: ConsumerRecord) -> DREvent | str:
    """The event that a record holds, or a sentence that says why it holds none."""
    try:
        said = json.loads(record.value)
        times = [datetime.fromisoformat(said[name]) for name in ("start", "end")]
        event = DREvent(said["id"], said["programme"], *times)
        for moment in times:
            moment.astimezone(UTC)  # beyond the first or last year for some
        return event
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError, NegawattError) as wrong:
        where = f"topic {record.topic!r}, partition {record.partition}, offset {record.offset}"
        return f"{where}: no DR event: {wrong!r}"


def publish_certificates(place: Place, sender: Sender, certificates: CertificateSet) -> None:
    """Publish an event's certificates: the lines of the published file, a message each, the header first.

    All have the event's id as their key, so they stay in order, and headers that tell one publication from another:
    ``publication`` (SHA-256 of the file), ``line`` (its number, 0 for the header) and ``lines`` (how many there are).
    """
    publication = hashlib.sha256(certificates.published()).hexdigest().encode()
    lines = (certificates.header, *certificates.lines)
    for number, line in enumerate(lines):
        headers = [
            (HEADER, CERTIFICATE_SCHEMA.encode()),
            ("publication", publication),
            ("line", str(number).encode()),
            ("lines", str(len(lines)).encode()),
        ]
        sender.send(place.topic(CERTIFICATES), line, key=certificates.event_id.encode(), headers=headers)


@dataclass
class _Publication:
    lines: dict[int, bytes] = field(default_factory=dict)
    expected: int = 0


def read_certificates(place: Place) -> Iterator[tuple[str, bytes]]:
    """Event id and published file of every event whose certificates are on the bus whole.

    Of several publications of an event the last counts; one that broke off is passed over.
    """
    begun: dict[tuple[str, str], _Publication] = {}
    whole: dict[str, bytes] = {}
    for record in read_topic(place.address, place.topic(CERTIFICATES)):
        notes: dict[str, Any] = dict(record.headers)
        try:
            event = record.key.decode()
            publication = notes["publication"].decode()
            number, expected = int(notes["line"]), int(notes["lines"])
        except (AttributeError, KeyError, ValueError):
            continue  # somebody else's message
        if number == 0:
            begun.pop((event, publication), None)
        part = begun.setdefault((event, publication), _Publication())
        part.lines[number], part.expected = record.value, expected
        if len(part.lines) == part.expected:
            text = b"\n".join(part.lines[n] for n in sorted(part.lines)) + b"\n"
            del begun[event, publication]
            if hashlib.sha256(text).hexdigest() == publication:
                whole.pop(event, None)
                whole[event] = text
    yield from whole.items()
