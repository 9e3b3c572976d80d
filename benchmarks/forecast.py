"""The benchmark ``forecast``: errors of the load forecast on real data, beside trees and naive forecasts; its cost.

Training ends before the test begins, and nothing was chosen on the test: settings of the network are the defaults of
`batch.forecast_nn`, chosen on the months before. The data lie outside the project, in ``../shared/data``.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np

from batch.forecast import MODELS, ForecastRule, predict, train
from batch.forecast_judgement import NAIVE, Validation, judge
from batch.forecast_store import loads_of_store, train_store
from batch.parquet_store import ParquetStore
from batch.session import open_session, warm_up
from benchmarks.isolation import isolated
from benchmarks.options import Options
from benchmarks.results import Row
from domain.errors import NegawattError
from domain.forecast_features import HISTORY_DAYS
from domain.readings import Readings, Register
from domain.series import Loads, Weather, day_bounds
from ingest.series_files import LoadColumns, read_loads, read_weather

DATA = Path(__file__).parents[2] / "shared" / "data"
SIZES = (1_000,)
"""Sites that are trained by Spark, for the cost of a thousand."""

LIMITS = {"victoria": 2.4, "homes": 28.0}
"""Ours; for the homes it is the error of yesterday's load. [%]"""


@dataclass(frozen=True)
class Case:
    """Real data: where they lie, when the test begins and ends, and the rule."""

    name: str
    loads: Loads
    weather: Weather
    first_day: date
    last_day: date
    rule: ForecastRule


def run(options: Options) -> list[Row]:
    """Measure errors, then times."""
    rows: list[Row] = []
    for name in CASES:
        found: dict[str, Validation] = {}
        for model in MODELS:
            options.say(f"{name}: {model}")
            found[model] = isolated(_tested, name, model)
        rows += _rows(name, found)
    for sites in options.homes:
        options.say(f"{sites:,} sites: Spark")
        rows += _cost(options.folder / f"forecast-{sites}", sites, options.keep)
    return rows


def victoria() -> Case:
    """Half-hourly demand of Victoria, tested on the second half of 2013."""
    path = _data("victoria-halfhourly.csv.gz")
    rule = ForecastRule(zone="Australia/Melbourne", holidays="AU-VIC")
    loads = read_loads(path, LoadColumns("load_mwh", unit="MWh"))
    return Case("victoria", loads, read_weather(path), date(2013, 7, 1), date(2013, 12, 31), rule)


def homes() -> Case:
    """Ten homes in California summed, hourly, tested from April 2017 on."""
    rule = ForecastRule(zone="Etc/GMT+8", holidays="US-CA")
    loads = read_loads(_data("homes-hourly.csv.gz"), LoadColumns("load_kwh", site="meter", unit="kWh")).total()
    weather = read_weather(_data("homes-weather-hourly.csv.gz"))
    return Case("homes", loads, weather, date(2017, 4, 1), date(2017, 7, 31), rule)


CASES = {"victoria": victoria, "homes": homes}


def _data(name: str) -> Path:
    path = DATA / name
    if not path.exists():
        raise NegawattError(f"no {path}: this benchmark needs the shared data beside the project's folder")
    return path


def _tested(name: str, model: str) -> Validation:
    """Train on what comes before the test, forecast all of the test, and judge it."""
    case = CASES[name]()
    rule = replace(case.rule, model=model)
    minutes, zone = case.loads.interval_minutes, ZoneInfo(rule.zone)
    begin = day_bounds(case.first_day, minutes, zone)[0]
    end = min(day_bounds(case.last_day, minutes, zone)[1], case.loads.last_slot)
    group = train(case.loads.between(case.loads.first_slot, begin), case.weather, rule)
    return judge(case.loads, predict(group, case.loads, case.weather, rule, begin, end))


