"""Each reason for a reject, provoked: the line it names, the value it quotes and the sentence it says."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from domain.errors import NegawattError, TooManyRejectsError
from ingest.columns import Columns

HEADER = "meter,interval_start,import_wh,export_wh,quality,revision\n"
GOOD = "a,2025-08-12T00:00Z,10,,actual,0\na,2025-08-12T00:30Z,10,,actual,0\na,2025-08-12T01:00Z,10,,actual,0\n"
"""Three sound half-hours on lines 2 to 4, which also show the interval."""


@pytest.mark.parametrize(
    ("row", "code", "value", "reason"),
    [
        (
            "a,2025-08-12T02:00Z,10",
            "row.malformed",
            "a,2025-08-12T02:00Z,10",
            "3 columns where the header has 6",
        ),
        ('a,"2025-08-12T02:00Z,10,,actual,0', "row.malformed", None, "a quote is opened and never closed"),
        (",2025-08-12T02:00Z,10,,actual,0", "meter.missing", "", "no meter is named"),
        ("  ,2025-08-12T02:00Z,10,,actual,0", "meter.missing", "  ", "no meter is named"),
        ("b,2025-08-12T02:00Z,10,,actual,0", "meter.unknown", "b", "no such meter is registered"),
        ("a,12/08/2025 02:00,10,,actual,0", "time.unreadable", "12/08/2025 02:00", "ISO 8601"),
        ("a,,10,,actual,0", "time.unreadable", "", "ISO 8601"),
        ("a,1969-12-31T23:30Z,10,,actual,0", "time.unreadable", "1969-12-31T23:30Z", "since 1970"),
        ("a,2025-08-12T02:00,10,,actual,0", "time.naive", "2025-08-12T02:00", "no UTC offset"),
        ("a,2025-08-12T02:07Z,10,,actual,0", "time.off_grid", "2025-08-12T02:07Z", "5-minute grid"),
        ("a,2025-08-12T02:00:00.5Z,10,,actual,0", "time.off_grid", "2025-08-12T02:00:00.5Z", "5-minute grid"),
        ("a,2025-08-12T02:15Z,10,,actual,0", "interval.wrong", "2025-08-12T02:15Z", "no 30-minute interval"),
        ("a,2025-08-12T05:00Z,10,,actual,0", "time.future", "2025-08-12T05:00Z", "ends after now"),
        ("a,2025-08-12T02:00Z,,,actual,0", "energy.missing", "", "a gap is not zero"),
        ("a,2025-08-12T02:00Z,Null,5,actual,0", "energy.missing", "Null", "import_wh: no energy"),
        ("a,2025-08-12T02:00Z,ten,,actual,0", "energy.not_a_number", "ten", "not a decimal number"),
        ("a,2025-08-12T02:00Z,-1,,actual,0", "energy.negative", "-1", "can't be negative"),
        ("a,2025-08-12T02:00Z,10,-2,actual,0", "energy.negative", "-2", "export_wh: energy"),
        ("a,2025-08-12T02:00Z,500001,,actual,0", "energy.absurd", "500001", "500,000 Wh in 30 minutes"),
        ("a,2025-08-12T02:00Z,10,,guessed,0", "quality.unknown", "guessed", "expected actual or estimated"),
        ("a,2025-08-12T02:00Z,10,,,0", "quality.unknown", "", "expected actual or estimated"),
        ("a,2025-08-12T02:00Z,10,,actual,-1", "revision.invalid", "-1", "0 to 32767"),
        ("a,2025-08-12T02:00Z,10,,actual,32768", "revision.invalid", "32768", "0 to 32767"),
        ("a,2025-08-12T02:00Z,10,,actual,", "revision.invalid", "", "0 to 32767"),
    ],
)
def test_a_bad_row_is_rejected_with_its_line_value_and_reason(desk, row, code, value, reason):
    path = desk.write(f"{HEADER}{GOOD}{row}\na,2025-08-12T03:30Z,10,,actual,0\n")
    now = datetime(2025, 8, 12, 5, 29, tzinfo=UTC)
    with desk.run(path, known_meters=frozenset("a"), now=now) as summary:
        assert (summary.rows, summary.accepted, summary.rejected) == (5, 4, 1)
        assert summary.rejected_by_code == {code: 1}
    [reject] = desk.rejects()
    assert (reject["file"], reject["line"], reject["code"]) == (str(path), "5", code)
    assert reject["value"] == (row if value is None else value)
    assert reason in reject["reason"]
    if code != "row.malformed":
        assert (reject["meter"], reject["interval_start"]) == tuple(row.split(",")[:2])


def test_the_greatest_energy_that_is_not_absurd_is_accepted(desk, readings_of):
    path = desk.write(f"{HEADER}{GOOD}a,2025-08-12T02:00Z,500000,,estimated,32767\n")
    slot = int(datetime(2025, 8, 12, 2, tzinfo=UTC).timestamp()) // 1800
    assert ("import", "a", slot, 500_000, 1, 32_767) in readings_of(desk.run(path))


@pytest.mark.parametrize(
    ("clock", "code", "reason"),
    [
        ("2013-10-27 01:30", "time.ambiguous", "clocks in Europe/London show this time twice"),
        ("2013-03-31 01:30", "time.nonexistent", "clocks in Europe/London skip this time"),
    ],
)
def test_a_local_time_that_summer_time_repeats_or_skips_is_rejected(desk, readings_of, clock, code, reason):
    path = desk.write(f"meter,interval_start,import_wh\na,2013-07-01 00:30,7\na,{clock},8\n")
    columns = Columns(zone="Europe/London", interval_minutes=30)
    half_past = int(datetime(2013, 6, 30, 23, 30, tzinfo=UTC).timestamp()) // 1800
    assert readings_of(desk.run(path, columns=columns)) == {("import", "a", half_past, 7, 2, 0)}
    [reject] = desk.rejects()
    assert (reject["line"], reject["value"], reject["code"]) == ("3", clock, code)
    assert reason in reject["reason"]


def test_stamps_at_the_end_name_the_interval_before(desk, readings_of):
    path = desk.write("meter,interval_start,import_wh\na,1970-01-01T00:30Z,7\na,1970-01-01T00:00Z,8\n")
    columns = Columns(stamps="end", interval_minutes=30)
    assert readings_of(desk.run(path, columns=columns)) == {("import", "a", 0, 7, 2, 0)}
    assert desk.rejects()[0]["code"] == "time.unreadable"  # it began before 1970


def test_contradicting_rows_are_all_rejected_each_naming_another(desk, readings_of):
    first = desk.write(f"{HEADER}{GOOD}a,2025-08-12T00:00Z,11,,actual,0\n", "first.csv")
    second = desk.write(
        f"{HEADER}{GOOD}a,2025-08-12T01:00Z,10,3,actual,0\na,2025-08-12T00:30Z,9,,actual,1\n", "b.csv"
    )
    summary = desk.run(first, second)
    # 00:00 is 10 on line 2 of both and 11 on line 5 of the first; 01:00 agrees, and is once told with its export
    assert (summary.rows, summary.accepted, summary.repeated, summary.rejected) == (9, 3, 3, 3)
    assert summary.rejected_by_code == {"duplicate.conflict": 3}
    assert {(kind, wh, revision) for kind, _, _, wh, _, revision in readings_of(summary)} == {
        ("import", 10, 0),
        ("export", 3, 0),
        ("import", 9, 1),
    }
    found = {(r["file"], r["line"]): (r["value"], r["reason"]) for r in desk.rejects()}
    says = "for the same reading"
    assert found == {
        (str(first), "2"): ("10 Wh", f"line 5 says 11 Wh {says}"),
        (str(first), "5"): ("11 Wh", f"line 2 says 10 Wh {says}"),
        (str(second), "2"): ("10 Wh", f"line 5 of {first} says 11 Wh {says}"),
    }
    assert {(r["meter"], r["interval_start"]) for r in desk.rejects()} == {("a", "2025-08-12T00:00:00+00:00")}


def test_differing_exports_conflict_too(desk):
    path = desk.write(f"{HEADER}{GOOD}b,2025-08-12T00:00Z,1,2,actual,0\nb,2025-08-12T00:00Z,1,3,actual,0\n")
    with desk.run(path) as summary:
        assert summary.rejected_by_code == {"duplicate.conflict": 2}
    assert [r["reason"] for r in desk.rejects()] == [
        "line 6 says 1 Wh in, 3 Wh out for the same reading",
        "line 5 says 1 Wh in, 2 Wh out for the same reading",
    ]


@pytest.mark.parametrize("other", ["estimated,0", "actual,1"])
def test_another_quality_or_revision_is_no_contradiction(desk, other: str):
    path = desk.write(f"{HEADER}{GOOD}a,2025-08-12T00:00Z,99,,{other}\n")
    with desk.run(path) as summary:
        assert (summary.accepted, summary.rejected) == (4, 0)


def test_lines_are_those_of_the_file_despite_blank_lines_quotes_and_line_ends(desk):
    rows = [
        "meter,interval_start,import_wh",  # 1
        '"a","2025-08-12T00:00Z",1',  # 2
        "",  # 3
        "a,2025-08-12T00:30Z,x",  # 4
        'a,"2025-08-12T01:00Z,1',  # 5: never closed; mustn't swallow its neighbours
        "a,2025-08-12T01:00Z,y",  # 6
        "",  # 7
        ",,",  # 8
        "a,2025-08-12T02:00Z,1,1",  # 9
        "a,2025-08-12T02:30Z,z",  # 10
        '"',  # 11
    ]
    for end in ("\n", "\r\n"):
        with desk.run(desk.write(end.join(rows))) as summary:
            assert (summary.rows, summary.accepted) == (8, 1)
        assert sorted((int(r["line"]), r["code"]) for r in desk.rejects()) == [
            (4, "energy.not_a_number"),
            (5, "row.malformed"),
            (6, "energy.not_a_number"),
            (8, "meter.missing"),
            (9, "row.malformed"),
            (10, "energy.not_a_number"),
            (11, "row.malformed"),
        ]


def test_a_row_that_is_no_utf_8_is_malformed_and_its_neighbours_are_read(desk):
    path = desk.write(f"{HEADER}{GOOD}".encode() + b"a\xff,2025-08-12T02:00Z,1,,actual,0\n" + GOOD.encode())
    with desk.run(path) as summary:
        assert (summary.accepted, summary.repeated, summary.rejected) == (3, 3, 1)
    [reject] = desk.rejects()
    assert (reject["line"], reject["code"]) == ("5", "row.malformed")
    assert "UTF-8" in reject["reason"]


def many_rows(n: int) -> str:
    """``n`` hourly rows of one meter from line 2 on."""
    days = (datetime.fromtimestamp(hour * 3600, UTC) for hour in range(n))
    return "meter,interval_start,import_wh\n" + "".join(f"a,{at:%Y-%m-%dT%H:%MZ},{at.hour}\n" for at in days)


def test_a_gzip_file_cut_off_yields_the_rows_before_the_cut(desk):
    whole = gzip.compress(many_rows(20_000).encode())
    path = desk.write(whole[: len(whole) // 2], "cut.csv.gz")
    with desk.run(path) as summary:
        assert 2_000 < summary.accepted < 19_000
        assert summary.rows == summary.accepted + 1
        assert sum(len(batch) for batch in summary.batches()) == summary.accepted
    [reject] = desk.rejects()
    assert reject["code"] == "file.truncated"
    assert int(reject["line"]) == summary.accepted + 2
    assert many_rows(20_000).splitlines()[summary.accepted + 1].startswith(reject["value"])
    assert "cut off or damaged here: its end is missing" in reject["reason"]


def test_a_gzip_file_with_damage_inside_is_read_up_to_it(desk):
    whole = bytearray(gzip.compress(many_rows(200_000).encode()))
    whole[-8] ^= 0xFF  # the checksum
    with desk.run(desk.write(bytes(whole), "bad.csv.gz")) as summary:
        assert 0 < summary.accepted < 200_000
        assert summary.rejected_by_code == {"file.truncated": 1}


@pytest.mark.parametrize(("suffix", "codec"), [("gz", "gzip"), ("bz2", "bz2"), ("zst", "zstd")])
def test_compressed_files_are_read_whole_and_their_truncation_is_noticed(desk, suffix, codec):
    compressed = desk.folder / f"in.csv.{suffix}"
    with pa.CompressedOutputStream(str(compressed), codec) as stream:
        stream.write(many_rows(20_000).encode())
    with desk.run(compressed) as summary:
        assert (summary.accepted, summary.rejected) == (20_000, 0)
    cut = desk.write(compressed.read_bytes()[:-5], f"cut.csv.{suffix}")
    with desk.run(cut) as summary:
        assert summary.rejected_by_code == {"file.truncated": 1}


def test_gzip_members_on_end_are_one_file(desk):
    head, tail = many_rows(2), many_rows(4).removeprefix(many_rows(2))
    with desk.run(desk.write(gzip.compress(head.encode()) + gzip.compress(tail.encode()), "x.gz")) as summary:
        assert summary.accepted == 4


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("x.csv.gz", b"meter,interval_start,import_wh\n", "cut off or damaged"),
        ("x.csv", b"\x00\x01\x02\x03" * 100, "isn't text"),
        ("x.csv", "meter,start\n".encode("utf-16"), "isn't UTF-8"),
        ("x.parquet", b"PAR1 and so on", "not a whole Parquet file"),
        ("x.csv", b"\n\n", "not even a header"),
    ],
)
def test_an_unreadable_file_is_a_reject_beside_others_and_an_error_alone(desk, name, content, problem):
    bad = desk.write(content, name)
    with pytest.raises(NegawattError, match=problem):
        desk.run(bad)
    with desk.run(bad, desk.write(f"{HEADER}{GOOD}", "good.csv")) as summary:
        assert (summary.rows, summary.accepted, summary.rejected_by_code) == (4, 3, {"file.unreadable": 1})
    [reject] = desk.rejects()
    assert (reject["file"], reject["line"], reject["code"]) == (str(bad), "0", "file.unreadable")
    assert problem in reject["reason"]


def test_a_damaged_parquet_file_is_read_up_to_the_damage(desk):
    start = pa.array([hour * 3600 for hour in range(2000)], pa.timestamp("s", "UTC"))
    values = pa.array([hour * 7919 % 1000 for hour in range(2000)])
    table = pa.table({"meter": ["a"] * 2000, "interval_start": start, "import_wh": values})
    path = desk.folder / "x.parquet"
    pa.parquet.write_table(table, path, row_group_size=1000, use_dictionary=False, compression="gzip")
    column = pa.parquet.ParquetFile(path).metadata.row_group(1).column(2)
    content = bytearray(path.read_bytes())
    middle = column.data_page_offset + column.total_compressed_size // 2
    content[middle : middle + 40] = b"\xff" * 40
    with desk.run(desk.write(bytes(content), "bad.parquet")) as summary:
        assert set(summary.rejected_by_code) == {"file.truncated"}
        assert summary.accepted in (0, 1000)
    assert desk.rejects()[0]["line"] == str(summary.accepted + 1)


def test_parquet_rows_are_numbered_from_one(desk):
    start = pa.array([0, 3600, None, 7200], pa.timestamp("s", "UTC"))
    columns: dict[str, Any] = {"meter": ["a"] * 4, "interval_start": start, "import_wh": [1, None, 3, -4]}
    path = desk.folder / "x.parquet"
    pa.parquet.write_table(pa.table(columns), path)
    with desk.run(path) as summary:
        assert summary.accepted == 1
    assert [(r["line"], r["code"], r["value"], r["interval_start"]) for r in desk.rejects()] == [
        ("2", "energy.missing", "", "1970-01-01 01:00:00.000Z"),
        ("3", "time.unreadable", "", ""),
        ("4", "energy.negative", "-4", "1970-01-01 02:00:00.000Z"),
    ]


def test_too_many_rejects_fail_the_run_and_keep_the_rejects(desk):
    path = desk.write(f"{HEADER}{GOOD}a,2025-08-12T02:00Z,x,,actual,0\n")
    with pytest.raises(TooManyRejectsError) as failed:
        desk.run(path, max_rejects_pct=24.9)
    assert (failed.value.rejected, failed.value.rows, failed.value.rejects_file) == (
        1,
        4,
        str(desk.rejects_path),
    )
    assert len(desk.rejects()) == 1
    assert list((desk.folder / "spool").iterdir()) == []
    with desk.run(path, max_rejects_pct=25) as summary:
        assert summary.accepted == 3


def test_the_rejects_are_kept_when_the_run_breaks_down(desk):
    def give_up(*_: object) -> None:
        raise KeyboardInterrupt

    path = desk.write(f"{HEADER}a,2025-08-12T02:00Z,x,,actual,0\n{GOOD}")
    with pytest.raises(KeyboardInterrupt):
        desk.run(path, progress=give_up)
    assert [r["line"] for r in desk.rejects()] == ["2"]
    assert list((desk.folder / "spool").iterdir()) == []


def test_a_clean_run_replaces_the_rejects_of_an_earlier_one(desk):
    desk.rejects_path.write_text("old", encoding="utf-8")
    desk.run(desk.write(f"{HEADER}{GOOD}")).close()
    assert desk.rejects() == []
    assert [path.name for path in desk.folder.glob("*.part")] == []


def test_what_a_reject_quotes_fits_on_one_line(desk):
    value = "x" * 1000
    desk.run(desk.write(f"{HEADER}{GOOD}a,2025-08-12T02:00Z,{value},,actual,0\n")).close()
    assert desk.rejects()[0]["value"] == "x" * 200 + "…"
    assert desk.rejects_path.read_text(encoding="utf-8").count("\n") == 2
