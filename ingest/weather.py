"""Made-up weather and sun for the simulator: one sky over all homes, from a seed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from ingest.clocks import utc_to_local

STEP_MINUTES = 5
"""The simulator's own step, whatever the meters' interval. [min]"""

STEP_SECONDS = STEP_MINUTES * 60
DAY_SECONDS = 86_400


@dataclass(frozen=True)
class Steps:
    """The five-minute steps of some local days.

    Attributes
    ----------
    seconds : ndarray of int64, shape (n,)
        UTC start of each step. [s]
    hour : ndarray of float64, shape (n,)
        Local clock time. [h]
    sun_hour : ndarray of float64, shape (n,)
        The zone's standard time, which doesn't jump in summer. [h]
    day : ndarray of int64, shape (n,)
        Local day, 0 for the first.
    weekday : ndarray of int64, shape (n,)
        0 for Monday.
    day_of_year : ndarray of float64, shape (n,)
    """

    seconds: NDArray[np.int64]
    hour: NDArray[np.float64]
    sun_hour: NDArray[np.float64]
    day: NDArray[np.int64]
    weekday: NDArray[np.int64]
    day_of_year: NDArray[np.float64]

    @property
    def days(self) -> int:
        """Number of local days."""
        return int(self.day[-1]) + 1


def steps_between(start: datetime, end: datetime, first_day: date, zone: str) -> Steps:
    """Lay out the steps from ``start`` to ``end``, both midnights of the zone in UTC."""
    seconds = np.arange(int(start.timestamp()), int(end.timestamp()), STEP_SECONDS)
    local = utc_to_local(seconds, zone)
    midnight = int(datetime(first_day.year, first_day.month, first_day.day, tzinfo=UTC).timestamp())
    day = (local - midnight) // DAY_SECONDS
    sun = seconds + _standard_offset(first_day.year, zone)
    return Steps(
        seconds,
        hour=(local % DAY_SECONDS) / 3600,
        sun_hour=(sun % DAY_SECONDS) / 3600,
        day=day,
        weekday=(day + first_day.weekday()) % 7,
        day_of_year=(day + first_day.timetuple().tm_yday).astype(np.float64),
    )


def _standard_offset(year: int, zone: str) -> int:
    """The zone's offset outside summer time. [s]"""
    january = int(datetime(year, 1, 1, tzinfo=UTC).timestamp())
    july = january + int(timedelta(days=181).total_seconds())
    shown = utc_to_local(np.array([january, july]), zone)
    return int((shown - [january, july]).min())


@dataclass(frozen=True)
class Weather:
    """The weather in each step.

    Attributes
    ----------
    temperature_c : ndarray of float64, shape (n,)
        Outdoor temperature. [°C]
    sun_share : ndarray of float64, shape (n,)
        Output of a solar panel as a share of its peak rating, 0 at night.
    """

    temperature_c: NDArray[np.float64]
    sun_share: NDArray[np.float64]


def make_weather(steps: Steps, latitude_deg: float, random: np.random.Generator) -> Weather:
    """Draw the weather of a temperate place with hot, humid summers.

    The season and the hour set the mean; the days wander about it as an autoregressive series; clear days
    are hotter by day and cooler by night. Parameters resemble Seoul's normals, mean 26 °C in July.

    Parameters
    ----------
    steps : Steps
    latitude_deg : float
        Northern positive; south of the equator the seasons are reversed. [°]
    random : numpy.random.Generator
    """
    clearness = random.beta(2.2, 1.0, steps.days)
    anomaly_c = _wandering(steps.days, 0.7, 2.2, random)
    flicker = np.interp(steps.hour + 24 * steps.day, *_hourly(0.18, steps.days, random))
    warmest = 209 if latitude_deg >= 0 else 27
    season_c = 13 + 13.5 * np.cos(2 * np.pi * (steps.day_of_year - warmest) / 365.25)
    swing_c = (2.5 + 3 * clearness[steps.day]) * np.cos(2 * np.pi * (steps.sun_hour - 15) / 24)
    drift_c = np.interp(steps.day + steps.hour / 24, np.arange(steps.days) + 0.5, anomaly_c)
    sky = np.clip(0.15 + 0.85 * clearness[steps.day] + flicker, 0.08, 1)
    return Weather(season_c + swing_c + drift_c, sky * _clear_sky_share(steps, latitude_deg))


def _wandering(n: int, memory: float, spread: float, random: np.random.Generator) -> NDArray[np.float64]:
    """A first-order autoregressive series of standard deviation ``spread``."""
    shocks = random.normal(0, spread * np.sqrt(1 - memory**2), n)
    series = np.empty(n)
    level = random.normal(0, spread)
    for i, shock in enumerate(shocks):
        level = memory * level + shock
        series[i] = level
    return series


def _hourly(spread: float, days: int, random: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    hours = np.arange(25.0 + 24 * days)
    return hours, random.normal(0, spread, len(hours))


def _clear_sky_share(steps: Steps, latitude_deg: float) -> NDArray[np.float64]:
    """Output under a clear sky, from the sun's height alone; the sun stands highest at 12:30."""
    declination = np.radians(23.44) * np.sin(2 * np.pi * (steps.day_of_year - 81) / 365.25)
    latitude = np.radians(latitude_deg)
    around = np.cos(2 * np.pi * (steps.sun_hour - 12.5) / 24)
    height = np.sin(latitude) * np.sin(declination) + np.cos(latitude) * np.cos(declination) * around
    share: NDArray[np.float64] = 0.85 * np.maximum(height, 0) ** 1.15
    return share
