from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.baselines import adjusted_baseline, kept_day_sums, round_half_even, select_days, trimmed_days
from domain.readings import MAX_WH, MISSING


def select(usage, *, days, low_usage_pct=0, readmit=False):
    """One meter's selection; None is a day whose readings are incomplete."""
    wh = np.array([[MISSING if day is None else day for day in usage]], dtype=np.int64).reshape(1, len(usage))
    usable = np.array([[day is not None for day in usage]], dtype=bool).reshape(1, len(usage))
    chosen = select_days(wh, usable, days=days, low_usage_pct=low_usage_pct, readmit=readmit)
    return np.flatnonzero(chosen.selected[0]).tolist(), int(chosen.low_usage[0]), int(chosen.readmitted[0])


def trim(usage, *, days, drop_lowest=0, drop_highest=0):
    wh = np.array([usage], dtype=np.int64)
    kept = trimmed_days(wh, wh > 0, days=days, drop_lowest=drop_lowest, drop_highest=drop_highest)
    return [usage[n] for n in np.flatnonzero(kept[0])]


def adjust(sums, *, k, window_sum, window_actual, window, cap=None, on=True):
    """One meter's adjusted baseline."""
    one = np.array([1])
    result = adjusted_baseline(
        np.array([sums], dtype=np.int64),
        k * one,
        window_sum * one,
        window_actual * one,
        np.array([on]),
        adjustment_intervals=window,
        cap_pct=cap,
    )
    return result.baseline_wh[0].tolist(), bool(result.capped[0])


class TestWhichDaysCount:
    def test_the_most_recent_days_are_taken(self):
        assert select([5, 5, 5, 5], days=3) == ([0, 1, 2], 0, 0)

    def test_incomplete_days_are_passed_over(self):
        assert select([5, None, 5, None, 5, 5], days=3) == ([0, 2, 4], 0, 0)

    def test_a_short_history_gives_what_it_has(self):
        assert select([5, None], days=3) == ([0], 0, 0)

    def test_no_days_at_all_give_none(self):
        assert select([], days=3, low_usage_pct=75, readmit=True) == ([], 0, 0)
        assert select([None, None], days=3, low_usage_pct=75, readmit=True) == ([], 0, 0)

    def test_a_low_usage_day_gives_way_to_an_earlier_one(self):
        # (1000 + 1000 + 100) / 3 = 700, of which 75 % is 525.
        assert select([1000, 1000, 100, 900], days=3, low_usage_pct=75) == ([0, 1, 3], 1, 0)

    def test_the_bar_is_of_the_first_days_and_does_not_move(self):
        # The average of the first three is 700: the bar stays at 525, though without the 100 it would be higher.
        assert select([1000, 1000, 100, 530], days=3, low_usage_pct=75) == ([0, 1, 3], 1, 0)
        assert select([1000, 1000, 100, 524, 900], days=3, low_usage_pct=75) == ([0, 1, 4], 2, 0)

    def test_a_day_exactly_at_the_bar_is_not_low(self):
        # (1200 + 1050 + 750) / 3 = 1000; 75 % is 750.
        assert select([1200, 1050, 750], days=3, low_usage_pct=75) == ([0, 1, 2], 0, 0)
        assert select([1200, 1051, 749], days=3, low_usage_pct=75) == ([0, 1], 1, 0)

    def test_low_days_are_refused_or_readmitted_when_too_few_others_are_found(self):
        usage = [1000, 1000, 100, 50]
        assert select(usage, days=3, low_usage_pct=75, readmit=False) == ([0, 1], 2, 0)
        # The most recent low day comes back; the other stays passed over.
        assert select(usage, days=3, low_usage_pct=75, readmit=True) == ([0, 1, 2], 1, 1)

    def test_only_as_many_low_days_come_back_as_are_wanted(self):
        # (1000 + 10 + 20 + 30) / 4 = 265; all but the first are low.
        assert select([1000, 10, 20, 30, 40], days=4, low_usage_pct=75, readmit=True) == ([0, 1, 2, 3], 1, 3)

    def test_low_days_beyond_the_last_day_taken_are_not_counted(self):
        assert select([1000, 1000, 1000, 100], days=3, low_usage_pct=75) == ([0, 1, 2], 0, 0)

    def test_a_home_that_uses_nothing_has_no_low_usage_days(self):
        assert select([0, 0, 0], days=3, low_usage_pct=75) == ([0, 1, 2], 0, 0)

    def test_the_bar_of_a_short_history_is_the_average_of_what_there_is(self):
        # (1000 + 400) / 2 = 700, 75 % is 525.
        assert select([1000, 400], days=5, low_usage_pct=75) == ([0], 1, 0)

    def test_missing_days_do_not_lower_the_bar(self):
        # Of the present 1000, 1000 and 740 the average is 913.3, of which 75 % is 685.
        assert select([1000, None, 1000, 740], days=3, low_usage_pct=75) == ([0, 2, 3], 0, 0)


