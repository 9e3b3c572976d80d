"""The SQL of docs/analysts.md and of the dashboards, run as it stands there, against arithmetic in numpy."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cookbook_lab import EVENT, PER_DAY, VISITOR, Lab, load

from negawatt.cli_sql import dashboards
from negawatt.sql_desk import in_utc
from negawatt.sql_output import rows_of, told
from negawatt.sql_statements import check_reads_only, declared, parameters_of, with_parameters
from speed.stores import SpeedStore, open_speed_store

PAGE = (Path(__file__).parents[2] / "docs" / "analysts.md").read_text("utf-8")
SHOWN_ROWS = 6
Row = tuple[Any, ...]
Answer = tuple[list[str], list[Row]]
Arithmetic = Callable[[Lab], list[Row]]

DAY_OF_EVENT = ("2025-07-03 15:00", "2025-07-04 15:00")
DAY_BEFORE = ("2025-07-02 15:00", "2025-07-03 15:00")
FIVE_DAYS = ("2025-06-29 15:00", "2025-07-04 15:00")
WINDOW = ("2025-07-04 08:00", "2025-07-04 11:00")


# --- the questions of the page and their answers by hand ---------------------------------------------------------


def questions() -> dict[str, tuple[str, str]]:
    """Of every question of the page its SQL, and its answer as the page shows it."""
    cookbook = PAGE.split("## Cookbook")[1].split("\n## ")[0]
    found = {}
    for part in cookbook.split("\n### ")[1:]:
        (sql,) = re.findall(r"```sql\n(.*?)```", part, flags=re.DOTALL)
        shown = re.findall(r"```text\n(.*?)```", part, flags=re.DOTALL)
        found[part.splitlines()[0]] = (sql, "".join(shown))
    return found


def local_day(day: int, month: int = 7) -> datetime:
    """The name of a local day, as DATE_TRUNC gives it."""
    return datetime(2025, month, day, tzinfo=UTC)


def by_feeder(lab: Lab, of_homes: np.ndarray) -> list[tuple[str, Any]]:
    return [(feeder, of_homes[lab.feeders == feeder].sum(axis=0)) for feeder in sorted(set(lab.feeders))]


def by_day(lab: Lab, values: np.ndarray, begin: str, end: str) -> np.ndarray:
    """Sums over the local days between two local midnights; the last axis becomes days."""
    part = values[..., lab.between(begin, end)]
    return part.reshape(*part.shape[:-1], -1, PER_DAY).sum(axis=-1)


def load_now(lab: Lab) -> list[Row]:
    at = lab.at("2025-07-04 07:55")
    homes, loads = by_feeder(lab, np.ones(60, dtype=int)), by_feeder(lab, lab.used[:, at])
    reported = by_feeder(lab, lab.wh[:, at] >= 0)
    return [(f, n, r, wh * 12 / 1000) for (f, n), (_, r), (_, wh) in zip(homes, reported, loads, strict=True)]


def hours(lab: Lab) -> list[Row]:
    part = lab.between(*DAY_BEFORE)
    sums = lab.used[:, part].sum(axis=0).reshape(-1, 12).sum(axis=1)
    return [(lab.time(part.start + 12 * n), wh / 1000) for n, wh in enumerate(sums)]


def most(lab: Lab) -> list[Row]:
    part = lab.between(*DAY_BEFORE)
    sums, counts = lab.used[:, part].sum(axis=1), (lab.wh[:, part] >= 0).sum(axis=1)
    order = sorted(range(60), key=lambda n: (-sums[n], lab.homes[n]))[:10]
    return [(lab.homes[n], lab.feeders[n], sums[n] / 1000, counts[n]) for n in order]


def saved(lab: Lab) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which homes and intervals of the event have baseline and usage, and both. [Wh]"""
    used = lab.wh[:, lab.between(*WINDOW)]
    baseline = expected_wh(lab)
    return (baseline >= 0) & (used >= 0), baseline, used


