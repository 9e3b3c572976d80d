"""Each check on readings whose outcome is worked out by hand: just inside the rule, and just outside."""

from __future__ import annotations

import numpy as np
import pytest
from vee_desk import a_block, a_window, found, plain_days, the_rules, worked

from domain.meter_clocks import ClockComparisons, drifting_clocks
from domain.readings import MISSING
from domain.validation import Check

TODAY = 28
"""The first day that has four like days before it."""


def checked(wh, **kwargs) -> dict[Check, int]:
    block = a_block(wh)
    return found(worked(block, a_window(block, TODAY, TODAY + 1), **kwargs))


def test_plain_days_have_nothing_to_find():
    assert checked(plain_days()) == {}


def test_missing_readings_are_counted_in_the_window_only():
    wh = plain_days()
    wh[0, TODAY, [3, 4, 9]] = MISSING
    wh[0, TODAY - 1, 5] = MISSING
    assert checked(wh) == {Check.GAP: 3}


# Peaks of the days compared with are 2,000 Wh, 280 % is 5,600. Like intervals at 3 h are 503 Wh, 800 % is 4,024.
@pytest.mark.parametrize(("wh_at_3", "spikes"), [(5_600, {}), (5_601, {Check.SPIKE: 1})])
def test_a_spike_is_above_the_peaks_of_the_days_compared_with(wh_at_3, spikes):
    wh = plain_days()
    wh[0, TODAY, 3] = wh_at_3
    assert checked(wh) == spikes


# At 19 h like intervals are 2,000 Wh, 800 % of that is 16,000, far above 280 % of the peaks.
@pytest.mark.parametrize(("wh_at_19", "spikes"), [(16_000, {}), (16_001, {Check.SPIKE: 1})])
def test_a_spike_is_above_the_median_of_like_intervals(wh_at_19, spikes):
    wh = plain_days()
    wh[0, TODAY, 19] = wh_at_19
    assert checked(wh) == spikes


def test_the_median_of_an_even_number_of_like_intervals_is_the_mean_of_the_middle_ones():
    wh = plain_days()
    wh[0, [0, 7, 14, 21], 19] = [100, 1800, 2201, 2000]  # median 1,900; 800 % is 15,200
    wh[0, TODAY, 19] = 15_200
    assert checked(wh) == {}
    wh[0, TODAY, 19] = 15_201
    assert checked(wh) == {Check.SPIKE: 1}


def test_below_the_floor_nothing_is_a_spike():
    wh = plain_days() // 10  # a home that used next to nothing, and somebody comes home
    wh[0, TODAY, 3] = 3_000
    assert checked(wh) == {}
    wh[0, TODAY, 3] = 3_001
    assert checked(wh) == {Check.SPIKE: 1}


def test_more_than_two_high_readings_in_a_row_are_usage_not_a_spike():
    wh = plain_days()
    wh[0, TODAY, 2:4] = 7_000
    assert checked(wh) == {Check.SPIKE: 2}
    wh[0, TODAY, 2:5] = 7_000
    assert checked(wh) == {}


def test_a_meter_with_one_like_day_has_no_spikes():
    wh = plain_days()
    wh[0, :TODAY] = MISSING
    wh[0, TODAY - 7] = plain_days()[0, 0]
    wh[0, TODAY, 3] = 9_000
    assert checked(wh) == {}


def test_the_limit_is_that_of_the_connection_or_ten_times_the_contracted_capacity():
    from domain.vee import limits

    assert limits(np.array([0, 2_000, 5_000]), 60, the_rules()).tolist() == [25_000, 25_000, 50_000]
    assert limits(np.array([0]), 5, the_rules()).tolist() == [2_083]
    wh = plain_days()
    wh[0, TODAY, 3] = 25_001
    assert checked(wh) == {Check.LIMIT: 1}


@pytest.mark.parametrize(("hours", "stuck"), [(11, {}), (12, {Check.STUCK_VALUE: 12})])
def test_twelve_hours_of_the_same_reading_are_a_stuck_register(hours, stuck):
    wh = plain_days()
    wh[0, TODAY, 4 : 4 + hours] = 777
    assert checked(wh) == stuck


def test_a_stuck_register_is_seen_across_midnight_and_counted_in_the_window():
    wh = plain_days()
    wh[0, TODAY - 1, 20:] = 777
    wh[0, TODAY, :8] = 777
    assert checked(wh) == {Check.STUCK_VALUE: 8}


def test_a_missing_reading_breaks_a_run():
    wh = plain_days()
    wh[0, TODAY, 4:16] = 777
    wh[0, TODAY, 10] = MISSING
    assert checked(wh) == {Check.GAP: 1}


def test_small_readings_repeat_by_rounding_and_are_not_stuck():
    wh = plain_days()
    wh[0, TODAY, 4:20] = 19
    assert checked(wh) == {}


def test_two_days_of_zeros_are_found_where_the_meter_never_was_at_zero():
    wh = plain_days()
    wh[0, TODAY - 1 : TODAY + 1] = 0
    assert checked(wh) == {Check.STUCK_ZERO: 24}
    wh[0, TODAY - 1, 0] = 1
    assert checked(wh) == {}


def test_zeros_are_no_finding_where_they_are_usual():
    wh = plain_days()
    wh[0, :, :2] = 0  # 2 of 24 hours: more than 1 %
    wh[0, TODAY - 1 : TODAY + 1] = 0
    assert checked(wh) == {}


def test_estimates_are_not_checked():
    wh = plain_days()
    wh[0, TODAY, 3] = 20_000
    estimated = np.zeros(wh.shape, dtype=bool)
    estimated[0, TODAY, 3] = True
    block = a_block(wh, estimated)
    assert found(worked(block, a_window(block, TODAY, TODAY + 1))) == {}


def test_a_spike_serves_no_later_day_for_comparison():
    wh = plain_days(days=43)
    wh[0, [28, 35], 3] = 9_000  # were they like intervals, the third would be less than 8 times their median
    wh[0, 42, 3] = 9_000
    block = a_block(wh)
    assert found(worked(block, a_window(block, 28, 43))) == {Check.SPIKE: 3}


# --- clocks ------------------------------------------------------------------------------------------------


def compared(*ahead: int) -> ClockComparisons:
    n = len(ahead)
    return ClockComparisons(np.array(["a"] * n, object), np.arange(n, dtype=np.int64), np.array(ahead, np.int64))


@pytest.mark.parametrize(
    ("ahead", "drift"),
    [
        ((180, 180, 180), {}),
        ((181, 181, 181), {"a": 181}),
        ((-181, -500, -190), {"a": -190}),
        ((0, 900, 5), {}),  # one slow message
        ((900, 900), {}),  # too few to tell
        ((100, 170, 190, 900), {}),  # the middle two are 170 and 190: the one nearer to zero counts
        ((-900, -900, 900, 900), {"a": -900}),
    ],
)
def test_a_clock_drifts_when_the_median_of_three_comparisons_is_off(ahead, drift):
    assert drifting_clocks(compared(*ahead), 0, 100, the_rules().clock) == drift


def test_comparisons_outside_the_days_do_not_count():
    assert drifting_clocks(compared(900, 900, 900), 1, 100, the_rules().clock) == {}
    assert drifting_clocks(ClockComparisons.none(), 0, 100, the_rules().clock) == {}
