from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ingest.spool
import ingest.streams
from domain.errors import NegawattError
from ingest.checks import MeterNames
from ingest.columns import Columns, UnknownLayoutError
from ingest.importers import import_files, read_file

HOMES = Path(__file__).parents[2] / "../shared/data/homes-hourly.csv.gz"
LONDON = """\
LCLid,tstp,energy(kWh/hh)
MAC000002,2012-10-12 00:30:00.0000000, 0\x20
MAC000002,2012-10-12 01:00:00.0000000, 0.143\x20
MAC000002,2012-10-12 01:30:00.0000000,0.0985
MAC000002,2012-12-19 12:37:27.0000000,Null
MAC000003,2012-10-12 00:30:00.0000000,1.0995
MAC000003,2012-10-12 01:00:00.0000000,
"""


def slot(*at: int, minutes: int = 30) -> int:
    return int(datetime(*at, tzinfo=UTC).timestamp()) // 60 // minutes


def test_low_carbon_london_is_read_as_half_hours_of_utc(desk, readings_of):
    summary = desk.run(desk.write(LONDON))
    assert (summary.rows, summary.accepted, summary.meters, summary.interval_minutes) == (6, 4, 2, 30)
    assert summary.first_start == datetime(2012, 10, 12, 0, 30, tzinfo=UTC)
    assert summary.last_end == datetime(2012, 10, 12, 2, tzinfo=UTC)
    assert readings_of(summary) == {
        ("import", "MAC000002", slot(2012, 10, 12, 0, 30), 0, 2, 0),  # a written 0 is a reading
        ("import", "MAC000002", slot(2012, 10, 12, 1), 143, 2, 0),
        ("import", "MAC000002", slot(2012, 10, 12, 1, 30), 98, 2, 0),  # 98.5 to the even neighbour
        ("import", "MAC000003", slot(2012, 10, 12, 0, 30), 1100, 2, 0),  # 1099.5 to the even neighbour
    }
    assert [(r["line"], r["code"], r["value"]) for r in desk.rejects()] == [
        ("5", "time.off_grid", "2012-12-19 12:37:27.0000000"),
        ("7", "energy.missing", ""),
    ]


@pytest.mark.skipif(not HOMES.exists(), reason="the shared data aren't here")
def test_the_year_of_ten_real_homes_is_read_without_a_reject(desk):
    with desk.run(HOMES, max_rejects_pct=0) as summary:
        assert (summary.rows, summary.accepted, summary.rejected) == (87_600, 87_600, 0)
        assert (summary.meters, summary.interval_minutes) == (10, 60)
        assert summary.first_start == datetime(2016, 8, 1, 7, tzinfo=UTC)  # 23:00 of 31 July, UTC-8
        [batch] = summary.batches()
    first = (batch.meters[batch.meter] == "home-01") & (batch.slot == slot(2016, 8, 1, 7, minutes=60))
    assert batch.wh[first].tolist() == [2276]  # line 2: 2.276 kWh


def test_both_registers_come_with_quality_and_revision(desk, readings_of):
    path = desk.write(
        "revision,meter,interval_start,export_wh,import_wh,quality\n"
        "0,a,1970-01-01T00:00Z,,10,Actual\n"
        "1,a,1970-01-01T00:05Z,7,0,estimated\n"
    )
    assert readings_of(desk.run(path)) == {
        ("import", "a", 0, 10, 2, 0),
        ("import", "a", 1, 0, 1, 1),
        ("export", "a", 1, 7, 1, 1),
    }


def test_foreign_columns_are_mapped(desk, readings_of):
    path = desk.write("ID,Time,KWH\n x ,1970-01-01 09:15,0.25\n")
    columns = Columns("ID", "Time", "KWH", unit="kWh", zone="Asia/Seoul", stamps="end", interval_minutes=15)
    assert readings_of(desk.run(path, columns=columns)) == {("import", "x", 0, 250, 2, 0)}
    with pytest.raises(UnknownLayoutError, match="no column 'meter'"):
        desk.run(path, columns=Columns())


