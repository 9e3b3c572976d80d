"""Row keys of the table of readings in HBase: salt, register and interval, day, and then whose it is.

A salt is a bucket and holds whole meters, so a task that has a bucket scans one piece of the table. Within a salt the
days of one register and interval follow each other, so the days of an event are a few ranges. Numbers are big-endian,
so that keys sort as they count::

    0007 69 05 00004e95 home-0001             a meter-day: salt 7, import, 5 minutes, UTC day 20117
    0007 69 05 00004e95 11 c3f1…              arrivals of that salt and day from the hour 0x11, by their content
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from domain.errors import StoreError
from domain.intervals import INTERVAL_MINUTES, check_interval
from domain.readings import Register

MAX_BUCKETS = 1 << 16
MAX_METER_BYTES = 32_000
"""A row key of HBase has at most 32,767 bytes."""

_PREFIX = struct.Struct(">HBBI")
_SERIES = struct.Struct(">BB")
_LETTERS = {Register.IMPORT: ord("i"), Register.EXPORT: ord("e")}
_REGISTERS = {letter: register for register, letter in _LETTERS.items()}
_LAST_DAY = 2**31 - 1


class Series(NamedTuple):
    """A register at an interval: what one file, one batch or one certification is about."""

    register: Register
    minutes: int

    @property
    def code(self) -> bytes:
        """Two bytes: a letter of the register, and the minutes.

        >>> Series(Register.IMPORT, 5).code
        b'i\\x05'
        """
        return _SERIES.pack(_LETTERS[self.register], check_interval(self.minutes))


ALL_SERIES = tuple(Series(register, minutes) for register in Register for minutes in INTERVAL_MINUTES)


class Place(NamedTuple):
    """What a row key says before its last part."""

    bucket: int
    series: Series
    day: int


def prefix(bucket: int, series: Series, day: int) -> bytes:
    """The key's first eight bytes, common to all rows of a bucket's day.

    >>> prefix(7, Series(Register.IMPORT, 5), 20_117).hex()
    '0007690500004e95'
    """
    if not 0 <= day <= _LAST_DAY:
        raise StoreError(f"day {day} since 1970 is beyond what the store's keys hold; is the meter's clock right?")
    return _PREFIX.pack(bucket, _LETTERS[series.register], series.minutes, day)


def days_range(bucket: int, series: Series, first: int, last: int) -> tuple[bytes, bytes]:
    """First key, and the key after the last, of all rows of ``first`` to ``last`` (both within)."""
    return prefix(bucket, series, first), after(prefix(bucket, series, last))


def series_range(bucket: int, series: Series) -> tuple[bytes, bytes]:
    """First key, and the key after the last, of all days of a series in a bucket."""
    return days_range(bucket, series, 0, _LAST_DAY)


def meter_key(bucket: int, series: Series, day: int, meter: bytes) -> bytes:
    """Row of a meter-day; the meter's name in UTF-8 ends it, so that any name will do."""
    return prefix(bucket, series, day) + meter


def arrival_key(bucket: int, series: Series, day: int, hour: int, digest: bytes) -> bytes:
    """Row of readings of many meters of a bucket within one hour of a day."""
    return prefix(bucket, series, day) + bytes([hour]) + digest


def hours_range(bucket: int, series: Series, first: tuple[int, int], last: tuple[int, int]) -> tuple[bytes, bytes]:
    """Keys of arrivals from one (day, hour) to another, both within."""
    start = prefix(bucket, series, first[0]) + bytes([first[1]])
    return start, after(prefix(bucket, series, last[0]) + bytes([last[1]]))


def place_of(key: bytes) -> tuple[Place, bytes]:
    """Take a key apart: where it lies, and its last part.

    >>> place_of(prefix(7, Series(Register.EXPORT, 60), 3) + b"home 1")[1]
    b'home 1'
    """
    bucket, letter, minutes, day = _PREFIX.unpack_from(key)
    return Place(bucket, Series(_REGISTERS[letter], minutes), day), key[_PREFIX.size :]


PREFIX_BYTES = _PREFIX.size


def day_of(key: bytes) -> int:
    """UTC day of any row."""
    return int.from_bytes(key[4:8], "big")


def meter_bytes(meter: str) -> bytes:
    """A meter's name as it stands in keys.

    Raises
    ------
    StoreError
        It is empty or too long for a row key.
    """
    name = meter.encode()
    if not 0 < len(name) <= MAX_METER_BYTES:
        raise StoreError(f"meter {meter[:40]!r}… has {len(name)} bytes: a row key takes 1 to {MAX_METER_BYTES}")
    return name


def after(key: bytes) -> bytes:
    """The smallest key greater than all that begin with ``key``.

    >>> after(b"a\\xff").hex()
    '62'
    """
    cut = key.rstrip(b"\xff")
    return cut[:-1] + bytes([cut[-1] + 1]) if cut else b""
