"""Loads of sites, the weather beside them and the local clock over them, all on one UTC grid of intervals.

Quantities are floats here, because they are measured against one another and never billed; NaN stands for a value
that is missing, and every rule that reads a series says what it does then.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from domain.calendars import DayType, day_type
from domain.errors import NegawattError
from domain.intervals import check_interval, slot_start, slots_per_day

TEMPERATURE = "temperature_c"
HUMIDITY = "relative_humidity_pct"
DEW_POINT = "dew_point_c"
WIND = "wind_speed_ms"
DIFFUSE = "diffuse_wm2"
DIRECT = "direct_wm2"

WEATHER_BOUNDS = {
    TEMPERATURE: (-90.0, 60.0),
    HUMIDITY: (0.0, 100.0),
    DEW_POINT: (-90.0, 40.0),
    WIND: (0.0, 120.0),
    DIFFUSE: (0.0, 1500.0),
    DIRECT: (0.0, 1500.0),
}
"""Columns of weather that are known, with the values that can be: temperature [°C], humidity [%], dew point [°C],
wind speed [m/s], diffuse horizontal and direct normal irradiance [W/m²]."""

CLOCK_BLOCK_SECONDS = 1800
"""Zones change their offset at whole half-hours of UTC, so one look-up serves half an hour. [s]"""


class InvalidSeriesError(NegawattError):
    """Loads or weather can't be used as they are: the sentence says what, where, and what was expected."""


@dataclass(frozen=True, eq=False)
class Loads:
    """Energy per interval of some sites over one stretch of time.

    Attributes
    ----------
    sites : ndarray of str objects, shape (sites,)
        In ascending order, each once.
    first_slot : int
        Interval number of the first column (see `domain.intervals`).
    interval_minutes : int
        Length of every interval. [min]
    load : ndarray of float64, shape (sites, n)
        Energy in each interval, in the source's own unit; NaN where it is missing. Never negative.

    Raises
    ------
    InvalidSeriesError
        Shapes that don't fit, sites out of order, or a value that is negative or infinite.
    """

    sites: NDArray[np.object_]
    first_slot: int
    interval_minutes: int
    load: NDArray[np.float64]

    def __post_init__(self) -> None:
        check_interval(self.interval_minutes)
        if self.load.ndim != 2 or len(self.load) != len(self.sites):
            raise InvalidSeriesError(f"loads of shape {self.load.shape} for {len(self.sites)} sites")
        if list(self.sites) != sorted(set(self.sites)):
            raise InvalidSeriesError("sites are not in ascending order, each once")
        wrong = np.argwhere((self.load < 0) | np.isinf(self.load))
        if len(wrong):
            row, column = (int(at) for at in wrong[0])
            when = slot_start(self.first_slot + column, self.interval_minutes)
            raise InvalidSeriesError(
                f"site {self.sites[row]!r} at {when.isoformat()}: load {self.load[row, column]:g}; "
                "expected 0 or more. Give what a site produces apart from what it uses"
            )

    @property
    def last_slot(self) -> int:
        """One past the last column's interval."""
        return self.first_slot + int(self.load.shape[1])

    def between(self, first_slot: int, last_slot: int) -> Loads:
        """The same sites over the slots ``[first_slot, last_slot)``; NaN where there was nothing."""
        return replace(self, first_slot=first_slot, load=stretch(self.load, self.first_slot, first_slot, last_slot))

    def only(self, sites: list[str]) -> Loads:
        """Some of the sites.

        Raises
        ------
        InvalidSeriesError
            One isn't there.
        """
        there = {site: row for row, site in enumerate(self.sites)}
        for site in sites:
            if site not in there:
                some = ", ".join(map(repr, self.sites[:5])) + (", …" if len(self.sites) > 5 else "")
                raise InvalidSeriesError(f"no site {site!r} among the loads; there are {len(self.sites)}: {some}")
        rows = sorted(there[site] for site in set(sites))
        return replace(self, sites=self.sites[rows], load=self.load[rows])

    def total(self, name: str = "total") -> Loads:
        """One site that is the sum of all; missing where any of them is.

        >>> homes = Loads(np.array(["a", "b"], dtype=object), 0, 60, np.array([[1.0, 2.0], [10.0, np.nan]]))
        >>> homes.total().load.tolist()
        [[11.0, nan]]
        """
        return replace(self, sites=np.array([name], dtype=object), load=self.load.sum(axis=0, keepdims=True))


