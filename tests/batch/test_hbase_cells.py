"""The bytes in HBase, without a server: keys, packed days, arrivals, and how readings are sorted out."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stores import ACTUAL, DAY, ESTIMATED, FIRST, DictStore, Row, a_batch, rows

from batch.hbase_cells import PLAIN, Arrivals, digest, pack_arrivals, pack_days, unpack_arrivals, unpack_days
from batch.hbase_client import Address
from batch.hbase_keys import Series, after, arrival_key, day_of, days_range, hours_range, meter_key, place_of
from batch.hbase_reader import Cells, stamps_of
from batch.hbase_rows import Names, cells_of, sort_out
from batch.hbase_tables import ARRIVED, split_keys
from batch.parquet_store import bucket_of
from batch.wide import NONE
from domain.errors import StoreError
from domain.readings import Register

HOURLY = Series(Register.IMPORT, 60)
STORAGE = Path(__file__).parents[2] / "docs" / "storage.md"

stamps = st.one_of(
    st.just(NONE),
    st.integers(0, 255).map(lambda wh: PLAIN + wh),
    st.integers(0, 10**8).map(lambda wh: PLAIN + wh),
    st.builds(
        lambda revision, quality, wh: (revision << 40) | (quality << 32) | wh,
        st.integers(0, 32_767), st.integers(1, 2), st.integers(0, 10**8),
    ),
)  # fmt: skip


@given(st.lists(st.lists(stamps, min_size=24, max_size=24), min_size=1, max_size=8))
def test_packed_days_come_back_as_they_were(days):
    stamp = np.array(days, dtype=np.int64)
    packed = pack_days(stamp)
    assert unpack_days(packed, 24, np.arange(24)).tolist() == days
    some = np.array([0, 7, 23])
    assert unpack_days(packed, 24, some).tolist() == stamp[:, some].tolist()


@pytest.mark.parametrize(
    ("top", "planes"),
    [(0, 1), (254, 1), (255, 2), (65_534, 2), (65_535, 3), (2**24 - 2, 3), (2**24 - 1, 4), (10**8, 4)],
)
def test_a_day_takes_as_many_bytes_a_slot_as_its_greatest_energy_needs(top, planes):
    stamp = np.full((1, 288), PLAIN + top, dtype=np.int64)
    stamp[0, 5] = NONE
    (cell,) = pack_days(stamp)
    assert len(cell) == 2 + planes * 288
    assert unpack_days([cell], 288, np.arange(288)).tolist() == stamp.tolist()


def test_equal_days_have_equal_cells_and_so_equal_names():
    stamp = np.full((2, 24), PLAIN + 5, dtype=np.int64)
    one, other = pack_days(stamp)
    assert digest(one) == digest(other)
    stamp[1, 3] += 1
    assert digest(pack_days(stamp)[1]) != digest(one)


def test_arrivals_come_back_as_they_were():
    some = Arrivals(
        [b"a", b"b", "zähler".encode()], np.array([0, 0, 2]), np.array([1, 23, 4]), np.array([PLAIN, 7, 9])
    )
    back = unpack_arrivals(pack_arrivals(some))
    assert back.meters == [b"a", "zähler".encode()]
    assert [back.meters[n] for n in back.meter] == [b"a", b"a", "zähler".encode()]
    assert (back.slot.tolist(), back.stamp.tolist()) == ([1, 23, 4], [PLAIN, 7, 9])


@pytest.mark.parametrize("cell", [b"", b"\x02\x01" + b"\0" * 24, b"\x01\x01" + b"\0" * 23])
def test_cells_of_another_form_are_refused(cell):
    with pytest.raises(StoreError):
        unpack_days([cell], 24, np.arange(24))


def test_keys_sort_by_bucket_then_day_then_meter():
    keys = [
        meter_key(bucket, HOURLY, day, meter)
        for bucket in (0, 1, 300)
        for day in (0, 255, 256, 20_000, 2_900_000)
        for meter in (b"a", b"a0", b"b", b"\xff\xff")
    ]
    assert keys == sorted(keys)
    first, last = days_range(1, HOURLY, 255, 20_000)
    assert [day_of(key) for key in keys if first <= key < last] == [255] * 4 + [256] * 4 + [20_000] * 4
    assert place_of(keys[-1]) == ((300, HOURLY, 2_900_000), b"\xff\xff")


def test_arrivals_are_found_by_hour():
    keys = [arrival_key(2, HOURLY, 7, hour, b"\xff" * 8) for hour in range(24)]
    first, last = hours_range(2, HOURLY, (7, 3), (7, 5))
    assert [key[8] for key in keys if first <= key < last] == [3, 4, 5]


def test_the_key_after_a_prefix_skips_all_that_begin_with_it():
    assert after(b"a\xff\xff") == b"b"
    assert after(b"a") == b"b"


def test_a_day_beyond_any_calendar_is_refused_by_name():
    with pytest.raises(StoreError, match="clock"):
        meter_key(0, HOURLY, 2**31, b"a")


@pytest.mark.parametrize("meter", ["", "m" * 40_000])
def test_a_name_that_no_key_takes_is_refused(meter):
    with pytest.raises(StoreError, match="row key"):
        Names(4)([meter])


@pytest.mark.parametrize("url", ["http://a:1", "hbase://", "hbase://a:99999", "hbase://a/b c", "hbase://a/-b"])
def test_an_address_of_another_form_is_refused(url):
    with pytest.raises(StoreError, match=re.escape(url)):
        Address.parse(url)


def test_the_readings_table_is_split_into_its_salts():
    assert split_keys("readings", 300)[-1] == b"\x01\x2b"
    assert split_keys("meters", 300) == []


@given(st.lists(rows, min_size=1, max_size=30), st.booleans())
def test_readings_sorted_out_and_read_back_are_those_that_count(given_rows, whole_day):
    if whole_day:
        given_rows = given_rows + [Row("full", FIRST + 48 + hour, hour, ESTIMATED) for hour in range(DAY)]
    reference = DictStore()
    reference.append(given_rows)
    found = {}
    for part in sort_out([a_batch(given_rows[:5]), a_batch(given_rows[5:])], Names(3)):
        cells = list(cells_of(part, HOURLY))
        days = sorted({day_of(cell.row) for cell in cells})
        arrivals = [(cell.row, day_of(cell.row), cell.value) for cell in cells if cell.column == ARRIVED]
        packed = [(day_of(c.row), place_of(c.row)[1], c.column, c.value) for c in cells if c.column != ARRIVED]
        names, stamp = stamps_of(Cells(packed, arrivals), HOURLY, days, np.arange(DAY), None)
        assert all(bucket_of(name.decode(), 3) == part.bucket for name in names)
        for meter, day, slot in zip(*np.nonzero(stamp != NONE), strict=True):
            value = int(stamp[meter, day, slot])
            read = (value >> 40, value >> 32 & 0xFF, value & 0xFFFF_FFFF)
            found[names[meter].decode(), days[day] * DAY + int(slot)] = read
    assert found == reference.kept


def test_several_packed_cells_of_a_day_are_merged_by_precedence():
    stamp = np.full((3, 24), NONE, dtype=np.int64)
    stamp[0, :4] = PLAIN + 5
    stamp[1, 2:6] = PLAIN + 9
    stamp[2, 3] = (1 << 40) | (int(ACTUAL) << 32)
    cells = [(7, b"a", digest(cell), cell) for cell in pack_days(stamp)]
    for order in (cells, cells[::-1]):
        _, merged = stamps_of(Cells(order, []), HOURLY, [7], np.arange(24), [b"a"])
        assert merged[0, 0].tolist() == stamp.max(axis=0).tolist()


def test_the_row_shown_in_the_documentation_is_made_of_these_bytes():
    text = STORAGE.read_text("utf-8")
    (block,) = (block for block in re.findall(r"```text\n(.*?)```", text, flags=re.DOTALL) if block.startswith("key"))
    shown = dict(re.findall(r"^(key|column|value)((?:\s+[0-9a-f]{2}\b)+)", block, flags=re.MULTILINE))
    batch = a_batch([Row("home-0001", 20_117 * DAY + hour, 300 if hour == 18 else 40 + hour) for hour in range(20)])
    (part,) = sort_out([batch], Names(16))
    (cell,) = cells_of(part, HOURLY)
    assert bytes.fromhex(shown["key"]) == cell.row
    assert b"d:" + bytes.fromhex(shown["column"]) == cell.column
    assert bytes.fromhex(shown["value"]) == cell.value
