"""Forecasts, matching and settlement of trades by schedule: as their commands do, and again without a change."""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from dag_desk import alerts, answer, kept, negawatt, run_dag, states
from energy_desk import TOKEN
from forecast_market import DAY, ForecastMarket
from planned_homes import LOAD, ROOF, WEATHER, two_homes

from negawatt.chains import open_chain
from negawatt.trading import match_market

pytestmark = pytest.mark.stack

WAITS = "airflow.task"
"""Who logs that a step waits."""


@pytest.fixture
def folder(tmp_path, monkeypatch, airflow_database) -> Path:
    """Where a workspace comes to lie."""
    monkeypatch.setenv("NEGAWATT_WORKSPACE", str(tmp_path / "workspace"))
    return tmp_path / "workspace"


def twin(place: Path) -> Path:
    """A copy, to run commands in."""
    return Path(shutil.copytree(place, place.parent / "twin"))


class StoppedError(Exception):
    """What ends a test that would wait for hours."""


class WhenWaiting(logging.Handler):
    """Does something the first time that a step says it waits, and keeps what it said; nobody waits for ever."""

    def __init__(self, act) -> None:
        super().__init__()
        self.act, self.said = act, list[str]()

    def emit(self, record: logging.LogRecord) -> None:
        if "Waiting until" in record.getMessage():
            self.said.append(record.getMessage())
            if len(self.said) == 1:
                self.act()
            elif len(self.said) > 3:
                raise StoppedError


@contextlib.contextmanager
def when_waiting(act) -> Iterator[list[str]]:
    handler = WhenWaiting(act)
    logging.getLogger(WAITS).addHandler(handler)
    try:
        yield handler.said
    finally:
        logging.getLogger(WAITS).removeHandler(handler)


@pytest.mark.parametrize("dag_id", ["matching", "matching_intraday", "trade_settlement", "forecasting"])
def test_what_is_not_configured_is_skipped_with_the_reason(folder, capfd, dag_id):
    run = run_dag(dag_id)
    assert run.state == "success"
    assert set(states(run).values()) == {"skipped"}
    file = "forecast.toml" if dag_id == "forecasting" else "market.toml"
    assert f"there is no {folder / file}" in "".join(capfd.readouterr())
    assert alerts(folder) == []


def test_a_run_by_hand_of_a_day_long_past_has_tasks(folder):
    assert states(run_dag("matching", due=datetime(2012, 7, 15, 14, tzinfo=UTC))) == {"match": "skipped"}


# --- matching and matching_intraday ------------------------------------------------------------------------


@pytest.fixture
def market(folder) -> ForecastMarket:
    """A market in a zone in which it is noon now, with tomorrow's forecasts. Its first gate after 14:00 is open."""
    now = datetime.now(UTC)
    offset = 12 - now.hour
    zone = f"Etc/GMT{-offset:+d}" if offset else "Etc/GMT"
    today = now.astimezone(ZoneInfo(zone)).date()
    made = ForecastMarket(folder, zone=zone, day=today + timedelta(days=1))
    made.text += f"gate_minutes = {90 - now.minute}\n"  # 13:30 is as far ahead, however long a test takes
    made.write("market.toml", made.text)
    made.forecasts()
    return made


def test_the_next_day_is_matched_as_by_the_command_and_again_the_same(market):
    here = twin(market.folder)
    run = run_dag("matching")
    assert states(run) == {"match": "success"}
    found = answer(run, "match")
    assert found["day"] == market.day.isoformat()
    assert found["totals"]["traded_wh"] == 6 * 500  # the roof's 600 Wh less a load of 100, in six hours
    assert found["first_ahead"] == market.starts(60)[0].astimezone(market.zone).isoformat()
    negawatt(here, "match", here / "market.toml", "--day", market.day, "--from", "now")
    files = kept(market.folder, "market")
    assert files == kept(here, "market")
    assert f"market/{market.day}/matched.json" in files
    run_dag("matching")
    assert kept(market.folder, "market") == files


def test_a_forecast_that_is_late_is_waited_for(market):
    late = market.folder / "forecasts" / f"roof-{market.day}.csv"
    late.rename(market.folder / "late.csv")
    run = run_dag("matching", before_retry=lambda: (market.folder / "late.csv").rename(late))
    assert states(run) == {"match": "success"}
    assert answer(run, "match")["totals"]["traded_wh"] == 6 * 500
    assert alerts(market.folder) == []


