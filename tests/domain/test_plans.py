from datetime import date, timedelta

import pytest
from domain_builders import NEW_YORK, SEOUL, a_plan, a_programme, an_event, built_in, programme_data

from domain.errors import InvalidEventError, NegawattError
from domain.programmes import parse_programme


def days(month, *numbers, year=2025):
    return [date(year, month, number) for number in numbers]


def test_days_of_a_korean_event_skip_weekends_chuseok_and_event_days():
    # Monday 2025-10-13. Going back: 12 and 11 weekend; 10 counts; 9 Hangul Day, 8 to 6 Chuseok; 5 and 4 weekend;
    # 3 National Foundation Day; 2 and 1 count; 30 and 29 September; 28 and 27 weekend; 26 an event day;
    # 25 to 22; 21 and 20 weekend; 19 is the tenth, and twice 5 days is how far Max(4/5) searches.
    plan = a_plan(event=an_event("2025-10-13 17:00"), event_days=[date(2025, 9, 26)])
    assert list(plan.days) == days(10, 10, 2, 1) + days(9, 30, 29, 25, 24, 23, 22, 19)


def test_the_look_back_ends_the_list():
    # Wednesday 9 July less five days is Friday the 4th, included; Thursday the 3rd would be too far.
    plan = a_plan(a_programme(days=3, search_days=10, look_back_days=5), an_event("2025-07-09 17:00"))
    assert list(plan.days) == days(7, 8, 7, 4)


def test_the_search_limit_ends_the_list():
    plan = a_plan(a_programme(days=3, search_days=4), an_event("2025-07-09 17:00"))
    assert list(plan.days) == days(7, 8, 7, 4, 3)


def test_event_days_do_not_use_up_the_search_limit():
    plan = a_plan(a_programme(days=2, search_days=2), an_event("2025-07-09 17:00"), event_days=set(days(7, 8, 7)))
    assert list(plan.days) == days(7, 4, 3)


def test_the_event_itself_among_the_event_days_changes_nothing():
    assert a_plan(event_days=days(7, 9)).days == a_plan().days


def test_a_pjm_event_on_a_saturday_uses_saturdays_only():
    plan = a_plan("pjm-high-4-of-5", an_event("2025-07-12 17:00", hours=3, zone=NEW_YORK))
    assert list(plan.days) == [*days(7, 5), *days(6, 28, 21, 14, 7), *days(5, 31)]
    assert plan.rule.label == "PJM High 2 of 3, Saturday"


@pytest.mark.parametrize("start", ["2025-07-06 17:00", "2025-07-04 17:00"])  # a Sunday; Independence Day, a Friday
def test_pjm_takes_sundays_and_holidays_together(start):
    plan = a_plan("pjm-high-4-of-5", an_event(start, hours=3, zone=NEW_YORK))
    # Juneteenth is Thursday the 19th, Memorial Day Monday 26 May.
    expected = [*days(7, 4), *days(6, 29, 22, 19, 15, 8, 1), *days(5, 26), *days(5, 25)]
    begin = expected.index(date(2025, 6, 29)) if start.startswith("2025-07-04") else 0
    assert list(plan.days) == expected[begin : begin + 8]
    assert plan.rule.label == "PJM High 2 of 3, Sunday and holiday"


def test_a_korean_event_at_a_weekend_says_what_is_served():
    with pytest.raises(InvalidEventError, match=r"2025-07-12 is a saturday and .* has baselines for: weekday"):
        a_plan(event=an_event("2025-07-12 17:00"))


def test_the_kind_of_day_is_that_of_the_local_date():
    # 07:00 on Saturday in Seoul is still Friday in UTC, and 07:00 on Monday is Sunday.
    with pytest.raises(InvalidEventError, match="2025-07-12 is a saturday"):
        a_plan(event=an_event("2025-07-12 07:00"))
    assert a_plan(event=an_event("2025-07-14 07:00")).days[0] == date(2025, 7, 11)


def test_an_event_before_the_programme_began_is_refused():
    with pytest.raises(InvalidEventError, match="no terms for 2014-11-24"):
        a_plan(event=an_event("2014-11-24 17:00"))


