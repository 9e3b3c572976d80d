"""What only the DuckDB store has: a file, views for SQL, transactions, totals."""

from __future__ import annotations

import subprocess
import sys
from datetime import datetime, timedelta

import duckdb
import numpy as np
import pytest
from builders import a_plan
from domain_builders import assert_equal_reductions
from stores import ACTUAL, ALL_SLOTS, ESTIMATED, FIRST, Row, a_batch, assert_equal_blocks

from domain.certification import Finding, certify
from domain.errors import StoreError
from domain.readings import Register
from speed.duckdb_store import DuckDBStore
from speed.provisional import certify_provisionally
from speed.stores import LoadResult


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a new folder" / "speed.duckdb"


@pytest.fixture
def store(path):
    store = DuckDBStore(path)
    yield store
    store.close()


def sql(store, query):
    return store._db.execute(query).fetchall()


def contents(store):
    """Every reading and meter name in the store."""
    tables = sql(store, "SELECT table_name FROM duckdb_tables() WHERE NOT temporary ORDER BY table_name")
    return {table: sorted(sql(store, f"SELECT * FROM {table}")) for (table,) in tables}


def test_a_view_shows_names_times_in_utc_and_words_of_quality(store):
    store.append(a_batch([Row("zähler-7", 288 * 20_000 + 1, 42, ESTIMATED, 3), Row("b", 288 * 20_000, 7)], 5))
    at = datetime(1970, 1, 1) + timedelta(days=20_000)
    assert sql(store, "SELECT * FROM import_5 ORDER BY meter") == [
        ("b", at, 7, "actual", 0),
        ("zähler-7", at + timedelta(minutes=5), 42, "estimated", 3),
    ]


@pytest.mark.parametrize("minutes", [5, 10, 15, 30, 60])
def test_the_view_of_every_register_and_interval_shows_its_own_times(store, minutes):
    store.append(a_batch([Row("a", 3, 1)], minutes))
    store.append(a_batch([Row("a", 5, 2)], minutes, Register.EXPORT))
    start = datetime(1970, 1, 1)
    for view, slot, wh in (("import", 3, 1), ("export", 5, 2)):
        found = sql(store, f"SELECT interval_start, wh FROM {view}_{minutes}")
        assert found == [(start + slot * timedelta(minutes=minutes), wh)]


def test_there_is_one_row_a_reading_after_repeats_and_corrections(store):
    for revision in (0, 2, 1, 2, 0):
        store.append(a_batch([Row("a", FIRST, 100 + revision, ACTUAL, revision)] * 2))
    assert sql(store, "SELECT wh, revision FROM import_60") == [(102, 2)]


def test_corrections_change_their_own_reading_only(store):
    store.append(a_batch([Row(m, FIRST + n, 10 * n) for m in "abc" for n in range(5)]))
    assert store.append(a_batch([Row("b", FIRST + 3, 1, ACTUAL, 1), Row("d", FIRST + 3, 2)])) == LoadResult(1, 1, 0)
    expected = [(m, 10 * n) for m in "abc" for n in range(5) if (m, n) != ("b", 3)] + [("b", 1), ("d", 2)]
    assert sorted(sql(store, "SELECT meter, wh FROM import_60")) == sorted(expected)


class OutOfSpace:
    """A connection that fails at a statement."""

    def __init__(self, connection, word):
        self._connection, self._word = connection, word

    def __getattr__(self, name):
        return getattr(self._connection, name)

    def execute(self, query, *parameters):
        if query.lstrip().startswith(self._word):
            raise duckdb.IOException("no space left on device")
        return self._connection.execute(query, *parameters)


@pytest.mark.parametrize("word", ["INSERT INTO readings", "DELETE", "COMMIT", "CREATE OR REPLACE TEMP"])
def test_a_load_that_fails_leaves_nothing_behind_and_the_next_one_works(store, word):
    store.append(a_batch([Row("a", FIRST, 5), Row("b", FIRST, 6)]))
    before = contents(store)
    news = a_batch([Row("a", FIRST, 4, ACTUAL, 1), Row("newcomer", FIRST, 7)])
    connection = store._db
    store._db = OutOfSpace(connection, word)
    with pytest.raises(StoreError, match="no space left"):
        store.append(news)
    store._db = connection
    assert contents(store) == before
    assert store.append(news) == LoadResult(1, 1, 0)
    assert sorted(sql(store, "SELECT meter, wh FROM import_60")) == [("a", 4), ("b", 6), ("newcomer", 7)]


