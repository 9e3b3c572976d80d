"""Screening: golden ratios by hand and against a plain count of certificates; the choice of proxy days."""

from __future__ import annotations

import copy
import tomllib
from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from fractions import Fraction
from math import isclose, sqrt
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from domain_builders import NEW_YORK, ROOT, SEOUL, a_programme, built_in, programme_data

from domain.certification import LoadBlock, certify
from domain.errors import NegawattError
from domain.intervals import slot_start
from domain.plans import make_plan
from domain.programmes import Programme, parse_programme
from domain.readings import MAX_WH, MISSING
from domain.screening import SCREENING_FINDINGS, ScreeningFinding, comparable, join_screened, screen
from domain.screening_plan import Candidate, ScreeningPlan, Window, find_candidates, make_screening_plan, own_rule
from domain.screening_rules import InvalidScreeningRulesError, ScreeningRules, parse_screening_rules

FRIDAY = date(2025, 9, 26)
"""No Korean holiday lies in the five weeks before it."""

EVENING = Window(time(17), 60)
RULES = ScreeningRules("test", "for tests", limit_pct=20, bias_limit_pct=10, days=10, min_days=10)
STANDARD = ROOT / "negawatt" / "rules" / "screening-standard.toml"

Usage = Callable[[datetime], int]


def mean_of(days: int, **more: object) -> Programme:
    return a_programme(**{"days": days, "min_days": days, "search_days": 20, "label": f"mean of {days}"} | more)


def a_screening(
    *programmes: Programme,
    window: Window = EVENING,
    minutes: int = 60,
    rules: ScreeningRules = RULES,
    last_day: date = FRIDAY,
    first_day: date = date(2025, 1, 1),
    **days: object,
) -> ScreeningPlan:
    """The first programme's rule beside those of the others."""
    own = programmes[0] if programmes else mean_of(4)
    rule = own_rule(own, own.terms_on(last_day), "weekday")
    candidates = find_candidates(own, rule, programmes[1:], last_day, minutes)
    return make_screening_plan(
        own, candidates, window, minutes, rules, first_day=first_day, last_day=last_day, **days
    )  # type: ignore[arg-type]


def homes(plan: ScreeningPlan, *usages: Usage) -> LoadBlock:
    """Homes that use in each interval what their function says of its local start."""
    zone = plan.programme.zoneinfo
    starts = [slot_start(int(slot), plan.interval_minutes).astimezone(zone) for slot in plan.slots]
    wh = np.array([[[usage(start) for start in starts]] for usage in usages], dtype=np.int32)
    return LoadBlock(np.array([f"m{n}" for n in range(len(usages))], dtype=object), wh, None)


def by_turns(one: int, other: int) -> Usage:
    """One amount and another, weekday by weekday."""
    return lambda start: (one, other)[int(np.busday_count("2025-01-01", start.date())) % 2]


def codes(findings: int) -> list[str]:
    return [code for bit, (code, _) in SCREENING_FINDINGS.items() if findings & bit]


# --- golden values ------------------------------------------------------------------------------------------


def test_a_home_that_is_always_the_same_has_no_error_and_keeps_its_programmes_rule():
    plan = a_screening(built_in("kpx-max-4-of-5"), built_in("kpx-mid-6-of-10"))
    found = screen(plan, homes(plan, lambda start: 700))
    assert found.rrmse.tolist() == found.bias.tolist() == found.variability.tolist() == [[0, 0, 0, 0]]
    assert (found.best.tolist(), found.days.tolist(), found.actual_wh.tolist()) == ([0], [10], [7000])
    assert found.fits.all()
    assert codes(found.findings[0]) == []


def test_a_home_that_alternates_is_off_by_half_the_difference():
    """1000 and 2000 Wh: the mean of four days is always 1500, 500 too much or too little of 1500: a third."""
    plan = a_screening(mean_of(4))
    found = screen(plan, homes(plan, by_turns(1000, 2000)))
    assert found.actual_wh.tolist() == [15_000]
    assert found.error_wh.tolist() == [[0]]
    assert found.rrmse.tolist() == found.variability.tolist() == [[500 / 1500]]
    assert codes(found.findings[0]) == ["baseline.poor_fit"]
    assert not found.best_fits[0]


