"""Written times to instants: ISO 8601 with an offset, or a zone's local clock.

Local clocks skip an hour in spring and repeat one in autumn; such times name no instant, or two.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ingest.rejects import Code

DAY_SECONDS = 86_400
_CLOCK = r"^\d{4}-\d\d-\d\d([T ]\d\d(:?\d\d(:?\d\d(\.\d+)?)?)?)?"
_WITH_OFFSET = r"^\d{4}-\d\d-\d\d[T ]\d\d(:?\d\d(:?\d\d(\.\d+)?)?)?(Z|[+-]\d\d(:?\d\d)?)$"
_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


@dataclass(frozen=True)
class Instants:
    """A column of times as instants.

    Attributes
    ----------
    seconds : ndarray of int64, shape (n,)
        Whole seconds since 1970-01-01T00:00Z, rounded down; meaningless where there is a problem. [s]
    fraction : ndarray of bool, shape (n,)
        Whether the time has a fraction of a second besides.
    problems : dict of Code to ndarray of bool
        The rows that name no instant, by reason; no row has two.
    """

    seconds: NDArray[np.int64]
    fraction: NDArray[np.bool_]
    problems: dict[Code, NDArray[np.bool_]]


def read_instants(column: pa.Array, zone: str | None) -> Instants:
    """Read a column of text or of timestamps.

    Parameters
    ----------
    column : pyarrow.Array
        ISO 8601 text, with a ``T`` or a blank before the clock, or an Arrow timestamp.
    zone : str or None
        IANA zone whose local clock a time without an offset shows.

    Examples
    --------
    >>> read = read_instants(pa.array(["1970-01-02T00:30Z", "1970-01-02 00:30", "noon"]), None)
    >>> read.seconds[:1].tolist(), sorted(read.problems)
    ([88200], [<Code.TIME_NAIVE: 'time.naive'>, <Code.TIME_UNREADABLE: 'time.unreadable'>])
    """
    n = len(column)
    if pa.types.is_timestamp(column.type):
        factor = _PER_SECOND[column.type.unit]
        ticks, valid = _ticks(column)
        naive = np.full(n, column.type.tz is None)
    else:
        factor = _PER_SECOND["ns"]
        ticks, valid, naive = _read_text(column)
    seconds = ticks // factor
    problems = {Code.TIME_UNREADABLE: ~valid}
    naive &= valid
    if zone is None:
        problems[Code.TIME_NAIVE] = naive
    elif naive.any():
        local = local_to_utc(seconds[naive], zone)
        both = {Code.TIME_AMBIGUOUS: local.ambiguous, Code.TIME_NONEXISTENT: local.nonexistent}
        for code, among in both.items():
            problems[code] = naive.copy()
            problems[code][naive] = among
        seconds[naive] = local.seconds
    found = {code: rows for code, rows in problems.items() if rows.any()}
    return Instants(seconds, ticks % factor != 0, found)


def _ticks(column: pa.Array) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """A timestamp column as integers of its unit, and where it isn't null."""
    valid = pc.is_valid(column).to_numpy(zero_copy_only=False)
    ticks = pc.fill_null(column.cast(pa.int64()), 0).to_numpy(zero_copy_only=False)
    return ticks.copy(), valid


def _read_text(column: pa.Array) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_]]:
    """Nanoseconds, where they could be read, and where no offset was given (those as if UTC)."""
    n = len(column)
    text = column.cast(pa.string())
    for kind in (pa.timestamp("ns", "UTC"), pa.timestamp("ns")):  # a whole column alike is the rule, and fast
        try:
            text[:1].cast(kind)  # a cast that fails in every row is slow to say so
            ticks, valid = _ticks(text.cast(kind))
        except pa.ArrowInvalid:
            continue
        return ticks, valid, np.full(n, kind.tz is None)
    text = pc.fill_null(pc.utf8_trim_whitespace(text), "")
    aware = pc.match_substring_regex(text, _WITH_OFFSET).to_numpy(zero_copy_only=False)
    naive = pc.match_substring_regex(text, _CLOCK + "$").to_numpy(zero_copy_only=False)
    ticks, valid = np.zeros(n, np.int64), np.zeros(n, np.bool_)
    for rows, kind in ((aware, pa.timestamp("ns", "UTC")), (naive, pa.timestamp("ns"))):
        ticks[rows], valid[rows] = _ticks(_cast_or_null(text.filter(pa.array(rows)), kind))
    return ticks, valid, naive


