"""Files of loads and weather: what is read, and what a wrong file is told."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from domain.series import InvalidSeriesError
from ingest.series_files import LoadColumns, read_loads, read_weather

DATA = Path(__file__).parents[2] / "../shared/data"
LOADS = LoadColumns("load_kwh", site="meter", unit="kWh")


@pytest.fixture
def write(tmp_path):
    def put(*lines: str, name: str = "file.csv") -> Path:
        (path := tmp_path / name).write_text("\n".join(lines) + "\n")
        return path

    return put


def homes(write, *rows: str) -> Path:
    return write("meter,interval_start,load_kwh", *rows)


def test_loads_of_sites_come_in_watt_hours_on_one_grid(write):
    path = homes(
        write,
        "b,1970-01-01T01:00Z,0.2",
        "a,1970-01-01T00:00Z,1.5",
        "a,1970-01-01T02:00+00:00,",
        "b,1970-01-01T00:00Z,7",
    )
    found = read_loads(path, LOADS)
    assert (found.sites.tolist(), found.first_slot, found.interval_minutes) == (["a", "b"], 0, 60)
    assert found.load.tolist() == [pytest.approx([1500, np.nan, np.nan], nan_ok=True), pytest.approx(
        [7000, 200, np.nan], nan_ok=True
    )]  # fmt: skip


def test_a_file_of_one_site_goes_by_its_name(write):
    path = write("time,mw", "1970-01-01 00:00,1", "1970-01-01 00:30,2", name="victoria.2013.csv")
    found = read_loads(path, LoadColumns("mw", start="time", unit="MWh", zone="Asia/Seoul"))
    assert (found.sites.tolist(), found.interval_minutes, found.first_slot) == (["victoria"], 30, -18)
    assert found.load.tolist() == [[1e6, 2e6]]


def test_compressed_files_and_parquet_read_alike(write, tmp_path):
    plain = homes(write, "a,1970-01-01T00:00Z,1", "a,1970-01-01T01:00Z,2")
    packed = tmp_path / "packed.csv.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    table = pa.table(
        {
            "meter": pa.array(["a", "a"]).dictionary_encode(),
            "interval_start": pa.array([0, 3600], pa.timestamp("s", "UTC")),
            "load_kwh": pa.array([1.0, 2.0], pa.float32()),
        }
    )
    pq.write_table(table, tmp_path / "table.parquet")
    for path in (plain, packed, tmp_path / "table.parquet"):
        assert read_loads(path, LOADS).load.tolist() == [[1000, 2000]]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (["a,1970-01-01T00:00Z,1", "a,1970-01-01T01:00Z,lots"], "line 3: load_kwh 'lots'; expected a number"),
        (["a,1970-01-01T00:00Z,1", "a,1970-01-01T01:00Z,-2"], "line 3: load_kwh -2; expected 0 or more"),
        (["a,1970-01-01T00:00Z,1", "a,noon,1"], "line 3: interval_start 'noon': no time could be read"),
        (["a,1970-01-01T00:00,1", "a,1970-01-01T01:00,1"], "line 2: .*no UTC offset; add one, or name the zone"),
        (["a,1970-01-01T00:00Z,1", "a,1970-01-01T00:00Z,1"], "one time only"),
        (
            ["a,1970-01-01T00:00Z,1", "a,1970-01-01T01:00Z,1", "a,1970-01-01T00:00Z,1"],
            "line 4: the interval of 'a' was given before, in line 2",
        ),
        (["a,1970-01-01T00:00Z,1", "a,1970-01-01T00:07Z,1"], "intervals of 7 min; expected one of 5, 10, 15, 30, 60"),
        (["a,1970-01-01T00:20Z,1", "a,1970-01-01T01:20Z,1"], "line 2: the time is not on the 60-minute grid"),
        ([",1970-01-01T00:00Z,1", "a,1970-01-01T01:00Z,1"], "line 2: meter is empty"),
        ([], "no rows under the header"),
    ],
)
def test_a_wrong_file_is_told_where_and_what_was_expected(write, rows, said):
    with pytest.raises(InvalidSeriesError, match=said):
        read_loads(homes(write, *rows), LOADS)


def test_a_column_that_is_not_there_is_named_with_those_that_are(write):
    path = homes(write, "a,1970-01-01T00:00Z,1")
    with pytest.raises(InvalidSeriesError, match="no column 'use_kwh'; found 'meter', 'interval_start', 'load_kwh'"):
        read_loads(path, LoadColumns("use_kwh", site="meter"))


def test_weather_is_taken_by_our_names_or_by_those_that_are_given(write):
    path = write("interval_start,temperature_c,rh", "1970-01-01T00:00Z,20,50", "1970-01-01T01:00Z,,55")
    assert set(read_weather(path).values) == {"temperature_c"}
    found = read_weather(path, columns={"relative_humidity_pct": "rh"})
    assert found.values["relative_humidity_pct"].tolist() == [50, 55]
    assert found.values["temperature_c"].tolist() == pytest.approx([20, np.nan], nan_ok=True)


def test_weather_beyond_what_can_be_is_refused(write):
    path = write("interval_start,temperature_c", "1970-01-01T00:00Z,20", "1970-01-01T01:00Z,295.1")
    with pytest.raises(InvalidSeriesError, match=r"line 3: temperature_c 295\.1; expected -90 to 60"):
        read_weather(path)


def test_a_file_without_weather_says_how_to_name_columns(write):
    path = write("interval_start,temp", "1970-01-01T00:00Z,20")
    with pytest.raises(InvalidSeriesError, match=r"no column of weather.*--weather-column temperature_c=temp"):
        read_weather(path)
    with pytest.raises(InvalidSeriesError, match="no column 'tmp'"):
        read_weather(path, columns={"temperature_c": "tmp"})
    with pytest.raises(InvalidSeriesError, match="no column of weather is called 'warmth'"):
        read_weather(path, columns={"warmth": "temp"})


@pytest.mark.skipif(not DATA.exists(), reason="the shared data aren't here")
def test_real_files_are_read():
    homes = read_loads(DATA / "homes-hourly.csv.gz", LOADS)
    assert homes.load.shape == (10, 8760)
    weather = read_weather(DATA / "homes-weather-hourly.csv.gz")
    assert (weather.first_slot, weather.last_slot) == (homes.first_slot, homes.last_slot)
    victoria = read_loads(DATA / "victoria-halfhourly.csv.gz", LoadColumns("load_mwh", unit="MWh"))
    assert (victoria.interval_minutes, victoria.sites.tolist()) == (30, ["victoria-halfhourly"])