def test_the_higher_days_of_a_home_that_alternates_are_too_high_on_average():
    """High 2 of 4 is 2000 each day: 0 or 1000 too much. Mean 500, mean square 500,000, usage 1500."""
    high = mean_of(4, drop_lowest=2)
    plan = a_screening(high)
    found = screen(plan, homes(plan, by_turns(1000, 2000)))
    assert found.error_wh.tolist() == [[5000]]
    assert found.bias.tolist() == [[1 / 3]]
    assert isclose(found.rrmse[0, 0], sqrt(500_000) / 1500)
    assert isclose(found.variability[0, 0], 1 / 3)  # 2/9 = 1/9 + 1/9
    assert codes(found.findings[0]) == ["baseline.poor_fit", "baseline.biased"]


def test_the_best_rule_is_that_of_least_error_and_its_bias_counts():
    plan = a_screening(mean_of(4, drop_lowest=2), mean_of(2))
    found = screen(plan, homes(plan, by_turns(1000, 2000)))
    assert [one.label for one in plan.candidates] == ["mean of 4", "mean of 2"]
    assert found.best.tolist() == [1]
    assert found.rrmse[0, 1] == 1 / 3
    assert codes(found.findings[0]) == ["baseline.poor_fit"]


@pytest.mark.parametrize(("low", "high", "fits"), [(800, 1200, True), (799, 1201, False)])
def test_the_limit_itself_still_fits(low, high, fits):
    """200 of 1000 is 20 % to the last digit."""
    plan = a_screening(mean_of(4))
    assert screen(plan, homes(plan, by_turns(low, high))).fits.tolist() == [[fits]]


@pytest.mark.parametrize(("used", "biased"), [(1000, False), (999, True)])
def test_a_bias_is_reported_beyond_its_limit(used, biased):
    """1100 Wh on every day before the one proxy: too high by 10 % where it uses 1000."""
    rules = replace(RULES, days=1, min_days=1)
    plan = a_screening(mean_of(4), rules=rules)
    found = screen(plan, homes(plan, lambda start: used if start.date() == FRIDAY else 1100))
    assert (codes(found.findings[0]) == ["baseline.biased"]) == biased
    assert found.best_fits[0]


def test_the_adjustment_follows_a_day_and_is_compared_with_going_without():
    """A home that uses 300 more on odd days, morning and evening alike: the adjustment foretells it exactly."""
    adjusted = mean_of(
        4, adjustment={"kind": "symmetric-additive", "from_minutes_before": 240, "to_minutes_before": 60}
    )
    plan = a_screening(adjusted)
    found = screen(plan, homes(plan, by_turns(850, 1150)))
    assert [one.label for one in plan.candidates] == ["mean of 4", "mean of 4, unadjusted"]
    assert found.rrmse.tolist() == [[0.0, 0.15]]
    assert found.best.tolist() == [0]


