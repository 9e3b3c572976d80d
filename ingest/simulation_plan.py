"""What a simulation is asked for: how many homes, which days, which events."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta

from domain.errors import NegawattError
from domain.intervals import check_interval, local_day_bounds, slot_of
from domain.zones import zone_named


@dataclass(frozen=True)
class SimulatedEvent:
    """A demand-response event ``[start, end)`` that the homes are asked to answer."""

    start: datetime
    end: datetime


@dataclass(frozen=True, kw_only=True)
class SimulationPlan:
    """What to simulate.

    Attributes
    ----------
    first_day : date
        First local day.
    homes, days : int
        How many of each.
    interval_minutes : int
        Interval of the meters. [min]
    seed : int
        Everything random follows from it.
    zone : str
        IANA zone of the homes.
    events : tuple of SimulatedEvent
        What the homes are asked to answer, in any order.
    missing_pct, late_pct : float
        Share of the readings that never come, and that come late or first as an estimate. [%]
    pv_share, response_share : float
        Share of the homes that have solar panels, and that answer events; 0 to 1.
    latitude_deg : float
        For the sun and the seasons. [°]

    Raises
    ------
    NegawattError
        A value out of range, or an event outside the days.
    """

    first_day: date
    homes: int = 100
    days: int = 60
    interval_minutes: int = 5
    seed: int = 1
    zone: str = "Asia/Seoul"
    events: tuple[SimulatedEvent, ...] = ()
    missing_pct: float = 0.2
    late_pct: float = 1.0
    pv_share: float = 0.2
    response_share: float = 0.8
    latitude_deg: float = 37.5

    def __post_init__(self) -> None:
        check_interval(self.interval_minutes)
        bounds = {
            "homes": (1, 1_000_000),
            "days": (1, 3660),
            "seed": (0, 2**63 - 1),
            "missing_pct": (0, 50),
            "late_pct": (0, 50),
            "pv_share": (0, 1),
            "response_share": (0, 1),
            "latitude_deg": (-66, 66),
        }
        for name, (low, high) in bounds.items():
            if not low <= getattr(self, name) <= high:
                raise NegawattError(f"simulation: {name} is {getattr(self, name)}; expected {low} to {high}")
        start, end = self.bounds
        for instant in (start, end):
            slot_of(instant, self.interval_minutes)
        for event in self.events:
            shown = f"event from {event.start.isoformat()} to {event.end.isoformat()}"
            if slot_of(event.start, self.interval_minutes) >= slot_of(event.end, self.interval_minutes):
                raise NegawattError(f"simulation: {shown} has no length")
            if event.start < start or event.end > end:
                raise NegawattError(f"simulation: {shown} lies outside the days simulated")

    @property
    def bounds(self) -> tuple[datetime, datetime]:
        """UTC bounds of the days."""
        zone = zone_named(self.zone)
        last_day = self.first_day + timedelta(days=self.days - 1)
        return local_day_bounds(self.first_day, zone)[0], local_day_bounds(last_day, zone)[1]
