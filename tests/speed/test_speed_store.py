"""One contract for both speed stores beyond readings: tables, queries, numbers of meters, views."""

from __future__ import annotations

import threading

import numpy as np
import pyarrow as pa
import pytest
from stores import ACTUAL, DAY, ESTIMATED, FIRST, Row, a_batch

from domain.errors import StoreError
from domain.readings import Register

NOTES = {
    "id": "INTEGER",
    "said": "TEXT ENCODING DICT(32)",
    "told": "TIMESTAMP(0) ENCODING FIXED(32)",
    "share": "DOUBLE",
}


def notes(*rows):
    ids, said, hours, share = zip(*rows, strict=True)
    return pa.table(
        {
            "share": pa.array(share, pa.float64()),
            "told": pa.array([3600 * hour for hour in hours], pa.timestamp("s")),
            "said": pa.array(said, pa.string()),
            "id": pa.array(ids, pa.int64()),
        }
    )


def asked(store, sql):
    return [tuple(row.values()) for row in store.query(sql).to_pylist()]


@pytest.fixture
def with_notes(store):
    store.create("notes", NOTES, sort_column="told")
    store.load("notes", notes((1, "o'clock", 5, 0.5), (2, None, 6, 0.25)))
    return store


def test_a_table_is_made_once_and_loaded_in_any_order_of_columns(with_notes):
    with_notes.create("notes", NOTES)
    rows = with_notes.query("SELECT id, said, told, share FROM notes ORDER BY id")
    assert rows.schema.types == [pa.int32(), pa.string(), pa.timestamp("s"), pa.float64()]
    assert rows["said"].to_pylist() == ["o'clock", None]
    assert rows["told"].cast(pa.int64()).to_pylist() == [5 * 3600, 6 * 3600]
    assert rows["share"].to_pylist() == [0.5, 0.25]


@pytest.mark.parametrize("columns", [["id"], ["id", "said", "told", "share", "id2"]])
def test_rows_with_other_columns_than_the_table_s_are_refused(with_notes, columns):
    rows = pa.table({name: pa.array([1], pa.int32()) for name in columns})
    with pytest.raises(StoreError, match="have the columns"):
        with_notes.load("notes", rows)


def test_rows_that_do_not_fit_are_refused_and_none_is_loaded(with_notes):
    with pytest.raises(StoreError):
        with_notes.load("notes", notes((3, "good", 1, 0.0), (2**40, "too large", 1, 0.0)))
    assert asked(with_notes, "SELECT COUNT(*) AS n FROM notes") == [(2,)]


def test_rows_are_replaced_where_a_condition_holds_and_doing_it_again_changes_nothing(with_notes):
    for _ in range(2):
        with_notes.replace("notes", notes((2, "two", 7, 0.0), (3, "three", 8, 0.0)), "id >= 2")
        assert asked(with_notes, "SELECT id, said FROM notes ORDER BY id") == [
            (1, "o'clock"),
            (2, "two"),
            (3, "three"),
        ]
    with_notes.replace("notes", notes((0, "x", 0, 0.0)).slice(0, 0), "id >= 2")
    assert asked(with_notes, "SELECT id FROM notes") == [(1,)]


def test_views_are_made_and_dropped(with_notes):
    with_notes.execute("CREATE VIEW late AS SELECT id FROM notes WHERE told >= TIMESTAMP '1970-01-01 06:00:00'")
    assert asked(with_notes, "SELECT id FROM late") == [(2,)]
    with_notes.execute("DROP VIEW IF EXISTS late")
    with pytest.raises(StoreError):
        with_notes.query("SELECT id FROM late")


def test_rows_are_deleted(with_notes):
    with_notes.execute("DELETE FROM notes WHERE id = 1")
    assert asked(with_notes, "SELECT id FROM notes") == [(2,)]


@pytest.mark.parametrize("sql", ["SELECT nothing FROM nowhere", "SELEC 1", ""])
def test_a_query_that_fails_is_told_in_words_and_the_store_lives_on(with_notes, sql):
    with pytest.raises(StoreError):
        with_notes.query(sql)
    assert asked(with_notes, "SELECT COUNT(*) AS n FROM notes") == [(2,)]


@pytest.mark.parametrize("sql", ["DELETE FROM notes", "SELECT 1 AS a; DELETE FROM notes", "DROP TABLE notes"])
def test_a_query_changes_nothing(with_notes, sql):
    with pytest.raises(StoreError):
        with_notes.query(sql)
    assert asked(with_notes, "SELECT COUNT(*) AS n FROM notes") == [(2,)]


def test_sums_are_whole_numbers_and_quotients_of_whole_numbers_are_cut(store):
    store.create("numbers", {"n": "INTEGER"})
    store.load("numbers", pa.table({"n": pa.array([-3, 2_000_000_000, 2_000_000_000], pa.int32())}))
    rows = store.query("SELECT SUM(n) AS total, COUNT(*) AS rows_, MIN(n) / 2 AS half FROM numbers")
    assert rows.to_pylist() == [{"total": 3_999_999_997, "rows_": 3, "half": -1}]
    assert pa.types.is_int64(rows.schema.field("total").type)
    assert asked(store, "SELECT MIN(CAST(n AS DOUBLE) / 2) AS half FROM numbers") == [(-1.5,)]


