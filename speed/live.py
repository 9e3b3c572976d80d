"""Live events: baselines stored once when an event is issued, kept right afterwards, and views over them.

The baselines come from the certification kernel, so that what a live view shows of an event that is over and complete
is what is certified. They are worked out again only when the readings behind them have changed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from domain.certificates import Resource
from domain.certification import Expected, expected
from domain.errors import StoreError
from domain.intervals import runs, slot_of
from domain.plans import EventPlan
from domain.readings import MISSING, Quality, Register
from speed.live_sql import (
    ADJUSTED,
    NO_BASELINE,
    UNADJUSTED,
    Scope,
    text_literal,
    time_literal,
    view_texts,
)
from speed.stores import SpeedStore
from speed.tables import literal, readings_table

_NAME = "TEXT ENCODING DICT(32)"
_TIME = "TIMESTAMP(0) ENCODING FIXED(32)"

TABLES: dict[str, dict[str, str]] = {
    "resources": {"meter": "INTEGER", "name": _NAME, "feeder": _NAME, "capacity_w": "BIGINT"},
    "events": {
        "event": _NAME,
        "programme": _NAME,
        "start_ts": _TIME,
        "end_ts": _TIME,
        "minutes": "SMALLINT",
        "intervals": "SMALLINT",
        "least_quality": "TINYINT",
        "evidence": _NAME,
    },
    "event_resources": {
        "event": _NAME,
        "meter": "INTEGER",
        "feeder": _NAME,
        "capacity_w": "BIGINT",
        "status": "TEXT ENCODING DICT(8)",
    },
    "event_baselines": {
        "event": _NAME,
        "meter": "INTEGER",
        "ts": _TIME,
        "place": "INTEGER",
        "unadjusted_wh": "INTEGER",
        "baseline_wh": "INTEGER",
    },
}
"""Tables of the live layer, with their columns in HeavyDB's words.

``place`` of a baseline is its meter's number times the event's intervals, plus the number of its interval: one whole
number to join by, and a dense one, which a table without hashing serves.
"""

_FEW = 500
"""Up to so many changed resources are replaced by themselves; more, and the event's rows are written anew."""


@dataclass(frozen=True)
class Prepared:
    """What is stored of an event's baselines.

    Attributes
    ----------
    event : str
    resources : int
        Who takes part.
    with_baseline, adjusted : int
        How many of them have a baseline, and how many an adjusted one.
    changed : int
        Resources whose stored rows were written by this call.
    """

    event: str
    resources: int
    with_baseline: int
    adjusted: int
    changed: int


def create_tables(store: SpeedStore) -> None:
    """Make the tables of the live layer where they are missing."""
    for table, columns in TABLES.items():
        store.create(table, columns)


def store_resources(store: SpeedStore, resources: Mapping[str, Resource]) -> bool:
    """Make the table ``resources`` hold these, by meter; returns whether anything had to change."""
    people = [resources[meter] for meter in sorted(resources)]
    meters = store.meter_ids(_names(people))
    rows = pa.table(
        {
            "meter": meters,
            "name": pa.array([person.meter for person in people], pa.string()),
            "feeder": pa.array([person.feeder for person in people], pa.string()),
            "capacity_w": pa.array([person.contracted_w for person in people], pa.int64()),
        }
    )
    stored = store.query("SELECT meter, name, feeder, capacity_w FROM resources")
    if _as_set(stored) == _as_set(rows) and stored.num_rows == rows.num_rows:
        return False
    store.replace("resources", rows, "1 = 1")
    return True


def prepare_event(store: SpeedStore, plan: EventPlan, resources: Mapping[str, Resource]) -> Prepared:
    """Work out and store the baselines of an event that is issued.

    Parameters
    ----------
    store : SpeedStore
    plan : EventPlan
    resources : mapping of meter to Resource
        Who takes part.

    Returns
    -------
    Prepared
        With ``changed`` 0 when everything was stored already.
    """
    create_tables(store)
    return refresh_event(store, plan, resources)


def refresh_event(store: SpeedStore, plan: EventPlan, resources: Mapping[str, Resource]) -> Prepared:
    """Bring the stored baselines of an event up to date with the readings that the store has now.

    Once the adjustment window's readings are in, baselines become the adjusted ones; late readings and corrections of
    the history change them again. Nothing is worked out while the readings behind them are the same, and nothing is
    written while they come out the same.

    Parameters
    ----------
    store : SpeedStore
    plan : EventPlan
    resources : mapping of meter to Resource
        Who takes part.

    Raises
    ------
    StoreError
        The store has no readings at the plan's interval, or refuses.
    """
    event = text_literal(plan.event.id)
    if not has_readings(store, plan.interval_minutes):
        raise StoreError(
            f"{store.url} has no readings every {plan.interval_minutes} minutes yet: ingest or consume some first"
        )
    evidence = _evidence(store, plan, resources)
    known = store.query(f"SELECT evidence FROM events WHERE event = {event}")  # noqa: S608  a checked name
    if known["evidence"].to_pylist() == [evidence]:
        return _standing(store, plan, 0)
    block = store.read_plan(plan, _names([resources[meter] for meter in sorted(resources)]))
    changed = _store_baselines(store, plan, resources, expected(plan, block))
    # Last, so that a crash before it has everything looked at again.
    row = {
        "event": [plan.event.id],
        "programme": [plan.programme.id],
        "start_ts": _times([plan.event.start]),
        "end_ts": _times([plan.event.end]),
        "minutes": pa.array([plan.interval_minutes], pa.int16()),
        "intervals": pa.array([plan.event_intervals], pa.int16()),
        "least_quality": pa.array([_least_quality(plan)], pa.int8()),
        "evidence": [evidence],
    }
    store.replace("events", pa.table(row), f"event = {event}")
    return _standing(store, plan, changed)


