"""Readings of the future, kept apart until their time has come: a meter's clock runs ahead, or ours is behind.

Energy that can't have been used yet must not count in a live view, and a reading must not be lost for a wrong clock
either. So it waits in the table ``quarantine`` of the speed store, and is let into the readings when its interval is
over. `speed.consumer` does both at every flush.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from domain.intervals import INTERVAL_MINUTES
from domain.readings import Readings, Register, make_readings
from speed.stores import SpeedStore

TOLERANCE = timedelta(minutes=10)
"""A clock may be so far ahead of ours before its readings are kept apart."""

TABLE = "quarantine"
COLUMNS = {
    "received": "TIMESTAMP(0)",
    "meter": "TEXT ENCODING DICT(32)",
    "register": "TEXT ENCODING DICT(8)",
    "minutes": "SMALLINT",
    "ts": "TIMESTAMP(0)",  # 64 bits: a broken clock may be centuries ahead
    "wh": "INTEGER",
    "quality": "TINYINT",
    "revision": "SMALLINT",
    "reason": "TEXT ENCODING DICT(8)",
}
FUTURE = "interval.future"
"""Reason of a reading whose interval ends later than now and the tolerance."""

_KEY = ("meter", "register", "minutes", "ts", "wh", "quality", "revision")
_Key = tuple[str, str, int, int, int, int, int]


class Quarantine:
    """The readings that a speed store keeps apart.

    Parameters
    ----------
    store : SpeedStore
        Written by one worker at a time.
    tolerance : timedelta
        How far ahead of now an interval may end.

    Attributes
    ----------
    kept, released : int
        Readings that were kept apart, and those that were let in later, since this object was made. A repeat of one
        that is kept counts no more.
    """

    def __init__(self, store: SpeedStore, tolerance: timedelta = TOLERANCE) -> None:
        store.create(TABLE, COLUMNS)
        self._store, self._tolerance = store, tolerance
        self.kept = self.released = 0
        self._next_due = self._first_due()

    def split(self, readings: Readings, now: datetime) -> tuple[Readings, Readings]:
        """Readings whose time has come, and those of the future.

        An interval that ends at now plus the tolerance is not of the future; one that ends a second later is.
        """
        future = readings.slot > self._last_slot(now, readings.interval_minutes)
        if not future.any():
            return readings, readings.take(np.empty(0, dtype=np.intp))
        return readings.take(~future), readings.take(future)

    def keep(self, future: Sequence[Readings], now: datetime) -> None:
        """Put readings apart; one that is there already, the same in every column, is not put there again."""
        keys = {key for readings in future for key in _keys(readings)}
        if not keys:
            return
        ends = [ts + 60 * minutes for _, _, minutes, ts, *_ in keys]
        starts = [ts for _, _, _, ts, *_ in keys]
        keys -= set(_keys_of(self._rows(f"ts BETWEEN {_literal(min(starts))} AND {_literal(max(starts))}")))
        if keys:
            columns = zip(*sorted(keys), strict=True)
            meter, register, minutes, ts, wh, quality, revision = (list(column) for column in columns)
            received = [int(now.timestamp())] * len(keys)
            self._store.load(
                TABLE,
                pa.table(
                    {
                        "received": pa.array(received, pa.timestamp("s")),
                        "meter": pa.array(meter, pa.string()),
                        "register": pa.array(register, pa.string()),
                        "minutes": pa.array(minutes, pa.int16()),
                        "ts": pa.array(ts, pa.timestamp("s")),
                        "wh": pa.array(wh, pa.int32()),
                        "quality": pa.array(quality, pa.int8()),
                        "revision": pa.array(revision, pa.int16()),
                        "reason": pa.array([FUTURE] * len(keys), pa.string()),
                    }
                ),
            )
            self.kept += len(keys)
        self._next_due = min([*ends, *([] if self._next_due is None else [self._next_due])])

    def due(self, now: datetime) -> list[Readings]:
        """What is kept apart and whose time has come, a batch for each register and interval. Asks the store only
        when something is known to be due."""
        if self._next_due is None or self._next_due > self._latest_end(now):
            return []
        rows = self._rows(self._is_due(now))
        groups: dict[tuple[str, int], list[_Key]] = {}
        for key in _keys_of(rows):
            groups.setdefault((key[1], key[2]), []).append(key)
        return [_readings(keys) for keys in groups.values()]

    def forget(self, released: Sequence[Readings], now: datetime) -> None:
        """Remove what `due` gave at the same ``now``, after it was stored; before that, a crash would lose it."""
        if not released:
            return
        self._store.execute(f"DELETE FROM {TABLE} WHERE {self._is_due(now)}")  # noqa: S608  numbers and times alone
        self.released += sum(len(readings) for readings in released)
        self._next_due = self._first_due()

    def waiting(self) -> int:
        """Readings that are kept apart at present."""
        (count,) = self._store.query(f"SELECT COUNT(*) AS n FROM {TABLE}").column(0).to_pylist()  # noqa: S608
        return int(count)

    def _latest_end(self, now: datetime) -> int:
        """Seconds since 1970 at which an interval may end at the latest."""
        return int((now + self._tolerance).timestamp())

    def _last_slot(self, now: datetime, minutes: int) -> int:
        """The last interval that is over by then."""
        return self._latest_end(now) // (60 * minutes) - 1

    def _is_due(self, now: datetime) -> str:
        """SQL condition: the interval is over."""
        each = [
            f"(minutes = {minutes} AND ts <= {_literal(self._last_slot(now, minutes) * 60 * minutes)})"
            for minutes in INTERVAL_MINUTES
        ]
        return "(" + " OR ".join(each) + ")"

    def _first_due(self) -> int | None:
        """When the first of what is kept will be over; None when nothing is kept. [s since 1970]"""
        found = self._store.query(f"SELECT minutes, MIN(ts) AS ts FROM {TABLE} GROUP BY minutes")  # noqa: S608
        ends = [ts + 60 * minutes for minutes, ts in zip(found["minutes"].to_pylist(), _seconds(found), strict=True)]
        return min(ends, default=None)

    def _rows(self, condition: str) -> pa.Table:
        return self._store.query(f"SELECT {', '.join(_KEY)} FROM {TABLE} WHERE {condition}")  # noqa: S608


def _keys(readings: Readings) -> list[_Key]:
    register, minutes = readings.register.value, readings.interval_minutes
    names = readings.meters[readings.meter].tolist()
    starts = (readings.slot * (60 * minutes)).tolist()
    rest = (readings.wh.tolist(), readings.quality.tolist(), readings.revision.tolist())
    return [(name, register, minutes, *row) for name, *row in zip(names, starts, *rest, strict=True)]


def _keys_of(rows: pa.Table) -> list[_Key]:
    columns = [rows[name].to_pylist() if name != "ts" else _seconds(rows) for name in _KEY]
    return list(zip(*columns, strict=True))


def _readings(keys: Sequence[_Key]) -> Readings:
    """Readings of one register and interval."""
    meter, register, minutes, ts, wh, quality, revision = zip(*keys, strict=True)
    slot: NDArray[np.int64] = np.array(ts, dtype=np.int64) // (60 * minutes[0])
    return make_readings(
        meter,
        slot,
        wh,
        interval_minutes=minutes[0],
        register=Register(register[0]),
        quality=quality,
        revision=revision,
    )


def _seconds(rows: pa.Table) -> list[int]:
    """Column ``ts`` in seconds since 1970, whatever the store's unit."""
    seconds: list[int] = rows["ts"].cast(pa.timestamp("s")).cast(pa.int64()).to_pylist()
    return seconds


def _literal(seconds: int) -> str:
    """A time as both stores' SQL writes it."""
    return f"TIMESTAMP '{np.datetime64(seconds, 's').item():%Y-%m-%d %H:%M:%S}'"