def _cast_or_null(text: pa.Array, kind: pa.DataType) -> pa.Array:
    """Cast, with null for what has the right shape but is no calendar time (30 February)."""
    try:
        return text.cast(kind)
    except pa.ArrowInvalid:
        if len(text) == 1:
            return pa.nulls(1, kind)
        half = len(text) // 2
        return pa.concat_arrays([_cast_or_null(text[:half], kind), _cast_or_null(text[half:], kind)])


@dataclass(frozen=True)
class LocalTimes:
    """Local clock times as instants, and those that name two of them or none."""

    seconds: NDArray[np.int64]
    ambiguous: NDArray[np.bool_]
    nonexistent: NDArray[np.bool_]


def local_to_utc(clock: NDArray[np.int64], zone: str) -> LocalTimes:
    """Instants at which a zone's clocks show ``clock``.

    Parameters
    ----------
    clock : ndarray of int64, shape (n,)
        Clock readings, as seconds since 1970-01-01T00:00 on that same clock. [s]
    zone : str
        IANA name.

    Examples
    --------
    Clocks in London showed 01:30 twice on 27 October 2013, and never on 31 March.

    >>> def shown(*at): return int(datetime(*at, tzinfo=UTC).timestamp())
    >>> autumn, spring = shown(2013, 10, 27, 1, 30), shown(2013, 3, 31, 1, 30)
    >>> times = local_to_utc(np.array([autumn, spring]), "Europe/London")
    >>> times.ambiguous.tolist(), times.nonexistent.tolist()
    ([True, False], [False, True])
    """
    if len(clock) == 0:
        return LocalTimes(clock, np.zeros(0, np.bool_), np.zeros(0, np.bool_))
    starts, offsets = _offsets(zone, int(clock.min()), int(clock.max()))
    begin = np.append(-(2**62), starts[1:] + offsets[1:])
    end = np.append(starts[1:] + offsets[:-1], 2**62)
    later = np.searchsorted(begin, clock, side="right") - 1
    earlier = np.maximum(later - 1, 0)
    in_later = clock < end[later]
    in_earlier = (later > 0) & (clock < end[earlier])
    chosen = np.where(in_later, later, earlier)
    return LocalTimes(clock - offsets[chosen], in_later & in_earlier, ~in_later & ~in_earlier)


def utc_to_local(seconds: NDArray[np.int64], zone: str) -> NDArray[np.int64]:
    """What a zone's clocks show at the instants ``seconds``, as seconds on that same clock. [s]

    >>> int(utc_to_local(np.array([0]), "Asia/Seoul")[0]) // 3600
    9
    """
    if len(seconds) == 0:
        return seconds
    starts, offsets = _offsets(zone, int(seconds.min()), int(seconds.max()))
    return seconds + offsets[np.searchsorted(starts, seconds, side="right") - 1]


def _offsets(zone: str, first: int, last: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Instants from which a UTC offset holds, and the offsets, over the years around two instants. [s]"""
    low = max(first // DAY_SECONDS // 365 - 1, -68)
    high = min(last // DAY_SECONDS // 365 + 2, 8000)
    years = [_offsets_of_stretch(zone, year) for year in range(low, high)]
    starts, offsets = (np.concatenate(parts) for parts in zip(*years, strict=True))
    new = np.append(True, offsets[1:] != offsets[:-1])
    return starts[new], offsets[new]


@lru_cache(maxsize=512)
def _offsets_of_stretch(zone: str, year: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The offsets over the 365 days from day 365·year on, found by halving each day that sees a change."""
    tz = ZoneInfo(zone)

    def offset(at: int) -> int:
        shown = datetime.fromtimestamp(at, tz).replace(tzinfo=UTC)
        return int(shown.timestamp()) - at

    first = year * 365 * DAY_SECONDS
    starts, offsets = [first], [offset(first)]
    for day_start in range(first, first + 365 * DAY_SECONDS, DAY_SECONDS):
        low, high = day_start, day_start + DAY_SECONDS
        after = offset(high)
        if after == offsets[-1]:
            continue
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if offset(middle) == offsets[-1] else (low, middle)
        starts.append(high)
        offsets.append(after)
    return np.array(starts), np.array(offsets)
