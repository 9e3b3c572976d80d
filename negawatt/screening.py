"""Baseline screening of a workspace, as a function: which baseline rule fits which home. Schedulers call the same."""

from __future__ import annotations

import time as clock
import tomllib
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import date, datetime, time, timedelta
from importlib import resources as package_files
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.parquet as pq

from batch.forecast_store import store_window
from batch.screening import run_screening
from batch.session import open_session
from domain.calendars import day_type
from domain.errors import NegawattError
from domain.events import DREvent
from domain.intervals import local_day_bounds, slot_start
from domain.programmes import Programme
from domain.screening_plan import Window, find_candidates, make_screening_plan, own_rule
from domain.screening_rules import InvalidScreeningRulesError, ScreeningRules, parse_screening_rules
from negawatt.console import Progress, quiet
from negawatt.pipeline import batch_store
from negawatt.screening_view import screening_table, summarise
from negawatt.settings import Settings
from negawatt.workspace import Workspace, write_whole

USUAL_WINDOW = Window(time(17), 60)
"""What is screened where neither the caller nor the programme's events name a window: an hour of the evening peak."""


def screen(
    workspace: Workspace,
    settings: Settings,
    programme: str,
    *,
    now: datetime | None = None,
    last_day: date | None = None,
    window: Window | None = None,
    days: int | None = None,
    kind: str | None = None,
    others: Sequence[str] = (),
    spark: bool = False,
    worst: int = 10,
    progress: Progress = quiet,
) -> dict[str, Any]:
    """Find the baseline rule that fits each resource, and keep the result in the workspace.

    Over the same readings and events it writes the same file again.

    Parameters
    ----------
    programme : str
        Name of the programme, whose own rule is compared with others on its calendar.
    now : datetime, optional
        Days that are not over by then are no proxies. Default: what the store holds decides.
    last_day : date, optional
        Last proxy day. Default: the last whole local day in the store.
    window : Window, optional
        Local time of day. Default: that of most of the programme's events, else `USUAL_WINDOW`.
    days : int, optional
        Proxy days to look for. Default: as the rules say.
    kind : str, optional
        Day type whose rule is screened. Default: that of the programme's last event, else of its first rule.
    others : sequence of str
        Programmes whose rules are compared too, whatever their calendar; those that share the zone and the holidays
        always are.
    spark : bool
        As a Spark job, on the master of the settings; else in this process.
    worst : int
        Resources to list, those that fit worst first.

    Returns
    -------
    dict
        Plain JSON values; ``file`` is the Parquet file with a row a resource.

    Raises
    ------
    NegawattError
        No readings of one interval, an unknown programme, no rule for the day type, or no proxy day.
    """
    began = clock.perf_counter()
    store = batch_store(workspace, settings)
    minutes, first_slot, end_slot = store_window(store)
    screened_programme = workspace.programme(programme)
    zone = screened_programme.zoneinfo
    held = slot_start(first_slot, minutes), slot_start(end_slot, minutes)
    day = last_day or _last_whole_day(min(held[1], now or held[1]), zone)
    events = sorted(workspace.events(), key=lambda event: event.start)
    mine = [event for event in events if event.programme == programme]
    terms = screened_programme.terms_on(day)
    served = kind or _usual_kind(screened_programme, mine) or terms.baselines[0].day_types[0]
    rule = own_rule(screened_programme, terms, served)
    candidates = find_candidates(
        screened_programme, rule, _others(workspace, programme, screened_programme, others), day, minutes
    )
    plan = make_screening_plan(
        screened_programme,
        candidates,
        window or _usual_window(mine, zone) or USUAL_WINDOW,
        minutes,
        rules_of(workspace, days),
        first_day=held[0].astimezone(zone).date(),
        last_day=day,
        event_days=_days(mine, zone),
        other_event_days=_days(events, zone),
    )
    if not plan.proxies:
        raise NegawattError(
            f"no day up to {day} can stand for an event: {store.url} holds {held[0].date()} to "
            f"{(held[1] - timedelta(days=1)).date()}, events' days are left out, and a {served} is wanted"
        )
    session = open_session(settings.spark, log=workspace.spark_log) if spark else None
    found = run_screening(
        store,
        plan,
        workspace.resources() or None,
        session=session,
        progress=lambda done, total: progress("screen", done, total),
    )
    path = workspace.folder / "screening" / Path(programme).name / f"{day}-{served}.parquet"
    sink = pa.BufferOutputStream()
    pq.write_table(screening_table(plan, found), sink, compression="zstd")
    write_whole(path, sink.getvalue().to_pybytes())
    return {
        "programme": programme,
        "day_type": str(served),
        **summarise(plan, found, worst),
        "file": str(path),
        "seconds": round(clock.perf_counter() - began, 3),
    }


def rules_of(workspace: Workspace, days: int | None = None) -> ScreeningRules:
    """The rules of the workspace's ``screening.toml``, or the standard ones that come with negawatt.

    Parameters
    ----------
    days : int, optional
        Proxy days to look for instead; as many as that are the fewest where they are fewer than the rules'.

    Raises
    ------
    InvalidScreeningRulesError
        They break a rule.
    """
    own = workspace.folder / "screening.toml"
    standard = package_files.files("negawatt").joinpath("rules/screening-standard.toml")
    try:
        data = tomllib.loads(own.read_text() if own.exists() else standard.read_text())
    except tomllib.TOMLDecodeError as broken:
        raise InvalidScreeningRulesError(str(own), str(broken)) from broken
    parsed = parse_screening_rules(data)
    if days is None:
        return parsed
    table = data["days"]
    return parse_screening_rules({**data, "days": {**table, "wanted": days, "fewest": min(table["fewest"], days)}})


def _others(workspace: Workspace, name: str, own: Programme, named: Sequence[str]) -> list[Programme]:
    """Programmes to compare with: those on the same calendar in order of name, then those that were named."""
    built_in = package_files.files("negawatt").joinpath("programmes").iterdir()
    files = [*(entry.name for entry in built_in), *(path.name for path in workspace.folder.glob("programmes/*.toml"))]
    rest = sorted({file.removesuffix(".toml") for file in files if file.endswith(".toml")} - {name, *named})
    same = [p for p in map(workspace.programme, rest) if (p.zone, p.holidays) == (own.zone, own.holidays)]
    return same + [workspace.programme(other) for other in dict.fromkeys(named) if other != name]


def _last_whole_day(end: datetime, zone: ZoneInfo) -> date:
    """The last local day that is over at ``end``."""
    day = end.astimezone(zone).date()
    while local_day_bounds(day, zone)[1] > end:
        day -= timedelta(days=1)
    return day


def _usual_kind(programme: Programme, events: Sequence[DREvent]) -> str | None:
    """Day type of the programme's last event."""
    return day_type(events[-1].local_dates(programme.zoneinfo)[0], programme.holidays) if events else None


def _usual_window(events: Sequence[DREvent], zone: ZoneInfo) -> Window | None:
    """The local time of day of most events; of several that are as frequent, the last event's."""
    windows = [
        Window(event.start.astimezone(zone).time(), int((event.end - event.start).total_seconds()) // 60)
        for event in events
    ]
    count = Counter(windows)
    return max(windows[::-1], key=count.__getitem__, default=None)


def _days(events: Iterable[DREvent], zone: ZoneInfo) -> set[date]:
    return {day for event in events for day in event.local_dates(zone)}
