"""From an event's end to the coins in the wallets by a real Airflow: once, in order, and whatever is killed."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from dataclasses import asdict
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from pathlib import Path
from time import sleep
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import requests
from dag_desk import negawatt
from terminal import Terminal

from domain.calendars import day_type
from domain.events import DREvent
from domain.programmes import Programme, parse_programme
from infra.airflow_server import AirflowServer
from infra.daemons import wait_until
from negawatt.scheduler import Scheduler, open_scheduler
from negawatt.settings import load_settings
from negawatt.workspace import Workspace, write_event
from serving.anvil import anvil

pytestmark = [pytest.mark.stack, pytest.mark.timeout(900)]

HOMES, DAYS = 4, 60
SECONDS = 300.0
PROGRAMME = "kpx-max-4-of-5"
NAMES = ("alone", "killed", "told", "late", "burst-0", "burst-1", "burst-2", "burst-3", "burst-4")
TODAY = datetime.now(UTC).date()


def programme_text() -> str:
    """The events' programme: most readings are enough, since a home has none for days; their deadline is far away."""
    text = (Path(__file__).parents[2] / "negawatt" / "programmes" / f"{PROGRAMME}.toml").read_text()
    assert "deadline_hours = 24" in text
    return text.replace("deadline_hours = 24", "deadline_hours = 2160").replace(
        "complete_pct = 100", "complete_pct = 70"
    )


@cache
def programme() -> Programme:
    return parse_programme(tomllib.loads(programme_text()))


@cache
def event_days() -> list[date]:
    """The last days that the programme has a rule for, one for each event; those of the burst share one."""
    days, day = list[date](), TODAY - timedelta(days=2)
    while len(days) < 5:
        if programme().terms[0].baseline_for(day_type(day, programme().holidays)):
            days.append(day)
        day -= timedelta(days=1)
    return days


def event_of(name: str) -> DREvent:
    """An hour from 17:00 in Seoul; those of the burst end half an hour after another."""
    number = min(NAMES.index(name), 4)
    start = datetime.combine(event_days()[number], time(8), UTC)
    start += timedelta(minutes=30) * (NAMES.index(name) - number)
    return DREvent(name, PROGRAMME, start, start + timedelta(hours=1))


@pytest.fixture(scope="module")
def utility(tmp_path_factory):
    """A workspace with readings, announced events, a chain, and its own Airflow that runs."""
    folder = tmp_path_factory.mktemp("utility")
    place, files = folder / "workspace", folder / "simulated"
    size = ["--homes", str(HOMES), "--days", str(DAYS), "--interval", "30"]
    negawatt(place, "simulate", str(files), *size, "--first-day", str(TODAY - timedelta(days=DAYS)))
    with anvil(clock=min(event_of(name).start for name in NAMES) - timedelta(days=1)) as node:
        text = f'scheduler = "stack://"\nchain = "{node.url}"\nconfirmations = 2\nspark = "none"\n'
        place.mkdir(exist_ok=True)
        (place / "negawatt.toml").write_text(text)
        own = place / "programmes" / f"{PROGRAMME}.toml"
        own.parent.mkdir()
        own.write_text(programme_text())
        readings = pq.read_table(files / "readings.parquet")
        apart = _of_absent(readings)
        pq.write_table(readings.filter(pc.invert(apart)), folder / "now.parquet")
        pq.write_table(readings.filter(apart), folder / "late.parquet")
        there = [str(folder / "now.parquet"), str(files / "late.parquet")]
        negawatt(place, "ingest", "--resources", str(files / "homes.csv"), *there)
        for name in NAMES:
            write_event(folder / f"{name}.toml", event_of(name))
            negawatt(place, "announce", str(folder / f"{name}.toml"))
        try:
            Terminal(place).run("stack", "up", "airflow")
            yield place
        finally:
            if (place / "stack" / "airflow").exists():
                AirflowServer.load(place / "stack" / "airflow").kill()
                AirflowServer.load(place / "stack" / "airflow").down(erase=True)


