"""A simulated home's appliances: what it draws, what of that it can put off, and how it answers events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ingest.weather import STEP_MINUTES, Steps, Weather

Watts = NDArray[np.float64]

REBOUND_MINUTES = 90
"""How long after an event a home makes up for part of what it put off. [min]"""


@dataclass(frozen=True)
class Household:
    """What sets one home apart from another. Powers are electrical.

    Attributes
    ----------
    standby_w, fridge_w, living_w, hob_w, ac_w : float
        Always on; the fridge while it runs; light and screens at their peak; cooking; air conditioning. [W]
    fridge_minutes, fridge_duty : float
        Period of the fridge's cycle, and the part of it that it runs. [min], 0 to 1
    morning_hour, evening_hour : float
        When the household is busiest. [h]
    home_by_day : float
        How much of the household is at home on working days, 0 to 1.
    thermostat_c : float
        Outdoor temperature above which the home is cooled. [°C]
    washes_per_week : float
    phase : float
        Keeps homes from cycling in step, 0 to 1.
    """

    standby_w: float
    fridge_w: float
    living_w: float
    hob_w: float
    ac_w: float
    fridge_minutes: float
    fridge_duty: float
    morning_hour: float
    evening_hour: float
    home_by_day: float
    thermostat_c: float
    washes_per_week: float
    phase: float


def draw_household(random: np.random.Generator) -> Household:
    """Draw a home from a middling population, 8 to 15 kWh a day for most."""
    return Household(
        standby_w=random.uniform(50, 130),
        fridge_w=random.uniform(80, 140),
        living_w=random.uniform(180, 480),
        hob_w=random.uniform(900, 2000),
        ac_w=random.uniform(700, 1600),
        fridge_minutes=random.uniform(35, 65),
        fridge_duty=random.uniform(0.35, 0.5),
        morning_hour=random.normal(7.2, 0.6),
        evening_hour=random.normal(20.0, 0.7),
        home_by_day=float(random.choice([random.uniform(0.05, 0.25), random.uniform(0.6, 0.95)], p=[0.55, 0.45])),
        thermostat_c=random.normal(24.5, 1.2),
        washes_per_week=random.uniform(2, 6),
        phase=random.random(),
    )


@dataclass(frozen=True)
class HomeLoad:
    """Power that a home would draw if nobody asked it not to.

    Attributes
    ----------
    fixed_w, flexible_w : ndarray of float64, shape (n,)
        What it can't and what it can put off: half of its light and screens, cooking, washing, cooling. [W]
    """

    fixed_w: Watts
    flexible_w: Watts


def draw_load(home: Household, steps: Steps, weather: Weather, random: np.random.Generator) -> HomeLoad:
    """Draw the home's load in each step."""
    minutes = steps.seconds / 60
    presence = _presence(home, steps)
    day_mood = random.lognormal(0, 0.18, steps.days)[steps.day]
    living_w = home.living_w * presence * day_mood * random.gamma(6, 1 / 6, len(minutes))
    fridge_on = (minutes / home.fridge_minutes + home.phase) % 1 < home.fridge_duty
    hot_c = weather.temperature_c - home.thermostat_c
    at_home = np.minimum(1, 0.1 + 1.1 * presence)
    duty = np.clip(0.1 + hot_c / 9, 0, 1) * (hot_c > 0) * at_home
    cooling_w = home.ac_w * (0.5 * duty + 0.5 * ((minutes / 20 + home.phase) % 1 < duty))
    put_off_w = cooling_w + 0.5 * living_w
    put_off_w += _cooking(home, steps, random) + _washing(home, steps, random)
    return HomeLoad(home.standby_w + home.fridge_w * fridge_on + 0.5 * living_w, put_off_w)


def _presence(home: Household, steps: Steps) -> NDArray[np.float64]:
    """How busy the household is, about 0 to 1, by the clock and the kind of day."""
    clock = np.arange(0, 24, STEP_MINUTES / 60)
    evening = _bump(clock, home.evening_hour, 2.3)
    by_day = _plateau(clock, 8.5, 18)
    working_day = 0.08 + 0.55 * _bump(clock, home.morning_hour, 0.8) + 0.4 * home.home_by_day * by_day
    weekend = 0.08 + 0.4 * _bump(clock, home.morning_hour + 1.7, 1.3) + 0.45 * by_day
    profiles = np.minimum(1, np.stack([working_day, weekend]) + 0.9 * evening)
    at = np.round(steps.hour * 60 / STEP_MINUTES).astype(np.int64)
    chosen: NDArray[np.float64] = profiles[(steps.weekday >= 5).astype(np.int64), at]
    return chosen


