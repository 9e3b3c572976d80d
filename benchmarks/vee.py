"""The benchmark ``vee``: a day of readings checked and estimated, in meter-days a second, beside the same in pandas.

The readings are those of the benchmark ``certify`` with some spikes and stuck registers put in. What pandas finds and
estimates has to equal ours, interval by interval, or the run stops with an error.
"""

from __future__ import annotations

import shutil
import tomllib
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import numpy as np

from batch.parquet_store import ParquetStore
from batch.session import open_session, warm_up
from batch.vee import VeePlan, run_vee
from benchmarks.homes import DAYS, FIRST_DAY, INTERVAL_MINUTES, PER_DAY, Fleet, load_fleet
from benchmarks.isolation import isolated
from benchmarks.options import Options
from benchmarks.peer_pandas_vee import vee_wide
from benchmarks.results import Row, Timed, timed
from domain.errors import NegawattError
from domain.readings import Readings, make_readings
from domain.registers import RegisterReads, spans_between
from domain.vee import VeeResult
from domain.vee_rules import VeeRules, parse_vee_rules

SIZES = (1_000, 10_000)
PEER_HOMES = 1_000
"""Up to so many homes pandas runs, too."""

DAY = FIRST_DAY + DAYS - 10
BROKEN_EVERY = 50
"""One meter in so many has a spike on the day, the next one a register that is stuck."""

Found = dict[tuple[str, int], int]
"""New Wh of each edited meter and slot."""


def run(options: Options) -> list[Row]:
    """Measure every size, smallest first."""
    rows: list[Row] = []
    for homes in sorted(options.homes):
        store, at = options.folder / f"vee-{homes}" / "store", f"homes={homes}"
        try:
            if not (store.parent / "complete").exists():
                options.say(f"{at}: make readings")
                shutil.rmtree(store.parent, ignore_errors=True)
                load_fleet(store, Fleet.of(homes))
                _break_some(ParquetStore(store))
                (store.parent / "complete").touch()
            options.say(f"{at}: in one process")
            local, ours = isolated(_time_local, store, options.repeats)
            options.say(f"{at}: Spark")
            spark = isolated(_time_spark, store, options.repeats)
            rate = homes / local.warm
            versus = (f"vee_spark_meter_days_per_s {at}", homes / spark.warm)
            if homes <= PEER_HOMES:
                options.say(f"{at}: pandas")
                peer, theirs = isolated(_time_pandas, store, options.repeats)
                _compare(ours, theirs)
                versus = (f"vee_pandas_meter_days_per_s {at}", homes / peer.warm)
            rows.append(Row(f"vee_meter_days_per_s {at}", rate, "1/s", *versus, better="higher"))
            rows.append(
                Row(
                    f"vee_spark_meter_days_per_s {at}",
                    homes / spark.warm,
                    "1/s",
                    f"vee_meter_days_per_s {at}",
                    rate,
                    better="higher",
                )
            )
        finally:
            if not options.keep:
                shutil.rmtree(store.parent, ignore_errors=True)
    return rows


def the_rules() -> VeeRules:
    """The rules that come with negawatt."""
    return parse_vee_rules(tomllib.loads(resources.files("negawatt").joinpath("rules/vee-standard.toml").read_text()))


def the_vee_plan() -> VeePlan:
    """The day that is checked."""
    rules = the_rules()
    spans = spans_between(RegisterReads.none(), rules.register, 1)
    return VeePlan(INTERVAL_MINUTES, DAY * PER_DAY, (DAY + 1) * PER_DAY, rules, None, spans)


def _break_some(store: ParquetStore) -> None:
    """Spikes of 1 kWh in five minutes at 3 h, and sixteen hours of 900 Wh in five minutes, by greater readings."""
    meters = store.meters(INTERVAL_MINUTES)
    first = DAY * PER_DAY
    stuck = range(first + 36, first + 36 + 192)
    batches: list[Readings] = [
        make_readings([meter], [first + 36], np.array([1_000], np.int32)) for meter in meters[::BROKEN_EVERY]
    ]
    batches += [
        make_readings([meter] * len(stuck), list(stuck), np.full(len(stuck), 900, np.int32))
        for meter in meters[1::BROKEN_EVERY]
    ]
    store.append(batches)
    store.compact()


def _time_local(store: Path, repeats: int) -> tuple[Timed, Found]:
    return _timed(lambda: run_vee(ParquetStore(store), the_vee_plan()), repeats)


def _time_spark(store: Path, repeats: int) -> Timed:
    session = open_session(log=store.parent / "spark.log")
    try:
        warm_up(session)
        return _timed(lambda: run_vee(ParquetStore(store), the_vee_plan(), session=session), repeats)[0]
    finally:
        session.stop()


def _time_pandas(store: Path, repeats: int) -> tuple[Timed, Found]:
    files = sorted(store.glob(f"import-{INTERVAL_MINUTES}/*/*.parquet"))
    live = {store / file.path for file in ParquetStore(store)._log.latest().files}
    files = [file for file in files if file in live]
    return timed(lambda: vee_wide(files, DAY, the_rules()), repeats)


def _timed(job: Callable[[], VeeResult], repeats: int) -> tuple[Timed, Found]:
    taken, result = timed(job, repeats)
    edits = result.edits
    return taken, dict(zip(zip(edits.meters, edits.slot.tolist(), strict=True), edits.wh.tolist(), strict=True))


def _compare(ours: Found, theirs: Found) -> None:
    if ours != theirs:
        odd = sorted(set(ours.items()) ^ set(theirs.items()))
        raise NegawattError(f"pandas and we differ in {len(odd)} of {len(ours)} edits, first: {odd[:4]}")
