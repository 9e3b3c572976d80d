"""What every bus does, whichever carries the readings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count

import pytest

from domain.readings import Readings, make_readings
from ingest.bus import Bus, MemoryBus, open_bus

NUMBERS = count()


class Notebook:
    """Notes what it is told, reading by reading."""

    def __init__(self, name: str = "", notes: list[tuple] | None = None) -> None:
        self.name, self.notes = name, [] if notes is None else notes

    def consume(self, readings: Readings) -> None:
        meters = readings.meters[readings.meter].tolist()
        self.notes += [
            (self.name, *row) for row in zip(meters, readings.slot.tolist(), readings.wh.tolist(), strict=True)
        ]

    def flush(self) -> None:
        self.notes.append((self.name, "flush"))


class Broken(Notebook):
    def consume(self, readings: Readings) -> None:
        raise OSError("disk full")


def the_memory(_: pytest.FixtureRequest) -> Iterator[Bus]:
    yield MemoryBus()


def the_kafka(request: pytest.FixtureRequest) -> Iterator[Bus]:
    server = request.getfixturevalue("kafka")
    with open_bus(f"{server.url}/suite-{next(NUMBERS)}") as bus:
        yield bus


@pytest.fixture(params=[the_memory, pytest.param(the_kafka, marks=pytest.mark.stack)], ids=["memory", "kafka"])
def bus(request) -> Iterator[Bus]:
    opened: Callable[[pytest.FixtureRequest], Iterator[Bus]] = request.param
    yield from opened(request)


def publish_and_flush(bus: Bus, readings: Readings) -> None:
    bus.publish(readings)
    bus.flush()


def test_every_consumer_gets_every_reading_and_is_flushed_after_it(bus):
    notes: list[tuple] = []
    for name in ("store", "view"):
        bus.subscribe(Notebook(name, notes))
    bus.publish(make_readings(["a", "b"], [0, 0], [1, 2]))
    bus.publish(make_readings(["a"], [1], [3]))
    bus.flush()
    assert notes[-2:] == [("store", "flush"), ("view", "flush")]
    for name in ("store", "view"):
        mine = [note[1:] for note in notes[:-2] if note[0] == name]
        assert sorted(mine) == [("a", 0, 1), ("a", 1, 3), ("b", 0, 2)]
        assert mine.index(("a", 0, 1)) < mine.index(("a", 1, 3))  # a meter's readings stay in order


def test_consumers_get_a_batch_in_order_of_subscription(bus):
    notes: list[tuple] = []
    for name in ("store", "view"):
        bus.subscribe(Notebook(name, notes))
    bus.publish(make_readings(["a"], [0], [1]))
    bus.flush()
    assert [note[0] for note in notes] == ["store", "view", "store", "view"]


def test_a_consumer_sees_only_what_is_published_after_it_subscribed(bus):
    early, late = Notebook(), Notebook()
    bus.subscribe(early)
    bus.publish(make_readings(["a"], [0], [1]))
    bus.subscribe(late)
    bus.publish(make_readings(["a"], [1], [2]))
    bus.flush()
    assert early.notes == [("", "a", 0, 1), ("", "a", 1, 2), ("", "flush")]
    assert late.notes == [("", "a", 1, 2), ("", "flush")]


def test_a_second_flush_brings_what_came_since(bus):
    store = Notebook()
    bus.subscribe(store)
    for slot in range(3):
        bus.publish(make_readings(["a"], [slot], [slot]))
        bus.flush()
    assert [note[2] for note in store.notes if note[1] == "a"] == [0, 1, 2]


def test_an_exception_of_a_consumer_reaches_the_publisher_and_stops_the_delivery(bus):
    after = Notebook()
    bus.subscribe(Broken())
    bus.subscribe(after)
    with pytest.raises(OSError, match="disk full"):
        publish_and_flush(bus, make_readings(["a"], [0], [1]))
    assert after.notes == []


def test_a_bus_without_consumers_takes_what_is_published(bus):
    bus.publish(make_readings(["a"], [0], [1]))
    bus.flush()


def test_register_interval_quality_and_revision_arrive(bus):
    got: list[Readings] = []
    store = Notebook()
    store.consume = got.append
    bus.subscribe(store)
    bus.publish(make_readings(["a"], [5], [7], interval_minutes=60, register="export", quality=1, revision=4))
    bus.flush()
    (came,) = got
    assert (came.interval_minutes, came.register, came.quality.tolist(), came.revision.tolist()) == (
        60,
        "export",
        [1],
        [4],
    )