def test_the_form_names_another_day(market):
    far = ForecastMarket(market.folder.parent / "far", zone=str(market.zone), day=date(2099, 6, 11))
    far.forecasts()
    shutil.copytree(far.folder / "forecasts", market.folder / "forecasts", dirs_exist_ok=True)
    assert answer(run_dag("matching", day="2099-06-11"), "match")["day"] == "2099-06-11"
    assert [path.name for path in (market.folder / "market").iterdir()] == ["2099-06-11"]


def test_within_the_day_only_what_is_ahead_is_matched_again(market):
    market.day -= timedelta(days=1)  # today
    market.forecasts()
    match_market(market.workspace, market.settings, market.day, now=market.local(0) - timedelta(hours=6))
    market.forecasts(roof=lambda start: 400 if market.sunny(start) else 0)
    here = twin(market.folder)
    run = run_dag("matching_intraday")
    found = answer(run, "match")
    assert found["day"] == market.day.isoformat()
    assert found["first_ahead"] == market.local(14).isoformat()
    traded = {row["start"][11:13]: row["traded_wh"] for row in market.matched()["intervals"] if row["traded_wh"]}
    assert traded == {"10": 500, "11": 500, "12": 500, "13": 500, "14": 300, "15": 300}
    negawatt(here, "match", here / "market.toml", "--day", market.day, "--from", "now")
    files = kept(market.folder, "market")
    assert files == kept(here, "market")
    run_dag("matching_intraday")
    assert kept(market.folder, "market") == files


def test_without_a_forecast_a_day_is_not_guessed_and_the_run_says_whose_is_missing(market):
    (market.folder / "forecasts" / f"roof-{market.day}.csv").unlink()
    run = run_dag("matching")
    assert states(run) == {"match": "failed"}
    (told,) = alerts(market.folder)
    assert (told["kind"], told["dag"]) == ("task_failed", "matching")
    assert f"A: no forecast of 'roof' for {market.day}" in told["text"]
    assert not (market.folder / "market").exists()


def test_a_day_of_the_past_stays_as_it_was_matched(market):
    market.day = date(2025, 6, 11)
    market.forecasts()
    match_market(market.workspace, market.settings, market.day, now=market.local(0) - timedelta(hours=6))
    positions = (market.kept / "positions.csv").read_bytes()
    document = market.matched()
    market.forecasts(roof=lambda start: 400 if market.sunny(start) else 0)
    for dag_id, days_before in (("matching", 1), ("matching_intraday", 0)):
        due = market.local(14) - timedelta(days=days_before)
        found = answer(run_dag(dag_id, due=due), "match")
        assert (found["day"], found["first_ahead"]) == ("2025-06-11", None)
        assert market.matched() == document
        assert (market.kept / "positions.csv").read_bytes() == positions


def test_a_day_of_the_past_that_was_never_matched_fails_as_the_command_does(market):
    market.day = date(2025, 6, 11)
    market.forecasts()
    toml = market.folder / "market.toml"
    said = market.run("match", toml, "--day", "2025-06-11", "--from", "now", exit_code=1)
    run = run_dag("matching", due=market.local(14) - timedelta(days=1))
    assert run.state == "failed"
    (told,) = alerts(market.folder)
    assert "has no rows of 2025-06-11" in told["text"]
    assert "has no rows of 2025-06-11" in " ".join(said.split())


# --- trade_settlement --------------------------------------------------------------------------------------

DUE = datetime(2025, 6, 11, 22, 30, tzinfo=UTC)
"""Half past midnight in Paris, where `DAY` is just over; in UTC it isn't."""


def deliver(market: ForecastMarket) -> None:
    """What A sold comes in, all of it, and B uses what it bought."""
    market.readings("A", lambda s: 500 if market.sunny(s) else 0, export=True)
    market.readings("A", lambda s: 0 if market.sunny(s) else 100)
    market.readings("meter-b", lambda s: 500)


