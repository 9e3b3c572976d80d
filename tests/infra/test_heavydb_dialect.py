"""The stand-in's SQL, without a server: what a real HeavyDB answered, and what follows from its rules."""

from __future__ import annotations

import datetime
import json
import math
import threading
from pathlib import Path

import pyarrow as pa
import pytest

heavydb_client = pytest.importorskip("heavydb", reason="needs the extra heavydb")
from heavydb.cursor import make_row_results_set  # noqa: E402
from heavydb.exceptions import _translate_exception  # noqa: E402
from heavydb.thrift.ttypes import TDBException  # noqa: E402

from infra.heavydb.database import Database  # noqa: E402
from infra.heavydb.errors import StatementError, UnsupportedError  # noqa: E402
from infra.heavydb.protocol import Handler, Processor  # noqa: E402
from infra.heavydb.sessions import IDLE_SECONDS, Sessions  # noqa: E402

GOLDEN = json.loads((Path(__file__).parent / "heavydb_dialect.json").read_text())["statements"]
PLANS = "EXPLAIN "
"""A plan is its planner's own; of these only the columns are compared. All other answers must be the same."""
PASSWORD = "a password"


class Desk:
    """The service's calls, as they arrive, and answers as the vendor's client reads them."""

    def __init__(self, folder: Path) -> None:
        self.database = Database(folder, memory_mib=256)
        self.handler = Handler(self.database, Sessions(PASSWORD))
        self.service = Processor(self.handler)._handler
        self.session = self.service.connect("admin", PASSWORD, "heavyai")

    def ask(self, sql: str) -> tuple[list[str], list[list[object]]]:
        result = self.service.sql_execute(self.session, sql, True, None, -1, -1)
        names = [column.col_name for column in result.row_set.row_desc]
        return names, [list(row) for row in make_row_results_set(result)]

    def rows(self, sql: str) -> list[list[object]]:
        return self.ask(sql)[1]

    def one(self, expression: str) -> object:
        ((value,),) = self.rows(f"SELECT {expression}")
        return value

    def refusal(self, sql: str) -> str:
        with pytest.raises(TDBException) as refused:
            self.ask(sql)
        return refused.value.error_msg


@pytest.fixture
def desk(tmp_path):
    made = Desk(tmp_path)
    yield made
    made.database.close()


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """What we answer to each of the golden statements, asked in their order."""
    desk, found = Desk(tmp_path_factory.mktemp("golden")), []
    for statement in GOLDEN:
        try:
            names, rows = desk.ask(statement["sql"])
            found.append({"ok": True, "columns": names, "rows": rows})
        except TDBException as refused:
            found.append(
                {"ok": False, "error": type(_translate_exception(refused)).__name__, "said": refused.error_msg}
            )
    desk.database.close()
    return found


def as_recorded(value):
    return str(value) if isinstance(value, datetime.datetime) else value


def same(ours, theirs):
    """Equal in value and in kind; doubles up to the order in which they were added."""
    if isinstance(theirs, float):
        return type(ours) is float and math.isclose(ours, theirs, rel_tol=1e-12, abs_tol=1e-12)
    return type(ours) is type(theirs) and ours == theirs


@pytest.mark.parametrize("number", range(len(GOLDEN)), ids=[entry["sql"][:60] for entry in GOLDEN])
def test_a_real_server_s_answer_is_ours(answers, number):
    theirs, ours = GOLDEN[number], answers[number]
    assert ours["ok"] == theirs["ok"], ours
    if not theirs["ok"]:
        assert ours["error"] == theirs["error"], ours
        return
    assert ours["columns"] == theirs["columns"]
    if theirs["sql"].startswith(PLANS):
        return
    mine = [[as_recorded(value) for value in row] for row in ours["rows"]]
    wanted = theirs["rows"]
    if "ORDER BY" not in theirs["sql"].upper():
        mine, wanted = sorted(mine, key=repr), sorted(wanted, key=repr)
    assert len(mine) == len(wanted)
    for row, their_row in zip(mine, wanted, strict=True):
        assert all(same(a, b) for a, b in zip(row, their_row, strict=True)), (row, their_row)


