"""A real Kafka broker for tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.kafka_server import KafkaServer


@contextmanager
def a_kafka(folder: Path, *, port: int | None = None) -> Iterator[KafkaServer]:
    """A new broker that works, killed when the block ends. Fetches its jars when they are not in the cache."""
    server = KafkaServer.create(folder, port=port)
    try:
        server.up()
        yield server
    finally:
        server.kill()
