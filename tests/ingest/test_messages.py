from __future__ import annotations

import random
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from domain.readings import Readings, Register, make_readings
from ingest.messages import KNOWN_MAJORS, MAX_DAY, MAX_READINGS, Fault, MessageError, decode, encode

NOTES = {"schema": "readings/1.0", "interval_minutes": "30", "register": "export"}
COLUMNS = {
    "meter": pa.array(["a", "b", "a"]).dictionary_encode(),
    "slot": pa.array([0, 0, 1], pa.int64()),
    "wh": pa.array([10, 20, 30], pa.int32()),
    "quality": pa.array([2, 1, 2], pa.int8()),
    "revision": pa.array([0, 3, 0], pa.int16()),
}


def a_message(columns: dict[str, pa.Array] | None = None, batches: int = 1, **notes: str | None) -> bytes:
    """A message as a foreign producer may write it; by default a good one of three readings."""
    columns = COLUMNS if columns is None else columns
    said = {key: value for key, value in (NOTES | notes).items() if value is not None}
    batch = pa.record_batch(list(columns.values()), names=list(columns)).replace_schema_metadata(said)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        for _ in range(batches):
            writer.write_batch(batch)
    return sink.getvalue().to_pybytes()


def versioned(version: str | None) -> dict[str, str | None]:
    return {"schema": version and f"readings/{version}"}


def rows(readings: Readings) -> list[tuple]:
    meters = readings.meters[readings.meter].tolist()
    columns = (readings.slot, readings.wh, readings.quality, readings.revision)
    return list(zip(meters, *(column.tolist() for column in columns), strict=True))


def refused(message: object) -> MessageError:
    with pytest.raises(MessageError) as error:
        decode(message)  # type: ignore[arg-type]
    return error.value


ROWS = [("a", 0, 10, 2, 0), ("b", 0, 20, 1, 3), ("a", 1, 30, 2, 0)]


@pytest.mark.parametrize("register", Register)
@pytest.mark.parametrize("minutes", [5, 60])
def test_a_batch_comes_back_as_it_went(register, minutes):
    sent = make_readings(
        ["zähler-7", "b", "zähler-7"], [7, 8, 9], [0, 10**8, 5], interval_minutes=minutes, register=register,
        quality=[1, 2, 2], revision=[0, 32_767, 1],
    )  # fmt: skip
    came = decode(encode(sent))
    assert (came.interval_minutes, came.register) == (minutes, register)
    assert rows(came) == rows(sent)
    for name in ("meter", "slot", "wh", "quality", "revision"):
        assert getattr(came, name).dtype == getattr(sent, name).dtype


def test_a_batch_of_nothing_comes_back():
    assert len(decode(encode(make_readings([], [], [])))) == 0


def test_a_message_of_another_program_is_read():
    assert rows(decode(a_message())) == ROWS


def test_the_older_version_without_revisions_is_read_as_first_reports():
    columns = {name: column for name, column in COLUMNS.items() if name != "revision"}
    came = decode(a_message(columns, **versioned("0.3")))
    assert rows(came) == [(*row[:4], 0) for row in ROWS]


def test_a_newer_minor_version_with_unknown_columns_in_any_order_is_read():
    more = {"voltage": pa.array([2301, None, 2299], pa.uint16()), "phase": pa.array(["L1", "L2", None])}
    columns = dict(reversed((COLUMNS | more).items()))
    assert rows(decode(a_message(columns, **versioned("1.7")))) == ROWS


@pytest.mark.parametrize("version", ["2.0", "10.0", "1", "/1.0", "1.x", "-1.0", "1.0.0", "²·0", "1" * 5000 + ".0"])
def test_an_unknown_version_is_refused_naming_those_known(version):
    error = refused(a_message(**versioned(version)))
    assert error.fault is Fault.UNKNOWN
    assert "readings/0.x and readings/1.x" in error.reason
    assert KNOWN_MAJORS == (0, 1)


def test_a_message_without_a_version_is_refused():
    error = refused(a_message(**versioned(None)))
    assert (error.fault, "'schema'" in error.reason) == (Fault.UNVERSIONED, True)


def test_a_message_of_something_else_is_refused():
    assert refused(a_message(schema="weather/1.0")).fault is Fault.UNKNOWN


@pytest.mark.parametrize(
    "junk", [None, b"", b"\0", b"{}", b"\xff" * 100, b"meter,wh\na,1\n", random.Random(1).randbytes(999)]
)
def test_bytes_that_are_no_message_are_refused(junk):
    assert refused(junk).fault is Fault.UNREADABLE


def test_a_message_cut_anywhere_is_refused_or_whole():
    whole = a_message()
    faults = set()
    for length in range(len(whole)):
        try:
            assert rows(decode(whole[:length])) == ROWS  # only the mark of the end is missing
        except MessageError as error:
            faults.add(error.fault)
    assert faults == {Fault.UNREADABLE, Fault.TRUNCATED}


def test_a_schema_without_a_batch_is_refused():
    assert refused(a_message(batches=0)).fault is Fault.TRUNCATED


def test_a_message_of_several_batches_is_refused_rather_than_read_in_part():
    error = refused(a_message(batches=2))
    assert (error.fault, "one batch" in error.reason) == (Fault.VALUES, True)


def test_any_damage_is_refused_or_gives_readings_within_their_bounds():
    chance = random.Random(7)
    good = bytes(encode(make_readings([f"m{n % 7}" for n in range(60)], range(60), range(60))))
    outcomes = set()
    for _ in range(4000):
        damaged = bytearray(good)
        for _ in range(chance.choice([1, 1, 2, 8])):
            damaged[chance.randrange(len(damaged))] = chance.choice([0, 1, 127, 128, 255, chance.randrange(256)])
        try:
            came = decode(bytes(damaged))
        except MessageError as error:
            outcomes.add(error.fault)
        else:
            rows(came)
            outcomes.add(None)
    assert {None, Fault.UNREADABLE, Fault.TRUNCATED, Fault.VALUES} <= outcomes


