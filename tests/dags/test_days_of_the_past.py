"""The backfill that the page on Airflow shows brings the month that it says, wherever the workspace is."""

from __future__ import annotations

import re
from datetime import UTC, date, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

pytest.importorskip("airflow")

PAGE = (Path(__file__).parents[2] / "docs" / "airflow.md").read_text()
JUNE = {date(2025, 6, day) for day in range(1, 31)}
DUE = re.findall(r"`(ingest_quality|compaction|trade_settlement)` \| daily, (\d\d):(\d\d)", PAGE)


def due_between(first, last, timetable):
    """When a daily run is due between two moments, both included, as a backfill looks for them."""
    from airflow.timetables.base import TimeRestriction

    restriction, found = TimeRestriction(first, last, catchup=True), []
    run = timetable.next_dagrun_info(last_automated_data_interval=None, restriction=restriction)
    while run:
        found.append(run.logical_date)
        run = timetable.next_dagrun_info(last_automated_data_interval=run.data_interval, restriction=restriction)
    return found


@pytest.mark.parametrize(("dag_id", "hour", "minute"), DUE)
@pytest.mark.parametrize("zone", ["UTC", "Asia/Seoul", "America/New_York", "Pacific/Kiritimati", "Etc/GMT+12"])
def test_the_backfill_shown_brings_all_of_june_in_every_zone(workspace, zone, dag_id, hour, minute):
    from airflow.cli.cli_config import ARG_BACKFILL_FROM_DATE, ARG_BACKFILL_TO_DATE

    from dags.parts.steps import daily

    (shown,) = re.findall(r"--from-date (\S+) --to-date (\S+)", PAGE)
    first, last = (
        arg.kwargs["type"](text)
        for arg, text in zip((ARG_BACKFILL_FROM_DATE, ARG_BACKFILL_TO_DATE), shown, strict=True)
    )
    workspace.mkdir()
    (workspace / "negawatt.toml").write_text(f'zone = "{zone}"\n')
    days_of = UTC if dag_id == "compaction" else ZoneInfo(zone)
    runs = due_between(first, last, daily(int(hour), int(minute)))
    days = {run.astimezone(days_of).date() - timedelta(days=1) for run in runs}
    assert days >= JUNE
    assert len(days - JUNE) == 1, "to spare"


def test_the_page_says_when_these_dags_run():
    assert len(DUE) == 3
