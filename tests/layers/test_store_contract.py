"""One contract for every store: what it keeps depends on the readings alone, never on how they came."""

from __future__ import annotations

import tempfile
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stores import (
    ACTUAL,
    ADAPTERS,
    ALL_SLOTS,
    DAY,
    ESTIMATED,
    FIRST,
    METERS,
    Counts,
    DictStore,
    Row,
    a_batch,
    assert_equal_blocks,
    rows,
)

from domain.readings import MISSING, Register

ONE_SLOT = np.array([[FIRST]])


ON_SERVERS = [pytest.param(name, marks=pytest.mark.stack) for name in ("hbase", "hbase, compacting", "heavydb")]


@pytest.fixture(scope="session")
def open_adapter(request):
    """Opens an empty store of a kind, one of HeavyDB at a time; a server is started when it is first asked for."""

    def open_empty(adapter, folder):
        if adapter in ADAPTERS:
            return ADAPTERS[adapter](folder)
        if adapter == "heavydb":
            from heavydb_layer import HeavyDBLayer

            return HeavyDBLayer(request.getfixturevalue("heavydb"))
        from hbase_layer import HBASE_ADAPTERS

        return HBASE_ADAPTERS[adapter](request.getfixturevalue("hbase").url)

    return open_empty


@pytest.fixture(params=[*ADAPTERS, *ON_SERVERS])
def make_store(request, tmp_path, open_adapter):
    opened = []

    def make(name=""):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        opened.append(open_adapter(request.param, folder))
        return opened[-1]

    yield make
    for store in opened:
        store.close()


@pytest.fixture
def store(make_store):
    return make_store()


def the_reading(store, meter="a"):
    """Energy of a meter's reading at FIRST, and whether it is an estimate."""
    block = store.read(ONE_SLOT, meters=[meter])
    return int(block.wh[0, 0, 0]), block.estimated is not None and bool(block.estimated[0, 0, 0])


def test_the_same_readings_twice_change_nothing_and_the_counts_say_so(store):
    batch = a_batch([Row("a", FIRST, 5), Row("b", FIRST, 6, ESTIMATED), Row("a", FIRST + 1, 7, ACTUAL, 2)])
    assert store.append(batch) == Counts(3, 0, 0)
    before = store.read(ALL_SLOTS)
    assert store.append(batch) == Counts(0, 0, 3)
    assert store.append(batch, batch) == Counts(0, 0, 6)
    assert_equal_blocks(store.read(ALL_SLOTS), before)


def test_a_reading_that_repeats_within_its_batch_is_stored_once(store):
    assert store.append(a_batch([Row("a", FIRST, 5)] * 3)) == Counts(1, 0, 2)
    assert the_reading(store) == (5, False)


def test_readings_that_repeat_in_another_batch_of_the_same_append_are_unchanged(store):
    one, other = a_batch([Row("a", FIRST, 5)]), a_batch([Row("a", FIRST, 5), Row("b", FIRST, 1)])
    assert store.append(one, other) == Counts(2, 0, 1)


def test_a_higher_revision_replaces(store):
    store.append(a_batch([Row("a", FIRST, 500)]))
    assert store.append(a_batch([Row("a", FIRST, 400, ACTUAL, 1)])) == Counts(0, 1, 0)
    assert the_reading(store) == (400, False)


def test_a_lower_revision_that_comes_late_is_ignored(store):
    store.append(a_batch([Row("a", FIRST, 400, ACTUAL, 1)]))
    assert store.append(a_batch([Row("a", FIRST, 500)])) == Counts(0, 0, 1)
    assert the_reading(store) == (400, False)


def test_a_higher_revision_replaces_even_by_an_estimate(store):
    store.append(a_batch([Row("a", FIRST, 500)]))
    store.append(a_batch([Row("a", FIRST, 400, ESTIMATED, 1)]))
    assert the_reading(store) == (400, True)


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_better_quality_wins_at_the_same_revision_in_any_order(store, order):
    readings = [Row("a", FIRST, 900, ESTIMATED), Row("a", FIRST, 300, ACTUAL), Row("a", FIRST, 800, ESTIMATED)]
    for n in order:
        store.append(a_batch([readings[n]]))
    assert the_reading(store) == (300, False)


@pytest.mark.parametrize("first", [300, 400])
def test_the_greater_energy_wins_a_tie_because_it_denies_a_reduction(store, first):
    store.append(a_batch([Row("a", FIRST, first)]))
    store.append(a_batch([Row("a", FIRST, 700 - first)]))
    assert the_reading(store) == (400, False)


def test_the_extremes_of_energy_and_revision_survive(store):
    store.append(a_batch([Row("a", FIRST, 0), Row("b", FIRST, 10**8, ESTIMATED, 32_767)]))
    store.append(a_batch([Row("b", FIRST, 10**8, ACTUAL, 32_766)]))
    assert the_reading(store, "a") == (0, False)
    assert the_reading(store, "b") == (10**8, True)


