"""The demonstration: the whole job on simulated or real homes, timed as the 2018 paper's Table 1 timed it."""

from __future__ import annotations

import contextlib
import csv
import gzip
import hashlib
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date, datetime, timedelta
from datetime import time as clock
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from batch.session import check_java, open_session, warm_up
from domain.calendars import day_type
from domain.certificates import CertificateSet, Resource
from domain.certification import FINDINGS, UNCERTIFIED, Reductions
from domain.errors import NegawattError
from domain.events import DREvent
from domain.intervals import slot_start
from domain.programmes import Programme
from domain.readings import MISSING
from ingest.simulated_files import write_files
from ingest.simulation_plan import SimulatedEvent, SimulationPlan
from ingest.simulator import simulate
from negawatt import chains, ingesting, pipeline, settling
from negawatt.console import Screen, kwh, money, quiet
from negawatt.demo_wallets import demo_wallet
from negawatt.settings import Settings
from negawatt.workspace import Workspace, read_resources, write_event, write_resources, write_whole
from serving.report import PAPER_TIMINGS
from serving.verifier import require

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

EVENT_START, EVENT_HOURS = clock(17), 3
"""Events of the demonstration are called for the evening peak, 17:00 to 20:00 local time."""

HISTORY_DAYS = 21
"""Days of readings before the first event that a demonstration calls."""

REAL_HOME_W = 500
"""Capacity that the demonstration lets each real home contract. [W]"""

_MARK = "made by negawatt demo"
_SHOWN_HOMES = 10

Report = Callable[[str, int, int], None]


def simulate_homes(
    programme: Programme,
    folder: Path,
    homes: int,
    days: int,
    interval: int,
    seed: int,
    first_day: date,
    progress: Report = quiet,
) -> dict[str, Path]:
    """Simulate homes with one event near the end, and write readings, homes (with wallets) and the event.

    Raises
    ------
    NegawattError
        Too few days for a programme day with history before it.
    """
    zone = programme.zoneinfo
    last = first_day + timedelta(days=days - 2)  # a day remains for what comes late
    called = next((day for day in _days_back(last, days) if _callable(programme, day)), None)
    if called is None or (called - first_day).days < HISTORY_DAYS:
        raise NegawattError(f"{days} days are too few: an event needs {HISTORY_DAYS} days of history before it")
    start = datetime.combine(called, EVENT_START, zone)
    window = SimulatedEvent(start, start + timedelta(hours=EVENT_HOURS))
    plan = SimulationPlan(
        first_day=first_day,
        homes=homes,
        days=days,
        interval_minutes=interval,
        seed=seed,
        zone=programme.zone,
        events=(window,),
    )
    progress("simulate", 0, 1)
    made = write_files(simulate(plan), folder)
    progress("simulate", 1, 1)
    with made["homes"].open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    write_resources(
        made["homes"],
        [Resource(r["meter"], int(r["contracted_w"]), demo_wallet(r["meter"]), r["feeder"]) for r in rows],
    )
    event = folder / "event.toml"
    write_event(event, DREvent(f"peak-{called}", programme.id, window.start, window.end), zone)
    return {**made, "event": event}


