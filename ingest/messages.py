"""The messages of topic ``readings``: a batch of readings as an Arrow IPC stream that says its schema version.

A version is ``MAJOR.MINOR``. A minor version adds columns, which older readers pass over; a major version changes the
meaning of what was there, so a reader refuses one that it doesn't know. Whatever the bytes are, `decode` either gives
readings or raises `MessageError`: it never stops whoever reads a topic.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from enum import StrEnum
from functools import cache, lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from domain.errors import NegawattError
from domain.intervals import slots_per_day
from domain.readings import Readings, Register
from ingest.message_layouts import Layout, Layouts

SCHEMA = "readings/1.0"
"""What `encode` writes: its metadata and the Kafka header say so, both under HEADER."""

KNOWN_MAJORS = (0, 1)
"""What `decode` reads. Version 0 has no ``revision``: its readings are all first reports."""

HEADER = "schema"

MAX_READINGS = 10_000
"""`encode` refuses more: a message is to stay well under a mebibyte. Split larger batches before."""

MAX_METER_BYTES = 256
MAX_DAY = 150_000
"""Last UTC day that a message may name, in the year 2380: later ones come from broken clocks. [days since 1970]"""

_VERSION_KEY, _INTERVAL_KEY, _REGISTER_KEY = HEADER.encode(), b"interval_minutes", b"register"
_COLUMNS = {
    "meter": pa.dictionary(pa.int32(), pa.string()),
    "slot": pa.int64(),
    "wh": pa.int32(),
    "quality": pa.int8(),
    "revision": pa.int16(),
}
_KINDS: tuple[type[np.integer[Any]], ...] = (np.int32, np.int64, np.int32, np.int8, np.int16)
"""Of the columns' numbers, and of the meters' codes."""
_ARROW = {np.int8: pa.int8(), np.int16: pa.int16(), np.int32: pa.int32(), np.int64: pa.int64()}
_met: Layouts[tuple[int, Register, NDArray[np.object_]]] = Layouts()
"""What `decode` has read: intervals, register and meters of messages of each layout."""
_CONTROL = np.isin(np.arange(256), [*range(32), 127])


class Fault(StrEnum):
    """Why a message was refused. The text is stable: scripts and dashboards may rely on it."""

    UNREADABLE = "message.unreadable"
    TRUNCATED = "message.truncated"
    UNVERSIONED = "schema.unversioned"
    UNKNOWN = "schema.unknown"
    COLUMNS = "schema.columns"
    VALUES = "readings.invalid"


class MessageError(NegawattError):
    """A message that can't be read, or whose readings can't be; ``fault`` and ``reason`` say why."""

    def __init__(self, fault: Fault, reason: str) -> None:
        self.fault, self.reason = fault, reason
        super().__init__(f"{fault}: {reason}")


def encode(readings: Readings) -> memoryview:
    """A batch as a message of version 1.

    Raises
    ------
    MessageError
        `decode` would refuse it: more than MAX_READINGS readings, an unusable name of a meter, a slot out of range.

    Examples
    --------
    >>> from domain.readings import make_readings
    >>> decode(encode(make_readings(["a", "b"], [0, 0], [10, 20]))).wh.tolist()
    [10, 20]
    """
    _check_rows(readings.slot, readings.interval_minutes)
    columns = (readings.meter, readings.slot, readings.wh, readings.quality, readings.revision)
    minutes, register, meters = readings.interval_minutes, readings.register, tuple(readings.meters.tolist())
    layout = _layout(minutes, register, len(readings), meters) if len(readings) else None
    if layout is not None:
        return layout.write(columns)
    return memoryview(_by_arrow(minutes, register, meters, columns))


@lru_cache(maxsize=1_024)
def _layout(minutes: int, register: Register, count: int, meters: tuple[str, ...]) -> Layout | None:
    """Layout of what `encode` writes for so many readings of these meters."""
    message = _by_arrow(minutes, register, meters, [np.zeros(count, kind) for kind in _KINDS])
    codes, *others = pa.ipc.open_stream(message).read_next_batch().columns
    return Layout.of(message, [codes.indices, *others])


def _by_arrow(
    minutes: int, register: Register, meters: tuple[str, ...], columns: Sequence[NDArray[Any]]
) -> pa.Buffer:
    """A message as Arrow writes it, with its meters' names checked."""
    schema, names = _schema(minutes, register), pa.array(meters, pa.string())
    _checked_meters(names)
    codes, *others = (_plain(column, kind) for column, kind in zip(columns, _KINDS, strict=True))
    arrays = [pa.DictionaryArray.from_arrays(codes, names, safe=False), *others]  # codes were checked by Readings
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema))
    return sink.getvalue()


