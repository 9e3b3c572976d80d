from datetime import date

import pytest

from domain.calendars import DayType, day_type
from domain.errors import NegawattError


@pytest.mark.parametrize(
    ("day", "kind"),
    [
        (date(2025, 7, 9), DayType.WEEKDAY),
        (date(2025, 7, 12), DayType.SATURDAY),
        (date(2025, 7, 13), DayType.SUNDAY),
        (date(2025, 1, 1), DayType.HOLIDAY),  # New Year
        (date(2025, 1, 29), DayType.HOLIDAY),  # Seollal, by the moon
        (date(2025, 10, 6), DayType.HOLIDAY),  # Chuseok, by the moon
        (date(2025, 10, 8), DayType.HOLIDAY),  # the day in lieu of Chuseok's Sunday
        (date(2025, 10, 9), DayType.HOLIDAY),  # Hangul Day
        (date(2025, 10, 10), DayType.WEEKDAY),
        (date(2025, 3, 3), DayType.HOLIDAY),  # in lieu of Saturday, 1 March
        (date(2025, 3, 1), DayType.HOLIDAY),  # a holiday is a holiday on a Saturday too
    ],
)
def test_korean_days_are_told_apart(day, kind):
    assert day_type(day, "KR") is kind


@pytest.mark.parametrize(
    ("day", "region", "kind"),
    [
        (date(2025, 7, 4), "US", DayType.HOLIDAY),
        (date(2025, 7, 5), "US", DayType.SATURDAY),
        (date(2025, 9, 1), "US-PA", DayType.HOLIDAY),  # Labor Day, first Monday of September
        (date(2025, 11, 27), "US-PA", DayType.HOLIDAY),  # Thanksgiving
        (date(2025, 11, 28), "US-PA", DayType.HOLIDAY),  # the day after it: Pennsylvania's, not the nation's
        (date(2025, 11, 28), "US", DayType.WEEKDAY),
    ],
)
def test_a_state_may_have_holidays_that_the_nation_has_not(day, region, kind):
    assert day_type(day, region) is kind


@pytest.mark.parametrize("region", ["XX", "", "US-ZZ", "us", "Korea", "HolidayBase", "-PA", "US-"])
def test_an_unknown_region_is_refused_by_name(region):
    with pytest.raises(NegawattError, match=f"no holiday calendar for '{region}'"):
        day_type(date(2025, 7, 9), region)
