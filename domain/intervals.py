"""Metering intervals: numbers on a UTC grid, and the local days that programmes speak of.

An interval is named by its *slot*: whole intervals since 1970-01-01T00:00Z. Slots are plain integers,
so a day's readings are a range, and no time zone enters storage. Windows are half-open.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import ArrayLike

from domain.errors import NegawattError

INTERVAL_MINUTES = (5, 10, 15, 30, 60)
DAY_MINUTES = 1440


def check_interval(minutes: int) -> int:
    """Return ``minutes`` if meters may report at that interval.

    >>> check_interval(15)
    15
    >>> check_interval(7)
    Traceback (most recent call last):
      ...
    domain.errors.NegawattError: interval of 7 minutes: expected one of 5, 10, 15, 30, 60
    """
    if minutes not in INTERVAL_MINUTES:
        expected = ", ".join(map(str, INTERVAL_MINUTES))
        raise NegawattError(f"interval of {minutes} minutes: expected one of {expected}")
    return minutes


def slots_per_day(minutes: int) -> int:
    """Intervals in a UTC day.

    >>> slots_per_day(5)
    288
    """
    return DAY_MINUTES // check_interval(minutes)


def slot_of(instant: datetime, minutes: int) -> int:
    """Number of the interval that starts at ``instant`` (time-zone aware, on the grid).

    >>> slot_of(datetime(1970, 1, 2, tzinfo=UTC), 30)
    48
    """
    if instant.tzinfo is None:
        raise NegawattError(f"{instant.isoformat()}: a time without a zone names no instant; add its UTC offset")
    seconds = int(instant.timestamp())
    slot, off = divmod(seconds, minutes * 60)
    if off or instant.microsecond:
        raise NegawattError(f"{instant.isoformat()} is not on the {minutes}-minute grid")
    return slot


def slot_start(slot: int, minutes: int) -> datetime:
    """UTC instant at which the interval ``slot`` starts.

    >>> slot_start(48, 30).isoformat()
    '1970-01-02T00:00:00+00:00'
    """
    return datetime.fromtimestamp(slot * minutes * 60, UTC)


def runs(numbers: ArrayLike) -> list[tuple[int, int]]:
    """First and last of each run of neighbours among slots or days, both within, in ascending order.

    >>> runs([[7, 8], [4, 3]]), runs([5]), runs([])
    ([(3, 4), (7, 8)], [(5, 5)], [])
    """
    wanted = np.unique(np.asarray(numbers, dtype=np.int64))
    if not len(wanted):
        return []
    edges = np.flatnonzero(np.diff(wanted) != 1)
    firsts, lasts = wanted[np.append(0, edges + 1)], wanted[np.append(edges, len(wanted) - 1)]
    return list(zip(firsts.tolist(), lasts.tolist(), strict=True))


def utc_instants(day: date, clock: time, zone: ZoneInfo) -> tuple[datetime, ...]:
    """UTC instants at which local clocks show ``clock`` on ``day``: none, one or two.

    None when the hour is skipped in spring, two when it is repeated in autumn.

    >>> paris = ZoneInfo("Europe/Paris")
    >>> [len(utc_instants(day, time(2, 30), paris)) for day in
    ...  (date(2025, 3, 30), date(2025, 6, 1), date(2025, 10, 26))]
    [0, 1, 2]
    """
    found = []
    for fold in (0, 1):
        local = datetime.combine(day, clock, zone).replace(fold=fold)
        instant = local.astimezone(UTC)
        if instant.astimezone(zone).replace(tzinfo=None) == local.replace(tzinfo=None) and instant not in found:
            found.append(instant)
    return tuple(found)


def local_day_bounds(day: date, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """Half-open UTC bounds of a local day, which lasts 23, 24 or 25 hours.

    >>> [(end - start).seconds // 3600 or 24 for start, end in
    ...  (local_day_bounds(day, ZoneInfo("Europe/Paris")) for day in
    ...   (date(2025, 3, 30), date(2025, 6, 1)))]
    [23, 24]
    """
    midnight = datetime.combine(day, time(), zone)
    return midnight.astimezone(UTC), datetime.combine(day + timedelta(days=1), time(), zone).astimezone(UTC)
