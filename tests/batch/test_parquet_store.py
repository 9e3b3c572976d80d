"""What only the Parquet store has: files, row groups, compaction, sweeping."""

from __future__ import annotations

import os
import time
from datetime import date, timedelta

import duckdb
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stores import ACTUAL, DAY, ESTIMATED, FIRST, DictStore, Row, a_batch, assert_equal_blocks, whole

from batch import parquet_store
from batch.manifest import DataFile, ManifestLog
from batch.parquet_store import AppendResult, ParquetStore, bucket_of
from batch.wide import merge, to_wide
from domain.errors import StoreError
from domain.readings import Register

FIRST_DATE = date(1970, 1, 1) + timedelta(days=FIRST // DAY)
WEEK = np.arange(FIRST, FIRST + 7 * DAY).reshape(7, DAY)
TWO_HOURS = 7200


@pytest.fixture
def store(tmp_path):
    return ParquetStore(tmp_path / "store", buckets=2)


def a_day_of(meters, day, wh=100):
    return [Row(meter, FIRST + DAY * day + hour, wh + hour) for meter in meters for hour in range(DAY)]


def data_files(store):
    return sorted(store.folder.glob("*/b*/*.parquet"))


def live_files(store):
    return [store.folder / f.path for f in ManifestLog(store.folder / "manifests").latest().files]


def age(*paths, seconds=TWO_HOURS):
    for path in paths:
        os.utime(path, (time.time() - seconds,) * 2)


def fill(store, appends=3, homes=6):
    """A few appends of a day each; returns what must be read."""
    reference = DictStore()
    for day in range(appends):
        rows = a_day_of([f"home {n}" for n in range(homes)], day)
        store.append([a_batch(rows)])
        reference.append(rows)
    return reference.read(WEEK)


# --- the folder ---------------------------------------------------------------------------------------


def test_a_folder_with_something_else_in_it_is_refused_and_left_alone(tmp_path):
    (tmp_path / "photos").mkdir()
    with pytest.raises(StoreError, match="holds something else"):
        ParquetStore(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["photos"]


def test_a_file_is_no_store(tmp_path):
    (tmp_path / "store").write_text("hello")
    with pytest.raises(StoreError, match="holds something else"):
        ParquetStore(tmp_path / "store")


def test_an_empty_folder_and_a_new_one_become_stores(tmp_path):
    (tmp_path / "empty").mkdir()
    assert ParquetStore(tmp_path / "empty").intervals() == []
    assert ParquetStore(tmp_path / "a" / "new" / "one").intervals() == []


def test_an_existing_store_keeps_its_number_of_buckets(store):
    store.append([a_batch(a_day_of(["a", "b", "c"], 0))])
    again = ParquetStore(store.folder, buckets=99)
    assert again.buckets == 2
    assert_equal_blocks(whole(again, WEEK), whole(store, WEEK))


def test_a_meter_is_always_in_the_bucket_of_its_crc():
    # The check value of CRC-32 is that of "123456789": 0xCBF43926 = 3421780262, which is 6 modulo 16.
    assert bucket_of("123456789", 16) == 6
    assert bucket_of("123456789", 1) == 0


# --- what it holds ------------------------------------------------------------------------------------


def test_intervals_meters_and_days_are_those_of_the_readings(store):
    store.append([a_batch([Row("zähler-7", 47, 1), Row("a", 96, 2)], 30), a_batch([Row("b", 5, 3)], 5)])
    store.append([a_batch([Row("c", 24 * 9, 3)], 60, Register.EXPORT)])
    assert store.intervals() == [5, 30]
    assert store.intervals(Register.EXPORT) == [60]
    assert store.meters(30) == ["a", "zähler-7"]
    assert store.meters(60) == []
    assert store.days(30) == (0, 2)
    assert store.days(60, Register.EXPORT) == (9, 9)
    assert store.days(15) is None


def test_counts_are_of_all_batches_and_tables_of_an_append_together(store):
    first, second = [Row("a", FIRST, 5), Row("b", FIRST, 5)], [Row("a", FIRST, 5, ACTUAL, 1)]
    assert store.append([a_batch(first, 5), a_batch(first, 15), a_batch(second, 5)]) == AppendResult(4, 0, 1)
    # a@5 repeats; b@5 is corrected; a@15 is below what is stored
    again = [Row("a", FIRST, 5, ACTUAL, 1), Row("b", FIRST, 7, ACTUAL, 1)]
    assert store.append([a_batch(again, 5), a_batch([Row("a", FIRST, 4)], 15)]) == AppendResult(0, 1, 2)


def test_an_append_without_news_writes_no_file_and_no_manifest(store):
    fill(store)
    before = sorted(p for p in store.folder.rglob("*") if p.is_file())
    fill(store)
    assert sorted(p for p in store.folder.rglob("*") if p.is_file()) == before


# --- files --------------------------------------------------------------------------------------------


def test_files_are_sorted_by_day_then_meter(store):
    rows = [row for day in (3, 0, 2) for row in a_day_of(["c", "a", "zähler-7", "b"], day)]
    np.random.default_rng(1).shuffle(rows)
    store.append([a_batch(rows)])
    for path in data_files(store):
        table = pq.read_table(path).to_pydict()
        keys = list(zip(table["day"], table["meter"], strict=True))
        assert keys == sorted(set(keys))


def test_a_row_group_holds_whole_days(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet_store, "ROW_GROUP_ROWS", 5)
    store = ParquetStore(tmp_path / "store", buckets=1)
    homes_by_day = [3, 2, 1, 7, 2]
    rows = [row for day, n in enumerate(homes_by_day) for row in a_day_of([f"home {h}" for h in range(n)], day)]
    store.append([a_batch(rows)])
    (file,) = ManifestLog(store.folder / "manifests").latest().files
    first = FIRST // DAY
    # 3 + 2 rows reach 5; 1 + 7 do; 2 remain
    assert file.groups == ((first, first + 1), (first + 2, first + 3), (first + 4, first + 4))
    parquet = pq.ParquetFile(store.folder / file.path)
    assert [parquet.metadata.row_group(n).num_rows for n in range(parquet.num_row_groups)] == [5, 8, 2]
    assert file.rows == 15


def test_a_file_reads_in_plain_duckdb_as_documented(store):
    fill(store, appends=2, homes=3)
    store.append([a_batch([Row("home 9", FIRST + 5, 7)])])
    found = duckdb.execute(
        "SELECT meter, day, s000, s005, s023, edits IS NULL FROM read_parquet(?) ORDER BY day, meter",
        [str(store.folder / "import-60" / "*" / "*.parquet")],
    ).fetchall()
    day = [(f"home {n}", 100, 105, 123, True) for n in range(3)]
    expected = [(m, FIRST_DATE + timedelta(days=d), *rest) for d in (0, 1) for m, *rest in day]
    expected.insert(3, ("home 9", FIRST_DATE, None, 7, None, True))
    assert found == expected


def test_a_file_reads_in_pandas_as_documented(tmp_path):
    store = ParquetStore(tmp_path / "store", buckets=1)
    store.append([a_batch([Row("a", 288 * 3 + 287, 42)], 5)])
    frame = pd.concat([pd.read_parquet(path) for path in data_files(store)])
    assert frame.columns.tolist() == ["meter", "day", *(f"s{n:03d}" for n in range(288)), "edits"]
    assert frame.iloc[0][["meter", "day", "s287"]].tolist() == ["a", date(1970, 1, 4), 42]
    assert frame["s286"].isna().all()


def test_edits_are_null_where_every_reading_is_actual_and_original(tmp_path):
    store = ParquetStore(tmp_path / "store", buckets=1)
    day = FIRST + DAY
    store.append([a_batch([Row("a", FIRST, 1), Row("b", FIRST, 2, ESTIMATED), Row("a", day, 3, ACTUAL, 259)])])
    (path,) = data_files(store)
    edits = pq.read_table(path).column("edits").to_pylist()
    nothing = bytes(23) + bytes(2 * 23)
    # A byte of quality a slot, then two of revision a slot, little-endian: 259 = 0x0103.
    guess = bytes([1]) + nothing[:23] + bytes(2) + nothing[:46]
    correction = bytes([2]) + nothing[:23] + bytes([3, 1]) + nothing[:46]
    assert edits == [None, guess, correction]
    (file,) = ManifestLog(store.folder / "manifests").latest().files
    assert file.edited


def test_a_store_of_plain_readings_says_that_nothing_is_edited(store):
    fill(store)
    assert not any(f.edited for f in ManifestLog(store.folder / "manifests").latest().files)


# --- compaction ---------------------------------------------------------------------------------------


def a_data_file(rows):
    return DataFile(f"{rows}", "import-60", 0, rows, ((0, 0),), False)


@pytest.mark.parametrize(
    ("rows", "taken"),
    [
        ([100, 1, 1, 2, 30], [1, 1, 2]),  # 2 <= 2 * (1 + 1); 30 > 2 * 4
        ([100, 1, 1, 2, 8, 24], [1, 1, 2, 8, 24]),  # 8 <= 2 * 4, 24 <= 2 * 12, 100 > 2 * 36
        ([5, 5, 5, 5], [5, 5, 5, 5]),
        ([1000, 1, 100], [1, 100]),  # two always, or nothing would ever shrink
    ],
)
def test_the_small_tail_ends_where_a_file_is_more_than_twice_the_rest(rows, taken):
    assert [f.rows for f in parquet_store._small_tail([a_data_file(n) for n in rows])] == taken


def test_files_stay_few_however_many_appends_there_are(tmp_path):
    store = ParquetStore(tmp_path / "store", buckets=1)
    reference = DictStore()
    for n in range(40):
        rows = a_day_of(["a", "b"], n % 7, wh=n)
        store.append([a_batch(rows)])
        reference.append(rows)
        assert len(live_files(store)) <= parquet_store.COMPACT_FILES + 1
    assert_equal_blocks(whole(store, WEEK), reference.read(WEEK))


def test_compaction_leaves_one_file_a_bucket_and_the_same_readings(store):
    store.append([a_batch([Row("home 1", FIRST, 3, ESTIMATED, 2), Row("home 2", FIRST + 30, 3, ESTIMATED)])])
    fill(store)
    before = whole(store, WEEK)
    assert len(live_files(store)) == 7  # one of the first append, whose homes share a bucket, and three a bucket
    assert store.compact() == 7
    assert sorted(path.parent.name for path in live_files(store)) == ["b000", "b001"]
    assert_equal_blocks(whole(store, WEEK), before)
    assert store.compact() == 0
    assert store.append([a_batch([Row("home 1", FIRST, 3, ACTUAL, 1)])]) == AppendResult(0, 0, 1)


appends = st.lists(
    st.lists(
        st.builds(
            Row,
            st.sampled_from("abc"),
            st.integers(FIRST, FIRST + 20 * DAY),
            st.integers(0, 5),
            st.sampled_from([int(ACTUAL), int(ESTIMATED)]),
            st.integers(0, 2),
        ),
        min_size=1,
        max_size=8,
    ),
    max_size=12,
)


@settings(max_examples=30)
@given(appends=appends, data=st.data())
def test_compaction_changes_no_reading(tmp_path_factory, appends, data):
    store = ParquetStore(tmp_path_factory.mktemp("compaction") / "store", buckets=1)
    reference = DictStore()
    for rows in appends:
        store.append([a_batch(rows)])
        reference.append(rows)
        if data.draw(st.booleans()):
            store.compact()
    slots = np.arange(FIRST, FIRST + 21 * DAY).reshape(21, DAY)
    assert_equal_blocks(whole(store, slots), reference.read(slots))
    store.compact()
    assert len(live_files(store)) <= 1
    assert_equal_blocks(whole(store, slots), reference.read(slots))


def test_a_reader_with_the_manifest_from_before_a_compaction_still_reads_right(store, monkeypatch):
    expected = fill(store)
    age(*data_files(store))  # written long ago, folded just now
    old = ManifestLog(store.folder / "manifests").latest()
    reader = ParquetStore(store.folder)
    store.compact()
    assert old.files != ManifestLog(store.folder / "manifests").latest().files
    monkeypatch.setattr(ManifestLog, "latest", lambda self: old)
    assert_equal_blocks(whole(reader, WEEK), expected)


def test_two_that_compact_at_once_leave_the_readings_of_one(store, monkeypatch):
    expected = fill(store)
    other = ParquetStore(store.folder)
    write, pending = ParquetStore._write_file, [other]

    def interrupted(self, *args):
        if pending:
            pending.pop().compact()
        return write(self, *args)

    monkeypatch.setattr(ParquetStore, "_write_file", interrupted)
    assert store.compact() == 0  # the other was faster in both buckets
    assert_equal_blocks(whole(store, WEEK), expected)
    assert len(live_files(store)) == 2
    assert len(data_files(store)) == 6 + 2  # folded and live; the loser took its own away


# --- sweeping -----------------------------------------------------------------------------------------


def test_sweeping_removes_old_orphans_and_neither_young_ones_nor_live_files(store):
    expected = fill(store)
    store.compact()
    folded = set(data_files(store)) - set(live_files(store))
    assert len(folded) == 6
    home = store.folder / "import-60" / "b000"
    (home / "crashed-long-ago.parquet").write_bytes(b"PAR1 and half of")
    (home / "being-written.parquet").write_bytes(b"PAR1 and half of")
    age(home / "crashed-long-ago.parquet", *live_files(store))
    assert store.compact() == 0
    assert set(data_files(store)) == folded | set(live_files(store)) | {home / "being-written.parquet"}
    age(*data_files(store))
    store.compact()
    assert data_files(store) == sorted(live_files(store))
    assert_equal_blocks(whole(store, WEEK), expected)


def test_what_was_folded_stays_for_an_hour_however_old_it_was(store):
    fill(store)
    age(*data_files(store))
    before = data_files(store)
    store.compact()
    assert set(before) < set(data_files(store))


def test_two_sweeps_at_once_do_not_trip_over_each_other(store, monkeypatch):
    fill(store)
    store.compact()
    age(*data_files(store))
    stat = type(store.folder).stat

    def gone(path, **options):
        if path.suffix == ".parquet":
            path.unlink(missing_ok=True)  # the other sweep was faster
        return stat(path, **options)

    live = live_files(store)
    monkeypatch.setattr(type(store.folder), "stat", gone)
    store._sweep()
    assert data_files(store) == sorted(live)


def during_commit(monkeypatch, meanwhile):
    commit, pending = ManifestLog.commit, [meanwhile]

    def slow(self, *args):
        if pending:
            pending.pop()()
        return commit(self, *args)

    monkeypatch.setattr(ManifestLog, "commit", slow)


def test_a_file_written_hours_before_its_commit_is_not_swept_as_it_commits(store, monkeypatch):
    write = ParquetStore._write_file

    def slow_write(self, *args):
        file = write(self, *args)
        age(self.folder / file.path)
        return file

    monkeypatch.setattr(ParquetStore, "_write_file", slow_write)
    during_commit(monkeypatch, ParquetStore(store.folder)._sweep)
    expected = fill(store, appends=1)
    assert_equal_blocks(whole(store, WEEK), expected)


def test_a_file_swept_hours_before_its_commit_fails_the_append_and_not_the_store(store, monkeypatch):
    write = ParquetStore._write_file

    def slower_than_the_sweep(self, *args):
        file = write(self, *args)
        age(self.folder / file.path)
        ParquetStore(self.folder).compact()
        return file

    with monkeypatch.context() as patched:
        patched.setattr(ParquetStore, "_write_file", slower_than_the_sweep)
        with pytest.raises(StoreError, match="append again"):
            fill(store, appends=1)
    assert whole(store, WEEK).wh.shape[0] == 0
    expected = fill(store, appends=1)
    assert_equal_blocks(whole(store, WEEK), expected)


# --- failures -----------------------------------------------------------------------------------------


def test_a_lost_file_is_named(store):
    fill(store)
    lost = live_files(store)[0]
    lost.unlink()
    for read in (lambda: whole(store, WEEK), store.compact, lambda: store.meters(60), lambda: fill(store)):
        with pytest.raises(StoreError, match=f"{lost.name} is lost"):
            read()


def test_a_damaged_file_is_named(store):
    fill(store)
    damaged = live_files(store)[0]
    damaged.write_bytes(b"not Parquet at all")
    with pytest.raises(StoreError, match=f"{damaged.name} is damaged"):
        whole(store, WEEK)


def test_a_writer_that_fails_before_its_commit_leaves_nothing_visible(store, monkeypatch):
    expected = fill(store, appends=2)

    def power_cut(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(ManifestLog, "commit", power_cut)
        with pytest.raises(KeyboardInterrupt):
            store.append([a_batch(a_day_of(["home 1", "newcomer"], 3, wh=999))])
    (store.folder / "import-60" / "b000" / "half.parquet").write_bytes(b"PAR1")
    again = ParquetStore(store.folder)
    assert_equal_blocks(whole(again, WEEK), expected)
    assert again.meters(60) == [f"home {n}" for n in range(6)]
    assert again.append([a_batch(a_day_of(["home 1", "newcomer"], 3, wh=999))]) == AppendResult(48, 0, 0)


def test_all_batches_of_an_append_become_visible_together_or_not_at_all(store, monkeypatch):
    write, calls = ParquetStore._write_file, []

    def fails_at_the_third(self, *args):
        calls.append(args)
        if len(calls) == 3:
            raise OSError("disk full")
        return write(self, *args)

    batches = [a_batch(a_day_of([f"home {n}" for n in range(6)], 0), minutes) for minutes in (30, 60)]
    with monkeypatch.context() as patched:
        patched.setattr(ParquetStore, "_write_file", fails_at_the_third)
        with pytest.raises(OSError, match="disk full"):
            store.append(batches)
    assert store.intervals() == []
    assert store.append(batches) == AppendResult(2 * 6 * DAY, 0, 0)


# --- bulk loads ---------------------------------------------------------------------------------------


def test_a_bucket_loaded_in_parts_equals_the_same_readings_appended(store, tmp_path):
    homes = [f"home {n}" for n in range(8)]
    loaded = ParquetStore(tmp_path / "loaded", buckets=2)
    for bucket in range(2):
        mine = [home for home in homes if bucket_of(home, 2) == bucket]
        loaded.load_bucket(bucket, 60, (to_wide(a_batch(a_day_of(mine, day))) for day in range(3)))
    assert_equal_blocks(whole(loaded, WEEK), fill(store, appends=3, homes=8))
    assert loaded.append([a_batch(a_day_of(homes, 1))]) == AppendResult(0, 0, 8 * DAY)


def test_a_bulk_load_of_the_wrong_bucket_or_out_of_order_adds_nothing(store):
    stranger = next(f"home {n}" for n in range(9) if bucket_of(f"home {n}", 2) == 1)
    mine = next(f"home {n}" for n in range(9) if bucket_of(f"home {n}", 2) == 0)
    one, two = (to_wide(a_batch(a_day_of([mine], day))) for day in (0, 1))
    with pytest.raises(StoreError, match="belongs in bucket 1"):
        store.load_bucket(0, 60, [one, to_wide(a_batch(a_day_of([stranger], 1)))])
    with pytest.raises(StoreError, match="out of order"):
        store.load_bucket(0, 60, [two, one])
    assert store.intervals() == []
    store.load_bucket(0, 60, [one, two])
    assert store.meters(60) == [mine]


def test_merging_wide_days_keeps_the_reading_of_highest_precedence(store):
    low, high = (to_wide(a_batch([Row("a", FIRST, wh, ACTUAL, rev)])) for wh, rev in ((900, 0), (100, 1)))
    for parts in ([low, high], [high, low], [low, high, low]):
        merged = merge(parts)
        assert merged.stamp.tolist() == high.stamp.tolist()
        assert (merged.meters.tolist(), merged.day.tolist()) == (["a"], [FIRST // DAY])
