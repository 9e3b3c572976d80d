"""Bytes of the cells in HBase: a meter's whole day, and what arrived of many meters within one hour.

A cell's name is made from its content, so writing the same again changes nothing, writing something else never
overwrites it, and a deletion takes away exactly what was read before. Every cell is a part of the truth; what counts
is `domain.readings.precedence` over all of them.
"""

from __future__ import annotations

import hashlib
import struct
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from batch.wide import NONE, energy_of, quality_of, revision_of
from domain.errors import StoreError
from domain.readings import MISSING, Quality, precedence

FORMAT = 1
DIGEST_BYTES = 8
"""Of a cell's name: two contents of one meter-day, or of one hour's arrivals, don't share it by accident."""

PLAIN = int(precedence(np.zeros(1, np.int32), np.full(1, Quality.ACTUAL, np.int8), np.zeros(1, np.int16))[0])
"""Stamp of 0 Wh, actual, of revision 0; another energy is added to it."""

_EDITED = 0x80
_PLANES = 0x07
_HEADER_BYTES = 2
_ARRIVALS = struct.Struct("<BBII")
_ROW_BYTES = 4 + 2 + 4 + 1 + 2
_CODEC = pa.Codec("zstd", compression_level=1)


def digest(content: bytes) -> bytes:
    """Name of a cell, from its content."""
    return hashlib.blake2b(content, digest_size=DIGEST_BYTES).digest()


def pack_days(stamp: NDArray[np.int64]) -> list[bytes]:
    """Pack meter-days, each into the bytes of one cell.

    A header (format; number of byte planes, plus 0x80 where edited), then the energies' lowest bytes of all slots,
    then their next bytes, in as many planes as the day's greatest energy needs; all ones: no reading. Where a reading
    is not an actual one of revision 0, a plane of qualities and two of revisions follow. Planes beat whole numbers
    because the upper ones are nearly all zero, which HBase's compression makes nothing of.

    Parameters
    ----------
    stamp : ndarray of int64, shape (rows, slots)
        As in `batch.wide.WideDays`.
    """
    wh = energy_of(stamp)
    top = wh.max(axis=1, initial=0)
    planes = 1 + sum((top >= 256**n - 1).astype(np.int64) for n in (1, 2, 3))
    edited = ((stamp != NONE) & (stamp >> 32 != PLAIN >> 32)).any(axis=1)
    packed: list[bytes] = [b""] * len(stamp)
    kind = planes + _EDITED * edited
    for code in np.unique(kind).tolist():
        rows = np.flatnonzero(kind == code)
        parts = [_planes(wh[rows], code & _PLANES)]
        if code & _EDITED:
            parts.append(quality_of(stamp[rows]).view(np.uint8))
            parts.append(_planes(revision_of(stamp[rows]).astype(np.int32), 2))
        header = np.broadcast_to(np.array([FORMAT, code], dtype=np.uint8), (len(rows), _HEADER_BYTES))
        whole = np.concatenate([header, *parts], axis=1)
        for row, cell in zip(rows.tolist(), whole, strict=True):
            packed[row] = cell.tobytes()
    return packed


def unpack_days(cells: Sequence[bytes], per_day: int, slots: NDArray[np.intp]) -> NDArray[np.int64]:
    """Stamps at some slots of packed days.

    Parameters
    ----------
    cells : sequence of bytes
    per_day : int
        Slots of a day.
    slots : ndarray of int
        Numbers within the day, each once and in order.

    Returns
    -------
    ndarray of int64, shape (cells, slots)

    Raises
    ------
    StoreError
        A cell has another form.
    """
    out = np.empty((len(cells), len(slots)), dtype=np.int64)
    kinds: dict[bytes, list[int]] = defaultdict(list)
    for n, cell in enumerate(cells):
        kinds[cell[:_HEADER_BYTES]].append(n)
    for header, rows in kinds.items():
        code = _check(header)
        planes = code & _PLANES
        size = _HEADER_BYTES + (planes + (3 if code & _EDITED else 0)) * per_day
        block = b"".join(cells[n] for n in rows) if len(rows) < len(cells) else b"".join(cells)
        if len(block) != size * len(rows):
            raise StoreError(f"a packed day of {per_day} slots should have {size} bytes: the table holds another's")
        matrix = np.frombuffer(block, np.uint8).reshape(len(rows), size)[:, _HEADER_BYTES:]

        def plane(number: int, of: NDArray[np.uint8] = matrix) -> NDArray[np.int64]:
            whole = of[:, number * per_day : (number + 1) * per_day]
            return (whole if len(slots) == per_day else whole[:, slots]).astype(np.int64)

        wh = sum((plane(n) << (8 * n) for n in range(1, planes)), start=plane(0))
        absent = wh == 256**planes - 1
        if code & _EDITED:
            quality, revision = plane(planes), plane(planes + 1) | (plane(planes + 2) << 8)
            stamp = (revision << 40) | (quality << 32) | wh
        else:
            stamp = wh + PLAIN
        stamp[absent] = NONE
        out[rows] = stamp
    return out