def test_all_golden_statements_but_plans_are_compared_whole():
    assert (len(GOLDEN), sum(entry["sql"].startswith(PLANS) for entry in GOLDEN)) == (88, 1)


# --- numbers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("-7 / 2", -3),  # toward zero, not down
        ("7 / -2", -3),
        ("MOD(7, -3)", 1),  # the sign of the first
        ("1.0 / 3", 0.3),  # one digit behind the point, cut off
        ("-2.0 / 3", -0.6),
        ("1.00 / 3.0", 0.33),
        ("0.3 / 0.1", 3.0),  # 2.9999999999999996 in doubles
        ("2.5 * 1.5", 3.75),
        ("CAST(0.5 AS INTEGER)", 1),
        ("CAST(-0.5 AS INTEGER)", -1),
        ("CAST(CAST(2.5 AS DOUBLE) AS INTEGER)", 3),
        ("CAST(CAST(-2.5 AS DOUBLE) AS BIGINT)", -3),
        ("CAST('12' AS SMALLINT) + 1", 13),
        ("2147483647 * 2", 4294967294),
        ("ABS(-3)", 3),
        ("GREATEST(2, 1)", 2),
        ("LOG(EXP(1))", 1.0),
        ("CASE WHEN 1 > 2 THEN 1 END", None),
        ("CASE 2 WHEN 1 THEN 'a' WHEN 2 THEN 'b' END", "b"),
        ("NULLIF(1, 1)", None),
        ("1 = 1 AND NOT 2 < 1", 1),
        ("3 BETWEEN 1 AND 2", 0),
        ("2 IN (1, 2)", 1),
        ("'a' || NULL", None),
        ("LENGTH('abc')", 3),
        ("SUBSTRING('abcdef' FROM 2 FOR 3)", "bcd"),
    ],
)
def test_an_expression_has_heavydb_s_value(desk, expression, value):
    ours = desk.one(expression)
    assert same(ours, value), ours


@pytest.mark.parametrize(
    "expression", ["1 / 0", "1 / 0.0", "CAST(1 AS DOUBLE) / 0", "MOD(1, 0)", "CAST(40000 AS SMALLINT)"]
)
def test_what_has_no_value_is_an_error(desk, expression):
    assert "SQL Error" not in desk.refusal(f"SELECT {expression}")


def test_whole_numbers_in_columns_don_t_grow_when_they_are_added(desk):
    desk.ask("CREATE TABLE n (a INTEGER, b BIGINT)")
    desk.ask("INSERT INTO n VALUES (2147483647, 9223372036854775807)")
    assert "verflow" in desk.refusal("SELECT a + a FROM n")
    assert "verflow" in desk.refusal("SELECT b + 1 FROM n")
    assert desk.rows("SELECT CAST(a AS BIGINT) + a FROM n") == [[4294967294]]
    assert desk.refusal("SELECT SUM(b) + SUM(b) FROM n")


# --- times -------------------------------------------------------------------------------------------------

AT = "TIMESTAMP '2026-03-31 23:59:30'"


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        (f"DATE_TRUNC(DAY, {AT})", "2026-03-31 00:00:00"),
        (f"DATE_TRUNC('week', {AT})", "2026-03-30 00:00:00"),  # a Monday
        (f"DATEADD('month', 1, {AT})", "2026-04-30 23:59:30"),  # April has 30 days
        (f"TIMESTAMPADD(HOUR, -24, {AT})", "2026-03-30 23:59:30"),
        (f"{AT} - INTERVAL '30' SECOND", "2026-03-31 23:59:00"),
        (f"DATEDIFF('minute', {AT}, TIMESTAMP '2026-04-01 00:01:29')", 1),  # 119 s
        (f"TIMESTAMPDIFF(MINUTE, TIMESTAMP '2026-04-01 00:01:29', {AT})", -1),
        (f"EXTRACT(EPOCH FROM {AT})", 1775001570),
        (f"EXTRACT(ISODOW FROM {AT})", 2),
        (f"CAST({AT} AS BIGINT)", 1775001570),
        ("CAST(1775001570 AS TIMESTAMP(0))", "2026-03-31 23:59:30"),
        (f"{AT} = '2026-03-31 23:59:30'", 1),
        (f"CAST({AT} AS TEXT)", "2026-03-31 23:59:30"),
    ],
)
def test_a_time_is_reckoned_as_heavydb_does(desk, expression, value):
    assert as_recorded(desk.one(expression)) == value


