"""What a workspace's forecast.toml asks for, in one call each: train its models, forecast its loads and plants."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

from domain.errors import NegawattError
from domain.zones import zone_named
from negawatt.console import Progress, quiet
from negawatt.forecast_pages import unforecast
from negawatt.forecast_plan import ForecastPlan, LoadPlan, PVPlan, read_plan
from negawatt.forecasting import (
    LoadSource,
    forecast_table,
    predict_days,
    registry,
    train_model,
)
from negawatt.kept_forecasts import keep_forecast
from negawatt.pv_forecasts import pv_days
from negawatt.settings import Settings
from negawatt.workspace import Workspace

SHOWN = 20
"""Findings that are returned of each model; its model.json has all."""


class SomeFailedError(NegawattError):
    """Some of the models or plants of a plan failed; the others are done. A retry may help one of them.

    Attributes
    ----------
    failures : dict of str to str
        What went wrong, by name.
    """

    def __init__(self, failures: Mapping[str, NegawattError], of: int) -> None:
        self.failures = {name: str(problem) for name, problem in failures.items()}
        self.retry_may_help = any(problem.retry_may_help for problem in failures.values())
        said = "; ".join(f"{name}: {problem}" for name, problem in failures.items())
        super().__init__(f"{len(failures)} of {of} failed, the others are done: {said}")


class _Job(NamedTuple):
    """One model or plant of a plan, and what to do for it."""

    name: str
    work: Callable[[], dict[str, Any]]


def planned_models(workspace: Workspace) -> list[str]:
    """Names of the plan's models of load."""
    return [one.name for one in read_plan(workspace).loads]


def scheduled_train(
    workspace: Workspace, settings: Settings, *, now: datetime, name: str | None = None, progress: Progress = quiet
) -> dict[str, Any]:
    """Train the models of ``forecast.toml`` on the batch store's loads up to yesterday.

    A model of which the last version comes of the same data by the same rule is left as it is.

    Parameters
    ----------
    workspace : Workspace
    settings : Settings
    now : datetime
        Its local day, in the plan's zone, is the first that isn't learned from.
    name : str, optional
        One of the models; by default all.
    progress : callable

    Returns
    -------
    dict
        ``models``: name, version, new (whether this call made it), sites, validation, findings and folder of each.

    Raises
    ------
    NotBetterThanNaiveError
        The one model is no better than a naive forecast, so its last version stays in force.
    SomeFailedError
        Of several models some can't be trained, or are no better than a naive forecast.
    NegawattError
        The plan, the loads or the weather can't be used.
    """
    plan = read_plan(workspace)
    chosen = [plan.model(name)] if name is not None else list(plan.loads)
    last = now.astimezone(zone_named(plan.zone)).date() - timedelta(days=1)

    def job(one: LoadPlan) -> _Job:
        return _Job(one.name, lambda: _train(workspace, settings, one, last, now, progress))

    return {"zone": plan.zone, "last_day": last.isoformat(), "models": _each(map(job, chosen))}


def scheduled_predict(
    workspace: Workspace, settings: Settings, day: date | None = None, *, now: datetime
) -> dict[str, Any]:
    """Forecast a day's loads and PV output as ``forecast.toml`` says, and keep the forecasts.

    The same rows made again leave what is kept as it is, with the time at which they were first issued.

    Parameters
    ----------
    workspace : Workspace
    settings : Settings
    day : date, optional
        Local day of the plan's zone; by default the one after ``now``'s.
    now : datetime
        When the forecasts are issued.

    Returns
    -------
    dict
        ``forecasts``: of each the issue (see `negawatt.kept_forecasts.keep_forecast`), intervals, not_forecast and
        findings.

    Raises
    ------
    SomeFailedError
        Some of several forecasts can't be made.
    NegawattError
        The plan can't be used, or its one forecast can't be made.
    """
    plan = read_plan(workspace)
    day = day or now.astimezone(zone_named(plan.zone)).date() + timedelta(days=1)

    def of_load(one: LoadPlan) -> _Job:
        return _Job(one.name, lambda: _predict_load(workspace, settings, plan, one, day, now))

    def of_plant(one: PVPlan) -> _Job:
        return _Job(one.name, lambda: _predict_pv(workspace, plan, one, day, now))

    made = _each([*map(of_load, plan.loads), *map(of_plant, plan.plants)])
    return {"day": day.isoformat(), "zone": plan.zone, "forecasts": made}


