"""The page on forecasts lists the keys of forecast.toml, and its example is one."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from negawatt import scheduled_forecasts
from negawatt.forecast_plan import LOAD_KEYS, PLAN_KEYS, PV_KEYS, WEATHER_KEYS, read_plan
from negawatt.workspace import Workspace

PAGE = (Path(__file__).parents[2] / "docs" / "forecast.md").read_text("utf-8")


def shown() -> str:
    return PAGE[PAGE.index("```toml forecast\n") :].split("\n", 1)[1].split("```", 1)[0]


def test_every_key_of_a_plan_is_explained_and_no_other():
    lines = PAGE[PAGE.index("| key |") :].split("\n\n", 1)[0].splitlines()[2:]
    keys = [word for line in lines for word in re.findall(r"`([^`]+)`", line.strip("|").split("|")[0])]
    assert set(keys) == PLAN_KEYS | WEATHER_KEYS | LOAD_KEYS | PV_KEYS
    assert len(keys) == len(set(keys))


def test_the_plan_shown_is_one_and_has_every_key(tmp_path):
    (tmp_path / "forecast.toml").write_text(shown())
    plan = read_plan(Workspace(tmp_path))
    assert (plan.loads[0].name, plan.plants[0].name) == ("homes", "roof-b")
    data = tomllib.loads(shown())
    assert set(data) == PLAN_KEYS
    assert set(data["weather"]) == WEATHER_KEYS
    assert set(data["load"][0]) == LOAD_KEYS - {"weather"}
    assert set(data["pv"][0]) == PV_KEYS


def test_defaults_are_those_that_the_page_says(tmp_path):
    text = 'zone = "UTC"\n[weather]\nlearn = "w"\nlearn_kind = "actual"\npredict = "w"\npredict_kind = "actual"\n'
    text += '[[load]]\nname = "a"\n[[pv]]\nname = "b"\ncapacity_kw = 1\nlatitude = 0\nlongitude = 0\n'
    (tmp_path / "forecast.toml").write_text(text)
    plan = read_plan(Workspace(tmp_path))
    rule, roof = plan.loads[0].rule, plan.plants[0]
    rows = {
        cells[0].strip(): cells[-1].strip()
        for line in PAGE[PAGE.index("| key |") :].split("\n\n", 1)[0].splitlines()
        if (cells := line.strip("|").split("|"))
    }
    assert rows["`coverage`, `validation_days`, `folds`, `seed`"] == (
        f"{rule.coverage}, {rule.validation_days}, {rule.folds}, {rule.seed}"
    )
    assert rows["`tilt`, `azimuth`"] == f"{roof.tilt:g}, {roof.azimuth:g}"
    assert rows["`interval_minutes`"] == str(roof.interval_minutes)
    assert rows["`model`"] == f"`{rule.model}`"
    assert rows["`history_days`"] == str(plan.loads[0].history_days)


def test_functions_for_schedulers_are_there():
    assert callable(scheduled_forecasts.scheduled_train)
    assert callable(scheduled_forecasts.scheduled_predict)