def test_the_interval_is_the_most_common_step_of_a_meter(desk):
    hour = "meter,interval_start,import_wh\na,1970-01-01T{}Z,1\nb,1970-01-01T00:05Z,1\n"
    by_time = "meter,interval_start,import_wh\n" + "".join(
        f"{meter},1970-01-01T{at}Z,1\n" for at in ("00:00", "00:15", "00:30", "02:00") for meter in "abc"
    )
    with desk.run(desk.write(by_time)) as summary:
        assert summary.interval_minutes == 15
    with pytest.raises(NegawattError, match="no meter was read twice"):
        desk.run(desk.write(hour.format("00:00")))
    odd = hour.format("00:00") + "a,1970-01-01T00:07Z,1\n"
    with pytest.raises(NegawattError, match="7 minutes apart; expected one of 5, 10, 15, 30, 60"):
        desk.run(desk.write(odd))


def test_a_file_too_short_to_show_its_interval_takes_that_of_the_others(desk):
    short = desk.write("meter,interval_start,import_wh\nb,1970-01-01T00:30Z,1\n", "short.csv")
    long = desk.write("meter,interval_start,import_wh\na,1970-01-01T00:00Z,1\na,1970-01-01T00:30Z,1\n", "long.csv")
    hourly = desk.write("meter,interval_start,import_wh\na,1970-01-01T00:00Z,1\na,1970-01-01T01:00Z,1\n", "h.csv")
    with desk.run(short, long) as summary:
        assert (summary.interval_minutes, summary.accepted) == (30, 3)
    with pytest.raises(NegawattError, match=r"must share their interval; found 30 minutes in .*60 minutes in"):
        desk.run(long, hourly)


@pytest.mark.parametrize("content", ["", "meter,interval_start,import_wh\n", "meter,interval_start,load_kwh,pv_kwh"])
def test_a_file_without_rows_is_an_error(desk, content: str):
    columns = Columns(import_energy="load_kwh", interval_minutes=30) if "load" in content else None
    with pytest.raises(NegawattError, match=r"in\.csv: no (readings|meter)"):
        desk.run(desk.write(content), columns=columns)


def test_a_file_that_is_not_there_is_an_error_before_anything_is_read(desk):
    good = desk.write("meter,interval_start,import_wh\na,1970-01-01T00:00Z,1\na,1970-01-01T00:30Z,1\n")
    with pytest.raises(NegawattError, match=r"gone\.csv: no such file"):
        desk.run(good, desk.folder / "gone.csv")
    with pytest.raises(NegawattError, match="no files were named"):
        desk.run()


def test_progress_is_told_the_rows_and_the_share_of_the_file(desk):
    told = []
    path = desk.write("meter,interval_start,import_wh\na,1970-01-01T00:00Z,1\na,1970-01-01T00:30Z,x\n")
    desk.run(path, progress=lambda *news: told.append(news)).close()
    assert told == [(path, 2, 1.0)]


def test_read_file_yields_rows_and_rejects_of_a_single_file(desk):
    meters = MeterNames()
    [chunk] = read_file(desk.write(LONDON), meters=meters)
    assert (len(chunk.rows), len(chunk.rejects), meters.names) == (4, 2, ["MAC000002", "MAC000003"])
    assert chunk.rows.line.tolist() == [2, 3, 4, 6]
    [batch] = chunk.rows.readings(meters.as_array(), 30)
    assert batch.wh.tolist() == [0, 143, 98, 1100]


def test_leaving_the_context_frees_the_disk(desk):
    with desk.run(desk.write(LONDON)) as summary:
        assert list((desk.folder / "spool").iterdir()) != []
        assert summary.accepted == 4
    assert list((desk.folder / "spool").iterdir()) == []


