"""Edits as readings: which of them counts when more is heard, and that doing it twice is doing it once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from vee_desk import (
    DAY,
    FIRST_DAY,
    a_block,
    a_window,
    after,
    edited,
    found,
    plain_days,
    some_spans,
    stamp,
    the_rules,
    worked,
)

from domain.readings import MISSING, Quality
from domain.validation import Check
from domain.vee import CORRECTION_REVISION, GAP_REVISION, Edits, join_columns, no_edits

TODAY = 28
ACTUAL, ESTIMATED = Quality.ACTUAL, Quality.ESTIMATED


def a_home_with_a_gap_and_a_spike():
    wh = plain_days()
    wh[0, TODAY, 10:13] = MISSING
    wh[0, TODAY, 3] = 9_000
    return a_block(wh)


def test_a_gap_is_filled_under_revision_0_and_a_wrong_reading_corrected_under_1():
    block = a_home_with_a_gap_and_a_spike()
    result = worked(block, a_window(block, TODAY, TODAY + 1))
    assert result.edits.revision.tolist() == [CORRECTION_REVISION, GAP_REVISION, GAP_REVISION, GAP_REVISION]
    readings = result.edits.readings(60)
    assert readings.quality.tolist() == [ESTIMATED] * 4
    assert readings.meters.tolist() == ["m0"]


@pytest.mark.parametrize(
    ("said", "wins"),
    [
        ("the reading at last, actual", True),
        ("an estimate of the source, lower", False),
        ("an estimate of the source, corrected", True),
    ],
)
def test_what_the_source_says_late_about_a_gap(said, wins):
    late = {
        "the reading at last, actual": stamp(1, ACTUAL, 0),
        "an estimate of the source, lower": stamp(400, ESTIMATED, 0),
        "an estimate of the source, corrected": stamp(1, ESTIMATED, 1),
    }[said]
    assert (late > stamp(511, ESTIMATED, GAP_REVISION)) == wins


@pytest.mark.parametrize(
    ("said", "wins"),
    [
        ("the same wrong reading once more", False),
        ("the correction", True),
        ("that it was right", True),
    ],
)
def test_what_the_source_says_late_about_a_reading_that_was_edited(said, wins):
    late = {
        "the same wrong reading once more": stamp(9_000, ACTUAL, 0),
        "the correction": stamp(1, ACTUAL, 1),
        "that it was right": stamp(9_000, ACTUAL, 1),
    }[said]
    assert (late > stamp(503, ESTIMATED, CORRECTION_REVISION)) == wins


def test_a_check_that_is_told_not_to_edit_only_reports():
    block = a_home_with_a_gap_and_a_spike()
    result = worked(block, a_window(block, TODAY, TODAY + 1), rules=the_rules(spike={"edit": False}))
    assert found(result)[Check.SPIKE] == 1
    assert result.edits.check.tolist() == [Check.GAP] * 3


def test_readings_that_the_source_has_confirmed_are_not_flagged():
    from domain.vee import process

    block = a_home_with_a_gap_and_a_spike()
    trusted = np.zeros(block.wh.shape, dtype=bool)
    trusted[0, TODAY, 3] = True
    window = a_window(block, TODAY, TODAY + 1)
    result = process(block, window, the_rules(), np.zeros(1, np.int64), some_spans(), trusted)
    assert found(result) == {Check.GAP: 3}


def test_counts_are_those_before_the_edits():
    wh = plain_days()
    wh[0, TODAY, 10:13] = MISSING
    estimated = np.zeros(wh.shape, dtype=bool)
    estimated[0, TODAY, :2] = True
    block = a_block(wh, estimated)
    result = worked(block, a_window(block, TODAY, TODAY + 1))
    assert (result.expected, result.actual[0], result.estimated[0], result.missing[0]) == (24, 19, 2, 3)


def test_a_register_span_beyond_the_window_conserves_over_both_days():
    # The register was read at noon before and at noon after; the gap goes over midnight into the second day.
    wh = plain_days()
    wh[0, TODAY, 22:], wh[0, TODAY + 1, :2] = MISSING, MISSING
    first, last = TODAY * DAY + 12, (TODAY + 1) * DAY + 12
    known = int(np.maximum(wh[0].reshape(-1)[first:last], 0).sum())
    spans = some_spans((first, 0), (last, known + 4_001))
    one = a_block(wh)
    result = worked(one, a_window(one, TODAY, TODAY + 1), spans=spans)
    two = after(one, result)
    then = worked(two, a_window(two, TODAY + 1, TODAY + 2), spans=spans)
    assert sum(edited(result).values()) + sum(edited(then).values()) == 4_001
    assert sorted(edited(result)) == [TODAY * DAY + 22, TODAY * DAY + 23]


def test_no_edits_are_columns_of_nothing():
    assert len(join_columns([no_edits(), no_edits()])) == 0
    assert len(no_edits().readings(60)) == 0
    assert isinstance(no_edits().take(np.zeros(0, dtype=bool)), Edits)


# --- properties --------------------------------------------------------------------------------------------


@given(st.integers(0, 2**32 - 1), st.sampled_from([60, 30, 15]))
def test_clean_days_have_nothing_to_find(seed, minutes):
    per_day = 1440 // minutes
    random = np.random.default_rng(seed)
    # Usage around a daily shape, with peaks of up to three times the usual: what homes do.
    wh = random.integers(50, 300, (2, 31, per_day)) + random.integers(0, 700, per_day)
    peaks = random.random(wh.shape) < 0.05
    wh = np.where(peaks, wh * 3, wh).astype(np.int32)
    names = np.array(["a", "b"], object)
    block = a_block(wh, minutes=minutes)
    assert block.meters.shape == names.shape
    result = worked(block, a_window(block, TODAY, 31))
    assert (len(result.findings), len(result.edits)) == (0, 0)


@st.composite
def troubled_homes(draw):
    """Homes with gaps, spikes, stuck registers and estimates of the source, and maybe reads of the register."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    wh = random.integers(100, 900, (2, 38, DAY)).astype(np.int32)
    for _ in range(draw(st.integers(0, 6))):
        meter, day, hour = random.integers(2), random.integers(20, 38), random.integers(DAY)
        length = int(random.integers(1, 40))
        flat = wh[meter].reshape(-1)
        span = slice(day * DAY + hour, day * DAY + hour + length)
        kind = draw(st.sampled_from(["gap", "spike", "limit", "stuck", "zero"]))
        if kind == "gap":
            flat[span] = MISSING
        elif kind in ("spike", "limit"):
            flat[day * DAY + hour] = 20_000 if kind == "spike" else 30_000
        else:
            flat[span] = 555 if kind == "stuck" else 0
    estimated = (random.random(wh.shape) < 0.02) & (wh != MISSING)
    spans = some_spans()
    if draw(st.booleans()):
        true = np.cumsum(np.maximum(wh[0].reshape(-1), 400))
        spans = some_spans(*((hour, int(true[hour - 1])) for hour in range(27 * DAY, 38 * DAY, 12)))
    return a_block(wh, estimated), spans


