"""Readings of the future wait apart: none counts before its time, none is lost, none is there twice."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stores import ESTIMATED, Row, a_batch

from domain.errors import StoreError
from domain.readings import MISSING, Register
from speed.consumer import SpeedConsumer, joined
from speed.quarantine import FUTURE, Quarantine
from speed.stores import open_speed_store

NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)
SLOT = int(NOON.timestamp()) // 300
"""The five minutes that begin at noon."""


class Clock:
    """A clock that tests set."""

    def __init__(self, now: datetime = NOON) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def store():
    store = open_speed_store("duckdb://")
    yield store
    store.close()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def consumer(store, clock):
    return SpeedConsumer(store, Quarantine(store), clock)


def stored(store, minutes=5, register=Register.IMPORT, span=range(SLOT - 20, SLOT + 20)):
    """Readings in the store, by meter and slots after noon."""
    block = store.read_slots(np.array([list(span)]), minutes, None, register)
    return {
        (meter, slot - SLOT): int(wh)
        for meter, row in zip(block.meters.tolist(), block.wh[:, 0], strict=True)
        for slot, wh in zip(span, row, strict=True)
        if wh != MISSING
    }


def apart(store):
    return store.query("SELECT meter, wh FROM quarantine ORDER BY meter, ts, wh, revision").to_pylist()


def take(consumer, *rows, minutes=5, register=Register.IMPORT):
    consumer.consume(a_batch(rows, minutes, register))
    consumer.flush()


def test_an_interval_may_end_as_far_ahead_as_the_tolerance_and_no_second_later(store, consumer, clock):
    clock.now = NOON - timedelta(seconds=1)  # and ten minutes: 12:09:59
    take(consumer, Row("a", SLOT, 1), Row("a", SLOT + 1, 2))
    assert stored(store) == {("a", 0): 1}  # ends at 12:05; the other at 12:10:00
    clock.now = NOON
    take(consumer, Row("b", SLOT + 1, 2))
    assert stored(store) == {("a", 0): 1, ("a", 1): 2, ("b", 1): 2}


def test_a_reading_of_the_future_is_kept_apart_with_its_reason(store, consumer):
    take(consumer, Row("a", SLOT - 1, 10), Row("a", SLOT + 12, 99, ESTIMATED, 3), register=Register.EXPORT)
    assert stored(store, register=Register.EXPORT) == {("a", -1): 10}
    (row,) = store.query("SELECT * FROM quarantine").to_pylist()
    assert (row["meter"], row["register"], row["minutes"], row["wh"]) == ("a", "export", 5, 99)
    assert (row["quality"], row["revision"], row["reason"]) == (ESTIMATED, 3, FUTURE)
    assert row["ts"].replace(tzinfo=UTC) == NOON + timedelta(hours=1)
    assert row["received"].replace(tzinfo=UTC) == NOON
    assert consumer.standing().quarantined == 1


def test_repeats_are_kept_once_and_other_reports_of_the_same_interval_beside_them(store, consumer):
    row = Row("a", SLOT + 12, 99)
    take(consumer, row, row)
    take(consumer, row)
    take(consumer, Row("a", SLOT + 12, 80, revision=1), Row("b", SLOT + 12, 99))
    assert apart(store) == [{"meter": "a", "wh": 80}, {"meter": "a", "wh": 99}, {"meter": "b", "wh": 99}]
    assert consumer.standing().quarantined == 3


def test_a_reading_is_let_in_by_the_next_flush_after_its_time_has_come(store, consumer, clock):
    take(consumer, Row("a", SLOT + 12, 99), Row("a", SLOT + 24, 77))
    clock.now = NOON + timedelta(minutes=54, seconds=59)
    consumer.flush()
    assert stored(store, span=range(SLOT, SLOT + 30)) == {}
    clock.now = NOON + timedelta(minutes=55)  # the interval ends ten minutes later
    consumer.flush()
    assert stored(store, span=range(SLOT, SLOT + 30)) == {("a", 12): 99}
    assert apart(store) == [{"meter": "a", "wh": 77}]
    assert (consumer.standing().released, Quarantine(store).waiting()) == (1, 1)


def test_the_report_of_highest_precedence_counts_once_all_are_let_in(store, consumer, clock):
    take(consumer, Row("a", SLOT + 12, 99, revision=1), Row("a", SLOT + 12, 10))
    clock.now = NOON + timedelta(hours=1)
    take(consumer, Row("a", SLOT + 12, 50))
    assert stored(store) == {("a", 12): 99}


def test_every_interval_length_has_its_own_end(store, consumer, clock):
    hour = int(NOON.timestamp()) // 3600
    take(consumer, Row("a", hour, 1000), minutes=60)
    take(consumer, Row("a", SLOT, 5))
    assert (len(apart(store)), stored(store)) == (1, {("a", 0): 5})  # the hour ends at 13:00
    clock.now = NOON + timedelta(minutes=50)
    consumer.flush()
    assert apart(store) == []
    assert store.read_slots(np.array([[hour]]), 60).wh.tolist() == [[[1000]]]


def test_a_worker_that_starts_later_lets_in_what_an_earlier_one_kept(store, consumer, clock):
    take(consumer, Row("a", SLOT + 12, 99))
    clock.now = NOON + timedelta(hours=2)
    SpeedConsumer(store, Quarantine(store), clock).flush()
    assert (stored(store), apart(store)) == ({("a", 12): 99}, [])


def test_a_clock_that_is_centuries_ahead_stops_nothing(store, consumer):
    century = 100 * 365 * 288
    take(consumer, Row("a", SLOT + 3 * century, 1), Row("a", SLOT, 2))
    assert stored(store) == {("a", 0): 2}
    take(consumer, Row("a", SLOT + 3 * century, 1))
    assert apart(store) == [{"meter": "a", "wh": 1}]


def test_a_crash_between_loading_and_removing_changes_nothing(store, consumer, clock):
    take(consumer, Row("a", SLOT + 12, 99))
    clock.now = NOON + timedelta(hours=2)
    store.append(Quarantine(store).due(clock.now)[0])  # and the crash
    SpeedConsumer(store, Quarantine(store), clock).flush()
    assert (stored(store), apart(store)) == ({("a", 12): 99}, [])


def test_what_could_not_be_stored_is_held_for_the_next_flush(tmp_path, clock):
    first = open_speed_store(f"duckdb://{tmp_path}/speed.duckdb")
    consumer = SpeedConsumer(first, Quarantine(first), clock)
    consumer.consume(a_batch([Row("a", SLOT, 1)], 5))
    first.execute("DROP TABLE quarantine")
    consumer.consume(a_batch([Row("a", SLOT + 12, 9)], 5))
    with pytest.raises(StoreError):
        consumer.flush()
    Quarantine(first)  # makes the table again
    consumer.flush()
    assert stored(first) == {("a", 0): 1}
    assert apart(first) == [{"meter": "a", "wh": 9}]
    first.close()


def test_files_and_simulations_have_no_quarantine(store, clock):
    take(SpeedConsumer(store, clock=clock), Row("a", SLOT + 12, 99))
    assert stored(store) == {("a", 12): 99}


def test_freshness_is_told_by_the_newest_interval_that_was_stored(store, consumer, clock):
    assert consumer.standing().newest_reading_age_s is None
    take(consumer, Row("a", SLOT - 12, 1), Row("a", SLOT - 24, 1), Row("a", SLOT + 50, 1))
    clock.now = NOON + timedelta(seconds=30)
    assert consumer.standing().newest_reading_age_s == 55 * 60 + 30
    assert consumer.standing().document() == {"newest_reading_age_s": 3330.0, "quarantined": 1, "released": 0}


def test_messages_become_one_batch_in_which_each_meter_stands_once():
    one, two = a_batch([Row("b", 1, 10), Row("a", 2, 20)]), a_batch([Row("c", 3, 30), Row("b", 4, 40)])
    both = joined([one, two, one])
    assert sorted(both.meters.tolist()) == ["a", "b", "c"]
    assert list(zip(both.meters[both.meter], both.slot, both.wh, strict=True)) == [
        ("b", 1, 10),
        ("a", 2, 20),
        ("c", 3, 30),
        ("b", 4, 40),
        ("b", 1, 10),
        ("a", 2, 20),
    ]


ARRIVALS = st.lists(
    st.tuples(
        st.integers(0, 90),  # minutes after noon at which it arrives
        st.builds(
            Row,
            st.sampled_from("ab"),
            st.integers(SLOT - 3, SLOT + 18),
            st.integers(0, 3),
            st.just(2),
            st.integers(0, 1),
        ),
    ),
    max_size=12,
)


@settings(max_examples=10)
@given(ARRIVALS)
def test_whatever_waited_the_store_ends_as_if_all_had_come_in_time(arrivals):
    store, plain, clock = open_speed_store("duckdb://"), open_speed_store("duckdb://"), Clock()
    try:
        consumer = SpeedConsumer(store, Quarantine(store), clock)
        for minute, row in sorted(arrivals):
            clock.now = NOON + timedelta(minutes=minute)
            take(consumer, row)
            early = [slot for _, slot in stored(store) if NOON + timedelta(minutes=5 * slot - 5) > clock.now]
            assert early == []
        clock.now = NOON + timedelta(hours=3)
        consumer.flush()
        if arrivals:
            plain.append(a_batch([row for _, row in arrivals], 5))
        assert stored(store) == stored(plain)
        assert apart(store) == []
    finally:
        store.close()
        plain.close()


@pytest.mark.stack
def test_heavydb_keeps_the_future_apart_likewise(heavydb, clock):
    store = open_speed_store(heavydb)
    try:
        consumer = SpeedConsumer(store, Quarantine(store), clock)
        store.execute("DELETE FROM quarantine")
        first = SLOT // 2  # the ten minutes that begin at noon
        ahead = Row("heavy-a", first + 6, 99, ESTIMATED, 3)
        take(consumer, ahead, ahead, Row("heavy-a", first, 1), minutes=10)
        take(consumer, ahead, Row("heavy-b", first + 300 * 365 * 144, 5), minutes=10)
        slots, meters = np.array([[first, first + 6]]), np.array(["heavy-a"], dtype=object)
        assert store.read_slots(slots, 10, meters).wh.tolist() == [[[1, MISSING]]]
        assert apart(store) == [{"meter": "heavy-a", "wh": 99}, {"meter": "heavy-b", "wh": 5}]
        clock.now = NOON + timedelta(hours=1)
        for _ in range(2):
            consumer.flush()
        assert store.read_slots(slots, 10, meters).wh.tolist() == [[[1, 99]]]
        assert apart(store) == [{"meter": "heavy-b", "wh": 5}]
        assert (consumer.standing().quarantined, consumer.standing().released) == (2, 1)
    finally:
        store.close()