def test_the_epoch_of_the_examples_is_right():
    assert datetime.datetime(2026, 3, 31, 23, 59, 30, tzinfo=datetime.UTC).timestamp() == 1775001570


def test_now_is_utc_and_whole_seconds(desk):
    before = datetime.datetime.now(datetime.UTC).replace(tzinfo=None, microsecond=0)
    now = desk.one("NOW()")
    assert before <= now <= before + datetime.timedelta(seconds=30)
    assert now.microsecond == 0


# --- queries -----------------------------------------------------------------------------------------------


@pytest.fixture
def readings(desk):
    desk.ask("CREATE TABLE r (meter INTEGER, ts TIMESTAMP(0) ENCODING FIXED(32), wh INTEGER, zone TEXT)")
    desk.ask(
        "INSERT INTO r VALUES (1, '2026-07-01 00:00:00', 10, 'A'), (1, '2026-07-01 00:05:00', 20, 'A'), "
        "(2, '2026-07-01 00:00:00', 5, 'B'), (2, '2026-07-01 00:05:00', NULL, 'B')"
    )
    return desk


@pytest.mark.parametrize(
    ("sql", "columns", "rows"),
    [
        ("SELECT meter, meter, 1, 2 FROM r WHERE wh = 5", ["meter", "meter0", "EXPR$2", "EXPR$3"], [[2, 2, 1, 2]]),
        ("SELECT wh FROM r ORDER BY wh", ["wh"], [[5], [10], [20], [None]]),
        ("SELECT wh FROM r ORDER BY wh DESC", ["wh"], [[None], [20], [10], [5]]),
        ("SELECT wh FROM r ORDER BY wh NULLS FIRST LIMIT 1", ["wh"], [[None]]),
        ("SELECT meter * 10 AS k, SUM(wh) FROM r GROUP BY k ORDER BY 1", ["k", "EXPR$1"], [[10, 30], [20, 5]]),
        ("SELECT zone, COUNT(*) FROM r GROUP BY 1 HAVING SUM(wh) > 20", ["zone", "EXPR$1"], [["A", 2]]),
        ("SELECT zone, SUM(wh) AS wh FROM r GROUP BY zone HAVING SUM(wh) > 5", ["zone", "wh"], [["A", 30]]),
        ("SELECT zone, SUM(wh) AS s FROM r GROUP BY zone HAVING s > 5", ["zone", "s"], [["A", 30]]),
        ("SELECT DATE_TRUNC(HOUR, ts) AS ts, SUM(wh) AS s FROM r GROUP BY ts",
         ["ts", "s"], [[datetime.datetime(2026, 7, 1), 35]]),
        ("SELECT x.wh FROM r x JOIN r y ON x.meter = y.meter AND y.wh = 5 ORDER BY 1", ["wh"], [[5], [None]]),
        ("SELECT COUNT(*) FROM r, (SELECT DISTINCT zone FROM r)", ["EXPR$0"], [[8]]),
        ("WITH a(k) AS (SELECT meter FROM r), b AS (SELECT k FROM a) SELECT MAX(k) FROM b", ["EXPR$0"], [[2]]),
        ("SELECT wh FROM r WHERE wh = (SELECT MAX(wh) FROM r)", ["wh"], [[20]]),
        ("SELECT 1 AS a UNION ALL SELECT 2.5 ORDER BY a DESC", ["a"], [[2.5], [1.0]]),
        ("SELECT COUNT(*) FROM r WHERE zone IS NOT NULL AND ts < '2026-07-01 00:05:00'", ["EXPR$0"], [[2]]),
        ("SELECT SUM(wh), AVG(wh) FROM r WHERE meter = 9", ["EXPR$0", "EXPR$1"], [[None, None]]),
        ("SELECT COUNT(*) FILTER (WHERE wh IS NULL) FROM r", ["EXPR$0"], [[1]]),
        ("SELECT * FROM (SELECT meter, RANK() OVER (ORDER BY SUM(wh)) k FROM r GROUP BY meter) WHERE k = 1",
         ["meter", "k"], [[2, 1]]),
        ("SELECT METER FROM R WHERE Zone = 'B' LIMIT 1", ["METER"], [[2]]),
        ('SELECT wh AS "value" FROM r WHERE wh = 5', ["value"], [[5]]),
        ('SELECT "meter" AS "a b" FROM heavyai.r LIMIT 1 OFFSET 3', ["a b"], [[2]]),
    ],
)  # fmt: skip
def test_a_query_gives_heavydb_s_columns_and_rows(readings, sql, columns, rows):
    assert readings.ask(sql) == (columns, rows)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT wh FROM r QUALIFY ROW_NUMBER() OVER (ORDER BY ts) = 1",
        "SELECT DISTINCT ON (meter) wh FROM r",
        "SELECT wh::DOUBLE FROM r",
        "SELECT arg_max(wh, ts) FROM r",
        "SELECT list(wh) FROM r",
        "SELECT strftime(ts, '%Y') FROM r",
        "SELECT read_csv('/etc/passwd')",
        "SELECT PERCENTILE_CONT(0.5) WITHIN GROUP (ORDER BY wh) FROM r",
        "INSERT INTO r VALUES (1, '2026-07-01 00:00:00', 1, 'A') ON CONFLICT DO NOTHING",
        "INSERT INTO r VALUES (1, '2026-07-01 00:00:00', 1)",
        "CREATE OR REPLACE VIEW v AS SELECT 1 AS a",
        "CREATE TABLE t (a INTEGER PRIMARY KEY)",
        "SELECT wh FROM r GROUP BY meter",
        "SELECT wh AS a, a + 1 FROM r",
        "SELECT wh FROM r WHERE SUM(wh) > 1",
        "SELECT wh + zone FROM r",
        "SELECT wh FROM r WHERE wh",
        "SELECT wh FROM r WHERE wh = '10'",
        "SELECT wh FROM r, r x",
        "SELECT wh FROM r JOIN s ON TRUE",
        "SELECT LAG(wh) FROM r",
        "SELECT wh AS value FROM r",
        "SELECT wh start FROM r",
        "SELECT DATE_TRUNC(DAY, ts) AS day FROM r",
        "CREATE TABLE t (hour INTEGER)",
        "WITH result AS (SELECT wh FROM r) SELECT wh FROM result",
        "SELECT 1; SELECT 2",
        "SELECT 'a",
        "SELEC 1",
        "",
    ],
)
def test_what_heavydb_does_not_know_is_a_programming_error(readings, sql):
    assert readings.refusal(sql).startswith("SQL Error: ")


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT wh FROM r UNION SELECT 1",
        "SELECT REGEXP_REPLACE(zone, 'A', 'B') FROM r",
        "SELECT * FROM r FULL JOIN r x ON r.meter = x.meter",
        "SELECT MIN(zone) FROM r",
        "SELECT SUM(DISTINCT wh) FROM r",
        "SELECT DATE_TRUNC(millisecond, ts) FROM r",
        "SELECT meter, SUM(wh) FROM r GROUP BY ROLLUP(meter)",
        "CREATE TEMPORARY TABLE t (a INTEGER)",
        "CREATE TABLE t (a INTEGER[])",
        "COPY r FROM '/etc/passwd'",
        "CREATE USER eve (password = 'x')",
    ],
)
def test_what_the_stand_in_lacks_it_says_so(readings, sql):
    assert "the stand-in for HeavyDB doesn't support" in readings.refusal(sql)