def expected_wh(lab: Lab) -> np.ndarray:
    """The kernel's baselines over the same readings, of homes that may lack certificates, too."""
    from domain.certification import LoadBlock, expected

    columns = lab.plan.slots - lab.first
    block = LoadBlock(np.array(lab.homes, dtype=object), lab.wh[:, columns].astype(np.int32), None)
    return expected(lab.plan, block).baseline_wh


def curve(lab: Lab) -> list[Row]:
    known, baseline, used = saved(lab)
    first = lab.at(WINDOW[0])
    rows = []
    for n in range(36):
        b, u = baseline[known[:, n], n].sum(), used[known[:, n], n].sum()
        rows.append((lab.time(first + n), known[:, n].sum(), b, u, b - u))
    return rows


def used_more(lab: Lab) -> list[Row]:
    known, baseline, used = saved(lab)
    b, u = (baseline * known).sum(axis=1), (used * known).sum(axis=1)
    order = sorted((n for n in range(60) if u[n] > b[n]), key=lambda n: (b[n] - u[n], lab.homes[n]))
    return [(lab.homes[n], b[n], u[n], u[n] - b[n]) for n in order]


def feeder_shares(lab: Lab) -> list[Row]:
    known, baseline, used = saved(lab)
    reductions = by_feeder(lab, ((baseline - used) * known).sum(axis=1))
    contracted = dict(by_feeder(lab, (lab.capacity_w[:, None] * known).sum(axis=1) * 5 / 60))
    whole = sum(wh for _, wh in reductions)
    return [(feeder, wh, 100 * wh / whole, 100 * wh / contracted[feeder]) for feeder, wh in reductions]


def complete(lab: Lab) -> list[Row]:
    reported = by_feeder(lab, (lab.wh[:, lab.between(*DAY_OF_EVENT)] >= 0).sum(axis=1))
    homes = dict(by_feeder(lab, np.ones(60, dtype=int)))
    return [(f, homes[f] * PER_DAY, n, 100 * n / (homes[f] * PER_DAY)) for f, n in reported]


def late(lab: Lab, now: str = "2025-07-04 02:05", patience: int = 0) -> list[Row]:
    """Homes whose newest reading of a day ended longer ago than ``patience`` minutes, and how long ago."""
    at = lab.at(now)
    rows = []
    for n, home in enumerate(lab.homes):
        columns = np.flatnonzero(lab.wh[n, at - PER_DAY : at] >= 0)
        newest = None if len(columns) == 0 else at - PER_DAY + int(columns[-1])
        if newest is None:
            rows.append((-1, home, lab.feeders[n], None, None))
        elif 5 * (at - 1 - newest) > patience:
            rows.append((newest, home, lab.feeders[n], lab.time(newest), 5 * (at - 1 - newest)))
    return [row[1:] for row in sorted(rows)]


def unknown(lab: Lab) -> list[Row]:
    first = lab.at(DAY_OF_EVENT[0])
    return [(VISITOR, 288, lab.time(first), lab.time(first + 287), 28.8)]


def edits(lab: Lab) -> list[Row]:
    there = lab.imported.wh >= 0
    counts = [by_day(lab, rows, *FIVE_DAYS).sum(axis=0) for rows in
              (there, there & (lab.imported.quality == 1), there & (lab.imported.revision > 0))]  # fmt: skip
    days = [local_day(30, 6), *map(local_day, range(1, 5))]
    return list(zip(days, *counts, strict=True))


def solar(lab: Lab) -> list[Row]:
    with_panels = (lab.exported.wh >= 0).any(axis=1)
    taken, given = (
        by_day(lab, np.maximum(held.wh[with_panels], 0), *FIVE_DAYS).sum(axis=0)
        for held in (lab.imported, lab.exported)
    )
    return list(zip([local_day(30, 6), *map(local_day, range(1, 5))], taken / 1000, given / 1000, strict=True))


