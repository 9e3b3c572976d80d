"""The single measurements of ``certify``; each runs in a process of its own and checks what it computed."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path

import numpy as np

from batch.certify import certify_bucket, certify_event
from batch.parquet_store import ParquetStore
from batch.session import open_session
from batch.wide import NONE
from benchmarks.answers import Answer, WrongAnswerError
from benchmarks.homes import DAYS, FIRST_DAY, INTERVAL_MINUTES, PER_DAY, Fleet, the_event, the_plan, wide_days
from benchmarks.isolation import PeakMemory
from benchmarks.results import Timed, timed
from benchmarks.settlement_runs import consents_of
from domain.certificates import Resource, issue_certificates, resource_key
from domain.certification import Reductions, join
from domain.plans import EventPlan
from domain.readings import Quality, Readings, Register
from negawatt.chains import before
from negawatt.demo_wallets import demo_key, demo_wallet
from serving.anvil import anvil
from serving.chain import Chain
from serving.deployment import Coin, deploy
from serving.settlement import EventTerms, Participant, Settlement
from speed.duckdb_store import DuckDBStore
from speed.provisional import certify_provisionally

CONTRACTED_W = 1000


@dataclass(frozen=True)
class SparkTimes:
    """Seconds of a session's start and of certifications, and the memory that one takes."""

    session: float
    certify: Timed
    named: Timed
    peak_gib: float


@dataclass(frozen=True)
class ChainTimes:
    """Medians of the steps from reductions to the receipt of all payments. [s]"""

    issue: float
    root: float
    payment: float


def time_spark(store_folder: Path, answer: Path, repeats: int) -> SparkTimes:
    """Our batch layer, for all meters and for a list of participants; keeps its answer for the others' checks."""
    plan, store = the_plan(), ParquetStore(store_folder)
    began = time.perf_counter()
    session = open_session()
    opened = time.perf_counter() - began
    certifying, found = timed(partial(certify_event, session, store, plan), repeats)
    Answer.of(found).save(answer)
    participants = found.meters.tolist()
    named, again = timed(partial(certify_event, session, store, plan, participants), repeats)
    _require_same(found, again, "the list of participants")
    del found, again, participants
    with PeakMemory() as memory:
        certify_event(session, store, plan)
    session.stop()
    return SparkTimes(opened, certifying, named, memory.gib)


def time_local(store_folder: Path, answer: Path, repeats: int) -> Timed:
    """What the tasks do, bucket after bucket in one process."""
    plan, store = the_plan(), ParquetStore(store_folder)
    seconds, found = timed(lambda: _certify_here(store, plan), repeats)
    Answer.load(answer).require(Answer.of(found), "one process")
    return seconds


def time_duckdb(store_folder: Path, answer: Path, repeats: int) -> Timed:
    """DuckDB's SQL over the store's files."""
    from benchmarks.peer_duckdb import DuckDBPeer  # noqa: PLC0415  only its own process pays for an engine

    peer = DuckDBPeer(the_plan())
    seconds, found = timed(lambda: peer.wide(_files(store_folder)), repeats)
    Answer.load(answer).require(found, "DuckDB")
    return seconds


def time_duckdb_rows(file: Path, answer: Path, repeats: int) -> Timed:
    """DuckDB's SQL over a row a reading."""
    from benchmarks.peer_duckdb import DuckDBPeer  # noqa: PLC0415

    peer = DuckDBPeer(the_plan())
    seconds, found = timed(lambda: peer.rows(file), repeats)
    Answer.load(answer).require(found, "DuckDB over rows")
    return seconds


def time_pandas(store_folder: Path, answer: Path, repeats: int) -> Timed:
    """pandas over the store's files."""
    from benchmarks.peer_pandas import certify_wide  # noqa: PLC0415

    seconds, found = timed(lambda: certify_wide(the_plan(), _files(store_folder)), repeats)
    Answer.load(answer).require(found, "pandas")
    return seconds


def time_pandas_rows(file: Path, answer: Path, repeats: int) -> Timed:
    """pandas over a row a reading."""
    from benchmarks.peer_pandas import certify_rows  # noqa: PLC0415

    seconds, found = timed(lambda: certify_rows(the_plan(), file), repeats)
    Answer.load(answer).require(found, "pandas over rows")
    return seconds


def write_row_file(store_folder: Path, file: Path) -> float | None:
    """Write the store's readings a row each, unless they are there; returns the seconds it took."""
    from benchmarks.reading_rows import write_rows  # noqa: PLC0415

    if file.exists():
        return None
    began = time.perf_counter()
    write_rows(_files(store_folder), file, range(FIRST_DAY, FIRST_DAY + DAYS), PER_DAY)
    return time.perf_counter() - began


