from __future__ import annotations

import pytest

from domain.errors import NegawattError
from domain.readings import Readings, make_readings
from ingest.bus import MemoryBus, open_bus


class Notebook:
    """Notes what it is told."""

    def __init__(self, name: str = "", notes: list[object] | None = None) -> None:
        self.name, self.notes = name, [] if notes is None else notes

    def consume(self, readings: Readings) -> None:
        self.notes.append((self.name, readings))

    def flush(self) -> None:
        self.notes.append((self.name, "flush"))


class Broken(Notebook):
    def consume(self, readings: Readings) -> None:
        raise OSError("disk full")


def test_every_consumer_gets_each_batch_in_order_of_subscription():
    bus, notes = MemoryBus(), []
    for name in ("store", "view"):
        bus.subscribe(Notebook(name, notes))
    first, second = make_readings(["a"], [0], [1]), make_readings(["a"], [1], [2])
    bus.publish(first)
    bus.publish(second)
    bus.flush()
    assert notes == [
        ("store", first),
        ("view", first),
        ("store", second),
        ("view", second),
        ("store", "flush"),
        ("view", "flush"),
    ]


def test_a_consumer_sees_only_what_is_published_after_it_subscribed():
    bus, late = MemoryBus(), Notebook()
    bus.publish(make_readings(["a"], [0], [1]))
    bus.subscribe(late)
    assert late.notes == []


def test_an_exception_of_a_consumer_reaches_the_publisher_and_stops_the_delivery():
    bus, after = MemoryBus(), Notebook()
    bus.subscribe(Broken())
    bus.subscribe(after)
    with pytest.raises(OSError, match="disk full"):
        bus.publish(make_readings(["a"], [0], [1]))
    assert after.notes == []


def test_a_setting_opens_the_bus_it_names():
    assert isinstance(open_bus("memory://"), MemoryBus)


@pytest.mark.parametrize("url", ["", "memory", "kafkaesque://x", "memory://x"])
def test_an_unknown_scheme_is_refused_naming_those_known(url: str):
    with pytest.raises(NegawattError, match="known: memory://"):
        open_bus(url)
