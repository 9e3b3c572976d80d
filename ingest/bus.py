"""The bus: batches of readings on their way from meters, files or the simulator to whoever stores them.

Delivery is at least once. A consumer must therefore treat a batch that it has seen before as no news.
"""

from __future__ import annotations

from typing import Protocol

from domain.errors import NegawattError
from domain.readings import Readings

KNOWN_SCHEMES = ("memory://", "kafka://")


class BusError(NegawattError):
    """A bus can't be reached, or doesn't take what is published; the sentence says which and what to do."""

    retry_may_help = True


class ReadingsConsumer(Protocol):
    """Whoever takes readings from the bus: a store, a live view, a counter."""

    def consume(self, readings: Readings) -> None:
        """Take one batch; taking it twice must leave the same state as taking it once."""
        ...

    def flush(self) -> None:
        """Make everything consumed so far durable and visible."""
        ...


class Bus(Protocol):
    """Carries batches of readings to every subscriber."""

    def publish(self, readings: Readings) -> None:
        """Send one batch to every consumer."""
        ...

    def subscribe(self, consumer: ReadingsConsumer) -> None:
        """Add a consumer of all batches published from now on."""
        ...

    def flush(self) -> None:
        """Return once every batch published so far was consumed and made durable."""
        ...

    def close(self) -> None:
        """Let go of servers; what was not flushed may come again, and is never lost."""
        ...


class MemoryBus:
    """The bus of a single process: publishing a batch is calling its consumers, in order of subscription.

    What a consumer raises reaches the publisher, and the consumers after it don't see the batch; publishing
    it again is safe.
    """

    def __init__(self) -> None:
        self._consumers: list[ReadingsConsumer] = []

    def publish(self, readings: Readings) -> None:
        """Hand ``readings`` to every consumer before returning."""
        for consumer in self._consumers:
            consumer.consume(readings)

    def subscribe(self, consumer: ReadingsConsumer) -> None:
        """Add a consumer; it comes after those already there."""
        self._consumers.append(consumer)

    def flush(self) -> None:
        """Flush every consumer, in order of subscription."""
        for consumer in self._consumers:
            consumer.flush()

    def close(self) -> None:
        """Nothing to let go of."""


def open_bus(url: str) -> Bus:
    """The bus that a setting names.

    >>> type(open_bus("memory://")).__name__
    'MemoryBus'
    >>> open_bus("pigeon://loft")
    Traceback (most recent call last):
      ...
    domain.errors.NegawattError: bus 'pigeon://loft': unknown scheme; known: memory://, kafka://

    Raises
    ------
    NegawattError
        An unknown scheme, or no broker at the address.
    """
    if url == "memory://":
        return MemoryBus()
    if url.startswith("kafka://"):
        try:
            from ingest.kafka_bus import KafkaBus  # noqa: PLC0415  its client is optional
        except ModuleNotFoundError as missing:
            if missing.name not in ("kafka", "crc32c"):
                raise
            raise BusError(f"bus {url!r} needs the package kafka-python: pip install 'negawatt[kafka]'") from missing
        return KafkaBus(url)
    raise NegawattError(f"bus {url!r}: unknown scheme; known: {', '.join(KNOWN_SCHEMES)}")
