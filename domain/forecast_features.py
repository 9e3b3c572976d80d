"""What a day-ahead load forecast may look at: loads at least a day old, the weather of the day, and the calendar.

For a target interval t, loads count up to t less one day, whatever the hour at which the forecast is made, so a
forecast of a whole day can be made at its midnight. Weather counts up to the end of t's local day: that of a weather
forecast, or the actual one where a forecast is judged in hindsight; the caller says which.

Loads enter relative to the site's own level, in logarithms, and the forecast is a correction to the mean of like
days. So sites of any size share one model, and a model that knows nothing is a good naive forecast.
"""

from __future__ import annotations

from dataclasses import dataclass
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from domain.intervals import slot_start, slots_per_day
from domain.series import (
    DIFFUSE,
    DIRECT,
    TEMPERATURE,
    InvalidSeriesError,
    Loads,
    LocalClock,
    Weather,
    local_clock,
    stretch,
)
from domain.smoothing import FADE_HALF_LIVES, bridge, day_extreme, fading_mean

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

LAG_DAYS = (1, 2, 3, 4, 5, 6, 7, 14)
"""Days back, at the same local clock time, at which a load is looked up."""

LIKE_DAYS = 7
"""Like days are those of the last seven that are working days as the target's is, or are not as it is not."""

LEVEL_DAYS = 28
"""The level of a site is its mean load over so many days, of which half must be known."""


FLOOR = 0.01
"""Added to loads, as a share of the level, before logarithms are taken, so that zero has one."""

FILL_WEEKS = 4
"""A load that is missing as a feature is taken from the same weekday and hour of up to so many weeks before."""

HISTORY_DAYS = 1 + max(LAG_DAYS) + 7 * FILL_WEEKS
"""How far back from a target any load is looked at. [days]"""

FEWEST_DAYS = 1 + LEVEL_DAYS // 2
"""With less history than this there is no level, so nothing can be forecast. [days]"""

MEMORY_HOURS = (3, 12, 36, 96)
"""Half-lives of the fading means of temperature, as buildings remember it. [h]"""

HEATING_C, COOLING_C = 16.0, 21.0
"""Below the one a building may be heated, above the other cooled. [°C]"""

LONGEST_WEATHER_GAP_HOURS = 3
"""A gap in the weather up to so long is bridged by a straight line. [h]"""

DAY_HARMONICS, YEAR_HARMONICS = 6, 2


@dataclass(frozen=True, eq=False)
class Features:
    """Inputs of a model for some sites and target intervals, and how its outputs become loads.

    Attributes
    ----------
    sites : ndarray of str objects, shape (sites,)
    first_slot, interval_minutes : int
        Of the first target.
    site_names, common_names : tuple of str
        Inputs that differ from site to site, and those that all sites share.
    by_site : ndarray of float32, shape (sites, n, len(site_names))
    common : ndarray of float32, shape (n, len(common_names))
    base : ndarray of float64, shape (sites, n)
        The mean of like days, in logarithms relative to ``level``: what a correction of zero stands for.
    level : ndarray of float64, shape (sites, n)
        Mean load of the last 28 days that may be known. [the load's unit]
    clock : LocalClock
        Of the targets.
    weather_missing : ndarray of bool, shape (n,)
    load_missing : ndarray of bool, shape (sites, n)
        Targets that lack weather, or loads that even earlier weeks don't supply: they can't be forecast.
    filled : ndarray of bool, shape (sites, n)
        Targets for which a load of an earlier week stands in for a missing one.
    """

    sites: NDArray[np.object_]
    first_slot: int
    interval_minutes: int
    site_names: tuple[str, ...]
    common_names: tuple[str, ...]
    by_site: NDArray[np.float32]
    common: NDArray[np.float32]
    base: FloatArray
    level: FloatArray
    clock: LocalClock
    weather_missing: BoolArray
    load_missing: BoolArray
    filled: BoolArray

    @property
    def names(self) -> tuple[str, ...]:
        """All inputs, those of sites first."""
        return self.site_names + self.common_names

    @property
    def last_slot(self) -> int:
        """One past the last target."""
        return self.first_slot + len(self.common)

    @property
    def usable(self) -> BoolArray:
        """Targets, by site, for which every input is known."""
        known: BoolArray = ~(self.load_missing | self.weather_missing)
        return known

    def target(self, load: FloatArray) -> FloatArray:
        """The correction that would have been right for a load of shape (sites, n); NaN where anything is missing."""
        with np.errstate(divide="ignore", invalid="ignore"):
            correction = np.log(load / self.level + FLOOR) - self.base
        return np.where(self.usable, correction, np.nan)

    def to_load(self, correction: FloatArray) -> FloatArray:
        """Loads for corrections of shape (sites, n); never negative. [the load's unit]"""
        load: FloatArray = np.maximum(self.level * (np.exp(self.base + correction) - FLOOR), 0.0)
        return load


