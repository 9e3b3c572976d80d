"""Capacities out of kept forecasts, and a day that is matched by them."""

from __future__ import annotations

import csv
import json
from datetime import UTC, date, datetime
from fractions import Fraction

import pytest
from forecast_market import DAY, LOAD_A, LOAD_B, ROOF, ForecastMarket

from domain.errors import NegawattError
from negawatt.kept_forecasts import keep_forecast, read_kept
from negawatt.market_capacities import MissingForecastError, capacities_of_forecasts
from negawatt.trading import coming_day, match_market


@pytest.fixture
def market(tmp_path) -> ForecastMarket:
    made = ForecastMarket(tmp_path / "workspace")
    made.forecasts()
    return made


def rows_of(market: ForecastMarket) -> list[dict[str, str]]:
    with (market.kept / "capacities.csv").open(newline="") as lines:
        return list(csv.DictReader(lines))


def test_a_roof_less_the_load_is_surplus_by_day_and_deficit_by_night(market):
    done = capacities_of_forecasts(market.workspace, market.file, DAY)
    of_a = {row["interval_start"][11:16]: row for row in rows_of(market) if row["participant"] == "A"}
    assert (of_a["12:00"]["surplus_wh"], of_a["12:00"]["deficit_wh"]) == ("500", "0")  # 600 - 100
    assert (of_a["03:00"]["surplus_wh"], of_a["03:00"]["deficit_wh"]) == ("0", "100")
    assert (done["surplus_wh"], done["deficit_wh"]) == (6 * 500, 18 * 100 + 24 * 800)
    assert of_a["12:00"]["interval_start"] == "2025-06-11T12:00:00+02:00"
    assert done["findings"] == []


def test_what_is_offered_less_what_lacks_is_output_less_load(market):
    capacities_of_forecasts(market.workspace, market.file, DAY)
    net = sum(int(row["surplus_wh"]) - int(row["deficit_wh"]) for row in rows_of(market))
    assert net == 6 * ROOF - 24 * (LOAD_A + LOAD_B)
    assert all(0 in (int(row["surplus_wh"]), int(row["deficit_wh"])) for row in rows_of(market))


def test_shorter_forecasts_are_added_up_to_the_watt_hour(market):
    market.forecast("homes", {"A": lambda s: 33 + s.minute, "site-b": lambda s: 200}, minutes=15)
    capacities_of_forecasts(market.workspace, market.file, DAY)
    night = {row["participant"]: row["deficit_wh"] for row in rows_of(market) if "T03:00" in row["interval_start"]}
    assert night == {"A": "222", "B": "800"}  # 33 + 48 + 63 + 78; 4 × 200


def test_several_plants_of_a_participant_add_up(market):
    market.forecast("barn", {"barn": lambda s: 7})
    market.people("A,x,own,homes,,roof barn,", "B,y,own,homes,site-b,,")
    capacities_of_forecasts(market.workspace, market.file, DAY)
    noon = next(row for row in rows_of(market) if row["participant"] == "A" and "T12:00" in row["interval_start"])
    assert noon["surplus_wh"] == "507"


def test_one_who_only_produces_needs_no_load(market):
    market.people("A,x,own,,,roof,", "B,y,own,homes,site-b,,")
    assert capacities_of_forecasts(market.workspace, market.file, DAY)["surplus_wh"] == 6 * ROOF


@pytest.mark.parametrize(("day", "hours"), [(date(2025, 3, 30), 23), (date(2025, 10, 26), 25)])
def test_a_day_on_which_clocks_change_has_its_own_number_of_hours(tmp_path, day, hours):
    market = ForecastMarket(tmp_path / "workspace", day=day)
    market.forecasts()
    done = match_market(market.workspace, market.settings, day, now=datetime(2025, 1, 1, tzinfo=UTC))
    assert len({row["interval_start"] for row in rows_of(market)}) == hours
    assert done["intervals"] == hours
    assert done["totals"]["traded_wh"] == 6 * 500
    assert done["totals"]["deficit_wh"] == (hours - 6) * LOAD_A + hours * LOAD_B


