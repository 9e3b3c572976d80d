"""The homes of the cookbook in docs/analysts.md: their readings in a speed store, and the same in plain arrays."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from zoneinfo import ZoneInfo

import numpy as np
from builders import SALT, a_programme
from numpy.typing import NDArray

from domain.certificates import Resource, issue_certificates
from domain.certification import LoadBlock, Reductions, certify
from domain.events import DREvent
from domain.plans import EventPlan, make_plan
from domain.readings import MISSING, Quality, Readings, Register, make_readings
from ingest.simulator import SimulatedEvent, SimulationPlan, simulate
from speed.live import create_live_views, prepare_event, refresh_event, store_resources
from speed.reconciliation import Source, keep, result_of
from speed.stores import SpeedStore

SEOUL = ZoneInfo("Asia/Seoul")
EVENT = "peak-2025-07-04"
START = datetime(2025, 7, 4, 17, tzinfo=SEOUL)
FIRST_DAY = date(2025, 6, 2)
DAYS, MINUTES, VISITOR = 35, 5, "visitor"
PER_DAY = 24 * 60 // MINUTES


@dataclass(frozen=True)
class Held:
    """A register's readings in force, dense over meters and intervals; MISSING where there is none."""

    wh: NDArray[np.int64]
    quality: NDArray[np.int64]
    revision: NDArray[np.int64]


class Lab:
    """Sixty simulated homes around an event, and a meter that is no resource.

    Attributes
    ----------
    homes : list of str
        The registered ones.
    feeders : ndarray of str, shape (homes,)
    on_time, late : list of Readings
    """

    def __init__(self, homes: int = 60) -> None:
        window = SimulatedEvent(START, START + timedelta(hours=3))
        simulation = simulate(SimulationPlan(first_day=FIRST_DAY, homes=homes, days=DAYS, events=(window,)))
        self.resources = {
            home.meter: Resource(home.meter, home.contracted_w, f"0x{n + 1:040x}", home.feeder)
            for n, home in enumerate(simulation.homes)
        }
        self.homes = sorted(self.resources)
        self.feeders = np.array([self.resources[home].feeder for home in self.homes])
        self.capacity_w = np.array([self.resources[home].contracted_w for home in self.homes])
        self.on_time, self.late = list(simulation.batches()), list(simulation.late_batches())
        begin = self.slot(datetime(2025, 7, 4, tzinfo=SEOUL))
        slots = list(range(begin, begin + PER_DAY))
        self.visits = make_readings([VISITOR] * PER_DAY, slots, np.full(PER_DAY, 100), interval_minutes=MINUTES)
        self.meters = [*self.homes, VISITOR]
        event = DREvent(EVENT, "kpx-max-4-of-5", START, START + timedelta(hours=3))
        self.plan = make_plan(event, a_programme(), MINUTES)

    @staticmethod
    def slot(instant: datetime) -> int:
        return int(instant.timestamp()) // (60 * MINUTES)

    @cached_property
    def first(self) -> int:
        """The slot of the first column."""
        return self.slot(datetime(FIRST_DAY.year, FIRST_DAY.month, FIRST_DAY.day, tzinfo=SEOUL))

    def at(self, text: str) -> int:
        """The column of a UTC time such as ``2025-07-04 07:55``."""
        return self.slot(datetime.fromisoformat(text).replace(tzinfo=UTC)) - self.first

    def between(self, begin: str, end: str) -> slice:
        return slice(self.at(begin), self.at(end))

    def time(self, column: int) -> datetime:
        """When a column's interval starts."""
        return datetime.fromtimestamp((self.first + column) * 60 * MINUTES, UTC)

    def held(self, batches: Iterable[Readings], register: Register) -> Held:
        """What is in force of these batches: the highest revision, then the best quality, then the most energy."""
        shape = (len(self.meters), DAYS * PER_DAY)
        wh, quality, revision = (np.full(shape, value, dtype=np.int64) for value in (MISSING, 0, 0))
        number = {meter: n for n, meter in enumerate(self.meters)}
        rows = [
            (np.array([number[name] for name in batch.meters])[batch.meter], batch)
            for batch in batches
            if batch.register is register
        ]
        meter = np.concatenate([meters for meters, _ in rows])
        column = np.concatenate([batch.slot for _, batch in rows]) - self.first
        values = [
            np.concatenate([getattr(batch, name) for _, batch in rows]) for name in ("wh", "quality", "revision")
        ]
        order = np.lexsort(values)  # the last one outranks the others
        for array, value in zip((wh, quality, revision), values, strict=True):
            array[meter[order], column[order]] = value[order]
        return Held(wh, quality, revision)

    @cached_property
    def imported(self) -> Held:
        return self.held([*self.on_time, *self.late, self.visits], Register.IMPORT)

    @cached_property
    def exported(self) -> Held:
        return self.held([*self.on_time, *self.late], Register.EXPORT)

    @property
    def wh(self) -> NDArray[np.int64]:
        """Import of the homes; MISSING where there is no reading. [Wh]"""
        return self.imported.wh[: len(self.homes)]

    @property
    def used(self) -> NDArray[np.int64]:
        """Import of the homes, nothing where there is no reading. [Wh]"""
        return np.maximum(self.wh, 0)

    def certified(self, held: Held) -> Reductions:
        columns = self.plan.slots - self.first
        block = LoadBlock(
            np.array(self.homes, dtype=object),
            held.wh[: len(self.homes)][:, columns].astype(np.int32),
            (held.quality[: len(self.homes)] == int(Quality.ESTIMATED))[:, columns],
        )
        return certify(self.plan, block)

    @cached_property
    def provisional(self) -> Reductions:
        return self.certified(self.held([*self.on_time, self.visits], Register.IMPORT))

    @cached_property
    def final(self) -> Reductions:
        return self.certified(self.imported)

    def payments(self, reductions: Reductions) -> NDArray[np.int64]:
        issued = issue_certificates(self.plan, reductions, self.resources, SALT)
        return np.array([leaf.payment for leaf in issued.leaves])


def load(store: SpeedStore, lab: Lab) -> None:
    """Bring the lab's readings, baselines and results into a store, in the order in which they would come."""
    for batch in (*lab.on_time, lab.visits):
        store.append(batch)
    prepare_event(store, lab.plan, lab.resources)
    store_resources(store, lab.resources)
    _keep(store, lab.plan, lab, lab.provisional, Source.PROVISIONAL)
    for batch in lab.late:
        store.append(batch)
    refresh_event(store, lab.plan, lab.resources)
    _keep(store, lab.plan, lab, lab.final, Source.BATCH)
    create_live_views(store, START + timedelta(hours=4), MINUTES)


def _keep(store: SpeedStore, plan: EventPlan, lab: Lab, reductions: Reductions, source: Source) -> None:
    issued = issue_certificates(plan, reductions, lab.resources, SALT)
    keep(store, result_of(plan, reductions, issued, source, START + timedelta(hours=4)))