@given(troubled_homes())
def test_doing_it_again_changes_nothing(home):
    block, spans = home
    window = a_window(block, TODAY, 35)
    result = worked(block, window, spans=spans)
    again = worked(after(block, result), window, spans=spans)
    assert edited(again) == {}


@given(troubled_homes())
def test_edits_are_inside_the_window_and_the_bounds_and_change_what_was_missing_or_flagged(home):
    block, spans = home
    window = a_window(block, TODAY, 35)
    edits = worked(block, window, spans=spans).edits
    assert ((edits.slot >= (FIRST_DAY + TODAY) * DAY) & (edits.slot < (FIRST_DAY + 35) * DAY)).all()
    assert ((edits.wh >= 0) & (edits.wh <= 25_000)).all()
    assert ((edits.old_wh == MISSING) == (edits.check == Check.GAP)).all()
    assert ((edits.old_wh == MISSING) == (edits.revision == GAP_REVISION)).all()


@given(troubled_homes())
def test_a_home_alone_is_edited_as_among_others(home):
    block, spans = home
    window = a_window(block, TODAY, 35)
    whole = worked(block, window, spans=spans).edits
    alone = worked(block.take(slice(0, 1)), window, spans=spans).edits
    mine = whole.take(whole.meters == "m0")
    assert (mine.slot.tolist(), mine.wh.tolist()) == (alone.slot.tolist(), alone.wh.tolist())
