"""``negawatt sql``, as someone at a terminal uses it."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput
from rich.console import Console
from terminal import Terminal

from domain.errors import StoreError
from negawatt.cli_sql import open_reader
from negawatt.demo import demo_wallet
from negawatt.settings import Settings
from negawatt.sql_desk import Desk
from negawatt.sql_prompt import Names, Prompt, is_whole, run_prompt
from negawatt.sql_statements import StatementError
from negawatt.workspace import Workspace

HOURS = 24
BY_METER = "SELECT m.name AS home, SUM(u.wh) AS wh, SUM(u.n) AS n FROM readings_import_60 u JOIN meters m"
BY_METER += " ON m.id = u.meter GROUP BY m.name ORDER BY home"
CURVE = "SELECT ts, CAST(SUM(wh) AS BIGINT) AS wh FROM readings_import_60 GROUP BY ts ORDER BY ts"


class SqlTerminal(Terminal):
    """A terminal for ``sql``, whose workspace has homes a and b, hourly on 1 June 2025, 500 Wh and the hour more."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "workspace")
        rows = ["meter,interval_start,import_wh"]
        rows += [
            f"{m},2025-06-01T{hour:02d}:00Z,{base + hour}"
            for m, base in (("a", 500), ("b", 700))
            for hour in range(24)
        ]
        homes = "meter,contracted_w,wallet,feeder", *(f"{m},1000,{demo_wallet(m)},north" for m in "ab")
        self.run("ingest", "--resources", self.write("homes.csv", *homes), self.write("r.csv", *rows))

    def sql(self, *words: object, **rest) -> str:
        return self.run("sql", *words, **rest)

    def desk(self, **limits) -> Desk:
        return Desk(lambda: open_reader(self.workspace, Settings()), **limits)


@pytest.fixture(scope="module")
def terminal(tmp_path_factory) -> SqlTerminal:
    return SqlTerminal(tmp_path_factory.mktemp("sql"))


def test_a_question_is_answered_in_a_table(terminal):
    said = terminal.sql(BY_METER)
    # 24 hours of 500 Wh and 0 + 1 + … + 23 = 276 more; of 700 Wh likewise.
    assert "│ a    │ 12,276 │ 24 │" in said
    assert "│ b    │ 17,076 │ 24 │" in said
    assert "2 rows in 0." in said


def test_the_answer_as_json_has_types_and_exact_times(terminal):
    found = terminal.json(
        "sql", "SELECT ts, meter, wh, CAST(NULL AS DOUBLE) AS gone FROM readings_import_60 WHERE wh = 523"
    )
    assert found["columns"] == [
        {"name": "ts", "type": "timestamp"},
        {"name": "meter", "type": "integer"},
        {"name": "wh", "type": "integer"},
        {"name": "gone", "type": "double"},
    ]
    assert found["rows"] == [["2025-06-01T23:00:00Z", 0, 523, None]]
    assert found["more"] is False


def test_the_answer_as_csv_is_plain(terminal):
    said = terminal.sql("--csv", f"{CURVE} LIMIT 2")
    assert said == "ts,wh\n2025-06-01T00:00:00Z,1200\n2025-06-01T01:00:00Z,1202\n"
    quoted = terminal.sql("--csv", "SELECT 'a,\"b' AS t")
    assert list(csv.reader(io.StringIO(quoted))) == [["t"], ['a,"b']]


def test_the_answer_as_parquet_says_that_times_are_utc(terminal, tmp_path):
    terminal.sql(CURVE, "--parquet", tmp_path / "out" / "curve.parquet")
    found = pq.read_table(tmp_path / "out" / "curve.parquet").to_pylist()
    assert len(found) == HOURS
    assert found[23] == {"ts": datetime(2025, 6, 1, 23, tzinfo=UTC), "wh": 1246}


def test_a_file_and_standard_input_may_hold_several_statements(terminal):
    file = terminal.write("two.sql", "SELECT COUNT(*) AS meters FROM meters;\n-- and\nSELECT 'x' AS b;\n")
    for said in (terminal.sql("-f", file), terminal.sql(input=file.read_text())):
        assert said.count("1 row in") == 2
        assert "meters" in said
    assert "there are 2" in terminal.sql("-f", file, "--json", exit_code=2)
    assert "no statement" in terminal.sql(input="  \n", exit_code=2)


