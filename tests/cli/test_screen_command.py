"""``negawatt screen``, as someone at a terminal uses it."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pyarrow.parquet as pq
import pytest
from terminal import Terminal

from negawatt.demo import demo_wallet
from negawatt.screening import screen
from negawatt.settings import Settings

SEOUL = ZoneInfo("Asia/Seoul")
FIRST, LAST = date(2025, 7, 16), date(2025, 9, 28)
"""The last is a Sunday; Liberation Day is the one holiday between them."""


def usage(meter: str, day: date, clock: int) -> int:
    """``calm`` is always the same; ``wild`` uses 400 or 1600 in the evening, by turns of weekdays."""
    if meter == "calm" or clock < 16:
        return 1000
    weeks, weekday = divmod((day - FIRST).days + 2, 7)
    return (400, 1600)[(5 * weeks + weekday) % 2]


def call_event(
    terminal: Terminal, name: str, day: str, start: str, end: str, programme: str = "kpx-max-4-of-5"
) -> None:
    text = f'id = "{name}"\nprogramme = "{programme}"\nstart = {day}T{start}+09:00\nend = {day}T{end}+09:00\n'
    terminal.write(f"workspace/events/{name}.toml", text)


@pytest.fixture
def terminal(tmp_path) -> Terminal:
    """In a workspace with hourly readings of two homes; a third has none."""
    terminal = Terminal(tmp_path / "workspace")
    lines = ["meter,interval_start,import_wh"]
    for meter in ("calm", "wild"):
        for n in range((LAST - FIRST).days + 1):
            day = FIRST + timedelta(days=n)
            for clock in range(24):
                start = datetime(day.year, day.month, day.day, clock, tzinfo=SEOUL).astimezone(UTC)
                lines.append(f"{meter},{start:%Y-%m-%dT%H:%MZ},{usage(meter, day, clock)}")
    homes = [f"{meter},1000,{demo_wallet(meter)}" for meter in ("calm", "new", "wild")]
    terminal.run(
        "ingest",
        "--resources",
        terminal.write("homes.csv", "meter,contracted_w,wallet", *homes),
        terminal.write("readings.csv", *lines),
    )
    return terminal


def test_the_command_explains_itself(terminal):
    said = terminal.run("screen", "--help")
    for words in ("--from-time", "--with", "RRMSE", "--json"):
        assert words in said


def test_each_home_gets_its_best_rule_and_what_is_to_be_known(terminal):
    done = terminal.json("screen", "kpx-max-4-of-5")
    assert (done["window"], done["zone"], done["day_type"]) == ("17:00-18:00", "Asia/Seoul", "weekday")
    # Six weeks of weekdays up to Sunday the 28th.
    assert (done["proxy_days"], done["first_day"], done["last_day"]) == (30, "2025-08-18", "2025-09-26")
    assert (done["resources"], done["fits"], done["own_fits"]) == (3, 1, 1)
    assert done["findings"]["baseline.few_days"] == done["findings"]["baseline.poor_fit"] == 1
    assert [one["baseline"] for one in done["baselines"]] == [
        "KPX Max(4/5)",
        "KPX Max(4/5), unadjusted",
        "KPX Mid(6/10)",
        "KPX Mid(6/10), unadjusted",
    ]
    assert [one["compared"] for one in done["baselines"]] == [2, 2, 2, 2]
    assert [row["meter"] for row in done["worst"]] == ["wild", "new"]


def test_the_numbers_are_those_of_a_hand_calculation(terminal):
    """A plain mean of ten days, by a programme of one's own: ``wild`` is off by 600 of 1000 each day, 60 %."""
    rule = """id = "plain"
title = "ten in ten"
source = "a test"
zone = "Asia/Seoul"
holidays = "KR"
currency = { code = "DRC", decimals = 2 }
[[terms]]
valid_from = 2025-01-01
dispute_window_minutes = 0
payment = { rate_per_kwh = "1", paid_share_max_pct = 100, shortfall_tolerance_pct = 100 }
[[terms.baselines]]
label = "10 in 10"
day_types = ["weekday"]
method = "trimmed-mean"
days = 10
look_back_days = 30
"""
    terminal.write("workspace/programmes/plain.toml", rule)
    done = terminal.json("screen", "plain", "--days", "20")
    (row,) = (row for row in done["worst"] if row["meter"] == "wild")
    assert done["proxy_days"] == 20
    assert (row["own_rrmse_pct"], row["own_bias_pct"], row["own_variability_pct"]) == (60.0, 0.0, 60.0)
    assert (row["best"], row["rrmse_pct"], row["actual_wh"], row["days"]) == ("10 in 10", 60.0, 20_000, 20)
    assert row["findings"] == ["baseline.poor_fit"]
    assert "10 in 10" in [one["baseline"] for one in terminal.json("screen", "kpx-max-4-of-5")["baselines"]]