@pytest.mark.parametrize("minutes", [5, 10, 15, 30, 60])
def test_every_interval_and_both_registers_stay_apart(store, minutes):
    others = [m for m in (5, 10, 15, 30, 60) if m != minutes]
    for other in others:
        store.append(a_batch([Row("a", FIRST, 1)], other), a_batch([Row("a", FIRST, 2)], other, Register.EXPORT))
    per_day = DAY * 60 // minutes
    day = np.arange(FIRST, FIRST + per_day)  # a whole day, from a midnight at no interval in particular
    imported = [Row("a", slot, 1000 + n) for n, slot in enumerate(day.tolist())]
    exported = [Row("a", slot, 3000 + n) for n, slot in enumerate(day.tolist())]
    done = store.append(a_batch(imported, minutes), a_batch(exported, minutes, Register.EXPORT))
    assert done == Counts(2 * per_day, 0, 0)
    assert store.read(day[None], minutes).wh.tolist() == [[list(range(1000, 1000 + per_day))]]
    block = store.read(day[None], minutes, register=Register.EXPORT)
    assert block.wh.tolist() == [[list(range(3000, 3000 + per_day))]]


def test_missing_readings_stay_missing_and_a_reading_of_zero_stays_zero(store):
    store.append(a_batch([Row("a", FIRST, 0), Row("a", FIRST + 23, 3), Row("b", FIRST + 24, 4)]))
    block = store.read(ALL_SLOTS)
    assert block.wh.tolist() == [
        [[0, MISSING, 3], [MISSING, MISSING, MISSING]],
        [[MISSING, MISSING, MISSING], [4, MISSING, MISSING]],
    ]
    assert block.estimated is None


def test_estimates_are_marked_where_they_are_and_nowhere_else(store):
    store.append(a_batch([Row("a", FIRST, 1, ESTIMATED), Row("a", FIRST + 1, 2), Row("b", FIRST + 1, 3, ESTIMATED)]))
    estimated = store.read(np.array([[FIRST, FIRST + 1]])).estimated
    assert estimated is not None
    assert estimated.tolist() == [[[True, False]], [[False, True]]]


def test_estimates_elsewhere_do_not_show(store):
    store.append(a_batch([Row("a", FIRST, 1), Row("a", FIRST + 1, 2, ESTIMATED), Row("b", FIRST, 2, ESTIMATED)]))
    block = store.read(ONE_SLOT, meters=["a"])
    assert block.wh.tolist() == [[[1]]]
    assert block.estimated is None


def test_meters_without_readings_get_missing_rows_when_asked_for(store):
    store.append(a_batch([Row("b", FIRST, 5)]))
    block = store.read(ONE_SLOT, meters=["c", "a", "b"])
    assert block.meters.tolist() == ["a", "b", "c"]
    assert block.wh.tolist() == [[[MISSING]], [[5]], [[MISSING]]]


def test_a_meter_asked_for_twice_gets_one_row_with_its_readings(store):
    store.append(a_batch([Row("b", FIRST, 5)]))
    block = store.read(ONE_SLOT, meters=["b", "a", "b"])
    assert block.meters.tolist() == ["a", "b"]
    assert block.wh.tolist() == [[[MISSING]], [[5]]]


def test_only_the_meters_asked_for_are_read(store):
    store.append(a_batch([Row(meter, FIRST, n) for n, meter in enumerate("abcd")]))
    block = store.read(ONE_SLOT, meters=["d", "b"])
    assert (block.meters.tolist(), block.wh.tolist()) == (["b", "d"], [[[1]], [[3]]])


def test_by_default_the_meters_are_those_with_readings_at_the_slots(store):
    store.append(a_batch([Row("b", FIRST, 5), Row("a", FIRST + 1, 6), Row("c", FIRST, 7, ESTIMATED)]))
    assert store.read(ONE_SLOT).meters.tolist() == ["b", "c"]
    assert store.read(np.array([[FIRST + 2]])).meters.tolist() == []


def test_asking_for_no_meters_gives_none(store):
    store.append(a_batch([Row("b", FIRST, 5)]))
    assert store.read(ONE_SLOT, meters=[]).wh.shape == (0, 1, 1)


def test_slots_over_midnight_in_utc_are_read_in_order(store):
    store.append(a_batch([Row("a", FIRST + hour, hour) for hour in range(48)]))
    slots = np.array([[FIRST + 22, FIRST + 23, FIRST + 24, FIRST + 25]])
    assert store.read(slots).wh.tolist() == [[[22, 23, 24, 25]]]


def test_slots_may_come_more_than_once_and_in_any_order(store):
    store.append(a_batch([Row("a", FIRST + hour, hour, ESTIMATED if hour == 3 else ACTUAL) for hour in range(30)]))
    block = store.read(np.array([[FIRST + 26, FIRST + 3], [FIRST + 3, FIRST + 2], [FIRST + 26, FIRST + 26]]))
    assert block.wh.tolist() == [[[26, 3], [3, 2], [26, 26]]]
    assert block.estimated is not None
    assert block.estimated.tolist() == [[[False, True], [True, False], [False, False]]]


