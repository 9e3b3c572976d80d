from datetime import UTC, date, datetime, time, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from domain_builders import NEW_YORK, SEOUL
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import NegawattError
from domain.intervals import (
    INTERVAL_MINUTES,
    check_interval,
    local_day_bounds,
    slot_of,
    slot_start,
    slots_per_day,
    utc_instants,
)

ZONES = ("Europe/Paris", NEW_YORK, SEOUL, "Australia/Sydney", "Australia/Lord_Howe", "Asia/Kathmandu")


@pytest.mark.parametrize(("minutes", "slots"), [(5, 288), (10, 144), (15, 96), (30, 48), (60, 24)])
def test_a_day_has_1440_minutes_of_intervals(minutes, slots):
    assert slots_per_day(minutes) == slots


@pytest.mark.parametrize("minutes", [0, 1, -5, 7, 20, 45, 120, 1440])
def test_other_interval_lengths_are_refused(minutes):
    with pytest.raises(NegawattError, match=f"interval of {minutes} minutes: expected one of 5, 10, 15, 30, 60"):
        check_interval(minutes)


def test_slots_count_whole_intervals_since_1970():
    # 2025-01-01 is day 55 * 365 + 14 leap days = 20,089; 08:30 is half-hour 17 of it.
    assert slot_of(datetime(2025, 1, 1, 8, 30, tzinfo=UTC), 30) == 20_089 * 48 + 17


def test_the_same_instant_in_another_zone_is_the_same_slot():
    seoul = datetime(2025, 1, 1, 17, 0, tzinfo=timezone(timedelta(hours=9)))
    assert slot_of(seoul, 60) == slot_of(datetime(2025, 1, 1, 8, tzinfo=UTC), 60) == 20_089 * 24 + 8


@pytest.mark.parametrize("minutes", INTERVAL_MINUTES)
@given(slot=st.integers(-(10**6), 10**7))
def test_a_slot_survives_the_way_to_its_start_and_back(minutes, slot):
    assert slot_of(slot_start(slot, minutes), minutes) == slot


@pytest.mark.parametrize("minutes", INTERVAL_MINUTES)
@pytest.mark.parametrize("off", [timedelta(minutes=1), timedelta(seconds=1), timedelta(microseconds=1)])
@pytest.mark.parametrize("year", [1969, 2025])
def test_instants_off_the_grid_are_refused(minutes, off, year):
    with pytest.raises(NegawattError, match=f"not on the {minutes}-minute grid"):
        slot_of(datetime(year, 6, 1, tzinfo=UTC) + off, minutes)


def test_a_time_without_zone_names_no_instant():
    with pytest.raises(NegawattError, match="without a zone"):
        slot_of(datetime(2025, 1, 1), 5)


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        # Change days: the EU's last Sundays of March and October, the US's second Sunday of March and first of
        # November, New South Wales' first Sundays of October and April.
        ("Europe/Paris", date(2025, 3, 30), 23),
        ("Europe/Paris", date(2025, 10, 26), 25),
        (NEW_YORK, date(2025, 3, 9), 23),
        (NEW_YORK, date(2025, 11, 2), 25),
        ("Australia/Sydney", date(2025, 10, 5), 23),
        ("Australia/Sydney", date(2025, 4, 6), 25),
        ("Australia/Lord_Howe", date(2025, 10, 5), 23.5),  # half an hour of summer time
        ("Australia/Lord_Howe", date(2025, 4, 6), 24.5),
        (SEOUL, date(2025, 3, 30), 24),
        ("America/Havana", date(2025, 3, 9), 23),  # clocks change at midnight: this day starts at 01:00
        ("America/Havana", date(2025, 11, 2), 25),  # and this one has two midnights
    ],
)
def test_a_local_day_lasts_as_long_as_its_clocks_say(zone, day, hours):
    start, end = local_day_bounds(day, ZoneInfo(zone))
    assert end - start == timedelta(hours=hours)


def test_a_korean_day_starts_at_15_utc_the_day_before():
    assert local_day_bounds(date(2025, 7, 9), ZoneInfo(SEOUL)) == (
        datetime(2025, 7, 8, 15, tzinfo=UTC),
        datetime(2025, 7, 9, 15, tzinfo=UTC),
    )


@given(zone=st.sampled_from(ZONES), day=st.dates(date(2000, 1, 1), date(2035, 1, 1)))
def test_local_days_follow_on_without_gap_or_overlap(zone, day):
    zone_info = ZoneInfo(zone)
    assert local_day_bounds(day, zone_info)[1] == local_day_bounds(day + timedelta(days=1), zone_info)[0]


@pytest.mark.parametrize(
    ("clock", "expected"),
    [
        (time(1, 30), [datetime(2025, 11, 2, 5, 30, tzinfo=UTC), datetime(2025, 11, 2, 6, 30, tzinfo=UTC)]),
        (time(0, 30), [datetime(2025, 11, 2, 4, 30, tzinfo=UTC)]),  # still UTC-4
        (time(2, 0), [datetime(2025, 11, 2, 7, 0, tzinfo=UTC)]),  # UTC-5
    ],
)
def test_a_repeated_hour_has_two_instants_earlier_first(clock, expected):
    assert list(utc_instants(date(2025, 11, 2), clock, ZoneInfo(NEW_YORK))) == expected


@pytest.mark.parametrize(("clock", "count"), [(time(1, 55), 1), (time(2, 0), 0), (time(2, 55), 0), (time(3, 0), 1)])
def test_a_skipped_hour_has_no_instant(clock, count):
    assert len(utc_instants(date(2025, 3, 9), clock, ZoneInfo(NEW_YORK))) == count


@given(
    zone=st.sampled_from(ZONES),
    day=st.dates(date(2000, 1, 1), date(2035, 1, 1)),
    clock=st.times().map(lambda t: t.replace(second=0, microsecond=0)),
    fold=st.integers(0, 1),
)
def test_every_instant_found_shows_the_clock_that_was_asked_for(zone, day, clock, fold):
    found = utc_instants(day, clock.replace(fold=fold), ZoneInfo(zone))
    local = [instant.astimezone(ZoneInfo(zone)) for instant in found]
    assert all((shown.date(), shown.hour, shown.minute) == (day, clock.hour, clock.minute) for shown in local)
    assert list(found) == sorted(set(found))