@pytest.mark.parametrize(
    ("name", "column", "what"),
    [
        ("slot", pa.array([0, 0, 1], pa.int32()), "expected int64, got int32"),
        ("wh", pa.array(["1", "2", "3"]), "expected int32, got string"),
        ("wh", pa.array([1.5, 2.5, 3.5]), "expected int32, got double"),
        ("meter", pa.array(["a", "b", "a"]), "got string"),
        ("meter", pa.array([1, 2, 1]).dictionary_encode(), "expected dictionary<values=string"),
        ("revision", None, "expected int16, got nothing"),
    ],
)
def test_a_column_of_another_type_is_refused_naming_it(name, column, what):
    columns = {key: value for key, value in (COLUMNS | {name: column}).items() if value is not None}
    error = refused(a_message(columns))
    assert error.fault is Fault.COLUMNS
    assert error.reason.startswith(f"column {name}:")
    assert what in error.reason


def test_a_column_that_comes_twice_is_refused():
    batch = pa.record_batch([*COLUMNS.values(), COLUMNS["wh"]], names=[*COLUMNS, "wh"])
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema.with_metadata(NOTES)) as writer:
        writer.write_batch(batch.replace_schema_metadata(NOTES))
    assert refused(sink.getvalue().to_pybytes()).fault is Fault.COLUMNS


def coded(codes: list[int], names: list[str | None] = ["a", "b"]) -> pa.Array:  # noqa: B006
    return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), pa.array(names, pa.string()), safe=False)


@pytest.mark.parametrize(
    ("name", "column", "fault"),
    [
        ("meter", coded([0, -1, 0]), Fault.TRUNCATED),
        ("meter", coded([0, 2, 0]), Fault.TRUNCATED),
        ("meter", coded([0, 1, 0], ["a", "a"]), Fault.VALUES),
        ("meter", coded([0, 1, 0], ["a", ""]), Fault.VALUES),
        ("meter", coded([0, 1, 0], ["a", None]), Fault.VALUES),
        ("meter", coded([0, 1, 0], ["a", "b\0"]), Fault.VALUES),
        ("meter", coded([0, 1, 0], ["a", "b" * 257]), Fault.VALUES),
        ("slot", pa.array([0, -1, 1], pa.int64()), Fault.VALUES),
        ("slot", pa.array([0, None, 1], pa.int64()), Fault.VALUES),
        ("slot", pa.array([0, 2**39, 1], pa.int64()), Fault.VALUES),
        ("wh", pa.array([10, -20, 30], pa.int32()), Fault.VALUES),
        ("wh", pa.array([10, 10**8 + 1, 30], pa.int32()), Fault.VALUES),
        ("quality", pa.array([2, 0, 2], pa.int8()), Fault.VALUES),
        ("revision", pa.array([0, -1, 0], pa.int16()), Fault.VALUES),
    ],
)
def test_values_that_no_reading_has_are_refused(name, column, fault):
    decode(a_message())  # one of the same layout, but for what is wrong
    error = refused(a_message(COLUMNS | {name: column}))
    assert error.fault is fault
    assert error.reason


@pytest.mark.parametrize(
    "notes", [{"interval_minutes": "7"}, {"interval_minutes": None}, {"interval_minutes": "x"}, {"register": "both"}]
)
def test_an_unknown_interval_or_register_is_refused(notes):
    assert refused(a_message(**notes)).fault is Fault.VALUES


def test_messages_of_every_shape_are_those_that_arrow_writes():
    chance = np.random.default_rng(5)
    for count, meters in [(1, 1), (7, 3), (64, 64), (1000, 20), (1001, 20), (MAX_READINGS, 400)]:
        for _ in range(2):  # the second has the first one's layout
            names = [f"m{n % meters}" for n in range(count)]
            sent = make_readings(
                names, np.arange(count), chance.integers(0, 10**8, count), quality=chance.integers(1, 3, count)
            )
            message = encode(sent)
            table = pa.ipc.open_stream(message).read_all()
            assert rows(sent) == rows(decode(message))
            assert table["meter"].to_pylist() == sent.meters[sent.meter].tolist()
            assert [table[name].to_pylist() for name in ("slot", "wh", "quality", "revision")] == [
                column.tolist() for column in (sent.slot, sent.wh, sent.quality, sent.revision)
            ]


def test_messages_alike_but_for_their_meters_are_told_apart():
    one, two = (make_readings(names, [0, 0], [1, 2]) for names in (["a", "b"], ["a", "c"]))
    for readings in (one, two, one, two):
        assert rows(decode(encode(readings))) == rows(readings)


def test_what_would_be_refused_is_not_sent():
    too_many = make_readings(["a"] * (MAX_READINGS + 1), np.arange(MAX_READINGS + 1), np.ones(MAX_READINGS + 1))
    for readings in (too_many, make_readings([""], [0], [1]), make_readings(["a"], [MAX_DAY * 288 + 1], [1])):
        with pytest.raises(MessageError):
            encode(readings)


def test_every_fault_is_explained_on_the_page_of_the_bus_and_no_other():
    page = (Path(__file__).parents[2] / "docs" / "bus.md").read_text("utf-8")
    assert re.findall(r"^\| `(\w+\.\w+)` \|", page.partition("## Rejected")[2], flags=re.MULTILINE) == list(Fault)
