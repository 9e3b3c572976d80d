"""``forecast.toml``: what is trained and forecast without flags, and what is refused in it."""

from __future__ import annotations

import csv
import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from planned_homes import LOAD, ROOF, WEATHER, two_homes
from terminal import Terminal

from domain.errors import NegawattError
from negawatt.forecast_plan import ForecastFileError, read_plan
from negawatt.kept_forecasts import read_kept
from negawatt.scheduled_forecasts import SomeFailedError, planned_models, scheduled_predict, scheduled_train
from negawatt.settings import Settings
from negawatt.workspace import Workspace

START = datetime(2024, 10, 1, tzinfo=UTC)
DAYS = 90
PLAN = WEATHER + LOAD


@pytest.fixture
def workspace(tmp_path) -> Workspace:
    return Workspace(tmp_path)


def a_plan(workspace: Workspace, text: str) -> Path:
    (path := workspace.folder / "forecast.toml").write_text(text)
    return path


def test_a_plan_says_what_flags_would(workspace):
    a_plan(workspace, PLAN + 'sites = ["a"]\nhistory_days = 80\nper_site = true\n' + ROOF + "tilt = 35\n")
    plan = read_plan(workspace)
    (load,), (roof,) = plan.loads, plan.plants
    assert (load.rule.model, load.rule.scope, load.rule.zone, load.rule.weather_kind) == (
        "lightgbm",
        "site",
        "Asia/Seoul",
        "actual",
    )
    assert (load.sites, load.history_days, load.rule.validation_days, load.on_spark) == (("a",), 80, 14, False)
    assert (roof.capacity_kw, roof.tilt, roof.azimuth, roof.interval_minutes) == (300, 35, 180, 30)
    assert planned_models(workspace) == ["homes"]


def test_an_entry_may_have_weather_of_its_own_and_a_file_for_each_day(workspace):
    own = 'weather = { predict = "hanoi-{day}.csv", predict_kind = "forecast" }\n'
    a_plan(workspace, PLAN + ROOF + own)
    (workspace.folder / "hanoi-2025-01-02.csv").write_text("")
    plan = read_plan(workspace)
    assert plan.plants[0].weather.to_predict(date(2025, 1, 2)).file.name == "hanoi-2025-01-02.csv"
    assert plan.loads[0].weather.predict == "weather.csv"
    with pytest.raises(
        NegawattError, match=r"no file of weather .*hanoi-2025-01-03.csv, which .*forecast.toml names"
    ):
        plan.plants[0].weather.to_predict(date(2025, 1, 3))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (PLAN.replace("Asia/Seoul", "Mars/Base"), "zone: expected an IANA zone such as Asia/Seoul, got 'Mars/Base'"),
        (PLAN.replace('zone = "Asia/Seoul"', ""), "zone: missing; expected an IANA zone"),
        (PLAN + "colour = 1\n", "load homes: colour: unknown key; known: coverage, folds, history_days"),
        (PLAN.replace('"lightgbm"', '"crystal ball"'), "load homes: model: expected one of nn, lightgbm"),
        (PLAN.replace('learn_kind = "actual"', ""), "weather: learn_kind: missing; expected 'actual'"),
        (PLAN.replace('predict_kind = "forecast"', 'predict_kind = "so so"'), "predict_kind: expected 'actual'"),
        (PLAN.replace('learn = "weather.csv"', ""), "load homes: weather: no learn: name the file of weather"),
        (PLAN.replace('"weather.csv"', '"w-{day}.csv"'), "weather: learn: {day} can stand in predict alone"),
        (PLAN.replace('"homes"', '"Homes!"'), "load Homes!: name: expected small letters"),
        (PLAN + "coverage = 2\n", "load homes: coverage 2: expected a share between 0 and 1"),
        (PLAN + "seed = 1.5\n", "load homes: seed: expected a whole number of 0 or more, got 1.5"),
        (PLAN + "folds = true\n".replace("folds", "per_site") + "on_spark = 1\n", "on_spark: expected true or false"),
        (PLAN + ROOF.replace('"roof"', '"homes"'), "name 'homes' comes twice"),
        (PLAN + ROOF.replace("latitude = 21.0", "latitude = 210"), "pv roof: PV plant: latitude_deg 210"),
        (PLAN + ROOF.replace("latitude = 21.0", ""), "pv roof: latitude: missing; expected degrees"),
        (PLAN + ROOF + "interval_minutes = 7\n", "interval_minutes: expected one of 5, 10, 15, 30, 60, got 7"),
        (WEATHER, "expected a [[load]] or a [[pv]], found none"),
        ("zone = \n", "forecast.toml"),
    ],
)
def test_a_plan_that_cannot_be_is_refused_with_its_key(workspace, text, problem):
    a_plan(workspace, text)
    with pytest.raises(ForecastFileError) as refused:
        read_plan(workspace)
    assert problem in str(refused.value)


def test_without_a_plan_the_sentence_says_where_it_belongs(workspace):
    assert "forecast.toml: no such file" in Terminal(workspace.folder).run("forecast", "train", exit_code=1)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("train", "--seed", "2"), "--seed needs NAME"),
        (("predict", "--out", "x.csv"), "--out needs NAME"),
        (("train", "homes"), "Missing option '--weather', which NAME needs"),
    ],
)
def test_flags_belong_to_a_name(workspace, words, said):
    assert said in Terminal(workspace.folder).run("forecast", *words, exit_code=2)


