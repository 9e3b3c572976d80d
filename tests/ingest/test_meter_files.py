"""Register reads and clock comparisons in CSV: read as they stand, refused with file, line and value."""

from __future__ import annotations

import pytest

from domain.errors import NegawattError
from ingest.meter_files import read_clock_comparisons, read_register_reads


def a_file(folder, text: str):
    path = folder / "file.csv"
    path.write_text(text)
    return path


def test_register_reads_in_wh_and_kwh(tmp_path):
    reads = read_register_reads(a_file(tmp_path, "meter,read_at,import_wh\na,1970-01-02T00:00+00:00,1500\n"), 60)
    assert (reads.meters.tolist(), reads.slot.tolist(), reads.wh.tolist()) == (["a"], [24], [1500])
    reads = read_register_reads(
        a_file(tmp_path, "import_kwh,meter,read_at,more\n1.2345,a,1970-01-02T09:00+09:00,x\n"), 30
    )
    assert (reads.slot.tolist(), reads.wh.tolist()) == ([48], [1234])  # 1,234.5 rounds half to even


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("meter,read_at\n", "line 1: no column import_wh or import_kwh"),
        ("read_at,import_wh\n", "line 1: no column meter; found"),
        ("meter,read_at,import_wh\n,1970-01-02T00:00Z,1\n", "line 2: no meter is named"),
        ("meter,read_at,import_wh\na,yesterday,1\n", "line 2: read_at 'yesterday': expected a time in ISO 8601"),
        ("meter,read_at,import_wh\na,1970-01-02T00:00,1\n", "names no instant: add its UTC offset"),
        ("meter,read_at,import_wh\na,1970-01-02T00:30Z,1\n", "is not on the 60-minute grid"),
        ("meter,read_at,import_wh\na,1970-01-02T00:00Z,1\na,1970-01-03T00:00Z,many\n", "line 3: import_wh 'many'"),
        ("meter,read_at,import_wh\na,1970-01-02T00:00Z\n", "line 2: import_wh None: expected a decimal number"),
        ("meter,read_at,import_wh\na,1970-01-02T00:00Z,-1\n", "a register shows 0 to"),
        ("meter,read_at,import_wh\na,1970-01-02T00:00Z,NaN\n", "expected a decimal number"),
    ],
)
def test_a_bad_register_read_refuses_the_file(tmp_path, text, sentence):
    with pytest.raises(NegawattError, match=sentence):
        read_register_reads(a_file(tmp_path, text), 60)


def test_clocks_are_compared_across_offsets(tmp_path):
    told = read_clock_comparisons(
        a_file(
            tmp_path,
            "meter,meter_time,concentrator_time\n"
            "a,1970-01-01T09:03:20+09:00,1970-01-01T00:00:10Z\n"
            "a,1970-01-01T00:00:00Z,1970-01-01T00:00:00.600Z\n",
        )
    )
    assert (told.at_seconds.tolist(), told.ahead_seconds.tolist()) == ([10, 0], [190, -1])


def test_a_bad_comparison_refuses_the_file(tmp_path):
    with pytest.raises(NegawattError, match="line 1: no column concentrator_time"):
        read_clock_comparisons(a_file(tmp_path, "meter,meter_time\n"))
    with pytest.raises(NegawattError, match="line 2: meter_time '': expected a time"):
        read_clock_comparisons(a_file(tmp_path, "meter,meter_time,concentrator_time\na,,1970-01-01T00:00Z\n"))


def test_a_file_in_another_encoding_is_refused(tmp_path):
    path = tmp_path / "file.csv"
    path.write_bytes(b"meter,read_at,import_wh\nz\xe4hler,1970-01-02T00:00Z,1\n")
    with pytest.raises(NegawattError, match="not UTF-8"):
        read_register_reads(path, 60)
