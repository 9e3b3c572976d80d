"""The benchmark ``airflow``: events that end, told over Kafka, certified and settled by Airflow on two Geth nodes.

All servers are real and started for it on this machine. Events are of this very day, since Geth's clock is the
machine's: they last five minutes, which the run waits for. After each measurement every event is verified from the
chain, or the run stops with an error.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any

import dags
from benchmarks.answers import WrongAnswerError
from benchmarks.options import Options
from benchmarks.results import Row
from domain.errors import NegawattError
from domain.events import DREvent
from ingest.kafka_bus import KafkaBus
from negawatt import chains, settling
from negawatt.scheduler import CERTIFICATION, SETTLEMENT, Scheduler, open_scheduler
from negawatt.settings import load_settings
from negawatt.stack_services import bus_address
from negawatt.workspace import Workspace

SIZES = (100,)
"""Homes that take part in each event."""
SINGLE, BY_COMMANDS, BURST = 3, 3, 50
DAYS, EVENT_MINUTES = 60, 5
SETTINGS = {"scheduler": "stack://", "chain": "stack://", "bus": "stack://", "spark": "none"}
SERVERS = ("chain", "kafka", "airflow")
PROGRAMME = "any-day"
LIMITS = {"trigger_to_start_s": 5.0, "dag_import_s": 1.0}
_ANNOUNCE_S = 4.0
"""Of an event, at most: two transactions and their blocks. [s]"""
_PATIENCE_S = 3600.0
_PROGRAM = str(Path(sys.executable).parent / "negawatt")
_ENVIRONMENT = {"NEGAWATT_WORKSPACE": "/nowhere", "AIRFLOW_HOME": "/nowhere", "PATH": "/usr/bin:/bin"}
_HEAVY_FIRST = """
import sys, time, airflow.sdk, airflow.timetables.trigger
from airflow.providers.standard.operators import python, trigger_dagrun
began = time.perf_counter()
import dags.{name}
print(time.perf_counter() - began)
"""


@dataclass(frozen=True)
class Followed:
    """Seconds from an event's message to the start of its certification, and to the end of its settlement."""

    event: str
    started: float
    settled: float


def run(options: Options) -> list[Row]:
    """Measure one size after another."""
    rows = _import_rows()
    for homes in options.homes:
        rows += _measure(options, homes)
    return rows


def _measure(options: Options, homes: int) -> list[Row]:
    folder = options.folder / f"airflow-{homes}"
    if (folder / "workspace" / "stack").exists():
        _negawatt(folder / "workspace", "stack", "down")
    shutil.rmtree(folder, ignore_errors=True)
    place = Workspace(folder / "workspace")
    try:
        return _measure_in(place, folder, homes, options)
    finally:
        _negawatt(place.folder, "stack", "down", "--erase")
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)


def _measure_in(place: Workspace, folder: Path, homes: int, options: Options) -> list[Row]:
    _prepare(place, folder, homes)
    options.say(f"{homes:,} homes with readings; starting {', '.join(SERVERS)}")
    began = time.perf_counter()
    _negawatt(place.folder, "stack", "up", *SERVERS)
    up_s = time.perf_counter() - began
    status = _negawatt(place.folder, "stack", "status", "airflow")["airflow"]
    events = _announce(place, SINGLE + BY_COMMANDS + BURST, options)
    single, commanded = events[:SINGLE], events[SINGLE : SINGLE + BY_COMMANDS]
    settings = load_settings(place.settings_file)
    scheduler = open_scheduler(place, settings)
    scheduler.run("no-such-event")
    with _follower(place), KafkaBus(bus_address(place)) as bus:
        followed = [_follow(place, scheduler, bus, [event])[0] for event in single]
        options.say(f"one at a time: started after {[round(f.started, 2) for f in followed]} s")
        by_commands = [_by_commands(place, event) for event in commanded]
        options.say(f"by commands: {[round(seconds, 2) for seconds in by_commands]} s")
        began = time.perf_counter()
        burst = _follow(place, scheduler, bus, events[-BURST:])
        burst_s = time.perf_counter() - began
    _require_settled(place, [event.id for event in events])
    event_s, command_s = (statistics.median(s) for s in ([f.settled for f in followed], by_commands))
    each = burst_s / BURST
    size = f"homes={homes}"
    return [
        _limited("trigger_to_start_s", max(f.started for f in followed)),
        Row(f"event_s {size}", event_s, "s", f"commands_s {size}", command_s),
        Row(f"airflow_overhead_s {size}", event_s - command_s, "s", f"commands_s {size}", command_s),
        Row("burst50_s_per_event", each, "s", f"commands_s {size}", command_s),
        Row("burst50_last_start_s", max(f.started for f in burst), "s", "burst50_s", burst_s),
        Row("servers_up_s", up_s, "s", "limit", 240.0),
        Row("airflow_idle_memory_mib", status["memory_mib"], "MiB", "limit", 1536.0),
    ]


def _import_rows() -> list[Row]:
    """The slowest of the DAGs' files to read, beyond Airflow itself."""
    seconds = {}
    for path in Path(dags.__file__).parent.glob("[!_]*.py"):
        code = _HEAVY_FIRST.format(name=path.stem)
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=_ENVIRONMENT
        )
        seconds[path.stem] = float(done.stdout.split()[-1])
    return [_limited("dag_import_s", max(seconds.values()))]