def test_a_correlation_is_wrong_where_one_side_is_null_as_heavydb_s_is(readings):
    # x = 1 1 2 2, y = 10 20 5 NULL: E[xy] = (10+20+10)/3, E[x] = 1.5 over four rows, E[y] = 35/3 over three
    covariance = 40 / 3 - 1.5 * 35 / 3
    deviations = 0.5 * math.sqrt((100 + 400 + 25) / 3 - (35 / 3) ** 2)
    ((ours,),) = readings.rows("SELECT CORR(meter, wh) FROM r")
    assert math.isclose(ours, covariance / deviations, rel_tol=1e-12)


# --- tables ------------------------------------------------------------------------------------------------


def test_a_table_s_options_are_kept_and_shown(desk):
    desk.ask(
        "CREATE TABLE t (meter INTEGER NOT NULL, ts TIMESTAMP(0) ENCODING FIXED(32), day_ DATE, kwh DECIMAL(9,3), "
        "name TEXT ENCODING DICT(16), note TEXT ENCODING NONE, SHARD KEY (meter)) "
        "WITH (fragment_size = 1000, shard_count = 4, sort_column = 'ts', max_rows = 5000)"
    )
    ((shown,),) = desk.rows("SHOW CREATE TABLE t")
    assert shown == (
        "CREATE TABLE t (\n  meter INTEGER NOT NULL,\n  ts TIMESTAMP(0) ENCODING FIXED(32),\n"
        "  day_ DATE ENCODING DAYS(32),\n  kwh DECIMAL(9,3),\n  name TEXT ENCODING DICT(16),\n"
        "  note TEXT ENCODING NONE,\n  SHARD KEY (meter))\n"
        "WITH (FRAGMENT_SIZE=1000, MAX_ROWS=5000, SHARD_COUNT=4, SORT_COLUMN='ts');"
    )
    details = desk.service.get_table_details(desk.session, "t")
    assert (details.fragment_size, details.max_rows, details.shard_count) == (1000, 5000, 4)
    assert [column.col_type.comp_param for column in details.row_desc] == [0, 32, 32, 0, 16, 0]
    assert not details.row_desc[0].col_type.nullable
    desk.ask("DROP TABLE t")
    desk.ask(shown.rstrip(";"))
    assert desk.rows("SHOW CREATE TABLE t") == [[shown]]