def decode(message: bytes | bytearray | memoryview | None) -> Readings:
    """The readings of a message of any version this reader knows.

    Raises
    ------
    MessageError
        The bytes are no message, break off, have a schema that this reader doesn't know, or hold values that no
        reading can have.
    """
    if not message:
        raise MessageError(Fault.UNREADABLE, "an empty message")
    known = _met.find(message)
    if known is not None:
        layout, about = known
        with suppress(MessageError):  # Arrow, below, says what is wrong, as it would of the first such message
            return _readings(*about, layout.read(message))
    buffer = pa.py_buffer(message)
    with _refusing(Fault.UNREADABLE, "no Arrow IPC stream"):
        stream = pa.ipc.open_stream(buffer)
        schema = stream.schema
        major, minutes, register = _checked_schema(schema)
    with _refusing(Fault.TRUNCATED, "breaks off or is damaged"):
        batch = stream.read_next_batch()
        batch.validate(full=True)  # before anything follows an offset or a code in it
        if next(stream, None) is not None:
            raise MessageError(Fault.VALUES, "more than one batch")
    columns = dict(zip(schema.names, batch.columns, strict=True))
    for name in _names(major):
        if columns[name].null_count:
            raise MessageError(Fault.VALUES, f"column {name} has {columns[name].null_count} empty cells")
    meters = _checked_meters(columns["meter"].dictionary)
    columns["meter"] = columns["meter"].indices
    arrays = [columns[name] for name in _names(major)]
    numbers = [array.to_numpy() for array in arrays]
    if not major:
        numbers.append(np.zeros(len(batch), np.int16))
    readings = _readings(minutes, register, meters, numbers)
    found = Layout.of(buffer, arrays) if major else None
    if found is not None:
        _met.meet(found, (minutes, register, meters))
    return readings


def _readings(
    minutes: int, register: Register, meters: NDArray[np.object_], numbers: Sequence[NDArray[Any]]
) -> Readings:
    _check_rows(numbers[1], minutes)
    try:
        return Readings(minutes, register, meters, *numbers)
    except NegawattError as invalid:
        raise MessageError(Fault.VALUES, str(invalid)) from invalid


@contextmanager
def _refusing(fault: Fault, what: str) -> Iterator[None]:
    """Turn whatever Arrow raises over foreign bytes (its own errors, those of text, memory, numbers) into ours."""
    try:
        yield
    except MessageError:
        raise
    except Exception as failed:
        raise MessageError(fault, f"{what}: {(str(failed).splitlines() or [repr(failed)])[0][:200]}") from failed


