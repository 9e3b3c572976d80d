"""What tests of the live layer share: readings at an event's slots, resources, and rows of the live queries."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta
from functools import cache
from typing import Any

import numpy as np
from builders import a_wallet

from domain.certificates import Resource
from domain.plans import EventPlan
from domain.readings import Quality, Readings, make_readings
from ingest.simulator import SimulatedEvent, Simulation, SimulationPlan, simulate
from speed.stores import SpeedStore

Row = dict[str, Any]


def people(feeders: Mapping[str, str], capacity_w: int = 1000) -> dict[str, Resource]:
    """Resources on the feeders given by meter."""
    return {
        meter: Resource(meter, capacity_w, a_wallet(n), feeder) for n, (meter, feeder) in enumerate(feeders.items())
    }


def history(plan: EventPlan, meters: Iterable[str], wh: int = 500) -> Readings:
    """The same energy in every interval of history and adjustment window; nothing of the event."""
    slots = np.unique(np.concatenate([plan.slots[1:].ravel(), plan.slots[0, plan.event_intervals :]]))
    return at_slots(slots, dict.fromkeys(meters, [wh] * len(slots)), plan.interval_minutes)


def during(plan: EventPlan, usage: Mapping[str, list[int | None]], **stamp: int) -> Readings:
    """Readings of the event's intervals from its start on; None where there is none."""
    return at_slots(plan.slots[0, : plan.event_intervals], usage, plan.interval_minutes, **stamp)


def at_slots(
    slots: np.ndarray, usage: Mapping[str, list[int | None]], minutes: int, *, revision: int = 0, quality: int = 2
) -> Readings:
    rows = [
        (meter, int(slot), wh)
        for meter, energies in usage.items()
        for slot, wh in zip(slots, energies, strict=False)
        if wh is not None
    ]
    meters, at, energy = list(zip(*rows, strict=True)) or [()] * 3
    return make_readings(meters, at, energy, interval_minutes=minutes, revision=revision, quality=Quality(quality))


def rows_of(store: SpeedStore, sql: str, key: str = "meter") -> dict[Any, Row]:
    """Rows of a query by one of their columns, each there once."""
    rows = store.query(sql).to_pylist()
    found = {row[key]: row for row in rows}
    assert len(found) == len(rows)
    return found


def one_row(store: SpeedStore, sql: str) -> Row:
    (row,) = store.query(sql).to_pylist()
    return row


@cache
def simulated(plan: EventPlan, homes: int = 12, missing_pct: float = 0.0, seed: int = 5) -> Simulation:
    """Homes that answer the plan's event, with 36 days of readings, late ones and estimates among them."""
    zone = plan.programme.zone
    first: date = plan.event.start.date() - timedelta(days=34)
    return simulate(
        SimulationPlan(
            first_day=first,
            homes=homes,
            days=36,
            interval_minutes=plan.interval_minutes,
            seed=seed,
            zone=zone,
            events=(SimulatedEvent(plan.event.start, plan.event.end),),
            missing_pct=missing_pct,
            late_pct=4,
        )
    )


def simulated_people(simulation: Simulation) -> dict[str, Resource]:
    return {
        home.meter: Resource(home.meter, home.contracted_w, a_wallet(n), home.feeder)
        for n, home in enumerate(simulation.homes)
    }


def until(readings: Readings, instant: datetime) -> Readings:
    """The readings of intervals that are over at a time."""
    seconds = 60 * readings.interval_minutes
    return readings.take((readings.slot + 1) * seconds <= instant.timestamp())