def _each(jobs: Iterable[_Job]) -> list[dict[str, Any]]:
    """Do every job, even where one before it failed; then say which failed."""
    done: list[dict[str, Any]] = []
    failed: dict[str, NegawattError] = {}
    for job in jobs:
        try:
            done.append(job.work())
        except NegawattError as problem:
            failed[job.name] = problem
    if failed and not done and len(failed) == 1:
        raise next(iter(failed.values()))
    if failed:
        raise SomeFailedError(failed, len(failed) + len(done))
    return done


def _train(
    workspace: Workspace, settings: Settings, one: LoadPlan, last: date, now: datetime, progress: Progress
) -> dict[str, Any]:
    first = last - timedelta(days=one.history_days - 1) if one.history_days else None
    source = LoadSource(sites=one.sites, first=first, last=last, zone=one.rule.zone)
    before = registry(workspace).versions(one.name)
    version, findings = train_model(
        workspace,
        settings,
        one.name,
        source,
        one.weather.to_learn().read(),
        one.rule,
        now=now,
        spark=one.on_spark,
        again=False,
        progress=progress,
    )
    return {
        "name": one.name,
        "version": version.version,
        "new": version.version not in before,
        "sites": version.document["sites"],
        "weather_kind": one.rule.weather_kind,
        "validation": version.document["validation"]["all"],
        "findings": findings[:SHOWN],
        "findings_total": len(findings),
        "folder": str(version.folder),
    }


def _predict_load(
    workspace: Workspace, settings: Settings, plan: ForecastPlan, one: LoadPlan, day: date, now: datetime
) -> dict[str, Any]:
    version = registry(workspace).version(one.name)
    if version.rule.zone != plan.zone:
        raise NegawattError(
            f"version {version.version} of the model was trained on days of {version.rule.zone}, and forecast.toml "
            f"says {plan.zone}: train it again"
        )
    source = LoadSource(zone=plan.zone)  # all sites that the model learned from
    found = predict_days(workspace, settings, version, source, one.weather.to_predict(day).read(), day, day)
    table = forecast_table(found)
    kind = one.weather.predict_kind
    issue = keep_forecast(workspace, one.name, day, table, made_by_model(version, kind, day), now)
    findings = [text for forecast in found for text in forecast.findings]
    return _made(one.name, issue, table.num_rows, unforecast(found), findings)


def _predict_pv(workspace: Workspace, plan: ForecastPlan, one: PVPlan, day: date, now: datetime) -> dict[str, Any]:
    table = pv_days(
        one.weather.to_predict(day).read(),
        day,
        day,
        name=one.name,
        zone=plan.zone,
        capacity_kw=one.capacity_kw,
        latitude=one.latitude,
        longitude=one.longitude,
        tilt=one.tilt,
        azimuth=one.azimuth,
        interval=one.interval_minutes,
    )
    made_by = made_by_plant(one.name, plan.zone, one.weather.predict_kind, day)
    issue = keep_forecast(workspace, one.name, day, table, made_by, now)
    return _made(one.name, issue, table.num_rows, table.column("forecast_wh").null_count, [])


def made_by_model(version: Any, weather_kind: str, last_day: date) -> dict[str, Any]:
    """What a kept forecast of load says of its making."""
    return {
        "model": version.name,
        "version": version.version,
        "zone": version.rule.zone,
        "last_day": last_day.isoformat(),
        "weather_kind": weather_kind,
    }


def made_by_plant(name: str, zone: str, weather_kind: str, last_day: date) -> dict[str, Any]:
    """What a kept PV forecast says of its making."""
    return {"plant": name, "zone": zone, "last_day": last_day.isoformat(), "weather_kind": weather_kind}


def _made(name: str, issue: dict[str, Any], intervals: int, lacking: int, findings: list[str]) -> dict[str, Any]:
    return {
        "name": name,
        **{key: value for key, value in issue.items() if key != "format"},
        "intervals": intervals,
        "not_forecast": lacking,
        "findings": findings[:SHOWN],
        "findings_total": len(findings),
    }