def _rows(name: str, found: dict[str, Validation]) -> list[Row]:
    """Errors of the models and of the naive forecasts, each beside the network's or its limit."""
    at = f"data={name}"
    parts = {model: one.model[""]["all"] for model, one in found.items()}
    parts |= {naive: found["nn"].naive[naive][""]["all"] for naive in NAIVE}
    mape = {which: float(part.mape_pct or np.nan) for which, part in parts.items()}
    ours = f"mape_pct {at} model=nn"
    rows = [Row(ours, mape["nn"], "%", "limit", LIMITS[name])]
    rows += [
        Row(f"mape_pct {at} model={which}", mape[which], "%", ours, mape["nn"]) for which in parts if which != "nn"
    ]
    theirs = f"mape_pct {at} model=lightgbm"
    rows.append(Row(f"mape_pct_beside_lightgbm {at} model=nn", mape["nn"], "%", theirs, mape["lightgbm"]))
    for kind in ("weekday", "weekend"):
        a, b = (float(found[model].model[""][kind].mape_pct or np.nan) for model in ("nn", "lightgbm"))
        rows.append(
            Row(f"mape_pct {at} model=nn days={kind}", a, "%", f"mape_pct {at} model=lightgbm days={kind}", b)
        )
    rows.append(
        Row(
            f"coverage_pct {at} model=nn",
            float(parts["nn"].coverage_pct or 0),
            "%",
            "promised",
            80.0,
            better="higher",
        )
    )
    return rows


def _cost(folder: Path, sites: int, keep: bool) -> list[Row]:
    """Seconds to train and to predict a day, per thousand sites."""
    try:
        if not (folder / "complete").exists():
            shutil.rmtree(folder, ignore_errors=True)
            _load_sites(folder / "store", sites)
            (folder / "complete").touch()
        at = f"sites={sites}"
        trained, predicted = isolated(_time_spark, folder, sites)
        one = (f"train_s_per_1000_sites {at} model=nn", 1000 / sites * trained)
        other = (f"predict_s_per_1000_sites {at} model=nn", 1000 / sites * predicted)
        return [Row(*one, "s", *other), Row(*other, "s", *one)]
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


def _load_sites(folder: Path, sites: int) -> None:
    """A store of made-up sites: each is a mixture of the ten homes, hourly over a year."""
    real = read_loads(_data("homes-hourly.csv.gz"), LoadColumns("load_kwh", site="meter", unit="kWh"))
    random = np.random.default_rng(1)
    store = ParquetStore(folder)
    n = real.load.shape[1]
    for begin in range(0, sites, 100):
        count = min(100, sites - begin)
        wh = np.round(random.dirichlet(np.full(len(real.sites), 0.5), count) @ real.load)
        names = np.array([f"site-{begin + k:06d}" for k in range(count)], dtype=object)
        store.append(
            [
                Readings(
                    60,
                    Register.IMPORT,
                    names,
                    np.repeat(np.arange(count, dtype=np.int32), n),
                    np.tile(np.arange(real.first_slot, real.last_slot), count),
                    wh.reshape(-1).astype(np.int32),
                    np.full(wh.size, 2, np.int8),
                    np.zeros(wh.size, np.int16),
                )
            ]
        )
    store.compact()


def _time_spark(folder: Path, sites: int) -> tuple[float, float]:
    """Training by a warm session; then a day's forecast of all sites in this process."""
    store, weather = ParquetStore(folder / "store"), read_weather(_data("homes-weather-hourly.csv.gz"))
    rule = ForecastRule(zone="Etc/GMT+8", holidays="US-CA", folds=1)
    window = 60, weather.first_slot, weather.last_slot
    session = open_session(log=folder / "spark.log")
    try:
        warm_up(session)
        began = time.perf_counter()
        groups, _, _ = train_store(session, store, weather, rule, window)
        trained = time.perf_counter() - began
    finally:
        session.stop()
    last = weather.last_slot
    began = time.perf_counter()
    done = 0
    for group in groups:
        names = [str(site) for site in group.sites]
        loads = loads_of_store(store, 60, last - (HISTORY_DAYS + 1) * 24, last, names)
        done += len(predict(group, loads, weather, rule, last - 24, last).sites)
    if done != sites:
        raise NegawattError(f"{done} of {sites} sites were forecast")
    return trained, time.perf_counter() - began
