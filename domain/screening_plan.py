"""What baseline screening needs: the rules to compare, the proxy days, and the few intervals to read.

A proxy day is a past day without an event that is treated as if it had one, at the local time of day of the
programme's events: there the usage is known that a baseline only guesses. Each rule gets the plan that certification
would make for such an event.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta

import numpy as np
from numpy.typing import NDArray

from domain.calendars import day_type
from domain.errors import NegawattError
from domain.events import DREvent
from domain.intervals import DAY_MINUTES, check_interval, slot_start, utc_instants
from domain.plans import EventPlan, make_plan
from domain.programmes import BaselineRule, Programme, Terms
from domain.screening_rules import ScreeningRules


@dataclass(frozen=True)
class Window:
    """A stretch of the local day.

    Attributes
    ----------
    start : time
    minutes : int
        At most a day; it may reach over midnight. [min]
    """

    start: time
    minutes: int

    @classmethod
    def between(cls, start: time, end: time) -> Window:
        """From one time of day to the next other.

        >>> Window.between(time(23), time(1)).minutes
        120

        Raises
        ------
        NegawattError
            Both are the same.
        """
        minutes = (60 * end.hour + end.minute - 60 * start.hour - start.minute) % DAY_MINUTES
        if minutes == 0:
            raise NegawattError(f"a window from {start:%H:%M} to {end:%H:%M} is empty: expected two different times")
        return cls(start, minutes)

    @property
    def end(self) -> time:
        """Local time at which it ends."""
        return (datetime.combine(date.min, self.start) + timedelta(minutes=self.minutes)).time()

    def __str__(self) -> str:
        return f"{self.start:%H:%M}-{self.end:%H:%M}"


@dataclass(frozen=True)
class Candidate:
    """A baseline rule that is tried.

    ``label`` is its name, unique among those compared; ``programme`` the id of the programme it is from.
    """

    label: str
    programme: str
    rule: BaselineRule


@dataclass(frozen=True, eq=False)
class ScreeningPlan:
    """The reading list of a screening.

    Attributes
    ----------
    programme : Programme
        Whose calendar and terms hold for all candidates.
    candidates : tuple of Candidate
        The programme's own rule first.
    window : Window
        Local time of day of every proxy.
    proxies : tuple of DREvent
        Most recent first.
    plans : tuple of tuple of EventPlan
        By candidate, then by proxy.
    slots : ndarray of int64, shape (n,)
        Every interval number that a plan names, ascending.
    interval_minutes, block_minutes : int
        Of the readings; and of the blocks of the window whose energies are compared: hours where it is of whole
        hours, else the longest that divide both it and the hour. [min]
    rules : ScreeningRules
    """

    programme: Programme
    candidates: tuple[Candidate, ...]
    window: Window
    proxies: tuple[DREvent, ...]
    plans: tuple[tuple[EventPlan, ...], ...]
    slots: NDArray[np.int64]
    interval_minutes: int
    block_minutes: int
    rules: ScreeningRules

    @property
    def blocks(self) -> int:
        """Blocks of a proxy's window; 0 where there is no proxy day."""
        if not self.proxies:
            return 0
        return self.plans[0][0].event_intervals * self.interval_minutes // self.block_minutes


def own_rule(programme: Programme, terms: Terms, kind: str) -> BaselineRule:
    """The rule of a programme's terms that serves days of a type.

    Raises
    ------
    NegawattError
        There is none.
    """
    for rule in terms.baselines:
        if kind in rule.day_types:
            return rule
    served = ", ".join(sorted({str(k) for rule in terms.baselines for k in rule.day_types}))
    raise NegawattError(f"programme {programme.id!r} has no baseline for a {kind}; it has them for: {served}")


def find_candidates(
    programme: Programme, rule: BaselineRule, others: Iterable[Programme], day: date, interval_minutes: int
) -> tuple[Candidate, ...]:
    """The rules to compare, each with its adjustment and without: the programme's own, then those of others.

    Another programme's rule is taken when it is in force on ``day``, serves all day types of ``rule``, has an
    adjustment window that fits the readings, and differs from those before it by more than its name.
    """
    found: list[Candidate] = []
    seen: list[BaselineRule] = []
    for source in (programme, *others):
        if source is programme:
            with_adjustment = rule
        elif (served := _served(source, rule, day, interval_minutes)) is not None:
            with_adjustment = served
        else:
            continue
        variants = [with_adjustment]
        if with_adjustment.adjustment is not None:
            plain = f"{with_adjustment.label}, unadjusted"
            variants.append(replace(with_adjustment, label=plain, adjustment=None))
        for variant in variants:
            nameless = replace(variant, label="")
            if nameless not in seen:
                seen.append(nameless)
                found.append(Candidate(variant.label, source.id, variant))
    labels = [one.label for one in found]
    return tuple(
        one if labels.count(one.label) == 1 else replace(one, label=f"{one.label} ({one.programme})") for one in found
    )


