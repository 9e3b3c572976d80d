"""What an event needs to be certified: its rule, its eligible days, and the few intervals to read of each.

A plan is made once for an event and holds no readings. Stores read exactly its slots; a batch task gets the
plan and a bucket number, and needs nothing else.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from domain.calendars import day_type
from domain.errors import InvalidEventError
from domain.events import DREvent
from domain.intervals import check_interval, slot_of, slot_start, utc_instants
from domain.programmes import BaselineRule, Programme, Terms


@dataclass(frozen=True, eq=False)
class EventPlan:
    """The reading list of an event.

    Attributes
    ----------
    event : DREvent
    programme : Programme
    terms : Terms
    rule : BaselineRule
    interval_minutes : int
    days : tuple of date
        Eligible local days of history, most recent first.
    slots : ndarray of int64, shape (1 + len(days), event_intervals + adjustment_intervals)
        Interval numbers to read: row 0 is the event itself, then a row a day of history. The event's
        intervals come first in each row, then those of the adjustment window.
    event_intervals : int
    """

    event: DREvent
    programme: Programme
    terms: Terms
    rule: BaselineRule
    interval_minutes: int
    days: tuple[date, ...]
    slots: NDArray[np.int64]
    event_intervals: int

    @property
    def adjustment_intervals(self) -> int:
        """Intervals in the adjustment window; 0 when the rule has none."""
        return int(self.slots.shape[1]) - self.event_intervals


def make_plan(
    event: DREvent,
    programme: Programme,
    interval_minutes: int,
    *,
    event_days: Collection[date] = (),
) -> EventPlan:
    """Work out which readings certify ``event`` under ``programme``.

    A day of history is eligible when it lies within the look-back, is of a day type that the rule serves,
    none of its windows lies on an event day, and its clocks show each of the windows' intervals exactly once
    (a day whose clocks change inside the windows is not comparable).

    Parameters
    ----------
    event : DREvent
    programme : Programme
    interval_minutes : int
        Interval of the meters' readings. [min]
    event_days : collection of date
        Local days on which this programme had other events.

    Raises
    ------
    InvalidEventError
        The window is off the metering grid, or the programme has no terms or no baseline for its day.
    """
    check_interval(interval_minutes)
    zone = programme.zoneinfo
    window = [slot_start(slot, interval_minutes) for slot in event.slots(interval_minutes)]
    first_day = window[0].astimezone(zone).date()
    terms = programme.terms_on(first_day)
    kind = day_type(first_day, programme.holidays)
    rule = terms.baseline_for(kind)
    if rule is None:
        served = ", ".join(sorted({kind for rule in terms.baselines for kind in rule.day_types}))
        raise InvalidEventError(
            event.id, f"{first_day} is a {kind} and programme {programme.id!r} has baselines for: {served}"
        )
    instants = window + _adjustment_window(event, rule, interval_minutes)
    clocks = [(local.date() - first_day, local.time()) for local in (i.astimezone(zone) for i in instants)]
    rows = [[slot_of(instant, interval_minutes) for instant in instants]]
    days: list[date] = []
    for back in range(1, rule.look_back_days + 1):
        if len(days) == rule.search_days:
            break
        day = first_day - timedelta(days=back)
        if day_type(day, programme.holidays) not in rule.day_types:
            continue
        if any(day + offset in event_days for offset, _ in clocks):  # windows may reach over midnight
            continue
        found = [utc_instants(day + offset, clock, zone) for offset, clock in clocks]
        comparable = [at[0] for at in found if len(at) == 1 and at[0].timestamp() % (60 * interval_minutes) == 0]
        if len(comparable) == len(clocks):
            days.append(day)
            rows.append([slot_of(instant, interval_minutes) for instant in comparable])
    slots = np.array(rows, dtype=np.int64)
    return EventPlan(event, programme, terms, rule, interval_minutes, tuple(days), slots, len(window))


def _adjustment_window(event: DREvent, rule: BaselineRule, interval_minutes: int) -> list[datetime]:
    if rule.adjustment is None:
        return []
    window = rule.adjustment
    first = event.start - timedelta(minutes=window.from_minutes_before)
    length = window.from_minutes_before - window.to_minutes_before
    if length % interval_minutes or window.to_minutes_before % interval_minutes:
        raise InvalidEventError(
            event.id,
            f"the adjustment window, {window.from_minutes_before} to {window.to_minutes_before} minutes before "
            f"the start, does not fit {interval_minutes}-minute readings",
        )
    return [first + timedelta(minutes=m) for m in range(0, length, interval_minutes)]
