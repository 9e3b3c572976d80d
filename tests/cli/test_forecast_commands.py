"""``negawatt correlate`` and ``negawatt forecast``, as someone at a terminal uses them."""

from __future__ import annotations

import csv
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from terminal import Terminal

START = datetime(2024, 10, 1, tzinfo=UTC)
DAYS = 100


class Homes(Terminal):
    """A terminal, and in its folder a hundred days of two homes that cool when it is hot, and the weather."""

    def __init__(self, folder) -> None:
        super().__init__(folder / "workspace")
        random = np.random.default_rng(1)
        hours = np.arange(24 * (DAYS + 20))
        heat = 18 + np.repeat(random.normal(0, 5, DAYS + 20), 24) + 5 * np.sin(2 * np.pi * (hours - 9) / 24)
        begin = START - timedelta(days=20)
        self.weather = self.write(
            "weather.csv",
            "interval_start,temperature_c,relative_humidity_pct",
            *(f"{(begin + timedelta(hours=int(h))).isoformat()},{heat[h]:.2f},{50 + h % 7}" for h in hours),
        )
        rows = []
        for n, home in enumerate(("a", "b")):
            for h in range(24 * DAYS):
                wh = (500 + 400 * n) * (1 + 0.05 * max(heat[20 * 24 + h] - 18, 0)) * random.uniform(0.95, 1.05)
                rows.append(f"{home},{(START + timedelta(hours=h)).isoformat()},{wh:.0f}")
        self.loads = self.write("homes.csv", "meter,interval_start,import_wh", *rows)

    @property
    def given(self) -> tuple[object, ...]:
        return ("--load", self.loads, "--site-column", "meter", "--weather", self.weather)


@pytest.fixture(scope="module")
def terminal(tmp_path_factory) -> Homes:
    return Homes(tmp_path_factory.mktemp("forecast_commands"))


@pytest.mark.parametrize(
    "command", [["correlate"], *(["forecast", name] for name in ("train", "predict", "evaluate", "pv"))]
)
def test_every_command_explains_itself(terminal, command):
    said = terminal.run(*command, "--help")
    assert "--json" in said
    assert "--weather" in said


def test_correlate_gives_a_table_a_page_and_no_nan(terminal):
    found = terminal.json("correlate", *terminal.given, "--zone", "Asia/Seoul")
    by = {(one["site"], one["variable"]): one for one in found["correlations"]}
    assert set(by) == {
        (s, v) for s in "ab" for v in ("temperature_c", "relative_humidity_pct", "dew_point_c", "wind_speed_ms")
    }
    assert by["a", "temperature_c"]["r"] > 0.7
    assert by["a", "wind_speed_ms"]["finding"] == "weather.absent"
    page = (terminal.workspace.folder / "reports" / "correlation.html").read_text()
    assert page.count("<svg") == 6  # three variables of two sites
    assert "the weather has no such column" in page
    assert "http" not in page.replace("http-equiv", "")
    assert "band" in terminal.run("correlate", *terminal.given)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--load-column", "kwh"), "no column 'kwh'; found 'meter', 'interval_start', 'import_wh'"),
        (("--site", "c"), "no site 'c' among the loads; there are 2: 'a', 'b'"),
        (("--from", "2030-01-01"), "no loads on the days asked for; there are loads from 2024-10-01"),
        (("--zone", "Mars/Base"), "zone 'Mars/Base' is no IANA time zone"),
        (("--on-spark",), "a Spark job reads the batch store, not a file"),
    ],
)
def test_what_can_t_be_done_is_said_in_a_sentence(terminal, words, said):
    assert said in terminal.run("correlate", *terminal.given, *words, exit_code=1)


def test_a_wrong_weather_column_is_a_usage_error(terminal):
    terminal.run("correlate", *terminal.given, "--weather-column", "temperature_c", exit_code=2)


def test_an_empty_store_says_so(terminal):
    said = terminal.run("correlate", "--weather", terminal.weather, exit_code=1)
    assert "readings of one interval are needed" in said


