from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.intervals import utc_instants
from ingest.clocks import local_to_utc, read_instants, utc_to_local
from ingest.rejects import Code


def seconds(*at: int) -> int:
    return int(datetime(*at, tzinfo=UTC).timestamp())


@pytest.mark.parametrize(
    "text",
    [
        "2016-07-31T23:00-08:00",
        "2016-07-31 23:00:00-0800",
        "2016-08-01T07:00Z",
        "2016-08-01 07:00:00.0000000+00:00",
        "2016-08-01T16:00:00+09",
        " 2016-08-01T07:00Z ",
    ],
)
def test_an_offset_makes_an_instant_of_a_time(text: str):
    read = read_instants(pa.array([text]), None)
    assert (read.seconds.tolist(), read.problems) == ([seconds(2016, 8, 1, 7)], {})


def test_each_row_of_a_mixed_column_is_read_by_itself():
    column = pa.array(["1970-01-01T01:00Z", "1970-01-01 01:00", "31/07/2016 23:00", "2021-02-30T00:00Z", None, ""])
    read = read_instants(column, "Asia/Seoul")
    assert read.seconds[:2].tolist() == [3600, 3600 - 9 * 3600]
    assert {code: rows.tolist() for code, rows in read.problems.items()} == {
        Code.TIME_UNREADABLE: [False, False, True, True, True, True]
    }


def test_a_time_without_offset_or_zone_is_naive():
    read = read_instants(pa.array(["2012-10-12 00:30:00.0000000"]), None)
    assert list(read.problems) == [Code.TIME_NAIVE]


def test_a_fraction_of_a_second_is_not_lost():
    read = read_instants(pa.array(["2012-10-12T00:30:00.25Z", "2012-10-12T00:30:00.0Z"]), None)
    assert read.fraction.tolist() == [True, False]


def test_typed_timestamps_are_read_whatever_their_unit():
    at = datetime(2025, 8, 12, 8, tzinfo=UTC)
    for unit in ("s", "ms", "us", "ns"):
        read = read_instants(pa.array([at], pa.timestamp(unit, "Asia/Seoul")), None)
        assert (read.seconds.tolist(), read.problems) == ([seconds(2025, 8, 12, 8)], {})
    naive = read_instants(pa.array([at.replace(tzinfo=None), None], pa.timestamp("ms")), "Asia/Seoul")
    assert naive.seconds[0] == seconds(2025, 8, 11, 23)
    assert naive.problems[Code.TIME_UNREADABLE].tolist() == [False, True]


def test_london_repeats_an_hour_in_autumn_and_skips_one_in_spring():
    clock = [
        seconds(2013, 3, 31, 0, 30),  # still winter time
        seconds(2013, 3, 31, 1, 0),  # skipped
        seconds(2013, 3, 31, 1, 59),  # skipped
        seconds(2013, 3, 31, 2, 0),  # = 01:00 UTC
        seconds(2013, 10, 27, 0, 59),  # summer time: 23:59 UTC of the day before
        seconds(2013, 10, 27, 1, 0),  # twice
        seconds(2013, 10, 27, 1, 59),  # twice
        seconds(2013, 10, 27, 2, 0),  # = 02:00 UTC
    ]
    times = local_to_utc(np.array(clock), "Europe/London")
    assert np.flatnonzero(times.nonexistent).tolist() == [1, 2]
    assert np.flatnonzero(times.ambiguous).tolist() == [5, 6]
    assert times.seconds[[0, 3, 4, 7]].tolist() == [
        seconds(2013, 3, 31, 0, 30),
        seconds(2013, 3, 31, 1, 0),
        seconds(2013, 10, 26, 23, 59),
        seconds(2013, 10, 27, 2, 0),
    ]


ZONES = ("Europe/London", "Asia/Seoul", "America/St_Johns", "Australia/Lord_Howe", "Pacific/Apia", "UTC")
clocks = st.datetimes(min_value=datetime(1975, 1, 1), max_value=datetime(2035, 1, 1))


@given(clocks, st.sampled_from(ZONES))
def test_local_times_agree_with_the_rules_for_single_instants(clock: datetime, zone: str):
    clock = clock.replace(second=0, microsecond=0)
    times = local_to_utc(np.array([seconds(*clock.timetuple()[:6])]), zone)
    instants = utc_instants(clock.date(), clock.time(), ZoneInfo(zone))
    assert bool(times.ambiguous[0]) == (len(instants) == 2)
    assert bool(times.nonexistent[0]) == (len(instants) == 0)
    if len(instants) == 1:
        assert times.seconds[0] == instants[0].timestamp()


@given(clocks, st.sampled_from(ZONES))
def test_what_a_clock_shows_agrees_with_zoneinfo(instant: datetime, zone: str):
    at = instant.replace(microsecond=0, tzinfo=UTC)
    shown = utc_to_local(np.array([int(at.timestamp())]), zone)
    local = at.astimezone(ZoneInfo(zone)).replace(tzinfo=UTC)
    assert timedelta(seconds=int(shown[0])) == local - datetime(1970, 1, 1, tzinfo=UTC)