@pytest.mark.parametrize(
    "column",
    [
        "a INTEGER ENCODING FIXED(32)",
        "a INTEGER ENCODING FIXED(12)",
        "a SMALLINT ENCODING FIXED(16)",
        "a BIGINT ENCODING FIXED(64)",
        "a TIMESTAMP(3) ENCODING FIXED(32)",
        "a TIMESTAMP(0) ENCODING FIXED(16)",
        "a TEXT ENCODING DICT(24)",
        "a TEXT ENCODING FIXED(8)",
        "a DOUBLE ENCODING FIXED(32)",
        "a DATE ENCODING DAYS(8)",
        "a TIMESTAMP(1)",
    ],
)
def test_an_encoding_that_heavydb_lacks_is_refused(desk, column):
    assert desk.refusal(f"CREATE TABLE t ({column})")
    assert desk.rows("SHOW TABLES") == []


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("INTEGER ENCODING FIXED(16)", "32768"),
        ("INTEGER ENCODING FIXED(8)", "-128"),  # stands for NULL
        ("INTEGER", "2147483648"),
        ("INTEGER", "-2147483648"),
        ("TINYINT", "128"),
        ("TIMESTAMP(0) ENCODING FIXED(32)", "'2038-01-19 03:14:08'"),  # second 2^31
        ("INTEGER NOT NULL", "NULL"),
        ("DECIMAL(4,2)", "100"),
    ],
)
def test_what_a_column_cannot_hold_is_refused_with_the_whole_statement(desk, kind, value):
    desk.ask(f"CREATE TABLE t (k INTEGER, a {kind})")
    good = "'2026-01-01 00:00:00'" if kind.startswith("TIMESTAMP") else "1"
    assert desk.refusal(f"INSERT INTO t VALUES (1, {good}), (2, {value})")
    assert desk.rows("SELECT COUNT(*) FROM t") == [[0]]