def peaks(lab: Lab) -> list[Row]:
    part = lab.between(*FIVE_DAYS)
    halves = lab.used[:, part].sum(axis=0).reshape(-1, 48, 6).sum(axis=2)
    days = [local_day(30, 6), *map(local_day, range(1, 5))]
    places = halves.argmax(axis=1)  # the first of equal ones
    return [
        (day, lab.time(part.start + PER_DAY * n + 6 * int(at)), halves[n, at] * 2 / 1000)
        for n, (day, at) in enumerate(zip(days, places, strict=True))
    ]


def evenness(lab: Lab) -> list[Row]:
    loads = [(f, wh * 12 / 1000) for f, wh in by_feeder(lab, lab.used[:, lab.between(*FIVE_DAYS)])]
    return [(f, kw.mean(), kw.max(), kw.mean() / kw.max()) for f, kw in loads]


def day_on_day(lab: Lab) -> list[Row]:
    days = by_day(lab, lab.used, "2025-07-01 15:00", "2025-07-04 15:00") / 1000
    return [
        (feeder, local_day(2 + n), kwh[n], None if n == 0 else kwh[n] - kwh[n - 1])
        for feeder, kwh in by_feeder(lab, days)
        for n in range(3)
    ]


def baseline_error(lab: Lab) -> list[Row]:
    first = lab.at("2025-06-15 15:00")
    part = lab.wh[:, first : lab.at("2025-07-03 15:00")].reshape(60, -1, PER_DAY)
    evening = part[:, :, 17 * 12 : 20 * 12]
    whole, wh = (evening >= 0).all(axis=2), evening.sum(axis=2)  # 16 June, a Monday, is day 0
    rows = []
    for day in range(18):
        if day % 7 > 4:
            continue
        before = [n for n in range(max(day - 7, 0), day) if n % 7 <= 4]
        homes = [n for n in range(60) if whole[n, day] and len(before) == 5 and whole[n, before].all()]
        if homes:
            used, guess = wh[homes, day], wh[homes][:, before].mean(axis=1)
            rows.append(
                (local_day(16 + day, 6) if day < 15 else local_day(day - 14), len(homes), used.sum() / 1000,
                 100 * (guess - used).sum() / used.sum(), 100 * np.abs(guess - used).sum() / used.sum())
            )  # fmt: skip
    return rows


def changes(lab: Lab) -> list[Row]:
    """By reason; how late readings and the like are told apart is tested with the view. Sums are the two results'."""
    before, after = (r.reduction_wh.sum(axis=1) for r in (lab.provisional, lab.final))
    return [(before.sum(), after.sum(), (after - before).sum())]


def gains(lab: Lab) -> list[Row]:
    before, after = lab.payments(lab.provisional), lab.payments(lab.final)
    order = sorted(
        (n for n in range(60) if before[n] != after[n]), key=lambda n: (before[n] - after[n], lab.homes[n])
    )
    return [(lab.homes[n], before[n], after[n], after[n] - before[n]) for n in order[:10]]


BY_HAND: dict[str, Arithmetic] = {
    "What is the load now, by feeder?": load_now,
    "How did a day go, hour by hour?": hours,
    "Who uses most?": most,
    "What would homes have used in the event, and what did they use?": curve,
    "Which homes used more than they would have?": used_more,
    "Which feeder brought how much of the reduction?": feeder_shares,
    "How complete was a day?": complete,
    "Whose readings are late?": late,
    "Which meters does nobody know?": unknown,
    "How many readings were estimated, how many revised?": edits,
    "What do homes with solar panels take and give?": solar,
    "When was each day's peak half-hour?": peaks,
    "How even is the load?": evenness,
    "How does each day differ from the one before?": day_on_day,
    "How far off is a plain baseline on days without an event?": baseline_error,
    "What did the batch layer change?": changes,
    "Who has the most to gain from the final result?": gains,
}

# Columns of an answer that the arithmetic gives, where not all; rows are summed where it gives one.
ONLY = {
    "What did the batch layer change?": (2, 3, 4),
    "Who has the most to gain from the final result?": (0, 2, 3, 4),
}


# --- the lab in each store ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lab() -> Lab:
    return Lab()