def has_readings(store: SpeedStore, minutes: int, register: Register = Register.IMPORT) -> bool:
    """Whether readings of a register at an interval ever came to a store."""
    try:
        store.query(f"SELECT meter FROM {readings_table(register, minutes)} LIMIT 1")  # noqa: S608  checked parts
    except StoreError:  # the table is made by the first of them
        return False
    return True


def scope_of(store: SpeedStore, plan: EventPlan, now: datetime) -> Scope:
    """The scope of one event's live queries at a time."""
    start, end, minutes = plan.event.start, plan.event.end, plan.interval_minutes
    within = f"ts >= {time_literal(start)} AND ts < {time_literal(end)}"
    table = readings_table(Register.IMPORT, minutes)
    deltas = store.query(f"SELECT COUNT(*) AS n FROM {table} WHERE n = 0 AND {within}")  # noqa: S608  checked parts
    corrected = deltas["n"].to_pylist() != [0]
    return Scope(now, minutes, start, end, plan.event.id, _least_quality(plan), corrected=corrected)


def create_live_views(store: SpeedStore, now: datetime, interval_minutes: int) -> None:
    """Make the live views, over all events at an interval, anew for a time: nothing in them ends later than ``now``.

    The readings' table must exist. In HeavyDB a reader may find a view missing for an instant.
    """
    create_tables(store)
    minutes = int(interval_minutes)
    found = store.query(
        f"SELECT MIN(start_ts) AS low, MAX(end_ts) AS high FROM events WHERE minutes = {minutes}"  # noqa: S608
    ).to_pylist()[0]
    first, last = ((at.replace(tzinfo=UTC) if at else now) for at in (found["low"], found["high"]))
    for name, text in view_texts(Scope(now, minutes, first, last)).items():
        store.execute(f"DROP VIEW IF EXISTS {name}")
        store.execute(f"CREATE VIEW {name} AS {text}")


def _evidence(store: SpeedStore, plan: EventPlan, resources: Mapping[str, Resource]) -> str:
    """Stands for everything that the baselines follow from: equal texts, equal baselines.

    The readings enter by four sums. Readings are only ever added, or replaced by others of higher precedence; so as
    long as the first of number, revisions, qualities and energy that would show a change is the same, none happened.
    """
    said = hashlib.blake2b(digest_size=16)
    said.update(plan.slots.tobytes())
    said.update(repr((plan.event, plan.rule, plan.terms.accept_estimated, plan.interval_minutes)).encode())
    said.update(repr([(m, r.contracted_w, r.feeder) for m, r in sorted(resources.items())]).encode())
    behind = np.concatenate([plan.slots[1:].ravel(), plan.slots[0, plan.event_intervals :]])
    if len(behind) == 0:
        return said.hexdigest()
    minutes = plan.interval_minutes
    ranges = " OR ".join(
        f"(ts >= {literal(first, minutes)} AND ts <= {literal(last, minutes)})" for first, last in runs(behind)
    )
    sums = ", ".join(
        f"CAST(SUM({column}) AS BIGINT) AS sum_of_{column}" for column in ("n", "revision", "quality", "wh")
    )
    table = readings_table(Register.IMPORT, minutes)
    found = store.query(f"SELECT {sums} FROM {table} WHERE {ranges}")  # noqa: S608  checked parts
    return ":".join([said.hexdigest(), *(str(value) for value in found.to_pylist()[0].values())])