def make_features(
    loads: Loads,
    weather: Weather,
    first_slot: int,
    last_slot: int,
    zone: ZoneInfo,
    holidays: str = "",
) -> Features:
    """Work out the inputs for the targets ``[first_slot, last_slot)``.

    Of ``loads`` nothing later than a day before each target is used, and of ``weather`` nothing later than the end of
    its local day.

    Parameters
    ----------
    loads : Loads
        Also the history: what lies more than 43 days before a target doesn't enter.
    weather : Weather
    zone : ZoneInfo
        Whose local days and clock the load follows.
    holidays : str
        ISO 3166 code of the holiday calendar; empty for none.

    Raises
    ------
    InvalidSeriesError
        The weather has no temperature.
    """
    if TEMPERATURE not in weather.values:
        there = ", ".join(weather.values) or "none"
        raise InvalidSeriesError(f"the weather has no {TEMPERATURE!r}; a forecast needs it. Columns there: {there}")
    minutes = loads.interval_minutes
    day = slots_per_day(minutes)
    begin, end = first_slot - HISTORY_DAYS * day, last_slot + day
    clock = local_clock(begin, end, minutes, zone, holidays)
    grid = _Grid(begin, first_slot, last_slot, day, clock)
    raw = stretch(loads.load, loads.first_slot, begin, last_slot)
    load = _filled(raw, day)
    level = _mean_before(raw, LEVEL_DAYS * day, day)[:, grid.targets]
    level = np.where(level > 0, level, np.nan)
    of_site, base, stale = _load_features(load, np.isnan(raw), level, grid)
    common, weather_missing = _common_features(weather, grid)
    by_site = np.stack(list(of_site.values()), axis=-1)
    load_missing = np.isnan(by_site).any(axis=-1) | np.isnan(base)
    return Features(
        sites=loads.sites,
        first_slot=first_slot,
        interval_minutes=minutes,
        site_names=tuple(of_site),
        common_names=tuple(common),
        by_site=np.nan_to_num(by_site).astype(np.float32),
        common=np.nan_to_num(np.stack(list(common.values()), axis=-1)).astype(np.float32),
        base=base,
        level=level,
        clock=clock.cut(first_slot, last_slot),
        weather_missing=weather_missing,
        load_missing=load_missing,
        filled=stale & ~load_missing,
    )


class _Grid:
    """Where the targets lie in the stretch that is looked at, and their lags."""

    def __init__(self, begin: int, first_slot: int, last_slot: int, day: int, clock: LocalClock) -> None:
        self.begin, self.day, self.clock = begin, day, clock
        self.targets = slice(first_slot - begin, last_slot - begin)
        self.minutes = clock.interval_minutes
        self.end = begin + len(clock.day)
        self.at = np.arange(self.targets.start, self.targets.stop)
        self.lags = {days: self._lag(days) for days in LAG_DAYS}
        working = clock.working_day
        self.like = np.stack([working[self.lags[d]] == working[self.at] for d in range(1, LIKE_DAYS + 1)])
        self.like |= ~self.like.any(axis=0)  # none: after a week of holidays all days stand in

    def _lag(self, days: int) -> IntArray:
        """Positions of the same local clock time so many days before; never less than 24 hours back.

        Where clocks were put forward in between, yesterday's same time is 23 hours ago, which is too late to be used.
        """
        straight = self.at - days * self.day
        shift = (self.clock.offset[self.at] - self.clock.offset[straight]) // (60 * self.minutes)
        return np.minimum(straight + shift, self.at - self.day)

    def like_mean(self, values: FloatArray) -> FloatArray:
        """Mean of a series over the like days of each target; ``values`` is over the whole stretch, time last."""
        total = np.zeros((*values.shape[:-1], len(self.at)))
        for days in range(1, LIKE_DAYS + 1):
            total += np.where(self.like[days - 1], values[..., self.lags[days]], 0.0)
        mean: FloatArray = total / self.like.sum(axis=0)
        return mean


