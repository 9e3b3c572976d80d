"""A Kafka broker on this machine: one node that is its own controller (KRaft), in one folder, on loopback."""

from __future__ import annotations

import base64
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from infra.daemons import ServiceError, port_is_free
from infra.java_program import Program, run_java
from infra.java_server import JavaServer
from infra.local_program import write_file

LARGEST_MESSAGE = 16 * 2**20
"""Bytes of a batch of readings at most, on the wire and uncompressed by the broker."""
READY_TOPIC = "stack.ready"
_PROBE_MS = 5_000


@dataclass(frozen=True)
class KafkaServer(JavaServer):
    """A broker.

    Attributes
    ----------
    port : int
        Of clients.
    controller_port : int
        Of the broker's own controller.
    heap_mib : int
        Kafka keeps messages in the system's file cache, not in its heap. [MiB]
    """

    controller_port: int
    heap_mib: int = 512
    service: ClassVar[str] = "kafka"
    packages: ClassVar[tuple[tuple[str, str], ...]] = (("kafka", "kafka-python"),)

    @property
    def programs(self) -> tuple[Program, ...]:
        """The broker."""
        log_lines = ("showDateTime=true", "dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSS", "defaultLogLevel=warn")
        return (
            Program(
                name="kafka",
                folder=self.folder,
                main="kafka.Kafka",
                heap_mib=self.heap_mib,
                ports=(self.port, self.controller_port),
                options=tuple(f"-Dorg.slf4j.simpleLogger.{line}" for line in log_lines),
                arguments=(str(self._properties),),
            ),
        )

    @property
    def data(self) -> Path:
        """Topics, and the controller's own log."""
        return self.folder / "data"

    @property
    def _properties(self) -> Path:
        return self.folder / "server.properties"

    def probe(self) -> None:
        """Send a record and fetch it again."""
        from kafka import KafkaConsumer, KafkaProducer, TopicPartition  # noqa: PLC0415  infra loads without clients
        from kafka.admin import KafkaAdminClient, NewTopic  # noqa: PLC0415
        from kafka.errors import TopicAlreadyExistsError  # noqa: PLC0415

        if port_is_free(self.port):  # the client would wait longer and longer before it tries again
            raise ServiceError(f"nothing listens at {self.address}")
        patience = {"bootstrap_servers": self.address, "bootstrap_timeout_ms": _PROBE_MS}
        admin = KafkaAdminClient(**patience)
        try:
            kept = {"retention.ms": "3600000", "segment.ms": "3600000"}
            admin.create_topics([NewTopic(READY_TOPIC, 1, 1, topic_configs=kept)])
        except TopicAlreadyExistsError:
            pass
        finally:
            admin.close()
        said = uuid.uuid4().bytes
        producer = KafkaProducer(**patience, acks="all", max_block_ms=_PROBE_MS)
        try:
            sent = producer.send(READY_TOPIC, said).get(_PROBE_MS / 1000)
        finally:
            producer.close(1)
        consumer = KafkaConsumer(**patience, group_id=None, consumer_timeout_ms=_PROBE_MS)
        try:
            consumer.assign([partition := TopicPartition(READY_TOPIC, sent.partition)])
            consumer.seek(partition, sent.offset)
            deadline = time.monotonic() + _PROBE_MS / 1000
            while time.monotonic() < deadline:
                for records in consumer.poll(200).values():
                    if any(record.value == said for record in records):
                        return
        finally:
            consumer.close()
        raise ServiceError(f"kafka at {self.address} doesn't give back what it took")

    def _configure(self) -> None:
        write_file(self._properties, broker_properties(self))

    def _prepare(self, java: Path, classpath: str) -> None:
        if (self.data / "meta.properties").exists():
            return
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
        # an id that begins with a dash would be taken for an option
        words = ["format", f"--cluster-id={cluster}", "--config", str(self._properties)]
        run_java(java, classpath, "kafka.tools.StorageTool", words)


def broker_properties(server: KafkaServer) -> str:
    """The broker's settings file."""
    return f"""# Written by negawatt at each start from {server.folder / "server.json"}; changes here are lost.
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{server.controller_port}
listeners=PLAINTEXT://127.0.0.1:{server.port},CONTROLLER://127.0.0.1:{server.controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{server.port}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={server.data}

# a topic that is misspelt should fail, not appear
auto.create.topics.enable=false
num.partitions=8

# one node: it can't replicate
default.replication.factor=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0

# batches of readings: {LARGEST_MESSAGE // 2**20} MiB, and what the record around one adds
message.max.bytes={LARGEST_MESSAGE + 2**20}
replica.fetch.max.bytes={LARGEST_MESSAGE + 2**20}
# requests that wait in memory, so that many producers of large batches wait instead of filling the heap
socket.request.max.bytes={4 * LARGEST_MESSAGE}
queued.max.request.bytes={8 * LARGEST_MESSAGE}

# Two weeks: readings are in the store within seconds, and this is what a store that was lost is filled from again.
# Offsets are kept longer, so that a consumer that comes back doesn't begin anew.
log.retention.hours=336
offsets.retention.minutes=43200
log.segment.bytes={256 * 2**20}

num.network.threads=2
num.io.threads=4
log.cleaner.dedupe.buffer.size={16 * 2**20}
"""
