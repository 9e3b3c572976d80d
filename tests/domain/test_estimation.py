"""Estimates against arithmetic by hand, and the register's difference kept to the last Wh."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from vee_desk import DAY, a_block, a_window, edited, found, plain_days, some_reads, some_spans, the_rules, worked

from domain.estimation import Method, share_out
from domain.readings import MISSING
from domain.registers import spans_between
from domain.validation import Check

TODAY = 28
NOON = TODAY * DAY


def done(wh, **kwargs):
    block = a_block(wh)
    return worked(block, a_window(block, TODAY, TODAY + 1), **kwargs)


def test_two_hours_are_a_straight_line():
    wh = plain_days()
    wh[0, TODAY, 9:13] = [600, MISSING, MISSING, 900]
    result = done(wh)
    assert edited(result) == {NOON + 10: 700, NOON + 11: 800}
    assert result.edits.method.tolist() == [Method.LINEAR] * 2


def test_a_straight_line_rounds_half_to_even():
    wh = plain_days()
    wh[0, TODAY, 9:12] = [600, MISSING, 601]  # 600.5
    wh[0, TODAY, 14:17] = [601, MISSING, 602]  # 601.5
    assert edited(done(wh)) == {NOON + 10: 600, NOON + 15: 602}


def test_a_straight_line_goes_over_midnight():
    wh = plain_days()
    wh[0, TODAY - 1, 23], wh[0, TODAY, 0], wh[0, TODAY, 1] = 100, MISSING, 300
    assert edited(done(wh)) == {NOON: 200}


def test_three_hours_are_the_mean_of_like_days():
    wh = plain_days()
    wh[0, TODAY, 10:13] = MISSING
    wh[0, [0, 7, 14, 21], 10] = [100, 200, 300, 401]  # 250.25
    wh[0, [0, 7, 14, 21], 11] = [100, 101, MISSING, MISSING]  # 100.5
    result = done(wh)
    assert edited(result) == {NOON + 10: 250, NOON + 11: 100, NOON + 12: 512}
    assert set(result.edits.method) == {Method.LIKE_DAYS}


def test_a_young_meter_takes_the_days_before():
    wh = plain_days()
    wh[0, : TODAY - 3] = MISSING
    wh[0, TODAY, 10:13] = MISSING
    wh[0, TODAY - 3 : TODAY, 10] = [100, 200, 301]  # 200.33
    result = done(wh)
    assert edited(result)[NOON + 10] == 200
    assert set(result.edits.method) == {Method.NEARBY_DAYS}


def test_where_there_is_nothing_to_go_by_the_gap_stays():
    wh = plain_days()
    wh[0, :TODAY] = MISSING
    wh[0, TODAY, 10:13] = MISSING
    result = done(wh)
    assert len(result.edits) == 0
    assert found(result) == {Check.GAP: 3, Check.NO_ESTIMATE: 3}


def test_what_is_wrong_is_neither_kept_nor_interpolated_from():
    wh = plain_days()
    wh[0, TODAY, 3] = 30_000
    wh[0, TODAY, 4] = MISSING
    wh[0, TODAY, [2, 5]] = [600, 900]
    result = done(wh)
    assert edited(result) == {NOON + 3: 700, NOON + 4: 800}
    assert result.edits.old_wh.tolist() == [30_000, MISSING]
    assert result.edits.check.tolist() == [Check.LIMIT, Check.GAP]


# --- the register ------------------------------------------------------------------------------------------


def test_estimates_are_scaled_to_what_the_register_counted():
    # The day without 10 to 13 h is 21 readings. Like days say 510, 511, 512 for those; the register 3,000 in all.
    wh = plain_days()
    rest = int(wh[0, TODAY].sum()) - 510 - 511 - 512
    wh[0, TODAY, 10:13] = MISSING
    result = done(wh, spans=some_spans((NOON, 50_000), (NOON + DAY, 50_000 + rest + 3_000)))
    # 3,000 x 510 / 1,533 = 998.04, x 511 = 1,000, x 512 = 1,001.96: the one Wh that is left goes to the last
    assert edited(result) == {NOON + 10: 998, NOON + 11: 1_000, NOON + 12: 1_002}
    assert set(result.edits.method) == {Method.REGISTER}
    assert found(result) == {Check.GAP: 3}


def test_a_gap_without_anything_to_go_by_is_shared_out_evenly():
    wh = plain_days()
    wh[0, :TODAY] = MISSING
    wh[0, TODAY, 10:13] = MISSING
    rest = int(wh[0, TODAY].sum()) + 3
    result = done(wh, spans=some_spans((NOON, 0), (NOON + DAY, rest + 301)))
    assert edited(result) == {NOON + 10: 101, NOON + 11: 100, NOON + 12: 100}


def test_a_register_that_counted_less_than_its_intervals_is_reported_and_nothing_scaled():
    wh = plain_days()
    wh[0, TODAY, 10:13] = MISSING
    rest = int(wh[0, TODAY].sum()) + 3
    result = done(wh, spans=some_spans((NOON, 0), (NOON + DAY, rest - 5_000)))
    assert edited(result) == {NOON + 10: 510, NOON + 11: 511, NOON + 12: 512}
    assert found(result) == {Check.GAP: 3, Check.SUM: 1}
    assert result.findings.value[result.findings.check == Check.SUM].tolist() == [-5_000]


def test_no_interval_gets_more_than_the_meter_can_count():
    wh = plain_days()
    wh[0, TODAY, 10] = MISSING
    rest = int(wh[0, TODAY].sum()) + 1
    result = done(wh, spans=some_spans((NOON, 0), (NOON + DAY, rest + 25_001)))
    assert edited(result) == {NOON + 10: 510}
    assert found(result) == {Check.GAP: 1, Check.SUM: 1}


@pytest.mark.parametrize(("off", "finds"), [(22, {}), (-22, {}), (24, {Check.SUM: 1}), (-24, {Check.SUM: 1})])
def test_complete_intervals_are_compared_with_the_register(off, finds):
    # The day's 24 readings are 13,757 Wh: 10 Wh and 1 per mille allow a difference of 10 + 13.
    wh = plain_days()
    assert int(wh[0, TODAY].sum()) == 13_757
    assert found(done(wh, spans=some_spans((NOON, 0), (NOON + DAY, 13_757 + off)))) == finds


def test_a_register_that_runs_backwards_is_reported_and_not_used():
    wh = plain_days()
    wh[0, TODAY, 10] = MISSING
    result = done(wh, spans=some_spans((NOON, 900), (NOON + DAY, 300)))
    assert edited(result) == {NOON + 10: 510}
    assert found(result) == {Check.GAP: 1, Check.REGISTER_BACKWARDS: 1}


def test_a_register_that_starts_anew_goes_on():
    rules = the_rules(register={"rollover_wh": 1_000_000})
    assert some_spans((0, 999_000), (24, 500), rules=rules).wh.tolist() == [1_500]
    assert some_spans((0, 10_000), (24, 500), rules=rules).wh.tolist() == [-9_500]  # 990,500 Wh in a day can't be


def test_of_two_reads_at_one_time_the_greater_counts():
    assert spans_between(some_reads((0, 5), (0, 7), (24, 9)), the_rules().register, 25_000).wh.tolist() == [2]


def test_a_spike_that_the_register_confirms_is_left_alone():
    wh = plain_days()
    wh[0, TODAY, 3] = 9_000
    total = int(wh[0, TODAY].sum())
    assert found(done(wh, spans=some_spans((NOON, 0), (NOON + DAY, total)))) == {}
    result = done(wh, spans=some_spans((NOON, 0), (NOON + DAY, total - 8_000)))
    assert edited(result) == {NOON + 3: 1_000}
    assert found(result) == {Check.SPIKE: 1}


@given(st.integers(0, 10**7), st.lists(st.one_of(st.just(MISSING), st.integers(0, 10**6)), min_size=1, max_size=300))
def test_shares_add_up_and_follow_the_weights(total, weights):
    shares = share_out(total, np.array(weights))
    assert int(shares.sum()) == total
    assert (shares >= 0).all()
    sure = [(w, s) for w, s in zip(weights, shares.tolist(), strict=True) if w != MISSING]
    assert all(a[1] <= b[1] + 1 for a in sure for b in sure if a[0] <= b[0])


@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 60),
    st.sampled_from([0, 3, 11]),
    st.integers(-3_000, 60_000),
    st.booleans(),
)
def test_a_gap_and_its_neighbours_are_what_the_register_counted(seed, holes, shift, more, spike):
    random = np.random.default_rng(seed)
    wh = random.integers(100, 900, (1, 31, DAY)).astype(np.int32)
    gaps = np.unique(random.integers(0, 3 * DAY, holes))
    flat = wh.reshape(-1)
    if spike:
        flat[NOON + 5] = 30_000
    truth = int(flat[NOON + shift : NOON + 2 * DAY].sum()) + more - (30_000 if spike else 0)
    flat[NOON + gaps] = MISSING
    block = a_block(wh)
    spans = some_spans((NOON + shift, 10**6), (NOON + 2 * DAY, 10**6 + truth))
    result = worked(block, a_window(block, TODAY, 31), spans=spans)
    made, scaled = edited(result), result.edits.method == Method.REGISTER
    inside = range(NOON + shift, NOON + 2 * DAY)
    assert set((result.edits.slot[scaled] - block.days[0] * DAY).tolist()) <= set(inside)
    if scaled.any():
        off = truth - sum(made.get(hour, int(flat[hour])) for hour in inside)
        # Where the register is short by no more than the tolerance, nothing is left for the gap.
        assert off == 0 or (off < 0 and not any(made[hour] for hour in inside if hour in made))
