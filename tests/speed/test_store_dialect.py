"""What the page on the speed store says of SQL: which statements both stores answer alike, and which they don't."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pyarrow as pa
import pytest

from domain.errors import StoreError
from speed.duckdb_store import DuckDBStore
from speed.tables import READING_COLUMNS, row_bytes

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "speed.md").read_text()
GOLDEN = {
    one["sql"]: one
    for one in json.loads((ROOT / "tests" / "infra" / "heavydb_dialect.json").read_text())["statements"]
}
COLUMNS = {"meter": "INTEGER", "ts": "TIMESTAMP(0)", "wh": "INTEGER", "revision": "SMALLINT", "zone": "TEXT"}
READINGS = (
    (1, "00:00", 100, 0, "A"),
    (1, "00:00", 110, 1, "A"),
    (1, "00:05", 90, 0, "A"),
    (2, "00:00", 7, 0, "B"),
    (2, "00:05", None, 0, "B"),
    (3, "13:55", -4, 0, "B"),
)
"""Those that the real HeavyDB was asked about."""


def table(heading: str) -> list[list[str]]:
    """Cells of the table with this first heading that has so many columns."""
    lines = PAGE.splitlines()
    at = lines.index(heading)
    rows = []
    for line in lines[at + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip().strip("`") for cell in line.strip("|").split(" | ")])
    return rows


ALIKE = [*table("| statement | answer |")]
APART = [*table("| statement | HeavyDB | DuckDB | write |")]


@pytest.fixture(params=["duckdb", pytest.param("heavydb", marks=pytest.mark.stack)])
def store(request):
    if request.param == "duckdb":
        store = DuckDBStore()
    else:
        from heavydb_layer import an_empty_store

        store = an_empty_store(request.getfixturevalue("heavydb"))
    meter, clock, wh, revision, zone = zip(*READINGS, strict=True)
    store.create("readings", COLUMNS)
    rows = pa.table(
        {
            "meter": pa.array(meter, pa.int32()),
            "ts": pa.array([f"2026-07-01 {at}:00" for at in clock]).cast(pa.timestamp("s")),
            "wh": pa.array(wh, pa.int32()),
            "revision": pa.array(revision, pa.int16()),
            "zone": pa.array(zone, pa.string()),
        }
    )
    store.load("readings", rows)
    yield store
    store.close()


def words(rows) -> str:
    """Rows as the page writes them."""
    return "; ".join(", ".join(str(cell) for cell in row) for row in rows)


def answer(store, sql) -> str:
    found = store.query(sql)
    names = [f"c{n}" for n in range(found.num_columns)]
    return words(row.values() for row in found.rename_columns(names).to_pylist())


@pytest.mark.parametrize(("sql", "expected"), ALIKE)
def test_statements_that_are_said_to_be_answered_alike_are(store, sql, expected):
    assert answer(store, sql) == expected


@pytest.mark.parametrize(("sql", "expected"), ALIKE)
def test_a_real_heavydb_gave_that_answer(sql, expected):
    if sql in GOLDEN:
        assert words(GOLDEN[sql]["rows"]) == expected
    else:
        assert sql.startswith("SELECT zone, wh")  # one that was asked without an order


@pytest.mark.parametrize(("sql", "heavydb", "duckdb", "instead"), APART)
def test_statements_that_are_said_to_differ_do(sql, heavydb, duckdb, instead):
    asked = GOLDEN[sql]
    assert asked["ok"] == (heavydb != "refused")
    if asked["ok"] and "order" not in heavydb:
        assert words(asked["rows"]) == heavydb
    assert instead
    embedded = DuckDBStore()
    embedded.create("readings", COLUMNS)
    if duckdb == "refused":
        with pytest.raises(StoreError):
            embedded.query(sql)
    else:
        embedded.query(sql)
    embedded.close()


def test_parts_of_times_and_hours_are_the_same(store):
    parts = "SELECT EXTRACT(HOUR FROM ts), EXTRACT(DOW FROM ts), EXTRACT(ISODOW FROM ts) FROM readings WHERE meter=3"
    hours = "SELECT DATE_TRUNC('hour', ts) h, SUM(wh) FROM readings GROUP BY h ORDER BY h"
    for sql in (parts, hours):
        assert answer(store, sql) == words(GOLDEN[sql]["rows"])


def test_a_row_takes_as_many_bytes_as_the_page_says():
    (said,) = re.findall(r"A row takes (\d+) bytes", PAGE)
    assert row_bytes(READING_COLUMNS) == int(said)
    assert 90 * 288 * 10_000 * int(said) / 2**30 == pytest.approx(4.1, abs=0.05)


@pytest.mark.stack
def test_the_table_of_readings_is_declared_as_the_page_shows(heavydb):
    from heavydb_layer import an_empty_store
    from stores import FIRST, Row, a_batch

    store = an_empty_store(heavydb)
    store.append(a_batch([Row("a", FIRST, 1)], 5))
    declared = store._client.call("show", lambda con: con.execute("SHOW CREATE TABLE readings_import_5").fetchall())
    shown = PAGE[PAGE.index("CREATE TABLE readings_import_5") :].split("```")[0]
    plain = [re.sub(r"[\s;']", "", text).upper() for text in (declared[0][0], shown)]
    for one, other in zip(*(re.split(r"WITH\(", text) for text in plain), strict=True):
        assert sorted(one.strip(")").split(",")) == sorted(other.strip(")").split(","))
    store.close()