@pytest.fixture(scope="module", params=["duckdb", pytest.param("heavydb", marks=pytest.mark.stack)])
def store(request, lab) -> SpeedStore:
    """The lab's readings in each kind of store."""
    if request.param == "duckdb":
        opened: SpeedStore = open_speed_store("duckdb://")
    else:
        from heavydb_layer import an_empty_store

        opened = an_empty_store(request.getfixturevalue("heavydb"))
    load(opened, lab)
    yield opened
    opened.close()


def answer(store: SpeedStore, sql: str) -> Answer:
    found = in_utc(store.query(sql.strip().rstrip(";")))
    return found.column_names, list(rows_of(found))


def assert_same(found: list[Row], wanted: list[Row]) -> None:
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            if isinstance(a, float) and b is not None:
                assert a == pytest.approx(b, rel=1e-9, abs=1e-9)
            else:
                assert a == b, (one, other)


# --- the tests ---------------------------------------------------------------------------------------------------


def test_every_question_of_the_page_has_its_arithmetic():
    assert list(questions()) == list(BY_HAND)
    assert len(BY_HAND) >= 15


@pytest.mark.parametrize("question", BY_HAND)
def test_the_answer_is_what_arithmetic_gives(store, lab, question):
    sql, _ = questions()[question]
    check_reads_only(sql)
    _, rows = answer(store, sql)
    wanted = BY_HAND[question](lab)
    assert wanted, "an empty answer shows nothing"
    if columns := ONLY.get(question):
        rows = [tuple(row[n] for n in columns) for row in rows]
        if len(wanted) == 1:
            rows = [tuple(np.sum(rows, axis=0))]
    assert_same(rows, wanted)


@pytest.mark.parametrize("question", BY_HAND)
def test_the_page_shows_the_answer(store, question):
    sql, shown = questions()[question]
    assert shown == as_shown(*answer(store, sql))