@pytest.fixture(scope="module")
def traded_prepared(tmp_path_factory):
    """A matched day on the built-in chain: A has an account, and B a deposit to pay from. No readings yet."""
    market = ForecastMarket(tmp_path_factory.mktemp("traded") / "workspace")
    with open_chain(market.workspace, market.settings) as chain:
        accounts = chain.w3.eth.accounts
        url = chain.url
        for words in (
            ("deploy",),
            ("post-rate", 2000),
            ("buy-tokens", 1, 2),
            ("deposit", 1000, 2),
            ("limit", 1000, 2),
        ):
            account = words[-1] if len(words) == 3 else 0
            negawatt(market.folder, "energy", *words[:2], "--account", account, "--chain", url)
    market.write("market.toml", market.text, "[settlement]", f"token_units = {TOKEN}")
    header = "participant,site,tariff,load_model,load_site,pv_plants,meter,wallet"
    rows = f"A,x,own,homes,,roof,,{accounts[1]}", f"B,y,own,homes,site-b,,meter-b,{accounts[2]}"
    market.write("participants.csv", header, *rows)
    market.forecasts()
    match_market(market.workspace, market.settings, DAY, now=market.local(0) - timedelta(hours=6))
    return market


@pytest.fixture
def traded(traded_prepared, folder) -> ForecastMarket:
    """That workspace, for one test."""
    market = ForecastMarket(folder.parent / "unused")
    shutil.copytree(traded_prepared.folder, folder)
    market.workspace, market.folder, market.text = type(market.workspace)(folder), folder, traded_prepared.text
    return market