def test_days_far_apart_are_as_good_as_neighbours(store):
    far = FIRST + store.far_days * DAY
    store.append(a_batch([Row("a", 0, 1), Row("a", FIRST, 2), Row("a", far, 3), Row("b", far + 30, 4)]))
    store.append(a_batch([Row("a", 1, 5)]))
    slots = np.array([[0, 1, FIRST, FIRST + 2 * DAY, far, far + 30]])
    assert store.read(slots).wh.tolist() == [[[1, 5, 2, MISSING, 3, MISSING]], [[MISSING] * 5 + [4]]]


def test_meters_may_have_any_names(store):
    names = [
        "zähler-7",
        "home 2",
        " home 2",
        "Home 2",
        "HOME 2",
        "m" * 500,
        "計器-1",
        'it\'s "quoted"; --',
        "😀",
        "0",
    ]
    store.append(a_batch([Row(name, FIRST, n) for n, name in enumerate(names)]))
    store.append(a_batch([Row(name, FIRST + 1, n + 100) for n, name in reversed(list(enumerate(names)))]))
    for block in (store.read(np.array([[FIRST, FIRST + 1]])), store.read(np.array([[FIRST, FIRST + 1]]), 60, names)):
        assert block.meters.tolist() == sorted(names)
        assert block.wh.tolist() == [[[names.index(name), names.index(name) + 100]] for name in sorted(names)]


def test_an_empty_store_reads_as_missing(store):
    assert store.read(ALL_SLOTS).wh.shape == (0, 2, 3)
    block = store.read(ALL_SLOTS, meters=["b", "a"])
    assert block.meters.tolist() == ["a", "b"]
    assert block.wh.tolist() == [[[MISSING] * 3] * 2] * 2
    assert block.estimated is None


def test_an_empty_batch_is_no_news(store):
    assert store.append(a_batch([])) == Counts(0, 0, 0)
    assert store.append() == Counts(0, 0, 0)
    assert store.append(a_batch([]), a_batch([Row("a", FIRST, 5)]), a_batch([])) == Counts(1, 0, 0)
    assert the_reading(store) == (5, False)


def test_what_was_appended_is_there_after_reopening(store):
    store.append(a_batch([Row("zähler-7", FIRST, 5, ESTIMATED, 3), Row("b", FIRST + 1, 6)]))
    before = store.read(ALL_SLOTS)
    store.reopen()
    assert_equal_blocks(store.read(ALL_SLOTS), before)
    assert store.append(a_batch([Row("zähler-7", FIRST, 9, ACTUAL, 2)])) == Counts(0, 0, 1)
    assert store.append(a_batch([Row("c", FIRST, 9)])) == Counts(1, 0, 0)


def with_examples(count, strategies):
    """A property with many examples in embedded stores, and a few on servers."""

    def decorate(check):
        def run(adapter, open_adapter, examples):
            @settings(max_examples=examples)
            @given(**strategies)
            def holds(**drawn):
                check(adapter, open_adapter, **drawn)

            holds()

        cases = [(name, count) for name in ADAPTERS]
        cases += [
            pytest.param(name, 8, marks=pytest.mark.stack) for name in ("hbase", "hbase, compacting", "heavydb")
        ]
        return pytest.mark.parametrize(("adapter", "examples"), cases)(run)

    return decorate


@with_examples(60, {"appends": st.lists(st.lists(rows, max_size=12), max_size=6), "data": st.data()})
def test_any_store_keeps_and_counts_what_a_dict_does(adapter, open_adapter, appends, data):
    asked = data.draw(st.none() | st.lists(st.sampled_from((*METERS, "nobody")), unique=True))
    with tempfile.TemporaryDirectory() as folder:
        store, reference = open_adapter(adapter, Path(folder)), DictStore()
        for appended in appends:
            assert store.append(a_batch(appended)) == reference.append(appended)
        assert_equal_blocks(store.read(ALL_SLOTS, meters=asked), reference.read(ALL_SLOTS, asked))
        store.close()


@with_examples(25, {"readings": st.lists(rows, min_size=1, max_size=20), "data": st.data()})
def test_order_repeats_and_batches_change_nothing(adapter, open_adapter, readings, data):
    again = data.draw(st.permutations(readings + data.draw(st.lists(st.sampled_from(readings)))))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(again)), max_size=4)))
    parts = [again[a:b] for a, b in zip([0, *cuts], [*cuts, len(again)], strict=True)]
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        at_once = open_adapter(adapter, Path(one))
        at_once.append(a_batch(readings))
        expected = at_once.read(ALL_SLOTS)
        at_once.close()
        in_parts = open_adapter(adapter, Path(other))
        for part in parts:
            in_parts.append(a_batch(part))
        assert_equal_blocks(in_parts.read(ALL_SLOTS), expected)
        in_parts.close()
