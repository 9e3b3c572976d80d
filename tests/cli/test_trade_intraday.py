"""A day matched again while it runs: what lies ahead by newer forecasts, what is past to the byte as it was."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from fractions import Fraction

import pytest
from forecast_market import DAY, ForecastMarket

from domain.errors import NegawattError
from negawatt.market_days import read_matched, read_positions, read_statement
from negawatt.market_intraday import first_ahead
from negawatt.trading import match_market

LESS = 400
"""What the roof produces by the newer forecast: 400 - 100 Wh are over in an hour."""


@pytest.fixture
def market(tmp_path) -> ForecastMarket:
    """A day that was matched the evening before."""
    made = ForecastMarket(tmp_path / "workspace")
    made.forecasts()
    match_market(made.workspace, made.settings, DAY, now=made.local(0) - timedelta(hours=6))
    return made


def less_sun(market: ForecastMarket) -> None:
    market.forecasts(roof=lambda start: LESS if market.sunny(start) else 0)


def again(market: ForecastMarket, now: datetime) -> dict:
    done = match_market(market.workspace, market.settings, DAY, now=now)
    assert json.loads(json.dumps(done)) == done  # plain values, for schedulers
    return done


def traded(market: ForecastMarket) -> dict[str, int]:
    return {row["start"][11:16]: row["traded_wh"] for row in market.matched()["intervals"] if row["traded_wh"]}


def test_only_hours_whose_gate_is_open_are_matched_again(market):
    less_sun(market)
    done = again(market, market.local(12, 30))  # 13:00 is 30 minutes ahead
    assert traded(market) == {"10:00": 500, "11:00": 500, "12:00": 500, "13:00": 300, "14:00": 300, "15:00": 300}
    assert done["first_ahead"] == "2025-06-11T13:00:00+02:00"
    market.forecasts()
    again(market, market.local(12, 31))
    assert traded(market)["13:00"] == 300  # too late for it by a minute
    assert traded(market)["14:00"] == 500


def test_the_gate_is_the_markets_to_say(market):
    market.write("market.toml", market.text, "gate_minutes = 0")
    less_sun(market)
    again(market, market.local(13))
    assert traded(market)["12:00"] == 500
    assert traded(market)["13:00"] == 300
    market.write("market.toml", market.text, "gate_minutes = 90")
    market.forecasts()
    again(market, market.local(12, 30))
    assert traded(market)["13:00"] == 300
    assert traded(market)["14:00"] == 500


def test_a_time_without_an_offset_opens_no_gate():
    with pytest.raises(NegawattError, match="add its UTC offset"):
        first_ahead(datetime(2025, 6, 11, 12), 30, 60)


def test_what_is_past_stays_to_the_byte(market):
    text = (market.kept / "matched.json").read_text()
    positions = (market.kept / "positions.csv").read_text()
    before = read_positions(market.workspace, DAY)
    less_sun(market)
    again(market, market.local(12, 30))
    cut = '"start": "2025-06-11T13:00'
    past = text[text.index('"intervals"') : text.index(cut)]
    assert past in (market.kept / "matched.json").read_text()
    morning = [line for line in positions.splitlines() if line.partition("2025-06-11")[2][:3] < "T13"]
    assert (market.kept / "positions.csv").read_text().startswith("\n".join(morning) + "\n")
    assert len(morning) == 1 + 3 * 2  # the header; two sides in three hours
    assert read_positions(market.workspace, DAY)[:6] == before[:6]


def test_sums_are_those_of_all_parts(market):
    less_sun(market)
    again(market, market.local(12, 30))
    document = market.matched()
    per = document["fine_units_per_minor_unit"]
    assert document["totals"]["traded_wh"] == 3 * 500 + 3 * 300
    assert Fraction(document["totals"]["value"], per) == 36  # 2.4 kWh at 15
    people = {row["participant"]: row for row in document["participants"]}
    assert people["A"]["sold_wh"] == people["B"]["bought_wh"] == 2400
    assert people["A"]["earned"] == people["B"]["paid"] == document["totals"]["value"]
    assert people["A"]["seller_gain"] + people["B"]["buyer_gain"] == per * 24  # 2.4 kWh at 20 - 10
    rows = read_positions(market.workspace, DAY)
    assert sum(row["sold_wh"] for row in rows) == sum(row["bought_wh"] for row in rows) == 2400


def test_hours_ahead_are_as_if_the_day_were_matched_by_the_new_forecast(market, tmp_path):
    less_sun(market)
    again(market, market.local(12, 30))
    fresh = ForecastMarket(tmp_path / "fresh")
    less_sun(fresh)
    again(fresh, fresh.local(0) - timedelta(hours=6))
    at = 13  # the hour, from midnight
    assert market.matched()["intervals"][at:] == fresh.matched()["intervals"][at:]
    assert market.matched()["intervals"][:at] != fresh.matched()["intervals"][:at]


def test_the_same_forecasts_at_the_same_or_a_later_time_change_nothing(market):
    again(market, market.local(9))
    less_sun(market)
    again(market, market.local(12, 30))
    before = market.bytes_kept()
    for now in (market.local(12, 30), market.local(13), market.local(15, 31), market.local(23, 59)):
        again(market, now)
        assert market.bytes_kept() == before


def test_each_part_names_the_issue_that_it_was_matched_by(market):
    less_sun(market)
    again(market, market.local(12, 30))
    issues = market.matched()["issues"]
    assert [one["from"] for one in issues] == ["2025-06-11T00:00:00+02:00", "2025-06-11T13:00:00+02:00"]
    roofs = [{f["file"]: f["sha256"] for f in one["forecasts"]}[f"roof-{DAY}.csv"] for one in issues]
    assert roofs[0] != roofs[1]
    market.forecasts()
    again(market, market.local(8, 45))  # from 10:00 on: the issue of 13:00 is of no account any more
    issues = market.matched()["issues"]
    assert [one["from"] for one in issues] == ["2025-06-11T00:00:00+02:00"]
    assert traded(market)["15:00"] == 500


def test_a_step_that_runs_late_does_not_touch_what_is_past(market):
    less_sun(market)
    again(market, market.local(12, 30))
    market.forecasts()
    again(market, market.local(20))
    assert traded(market)["13:00"] == 300


def test_when_every_gate_is_closed_the_day_stays(market):
    before = market.bytes_kept()
    less_sun(market)
    done = again(market, market.local(23, 45))
    assert done["first_ahead"] is None
    assert {**market.bytes_kept(), "capacities.csv": b"", "capacities.json": b""} == {
        **before,
        "capacities.csv": b"",
        "capacities.json": b"",
    }
    said = market.run("match", market.folder / "market.toml", "--day", DAY, "--from", "2025-06-11T23:45+02:00")
    assert "every gate is closed" in said


def test_a_day_first_matched_at_noon_has_no_morning(tmp_path):
    market = ForecastMarket(tmp_path / "workspace")
    market.forecasts()
    again(market, market.local(12, 30))
    assert market.matched()["intervals"][0]["start"] == "2025-06-11T13:00:00+02:00"
    assert sum(traded(market).values()) == 3 * 500
    fresh = ForecastMarket(tmp_path / "late")
    fresh.forecasts()
    with pytest.raises(NegawattError, match="has no rows of 2025-06-11"):
        again(fresh, fresh.local(23, 45))


def test_a_market_that_has_changed_does_not_go_on_with_the_day(market):
    market.write("market.toml", market.text, 'price = "pay-as-bid"')
    with pytest.raises(NegawattError, match=r"price was mid, is pay-as-bid.*without --from"):
        again(market, market.local(12, 30))
    market.write("market.toml", market.text)
    market.people("A,x,own,homes,,roof,", "B,y,own,homes,site-b,,", "C,y,own,homes,site-b,,")
    with pytest.raises(NegawattError, match="participants, sites or tariffs are others"):
        again(market, market.local(12, 30))
    again(market, market.local(0) - timedelta(hours=1))  # nothing is past yet


def test_a_statement_counts_for_what_was_matched_last(market):
    market.readings("A", lambda s: 0 if market.sunny(s) else 100)
    market.readings("A", lambda s: 500 if market.sunny(s) else 0, export=True)
    market.readings("meter-b", lambda s: 800)
    market.run("balance-day", market.folder / "market.toml", DAY)
    assert read_statement(market.workspace, DAY)
    again(market, market.local(12, 30))  # the same forecasts
    assert read_statement(market.workspace, DAY)
    less_sun(market)
    again(market, market.local(12, 30))
    assert read_statement(market.workspace, DAY) is None
    market.run("balance-day", market.folder / "market.toml", DAY)
    (a,) = (row for row in read_statement(market.workspace, DAY)["participants"] if row["participant"] == "A")
    assert (a["sold_wh"], a["to_grid_wh"]) == (2400, 600)  # the sun shone as was forecast first


def test_after_a_crash_between_two_files_positions_are_still_those_of_the_document(market):
    held, rows = (market.kept / "positions.csv").read_bytes(), read_positions(market.workspace, DAY)
    (market.kept / "positions.before.csv").write_bytes(held)
    (market.kept / "positions.csv").write_bytes(held.splitlines(keepends=True)[0])  # of a matching that never was
    assert read_positions(market.workspace, DAY) == rows
    less_sun(market)
    again(market, market.local(12, 30))
    sold = [row["sold_wh"] for row in read_positions(market.workspace, DAY) if row["sold_wh"]]
    assert sold == 3 * [500] + 3 * [300]
    assert not (market.kept / "positions.before.csv").exists()


def test_positions_that_were_changed_by_hand_are_refused(market):
    with (market.kept / "positions.csv").open("a") as out:
        out.write("A,2025-06-11T20:00:00+02:00,1,0,0,0,0,0,0\n")
    with pytest.raises(NegawattError, match="is not what `negawatt match` wrote"):
        read_positions(market.workspace, DAY)


def test_at_a_terminal_a_time_or_now_says_from_when_on(market):
    less_sun(market)
    done = market.match("--from", "2025-06-11T12:30+02:00")
    assert done["totals"]["traded_wh"] == 2400
    assert done == read_matched(market.workspace, DAY)
    said = market.run("match", market.folder / "market.toml", "--day", DAY, "--from", "2025-06-11T12:30+02:00")
    assert "matched from 2025-06-11T13:00:00+02:00 on; what is before stays" in said
    assert market.match("--from", "now") == json.loads(json.dumps(done))  # the day is long over
    assert "an offset" in market.run(
        "match", market.folder / "market.toml", "--day", DAY, "--from", "2025-06-11T12:30", exit_code=1
    )


def test_a_gate_that_cannot_be_is_refused(market):
    market.write("market.toml", market.text, "gate_minutes = -1")
    with pytest.raises(NegawattError, match="gate_minutes: expected minutes, 0 to 1440, got -1"):
        assert market.file