def run_demo(
    folder: Path,
    settings: Settings,
    screen: Screen,
    *,
    homes: int,
    days: int,
    seed: int,
    readings: Path | None,
    weather: Path | None,
    events: int | None,
    programme: str | None,
    stack: bool,
) -> None:
    """Run the demonstration in ``folder`` and print what came of it.

    With ``stack``, readings go through a Kafka and an HBase that it starts for itself, and stops at its end.

    Raises
    ------
    NegawattError
        The folder holds something else than an earlier demonstration, or a step failed.
    """
    began = time.perf_counter()
    check_java()
    workspace = _fresh_workspace(folder, seed)
    name = programme or ("demo-pacific" if readings else "kpx-max-4-of-5")
    rules = workspace.programme(name)
    spark = _Background(settings.spark, workspace.spark_log)  # Spark starts while homes are simulated and read
    with contextlib.ExitStack() as servers:
        if stack:
            settings = servers.enter_context(_servers(workspace, settings, screen))
        with screen.progress() as progress:
            if readings is None:
                made = simulate_homes(rules, folder / "input", homes, days, 5, seed, date(2025, 6, 2), progress)
                files, late = [made["readings"]], [made["late"]]
                workspace.add_resources(read_resources(made["homes"]).values())
                called = [workspace.event(str(made["event"]))]
            else:
                files, late, called = [readings], [], []
            taken = ingesting.ingest(workspace, settings, files, progress=progress)
            if readings is not None:
                called = _call_events(workspace, settings, rules, readings, weather, events or 3)
        screen.say(
            f"{taken.accepted:,} readings of {taken.meters} homes, every {taken.interval_minutes} min, "
            f"{taken.first} to {taken.last}, in {taken.seconds:.1f} s; {taken.rejected:,} rejected"
        )
        if readings is not None:
            screen.say(
                "These homes were never asked to use less: what they seem to save here is the error of the baseline. "
                f"Each is taken to have contracted {REAL_HOME_W} W."
            )
        outcomes = [_one_event(workspace, settings, screen, event, rules, spark, late) for event in called]
        timings = [outcome["timing"] for outcome in outcomes]
        for event, outcome in zip(called, outcomes, strict=True):
            outcome["report"] = str(
                pipeline.report(workspace, settings, event, timings=timings, provisional=outcome.pop("changes"))
            )
        screen.table(
            "Seconds to confirmed payment, beside Table 1 of Kim et al. (2018)",
            ("", "homes", "certification", "contract", "confirmation", "total"),
            [
                *(("paper", row["homes"], *map(float, list(row.values())[1:])) for row in PAPER_TIMINGS),
                *(("negawatt", *t.values()) for t in timings),
            ],
        )
        screen.say(
            f"Seconds run from the event's data being in to {settings.confirmations} blocks on top of the last "
            f"payment, in a warm Spark session.\nStarting and warming Spark, once per process: "
            f"{spark.seconds:.1f} s. All of it: {time.perf_counter() - began:.1f} s"
        )
        for event, outcome in zip(called, outcomes, strict=True):
            screen.say(f"report: {outcome['report']}")
            screen.say(f"check it again: negawatt -w {folder} verify {event.id}")
        screen.document({"ingest": vars(taken), "events": outcomes, "session_s": round(spark.seconds, 2)})


def _one_event(
    workspace: Workspace,
    settings: Settings,
    screen: Screen,
    event: DREvent,
    programme: Programme,
    spark: _Background,
    late: list[Path],
) -> dict[str, Any]:
    """Certify, settle and verify one event; print each step's result."""
    with screen.progress() as progress:
        early, _, provisional_s, _ = pipeline.certify(workspace, settings, event, provisional=True)
        if late:
            ingesting.ingest(workspace, settings, late, progress=progress)
        progress("start Spark", 0, 1)
        session = spark.session()
        progress("start Spark", 1, 1)
        certified = pipeline.certify(workspace, settings, event, session=session, progress=progress)
        certificates, reductions, certified_s, _ = certified
        with chains.open_chain(workspace, settings, chains.before(event)) as chain:
            settled = settling.settle(workspace, settings, chain, event, certificates, progress=progress)
            checks = settling.verify_event(workspace, chain, event.id)
    changed = sum(a != b for a, b in zip(early.lines, certificates.lines, strict=True))
    local = event.start.astimezone(programme.zoneinfo)
    screen.say(
        f"\n[bold]Event {event.id}[/bold], {local:%A %H:%M} for {EVENT_HOURS} h: provisional certificates in "
        f"{provisional_s:.2f} s; {changed} of them changed when late readings came"
    )
    _show_homes(screen, programme, certificates, reductions)
    screen.say(
        f"{sum(c.holds for c in checks)} of {len(checks)} checks of the published certificates and the chain hold"
    )
    require(checks, event.id)
    contract_s, confirmation_s = settled["contract_seconds"], settled["confirmation_seconds"]
    return {
        **pipeline.summarise(certified),
        "provisional_s": round(provisional_s, 4),
        "changes": {"certificates": len(early.lines), "changed": changed},
        "checks": len(checks),
        "timing": {
            "homes": len(certificates.lines),
            "certification_s": round(certified_s, 2),
            "contract_s": contract_s,
            "confirmation_s": confirmation_s,
            "total_s": round(certified_s + contract_s + confirmation_s, 2),
        },
    }


