"""Builders for the domain tests: each shows only the values that matter to the test that calls it."""

from __future__ import annotations

import copy
import re
import tomllib
from collections.abc import Collection, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np

from domain.certification import Expected, LoadBlock, Reductions
from domain.events import DREvent
from domain.plans import EventPlan, make_plan
from domain.programmes import Programme, parse_programme
from domain.readings import MISSING

ROOT = Path(__file__).parents[2]
BUILT_IN = ("kpx-max-4-of-5", "kpx-mid-6-of-10", "pjm-high-4-of-5")
SEOUL = "Asia/Seoul"
NEW_YORK = "America/New_York"

Wh = int | None


def built_in_data(programme_id: str) -> dict:
    return tomllib.loads((ROOT / "negawatt" / "programmes" / f"{programme_id}.toml").read_text("utf-8"))


def built_in(programme_id: str) -> Programme:
    return parse_programme(built_in_data(programme_id))


def programme_data(**changes: object) -> dict:
    """A programme in which every key is given, and every number may go up or down by one.

    Keys are paths: ``{"terms[0].payment.rate_per_kwh": "5"}``; the value `DELETE` removes the key.
    """
    data: dict = {
        "id": "test",
        "title": "A programme for tests",
        "source": "invented",
        "zone": SEOUL,
        "holidays": "KR",
        "currency": {"code": "DRC", "decimals": 2},
        "terms": [
            {
                "valid_from": date(2020, 1, 1),
                "dispute_window_minutes": 60,
                "accept_estimated": True,
                "min_event_completeness_pct": 90,
                "payment": {
                    "rate_per_kwh": "1300",
                    "paid_share_max_pct": 120,
                    "shortfall_tolerance_pct": 20,
                    "shortfall_penalty_per_kwh": "300",
                },
                "baselines": [
                    {
                        "label": "Max(4/6)",
                        "method": "trimmed-mean",
                        "day_types": ["weekday"],
                        "days": 6,
                        "min_days": 5,
                        "drop_lowest": 2,
                        "drop_highest": 0,
                        "search_days": 10,
                        "look_back_days": 30,
                        "low_usage_pct": 75,
                        "low_usage_shortage": "readmit",
                        "adjustment": {
                            "kind": "symmetric-additive",
                            "from_minutes_before": 240,
                            "to_minutes_before": 60,
                            "cap_pct": 20,
                        },
                    }
                ],
            }
        ],
    }
    return with_changes(data, changes)


DELETE = object()


def with_changes(data: dict, changes: dict[str, object]) -> dict:
    data = copy.deepcopy(data)
    for path, value in changes.items():
        *parents, last = steps(path)
        where: object = data
        for step in parents:
            where = where[step]  # type: ignore[index]
        if value is DELETE:
            del where[last]  # type: ignore[attr-defined]
        else:
            where[last] = value  # type: ignore[index]
    return data


def steps(path: str) -> list[str | int]:
    """``a[0].b`` as ``["a", 0, "b"]``."""
    return [int(step) if step.isdigit() else step for step in re.findall(r"[^.\[\]]+", path)]


def a_programme(**rule: object) -> Programme:
    """A Korean programme whose only baseline has these parameters."""
    baseline: dict = {"label": "test", "method": "trimmed-mean", "day_types": ["weekday"], "look_back_days": 60}
    return parse_programme(programme_data(**{"terms[0].baselines": [baseline | rule]}))


def an_event(
    start: str = "2025-07-09 17:00", *, hours: float = 1, zone: str = SEOUL, event_id: str = "e1", fold: int = 0
) -> DREvent:
    """An event at a local time; the default is an ordinary Wednesday in Korea."""
    begin = datetime.fromisoformat(start).replace(tzinfo=ZoneInfo(zone), fold=fold)
    stop = datetime.fromtimestamp(begin.timestamp() + hours * 3600, ZoneInfo(zone))
    return DREvent(event_id, "test", begin, stop)


def a_plan(
    programme: Programme | str = "kpx-max-4-of-5",
    event: DREvent | None = None,
    *,
    minutes: int = 60,
    event_days: Collection[date] = (),
) -> EventPlan:
    if isinstance(programme, str):
        programme = built_in(programme)
    return make_plan(event or an_event(zone=programme.zone), programme, minutes, event_days=event_days)


def weekdays_before(day: date, count: int) -> list[date]:
    found: list[date] = []
    while len(found) < count:
        day -= timedelta(days=1)
        if day.weekday() < 5:
            found.append(day)
    return found


def a_home(
    plan: EventPlan,
    *,
    event: Wh | Sequence[Wh] = 700,
    before: Wh | Sequence[Wh] = 500,
    days: Wh | Sequence[Wh | Sequence[Wh]] = 1000,
    days_before: Wh | Sequence[Wh] = 500,
) -> np.ndarray:
    """One meter's rows for a plan. A number stands for each interval; None is a missing reading.

    ``event`` and ``before`` are the event day's usage in the event and in the adjustment window; ``days`` gives a
    value a day of history, most recent first (days not given are missing), ``days_before`` one a day likewise.
    """
    e, w = plan.event_intervals, plan.adjustment_intervals
    history = [days] * len(plan.days) if days is None or isinstance(days, int) else list(days)
    windows = (
        [days_before] * len(history) if days_before is None or isinstance(days_before, int) else list(days_before)
    )
    rows = [_wh(event, e) + _wh(before, w)]
    for n in range(len(plan.days)):
        rows.append(
            _wh(history[n] if n < len(history) else None, e) + _wh(windows[n] if n < len(windows) else None, w)
        )
    return np.array(rows, dtype=np.int32)


def _wh(value: Wh | Sequence[Wh], length: int) -> list[int]:
    values = [value] * length if value is None or isinstance(value, int) else list(value)
    assert len(values) == length
    return [MISSING if wh is None else wh for wh in values]


def a_block(*homes: np.ndarray, estimated: np.ndarray | None = None) -> LoadBlock:
    """The homes as meters m0, m1 and so on."""
    names = np.array([f"m{n:03d}" for n in range(len(homes))], dtype=object)
    return LoadBlock(names, np.stack(homes), estimated)


def part_of(block: LoadBlock, rows: np.ndarray) -> LoadBlock:
    return LoadBlock(block.meters[rows], block.wh[rows], None if block.estimated is None else block.estimated[rows])


def assert_equal_reductions(one: Reductions, other: Reductions) -> None:
    assert_equal_columns(one, other)


def assert_equal_columns(one: Reductions | Expected, other: Reductions | Expected) -> None:
    assert type(one) is type(other)
    for name in one.__dataclass_fields__:
        a, b = getattr(one, name), getattr(other, name)
        assert a.shape == b.shape, name
        assert a.tolist() == b.tolist(), name