def test_parameters_are_filled_in(terminal):
    one = "SELECT COUNT(*) AS c FROM readings_import_:minutes WHERE ts >= :from"
    found = terminal.json("sql", one, "-p", "minutes=60", "-p", "from=2025-06-01T20:00+02:00")
    assert found["rows"] == [[2 * 6]]  # 18 to 24 h UTC
    assert "no value for from" in terminal.sql(one, "-p", "minutes=60", exit_code=1)
    assert "no parameter nosuch" in terminal.sql(one, "-p", "nosuch=1", exit_code=2)


def test_dashboards_come_with_it(terminal):
    listed = json.loads(terminal.sql("--dashboards", "--json"))
    assert listed["load_now"]["parameters"]["minutes"] == {"kind": "integer", "default": "5"}
    assert "load_now" in terminal.sql("--dashboards")
    assert "there are: " in terminal.sql("--dashboard", "nosuch", exit_code=2)


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TABLE meters",
        "SELECT 1; DROP TABLE meters",
        "WITH a AS (SELECT 1) DELETE FROM meters",
        "EXPLAIN ANALYZE DELETE FROM meters",
        r"SELECT E'\'' ; DROP TABLE meters; --'",
        "CREATE TABLE t (a INTEGER)",
    ],
)
def test_nothing_can_be_changed(terminal, statement):
    before = terminal.desk().columns()
    said = terminal.sql(statement, exit_code=1)
    assert said.startswith("error: ")
    assert terminal.desk().columns() == before
    assert terminal.json("sql", "SELECT COUNT(*) FROM meters")["rows"] == [[2]]


def test_no_file_but_the_store_can_be_read(terminal):
    secret = terminal.write("secret.txt", "the salt")
    for reading in (f"read_text('{secret}')", f"'{secret}'", f"read_csv('{secret}')"):
        said = terminal.sql(f"SELECT * FROM {reading}", exit_code=1)
        assert said.startswith("error: ")
        assert "the salt" not in said


def test_rows_are_limited_and_it_is_said(terminal):
    found = terminal.json("sql", "--rows", 5, CURVE)
    assert (len(found["rows"]), found["more"]) == (5, True)
    assert terminal.json("sql", "--rows", 24, CURVE)["more"] is False
    assert "more than 5 rows, 5 of them shown; --rows fetches more" in terminal.sql("--rows", 5, CURVE)
    assert "48 rows, 8 more than shown" in terminal.sql("SELECT ts, meter FROM readings_import_60")


def test_a_query_that_takes_too_long_is_broken_off(terminal):
    endless = "SELECT COUNT(*) FROM range(100000000) a, range(100000000) b WHERE a.range * b.range % 7 = 3"
    began = time.monotonic()
    said = terminal.sql("--seconds", 0.3, endless, exit_code=1)
    assert "took longer than 0.3 s and was broken off" in said
    assert time.monotonic() - began < 30
    assert terminal.json("sql", "SELECT 1 AS a")["rows"] == [[1]]


def test_unknown_names_are_answered_with_the_nearest(terminal):
    assert "no table reading_import_60; did you mean readings_import_60" in terminal.sql(
        "SELECT * FROM reading_import_60", exit_code=1
    )
    assert "no column revison; did you mean revision" in terminal.sql(
        "SELECT revison FROM readings_import_60", exit_code=1
    )
    said = terminal.sql("SELECT * FROM zzzzzzz", exit_code=1)
    assert "no table zzzzzzz; there are: " in said
    assert "meters" in said


def test_a_workspace_without_readings_says_how_to_bring_some_in(tmp_path):
    said = Terminal(tmp_path / "new").run("sql", "SELECT 1", exit_code=1)
    assert "no readings yet; bring some in: negawatt ingest FILES" in said
    assert not (tmp_path / "new").exists()


def test_a_line_is_drawn_over_time_and_bars_over_names(terminal):
    lines = terminal.sql("--plot", CURVE)
    assert any(0x2800 < ord(sign) < 0x2900 for sign in lines)
    assert "06-01 00:00" in lines
    assert "06-01 23:00" in lines
    bars = terminal.sql("--plot", BY_METER.replace(", SUM(u.n) AS n", "")).splitlines()
    assert [line.split()[:2] for line in bars] == [["a", "12,276"], ["b", "17,076"]]
    assert 0 < bars[0].count("█") < bars[1].count("█")
    assert "nothing to draw" in terminal.sql("--plot", "SELECT name FROM meters", exit_code=1)


