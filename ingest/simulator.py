"""Simulated homes: meters that report load, solar output and answers to events, some late, some never.

Everything follows from the plan: the same plan gives the same bytes, and a home's readings depend neither on
how many other homes there are nor on how the readings are cut into batches.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from functools import cached_property
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from domain.intervals import slot_of
from domain.readings import MISSING, Quality, Readings, Register
from ingest.appliances import HomeLoad, Response, draw_household, draw_load, draw_response, load_with_response
from ingest.arrivals import Arrivals, draw_arrivals, estimates
from ingest.simulation_plan import SimulatedEvent, SimulationPlan
from ingest.weather import DAY_SECONDS, STEP_MINUTES, Steps, Weather, make_weather, steps_between

__all__ = ["SimulatedEvent", "SimulatedHome", "Simulation", "SimulationPlan", "simulate"]

NEW_HOME = 3
"""This home's meter was installed two days before the last event: too late to be certified."""

HOMES_PER_FEEDER = 25
GROUP_READINGS = 500_000
"""Homes are worked out in groups of about so many readings, which bounds the memory."""

_WEATHER, _HOUSEHOLD, _RESPONSE, _ARRIVAL = range(4)


@dataclass(frozen=True)
class SimulatedHome:
    """A home as the utility knows it, and whether it answers events, which the utility doesn't.

    Attributes
    ----------
    meter, feeder : str
    contracted_w : int
        Capacity it is contracted to reduce: about what it can, some promise too much. [W]
    pv_wp : int
        Peak rating of its solar panels, 0 without. [W]
    responds : bool
    """

    meter: str
    contracted_w: int
    feeder: str
    pv_wp: int
    responds: bool


@dataclass(frozen=True)
class SimulatedRows:
    """Readings of both registers of some homes, in columns; export is MISSING where there is no register."""

    home: NDArray[np.int32]
    slot: NDArray[np.int64]
    import_wh: NDArray[np.int32]
    export_wh: NDArray[np.int32]
    quality: NDArray[np.int8]
    revision: NDArray[np.int16]


@dataclass(frozen=True)
class _HomeModel:
    """A home's draws before events."""

    load: HomeLoad
    response: Response
    pv_wp: int
    contracted_w: int


