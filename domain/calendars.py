"""Kinds of day, as programmes tell them apart: weekdays, Saturdays, Sundays and public holidays."""

from __future__ import annotations

import re
from datetime import date
from enum import StrEnum
from functools import lru_cache

import holidays

from domain.errors import NegawattError


class DayType(StrEnum):
    """What a local date is to a programme. A holiday is a holiday on whatever day of the week."""

    WEEKDAY = "weekday"
    SATURDAY = "saturday"
    SUNDAY = "sunday"
    HOLIDAY = "holiday"


@lru_cache(maxsize=32)
def _holidays_of(region: str) -> holidays.HolidayBase:
    country, _, subdivision = region.partition("-")
    try:
        if not re.fullmatch(r"[A-Z]{2}(-[A-Z0-9]{1,3})?", region):  # the library would take any name of its own
            raise NotImplementedError(region)
        return holidays.country_holidays(country, subdiv=subdivision or None)
    except NotImplementedError as unknown:
        raise NegawattError(
            f"no holiday calendar for {region!r}; expected an ISO 3166 code such as 'KR' or 'US-PA'"
        ) from unknown


def day_type(day: date, region: str) -> DayType:
    """Kind of the local date ``day`` in ``region`` (ISO 3166 country, or country-subdivision).

    >>> day_type(date(2025, 8, 15), "KR").value   # Liberation Day, a Friday
    'holiday'
    >>> day_type(date(2025, 8, 16), "KR").value
    'saturday'

    Raises
    ------
    NegawattError
        The region has no known calendar.
    """
    if day in _holidays_of(region):
        return DayType.HOLIDAY
    return {5: DayType.SATURDAY, 6: DayType.SUNDAY}.get(day.weekday(), DayType.WEEKDAY)
