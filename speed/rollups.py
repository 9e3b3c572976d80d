"""Roll-ups and retention: readings become half-hours and days, which stay; old readings go.

A roll-up follows a day's readings for as long as those are kept: every run compares each day with what was
rolled up, and makes the changed ones anew. When a day's readings were dropped, its roll-ups are what the speed
layer knows of it; the batch layer has every reading.
"""

# ruff: noqa: S608  only numbers, times and names of tables enter a text

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute

from domain.errors import StoreError
from domain.intervals import DAY_MINUTES
from domain.readings import Register
from speed.live import create_tables, has_readings
from speed.live_sql import text_literal, time_literal
from speed.stores import SpeedStore
from speed.tables import readings_table

HALF_HOUR = 30
_TIME = "TIMESTAMP(0) ENCODING FIXED(32)"
_ROLLUP = {"meter": "INTEGER", "ts": _TIME, "minutes": "SMALLINT", "wh": "BIGINT", "reported": "SMALLINT"}
_DAYS = {
    "register": "TEXT ENCODING DICT(8)",
    "minutes": "SMALLINT",
    "ts": _TIME,
    "n": "BIGINT",
    "revisions": "BIGINT",
    "qualities": "BIGINT",
    "wh": "BIGINT",
    "dropped": "TINYINT",
}
_DAYS_TABLE = "rollup_days"
_SUMS = ("n", "revisions", "qualities", "wh")
_Evidence = tuple[int, int, int, int]


@dataclass(frozen=True)
class Retained:
    """What a run of roll-ups and retention did.

    Attributes
    ----------
    rolled_days : int
        Days whose roll-ups were made, or made anew.
    dropped_days, dropped_readings : int
        Days whose readings were dropped, and the number of those readings.
    too_late : int
        Readings among these that are in no roll-up: they came after their day's readings had been dropped, of meters
        that the day's roll-up has already. Whether they are new or repeats can't be told any more.
    """

    rolled_days: int
    dropped_days: int
    dropped_readings: int
    too_late: int


def rollup_table(register: Register, period: str) -> str:
    """Name of a roll-up's table; ``period`` is ``30`` or ``day``.

    >>> rollup_table(Register.IMPORT, "day")
    'rollup_import_day'
    """
    return f"rollup_{register.value}_{period}"


def retain(
    store: SpeedStore, minutes: int, keep_days: int, today: date, register: Register = Register.IMPORT
) -> Retained:
    """Roll up every day whose readings changed, then drop the readings of old days; roll-ups are never dropped.

    What live views know of events before that goes with the readings. Run it once a day; a run that was cut off is
    finished by the next one.

    Parameters
    ----------
    store : SpeedStore
    minutes : int
        Interval of the readings; half-hours are made of those of at most 30 minutes. [min]
    keep_days : int
        Whole UTC days before ``today`` whose readings stay. [days]
    today : date
        In UTC.
    register : Register

    Raises
    ------
    StoreError
        ``keep_days`` is below 1, or the store refuses.
    """
    if keep_days < 1:
        raise StoreError(f"readings of {keep_days} days would be kept: expected 1 day or more")
    create_tables(store)
    for period in (str(HALF_HOUR), "day"):
        store.create(rollup_table(register, period), _ROLLUP)
    store.create(_DAYS_TABLE, _DAYS)
    if not has_readings(store, minutes, register):
        return Retained(0, 0, 0, 0)
    cutoff = datetime(today.year, today.month, today.day, tzinfo=UTC) - timedelta(days=keep_days)
    kept = _days_of_readings(store, minutes, register)
    known = _known_days(store, minutes, register)
    rolled = too_late = 0
    for day, found in kept.items():
        before, was_dropped = known.get(day, (None, False))
        if was_dropped:
            late, added = _add_new_meters(store, minutes, register, day)
            too_late, rolled = too_late + late, rolled + added
        elif before != found:
            for period, rows in _rolled(store, minutes, register, day).items():
                store.replace(rollup_table(register, period), rows, f"{_within(day)} AND minutes = {minutes}")
            _remember(store, minutes, register, day, found, dropped=False)
            rolled += 1
    old = {day: found for day, found in kept.items() if day < cutoff}
    for day, found in old.items():
        if not known.get(day, (None, False))[1]:  # before they go: a crash in between leaves a day for the next run
            _remember(store, minutes, register, day, found, dropped=True)
    if old:
        table = readings_table(register, minutes)
        store.execute(f"DELETE FROM {table} WHERE ts < {time_literal(cutoff)}")
        if register is Register.IMPORT:
            _forget_events(store, minutes, cutoff)
    return Retained(rolled, len(old), sum(n for n, *_ in old.values()), too_late)


def _days_of_readings(store: SpeedStore, minutes: int, register: Register) -> dict[datetime, _Evidence]:
    """Each UTC day that has readings, with sums that change whenever a reading is added or replaced."""
    rows = store.query(
        f"""SELECT DATE_TRUNC('day', ts) AS d, CAST(SUM(n) AS BIGINT) AS n,
            CAST(SUM(revision) AS BIGINT) AS revisions, CAST(SUM(quality) AS BIGINT) AS qualities,
            CAST(SUM(wh) AS BIGINT) AS wh
        FROM {readings_table(register, minutes)} GROUP BY d ORDER BY d"""
    )
    return {_utc(row["d"]): _evidence(row) for row in rows.to_pylist()}