def free(place: Path) -> list[int]:
    """What A and B have on the chain, in tokens."""
    return [negawatt(place, "energy", "balance", "--account", n)["free"] // TOKEN for n in (1, 2)]


def test_a_day_is_balanced_settled_and_reported_as_by_the_commands_and_only_once(traded):
    deliver(traded)
    here = twin(traded.folder)
    run = run_dag("trade_settlement", due=DUE)
    assert states(run) == {"balance": "success", "settle": "success", "report": "success"}
    assert (answer(run, "balance")["state"], answer(run, "balance")["participants"]) == ("balanced", 2)
    settled = answer(run, "settle")
    assert (settled["day"], settled["state"]) == ("2025-06-11", "executed")
    assert sorted(settled["net"].values()) == [-45 * TOKEN, 45 * TOKEN]  # 3 kWh at 15
    assert free(traded.folder) == [45, 955]
    assert answer(run, "report") == str(traded.kept / "report.html")

    negawatt(here, "balance-day", here / "market.toml", DAY)
    by_hand = negawatt(here, "energy", "settle-day", here / "market" / str(DAY) / "trades.csv", "--day", DAY)
    negawatt(here, "trade-report", DAY)
    assert {name: by_hand[name] for name in settled} == settled
    files = kept(traded.folder, "market", "trades")
    assert files == kept(here, "market", "trades")
    assert {f"market/{DAY}/statement.json", f"market/{DAY}/report.html", f"trades/{DAY}.jsonl"} <= set(files)

    again = run_dag("trade_settlement", day=DAY.isoformat())
    assert answer(again, "settle") == settled
    assert kept(traded.folder, "market", "trades") == files
    assert free(traded.folder) == [45, 955]
    assert alerts(traded.folder) == []


def test_readings_that_are_missing_are_waited_for_and_used_once_they_are_in(traded, monkeypatch):
    monkeypatch.setattr("dags.trade_settlement.LOOK_AGAIN", timedelta(0))
    with when_waiting(lambda: deliver(traded)) as said:
        run = run_dag("trade_settlement", day=DAY.isoformat())
    assert run.state == "success"
    assert answer(run, "settle")["state"] == "executed"
    (waited,) = said
    assert "no reading of what A (its meter) exported at 2025-06-11T10:00:00+02:00" in waited
    assert alerts(traded.folder) == []


def test_readings_that_do_not_come_fail_the_run_after_two_days_and_people_are_told(traded):
    run = run_dag("trade_settlement", due=DUE)
    assert states(run) == {"balance": "failed", "settle": "upstream_failed", "report": "upstream_failed"}
    late, failed = alerts(traded.folder)
    assert (late["kind"], failed["kind"]) == ("deadline_missed", "task_failed")
    assert late["text"].startswith("Trades of 2025-06-11 can't be settled: ")
    assert "no reading of what A (its meter) exported" in late["text"]
    assert not (traded.kept / "statement.json").exists()


def test_a_day_goes_on_the_chain_when_it_is_over_in_utc_and_not_before(traded):
    traded.day = datetime.now(UTC).date() + timedelta(days=1)
    traded.forecasts()
    match_market(traded.workspace, traded.settings, traded.day, now=traded.local(0) - timedelta(hours=6))
    deliver(traded)

    def stop() -> None:
        raise StoppedError

    with when_waiting(stop) as said:
        run = run_dag("trade_settlement", day=traded.day.isoformat())
    assert states(run)["balance"] == "success"
    (waited,) = said
    assert f"{traded.day + timedelta(days=1)}T00:00:00+00:00: the chain takes a day when it is over in UTC" in waited
    assert not (traded.folder / "trades").exists()


def test_a_day_on_which_nobody_traded_has_a_page_and_needs_no_chain(traded):
    traded.forecasts(roof=lambda _: 0)
    match_market(traded.workspace, traded.settings, DAY, now=traded.local(0) - timedelta(hours=6))
    (traded.folder / "negawatt.toml").write_text('chain = "http://127.0.0.1:9"\n')
    run = run_dag("trade_settlement", due=DUE)
    assert run.state == "success"
    assert answer(run, "settle") == {"day": "2025-06-11", "state": "no trades", "root": None, "net": None}
    assert "<html" in Path(answer(run, "report")).read_text()


def test_a_day_that_was_not_matched_is_skipped_with_the_reason(traded, capfd):
    run = run_dag("trade_settlement", due=DUE + timedelta(days=1))
    assert run.state == "success"
    assert set(states(run).values()) == {"skipped"}
    assert "2025-06-12 was not matched" in "".join(capfd.readouterr())


# --- forecasting -------------------------------------------------------------------------------------------

LEARNED = datetime(2025, 2, 1, tzinfo=UTC)
DAYS = 60
"""Of readings: the last one is 1 April."""
MORNING = datetime(2025, 4, 2, 1, tzinfo=UTC)
DAYS_AHEAD = ["2025-04-02", "2025-04-03"]


@pytest.fixture(scope="module")
def forecast_prepared(tmp_path_factory):
    """Two homes that cool when it is hot, by the hour, and weather to some days later."""
    return two_homes(tmp_path_factory.mktemp("planned") / "workspace", LEARNED, DAYS).folder


@pytest.fixture(scope="module")
def by_command(forecast_prepared, tmp_path_factory) -> Path:
    """That workspace after `negawatt forecast train`; its forecast.toml plans a model and a plant."""
    pytest.importorskip("lightgbm", reason="LightGBM isn't installed")
    pytest.importorskip("pvlib", reason="pvlib isn't installed")
    place = Path(shutil.copytree(forecast_prepared, tmp_path_factory.mktemp("trained") / "workspace"))
    (place / "forecast.toml").write_text(WEATHER + LOAD + ROOF)
    assert negawatt(place, "forecast", "train")["models"][0]["new"]
    return place


@pytest.fixture
def planned(by_command, folder) -> Path:
    """That workspace, for one test, without a model."""
    shutil.copytree(by_command, folder, ignore=shutil.ignore_patterns("models"))
    return folder


@pytest.fixture
def trained(by_command, folder) -> Path:
    """That workspace, for one test."""
    shutil.copytree(by_command, folder)
    return folder


def issues(place: Path) -> dict[str, Any]:
    """What is kept beside the rows of each forecast, but for when it was issued."""
    files = {name: json.loads(data) for name, data in kept(place, "forecasts").items() if name.endswith(".json")}
    return {name: {key: value for key, value in one.items() if key != "issued"} for name, one in files.items()}


def rows(place: Path) -> dict[str, bytes]:
    return {name: data for name, data in kept(place, "forecasts").items() if name.endswith(".csv")}


def models(place: Path) -> dict[str, Any]:
    """Everything of every model, but for when it was made."""
    files = kept(place, "models")
    documents = {name: json.loads(data) for name, data in files.items() if name.endswith(".json")}
    return files | {name: {**one, "created": None} for name, one in documents.items()}


def test_what_is_planned_is_trained_as_by_the_command_and_only_once(planned, by_command):
    run = run_dag("forecasting_training")
    assert states(run) == {"models": "success", "train/0": "success"}
    (model,) = answer(run, "train/0")["models"]
    assert (model["name"], model["version"], model["new"], model["sites"]) == ("homes", 1, True, 2)
    assert model["validation"]["model"]["all"]["mae"] < model["validation"]["yesterday"]["all"]["mae"]
    assert len(models(planned)) > 1
    assert models(planned) == models(by_command)

    files = kept(planned, "models")
    assert answer(run_dag("forecasting_training"), "train/0")["models"] == [model | {"new": False}]
    assert kept(planned, "models") == files
    assert alerts(planned) == []


def test_today_and_tomorrow_are_forecast_as_by_the_command_and_again_the_same(trained):
    here = twin(trained)
    run = run_dag("forecasting", due=MORNING)
    assert states(run) == {"today": "success", "tomorrow": "success"}
    assert [answer(run, task)["day"] for task in ("today", "tomorrow")] == DAYS_AHEAD
    for day in DAYS_AHEAD:
        negawatt(here, "forecast", "predict", "--day", day)
    assert set(rows(trained)) == {f"forecasts/{name}-{day}.csv" for name in ("homes", "roof") for day in DAYS_AHEAD}
    assert rows(trained) == rows(here)
    assert issues(trained) == issues(here)

    files = kept(trained, "forecasts")
    run_dag("forecasting", due=MORNING + timedelta(minutes=30))
    assert kept(trained, "forecasts") == files, "with the time at which each was first issued"
    assert alerts(trained) == []


def test_the_form_names_a_day_to_forecast(planned):
    (planned / "forecast.toml").write_text(WEATHER + ROOF)
    run = run_dag("forecasting", day="2025-03-20")
    assert states(run) == {"today": "skipped", "tomorrow": "success"}
    assert [Path(name).name for name in rows(planned)] == ["roof-2025-03-20.csv"]


def test_days_are_those_of_the_plans_zone(planned):
    (planned / "forecast.toml").write_text(WEATHER + ROOF)
    run = run_dag("forecasting", due=datetime(2025, 4, 1, 15, tzinfo=UTC))  # midnight in Seoul
    assert [answer(run, task)["day"] for task in ("today", "tomorrow")] == DAYS_AHEAD


def test_a_day_that_cannot_be_forecast_does_not_keep_the_other_from_it(planned):
    shutil.copy(planned / "weather.csv", planned / "weather-2025-04-03.csv")
    (planned / "forecast.toml").write_text(WEATHER.replace('predict = "weather', 'predict = "weather-{day}') + ROOF)
    run = run_dag("forecasting", due=MORNING)
    assert run.state == "failed"
    assert states(run) == {"today": "failed", "tomorrow": "success"}
    assert [Path(name).name for name in rows(planned)] == ["roof-2025-04-03.csv"]
    (told,) = alerts(planned)
    assert (told["task"], "weather-2025-04-02.csv" in told["text"]) == ("today", True)


def test_a_model_that_cannot_be_trained_does_not_keep_the_others_from_it(trained):
    nobody = LOAD.replace('"homes"', '"nobody"') + 'sites = ["nobody"]\n'
    (trained / "forecast.toml").write_text(WEATHER + nobody + LOAD)
    run = run_dag("forecasting_training")
    assert run.state == "failed"
    assert states(run) == {"models": "success", "train/0": "failed", "train/1": "success"}
    assert answer(run, "train/1")["models"][0]["name"] == "homes"
    assert [path.name for path in (trained / "models").iterdir()] == ["homes"]
    (told,) = alerts(trained)
    assert "no site 'nobody'" in told["text"]


@pytest.mark.parametrize(
    ("text", "reason"), [(None, "there is no {}/forecast.toml"), (WEATHER + ROOF, "{}/forecast.toml plans no model")]
)
def test_without_a_model_in_the_plan_nothing_is_trained(planned, capfd, text, reason):
    (planned / "forecast.toml").unlink()
    if text:
        (planned / "forecast.toml").write_text(text)
    run = run_dag("forecasting_training")
    assert run.state == "success"
    assert set(states(run).values()) == {"skipped"}
    assert reason.format(planned) in "".join(capfd.readouterr())


def test_a_plan_that_cannot_be_read_fails_with_its_key(planned):
    (planned / "forecast.toml").write_text(WEATHER + LOAD + "colour = 1\n")
    assert states(run_dag("forecasting_training"))["models"] == "failed"
    assert run_dag("forecasting").state == "failed"
    assert {told["task"] for told in alerts(planned)} == {"models", "today", "tomorrow"}
    assert all("load homes: colour: unknown key" in told["text"] for told in alerts(planned))