def test_drawings_are_files_that_stand_alone(terminal, tmp_path):
    terminal.sql(CURVE, "--plot-to", tmp_path / "c.svg")
    svg = ET.fromstring((tmp_path / "c.svg").read_text())
    (line,) = (p for p in svg.iter("{http://www.w3.org/2000/svg}path") if p.get("fill") == "none")
    assert line.get("d").count("L") == HOURS - 1
    terminal.sql("SELECT name, id + 1 AS number FROM meters", "--plot-to", tmp_path / "b.html")
    assert (tmp_path / "b.html").read_text().count("<rect") == 1 + 2 + 1  # ground, bars, legend
    assert "expected .svg or .html" in terminal.sql(CURVE, "--plot-to", tmp_path / "c.png", exit_code=1)


def test_a_second_column_of_text_gives_a_line_each(terminal, tmp_path):
    terminal.sql(
        "SELECT u.ts, m.name, u.wh FROM readings_import_60 u JOIN meters m ON m.id = u.meter",
        "--plot-to", tmp_path / "two.svg",
    )  # fmt: skip
    svg = ET.fromstring((tmp_path / "two.svg").read_text())
    assert sum(p.get("fill") == "none" for p in svg.iter("{http://www.w3.org/2000/svg}path")) == 2


def test_only_one_source_of_statements(terminal):
    assert "exclude one another" in terminal.sql("SELECT 1", "--dashboard", "load_now", exit_code=2)
    assert "expected NAME=VALUE" in terminal.sql("SELECT 1", "-p", "x", exit_code=2)


# --- the prompt --------------------------------------------------------------------------------------------------


class Typist:
    """Types at a prompt and reads what is printed."""

    def __init__(self, terminal: Terminal, **limits) -> None:
        self._printed = io.StringIO()
        self.console = Console(file=self._printed, width=120, color_system=None)
        self.prompt = Prompt(terminal.desk(**limits), self.console)

    def type(self, text: str) -> str:
        self._printed.seek(0)
        self._printed.truncate()
        self.prompt.take(text)
        return self._printed.getvalue()


@pytest.fixture
def typist(terminal) -> Typist:
    return Typist(terminal)


def test_statements_run_up_to_their_semicolon(terminal, tmp_path):
    printed = io.StringIO()
    console = Console(file=printed, width=100, color_system=None)
    with create_pipe_input() as typed:
        typed.send_text("SELECT COUNT(*)\r AS meters\rFROM meters;\r\\q\r")
        run_prompt(terminal.desk(), tmp_path / "new" / "history", typed=typed, shown=DummyOutput(), console=console)
    assert "│      2 │" in printed.getvalue()
    assert "FROM meters;" in (tmp_path / "new" / "history").read_text()


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("SELECT 1", False),
        ("SELECT ';'", False),
        ("SELECT 'a;", False),
        ("SELECT 1; -- end", True),
        ("\\d", True),
        ("", True),
    ],
)
def test_a_line_is_run_when_its_statement_is_whole(text, whole):
    assert is_whole(text) is whole


def test_tables_and_their_columns_are_described(typist):
    said = typist.type("\\d")
    assert "readings_import_60" in said
    assert "meter, ts, wh, quality, revision, n" in said
    said = typist.type("\\d readings_import_60")
    assert [line.split()[1::2] for line in said.splitlines() if "timestamp" in line] == [["ts", "timestamp"]]
    assert "no table nosuch" in typist.type("\\d nosuch")


def test_timing_and_pages_are_switched(typist):
    assert "1 row in 0." in typist.type("SELECT 1 AS a;")
    assert "timing is off" in typist.type("\\timing")
    assert typist.type("SELECT 1 AS a;").endswith("1 row\n")
    typist.type("\\x")
    assert "row 1\n  a  1\n" in typist.type("SELECT 1 AS a;")


def test_an_answer_goes_into_a_file_once(typist, tmp_path):
    typist.type(f"\\o '{tmp_path}/a b.csv'")
    assert "24 rows" in typist.type(CURVE + ";")
    assert (tmp_path / "a b.csv").read_text().count("\n") == 25
    assert "│" in typist.type("SELECT 1 AS a;")


