"""Correlation and forecasts of a workspace: where loads and weather come from, and what is kept.

Schedulers call these functions. Loads come from the batch store, or from a file beside it; models are kept in
``models``, forecasts in ``forecasts``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from batch.correlate import correlate_loads, correlate_store
from batch.forecast import ForecastRule, hash_of, predict, train
from batch.forecast_judgement import NAIVE, Forecast, Validation, judge
from batch.forecast_registry import ModelRegistry, ModelVersion, check_name
from batch.forecast_store import check_sites, loads_of_store, store_window, train_store
from batch.session import open_session
from domain.correlation import Correlation
from domain.errors import NegawattError
from domain.forecast_features import HISTORY_DAYS
from domain.intervals import slot_start, slots_per_day
from domain.series import InvalidSeriesError, Loads, Weather, day_bounds
from domain.zones import zone_named
from ingest.series_files import LoadColumns, read_loads, read_weather
from negawatt.console import Progress, quiet
from negawatt.pipeline import batch_store
from negawatt.settings import Settings
from negawatt.workspace import Workspace, write_whole

DRAWN_SITES = 4
"""Sites that a page draws where none is named."""


@dataclass(frozen=True)
class LoadSource:
    """Where loads come from.

    Attributes
    ----------
    file : Path or None
        A file of loads; None for the workspace's batch store.
    columns : LoadColumns
        What its columns mean.
    sites : tuple of str
        Sites to take; empty for all.
    first, last : date or None
        Local days, both inclusive; None for as far as there are loads.
    zone : str
        IANA zone of the local days.
    """

    file: Path | None = None
    columns: LoadColumns = field(default_factory=lambda: LoadColumns("import_wh"))
    sites: tuple[str, ...] = ()
    first: date | None = None
    last: date | None = None
    zone: str = "UTC"


@dataclass(frozen=True)
class WeatherSource:
    """A file of weather, its columns by our names, and its zone where times have no offset."""

    file: Path
    columns: Mapping[str, str] = field(default_factory=dict)
    start: str = "interval_start"
    zone: str | None = None

    def read(self) -> Weather:
        """The weather."""
        return read_weather(self.file, self.start, self.columns, self.zone)


@dataclass(frozen=True)
class Correlated:
    """What a correlation found, with the loads and the weather of the sites that are drawn."""

    found: list[Correlation]
    loads: Loads
    weather: Weather
    drawn: Loads


def correlate(
    workspace: Workspace,
    settings: Settings,
    source: LoadSource,
    weather: Weather,
    *,
    spark: bool = False,
    progress: Progress = quiet,
) -> Correlated:
    """Compare loads with the weather by site and by day; by Spark where asked, which needs the batch store.

    Raises
    ------
    NegawattError
        The loads or the weather can't be used: what, where, and what was expected.
    """
    zone = zone_named(source.zone)
    if not spark:
        loads = read_source(workspace, settings, source)
        found = correlate_loads(loads, weather, zone)
        drawn = loads.only([str(site) for site in loads.sites[:DRAWN_SITES]])
        return Correlated(found, loads, weather, drawn)
    store, window = _store_window(workspace, settings, source)
    session = open_session(settings.spark, log=workspace.spark_log)
    found, _ = correlate_store(
        session, store, weather, zone, window, source.sites or None, lambda done, of: progress("correlate", done, of)
    )
    if not found:
        raise InvalidSeriesError(f"{store.url} holds no readings of the sites on those days")
    names = list(dict.fromkeys(one.site for one in found))
    drawn = loads_of_store(store, *window, names[:DRAWN_SITES])
    return Correlated(found, drawn, weather, drawn)


def read_source(workspace: Workspace, settings: Settings, source: LoadSource) -> Loads:
    """Loads of a file or of the batch store, read in this process. [Wh]

    Raises
    ------
    NegawattError
        There are none, no such site, or no such days.
    """
    if source.file is None:
        store, window = _store_window(workspace, settings, source)
        loads = loads_of_store(store, *window, source.sites or None)
        if len(loads.sites) == 0:
            raise InvalidSeriesError(f"{store.url} holds no readings on those days")
        return loads
    loads = read_loads(source.file, source.columns)
    if source.sites:
        loads = loads.only(list(source.sites))
    first, last = _days(source, loads.interval_minutes, loads.first_slot, loads.last_slot)
    return loads.between(first, last)


def _store_window(workspace: Workspace, settings: Settings, source: LoadSource) -> tuple[Any, tuple[int, int, int]]:
    if source.file is not None:
        raise NegawattError(
            "a Spark job reads the batch store, not a file: bring it in by negawatt ingest, or leave --on-spark out"
        )
    store = batch_store(workspace, settings)
    minutes, first, last = store_window(store)
    check_sites(store, minutes, source.sites)
    return store, (minutes, *_days(source, minutes, first, last))


def _days(source: LoadSource, minutes: int, first_slot: int, last_slot: int) -> tuple[int, int]:
    """The slots of the days asked for, within those that there are."""
    zone = zone_named(source.zone)
    first = day_bounds(source.first, minutes, zone)[0] if source.first else first_slot
    last = day_bounds(source.last, minutes, zone)[1] if source.last else last_slot
    if first >= last or first >= last_slot or last <= first_slot:
        begin, end = (slot_start(slot, minutes).isoformat() for slot in (first_slot, last_slot))
        raise InvalidSeriesError(f"no loads on the days asked for; there are loads from {begin} to {end}")
    return max(first, first_slot), min(last, last_slot)


def registry(workspace: Workspace) -> ModelRegistry:
    """The workspace's models."""
    return ModelRegistry(workspace.folder / "models")


