"""What is expected of homes before and while an event runs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from domain_builders import a_block, a_home, a_plan, a_programme, assert_equal_columns
from hypothesis import given, settings
from random_blocks import PLANS, neighbourhoods, random_block

from domain.certification import UNCERTIFIED, Finding, LoadBlock, certify, expected
from domain.readings import MISSING

PLAN = a_plan("kpx-max-4-of-5")  # one hour; three hours of adjustment window; ten days
FIVE_DAYS = [1000, 1200, 800, 1100, 900]

OF_THE_EVENT = Finding.EVENT_INCOMPLETE | Finding.EVENT_UNMEASURED | Finding.READINGS_ESTIMATED | Finding.USED_MORE


def expect_home(plan=PLAN, **home):
    return expected(plan, a_block(a_home(plan, **home)))


def with_event(plan, block, wh):
    changed = block.wh.copy()
    changed[:, 0, : plan.event_intervals] = wh
    return LoadBlock(block.meters, changed, block.estimated)


class TestByHand:
    def test_at_issue_the_baseline_is_the_mean_of_the_kept_days(self):
        # Without the 800 the other four average 4200 / 4 = 1050.
        result = expect_home(days=FIVE_DAYS, event=None, before=None)
        assert result.unadjusted_wh.tolist() == result.baseline_wh.tolist() == [[1050]]
        assert result.adjusted.tolist() == [False]
        assert result.findings.tolist() == [Finding.ADJUSTMENT_UNAVAILABLE]

    def test_once_the_adjustment_window_is_in_it_is_shifted(self):
        # 530 is 30 above the usual 500 in each of the three hours.
        result = expect_home(days=FIVE_DAYS, event=None, before=530)
        assert result.unadjusted_wh.tolist() == [[1050]]
        assert result.baseline_wh.tolist() == [[1080]]
        assert result.adjusted.tolist() == [True]
        assert result.findings.tolist() == [0]

    def test_half_an_adjustment_window_shifts_nothing(self):
        result = expect_home(days=FIVE_DAYS, event=None, before=[530, 530, None])
        assert result.baseline_wh.tolist() == [[1050]]
        assert result.adjusted.tolist() == [False]

    def test_a_rule_without_adjustment_adjusts_nothing_and_says_nothing_of_it(self):
        plan = a_plan(a_programme(days=2))
        result = expect_home(plan, days=[400, 600], event=None)
        assert result.baseline_wh.tolist() == [[500]]
        assert result.adjusted.tolist() == [False]
        assert result.findings.tolist() == [0]

    @pytest.mark.parametrize(
        ("home", "findings"),
        [
            ({"days": [1000, 1200, 800]}, Finding.HISTORY_INSUFFICIENT),
            (
                {"days": None, "days_before": None, "event": None, "before": None},
                Finding.HISTORY_INSUFFICIENT | Finding.NO_READINGS,
            ),
        ],
    )
    def test_without_history_there_is_no_baseline_and_never_one_of_zero(self, home, findings):
        result = expect_home(**home)
        assert result.unadjusted_wh.tolist() == result.baseline_wh.tolist() == [[MISSING]]
        assert result.adjusted.tolist() == [False]
        assert result.findings.tolist() == [findings]


@pytest.mark.parametrize("name", PLANS)
@settings(max_examples=25)
@given(neighbourhood=neighbourhoods())
def test_what_is_expected_before_the_event_is_what_is_certified_after_it(name, neighbourhood):
    plan = PLANS[name]
    block = random_block(plan, **neighbourhood)
    before = expected(plan, with_event(plan, block, MISSING))
    after = certify(plan, block)
    sure = after.certified
    assert before.baseline_wh[sure].tolist() == after.baseline_wh[sure].tolist()
    assert before.unadjusted_wh[sure].tolist() == after.unadjusted_wh[sure].tolist()
    assert before.findings[sure].tolist() == (after.findings[sure] & ~int(OF_THE_EVENT)).tolist()
    lacking = (before.findings & int(UNCERTIFIED)) != 0
    assert (before.baseline_wh[lacking] == MISSING).all()
    assert not (lacking & sure).any()


@settings(max_examples=25)
@given(neighbourhood=neighbourhoods())
def test_the_events_own_readings_change_nothing_of_what_is_expected(neighbourhood):
    plan = PLANS["capped"]
    block = random_block(plan, **neighbourhood)
    some = with_event(plan, block, 5)
    other = with_event(plan, block, np.arange(plan.event_intervals) * 10**6)
    assert_equal_columns(expected(plan, some), expected(plan, other))


def test_expected_takes_no_account_of_estimates_that_the_terms_refuse():
    plan = PLANS["actual readings only"]
    home = a_home(plan, days=1000, event=None)
    guessed = np.zeros((1, *home.shape), dtype=bool)
    guessed[0, 0, plan.event_intervals] = True  # one of the adjustment window
    accepting = replace(plan, terms=replace(plan.terms, accept_estimated=True))
    assert expected(plan, a_block(home, estimated=guessed)).adjusted.tolist() == [False]
    assert expected(accepting, a_block(home, estimated=guessed)).adjusted.tolist() == [True]
