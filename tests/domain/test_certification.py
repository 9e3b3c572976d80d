from datetime import date, timedelta

import numpy as np
import pytest
from domain_builders import (
    NEW_YORK,
    a_block,
    a_home,
    a_plan,
    a_programme,
    an_event,
    assert_equal_reductions,
    part_of,
    programme_data,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.certification import (
    EVIDENCE,
    FINDINGS,
    UNCERTIFIED,
    Finding,
    LoadBlock,
    Reductions,
    certify,
    empty_block,
    join,
)
from domain.programmes import parse_programme
from domain.readings import MISSING

PLAN = a_plan("kpx-max-4-of-5")  # one hour; three hours of adjustment window; ten days
LONG = a_plan("kpx-max-4-of-5", an_event(hours=10))
FIVE_DAYS = [1000, 1200, 800, 1100, 900]


def certify_home(plan=PLAN, estimated=None, **home):
    return certify(plan, a_block(a_home(plan, **home), estimated=estimated))


def findings(reductions, home=0):
    return {finding for finding in Finding if reductions.findings[home] & finding}


def evidence(reductions, name, home=0):
    return int(reductions.evidence[home, EVIDENCE.index(name)])


def days_kept(reductions, plan=PLAN):
    return [plan.days[n] for n in np.flatnonzero(reductions.kept_days[0])]


class TestGoldenBaselines:
    def test_max_4_of_5_by_hand(self):
        # Without the 800 the other four average 4200 / 4 = 1050.
        result = certify_home(days=FIVE_DAYS, event=700)
        assert result.baseline_wh.tolist() == result.unadjusted_wh.tolist() == [[1050]]
        assert result.reduction_wh.tolist() == [[350]]
        assert findings(result) == set()
        assert days_kept(result) == [PLAN.days[n] for n in (0, 1, 3, 4)]

    @pytest.mark.parametrize(("before", "baseline"), [(530, 1080), (470, 1020), ([500, 500, 590], 1080)])
    def test_max_4_of_5_with_the_adjustment_by_hand(self, before, baseline):
        # 30 Wh above or below the usual 500 on average over the three hours.
        result = certify_home(days=FIVE_DAYS, before=before)
        assert result.unadjusted_wh.tolist() == [[1050]]
        assert result.baseline_wh.tolist() == [[baseline]]

    def test_the_adjustment_compares_with_the_kept_days_only(self):
        # The dropped third day's 5000 doesn't count; the others' mean is 2040 / 4 = 510, and 530 is 20 more.
        result = certify_home(days=FIVE_DAYS, days_before=[500, 510, 5000, 520, 510], before=530)
        assert result.baseline_wh.tolist() == [[1070]]

    def test_mid_6_of_10_by_hand(self):
        # Without 1000, 990 and 910, 920: 930 + 940 + 950 + 960 + 970 + 980 = 5730, over 6 is 955.
        plan = a_plan("kpx-mid-6-of-10")
        result = certify_home(plan, days=[950, 910, 1000, 930, 970, 920, 990, 940, 980, 960], event=1000)
        assert result.baseline_wh.tolist() == [[955]]
        assert result.reduction_wh.tolist() == [[-45]]

    def test_high_4_of_5_by_hand(self):
        # The first five average 800; 100 is below 25 % of that, so the sixth day takes its place. Of 1000, 1200, 800,
        # 900 and 1100 the 800 is dropped: 4200 / 4 = 1050.
        plan = a_plan("pjm-high-4-of-5", an_event(zone=NEW_YORK))
        result = certify_home(plan, days=[1000, 1200, 100, 800, 900, 1100])
        assert result.baseline_wh.tolist() == [[1050]]
        assert findings(result) == {Finding.LOW_USAGE_PASSED}

    def test_high_2_of_3_on_a_saturday_by_hand(self):
        plan = a_plan("pjm-high-4-of-5", an_event("2025-07-12 17:00", zone=NEW_YORK))
        result = certify_home(plan, days=[400, 300, 501])
        assert result.baseline_wh.tolist() == [[450]]  # (400 + 501) / 2 = 450.5, to the even 450

    def test_days_are_ranked_over_the_whole_window_and_averaged_by_interval(self):
        # Sums: 300, 310, 320, 330, 290. The last goes, though its first hour is the highest.
        plan = a_plan("kpx-max-4-of-5", an_event(hours=2))
        days = [[100, 200], [110, 200], [120, 200], [130, 200], [280, 10]]
        result = certify_home(plan, days=days)
        assert result.baseline_wh.tolist() == [[115, 200]]  # 460 / 4, 800 / 4

    def test_four_days_make_a_max_4_of_5_and_three_do_not(self):
        assert certify_home(days=[1000, 1200, 800, 1100]).baseline_wh.tolist() == [[1025]]  # 4100 / 4
        result = certify_home(days=[1000, 1200, 800])
        assert findings(result) == {Finding.HISTORY_INSUFFICIENT}
        assert evidence(result, "usable_days") == 3

    def test_low_days_come_back_in_korea_and_not_at_pjm(self):
        # The average of 1000, 1000, 1000, 100 and 100 is 640; both 100 are below 75 % and below 25 % of it.
        days = [1000, 1000, 1000, 100, 100]
        korea = certify_home(days=days)
        assert findings(korea) == {Finding.LOW_USAGE_READMITTED}
        assert korea.baseline_wh.tolist() == [[775]]  # the older 100 is dropped: 3100 / 4
        assert days_kept(korea) == list(PLAN.days[:4])
        pjm = certify_home(a_plan("pjm-high-4-of-5", an_event(zone=NEW_YORK)), days=days)
        assert findings(pjm) == {Finding.HISTORY_INSUFFICIENT}


class TestMissingIsNeverZero:
    def test_an_uncertified_home_has_no_energies_at_all(self):
        result = certify_home(days=[1000, 1000])
        for energies in (result.baseline_wh, result.unadjusted_wh, result.actual_wh):
            assert energies.tolist() == [[MISSING]]
        assert not result.kept_days.any()
        assert not result.certified.any()
        assert result.reduction_wh.tolist() == [[0]]

    @pytest.mark.parametrize(
        ("home", "finding"),
        [
            ({"days": None}, Finding.HISTORY_INSUFFICIENT),
            ({"event": None}, Finding.EVENT_INCOMPLETE),
            ({"event": None, "before": None, "days": None, "days_before": None}, Finding.NO_READINGS),
        ],
    )
    def test_what_keeps_a_home_from_its_certificate_is_said(self, home, finding):
        result = certify_home(**home)
        assert finding in findings(result)
        assert result.findings[0] & UNCERTIFIED
        assert result.baseline_wh.tolist() == [[MISSING]]

    def test_a_day_without_a_reading_in_the_event_window_is_not_a_day_of_zero(self):
        # With the gap as zero the mean of the best four would be 1000 as well, so the sixth day differs: 5200 / 4.
        result = certify_home(days=[1000, 1000, None, 1000, 1000, 2200])
        assert result.baseline_wh.tolist() == [[1300]]

    def test_a_day_without_a_reading_before_the_event_is_passed_over(self):
        result = certify_home(days_before=[500, [500, None, 500], 500, 500, 500, 500])
        assert PLAN.days[1] not in days_kept(result)
        assert findings(result) == {Finding.DAYS_INCOMPLETE}

    def test_an_unmeasured_part_of_the_event_counts_as_no_reduction(self):
        # Nine of ten hours measured, and 90 % suffice: 9 x (1000 - 700).
        result = certify_home(LONG, event=[700] * 4 + [None] + [700] * 5, days=1000)
        assert findings(result) == {Finding.EVENT_UNMEASURED}
        assert result.actual_wh[0].tolist() == [700] * 4 + [MISSING] + [700] * 5
        assert result.baseline_wh[0].tolist() == [1000] * 10
        assert result.reduction_wh[0].tolist() == [300] * 4 + [0] + [300] * 5
        assert evidence(result, "missing_intervals") == 1

    def test_an_event_measured_too_little_is_not_certified(self):
        result = certify_home(LONG, event=[None, None] + [700] * 8)
        assert findings(result) == {Finding.EVENT_INCOMPLETE}
        assert result.actual_wh[0].tolist() == [MISSING] * 10
        assert evidence(result, "missing_intervals") == 2

    def test_a_home_that_used_nothing_is_certified_for_it(self):
        assert certify_home(event=0).reduction_wh.tolist() == [[1000]]

    def test_a_home_that_never_uses_anything_has_a_baseline_of_zero(self):
        result = certify_home(event=0, days=0, before=0, days_before=0)
        assert findings(result) == set()
        assert result.baseline_wh.tolist() == [[0]]


def capped(**changes):
    return a_plan(parse_programme(programme_data(**changes)))  # the cap is 20 %


PROVOKED = {
    Finding.NO_READINGS: lambda: certify_home(event=None, before=None, days=None, days_before=None),
    Finding.HISTORY_INSUFFICIENT: lambda: certify_home(days=[1000] * 3),
    Finding.EVENT_INCOMPLETE: lambda: certify_home(event=None),
    Finding.EVENT_UNMEASURED: lambda: certify_home(LONG, event=[700] * 9 + [None]),
    Finding.DAYS_INCOMPLETE: lambda: certify_home(days=[1000, None, 1000, 1000, 1000, 1000]),
    Finding.LOW_USAGE_PASSED: lambda: certify_home(days=[1000, 10, 1000, 1000, 1000, 1000]),
    Finding.LOW_USAGE_READMITTED: lambda: certify_home(days=[1000, 10, 1000, 1000, 1000]),
    Finding.ADJUSTMENT_UNAVAILABLE: lambda: certify_home(before=[500, None, 500]),
    Finding.ADJUSTMENT_CAPPED: lambda: certify_home(capped(), before=900),
    Finding.READINGS_ESTIMATED: lambda: certify_home(estimated=np.ones((1, *PLAN.slots.shape), bool)),
    Finding.USED_MORE: lambda: certify_home(event=1001),
}


class TestFindings:
    def test_every_finding_has_a_code_and_a_sentence(self):
        assert set(FINDINGS) == set(PROVOKED) == set(Finding)
        codes = [code for code, _ in FINDINGS.values()]
        assert len(set(codes)) == len(codes)
        assert all(code.count(".") == 1 and code == code.lower() for code in codes)

    @pytest.mark.parametrize("finding", [f for f in Finding if f is not Finding.NO_READINGS])
    def test_each_finding_is_found_alone(self, finding):
        assert findings(PROVOKED[finding]()) == {finding}

    def test_a_home_without_readings_lacks_history_and_event_too(self):
        assert findings(PROVOKED[Finding.NO_READINGS]()) == {
            Finding.NO_READINGS,
            Finding.HISTORY_INSUFFICIENT,
            Finding.EVENT_INCOMPLETE,
        }

    def test_an_uncertified_home_has_no_finding_about_a_baseline(self):
        result = certify_home(event=None, before=None, days=[1000, None, 10, 1000, 1000, 1000, 1000])
        assert findings(result) == {Finding.EVENT_INCOMPLETE}

    def test_counts_stand_behind_the_findings(self):
        result = certify_home(days=[1000, None, 10, 1000, 20, 1000])
        # Three good days and two low ones; the day without event readings still has its morning.
        assert evidence(result, "usable_days") == 5
        assert evidence(result, "readmitted_days") == 2
        assert evidence(result, "low_usage_days") == 0

    def test_a_day_without_any_reading_is_no_incomplete_day(self):
        result = certify_home(days=[1000, None, 1000, 1000, 1000, 1000], days_before=[500, None, 500, 500, 500, 500])
        assert findings(result) == set()

    def test_a_gap_beyond_the_last_day_taken_is_nobodys_concern(self):
        assert findings(certify_home(days=[1000] * 5 + [None] * 5)) == set()

    def test_using_as_much_as_the_baseline_is_not_more(self):
        assert findings(certify_home(event=1000)) == set()

    def test_more_usage_is_judged_over_the_whole_event(self):
        assert findings(certify_home(LONG, event=[1100] * 5 + [900] * 5)) == set()
        assert findings(certify_home(LONG, event=[1100] * 6 + [900] * 4)) == {Finding.USED_MORE}

    def test_without_an_adjustment_none_can_be_unavailable(self):
        assert findings(certify_home(a_plan(a_programme(days=3)))) == set()


class TestAdjustmentInUse:
    def test_an_unadjustable_day_keeps_the_plain_baseline(self):
        result = certify_home(days=FIVE_DAYS, before=[9000, None, 9000])
        assert result.baseline_wh.tolist() == result.unadjusted_wh.tolist() == [[1050]]

    @pytest.mark.parametrize(("before", "baseline"), [(900, 1200), (0, 800)])
    def test_the_cap_limits_both_ways(self, before, baseline):
        # 20 % of 1000 is 200.
        result = certify_home(capped(), before=before)
        assert result.baseline_wh.tolist() == [[baseline]]
        assert result.unadjusted_wh.tolist() == [[1000]]
        assert findings(result) == {Finding.ADJUSTMENT_CAPPED}

    def test_a_baseline_stops_at_zero(self):
        result = certify_home(days=100, event=0, before=0)  # 100 less 500
        assert result.baseline_wh.tolist() == [[0]]


def estimates_at(plan, *places):
    """Estimated readings at (row, column), None for all of a row."""
    estimated = np.zeros((1, *plan.slots.shape), bool)
    for row, column in places:
        estimated[0, row, slice(None) if column is None else column] = True
    return estimated


class TestEstimates:
    @pytest.mark.parametrize(
        ("place", "used"),
        [((0, 0), True), ((0, 1), True), ((1, 0), True), ((1, 3), True), ((3, 0), False), ((9, None), False)],
    )
    def test_estimates_are_reported_where_they_were_used(self, place, used):
        # Day 3 is dropped as the lowest; day 9 is beyond the five taken.
        result = certify_home(days=FIVE_DAYS, estimated=estimates_at(PLAN, place))
        assert (Finding.READINGS_ESTIMATED in findings(result)) == used
        assert evidence(result, "estimated_intervals") == int(used)

    def test_estimates_before_the_event_are_not_used_when_the_day_cannot_be_adjusted(self):
        result = certify_home(before=[500, None, 500], estimated=estimates_at(PLAN, (0, 1)))
        assert findings(result) == {Finding.ADJUSTMENT_UNAVAILABLE}

    def test_a_gap_marked_as_estimated_is_a_gap(self):
        result = certify_home(LONG, event=[None] + [700] * 9, estimated=estimates_at(LONG, (0, 0)))
        assert findings(result) == {Finding.EVENT_UNMEASURED}

    def test_a_programme_may_take_estimates_for_missing(self):
        plan = a_plan(parse_programme(programme_data(**{"terms[0].accept_estimated": False})), an_event(hours=10))
        in_event = certify_home(plan, estimated=estimates_at(plan, (0, 0)))
        assert findings(in_event) == {Finding.EVENT_UNMEASURED}
        assert in_event.actual_wh[0].tolist() == [MISSING] + [700] * 9
        in_history = certify_home(plan, estimated=estimates_at(plan, (1, 0)))
        assert findings(in_history) == {Finding.DAYS_INCOMPLETE}
        assert not in_history.kept_days[0, 0]
        before = certify_home(plan, estimated=estimates_at(plan, (0, 10)))
        assert findings(before) == {Finding.ADJUSTMENT_UNAVAILABLE}
        assert evidence(before, "estimated_intervals") == 0


def mixed_block(seed, homes=9, plan=PLAN):
    """Homes of every kind: good, gappy, empty, estimated."""
    random = np.random.default_rng(seed)
    shape = (homes, *plan.slots.shape)
    wh = random.integers(0, 1500, shape)
    gaps = random.random(shape) < random.choice([0, 0.02, 0.3, 1], homes)[:, None, None]
    return LoadBlock(
        np.array([f"m{n:03d}" for n in range(homes)], dtype=object),
        np.where(gaps, MISSING, wh).astype(np.int32),
        random.random(shape) < 0.05,
    )


class TestAnySplitGivesTheSame:
    @settings(max_examples=40)
    @given(seed=st.integers(0, 2**32 - 1), task=st.lists(st.integers(0, 3), min_size=9, max_size=9), data=st.data())
    def test_tasks_joined_in_any_order_equal_one_task(self, seed, task, data):
        block = mixed_block(seed)
        parts = [certify(PLAN, part_of(block, np.array(task) == n)) for n in range(4)]  # some may be empty
        shuffled = data.draw(st.permutations(parts))
        assert_equal_reductions(join(shuffled, PLAN), certify(PLAN, block))

    @settings(max_examples=20)
    @given(seed=st.integers(0, 2**32 - 1), order=st.permutations(range(9)))
    def test_the_order_of_meters_plays_no_part(self, seed, order):
        block = mixed_block(seed)
        shuffled = certify(PLAN, part_of(block, np.array(order)))
        assert_equal_reductions(join([shuffled], PLAN), certify(PLAN, block))

    def test_names_are_ordered_by_code_point_however_long(self):
        names = ["a", "B", "a10", "a9", "é", "meter-with-a-long-name"]
        parts = []
        for name in names:
            home = a_block(a_home(PLAN))
            parts.append(certify(PLAN, LoadBlock(np.array([name], dtype=object), home.wh, None)))
        assert join(parts, PLAN).meters.tolist() == sorted(names)

    def test_nothing_joined_is_no_meters(self):
        assert len(join([], PLAN)) == 0
        assert len(join([certify(PLAN, empty_block(PLAN))] * 3, PLAN)) == 0

    def test_certifying_leaves_the_readings_alone(self):
        block = mixed_block(1)
        wh, estimated = block.wh.copy(), block.estimated.copy()
        certify(PLAN, block)
        assert (block.wh == wh).all()
        assert (block.estimated == estimated).all()


class TestEmptyPlansAndBlocks:
    NO_DAYS = a_plan(event_days=[date(2025, 7, 9) - timedelta(days=n) for n in range(40)])

    @pytest.mark.parametrize("plan", [PLAN, LONG, NO_DAYS, a_plan(a_programme(days=3))])
    def test_no_meters_give_empty_columns_of_the_right_types(self, plan):
        result = certify(plan, empty_block(plan))
        one = certify(plan, a_block(a_home(plan)))
        for name in Reductions.__dataclass_fields__:
            empty, full = getattr(result, name), getattr(one, name)
            assert empty.shape == (0, *full.shape[1:])
            assert empty.dtype == full.dtype
        assert result.reduction_wh.shape == (0, plan.event_intervals)

    def test_an_event_without_a_single_eligible_day_certifies_nobody(self):
        estimated = np.ones((1, *self.NO_DAYS.slots.shape), bool)
        for marks in (None, estimated):
            result = certify_home(self.NO_DAYS, estimated=marks)
            assert findings(result) == {Finding.HISTORY_INSUFFICIENT}
            assert result.kept_days.shape == (1, 0)
            assert result.baseline_wh.tolist() == [[MISSING]]