def test_the_same_forecasts_give_the_same_bytes(market):
    market.match()
    before = market.bytes_kept()
    market.match()
    assert market.bytes_kept() == before


def test_a_day_by_forecasts_is_worth_what_arithmetic_says(market):
    done = market.match()
    per = done["fine_units_per_minor_unit"]
    assert done["totals"]["traded_wh"] == 6 * 500
    assert Fraction(done["totals"]["value"], per) == 45  # 3 kWh at 15
    assert Fraction(done["totals"]["seller_gain"], per) == 15  # 3 kWh at 15 - 10
    assert Fraction(done["totals"]["buyer_gain"], per) == 15  # 3 kWh at 20 - 15
    sums = {row["participant"]: row for row in done["participants"]}
    assert (sums["A"]["sold_wh"], sums["B"]["bought_wh"]) == (3000, 3000)
    assert sums["A"]["earned"] == sums["B"]["paid"] == done["totals"]["value"]
    said = market.run("match", market.folder / "market.toml", "--day", DAY)
    assert f"by forecasts: homes-{DAY}.csv, roof-{DAY}.csv" in said


def test_a_matched_day_names_the_issue_of_each_forecast(market):
    import pyarrow as pa

    starts = pa.array([int(start.timestamp()) for start in market.starts(60)], pa.timestamp("s", "UTC"))
    columns = {"site": ["roof"] * 24, "interval_start": starts, "interval_minutes": [60] * 24}
    table = pa.table(columns | {"forecast_wh": [market.sunny(start) for start in market.starts(60)]})
    issued = datetime(2025, 6, 10, 9, tzinfo=UTC)
    issue = keep_forecast(market.workspace, "roof", DAY, table, {"plant": "roof", "weather_kind": "forecast"}, issued)
    (from_midnight,) = market.match()["issues"]
    assert from_midnight["from"] == "2025-06-11T00:00:00+02:00"
    homes, roof = from_midnight["forecasts"]
    assert (roof["issued"], roof["sha256"]) == ("2025-06-10T09:00:00+00:00", issue["sha256"])
    assert (homes["file"], "issued" in homes) == (f"homes-{DAY}.csv", False)  # made elsewhere, so nothing is known
    later = keep_forecast(market.workspace, "roof", DAY, table, {"plant": "roof", "weather_kind": "forecast"}, issued)
    assert later == issue


def test_the_same_rows_issued_again_keep_their_first_time_and_others_get_a_new_one(market):
    import pyarrow as pa

    def keep(wh: int, hour: int) -> str:
        starts = pa.array([int(market.starts(60)[0].timestamp())], pa.timestamp("s", "UTC"))
        columns = {"site": ["p"], "interval_start": starts, "interval_minutes": [60], "forecast_wh": [wh]}
        issue = keep_forecast(
            market.workspace, "p", DAY, pa.table(columns), {}, datetime(2025, 6, 10, hour, tzinfo=UTC)
        )
        return issue["issued"][11:13]

    assert [keep(1, 9), keep(1, 10), keep(2, 11), keep(2, 12)] == ["09", "09", "11", "11"]
    assert read_kept(market.workspace, "p", DAY).issue["issued"][11:13] == "11"


# --- what is missing ---------------------------------------------------------------------------------------


def test_without_a_forecast_nothing_is_guessed(market):
    (market.folder / "forecasts" / f"roof-{DAY}.csv").unlink()
    with pytest.raises(MissingForecastError, match=r"^A: no forecast of 'roof' for 2025-06-11") as refused:
        capacities_of_forecasts(market.workspace, market.file, DAY)
    assert refused.value.participant == "A"
    assert refused.value.retry_may_help, "the forecast may only be late"
    assert not market.kept.exists()
    assert "A: no forecast of 'roof'" in market.run("match", market.folder / "market.toml", "--day", DAY, exit_code=1)