def test_a_model_that_was_never_trained_is_named(terminal):
    words = ("--day", "2025-01-01", *terminal.given, "--weather-kind", "actual")
    assert "no model 'nothing'" in terminal.run("forecast", "predict", "nothing", *words, exit_code=1)


def test_the_kind_of_weather_has_to_be_said(terminal):
    assert "--weather-kind" in terminal.run("forecast", "train", "x", *terminal.given, exit_code=2)


@pytest.mark.stack
def test_a_model_is_trained_judged_and_used(terminal):
    pytest.importorskip("lightgbm", reason="LightGBM isn't installed")
    given = (*terminal.given, "--weather-kind", "actual")
    words = ("--to", "2024-12-19", "--zone", "Asia/Seoul", "--holidays", "KR", "--model", "lightgbm")
    made = terminal.json("forecast", "train", "homes", *given, *words)
    assert (made["version"], made["sites"], made["rule"]["weather_kind"]) == (1, 2, "actual")
    assert made["validation"]["model"]["all"]["mae"] < made["validation"]["yesterday"]["all"]["mae"]
    judged = terminal.json("forecast", "evaluate", "homes", *given, "--from", "2024-12-21", "--to", "2025-01-03")
    assert judged["errors"]["model"]["all"]["mape_pct"] < 10
    assert set(judged["sites"]) == {"a", "b"}
    assert "<svg" in (terminal.workspace.folder / "reports" / "forecast-homes.html").read_text()
    told = terminal.json("forecast", "predict", "homes", *given, "--day", "2025-01-04")
    assert (told["weather_kind"], told["intervals"], told["not_forecast"]) == ("actual", 48, 0)
    with open(told["file"], newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert rows[0]["interval_start"] == "2025-01-03T15:00:00+00:00"
    assert all(int(row["low_wh"]) <= int(row["forecast_wh"]) <= int(row["high_wh"]) for row in rows)
    said = terminal.run("forecast", "predict", "homes", *given, "--day", "2026-01-04", exit_code=1)
    assert "nothing can be forecast from 2026-01-04" in said
    said = terminal.run("forecast", "predict", "homes", *given, "--day", "2025-01-04", "--site", "c", exit_code=1)
    assert "the model 'homes' doesn't know site 'c'; it knows 2: 'a', 'b'" in said
    said = terminal.run("forecast", "predict", "homes", *given, "--day", "2025-01-04")
    assert "actual weather of the targets: hindsight" in said


@pytest.mark.stack
def test_days_that_a_model_learned_from_do_not_judge_it(terminal):
    pytest.importorskip("lightgbm", reason="LightGBM isn't installed")
    given = (*terminal.given, "--weather-kind", "actual")
    terminal.run("forecast", "train", "seen", *given, "--model", "lightgbm")
    words = ("--from", "2024-12-01", "--to", "2024-12-05")
    said = terminal.run("forecast", "evaluate", "seen", *given, *words, exit_code=1)
    assert "would judge it by what it has seen" in said


@pytest.mark.stack
def test_pv_output_is_written_as_rows(terminal):
    pytest.importorskip("pvlib", reason="pvlib isn't installed")
    hours = [START + timedelta(hours=h) for h in range(48)]
    sun = terminal.write(
        "sun.csv",
        "interval_start,temperature_c,direct_wm2,diffuse_wm2",
        *(f"{h.isoformat()},25,{600 if 0 <= h.hour < 9 else 0},{80 if 0 <= h.hour < 9 else 0}" for h in hours),
    )
    place = ("--capacity-kw", 300, "--latitude", 21.0, "--longitude", 105.8, "--zone", "Asia/Ho_Chi_Minh")
    words = ("--day", "2024-10-02", "--weather", sun, "--weather-kind", "forecast", "--name", "site-b")
    told = terminal.json("forecast", "pv", *place, *words)
    assert told["intervals"] == 48
    assert 500_000 < told["forecast_wh"] < 2_400_000  # 300 kW for two to eight hours' worth
    with open(told["file"], newline="") as lines:
        assert {row["site"] for row in csv.DictReader(lines)} == {"site-b"}