@dataclass(frozen=True)
class Arrivals:
    """Readings of some meters of a bucket on one day, as columns.

    Attributes
    ----------
    meters : list of bytes
        Names in UTF-8, each once; to be packed, in ascending order.
    meter : ndarray of int64, shape (n,)
        Index into ``meters``; to be packed, ascending, and the slots of a meter likewise.
    slot : ndarray of int64, shape (n,)
        Within the day.
    stamp : ndarray of int64, shape (n,)
    """

    meters: list[bytes]
    meter: NDArray[np.int64]
    slot: NDArray[np.int64]
    stamp: NDArray[np.int64]


def pack_arrivals(arrivals: Arrivals) -> bytes:
    """Bytes of one cell: a header, then by Zstandard the columns, and the names behind them.

    Equal readings give equal bytes, because they come in one order.
    """
    stamp = arrivals.stamp
    n = len(stamp)
    first = np.append(True, arrivals.meter[1:] != arrivals.meter[:-1])[:n]
    names = [arrivals.meters[at] for at in arrivals.meter[first].tolist()]
    columns = [
        (np.cumsum(first) - 1).astype("<u4").tobytes(),
        arrivals.slot.astype("<u2").tobytes(),
        energy_of(stamp).astype("<i4").tobytes(),
        quality_of(stamp).tobytes(),
        revision_of(stamp).astype("<u2").tobytes(),
        np.array([len(name) for name in names], dtype="<u2").tobytes(),
        *names,
    ]
    raw = b"".join(columns)
    return _ARRIVALS.pack(FORMAT, 0, n, len(raw)) + bytes(_CODEC.compress(raw, asbytes=True))


def unpack_arrivals(cell: bytes) -> Arrivals:
    """What `pack_arrivals` packed."""
    form, kind, n, size = _ARRIVALS.unpack_from(cell)
    _check(bytes([form, kind]))
    raw = _CODEC.decompress(cell[_ARRIVALS.size :], decompressed_size=size, asbytes=True)
    meter = np.frombuffer(raw, "<u4", n).astype(np.int64)
    slot = np.frombuffer(raw, "<u2", n, 4 * n).astype(np.int64)
    wh = np.frombuffer(raw, "<i4", n, 6 * n).astype(np.int64)
    quality = np.frombuffer(raw, np.uint8, n, 10 * n).astype(np.int64)
    revision = np.frombuffer(raw, "<u2", n, 11 * n).astype(np.int64)
    count = int(meter.max()) + 1 if n else 0
    return Arrivals(_names(raw[_ROW_BYTES * n :], count), meter, slot, (revision << 40) | (quality << 32) | wh)


@lru_cache(maxsize=256)
def _names(block: bytes, count: int) -> list[bytes]:
    """Names behind their lengths; a fleet's arrivals mostly name the same meters, and then share one list."""
    lengths = np.frombuffer(block, "<u2", count)
    ends = 2 * count + np.cumsum(lengths, dtype=np.int64)
    return [block[a:b] for a, b in zip((ends - lengths).tolist(), ends.tolist(), strict=True)]


def join_arrivals(parts: Iterable[Arrivals]) -> Arrivals:
    """Several cells' readings as one; a slot may then come more than once."""
    index: dict[bytes, int] = {}
    meter, slot, stamp = [], [], []
    last, at = list[bytes](), np.empty(0, dtype=np.int64)
    for part in parts:
        if part.meters is not last:
            last = part.meters
            at = np.array([index.setdefault(name, len(index)) for name in last], dtype=np.int64)
        meter.append(at[part.meter])
        slot.append(part.slot)
        stamp.append(part.stamp)
    empty = [np.empty(0, dtype=np.int64)]
    return Arrivals(
        list(index), np.concatenate(meter or empty), np.concatenate(slot or empty), np.concatenate(stamp or empty)
    )


def _planes(values: NDArray[np.int32], planes: int) -> NDArray[np.uint8]:
    """The lower bytes of numbers, plane by plane. Shape (rows, planes * slots)."""
    return np.concatenate([(values >> (8 * n)).astype(np.uint8) for n in range(planes)], axis=1)


def _check(header: bytes) -> int:
    if len(header) < _HEADER_BYTES or header[0] != FORMAT:
        raise StoreError(
            f"a cell begins with {header.hex() or 'nothing'}: written by a newer version, or not by us; update first"
        )
    return header[1]


assert MISSING == NONE == -1  # noqa: S101  both turn into planes of ones
