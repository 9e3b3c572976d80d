"""The bus on a real Kafka: where readings go, what is put aside, what waits, and what is read again."""

from __future__ import annotations

import os
import signal
from datetime import UTC, datetime, timedelta
from itertools import count

import numpy as np
import pytest
from builders import an_event, some_certificates
from kafka import KafkaConsumer, TopicPartition
from kafka.admin import KafkaAdminClient

from domain.errors import NegawattError
from domain.readings import Readings, make_readings
from ingest.bus import BusError, open_bus
from ingest.kafka_bus import KafkaBus, split_by_meter
from ingest.kafka_delivery import read_rejected, read_topic
from ingest.kafka_notices import read_certificates, read_events
from ingest.kafka_replay import replay
from ingest.kafka_topics import READINGS, Place, ensure_topics
from ingest.kafka_worker import Consumed, consume
from ingest.messages import MAX_READINGS, encode

pytestmark = pytest.mark.stack
NUMBERS = count()


class Rows:
    """Keeps every reading it is given, in order."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, int, int]] = []
        self.flushed = 0

    def consume(self, readings: Readings) -> None:
        meters = readings.meters[readings.meter].tolist()
        self.rows += zip(meters, readings.slot.tolist(), readings.wh.tolist(), strict=True)

    def flush(self) -> None:
        self.flushed = len(self.rows)


@pytest.fixture
def url(kafka) -> str:
    return f"{kafka.url}/bus-{next(NUMBERS)}"


def records(url: str, topic: str = READINGS) -> list:
    place = Place.of(url)
    return list(read_topic(place.address, place.topic(topic)))


def take(url: str, group: str = "rows") -> tuple[Rows, Consumed]:
    rows = Rows()
    return rows, consume(url, group, rows, lambda: False, until_idle=True)


def publish(url: str, *batches: Readings, **options: str) -> None:
    with KafkaBus(url) as bus:
        for batch in batches:
            bus.publish(batch, **options)
        bus.flush()


def some(meters: int, slots: range, wh: int = 1) -> Readings:
    names = [f"m-{n:03d}" for n in range(meters)]
    return make_readings(names * len(slots), np.repeat(np.array(slots), meters), [wh] * meters * len(slots))


def test_a_meter_stays_in_one_partition_and_in_order(url):
    publish(url, *(some(40, range(slot, slot + 3)) for slot in range(0, 30, 3)))
    at: dict[str, set[int]] = {}
    for record in records(url):
        assert record.key == b"meters %d/8" % record.partition
        assert dict(record.headers) == {"schema": b"readings/1.0"}
    with KafkaBus(url) as bus:
        for number, part in split_by_meter(some(40, range(3)), 8):
            for meter in part.meters:
                at.setdefault(meter, set()).add(number)
        assert bus.place.topic(READINGS) == Place.of(url).topic("readings")
    assert len(at) == 40
    assert all(len(partitions) == 1 for partitions in at.values())
    assert len(set.union(*at.values())) == 8
    rows, _ = take(url)
    for meter in at:
        assert [slot for name, slot, _ in rows.rows if name == meter] == list(range(30))


def test_the_batches_of_a_concentrator_stay_together(url):
    publish(url, *(some(40, range(slot, slot + 1)) for slot in range(5)), concentrator="north-17")
    found = records(url)
    assert len(found) == 5  # a message a batch
    assert {record.key for record in found} == {b"north-17"}
    assert len({record.partition for record in found}) == 1


def test_a_large_batch_is_cut_into_messages(url):
    publish(url, some(100, range(300)), concentrator="one")
    assert len(records(url)) == 30_000 / MAX_READINGS
    rows, done = take(url)
    assert len(rows.rows) == len(set(rows.rows)) == done.readings == 30_000


def test_poison_is_put_aside_with_its_reason_and_the_partition_goes_on(url):
    place = Place.of(url)
    poison = [b"hello", bytes(encode(some(1, range(1))))[:-300], b"\xff" * 2_000_000, b""]
    with KafkaBus(url) as bus:
        for value in poison:
            bus.publish(some(2, range(1)), concentrator="c")
            bus.sender.send(place.topic(READINGS), value, key=b"c")
        bus.publish(some(2, range(1, 2)), concentrator="c")
        bus.flush()
    rows, done = take(url)
    assert set(rows.rows) == {("m-000", 0, 1), ("m-001", 0, 1), ("m-000", 1, 1), ("m-001", 1, 1)}
    assert (done.messages, done.rejected, done.lag) == (9, 4, 0)
    assert done.by_fault == {"message.unreadable": 3, "message.truncated": 1}
    found = list(read_rejected(place))
    assert [message.value for message in found] == poison
    assert [message.offset for message in found] == [1, 3, 5, 7]
    assert {(m.topic, m.reader) for m in found} == {(place.topic(READINGS), "rows")}
    assert len({m.partition for m in found}) == 1
    assert "no Arrow IPC stream" in found[0].reason
    take(url, "another group")  # refuses the same again
    assert [message.offset for message in read_rejected(place)] == [1, 3, 5, 7]


def test_a_group_goes_on_where_it_stopped_and_another_begins_at_the_beginning(url):
    publish(url, some(2, range(2)))
    assert len(take(url)[0].rows) == 4
    publish(url, some(2, range(2, 3)))
    rows, done = take(url)
    assert {slot for _, slot, _ in rows.rows} == {2}
    assert rows.flushed == len(rows.rows)
    assert (done.lag, done.partitions) == (0, 8)
    assert len(take(url, "other")[0].rows) == 6


def test_what_was_not_flushed_is_delivered_again(url):
    class Full(Rows):
        def flush(self) -> None:
            raise OSError(28, "No space left on device")

    publish(url, some(2, range(2)))
    with pytest.raises(NegawattError, match=r"No space left on device.*start the worker again"):
        consume(url, "rows", Full(), lambda: False, until_idle=True)
    assert len(take(url)[0].rows) == 4


def test_stopping_makes_durable_what_was_taken(url):
    publish(url, some(2, range(2)))
    rows, seen = Rows(), []
    done = consume(url, "rows", rows, lambda: len(rows.rows) == 4, flush_seconds=600, report=seen.append)
    assert rows.flushed == 4
    assert seen[-1] == done
    assert take(url)[1].messages == 0


def test_replay_takes_a_range_of_offsets_or_of_time_and_disturbs_no_group(url):
    place = Place.of(url)
    ensure_topics(place)
    began = datetime(2026, 1, 5, tzinfo=UTC)
    with KafkaBus(url) as bus:
        for minute in range(10):
            bus.sender._producer.send(
                place.topic(READINGS),
                bytes(encode(some(1, range(minute, minute + 1)))),
                partition=3,
                timestamp_ms=int((began + timedelta(minutes=minute)).timestamp() * 1000),
            )
        bus.flush()

    def slots(**options) -> list[int]:
        rows = Rows()
        done = replay(url, rows, **options)
        assert rows.flushed == len(rows.rows) == done.readings
        return [slot for _, slot, _ in rows.rows]

    assert slots() == list(range(10))
    assert slots(offsets={3: 7}) == [7, 8, 9]
    assert slots(offsets={3: 10, 0: 0}) == []
    assert slots(since=began + timedelta(minutes=2), until=began + timedelta(minutes=5)) == [2, 3, 4]
    assert slots(since=began + timedelta(minutes=2), until=began + timedelta(minutes=2)) == []
    assert slots(since=began + timedelta(minutes=8, seconds=1)) == [9]
    assert slots(offsets={3: 2}, until=began + timedelta(minutes=5)) == [2, 3, 4]
    assert len(take(url)[0].rows) == 10
    for options, said in (
        ({"offsets": {3: 11}}, "offset 11 isn't there; Kafka has 0 to 10"),
        ({"offsets": {8: 0}}, "has no partition 8"),
        ({"since": datetime(2026, 1, 5)}, "without a zone"),
        ({"since": began, "offsets": {3: 0}}, "not from both"),
    ):
        with pytest.raises(NegawattError, match=said):
            slots(**options)


def test_events_and_certificates_come_back_as_they_were_published(url):
    place = Place.of(url)
    first, longer, other = an_event("e1"), an_event("e1", hours=2), an_event("e2")
    old, new = some_certificates(5, used_wh=200), some_certificates(5)
    with KafkaBus(url) as bus:
        for event in (first, other, longer):
            bus.publish_event(event)
        bus.sender.send(place.topic("dr.events"), b'{"id": "e9"}')
        for certificates in (old, new, new):
            bus.publish_certificates(certificates)
        bus.sender.send(place.topic("certificates"), b"{}", key=b"e7")
        bus.flush()
    events, problems = read_events(place)
    assert events == [longer, other]
    assert len(problems) == 1
    assert "offset 3: no DR event" in problems[0]
    assert list(read_certificates(place)) == [(new.event_id, new.published())]


def test_publishing_waits_for_room_then_fails_and_goes_on_when_the_broker_does(kafka, url):
    (broker,) = kafka.programs
    batch = some(40, range(100))
    with KafkaBus(url, buffer_bytes=2**20, block_seconds=1.0) as bus:
        os.kill(broker.pid, signal.SIGSTOP)
        sent = 0
        try:
            for _ in range(100):
                bus.publish(batch, concentrator="c")
                sent += 1
        except BusError as full:
            assert "acknowledged nothing for 1 s" in str(full)  # noqa: PT017
        finally:
            os.kill(broker.pid, signal.SIGCONT)
        assert 5 < sent < 20
        bus.publish(batch, concentrator="c")
        bus.flush()
    assert len(records(url)) == sent + 1  # nothing twice: the retries were numbered


def test_a_flush_that_takes_too_long_fails_and_the_next_one_goes_on(kafka, url):
    (broker,) = kafka.programs
    with KafkaBus(url, give_up_seconds=20.0) as bus:
        bus.sender._give_up = 1.0
        os.kill(broker.pid, signal.SIGSTOP)
        try:
            bus.publish(some(1, range(1)), concentrator="c")
            with pytest.raises(BusError, match="is the broker up"):
                bus.flush()
        finally:
            os.kill(broker.pid, signal.SIGCONT)
        bus.sender._give_up = 60.0
        bus.flush()
    assert len(records(url)) == 1


def test_a_single_message_that_fails_surfaces_at_flush_and_the_others_arrive(url):
    place = Place.of(url)
    admin = KafkaAdminClient(bootstrap_servers=place.address)
    topic = place.topic("narrow")
    admin.create_topics({topic: {"num_partitions": 1, "configs": {"max.message.bytes": "10000"}}})
    admin.close()
    with KafkaBus(url) as bus:
        for size in (100, 50_000, 200, 60_000, 300):
            bus.sender.send(topic, b"x" * size)
        with pytest.raises(BusError, match=r"refused 2 messages: .*TooLarge.*publish them again"):
            bus.flush()
        bus.sender.send(topic, b"x" * 400)
        bus.flush()  # told once
    assert sorted(len(record.value) for record in records(url, "narrow")) == [100, 200, 300, 400]


def test_a_message_that_is_too_large_is_refused_at_once(url):
    with KafkaBus(url) as bus, pytest.raises(BusError, match="doesn't take a message of 5,000,"):
        bus.sender.send(Place.of(url).topic(READINGS), bytes(5_000_000))


def test_topics_are_made_once_and_as_they_should_be(url):
    place = Place.of(url)
    names = [place.topic(name) for name in ("readings", "readings.rejected", "dr.events", "certificates")]
    assert ensure_topics(place, partitions=3) == names
    assert ensure_topics(place, partitions=5) == []
    reader = KafkaConsumer(bootstrap_servers=place.address)
    try:
        assert [len(reader.partitions_for_topic(name)) for name in names] == [3, 1, 1, 3]
        assert reader.end_offsets([TopicPartition(names[0], 2)]) == {TopicPartition(names[0], 2): 0}
    finally:
        reader.close()


@pytest.mark.parametrize(
    "url", ["kafka://", "kafka://host", "kafka://host:port", "kafka://:1", "kafka://a:1/b/c", "kafka://a:1/ü"]
)
def test_an_address_that_is_none_is_refused(url):
    with pytest.raises(BusError, match="expected kafka://HOST:PORT"):
        open_bus(url)