def test_of_several_failures_one_that_may_pass_is_worth_a_retry(workspace):
    two_homes(workspace.folder, START, days=2)
    (workspace.folder / "weather.csv").rename(workspace.folder / "gone.csv")
    a_plan(workspace, WEATHER + ROOF + ROOF.replace('"roof"', '"barn"'))
    with pytest.raises(SomeFailedError, match="barn: no file of weather") as lacking:
        scheduled_predict(workspace, Settings(), now=START)
    assert not lacking.value.retry_may_help
    (workspace.folder / "gone.csv").rename(workspace.folder / "weather.csv")
    a_plan(workspace, PLAN + LOAD.replace('"homes"', '"others"'))
    for lost in workspace.store.rglob("*.parquet"):
        lost.unlink()
    with pytest.raises(SomeFailedError, match="is lost") as failed:
        scheduled_train(workspace, Settings(), now=START + timedelta(days=2))
    assert failed.value.retry_may_help


# --- real models -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def homes(tmp_path_factory) -> Workspace:
    """Ninety days of two homes that cool when it is hot, in the batch store, and weather to the day after."""
    return two_homes(tmp_path_factory.mktemp("planned"), START, DAYS)


@pytest.mark.stack
def test_a_plan_is_trained_and_forecast_without_a_flag_and_again_changes_nothing(homes):
    pytest.importorskip("lightgbm", reason="LightGBM isn't installed")
    pytest.importorskip("pvlib", reason="pvlib isn't installed")
    a_plan(homes, PLAN + ROOF)
    now = START + timedelta(days=DAYS, hours=1)
    made = scheduled_train(homes, Settings(), now=now)
    (model,) = made["models"]
    assert (model["version"], model["new"], model["sites"]) == (1, True, 2)
    assert json.loads(json.dumps(made)) == made
    assert made["last_day"] == "2024-12-29"  # 10 o'clock of the 30th in Seoul
    assert model["validation"]["model"]["all"]["mae"] < model["validation"]["yesterday"]["all"]["mae"]
    (again,) = scheduled_train(homes, Settings(), now=now + timedelta(hours=2), name="homes")["models"]
    assert again == model | {"new": False}
    assert sorted(path.name for path in (homes.folder / "models" / "homes").iterdir()) == ["000001"]

    told = scheduled_predict(homes, Settings(), now=now)
    assert told["day"] == "2024-12-31"
    loads, roof = told["forecasts"]
    assert (loads["name"], loads["model"], loads["version"], loads["weather_kind"]) == (
        "homes",
        "homes",
        1,
        "forecast",
    )
    assert (loads["intervals"], roof["intervals"], roof["not_forecast"]) == (48, 48, 0)
    assert loads["not_forecast"] == 0  # made in the morning before, so some of its loads are of a week before
    assert roof["issued"] == "2024-12-30T01:00:00+00:00"
    kept = {path.name: path.read_bytes() for path in (homes.folder / "forecasts").iterdir()}
    later = scheduled_predict(homes, Settings(), now=now + timedelta(hours=3))
    assert later == told
    assert {path.name: path.read_bytes() for path in (homes.folder / "forecasts").iterdir()} == kept
    read = read_kept(homes, "homes", date(2024, 12, 31))
    with open(homes.folder / "forecasts" / "homes-2024-12-31.csv", newline="") as lines:
        assert sum(sum(site.values()) for site in read.wh.values()) == sum(
            int(row["forecast_wh"]) for row in csv.DictReader(lines) if row["forecast_wh"]
        )


@pytest.mark.stack
def test_one_that_fails_does_not_hold_up_the_others(homes):
    pytest.importorskip("lightgbm", reason="LightGBM isn't installed")
    pytest.importorskip("pvlib", reason="pvlib isn't installed")
    a_plan(homes, PLAN.replace('"homes"', '"never-trained"') + ROOF.replace('"roof"', '"barn"'))
    now = START + timedelta(days=DAYS, hours=1)
    with pytest.raises(SomeFailedError, match="1 of 2 failed, the others are done: never-trained: no model"):
        scheduled_predict(homes, Settings(), now=now)
    assert (homes.folder / "forecasts" / "barn-2024-12-31.csv").exists()
    a_plan(homes, PLAN + 'sites = ["nobody"]\n')
    with pytest.raises(NegawattError, match="no site 'nobody'"):
        scheduled_train(homes, Settings(), now=now)
    with pytest.raises(NegawattError, match=r"forecast.toml has no load 'other'; it has: homes"):
        scheduled_train(homes, Settings(), now=now, name="other")


@pytest.mark.stack
def test_at_a_terminal_a_plan_needs_no_flag(homes):
    pytest.importorskip("pvlib", reason="pvlib isn't installed")
    a_plan(homes, WEATHER + ROOF)
    terminal, words = Terminal(homes.folder), ("forecast", "predict", "--day", "2024-12-20")
    assert terminal.json(*words)["forecasts"][0]["file"] == "roof-2024-12-20.csv"
    assert "Forecasts of 2024-12-20 (Asia/Seoul)" in terminal.run(*words)
    assert "nothing to train" in terminal.run("forecast", "train")