def _bump(clock: NDArray[np.float64], centre: float, width: float) -> NDArray[np.float64]:
    bump: NDArray[np.float64] = np.exp(-0.5 * ((clock - centre) / width) ** 2)
    return bump


def _plateau(clock: NDArray[np.float64], start: float, end: float) -> NDArray[np.float64]:
    plateau: NDArray[np.float64] = 1 / (1 + np.exp(-2 * (clock - start))) / (1 + np.exp(2 * (clock - end)))
    return plateau


def _cooking(home: Household, steps: Steps, random: np.random.Generator) -> Watts:
    """Breakfast on some days, supper on most."""
    start_hour = np.stack(
        [
            random.normal(home.morning_hour, 0.4, steps.days),
            random.normal(home.evening_hour - 1.3, 0.6, steps.days),
        ]
    )
    minutes = np.stack([random.uniform(5, 15, steps.days), random.uniform(20, 50, steps.days)])
    happens = random.random((2, steps.days)) < np.array([[0.6], [0.85]])
    return _runs(steps, start_hour, minutes, home.hob_w * happens)


def _washing(home: Household, steps: Steps, random: np.random.Generator) -> Watts:
    """A wash heats for twenty minutes and turns for fifty; at weekends there are more, and earlier."""
    weekend = np.isin(steps.weekday[np.searchsorted(steps.day, np.arange(steps.days))], (5, 6))
    happens = random.random(steps.days) < home.washes_per_week / 7 * np.where(weekend, 1.5, 0.8)
    hour = np.where(weekend, random.uniform(9, 17, steps.days), random.uniform(15, 21, steps.days))
    heating = _runs(steps, hour, np.full(steps.days, 20.0), 1900.0 * happens)
    return heating + _runs(steps, hour + 1 / 3, np.full(steps.days, 50.0), 250.0 * happens)


def _runs(
    steps: Steps,
    start_hour: NDArray[np.floating],
    minutes: NDArray[np.floating],
    power_w: NDArray[np.floating],
) -> Watts:
    """Add up runs of an appliance, one column a day: each starts on a step and lasts whole steps."""
    first_of_day = np.searchsorted(steps.day, np.arange(steps.days))
    start = (first_of_day + np.round(start_hour * 60 / STEP_MINUTES).astype(np.int64)).ravel()
    end = start + np.maximum(1, np.round(minutes / STEP_MINUTES)).astype(np.int64).ravel()
    n = len(steps.seconds)
    power = np.broadcast_to(power_w, start_hour.shape).ravel()
    change = np.bincount(np.clip(start, 0, n), power, n + 1) - np.bincount(np.clip(end, 0, n), power, n + 1)
    running: Watts = np.maximum(np.cumsum(change[:n]), 0)
    return running


@dataclass(frozen=True)
class Response:
    """How a home answers demand-response events.

    Attributes
    ----------
    responds : bool
        Whether it does anything at all.
    share : float
        Part of its flexible load that it puts off, 0.2 to 0.6.
    rebound : float
        Part of the energy put off that it draws afterwards.
    """

    responds: bool
    share: float
    rebound: float


def draw_response(response_share: float, random: np.random.Generator) -> Response:
    """Draw a home's response; ``response_share`` of all homes respond."""
    return Response(random.random() < response_share, random.uniform(0.2, 0.6), random.uniform(0.15, 0.45))


def load_with_response(
    load: HomeLoad,
    response: Response,
    events: Sequence[NDArray[np.bool_]],
    random: np.random.Generator,
) -> Watts:
    """The home's load with its answer to each event, given as a mask over the steps. [W]

    The share varies a little from event to event. What was put off comes back in part over the ninety
    minutes after the event, most of it at once.
    """
    total = load.fixed_w + load.flexible_w
    tail = np.arange(REBOUND_MINUTES // STEP_MINUTES, 0, -1, dtype=np.float64)
    for event in events:
        share = np.clip(response.share + random.normal(0, 0.04), 0.2, 0.6)
        if not response.responds or not event.any():
            continue
        put_off_w = share * load.flexible_w[event]
        total[event] -= put_off_w
        after = int(np.flatnonzero(event)[-1]) + 1
        back = tail[: len(total) - after] / tail.sum()
        total[after : after + len(back)] += response.rebound * put_off_w.sum() * back
    return total
