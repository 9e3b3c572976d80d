from __future__ import annotations

from pathlib import Path

import pytest

from domain.errors import NegawattError
from ingest.columns import HOURLY_HOMES, LONDON, Columns, UnknownLayoutError, layout_of


def file_with(folder: Path, header: str) -> Path:
    path = folder / "in.csv"
    path.write_text(header, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("header", "layout"),
    [
        ("meter,interval_start,import_wh", Columns()),
        (
            "quality,meter,interval_start,import_wh,export_wh,revision,note",
            Columns(export_energy="export_wh", quality="quality", revision="revision"),
        ),
        ("meter,interval_start,import_kwh", Columns(import_energy="import_kwh", unit="kWh")),
        ("LCLid,tstp,energy(kWh/hh)", LONDON),
        ("meter,interval_start,load_kwh,pv_kwh", HOURLY_HOMES),
        ('\ufeff"meter" , interval_start,import_wh\r', Columns()),
    ],
)
def test_a_known_header_names_its_layout(tmp_path: Path, header: str, layout: Columns):
    assert layout_of(file_with(tmp_path, f"{header}\n")) == layout


def test_an_unknown_header_is_refused_with_its_columns_and_a_way_to_map_them(tmp_path: Path):
    with pytest.raises(UnknownLayoutError) as refused:
        layout_of(file_with(tmp_path, "ID,Time,KWH\nx,y,z\n"))
    assert refused.value.found == ("ID", "Time", "KWH")
    assert "'ID', 'Time', 'KWH'" in str(refused.value)
    assert 'meter = "ID"' in str(refused.value)


def test_a_mapping_is_loaded_from_toml(tmp_path: Path):
    path = tmp_path / "columns.toml"
    path.write_text(
        'meter = "ID"\nstart = "Time"\nimport_energy = "KWH"\nunit = "kWh"\nzone = "Europe/London"\n'
        'stamps = "end"\ninterval_minutes = 15\n',
        encoding="utf-8",
    )
    assert Columns.from_toml(path) == Columns(
        "ID", "Time", "KWH", unit="kWh", zone="Europe/London", stamps="end", interval_minutes=15
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('metre = "ID"', "unknown key 'metre'"),
        ("meter = 5", "meter is 5; expected str"),
        ("interval_minutes = true", "interval_minutes is True; expected int"),
        ("interval_minutes = 7", "interval of 7 minutes"),
        ('unit = "MWh"', "unit is 'MWh'; expected 'Wh' or 'kWh'"),
        ('stamps = "middle"', "expected 'start' or 'end'"),
        ('zone = "Mars/Olympus"', "'Mars/Olympus' is no IANA time zone"),
        ('meter = "a"\nstart = "a"', "one column can't have two meanings"),
        ("meter =", "not TOML"),
    ],
)
def test_a_mapping_that_makes_no_sense_is_refused(tmp_path: Path, text: str, problem: str):
    path = tmp_path / "columns.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(NegawattError, match=problem):
        Columns.from_toml(path)


def test_a_missing_mapping_file_is_an_error_of_ours(tmp_path: Path):
    with pytest.raises(NegawattError, match="can't be read"):
        Columns.from_toml(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("found", "problem"),
    [(["meter", "import_wh"], "no column 'interval_start'"), (["meter"] * 2, "two columns 'meter'")],
)
def test_a_header_must_have_each_column_once(found: list[str], problem: str):
    with pytest.raises(UnknownLayoutError, match=problem):
        Columns().check_header(Path("x.csv"), found)