def _of_absent(readings: Any) -> Any:
    times, day = readings["interval_start"], event_of("late").start.date()
    same_day = pc.equal(pc.strftime(times, format="%Y-%m-%d"), str(day))
    return pc.and_(same_day, pc.equal(readings["meter"], pc.min(readings["meter"])))


@pytest.fixture
def scheduler(utility) -> Scheduler:
    """Its Airflow, asked as the commands do."""
    place = Workspace(utility)
    return open_scheduler(place, load_settings(place.settings_file))


def state_of(place: Path, name: str) -> dict[str, Any]:
    rows = negawatt(place, "events", "list")["events"]
    return next(row for row in rows if row["event"] == name)


def wait_for(place: Path, name: str, state: str = "settled") -> dict[str, Any]:
    seen: dict[str, Any] = {}

    def is_there() -> bool:
        sleep(1)
        seen.update(state_of(place, name))
        return seen["state"] == state and (state != "settled" or seen["settlement"] == "success")

    assert wait_until(is_there, SECONDS), seen
    return seen


def require_paid_once(place: Path, name: str) -> None:
    """By the independent verifier, from the published file and the chain alone."""
    assert negawatt(place, "verify", name)["holds"]


def transactions(place: Path, name: str) -> list[dict[str, Any]]:
    """Those that a settled event's document names."""
    found: list[dict[str, Any]] = json.loads((place / "settlements" / f"{name}.json").read_text())["transactions"]
    return found


def certification_of(place: Path, name: str) -> dict[str, Any]:
    """The one transaction that certified an event."""
    (only,) = (sent for sent in transactions(place, name) if sent["purpose"].startswith("certify"))
    return only


def test_the_end_of_an_event_leads_to_payments_and_a_repeat_to_nothing(utility, scheduler):
    first = negawatt(utility, "events", "end", "alone")
    assert first["is_new"]
    again = negawatt(utility, "events", "end", "alone")
    assert not again["is_new"]
    wait_for(utility, "alone")
    require_paid_once(utility, "alone")
    assert (utility / "reports" / "alone.html").exists()
    sent = transactions(utility, "alone")
    assert negawatt(utility, "events", "end", "alone") | {"state": "success"} == asdict(scheduler.run("alone"))
    assert transactions(utility, "alone") == sent


def test_a_repeated_run_id_is_refused_by_airflow_itself(utility, scheduler):
    body = {"dag_run_id": "alone", "logical_date": None, "conf": {"event": "alone"}}
    answer = scheduler._call("POST", "dags/certification/dagRuns", body, expected=(409,))
    assert answer.status_code == 409
    found = scheduler._call("GET", "dags/certification/dagRuns?limit=100").json()["dag_runs"]
    assert sum(run["dag_run_id"] == "alone" for run in found) == 1


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer no.such.token"}])
def test_calls_without_a_login_are_refused(utility, scheduler, headers):
    url = f"{scheduler.url}/api/v2/dags/certification/dagRuns"
    body = {"dag_run_id": "stranger", "logical_date": None, "conf": {"event": "alone"}}
    assert requests.post(url, json=body, headers=headers, timeout=30).status_code in (401, 403)
    assert scheduler.run("stranger") is None


def test_an_unknown_event_is_refused_before_anything_starts_and_by_the_run_itself(utility, scheduler):
    Terminal(utility).run("events", "end", "nowhere", exit_code=1)
    assert scheduler.run("nowhere") is None
    scheduler.start(DREvent("nowhere", PROGRAMME, event_of("alone").start, event_of("alone").end))
    assert wait_until(lambda: _ended(scheduler, "nowhere") == "failed", SECONDS)
    assert "nowhere" in (utility / "alerts.jsonl").read_text()