def test_the_last_answer_is_drawn(typist, tmp_path):
    assert "ask something first" in typist.type("\\plot")
    typist.type(CURVE + ";")
    assert "06-01 23:00" in typist.type("\\plot")
    typist.type(f"\\plot {tmp_path}/c.svg")
    assert (tmp_path / "c.svg").exists()


def test_parameters_are_set_at_the_prompt(typist):
    typist.type("\\set from 2025-06-01 22:00")
    assert ":from = 2025-06-01 22:00" in typist.type("\\set")
    assert "│ 4 │" in typist.type("SELECT COUNT(*) AS c FROM readings_import_60 WHERE ts >= :from;")


def test_mistakes_leave_the_prompt_running(typist):
    assert "error: no table nosuch" in typist.type("SELECT * FROM nosuch;")
    assert "error: DROP is refused" in typist.type("DROP TABLE meters;")
    assert "is not understood" in typist.type("\\nosuch")
    assert typist.prompt.take("SELECT 1;")
    assert not typist.prompt.take("\\q")


def test_help_names_every_command(typist):
    said = typist.type("\\?")
    assert all(command in said for command in ("\\d", "\\timing", "\\x", "\\o", "\\plot", "\\set", "\\q"))


def completed(names: Names, text: str) -> list[str]:
    return [found.text for found in names.get_completions(Document(text), CompleteEvent())]


def test_tables_columns_and_keywords_are_completed(terminal):
    names = Names(terminal.desk().columns)
    assert "readings_import_60" in completed(names, "SELECT * FROM read")
    assert completed(names, "SELECT revi") == ["revision"]
    assert completed(names, "SELECT * FROM meters ORD") == ["ORDER"]
    assert completed(names, "\\ti") == ["\\timing"]


def test_completion_goes_on_when_the_store_is_away():
    def away() -> dict:
        raise StoreError("in use")

    assert completed(Names(away), "sel") == ["select"]


def test_between_questions_the_store_is_free_for_others(terminal):
    desk = terminal.desk()
    desk.ask("SELECT 1 AS a")
    other = "import duckdb, sys; duckdb.connect(sys.argv[1]).execute('CREATE TEMP TABLE t (a INTEGER)')"
    file = terminal.workspace.speed
    subprocess.run([sys.executable, "-c", other, str(file)], check=True, timeout=60)


def test_the_store_itself_would_refuse_what_slipped_through(terminal):
    reader = open_reader(terminal.workspace, Settings())
    for change in ("DELETE FROM meters", "WITH gone AS (DELETE FROM meters RETURNING id) SELECT * FROM gone"):
        with pytest.raises(StoreError, match="read-only"):
            reader.query(change)
    reader.close()


def test_while_another_command_has_the_store_it_is_said(terminal):
    file = terminal.workspace.speed
    holder = "import duckdb, sys; held = duckdb.connect(sys.argv[1]); print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", holder, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout.readline() == b"held\n"
        assert "is in use by another command" in terminal.sql("SELECT 1", exit_code=1)
        other.stdin.close()


@pytest.mark.stack
def test_a_heavydb_is_asked_by_its_address(heavydb, tmp_path):
    from heavydb_layer import an_empty_store

    store = an_empty_store(heavydb)
    store.create("resources", {"meter": "INTEGER", "name": "TEXT ENCODING DICT(32)"})
    store.meter_ids(np.array(["a", "b"], dtype=object))
    store.close()

    def sql(*words: str, exit_code: int = 0) -> str:
        return Terminal(tmp_path).run("sql", "--speed", heavydb, *words, exit_code=exit_code)

    assert json.loads(sql("SELECT name FROM meters ORDER BY id", "--json"))["rows"] == [["a"], ["b"]]
    assert "did you mean resources" in sql("SELECT * FROM resource", exit_code=1)
    assert "DROP is refused" in sql("DROP TABLE meters", exit_code=1)
    desk = Desk(lambda: open_reader(Workspace(tmp_path), replace(Settings(), speed=heavydb)))
    assert desk.columns() == {
        "meters": {"id": "integer", "name": "text"},
        "resources": {"meter": "integer", "name": "text"},
    }


def test_a_desk_refuses_before_it_opens_the_store():
    def never():
        raise AssertionError("the store was opened")

    with pytest.raises(StatementError):
        Desk(never).ask("DROP TABLE meters")