def train_model(
    workspace: Workspace,
    settings: Settings,
    name: str,
    source: LoadSource,
    weather: Weather,
    rule: ForecastRule,
    *,
    now: datetime,
    spark: bool = False,
    again: bool = True,
    progress: Progress = quiet,
) -> tuple[ModelVersion, list[str]]:
    """Train a model and keep it as the next version of its name, if it beats the naive forecasts.

    Parameters
    ----------
    again : bool
        Keep a new version even where the last one comes of the same data by the same rule; else that one is returned.

    Returns
    -------
    ModelVersion, list of str
        And what was left out.

    Raises
    ------
    NotBetterThanNaiveError
        It doesn't; nothing is kept.
    NegawattError
        The loads or the weather can't be used, or a library isn't there.
    """
    check_name(name)
    zone_named(rule.zone)
    left_out: list[str] = []
    if spark:
        store, window = _store_window(workspace, settings, source)
        session = open_session(settings.spark, log=workspace.spark_log)
        groups, left_out, _ = train_store(
            session, store, weather, rule, window, source.sites or None, lambda done, of: progress("train", done, of)
        )
    else:
        loads = read_source(workspace, settings, source)
        if not again and (same := _last_if_same(workspace, name, [hash_of(loads, weather)], rule)):
            return same, list(same.document["findings"])
        groups = [train(loads, weather, rule)]
    if not again and (same := _last_if_same(workspace, name, [group.data_hash for group in groups], rule)):
        return same, [*left_out, *same.document["findings"]]
    version = registry(workspace).register(name, groups, rule, now)
    return version, [*left_out, *version.document["findings"]]


def _last_if_same(workspace: Workspace, name: str, hashes: Iterable[str], rule: ForecastRule) -> ModelVersion | None:
    """The last version of a model if it was trained on data of these hashes by this rule."""
    models = registry(workspace)
    if not models.versions(name):
        return None
    last = models.version(name)
    data = hashlib.sha256("".join(sorted(hashes)).encode()).hexdigest()
    same_rule = last.document["rule"] == json.loads(json.dumps(rule.document()))  # as JSON has it: no tuples
    return last if same_rule and last.document["data_sha256"] == data else None


def predict_days(
    workspace: Workspace,
    settings: Settings,
    version: ModelVersion,
    source: LoadSource,
    weather: Weather,
    first_day: date,
    last_day: date,
) -> list[Forecast]:
    """Forecast local days of the model's zone for its sites, a forecast a group.

    Raises
    ------
    NegawattError
        The loads or the weather can't be used, or none of the sites is the model's.
    """
    if last_day < first_day:
        raise NegawattError(f"the days run from {first_day} to {last_day}: expected the earlier one first")
    zone, minutes = zone_named(version.rule.zone), version.document["interval_minutes"]
    first, last = day_bounds(first_day, minutes, zone)[0], day_bounds(last_day, minutes, zone)[1]
    found = []
    known: set[str] = set()
    for group in version.groups():
        served = [str(site) for site in group.sites]
        known.update(served)
        wanted = [site for site in served if not source.sites or site in source.sites]
        if not wanted:
            continue
        loads = _history(workspace, settings, source, wanted, first, last, minutes)
        found.append(predict(group, loads, weather, version.rule, first, last))
    strangers = sorted(set(source.sites) - known)
    if strangers:
        some = ", ".join(map(repr, sorted(known)[:5])) + (", …" if len(known) > 5 else "")
        raise InvalidSeriesError(
            f"the model {version.name!r} doesn't know site {strangers[0]!r}; it knows {len(known)}: {some}"
        )
    if all(np.isnan(forecast.middle).all() for forecast in found):
        why = next((text for forecast in found for text in forecast.findings), "no site has loads")
        raise InvalidSeriesError(
            f"nothing can be forecast from {first_day} to {last_day}: {why}. Expected loads of the {HISTORY_DAYS} "
            "days before and temperatures from two weeks before to the end of the last day"
        )
    return found


