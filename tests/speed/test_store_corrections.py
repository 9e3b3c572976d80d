"""Rows that add up to readings, whatever came in which order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stores import ACTUAL, ESTIMATED, FIRST, DictStore, Row, a_batch, rows

from domain.errors import StoreError
from speed.corrections import Rows, outranking, summed, summed_at
from speed.marks import HighWater, in_time_order

METERS = ["A", "a", "home 2", "zähler-7"]


def as_rows(some):
    """Readings as rows of a table, each meter with its place in METERS for a number."""
    batch = in_time_order(a_batch(some))
    number = np.array([METERS.index(name) for name in batch.meters.tolist()], dtype=np.int32)
    ones = np.ones(len(batch), dtype=np.int64)
    return Rows(number[batch.meter], batch.slot, batch.wh.astype(np.int64), batch.quality, batch.revision, ones)


def load_all(batches):
    """A table that only ever grows."""
    table = as_rows([])
    for batch in batches:
        if batch:
            table = Rows.joined([table, outranking(as_rows(batch), summed(table))[0]])
    return table


@given(st.lists(st.lists(rows, max_size=12), max_size=6))
def test_sums_of_rows_are_the_readings_that_count(batches):
    reference = DictStore()
    for batch in batches:
        reference.append(batch)
    held = summed(load_all(batches))
    found = zip(
        *(getattr(held, name).tolist() for name in ("meter", "slot", "revision", "quality", "wh")), strict=True
    )
    assert {(METERS[meter], slot): stamp for meter, slot, *stamp in found} == {
        key: list(stamp) for key, stamp in reference.kept.items()
    }


@given(st.lists(st.lists(rows, max_size=12), max_size=6))
def test_sums_at_known_slots_are_the_same_sums(batches):
    table = load_all(batches)
    one, other = summed(table), summed_at(table, np.append(table.slot, FIRST + 5))
    order = np.lexsort((other.slot, other.meter))
    for name in ("meter", "slot", "wh", "quality", "revision", "n"):
        assert getattr(one, name).tolist() == getattr(other, name)[order].tolist()


def test_a_correction_is_a_row_of_the_difference_that_counts_no_reading():
    table = load_all([[Row("a", 7, 500)], [Row("a", 7, 400, ESTIMATED, 1)], [Row("a", 7, 450, ACTUAL, 1)]])
    assert table.wh.tolist() == [500, -100, 50]
    assert table.n.tolist() == [1, 0, 0]
    assert table.revision.tolist() == [0, 1, 1]


def test_a_correction_of_quality_alone_is_a_row_of_no_energy():
    table = load_all([[Row("a", 7, 500, ESTIMATED)], [Row("a", 7, 500)], [Row("a", 7, 500)]])
    assert (table.wh.tolist(), table.quality.tolist()) == ([500, 0], [int(ESTIMATED), int(ACTUAL)])


def test_a_reading_that_is_there_twice_is_an_error_that_names_it():
    once = as_rows([Row("a", 7, 500)])
    with pytest.raises(StoreError, match="meter number 1 at interval 7 is in the speed store 2 times"):
        summed(Rows.joined([once, once]))
    with pytest.raises(StoreError, match="is in the speed store 2 times"):
        summed_at(Rows.joined([once, once]), once.slot)


def test_what_is_newer_than_a_meter_s_mark_is_fresh():
    mark = HighWater(10, newest=5)
    meters, slots = np.array([0, 1, 2], dtype=np.int32), np.array([5, 6, 0])
    mark.begin(meters[2:])  # a new meter has nothing, however old its readings are
    assert mark.fresh(meters, slots).tolist() == [False, True, True]
    mark.raise_to(meters, slots, 2)
    assert mark.rows == 12
    assert mark.fresh(meters, slots + 1).tolist() == [True, True, True]
    assert mark.fresh(meters, slots).tolist() == [False, False, False]


@pytest.mark.parametrize("last", [9, 2**39])
def test_a_batch_is_put_in_order_of_time_with_its_winners(last):
    given_rows = [Row("b", last, 3), Row("a", last, 1), Row("b", 2, 4), Row("a", last, 2)]
    batch = in_time_order(a_batch(given_rows, 5))
    names = batch.meters[batch.meter].tolist()
    assert list(zip(names, batch.slot.tolist(), batch.wh.tolist(), strict=True)) == [
        ("b", 2, 4),
        ("a", last, 2),
        ("b", last, 3),
    ]