class TestWhichDaysAreDropped:
    def test_max_4_of_5_drops_the_lowest(self):
        assert trim([30, 10, 50, 20, 40], days=5, drop_lowest=1) == [30, 50, 20, 40]

    def test_mid_6_of_10_drops_two_at_either_end(self):
        usage = [95, 91, 100, 93, 97, 92, 99, 94, 98, 96]
        assert trim(usage, days=10, drop_lowest=2, drop_highest=2) == [95, 93, 97, 94, 98, 96]

    def test_of_tied_low_days_the_later_is_kept(self):
        wh = np.array([[50, 20, 20, 40, 30]])
        kept = trimmed_days(wh, wh > 0, days=5, drop_lowest=1, drop_highest=0)
        assert np.flatnonzero(kept[0]).tolist() == [0, 1, 3, 4]

    def test_of_tied_high_days_the_later_ranks_higher_and_is_dropped(self):
        wh = np.array([[50, 50, 20, 40, 30]])
        kept = trimmed_days(wh, wh > 0, days=5, drop_lowest=0, drop_highest=1)
        assert np.flatnonzero(kept[0]).tolist() == [1, 2, 3, 4]

    def test_of_days_all_alike_the_first_and_last_go(self):
        wh = np.full((1, 10), 7)
        kept = trimmed_days(wh, wh > 0, days=10, drop_lowest=2, drop_highest=2)
        assert np.flatnonzero(kept[0]).tolist() == [2, 3, 4, 5, 6, 7]

    def test_a_short_history_drops_fewer_of_the_lowest(self):
        assert trim([30, 10, 50, 20], days=5, drop_lowest=1) == [30, 10, 50, 20]
        assert trim([30, 10, 50, 20], days=6, drop_lowest=3) == [30, 50, 20]

    def test_days_not_selected_are_never_kept(self):
        wh = np.array([[10, 99, 30, 20]])
        kept = trimmed_days(wh, np.array([[True, False, True, True]]), days=3, drop_lowest=1, drop_highest=0)
        assert kept.tolist() == [[False, False, True, True]]

    def test_no_selected_day_keeps_none(self):
        kept = trimmed_days(np.array([[10, 20]]), np.zeros((1, 2), bool), days=3, drop_lowest=1, drop_highest=1)
        assert not kept.any()


def test_sums_over_kept_days_never_touch_missing_values():
    load = np.array([[[1, 2], [MISSING, MISSING], [30, 40]]], dtype=np.int32)
    assert kept_day_sums(load, np.array([[True, False, True]])).tolist() == [[31, 42]]
    assert kept_day_sums(load, np.zeros((1, 3), bool)).tolist() == [[0, 0]]


# Two days sum to 400 and 200 Wh: 200 and 100, on average 150. Before the event they sum to 100, so 50 a day.
TWO_DAYS = {"sums": [400, 200], "k": 2, "window_sum": 100, "window": 1}