def _history(
    workspace: Workspace,
    settings: Settings,
    source: LoadSource,
    sites: Iterable[str],
    first: int,
    last: int,
    minutes: int,
) -> Loads:
    """Loads of some sites from where a forecast looks back to up to its end."""
    begin = first - HISTORY_DAYS * slots_per_day(minutes)
    if source.file is None:
        return loads_of_store(batch_store(workspace, settings), minutes, begin, last, sites)
    loads = read_loads(source.file, source.columns)
    if loads.interval_minutes != minutes:
        raise InvalidSeriesError(
            f"{source.file}: intervals of {loads.interval_minutes} min; expected {minutes} min, as the model learned"
        )
    return loads.only(list(sites)).between(begin, last)


def evaluate_model(
    workspace: Workspace,
    settings: Settings,
    version: ModelVersion,
    source: LoadSource,
    weather: Weather,
    first_day: date,
    last_day: date,
) -> tuple[list[Validation], list[Forecast], list[Loads]]:
    """Judge a model on local days after those that it learned from.

    Returns
    -------
    list of Validation, list of Forecast, list of Loads
        A group each; the loads are those of the days.

    Raises
    ------
    NegawattError
        The days overlap with those that it learned from, or a forecast can't be made.
    """
    zone, minutes = zone_named(version.rule.zone), version.document["interval_minutes"]
    begin = day_bounds(first_day, minutes, zone)[0]
    learned_to = version.document["last_slot"]
    if begin < learned_to:
        raise NegawattError(
            f"the model {version.name!r} learned from loads up to {slot_start(learned_to, minutes).isoformat()}, so "
            f"days from {first_day} on would judge it by what it has seen: expected later days, or train with an "
            "earlier --to"
        )
    forecasts = predict_days(workspace, settings, version, source, weather, first_day, last_day)
    validations, loads = [], []
    for forecast in forecasts:
        first, last = forecast.first_slot, forecast.first_slot + forecast.middle.shape[1]
        served = [str(site) for site in forecast.sites]
        own = _history(workspace, settings, source, served, first, last, minutes)
        validations.append(judge(own, forecast))
        loads.append(own.between(first, last))
    return validations, forecasts, loads


def forecast_table(forecasts: Iterable[Forecast]) -> pa.Table:
    """Forecasts as rows: site, interval_start (UTC), interval_minutes, forecast_wh, low_wh, high_wh.

    A quantity that couldn't be forecast is null.
    """
    columns: dict[str, list[Any]] = {
        name: [] for name in ("site", "interval_start", "forecast_wh", "low_wh", "high_wh")
    }
    minutes = 0
    for forecast in forecasts:
        minutes = forecast.interval_minutes
        n = forecast.middle.shape[1]
        starts = (forecast.first_slot + np.arange(n)) * (60 * minutes)
        for row, site in enumerate(forecast.sites):
            columns["site"].append(np.full(n, site, dtype=object))
            columns["interval_start"].append(starts)
            for name, values in (
                ("forecast_wh", forecast.middle), ("low_wh", forecast.low), ("high_wh", forecast.high)
            ):  # fmt: skip
                columns[name].append(values[row])
    whole = {name: np.concatenate(parts) if parts else np.empty(0) for name, parts in columns.items()}
    energy = {
        name: pa.array(np.round(whole[name]), mask=np.isnan(whole[name].astype(np.float64))).cast(pa.int64())
        for name in ("forecast_wh", "low_wh", "high_wh")
    }
    return pa.table(
        {
            "site": pa.array(whole["site"].tolist(), pa.string()),
            "interval_start": pa.array(whole["interval_start"].astype(np.int64), pa.timestamp("s", "UTC")),
            "interval_minutes": pa.array(np.full(len(whole["site"]), minutes, np.int16)),
            **energy,
        }
    )


def write_table(path: Path, table: pa.Table) -> None:
    """Write rows whole: Parquet where the name ends so, else CSV with times in ISO 8601."""
    sink = pa.BufferOutputStream()
    if path.suffix == ".parquet":
        pyarrow.parquet.write_table(table, sink, compression="zstd")
    else:
        start = table.column("interval_start")
        text = [moment.isoformat() for moment in start.to_pylist()]
        at = table.column_names.index("interval_start")
        pyarrow.csv.write_csv(table.set_column(at, "interval_start", pa.array(text, pa.string())), sink)
    write_whole(path, sink.getvalue().to_pybytes())


def days_between(first: date, last: date) -> int:
    """Days from the first to the last, both inclusive."""
    return (last - first) // timedelta(days=1) + 1


KIND_WORDS: Mapping[Literal["actual", "forecast"], str] = {
    "actual": "actual weather of the targets: hindsight, so errors with a weather forecast will be greater",
    "forecast": "a weather forecast",
}
"""What the weather of a target was, in words for people."""

WHICH = ("model", *NAIVE)