def test_tables_change_and_views_follow(readings):
    readings.ask("CREATE VIEW v AS SELECT zone, SUM(wh) AS s FROM r GROUP BY zone")
    assert readings.rows("SELECT s FROM v ORDER BY zone") == [[30], [5]]
    assert readings.service.get_views(readings.session) == ["v"]
    assert readings.service.get_tables(readings.session) == ["r", "v"]
    readings.ask("UPDATE r SET wh = wh * 2, zone = 'C' WHERE meter = 2")
    assert readings.rows("SELECT zone, s FROM v ORDER BY zone") == [["A", 30], ["C", 10]]
    assert "already exists" in readings.refusal("CREATE VIEW v AS SELECT 1 AS a")
    assert "is a view" in readings.refusal("DROP TABLE v")
    assert "is a view" in readings.refusal("INSERT INTO v VALUES ('A', 1)")
    readings.ask("ALTER TABLE r ADD COLUMN (q SMALLINT, p DOUBLE)")
    readings.ask("ALTER TABLE r RENAME COLUMN q TO quality")
    assert readings.ask("SELECT quality, p FROM r LIMIT 1") == (["quality", "p"], [[None, None]])
    readings.ask("ALTER TABLE r DROP COLUMN p")
    readings.ask("DROP VIEW v")
    readings.ask("DROP VIEW IF EXISTS v")
    readings.ask("ALTER TABLE r RENAME TO kept")
    assert readings.service.get_tables(readings.session) == ["kept"]
    assert "Object 'r' not found" in readings.refusal("SELECT * FROM r")


def test_a_view_follows_a_table_that_is_made_anew(readings):
    readings.ask("CREATE VIEW v AS SELECT MAX(wh) AS most FROM r")
    readings.ask("DROP TABLE r")
    assert "Object 'r' not found" in readings.refusal("SELECT most / 4 FROM v")
    readings.ask("CREATE TABLE r (wh DOUBLE)")
    readings.ask("INSERT INTO r VALUES (1)")
    assert readings.rows("SELECT most / 4 FROM v") == [[0.25]]


def test_declarations_outlive_the_program(desk, tmp_path):
    desk.ask("CREATE TABLE t (a INTEGER ENCODING FIXED(16), name TEXT ENCODING DICT(8)) WITH (fragment_size = 7)")
    desk.ask("CREATE VIEW v AS SELECT a + 1 AS b FROM t")
    desk.ask("INSERT INTO t VALUES (41, 'x')")
    (before,) = desk.rows("SHOW CREATE TABLE t")
    desk.database.close()
    again = Desk(tmp_path)
    assert again.rows("SELECT b FROM v") == [[42]]
    assert again.rows("SHOW CREATE TABLE t") == [before]
    assert "verflow" in again.refusal("INSERT INTO t VALUES (40000, 'y')")
    again.database.close()
    desk.database = Database(tmp_path)


def test_a_failed_definition_leaves_nothing(desk):
    desk.ask("CREATE TABLE t (a INTEGER)")
    desk.ask("INSERT INTO t VALUES (0)")
    assert desk.refusal("CREATE TABLE copy_ AS SELECT 1 / a AS b FROM t")
    assert desk.rows("SHOW TABLES") == [["t"]]
    desk.ask("CREATE TABLE copy_ AS SELECT a AS b FROM t WITH (fragment_size = 9)")
    assert desk.rows("SELECT b FROM copy_") == [[0]]


# --- the service -------------------------------------------------------------------------------------------


def test_only_the_right_password_opens_a_session(desk):
    for user, password, database in (("admin", "wrong", "heavyai"), ("eve", PASSWORD, "heavyai"), ("admin", "", "")):
        with pytest.raises(TDBException, match="Authentication failure"):
            desk.service.connect(user, password, database)
    with pytest.raises(TDBException, match="does not exist"):
        desk.service.connect("admin", PASSWORD, "other")