def test_what_is_unknown_comes_last_in_ascending_order(with_notes):
    assert asked(with_notes, "SELECT said FROM notes ORDER BY said") == [("o'clock",), (None,)]
    assert asked(with_notes, "SELECT said FROM notes ORDER BY said DESC") == [(None,), ("o'clock",)]


def test_meters_get_numbers_from_zero_and_keep_them(store):
    ids = store.meter_ids(np.array(["b", "a"], dtype=object))
    assert (ids.tolist(), ids.dtype) == ([0, 1], np.int32)
    assert store.meter_ids(np.array(["a", "o'clock", "a", "b"], dtype=object)).tolist() == [1, 2, 1, 0]
    assert sorted(asked(store, "SELECT id, name FROM meters")) == [(0, "b"), (1, "a"), (2, "o'clock")]


def test_energy_is_a_sum_and_a_reading_counts_once_whatever_was_corrected(store):
    store.append(a_batch([Row("a", FIRST, 500), Row("b", FIRST, 30, ESTIMATED)], 60))
    store.append(a_batch([Row("a", FIRST, 400, ACTUAL, 1), Row("b", FIRST, 20)], 60))
    store.append(a_batch([Row("a", FIRST, 500), Row("a", FIRST + 1, 7)], 60))
    grouped = """SELECT m.name AS name, SUM(r.wh) AS wh, SUM(r.n) AS n, MAX(r.revision) AS revision
        FROM readings_import_60 r JOIN meters m ON r.meter = m.id GROUP BY m.name, r.ts"""
    assert sorted(asked(store, grouped)) == [("a", 7, 1, 0), ("a", 400, 1, 1), ("b", 20, 1, 0)]


def test_the_view_of_a_register_shows_names_times_and_the_reading_that_counts(store):
    store.append(a_batch([Row("zähler-7", FIRST, 500, ESTIMATED), Row("b", FIRST + 1, 7, ESTIMATED, 2)], 60))
    store.append(a_batch([Row("zähler-7", FIRST, 500)], 60))
    store.append(a_batch([Row("b", FIRST, 9)], 60, Register.EXPORT))
    rows = store.query("SELECT meter, interval_start, wh, quality, revision FROM import_60 ORDER BY interval_start")
    midnight = FIRST * 3600
    assert rows["interval_start"].cast(pa.int64()).to_pylist() == [midnight, midnight + 3600]
    assert [tuple(row.values())[2:] for row in rows.to_pylist()] == [(500, "actual", 0), (7, "estimated", 2)]
    assert asked(store, "SELECT meter, wh FROM export_60") == [("b", 9)]


def test_a_stretch_of_time_is_named_by_literals(store):
    store.append(a_batch([Row("a", FIRST + n, 10 + n) for n in range(DAY)], 60))
    day = np.datetime64(FIRST * 3600, "s").astype("datetime64[D]")
    within = f"ts >= TIMESTAMP '{day} 02:00:00' AND ts < TIMESTAMP '{day} 05:00:00'"
    assert asked(store, f"SELECT SUM(wh) AS wh FROM readings_import_60 WHERE {within}") == [(12 + 13 + 14,)]


def test_readings_later_than_a_column_of_times_holds_are_refused(store):
    with pytest.raises(StoreError):
        store.append(a_batch([Row("a", 2**40, 1)], 60))


def test_what_the_layers_bring_is_certified_provisionally_from_either_store(store, tmp_path):
    from builders import a_plan
    from domain_builders import assert_equal_reductions

    from batch.certify import certify_bucket
    from batch.parquet_store import ParquetStore
    from domain.certification import join
    from speed.provisional import certify_provisionally

    plan, random = a_plan(), np.random.default_rng(3)
    slots = np.unique(plan.slots).tolist()
    rows = [Row(f"m{k}", slot, int(random.integers(0, 900))) for k in range(9) for slot in slots]
    rows += [row._replace(wh=row.wh // 2, quality=ESTIMATED, revision=1) for row in rows[::7]]
    batch = ParquetStore(tmp_path / "store", buckets=2)
    order = random.permutation(len(rows))
    for part in np.array_split(order, 5):
        some = a_batch([rows[n] for n in part], plan.interval_minutes)
        batch.append([some])
        store.append(some)
        store.append(some)
    of_batch = join([certify_bucket(batch, plan, bucket) for bucket in range(2)], plan)
    assert of_batch.certified.all()
    assert_equal_reductions(certify_provisionally(store, plan), of_batch)


def test_queries_and_loads_of_many_threads_do_not_disturb_each_other(store):
    store.append(a_batch([Row("a", FIRST, 1)], 60))
    failed, done = [], threading.Event()

    def ask():
        try:
            while not done.is_set():
                (n,) = asked(store, "SELECT SUM(n) AS n FROM readings_import_60")[0]
                assert n % 20 == 1, n  # a batch is there whole or not at all
        except BaseException as wrong:
            failed.append(wrong)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for n in range(10):
        store.append(a_batch([Row(f"m{k}", FIRST + 1 + n, k) for k in range(20)], 60))
    done.set()
    for thread in threads:
        thread.join()
    assert failed == []
    assert asked(store, "SELECT SUM(n) AS n FROM readings_import_60") == [(201,)]
