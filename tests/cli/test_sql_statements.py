"""What `negawatt sql` takes for a query, and what it refuses."""

from __future__ import annotations

import pytest

from negawatt.sql_statements import (
    StatementError,
    check_reads_only,
    declared,
    limited,
    parameters_of,
    split,
    tokens,
    with_parameters,
)

QUERIES = (
    "SELECT 1",
    "select * from meters where name = 'DROP TABLE meters; --'",
    'SELECT "delete", t.update FROM t',
    "WITH a AS (SELECT 1 AS x) SELECT x FROM a;",
    "(SELECT 1) UNION ALL (SELECT 2)",
    "EXPLAIN SELECT 1",
    "EXPLAIN CALCITE SELECT COUNT(*) FROM meters",
    "EXPLAIN ANALYZE WITH a AS (SELECT 1) SELECT * FROM a",
    "SHOW TABLES",
    "SHOW CREATE TABLE meters",
    "SELECT 1 -- DROP TABLE meters",
    "/* DROP TABLE meters; */ SELECT 1",
    "SELECT 'it''s; so'",
    "SELECT EXPR$0 FROM t",
)

REFUSED = (
    "DROP TABLE meters",
    "SELECT 1; DROP TABLE meters",
    "SELECT 1;;DELETE FROM meters;",
    "WITH a AS (SELECT 1) DELETE FROM meters",
    "WITH a AS (DELETE FROM meters RETURNING *) SELECT * FROM a",
    "INSERT INTO meters VALUES (9, 'x')",
    "UPDATE meters SET name = 'x'",
    "CREATE TABLE t AS SELECT 1",
    "SELECT 1 INTO t",
    "TRUNCATE TABLE meters",
    "ALTER TABLE meters ADD COLUMN q INTEGER",
    "EXPLAIN ANALYZE DELETE FROM meters",
    "EXPLAIN PRAGMA database_list",
    "EXPLAIN ANALYZE (DELETE FROM meters)",
    "COPY meters TO 'meters.csv'",
    "COPY (SELECT 1) TO 'x.csv'",
    "ATTACH 'other.duckdb'",
    "PRAGMA database_list",
    "SET memory_limit = '1GB'",
    "CALL pragma_version()",
    "VACUUM",
    "INSTALL httpfs",
    "EXPORT DATABASE 'folder'",
    "BEGIN",
    "SHOW (DELETE FROM meters)",
    # strings that a store may end elsewhere than this reader does
    r"SELECT E'\'' ; DROP TABLE meters; --'",
    "SELECT $$ ' $$ ; DROP TABLE meters; SELECT $$ ' $$",
    "SELECT $a$ ' $a$ ; DROP TABLE meters; SELECT ' '",
    "SELECT 'open",
    'SELECT "open',
    "SELECT 1 /* open",
    "SELECT 1 -- comment\r; DROP TABLE meters",
    "/* /* nested */ DROP TABLE meters */",
    "",
    ";",
    "-- nothing",
)


@pytest.mark.parametrize("sql", QUERIES)
def test_queries_pass(sql):
    check_reads_only(sql)


@pytest.mark.parametrize("sql", REFUSED)
def test_what_changes_something_or_is_uncertain_is_refused(sql):
    with pytest.raises(StatementError):
        check_reads_only(sql)


def test_a_refusal_says_what_and_what_to_do():
    with pytest.raises(StatementError, match=r'DELETE is refused.*If it is the name of a column, write "DELETE"'):
        check_reads_only("WITH a AS (SELECT 1) DELETE FROM meters")
    with pytest.raises(
        StatementError, match=r"DROP is refused: only queries are run here, .* SELECT, WITH, EXPLAIN or SHOW"
    ):
        check_reads_only("DROP TABLE meters")
    with pytest.raises(StatementError, match="line 2: the quote ' is never closed"):
        tokens("SELECT 1,\n 'a")


