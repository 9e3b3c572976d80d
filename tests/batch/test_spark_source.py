"""Analysts' own SQL over the batch store."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from stores import DAY, ESTIMATED, FIRST, Row, a_batch

from batch import spark_source
from batch.parquet_store import ParquetStore
from batch.spark_source import Selection
from domain.readings import Quality, Register

pytestmark = pytest.mark.stack

MINUTES = 60
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
START = EPOCH + timedelta(hours=FIRST)


def some_rows():
    random = np.random.default_rng(3)
    return [
        Row(f"home {n}", FIRST + hour, int(random.integers(0, 500)), int(random.integers(1, 3)), int(hour % 7 == 0))
        for n in range(12)
        for hour in range(5 * DAY)
        if random.random() < 0.9
    ]


ROWS = some_rows()
EXPORTED = [Row("home 3", FIRST + DAY + hour, hour) for hour in range(DAY)]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    store = ParquetStore(tmp_path_factory.mktemp("source") / "store", buckets=4)
    store.append([a_batch(ROWS[::2], MINUTES), a_batch(EXPORTED, MINUTES, Register.EXPORT)])
    store.append([a_batch(ROWS[1::2], MINUTES)])  # both files have all days, to be merged
    return store


@pytest.fixture
def ask(spark, store):
    """Run SQL on a view ``readings`` of the store; rows as tuples."""

    def ask(sql, **options):
        spark_source.register(spark)
        spark.conf.set("spark.sql.session.timeZone", "Asia/Seoul")
        frame = spark.read.format("negawatt").option("store", store.url)
        for name, value in options.items():
            frame = frame.option(name.rstrip("_"), value)
        frame.load().createOrReplaceTempView("readings")
        return [tuple(row) for row in spark.sql(sql).toArrow().to_pylist() for row in [row.values()]]

    return ask


def as_row(row, register="import"):
    quality = "estimated" if row.quality == ESTIMATED else "actual"
    return row.meter, EPOCH + timedelta(hours=row.slot), row.wh, quality, row.revision, register


def test_each_reading_is_a_row(ask):
    found = ask("SELECT * FROM readings")
    assert sorted(found) == sorted([as_row(r) for r in ROWS] + [as_row(r, "export") for r in EXPORTED])


def test_sums_are_those_of_the_readings(ask):
    found = dict(ask("SELECT meter, sum(wh) FROM readings WHERE register = 'import' GROUP BY meter"))
    assert found == {f"home {n}": sum(r.wh for r in ROWS if r.meter == f"home {n}") for n in range(12)}


def test_from_and_to_are_a_half_open_window(ask):
    first, end = START + timedelta(hours=30), START + timedelta(days=3)
    found = ask("SELECT * FROM readings", from_=first.isoformat(), to=end.date().isoformat(), register="import")
    assert sorted(found) == sorted(as_row(r) for r in ROWS if FIRST + 30 <= r.slot < FIRST + 3 * DAY)


@pytest.mark.parametrize(
    ("where", "keep"),
    [
        ("meter = 'home 3'", lambda r: r.meter == "home 3"),
        ("meter IN ('home 3', 'home 5', 'nobody')", lambda r: r.meter in ("home 3", "home 5")),
        ("meter = 'home 3' AND meter = 'home 4'", lambda r: False),
        ("register = 'import' AND wh > 250", lambda r: r.wh > 250),
        ("meter LIKE 'home 1%'", lambda r: r.meter.startswith("home 1")),
        ("quality = 'estimated'", lambda r: r.quality == Quality.ESTIMATED),
        ("meter = 'home 3' OR wh = 7", lambda r: r.meter == "home 3" or r.wh == 7),
    ],
)
def test_filters_give_what_they_say(ask, where, keep):
    found = ask(f"SELECT * FROM readings WHERE ({where}) AND register = 'import'")
    assert sorted(found) == sorted(as_row(r) for r in ROWS if keep(r))


@pytest.mark.parametrize("sign", ["=", "<", "<=", ">", ">="])
def test_times_are_compared_to_the_instant_whatever_the_sessions_zone(ask, sign):
    at = START + timedelta(hours=40)
    keep = {"=": lambda t: t == at, "<": lambda t: t < at, "<=": lambda t: t <= at}
    keep |= {">": lambda t: t > at, ">=": lambda t: t >= at}
    seoul = (at + timedelta(hours=9)).strftime("%Y-%m-%d %H:%M:%S")
    found = ask(f"SELECT * FROM readings WHERE interval_start {sign} '{seoul}' AND register = 'import'")
    assert sorted(found) == sorted(row for row in map(as_row, ROWS) if keep[sign](row[1]))


def test_what_a_query_says_of_meters_and_times_does_not_reach_spark(spark, store):
    spark_source.register(spark)
    frame = spark.read.format("negawatt").option("store", store.url).load()
    query = frame.where("meter = 'home 3' AND interval_start >= '2025-01-01' AND register = 'import' AND wh > 3")
    plan = query._jdf.queryExecution().executedPlan().toString()
    left = re.search(r"Filter (.*)", plan)[1]
    assert "wh" in left
    assert "home 3" not in left
    assert "interval_start" not in left
    assert query.rdd.getNumPartitions() == 1  # the bucket of home 3


def test_a_schema_that_names_few_columns_makes_only_those(spark, store):
    spark_source.register(spark)
    frame = spark.read.format("negawatt").schema("wh int, meter string").option("store", store.url).load()
    assert frame.columns == ["wh", "meter"]
    total = frame.toArrow().column("wh").to_pylist()
    assert sum(total) == sum(r.wh for r in [*ROWS, *EXPORTED])


def test_an_empty_store_is_an_empty_table(spark, tmp_path):
    spark_source.register(spark)
    frame = spark.read.format("negawatt").option("store", str(ParquetStore(tmp_path / "none").folder)).load()
    assert frame.count() == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "no store was named"),
        ({"form": "2025-01-01"}, "option 'form' is unknown"),
        ({"from": "yesterday"}, "option 'from' is 'yesterday': expected a date"),
        ({"register": "both"}, "register 'both': expected import or export"),
        ({"interval": "7"}, "interval of 7 minutes"),
    ],
)
def test_an_option_that_cannot_be_says_so(spark, store, options, said):
    spark_source.register(spark)
    reader = spark.read.format("negawatt")
    for name, value in ({"store": store.url} if options else {}).items() | options.items():
        reader = reader.option(name, value)
    with pytest.raises(Exception, match=re.escape(said)):
        reader.load().count()


def test_a_store_of_two_intervals_asks_for_one(spark, tmp_path):
    store = ParquetStore(tmp_path / "store")
    store.append([a_batch([Row("a", 1, 1)], 60), a_batch([Row("a", 1, 2)], 30)])
    spark_source.register(spark)
    reader = spark.read.format("negawatt").option("store", store.url)
    with pytest.raises(Exception, match=r"several intervals: choose one, .option\(\"interval\", 30 or 60\)"):
        reader.load().count()
    assert [row.wh for row in reader.option("interval", "30").load().collect()] == [2]


def test_the_examples_of_the_page_run(spark, store):
    page = (Path(__file__).parents[2] / "docs" / "spark.md").read_text()
    names = {"session": spark, "store": store.url}
    blocks = re.findall(r"^```py spark\n(.*?)^```$", page, flags=re.DOTALL | re.MULTILINE)
    assert len(blocks) == 2
    for block in blocks:
        exec(block, names)


def test_a_filter_that_is_not_understood_is_left_to_spark():
    from pyspark.sql.datasource import EqualTo, Not

    assert Selection().narrowed(Not(EqualTo(("meter",), "a"))) is None
    assert Selection().narrowed(EqualTo(("wh",), 3)) is None