def test_a_session_ends_at_disconnect_and_after_silence():
    now = [0.0]
    sessions = Sessions(PASSWORD, clock=lambda: now[0])
    one, other = (sessions.begin("admin", PASSWORD, "heavyai") for _ in range(2))
    sessions.end(one)
    with pytest.raises(StatementError, match="Session not valid"):
        sessions.get(one)
    now[0] = IDLE_SECONDS - 1
    assert sessions.get(other).user == "admin"
    now[0] += IDLE_SECONDS - 1
    sessions.get(other)
    now[0] += IDLE_SECONDS + 1
    with pytest.raises(StatementError, match="Session not valid"):
        sessions.get(other)


def test_no_call_works_without_a_session(desk):
    desk.service.disconnect(desk.session)
    for call in (
        lambda: desk.ask("SELECT 1"),
        lambda: desk.service.get_tables(desk.session),
        lambda: desk.service.load_table(desk.session, "t", [], []),
        lambda: desk.service.load_table_binary_arrow(desk.session, "t", b"", False),
    ):
        with pytest.raises(TDBException, match="Session not valid"):
            call()


def test_rows_that_waited_don_t_come_after_their_session_has_ended(desk):
    desk.ask("CREATE TABLE t (a INTEGER)")
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, pa.schema([("a", pa.int32())])) as writer:
        writer.write_table(pa.table({"a": pa.array([1], pa.int32())}))
    other, said = desk.service.connect("admin", PASSWORD, "heavyai"), []

    def load():
        try:
            desk.service.load_table_binary_arrow(other, "t", sink.getvalue().to_pybytes(), False)
        except TDBException as refused:
            said.append(refused.error_msg)

    with desk.database._writing:  # as another writer has it
        loading = threading.Thread(target=load)
        loading.start()
        desk.service.disconnect(other)
    loading.join()
    assert said == ["Session not valid."]
    assert desk.rows("SELECT COUNT(*) FROM t") == [[0]]


def test_it_says_in_its_version_that_it_is_a_stand_in(desk):
    assert desk.service.get_version().endswith("-negawatt-standin")
    assert "not HeavyDB" in desk.service.get_server_status(desk.session).edition


def test_text_comes_in_dictionaries_and_times_in_seconds(readings):
    sent = readings.service.sql_execute_df(readings.session, "SELECT * FROM r", 0, 0, -1, 1)
    table = pa.ipc.open_stream(sent.df_buffer).read_all()
    assert [field.type for field in table.schema] == [
        pa.int32(),
        pa.timestamp("s"),
        pa.int32(),
        pa.dictionary(pa.int32(), pa.string()),
    ]
    assert table.column("zone").to_pylist() == ["A", "A", "B", "B"]


@pytest.mark.parametrize(
    ("expression", "kind"),
    [
        ("COUNT(*)", pa.int32()),
        ("SUM(wh)", pa.int64()),
        ("AVG(wh)", pa.float64()),
        ("MAX(wh)", pa.int32()),
        ("SUM(wh) / 2", pa.int64()),
        ("MAX(ts)", pa.timestamp("s")),
        ("MAX(DATE_TRUNC(HOUR, ts))", pa.timestamp("s")),
        ("COUNT(*) > 1", pa.bool_()),
        ("SUM(wh) * 1.5", pa.decimal128(18, 1)),
        ("CAST(MAX(ts) AS DATE)", pa.date32()),
        ("APPROX_COUNT_DISTINCT(meter)", pa.int64()),
    ],
)
def test_a_result_s_type_is_heavydb_s(readings, expression, kind):
    sent = readings.service.sql_execute_df(readings.session, f"SELECT {expression} AS x FROM r", 0, 0, -1, 1)
    assert pa.ipc.open_stream(sent.df_buffer).read_all().schema.field("x").type == kind


def test_unsupported_is_an_error_of_its_own():
    assert issubclass(UnsupportedError, StatementError)