def _filled(load: FloatArray, day: int) -> FloatArray:
    """Missing loads replaced by those of earlier weeks, so never by anything later."""
    out = load.copy()
    for weeks in range(1, FILL_WEEKS + 1):
        back = 7 * weeks * day
        if back >= load.shape[1]:
            break
        gap = np.isnan(out[:, back:])
        out[:, back:][gap] = load[:, :-back][gap]
    return out


def _mean_before(values: FloatArray, window: int, lead: int) -> FloatArray:
    """Mean over the ``window`` values that end ``lead`` before each position; NaN where under half are known."""
    known = ~np.isnan(values)
    zero = np.zeros((*values.shape[:-1], 1))
    total = np.concatenate([zero, np.cumsum(np.where(known, values, 0.0), axis=-1)], axis=-1)
    count = np.concatenate([zero, np.cumsum(known, axis=-1)], axis=-1)
    stop = np.clip(np.arange(values.shape[-1]) - lead + 1, 0, None)
    start = np.clip(stop - window, 0, None)
    n = count[..., stop] - count[..., start]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(2 * n >= window, (total[..., stop] - total[..., start]) / n, np.nan)


def _load_features(
    load: FloatArray, missing: BoolArray, level: FloatArray, grid: _Grid
) -> tuple[dict[str, FloatArray], FloatArray, BoolArray]:
    """Inputs from past loads, their base, and where a stand-in took part."""
    day = grid.day

    def relative(values: FloatArray) -> FloatArray:
        with np.errstate(divide="ignore", invalid="ignore"):
            logs: FloatArray = np.log(values / level + FLOOR)
        return logs

    lagged = {days: relative(load[:, at]) for days, at in grid.lags.items()}
    stale = np.zeros(level.shape, dtype=bool)
    for at in grid.lags.values():
        stale |= missing[:, at]
    week = np.stack([lagged[d] for d in range(1, LIKE_DAYS + 1)])
    base = np.where(grid.like[:, None, :], week, 0.0).sum(axis=0) / grid.like.sum(axis=0)
    out = {f"load_{days}d": values - base for days, values in lagged.items()}
    out["load_week"] = week.mean(axis=0) - base
    out["load_spread"] = week.std(axis=0)
    out["base"] = base
    for slots in (1, 2, 4):
        out[f"load_1d_{slots}_before"] = relative(load[:, grid.at - day - slots]) - base
    for slots in (-2, -1, 1, 2):
        out[f"load_7d_{slots:+d}"] = relative(load[:, grid.lags[7] + slots]) - base
    daily = _mean_before(load, day, day)
    for days in (0, 1, 6):
        out[f"day_ended_{days + 1}d"] = relative(daily[:, grid.at - days * day])
    out["week_ended_1d"] = relative(_mean_before(load, 7 * day, day)[:, grid.targets])
    out["log_level"] = np.log(level)
    return out, base, stale


def _common_features(weather: Weather, grid: _Grid) -> tuple[dict[str, FloatArray], BoolArray]:
    """Inputs from weather and calendar, and the targets that lack weather."""
    out: dict[str, FloatArray] = {}
    missing = np.zeros(len(grid.at), dtype=bool)
    for name, values in _weather_series(weather, grid).items():
        now, like = values[grid.targets], grid.like_mean(values)
        out[name] = now
        out[f"{name}_less_like"] = now - like
        for days in (1, 7):
            out[f"{name}_less_{days}d"] = now - values[grid.lags[days]]
        missing |= np.isnan(now) | np.isnan(like) | np.isnan(values[grid.lags[1]]) | np.isnan(values[grid.lags[7]])
    return out | _calendar(grid), missing


def _weather_series(weather: Weather, grid: _Grid) -> dict[str, FloatArray]:
    """The weather and what follows from it, over the whole stretch."""
    per_hour = 60 / grid.minutes
    longest = int(LONGEST_WEATHER_GAP_HOURS * per_hour)
    # Fading means reach back before the stretch, so that they don't depend on where it begins.
    reach = int(FADE_HALF_LIVES * max(MEMORY_HOURS) * per_hour)
    columns = weather.on(grid.begin - reach, grid.end, grid.minutes)
    bridged = {name: bridge(values, longest) for name, values in columns.items()}
    temperature = bridged[TEMPERATURE]
    series = {TEMPERATURE: temperature[reach:]}
    for hours in MEMORY_HOURS:
        series[f"temperature_{hours}h"] = fading_mean(temperature, hours * per_hour)[reach:]
    for name in (TEMPERATURE, f"temperature_{MEMORY_HOURS[1]}h", f"temperature_{MEMORY_HOURS[2]}h"):
        series[f"{name}_heating"] = np.maximum(HEATING_C - series[name], 0.0)
        series[f"{name}_cooling"] = np.maximum(series[name] - COOLING_C, 0.0)
    for name, extreme in (("day_high", np.fmax), ("day_low", np.fmin)):
        series[name] = day_extreme(series[TEMPERATURE], grid.clock.day, extreme)
    for name, values in bridged.items():
        if name not in (TEMPERATURE, DIFFUSE, DIRECT):
            series[name] = values[reach:]
    if {DIFFUSE, DIRECT} <= set(bridged):
        sun = bridged[DIFFUSE] + bridged[DIRECT]
        series["sun"] = sun[reach:]
        series["sun_12h"] = fading_mean(sun, 12 * per_hour)[reach:]
    return series


