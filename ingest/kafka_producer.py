"""Sending to Kafka so that nothing is lost and nobody runs out of memory.

Every message is acknowledged by all replicas in sync (``acks=all``), and numbered, so that the broker drops what a
retry sends twice. What isn't acknowledged yet counts against a limit; who comes to it waits.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Any

from kafka import KafkaProducer
from kafka.errors import KafkaError, KafkaTimeoutError, UnknownError
from kafka.producer.future import RecordMetadata

from ingest.bus import BusError
from ingest.kafka_topics import LARGEST_MESSAGE, failed_because, quiet_client, reaching

BUFFER_BYTES = 32 * 2**20
"""Bytes that may wait for their acknowledgement."""

BLOCK_SECONDS = 60.0
"""How long sending waits for room before it fails. [s]"""

GIVE_UP_SECONDS = 120.0
"""How long a message is tried, and `Sender.flush` waits, before it counts as failed. [s]"""

_BATCH_BYTES = 2**19
_LINGER_MS = 5
_REFUSED = 20
"""After so many messages that failed by themselves, those behind them are given up too."""


@dataclass(frozen=True)
class _Message:
    topic: str
    value: bytes | memoryview
    key: bytes | None
    headers: list[tuple[str, bytes]]
    partition: int | None

    @property
    def size(self) -> int:
        return len(self.value) + len(self.key or b"") + sum(len(k) + len(v) for k, v in self.headers) + 100


class Sender:
    """An idempotent producer with a bounded buffer, for one process and any number of threads.

    Parameters
    ----------
    address : str
        ``host:port``, several separated by commas.
    buffer_bytes : int
        See BUFFER_BYTES.
    block_seconds, give_up_seconds : float
        See BLOCK_SECONDS, GIVE_UP_SECONDS. [s]

    Raises
    ------
    BusError
        No broker answers.
    """

    def __init__(
        self,
        address: str,
        *,
        buffer_bytes: int = BUFFER_BYTES,
        block_seconds: float = BLOCK_SECONDS,
        give_up_seconds: float = GIVE_UP_SECONDS,
    ) -> None:
        quiet_client()
        self.address = address
        self._limit, self._block, self._give_up = buffer_bytes, block_seconds, give_up_seconds
        self._waiting = 0
        self._room = threading.Condition()
        self._failed: list[tuple[_Message, BaseException]] = []
        self.last_offset: dict[tuple[str, int], int] = {}
        """Highest acknowledged offset of each topic and partition."""
        self._producer = self._open()

    def partitions(self, topic: str) -> int:
        """Number of partitions of a topic."""
        with reaching(self.address, f"look up topic {topic!r}"):
            return len(self._producer.partitions_for(topic))

    def send(
        self,
        topic: str,
        value: bytes | memoryview,
        *,
        key: bytes | None = None,
        headers: list[tuple[str, bytes]] | None = None,
        partition: int | None = None,
    ) -> None:
        """Hand over a message; `flush` says whether it arrived.

        Raises
        ------
        BusError
            There was no room for ``block_seconds``, messages before it failed and fill the room, or it is too large.
            It was not taken.
        """
        message = _Message(topic, value, key, headers or [], partition)
        self._make_room(message.size)
        self._hand_over(message)

    def flush(self) -> None:
        """Return once every message is acknowledged.

        Raises
        ------
        BusError
            Some failed; it names how many, and the first's reason. They are given up, all others arrived. Or the
            broker doesn't answer for ``give_up_seconds``; then all are kept, and tried on.
        """
        deadline = time.monotonic() + self._give_up
        refused: list[tuple[_Message, BaseException]] = []
        while True:
            try:
                self._producer.flush(max(0.1, deadline - time.monotonic()))
            except KafkaTimeoutError as slow:
                raise BusError(
                    f"kafka at {self.address} has not acknowledged everything after {self._give_up:.0f} s: is the "
                    "broker up? Flush again when it is; what waits is still tried"
                ) from slow
            except UnknownError:
                continue  # the client cut a batch in two while we waited for it
            with self._room:
                failed, self._failed = self._failed, []
            if not failed:
                break
            try:
                self._renew()
            except BusError:
                with self._room:
                    self._failed = failed + self._failed  # the next flush tries them again
                raise
            # Once a message has failed, the client fails all that come after it: only the first is to blame.
            late = time.monotonic() >= deadline or len(refused) >= _REFUSED
            blamed = len(failed) if late else 0 if getattr(failed[0][1], "retriable", False) else 1
            refused += failed[:blamed]
            for message, _ in failed[blamed:]:
                self._hand_over(message)
        for message, _ in refused:
            self._release(message.size)
        if refused:
            raise self._refusal(refused) from refused[0][1]

    def close(self) -> None:
        """Stop; what is not acknowledged by now may be lost."""
        self._end(5.0)

    def _open(self) -> KafkaProducer:
        with reaching(self.address, "connect"):
            return KafkaProducer(
                bootstrap_servers=self.address,
                bootstrap_timeout_ms=30_000,
                acks="all",
                enable_idempotence=True,
                linger_ms=_LINGER_MS,
                batch_size=_BATCH_BYTES,
                max_request_size=LARGEST_MESSAGE + 2**16,
                max_block_ms=int(1000 * self._block),
                request_timeout_ms=min(30_000, max(1_000, int(500 * self._give_up))),
                delivery_timeout_ms=int(1000 * self._give_up),
                allow_auto_create_topics=False,
                reconnect_backoff_max_ms=1_000,
                metrics_enabled=False,
            )

    def _renew(self) -> None:
        """Begin anew with a client that has failed at nothing."""
        self._end(1.0)
        self._producer = self._open()

    def _end(self, seconds: float) -> None:
        try:
            self._producer.close(timeout=seconds)
        except KafkaError:
            self._producer._sender.force_close()  # or its thread tries on for ever

    def _make_room(self, size: int) -> None:
        deadline = time.monotonic() + self._block
        with self._room:
            while self._waiting and self._waiting + size > self._limit:
                if self._failed:
                    raise self._refusal(self._failed) from self._failed[0][1]
                if not self._room.wait(deadline - time.monotonic()) and time.monotonic() >= deadline:
                    raise BusError(
                        f"kafka at {self.address} acknowledged nothing for {self._block:.0f} s and "
                        f"{self._waiting / 2**20:.1f} MiB wait for it: is the broker up, and its disk not full?"
                    )
            self._waiting += size

    def _hand_over(self, message: _Message) -> None:
        try:
            future = self._producer.send(
                message.topic, message.value, message.key, message.headers, message.partition
            )
        except (KafkaError, ValueError) as refused:
            self._release(message.size)
            raise BusError(
                f"kafka at {self.address} doesn't take a message of {message.size:,} bytes for topic "
                f"{message.topic!r}: {failed_because(refused)}"
            ) from refused
        future.add_both(self._settled, message)

    def _settled(self, message: _Message, outcome: Any) -> None:
        """Called by the client's thread with what became of a message."""
        with self._room:
            if isinstance(outcome, RecordMetadata):
                where = (outcome.topic, outcome.partition)
                self.last_offset[where] = max(self.last_offset.get(where, -1), outcome.offset)
                self._waiting -= message.size
            else:
                self._failed.append((message, outcome))  # and its room stays taken until flush has told of it
            self._room.notify_all()

    def _refusal(self, failed: list[tuple[_Message, BaseException]]) -> BusError:
        return BusError(
            f"kafka at {self.address} refused {len(failed):,} messages: {failed_because(failed[0][1])}; "
            "publish them again when that is mended: what arrived twice counts once"
        )

    def _release(self, size: int) -> None:
        with self._room:
            self._waiting -= size
            self._room.notify_all()
