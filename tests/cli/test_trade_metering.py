"""A matched day settled against the batch store's readings."""

from __future__ import annotations

import csv
import json
from datetime import timedelta
from fractions import Fraction

import pytest
from forecast_market import DAY, ForecastMarket

from domain.errors import NegawattError
from domain.imbalance import MeteringError
from negawatt.market_metering import metered_of_store
from negawatt.trading import balance_market, match_market


def a_matched_day(folder, **how) -> ForecastMarket:
    market = ForecastMarket(folder / "workspace", **how)
    market.forecast("homes", {"A": lambda _: 100, "site-b": lambda _: 800}, market.file.interval_minutes)
    market.forecast("roof", {"roof": market.sunny}, market.file.interval_minutes)
    match_market(market.workspace, market.settings, DAY, now=market.local(0) - timedelta(hours=6))
    return market


@pytest.fixture
def market(tmp_path) -> ForecastMarket:
    """A sells 500 Wh to B in each of six hours."""
    return a_matched_day(tmp_path)


def as_forecast(market: ForecastMarket, *, minutes: int = 60) -> None:
    parts = 60 // minutes
    market.readings("A", lambda s: 500 // parts if market.sunny(s) else 0, export=True, minutes=minutes)
    market.readings("A", lambda s: 0 if market.sunny(s) else 100 // parts, minutes=minutes)
    market.readings("meter-b", lambda s: 800 // parts, minutes=minutes)


def metered(market: ForecastMarket) -> list[tuple[str, str, int, int]]:
    path = metered_of_store(market.workspace, market.settings, market.file, DAY)
    with path.open(newline="") as lines:
        return [
            (row["participant"], row["interval_start"][11:16], int(row["export_wh"]), int(row["import_wh"]))
            for row in csv.DictReader(lines)
        ]


def test_readings_of_the_hours_that_were_traded_are_taken_by_meter(market):
    as_forecast(market)
    found = metered(market)
    assert found[:2] == [("A", "10:00", 500, 0), ("B", "10:00", 0, 800)]  # B has no export register
    assert len(found) == 12


def test_finer_readings_are_added_up_to_the_watt_hour(market):
    market.readings("A", lambda s: 7 + s.minute, export=True, minutes=5)  # 12 × 7 + 5 × (0 + … + 11) = 414
    market.readings("A", lambda s: 1, minutes=15)
    market.readings("meter-b", lambda s: 399 + (s.minute == 30), minutes=30)
    assert metered(market)[:2] == [("A", "10:00", 414, 4), ("B", "10:00", 0, 799)]


def test_a_meter_that_changed_its_interval_within_the_day_is_read_in_both(market):
    market.readings("A", lambda s: 500, export=True)
    market.readings("A", lambda s: 0)
    noon = market.local(12)
    market.readings("meter-b", lambda s: 801 if s < noon else None)
    market.readings("meter-b", lambda s: 200 if s >= noon else None, minutes=15)
    assert [imported for name, _, _, imported in metered(market) if name == "B"] == 2 * [801] + 4 * [800]


def test_a_missing_reading_names_participant_meter_and_interval(market):
    market.readings("A", lambda s: 500, export=True)
    market.readings("A", lambda s: 0)
    noon = market.local(12)
    market.readings("meter-b", lambda s: None if s == noon else 800)
    said = r"no reading of what B \(meter meter-b\) imported at 2025-06-11T12:00:00\+02:00, when it traded; bring it"
    with pytest.raises(MeteringError, match=said):
        metered(market)
    with pytest.raises(MeteringError, match=said):
        balance_market(market.workspace, market.settings, DAY)
    assert not (market.kept / "statement.json").exists()
    market.readings("meter-b", lambda s: 800 if s == noon else None)
    assert balance_market(market.workspace, market.settings, DAY)["state"] == "balanced"


def test_a_part_of_an_interval_that_is_missing_is_never_zero(market):
    market.readings("A", lambda s: 500, export=True)
    market.readings("A", lambda s: 0)
    gap = market.local(12, 45)
    market.readings("meter-b", lambda s: None if s == gap else 200, minutes=15)
    with pytest.raises(MeteringError, match=r"imported at 2025-06-11T12:00:00\+02:00"):
        metered(market)


def test_who_sold_needs_its_export_register(market):
    market.readings("A", lambda s: 0)
    market.readings("meter-b", lambda s: 800)
    with pytest.raises(MeteringError, match=r"A \(its meter\) exported at .* has no such readings of it at all"):
        metered(market)


def test_longer_readings_are_refused(tmp_path):
    market = a_matched_day(tmp_path, minutes=30)
    as_forecast(market)
    with pytest.raises(MeteringError, match=r"it reports every 60 min, which doesn't make up the market's 30 min"):
        metered(market)


def test_a_day_balanced_from_the_store_is_that_by_the_file(market):
    as_forecast(market)
    by_store = market.json("balance-day", market.folder / "market.toml", DAY)
    files = market.bytes_kept()
    by_file = market.json("balance-day", market.folder / "market.toml", DAY, market.kept / "metered.csv")
    assert by_store == by_file
    again = balance_market(market.workspace, market.settings, DAY)
    assert again["participants"] == 2
    assert json.loads(json.dumps(again)) == again
    assert market.bytes_kept() == files


def test_what_was_forecast_too_high_is_bought_from_the_grid(market):
    market.readings("A", lambda s: 400 if market.sunny(s) else 0, export=True)
    market.readings("A", lambda s: 0)
    market.readings("meter-b", lambda s: 800)
    done = balance_market(market.workspace, market.settings, DAY)
    per = done["fine_units_per_minor_unit"]
    # A lacks 6 × 100 Wh at 20 a kWh; B imported 300 Wh beyond each 500 that it bought: at 20 a kWh, 6 × 0.3 kWh
    assert Fraction(done["grid_net"], per) == Fraction(6 * 100 * 20, 1000) + Fraction(6 * 300 * 20, 1000)
    statement = market.json("balance-day", market.folder / "market.toml", DAY)
    assert sum(row["net"] for row in statement["participants"]) + statement["grid_net"] == 0
    assert sum(row["sold_wh"] - row["bought_wh"] for row in statement["participants"]) == 0


def test_a_day_without_trades_is_balanced_by_nothing(tmp_path):
    market = ForecastMarket(tmp_path / "workspace")
    market.forecasts(roof=lambda s: 0)
    match_market(market.workspace, market.settings, DAY, now=market.local(0) - timedelta(hours=6))
    assert balance_market(market.workspace, market.settings, DAY)["state"] == "no trades"


def test_a_market_that_has_changed_since_is_refused(market):
    as_forecast(market)
    market.write("market.toml", market.text.replace("60", "30"))
    with pytest.raises(NegawattError, match="was matched at 60 min, the market file says 30 min"):
        metered(market)
    market.write("market.toml", market.text)
    market.people("A,x,own,homes,,roof,")
    with pytest.raises(NegawattError, match="B has traded and is not in the market file any more"):
        metered(market)
