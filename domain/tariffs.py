"""Tariffs: what a kilowatt-hour from the grid costs and what the grid pays for one, by local time, as dated data.

`domain.tariff_data` reads and checks the data; here they are asked. Prices are exact fractions of minor units, so
that nothing is rounded before money is paid.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from fractions import Fraction
from zoneinfo import ZoneInfo

from domain.calendars import DayType, day_type
from domain.errors import NegawattError
from domain.intervals import check_interval, local_day_bounds, slot_of, slot_start
from domain.programmes import Currency

STEP_MINUTES = 5
"""Prices change on this grid of local time. [min]"""

STEPS_PER_DAY = 1440 // STEP_MINUTES


class InvalidTariffError(NegawattError):
    """A tariff breaks a rule: unknown key, a hole or an overlap of times, a price that is none."""

    def __init__(self, tariff: str, path: str, problem: str) -> None:
        self.tariff, self.path, self.problem = tariff, path, problem
        super().__init__(f"tariff {tariff!r}: {path}: {problem}")


class NoPriceError(NegawattError):
    """A tariff has no single price for an interval: not yet or no longer valid, or the price changes within it."""

    def __init__(self, tariff: str, problem: str) -> None:
        self.tariff, self.problem = tariff, problem
        super().__init__(f"tariff {tariff!r}: {problem}")


@dataclass(frozen=True)
class Season:
    """Part of every year, first and last day included; it may go over the turn of the year.

    Attributes
    ----------
    name : str
    first, last : tuple of int
        Month and day.
    """

    name: str
    first: tuple[int, int]
    last: tuple[int, int]

    def holds(self, month: int, day: int) -> bool:
        """Whether the season has this day.

        >>> [Season("winter", (11, 1), (4, 30)).holds(month, 1) for month in (4, 5, 11)]
        [True, False, True]
        """
        at = month, day
        if self.first <= self.last:
            return self.first <= at <= self.last
        return at >= self.first or at <= self.last


@dataclass(frozen=True)
class TariffTerms:
    """Prices and times in force from ``valid_from`` to ``last_day``, or until the next terms begin.

    Attributes
    ----------
    valid_from : date
    last_day : date or None
        Included. None: no end is known.
    net_metering : bool
        What is fed in is credited at the price of buying.
    buy, sell : mapping of str to Fraction
        Price of a kWh from and to the grid, by period. [minor units/kWh]
    seasons : tuple of Season
        One of every day of the year.
    days : mapping of (str, DayType) to tuple of str
        The period of every five minutes of local time, by season and kind of day.
    """

    valid_from: date
    last_day: date | None
    net_metering: bool
    buy: Mapping[str, Fraction]
    sell: Mapping[str, Fraction]
    seasons: tuple[Season, ...]
    days: Mapping[tuple[str, DayType], tuple[str, ...]]

    def season_of(self, day: date) -> Season:
        """The season of a date."""
        return next(season for season in self.seasons if season.holds(day.month, day.day))


@dataclass(frozen=True)
class Prices:
    """What a tariff says for consecutive intervals.

    Attributes
    ----------
    first_slot : int
        Number of the first interval, see `domain.intervals.slot_of`.
    interval_minutes : int
    periods : tuple of str
        Name of each interval's period, e.g. ``peak``.
    buy, sell : tuple of Fraction
        Price of a kWh from and to the grid. [minor units/kWh]
    """

    first_slot: int
    interval_minutes: int
    periods: tuple[str, ...]
    buy: tuple[Fraction, ...]
    sell: tuple[Fraction, ...]


@dataclass(frozen=True)
class Tariff:
    """A tariff of the grid.

    Attributes
    ----------
    id, title, source : str
    zone : str
        IANA zone whose clocks its times mean.
    holidays : str
        Region of its holiday calendar; empty where a holiday is a day like others.
    currency : Currency
    terms : tuple of TariffTerms
        In the order of their dates, without hole or overlap.
    """

    id: str
    title: str
    source: str
    zone: str
    holidays: str
    currency: Currency
    terms: tuple[TariffTerms, ...]

    def day_type(self, day: date) -> DayType:
        """Kind of a local date, to this tariff."""
        if self.holidays:
            return day_type(day, self.holidays)
        return {5: DayType.SATURDAY, 6: DayType.SUNDAY}.get(day.weekday(), DayType.WEEKDAY)

    def terms_on(self, day: date) -> TariffTerms:
        """The terms in force on a local date.

        Raises
        ------
        NoPriceError
            The tariff had not begun, or has ended.
        """
        found = [terms for terms in self.terms if terms.valid_from <= day]
        if not found:
            raise NoPriceError(self.id, f"no prices for {day}: its first are valid from {self.terms[0].valid_from}")
        if (last := found[-1].last_day) is not None and day > last:
            raise NoPriceError(self.id, f"no prices for {day}: its last were valid to {last}; add newer terms")
        return found[-1]

    def prices(self, first_slot: int, intervals: int, interval_minutes: int) -> Prices:
        """Prices of consecutive intervals, by the local time at which each lies.

        Days of 23 and of 25 hours need nothing special: an hour that is skipped has no interval, one that comes
        twice has the same price twice.

        Parameters
        ----------
        first_slot : int
            Number of the first interval.
        intervals : int
        interval_minutes : int
            5, 10, 15, 30 or 60.

        Raises
        ------
        NoPriceError
            The tariff isn't valid then, or a price changes within an interval.
        """
        check_interval(interval_minutes)
        zone = ZoneInfo(self.zone)
        step = timedelta(minutes=STEP_MINUTES)
        seen: dict[date, tuple[TariffTerms, tuple[str, ...]]] = {}
        periods: list[str] = []
        buy: list[Fraction] = []
        sell: list[Fraction] = []
        for slot in range(first_slot, first_slot + intervals):
            start = slot_start(slot, interval_minutes)
            found = set()
            for n in range(interval_minutes // STEP_MINUTES):
                local = (start + n * step).astimezone(zone)
                day = local.date()
                if day not in seen:
                    terms = self.terms_on(day)
                    seen[day] = terms, terms.days[terms.season_of(day).name, self.day_type(day)]
                terms, day_periods = seen[day]
                period = day_periods[(60 * local.hour + local.minute) // STEP_MINUTES]
                found.add((period, terms.buy[period], terms.sell[period]))
            if len({(buys, sells) for _, buys, sells in found}) > 1:
                local = start.astimezone(zone)
                names = ", ".join(sorted(period for period, *_ in found))
                raise NoPriceError(
                    self.id,
                    f"the price changes within the {interval_minutes} minutes from {local:%Y-%m-%d %H:%M} ({names}); "
                    "use shorter intervals",
                )
            period, buys, sells = min(found)
            periods.append(period)
            buy.append(buys)
            sell.append(sells)
        return Prices(first_slot, interval_minutes, tuple(periods), tuple(buy), tuple(sell))

    def day_prices(self, day: date, interval_minutes: int) -> Prices:
        """Prices of a local day, which has 23, 24 or 25 hours."""
        begin, end = local_day_bounds(day, ZoneInfo(self.zone))
        first = slot_of(begin, interval_minutes)
        return self.prices(first, slot_of(end, interval_minutes) - first, interval_minutes)