def _show_homes(screen: Screen, programme: Programme, certificates: CertificateSet, reductions: Reductions) -> None:
    """A table of the first homes and the sum of all: would have used, used, saved, earned."""
    currency = programme.currency

    def earned(amount: int) -> str:
        return money(amount, currency.decimals, currency.code)

    # Over measured intervals only, so that each row's difference is what was saved.
    measured = reductions.actual_wh != MISSING
    base = np.where(measured, reductions.baseline_wh, 0).sum(axis=1)
    used = np.where(measured, reductions.actual_wh, 0).sum(axis=1)
    saved = reductions.reduction_wh.sum(axis=1)
    certified = reductions.certified
    # The first homes, and those that could not be certified: they should see themselves too.
    rows = [n for n in range(len(reductions)) if n < _SHOWN_HOMES or not certified[n]]
    table: list[tuple[str, str, str, str, str]] = [
        (
            str(reductions.meters[n]),
            kwh(int(base[n])) if certified[n] else "not certified",
            kwh(int(used[n])) if certified[n] else "",
            kwh(int(saved[n])) if certified[n] else "",
            earned(certificates.leaves[n].payment),
        )
        for n in rows
    ]
    total = (f"all {len(reductions)} homes", *(kwh(int(x.sum())) for x in (base, used, saved)))
    screen.table(
        "What homes would have used, used, saved and earned",
        ("home", "would have used", "used", "saved", "earned"),
        [*table, (*total, earned(certificates.total_payment))],
    )
    for n in np.flatnonzero(~certified).tolist():
        screen.say(f"  {reductions.meters[n]} is not certified: {_reason(reductions, n)}")
    if len(rows) < len(reductions):
        screen.say(f"  and {len(reductions) - len(rows)} more: all are in the report")


def _reason(reductions: Reductions, row: int) -> str:
    """Why a home was not certified, in the words of its findings."""
    bits = int(reductions.findings[row]) & int(UNCERTIFIED)
    return "; ".join(sentence for finding, (_, sentence) in FINDINGS.items() if bits & finding)


def _call_events(
    workspace: Workspace,
    settings: Settings,
    programme: Programme,
    readings: Path,
    weather: Path | None,
    count: int,
) -> list[DREvent]:
    """Register the homes that have readings, and call events on the hottest days that the programme allows."""
    speed = pipeline.speed_store(workspace, settings)
    try:
        store = pipeline.batch_store(workspace, settings)
        minutes = store.intervals()[0]
        slots, wh = speed.totals(minutes)
        homes = store.meters(minutes)
    finally:
        speed.close()
    workspace.add_resources(Resource(meter, REAL_HOME_W, demo_wallet(meter)) for meter in homes)
    zone = programme.zoneinfo
    local = [slot_start(int(slot), minutes).astimezone(zone).date() for slot in slots]
    source = weather or readings.with_name(readings.name.replace("-hourly", "-weather-hourly"))
    if source.exists() and source != readings:
        heat = _daily_maximum(source, programme)
    elif weather is not None:
        raise NegawattError(f"no weather at {weather}")
    else:  # without weather, days of the greatest demand stand in for hot ones
        heat = {}
        for day, energy in zip(local, wh.tolist(), strict=True):
            heat[day] = heat.get(day, 0.0) + energy
    first, last = local[0] + timedelta(days=HISTORY_DAYS), local[-1]
    hot = sorted((d for d in heat if first <= d < last and _callable(programme, d)), key=lambda d: (-heat[d], d))
    if len(hot) < count:
        raise NegawattError(f"{readings}: only {len(hot)} days could have an event, {count} were asked for")
    for day in sorted(hot[:count]):
        start = datetime.combine(day, EVENT_START, zone)
        end = start + timedelta(hours=EVENT_HOURS)
        workspace.add_event(DREvent(f"peak-{day}", programme.id, start, end))
    return workspace.events()