class TestAdjustment:
    @pytest.mark.parametrize(
        ("actual", "expected"),
        [(50, [200, 100]), (80, [230, 130]), (20, [170, 70]), (0, [150, 50])],
    )
    def test_the_difference_before_the_event_is_added_up_or_down(self, actual, expected):
        assert adjust(**TWO_DAYS, window_actual=actual) == (expected, False)

    def test_the_difference_is_a_mean_over_the_window(self):
        # Usage 500 in three intervals, history 410 a day: 90 / 3 = 30.
        assert adjust([400], k=2, window_sum=820, window_actual=500, window=3) == ([230], False)

    @pytest.mark.parametrize(
        ("actual", "expected", "capped"),
        [
            # 20 % of 150 is 30.
            (80, [230, 130], False),
            (81, [230, 130], True),
            (1000, [230, 130], True),
            (20, [170, 70], False),
            (19, [170, 70], True),
            (0, [170, 70], True),
        ],
    )
    def test_the_cap_holds_both_ways(self, actual, expected, capped):
        assert adjust(**TWO_DAYS, window_actual=actual, cap=20) == (expected, capped)

    def test_a_cap_of_zero_allows_no_adjustment(self):
        assert adjust(**TWO_DAYS, window_actual=51, cap=0) == ([200, 100], True)
        assert adjust(**TWO_DAYS, window_actual=50, cap=0) == ([200, 100], False)

    def test_a_baseline_is_never_below_zero(self):
        # 50 - 200 = -150: 200 becomes 50, 100 would become -50.
        assert adjust([400, 200], k=2, window_sum=400, window_actual=50, window=1) == ([50, 0], False)

    def test_a_home_whose_day_cannot_be_adjusted_keeps_its_mean(self):
        assert adjust(**TWO_DAYS, window_actual=80, cap=20, on=False) == ([200, 100], False)

    def test_mean_and_adjustment_are_rounded_together_once(self):
        # 1 / 2 + (2 - 2 / 2) / 2 = 0.5 + 0.5 = 1; rounded apart they would be 0 + 0.
        assert adjust([1], k=2, window_sum=2, window_actual=2, window=2) == ([1], False)

    def test_halves_go_to_the_even_neighbour(self):
        # 102.5 and 103.5
        assert adjust([205, 207], k=2, window_sum=0, window_actual=0, window=0) == ([102, 104], False)
        # The same with an adjustment of -1 / 2: 102 and 103 exactly; of 1: 103.5 and 104.5.
        assert adjust([205, 207], k=2, window_sum=2, window_actual=0, window=2) == ([102, 103], False)
        assert adjust([205, 207], k=2, window_sum=0, window_actual=2, window=2) == ([104, 104], False)

    def test_the_greatest_readings_do_not_overflow(self):
        # A day-long event of 5-minute readings, 60 days, the window a day before, all at the limit, history of it 0:
        # mean 10^8, adjustment 10^8.
        t = w = 288
        one = np.array([1])
        for cap in (None, 1000):
            result = adjusted_baseline(
                np.full((1, t), 60 * MAX_WH, dtype=np.int64),
                60 * one,
                0 * one,
                w * MAX_WH * one,
                one > 0,
                adjustment_intervals=w,
                cap_pct=cap,
            )
            assert result.baseline_wh.tolist() == [[2 * MAX_WH] * t]


def test_low_usage_arithmetic_does_not_overflow():
    usage = np.full((1, 120), 288 * MAX_WH, dtype=np.int64)
    chosen = select_days(usage, usage > 0, days=60, low_usage_pct=100, readmit=True)
    assert (chosen.selected.sum(), chosen.low_usage[0]) == (60, 0)


@given(st.integers(-(10**15), 10**15), st.integers(1, 10**6))
def test_rounding_is_that_of_exact_fractions(numerator, denominator):
    exact = round(Fraction(numerator, denominator))  # Python rounds fractions half to even
    assert round_half_even(np.array([numerator]), denominator).tolist() == [exact]