def test_the_file_has_every_home_with_every_rule_and_comes_out_the_same_again(terminal):
    done = terminal.json("screen", "kpx-max-4-of-5")
    expected = terminal.workspace.folder / "screening" / "kpx-max-4-of-5" / "2025-09-28-weekday.parquet"
    assert done["file"] == str(expected)
    first = expected.read_bytes()
    rows = {row["meter"]: row for row in pq.read_table(expected).to_pylist()}
    assert sorted(rows) == ["calm", "new", "wild"]
    assert (rows["calm"]["best"], rows["calm"]["rrmse_pct"], rows["calm"]["fits"]) == ("KPX Max(4/5)", 0.0, True)
    assert (rows["new"]["best"], rows["new"]["rrmse_pct"], rows["new"]["findings"]) == (
        None,
        None,
        ["baseline.few_days"],
    )
    assert [one["days"] for one in rows["wild"]["baselines"]] == [30, 30, 30, 30]
    terminal.json("screen", "kpx-max-4-of-5")
    assert expected.read_bytes() == first


def test_the_usual_window_is_that_of_most_events_and_their_days_stand_for_none(terminal):
    call_event(terminal, "e1", "2025-09-24", "18:00:00", "20:00:00")
    call_event(terminal, "e2", "2025-09-17", "18:00:00", "20:00:00")
    call_event(terminal, "e3", "2025-09-25", "10:00:00", "11:00:00")
    call_event(terminal, "e4", "2025-09-26", "09:00:00", "10:00:00", programme="kpx-mid-6-of-10")
    done = terminal.json("screen", "kpx-max-4-of-5")
    assert done["window"] == "18:00-20:00"
    # Four days of events fewer, so four more before 18 August; Liberation Day, the 15th, is none of them.
    assert (done["proxy_days"], done["last_day"], done["first_day"]) == (30, "2025-09-23", "2025-08-11")
    chosen = terminal.json("screen", "kpx-max-4-of-5", "--from-time", "16:00", "--to-time", "17:00")
    assert chosen["window"] == "16:00-17:00"


def test_rules_of_other_calendars_are_compared_when_they_are_named(terminal):
    done = terminal.json("screen", "kpx-max-4-of-5", "--with", "pjm-high-4-of-5", "--day", "2025-09-19")
    assert [one["programme"] for one in done["baselines"]][-2:] == ["pjm-high-4-of-5"] * 2
    assert done["last_day"] == "2025-09-19"


def test_the_workspaces_own_rules_count(terminal):
    own = terminal.run("screen", "kpx-max-4-of-5")
    assert "20 %" in own
    rules = """id = "ours"
title = "lax"
accuracy = { limit_pct = 900, source = "a test" }
bias = { limit_pct = 900, source = "a test" }
days = { wanted = 12, fewest = 6, source = "a test" }
"""
    terminal.write("workspace/screening.toml", rules)
    done = terminal.json("screen", "kpx-max-4-of-5")
    assert (done["rules"], done["proxy_days"], done["min_days"], done["fits"]) == ("ours", 12, 6, 2)
    assert terminal.json("screen", "kpx-max-4-of-5", "--days", "5")["min_days"] == 5
    terminal.write("workspace/screening.toml", "id = 'ours'\n")
    assert "screening rules: accuracy: missing" in terminal.run("screen", "kpx-max-4-of-5", exit_code=1)


def test_tables_show_rules_homes_and_where_the_rest_is(terminal):
    said = terminal.run("screen", "kpx-max-4-of-5", "--worst", "1")
    assert "1 of 3 homes by the programme's own rule, 1 by the best for each" in said
    assert "baseline.few_days: 1 homes" in said
    assert "wild" in said
    assert "every home: " in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["kpx"], "programme 'kpx': file: not found"),
        (["kpx-max-4-of-5", "--from-time", "17:00", "--to-time", "17:00"], "is empty"),
        (["kpx-max-4-of-5", "--from-time", "17:00", "--to-time", "17:30"], "readings are every 60 min"),
        (["kpx-max-4-of-5", "--day-type", "sunday"], "has no baseline for a sunday; it has them for: weekday"),
        (["kpx-max-4-of-5", "--day", "2025-01-01"], "no day up to 2025-01-01 can stand for an event"),
    ],
)
def test_what_cannot_be_screened_is_said_in_a_sentence(terminal, words, said):
    assert said in " ".join(terminal.run("screen", *words, exit_code=1).split())


def test_half_a_window_is_a_misunderstanding(terminal):
    assert "go together" in terminal.run("screen", "kpx-max-4-of-5", "--from-time", "17:00", exit_code=2)


def test_days_that_are_not_over_stand_for_none(terminal):
    noon = datetime(2025, 9, 24, 12, tzinfo=SEOUL)
    done = screen(terminal.workspace, Settings(), "kpx-max-4-of-5", now=noon)
    assert done["last_day"] == "2025-09-23"
    json.dumps(done)


@pytest.mark.stack
def test_spark_says_the_same(terminal):
    here = terminal.json("screen", "kpx-max-4-of-5")
    there = terminal.json("screen", "kpx-max-4-of-5", "--on-spark")
    assert {**there, "seconds": 0} == {**here, "seconds": 0}