def _served(source: Programme, rule: BaselineRule, day: date, interval_minutes: int) -> BaselineRule | None:
    if not any(terms.valid_from <= day for terms in source.terms):
        return None
    for one in source.terms_on(day).baselines:
        window = one.adjustment
        edges = () if window is None else (window.from_minutes_before, window.to_minutes_before)
        fits = all(edge % interval_minutes == 0 for edge in edges)
        if fits and set(rule.day_types) <= set(one.day_types):
            return one
    return None


def make_screening_plan(
    programme: Programme,
    candidates: Sequence[Candidate],
    window: Window,
    interval_minutes: int,
    rules: ScreeningRules,
    *,
    first_day: date,
    last_day: date,
    event_days: Collection[date] = (),
    other_event_days: Collection[date] = (),
) -> ScreeningPlan:
    """Choose the proxy days, and plan each of them under each candidate.

    Going back from ``last_day`` to ``first_day``, a day is a proxy when the first candidate serves its type, local
    clocks show the window once and in its whole length, and neither the window nor the adjustment window of any
    candidate touches a day of an event.

    Parameters
    ----------
    programme : Programme
        Its terms on ``last_day`` hold for all days.
    candidates : sequence of Candidate
        At least one, the programme's own first.
    event_days : collection of date
        Local days of this programme's events: they are no history either.
    other_event_days : collection of date
        Local days of other programmes' events: history to this programme, but no proxies.

    Raises
    ------
    NegawattError
        The window is off the metering grid.
    """
    check_interval(interval_minutes)
    if window.minutes % interval_minutes:
        raise NegawattError(f"window {window}: expected whole intervals, readings are every {interval_minutes} min")
    terms = programme.terms_on(last_day)
    under = [
        replace(programme, terms=(replace(terms, valid_from=date.min, baselines=(one.rule,)),)) for one in candidates
    ]
    taken = {*event_days, *other_event_days}
    day, rows = last_day, list[tuple[EventPlan, ...]]()
    while day >= first_day and len(rows) < rules.days:
        event = _proxy(programme, candidates[0].rule, window, day)
        if event is not None:
            plans = tuple(make_plan(event, one, interval_minutes, event_days=event_days) for one in under)
            if not any(_touches(plan, taken) for plan in plans):
                rows.append(plans)
        day -= timedelta(days=1)
    slots = [plan.slots.reshape(-1) for row in rows for plan in row]
    return ScreeningPlan(
        programme,
        tuple(candidates),
        window,
        tuple(row[0].event for row in rows),
        tuple(zip(*rows, strict=True)) if rows else ((),) * len(candidates),
        np.unique(np.concatenate(slots)) if slots else np.empty(0, np.int64),
        interval_minutes,
        math.gcd(60, window.minutes),
        rules,
    )


def _proxy(programme: Programme, rule: BaselineRule, window: Window, day: date) -> DREvent | None:
    """The event that ``day`` stands for; None where it can't."""
    if day_type(day, programme.holidays) not in rule.day_types:
        return None
    zone = programme.zoneinfo
    starts = utc_instants(day, window.start, zone)
    if len(starts) != 1:
        return None
    end = starts[0] + timedelta(minutes=window.minutes)
    nominal = datetime.combine(day, window.start) + timedelta(minutes=window.minutes)
    if end.astimezone(zone).replace(tzinfo=None) != nominal:
        return None
    return DREvent(f"proxy-{day}", programme.id, starts[0], end)


def _touches(plan: EventPlan, days: Collection[date]) -> bool:
    """Whether the event's own windows lie on one of ``days``."""
    zone, minutes = plan.programme.zoneinfo, plan.interval_minutes
    return any(slot_start(slot, minutes).astimezone(zone).date() in days for slot in plan.slots[0].tolist())