def _known_days(store: SpeedStore, minutes: int, register: Register) -> dict[datetime, tuple[_Evidence | None, bool]]:
    """Each day that was rolled up: from which readings, and whether those were dropped since."""
    rows = store.query(f"SELECT * FROM {_DAYS_TABLE} WHERE {_of(minutes, register)}")
    return {_utc(row["ts"]): (_evidence(row), bool(row["dropped"])) for row in rows.to_pylist()}


def _remember(
    store: SpeedStore, minutes: int, register: Register, day: datetime, found: _Evidence, *, dropped: bool
) -> None:
    values = dict(zip(_SUMS, found, strict=True))
    row = {
        "register": pa.array([register.value], pa.string()),
        "minutes": pa.array([minutes], pa.int16()),
        "ts": pa.array([int(day.timestamp())], pa.timestamp("s")),
        **{name: pa.array([value], pa.int64()) for name, value in values.items()},
        "dropped": pa.array([int(dropped)], pa.int8()),
    }
    store.replace(_DAYS_TABLE, pa.table(row), f"{_of(minutes, register)} AND ts = {time_literal(day)}")


def _add_new_meters(store: SpeedStore, minutes: int, register: Register, day: datetime) -> tuple[int, int]:
    """Roll up meters that a day's roll-up lacks, after its readings were dropped.

    Returns
    -------
    int, int
        Readings of meters that it has already, and 1 where any were added.
    """
    table = rollup_table(register, "day")
    rolled = store.query(f"SELECT meter FROM {table} WHERE {_within(day)} AND minutes = {minutes}")
    known = set(rolled["meter"].to_pylist())
    arrived = store.query(
        f"""SELECT meter, CAST(SUM(n) AS BIGINT) AS n FROM {readings_table(register, minutes)}
        WHERE {_within(day)} GROUP BY meter"""
    )
    counts = dict(zip(arrived["meter"].to_pylist(), arrived["n"].to_pylist(), strict=True))
    new = sorted(counts.keys() - known)
    late = sum(counts[meter] for meter in counts.keys() & known)
    if new:
        for period, rows in _rolled(store, minutes, register, day).items():  # days last: they say who is known
            some = rows.filter(pa.compute.is_in(rows["meter"], pa.array(new, pa.int32())))
            store.replace(
                rollup_table(register, period),
                some,
                f"{_within(day)} AND minutes = {minutes} AND meter IN ({', '.join(map(str, new))})",
            )
    return late, int(bool(new))


def _rolled(store: SpeedStore, minutes: int, register: Register, day: datetime) -> dict[str, pa.Table]:
    """A day's roll-ups by period, half-hours first."""
    table, found = readings_table(register, minutes), {}
    since = f"CAST(DATEDIFF('minute', {time_literal(day)}, ts) AS DOUBLE)"
    for period, length in ((str(HALF_HOUR), HALF_HOUR), ("day", DAY_MINUTES)):
        if minutes <= length:
            rows = store.query(
                f"""SELECT meter, CAST(FLOOR({since} / {length}) AS INTEGER) AS p, CAST(SUM(wh) AS BIGINT) AS wh,
                    CAST(SUM(n) AS SMALLINT) AS reported
                FROM {table} WHERE {_within(day)} GROUP BY meter, p ORDER BY p, meter"""
            )
            starts = int(day.timestamp()) + rows["p"].to_numpy().astype(np.int64) * (60 * length)
            found[period] = pa.table(
                {
                    "meter": rows["meter"].cast(pa.int32()),
                    "ts": pa.array(starts.astype("datetime64[s]")),
                    "minutes": pa.repeat(pa.scalar(minutes, pa.int16()), rows.num_rows),
                    "wh": rows["wh"].cast(pa.int64()),
                    "reported": rows["reported"].cast(pa.int16()),
                }
            )
    return found


def _forget_events(store: SpeedStore, minutes: int, cutoff: datetime) -> None:
    """Drop what live views know of events that ended before a time."""
    rows = store.query(f"SELECT event FROM events WHERE end_ts <= {time_literal(cutoff)} AND minutes = {minutes}")
    for event in rows["event"].to_pylist():
        for table in ("event_baselines", "event_resources", "events"):
            store.execute(f"DELETE FROM {table} WHERE event = {text_literal(event)}")


def _within(day: datetime) -> str:
    return f"ts >= {time_literal(day)} AND ts < {time_literal(day + timedelta(days=1))}"


def _of(minutes: int, register: Register) -> str:
    return f"register = {text_literal(register.value)} AND minutes = {minutes}"


def _evidence(row: dict[str, int]) -> _Evidence:
    n, revisions, qualities, wh = (int(row[name]) for name in _SUMS)
    return n, revisions, qualities, wh


def _utc(instant: datetime | date) -> datetime:
    """A day as either store gives it, as its first instant."""
    return datetime(instant.year, instant.month, instant.day, tzinfo=UTC)