def time_provisional(store_folder: Path, repeats: int) -> Timed:
    """Our speed layer over the same readings; every column of its answer is to equal the batch layer's."""
    plan = the_plan()
    path = store_folder.parent / "speed.duckdb"
    path.unlink(missing_ok=True)
    speed = DuckDBStore(path)
    try:
        for readings in _all_readings(ParquetStore(store_folder)):
            speed.append(readings)
        seconds, found = timed(lambda: certify_provisionally(speed, plan), repeats)
    finally:
        speed.close()
    _require_same(_certify_here(ParquetStore(store_folder), plan), found, "the speed layer")
    return seconds


def time_chain(store_folder: Path, repeats: int) -> ChainTimes:
    """Issue certificates, and settle them on a new anvil chain each time."""
    plan = the_plan()
    reductions = _certify_here(ParquetStore(store_folder), plan)
    times = [_settle_once(plan, reductions, store_folder.parent / "chain") for _ in range(repeats)]
    columns = ([getattr(t, field.name) for t in times] for field in fields(ChainTimes))
    return ChainTimes(*map(statistics.median, columns))


def _settle_once(plan: EventPlan, reductions: Reductions, folder: Path) -> ChainTimes:
    shutil.rmtree(folder, ignore_errors=True)
    salt, event, currency = b"benchmark", the_event(), plan.programme.currency
    resources = {meter: Resource(meter, CONTRACTED_W, demo_wallet(meter)) for meter in reductions.meters.tolist()}
    began = time.perf_counter()
    certificates = issue_certificates(plan, reductions, resources, salt)
    issued = time.perf_counter() - began
    with anvil(clock=before(event)) as node:
        chain = Chain(node.url)
        contracts = deploy(chain, folder / "addresses.json", Coin(currency.code, currency.decimals))
        engine = Settlement(chain, contracts)
        keys = {demo_wallet(meter): demo_key(meter) for meter in resources}
        engine.announce(
            event,
            EventTerms(
                target_wh=CONTRACTED_W * len(resources),
                rate_per_kwh=int(plan.terms.payment.rate_per_kwh),
                dispute_window_seconds=plan.terms.dispute_window_minutes * 60,
                claim_window_seconds=plan.terms.claim_window_days * 86_400,
                funding=plan.terms.funding,
                programme_digest=plan.programme.digest(plan.terms),
            ),
            [Participant(resource_key(salt, r.meter), r.wallet, r.contracted_w) for r in resources.values()],
            consents_of(contracts, chain.chain_id, keys),
        )
        chain.wait_until(event.end)
        began = time.perf_counter()
        engine.certify(certificates)
        rooted = time.perf_counter() - began
        chain.wait_until(engine.payable_from(event.id))
        engine.finalise(event.id)
        began = time.perf_counter()
        engine.pay(certificates)
        return ChainTimes(issued, rooted, time.perf_counter() - began)


def run_demo(folder: Path) -> float:
    """The whole of ``negawatt demo`` with its 100 homes, as a user starts it."""
    program = Path(sys.executable).with_name("negawatt")
    began = time.perf_counter()
    done = subprocess.run([program, "--workspace", folder, "demo"], capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - began
    shutil.rmtree(folder, ignore_errors=True)
    if done.returncode:
        raise WrongAnswerError(f"negawatt demo ended with {done.returncode}: {done.stderr[-2000:]}")
    return seconds


def time_java(repeats: int) -> float:
    """The least that a Java virtual machine takes to start."""
    seconds, _ = timed(lambda: subprocess.run(["java", "-version"], capture_output=True, check=True), repeats)
    return seconds.warm


def _certify_here(store: ParquetStore, plan: EventPlan) -> Reductions:
    return join([certify_bucket(store, plan, bucket) for bucket in range(store.buckets)], plan)


def _require_same(ours: Reductions, theirs: Reductions, engine: str) -> None:
    for field in fields(Reductions):
        if not np.array_equal(getattr(ours, field.name), getattr(theirs, field.name)):
            raise WrongAnswerError(f"{engine}: {field.name} differs from the batch layer's")


def _files(store_folder: Path) -> list[Path]:
    """The store's data; a store that was only loaded has no others."""
    return sorted(store_folder.rglob("*.parquet"))


def _all_readings(store: ParquetStore) -> list[Readings]:
    """A small store's readings, made again."""
    fleet = Fleet.of(len(store.meters(INTERVAL_MINUTES)))
    found = []
    for bucket, meters in enumerate(fleet.meters()):
        place = {meter: n for n, meter in enumerate(meters)}
        for part in wide_days(fleet, bucket, meters) if len(meters) else ():
            row, slot = np.nonzero(part.stamp != NONE)
            found.append(
                Readings(
                    INTERVAL_MINUTES,
                    Register.IMPORT,
                    meters,
                    np.array([place[meter] for meter in part.meters], dtype=np.int32)[row],
                    part.day[row].astype(np.int64) * PER_DAY + slot,
                    part.stamp[row, slot].astype(np.int32),
                    np.full(len(row), Quality.ACTUAL, np.int8),
                    np.zeros(len(row), np.int16),
                )
            )
    return found