def _daily_maximum(weather: Path, programme: Programme) -> dict[date, float]:
    """Highest temperature of each local day, from CSV with interval_start and temperature_c. [°C]"""
    heat: dict[date, float] = {}
    with gzip.open(weather, "rt", newline="") if weather.suffix == ".gz" else weather.open(newline="") as lines:
        for row in csv.DictReader(lines):
            try:
                day = datetime.fromisoformat(row["interval_start"]).astimezone(programme.zoneinfo).date()
                heat[day] = max(heat.get(day, -99.0), float(row["temperature_c"]))
            except (KeyError, ValueError, TypeError) as broken:
                raise NegawattError(f"{weather}: {row}: expected interval_start and temperature_c") from broken
    return heat


def _days_back(last: date, days: int) -> Iterator[date]:
    return (last - timedelta(days=back) for back in range(days))


def _callable(programme: Programme, day: date) -> bool:
    """Whether the programme has a baseline for events on that day."""
    begins = min(terms.valid_from for terms in programme.terms)
    return day >= begins and programme.terms_on(day).baseline_for(day_type(day, programme.holidays)) is not None


@contextlib.contextmanager
def _servers(workspace: Workspace, settings: Settings, screen: Screen) -> Iterator[Settings]:
    """A Kafka and an HBase of the demonstration's own while the block runs; the settings that name them."""
    from infra.hbase_server import HBaseServer  # noqa: PLC0415  only for those who ask for servers
    from infra.kafka_server import KafkaServer  # noqa: PLC0415

    bus = KafkaServer.create(workspace.stack / "kafka")
    store = HBaseServer.create(workspace.stack / "hbase")
    began = time.perf_counter()
    try:
        with screen.progress() as progress, ThreadPoolExecutor() as pool:
            for started in [pool.submit(server.up, progress, screen.say) for server in (bus, store)]:
                started.result()
        screen.say(f"Kafka at {bus.url} and HBase at {store.url} are ready after {time.perf_counter() - began:.1f} s")
        yield replace(settings, bus=bus.url, store=store.url)
    finally:
        for server in (bus, store):
            server.down()


def _fresh_workspace(folder: Path, seed: int) -> Workspace:
    """An empty workspace where the last demonstration was; the same seed gives the same pseudonyms and root."""
    mark = folder / "DEMO"
    if folder.exists():
        if any(folder.iterdir()) and not mark.exists():
            raise NegawattError(f"{folder} holds something else than a demonstration: name another --workspace")
        shutil.rmtree(folder)
    write_whole(mark, f"{_MARK}: emptied by the next one\n".encode())
    write_whole(folder / "salt", hashlib.sha256(f"{_MARK} {seed}".encode()).digest(), mode=0o600)
    return Workspace(folder)


class _Background:
    """Starts and warms a Spark session in a thread; `session` waits for it."""

    def __init__(self, master: str, log: Path) -> None:
        self.seconds = 0.0
        self._result: list[SparkSession | BaseException] = []
        self._thread = threading.Thread(target=self._start, args=(master, log), daemon=True)
        self._thread.start()

    def session(self) -> SparkSession:
        """The session, or the error that its start raised."""
        self._thread.join()
        (result,) = self._result
        if isinstance(result, BaseException):
            raise result
        return result

    def _start(self, master: str, log: Path) -> None:
        began = time.perf_counter()
        try:
            session = open_session(master, log=log)
            warm_up(session)
            self._result.append(session)
        except BaseException as failed:  # raised again where the session is asked for
            self._result.append(failed)
        self.seconds = time.perf_counter() - began