def test_a_first_load_that_fails_leaves_no_meters(store):
    connection = store._db
    store._db = OutOfSpace(connection, "INSERT INTO readings")
    with pytest.raises(StoreError):
        store.append(a_batch([Row("a", FIRST, 5)], 15))
    store._db = connection
    assert contents(store) == {"meters": []}


def test_everything_is_there_after_reopening(store, path):
    store.append(a_batch([Row("b", FIRST, 5, ESTIMATED, 2), Row("a", FIRST + 1, 6)]))
    before, read = contents(store), store.read_slots(ALL_SLOTS, 60)
    store.close()
    again = DuckDBStore(path)
    assert contents(again) == before
    assert again.append(a_batch([Row("c", FIRST, 1), Row("b", FIRST, 9)])) == LoadResult(1, 0, 1)
    assert_equal_blocks(again.read_slots(ALL_SLOTS, 60, read.meters), read)
    again.close()


def test_a_file_of_the_layout_with_numbers_of_intervals_is_brought_to_today_s(path):
    path.parent.mkdir()
    with duckdb.connect(str(path)) as old:
        old.execute("CREATE TABLE meters (id INTEGER PRIMARY KEY, name VARCHAR NOT NULL UNIQUE)")
        old.execute("INSERT INTO meters VALUES (0, 'a'), (1, 'b')")
        for minutes, register in ((5, "import"), (60, "export")):
            table = f"readings_{register}_{minutes}"
            old.execute(
                f"CREATE TABLE {table} (meter INTEGER, slot BIGINT, wh INTEGER, quality TINYINT, revision SMALLINT)"
            )
            old.execute(f"INSERT INTO {table} VALUES (0, {FIRST}, 7, 2, 0), (1, {FIRST + 1}, {minutes}, 1, 3)")
            old.execute(f"CREATE VIEW {register}_{minutes} AS SELECT slot FROM {table}")
    store = DuckDBStore(path)
    for minutes, register in ((5, Register.IMPORT), (60, Register.EXPORT)):
        block = store.read_slots(np.array([[FIRST, FIRST + 1]]), minutes, None, register)
        assert (block.meters.tolist(), block.wh.tolist()) == (["a", "b"], [[[7, -1]], [[-1, minutes]]])
        assert block.estimated.tolist() == [[[False, False]], [[False, True]]]
    assert sql(store, "SELECT meter, wh, revision FROM export_60 ORDER BY meter") == [("a", 7, 0), ("b", 60, 3)]
    assert store.append(a_batch([Row("b", FIRST + 1, 8, ACTUAL, 3), Row("a", FIRST, 6)], 5)) == LoadResult(0, 1, 1)
    store.close()
    again = DuckDBStore(path)
    assert sql(again, "SELECT SUM(wh), SUM(n) FROM readings_import_5") == [(15, 2)]
    again.close()


def test_two_stores_of_one_file_in_a_process_do_not_count_twice(store, path):
    other = DuckDBStore(path)
    store.append(a_batch([Row("a", FIRST, 5)]))
    other.append(a_batch([Row("a", FIRST, 5), Row("a", FIRST + 1, 6), Row("b", FIRST + 1, 7)]))
    assert store.append(a_batch([Row("a", FIRST + 1, 6), Row("b", FIRST + 1, 7)])) == LoadResult(0, 0, 2)
    assert sql(store, "SELECT SUM(wh), SUM(n), COUNT(*) FROM readings_import_60") == [(18, 3, 3)]
    other.close()


def test_a_store_without_a_path_is_in_memory():
    store = DuckDBStore()
    assert store.append(a_batch([Row("a", FIRST, 5)])) == LoadResult(1, 0, 0)
    assert store.read_slots(np.array([[FIRST]]), 60).wh.tolist() == [[[5]]]
    store.close()