def test_the_terms_are_those_of_the_local_date():
    # 2014-11-25 08:00 in Seoul is 2014-11-24 23:00 UTC, the eve of the first terms.
    assert a_plan(event=an_event("2014-11-25 08:00")).terms.valid_from == date(2014, 11, 25)


def test_slots_are_the_event_and_then_the_adjustment_window():
    # 9 July 2025 is day 20,089 + 31 + 28 + 31 + 30 + 31 + 30 + 8 = 20,278 since 1970, of 96 quarter-hours.
    # 17:00 in Seoul is 08:00Z, quarter 32; the adjustment runs from 13:00 (04:00Z, quarter 16) to 16:00.
    plan = a_plan(event=an_event("2025-07-09 17:00", hours=1), minutes=15)
    assert plan.slots[0].tolist() == [20_278 * 96 + n for n in (*range(32, 36), *range(16, 28))]
    assert (plan.event_intervals, plan.adjustment_intervals) == (4, 12)
    assert plan.slots.shape == (11, 16)
    # The most recent day is the one before; the third, Friday the 4th, is five days before.
    assert (plan.slots[1] - plan.slots[0]).tolist() == [-96] * 16
    assert (plan.slots[3] - plan.slots[0]).tolist() == [-5 * 96] * 16


@pytest.mark.parametrize(("minutes", "event", "window"), [(5, 24, 36), (10, 12, 18), (30, 4, 6), (60, 2, 3)])
def test_every_interval_length_gives_the_same_windows(minutes, event, window):
    plan = a_plan(event=an_event(hours=2), minutes=minutes)
    per_day = 1440 // minutes
    assert (plan.event_intervals, plan.adjustment_intervals) == (event, window)
    assert plan.slots[0, 0] == 20_278 * per_day + 8 * per_day // 24
    assert plan.slots[0, event] == 20_278 * per_day + 4 * per_day // 24


def test_an_adjustment_window_may_span_midnight():
    # 02:00 on 9 July in Seoul is 17:00Z on the 8th (day 20,277); 22:00 to 01:00 before it is 13:00Z to 16:00Z.
    plan = a_plan(event=an_event("2025-07-09 02:00"))
    assert plan.slots[0].tolist() == [20_277 * 24 + n for n in (17, 13, 14, 15)]
    assert plan.days[0] == date(2025, 7, 8)
    assert (plan.slots[1] - plan.slots[0]).tolist() == [-24] * 4


def test_an_event_may_span_midnight():
    # 23:00 to 01:00 in Seoul is 14:00Z to 16:00Z; the event's day, for terms and history, is its first.
    plan = a_plan(event=an_event("2025-07-09 23:00", hours=2))
    assert plan.slots[0, :2].tolist() == [20_278 * 24 + 14, 20_278 * 24 + 15]
    assert plan.days[0] == date(2025, 7, 8)


def test_a_day_whose_window_reaches_into_an_event_day_is_no_history():
    # 2 July's window, 23:00 to 01:00, ends on the 3rd, an event day; so do 3 July's own hours.
    plan = a_plan(event=an_event("2025-07-09 23:00", hours=2), event_days={date(2025, 7, 3)})
    assert plan.days[:4] == tuple(date(2025, 7, day) for day in (8, 7, 4, 1))


def test_a_rule_without_adjustment_reads_the_event_only():
    plan = a_plan(a_programme(days=3))
    assert plan.adjustment_intervals == 0
    assert plan.slots.shape == (4, 1)


def test_an_evening_event_follows_the_clocks_over_their_change():
    # Tuesday 2025-03-11, two days after the change: 17:00 EDT is 21:00Z, but 22:00Z on Friday the 7th.
    # 11 March is day 20,089 + 31 + 28 + 10 = 20,158; the adjustment, 13:00 to 16:00, is 17:00Z or 18:00Z on.
    plan = a_plan("pjm-high-4-of-5", an_event("2025-03-11 17:00", hours=3, zone=NEW_YORK))
    assert list(plan.days[:2]) == days(3, 10, 7)
    assert plan.slots[0].tolist() == [20_158 * 24 + n for n in (21, 22, 23, 17, 18, 19)]
    assert plan.slots[1].tolist() == [20_157 * 24 + n for n in (21, 22, 23, 17, 18, 19)]
    assert plan.slots[2].tolist() == [20_154 * 24 + n for n in (22, 23, 24, 18, 19, 20)]


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        # On 9 March 02:00 to 03:00 didn't happen; 17 February was Washington's Birthday.
        ("2025-03-16 01:00", [*days(3, 2), *days(2, 23, 17, 16, 9, 2)]),
        # On 2 November 01:00 to 02:00 happened twice; 13 October was Columbus Day.
        ("2025-11-09 01:00", [*days(10, 26, 19, 13, 12, 5), *days(9, 28)]),
    ],
)
def test_a_day_whose_clocks_change_inside_the_window_is_not_comparable(start, expected):
    plan = a_plan("pjm-high-4-of-5", an_event(start, hours=3, zone=NEW_YORK))
    assert list(plan.days) == expected