def _checked_schema(schema: pa.Schema) -> tuple[int, int, Register]:
    """Major version, interval and register; everything else about a schema is checked here."""
    notes = schema.metadata or {}
    if _VERSION_KEY not in notes:
        raise MessageError(Fault.UNVERSIONED, f"its schema has no {_VERSION_KEY.decode()!r} in the metadata")
    version = notes[_VERSION_KEY].decode(errors="replace")
    what, _, number = version.rpartition("/")
    major, dot, minor = number.partition(".")
    if what != "readings" or not (dot and _is_number(major) and _is_number(minor)) or int(major) not in KNOWN_MAJORS:
        known = " and ".join(f"readings/{n}.x" for n in KNOWN_MAJORS)
        raise MessageError(Fault.UNKNOWN, f"schema {version[:100]!r}: this reader knows {known}")
    for name in _names(int(major)):
        wanted, found = _COLUMNS[name], [field.type for field in schema if field.name == name]
        if len(found) != 1 or found[0] != wanted:
            have = " and ".join(map(str, found)) or "nothing"
            raise MessageError(Fault.COLUMNS, f"column {name}: expected {wanted}, got {have}")
    interval, register = (notes.get(key, b"").decode(errors="replace") for key in (_INTERVAL_KEY, _REGISTER_KEY))
    try:
        minutes = int(interval) if _is_number(interval) else 0
        slots_per_day(minutes)
    except NegawattError as wrong:
        raise MessageError(Fault.VALUES, f"interval_minutes {interval!r}: {wrong}") from wrong
    if register not in list(Register):
        raise MessageError(Fault.VALUES, f"register {register!r}: expected {' or '.join(Register)}")
    return int(major), minutes, Register(register)


def _checked_meters(dictionary: pa.Array) -> NDArray[np.object_]:
    """The names in a batch's dictionary, each checked: stores use them as keys."""
    if dictionary.null_count:
        raise MessageError(Fault.VALUES, "a meter without a name")
    if len(dictionary) == 0:
        return np.empty(0, dtype=object)
    _, offsets, text = dictionary.buffers()
    bounds = np.frombuffer(offsets, np.int32)[dictionary.offset : dictionary.offset + len(dictionary) + 1]
    return _names_in(bounds.tobytes(), bytes(text or b""))


@lru_cache(maxsize=512)
def _names_in(offsets: bytes, text: bytes) -> NDArray[np.object_]:
    """Checked names of a text between offsets. A concentrator sends the same meters every time: remember them."""
    bounds = np.frombuffer(offsets, np.int32)
    lengths = np.diff(bounds)
    if lengths.min() == 0 or lengths.max() > MAX_METER_BYTES:
        worst = lengths.min() or lengths.max()
        raise MessageError(Fault.VALUES, f"a meter's name has 1 to {MAX_METER_BYTES} bytes, not {worst}")
    if _CONTROL[np.frombuffer(text, np.uint8)[bounds[0] : bounds[-1]]].any():
        raise MessageError(Fault.VALUES, "a meter's name has a control character")
    names = [text[start:end].decode() for start, end in pairwise(bounds.tolist())]
    if len(set(names)) < len(names):
        raise MessageError(Fault.VALUES, "a meter is named twice in the dictionary")
    found = np.array(names, dtype=object)
    found.setflags(write=False)  # many batches share it
    return found


def _plain(column: NDArray[Any], kind: type[np.integer[Any]]) -> pa.Array:
    """A column without empty cells, its numbers not copied."""
    numbers = np.ascontiguousarray(column, kind)
    return pa.Array.from_buffers(_ARROW[kind], len(numbers), [None, pa.py_buffer(numbers)])


def _check_rows(slot: NDArray[np.int64], interval_minutes: int) -> None:
    if len(slot) > MAX_READINGS:
        raise MessageError(Fault.VALUES, f"{len(slot):,} readings: a message holds {MAX_READINGS:,} at most")
    if len(slot) and slot.max() > MAX_DAY * slots_per_day(interval_minutes):
        raise MessageError(Fault.VALUES, f"slot {slot.max()}: no clock is that late")


@cache
def _schema(interval_minutes: int, register: Register) -> pa.Schema:
    fields = [pa.field(name, kind, nullable=False) for name, kind in _COLUMNS.items()]
    notes = {_VERSION_KEY: SCHEMA, _INTERVAL_KEY: str(interval_minutes), _REGISTER_KEY: str(register)}
    return pa.schema(fields, metadata=notes)


def _names(major: int) -> tuple[str, ...]:
    return tuple(name for name in _COLUMNS if major or name != "revision")


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 5