def test_statements_are_split_at_semicolons_outside_strings_names_and_comments():
    text = """SELECT ';', ";" -- ;
    /* ; */ FROM t;
    -- the second
    SELECT 2;
    ;
    """
    one, two = split(text)
    assert one.startswith("SELECT ';'")
    assert one.endswith("FROM t")
    assert two.endswith("SELECT 2")
    assert "-- the second" in two


@pytest.mark.parametrize(
    ("sql", "run"),
    [
        ("SELECT a FROM t", "SELECT a FROM t\nLIMIT 10"),
        ("SELECT a FROM t -- all", "SELECT a FROM t -- all\nLIMIT 10"),
        ("SELECT a FROM (SELECT a FROM t LIMIT 99) x", "SELECT a FROM (SELECT a FROM t LIMIT 99) x\nLIMIT 10"),
        ("SELECT a FROM t limit 3", "SELECT a FROM t limit 3"),
        ("SELECT a FROM t LIMIT 30 OFFSET 2", "SELECT a FROM t LIMIT 10 OFFSET 2"),
        ("SELECT a FROM t OFFSET 2", "SELECT a FROM t LIMIT 10 OFFSET 2"),
        ("SELECT 'LIMIT 99'", "SELECT 'LIMIT 99'\nLIMIT 10"),
        ("SHOW TABLES", "SHOW TABLES"),
        ("EXPLAIN SELECT a FROM t", "EXPLAIN SELECT a FROM t"),
    ],
)
def test_a_query_gets_a_limit_and_keeps_a_smaller_one(sql, run):
    assert limited(sql, 10) == run


@pytest.mark.parametrize("sql", ["SELECT 1 LIMIT ALL", "SELECT 1 LIMIT", "SELECT 1 FETCH FIRST 9 ROWS ONLY"])
def test_limits_that_are_no_numbers_are_refused(sql):
    with pytest.raises(StatementError):
        limited(sql, 10)


def test_parameters_become_literals_and_can_be_nothing_else():
    sql = "SELECT ':a', t.b FROM readings_import_:minutes t WHERE name = :who AND ts < :until AND n = :n"
    assert parameters_of(sql) == {"minutes", "who", "until", "n"}
    given = {"minutes": "5", "who": "x'; DROP TABLE meters; --", "until": "2025-07-04T17:00+09:00", "n": "-3"}
    assert with_parameters(sql, given) == (
        "SELECT ':a', t.b FROM readings_import_5 t WHERE name = 'x''; DROP TABLE meters; --' "
        "AND ts < TIMESTAMP '2025-07-04 08:00:00' AND n = -3"
    )
    check_reads_only(with_parameters(sql, given))


def test_times_without_an_offset_are_utc():
    assert with_parameters("SELECT :t", {"t": "2025-07-04 08:00"}) == "SELECT TIMESTAMP '2025-07-04 08:00:00'"


def test_declared_kinds_are_held_to():
    sql = "-- What it is\n-- :day integer = 3  A number.\n-- :who text  A name.\nSELECT :day, :who"
    assert [(p.name, p.kind, p.default) for p in declared(sql)] == [("day", "integer", "3"), ("who", "text", None)]
    assert with_parameters(sql, {"who": "7"}).endswith("SELECT 3, '7'")
    with pytest.raises(StatementError, match="day: 'x': expected a whole number"):
        with_parameters(sql, {"day": "x", "who": "7"})
    with pytest.raises(StatementError, match=r"no value for who \(text: A name\.\); give it by -p who=VALUE"):
        with_parameters(sql, {})
    with pytest.raises(StatementError, match="expected a time as 2025"):
        with_parameters("-- :t timestamp  When.\nSELECT :t", {"t": "yesterday"})
    with pytest.raises(StatementError, match="such as 9 or -5"):
        with_parameters("-- :h hours  Ahead.\nSELECT :h", {"h": "9:00"})