class Simulation:
    """The homes of a plan and their readings, worked out when they are asked for."""

    def __init__(self, plan: SimulationPlan) -> None:
        self.plan = plan
        self._start, self._end = plan.bounds
        self._per_interval = plan.interval_minutes // STEP_MINUTES
        self._first_slot = slot_of(self._start, plan.interval_minutes)

    @property
    def intervals(self) -> int:
        """Intervals from the first local midnight to the last."""
        return slot_of(self._end, self.plan.interval_minutes) - self._first_slot

    @cached_property
    def homes(self) -> list[SimulatedHome]:
        """Every home, by number."""
        return [self._home(number) for number in range(1, self.plan.homes + 1)]

    @cached_property
    def temperature_c(self) -> NDArray[np.float64]:
        """Outdoor temperature, the mean of each interval. [°C]"""
        mean_c: NDArray[np.float64] = self._weather.temperature_c.reshape(-1, self._per_interval).mean(axis=1)
        return mean_c

    def batches(self) -> Iterator[Readings]:
        """Readings that came on time, estimates among them, by groups of homes: import before export."""
        for on_time, _ in self.row_groups():
            yield from self._readings(on_time)

    def late_batches(self) -> Iterator[Readings]:
        """Readings that came late: actual values, as revision 1 where an estimate came before them."""
        for _, late in self.row_groups():
            yield from self._readings(late)

    def row_groups(self) -> Iterator[tuple[SimulatedRows, SimulatedRows]]:
        """The readings that came on time and those that came late, of one group of homes after another."""
        size = max(1, GROUP_READINGS // self.intervals)
        for first in range(1, self.plan.homes + 1, size):
            numbers = range(first, min(first + size, self.plan.homes + 1))
            parts = [self._rows(number) for number in numbers]
            yield _joined([on_time for on_time, _ in parts]), _joined([late for _, late in parts])

    @cached_property
    def _steps(self) -> Steps:
        return steps_between(self._start, self._end, self.plan.first_day, self.plan.zone)

    @cached_property
    def _weather(self) -> Weather:
        return make_weather(self._steps, self.plan.latitude_deg, self._random(0, _WEATHER))

    @cached_property
    def _event_masks(self) -> list[NDArray[np.bool_]]:
        """The steps of each event, in order of time."""
        at = self._steps.seconds
        events = sorted(self.plan.events, key=lambda event: event.start)
        return [(at >= event.start.timestamp()) & (at < event.end.timestamp()) for event in events]

    @cached_property
    def _event_hours(self) -> NDArray[np.bool_]:
        """The steps of any day at the clock times of events; 14 to 20 h without events."""
        minute = np.round(self._steps.hour * 60).astype(np.int64)
        if not self._event_masks:
            return (minute >= 14 * 60) & (minute < 20 * 60)
        return np.isin(minute, minute[np.logical_or.reduce(self._event_masks)])

    @cached_property
    def _installed(self) -> int:
        """First interval of the new home's meter; none before it, and 0 without events."""
        if not self.plan.events:
            return 0
        zone = ZoneInfo(self.plan.zone)
        last = max(event.start for event in self.plan.events).astimezone(zone).date()
        midnight = datetime.combine(last - timedelta(days=2), time(), zone).astimezone(UTC)
        return max(0, slot_of(midnight, self.plan.interval_minutes) - self._first_slot)

    def _random(self, home: int, purpose: int) -> np.random.Generator:
        seed = np.random.SeedSequence(self.plan.seed, spawn_key=(home, purpose))
        return np.random.Generator(np.random.SFC64(seed))

    def _model(self, number: int) -> _HomeModel:
        random = self._random(number, _HOUSEHOLD)
        pv_wp = int(random.random() < self.plan.pv_share) * 100 * int(random.integers(25, 56))
        promise = random.uniform(0.6, 1.4)
        household = draw_household(random)
        load = draw_load(household, self._steps, self._weather, random)
        response = draw_response(self.plan.response_share, self._random(number, _RESPONSE))
        expected_w = response.share * load.flexible_w[self._event_hours].mean()
        return _HomeModel(load, response, pv_wp, max(100, 100 * round(promise * expected_w / 100)))

    def _home(self, number: int) -> SimulatedHome:
        model = self._model(number)
        feeder = f"feeder-{(number - 1) // HOMES_PER_FEEDER + 1}"
        return SimulatedHome(meter_name(number), model.contracted_w, feeder, model.pv_wp, model.response.responds)

    def _rows(self, number: int) -> tuple[SimulatedRows, SimulatedRows]:
        """One home's rows on time and late."""
        model = self._model(number)
        random = self._random(number, _RESPONSE)
        draw_response(self.plan.response_share, random)
        load_w = load_with_response(model.load, model.response, self._event_masks, random)
        net_wh = self._energy(load_w) - self._energy(model.pv_wp * self._weather.sun_share)
        import_wh = _whole(np.maximum(net_wh, 0))
        export_wh = _whole(np.maximum(-net_wh, 0)) if model.pv_wp else None
        random = self._random(number, _ARRIVAL)
        arrivals = draw_arrivals(self.intervals, self._per_day, self.plan.missing_pct, self.plan.late_pct, random)
        if number == NEW_HOME:
            arrivals.missing[: self._installed] = True
        return self._on_time(number, import_wh, export_wh, arrivals), self._late(
            number, import_wh, export_wh, arrivals
        )

    @property
    def _per_day(self) -> int:
        return DAY_SECONDS // (60 * self.plan.interval_minutes)

    def _energy(self, power_w: NDArray[np.float64]) -> NDArray[np.float64]:
        """Energy in each interval. [Wh]"""
        hours: float = STEP_MINUTES / 60
        energy_wh: NDArray[np.float64] = power_w.reshape(-1, self._per_interval).sum(axis=1) * hours
        return energy_wh

    def _on_time(
        self,
        number: int,
        import_wh: NDArray[np.int32],
        export_wh: NDArray[np.int32] | None,
        arrivals: Arrivals,
    ) -> SimulatedRows:
        import_wh = np.where(arrivals.estimated, estimates(import_wh, self._per_day), import_wh)
        if export_wh is not None:
            export_wh = np.where(arrivals.estimated, estimates(export_wh, self._per_day), export_wh)
        quality = np.where(arrivals.estimated, Quality.ESTIMATED, Quality.ACTUAL)
        return self._select(number, arrivals.on_time, import_wh, export_wh, quality, np.zeros_like(quality))

    def _late(
        self,
        number: int,
        import_wh: NDArray[np.int32],
        export_wh: NDArray[np.int32] | None,
        arrivals: Arrivals,
    ) -> SimulatedRows:
        quality = np.full(self.intervals, Quality.ACTUAL)
        return self._select(number, arrivals.afterwards, import_wh, export_wh, quality, arrivals.estimated)

    def _select(
        self,
        number: int,
        rows: NDArray[np.bool_],
        import_wh: NDArray[np.int32],
        export_wh: NDArray[np.int32] | None,
        quality: NDArray[np.int64],
        revision: NDArray[np.int64] | NDArray[np.bool_],
    ) -> SimulatedRows:
        at = np.flatnonzero(rows)
        exported = np.full(len(at), MISSING) if export_wh is None else export_wh[at]
        return SimulatedRows(
            np.full(len(at), number, np.int32),
            self._first_slot + at,
            import_wh[at].astype(np.int32),
            exported.astype(np.int32),
            quality[at].astype(np.int8),
            revision[at].astype(np.int16),
        )

    def _readings(self, rows: SimulatedRows) -> Iterator[Readings]:
        for register, wh in ((Register.IMPORT, rows.import_wh), (Register.EXPORT, rows.export_wh)):
            has = wh != MISSING
            if not has.any():
                continue
            numbers, meter = np.unique(rows.home[has], return_inverse=True)
            names = np.array([meter_name(number) for number in numbers.tolist()], dtype=object)
            yield Readings(
                self.plan.interval_minutes,
                register,
                names,
                meter.astype(np.int32),
                rows.slot[has],
                wh[has],
                rows.quality[has],
                rows.revision[has],
            )


def simulate(plan: SimulationPlan) -> Simulation:
    """The simulation of a plan. Nothing is worked out before it is asked for."""
    return Simulation(plan)


def meter_name(number: int) -> str:
    """Name of the home's meter.

    >>> meter_name(7)
    'home-0007'
    """
    return f"home-{number:04d}"


def _whole(energy_wh: NDArray[np.float64]) -> NDArray[np.int32]:
    """Whole watt-hours as a counting register shows them: what is left over counts in the next interval.

    >>> _whole(np.array([0.6, 0.6, 0.6])).tolist()
    [0, 1, 0]
    """
    counter = np.floor(np.cumsum(energy_wh) + 1e-9).astype(np.int64)
    return np.diff(counter, prepend=0).astype(np.int32)


def _joined(parts: list[SimulatedRows]) -> SimulatedRows:
    names = SimulatedRows.__dataclass_fields__
    return SimulatedRows(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))