def _limited(name: str, value: float) -> Row:
    return Row(name, value, "s", "limit", LIMITS[name])


def _prepare(place: Workspace, folder: Path, homes: int) -> None:
    """Readings up to tomorrow, every five minutes, and a programme that has a rule for every day."""
    text = files("negawatt").joinpath("programmes/kpx-max-4-of-5.toml").read_text()
    changed = text.replace('"kpx-max-4-of-5"', f'"{PROGRAMME}"').replace(
        '["weekday"]', '["weekday", "saturday", "sunday", "holiday"]'
    )
    own = place.folder / "programmes" / f"{PROGRAMME}.toml"
    own.parent.mkdir(parents=True)
    own.write_text(changed.replace("complete_pct = 100", "complete_pct = 50"))
    place.settings_file.write_text("".join(f'{name} = "{value}"\n' for name, value in SETTINGS.items()))
    first = datetime.now(UTC).date() - timedelta(days=DAYS - 2)
    size = ["--homes", str(homes), "--days", str(DAYS), "--interval", str(EVENT_MINUTES), "--first-day", str(first)]
    _negawatt(place.folder, "simulate", str(folder / "simulated"), *size, "--programme", PROGRAMME)
    names = [str(folder / "simulated" / name) for name in ("readings.parquet", "late.parquet")]
    environment = {"NEGAWATT_BUS": "memory://"}
    _negawatt(place.folder, "ingest", "--resources", str(folder / "simulated" / "homes.csv"), *names, **environment)


def _announce(place: Workspace, count: int, options: Options) -> list[DREvent]:
    """Events of the next five minutes that all can be announced for; returns them when they are over."""
    lead = timedelta(seconds=60 + _ANNOUNCE_S * count)
    step = timedelta(minutes=EVENT_MINUTES)
    start = datetime.fromtimestamp(0, UTC) + step * (
        (datetime.now(UTC) + lead).timestamp() // step.total_seconds() + 1
    )
    events = [DREvent(f"event-{n:03}", PROGRAMME, start, start + step) for n in range(count)]
    settings = load_settings(place.settings_file)
    with chains.open_chain(place, settings) as chain:
        for event in events:
            place.add_event(event)
            settling.announce(place, chain, event)
    over = events[0].end - datetime.now(UTC)
    options.say(f"{count} events are announced and over at {events[0].end:%H:%M:%S} UTC")
    time.sleep(max(over.total_seconds(), 0) + 2)
    return events


@contextmanager
def _follower(place: Workspace) -> Iterator[None]:
    """`negawatt events follow`, as it runs for good."""
    command = [_PROGRAM, "-w", str(place.folder), "events", "follow"]
    with (place.folder / "follow.log").open("w") as log:
        program = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            time.sleep(5)
            yield
        finally:
            program.terminate()
            program.wait(30)


def _follow(place: Workspace, scheduler: Scheduler, bus: KafkaBus, events: Sequence[DREvent]) -> list[Followed]:
    """Tell the bus of events, and see when each was started and settled."""
    told = datetime.now(UTC)
    for event in events:
        bus.publish_event(event)
    bus.flush()
    deadline = time.monotonic() + _PATIENCE_S
    names, ended = [event.id for event in events], dict[str, str]()
    while len(ended) < len(names):
        if time.monotonic() > deadline:
            raise NegawattError(f"{len(names) - len(ended)} of {len(names)} events are not settled")
        time.sleep(0.5 if len(names) == 1 else 3)
        certified = scheduler.runs(names)
        ended = {name: run.state for name, run in scheduler.runs(names, SETTLEMENT).items() if run.is_over}
        failed = [name for name, run in certified.items() if run.state == "failed"]
        failed += [name for name, state in ended.items() if state == "failed"]
        if failed:
            raise NegawattError(f"runs failed: {', '.join(failed)}; look at {place.folder / 'alerts.jsonl'}")
    return [
        Followed(
            name,
            _seconds(told, scheduler.task(name, CERTIFICATION, "roster")["start_date"]),
            _seconds(told, scheduler.task(name, SETTLEMENT, "report")["end_date"]),
        )
        for name in names
    ]


def _seconds(began: datetime, then: str) -> float:
    return (datetime.fromisoformat(then) - began).total_seconds()


def _by_commands(place: Workspace, event: DREvent) -> float:
    """Seconds that the same takes by commands, one after another."""
    began = time.perf_counter()
    for command in ("roster", "certify", "settle", "report"):
        _negawatt(place.folder, command, event.id)
    return time.perf_counter() - began


def _require_settled(place: Workspace, names: Sequence[str]) -> None:
    settings = load_settings(place.settings_file)
    with chains.open_chain(place, settings, reader=True) as chain:
        for name in names:
            wrong = [check.name for check in settling.verify_event(place, chain, name) if not check.holds]
            if wrong:
                raise WrongAnswerError(f"{name}: {', '.join(wrong)} doesn't hold")


def _negawatt(workspace: Path, *words: str, **environment: str) -> Any:
    """What a command answers, as a program of its own."""
    command = [_PROGRAM, "-w", str(workspace), *words, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | environment, check=False)
    if done.returncode:
        raise NegawattError(f"negawatt {' '.join(words)}: {done.stderr.strip()[-500:]}")
    return json.loads(done.stdout)