def _calendar(grid: _Grid) -> dict[str, FloatArray]:
    """Time of day and year, weekday and holidays, of the targets and of the days that they are compared with."""
    clock, targets = grid.clock, grid.targets
    out: dict[str, FloatArray] = {}
    day_angle = 2 * np.pi * clock.second[targets] / 86_400
    year_angle = 2 * np.pi * (clock.day[targets] % 365.25) / 365.25
    for name, angle, harmonics in (("day", day_angle, DAY_HARMONICS), ("year", year_angle, YEAR_HARMONICS)):
        for n in range(1, harmonics + 1):
            out[f"{name}_sin{n}"], out[f"{name}_cos{n}"] = np.sin(n * angle), np.cos(n * angle)
    for weekday in range(7):
        out[f"weekday_{weekday}"] = (clock.weekday[targets] == weekday).astype(np.float64)
    day, holiday = grid.day, clock.holiday
    for name, at in (
        ("holiday", grid.at),
        ("holiday_yesterday", grid.at - day),
        ("holiday_tomorrow", grid.at + day),
        ("holiday_1d", grid.lags[1]),
        ("holiday_2d", grid.lags[2]),
        ("holiday_7d", grid.lags[7]),
    ):
        out[name] = holiday[at].astype(np.float64)
    working = clock.working_day.astype(np.float64)
    out["working_day"] = working[targets]
    out["working_1d"] = working[grid.lags[1]]
    out["like_days"] = grid.like.sum(axis=0).astype(np.float64)
    out["year_end"] = year_end(clock.day[targets]).astype(np.float64)
    out["year_end_7d"] = year_end(clock.day[grid.lags[7]]).astype(np.float64)
    return out


def year_end(day: IntArray) -> BoolArray:
    """Whether local dates (days since 1970) lie from 24 December to 6 January.

    >>> year_end(np.array(["2012-12-23", "2012-12-24", "2013-01-06", "2013-01-07"], "M8[D]").astype(int)).tolist()
    [False, True, True, False]
    """
    dates = day.astype("datetime64[D]")
    month = dates.astype("datetime64[M]").astype(np.int64) % 12
    of_month = (dates - dates.astype("datetime64[M]")).astype(np.int64) + 1
    found: BoolArray = ((month == 11) & (of_month >= 24)) | ((month == 0) & (of_month <= 6))
    return found


def why_unusable(features: Features, row: int) -> str:
    """Which targets of a site can't be forecast, and for want of what; empty when all can."""
    lacking = ~features.usable[row]
    if not lacking.any():
        return ""
    at = int(np.flatnonzero(lacking)[0])
    when = slot_start(features.first_slot + at, features.interval_minutes).isoformat()
    what = "weather" if features.weather_missing[at] else "loads of the weeks before"
    return f"site {features.sites[row]!r}: {int(lacking.sum())} intervals lack {what}, the first at {when}"


def naive_forecasts(loads: Loads, first_slot: int, last_slot: int) -> dict[str, FloatArray]:
    """The load 24 hours and seven days before each target, what any model has to beat.

    Returns
    -------
    dict of str to ndarray of float64, shape (sites, last_slot − first_slot)
        ``yesterday`` and ``last-week``; NaN where the load is missing.

    Examples
    --------
    >>> loads = Loads(np.array(["a"], dtype=object), 0, 60, np.arange(48.0)[None])
    >>> naive_forecasts(loads, 24, 27)["yesterday"].tolist()
    [[0.0, 1.0, 2.0]]
    """
    day = slots_per_day(loads.interval_minutes)
    return {
        name: stretch(loads.load, loads.first_slot, first_slot - days * day, last_slot - days * day)
        for name, days in (("yesterday", 1), ("last-week", 7))
    }