def test_totals_are_sums_of_all_meters_by_slot(store):
    # 100,000,000 + 100,000,000 and on: thirty such pass the 32 bits of a single reading.
    store.append(a_batch([Row(f"m{n}", FIRST + 1, 10**8) for n in range(30)]))
    store.append(a_batch([Row("a", FIRST, 3), Row("b", FIRST, 4, ESTIMATED), Row("a", FIRST + 9, 0)]))
    store.append(a_batch([Row("a", FIRST, 1, ACTUAL, 1)]))
    slot, wh = store.totals(60)
    assert slot.tolist() == [FIRST, FIRST + 1, FIRST + 9]
    assert wh.tolist() == [5, 30 * 10**8, 0]
    assert (slot.dtype, wh.dtype) == (np.int64, np.int64)


def test_totals_of_a_register_without_readings_are_empty(store):
    store.append(a_batch([Row("a", FIRST, 3)]))
    slot, wh = store.totals(60, Register.EXPORT)
    assert (slot.tolist(), wh.tolist()) == ([], [])


def test_another_process_that_holds_the_file_is_an_error_in_words(store, path):
    store.append(a_batch([Row("a", FIRST, 5)]))
    program = """
import sys
from pathlib import Path
from domain.errors import StoreError
from speed.duckdb_store import DuckDBStore
try:
    DuckDBStore(Path(sys.argv[1]))
except StoreError as refused:
    print(refused)
"""
    done = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"speed store {path}: ")
    assert "lock" in done.stdout


def test_a_file_of_something_else_is_an_error_in_words(tmp_path):
    (tmp_path / "speed.duckdb").write_text("meter,interval_start,import_wh\n" * 1000)
    with pytest.raises(StoreError, match=r"speed\.duckdb"):
        DuckDBStore(tmp_path / "speed.duckdb")


def fill_plan(store, plan, meters):
    rows = [
        Row(meter, slot, 500 if n else 300)
        for meter in meters
        for n, slots in enumerate(plan.slots.tolist())
        for slot in slots
    ]
    store.append(a_batch(rows, plan.interval_minutes))


def test_a_provisional_certificate_is_the_kernel_over_what_came_so_far(store):
    plan = a_plan()
    fill_plan(store, plan, ["b", "a"])
    result = certify_provisionally(store, plan, iter(["a", "b", "late"]))
    assert result.meters.tolist() == ["a", "b", "late"]
    assert result.certified.tolist() == [True, True, False]
    assert result.findings[2] & Finding.NO_READINGS
    # The windows' 500 Wh on past days and 300 Wh before the event: the baseline is shifted down by 200 to 300.
    assert result.baseline_wh[0].tolist() == [300, 300]
    assert result.unadjusted_wh[0].tolist() == [500, 500]
    assert_equal_reductions(result, certify(plan, store.read_plan(plan, np.array(["a", "b", "late"], dtype=object))))


def test_without_participants_every_meter_with_readings_is_certified(store):
    plan = a_plan()
    fill_plan(store, plan, ["b", "a"])
    store.append(a_batch([Row("elsewhere", int(plan.slots.max()) + 50, 1)], 30))
    assert certify_provisionally(store, plan).meters.tolist() == ["a", "b"]
    assert certify_provisionally(DuckDBStore(), plan).meters.tolist() == []


FULL = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from domain.errors import StoreError
from domain.readings import make_readings
from speed.duckdb_store import DuckDBStore
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store = DuckDBStore(Path(sys.argv[1]))
store.append(make_readings(["a"], [0], [1], interval_minutes=5))
room = max(file.stat().st_size for file in Path(sys.argv[1]).parent.iterdir()) + 100_000
resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
n = 300_000
wh = np.random.default_rng(1).integers(0, 10**8, n)
try:
    store.append(make_readings(["a"] * n, range(1, n + 1), wh, interval_minutes=5))
except StoreError as told:
    print(told)
"""


def test_a_disk_without_room_is_said_and_keeps_nothing_of_the_batch(path):
    told = subprocess.run([sys.executable, "-c", FULL, path], capture_output=True, text=True, check=True).stdout
    assert told.startswith(f"speed store {path}: ")
    again = DuckDBStore(path)
    assert sql(again, "SELECT count(*), sum(wh) FROM readings_import_5") == [(1, 1)]
    again.close()