def as_shown(names: list[str], rows: list[Row]) -> str:
    """An answer as the page shows it: the first rows, numbers to the right."""
    cells = [names, *([told(value) for value in row] for row in rows[:SHOWN_ROWS])]
    widths = [max(len(line[n]) for line in cells) for n in range(len(names))]
    right = [all(isinstance(row[n], int | float | None) for row in rows) for n in range(len(names))]
    lines = [
        "  ".join(
            cell.rjust(w) if r else cell.ljust(w) for cell, w, r in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in cells
    ]
    more = [f"… {len(rows) - SHOWN_ROWS:,} more"] if len(rows) > SHOWN_ROWS else []
    return "\n".join([*lines, *more]) + "\n"


VALUES = {
    "now": "2025-07-04T10:00Z",
    "from": "2025-07-04T08:00Z",
    "until": "2025-07-04T20:00+09:00",
    "event": EVENT,
    "homes": "5",
    "ahead": "9",
}


def dashboard(store: SpeedStore, name: str, **values: str) -> list[Row]:
    sql = with_parameters(dashboards()[name], VALUES | values)
    check_reads_only(sql)
    return answer(store, sql)[1]


def test_dashboards_are_those_of_the_page():
    listed = re.findall(r"^\| `(\w+)` \|", PAGE.split("## Dashboards")[1], flags=re.MULTILINE)
    assert listed == list(dashboards())


@pytest.mark.parametrize("name", dashboards())
def test_a_dashboard_says_what_it_shows_and_declares_what_it_uses(name):
    text = dashboards()[name]
    assert text.startswith("-- ")
    assert not text.startswith("-- :")
    assert {parameter.name for parameter in declared(text)} == parameters_of(text)


def test_load_now_is_of_the_last_whole_interval(store, lab):
    assert_same(dashboard(store, "load_now", now="2025-07-04T08:00Z"), load_now(lab))
    assert_same(dashboard(store, "load_now", now="2025-07-04T08:04:59Z"), load_now(lab))


def test_load_by_feeder_is_a_row_a_feeder_and_interval(store, lab):
    part = lab.between(*WINDOW)
    loads = dict(by_feeder(lab, lab.used[:, part]))
    wanted = [(lab.time(part.start + n), f, kw[n] * 12 / 1000) for n in range(36) for f, kw in sorted(loads.items())]
    assert_same(dashboard(store, "load_by_feeder"), wanted)


def test_the_event_in_the_dashboards_is_that_of_the_cookbook(store, lab):
    in_kw = [(ts, b * 12 / 1000, u * 12 / 1000) for ts, _, b, u, _ in curve(lab)]
    assert_same(dashboard(store, "event_curve"), in_kw)
    known, baseline, used = saved(lab)
    counts = dict(by_feeder(lab, known.sum(axis=1)))
    shares = [(f, counts[f], wh / 1000, contract) for f, wh, _, contract in feeder_shares(lab)]
    assert_same(dashboard(store, "event_feeders"), shares)
    b, u, n = (baseline * known).sum(axis=1), (used * known).sum(axis=1), known.sum(axis=1)
    order = sorted((h for h in range(60) if n[h]), key=lambda h: (b[h] - u[h], lab.homes[h]))[:5]
    assert_same(dashboard(store, "event_homes"), [(lab.homes[h], n[h], b[h], u[h], b[h] - u[h]) for h in order])


def test_completeness_counts_what_is_due_reported_estimated_and_revised(store, lab):
    part = lab.between(*DAY_OF_EVENT)
    held, there = lab.imported, lab.wh[:, part] >= 0
    estimated = there & (held.quality[:60, part] == 1)
    revised = there & (held.revision[:60, part] > 0)
    columns = [dict(by_feeder(lab, rows.sum(axis=1))) for rows in (there, estimated, revised)]
    homes = dict(by_feeder(lab, np.ones(60, dtype=int)))
    wanted = [(f, homes[f], homes[f] * PER_DAY, *(column[f] for column in columns)) for f in sorted(homes)]
    days = {"from": "2025-07-03T15:00Z", "until": "2025-07-04T15:00Z"}
    assert_same(dashboard(store, "completeness", **days), wanted)


def test_late_meters_are_more_than_half_an_hour_behind(store, lab):
    # The last readings end at 15:00 on 6 July.
    for now in ("2025-07-04 02:05", "2025-07-06 15:30", "2025-07-06 15:35"):
        assert_same(dashboard(store, "late_meters", now=f"{now}Z"), late(lab, now, 30))
    assert len(late(lab, "2025-07-06 15:30", 30)) < 60 == len(late(lab, "2025-07-06 15:35", 30))
    # A day later nobody has any of the last day.
    silent = dashboard(store, "late_meters", now="2025-07-07T15:01Z")
    assert silent == [(home, lab.resources[home].feeder, None, None) for home in lab.homes]


def test_unknown_meters_are_those_without_a_resource(store, lab):
    part = lab.between(*WINDOW)
    wanted = [(VISITOR, 36, lab.time(part.start), lab.time(part.stop - 1), 3.6)]
    assert_same(dashboard(store, "unknown_meters"), wanted)


def test_energy_by_day_is_by_local_days(store, lab):
    kwh = by_day(lab, lab.used, *FIVE_DAYS).sum(axis=0) / 1000
    days = [local_day(30, 6), *map(local_day, range(1, 5))]
    wanted = [(day, kwh[n], None if n == 0 else kwh[n] - kwh[n - 1]) for n, day in enumerate(days)]
    assert_same(
        dashboard(store, "energy_by_day", **{"from": "2025-06-29T15:00Z", "until": "2025-07-04T15:00Z"}), wanted
    )


def test_reconciliation_sums_to_the_change_of_both_results(store, lab):
    rows = dashboard(store, "reconciliation")
    before, after = lab.payments(lab.provisional).sum(), lab.payments(lab.final).sum()
    assert sum(row[1] for row in rows) == 60
    assert [(sum(row[2] for row in rows), sum(row[3] for row in rows), sum(row[4] for row in rows))] == changes(lab)
    assert sum(row[5] for row in rows) == after - before
    assert not math.isclose(before, after)