def test_fine_readings_are_compared_hour_by_hour():
    """5 minutes by turns of 0 and 200 Wh are 1200 Wh an hour every day; no single interval is like its mean."""
    plan = a_screening(mean_of(4), window=Window(time(17), 120), minutes=5)
    noise = homes(plan, lambda start: 200 * ((start.minute // 5 + start.toordinal()) % 2))
    found = screen(plan, noise)
    assert (plan.block_minutes, plan.blocks) == (60, 2)
    assert found.actual_wh.tolist() == [10 * 2 * 1200]
    assert found.rrmse.tolist() == [[0.0]]


@pytest.mark.parametrize(("minutes", "block"), [(60, 60), (180, 60), (90, 30), (45, 15), (20, 20)])
def test_blocks_divide_the_window_and_the_hour(minutes, block):
    assert a_screening(mean_of(4), window=Window(time(17), minutes), minutes=5).block_minutes == block


def test_a_home_without_usage_has_no_relative_error():
    plan = a_screening(mean_of(4))
    found = screen(plan, homes(plan, lambda start: 0))
    assert np.isnan(found.rrmse).all()
    assert codes(found.findings[0]) == ["baseline.no_usage"]
    assert not found.fits.any()


# --- evidence -----------------------------------------------------------------------------------------------


def test_a_day_with_a_missing_reading_does_not_count():
    plan = a_screening(mean_of(4), window=Window(time(17), 120), rules=replace(RULES, min_days=8))
    lost = date(2025, 9, 24)
    found = screen(plan, homes(plan, lambda start: MISSING if start.date() == lost and start.hour == 18 else 500))
    assert found.days.tolist() == [9]
    assert found.actual_wh.tolist() == [9 * 1000]
    assert found.rrmse.tolist() == [[0.0]]


def test_too_few_days_say_nothing():
    plan = a_screening(mean_of(4))
    found = screen(
        plan,
        homes(plan, lambda start: MISSING if start.date() == FRIDAY else 500, lambda start: MISSING),
    )
    assert [codes(bits) for bits in found.findings] == [["baseline.few_days"]] * 2
    assert (found.best.tolist(), found.days.tolist()) == ([-1, -1], [0, 0])
    assert found.own_days.tolist() == [[9], [0]]
    assert np.isnan(found.rrmse).all()


def test_rules_are_compared_on_the_days_that_both_have():
    """With readings of twelve days the mean of four has eight proxies, the mean of nine three.

    The fifth day is high. On the last three it is in no mean of four any more, and in each mean of nine:
    (8 x 500 + 900) / 9 is 544, 44 too much on each of them.
    """
    plan = a_screening(mean_of(4), mean_of(9), rules=replace(RULES, min_days=3))
    twelve = sorted(plan_days(plan))[-12:]
    usage = dict.fromkeys(twelve, 500) | {twelve[4]: 900}
    found = screen(plan, homes(plan, lambda start: usage.get(start.date(), MISSING)))
    assert found.own_days.tolist() == [[8, 3]]
    assert (found.days.tolist(), found.actual_wh.tolist()) == ([3], [1500])
    assert found.error_wh.tolist() == [[0, 3 * 44]]
    assert found.rrmse.tolist() == [[0, 44 / 500]]


def plan_days(plan: ScreeningPlan) -> set[date]:
    return {slot_start(int(slot), 60).astimezone(plan.programme.zoneinfo).date() for slot in plan.slots}


def test_a_rule_with_too_few_days_is_left_out_and_does_not_shorten_the_others():
    plan = a_screening(mean_of(4), mean_of(9), rules=replace(RULES, min_days=5))
    twelve = sorted(plan_days(plan))[-12:]
    found = screen(plan, homes(plan, lambda start: 500 if start.date() in twelve else MISSING))
    assert found.days.tolist() == [8]
    assert found.rrmse[0, 0] == 0
    assert np.isnan(found.rrmse[0, 1])


def test_of_rules_that_share_too_few_days_the_one_with_fewest_is_left_out():
    there = np.array([[[1, 1, 1, 0, 0], [0, 0, 1, 1, 0], [1, 1, 1, 1, 0]]], dtype=bool)
    compared, common = comparable(there, 2)
    assert compared.tolist() == [[True, False, True]]
    assert common.tolist() == [[True, True, True, False, False]]


def test_of_rules_with_as_many_days_the_last_is_left_out():
    there = np.array([[[1, 1, 0, 0], [0, 0, 1, 1]]], dtype=bool)
    assert comparable(there, 2)[0].tolist() == [[True, False]]


def test_estimates_count_where_the_programme_accepts_them_and_nowhere_else():
    data = programme_data(**{"terms[0].baselines": [
        {"label": "m", "method": "trimmed-mean", "day_types": ["weekday"], "days": 4, "look_back_days": 60}
    ]})  # fmt: skip
    for accepts, days in ((True, [10]), (False, [0])):
        data["terms"][0]["accept_estimated"] = accepts
        plan = a_screening(parse_programme(copy.deepcopy(data)))
        block = homes(plan, lambda start: 500)
        estimated = np.zeros(block.wh.shape, bool)
        estimated[0, 0, -1] = True  # the last proxy's own window
        found = screen(plan, LoadBlock(block.meters, block.wh, estimated))
        assert found.days.tolist() == days


def test_meters_are_independent_of_one_another():
    plan = a_screening(built_in("kpx-max-4-of-5"), built_in("kpx-mid-6-of-10"))
    random = np.random.default_rng(3)
    wh = random.integers(0, 3000, (7, 1, len(plan.slots))).astype(np.int32)
    wh[random.random(wh.shape) < 0.01] = MISSING
    meters = np.array(list("abcdefg"), dtype=object)
    whole = screen(plan, LoadBlock(meters, wh, None))
    parts = [
        screen(plan, LoadBlock(meters[rows], wh[rows], None)) for rows in (slice(4, 7), slice(0, 0), slice(0, 4))
    ]
    joined = join_screened(parts, plan)
    for name in whole.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(joined, name), getattr(whole, name), err_msg=name)
    assert len(join_screened([], plan)) == 0


def test_squares_of_errors_may_pass_64_bits():
    """0 and 1.2 GWh an hour by turns: 600 MWh off in each of 30 hours, whose squares add up to 1.08e19."""
    plan = a_screening(mean_of(4), window=Window(time(16), 180), minutes=5)
    found = screen(plan, homes(plan, by_turns(0, MAX_WH)))
    assert found.rrmse.tolist() == [[1.0]]
    assert codes(found.findings[0]) == ["baseline.poor_fit"]


def test_results_are_those_of_each_proxys_certificate_counted_one_by_one():
    rules = replace(RULES, min_days=3)
    plan = a_screening(
        built_in("kpx-max-4-of-5"), built_in("kpx-mid-6-of-10"), minutes=5, window=Window(time(17), 120), rules=rules
    )
    random = np.random.default_rng(7)
    wh = random.integers(0, 3000, (5, 1, len(plan.slots))).astype(np.int32)
    wh[random.random(wh.shape) < 0.002] = MISSING
    meters = np.array(list("abcde"), dtype=object)
    found = screen(plan, LoadBlock(meters, wh, None))
    assert (found.days >= 3).all()
    for row in range(5):
        errors = [errors_by_hand(plan, candidate, wh[row, 0]) for candidate in plan.candidates]
        compared = [c for c in range(4) if len(errors[c]) >= 3]
        common = set.intersection(*(set(errors[c]) for c in compared))
        assert found.days[row] == len(common)
        for c in compared:
            pairs = [pair for day in common for pair in errors[c][day]]
            actual = sum(used for used, _ in pairs)
            square = Fraction(sum(error * error for _, error in pairs), len(pairs))
            assert found.error_wh[row, c] == sum(error for _, error in pairs)
            assert isclose(found.bias[row, c], sum(error for _, error in pairs) / actual, abs_tol=1e-15)
            assert isclose(found.rrmse[row, c], sqrt(square) / (actual / len(pairs)), rel_tol=1e-12)
            spread = found.rrmse[row, c] ** 2 - found.bias[row, c] ** 2
            assert isclose(found.variability[row, c] ** 2, spread, rel_tol=1e-9)


def errors_by_hand(
    plan: ScreeningPlan, candidate: Candidate, wh: np.ndarray
) -> dict[datetime, list[tuple[int, int]]]:
    """Usage and error of each hour, by proxy: a plan and a certificate of its own for each."""
    at = {int(slot): int(value) for slot, value in zip(plan.slots, wh, strict=True)}
    terms = replace(plan.programme.terms[0], baselines=(candidate.rule,))
    programme = replace(plan.programme, terms=(terms,))
    found = {}
    for proxy in plan.proxies:
        event_plan = make_plan(proxy, programme, plan.interval_minutes)
        readings = np.array([[[at[slot] for slot in row] for row in event_plan.slots.tolist()]], dtype=np.int32)
        done = certify(event_plan, LoadBlock(np.array(["x"], dtype=object), readings, None))
        used, baseline = done.actual_wh[0].tolist(), done.baseline_wh[0].tolist()
        if done.certified[0] and MISSING not in used:
            hours = [(sum(used[h : h + 12]), sum(baseline[h : h + 12])) for h in range(0, len(used), 12)]
            found[proxy.start] = [(use, base - use) for use, base in hours]
    return found


# --- proxy days and candidates ------------------------------------------------------------------------------


def local_days(plan: ScreeningPlan) -> list[date]:
    return [proxy.start.astimezone(plan.programme.zoneinfo).date() for proxy in plan.proxies]


def test_proxies_are_the_last_days_of_the_rules_types_without_holidays():
    plan = a_screening(mean_of(4), last_day=date(2025, 8, 20), rules=replace(RULES, days=5, min_days=5))
    days = [proxy.start.astimezone(ZoneInfo(SEOUL)).isoformat() for proxy in plan.proxies]
    expected = [20, 19, 18, 14, 13]  # the 15th is Liberation Day, the 16th and 17th a weekend
    assert days == [f"2025-08-{day}T17:00:00+09:00" for day in expected]


def test_event_days_are_no_proxies_and_no_history():
    event, other = date(2025, 9, 24), date(2025, 9, 23)
    plan = a_screening(mean_of(4), event_days={event}, other_event_days={other, event})
    assert not {event, other} & set(local_days(plan))
    assert len(plan.proxies) == 10
    history = plan.plans[0][0].days
    assert event not in history
    assert other in history  # as certification has it: another programme's events are history to this one


def test_a_proxy_whose_adjustment_window_lies_on_an_event_day_is_left_out():
    """00:00 to 01:00, adjusted by 20:00 to 23:00 of the day before."""
    adjusted = mean_of(
        4, adjustment={"kind": "symmetric-additive", "from_minutes_before": 240, "to_minutes_before": 60}
    )
    plan = a_screening(adjusted, window=Window(time(0), 60), event_days={date(2025, 9, 23)})
    assert not {date(2025, 9, 23), date(2025, 9, 24)} & set(local_days(plan))


def test_proxies_do_not_reach_before_the_first_day():
    plan = a_screening(mean_of(4), first_day=date(2025, 9, 24))
    assert local_days(plan) == [date(2025, 9, 26), date(2025, 9, 25), date(2025, 9, 24)]


def test_without_proxies_nothing_is_said():
    plan = a_screening(mean_of(4), first_day=date(2025, 9, 27))
    assert (plan.proxies, len(plan.slots), plan.blocks) == ((), 0, 0)
    found = screen(plan, LoadBlock(np.array(["a"], dtype=object), np.empty((1, 1, 0), np.int32), None))
    assert codes(found.findings[0]) == ["baseline.few_days"]


def test_proxies_keep_the_local_time_when_clocks_change():
    """In New York clocks went forward on Sunday 2025-03-09: 17:00 is 22:00 UTC before and 21:00 after."""
    plan = a_screening(
        built_in("pjm-high-4-of-5"), last_day=date(2025, 3, 12), rules=replace(RULES, days=5, min_days=5)
    )
    assert [proxy.start.hour for proxy in plan.proxies] == [21, 21, 21, 22, 22]
    zone = ZoneInfo(NEW_YORK)
    rows = plan.plans[1][0].slots.tolist()  # unadjusted: the window alone
    assert {slot_start(slot, 60).astimezone(zone).hour for row in rows for slot in row} == {17}


@pytest.mark.parametrize(
    ("window", "last_day", "others"),
    [
        # Clocks skip 02:00 to 03:00 on 9 March 2025, and show 01:00 to 02:00 twice on 2 November.
        (Window(time(1), 30), date(2025, 11, 9), [date(2025, 10, 26), date(2025, 10, 19)]),
        (Window(time(1), 120), date(2025, 3, 16), [date(2025, 3, 2), date(2025, 2, 23)]),
        (Window(time(2), 60), date(2025, 3, 16), [date(2025, 3, 2), date(2025, 2, 23)]),
        (Window(time(1), 60), date(2025, 11, 9), [date(2025, 10, 26), date(2025, 10, 19)]),
        (Window(time(0), 180), date(2025, 11, 9), [date(2025, 10, 26), date(2025, 10, 19)]),
    ],
)
def test_a_day_whose_clocks_change_in_the_window_is_no_proxy(window, last_day, others):
    data = programme_data(**{"zone": NEW_YORK, "holidays": "US", "terms[0].baselines": [
        {"label": "m", "method": "trimmed-mean", "day_types": ["sunday"], "days": 1, "look_back_days": 60}
    ]})  # fmt: skip
    programme = parse_programme(data)
    plan = make_screening_plan(
        programme,
        find_candidates(programme, programme.terms[0].baselines[0], (), last_day, 30),
        window,
        30,
        replace(RULES, days=3, min_days=1),
        first_day=date(2025, 1, 1),
        last_day=last_day,
    )
    assert local_days(plan) == [last_day, *others]


def test_a_window_may_reach_over_midnight():
    plan = a_screening(mean_of(4), window=Window.between(time(23), time(1)))
    assert str(plan.window) == "23:00-01:00"
    assert {proxy.end - proxy.start for proxy in plan.proxies} == {timedelta(hours=2)}


def test_a_window_is_neither_empty_nor_off_the_grid():
    with pytest.raises(NegawattError, match="17:00 to 17:00 is empty"):
        Window.between(time(17), time(17))
    with pytest.raises(NegawattError, match="17:00-17:30: expected whole intervals, readings are every 60 min"):
        a_screening(mean_of(4), window=Window(time(17), 30))


def test_each_rule_is_tried_with_its_adjustment_and_without_and_none_twice():
    max_4, mid_6 = built_in("kpx-max-4-of-5"), built_in("kpx-mid-6-of-10")
    twin = replace(max_4, id="twin")
    rule = max_4.terms[0].baselines[0]
    found = find_candidates(max_4, rule, (twin, mid_6, built_in("pjm-high-4-of-5")), FRIDAY, 60)
    assert [(one.label, one.programme) for one in found] == [
        ("KPX Max(4/5)", "kpx-max-4-of-5"),
        ("KPX Max(4/5), unadjusted", "kpx-max-4-of-5"),
        ("KPX Mid(6/10)", "kpx-mid-6-of-10"),
        ("KPX Mid(6/10), unadjusted", "kpx-mid-6-of-10"),
        ("PJM High 4 of 5", "pjm-high-4-of-5"),
        ("PJM High 4 of 5, unadjusted", "pjm-high-4-of-5"),
    ]


def test_rules_of_one_name_are_told_apart_by_their_programme():
    one, other = mean_of(4), mean_of(4, drop_lowest=1)
    other = replace(other, id="other")
    found = find_candidates(one, one.terms[0].baselines[0], [other], FRIDAY, 60)
    assert [c.label for c in found] == ["mean of 4 (test)", "mean of 4 (other)"]


def test_a_rule_that_serves_other_days_or_does_not_fit_the_readings_is_no_candidate():
    own = mean_of(4)
    weekends = replace(mean_of(3, day_types=["saturday"]), id="weekends")
    fine = {"kind": "symmetric-additive", "from_minutes_before": 90, "to_minutes_before": 30}
    later = replace(own.terms[0], valid_from=date(2026, 1, 1))
    others = (weekends, mean_of(3, adjustment=fine), replace(mean_of(2), terms=(later,)))
    assert len(find_candidates(own, own.terms[0].baselines[0], others, FRIDAY, 60)) == 1


def test_a_programme_without_a_rule_for_the_day_says_which_it_has():
    programme = mean_of(4)
    with pytest.raises(NegawattError, match="no baseline for a sunday; it has them for: weekday"):
        own_rule(programme, programme.terms[0], "sunday")


# --- rules --------------------------------------------------------------------------------------------------


def test_the_standard_limit_is_pjms():
    rules = parse_screening_rules(tomllib.loads(STANDARD.read_text()))
    assert (rules.limit_pct, rules.bias_limit_pct, rules.days, rules.min_days) == (20, 10, 30, 10)


@pytest.mark.parametrize(
    ("section", "key", "value", "said"),
    [
        ("accuracy", "limit_pct", 0, "accuracy.limit_pct: expected a whole number from 1 to 1000, got 0"),
        ("days", "wanted", True, "days.wanted: expected a whole number from 1 to 366, got True"),
        ("days", "fewest", 31, "days.fewest: expected at most days.wanted, 30"),
        ("bias", "source", " ", "bias.source: expected text, got ' '"),
        ("bias", "more", 1, "bias.more: unknown key; known: limit_pct, source"),
    ],
)
def test_rules_that_break_a_rule_name_the_key(section, key, value, said):
    data = tomllib.loads(STANDARD.read_text())
    data[section][key] = value
    with pytest.raises(InvalidScreeningRulesError, match=f"^screening rules: {said}$"):
        parse_screening_rules(data)


def test_rules_want_every_section_as_a_table():
    data = tomllib.loads(STANDARD.read_text())
    with pytest.raises(InvalidScreeningRulesError, match="days: missing"):
        parse_screening_rules({name: part for name, part in data.items() if name != "days"})
    with pytest.raises(InvalidScreeningRulesError, match="days: expected a table, got 3"):
        parse_screening_rules({**data, "days": 3})


def test_every_finding_has_a_code_of_its_own():
    assert set(SCREENING_FINDINGS) == set(ScreeningFinding)
    assert len({code for code, _ in SCREENING_FINDINGS.values()}) == len(SCREENING_FINDINGS)
