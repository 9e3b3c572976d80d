"""The topics on Kafka: what each holds, how they are made, and how a broker is reached."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka.admin import KafkaAdminClient
from kafka.errors import KafkaError

from ingest.bus import BusError

READINGS, REJECTED = "readings", "readings.rejected"
EVENTS, CERTIFICATES = "dr.events", "certificates"

SCHEME = "kafka://"
LARGEST_MESSAGE = 4 * 2**20
"""Bytes of a message at most, headers and all; topics are made to take it."""

_CONNECT_MS = 30_000
_FOREVER = "-1"
_TOPIC_EXISTS = 36


@dataclass(frozen=True)
class Topic:
    """How a topic is made. ``partitions`` of 0: as many as `ensure_topics` is asked for."""

    name: str
    partitions: int = 1
    settings: Mapping[str, str] = field(default_factory=dict)


TOPICS = (
    Topic(READINGS, 0),
    # A message that is refused twice, say after a crash, is kept once in the end: its key says where it stood.
    Topic(REJECTED, 1, {"cleanup.policy": "compact,delete"}),
    Topic(EVENTS, 1, {"retention.ms": _FOREVER}),
    Topic(CERTIFICATES, 0, {"retention.ms": _FOREVER}),
)


@dataclass(frozen=True)
class Place:
    """Where topics are: brokers, and a prefix that keeps several operators apart on them.

    Attributes
    ----------
    address : str
        Host and port of each broker, separated by commas, as Kafka's clients take them.
    prefix : str
        What every topic's name begins with.
    """

    address: str
    prefix: str = ""

    @classmethod
    def of(cls, url: str) -> Place:
        """The place that a setting names: ``kafka://HOST:PORT[,HOST:PORT…][/OPERATOR]``.

        >>> Place.of("kafka://a:9092,b:9092/north").topic("readings")
        'north.readings'
        >>> Place.of("kafka://a")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
          ...
        ingest.bus.BusError: bus 'kafka://a': expected kafka://HOST:PORT, several separated by commas, ...
        """
        addresses, _, operator = url.removeprefix(SCHEME).partition("/")
        for one in addresses.split(","):
            host, colon, port = one.rpartition(":")
            if not (host and colon and port.isascii() and port.isdigit() and 0 < int(port) < 65_536):
                break
        else:
            if re.fullmatch(r"[A-Za-z0-9_-]{0,64}", operator):
                return cls(addresses, operator and operator + ".")
        raise BusError(
            f"bus {url!r}: expected kafka://HOST:PORT, several separated by commas, then /OPERATOR of letters, "
            "digits, - and _ where several operators share the brokers"
        )

    def topic(self, name: str) -> str:
        """Full name of a topic."""
        return self.prefix + name


@contextmanager
def reaching(address: str, doing: str) -> Iterator[None]:
    """Turn what Kafka's client raises in the block into a sentence that says what was being done."""
    try:
        yield
    except KafkaError as failed:
        raise BusError(f"kafka at {address}: can't {doing}: {failed_because(failed)}") from failed


def failed_because(error: BaseException) -> str:
    """What went wrong, in a line: without the requests and answers that the client prints."""
    said = str(error).splitlines()[0] if str(error) else type(error).__name__
    if "CreateTopicsRequest" in said:
        said = said.partition(":")[0]
    return said if len(said) < 300 else said[:300] + "…"


def ensure_topics(place: Place, *, partitions: int = 8, replicas: int = -1) -> list[str]:
    """Make the topics that aren't there; one that is there stays as it is.

    Parameters
    ----------
    place : Place
    partitions : int
        Of topics that are shared out over consumers; more can't be had later without moving meters.
    replicas : int
        Copies of each partition; -1: what the brokers' ``default.replication.factor`` says.

    Returns
    -------
    list of str
        Full names of the topics made.
    """
    address = place.address
    with reaching(address, "make topics"):
        admin = KafkaAdminClient(bootstrap_servers=address, bootstrap_timeout_ms=_CONNECT_MS)
        try:
            there = set(admin.list_topics())
            missing = {
                place.topic(topic.name): {
                    "num_partitions": topic.partitions or partitions,
                    "replication_factor": replicas,
                    "configs": {"max.message.bytes": str(LARGEST_MESSAGE + 2**16), **topic.settings},
                }
                for topic in TOPICS
                if place.topic(topic.name) not in there
            }
            if not missing:
                return []
            answer = admin.create_topics(missing, raise_errors=False, wait_for_metadata=True)
        finally:
            admin.close()
    refused = [t for t in answer["topics"] if t["error_code"] not in (0, _TOPIC_EXISTS)]
    if refused:
        said = refused[0]["error_message"] or f"error {refused[0]['error_code']}"
        raise BusError(f"kafka at {address}: can't make topic {refused[0]['name']!r}: {said}")
    return [topic["name"] for topic in answer["topics"] if topic["error_code"] == 0]


def open_reader(address: str, **options: Any) -> KafkaConsumer:
    """A consumer that fetches much at once and commits nothing by itself."""
    quiet_client()
    settings = {
        "bootstrap_servers": address,
        "bootstrap_timeout_ms": _CONNECT_MS,
        "enable_auto_commit": False,
        "auto_offset_reset": "earliest",
        "allow_auto_create_topics": False,
        "max_partition_fetch_bytes": LARGEST_MESSAGE,
        "fetch_max_bytes": 4 * LARGEST_MESSAGE,
        "fetch_max_wait_ms": 100,
        "reconnect_backoff_max_ms": 1_000,
        "metrics_enabled": False,
    }
    with reaching(address, "connect"):
        return KafkaConsumer(**settings | options)


def partitions_of(reader: KafkaConsumer, address: str, topic: str) -> list[TopicPartition]:
    """All partitions of a topic, in order.

    Raises
    ------
    BusError
        There is no such topic.
    """
    with reaching(address, f"look up topic {topic!r}"):
        numbers = reader.partitions_for_topic(topic)
    if not numbers:
        raise BusError(f"kafka at {address} has no topic {topic!r}: publish something first")
    return [TopicPartition(topic, number) for number in sorted(numbers)]


def quiet_client() -> None:
    """Keep the client's log to what needs somebody; a broker that is away is said by ourselves."""
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