@dataclass(frozen=True, eq=False)
class Weather:
    """Weather of one place over a stretch of time, on any grid of intervals.

    Attributes
    ----------
    first_slot : int
    interval_minutes : int
        Length of its own intervals, which need not be those of the loads. [min]
    values : mapping of str to ndarray of float64, shape (n,)
        By column of `WEATHER_BOUNDS`; NaN where a value is missing.
    """

    first_slot: int
    interval_minutes: int
    values: Mapping[str, NDArray[np.float64]]

    @property
    def last_slot(self) -> int:
        """One past the last interval."""
        return self.first_slot + len(next(iter(self.values.values()), ()))

    def on(self, first_slot: int, last_slot: int, interval_minutes: int) -> dict[str, NDArray[np.float64]]:
        """Its values on another grid: the mean over longer intervals, the straight line between shorter ones.

        Values are taken to be those of an interval's start. A missing value leaves missing what it would have
        entered; nothing outside the stretch is made up.

        >>> hourly = Weather(0, 60, {"temperature_c": np.array([10.0, 14.0, 12.0])})
        >>> hourly.on(0, 6, 30)["temperature_c"].tolist()
        [10.0, 12.0, 14.0, 13.0, 12.0, nan]
        """
        own, wanted = self.interval_minutes, interval_minutes
        if own == wanted:
            return {
                name: stretch(column, self.first_slot, first_slot, last_slot) for name, column in self.values.items()
            }
        if own < wanted and wanted % own == 0:
            parts = wanted // own
            return {
                name: stretch(column, self.first_slot, first_slot * parts, last_slot * parts)
                .reshape(-1, parts)
                .mean(axis=1)
                for name, column in self.values.items()
            }
        position = np.arange(first_slot, last_slot) * wanted / own - self.first_slot
        before = np.floor(position).astype(np.int64)
        share = position - before
        found = {}
        for name, column in self.values.items():
            padded = np.append(column, np.nan)
            at, after = (_inside(index, len(column)) for index in (before, before + (share > 0)))
            found[name] = padded[at] * (1 - share) + padded[after] * share
        return found

    def with_dew_point(self) -> Weather:
        """Itself with a dew point, worked out from temperature and humidity where the source gives none.

        By Magnus' formula with the constants of Alduchov and Eskridge (1996), good to 0.4 % of the vapour pressure
        between −40 and 50 °C.

        >>> damp = Weather(0, 60, {TEMPERATURE: np.array([20.0]), HUMIDITY: np.array([50.0])}).with_dew_point()
        >>> round(float(damp.values["dew_point_c"][0]), 1)
        9.3
        """
        if DEW_POINT in self.values or not {TEMPERATURE, HUMIDITY} <= set(self.values):
            return self
        temperature, humidity = self.values[TEMPERATURE], np.maximum(self.values[HUMIDITY], 1.0)
        power = np.log(humidity / 100) + 17.625 * temperature / (243.04 + temperature)
        return replace(self, values={**self.values, DEW_POINT: 243.04 * power / (17.625 - power)})