def _ended(scheduler: Scheduler, name: str) -> str:
    sleep(1)
    run = scheduler.run(name)
    return run.state if run else ""


def test_a_killed_scheduler_costs_time_and_nothing_else(utility, scheduler):
    negawatt(utility, "events", "end", "killed")
    assert wait_until(lambda: _task(scheduler, "killed", "certify") == "running", SECONDS)
    server = AirflowServer.load(utility / "stack" / "airflow")
    assert server.kill("scheduler") == ["scheduler"]
    server.up()
    assert wait_until(lambda: _task(scheduler, "killed", "settle", "settlement") == "running", SECONDS)
    server.kill("scheduler")
    server.up()
    wait_for(utility, "killed")
    require_paid_once(utility, "killed")
    assert certification_of(utility, "killed")
    paying = [sent for sent in transactions(utility, "killed") if sent["purpose"].startswith("pay")]
    earned = Workspace(utility).published("killed", final_only=True).certificates.total_payment
    assert len(paying) == (1 if earned else 0)


def _task(scheduler: Scheduler, name: str, task: str, dag: str = "certification") -> str | None:
    sleep(0.2)
    return scheduler.task(name, dag, task).get("state")


def test_missing_readings_are_waited_for_without_a_worker(utility, scheduler):
    negawatt(utility, "events", "end", "late")
    assert wait_until(lambda: _task(scheduler, "late", "readings") == "deferred", SECONDS)
    negawatt(utility, "ingest", str(utility.parent / "late.parquet"))
    wait_for(utility, "late")
    require_paid_once(utility, "late")
    found = scheduler._call("GET", "dags/certification/dagRuns/late/taskInstances/readings/xcomEntries/return_value")
    assert found.json()["value"]["pct"] >= 70, "the late readings count"


def test_a_burst_of_events_makes_a_run_each_paid_in_the_order_of_their_ends(utility, scheduler):
    names = [name for name in NAMES if name.startswith("burst")]
    for name in reversed(names):
        assert scheduler.start(event_of(name)).is_new
    for name in names:
        wait_for(utility, name)
    blocks = [certification_of(utility, name)["block"] for name in names]
    assert blocks == sorted(blocks)
    for name in names:
        require_paid_once(utility, name)


def test_an_event_that_the_bus_tells_of_is_started_once(utility, scheduler, kafka):
    bus = ["--bus", f"{kafka.url}/events"]
    negawatt(utility, "events", "publish", "told", *bus)
    negawatt(utility, "events", "publish", "told", *bus)
    assert negawatt(utility, "events", "follow", "--until-idle", *bus) == {"started": 1, "known": 0, "refused": 0}
    assert negawatt(utility, "events", "follow", "--until-idle", *bus) == {"started": 0, "known": 1, "refused": 0}
    wait_for(utility, "told")
    require_paid_once(utility, "told")


def test_days_of_the_past_are_run_again_by_airflows_own_command(utility, scheduler):
    first = TODAY - timedelta(days=20)
    dates = ["--from-date", str(first), "--to-date", str(first + timedelta(days=1))]
    scheduler._call("PATCH", "dags/ingest_quality", {"is_paused": False})
    command = [sys.executable, "-m", "infra.airflow", "--folder", str(utility / "stack" / "airflow"), "airflow"]
    command += ["backfill", "create", "--dag-id", "ingest_quality", *dates]
    subprocess.run(command, check=True, capture_output=True, cwd=Path(__file__).parents[2])
    made = utility / "quality" / f"{first - timedelta(days=1)}.parquet"
    assert wait_until(lambda: sleep(1) or made.exists(), SECONDS)
    by_airflow = made.read_bytes()
    left = negawatt(utility, "vee", "--day", str(first - timedelta(days=1)), "--dry-run")
    assert left["edits"] == 0, "all that can be estimated is"
    negawatt(utility, "quality", str(first - timedelta(days=1)))
    assert made.read_bytes() == by_airflow
