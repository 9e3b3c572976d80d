"""Tariffs as data: a mapping, read from TOML by the front door, checked key by key and built into a `Tariff`.

A tariff must say a price for every minute of every day: what it leaves out and what it says twice is refused with the
times. ``docs/tariffs.md`` has every key.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from itertools import pairwise
from typing import Any

from domain.calendars import DayType, day_type
from domain.errors import NegawattError
from domain.programmes import Currency
from domain.tariffs import STEP_MINUTES, STEPS_PER_DAY, InvalidTariffError, Season, Tariff, TariffTerms
from domain.zones import UnknownZoneError, zone_named

NET_METERING = "net-metering"
WHOLE_YEAR = Season("year", (1, 1), (12, 31))

_CLOCK = re.compile(r"([01]\d|2[0-4]):([0-5]\d)-([01]\d|2[0-4]):([0-5]\d)")
_SEASON = re.compile(r"(\d\d)-(\d\d)\.\.(\d\d)-(\d\d)")
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_LEAP_YEAR = 2024


class _Table:
    """Takes keys out of a table and refuses what is left over."""

    def __init__(self, tariff: str, path: str, data: object) -> None:
        self._tariff, self._path = tariff, path
        if not isinstance(data, Mapping):
            raise self.error("", f"expected a table, got {data!r}")
        self._left = dict(data)

    def error(self, key: str, problem: str) -> InvalidTariffError:
        path = ".".join(part for part in (self._path, key) if part)
        return InvalidTariffError(self._tariff, path or "file", problem)

    def take(self, key: str) -> Any:
        if key not in self._left:
            raise self.error(key, "missing")
        return self._left.pop(key)

    def optional(self, key: str) -> Any:
        return self._left.pop(key, None)

    def text(self, key: str) -> str:
        value = self.take(key)
        if not isinstance(value, str) or not value.strip():
            raise self.error(key, f"expected text, got {value!r}")
        return value

    def date(self, key: str, value: Any) -> date:
        if isinstance(value, datetime) or not isinstance(value, date):
            raise self.error(key, f"expected a date such as 2025-01-01, got {value!r}")
        return value

    def table(self, key: str, value: object) -> _Table:
        return _Table(self._tariff, f"{self._path}.{key}".lstrip("."), value)

    def tables(self, key: str) -> list[_Table]:
        value = self.take(key)
        if not isinstance(value, list) or not value:
            raise self.error(key, "expected at least one table")
        return [self.table(f"{key}[{n}]", item) for n, item in enumerate(value)]

    def rest(self) -> dict[str, Any]:
        left, self._left = self._left, {}
        return left

    def finish(self) -> None:
        if self._left:
            raise self.error("", f"unknown key: {', '.join(sorted(self._left))}")


def parse_tariff(data: Mapping[str, object]) -> Tariff:
    """Check a tariff's data and build it.

    Parameters
    ----------
    data : mapping
        As `tomllib` reads it.

    Raises
    ------
    InvalidTariffError
        Naming the key's path, and for a hole or an overlap the days and times.

    Examples
    --------
    >>> tariff = parse_tariff({
    ...     "id": "flat", "title": "Flat", "source": "made up", "zone": "UTC",
    ...     "currency": {"code": "EUR", "decimals": 2},
    ...     "terms": [{"valid_from": date(2025, 1, 1), "buy": {"flat": "0.30"}, "sell": "0.08",
    ...                "days": [{"on": ["weekday", "saturday", "sunday"], "hours": {"flat": ["00:00-24:00"]}}]}]})
    >>> day = tariff.day_prices(date(2025, 6, 11), 60)
    >>> len(day.buy), set(map(str, day.buy)), set(map(str, day.sell))
    (24, {'30'}, {'8'})
    """
    top = _Table(str(data.get("id", "?")), "", data)
    zone = top.text("zone")
    try:
        zone_named(zone)
    except UnknownZoneError as unknown:
        raise top.error("zone", str(unknown)) from unknown
    holidays = top.optional("holidays") or ""
    if holidays:
        try:
            day_type(date(2025, 1, 1), holidays)
        except (NegawattError, TypeError) as unknown:
            raise top.error("holidays", str(unknown)) from unknown
    money = top.table("currency", top.take("currency"))
    code, decimals = money.text("code"), money.take("decimals")
    if type(decimals) is not int or not 0 <= decimals <= 18:
        raise money.error("decimals", f"expected a whole number from 0 to 18, got {decimals!r}")
    money.finish()
    currency = Currency(code, decimals)
    kinds = [kind for kind in DayType if holidays or kind is not DayType.HOLIDAY]
    tariff = Tariff(
        id=top.text("id"),
        title=top.text("title"),
        source=top.text("source"),
        zone=zone,
        holidays=holidays,
        currency=currency,
        terms=_in_order(top, [_terms(table, decimals, kinds) for table in top.tables("terms")]),
    )
    top.finish()
    return tariff


def _in_order(top: _Table, terms: Iterable[TariffTerms]) -> tuple[TariffTerms, ...]:
    """Terms by date; a hole or an overlap between two of them is refused."""
    ordered = sorted(terms, key=lambda held: held.valid_from)
    for before, after in pairwise(ordered):
        if before.valid_from == after.valid_from:
            raise top.error("terms", f"two terms are valid from {after.valid_from}")
        if before.last_day is None:
            continue
        if before.last_day >= after.valid_from:
            raise top.error("terms", f"two terms are valid from {after.valid_from} to {before.last_day}")
        if before.last_day + timedelta(days=1) < after.valid_from:
            first, last = before.last_day + timedelta(days=1), after.valid_from - timedelta(days=1)
            raise top.error("terms", f"no terms are valid from {first} to {last}")
    return tuple(ordered)


def _terms(table: _Table, decimals: int, kinds: list[DayType]) -> TariffTerms:
    valid_from = table.date("valid_from", table.take("valid_from"))
    last_day = table.optional("last_day")
    if last_day is not None and table.date("last_day", last_day) < valid_from:
        raise table.error("last_day", f"{last_day} lies before valid_from, {valid_from}")
    buy = _prices(table.table("buy", table.take("buy")), decimals)
    selling = table.take("sell")
    if isinstance(selling, Mapping):
        sell = _prices(table.table("sell", selling), decimals)
        if set(sell) != set(buy):
            odd = ", ".join(sorted(set(sell) ^ set(buy)))
            raise table.error("sell", f"expected the periods of buy; these are in one of them only: {odd}")
    elif selling == NET_METERING:
        sell = buy
    else:
        sell = dict.fromkeys(buy, _amount(table, "sell", selling, decimals))
    seasons = _seasons(table, table.optional("seasons"))
    days = _days(table, seasons, kinds, set(buy))
    table.finish()
    if unused := sorted(set(buy) - {period for day in days.values() for period in day}):
        raise table.error("buy", f"no hours are {', '.join(unused)}")
    return TariffTerms(valid_from, last_day, selling == NET_METERING, buy, sell, seasons, days)


def _prices(table: _Table, decimals: int) -> dict[str, Fraction]:
    found = {}
    for period, text in table.rest().items():
        if not _NAME.fullmatch(period):
            raise table.error(period, "expected a name of small letters, digits and _")
        found[period] = _amount(table, period, text, decimals)
    if not found:
        raise table.error("", "expected a price for at least one period")
    return found


def _amount(table: _Table, key: str, value: Any, decimals: int) -> Fraction:
    """A price of a kWh in decimal text, as an exact number of minor units."""
    try:
        amount = Decimal(value) if isinstance(value, str) and len(value) < 30 else None
    except InvalidOperation:
        amount = None
    if amount is None or not amount.is_finite() or not 0 <= amount < 10**12 or amount.adjusted() < -18:
        raise table.error(key, f'expected a price of a kWh in quotes such as "2871" or "0.0874", got {value!r}')
    return Fraction(amount) * Fraction(10**decimals)


def _seasons(table: _Table, data: Any) -> tuple[Season, ...]:
    if data is None:
        return (WHOLE_YEAR,)
    named = table.table("seasons", data)
    seasons = []
    for name, span in named.rest().items():
        parts = _SEASON.fullmatch(span) if isinstance(span, str) else None
        try:
            if parts is None:
                raise ValueError
            first, last = (date(_LEAP_YEAR, int(parts[n]), int(parts[n + 1])) for n in (1, 3))
        except ValueError as wrong:
            raise named.error(name, f'expected first and last day such as "05-01..10-31", got {span!r}') from wrong
        seasons.append(Season(name, (first.month, first.day), (last.month, last.day)))
    problems: list[tuple[date, str]] = []
    for n in range(366):
        day = date(_LEAP_YEAR, 1, 1) + timedelta(days=n)
        having = [season.name for season in seasons if season.holds(day.month, day.day)]
        if len(having) != 1:
            problems.append((day, f"both {' and '.join(having)}" if having else "in no season"))
    if problems:
        first_day, problem = problems[0]
        last = first_day
        while (last + timedelta(days=1), problem) in problems:
            last += timedelta(days=1)
        raise named.error("", f"{first_day:%m-%d} to {last:%m-%d} is {problem}")
    return tuple(seasons)


def _days(
    table: _Table, seasons: tuple[Season, ...], kinds: list[DayType], periods: set[str]
) -> dict[tuple[str, DayType], tuple[str, ...]]:
    clocks: dict[tuple[str, DayType], list[list[str]]] = {
        (season.name, kind): [[] for _ in range(STEPS_PER_DAY)] for season in seasons for kind in kinds
    }
    for rule in table.tables("days"):
        names = _season_names(rule, seasons)
        on = rule.take("on")
        if not isinstance(on, list) or not on or any(kind not in kinds for kind in on) or len(set(on)) != len(on):
            hint = "" if DayType.HOLIDAY in kinds else '; holidays need a calendar, e.g. holidays = "CA-ON"'
            raise rule.error("on", f"expected some of {', '.join(kinds)}, each once, got {on!r}{hint}")
        hours = rule.table("hours", rule.take("hours"))
        for period, spans in hours.rest().items():
            if period not in periods:
                raise hours.error(period, f"buy has no such period; it has {', '.join(sorted(periods))}")
            if not isinstance(spans, list) or not spans:
                raise hours.error(period, f'expected times such as ["09:30-11:30"], got {spans!r}')
            for span in spans:
                first, last = _steps(hours, period, span)
                for name in names:
                    for kind in on:
                        for step in range(first, last):
                            clocks[name, DayType(kind)][step].append(period)
        rule.finish()
    found = {}
    for (name, kind), clock in clocks.items():
        _check_clock(table, f"{name}, {kind}" if len(seasons) > 1 else kind.value, clock)
        found[name, kind] = tuple(step[0] for step in clock)
    return found


def _season_names(rule: _Table, seasons: tuple[Season, ...]) -> list[str]:
    """The seasons that a rule of days is for: the one that it names, or all."""
    wanted = rule.optional("season")
    names = [season.name for season in seasons]
    if wanted is None:
        return names
    if wanted not in names or seasons == (WHOLE_YEAR,):
        known = "none" if seasons == (WHOLE_YEAR,) else ", ".join(names)
        raise rule.error("season", f"no season is called {wanted!r}; known: {known}")
    return [wanted]


def _steps(table: _Table, period: str, span: Any) -> tuple[int, int]:
    """First step of a span of times and the step after its last."""
    parts = _CLOCK.fullmatch(span) if isinstance(span, str) else None
    if parts:
        first, last = (60 * int(parts[n]) + int(parts[n + 1]) for n in (1, 3))
        if first < last <= 1440 and first % STEP_MINUTES == last % STEP_MINUTES == 0:
            return first // STEP_MINUTES, last // STEP_MINUTES
    raise table.error(
        period,
        f'expected times on a grid of {STEP_MINUTES} minutes within a day such as "09:30-11:30" or "22:00-24:00", '
        f"got {span!r}",
    )


def _check_clock(table: _Table, which: str, clock: list[list[str]]) -> None:
    """See that every step of a day has one period; the first stretch that has none, or several, is named."""
    wrong = next((n for n, having in enumerate(clock) if len(having) != 1), None)
    if wrong is None:
        return
    end = wrong
    while end < STEPS_PER_DAY and clock[end] == clock[wrong]:
        end += 1
    times = f"{which}, {_clock(wrong)}-{_clock(end)}"
    if not clock[wrong]:
        raise table.error("days", f"{times}: no price; every minute of a day needs one")
    raise table.error("days", f"{times}: two prices, {' and '.join(clock[wrong])}; every minute needs just one")


def _clock(step: int) -> str:
    return f"{step * STEP_MINUTES // 60:02d}:{step * STEP_MINUTES % 60:02d}"