def test_a_day_whose_clocks_change_inside_the_adjustment_window_is_not_comparable():
    # 06:00: the adjustment runs from 02:00 to 05:00, and 02:00 didn't happen on 9 March.
    plan = a_plan("pjm-high-4-of-5", an_event("2025-03-16 06:00", zone=NEW_YORK))
    assert plan.days[0] == date(2025, 3, 2)


def test_a_change_of_clocks_outside_the_windows_does_no_harm():
    plan = a_plan("pjm-high-4-of-5", an_event("2025-03-16 17:00", zone=NEW_YORK))
    assert plan.days[0] == date(2025, 3, 9)


def test_an_event_in_a_repeated_hour_reads_both_and_compares_with_the_single_one():
    # 01:00 EDT to 02:00 EST on 2025-11-02 is 05:00Z to 07:00Z: two hours, both 01:00 by the clock.
    # 2 November is day 20,089 + 305 = 20,394; 26 October, day 20,387, has one 01:00, at 05:00Z.
    plan = a_plan("pjm-high-4-of-5", an_event("2025-11-02 01:00", hours=2, zone=NEW_YORK))
    assert plan.slots[0, :2].tolist() == [20_394 * 24 + 5, 20_394 * 24 + 6]
    assert plan.days[0] == date(2025, 10, 26)
    assert plan.slots[1, :2].tolist() == [20_387 * 24 + 5, 20_387 * 24 + 5]


@pytest.mark.parametrize(("start", "hours"), [("2025-07-09 17:05", 1), ("2025-07-09 17:00", 0.75)])
def test_an_event_off_the_metering_grid_is_refused(start, hours):
    with pytest.raises(InvalidEventError, match="not on the 30-minute grid"):
        a_plan(event=an_event(start, hours=hours), minutes=30)


@pytest.mark.parametrize("window", [(90, 0), (120, 30), (150, 30)])
def test_an_adjustment_window_off_the_metering_grid_is_refused(window):
    first, last = window
    kind = {"kind": "symmetric-additive", "from_minutes_before": first, "to_minutes_before": last}
    with pytest.raises(InvalidEventError, match=f"{first} to {last} minutes before .* 60-minute readings"):
        a_plan(a_programme(days=3, adjustment=kind))


def test_an_unknown_interval_length_is_refused():
    with pytest.raises(NegawattError, match="interval of 20 minutes"):
        a_plan(minutes=20)


def test_no_eligible_day_leaves_the_event_alone_in_the_plan():
    every_day = [date(2025, 7, 9) - timedelta(days=n) for n in range(40)]
    plan = a_plan(event_days=every_day)
    assert plan.days == ()
    assert plan.slots.shape == (1, 4)


def test_history_is_never_younger_than_the_event():
    plan = a_plan(event=an_event("2025-07-09 23:00", hours=24), minutes=5)
    assert plan.slots[1:].max() < plan.slots[0, : plan.event_intervals].min()


def test_a_plan_knows_its_programme_and_terms():
    programme = built_in("kpx-max-4-of-5")
    plan = a_plan(programme)
    assert (plan.programme, plan.terms, plan.interval_minutes) == (programme, programme.terms[0], 60)


def test_an_unknown_holiday_region_is_an_error_of_ours():
    with pytest.raises(NegawattError, match="no holiday calendar for 'XX'"):
        a_plan(parse_programme(programme_data(holidays="XX", zone=SEOUL)))