@pytest.fixture
def cramped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiny blocks and partitions, so that small files meet every seam."""
    monkeypatch.setattr(ingest.streams, "BLOCK_BYTES", 300)
    monkeypatch.setattr(ingest.spool, "PARTITION_ROWS", 5)


def tidy_table(meters: int, intervals: int) -> pa.Table:
    n = meters * intervals
    return pa.table(
        {
            "meter": [f"m{i // intervals}" for i in range(n)],
            "interval_start": pa.array([i % intervals * 300 for i in range(n)], pa.timestamp("s", "UTC")),
            "import_wh": pa.array([i * 37 % 101 for i in range(n)], pa.int32()),
            "export_wh": pa.array([i * 7 if i % 3 else None for i in range(n)], pa.int32()),
            "quality": ["estimated" if i % 5 == 0 else "actual" for i in range(n)],
            "revision": pa.array([i % 2 for i in range(n)], pa.int16()),
        }
    )


def csv_of(table: pa.Table, path: Path) -> Path:
    texts = [at.strftime("%Y-%m-%dT%H:%M:%SZ") for at in table["interval_start"].to_pylist()]
    pa.csv.write_csv(table.set_column(1, "interval_start", pa.array(texts)), path)
    return path


@pytest.mark.usefixtures("cramped")
def test_parquet_and_csv_in_any_order_give_the_same_readings(desk, readings_of):
    table = tidy_table(meters=7, intervals=12)
    pa.parquet.write_table(table, desk.folder / "x.parquet")
    shuffled = table.take(np.random.default_rng(5).permutation(len(table)))
    quality = {"estimated": 1, "actual": 2}
    from_parquet = readings_of(desk.run(desk.folder / "x.parquet"))
    expected = {
        (
            register,
            row["meter"],
            row["interval_start"].timestamp() // 300,
            wh,
            quality[row["quality"]],
            row["revision"],
        )
        for row in table.to_pylist()
        for register, wh in (("import", row["import_wh"]), ("export", row["export_wh"]))
        if wh is not None
    }
    assert from_parquet == expected
    assert readings_of(desk.run(csv_of(table, desk.folder / "x.csv"))) == expected
    assert readings_of(desk.run(csv_of(shuffled, desk.folder / "y.csv"))) == expected


@pytest.mark.usefixtures("cramped")
def test_repeats_and_conflicts_are_found_across_blocks_partitions_and_files(desk):
    table = tidy_table(meters=7, intervals=12)
    first = csv_of(table, desk.folder / "first.csv")
    changed = table.slice(40, 1).set_column(2, "import_wh", pa.array([9999], pa.int32()))
    second = csv_of(pa.concat_tables([table.slice(60, 24), changed]), desk.folder / "second.csv")
    with desk.run(first, second) as summary:
        assert (summary.rows, summary.accepted, summary.repeated, summary.rejected) == (109, 83, 24, 2)
        assert sum(len(batch) for batch in summary.batches() if batch.register == "import") == 83
    assert {(Path(r["file"]).name, r["line"]) for r in desk.rejects()} == {
        ("first.csv", "42"),
        ("second.csv", "26"),
    }


rows = st.tuples(
    st.sampled_from(["a", "b", "ü,ñ", 'say "hi"']),
    st.integers(0, 2**20),
    st.integers(0, 80_000),
    st.none() | st.integers(0, 80_000),
    st.sampled_from([1, 2]),
    st.integers(0, 32_767),
)


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.integers(0, 30), rows, min_size=1))
def test_what_is_written_as_csv_is_read_back_the_same(tmp_path_factory, numbered):
    unique = {(row[0], row[1], row[4], row[5]): row for row in numbered.values()}
    folder = tmp_path_factory.mktemp("trip")
    text = ["meter,interval_start,import_wh,export_wh,quality,revision"]
    for meter, at, wh, out, quality, revision in unique.values():
        name = '"' + meter.replace('"', '""') + '"'
        start = datetime.fromtimestamp(at * 300, UTC).isoformat()
        word = "actual" if quality == 2 else "estimated"
        text.append(f"{name},{start},{wh},{'' if out is None else out},{word},{revision}")
    path = folder / "x.csv"
    path.write_text("\n".join(text), encoding="utf-8")
    columns = Columns(export_energy="export_wh", quality="quality", revision="revision", interval_minutes=5)
    with import_files([path], columns, spool_dir=folder, rejects_path=folder / "r.csv") as summary:
        assert summary.rejected == 0
        found = {
            (batch.register.value, batch.meters[m], int(s), int(w), int(q), int(r))
            for batch in summary.batches()
            for m, s, w, q, r in zip(batch.meter, batch.slot, batch.wh, batch.quality, batch.revision, strict=True)
        }
    assert found == {("import", m, at, wh, q, r) for m, at, wh, _, q, r in unique.values()} | {
        ("export", m, at, out, q, r) for m, at, _, out, q, r in unique.values() if out is not None
    }