def test_whoever_has_no_forecast_can_be_left_out_with_a_finding(market):
    market.people("A,x,own,homes,,roof,", "B,y,own,homes,site-b,,", "C,y,own,homes,nowhere,,")
    done = market.match("--leave-out")
    assert done["totals"]["traded_wh"] == 3000
    (finding,) = json.loads((market.kept / "capacities.json").read_text())["findings"]
    assert (finding["code"], finding["values"]["participant"]) == ("forecast.missing", "C")
    assert finding["values"]["intervals"] == 24
    assert "has no site 'nowhere'; it has 2: A, site-b" in finding["values"]["problem"]
    said = market.run("match", market.folder / "market.toml", "--day", DAY, "--leave-out")
    assert "forecast.missing: C, 24 intervals" in said


def test_an_hour_that_could_not_be_forecast_is_named_or_left_out_alone(market):
    market.forecasts(roof=lambda start: None if start.hour == 10 else market.sunny(start))  # 12:00 in Paris
    with pytest.raises(MissingForecastError, match=r"lacks 'roof' at 2025-06-11T10:00:00\+00:00"):
        capacities_of_forecasts(market.workspace, market.file, DAY)
    done = market.match("--leave-out")
    assert done["totals"]["traded_wh"] == 5 * 500
    of_a = [row["interval_start"][11:16] for row in rows_of(market) if row["participant"] == "A"]
    assert len(of_a) == 23
    assert "12:00" not in of_a


def test_when_nobody_has_a_forecast_there_is_nothing_to_leave_out(market):
    market.people("A,x,own,,,,", "B,y,own,,,,")
    with pytest.raises(MissingForecastError, match="A: the participants file names neither load_model nor pv_plants"):
        capacities_of_forecasts(market.workspace, market.file, DAY, leave_out=True)


def test_longer_forecasts_are_refused(tmp_path):
    market = ForecastMarket(tmp_path / "workspace", minutes=30)
    market.forecasts()
    with pytest.raises(NegawattError, match=r"A: homes-2025-06-11.csv has intervals of 60 min, .* of 30 min"):
        capacities_of_forecasts(market.workspace, market.file, DAY)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("A,2025-06-11T00:00:00+00:00,60,-5", "line 2: forecast_wh '-5': expected whole Wh"),
        ("A,yesterday,60,5", "is no forecast that"),
        ("A,2025-06-11T00:00:00+00:00,7,5", "interval of 7 minutes"),
    ],
)
def test_a_forecast_that_cannot_be_is_refused_with_its_file(market, line, problem):
    market.write(f"forecasts/homes-{DAY}.csv", "site,interval_start,interval_minutes,forecast_wh", line)
    with pytest.raises(NegawattError, match=problem):
        capacities_of_forecasts(market.workspace, market.file, DAY)


def test_a_model_that_cannot_be_a_name_is_refused_with_its_line(market):
    market.people("A,x,own,../homes,,,")
    with pytest.raises(NegawattError, match=r"line 2: '../homes': expected names of kept forecasts"):
        assert market.file


def test_without_a_day_there_are_no_forecasts_to_take(market):
    market.run("match", market.folder / "market.toml", exit_code=2)
    path = market.write("by-hand.csv", "participant,interval_start,surplus_wh,deficit_wh")
    market.run("match", market.folder / "market.toml", path, "--leave-out", exit_code=2)


def test_the_coming_day_is_that_of_the_markets_zone(market):
    assert coming_day(market.workspace, datetime(2025, 6, 10, 21, 59, tzinfo=UTC)) == DAY
    assert coming_day(market.workspace, datetime(2025, 6, 10, 22, 0, tzinfo=UTC)) == date(2025, 6, 12)