def _inside(index: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    """Positions, those outside sent to the one past the end."""
    found: NDArray[np.int64] = np.where((index < 0) | (index >= length), length, index)
    return found


def stretch(values: NDArray[np.float64], first_slot: int, new_first: int, new_last: int) -> NDArray[np.float64]:
    """Cut or widen the last axis of ``values``, which begins at ``first_slot``, to ``[new_first, new_last)``.

    >>> stretch(np.array([1.0, 2.0, 3.0]), 10, 11, 15).tolist()
    [2.0, 3.0, nan, nan]
    """
    length = max(new_last - new_first, 0)
    out = np.full((*values.shape[:-1], length), np.nan)
    begin, end = max(new_first, first_slot), min(new_last, first_slot + values.shape[-1])
    if begin < end:
        out[..., begin - new_first : end - new_first] = values[..., begin - first_slot : end - first_slot]
    return out


@dataclass(frozen=True, eq=False)
class LocalClock:
    """What local clocks and calendars show at each of a run of slots.

    Attributes
    ----------
    first_slot, interval_minutes : int
    offset : ndarray of int64, shape (n,)
        Local time less UTC. [s]
    day : ndarray of int64, shape (n,)
        Local date, in days since 1970-01-01.
    second : ndarray of int64, shape (n,)
        Local time of day at the interval's start. [s]
    weekday : ndarray of int64, shape (n,)
        0 for Monday.
    holiday : ndarray of bool, shape (n,)
        The local date is a public holiday; all False without a calendar.
    """

    first_slot: int
    interval_minutes: int
    offset: NDArray[np.int64]
    day: NDArray[np.int64]
    second: NDArray[np.int64]
    weekday: NDArray[np.int64]
    holiday: NDArray[np.bool_]

    @property
    def working_day(self) -> NDArray[np.bool_]:
        """Monday to Friday and no holiday."""
        working: NDArray[np.bool_] = (self.weekday < 5) & ~self.holiday
        return working

    def cut(self, first_slot: int, last_slot: int) -> LocalClock:
        """The clock over part of its slots."""
        part = slice(first_slot - self.first_slot, last_slot - self.first_slot)
        columns = {name: getattr(self, name)[part] for name in ("offset", "day", "second", "weekday", "holiday")}
        return replace(self, first_slot=first_slot, **columns)


def local_clock(
    first_slot: int, last_slot: int, interval_minutes: int, zone: ZoneInfo, holidays: str = ""
) -> LocalClock:
    """Work out the local clock over the slots ``[first_slot, last_slot)``.

    Parameters
    ----------
    zone : ZoneInfo
    holidays : str
        ISO 3166 code of the holiday calendar, such as ``AU-VIC``; empty for none.

    Examples
    --------
    >>> clock = local_clock(0, 2, 60, ZoneInfo("Asia/Seoul"))
    >>> clock.second.tolist(), clock.weekday.tolist()
    ([32400, 36000], [3, 3])
    """
    seconds = np.arange(first_slot, last_slot, dtype=np.int64) * (60 * interval_minutes)
    blocks, place = np.unique(seconds // CLOCK_BLOCK_SECONDS, return_inverse=True)
    starts = [datetime.fromtimestamp(block * CLOCK_BLOCK_SECONDS, UTC) for block in blocks.tolist()]
    offsets = np.array([int((zone.utcoffset(s.astimezone(zone)) or timedelta()).total_seconds()) for s in starts])
    offset = offsets.astype(np.int64)[place.reshape(-1)] if len(seconds) else np.empty(0, np.int64)
    local = seconds + offset
    day = local // 86_400
    return LocalClock(
        first_slot,
        interval_minutes,
        offset,
        day,
        local % 86_400,
        (day + 3) % 7,  # 1970-01-01 was a Thursday
        holidays_among(day, holidays),
    )


def holidays_among(day: NDArray[np.int64], region: str) -> NDArray[np.bool_]:
    """Which local dates (days since 1970) are public holidays of a region; none without one.

    >>> holidays_among(np.array([20_315, 20_316]), "KR").tolist()   # 2025-08-15 and 16
    [True, False]
    """
    if not region:
        return np.zeros(day.shape, dtype=bool)
    dates, place = np.unique(day, return_inverse=True)
    found = [day_type(date(1970, 1, 1) + timedelta(days=n), region) is DayType.HOLIDAY for n in dates.tolist()]
    return np.array(found, dtype=bool)[place.reshape(day.shape)]


def day_bounds(day: date, interval_minutes: int, zone: ZoneInfo) -> tuple[int, int]:
    """First slot of a local day, and of the day after: those that start in it.

    >>> [(end - first) for first, end in (day_bounds(date(2013, 10, n), 30, ZoneInfo("Australia/Melbourne"))
    ...                                   for n in (5, 6))]
    [48, 46]
    """
    midnight = datetime(day.year, day.month, day.day, tzinfo=zone)
    after = day + timedelta(days=1)
    seconds = (midnight.timestamp(), datetime(after.year, after.month, after.day, tzinfo=zone).timestamp())
    first, last = (-int(-second // (60 * interval_minutes)) for second in seconds)
    return first, last


def days_of(loads: Loads) -> float:
    """How long the loads are. [days]"""
    return float(loads.load.shape[1] / slots_per_day(loads.interval_minutes))