def _store_baselines(store: SpeedStore, plan: EventPlan, resources: Mapping[str, Resource], found: Expected) -> int:
    """Write the baselines that differ from what is stored; returns the number of resources whose rows changed."""
    people = [resources[meter] for meter in found.meters]
    ids = store.meter_ids(found.meters)
    has = (found.unadjusted_wh != MISSING).all(axis=1)
    status = np.where(found.adjusted, ADJUSTED, np.where(has, UNADJUSTED, NO_BASELINE))
    new = {
        meter: (person.feeder, person.contracted_w, state)
        for meter, person, state in zip(ids.tolist(), people, status.tolist(), strict=True)
    }
    event = text_literal(plan.event.id)
    rows = store.query(
        f"SELECT meter, feeder, capacity_w, status FROM event_resources WHERE event = {event}"  # noqa: S608
    )
    old = {meter: tuple(rest) for meter, *rest in zip(*(column.to_pylist() for column in rows.columns), strict=True)}
    stored = _stored_baselines(store, plan, ids)
    same = np.all(stored == np.stack([found.unadjusted_wh, found.baseline_wh], axis=2), axis=(1, 2))
    same &= np.array([old.get(meter) == new[meter] for meter in ids.tolist()], dtype=bool)
    gone = sorted(old.keys() - new.keys())
    touched = [*ids[~same].tolist(), *gone]
    if not touched:
        return 0
    write, where = np.ones(len(ids), dtype=bool), f"event = {event}"
    if len(touched) <= _FEW and old:
        write, where = ~same, f"{where} AND meter IN ({', '.join(map(str, touched))})"
    store.replace("event_baselines", _baseline_rows(plan, ids, found, write & has), where)
    chosen = np.flatnonzero(write).tolist()
    store.replace(
        "event_resources",
        pa.table(
            {
                "event": pa.array([plan.event.id] * len(chosen), pa.string()),
                "meter": ids[chosen],
                "feeder": pa.array([people[n].feeder for n in chosen], pa.string()),
                "capacity_w": pa.array([people[n].contracted_w for n in chosen], pa.int64()),
                "status": pa.array(status[chosen].tolist(), pa.string()),
            }
        ),
        where,
    )
    return len(touched)


def _stored_baselines(store: SpeedStore, plan: EventPlan, ids: NDArray[np.int32]) -> NDArray[np.int64]:
    """Stored baselines, shape (meters, event_intervals, 2): unadjusted and adjusted; MISSING where none. [Wh]"""
    event, e = text_literal(plan.event.id), plan.event_intervals
    rows = store.query(
        f"SELECT meter, ts, unadjusted_wh, baseline_wh FROM event_baselines WHERE event = {event}"  # noqa: S608
    )
    stored = np.full((len(ids), e, 2), MISSING, dtype=np.int64)
    if rows.num_rows and len(ids):
        order = np.argsort(ids)
        meter = rows["meter"].to_numpy()
        place = np.minimum(np.searchsorted(ids, meter, sorter=order), len(ids) - 1)
        at = order[place]
        known = ids[at] == meter
        seconds = rows["ts"].cast(pa.timestamp("s")).cast(pa.int64()).to_numpy()
        column = seconds // (60 * plan.interval_minutes) - slot_of(plan.event.start, plan.interval_minutes)
        for n, name in enumerate(("unadjusted_wh", "baseline_wh")):
            stored[at[known], column[known], n] = rows[name].to_numpy()[known]
    return stored


def _baseline_rows(plan: EventPlan, ids: NDArray[np.int32], found: Expected, chosen: NDArray[np.bool_]) -> pa.Table:
    """Rows of ``event_baselines``, in order of time: a view during the event reads those up to now."""
    homes, e = int(chosen.sum()), plan.event_intervals
    starts = plan.slots[0, :e] * (60 * plan.interval_minutes)
    return pa.table(
        {
            "event": pa.repeat(pa.scalar(plan.event.id, pa.string()), homes * e),
            "meter": np.tile(ids[chosen], e),
            "ts": pa.array(np.repeat(starts, homes).astype("datetime64[s]")),
            "place": (np.arange(e)[:, None] + ids[chosen] * e).reshape(-1).astype(np.int32),
            "unadjusted_wh": found.unadjusted_wh[chosen].T.reshape(-1).astype(np.int32),
            "baseline_wh": found.baseline_wh[chosen].T.reshape(-1).astype(np.int32),
        }
    )


def _standing(store: SpeedStore, plan: EventPlan, changed: int) -> Prepared:
    event = text_literal(plan.event.id)
    rows = store.query(
        f"SELECT status, COUNT(*) AS homes FROM event_resources WHERE event = {event} GROUP BY status"  # noqa: S608
    )
    homes = dict(zip(rows["status"].to_pylist(), rows["homes"].to_pylist(), strict=True))
    adjusted, unadjusted = homes.get(ADJUSTED, 0), homes.get(UNADJUSTED, 0)
    return Prepared(plan.event.id, sum(homes.values()), adjusted + unadjusted, adjusted, changed)


def _least_quality(plan: EventPlan) -> int:
    return int(Quality.ESTIMATED if plan.terms.accept_estimated else Quality.ACTUAL)


def _names(people: list[Resource]) -> NDArray[np.object_]:
    names = np.empty(len(people), dtype=object)
    names[:] = [person.meter for person in people]
    return names


def _times(instants: list[datetime]) -> pa.Array:
    return pa.array([int(at.timestamp()) for at in instants], pa.timestamp("s"))


def _as_set(rows: pa.Table) -> set[tuple[object, ...]]:
    return set(zip(*(column.to_pylist() for column in rows.columns), strict=True))
